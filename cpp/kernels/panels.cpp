#include "kernels/panels.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/isa.h"
#include "kernels/strips.h"
#include "kernels/transpose.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

template <class T>
inline constexpr int64_t columns = panel_columns<T>;

// Rows whose terms of one panel lie in the second-level cache while panels pass: 0.5 MB.
template <class T>
inline constexpr int64_t most_rows = 2048 / int64_t(sizeof(T));

// Rows of a panel's width.
struct CopyRows {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* from, int64_t stride, int64_t rows, T* to) {
    typedef T Vector [[gnu::vector_size(bytes)]];
    for (int64_t p = 0; p < rows; ++p, from += stride, to += columns<T>) {
      for (int64_t j = 0; j < columns<T>; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(to + 8 * columns<T> + j, 1, 3);
      for (int64_t j = 0; j < columns<T>; j += bytes / int64_t(sizeof(T))) {
        Vector v;
        std::memcpy(&v, from + j, sizeof(v));
        std::memcpy(to + j, &v, sizeof(v));
      }
    }
  }
};

// to[p * columns + j] = b[p, j], 0 beyond the columns of b.
template <class T>
void copy_panel(const blas::Matrix<const T>& b, T* to) {
  constexpr int64_t width = columns<T>;
  if (b.row_stride == 1 && b.cols == width) return transpose(b.data, b.col_stride, width, b.rows, to);
  if (b.col_stride == 1 && b.cols == width)
    return for_isa<CopyRows, const T*, int64_t, int64_t, T*>(b.data, b.row_stride, b.rows, to);
  for (int64_t p = 0; p < b.rows; ++p, to += width) {
    for (int64_t j = 0; j < b.cols; ++j) to[j] = b.data[p * b.row_stride + j * b.col_stride];
    std::fill(to + b.cols, to + width, T(0));
  }
}

// The lines of the source of the panel of columns j and terms `first`.
template <class T>
Ahead lines_of_panel(const blas::ConstMatrix<T>& b, int64_t j, int64_t first) {
  if (b.col_stride != 1 && b.row_stride != 1) return {};
  const int64_t terms = std::min(most_terms, b.rows - first), cols = std::min(columns<T>, b.cols - j);
  const auto* from = reinterpret_cast<const std::byte*>(b.data + first * b.row_stride + j * b.col_stride);
  const auto lines = [](int64_t count) { return (count * int64_t(sizeof(T)) + 63) / 64; };
  return b.col_stride == 1 ? Ahead{from, terms, lines(cols), b.row_stride * int64_t(sizeof(T))}
                           : Ahead{from, cols, lines(terms), b.col_stride * int64_t(sizeof(T))};
}

// Those of the rows that are copied before the first strip: of the terms from `first` on.
template <class T>
Ahead lines_of_strip(const blas::ConstMatrix<T>& a, int64_t first, int64_t terms) {
  const auto* from = reinterpret_cast<const std::byte*>(a.data + first * a.col_stride);
  constexpr int64_t line = 64 / int64_t(sizeof(T));
  return a.row_stride == 1 ? Ahead{from, terms, 1, a.col_stride * int64_t(sizeof(T))}
                           : Ahead{from, strip_rows, (terms + line - 1) / line, a.row_stride * int64_t(sizeof(T))};
}

// The last panel, whose columns end in the middle of a vector: rows of c go through a copy.
template <class T>
void narrow_product(SmallProduct<T> p, int64_t cols) {
  constexpr int64_t rows = 32;
  T part[rows * columns<T>] = {}, start[columns<T>] = {};
  if (p.row) {
    std::copy_n(p.row, cols, start);
    p.row = start;
  }
  T* c = p.c;
  const int64_t c_row = p.c_row, m = p.m;
  p.c = part, p.c_row = columns<T>;
  for (int64_t i = 0; i < m; i += rows, p.a += rows * p.a_row) {
    p.m = std::min(rows, m - i);
    for (int64_t r = 0; p.add && r < p.m; ++r) std::copy_n(c + (i + r) * c_row, cols, part + r * p.c_row);
    small_product(p);
    for (int64_t r = 0; r < p.m; ++r) std::copy_n(part + r * p.c_row, cols, c + (i + r) * c_row);
  }
}

// Rows that are multiplied by panels one after the other, and which of their terms. The rows may be copied for all
// panels by the first.
template <class T>
struct Block {
  blas::ConstMatrix<T> a;  // these rows and terms of it
  blas::Matrix<T> c;       // these rows of it
  T* copied;               // or null
  bool add;
  blas::Ending<T> ending;  // of these rows
};

template <class T>
void multiply_panel(const Block<T>& block, int64_t j, int64_t cols, const T* panel, const Ahead& ahead) {
  const auto& [a, c, copied, add, whole] = block;
  const blas::Ending<T> ending = whole.at(0, j, c.row_stride);
  if (copied && cols == columns<T>) {
    const Strips<T> p{.a = a.data, .a_row = a.row_stride, .a_col = a.col_stride, .copied = copied, .first = j == 0,
                      .panel = panel, .c = c.data + j, .c_row = c.row_stride, .m = a.rows, .terms = a.cols, .add = add,
                      .ending = ending, .ahead = ahead};
    return multiply_strips(p);
  }
  const SmallProduct<T> p{.a = a.data, .a_row = a.row_stride, .a_col = a.col_stride, .b = panel, .b_row = columns<T>,
                          .c = c.data + j, .c_row = c.row_stride, .m = a.rows,
                          .n = (cols + granule<T> - 1) / granule<T> * granule<T>, .k = a.cols, .add = add,
                          .row = ending.row, .rectify = ending.rectify, .far = j == 0, .ahead = ahead};
  if (p.n == cols) small_product(p);
  else narrow_product(p, cols);
}

