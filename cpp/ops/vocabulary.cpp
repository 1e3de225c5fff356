#include "ops/vocabulary.h"

namespace wengert {
namespace {

Var call(const Op& op, std::initializer_list<Var> inputs, std::vector<std::pair<std::string, Attr>> attrs = {}) {
  const bool none = attrs.empty() && op.params.empty();
  return apply(op, {inputs.begin(), inputs.size()}, none ? Attrs() : make_attrs(op, std::move(attrs)));
}

}  // namespace

Var constant(double value, DType dtype) { return Var(Array::scalar(dtype, value)); }

Var full(double value, const Type& type) {
  return Var(Array::scalar(type.dtype, value).broadcast_to(type.shape));
}

Var add(const Var& a, const Var& b) { static const Op& op = find_op("add"); return call(op, {a, b}); }
Var subtract(const Var& a, const Var& b) { static const Op& op = find_op("subtract"); return call(op, {a, b}); }
Var multiply(const Var& a, const Var& b) { static const Op& op = find_op("multiply"); return call(op, {a, b}); }
Var divide(const Var& a, const Var& b) { static const Op& op = find_op("divide"); return call(op, {a, b}); }
Var chain_multiply(const Var& g, const Var& slope) { static const Op& op = find_op("chain_multiply"); return call(op, {g, slope}); }
Var chain_divide(const Var& g, const Var& x) { static const Op& op = find_op("chain_divide"); return call(op, {g, x}); }
Var power(const Var& a, const Var& b) { static const Op& op = find_op("power"); return call(op, {a, b}); }
Var negative(const Var& x) { static const Op& op = find_op("negative"); return call(op, {x}); }
Var abs(const Var& x) { static const Op& op = find_op("abs"); return call(op, {x}); }
Var sign(const Var& x) { static const Op& op = find_op("sign"); return call(op, {x}); }
Var square(const Var& x) { static const Op& op = find_op("square"); return call(op, {x}); }
Var sqrt(const Var& x) { static const Op& op = find_op("sqrt"); return call(op, {x}); }
Var rsqrt(const Var& x) { static const Op& op = find_op("rsqrt"); return call(op, {x}); }
Var reciprocal(const Var& x) { static const Op& op = find_op("reciprocal"); return call(op, {x}); }
Var exp(const Var& x) { static const Op& op = find_op("exp"); return call(op, {x}); }
Var log(const Var& x) { static const Op& op = find_op("log"); return call(op, {x}); }
Var sin(const Var& x) { static const Op& op = find_op("sin"); return call(op, {x}); }
Var cos(const Var& x) { static const Op& op = find_op("cos"); return call(op, {x}); }
Var sinh(const Var& x) { static const Op& op = find_op("sinh"); return call(op, {x}); }
Var cosh(const Var& x) { static const Op& op = find_op("cosh"); return call(op, {x}); }
Var tanh(const Var& x) { static const Op& op = find_op("tanh"); return call(op, {x}); }
Var sigmoid(const Var& x) { static const Op& op = find_op("sigmoid"); return call(op, {x}); }
Var erf(const Var& x) { static const Op& op = find_op("erf"); return call(op, {x}); }
Var maximum(const Var& a, const Var& b) { static const Op& op = find_op("maximum"); return call(op, {a, b}); }
Var where(const Var& condition, const Var& a, const Var& b) {
  static const Op& op = find_op("where");
  return call(op, {condition, a, b});
}
Var equal(const Var& a, const Var& b) { static const Op& op = find_op("equal"); return call(op, {a, b}); }
Var not_equal(const Var& a, const Var& b) { static const Op& op = find_op("not_equal"); return call(op, {a, b}); }
Var less(const Var& a, const Var& b) { static const Op& op = find_op("less"); return call(op, {a, b}); }
Var less_equal(const Var& a, const Var& b) { static const Op& op = find_op("less_equal"); return call(op, {a, b}); }
Var logical_and(const Var& a, const Var& b) { static const Op& op = find_op("logical_and"); return call(op, {a, b}); }
Var logical_or(const Var& a, const Var& b) { static const Op& op = find_op("logical_or"); return call(op, {a, b}); }
Var logical_not(const Var& x) { static const Op& op = find_op("logical_not"); return call(op, {x}); }

Var astype(const Var& x, DType dtype) {
  static const Op& op = find_op("astype");
  return x.dtype() == dtype ? x : call(op, {x}, {{"dtype", dtype}});
}

Var from_number(const std::string& where, const Var& x, DType dtype) {
  static const Op &convert = find_op("astype"), &fitting = find_op("from_number");
  return is_integer(dtype) ? call(fitting, {x}, {{"dtype", dtype}, {"where", where}}) : call(convert, {x}, {{"dtype", dtype}});
}

Var broadcast_to(const Var& x, const Shape& shape) {
  static const Op& op = find_op("broadcast_to");
  if (x.shape() == shape) return x;
  return call(op, {x}, {{"shape", shape}});
}

Var reshape(const Var& x, const Shape& shape) {
  static const Op& op = find_op("reshape");
  return x.shape() == shape ? x : call(op, {x}, {{"shape", shape}});
}

Var permute_dims(const Var& x, const Ints& axes) {
  static const Op& op = find_op("permute_dims");
  return axes == all_axes(x.ndim()) ? x : call(op, {x}, {{"axes", axes}});
}

Var matrix_transpose(const Var& x) {
  Ints axes = all_axes(x.ndim());
  std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  return permute_dims(x, axes);
}

Var flip(const Var& x, const Ints& axes) {
  static const Op& op = find_op("flip");
  return axes.empty() ? x : call(op, {x}, {{"axis", axes}});
}

Var expand_dims(const Var& x, int64_t axis) {
  Shape shape = x.shape();
  shape.insert(std::size_t(axis < 0 ? axis + x.ndim() + 1 : axis), 1);
  return reshape(x, shape);
}

Var move_axis(const Var& x, int from, int to) {
  Ints axes = all_axes(x.ndim());
  axes.erase(std::size_t(from));
  axes.insert(std::size_t(to), from);
  return permute_dims(x, axes);
}

Var concat(std::span<const Var> parts, int64_t axis) {
  static const Op& op = find_op("concat");
  return parts.size() == 1 ? parts[0] : apply(op, parts, make_attrs(op, {{"axis", axis}}));
}

Var slice(const Var& x, const Ints& starts, const Ints& sizes, const Ints& steps) {
  static const Op& op = find_op("slice");
  return call(op, {x}, {{"starts", starts}, {"sizes", sizes}, {"steps", steps}});
}

Var unslice(const Var& x, const Shape& shape, const Ints& starts, const Ints& steps) {
  static const Op& op = find_op("unslice");
  return call(op, {x}, {{"shape", shape}, {"starts", starts}, {"steps", steps}});
}

Var sum(const Var& x, const Ints& axes, bool keepdims) {
  static const Op& op = find_op("sum");
  return axes.empty() ? x : call(op, {x}, {{"axis", axes}, {"keepdims", keepdims}});
}

Var max(const Var& x, const Ints& axes, bool keepdims) {
  static const Op& op = find_op("max");
  return axes.empty() ? x : call(op, {x}, {{"axis", axes}, {"keepdims", keepdims}});
}

Var cumulative_sum(const Var& x, int64_t axis) {
  static const Op& op = find_op("cumulative_sum");
  return call(op, {x}, {{"axis", axis}});
}

Var sum_to(const Var& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Ints axes;
  const std::size_t lead = x.shape().size() - shape.size();
  for (std::size_t i = 0; i < x.shape().size(); ++i)
    if (i < lead || (shape[i - lead] == 1 && x.shape()[i] != 1)) axes.push_back(int64_t(i));
  return reshape(sum(x, axes), shape);
}

Var spread(const Var& y, const Ints& axes, bool keepdims, const Shape& shape) {
  return broadcast_to(keepdims ? y : reshape(y, reduced_shape(shape, axes, true)), shape);
}

Var matmul(const Var& a, const Var& b) { static const Op& op = find_op("matmul"); return call(op, {a, b}); }
Var chain_matmul(const Var& a, const Var& b) { static const Op& op = find_op("chain_matmul"); return call(op, {a, b}); }

Var take(const Var& x, const Var& indices, int64_t axis) {
  static const Op& op = find_op("take");
  return call(op, {x, indices}, {{"axis", axis}});
}

Var stop_gradient(const Var& x) { static const Op& op = find_op("stop_gradient"); return call(op, {x}); }

}  // namespace wengert
