// Rows of activation functions, each with its derivative as one kernel, since these are most of
// what a small network does between matrix products. Must not know: how rows are recorded or run.
#include <cmath>
#include <numbers>

#include "kernels/chain.h"
#include "kernels/math.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

using kernels::chain;

// The gates below have saturated long before this; infinities must not meet their zeros.
constexpr double saturated = 1000;
template <class T>
[[gnu::always_inline]] inline T saturate(T x) {
  return math::detail::clamp(x, T(-saturated), T(saturated));
}

// x s for a gate s that is 0 at -inf, where the product is -0.
template <class T>
[[gnu::always_inline]] inline T gated(T x, T s) {
  return (x < T(-saturated) ? T(-saturated) : x) * s;
}

constexpr double inv_sqrt_two_pi = std::numbers::inv_sqrtpi / std::numbers::sqrt2;

// y = x cdf(x) with the normal distribution's cdf, and dy its slope: chain(1, slope) to the bit, as no sum here is -0.
//
// With a = |x|, left of 0 y is -a cdf(-a), and right of it what that leaves of x. Singles share one exponential:
// cdf(-a) = e^(-a^2 / 2) t P(t - 1/2) with t = 1 / (1 + a / sqrt(8)) and P minimax to 4e-8. a^2 is summed from two
// parts, as its rounding error would be that of the result. From 13.243 on, where a density is no normal number any
// more, its power of two has the bits of 0. Polynomials are added up by pairs: of shorter chains of dependent steps,
// more are under way at a time.
[[gnu::always_inline]] inline void gelu(float x, float& y, float& dy) {
  using namespace math::detail;
  constexpr float end = 13.25f, inv_sqrt_8 = 0.35355339f, density = float(inv_sqrt_two_pi);
  const float size = std::abs(x), a = size > end ? end : size, head = upper(a);
  const float high = -0.5f * (head * head), k = high * 1.44269504f + magic<float>, n = k - magic<float>;
  const float r = (high - n * ln2_high<float>) + (-0.5f * ((a - head) * (a + head)) - n * ln2_low<float>), r2 = r * r;
  const float tail = (0.5f + r * 0.166666374f) +
                     r2 * ((0.0416665189f + r * 0.00834133662f) + r2 * (0.00139297161f + r * 0.000150228676f));
  const float power = (1.0f + (r + r2 * tail)) * power_of_two<float>(bits(k));
  const float t = 1.0f / (1.0f + inv_sqrt_8 * a), u = t - 0.5f, u2 = u * u, u4 = u2 * u2;
  const float share = ((0.25539568f + u * 0.343580484f) + u2 * (0.279469609f + u * 0.0728705674f)) +
                      u4 * (((-0.0859336331f + u * -0.0515029803f) + u2 * (0.0476636737f + u * 0.0241801534f)) +
                            u4 * -0.0295688622f);
  // No product that is added to in one of them only: it would be rounded in one loop, and melt into a sum in another.
  const float weight = power * t, left = weight * (share - a * (density + density * inv_sqrt_8 * a));
  y = (x < 0 ? -0.0f : x) - a * (weight * share);
  dy = x < 0 ? left : 1 - left;
}

// A half of erfc, too, would be rounded in one loop and melt into a sum in another: it comes last.
[[gnu::always_inline]] inline void gelu(double x, double& y, double& dy) {
  const double above = x < -saturated ? -saturated : x, near = above > saturated ? saturated : above;
  const double twice = math::erfc(x * (-std::numbers::sqrt2 / 2)), density = math::exp(-0.5 * near * near);
  y = above * (twice * 0.5);
  dy = (twice + near * (density * (2 * inv_sqrt_two_pi))) * 0.5;
}

// Functions whose slopes share their work: `both` sets the value and chain(1, slope).
struct Gelu {
  template <class T> T operator()(T x) const {
    T y, dy;
    gelu(x, y, dy);
    return y;
  }
  template <class T>
  [[gnu::always_inline]] static void both(T x, T& y, T& dy) { gelu(x, y, dy); }
};
struct GeluGrad {
  template <class T> T operator()(T g, T x) const {
    T y, dy;
    gelu(x, y, dy);
    return chain(g, dy);
  }
};

