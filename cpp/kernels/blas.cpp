// The only file that names BLAS: turns strided matrices into BLAS calls, or panels where those are
// faster, and splits large products over threads.
#include "kernels/blas.h"

#include <cblas.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/denormals.h"
#include "kernels/panels.h"
#include "kernels/small_product.h"
#include "kernels/tasks.h"
#include "kernels/transpose.h"

namespace wengert::blas {
namespace {

constexpr int64_t max_dim = std::numeric_limits<int>::max();
constexpr int64_t transposed_bytes = 1 << 16;

template <class T>
Matrix<T> transposed(Matrix<T> m) {
  return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

template <class T>
Matrix<T> block(Matrix<T> m, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  return {m.data + row * m.row_stride + col * m.col_stride, rows, cols, m.row_stride, m.col_stride};
}

// One operand as BLAS wants it: rows of unit stride, `ld` apart, or the transpose of such.
struct Layout {
  CBLAS_TRANSPOSE trans;
  int64_t ld;
};

bool rows_fit(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride, int64_t& ld) {
  ld = rows > 1 ? row_stride : std::max<int64_t>(cols, 1);
  return (col_stride == 1 || cols <= 1) && ld >= std::max<int64_t>(cols, 1) && ld <= max_dim;
}

template <class T>
bool layout_of(const Matrix<T>& m, Layout& layout) {
  layout.trans = CblasNoTrans;
  if (rows_fit(m.rows, m.cols, m.row_stride, m.col_stride, layout.ld)) return true;
  layout.trans = CblasTrans;
  return rows_fit(m.cols, m.rows, m.col_stride, m.row_stride, layout.ld);
}

int as_int(int64_t n) { return static_cast<int>(n); }

void cblas_gemm(Layout a_layout, Layout b_layout, int64_t m, int64_t n, int64_t k, float alpha,
                const float* a, const float* b, float beta, float* c, int64_t ldc) {
  scipy_cblas_sgemm(CblasRowMajor, a_layout.trans, b_layout.trans, as_int(m), as_int(n), as_int(k),
                    alpha, a, as_int(a_layout.ld), b, as_int(b_layout.ld), beta, c, as_int(ldc));
}

void cblas_gemm(Layout a_layout, Layout b_layout, int64_t m, int64_t n, int64_t k, double alpha,
                const double* a, const double* b, double beta, double* c, int64_t ldc) {
  scipy_cblas_dgemm(CblasRowMajor, a_layout.trans, b_layout.trans, as_int(m), as_int(n), as_int(k),
                    alpha, a, as_int(a_layout.ld), b, as_int(b_layout.ld), beta, c, as_int(ldc));
}

// y = alpha x @ b + beta y for the row vectors x and y, y of unit stride, and b of shape (k, n).
void cblas_gemv(Layout b_layout, int64_t n, int64_t k, float alpha, const float* b, const float* x,
                int64_t x_stride, float beta, float* y) {
  const bool plain = b_layout.trans == CblasNoTrans;
  scipy_cblas_sgemv(CblasRowMajor, plain ? CblasTrans : CblasNoTrans, as_int(plain ? k : n),
                    as_int(plain ? n : k), alpha, b, as_int(b_layout.ld), x, as_int(x_stride), beta,
                    y, 1);
}

void cblas_gemv(Layout b_layout, int64_t n, int64_t k, double alpha, const double* b,
                const double* x, int64_t x_stride, double beta, double* y) {
  const bool plain = b_layout.trans == CblasNoTrans;
  scipy_cblas_dgemv(CblasRowMajor, plain ? CblasTrans : CblasNoTrans, as_int(plain ? k : n),
                    as_int(plain ? n : k), alpha, b, as_int(b_layout.ld), x, as_int(x_stride), beta,
                    y, 1);
}

template <class T>
void scale(T beta, Matrix<T> c) {
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      T& element = c.data[i * c.row_stride + j * c.col_stride];
      element = beta == T(0) ? T(0) : beta * element;
    }
  }
}

// A contiguous copy for the matrices that have no BLAS layout.
template <class T>
class Packed {
 public:
  explicit Packed(Matrix<const T>& m) {
    Layout layout;
    if (layout_of(m, layout)) return;
    copy_ = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(m.rows * m.cols));
    const bool by_columns = std::abs(m.row_stride) < std::abs(m.col_stride);
    const Matrix<const T> from = by_columns ? transposed(m) : m;
    const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(from.cols, 1));
    parallel::parallel_for(from.rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = from.data + i * from.row_stride;
        T* out = copy_.get() + i * from.cols;
        for (int64_t j = 0; j < from.cols; ++j) out[j] = row[j * from.col_stride];
      }
    });
    const Matrix<const T> packed{copy_.get(), from.rows, from.cols, from.cols, 1};
    m = by_columns ? transposed(packed) : packed;
  }

 private:
  std::unique_ptr<T[]> copy_;
};

