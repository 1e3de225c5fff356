#include "kernels/matmul.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/blas.h"
#include "kernels/chain.h"
#include "kernels/copy.h"
#include "kernels/parallel.h"
#include "kernels/reduce.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

// Axes in front of the two of a matrix; a stride of 0 where an operand is broadcast.
struct BatchAxis {
  int64_t size, a, b, c;
};
using BatchAxes = SmallVector<BatchAxis, 4>;

template <class T>
struct Product {
  blas::Matrix<const T> a, b;
  blas::Matrix<T> c;
};

// Field by field: copies of matrices just made would wait for their numbers to reach memory.
template <class T>
void set_matrix(blas::Matrix<const T>& m, const Array& x, bool vector_is_row) {
  m.data = x.data<T>();
  const std::size_t n = x.shape().size();
  const int64_t size = x.shape()[n - 1], stride = x.strides()[n - 1];
  if (n == 1) {
    m.rows = vector_is_row ? 1 : size;
    m.cols = vector_is_row ? size : 1;
    m.row_stride = vector_is_row ? size : stride;
    m.col_stride = vector_is_row ? stride : 1;
    return;
  }
  m.rows = x.shape()[n - 2];
  m.cols = size;
  m.row_stride = x.strides()[n - 2];
  m.col_stride = stride;
}

template <class T>
Product<T> product_of(const Array& a, const Array& b, const Array& out) {
  Product<T> p;
  set_matrix(p.a, a, true);
  set_matrix(p.b, b, false);
  p.c.data = out.data<T>();
  p.c.rows = p.a.rows;
  p.c.cols = p.c.row_stride = p.b.cols;
  p.c.col_stride = 1;
  return p;
}

// Axes merged where all three operands can walk them as one.
BatchAxes batch_axes(const Array& a, const Array& b, const Array& out, int64_t items) {
  BatchAxes axes;
  const std::size_t lead_a = a.shape().size() > 2 ? a.shape().size() - 2 : 0;
  const std::size_t lead_b = b.shape().size() > 2 ? b.shape().size() - 2 : 0;
  const std::size_t lead = std::max(lead_a, lead_b);
  auto stride = [&](const Array& x, std::size_t own, std::size_t axis) {
    if (axis + own < lead) return int64_t(0);
    const std::size_t i = axis + own - lead;
    return x.shape()[i] == 1 ? 0 : x.strides()[i];
  };
  for (std::size_t i = 0; i < lead; ++i) {
    const int64_t size = out.shape()[i];
    if (size == 1) continue;
    const BatchAxis axis{size, stride(a, lead_a, i), stride(b, lead_b, i), 0};
    if (!axes.empty() && axes.back().a == axis.a * size && axes.back().b == axis.b * size)
      axes.back() = {axes.back().size * size, axis.a, axis.b, 0};
    else
      axes.push_back(axis);
  }
  for (std::size_t i = axes.size(); i-- > 0;) {
    axes[i].c = items;
    items *= axes[i].size;
  }
  return axes;
}

// Items that share b and lie under each other are one tall matrix.
template <class T>
void fold_rows(Product<T>& p, BatchAxes& axes) {
  while (!axes.empty() && axes.back().b == 0) {
    const BatchAxis& axis = axes.back();
    if (p.c.rows == 1)
      p.a.row_stride = axis.a;
    else if (axis.a != p.c.rows * p.a.row_stride)
      return;
    p.a.rows = p.c.rows *= axis.size;
    axes.pop_back();
  }
}

template <class T>
void run_items(const Product<T>& p, const BatchAxis& axis, T beta) {
  if constexpr (std::is_floating_point_v<T>) {
    if (axis.size == 1)
      blas::gemm<T>(1, p.a, p.b, beta, p.c);
    else
      blas::gemm_batched<T>(axis.size, 1, p.a, axis.a, p.b, axis.b, beta, p.c, axis.c);
  } else {
    Product<T> item = p;
    for (int64_t i = 0; i < axis.size; ++i) {
      blas::gemm_naive<T>(item.a, item.b, item.c);
      item.a.data += axis.a, item.b.data += axis.b, item.c.data += axis.c;
    }
  }
}

// The largest axis goes to BLAS in one call; the others are walked here.
template <class T>
void run_batch(const Product<T>& p, BatchAxes axes, T beta) {
  BatchAxis inner{1, 0, 0, 0};
  if (!axes.empty()) {
    std::size_t largest = axes.size() - 1;
    for (std::size_t i = axes.size(); i-- > 0;)
      if (axes[i].size > axes[largest].size) largest = i;
    inner = axes[largest];
    axes.erase(largest);
  }
  int64_t outer = 1;
  for (const BatchAxis& axis : axes) outer *= axis.size;
  if (outer == 1) return run_items(p, inner, beta);
  constexpr double worth_a_task = 0x1p22;  // multiply-adds
  const double work = double(p.c.rows) * double(p.c.cols) * double(p.a.cols) * double(inner.size);
  const auto grain = int64_t(std::max(1.0, worth_a_task / std::max(work, 1.0)));
  parallel::parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      Product<T> at = p;
      int64_t rest = item;
      for (std::size_t i = axes.size(); i-- > 0;) {
        const int64_t index = rest % axes[i].size;
        rest /= axes[i].size;
        at.a.data += index * axes[i].a;
        at.b.data += index * axes[i].b;
        at.c.data += index * axes[i].c;
      }
      run_items(at, inner, beta);
    }
  });
}