// gelu_tanh(x) = x sigmoid(v) with v = slope (x + cubic x^3).
constexpr double slope = 2 * 0.79788456080286535588;  // 2 sqrt(2 / pi)
constexpr double cubic = 0.044715;

template <class T>
[[gnu::always_inline]] inline T tanh_gate(T x) {
  return math::sigmoid(T(slope) * (x + T(cubic) * (x * x * x)));
}

struct GeluTanh {
  template <class T> T operator()(T x) const { return gated(x, tanh_gate(x)); }
  template <class T>
  [[gnu::always_inline]] static T derivative(T z, T s) {
    const T dv = T(slope) * (T(1) + T(3 * cubic) * (z * z));
    return s * (T(1) + z * (T(1) - s) * dv);
  }
  template <class T>
  [[gnu::always_inline]] static void both(T x, T& y, T& dy) {
    const T z = saturate(x), s = tanh_gate(z);
    y = gated(x, s);
    dy = chain(T(1), derivative(z, s));
  }
};
struct GeluTanhGrad {
  template <class T> T operator()(T g, T x) const {
    const T z = saturate(x);
    return chain(g, GeluTanh::derivative(z, tanh_gate(z)));
  }
};

struct Silu {
  template <class T> T operator()(T x) const { return gated(x, math::sigmoid(x)); }
  template <class T>
  [[gnu::always_inline]] static T derivative(T x, T s) {
    return s * (T(1) + saturate(x) * (T(1) - s));
  }
  template <class T>
  [[gnu::always_inline]] static void both(T x, T& y, T& dy) {
    const T s = math::sigmoid(x);
    y = gated(x, s);
    dy = chain(T(1), derivative(x, s));
  }
};
struct SiluGrad {
  template <class T> T operator()(T g, T x) const { return chain(g, Silu::derivative(x, math::sigmoid(x))); }
};

Var emit(const Op& op, std::initializer_list<Var> ins) {
  return apply(op, {ins.begin(), ins.size()});
}

Var relu_grad(const Var& g, const Var& y) {
  static const Op& op = find_op("relu_grad");
  return emit(op, {g, y});
}
Var sigmoid_grad(const Var& g, const Var& y) {
  static const Op& op = find_op("sigmoid_grad");
  return emit(op, {g, y});
}
Var silu_grad(const Var& g, const Var& x) {
  static const Op& op = find_op("silu_grad");
  return emit(op, {g, x});
}
Var gelu_grad(const Var& g, const Var& x) {
  static const Op& op = find_op("gelu_grad");
  return emit(op, {g, x});
}
Var gelu_tanh_grad(const Var& g, const Var& x) {
  static const Op& op = find_op("gelu_tanh_grad");
  return emit(op, {g, x});
}
Var expm1(const Var& x) {
  static const Op& op = find_op("expm1");
  return emit(op, {x});
}

Var is_positive(const Var& x) { return less(constant(0, x.dtype()), x); }
Var negative_part(const Var& x) { return where(is_positive(x), constant(0, x.dtype()), x); }

// Far out the first factor of each is 0 and the second not finite.
Var silu_curvature(const Var& x) {
  const Var s = sigmoid(x), t = sigmoid(-x);
  return chain_multiply(s * t, x * (t - s) + 2.0);
}

Var gelu_curvature(const Var& x) {
  const Var squared = square(x);
  return chain_multiply(exp(squared * -0.5), 2.0 - squared) * inv_sqrt_two_pi;
}

Var gelu_tanh_curvature(const Var& x) {
  const Var squared = square(x);
  const Var v = x * (squared * cubic + 1.0) * slope;
  const Var dv = (squared * (3 * cubic) + 1.0) * slope;
  const Var s = sigmoid(v), t = sigmoid(-v);
  return chain_multiply(s * t, dv * 2.0 + squared * (6 * cubic * slope) + x * (t - s) * square(dv));
}

