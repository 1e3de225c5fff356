#include "kernels/softmax.h"

#include <limits>
#include <vector>

#include "kernels/copy.h"
#include "kernels/denormals.h"
#include "kernels/lanes.h"
#include "kernels/math.h"
#include "kernels/parallel.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;  // elements a task takes

template <class T>
inline constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

int64_t rows_a_task(int64_t n) { return std::max<int64_t>(1, grain / std::max<int64_t>(n, 1)); }

// Taken for a maximum of -inf, so that x - m is defined.
template <class T>
[[gnu::always_inline]] inline T finite_max(T m) {
  return m == minus_infinity<T> ? T(0) : m;
}

// The largest element, NaN left out.
template <class T>
[[gnu::always_inline]] inline T row_max(const T* x, int64_t n) {
  Block<T> most = filled(minus_infinity<T>);
  for_blocks<T>(0, n, [&](int64_t i, int64_t left) {
    const Block<T> block = load(x + i, left, minus_infinity<T>);
    for (int j = 0; j < lanes<T>; ++j)
      most.at[j] = block.at[j] > most.at[j] ? block.at[j] : most.at[j];
  });
  for (int width = lanes<T> / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j)
      most.at[j] = most.at[j + width] > most.at[j] ? most.at[j + width] : most.at[j];
  return finite_max(most.at[0]);
}

// exp(x - m), 0 in the padding. Its sum is 0 for a row without mass, at least 1 for others, or NaN.
template <class T>
[[gnu::always_inline]] inline Block<T> exponentials(const T* x, int64_t left, T m) {
  Block<T> block = load(x, left, minus_infinity<T>);
  for (int j = 0; j < lanes<T>; ++j) block.at[j] = math::exp(block.at[j] - m);
  if (left < lanes<T>)  // an infinite maximum makes NaN of the padding too
    for (int j = int(left); j < lanes<T>; ++j) block.at[j] = T(0);
  return block;
}

template <int bytes, class T>
[[gnu::always_inline]] inline T exp_sum(const T* x, int64_t n, T m) {
  return T(sum_blocks<bytes, T>(
      n, [&](int64_t i, int64_t left) { return exponentials(x + i, left, m); }));
}

template <class T>
[[gnu::always_inline]] inline T inverse_of(T sum) {
  return sum == T(0) ? T(0) : T(1) / sum;
}
template <class T>
[[gnu::always_inline]] inline T log_of(T sum) {
  return sum == T(0) ? T(0) : math::log(sum);
}

// Each operation twice: `row` for one contiguous row, `columns` for as many columns as a block has
// lanes, `stride` apart from one element of a column to the next.
struct Softmax {
  template <int bytes, class T>
  [[gnu::always_inline]] static void row(const T* x, const T*, T* out, int64_t n) {
    const T m = row_max(x, n);
    const T sum = T(sum_blocks<bytes, T>(n, [&](int64_t i, int64_t left) {
      const Block<T> block = exponentials(x + i, left, m);
      store(block, out + i, left);
      return block;
    }));
    const T inverse = inverse_of(sum);
    for (int64_t i = 0; i < n; ++i) out[i] *= inverse;
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const T* x, const T*, T* out, int64_t n,
                                             int64_t stride) {
    const Block<T> m = column_max(x, n, stride);
    Block<T> sums = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        const T e = math::exp(x[i * stride + j] - m.at[j]);
        out[i * stride + j] = e;
        sums.at[j] += e;
      }
    for (int j = 0; j < lanes<T>; ++j) sums.at[j] = inverse_of(sums.at[j]);
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) out[i * stride + j] *= sums.at[j];
  }
  template <class T>
  [[gnu::always_inline]] static Block<T> column_max(const T* x, int64_t n, int64_t stride) {
    Block<T> m = filled(minus_infinity<T>);
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j)
        m.at[j] = x[i * stride + j] > m.at[j] ? x[i * stride + j] : m.at[j];
    for (int j = 0; j < lanes<T>; ++j) m.at[j] = finite_max(m.at[j]);
    return m;
  }
};

