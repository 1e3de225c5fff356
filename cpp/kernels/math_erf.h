// Owns: erf and erfc.
// Must not know: arrays, loops, instruction sets.
#pragma once

#include "kernels/math_exp.h"

namespace wengert::math {

namespace detail {

// erf(a) / a - 1 over z = a^2; a below erf_split.
template <class T>
[[gnu::always_inline]] inline T erf_kernel(T z) {
  if constexpr (is_single<T>) {
    return horner<T>(z, 0.128379151f, -0.376125038f, 0.112819217f, -0.026770493f, 0.00499895914f,
                     -0.000602079846f);
  } else {
    return horner<T>(z, 0.12837916709551256, -0.37612638903183343, 0.11283791670936949,
                     -0.026866170641958523, 0.0052239775967275271, -0.00085483254844292761,
                     0.00012055280474243188, -1.4924465105742477e-05, 1.64441426591536e-06,
                     -1.6183920340619581e-07, 1.3616348466629616e-08, -7.6070750021273615e-10);
  }
}

// log(erfc(a)), close enough for 1 - erfc(a), from erf_split to where erf rounds to 1.
template <class T>
[[gnu::always_inline]] inline T log_erfc_kernel(T a) {
  if constexpr (is_single<T>) {
    return horner<T>(a, -0.000159562434f, -1.12782609f, -0.636926889f, -0.104157314f,
                     0.022336429f, -0.00307084783f, 0.000198768379f);
  } else {
    return horner<T>(a, -1.6458236069021469e-07, -1.1283774759957175, -0.63662782155288367,
                     -0.1027491316535679, 0.019081827368499268, 0.00027520428681865702,
                     -0.0017631956302993986, 0.00063619643402524349, -4.1448325571759087e-05,
                     -7.2189568137350773e-05, 4.5823922985814288e-05, -1.6784321540600356e-05,
                     4.4005431224263862e-06, -8.6616041774975497e-07, 1.2822644521897218e-07,
                     -1.3926993711077569e-08, 1.0504922788672311e-09, -4.9226577549938185e-11,
                     1.079733047174655e-12);
  }
}

template <class T>
inline constexpr T erf_split = is_single<T> ? T(0.9) : T(1.0);

// e^(a^2) erfc(a) / t with t = 1 / (1 + a / 2) and u = t - 1/2, for a >= 1/2.
template <class T>
[[gnu::always_inline]] inline T scaled_erfc_kernel(T u) {
  if constexpr (is_single<T>) {
    return horner<T>(u, 0.510791361f, 0.68716079f, 0.558940828f, 0.145752326f, -0.171881601f,
                     -0.102989323f, 0.0947492421f, 0.0436192825f, -0.0530751422f, 0.0370124392f);
  } else {
    return horner<T>(u, 0.5107913526210115, 0.6871606844138094, 0.55894418511209953,
                     0.14576892602823999, -0.17208529511330498, -0.10366696121927858,
                     0.098899585512061336, 0.053586959429329527, -0.084873375862980729,
                     -0.0087996019301959834, 0.0739673855329714, -0.034955213036436839,
                     -0.044385112393543862, 0.065834634042467532, -0.010099044975520411,
                     -0.058175720217348001, 0.075037442767041135, -0.0035128672487751531,
                     -0.13142197185490348, 0.057046001914763285, 0.15608200821756163,
                     0.036317704100451868);
  }
}

}  // namespace detail

template <class T>
[[gnu::always_inline]] inline T erf(T x) {
  using namespace detail;
  constexpr T highest = constant<T>(4.0f, 6.0);
  const T a = std::abs(x);
  const T near = x + x * erf_kernel(x * x);
  const Exponent<T> e = split_exponent(log_erfc_kernel(a > highest ? highest : a));
  const T far = T(1) - (T(1) + (e.r + e.tail)) * power_of_two<T>(bits(e.k));
  return a > erf_split<T> ? std::copysign(far, x) : near;
}

// erfc(a) = e^(-a^2) R(a) keeps its relative accuracy down to the denormals.
template <class T>
[[gnu::always_inline]] inline T erfc(T x) {
  using namespace detail;
  constexpr T highest = constant<T>(10.1f, 27.3);
  const T a = std::abs(x);
  const T b = a > highest ? highest : a;
  const T near = T(1) - (x + x * erf_kernel(x * x));
  const T head = upper(b);
  const Exponent<T> e = split_exponent<T>(-(head * head), -((b - head) * (b + head)));
  const T t = T(1) / (T(1) + T(0.5) * b);
  const T far = scale((T(1) + (e.r + e.tail)) * (t * scaled_erfc_kernel(t - T(0.5))), e.k);
  return a > T(0.75) ? (x < T(0) ? T(2) - far : far) : near;
}

}  // namespace wengert::math