// OpenBLAS has kernels for small products where there is AVX-512. They beat its gemv, and are so
// much slower where b is transposed that to turn a copy of it first takes half the time.
template <class T>
bool copy_pays(int64_t m, int64_t n, int64_t k) {
  constexpr auto size = static_cast<int64_t>(sizeof(T));
  return n * k <= transposed_bytes / size && m * n * k <= 1 << 20 && (n >= 16 || k <= 16) &&
         m * (k + 48) >= 3 * size * k && transpose_is_fast();
}

bool gemv_pays(int64_t n, int64_t k, Layout b) {
  if (n * k > 1 << 17 || !transpose_is_fast()) return true;
  return b.trans == CblasTrans && k < 16 && n >= 64;
}

// Where b lies in the first-level cache and its rows are whole vectors, nothing has to be packed, and what BLAS
// spends around its kernels is up to a third of the time; in doubles it makes no difference. c = a @ b, or
// c += a @ b, or with `row` row + a @ b, rectified or not.
template <class T>
bool try_small(const Matrix<const T>& a, const Matrix<const T>& b, bool add, const T* row, bool rectify,
               const Matrix<T>& c) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  constexpr int64_t cached = (1 << 15) / int64_t(sizeof(T));
  if (sizeof(T) != 4 || m % 4 != 0 || n % kernels::granule<T> != 0 || n * k > cached || m * n * k > 1 << 20 ||
      !transpose_is_fast() || c.col_stride != 1)
    return false;
  if (b.col_stride != 1 && (b.row_stride != 1 || !copy_pays<T>(m, n, k))) return false;
  alignas(64) T copy[cached];
  const T* from = b.data;
  int64_t stride = b.row_stride;
  if (b.col_stride != 1) {
    transpose(b.data, b.col_stride, n, k, copy);
    from = copy, stride = n;
  }
  kernels::small_product<T>({.a = a.data, .a_row = a.row_stride, .a_col = a.col_stride, .b = from, .b_row = stride,
                             .c = c.data, .c_row = c.row_stride, .m = m, .n = n, .k = k, .add = add, .row = row,
                             .rectify = rectify});
  return true;
}

// Whether alpha a @ b + beta c is a @ b or c + a @ b.
template <class T>
bool is_sum(T alpha, T beta) {
  return alpha == T(1) && (beta == T(0) || beta == T(1));
}