struct LogSoftmax {
  template <int bytes, class T>
  [[gnu::always_inline]] static void row(const T* x, const T*, T* out, int64_t n) {
    const T m = row_max(x, n);
    const T log_sum = log_of(exp_sum<bytes>(x, n, m));
    for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - m) - log_sum;
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const T* x, const T*, T* out, int64_t n,
                                             int64_t stride) {
    const Block<T> m = Softmax::column_max(x, n, stride);
    const Block<T> log_sum = log_sums(x, n, stride, m);
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j)
        out[i * stride + j] = (x[i * stride + j] - m.at[j]) - log_sum.at[j];
  }
  template <class T>
  [[gnu::always_inline]] static Block<T> log_sums(const T* x, int64_t n, int64_t stride,
                                                  const Block<T>& m) {
    Block<T> sums = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) sums.at[j] += math::exp(x[i * stride + j] - m.at[j]);
    for (int j = 0; j < lanes<T>; ++j) sums.at[j] = log_of(sums.at[j]);
    return sums;
  }
};

template <class T>
[[gnu::always_inline]] inline void fill_zero(T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = T(0);
}

struct SoftmaxGrad {
  template <int bytes, class T>
  [[gnu::always_inline]] static void row(const T* g, const T* y, T* out, int64_t n) {
    const T mean = T(sum_blocks<bytes, T>(n, [&](int64_t i, int64_t left) {
      Block<T> a = load(g + i, left, T(0));
      const Block<T> b = load(y + i, left, T(0));
      for (int j = 0; j < lanes<T>; ++j) a.at[j] *= b.at[j];
      return a;
    }));
    if (mean != mean && all_zero(g, n)) return fill_zero(out, n);
    for (int64_t i = 0; i < n; ++i) out[i] = y[i] * (g[i] - mean);
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const T* g, const T* y, T* out, int64_t n,
                                             int64_t stride) {
    Block<T> mean = filled(T(0)), asked = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        mean.at[j] += g[i * stride + j] * y[i * stride + j];
        asked.at[j] += g[i * stride + j] == T(0) ? T(0) : T(1);
      }
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        const T d = y[i * stride + j] * (g[i * stride + j] - mean.at[j]);
        out[i * stride + j] = asked.at[j] == T(0) ? T(0) : d;
      }
  }
};

struct LogSoftmaxGrad {
  template <int bytes, class T>
  [[gnu::always_inline]] static void row(const T* g, const T* y, T* out, int64_t n) {
    const T sum = T(
        sum_blocks<bytes, T>(n, [&](int64_t i, int64_t left) { return load(g + i, left, T(0)); }));
    Block<T> mass = filled(T(0));
    for_blocks<T>(0, n, [&](int64_t i, int64_t left) {
      const Block<T> block = load(y + i, left, minus_infinity<T>);
      for (int j = 0; j < lanes<T>; ++j)
        mass.at[j] += block.at[j] == minus_infinity<T> ? T(0) : T(1);
    });
    for_blocks<T>(0, n, [&](int64_t i, int64_t left) {
      Block<T> block = exponentials(y + i, left, T(0));
      const Block<T> own = load(g + i, left, T(0));
      for (int j = 0; j < lanes<T>; ++j) block.at[j] = own.at[j] - block.at[j] * sum;
      store(block, out + i, left);
    });
    for (int width = lanes<T> / 2; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) mass.at[j] += mass.at[j + width];
    if (mass.at[0] == T(0) || (sum == T(0) && all_zero(g, n))) fill_zero(out, n);
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const T* g, const T* y, T* out, int64_t n,
                                             int64_t stride) {
    Block<T> sum = filled(T(0)), mass = filled(T(0)), asked = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        sum.at[j] += g[i * stride + j];
        mass.at[j] += y[i * stride + j] == minus_infinity<T> ? T(0) : T(1);
        asked.at[j] += g[i * stride + j] == T(0) ? T(0) : T(1);
      }
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        const T d = g[i * stride + j] - math::exp(y[i * stride + j]) * sum.at[j];
        out[i * stride + j] = mass.at[j] * asked.at[j] == T(0) ? T(0) : d;
      }
  }
};

