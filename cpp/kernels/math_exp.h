// Owns: exp and the functions made of it (expm1, sinh, cosh, tanh, sigmoid).
// Must not know: arrays, loops, instruction sets.
#pragma once

#include "kernels/math_bits.h"

namespace wengert::math {

namespace detail {

// x = n ln 2 + r with |r| <= ln(2) / 2 and k = n + magic; e^r = 1 + r + tail.
template <class T>
struct Exponent {
  T r, tail, k;
};

// Minimax (e^r - 1 - r) / r^2.
template <class T>
[[gnu::always_inline]] inline T exp_tail(T r) {
  if constexpr (is_single<T>) {
    return horner<T>(r, 0.5f, 0.166666374f, 0.0416665189f, 0.00834133662f, 0.00139297161f,
                     0.000150228676f);
  } else {
    return horner<T>(r, 0.5, 0.16666666666666677, 0.041666666666666685, 0.0083333333333217869,
                     0.0013888888888894232, 0.00019841269885387399, 2.480158727815302e-05,
                     2.7557245087750314e-06, 2.7557330011312478e-07, 2.5108715441195449e-08,
                     2.0893838162142939e-09);
  }
}

// The upper part of ln 2 is short enough for n ln2_high to be exact.
template <class T>
inline constexpr T ln2_high = is_single<T> ? T(0.693359375) : T(0.69314718060195446);
template <class T>
inline constexpr T ln2_low = is_single<T> ? T(-2.12194442e-4) : T(-4.2009150726810846e-11);

// Of x + extra, where extra is a correction small beside 1.
template <class T>
[[gnu::always_inline]] inline Exponent<T> split_exponent(T x, T extra) {
  const T k = x * T(1.4426950408889634) + magic<T>;
  const T n = k - magic<T>;
  const T r = (x - n * ln2_high<T>) + (extra - n * ln2_low<T>);
  return {r, r * r * exp_tail(r), k};
}

template <class T>
[[gnu::always_inline]] inline Exponent<T> split_exponent(T x) {
  const T k = x * T(1.4426950408889634) + magic<T>;
  const T n = k - magic<T>;
  const T r = (x - n * ln2_high<T>) - n * ln2_low<T>;
  return {r, r * r * exp_tail(r), k};
}

// Below the lower bound e^x rounds to zero, above the upper one it overflows.
template <class T>
inline constexpr T exp_lowest = is_single<T> ? T(-104.0) : T(-745.5);
template <class T>
inline constexpr T exp_highest = is_single<T> ? T(89.0) : T(710.0);

template <class T>
[[gnu::always_inline]] inline T exp_of_negative(T x) {
  const Exponent<T> e = split_exponent(x < exp_lowest<T> ? exp_lowest<T> : x);
  return scale(T(1) + (e.r + e.tail), e.k);
}

// (e^x - 1) / 2^n = r + tail + (1 - 2^-n), given 2^-n; the larger summands are added without error.
template <class T>
[[gnu::always_inline]] inline T expm1_mantissa(const Exponent<T>& e, T inverse_power) {
  const T shift = T(1) - inverse_power;
  const T sum = shift + e.r;
  return sum + ((e.r - (sum - shift)) + e.tail);
}

}  // namespace detail

template <class T>
[[gnu::always_inline]] inline T exp(T x) {
  const detail::Exponent<T> e =
      detail::split_exponent(detail::clamp(x, detail::exp_lowest<T>, detail::exp_highest<T>));
  return detail::scale(T(1) + (e.r + e.tail), e.k);
}

// The same in about half as many operations, for what is added up: 0 where the result is below normal numbers,
// infinite from a little below exp_highest on, and off by 2^-24 max(2, |x|) (2^-53 for doubles) of itself.
template <class T>
[[gnu::always_inline]] inline T exp_flushed(T x) {
  using namespace detail;
  constexpr T lowest = constant<T>(-87.0f, -708.0);
  constexpr T biased = magic<T> + T(exponent_bias<T>);  // low bits of k are then those of 2^n
  const T bounded = x > exp_highest<T> ? exp_highest<T> : x;
  const T k = bounded * T(1.4426950408889634) + biased;
  const T r = bounded - (k - biased) * T(0.6931471805599453);
  T y;
  if constexpr (is_single<T>) {
    // By pairs: a shorter chain of dependent steps than Horner's, of which too few would be under way at a time.
    const T r2 = r * r;
    const T high = (0.041668393f + r * 0.0083687464f) + r2 * 0.0013814533f;
    y = (1.0f + r) + r2 * ((0.49999994f + r * 0.16666521f) + r2 * high);
  } else {
    y = T(1) + (r + r * r * exp_tail(r));
  }
  y *= from_bits<T>(bits(k) << mantissa_bits<T>);
  return x < lowest ? T(0) : y;
}

template <class T>
[[gnu::always_inline]] inline T expm1(T x) {
  using namespace detail;
  constexpr T lowest = constant<T>(-18.0f, -40.0);
  const Exponent<T> e = split_exponent(clamp(x, lowest, exp_highest<T>));
  const T half = (e.k - magic<T>) * T(0.5) + magic<T>;
  const T first = power_of_two<T>(bits(half));
  const T second = power_of_two<T>(bits(e.k) - bits(half));
  const T inverse = power_of_two<T>(-bits(half)) * power_of_two<T>(bits(half) - bits(e.k));
  return std::copysign(expm1_mantissa(e, inverse) * first * second, x);
}

// t / (t + 2) with t = e^2|x| - 1.
template <class T>
[[gnu::always_inline]] inline T tanh(T x) {
  using namespace detail;
  constexpr T highest = constant<T>(18.5f, 40.0);
  const T a = std::abs(x) * T(2);
  const Exponent<T> e = split_exponent(a > highest ? highest : a);
  const T t = expm1_mantissa(e, power_of_two<T>(-bits(e.k))) * power_of_two<T>(bits(e.k));
  return std::copysign(t / (t + T(2)), x);
}

// h + h / (2h + 1) with h = (e^|x| - 1) / 2.
template <class T>
[[gnu::always_inline]] inline T sinh(T x) {
  using namespace detail;
  constexpr T highest = constant<T>(90.0f, 711.0);
  const T a = std::abs(x);
  const Exponent<T> e = split_exponent(a > highest ? highest : a);
  const T half = (e.k - magic<T>) * T(0.5) + magic<T>;
  const T first = power_of_two<T>(bits(half));
  const T second = power_of_two<T>(bits(e.k) - bits(half) - 1);
  const T inverse = power_of_two<T>(-bits(half)) * power_of_two<T>(bits(half) - bits(e.k));
  const T h = expm1_mantissa(e, inverse) * first * second;
  const T rest = h > T(1e20) ? T(0.5) : h / (h + h + T(1));
  const bool tiny = a < T(4) * std::numeric_limits<T>::min();  // where h would lose its last bit
  return std::copysign(tiny ? a : h + rest, x);
}

// h + 1 / (4h) with h = e^|x| / 2.
template <class T>
[[gnu::always_inline]] inline T cosh(T x) {
  using namespace detail;
  constexpr T highest = constant<T>(90.0f, 711.0);
  const T a = std::abs(x);
  const Exponent<T> e = split_exponent(a > highest ? highest : a);
  const T h = scale(T(1) + (e.r + e.tail), e.k - T(1));
  return h + T(0.25) / h;
}

// 1 / (1 + e^-x), with an exponential that cannot overflow.
template <class T>
[[gnu::always_inline]] inline T sigmoid(T x) {
  const T t = detail::exp_of_negative(-std::abs(x));
  return (x < T(0) ? t : T(1)) / (T(1) + t);
}

}  // namespace wengert::math
