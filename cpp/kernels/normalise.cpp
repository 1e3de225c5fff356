#include "kernels/normalise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/chain.h"
#include "kernels/copy.h"
#include "kernels/lanes.h"
#include "kernels/parallel.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;  // elements a task takes

// Rows that are worked on together: what is read and written of them stays in the first-level cache.
template <class T>
int64_t rows_of_strip(int64_t n) {
  constexpr int64_t near = 12288 / int64_t(sizeof(T));
  return std::clamp<int64_t>(near / n, 1, strip);
}

template <class T>
struct Moments {
  T mean[strip] = {}, scale[strip];  // xhat = (x - mean) scale
};

// `out`, where results of these rows go, is brought near meanwhile, if it is not null.
template <int bytes, class T>
[[gnu::always_inline]] inline Moments<T> moments(const T* x, int64_t rows, const Normalisation& how, const T* out) {
  using Row = RowSums<bytes, T>;
  using Vector = typename Row::Vector;
  const int64_t n = how.n;
  Moments<T> at;
  double sums[1][strip];
  if (how.centred) {
    const auto number = [&](int64_t r, int64_t i, int64_t left, Vector& v) { Row::load(x + r * n + i, left, T(0), v); };
    Row::sum(rows, n, number, sums);
    for (int r = 0; r < strip; ++r) at.mean[r] = T(sums[0][r] / double(n));
  }
  const auto square = [&](int64_t r, int64_t i, int64_t left, Vector& v) {
    if (out) __builtin_prefetch(out + r * n + i, 1);
    Row::load(x + r * n + i, left, at.mean[r], v);
    v -= at.mean[r];
    v *= v;
  };
  Row::sum(rows, n, square, sums);
  for (int r = 0; r < strip; ++r) at.scale[r] = T(1 / std::sqrt(sums[0][r] / double(n) + how.eps));
  return at;
}

struct Forward {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* x, const T* weight, const T* bias,
                                         const Normalisation& how, T* out, int64_t rows) {
    const int64_t n = how.n;
    for (int64_t first = 0, count; first < rows; first += count) {
      count = std::min(rows_of_strip<T>(n), rows - first);
      const Moments<T> at = moments<bytes>(x, count, how, out);
      for (int64_t r = 0; r < count; ++r, x += n, out += n) {
        const T mean = at.mean[r], scale = at.scale[r];
        if (weight && bias)
          for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        else if (weight)
          for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i];
        else
          for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale;
      }
    }
  }
};

