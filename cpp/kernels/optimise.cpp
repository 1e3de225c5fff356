#include "kernels/optimise.h"

#include <cmath>
#include <vector>

#include "kernels/denormals.h"
#include "kernels/lanes.h"
#include "kernels/parallel.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;  // elements a task takes

template <class T>
struct Sgd {
  T step, momentum, fresh, weight_decay,
      sign;  // p += step d; `fresh` is the share of d in the buffer
};

// Which terms there are is a template argument, so that each loop is straight vector code.
template <bool has_buffer, bool nesterov>
struct SgdLoop {
  template <int, class T>
  [[gnu::always_inline]] static void run(T* __restrict p, const T* __restrict g,
                                         T* __restrict buffer, int64_t n, const Sgd<T>& s) {
    const Sgd<T> k = s;
    for (int64_t i = 0; i < n; ++i) {
      T d = k.sign * g[i] + k.weight_decay * p[i];
      if constexpr (has_buffer) {
        const T b = k.momentum * buffer[i] + k.fresh * d;
        buffer[i] = b;
        d = nesterov ? d + k.momentum * b : b;
      }
      p[i] += k.step * d;
    }
  }
};

struct CountLoop {
  template <int>
  [[gnu::always_inline]] static bool run(int64_t* counts, const int64_t* places, int64_t n) {
    int64_t apart = 0, unequal = 0;  // from one after the other; from the first
    for (int64_t k = 0; k < n; ++k) apart |= places[k] - places[0] - k;
    if (apart != 0) {
      for (int64_t k = 0; k < n; ++k) ++counts[places[k]];
      return false;
    }
    int64_t* own = counts + places[0];
    const int64_t first = own[0];
    for (int64_t k = 0; k < n; ++k) {
      unequal |= own[k] ^ first;
      ++own[k];
    }
    return unequal == 0;
  }
};

template <class T>
struct Adam {
  T shrink, weight_decay, sign;  // p *= shrink; g = sign g + weight_decay p
  T one_minus_beta1, beta2, one_minus_beta2, inverse_root, eps, step;
};

template <bool amsgrad>
struct AdamLoop {
  template <int, class T>
  [[gnu::always_inline]] static void run(T* __restrict p, const T* __restrict g, T* __restrict m,
                                         T* __restrict v, T* __restrict v_max, int64_t n,
                                         const Adam<T>& a) {
    if (n < asked_from) return update(p, g, m, v, v_max, n, a);
    constexpr int64_t line = 64 / int64_t(sizeof(T)), piece = 4 * line, ahead = 8 * piece;
    for (int64_t i = 0, some; i < n; i += some) {
      some = std::min(piece, n - i);
      for (int64_t l = i + ahead; l < i + ahead + piece; l += line)
        for (const T* x : {p, m, v}) __builtin_prefetch(x + l, 1, 2);
      update(p + i, g + i, m + i, v + i, amsgrad ? v_max + i : v_max, some, a);
    }
  }

  // Parameters and moments lie in far memory since the last step, and the processor's own prefetching ends with a page.
  static constexpr int64_t asked_from = 1 << 12;

  template <class T>
  [[gnu::always_inline]] static void update(T* __restrict p, const T* __restrict g, T* __restrict m,
                                            T* __restrict v, T* __restrict v_max, int64_t n,
                                            const Adam<T>& a) {
    const Adam<T> k = a;
    for (int64_t i = 0; i < n; ++i) {
      const T d = k.sign * g[i] + k.weight_decay * p[i];
      const T first = m[i] + (d - m[i]) * k.one_minus_beta1;
      T second = v[i] * k.beta2 + d * d * k.one_minus_beta2;
      m[i] = first;
      v[i] = second;
      if constexpr (amsgrad) {
        second = v_max[i] >= second ? v_max[i] : second;  // NaN gradients pass
        v_max[i] = second;
      }
      p[i] = p[i] * k.shrink + k.step * first / (std::sqrt(second) * k.inverse_root + k.eps);
    }
  }
};

template <class T>
struct RmsProp {
  T step, alpha, one_minus_alpha, eps, weight_decay, momentum, sign;
};

template <bool centered, bool has_buffer>
struct RmsPropLoop {
  template <int, class T>
  [[gnu::always_inline]] static void run(T* __restrict p, const T* __restrict g,
                                         T* __restrict square, T* __restrict mean,
                                         T* __restrict buffer, int64_t n, const RmsProp<T>& s) {
    const RmsProp<T> k = s;
    for (int64_t i = 0; i < n; ++i) {
      const T d = k.sign * g[i] + k.weight_decay * p[i];
      T second = square[i] * k.alpha + d * d * k.one_minus_alpha;
      square[i] = second;
      if constexpr (centered) {
        const T first = mean[i] + (d - mean[i]) * k.one_minus_alpha;
        mean[i] = first;
        second -= first * first;
      }
      const T root = std::sqrt(second) + k.eps;
      if constexpr (has_buffer) {
        const T b = k.momentum * buffer[i] + d / root;
        buffer[i] = b;
        p[i] += k.step * b;
      } else {
        p[i] += k.step * d / root;
      }
    }
  }
};

struct ScaleLoop {
  template <int, class T>
  [[gnu::always_inline]] static void run(T* x, int64_t n, T factor) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
  }
};

