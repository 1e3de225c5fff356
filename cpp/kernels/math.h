// Owns: the elementary functions, as branch-free scalar templates that a loop over a fixed block
// vectorises for any instruction set. Must not know: arrays, loops, instruction sets.
//
// Error bounds in units in the last place; in brackets the largest seen, with and without FMA.
// Sampled, not exhaustive: singles at every 11th or 23rd bit pattern, doubles at 6e6 arguments,
// pow and atan2 at 3e6 pairs.
//
//   function             float        double
//   exp                  1   (0.98)   1   (0.97)
//   log                  1   (0.91)   1   (0.83)
//   expm1, cosh          1.5 (1.45)   1.5 (1.42)
//   acos, rsqrt          1.5 (1.49)   1.5 (1.49)
//   sin, cos             1.6 (1.49)   1.6 (1.50)
//   erf                  1.6 (1.32)   1.6 (1.30)
//   log1p                1.6 (1.52)   1.6 (1.35)
//   softplus             2   (1.77)   2   (1.57)
//   atan, atan2          2   (1.88)   2   (1.85)
//   asin                 2.5 (2.02)   2.5 (2.07)
//   sinh                 2.5 (2.16)   2.5 (2.17)
//   tanh, sigmoid        3   (2.42)   3   (2.37)
//   tan                  3   (2.44)   3   (2.48)
//   pow                  0.6 (0.50)   1.5 (0.97)
//   erfc                 6   (5.23)   6   (4.75)
//
// NaN, infinities, signed zeros and denormals follow C99. For sin, cos and tan of arguments beyond
// detail::trig_bound the caller tests f_is_slow(x) and recomputes with f_slow(x).
#pragma once

#include "kernels/math_bits.h"
#include "kernels/math_erf.h"
#include "kernels/math_exp.h"
#include "kernels/math_log.h"
#include "kernels/math_pow.h"
#include "kernels/math_trig.h"

namespace wengert::math {

template <class T>
[[gnu::always_inline]] inline T rsqrt(T x) {
  return T(1) / std::sqrt(x);
}

}  // namespace wengert::math
