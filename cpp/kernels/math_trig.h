// Owns: sin, cos, tan and their inverses.
// Must not know: arrays, loops, instruction sets.
#pragma once

#include "kernels/math_bits.h"

namespace wengert::math {

namespace detail {

// x = n pi/2 + r with |r| <= pi/4; the low bits of quadrant are n.
template <class T>
struct Quadrant {
  T r;
  Bits<T> quadrant;
};

// Up to this size of x the products of n with the short parts of pi/2 are exact.
template <class T>
inline constexpr T trig_bound = is_single<T> ? T(12800.0) : T(1.6e6);

template <class T>
[[gnu::always_inline]] inline Quadrant<T> reduce_quadrant(T x) {
  const T k = x * T(0.63661977236758138) + magic<T>;
  const T n = k - magic<T>;
  const T first = x - n * constant<T>(1.5703125f, 1.5707963267341256);
  const T part2 = n * constant<T>(0.000483751297f, 6.077100506303966e-11);
  const T second = first - part2;
  const T part3 = n * constant<T>(7.54953362e-08f, 2.0222662487111665e-21);
  const T third = second - part3;
  // What the two subtractions rounded off, then the last part.
  const T lost = ((first - second) - part2) + ((second - third) - part3);
  const T r = third + (lost - n * constant<T>(2.56334407e-12f, 8.4784276603688996e-32));
  return {r, bits(k)};
}

template <class T>
[[gnu::always_inline]] inline T sin_kernel(T r, T z) {
  if constexpr (is_single<T>) {
    return r + r * z *
                   horner<T>(z, -0.166666672f, 0.0083333794f, -0.000198530644f, 2.83251006e-06f);
  } else {
    return r + r * z *
                   horner<T>(z, -0.1666666666666663, 0.0083333333333218407, -0.00019841269829358506,
                             2.7557313538498551e-06, -2.5050734385457952e-08,
                             1.5895432988571056e-10);
  }
}

template <class T>
[[gnu::always_inline]] inline T cos_kernel(T z) {
  if constexpr (is_single<T>) {
    return T(1) + z * (T(-0.5) + z * horner<T>(z, 0.0416666456f, -0.00138873095f, 2.44323273e-05f));
  } else {
    return T(1) + z * (T(-0.5) + z * horner<T>(z, 0.041666666666666595, -0.0013888888888873327,
                                               2.4801587288985593e-05, -2.7557314210691466e-07,
                                               2.0875704357560799e-09, -1.1358687809538483e-11));
  }
}

template <class T>
[[gnu::always_inline]] inline T tan_kernel(T r, T z) {
  if constexpr (is_single<T>) {
    return r + r * z *
                   horner<T>(z, 0.333333492f, 0.133326739f, 0.0540591776f, 0.0212845095f,
                             0.0108324951f, 9.11832612e-05f, 0.00437645381f);
  } else {
    return r + r * z *
                   horner<T>(z, 0.33333333333332771, 0.13333333333415584, 0.053968253926207452,
                             0.021869489620076531, 0.0088632190076472269, 0.0035922904974257492,
                             0.0014547493108874163, 0.00059510133166459477, 0.00022227145087638244,
                             0.00013674964975741272, -2.670320898508748e-05, 8.9744699700904475e-05,
                             -4.5034887916674671e-05, 2.0901450592335225e-05);
  }
}

// One of the kernels' values, with its sign.
template <class T>
[[gnu::always_inline]] inline T turn(T sine, T cosine, Bits<T> quadrant) {
  const T y = select(-(quadrant & 1), cosine, sine);
  return from_bits<T>(bits(y) ^ ((quadrant & 2) << (sizeof(T) * 8 - 2)));
}

template <class T>
[[gnu::always_inline]] inline T sin_of_quadrant(T r, Bits<T> quadrant) {
  const T z = r * r;
  return turn(sin_kernel(r, z), cos_kernel(z), quadrant);
}

// asin(s) / s - 1 over z = s^2 <= 1/4.
template <class T>
[[gnu::always_inline]] inline T asin_kernel(T z) {
  if constexpr (is_single<T>) {
    return z * horner<T>(z, 0.166667521f, 0.0749530941f, 0.0454691537f, 0.024184797f,
                         0.0421581566f);
  } else {
    return z * horner<T>(z, 0.16666666666665408, 0.075000000003371495, 0.044642856828210425,
                         0.030381959142010084, 0.022371757926146259, 0.017359706675587765,
                         0.013885216337357635, 0.012169337904635719, 0.0065274301115694298,
                         0.019529744741956116, -0.016226540875959469, 0.031913806527914465);
  }
}

// atan(t) / t - 1 over z = t^2, |t| <= 3/7.
template <class T>
[[gnu::always_inline]] inline T atan_kernel(T z) {
  if constexpr (is_single<T>) {
    return z * horner<T>(z, -0.333333075f, 0.199979827f, -0.14234069f, 0.105227314f,
                         -0.0589642711f);
  } else {
    return z * horner<T>(z, -0.33333333333333059, 0.19999999999912785, -0.14285714276043346,
                         0.11111110575161942, -0.090908917806829609, 0.076919545314301493,
                         -0.066619134400036417, 0.058393228412058178, -0.050012048245824267,
                         0.037110440882834793, -0.016878513342104096);
  }
}

template <class T>
inline constexpr T half_pi_high = is_single<T> ? T(1.57079637f) : T(1.5707963267948966);
template <class T>
inline constexpr T half_pi_low = is_single<T> ? T(-4.37113883e-08f) : T(6.123233995736766e-17);

// asin a = s + part for a <= 1/2, and pi/2 - 2 (s + part) for larger a.
template <class T>
struct ArcSine {
  T s, part;
};

template <class T>
[[gnu::always_inline]] inline ArcSine<T> arc_sine(T a, Bits<T> large) {
  const T z = select(large, (T(1) - a) * T(0.5), a * a);
  const T s = select(large, std::sqrt(z), a);
  return {s, s * asin_kernel(z)};
}

// The angle of (x, y), or of (-x, y) if left, for x, y >= 0 that are not both zero or infinite.
template <class T>
[[gnu::always_inline]] inline T half_plane_angle(T y, T x, Bits<T> left) {
  const Bits<T> steep = sign_mask(x - y);
  const T a = select(steep, x, y);
  const T b = select(steep, y, x);
  // Beyond a slope of 2/5, from the diagonal: |t| <= 3/7.
  const Bits<T> middle = sign_mask(T(2) * b - T(5) * a);
  const T t = select(middle, a - b, a) / select(middle, a + b, b);
  const T part = t * atan_kernel(t * t);
  const T lower = select(middle, T(0.5), T(0));
  const T right = select(steep, T(1) - lower, lower);
  const T c = select(left, T(2) - right, right);
  const T d = select(steep ^ left, T(-1), T(1));
  return c * half_pi_high<T> + (d * t + (d * part + c * half_pi_low<T>));
}

}  // namespace detail

template <class T>
[[gnu::always_inline]] inline bool sin_is_slow(T x) {
  return std::abs(x) > detail::trig_bound<T>;
}

template <class T>
[[gnu::always_inline]] inline bool cos_is_slow(T x) {
  return std::abs(x) > detail::trig_bound<T>;
}

template <class T>
[[gnu::always_inline]] inline bool tan_is_slow(T x) {
  return std::abs(x) > detail::trig_bound<T>;
}

template <class T>
inline T sin_slow(T x) {
  return std::sin(x);
}

template <class T>
inline T cos_slow(T x) {
  return std::cos(x);
}

template <class T>
inline T tan_slow(T x) {
  return std::tan(x);
}

// Right where sin_is_slow(x) is false.
template <class T>
[[gnu::always_inline]] inline T sin(T x) {
  const detail::Quadrant<T> q = detail::reduce_quadrant(x);
  const T y = detail::sin_of_quadrant(q.r, q.quadrant);
  return x == T(0) ? x : y;
}

// Right where cos_is_slow(x) is false.
template <class T>
[[gnu::always_inline]] inline T cos(T x) {
  const detail::Quadrant<T> q = detail::reduce_quadrant(x);
  return detail::sin_of_quadrant<T>(q.r, q.quadrant + 1);
}

// sin(x) and cos(x), to the bit.
template <class T>
[[gnu::always_inline]] inline void sin_cos(T x, T& sine, T& cosine) {
  using namespace detail;
  const Quadrant<T> q = reduce_quadrant(x);
  const T z = q.r * q.r;
  const T s = sin_kernel(q.r, z), c = cos_kernel(z);
  const T y = turn(s, c, q.quadrant);
  sine = x == T(0) ? x : y;
  cosine = turn<T>(s, c, q.quadrant + 1);
}

// Right where tan_is_slow(x) is false.
template <class T>
[[gnu::always_inline]] inline T tan(T x) {
  using namespace detail;
  const Quadrant<T> q = reduce_quadrant(x);
  const T t = tan_kernel(q.r, q.r * q.r);
  const Bits<T> odd = -(q.quadrant & 1);
  const T y = select(odd, T(-1), t) / select(odd, t, T(1));
  return x == T(0) ? x : y;
}

template <class T>
[[gnu::always_inline]] inline T asin(T x) {
  using namespace detail;
  const T a = std::abs(x);
  const Bits<T> is_large = sign_mask(T(0.5) - a);
  const ArcSine<T> p = arc_sine(a, is_large);
  const T large = (half_pi_high<T> - T(2) * p.s) - (T(2) * p.part - half_pi_low<T>);
  return std::copysign(select(is_large, large, p.s + p.part), x);
}

template <class T>
[[gnu::always_inline]] inline T acos(T x) {
  using namespace detail;
  const T a = std::abs(x);
  const Bits<T> large = sign_mask(T(0.5) - a);
  const Bits<T> negative = sign_mask(x);
  const ArcSine<T> p = arc_sine(a, large);
  const T factor = select(large, T(2), T(-1));
  // c pi/2 + d (s + part), with c = 0 and 2 at the ends, 1 in the middle.
  const T c = select(large, select(negative, T(2), T(0)), T(1));
  const T d = select(negative, -factor, factor);
  return (c * half_pi_high<T> + d * p.s) + (d * p.part + c * half_pi_low<T>);
}

template <class T>
[[gnu::always_inline]] inline T atan(T x) {
  return std::copysign(detail::half_plane_angle<T>(std::abs(x), T(1), 0), x);
}

// C99: the angle of the point (x, y), signed zeros and infinities included.
template <class T>
[[gnu::always_inline]] inline T atan2(T y, T x) {
  using namespace detail;
  constexpr T large = constant<T>(1e37f, 1e307);
  const T ay = std::abs(y);
  const T ax = std::abs(x);
  // A NaN leaves each of these masks empty.
  constexpr T finite = std::numeric_limits<T>::max();
  const Bits<T> both_infinite = sign_mask(finite - ax) & sign_mask(finite - ay);
  const Bits<T> both_zero = sign_mask(ax + ay - std::numeric_limits<T>::denorm_min());
  const T down = select(sign_mask(large - ax) | sign_mask(large - ay), T(0.125), T(1));
  const T angle = half_plane_angle<T>(select(both_infinite, T(1), ay * down),
                                      select(both_infinite | both_zero, T(1), ax * down),
                                      sign_mask(x));
  return std::copysign(angle, y);
}

}  // namespace wengert::math