struct SquaresLoop {
  template <int bytes, class T>
  [[gnu::always_inline]] static double run(const T* x, int64_t n) {
    return sum_blocks<bytes, T>(n, [&](int64_t i, int64_t left) {
      Block<T> block = load(x + i, left, T(0));
      for (T& v : block.at) v *= v;
      return block;
    });
  }
};

}  // namespace

template <class T>
void sgd_update(T* p, const T* g, T* buffer, int64_t n, const SgdStep& step) {
  const bool first = step.first;
  const Sgd<T> k{T(-step.lr), T(step.momentum), T(first ? 1 : 1 - step.dampening),
                 T(step.weight_decay), T(step.maximize ? -1 : 1)};
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const int64_t count = end - begin;
    T *to = p + begin, *own = buffer ? buffer + begin : nullptr;
    const T* from = g + begin;
    if (!buffer)
      return for_isa<SgdLoop<false, false>, T*, const T*, T*, int64_t, const Sgd<T>&>(to, from, own,
                                                                                      count, k);
    if (first) std::fill_n(own, count, T(0));
    if (step.nesterov)
      for_isa<SgdLoop<true, true>, T*, const T*, T*, int64_t, const Sgd<T>&>(to, from, own, count,
                                                                             k);
    else
      for_isa<SgdLoop<true, false>, T*, const T*, T*, int64_t, const Sgd<T>&>(to, from, own, count,
                                                                              k);
  });
}

template <class T>
void adam_update(T* p, const T* g, T* m, T* v, T* v_max, int64_t n, const AdamStep& step) {
  const Adam<T> k{.shrink = T(step.decoupled ? 1 - step.lr * step.weight_decay : 1),
                  .weight_decay = T(step.decoupled ? 0 : step.weight_decay),
                  .sign = T(step.maximize ? -1 : 1),
                  .one_minus_beta1 = T(1 - step.beta1),
                  .beta2 = T(step.beta2),
                  .one_minus_beta2 = T(1 - step.beta2),
                  .inverse_root = T(1 / std::sqrt(step.correction2)),
                  .eps = T(step.eps),
                  .step = T(-step.lr / step.correction1)};
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const int64_t count = end - begin;
    if (v_max)
      for_isa_dividing<AdamLoop<true>, T*, const T*, T*, T*, T*, int64_t, const Adam<T>&>(
          p + begin, g + begin, m + begin, v + begin, v_max + begin, count, k);
    else
      for_isa_dividing<AdamLoop<false>, T*, const T*, T*, T*, T*, int64_t, const Adam<T>&>(
          p + begin, g + begin, m + begin, v + begin, nullptr, count, k);
  });
}

template <class T>
void rmsprop_update(T* p, const T* g, T* square, T* mean, T* buffer, int64_t n,
                    const RmsPropStep& step) {
  const RmsProp<T> k{T(-step.lr),          T(step.alpha),    T(1 - step.alpha),        T(step.eps),
                     T(step.weight_decay), T(step.momentum), T(step.maximize ? -1 : 1)};
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    auto loop = [&]<bool centered, bool has_buffer>() {
      for_isa_dividing<RmsPropLoop<centered, has_buffer>, T*, const T*, T*, T*, T*, int64_t,
              const RmsProp<T>&>(p + begin, g + begin, square + begin,
                                 centered ? mean + begin : nullptr,
                                 has_buffer ? buffer + begin : nullptr, end - begin, k);
    };
    if (mean && buffer)
      loop.template operator()<true, true>();
    else if (mean)
      loop.template operator()<true, false>();
    else if (buffer)
      loop.template operator()<false, true>();
    else
      loop.template operator()<false, false>();
  });
}

template <class T>
void scale_in_place(T* x, int64_t n, double factor) {
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for_isa<ScaleLoop>(x + begin, end - begin, T(factor));
  });
}

bool advance_counts(int64_t* counts, const int64_t* places, int64_t n) {
  return for_isa<CountLoop>(counts, places, n);
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  constexpr int64_t part = 1 << 15;  // added up by itself
  if (n <= part) return for_isa<SquaresLoop>(x, n);
  std::vector<double> parts(std::size_t((n + part - 1) / part));
  parallel::parallel_for(n, part, [&](int64_t begin, int64_t end) {
    parts[std::size_t(begin / part)] = for_isa<SquaresLoop>(x + begin, end - begin);
  });
  double sum = 0;
  for (double own : parts) sum += own;
  return sum;
}

template void sgd_update<float>(float*, const float*, float*, int64_t, const SgdStep&);
template void sgd_update<double>(double*, const double*, double*, int64_t, const SgdStep&);
template void adam_update<float>(float*, const float*, float*, float*, float*, int64_t,
                                 const AdamStep&);
template void adam_update<double>(double*, const double*, double*, double*, double*, int64_t,
                                  const AdamStep&);
template void rmsprop_update<float>(float*, const float*, float*, float*, float*, int64_t,
                                    const RmsPropStep&);
template void rmsprop_update<double>(double*, const double*, double*, double*, double*, int64_t,
                                     const RmsPropStep&);
template void scale_in_place<float>(float*, int64_t, double);
template void scale_in_place<double>(double*, int64_t, double);
template double sum_of_squares<float>(const float*, int64_t);
template double sum_of_squares<double>(const double*, int64_t);

}  // namespace wengert::kernels
