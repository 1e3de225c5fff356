// Rows that draw random numbers from a state, an int64 tensor (key, counter) that they only read:
// the caller advances the counter. The generator itself is kernels/random.
#include "kernels/random.h"

#include <limits>

#include "ops/rows.h"
#include "ops/vocabulary.h"

namespace wengert {
namespace {

constexpr const char* contract =
    " state is int64 (2,): key and counter; the same state gives the same numbers for any number "
    "of threads. A draw of n elements uses counter ... counter + n - 1: add n to the counter "
    "before the next. A state of shape (..., 2) gives one draw each, in leading axes.";

using Draw = void (*)(kernels::RandomState state, const Attrs& attrs, const Array& out);

// The draw of each state; states may have any strides.
void draw_each(const Call& call, Draw draw) {
  const Array& states = call.in[0];
  const Array& out = call.out[0];
  const int64_t many = states.size() / 2;
  if (out.size() == 0) return;
  const int64_t n = out.size() / many, last = states.strides().back();
  for (int64_t i = 0; i < many; ++i) {
    int64_t at = 0, linear = i;
    for (std::size_t axis = std::size_t(states.ndim()) - 1; axis-- > 0;) {
      at += linear % states.shape()[axis] * states.strides()[axis];
      linear /= states.shape()[axis];
    }
    const int64_t* state = states.data<int64_t>() + at;
    draw({uint64_t(state[0]), uint64_t(state[last])}, call.attrs,
         out.view({n}, {1}, out.offset() + i * n));
  }
}

void check_state(const std::string& name, const Var& state) {
  if (state.dtype() != DType::int64)
    fail(ErrorKind::dtype, name, ": the state must be int64; got ", state.dtype());
  if (state.ndim() == 0 || state.shape().back() != 2)
    fail(ErrorKind::shape, name, ": the state must have shape (2,): key and counter; got ",
         state.shape());
}

// A row over `shape` (or one axis of size `n`), of the attribute dtype if there is one.
Op draw_row(std::string name, std::string doc, Schema params,
            std::function<void(const Attrs&)> check, Draw draw) {
  auto shape_of = [](const Attrs& at, bool permutation) {
    return permutation ? Shape{at.integer("n")} : at.ints("shape");
  };
  const bool permutation = params[0].name == "n";
  Op op{.name = name,
        .doc = std::move(doc) + contract,
        .inputs = {"state"},
        .params = std::move(params)};
  op.prepare = [=](Vars& args, Attrs& at) {
    check_state(name, args[0]);
    const Shape shape = shape_of(at, permutation);
    check_shape(name.c_str(), shape);
    if (check) check(at);
  };
  op.infer = [=](std::span<const Type> in, const Attrs& at) {
    Type type{permutation ? DType::int64 : at.dtype("dtype"), in[0].shape};
    type.shape.pop_back();
    for (int64_t size : shape_of(at, permutation)) type.shape.push_back(size);
    check_shape(name.c_str(), type.shape);
    return Types{std::move(type)};
  };
  op.kernel = [draw](const Call& call) { draw_each(call, draw); };
  op.batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); };
  return op;
}

std::function<void(const Attrs&)> float_check(const char* name) {
  return [name](const Attrs& at) {
    if (!is_float(at.dtype("dtype")))
      fail(ErrorKind::dtype, name, ": dtype must be float32 or float64; got ", at.dtype("dtype"));
  };
}

void integer_check(const Attrs& at) {
  const DType dtype = at.dtype("dtype");
  const int64_t low = at.integer("low"), high = at.integer("high");
  if (!is_integer(dtype))
    fail(ErrorKind::dtype, "random_integers: dtype must be uint8, int32 or int64; got ", dtype);
  if (low >= high)
    fail(ErrorKind::argument, "random_integers: low must be below high; got low=", low,
         ", high=", high);
  dispatch(dtype, [&]<class T>(TypeTag<T>) {
    using Limits = std::numeric_limits<T>;
    if (low < int64_t(Limits::lowest()) || high - 1 > int64_t(Limits::max()))
      fail(ErrorKind::argument, "random_integers: the range [", low, ", ", high, ") does not fit ",
           dtype);
  });
}

const Param shape_param{"shape", AttrKind::ints, {}};
const Param float_param{"dtype", AttrKind::dtype, DType::float32};

}  // namespace

std::vector<Op> random_rows() {
  return {
      draw_row("random_uniform",
               "Uniform numbers in [0, 1): multiples of 2**-24 (float32) or 2**-53 (float64).",
               {shape_param, float_param}, float_check("random_uniform"),
               [](kernels::RandomState state, const Attrs&, const Array& out) {
                 kernels::random_uniform(state, out);
               }),
      draw_row("random_normal",
               "Numbers of the normal distribution with mean 0 and variance 1 (Box-Muller).",
               {shape_param, float_param}, float_check("random_normal"),
               [](kernels::RandomState state, const Attrs&, const Array& out) {
                 kernels::random_normal(state, out);
               }),
      draw_row("random_integers",
               "Integers in [low, high): low + floor(u (high - low) / 2**64) for 64 random bits "
               "u, so that no probability is off by more than (high - low) / 2**64 of itself.",
               {shape_param,
                {"low", AttrKind::integer, {}},
                {"high", AttrKind::integer, {}},
                {"dtype", AttrKind::dtype, DType::int64}},
               integer_check,
               [](kernels::RandomState state, const Attrs& at, const Array& out) {
                 kernels::random_integers(state, at.integer("low"), at.integer("high"), out);
               }),
      draw_row("random_permutation", "The integers 0 ... n - 1 in random order, int64 (n,).",
               {{"n", AttrKind::integer, {}}}, {},
               [](kernels::RandomState state, const Attrs&, const Array& out) {
                 kernels::random_permutation(state, out);
               }),
  };
}

}  // namespace wengert