template <class T>
struct alignas(64) Room {
  T numbers[most_rows<T> / strip_rows * copied_strip<T>];
};

// Each thread's room for copied rows, kept for its next product.
template <class T>
T* room_for_rows() {
  thread_local std::unique_ptr<Room<T>> room;
  if (!room) room = std::make_unique_for_overwrite<Room<T>>();
  return room->numbers;
}

// A copy of the rows costs what two panels gain by it.
template <class T>
bool copy_pays(int64_t n) {
  return n > 2 * columns<T>;
}

// What begins with the first terms, and what ends with the last.
template <class T>
blas::Ending<T> part_of(const blas::Ending<T>& ending, bool first, bool last) {
  blas::Ending<T> own = last ? ending : blas::Ending<T>{};
  own.row = first ? ending.row : nullptr;
  return own;
}

// The pass that copies takes fewer terms at a time: its panel, two strips, and what the second is copied from are to lie
// in the first-level cache together.
constexpr int64_t copied_terms = most_terms / 2;

template <class T>
int64_t place_of_term(const blas::ConstMatrix<T>& a, int64_t p) {
  return a.row_stride == 1 ? p * strip_rows : p;
}

}  // namespace

// Measured with one thread: on Zen 4 105-112 of 118 Gflop/s where BLAS has 92-103, on Emerald Rapids 145-165 of 176
// where it has 125-155; less where a panel serves few rows, or where an `a` read across its rows, in place, does not
// fit the second-level cache.
template <class T>
bool panels_pay(const blas::ConstMatrix<T>& a, int64_t n) {
  const bool near = a.rows * a.cols <= (1 << 20) / int64_t(sizeof(T));
  return isa() == Isa::avx512 && a.rows >= 64 && n >= columns<T> && a.rows * n * a.cols > 1 << 20 &&
         (a.col_stride == 1 || copy_pays<T>(n) || near);
}

template <class T>
bool panels_join(const blas::ConstMatrix<T>& a, int64_t n) {
  return n % columns<T> == 0 && (a.row_stride == 1 || a.col_stride == 1);
}

template <class T>
void panel_product(const blas::ConstMatrix<T>& a, const blas::ConstMatrix<T>& b, bool add,
                   const blas::Ending<T>& ending, const blas::Matrix<T>& c) {
  alignas(64) T panel[most_terms * columns<T>];
  const bool copies = copy_pays<T>(c.cols) || ending.joins();  // strips alone join
  T* copied = copies && (a.row_stride == 1 || a.col_stride == 1) ? room_for_rows<T>() : nullptr;
  for (int64_t top = 0; top < a.rows; top += most_rows<T>) {
    const int64_t rows = std::min(most_rows<T>, a.rows - top);
    for (int64_t first = 0; first < a.cols; first += most_terms) {
      const int64_t terms = std::min(most_terms, a.cols - first), end = first + terms;
      const blas::ConstMatrix<T> part{a.data + top * a.row_stride, rows, a.cols, a.row_stride, a.col_stride};
      for (int64_t j = 0; j < c.cols; j += columns<T>) {
        const int64_t cols = std::min(columns<T>, c.cols - j);
        const bool last = j + cols == c.cols;
        const Ahead ahead = !last ? lines_of_panel<T>(b, j + cols, first)
                            : end < a.cols ? lines_of_panel<T>(b, 0, end)
                            : top + rows < a.rows ? lines_of_panel<T>(b, 0, 0) : Ahead{};
        const int64_t most = copied && j == 0 ? copied_terms : most_terms;
        for (int64_t p = first, count; p < end; p += count) {
          count = std::min(most, end - p);
          const bool add_here = add || p > 0;
          const Block<T> block{.a = {a.data + top * a.row_stride + p * a.col_stride, rows, count, a.row_stride, a.col_stride},
                               .c = {c.data + top * c.row_stride, rows, c.cols, c.row_stride, 1},
                               .copied = copied ? copied + place_of_term<T>(a, p - first) : nullptr, .add = add_here,
                               .ending = part_of(ending.at(top, 0, c.row_stride), p == 0, p + count == a.cols)};
          if (copied && j == 0) begin_copy(block.a, block.copied);
          copy_panel<T>({b.data + p * b.row_stride + j * b.col_stride, count, cols, b.row_stride, b.col_stride}, panel);
          multiply_panel<T>(block, j, cols, panel, p + count == end ? ahead : lines_of_strip<T>(part, p + count, end - p - count));
        }
      }
    }
  }
}

#define WENGERT_INSTANTIATE(T)                                                                              \
  template bool panels_pay<T>(const blas::ConstMatrix<T>&, int64_t);                                       \
  template bool panels_join<T>(const blas::ConstMatrix<T>&, int64_t);                                      \
  template void panel_product<T>(const blas::ConstMatrix<T>&, const blas::ConstMatrix<T>&, bool,           \
                                 const blas::Ending<T>&, const blas::Matrix<T>&);
WENGERT_INSTANTIATE(float)
WENGERT_INSTANTIATE(double)
#undef WENGERT_INSTANTIATE

}  // namespace wengert::kernels