// out = a @ b + beta out
template <class T>
void multiply(const Array& a, const Array& b, const Array& out, T beta) {
  Product<T> p = product_of<T>(a, b, out);
  if (a.ndim() <= 2 && b.ndim() <= 2) return run_items<T>(p, {1, 0, 0, 0}, beta);
  if (out.size() == 0) return;
  BatchAxes axes = batch_axes(a, b, out, p.c.rows * p.c.cols);
  fold_rows(p, axes);
  run_batch(p, std::move(axes), beta);
}

// Whether a factor of some product may hold something not finite. A row of a (column of b) that does
// shows it in every number of that row (column): x * inf is inf, 0 * inf NaN, and no sum heals either.
template <class T>
bool touched(const Product<T>& p, int64_t size) {
  using Flag = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;  // as wide, for vectors
  const int64_t rows = p.c.rows, cols = p.c.cols, item = rows * cols;
  constexpr T largest = std::numeric_limits<T>::max();
  Flag found = 0;
  for (int64_t first = 0; item && first < size; first += item) {
    const T* c = p.c.data + first;
    for (int64_t j = 0; j < cols; ++j) found |= Flag(!(std::abs(c[j]) <= largest));
    for (int64_t i = 0; i < rows; ++i) found |= Flag(!(std::abs(c[i * cols]) <= largest));
  }
  return found != 0;
}

// x with zeros for what is not finite, and where that was.
template <class T>
struct Cleaned {
  struct Found {
    int64_t place;
    T value;
  };
  Array array;
  std::vector<Found> found;

  explicit Cleaned(const Array& x) : array(contiguous_copy(x)) {
    T* data = array.data<T>();
    for (int64_t i = 0; i < array.size(); ++i)
      if (!std::isfinite(data[i])) found.push_back({i, std::exchange(data[i], T(0))});
  }
};

// The product of the finite parts, then the rest term by term.
template <class T>
void absorb(const Array& left, const Array& right, const Array& out) {
  const Cleaned<T> a(left), b(right);
  multiply<T>(a.array, b.array, out, T(0));
  const Product<T> p = product_of<T>(a.array, b.array, out);
  const BatchAxes axes = batch_axes(a.array, b.array, out, p.c.rows * p.c.cols);
  int64_t items = 1;
  for (const BatchAxis& axis : axes) items *= axis.size;
  const Array whole = contiguous_copy(right);
  for (int64_t item = 0; item < items; ++item) {
    int64_t rest = item, at_a = 0, at_b = 0, at_c = 0;
    for (std::size_t i = axes.size(); i-- > 0; rest /= axes[i].size) {
      const int64_t index = rest % axes[i].size;
      at_a += index * axes[i].a, at_b += index * axes[i].b, at_c += index * axes[i].c;
    }
    const int64_t inner = p.a.cols, cols = p.c.cols;
    T* c = p.c.data + at_c;
    for (const auto& [place, value] : a.found) {
      const int64_t inside = place - at_a, row = inside / inner, k = inside % inner;
      if (inside < 0 || row >= p.a.rows) continue;
      const T* line = whole.data<T>() + at_b + k * cols;
      for (int64_t j = 0; j < cols; ++j)
        if (line[j] != 0) c[row * cols + j] += value * line[j];
    }
    for (const auto& [place, value] : b.found) {
      const int64_t inside = place - at_b, k = inside / cols, col = inside % cols;
      if (inside < 0 || k >= inner) continue;
      for (int64_t i = 0; i < p.a.rows; ++i)  // what is not finite there is 0 here, and has been counted
        if (const T v = p.a.data[at_a + i * inner + k]; v != 0) c[i * cols + col] += v * value;
    }
  }
}

struct Rectify {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(T* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] <= 0 ? T(0) : x[i];
  }
};

struct AddTo {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(T* x, const T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] += y[i];
  }
};

struct ChainWith {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(T* x, const T* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = chain(x[i], y[i]);
  }
};

template <class T>
bool all_finite(const T* x, int64_t n) {
  bool all = true;
  for (int64_t i = 0; i < n; ++i) all &= std::abs(x[i]) <= std::numeric_limits<T>::max();
  return all;
}

