// Rows of arithmetic: sums, quotients, powers, rounding, selection. Integers wrap around and no
// operand traps. Must not know: how rows are recorded or run.
#include <cmath>
#include <concepts>
#include <limits>

#include "kernels/chain.h"
#include "kernels/math.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

using kernels::chain;
using kernels::Tiles;

// Unsigned for integers, whose overflow is then defined: modulo 2^n.
template <class T>
[[gnu::always_inline]] inline constexpr auto wrap(T x) {
  if constexpr (std::is_integral_v<T>) return std::make_unsigned_t<T>(x);
  else return x;
}

template <class T>
struct Division {
  T quotient, remainder;
};

// Rounded down; 0 and 0 where b is 0. The divisors that trap are replaced before dividing.
template <class T>
[[gnu::always_inline]] inline Division<T> divide_integers(T a, T b) {
  const bool negates = std::is_signed_v<T> && b == T(-1);
  const T d = b == 0 || negates ? T(1) : b;
  T q = T(a / d), r = T(a - q * d);
  if (std::is_signed_v<T> && r != 0 && (r < 0) != (d < 0)) q = T(q - 1), r = T(r + d);
  if (negates) q = T(0 - wrap(a));
  return b == 0 ? Division<T>{0, 0} : Division<T>{q, r};
}

// Given the exact remainder of truncated division, moves both to the sign of b.
template <class T>
[[gnu::always_inline]] inline Division<T> round_division_down(T a, T b, T truncated) {
  const bool moves = truncated != 0 && (truncated < 0) != (b < 0);
  const T r = truncated == 0 ? std::copysign(T(0), b) : moves ? truncated + b : truncated;
  T q = (a - truncated) / b - (moves ? T(1) : T(0));
  const T down = std::floor(q);
  q = q == 0 ? std::copysign(T(0), a / b) : q - down > T(0.5) ? down + T(1) : down;
  return b == 0 ? Division<T>{a / b, truncated} : Division<T>{q, r};
}

// fmod where the quotient is small enough to be exact; a rounded-up quotient is put right.
template <class T>
[[gnu::always_inline]] inline T remainder_of_small_quotient(T a, T b) {
  T r;
  if constexpr (std::is_same_v<T, float>) r = float(a - std::trunc(double(a) / b) * b);
  else r = std::fma(-std::trunc(a / b), b, a);
  return r != 0 && (r < 0) != (a < 0) ? r + std::copysign(b, a) : r;
}

template <bool quotient>
struct FloorDivision {
  template <class T>
  static T pick(Division<T> d) { return quotient ? d.quotient : d.remainder; }

  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return pick(divide_integers(a, b));
    else return pick(round_division_down(a, b, remainder_of_small_quotient(a, b)));
  }
  template <std::floating_point T>
  static bool is_slow(T a, T b) {
    return !(std::abs(a / b) < T(1) / std::numeric_limits<T>::epsilon()) |
           !(std::abs(b) < std::numeric_limits<T>::infinity());
  }
  template <std::floating_point T>
  static T slow(T a, T b) { return pick(round_division_down(a, b, T(std::fmod(a, b)))); }
};

template <class T>
[[gnu::always_inline]] inline T integer_power(T a, T b) {
  if (std::is_signed_v<T> && b < 0)
    return a == 1 ? T(1) : a == T(-1) ? (b & 1 ? T(-1) : T(1)) : T(0);
  auto base = wrap(a);
  auto result = wrap(T(1));
  for (auto left = wrap(b); left; left >>= 1) {
    if (left & 1) result = decltype(result)(result * base);
    base = decltype(base)(base * base);
  }
  return T(result);
}

template <Domain domain = Domain::floats, class F, class PA, class PB, class PC>
Op ternary(std::string name, std::string doc, std::vector<std::string> inputs, F, PA da, PB db,
           PC dc) {
  return elementwise(std::move(name), std::move(doc), std::move(inputs), domain,
                     make_tiles<domain, F, 3>(), false, {partial(da), partial(db), partial(dc)});
}