std::vector<Op> rectifiers() {
  return {
      unary<Domain::numbers>("relu",
          "max(x, 0); NaN for NaN. The derivative is 1 where x > 0, elsewhere 0.",
          []<class T>(T x) -> T { return x <= 0 ? T(0) : x; },
          [](G g, Y y) { return relu_grad(g, y); }),
      binary("relu_grad",
          "x1 where x2 > 0, elsewhere 0: the derivative of relu by its value x2, applied to x1.",
          []<class T>(T g, T y) -> T { return y > 0 ? g : T(0); },
          [](G h, B y) { return relu_grad(h, y); }, not_differentiable),
      binary("leaky_relu",
          "x1 where x1 > 0, elsewhere x2 * x1, for a slope x2. The derivative at 0 is x2.",
          []<class T>(T x, T a) -> T { return x > 0 ? x : a * x; },
          [](G g, A x, B a) { return where(is_positive(x), g, g * a); },
          [](A x) { return negative_part(x); }),
      binary("elu",
          "x1 where x1 > 0, elsewhere x2 * (e**x1 - 1), for a scale x2. The derivative at 0 is x2.",
          []<class T>(T x, T a) -> T { return x > 0 ? x : a * math::expm1(x); },
          [](G g, A x, B a, Y y) { return where(is_positive(x), g, chain_multiply(g, y + a)); },
          [](A x) { return expm1(negative_part(x)); }),
  };
}

std::vector<Op> gates() {
  return {
      unary("sigmoid", "1 / (1 + e**-x).",
          []<class T>(T x) -> T { return math::sigmoid(x); },
          [](G g, Y y) { return sigmoid_grad(g, y); }),
      obeying({.scales = true},
        binary("sigmoid_grad",
          "x1 * x2 * (1 - x2): the derivative of sigmoid by its value x2, applied to x1.",
          []<class T>(T g, T y) -> T { return chain(g, y * (T(1) - y)); },
          [](G h, B y) { return sigmoid_grad(h, y); },
          [](A g, B y) { return chain_multiply(g, 1.0 - (y + y)); })),
      unary("softplus", "log(1 + e**x) without overflow. The derivative is sigmoid(x).",
          []<class T>(T x) -> T { return math::softplus(x); },
          [](X x) { return sigmoid(x); }),
      unary("log_sigmoid", "log(1 / (1 + e**-x)) without overflow. The derivative is sigmoid(-x).",
          []<class T>(T x) -> T { return -math::softplus(-x); },
          [](X x) { return sigmoid(-x); }),
      twin<Silu>("silu_grad",
        unary("silu", "x * sigmoid(x), also called swish; 0 at -inf.",
          Silu{}, [](G g, X x) { return silu_grad(g, x); })),
      obeying({.scales = true},
        binary("silu_grad", "x1 times the derivative of silu at x2.",
          SiluGrad{},
          [](G h, B x) { return silu_grad(h, x); },
          [](A g, B x) { return chain_multiply(g, silu_curvature(x)); })),
      twin<Gelu>("gelu_grad",
        unary("gelu",
          "x * Phi(x), where Phi(x) = (1 + erf(x / sqrt(2))) / 2 is the normal distribution; 0 at "
          "-inf.",
          Gelu{}, [](G g, X x) { return gelu_grad(g, x); })),
      obeying({.scales = true},
        binary("gelu_grad", "x1 times the derivative of gelu at x2.",
          GeluGrad{},
          [](G h, B x) { return gelu_grad(h, x); },
          [](A g, B x) { return chain_multiply(g, gelu_curvature(x)); })),
      twin<GeluTanh>("gelu_tanh_grad",
        unary("gelu_tanh",
          "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2, which approximates gelu; 0 at "
          "-inf.",
          GeluTanh{}, [](G g, X x) { return gelu_tanh_grad(g, x); })),
      obeying({.scales = true},
        binary("gelu_tanh_grad", "x1 times the derivative of gelu_tanh at x2.",
          GeluTanhGrad{},
          [](G h, B x) { return gelu_tanh_grad(h, x); },
          [](A g, B x) { return chain_multiply(g, gelu_tanh_curvature(x)); })),
  };
}

}  // namespace

std::vector<Op> activation_rows() {
  std::vector<Op> rows = rectifiers();
  for (Op& row : gates()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace wengert