// Does c = alpha a @ b + beta c in one BLAS call, or returns false where BLAS cannot express it.
template <class T>
bool try_blas(T alpha, const Matrix<const T>& a, const Matrix<const T>& b, T beta,
              const Matrix<T>& c) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  Layout a_layout, b_layout, c_layout;
  if (std::max({m, n, k}) > max_dim || !layout_of(a, a_layout) || !layout_of(b, b_layout) ||
      !layout_of(c, c_layout) || c_layout.trans != CblasNoTrans) {
    return false;
  }
  const int64_t a_step = k > 1 ? a.col_stride : 1;
  if (m == 1 && a_step >= 1 && a_step <= max_dim && gemv_pays(n, k, b_layout)) {
    cblas_gemv(b_layout, n, k, alpha, b.data, a.data, a_step, beta, c.data);
    return true;
  }
  const bool plain = is_sum(alpha, beta);
  if (plain && kernels::panels_pay<T>(a, n)) {
    kernels::panel_product<T>(a, b, beta == T(1), {}, c);
    return true;
  }
  if (plain && try_small<T>(a, b, beta == T(1), nullptr, false, c)) return true;
  if (b_layout.trans == CblasTrans && copy_pays<T>(m, n, k)) {
    alignas(64) T copy[transposed_bytes / sizeof(T)];
    transpose(b.data, b_layout.ld, n, k, copy);
    cblas_gemm(a_layout, {CblasNoTrans, n}, m, n, k, alpha, a.data, copy, beta, c.data,
               c_layout.ld);
    return true;
  }
  cblas_gemm(a_layout, b_layout, m, n, k, alpha, a.data, b.data, beta, c.data, c_layout.ld);
  return true;
}

// One BLAS call, with sizes beyond its integers in parts and what it cannot address in copies.
template <class T>
void gemm_one_thread(T alpha, Matrix<const T> a, Matrix<const T> b, T beta, Matrix<T> c) {
  if (try_blas<T>(alpha, a, b, beta, c)) return;
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  if (std::max({m, n, k}) > max_dim) {
    const int64_t rows = std::min(m, max_dim), cols = std::min(n, max_dim);
    for (int64_t i = 0; i < m; i += rows) {
      for (int64_t j = 0; j < n; j += cols) {
        const int64_t r = std::min(rows, m - i), s = std::min(cols, n - j);
        for (int64_t p = 0; p < k; p += max_dim) {
          const int64_t terms = std::min(max_dim, k - p);
          gemm_one_thread<T>(alpha, block(a, i, r, p, terms), block(b, p, terms, j, s),
                             p == 0 ? beta : T(1), block(c, i, r, j, s));
        }
      }
    }
    return;
  }
  const Packed<T> packed_a(a), packed_b(b);
  if (try_blas<T>(alpha, a, b, beta, c)) return;
  const auto product = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(m * n));
  try_blas<T>(alpha, a, b, T(0), {product.get(), m, n, n, 1});
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      T& element = c.data[i * c.row_stride + j * c.col_stride];
      element = product[i * n + j] + (beta == T(0) ? T(0) : beta * element);
    }
  }
}

// Integer products, a strip of columns at a time so that its rows of b stay in cache. The sums
// are unsigned: overflow wraps.
template <class T>
void naive_rows(Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  using U = std::make_unsigned_t<T>;
  constexpr int64_t width = 256;
  U sums[width];
  for (int64_t j = 0; j < c.cols; j += width) {
    const int64_t cols = std::min<int64_t>(width, c.cols - j);
    for (int64_t i = 0; i < c.rows; ++i) {
      std::fill_n(sums, cols, U(0));
      for (int64_t p = 0; p < a.cols; ++p) {
        const U x = static_cast<U>(a.data[i * a.row_stride + p * a.col_stride]);
        const T* row = b.data + p * b.row_stride + j * b.col_stride;
        if (b.col_stride == 1) {
          for (int64_t l = 0; l < cols; ++l) sums[l] += x * static_cast<U>(row[l]);
        } else {
          for (int64_t l = 0; l < cols; ++l) sums[l] += x * static_cast<U>(row[l * b.col_stride]);
        }
      }
      T* out = c.data + i * c.row_stride + j * c.col_stride;
      for (int64_t l = 0; l < cols; ++l) out[l * c.col_stride] = static_cast<T>(sums[l]);
    }
  }
}

struct Tiles {
  int64_t rows, cols;
};

