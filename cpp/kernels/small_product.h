// Products of matrices that lie in the cache, without packing: for kernels that work tile by tile.
// Knows no operation.
#pragma once
#include <cstddef>
#include <cstdint>

namespace wengert::kernels {

// What a triangle leaves of row i of the product.
enum class Band {
  whole,
  columns_from_row,  // columns j >= i; some of those before it may be computed all the same
  terms_from_row,    // a[i, p] b[p, j] with p >= i, rows taken some at a time: a is 0 elsewhere
  terms_to_row       // the same with p <= i
};

// Columns come in vectors: n is a multiple of this, and rows of b and c have as many elements.
template <class T>
inline constexpr int64_t granule = 64 / int64_t(sizeof(T));

// Memory that is read soon: `runs` of 64-byte `lines`, `stride` bytes apart.
struct Ahead {
  const std::byte* from = nullptr;
  int64_t runs = 0, lines = 0, stride = 0;
};

// Lines [first, last) of it, counted from run to run. In line by force, as what calls it: GCC takes a function that
// only prefetches for one without effect, and drops the call.
[[gnu::always_inline]] inline void ask(const Ahead& ahead, int64_t first, int64_t last) {
  if (first >= last) return;
  int64_t run = first / ahead.lines, at = first % ahead.lines;
  for (int64_t l = first; l < last; ++l) {
    __builtin_prefetch(ahead.from + run * ahead.stride + at * 64, 0, 2);
    if (++at == ahead.lines) at = 0, ++run;
  }
}

// c[i, j] = sum_p a[i, p] b[p, j], or += where `add`, or with `row`, which has n numbers, + row[j]; where
// `rectify`, 0 in the place of what is not positive.
// Strides are in elements, columns of b and c are neighbours.
template <class T>
struct SmallProduct {
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  int64_t m, n, k;
  bool add = false;
  const T* row = nullptr;
  bool rectify = false;
  Band band = Band::whole;
  bool far = false;  // a may lie beyond the nearer caches: its next rows are asked for early
  Ahead ahead = {};  // asked for bit by bit
};

template <class T>
void small_product(const SmallProduct<T>& p);

}  // namespace wengert::kernels