template <class F>
struct Rows {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* a, const T* b, T* out, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; ++r)
      F::template row<bytes>(a + r * n, b ? b + r * n : nullptr, out + r * n, n);
  }
};
template <class F>
struct Columns {
  template <int, class T>
  [[gnu::always_inline]] static void run(const T* a, const T* b, T* out, int64_t n,
                                         int64_t stride) {
    F::columns(a, b, out, n, stride);
  }
};

// Rows at least this long go one by one; shorter ones fill the lanes of a block side by side.
constexpr int64_t long_row = 48;

// `cols` columns as a whole block of them, padded with zeros, and back. Element i of column c lies
// at i * step + c * across.
struct Strip {
  int64_t n, cols, step, across;
};
template <class T>
void gather(const T* from, const Strip& s, T* to) {
  if (s.cols < lanes<T>) std::fill_n(to, s.n * lanes<T>, T(0));
  for (int64_t c = 0; c < s.cols; ++c)
    for (int64_t i = 0; i < s.n; ++i) to[i * lanes<T> + c] = from[i * s.step + c * s.across];
}
template <class T>
void scatter(const T* from, const Strip& s, T* to) {
  for (int64_t c = 0; c < s.cols; ++c)
    for (int64_t i = 0; i < s.n; ++i) to[i * s.step + c * s.across] = from[i * lanes<T> + c];
}

// F along `axis` of contiguous operands; b may be null.
template <class F, class T>
void along(const T* a, const T* b, T* out, const Shape& shape, int axis) {
  const int64_t n = shape[std::size_t(axis)];
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= shape[std::size_t(i)];
  for (std::size_t i = std::size_t(axis) + 1; i < shape.size(); ++i) inner *= shape[i];
  if (n == 0 || outer == 0 || inner == 0) return;
  if (inner == 1 && (n >= long_row || outer == 1)) {
    parallel::parallel_for(outer, rows_a_task(n), [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      for_isa<Rows<F>>(a + begin * n, b ? b + begin * n : b, out + begin * n, end - begin, n);
    });
    return;
  }
  const bool is_last = inner == 1;
  const int64_t width = is_last ? outer : inner, strips = (width + lanes<T> - 1) / lanes<T>;
  parallel::parallel_for(
      (is_last ? 1 : outer) * strips, rows_a_task(n * lanes<T>), [&](int64_t begin, int64_t end) {
        const FlushDenormals flush;
        std::vector<T> room_a, room_b, result;
        for (int64_t s = begin; s < end; ++s) {
          const int64_t column = s % strips * lanes<T>,
                        at = s / strips * n * inner + column * (is_last ? n : 1);
          const Strip strip{n, std::min<int64_t>(lanes<T>, width - column), inner, is_last ? n : 1};
          if (!is_last && strip.cols == lanes<T>) {
            for_isa<Columns<F>>(a + at, b ? b + at : b, out + at, n, inner);
            continue;
          }
          room_a.resize(std::size_t(n * lanes<T>)), result.resize(room_a.size());
          gather(a + at, strip, room_a.data());
          if (b) room_b.resize(room_a.size()), gather(b + at, strip, room_b.data());
          for_isa<Columns<F>, const T*, const T*, T*>(room_a.data(), b ? room_b.data() : b,
                                                      result.data(), n, lanes<T>);
          scatter(result.data(), strip, out + at);
        }
      });
}

template <class F>
void run_unary(const Array& x, int axis, const Array& out) {
  if (!x.is_contiguous()) copy(x, out);
  const Array& from = x.is_contiguous() ? x : out;
  auto run = [&]<class T>(TypeTag<T>) {
    along<F, T>(from.data<T>(), nullptr, out.data<T>(), out.shape(), axis);
  };
  for_floats(out.dtype(), run);
}

template <class F>
void run_binary(const Array& g, const Array& y, int axis, const Array& out) {
  const Array a = contiguous(g), b = contiguous(y);
  auto run = [&]<class T>(TypeTag<T>) {
    along<F, T>(a.data<T>(), b.data<T>(), out.data<T>(), out.shape(), axis);
  };
  for_floats(out.dtype(), run);
}

template <class T>
struct Examples {
  const T* x;  // (rows, classes)
  const int64_t* target;
  int64_t target_stride, classes, ignore_index;
  T smoothing;
};