Var emit(const Op& op, std::initializer_list<Var> ins) {
  return apply(op, {ins.begin(), ins.size()});
}

Var keep_greater(const Var& g, const Var& a, const Var& b) {
  static const Op& op = find_op("keep_greater");
  return emit(op, {g, a, b});
}
Var share_greater(const Var& g, const Var& a, const Var& b) {
  static const Op& op = find_op("share_greater");
  return emit(op, {g, a, b});
}
Var power_grad(const Var& g, const Var& a, const Var& b) {
  static const Op& op = find_op("power_grad");
  return emit(op, {g, a, b});
}
Var base_log(const Var& a, const Var& b) {
  static const Op& op = find_op("base_log");
  return emit(op, {a, b});
}
Var floor_divide(const Var& a, const Var& b) {
  static const Op& op = find_op("floor_divide");
  return emit(op, {a, b});
}

// A Python integer that must not be negative, as the exponent of integers of that dtype.
Var exponent(const Var& x, DType dtype) {
  static const Op& op = find_op("from_number");
  return apply(op, {&x, 1}, make_attrs(op, {{"dtype", dtype}, {"where", std::string("power")}, {"exponent", true}}));
}

// A Python number as the exponent is meant for all elements: of integers a negative one is refused, as
// NumPy does. (In tensors of exponents single ones may be negative.)
Op with_checked_exponent(Op row) {
  row.prepare = [base = row.prepare](Vars& args, Attrs& attrs) {
    if (args[1]->weak && is_integer(args[1].dtype()) && !is_float(args[0].dtype()))
      args[1] = exponent(args[1], args[0].dtype() == DType::bool_ ? DType::int64 : args[0].dtype());
    base(args, attrs);
  };
  return row;
}

// Adds the attribute that remembers which operand was a Python number: such a one is a constant,
// to which a tie gives nothing.
Op with_constant(Op row) {
  row.params = {{"constant", AttrKind::integer, int64_t(0)}};
  row.prepare = [base = row.prepare, name = row.name](Vars& args, Attrs& attrs) {
    if (attrs.empty()) attrs = make_attrs(find_op(name), {});
    if (args[0]->weak != args[1]->weak)
      attrs = attrs.with("constant", int64_t(args[0]->weak ? 1 : 2));
    base(args, attrs);
  };
  return row;
}

// The partial of maximum (of minimum where `least`) in argument `i`.
Partial selected(int i, bool least) {
  return {.scale = [i, least](const Rule& r, const Var& g) {
            const auto keep = r.attrs.integer("constant") ? keep_greater : share_greater;
            const Var &own = r.in(i), &other = r.in(1 - i);
            return least ? keep(g, other, own) : keep(g, own, other);
          },
          .saves_in = 3u};
}

Op maximum_row() {
  auto larger = []<class T>(T a, T b) -> T { return (a > b) | (a != a) ? a : b; };
  return with_constant(elementwise(
      "maximum",
      "The larger of x1 and x2; NaN if either is. A tie shares the derivative evenly (0.5 each), "
      "but a Python number is a constant and the derivative of the other operand is then 0 at the "
      "tie; where the result is NaN the derivative is 0. `constant` says which operand (1 or 2) "
      "counts as a constant.",
      {"x1", "x2"}, Domain::everything, make_tiles<Domain::everything, decltype(larger), 2>(),
      false, {selected(0, false), selected(1, false)}));
}

Op minimum_row() {
  auto smaller = []<class T>(T a, T b) -> T { return (a < b) | (a != a) ? a : b; };
  return with_constant(elementwise(
      "minimum",
      "The smaller of x1 and x2; NaN if either is. A tie shares the derivative evenly (0.5 each), "
      "but a Python number is a constant and the derivative of the other operand is then 0 at the "
      "tie; where the result is NaN the derivative is 0. `constant` says which operand (1 or 2) "
      "counts as a constant.",
      {"x1", "x2"}, Domain::everything, make_tiles<Domain::everything, decltype(smaller), 2>(),
      false, {selected(0, true), selected(1, true)}));
}

