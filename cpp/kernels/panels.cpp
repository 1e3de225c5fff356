#include "kernels/panels.h"

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/small_product.h"
#include "kernels/transpose.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t most_terms = 256;  // of a panel: 32 kB, what a first-level cache holds

template <class T>
inline constexpr int64_t columns = 128 / int64_t(sizeof(T));  // of a panel: two long vectors

// Rows of a panel's width.
struct CopyRows {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* from, int64_t stride, int64_t rows, T* to) {
    typedef T Vector [[gnu::vector_size(bytes)]];
    for (int64_t p = 0; p < rows; ++p, from += stride, to += columns<T>) {
      __builtin_prefetch(from + 16 * stride);
      __builtin_prefetch(from + 16 * stride + columns<T> / 2);
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

}  // namespace

// Measured on Zen 4, one thread: 105-112 of 118 Gflop/s where BLAS has 92-103, and less where a panel
// serves few rows, or where an `a` read across its rows does not fit the second-level cache.
template <class T>
bool panels_pay(const blas::ConstMatrix<T>& a, int64_t n) {
  return isa() == Isa::avx512 && a.rows >= 64 && n >= columns<T> && a.rows * n * a.cols > 1 << 20 &&
         (a.col_stride == 1 || lies_near<T>(a));
}

// The lines of the panel after that of columns j and terms `first`.
template <class T>
Ahead next_panel(const blas::ConstMatrix<T>& b, int64_t j, int64_t first) {
  first += most_terms;
  if (first >= b.rows) first = 0, j += columns<T>;
  return j < b.cols ? lines_of_panel<T>(b, j, first) : Ahead{};
}

template <class T>
void panel_product(const blas::ConstMatrix<T>& a, const blas::ConstMatrix<T>& b, bool add, const T* row, bool rectify,
                   const blas::Matrix<T>& c) {
  alignas(64) T panel[most_terms * columns<T>];
  ask(lines_of_panel<T>(b, 0, 0));  // nobody has asked for the first
  for (int64_t j = 0; j < c.cols; j += columns<T>) {
    const int64_t cols = std::min(columns<T>, c.cols - j);
    for (int64_t first = 0; first < a.cols; first += most_terms) {
      const int64_t terms = std::min(most_terms, a.cols - first);
      copy_panel<T>({b.data + first * b.row_stride + j * b.col_stride, terms, cols, b.row_stride, b.col_stride}, panel);
      const SmallProduct<T> p{.a = a.data + first * a.col_stride, .a_row = a.row_stride, .a_col = a.col_stride,
                              .b = panel, .b_row = columns<T>, .c = c.data + j, .c_row = c.row_stride, .m = c.rows,
                              .n = (cols + granule<T> - 1) / granule<T> * granule<T>, .k = terms,
                              .add = add || first > 0, .row = row && first == 0 ? row + j : nullptr,
                              .rectify = rectify && first + terms == a.cols, .far = j == 0, .ahead = next_panel<T>(b, j, first)};
      if (p.n == cols) small_product(p);
      else narrow_product(p, cols);
    }
  }
}

template bool panels_pay<float>(const blas::ConstMatrix<float>&, int64_t);
template bool panels_pay<double>(const blas::ConstMatrix<double>&, int64_t);
template void panel_product<float>(const blas::ConstMatrix<float>&, const blas::ConstMatrix<float>&, bool,
                                   const float*, bool, const blas::Matrix<float>&);
template void panel_product<double>(const blas::ConstMatrix<double>&, const blas::ConstMatrix<double>&, bool,
                                    const double*, bool, const blas::Matrix<double>&);

}  // namespace wengert::kernels