// Each tile of BLAS copies its rows of a and its columns of b. As a part of the whole, halving a tile of r
// rows costs about 25 / r, one of c columns 42 / c; panels copy nothing of a, which leaves 8 / c. The
// cheaper way is taken, if it costs at most 8.5 % for the first cut and 3.5 % for the others.
template <class T>
Tiles tiles_for(const Matrix<const T>& a, int64_t n) {
  const int64_t m = a.rows, k = a.cols;
  Tiles tile{m, n};
  double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  if (work < 0x1p22) return tile;
  const bool panels = kernels::panels_pay<T>(a, n);
  for (int count = 2; count <= 16; count *= 2) {
    work /= 2;
    if (work < (count == 2 && panels ? 0x1p21 : 0x1p23)) break;
    const double by_rows = 25.0 / static_cast<double>(tile.rows);
    const double by_cols = (panels ? 8.0 : 42.0) / static_cast<double>(tile.cols);
    if (std::min(by_rows, by_cols) > (count == 2 ? 0.085 : 0.035)) break;
    int64_t& cut = by_rows < by_cols ? tile.rows : tile.cols;
    const int64_t granule = &cut == &tile.cols && panels ? 128 / int64_t(sizeof(T)) : 16;
    cut = (cut / 2 + granule - 1) / granule * granule;
  }
  return tile;
}

// Whether the first and the last tile are products by panels, and so are all: then no bit depends on the tiles.
template <class T>
bool tiles_are_panels(const Matrix<const T>& a, int64_t n, Tiles tile) {
  const int64_t rows = (a.rows - 1) % tile.rows + 1, cols = (n - 1) % tile.cols + 1;
  return kernels::panels_pay<T>(block(a, 0, tile.rows, 0, a.cols), tile.cols) &&
         kernels::panels_pay<T>(block(a, 0, rows, 0, a.cols), cols);
}

// One thread does not need tiles, of which each copies panels that another has copied: if the whole is a product by
// panels, too.
template <class T>
Tiles tiles_of_thread(const Matrix<const T>& a, int64_t n, Tiles tile) {
  return parallel::is_alone() && kernels::panels_pay<T>(a, n) ? Tiles{a.rows, n} : tile;
}

// Whether the product is long enough to wake a thread for a part of it.
bool worth_waking(int64_t m, int64_t n, int64_t k) { return double(m) * double(n) * double(k) >= 0x1p24; }

// Out of line: what it takes to hold copies and run tiles would slow the small products.
template <class T>
[[gnu::noinline]] void gemm_in_tiles(T alpha, Matrix<const T> a, Matrix<const T> b, T beta,
                                     Matrix<T> c, Tiles tile) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  const Packed<T> packed_a(a), packed_b(b);
  if (is_sum(alpha, beta) && tiles_are_panels(a, n, tile)) tile = tiles_of_thread(a, n, tile);
  const int64_t across = (n - 1) / tile.cols + 1, down = (m - 1) / tile.rows + 1;
  parallel::run_tasks(down * across, [&](int64_t t) {
    const kernels::FlushDenormals on_this_thread;
    const int64_t i = t / across * tile.rows, j = t % across * tile.cols;
    const int64_t rows = std::min(tile.rows, m - i), cols = std::min(tile.cols, n - j);
    gemm_one_thread<T>(alpha, block(a, i, rows, 0, k), block(b, 0, k, j, cols), beta,
                       block(c, i, rows, j, cols));
  }, worth_waking(m, n, k));
}

template <class T>
void gemm_row_major(T alpha, const Matrix<const T>& a, const Matrix<const T>& b, T beta,
                    const Matrix<T>& c) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  if (m == 0 || n == 0) return;
  if (k == 0) return scale(beta, c);
  const Tiles tile = tiles_for(a, n);
  if (tile.rows == m && tile.cols == n && try_blas<T>(alpha, a, b, beta, c)) return;
  gemm_in_tiles<T>(alpha, a, b, beta, c, tile);
}

}  // namespace

