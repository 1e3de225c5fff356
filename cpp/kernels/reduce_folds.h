// What is folded: an element is mapped to an accumulator, and accumulators merge. Loops run over
// plain arrays, for code compiled once an instruction set. Knows nothing of axes or threads.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/math.h"

namespace wengert::kernels::folds {

// Floats accumulate in double, integers modulo 2^64.
template <class T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

// What becomes of a floating accumulator in the end: its (root of the) part per divisor.
struct Ending {
  double divisor = 1;
  bool root = false;
};

// Each fold has map(x, center), which only `centered` ones read `center` for. A `plain` fold is not
// worth code for every instruction set.
struct Lanewise {
  static constexpr bool lanewise = true, centered = false, ordered = false, plain = false;
};

template <class T, class R>
struct Sum : Lanewise {
  using In = T;
  using Out = R;
  using Acc = Wide<T>;
  static constexpr Acc identity = 0;
  [[gnu::always_inline]] static Acc map(T x, Acc) { return Acc(x); }
  [[gnu::always_inline]] static Acc merge(Acc a, Acc b) { return a + b; }
  static Out finish(Acc a, Ending ending) {
    if constexpr (std::is_integral_v<T>)
      return Out(a);
    else
      return Out(ending.root ? std::sqrt(a / ending.divisor) : a / ending.divisor);
  }
};

template <class T, class R>
struct Product : Sum<T, R> {
  using Acc = Wide<T>;
  static constexpr bool plain = std::is_integral_v<T>;
  static constexpr Acc identity = 1;
  [[gnu::always_inline]] static Acc merge(Acc a, Acc b) { return a * b; }
};

template <class T>
struct SquareSum : Sum<T, T> {
  [[gnu::always_inline]] static double map(T x, double) { return double(x) * double(x); }
};

// Squared distances from a given center.
template <class T>
struct Deviation : Sum<T, T> {
  static constexpr bool centered = true;
  [[gnu::always_inline]] static double map(T x, double center) {
    const double d = double(x) - center;
    return d * d;
  }
};

template <class T, bool largest>
struct Extremum : Lanewise {
  using In = T;
  using Out = T;
  using Acc = T;
  using Limits = std::numeric_limits<T>;
  static constexpr Acc identity =
      largest ? (Limits::has_infinity ? -Limits::infinity() : Limits::lowest())
              : (Limits::has_infinity ? Limits::infinity() : Limits::max());
  [[gnu::always_inline]] static T map(T x, T) { return x; }
  // NaN wins and stays: it is taken as b, and no b is larger than it. Two selections, since
  // compilers make a branch of one with two conditions.
  [[gnu::always_inline]] static T merge(T a, T b) {
    const T best = (largest ? b > a : b < a) ? b : a;
    return b != b ? b : best;
  }
  static Out finish(Acc a, Ending) { return a; }
};

template <class T>
struct Count : Sum<T, int64_t> {
  using Acc = int64_t;
  static constexpr Acc identity = 0;
  [[gnu::always_inline]] static int64_t map(T x, int64_t) { return x != T(0); }
  [[gnu::always_inline]] static int64_t merge(int64_t a, int64_t b) { return a + b; }
  static int64_t finish(Acc a, Ending) { return a; }
};

inline constexpr int rows_at_once = 8;

// acc[j] is merged with the fold of column j of the rows, for n columns.
template <class F>
[[gnu::always_inline]] inline void fold_row(const typename F::In* row, int64_t n,
                                            typename F::Acc* acc, const double* center) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j)
    acc[j] = F::merge(acc[j], F::map(row[j], F::centered ? typename F::Acc(center[j]) : acc[j]));
}
template <class F>
[[gnu::always_inline]] inline void fold_rows(const typename F::In* const* rows, int64_t n,
                                             typename F::Acc* acc, const double* center) {
  using In = typename F::In;
  const In *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  const In *r4 = rows[4], *r5 = rows[5], *r6 = rows[6], *r7 = rows[7];
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    const typename F::Acc c = F::centered ? typename F::Acc(center[j]) : acc[j];
    const auto first = F::merge(F::merge(F::map(r0[j], c), F::map(r1[j], c)),
                                F::merge(F::map(r2[j], c), F::map(r3[j], c)));
    const auto second = F::merge(F::merge(F::map(r4[j], c), F::map(r5[j], c)),
                                 F::merge(F::map(r6[j], c), F::map(r7[j], c)));
    acc[j] = F::merge(acc[j], F::merge(first, second));
  }
}

// The fold of n contiguous elements, taken as rows of 32.
template <class F>
[[gnu::always_inline]] inline typename F::Acc fold_run(const typename F::In* x, int64_t n,
                                                       typename F::Acc center = {}) {
  constexpr int lanes = 32;
  if (n < lanes) {
    auto a = F::identity;
    for (int64_t i = 0; i < n; ++i) a = F::merge(a, F::map(x[i], center));
    return a;
  }
  typename F::Acc acc[lanes];
  for (int j = 0; j < lanes; ++j) acc[j] = F::map(x[j], center);
  double centers[lanes];
  if constexpr (F::centered)
    for (double& c : centers) c = center;
  int64_t i = lanes;
  for (; i + rows_at_once * lanes <= n; i += rows_at_once * lanes) {
    const typename F::In* rows[rows_at_once];
    for (int k = 0; k < rows_at_once; ++k) rows[k] = x + i + k * lanes;
    fold_rows<F>(rows, lanes, acc, centers);
  }
  for (; i + lanes <= n; i += lanes) fold_row<F>(x + i, lanes, acc, centers);
  for (int j = 0; i + j < n; ++j) acc[j] = F::merge(acc[j], F::map(x[i + j], center));
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) acc[j] = F::merge(acc[j], acc[j + half]);
  return acc[0];
}