struct Losses {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const Examples<T>& e, T* out, int64_t begin, int64_t end) {
    if (e.classes >= long_row)
      for (int64_t r = begin; r < end; ++r) out[r] = ignored(e, r) ? T(0) : row<bytes>(e, r);
    else
      for (int64_t r = begin; r < end; r += lanes<T>)
        columns(e, out + r, r, std::min<int64_t>(end - r, lanes<T>));
  }
  template <class T>
  [[gnu::always_inline]] static bool ignored(const Examples<T>& e, int64_t r) {
    return e.target[r * e.target_stride] == e.ignore_index;
  }
  // From log(sum(exp(x - m))), x[target] - m and the mean of x - m; `sum` tells a row without mass.
  template <class T>
  [[gnu::always_inline]] static T loss(T sum, T own, T mean, T smoothing) {
    const T log_sum = math::log(sum), hit = log_sum - own;
    const T y = smoothing == T(0) ? hit : (T(1) - smoothing) * hit + smoothing * (log_sum - mean);
    return sum == T(0) ? -minus_infinity<T> : y;
  }
  template <int bytes, class T>
  [[gnu::always_inline]] static T row(const Examples<T>& e, int64_t r) {
    const int64_t n = e.classes;
    const T* x = e.x + r * n;
    const T m = row_max(x, n);
    T mean = 0;
    if (e.smoothing != T(0))
      mean = T(sum_blocks<bytes, T>(n,
                                    [&](int64_t i, int64_t left) {
                                      Block<T> block = load(x + i, left, m);
                                      for (int j = 0; j < lanes<T>; ++j) block.at[j] -= m;
                                      return block;
                                    }) /
               double(n));
    return loss(exp_sum<bytes>(x, n, m), x[e.target[r * e.target_stride]] - m, mean, e.smoothing);
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const Examples<T>& e, T* out, int64_t first,
                                             int64_t rows) {
    const int64_t n = e.classes;
    T x[long_row * lanes<T>];
    gather(e.x + first * n, {n, rows, 1, n}, x);
    const Block<T> m = Softmax::column_max(x, n, lanes<T>);
    Block<T> sum = filled(T(0)), mean = filled(T(0)), own = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        const T above = x[i * lanes<T> + j] - m.at[j];
        sum.at[j] += math::exp(above);
        mean.at[j] += above;
      }
    for (int64_t j = 0; j < rows; ++j)
      if (!ignored(e, first + j))
        own.at[j] = x[e.target[(first + j) * e.target_stride] * lanes<T> + j] - m.at[j];
    for (int j = 0; j < lanes<T>; ++j)
      sum.at[j] = loss(sum.at[j], own.at[j], mean.at[j] / T(n), e.smoothing);
    for (int64_t j = 0; j < rows; ++j) out[j] = ignored(e, first + j) ? T(0) : sum.at[j];
  }
};

