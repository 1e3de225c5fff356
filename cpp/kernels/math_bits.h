// Owns: the bit-level vocabulary of the elementary functions (formats, powers of two, polynomials).
// Everything is branch-free and uses only what SSE2 vectors have: no rounding instruction, no
// 64-bit signed shift, no conversion between int64 and double. Must not know: any function.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace wengert::math::detail {

template <class T>
inline constexpr bool is_single = std::is_same_v<T, float>;

template <class T>
using Bits = std::conditional_t<is_single<T>, uint32_t, uint64_t>;

template <class T>
inline constexpr int mantissa_bits = is_single<T> ? 23 : 52;

template <class T>
inline constexpr Bits<T> exponent_bias = is_single<T> ? 127 : 1023;

// 1.5 * 2^mantissa_bits: after x + magic the low bits hold x rounded, in two's complement.
template <class T>
inline constexpr T magic = is_single<T> ? T(12582912.0) : T(6755399441055744.0);

template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
inline constexpr T nan = std::numeric_limits<T>::quiet_NaN();

template <class T>
[[gnu::always_inline]] inline Bits<T> bits(T x) {
  return std::bit_cast<Bits<T>>(x);
}

template <class T>
[[gnu::always_inline]] inline T from_bits(Bits<T> b) {
  return std::bit_cast<T>(b);
}

// A constant of either precision; the single one is not always the rounded double one.
template <class T>
[[gnu::always_inline]] inline constexpr T constant(float single, double full) {
  if constexpr (is_single<T>) {
    return single;
  } else {
    return full;
  }
}

template <class T>
[[gnu::always_inline]] inline T horner(T, T c) {
  return c;
}

// c0 + c1 x + c2 x^2 + ...
template <class T, class... C>
[[gnu::always_inline]] inline T horner(T x, T c0, C... rest) {
  return c0 + x * horner<T>(x, T(rest)...);
}

// 2^n, where the low bits of k are n and n + bias is a normal exponent.
template <class T>
[[gnu::always_inline]] inline T power_of_two(Bits<T> k) {
  return from_bits<T>((k + exponent_bias<T>) << mantissa_bits<T>);
}

// y 2^n for n = k - magic, of any size that a clamped exponential has. Two steps, the first exact:
// the second rounds once, also where the result is denormal or overflows.
template <class T>
[[gnu::always_inline]] inline T scale(T y, T k) {
  const T n = k - magic<T>;
  const T half = n * T(0.5) + magic<T>;
  return y * power_of_two<T>(bits(half)) * power_of_two<T>(bits(k) - bits(half));
}

// The upper half of the significand, so that products of two such parts are exact. Sums of dropped
// and kept parts stay exact under FMA contraction, which rounded products would not.
template <class T>
[[gnu::always_inline]] inline T upper(T x) {
  return from_bits<T>(bits(x) & ~((Bits<T>(1) << (is_single<T> ? 12 : 27)) - 1));
}

template <class T>
[[gnu::always_inline]] inline T select(Bits<T> mask, T if_ones, T if_zeros) {
  return from_bits<T>((bits(if_ones) & mask) | (bits(if_zeros) & ~mask));
}

// All ones where the sign bit is set, so where a < b for sign_mask(a - b). The compiler cannot make
// branches of it as it does of nested conditionals, and SSE2 cannot compare 64-bit integers.
template <class T>
[[gnu::always_inline]] inline Bits<T> sign_mask(T x) {
  return -(bits(x) >> (8 * sizeof(T) - 1));
}

template <class T>
[[gnu::always_inline]] inline T clamp(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

}  // namespace wengert::math::detail
