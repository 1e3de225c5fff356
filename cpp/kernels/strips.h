// The strips of a product by one panel: where products of large matrices spend their time. Knows no operation.
#pragma once
#include "kernels/blas.h"
#include "kernels/small_product.h"

namespace wengert::kernels {

// A panel: some columns of b, two long vectors, and at most so many terms. 32 kB, what a first-level cache holds.
inline constexpr int64_t most_terms = 256;
template <class T>
inline constexpr int64_t panel_columns = 128 / int64_t(sizeof(T));

inline constexpr int64_t strip_rows = 8;  // of a, multiplied at once

// Strips of a, for the terms of one panel, copied one after the other: in rows of this length, or, where the
// columns of a are its lines of memory, term by term.
template <class T>
inline constexpr int64_t copied_row = most_terms + 64 / int64_t(sizeof(T));  // no power of two: rows differ in cache sets
template <class T>
inline constexpr int64_t copied_strip = strip_rows * copied_row<T>;

// c[i, j] = sum_p a[i, p] panel[p, j] of `m` rows and a panel's columns, or += where `add`.
// a has rows of neighbours, or columns: then a_row is 1.
template <class T>
struct Strips {
  const T* a;
  int64_t a_row, a_col;
  T* copied;  // all of a or, on the first pass, what begin_copy leaves there: then each strip copies the next
  bool first;
  const T* panel;
  T* c;
  int64_t c_row;
  int64_t m, terms;
  bool add = false;
  blas::Ending<T> ending = {};  // its pointers are those of the panel's columns
  Ahead ahead = {};             // asked for bit by bit
};

// Copies the first strip of a, and the rows behind the last whole one.
template <class T>
void begin_copy(const blas::ConstMatrix<T>& a, T* copied);

// With AVX-512 only.
template <class T>
void multiply_strips(const Strips<T>& p);

}  // namespace wengert::kernels