struct LossGrads {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const Examples<T>& e, const T* g, int64_t g_stride, T* out,
                                         int64_t begin, int64_t end) {
    if (e.classes >= long_row)
      for (int64_t r = begin; r < end; ++r) row<bytes>(e, r, g[r * g_stride], out + r * e.classes);
    else
      for (int64_t r = begin; r < end; r += lanes<T>)
        columns(e, r, std::min<int64_t>(end - r, lanes<T>), g + r * g_stride, g_stride,
                out + r * e.classes);
  }
  template <int bytes, class T>
  [[gnu::always_inline]] static void row(const Examples<T>& e, int64_t r, T g, T* out) {
    const int64_t n = e.classes;
    const T* x = e.x + r * n;
    const T m = row_max(x, n);
    const T sum = T(sum_blocks<bytes, T>(n, [&](int64_t i, int64_t left) {
      const Block<T> block = exponentials(x + i, left, m);
      store(block, out + i, left);
      return block;
    }));
    if (Losses::ignored(e, r) || sum == T(0) || g == T(0)) return fill_zero(out, n);
    const T inverse = T(1) / sum, share = e.smoothing / T(n);
    for (int64_t i = 0; i < n; ++i) out[i] = (out[i] * inverse - share) * g;
    out[e.target[r * e.target_stride]] -= (T(1) - e.smoothing) * g;
  }
  template <class T>
  [[gnu::always_inline]] static void columns(const Examples<T>& e, int64_t first, int64_t rows,
                                             const T* g, int64_t g_stride, T* out) {
    const int64_t n = e.classes;
    T x[long_row * lanes<T>];
    const Strip strip{n, rows, 1, n};
    gather(e.x + first * n, strip, x);
    const Block<T> m = Softmax::column_max(x, n, lanes<T>);
    Block<T> sum = filled(T(0)), counts = filled(T(0)), scale = filled(T(0));
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        x[i * lanes<T> + j] = math::exp(x[i * lanes<T> + j] - m.at[j]);
        sum.at[j] += x[i * lanes<T> + j];
      }
    for (int64_t j = 0; j < rows; ++j) {
      scale.at[j] = g[j * g_stride];
      const bool none = Losses::ignored(e, first + j) || sum.at[j] == T(0) || scale.at[j] == T(0);
      counts.at[j] = none ? T(0) : T(1);
    }
    const T share = e.smoothing / T(n);
    for (int j = 0; j < lanes<T>; ++j) sum.at[j] = inverse_of(sum.at[j]);
    for (int64_t i = 0; i < n; ++i)
      for (int j = 0; j < lanes<T>; ++j) {
        const T d = (x[i * lanes<T> + j] * sum.at[j] - share) * scale.at[j];
        x[i * lanes<T> + j] = counts.at[j] == T(0) ? T(0) : d;
      }
    for (int64_t j = 0; j < rows; ++j)
      if (counts.at[j] != T(0))
        x[e.target[(first + j) * e.target_stride] * lanes<T> + j] -=
            (T(1) - e.smoothing) * scale.at[j];
    scatter(x, strip, out);
  }
};

template <class T>
Examples<T> examples(const Array& x, const Array& target, const ClassTargets& how) {
  const int64_t classes = x.shape()[1];
  const int64_t* t = target.data<int64_t>();
  for (int64_t r = 0; r < x.shape()[0]; ++r) {
    const int64_t label = t[r * target.strides()[0]];
    if (label != how.ignore_index && (label < 0 || label >= classes))
      fail(ErrorKind::bounds, "cross_entropy: target[", r, "] = ", label,
           " is no class index below ", classes, ", nor ignore_index = ", how.ignore_index);
  }
  return {x.data<T>(), t, target.strides()[0], classes, how.ignore_index, T(how.label_smoothing)};
}

}  // namespace

void softmax(const Array& x, int axis, const Array& out) { run_unary<Softmax>(x, axis, out); }
void log_softmax(const Array& x, int axis, const Array& out) {
  run_unary<LogSoftmax>(x, axis, out);
}

void softmax_grad(const Array& g, const Array& y, int axis, const Array& out) {
  run_binary<SoftmaxGrad>(g, y, axis, out);
}
void log_softmax_grad(const Array& g, const Array& y, int axis, const Array& out) {
  run_binary<LogSoftmaxGrad>(g, y, axis, out);
}

void cross_entropy(const Array& x, const Array& target, const ClassTargets& how, const Array& out) {
  const Array rows = contiguous(x);
  auto run = [&]<class T>(TypeTag<T>) {
    const Examples<T> e = examples<T>(rows, target, how);
    parallel::parallel_for(out.size(), rows_a_task(e.classes), [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      for_isa<Losses, const Examples<T>&>(e, out.data<T>(), begin, end);
    });
  };
  for_floats(out.dtype(), run);
}

void cross_entropy_grad(const Array& g, const Array& x, const Array& target,
                        const ClassTargets& how, const Array& out) {
  const Array rows = contiguous(x);
  auto run = [&]<class T>(TypeTag<T>) {
    const Examples<T> e = examples<T>(rows, target, how);
    const int64_t g_stride = g.strides()[0];
    parallel::parallel_for(g.size(), rows_a_task(e.classes), [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      for_isa<LossGrads, const Examples<T>&>(e, g.data<T>(), g_stride, out.data<T>(), begin, end);
    });
  };
  for_floats(out.dtype(), run);
}

}  // namespace wengert::kernels