// Folds whose accumulator is more than a number take a run of elements at a time.
template <class F>
struct Runs : F {
  using State = typename F::Acc;
  static State start() { return F::identity; }
  [[gnu::always_inline]] static void absorb(State& s, const typename F::In* x, int64_t n, int64_t) {
    s = F::merge(s, fold_run<F>(x, n));
  }
  static void merge_states(State& into, const State& later) { into = F::merge(into, later); }
};

template <class T, bool largest>
struct ArgExtremum {
  static constexpr bool lanewise = false, ordered = true, plain = std::is_integral_v<T>;
  using In = T;
  using Out = int64_t;
  struct State {
    T value;
    int64_t index;  // -1: nothing yet
  };
  static State start() { return {T{}, -1}; }
  static bool better(T a, T b) { return (largest ? a > b : a < b) || (a != a && b == b); }
  static void merge_states(State& into, const State& later) {
    if (later.index >= 0 && (into.index < 0 || better(later.value, into.value))) into = later;
  }
  [[gnu::always_inline]] static void absorb(State& s, const T* x, int64_t n, int64_t first) {
    const T best = fold_run<Extremum<T, largest>>(x, n);
    if (s.index >= 0 && !better(best, s.value)) return;
    constexpr int block = 32;
    int64_t i = 0;
    for (; i + block <= n; i += block) {
      int found = 0;
      for (int j = 0; j < block; ++j) found |= int(x[i + j] == best) | int(x[i + j] != x[i + j]);
      if (found) break;
    }
    while (!(x[i] == best || x[i] != x[i])) ++i;
    s = {best, first + i};
  }
  static Out finish(const State& s, Ending) { return s.index; }
};

// log(sum(exp(x))) as the largest x and the sum of exp(x - largest).
template <class T>
struct LogSumExp {
  static constexpr bool lanewise = false, ordered = false, plain = false;
  using In = T;
  using Out = T;
  using Largest = Extremum<T, true>;
  struct State {
    T top;
    double sum;
  };
  static State start() { return {-std::numeric_limits<T>::infinity(), 0}; }
  // False where the result is `top` itself: infinite or NaN.
  static bool rescale(State& s, T top) {
    if (std::isfinite(top)) s.sum *= std::exp(double(s.top) - double(top));
    s.top = top;
    return std::isfinite(top);
  }
  static void merge_states(State& into, const State& later) {
    const T top = Largest::merge(into.top, later.top);
    if (rescale(into, top)) into.sum += later.sum * std::exp(double(later.top) - double(top));
  }
  [[gnu::always_inline]] static void absorb(State& s, const T* x, int64_t n, int64_t) {
    const T top = Largest::merge(s.top, fold_run<Largest>(x, n));
    if (top == s.top ? !std::isfinite(top) : !rescale(s, top)) return;
    constexpr int block = 128 / int(sizeof(T));
    T part[block] = {};
    for (int64_t i = 0; i < n; i += block) {
      T shifted[block], power[block];
      if (i + block <= n) {
        for (int j = 0; j < block; ++j) shifted[j] = x[i + j] - top;
      } else {
        for (int j = 0; j < block; ++j) shifted[j] = -std::numeric_limits<T>::infinity();
        for (int j = 0; i + j < n; ++j) shifted[j] = x[i + j] - top;
      }
      for (int j = 0; j < block; ++j) power[j] = math::exp(shifted[j]);
      for (int j = 0; j < block; ++j) part[j] += power[j];
    }
    for (int half = block / 2; half > 0; half /= 2)
      for (int j = 0; j < half; ++j) part[j] += part[j + half];
    s.sum += part[0];
  }
  static Out finish(const State& s, Ending) {
    return std::isfinite(s.top) ? T(double(s.top) + std::log(s.sum)) : s.top;
  }
};

// Two passes over each run while it is in cache; runs join by Chan's formula.
template <class T>
struct Variance {
  static constexpr bool lanewise = false, ordered = false, plain = false;
  using In = T;
  using Out = T;
  struct State {
    double n, mean, squares;
  };
  static State start() { return {0, 0, 0}; }
  static void merge_states(State& into, const State& later) {
    if (later.n == 0) return;
    if (into.n == 0) {
      into = later;
      return;
    }
    const double n = into.n + later.n, step = later.mean - into.mean;
    into.squares += later.squares + step * step * (into.n * later.n / n);
    into.mean += step * (later.n / n);
    into.n = n;
  }
  [[gnu::always_inline]] static void absorb(State& s, const T* x, int64_t n, int64_t) {
    const double mean = fold_run<Sum<T, double>>(x, n) / double(n);
    merge_states(s, {double(n), mean, fold_run<Deviation<T>>(x, n, mean)});
  }
  static Out finish(const State& s, Ending ending) {
    return Deviation<T>::finish(s.squares, ending);
  }
};

}  // namespace wengert::kernels::folds