Op where_row() {
  auto choose = []<class T>(bool condition, T a, T b) -> T { return condition ? a : b; };
  static const Tiles tiles = [] {
    Tiles made;
    auto add_for = [&]<class T>(TypeTag<T>) {
      kernels::add_tile<decltype(choose), bool, T, T>(made, dtype_of<T>());
    };
    add_for(TypeTag<bool>{}), add_for(TypeTag<uint8_t>{}), add_for(TypeTag<int32_t>{});
    add_for(TypeTag<int64_t>{}), add_for(TypeTag<float>{}), add_for(TypeTag<double>{});
    return made;
  }();
  auto nothing = [](const Var& g) { return constant(0, g.dtype()); };
  Op row = elementwise(
      "where",
      "x1 where condition is true, x2 elsewhere; the three broadcast together. The side not taken "
      "gets a derivative of exactly 0, whatever its value.",
      {"condition", "x1", "x2"}, Domain::everything, &tiles, false,
      {partial(not_differentiable),
       partial([nothing](G g, A condition) { return where(condition, g, nothing(g)); }),
       partial([nothing](G g, A condition) { return where(condition, nothing(g), g); })});
  row.prepare = [self = Op{.name = row.name}](Vars& args, Attrs&) {
    Vars sides{args[1], args[2]};
    promote_all(self, sides, Domain::everything);
    args = {astype(args[0], DType::bool_), sides[0], sides[1]};
    broadcast_all(self, args);
  };
  return row;
}

std::vector<Op> sums_and_products() {
  return {
      obeying({.passes = neutral(0.0, true, true), .sums = true, .with_negative = "subtract"},
        binary<Domain::numbers>("add", "x1 + x2, elementwise; integers wrap around.",
          []<class T>(T a, T b) -> T { return T(wrap(a) + wrap(b)); }, one, one)),
      obeying({.passes = neutral(0.0, false, false), .with_negative = "add"},
        binary<Domain::numbers>("subtract", "x1 - x2, elementwise; integers wrap around.",
          []<class T>(T a, T b) -> T { return T(wrap(a) - wrap(b)); }, one, minus_one)),
      obeying({.passes = neutral(1.0, true, false), .odd = true},
        binary<Domain::numbers>("multiply", "x1 * x2, elementwise; integers wrap around.",
          []<class T>(T a, T b) -> T { return T(wrap(a) * wrap(b)); },
          [](B b) { return b; }, [](A a) { return a; })),
      obeying({.passes = neutral(1.0, false, false), .odd = true},
        binary("divide", "x1 / x2, elementwise, in floats: integers are converted to float32 first.",
          []<class T>(T a, T b) -> T { return a / b; },
          [](G g, B b) { return chain_divide(g, b); },
          [](G g, B b, Y y) { return -chain_divide(chain_multiply(g, y), b); })),
      obeying({.passes = neutral(1.0, true, true), .odd = true},
        binary("chain_multiply",
          "x1 * x2, the product of a cotangent and a slope: exactly 0 where either is 0, also where "
          "the other is infinite or NaN (what is not asked for contributes nothing).",
          []<class T>(T g, T slope) -> T { return chain(g, slope); },
          [](G h, B slope) { return chain_multiply(h, slope); },
          [](G h, A g) { return chain_multiply(h, g); })),
      obeying({.odd = true},
        binary("chain_divide",
          "x1 / x2, but exactly 0 where x1 is 0 or x2 infinite: chain_multiply with the slope 1 / x2.",
          []<class T>(T g, T b) -> T {
            const T quotient = g / b;
            return g == 0 || std::isinf(b) ? T(0) : quotient;
          },
          [](G h, B b) { return chain_divide(h, b); },
          [](G h, B b, Y y) { return -chain_divide(chain_multiply(h, y), b); })),
      binary("divide_or_zero", "x1 / x2, and 0 where x2 is 0: the slope of a norm.",
          []<class T>(T a, T b) -> T { return b == 0 ? T(0) : a / b; },
          [](G g, B b) { return chain_divide(g, b); },
          [](G g, B b, Y y) { return -chain_divide(chain_multiply(g, y), b); }),
      binary<Domain::numbers>("floor_divide",
          "The largest integer not above x1 / x2, as Python's //. An integer divided by 0 gives 0. "
          "The derivative is 0.",
          FloorDivision<true>{}, zero, zero),
      binary<Domain::numbers>("remainder",
          "x1 - floor(x1 / x2) * x2, as Python's %: it has the sign of x2. For integers, 0 where "
          "x2 is 0. The derivative in x1 is 1, in x2 it is -floor(x1 / x2), at the jumps too.",
          FloorDivision<false>{}, one,
          [](A a, B b) { return -floor_divide(a, b); }),
      obeying({.involution = true, .negates = true},
        unary<Domain::numbers>("negative", "-x, elementwise; integers wrap around.",
          []<class T>(T x) -> T { return T(-wrap(x)); }, minus_one)),
      unary("reciprocal", "1 / x, elementwise, in floats.",
          []<class T>(T x) -> T { return T(1) / x; },
          [](Y y) { return -square(y); }),
      unary<Domain::numbers>("square", "x * x, elementwise; integers wrap around.",
          []<class T>(T x) -> T { return T(wrap(x) * wrap(x)); },
          [](X x) { return x + x; }),
  };
}