void initialise() { scipy_openblas_set_num_threads(1); }

bool is_one_task(int64_t m, int64_t n, int64_t k) {
  const Tiles tile = tiles_for(Matrix<const float>{nullptr, m, k, k, 1}, n);
  return tile.rows == m && tile.cols == n;
}

const char* config() {
  static const std::string text =
      std::string(scipy_openblas_get_config()) + ", core " + scipy_openblas_get_corename();
  return text.c_str();
}

template <class T>
void gemm(std::type_identity_t<T> alpha, const ConstMatrix<T>& a, const ConstMatrix<T>& b,
          std::type_identity_t<T> beta, const Matrix<T>& c) {
  const kernels::FlushDenormals flush;
  // Rows of c with unit stride, and a row rather than a column of results, where there is a choice.
  if (c.row_stride == 1 && c.rows > 1 && (c.col_stride != 1 || c.cols == 1)) {
    return gemm_row_major<T>(alpha, transposed(b), transposed(a), beta, transposed(c));
  }
  gemm_row_major<T>(alpha, a, b, beta, c);
}

// Whether each tile of the product can end so.
template <class T>
bool tiles_join(const Matrix<const T>& a, int64_t n, Tiles tile) {
  return tiles_are_panels(a, n, tile) && kernels::panels_join<T>(a, tile.cols) &&
         kernels::panels_join<T>(a, (n - 1) % tile.cols + 1);
}

template <class T>
bool gemm_joins(int64_t m, int64_t n, int64_t k) {
  const Matrix<const T> a{nullptr, m, k, k, 1};
  return m > 0 && n > 0 && k > 0 && tiles_join(a, n, tiles_for(a, n));
}

// Out of line, as gemm_in_tiles.
template <class T>
[[gnu::noinline]] bool panels_with(const Ending<T>& ending, const Matrix<const T>& a, const Matrix<const T>& b,
                                   const Matrix<T>& c) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  Tiles tile = tiles_for(a, n);
  if (c.col_stride != 1 || !kernels::panels_pay<T>(block(a, 0, tile.rows, 0, k), tile.cols)) return false;
  // Without a row the bits are those of `gemm`, which leaves the last tiles to BLAS where they are narrow.
  if (!ending.row && !tiles_are_panels(a, n, tile)) return false;
  if (ending.joins() && !tiles_join(a, n, tile)) return false;
  const int64_t rows_apart = tile.rows;  // sums have the bits that threads would leave
  tile = tiles_of_thread(a, n, tile);
  if (ending.sums) tile.rows = rows_apart;
  const int64_t across = (n - 1) / tile.cols + 1, down = (m - 1) / tile.rows + 1;
  thread_local std::vector<double> room;  // kept: a replay takes no memory
  room.assign(ending.sums && down > 1 ? std::size_t(down * n) : 0, 0.0);
  double* apart = room.empty() ? nullptr : room.data();  // of each row of tiles: added up in their order
  parallel::run_tasks(down * across, [&](int64_t t) {
    const kernels::FlushDenormals on_this_thread;
    const int64_t i = t / across * tile.rows, j = t % across * tile.cols;
    const int64_t rows = std::min(tile.rows, m - i), cols = std::min(tile.cols, n - j);
    Ending<T> own = ending.at(i, j, c.row_stride);
    if (apart) own.sums = apart + t / across * n + j;
    kernels::panel_product<T>(block(a, i, rows, 0, k), block(b, 0, k, j, cols), false, own, block(c, i, rows, j, cols));
  }, worth_waking(m, n, k));
  for (int64_t i = 0; apart && i < down * n; ++i) ending.sums[i % n] += apart[i];
  return true;
}

template <class T>
bool gemm_with(const Ending<T>& ending, const ConstMatrix<T>& a, const ConstMatrix<T>& b, const Matrix<T>& c) {
  if (c.rows == 0 || c.cols == 0 || a.cols == 0) return false;
  const kernels::FlushDenormals flush;
  return (!ending.joins() && try_small<T>(a, b, false, ending.row, ending.rectify, c)) ||
         panels_with<T>(ending, a, b, c);
}