// The product as that of two matrices, unless its items are several.
template <class T>
bool is_one_product(Product<T>& p, const Array& a, const Array& b, const Array& out) {
  if (a.ndim() <= 2 && b.ndim() <= 2) return true;
  BatchAxes axes = batch_axes(a, b, out, p.c.rows * p.c.cols);
  fold_rows(p, axes);
  return axes.empty();
}

template <class T>
void repeat_row(const T* row, int64_t stride, T* out, int64_t rows, int64_t cols) {
  if (rows == 0 || cols == 0) return;
  constexpr int64_t grain = 1 << 15;
  parallel::parallel_for(rows, std::max<int64_t>(1, grain / cols), [&](int64_t begin, int64_t end) {
    T* first = out + begin * cols;
    for (int64_t j = 0; j < cols; ++j) first[j] = row[j * stride];
    const int64_t all = (end - begin) * cols;
    for (int64_t done = cols; done < all; done *= 2)  // copied twice as many each time
      std::memcpy(first + done, first, std::size_t(std::min(done, all - done)) * sizeof(T));
  });
}

}  // namespace

void matmul(const Array& a, const Array& b, const Array& out) {
  dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same_v<T, bool>) multiply<T>(a, b, out, T(0));
  });
}

void chain_matmul(const Array& a, const Array& b, const Array& out) {
  auto run = [&]<class T>(TypeTag<T>) {
    multiply<T>(a, b, out, T(0));
    if (touched<T>(product_of<T>(a, b, out), out.size())) absorb<T>(a, b, out);
  };
  for_floats(out.dtype(), run);
}

void linear(const Array& x, const Array& weight, const Array* bias, const LinearEnd& end, const Array& out) {
  const Array transposed = weight.view({weight.shape()[1], weight.shape()[0]},
                                       {weight.strides()[1], weight.strides()[0]}, weight.offset());
  const int64_t cols = weight.shape()[0];
  auto run = [&]<class T>(TypeTag<T>) {
    if (bias ? bias->strides()[0] == 1 : end.rectify || end.plus) {
      Product<T> p = product_of<T>(x, transposed, out);
      const blas::Ending<T> ending{.row = bias ? bias->data<T>() : nullptr, .rectify = end.rectify,
                                   .plus = end.plus ? end.plus->data<T>() : nullptr};
      if (is_one_product(p, x, transposed, out) && !(end.plus && !end.plus->is_contiguous()) &&
          blas::gemm_with<T>(ending, p.a, p.b, p.c))
        return;
    }
    if (bias)  // waits in the output: one pass of the product adds to it
      repeat_row<T>(bias->data<T>(), bias->strides()[0], out.data<T>(),
                    cols ? out.size() / cols : 0, cols);
    multiply<T>(x, transposed, out, T(bias ? 1 : 0));
    const Array more = end.plus ? contiguous(*end.plus) : Array();
    if (end.rectify || end.plus)
      parallel::parallel_for(out.size(), 1 << 15, [&](int64_t begin, int64_t stop) {
        if (end.rectify) for_isa<Rectify>(out.data<T>() + begin, stop - begin);
        if (end.plus) for_isa<AddTo, T*, const T*>(out.data<T>() + begin, more.data<T>() + begin, stop - begin);
      });
  };
  for_floats(out.dtype(), run);
}

void slope_product(const Array& a, const Array& b, const Array& slope, const Array& out, const Array& sums) {
  const Array times = contiguous(slope);
  auto run = [&]<class T>(TypeTag<T>) {
    thread_local std::vector<double> room;  // kept: a replay takes no memory
    room.assign(std::size_t(sums.size()), 0.0);
    double* totals = room.data();
    Product<T> p = product_of<T>(a, b, out);
    if (is_one_product(p, a, b, out) && blas::gemm_with<T>({.times = times.data<T>(), .sums = totals}, p.a, p.b, p.c)) {
      T* total = sums.data<T>();
      for (int64_t j = 0; j < sums.size(); ++j) total[j] = T(totals[j]);
      if (all_finite(total, sums.size())) return;  // and so is all that was added up
    }
    chain_matmul(a, b, out);
    parallel::parallel_for(out.size(), 1 << 15, [&](int64_t begin, int64_t end) {
      for_isa<ChainWith, T*, const T*>(out.data<T>() + begin, times.data<T>() + begin, end - begin);
    });
    Ints axes;
    for (int64_t axis = 0; axis + 1 < out.ndim(); ++axis) axes.push_back(axis);
    reduce(Fold::sum, out, axes, sums);
  };
  for_floats(out.dtype(), run);
}

bool product_joins(DType dtype, int64_t m, int64_t n, int64_t k) {
  return dtype == DType::float32 ? blas::gemm_joins<float>(m, n, k)
                                 : dtype == DType::float64 && blas::gemm_joins<double>(m, n, k);
}

}  // namespace wengert::kernels