std::vector<Op> powers() {
  return {
      with_checked_exponent(binary<Domain::numbers>("power",
          "x1 to the power x2. Integers wrap around; of an integer a negative Python number as x2 "
          "raises, a negative element of an integer tensor gives 1 / x1**-x2 rounded towards 0 (0 "
          "where x1 is 0). The derivative in x1 is 0 where x2 is 0, "
          "also at x1 = 0; the derivative in x2 is 0 where x1 is 0 and x2 >= 0, and NaN where x1 < "
          "0.",
          []<class T>(T a, T b) -> T {
            if constexpr (std::is_integral_v<T>) return integer_power(a, b);
            else return math::pow(a, b);
          },
          [](G g, A a, B b) { return power_grad(g, a, b); },
          [](A a, B b, Y y) { return y * base_log(a, b); })),
      obeying({.scales = true},
        ternary("power_grad",
          "g * b * a**(b - 1), and 0 where g or b is 0: the derivative of power in a.",
          {"g", "a", "b"},
          []<class T>(T g, T a, T b) -> T {
            return b == 0 ? T(0) : chain(g, b * math::pow(a, b - T(1)));
          },
          [](G h, B a, C b) { return power_grad(h, a, b); },
          [](G h, A g, B a, C b) {
            return power_grad(chain_multiply(h, chain_multiply(g, b)), a, b - 1.0);
          },
          [](A g, B a, C b, Y y) {
            return chain_multiply(g, power(a, b - 1.0)) + chain_multiply(y, base_log(a, b));
          })),
      binary("base_log",
          "log(x1), and 0 where x1**x2 log(x1) has the limit 0: at x1 = 0 with x2 >= 0, at x1 = "
          "inf with x2 < 0.",
          []<class T>(T a, T b) -> T {
            constexpr T infinity = std::numeric_limits<T>::infinity();
            const bool vanishes = (a == 0 && b >= 0) || (a == infinity && b < 0);
            return vanishes ? T(0) : math::log(a);
          },
          [](G g, A a, B b) {
            const Var nothing = constant(0, a.dtype());
            const Var vanishes = logical_and(equal(a, nothing), less_equal(nothing, b));
            return chain_divide(where(vanishes, nothing, g), a);
          },
          zero),
      unary("sqrt", "The square root; NaN below 0. The derivative at 0 is inf.",
          []<class T>(T x) -> T { return std::sqrt(x); },
          [](G g, Y y) { return chain_divide(g, y + y); }),
      unary("rsqrt", "1 / sqrt(x); inf at 0, NaN below.",
          []<class T>(T x) -> T { return math::rsqrt(x); },
          [](Y y) { return y * square(y) * -0.5; }),
  };
}

