// Rows of the elementary functions: exponentials, logarithms, circular and hyperbolic functions and
// their inverses, erf. Must not know: how rows are recorded or run.
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/chain.h"
#include "kernels/math.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

// log(x) / log(base), given 1 / log(base) as a short and a low part. Nearly correctly rounded, so
// that powers of the base come out whole.
template <class T>
[[gnu::always_inline]] inline T log_to_base(T x, double high, double low) {
  if constexpr (std::is_same_v<T, float>) {
    return float(math::log(double(x)) * (high + low));
  } else {
    using namespace math::detail;
    const bool small = x < std::numeric_limits<double>::min();
    const Mantissa<double> s = split_mantissa(small ? x * 18014398509481984.0 : x);
    const Pair l = log_pair(s.m, s.e - (small ? 54.0 : 0.0));
    double y = l.high * high + (l.high * low + l.low * (high + low));
    y = x < infinity<double> ? y : x;
    return x > 0 ? y : x == 0 ? -infinity<double> : nan<double>;
  }
}

// The larger leg is factored out, so that no square overflows.
template <class T>
[[gnu::always_inline]] inline T hypotenuse(T a, T b) {
  const T x = std::abs(a), y = std::abs(b);
  const T longer = x > y ? x : y, shorter = x > y ? y : x;
  const T ratio = longer > 0 ? shorter / longer : T(0);
  const T h = longer * std::sqrt(T(1) + ratio * ratio);
  constexpr T infinity = std::numeric_limits<T>::infinity();
  const bool infinite = (x == infinity) | (y == infinity);
  const T sum = x + y;  // NaN where either is
  return infinite ? infinity : sum != sum ? sum : h;
}

// Beyond this, the inverse hyperbolic functions are log(2 x) to the last bit.
template <class T>
constexpr T far = std::is_same_v<T, float> ? T(1e9) : T(1e17);

// log1p(a + a^2 / (1 + sqrt(1 + a^2))) keeps small a exact.
template <class T>
[[gnu::always_inline]] inline T arc_sinh(T x) {
  const T a = std::abs(x);
  const bool large = a > far<T>;
  const T b = large ? T(1) : a;
  const T near = b + b * b / (T(1) + std::sqrt(T(1) + b * b));
  return std::copysign(math::log1p(large ? a : near) + (large ? std::numbers::ln2_v<T> : T(0)), x);
}

template <class T>
[[gnu::always_inline]] inline T arc_cosh(T x) {
  const bool large = x > far<T>;
  const T t = (large ? T(2) : x) - T(1);
  const T near = t + std::sqrt(t) * std::sqrt(t + T(2));
  return math::log1p(large ? x : near) + (large ? std::numbers::ln2_v<T> : T(0));
}

template <class T>
[[gnu::always_inline]] inline T arc_tanh(T x) {
  const T a = std::abs(x);
  return std::copysign(T(0.5) * math::log1p(T(2) * a / (T(1) - a)), x);
}

template <class T>
[[gnu::always_inline]] inline T log_add_exp(T a, T b) {
  const T larger = a > b ? a : b;
  const T sum = larger + math::log1p(math::exp(-std::abs(a - b)));
  return a == b ? a + std::numbers::ln2_v<T> : sum;  // infinities of one sign have no difference
}

struct Sin {
  template <class T> T operator()(T x) const { return math::sin(x); }
  template <class T> static bool is_slow(T x) { return math::sin_is_slow(x); }
  template <class T> static T slow(T x) { return math::sin_slow(x); }
  template <class T> static void both(T x, T& sine, T& cosine) { math::sin_cos(x, sine, cosine); }
  template <class T> static void slow_both(T x, T& sine, T& cosine) {
    sine = math::sin_slow(x);
    cosine = math::cos_slow(x);
  }
};
struct Cos {
  template <class T> T operator()(T x) const { return math::cos(x); }
  template <class T> static bool is_slow(T x) { return math::cos_is_slow(x); }
  template <class T> static T slow(T x) { return math::cos_slow(x); }
};
struct Tan {
  template <class T> T operator()(T x) const { return math::tan(x); }
  template <class T> static bool is_slow(T x) { return math::tan_is_slow(x); }
  template <class T> static T slow(T x) { return math::tan_slow(x); }
};

