// Owns: pow, with every special case of C99.
// Must not know: arrays, loops, instruction sets.
#pragma once

#include "kernels/math_log.h"

namespace wengert::math {

namespace detail {

// An unevaluated sum; high has a short significand, so that its products are exact.
struct Pair {
  double high, low;
};

// log(x) for x > 0 to about 2^-65 of itself. log m = 2 atanh(s) with s = (m - 1) / (m + 1) and
// atanh(s) = s (1 + z/3 + z^2 Q(z)), z = s^2; all but z^2 Q needs two doubles.
[[gnu::always_inline]] inline Pair log_pair(double m, double e) {
  const double f = m - 1.0;
  const double d = m + 1.0;
  const double reciprocal = 1.0 / d;
  const double d_high = upper(d);
  const double d_low = (d - d_high) + (m - (d - 1.0));
  const double s_high = upper(f * reciprocal);
  const double s_low = ((f - s_high * d_high) - s_high * d_low) * reciprocal;

  const double z_high = s_high * s_high;
  const double z_low = s_low * (s_high + s_high + s_low);
  const double z = z_high + z_low;
  const double q = z * z *
                   horner<double>(z, 0.1999999999999999, 0.14285714285721934, 0.11111111108889307,
                                  0.090909094228662682, 0.076922791455111758, 0.066681351731054245,
                                  0.058378265263452515, 0.059914387016316462);
  const double t_high = upper(z_high * (1.0 / 3.0));
  const double t_low = ((z_high - 3.0 * t_high) + z_low) * (1.0 / 3.0) + q;

  const double product = s_high * t_high;
  const double sum = s_high + product;
  const double rest = ((s_high - sum) + product) +
                      (s_low + (s_high * t_low + s_low * (t_high + t_low)));

  const double whole = e * ln2_high<double>;
  const double total = whole + 2.0 * sum;
  const double total_low =
      ((whole - total) + 2.0 * sum) + (2.0 * rest + e * ln2_low<double>);
  const double high = upper(total + total_low);
  return {high, total_low - (high - total)};
}

// |x|^y, without the cases that do not depend on the size of x.
[[gnu::always_inline]] inline double pow_magnitude(double a, double y) {
  constexpr double up = 18014398509481984.0;
  const bool small = a < std::numeric_limits<double>::min();
  const Mantissa<double> s = split_mantissa(small ? a * up : a);
  Pair l = log_pair(s.m, s.e - (small ? 54.0 : 0.0));
  l.high = a < infinity<double> ? l.high : a;
  l.high = a == 0.0 ? -infinity<double> : l.high;

  const double rough = y * l.high;
  const bool far = !(std::abs(rough) < 800.0);
  const double y_high = upper(y);
  const double exact = y_high * l.high;
  const double extra = (y - y_high) * l.high + y * l.low;
  const Exponent<double> e = split_exponent(clamp(far ? rough : exact, -760.0, 760.0),
                                            far ? 0.0 : extra);
  return scale(1.0 + (e.r + e.tail), e.k);
}

// The same for arguments and a result in single precision, so that double suffices throughout.
[[gnu::always_inline]] inline double pow_magnitude_single(double a, double y) {
  const Mantissa<double> m = split_mantissa(a);
  const double f = m.m - 1.0;
  const double s = f / (m.m + 1.0);
  const double z = s * s;
  const double p = z * horner<double>(z, 0.33333333337919041, 0.19999997803420319,
                                      0.14286055506081416, 0.11088050808032573,
                                      0.097927623456623161);
  double l = m.e * 0.69314718055994531 + 2.0 * (s + s * p);
  l = a < infinity<double> ? l : a;
  l = a == 0.0 ? -infinity<double> : l;

  const double x = clamp(y * l, -120.0, 120.0);
  const double k = x * 1.4426950408889634 + magic<double>;
  const double r = x - (k - magic<double>) * 0.69314718055994531;
  const double tail = r * r *
                      horner<double>(r, 0.49999999999516848, 0.16666666787290721,
                                     0.041666667056188066, 0.0083332810793737642,
                                     0.001388879607388786, 0.00019909368945620254,
                                     2.4887788096336984e-05);
  return (1.0 + (r + tail)) * power_of_two<double>(bits(k));
}

template <bool single>
[[gnu::always_inline]] inline double pow_double(double x, double y) {
  const double a = std::abs(x);
  const double b = std::abs(y);
  const double magnitude = single ? pow_magnitude_single(a, y) : pow_magnitude(a, y);

  // Adding 2^52 rounds to an integer; from 2^53 on every double is even.
  constexpr double two52 = 4503599627370496.0;
  const double half = b * 0.5;
  const bool integer = (b >= two52) | ((b + two52) - two52 == b);
  const bool even = (b >= 2.0 * two52) | ((half + two52) - two52 == half);
  const double sign = integer & !even ? x : 1.0;
  double r = std::copysign(magnitude, sign);
  r = (x < 0.0) & (a < infinity<double>) & !integer ? nan<double> : r;
  r = (x == x) & (y == y) ? r : x + y;
  const bool one = (y == 0.0) | (x == 1.0) | ((x == -1.0) & (b == infinity<double>));
  return one ? 1.0 : r;
}

}  // namespace detail

template <class T>
[[gnu::always_inline]] inline T pow(T x, T y) {
  return T(detail::pow_double<detail::is_single<T>>(double(x), double(y)));
}

}  // namespace wengert::math