// The cotangent of x; `with_sums` adds to those of weight and, where there are sums for it, of bias.
template <bool with_sums>
struct Backward {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* g, const T* x, const T* weight,
                                         const Normalisation& how, T* out, int64_t rows, T* sums_of_weight,
                                         T* sums_of_bias, const T* more) {
    using Row = RowSums<bytes, T>;
    using Vector = typename Row::Vector;
    const int64_t n = how.n;
    for (int64_t first = 0, count; first < rows; first += count) {
      count = std::min(rows_of_strip<T>(n), rows - first);
      const Moments<T> at = moments<bytes>(x, count, how, out);
      const auto both = [&](int64_t r, int64_t i, int64_t left, Vector& h, Vector& along) {  // h = g weight, h xhat
        Vector weights, centred;
        Row::load(g + r * n + i, left, T(0), h);
        Row::load(x + r * n + i, left, at.mean[r], centred);
        if (weight) Row::load(weight + i, left, T(0), weights), h *= weights;
        along = h * ((centred - at.mean[r]) * at.scale[r]);
      };
      T mean_h[strip] = {}, slope[strip];
      double sums[2][strip];
      Row::sum(count, n, both, sums);
      for (int r = 0; how.centred && r < strip; ++r) mean_h[r] = T(sums[0][r] / double(n));
      for (int r = 0; r < strip; ++r) slope[r] = T(sums[1][r] / double(n));
      for (int64_t r = 0, some; r < count; r += some, g += some * n, x += some * n, out += some * n) {
        some = 1;
        if (with_sums && r + together <= count && are_numbers<together>(slope + r)) {
          some = together;
          all<together>(g, x, weight, n, at.mean + r, at.scale + r, mean_h + r, slope + r, out, sums_of_weight, sums_of_bias);
        } else if (with_sums && slope[r] == slope[r]) {
          all<1>(g, x, weight, n, at.mean + r, at.scale + r, mean_h + r, slope + r, out, sums_of_weight, sums_of_bias);
        } else {
          row(g, x, weight, how, at.mean[r], at.scale[r], mean_h[r], slope[r], out);
          const bool asked = with_sums && !all_zero(g, n);
          for (int64_t i = 0; asked && i < n; ++i) sums_of_weight[i] += g[i] * ((x[i] - at.mean[r]) * at.scale[r]);
          for (int64_t i = 0; asked && sums_of_bias && i < n; ++i) sums_of_bias[i] += g[i];
        }
        // As by itself: within the loops above, it would melt into a product.
        for (int64_t i = 0; more && i < some * n; ++i) out[i] += more[i];
        if (more) more += some * n;
      }
    }
  }
  static constexpr int64_t together = 4;  // rows, for which sums are read and written once
  template <int64_t count, class T>
  [[gnu::always_inline]] static bool are_numbers(const T* x) {
    bool out = true;
    for (int64_t i = 0; i < count; ++i) out &= x[i] == x[i];
    return out;
  }
  template <int64_t rows, class T>
  [[gnu::always_inline]] static void all(const T* g, const T* x, const T* weight, int64_t n, const T* mean, const T* scale,
                                         const T* mean_h, const T* slope, T* out, T* sums_of_weight, T* sums_of_bias) {
    const auto each = [&](int64_t i, T& sum) {
#pragma GCC unroll 4
      for (int64_t r = 0; r < rows; ++r) {
        const T own = g[r * n + i], xhat = (x[r * n + i] - mean[r]) * scale[r];
        out[r * n + i] = (own * weight[i] - mean_h[r] - xhat * slope[r]) * scale[r];
        sum += own * xhat;
      }
    };
    if (sums_of_bias)
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) {
        each(i, sums_of_weight[i]);
#pragma GCC unroll 4
        for (int64_t r = 0; r < rows; ++r) sums_of_bias[i] += g[r * n + i];
      }
    else
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) each(i, sums_of_weight[i]);
  }
  template <class T>
  [[gnu::always_inline]] static void row(const T* g, const T* x, const T* weight, const Normalisation& how, T mean,
                                         T scale, T mean_h, T slope, T* out) {
    const int64_t n = how.n;
    if (slope != slope && all_zero(g, n))  // nothing is asked of a row that has a NaN
      for (int64_t i = 0; i < n; ++i) out[i] = T(0);
    else if (slope != slope && weight)
      not_finite(g, x, weight, how, mean, scale, out);
    else if (weight)
      for (int64_t i = 0; i < n; ++i)
        out[i] = (g[i] * weight[i] - mean_h - (x[i] - mean) * scale * slope) * scale;
    else
      for (int64_t i = 0; i < n; ++i)
        out[i] = (g[i] - mean_h - (x[i] - mean) * scale * slope) * scale;
  }
  // Term by term, with the chain rule's products: nothing is asked of an infinite weight where g is 0.
  template <class T>
  static void not_finite(const T* g, const T* x, const T* weight, const Normalisation& how, T mean, T scale, T* out) {
    const int64_t n = how.n;
    double sum = 0, along = 0;
    for (int64_t i = 0; i < n; ++i) {
      const T h = chain(g[i], weight[i]);
      sum += double(h);
      along += double(chain(h, (x[i] - mean) * scale));
    }
    const T mean_h = how.centred ? T(sum / double(n)) : T(0), slope = T(along / double(n));
    for (int64_t i = 0; i < n; ++i)
      out[i] = chain(chain(g[i], weight[i]) - mean_h - chain((x[i] - mean) * scale, slope), scale);
  }
};

struct WeightBackward {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const T* g, const T* x, const Normalisation& how, T* sums,
                                         int64_t rows) {
    const int64_t n = how.n;
    for (int64_t first = 0, count; first < rows; first += count) {
      count = std::min(rows_of_strip<T>(n), rows - first);
      const Moments<T> at = moments<bytes, T>(x, count, how, nullptr);
      for (int64_t r = 0; r < count; ++r, g += n, x += n) {
        const T mean = at.mean[r], scale = at.scale[r];
        if (!(scale > T(0)) && all_zero(g, n)) continue;  // of a row with a NaN or an infinity
        for (int64_t i = 0; i < n; ++i) sums[i] += g[i] * ((x[i] - mean) * scale);
      }
    }
  }
};

int64_t rows_a_task(int64_t n) { return std::max<int64_t>(1, grain / n); }