Var emit(const Op& op, std::initializer_list<Var> ins) {
  return apply(op, {ins.begin(), ins.size()});
}

Var tanh_grad(const Var& g, const Var& y) {
  static const Op& op = find_op("tanh_grad");
  return emit(op, {g, y});
}
Var hypot(const Var& a, const Var& b) {
  static const Op& op = find_op("hypot");
  return emit(op, {a, b});
}
Var divide_or_zero(const Var& a, const Var& b) {
  static const Op& op = find_op("divide_or_zero");
  return emit(op, {a, b});
}
Var logaddexp_share(const Var& a, const Var& b) {
  static const Op& op = find_op("logaddexp_share");
  return emit(op, {a, b});
}

// x / (x^2 + y^2), and 0 at the origin.
Var over_square_norm(const Var& x, const Var& y) {
  const Var h = hypot(x, y);
  return divide_or_zero(divide_or_zero(x, h), h);
}

// (1 - x) (1 + x) loses nothing near 1, unlike 1 - x^2.
Var one_minus_square(const Var& x) { return (1.0 - x) * (x + 1.0); }

constexpr double two_over_root_pi = 2 * std::numbers::inv_sqrtpi;

std::vector<Op> exponentials() {
  return {
      unary("exp", "e**x, elementwise, in floats.",
          []<class T>(T x) -> T { return math::exp(x); },
          [](Y y) { return y; }),
      unary("expm1", "e**x - 1, accurate for small x.",
          []<class T>(T x) -> T { return math::expm1(x); },
          [](Y y) { return y + 1.0; }),
      unary("log", "The natural logarithm; -inf at 0, NaN below.",
          []<class T>(T x) -> T { return math::log(x); },
          [](G g, X x) { return chain_divide(g, x); }),
      unary("log1p", "log(1 + x), accurate for small x; -inf at -1, NaN below.",
          []<class T>(T x) -> T { return math::log1p(x); },
          [](G g, X x) { return chain_divide(g, x + 1.0); }),
      unary("log2", "The logarithm to base 2, exact for powers of 2; -inf at 0, NaN below.",
          []<class T>(T x) -> T {
            return log_to_base(x, 1.4426950216293335, 1.9259629911266175e-08);
          },
          [](G g, X x) { return chain_divide(g, x * std::numbers::ln2); }),
      unary("log10", "The logarithm to base 10, exact for powers of 10; -inf at 0, NaN below.",
          []<class T>(T x) -> T {
            return log_to_base(x, 0.4342944771051407, 4.798111141615973e-09);
          },
          [](G g, X x) { return chain_divide(g, x * std::numbers::ln10); }),
      binary("logaddexp",
          "log(e**x1 + e**x2) without overflow. The derivatives are e**(x1 - y) and e**(x2 - y); "
          "both are 0 where x1 and x2 are -inf.",
          []<class T>(T a, T b) -> T { return log_add_exp(a, b); },
          [](A a, B b) { return logaddexp_share(a, b); },
          [](A a, B b) { return logaddexp_share(b, a); }),
      binary("logaddexp_share",
          "1 / (1 + e**(x2 - x1)), the share of x1 in logaddexp: 1/2 where x1 equals x2, but 0 "
          "where both are -inf.",
          []<class T>(T a, T b) -> T {
            const T share = math::sigmoid(a == b ? T(0) : a - b);
            return (a == b) & (a == -std::numeric_limits<T>::infinity()) ? T(0) : share;
          },
          [](A a, B b, Y y) { return y * logaddexp_share(b, a); },
          [](A a, B b, Y y) { return -(y * logaddexp_share(b, a)); }),
      unary("erf", "The error function 2/sqrt(pi) times the integral of e**-t**2 from 0 to x.",
          []<class T>(T x) -> T { return math::erf(x); },
          [](X x) { return exp(-square(x)) * two_over_root_pi; }),
      unary("erfc", "1 - erf(x), accurate for large x.",
          []<class T>(T x) -> T { return math::erfc(x); },
          [](X x) { return exp(-square(x)) * -two_over_root_pi; }),
  };
}