std::vector<Op> signs_and_rounding() {
  return {
      unary<Domain::numbers>("abs",
          "The absolute value; that of the least integer wraps around to itself. The derivative is "
          "sign(x): 0 at 0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_integral_v<T>) return x < T(1) ? T(-wrap(x)) : x;
            else return std::abs(x);
          },
          [](X x) { return sign(x); }),
      unary<Domain::numbers>("sign",
          "-1, 0 or 1 as x is negative, zero or positive; NaN for NaN. The derivative is 0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_unsigned_v<T>) return T(x > 0);
            else if constexpr (std::is_integral_v<T>) return T((x > 0) - (x < 0));
            else return x != x ? x : x > 0 ? T(1) : x < 0 ? T(-1) : T(0);
          },
          zero),
      binary("copysign",
          "|x1| with the sign of x2. The derivative in x1 is 0 where x1 is 0, that in x2 is 0.",
          []<class T>(T a, T b) -> T { return std::copysign(a, b); },
          [](A a, Y y) { return sign(a) * sign(y); }, zero),
      unary<Domain::numbers>("floor",
          "The largest integer not above x; integers are returned as they are. The derivative is "
          "0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_integral_v<T>) return x;
            else return std::floor(x);
          },
          zero),
      unary<Domain::numbers>("ceil",
          "The least integer not below x; integers are returned as they are. The derivative is 0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_integral_v<T>) return x;
            else return std::ceil(x);
          },
          zero),
      unary<Domain::numbers>("trunc",
          "x rounded towards 0; integers are returned as they are. The derivative is 0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_integral_v<T>) return x;
            else return std::trunc(x);
          },
          zero),
      unary<Domain::numbers>("round",
          "The nearest integer, halves to the even one; integers are returned as they are. The "
          "derivative is 0.",
          []<class T>(T x) -> T {
            if constexpr (std::is_integral_v<T>) return x;
            else return std::nearbyint(x);
          },
          zero),
  };
}

std::vector<Op> selection() {
  return {
      maximum_row(),
      minimum_row(),
      where_row(),
      ternary<Domain::numbers>("clip",
          "min(max(x, min), max): x limited to [min, max]; where min > max the result is max, NaN "
          "in any operand gives NaN. An infinite bound (for integers, the end of the range) limits "
          "nothing. The derivative in x is 1 strictly between the bounds and 0 elsewhere; that in "
          "a bound is 1 where the bound is strictly the result, and 0 at ties.",
          {"x", "min", "max"},
          []<class T>(T x, T low, T high) -> T {
            const T y = (x > low) | (x != x) ? x : low;
            return (y < high) | (y != y) ? y : high;
          },
          [](G g, A x, B low, C high) { return keep_greater(keep_greater(g, x, low), high, x); },
          [](G g, A x, B low, C high) { return keep_greater(keep_greater(g, low, x), high, low); },
          [](G g, A x, B low, C high) { return keep_greater(g, maximum(x, low), high); }),
      ternary("keep_greater",
          "g where a > b, elsewhere 0: what a selected branch passes on.", {"g", "a", "b"},
          []<class T>(T g, T a, T b) -> T { return a > b ? g : T(0); },
          [](G h, B a, C b) { return keep_greater(h, a, b); }, not_differentiable,
          not_differentiable),
      ternary("share_greater",
          "g where a > b, half of it where a == b, elsewhere 0.", {"g", "a", "b"},
          []<class T>(T g, T a, T b) -> T { return a > b ? g : a == b ? T(0.5) * g : T(0); },
          [](G h, B a, C b) { return share_greater(h, a, b); }, not_differentiable,
          not_differentiable),
  };
}

}  // namespace

std::vector<Op> arithmetic_rows() {
  std::vector<Op> rows;
  for (auto* part : {sums_and_products, powers, signs_and_rounding, selection})
    for (Op& row : part()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace wengert