// f(begin, end, sums) for parts of the rows, at most 32 of them unless these were long, and the sums of all parts,
// which are of n numbers, one after the other: no order depends on threads.
template <class T, class F>
void sum_in_parts(int64_t rows, int64_t n, int64_t task, T* sums, const F& f) {
  constexpr int64_t fewest = 8;  // rows, that the sums of parts stay small beside them
  const int64_t part = std::max({task, std::min((rows + 31) / 32, longest_run), fewest}), parts = (rows + part - 1) / part;
  std::fill_n(sums, n, T(0));
  std::vector<T> others(std::size_t(std::max<int64_t>(parts - 1, 0) * n), T(0));
  parallel::parallel_for(rows, part, [&](int64_t begin, int64_t end) {
    f(begin, end, begin == 0 ? sums : others.data() + (begin / part - 1) * n);
  });
  for (int64_t p = 0; p + 1 < parts; ++p)
    for (int64_t i = 0; i < n; ++i) sums[i] += others[std::size_t(p * n + i)];
}

}  // namespace

void normalise(const Array& x, const Array* weight, const Array* bias, const Normalisation& how,
               const Array& out) {
  if (out.size() == 0) return;
  const Array from = contiguous(x), w = weight ? contiguous(*weight) : Array(),
              b = bias ? contiguous(*bias) : Array();
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) {
    parallel::parallel_for(out.size() / how.n, rows_a_task(how.n), [&](int64_t begin, int64_t end) {
      const T *scales = weight ? w.data<T>() : nullptr, *shifts = bias ? b.data<T>() : nullptr;
      for_isa<Forward, const T*, const T*, const T*, const Normalisation&, T*>(
          from.data<T>() + begin * how.n, scales, shifts, how, out.data<T>() + begin * how.n,
          end - begin);
    });
  });
}

void normalise_grad(const Array& g, const Array& x, const Array* weight, const Normalisation& how,
                    const Array& out) {
  if (out.size() == 0) return;
  const Array from = contiguous(x), seed = contiguous(g),
              w = weight ? contiguous(*weight) : Array();
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) {
    parallel::parallel_for(out.size() / how.n, rows_a_task(how.n), [&](int64_t begin, int64_t end) {
      const T* scales = weight ? w.data<T>() : nullptr;
      for_isa<Backward<false>, const T*, const T*, const T*, const Normalisation&, T*, int64_t, T*, T*, const T*>(
          seed.data<T>() + begin * how.n, from.data<T>() + begin * how.n, scales, how,
          out.data<T>() + begin * how.n, end - begin, nullptr, nullptr, nullptr);
    });
  });
}

void normalise_grads(const Array& g, const Array& x, const Array& weight, const Array* more, const Normalisation& how,
                     const Array& out, const Array& weight_out, const Array* bias_out) {
  if (weight_out.size() == 0) return;
  const Array from = contiguous(x), seed = contiguous(g), w = contiguous(weight);
  const Array added = more ? contiguous(*more) : Array();
  const int64_t n = how.n, kinds = bias_out ? 2 : 1;
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) {
    std::vector<T> sums(std::size_t(kinds * n));
    sum_in_parts(x.size() / n, kinds * n, rows_a_task(n), sums.data(), [&](int64_t begin, int64_t end, T* own) {
      for_isa<Backward<true>, const T*, const T*, const T*, const Normalisation&, T*, int64_t, T*, T*, const T*>(
          seed.data<T>() + begin * n, from.data<T>() + begin * n, w.data<T>(), how, out.data<T>() + begin * n,
          end - begin, own, bias_out ? own + n : nullptr, more ? added.data<T>() + begin * n : nullptr);
    });
    std::copy_n(sums.data(), n, weight_out.data<T>());
    if (bias_out) std::copy_n(sums.data() + n, n, bias_out->data<T>());
  });
}

void normalise_weight_grad(const Array& g, const Array& x, const Normalisation& how,
                           const Array& out) {
  if (out.size() == 0) return;
  const Array from = contiguous(x), seed = contiguous(g);
  const int64_t n = how.n;
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) {
    sum_in_parts(x.size() / n, n, rows_a_task(n), out.data<T>(), [&](int64_t begin, int64_t end, T* own) {
      for_isa<WeightBackward, const T*, const T*, const Normalisation&, T*>(
          seed.data<T>() + begin * n, from.data<T>() + begin * n, how, own, end - begin);
    });
  });
}

}  // namespace wengert::kernels