template <class T>
void gemm_batched(int64_t batch, std::type_identity_t<T> alpha, ConstMatrix<T> a, int64_t stride_a,
                  ConstMatrix<T> b, int64_t stride_b, std::type_identity_t<T> beta, Matrix<T> c,
                  int64_t stride_c) {
  const int64_t m = c.rows, n = c.cols, k = a.cols;
  if (batch == 0 || m == 0 || n == 0) return;
  // Items that share b and lie under each other are one tall matrix; that share a, one wide one.
  if (m == 1) a.row_stride = stride_a, c.row_stride = stride_c;
  if (n == 1) b.col_stride = stride_b, c.col_stride = stride_c;
  if (stride_b == 0 && stride_a == m * a.row_stride && stride_c == m * c.row_stride) {
    a.rows = c.rows = batch * m;
    return gemm<T>(alpha, a, b, beta, c);
  }
  if (stride_a == 0 && stride_b == n * b.col_stride && stride_c == n * c.col_stride) {
    b.cols = c.cols = batch * n;
    return gemm<T>(alpha, a, b, beta, c);
  }
  const auto item = [&](int64_t i) {
    Matrix<const T> ai = a, bi = b;
    Matrix<T> ci = c;
    ai.data += i * stride_a;
    bi.data += i * stride_b;
    ci.data += i * stride_c;
    gemm<T>(alpha, ai, bi, beta, ci);
  };
  const Tiles tile = tiles_for(a, n);
  if (tile.rows < m || tile.cols < n) {  // each item has work for all threads
    for (int64_t i = 0; i < batch; ++i) item(i);
    return;
  }
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const auto grain = static_cast<int64_t>(std::max(1.0, 0x1p22 / std::max(work, 1.0)));
  parallel::run_tasks((batch - 1) / grain + 1, [&](int64_t t) {
    const kernels::FlushDenormals on_this_thread;
    for (int64_t i = t * grain; i < std::min(batch, (t + 1) * grain); ++i) item(i);
  });
}

template <class T>
void gemm_naive(ConstMatrix<T> a, ConstMatrix<T> b, Matrix<T> c) {
  const int64_t work = std::max<int64_t>(c.cols * a.cols, 1);
  parallel::parallel_for(c.rows, std::max<int64_t>(1, (1 << 18) / work),
                         [&](int64_t begin, int64_t end) {
                           naive_rows<T>(block(a, begin, end - begin, 0, a.cols), b,
                                         block(c, begin, end - begin, 0, c.cols));
                         });
}

#define WENGERT_INSTANTIATE(T)                                                                  \
  template void gemm<T>(T, const ConstMatrix<T>&, const ConstMatrix<T>&, T, const Matrix<T>&);   \
  template bool gemm_with<T>(const Ending<T>&, const ConstMatrix<T>&, const ConstMatrix<T>&,     \
                             const Matrix<T>&);                                                  \
  template bool gemm_joins<T>(int64_t, int64_t, int64_t);                                         \
  template void gemm_batched<T>(int64_t, T, ConstMatrix<T>, int64_t, ConstMatrix<T>, int64_t, T, \
                                Matrix<T>, int64_t);
WENGERT_INSTANTIATE(float)
WENGERT_INSTANTIATE(double)
#undef WENGERT_INSTANTIATE

template void gemm_naive<uint8_t>(ConstMatrix<uint8_t>, ConstMatrix<uint8_t>, Matrix<uint8_t>);
template void gemm_naive<int32_t>(ConstMatrix<int32_t>, ConstMatrix<int32_t>, Matrix<int32_t>);
template void gemm_naive<int64_t>(ConstMatrix<int64_t>, ConstMatrix<int64_t>, Matrix<int64_t>);

}  // namespace wengert::blas