std::vector<Op> circular() {
  return {
      twin<Sin>("cos", unary("sin", "The sine of x in radians; NaN for infinities.", Sin{},
          [](X x) { return cos(x); })),
      unary("cos", "The cosine of x in radians; NaN for infinities.", Cos{},
          [](X x) { return -sin(x); }),
      unary("tan", "The tangent of x in radians; NaN for infinities.", Tan{},
          [](Y y) { return square(y) + 1.0; }),
      unary("asin",
          "The arc sine, in [-pi/2, pi/2]; NaN outside [-1, 1]. The derivative at -1 and 1 is inf.",
          []<class T>(T x) -> T { return math::asin(x); },
          [](X x) { return rsqrt(one_minus_square(x)); }),
      unary("acos",
          "The arc cosine, in [0, pi]; NaN outside [-1, 1]. The derivative at -1 and 1 is -inf.",
          []<class T>(T x) -> T { return math::acos(x); },
          [](X x) { return -rsqrt(one_minus_square(x)); }),
      unary("atan", "The arc tangent, in [-pi/2, pi/2].",
          []<class T>(T x) -> T { return math::atan(x); },
          [](G g, X x) { return chain_divide(g, square(x) + 1.0); }),
      binary("atan2",
          "The angle of the point (x2, x1), in [-pi, pi], signed zeros and infinities as in C. The "
          "derivatives at (0, 0) are 0.",
          []<class T>(T a, T b) -> T { return math::atan2(a, b); },
          [](A a, B b) { return over_square_norm(b, a); },
          [](A a, B b) { return -over_square_norm(a, b); }),
      binary("hypot",
          "sqrt(x1**2 + x2**2) without overflow; inf where either is infinite. The derivatives at "
          "(0, 0) are 0.",
          []<class T>(T a, T b) -> T { return hypotenuse(a, b); },
          [](A a, Y y) { return divide_or_zero(a, y); },
          [](B b, Y y) { return divide_or_zero(b, y); }),
  };
}

std::vector<Op> hyperbolic() {
  return {
      unary("sinh", "The hyperbolic sine.",
          []<class T>(T x) -> T { return math::sinh(x); },
          [](X x) { return cosh(x); }),
      unary("cosh", "The hyperbolic cosine.",
          []<class T>(T x) -> T { return math::cosh(x); },
          [](X x) { return sinh(x); }),
      unary("tanh", "The hyperbolic tangent.",
          []<class T>(T x) -> T { return math::tanh(x); },
          [](G g, Y y) { return tanh_grad(g, y); }),
      binary("tanh_grad",
          "x1 * (1 - x2**2): the derivative of tanh by its value x2, applied to x1.",
          []<class T>(T g, T y) -> T { return kernels::chain(g, (T(1) - y) * (T(1) + y)); },
          [](G h, B y) { return tanh_grad(h, y); },
          [](A g, B y) { return chain_multiply(g, y) * -2.0; }),
      unary("asinh", "The inverse hyperbolic sine.",
          []<class T>(T x) -> T { return arc_sinh(x); },
          [](G g, X x) { return chain_divide(g, hypot(x, constant(1, x.dtype()))); }),
      unary("acosh", "The inverse hyperbolic cosine; NaN below 1. The derivative at 1 is inf.",
          []<class T>(T x) -> T { return arc_cosh(x); },
          [](G g, X x) { return chain_divide(g, sqrt(x - 1.0) * sqrt(x + 1.0)); }),
      unary("atanh", "The inverse hyperbolic tangent; inf at 1, -inf at -1, NaN beyond.",
          []<class T>(T x) -> T { return arc_tanh(x); },
          [](G g, X x) { return chain_divide(g, one_minus_square(x)); }),
  };
}

}  // namespace

std::vector<Op> transcendental_rows() {
  std::vector<Op> rows;
  for (auto* part : {exponentials, circular, hyperbolic})
    for (Op& row : part()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace wengert
