// Families: what a kind of operation needs to say, and what is derived from it. An elementwise row
// gives its function and a partial derivative an argument; a linear one its transpose; a bilinear
// one its two adjoints. Everything a transform asks of a row follows from that.
#pragma once
#include <tuple>

#include "kernels/tile_loop.h"
#include "ops/op.h"
#include "ops/vocabulary.h"

namespace wengert {

// Operands of a partial derivative. A rule names those it reads, in this order, and a node saves
// just those: [](Y y) { return 1 - y * y; } keeps the output and lets the input go.
// With G first the rule gives the product of the cotangent (or tangent) and the partial itself:
// [](G g, A a) { return where(a > 0, g, zeros_like(g)); }
struct G : Var { explicit G(const Var& v) : Var(v) {} };
struct A : Var { explicit A(const Var& v) : Var(v) {} };
struct B : Var { explicit B(const Var& v) : Var(v) {} };
struct C : Var { explicit C(const Var& v) : Var(v) {} };
struct Y : Var { explicit Y(const Var& v) : Var(v) {} };
using X = A;

// Partials that need no multiplication, and arguments that have no derivative.
struct Zero {};
struct One {};
struct MinusOne {};
struct NotDifferentiable {};
inline constexpr Zero zero;
inline constexpr One one;
inline constexpr MinusOne minus_one;
inline constexpr NotDifferentiable not_differentiable;

// The diagonal Jacobian of one argument as a linear map of `g`: it is its own transpose, so the
// same map serves both modes.
struct Partial {
  std::function<Var(const Rule&, const Var& g)> scale = {};  // empty: not differentiable
  uint32_t saves_in = 0;
  bool saves_out = false;
};

namespace detail {

template <unsigned mask, unsigned bit, class T>
auto pick(const Var& v) {
  if constexpr (mask & (1u << bit)) return std::tuple<T>(T(v));
  else return std::tuple<>();
}
template <unsigned mask>
auto operands(const Var& g, const Var& a, const Var& b, const Var& c, const Var& y) {
  return std::tuple_cat(pick<mask, 0, G>(g), pick<mask, 1, A>(a), pick<mask, 2, B>(b),
                        pick<mask, 3, C>(c), pick<mask, 4, Y>(y));
}
template <class P, class Tuple> struct Accepts;
template <class P, class... T>
struct Accepts<P, std::tuple<T...>> : std::is_invocable<P, T...> {};

template <class P, unsigned mask = 1>
constexpr unsigned signature() {
  static_assert(mask < 32, "a partial takes some of (G, A, B, C, Y), in this order");
  using Operands = decltype(operands<mask>({}, {}, {}, {}, {}));
  if constexpr (Accepts<P, Operands>::value) return mask;
  else return signature<P, mask + 1>();
}

}  // namespace detail

template <class P>
Partial partial(P rule) {
  if constexpr (std::is_same_v<P, NotDifferentiable>) {
    return {};
  } else if constexpr (std::is_same_v<P, Zero>) {
    return {.scale = [](const Rule&, const Var& g) { return zeros_like(g); }};
  } else if constexpr (std::is_same_v<P, One>) {
    return {.scale = [](const Rule&, const Var& g) { return g; }};
  } else if constexpr (std::is_same_v<P, MinusOne>) {
    return {.scale = [](const Rule&, const Var& g) { return negative(g); }};
  } else {
    constexpr unsigned mask = detail::signature<P>();
    return {.scale = [rule](const Rule& r, const Var& g) {
              auto in = [&](std::size_t i) { return i < r.ins.size() ? r.ins[i] : Var(); };
              Var d = std::apply(rule, detail::operands<mask>(g, in(0), in(1), in(2), r.outs[0]));
              return mask & 1u ? d : chain_multiply(g, d);
            },
            .saves_in = (mask >> 1) & 7u,
            .saves_out = bool(mask & 16u)};
  }
}

// A row with laws of its own.
inline Op obeying(Laws laws, Op row) {
  row.laws = std::move(laws);
  return row;
}
// With `value` in its last operand (in either, where it `commutes`) the row gives the other one: to the
// bit, or in floats but for the sign of a zero (`loosely`).
std::function<int(std::span<const Array>, bool)> neutral(double value, bool commutes, bool loosely);

// Operand dtypes a row computes in: others are promoted, or refused.
enum class Domain { floats, numbers, integers, everything };

template <Domain domain, class F, std::size_t arity>
const kernels::Tiles* make_tiles() {
  static const kernels::Tiles tiles = [] {
    kernels::Tiles made;
    auto add = [&]<class T>(TypeTag<T>) {
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        kernels::add_tile<F, std::conditional_t<I == arity, void, T>...>(made, dtype_of<T>());
      }(std::make_index_sequence<arity>());
    };
    if constexpr (domain != Domain::integers) add(TypeTag<float>{}), add(TypeTag<double>{});
    if constexpr (domain != Domain::floats)
      add(TypeTag<int32_t>{}), add(TypeTag<int64_t>{}), add(TypeTag<uint8_t>{});
    if constexpr (domain == Domain::everything || domain == Domain::integers) add(TypeTag<bool>{});
    return made;
  }();
  return &tiles;
}

