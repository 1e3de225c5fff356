// Owns: log and the functions made of it (log1p, softplus).
// Must not know: arrays, loops, instruction sets.
#pragma once

#include "kernels/math_exp.h"

namespace wengert::math {

namespace detail {

// x = 2^e m with m in [sqrt(1/2), sqrt(2)), for normal x > 0.
template <class T>
struct Mantissa {
  T m, e;
  Bits<T> biased;
};

template <class T>
[[gnu::always_inline]] inline Mantissa<T> split_mantissa(T x) {
  constexpr T two_to_width = T(Bits<T>(1) << mantissa_bits<T>);
  constexpr Bits<T> field = (Bits<T>(1) << mantissa_bits<T>) - 1;
  const Bits<T> root_half = bits(T(0.70710678118654752));
  const Bits<T> u = bits(x) + (bits(T(1)) - root_half);
  const Bits<T> biased = u >> mantissa_bits<T>;
  const T e = from_bits<T>(biased | bits(two_to_width)) - (two_to_width + T(exponent_bias<T>));
  return {from_bits<T>((u & field) + root_half), e, biased};
}

// e ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
template <class T>
[[gnu::always_inline]] inline T log_sum(T f, T e) {
  if constexpr (is_single<T>) {
    const T p = horner<T>(f, 0.333333313f, -0.250008255f, 0.200012654f, -0.166232228f,
                          0.142006963f, -0.131604195f, 0.127698347f, -0.0764474869f);
    const T z = f * f;
    return e * ln2_high<T> + (f + (z * (f * p - T(0.5)) + e * ln2_low<T>));
  } else {
    // log(1 + f) = 2 atanh(s) = 2s + s R(s^2) and 2s = f - s f.
    const T s = f / (T(2) + f);
    const T z = s * s;
    const T r = z * horner<T>(z, 0.66666666666667351, 0.39999999999409352, 0.28571428743687066,
                              0.22222198428821638, 0.18183572370110818, 0.15313831540170295,
                              0.1479826800278696);
    const T square = T(0.5) * f * f;
    return e * ln2_high<T> + (f - (square - (s * (square + r) + e * ln2_low<T>)));
  }
}

}  // namespace detail

template <class T>
[[gnu::always_inline]] inline T log(T x) {
  using namespace detail;
  constexpr T up = constant<T>(16777216.0f, 18014398509481984.0);
  const bool small = x < std::numeric_limits<T>::min();
  const Mantissa<T> s = split_mantissa(small ? x * up : x);
  T y = log_sum(s.m - T(1), s.e - (small ? constant<T>(24.0f, 54.0) : T(0)));
  y = x < infinity<T> ? y : x;
  return x > T(0) ? y : (x == T(0) ? -infinity<T> : nan<T>);
}

// With 1 + x = 2^e m, f = x 2^-e + (2^-e - 1) keeps the bits of x that 1 + x drops.
template <class T>
[[gnu::always_inline]] inline T log1p(T x) {
  using namespace detail;
  constexpr T large = constant<T>(16777216.0f, 18014398509481984.0);
  const T u = T(1) + x;
  const Mantissa<T> s = split_mantissa(u);
  const T inverse = power_of_two<T>(exponent_bias<T> - s.biased);
  const T f = x < large ? x * inverse + (inverse - T(1)) : s.m - T(1);
  T y = log_sum(f, s.e);
  y = x < infinity<T> ? y : x;
  y = x > T(-1) ? y : (x == T(-1) ? -infinity<T> : nan<T>);
  return x == T(0) ? x : y;
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|).
template <class T>
[[gnu::always_inline]] inline T softplus(T x) {
  using namespace detail;
  const T t = exp_of_negative(-std::abs(x));
  const bool halve = t > T(0.4142);
  const T y = log_sum(halve ? t * T(0.5) - T(0.5) : t, halve ? T(1) : T(0));
  return (x > T(0) ? x : T(0)) + y;
}

}  // namespace wengert::math