// An elementwise row made from parts; unary(), binary() and the like below fill it in.
Op elementwise(std::string name, std::string doc, std::vector<std::string> inputs, Domain domain,
               const kernels::Tiles* tiles, bool returns_bool, std::vector<Partial> partials);

template <Domain domain = Domain::floats, class F, class P>
Op unary(std::string name, std::string doc, F, P dx) {
  constexpr bool returns_bool = std::is_same_v<decltype(F{}(1.0f)), bool> && domain != Domain::integers;
  return elementwise(std::move(name), std::move(doc), {"x"}, domain, make_tiles<domain, F, 1>(),
                     returns_bool, {partial(dx)});
}

template <Domain domain = Domain::floats, class F, class PA, class PB>
Op binary(std::string name, std::string doc, F, PA da, PB db) {
  constexpr bool returns_bool = std::is_same_v<decltype(F{}(1.0f, 1.0f)), bool>;
  return elementwise(std::move(name), std::move(doc), {"x1", "x2"}, domain,
                     make_tiles<domain, F, 2>(), returns_bool, {partial(da), partial(db)});
}

// A row of one argument that is computed together with `other`, by F::both.
template <class F>
Op twin(const char* other, Op row) {
  static const kernels::TwinTiles tiles = [] {
    kernels::TwinTiles made;
    kernels::add_twin_tile<F, float>(made, DType::float32);
    kernels::add_twin_tile<F, double>(made, DType::float64);
    return made;
  }();
  row.twin = other;
  row.twin_tiles = &tiles;
  return row;
}

// Truth values without a derivative: comparisons, isnan.
template <Domain domain = Domain::everything, class F>
Op predicate(std::string name, std::string doc, F f) {
  if constexpr (std::is_invocable_v<F, float>) return unary<domain>(name, doc, f, not_differentiable);
  else return binary<domain>(name, doc, f, not_differentiable, not_differentiable);
}

// Shared steps of `prepare`, for rows that write their own. Weak operands (Python numbers) adopt the
// promoted dtype of the others; 0-d constants are left for the kernel to broadcast.
void promote_all(const Op& op, Vars& args, Domain domain);
void broadcast_all(const Op& op, Vars& args);
Types infer_elementwise(std::span<const Type> in, bool returns_bool);
Vars batch_elementwise(const Batched& b);
// Input i with the mapped axis in front, stretched along it where the input is not batched.
Var stretched(const Batched& b, int i);

// The inputs of a batching rule, all with the mapped axis in front.
Vars all_batched(const Batched& b);
void require_same_shape(const char* name, const Vars& args);  // of the first two
// Integers become float32; mixed floats the wider one.
void to_floats(const char* name, Vars& args);
Var call(const Op& op, std::initializer_list<Var> inputs, const Attrs& attrs);

// Linear in the inputs of the bit mask `linear_in`; the others (indices) pass through unchanged.
// The tangent is the op itself, applied to the tangents.
Op linear(Op row, uint32_t linear_in = saves_all);
// A row that raises for indices out of bounds.
inline Op bounded(Op row, Op::Bounds bounds) {
  row.may_raise = true;
  row.bounds = bounds;
  return row;
}
// A kernel plus its meaning in other operations: transforms that the row leaves out follow from the
// meaning (its adjoint and tangent sweep the decomposition).
Op fused(Op row, std::function<Var(std::span<const Var>, const Attrs&)> meaning);
// The same for several outputs.
Op fused_outputs(Op row, std::function<Vars(std::span<const Var>, const Attrs&)> meaning);

// Flops of a row that does so many a number of its first input.
std::function<int64_t(std::span<const Type>, std::span<const Type>)> flops_a_number(int64_t count);

// An output with the type of input 0 / the same with another shape.
Types same_type(std::span<const Type> in);

}  // namespace wengert
