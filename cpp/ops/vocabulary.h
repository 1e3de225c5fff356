// The operations that rules may call by name. Each goes through the one door.
#pragma once
#include "ops/op.h"

namespace wengert {

// A 0-d constant, and a broadcast of it that holds one element only.
Var constant(double value, DType dtype);
Var full(double value, const Type& type);
inline Var zeros(const Type& type) { return full(0, type); }
inline Var zeros_like(const Var& x) { return zeros({x.dtype(), x.shape()}); }

Var add(const Var& a, const Var& b);
Var subtract(const Var& a, const Var& b);
Var multiply(const Var& a, const Var& b);
Var divide(const Var& a, const Var& b);
// g * slope and g / x, but exactly 0 where g or the slope is 0: the products of the chain rule, so
// that a branch not taken contributes nothing.
Var chain_multiply(const Var& g, const Var& slope);
Var chain_divide(const Var& g, const Var& x);
Var power(const Var& a, const Var& b);
Var negative(const Var& x);
Var abs(const Var& x);
Var sign(const Var& x);
Var square(const Var& x);
Var sqrt(const Var& x);
Var rsqrt(const Var& x);
Var reciprocal(const Var& x);
Var exp(const Var& x);
Var log(const Var& x);
Var sin(const Var& x);
Var cos(const Var& x);
Var sinh(const Var& x);
Var cosh(const Var& x);
Var tanh(const Var& x);
Var sigmoid(const Var& x);
Var erf(const Var& x);
Var maximum(const Var& a, const Var& b);
Var where(const Var& condition, const Var& a, const Var& b);
Var equal(const Var& a, const Var& b);
Var not_equal(const Var& a, const Var& b);
Var less(const Var& a, const Var& b);
Var less_equal(const Var& a, const Var& b);
Var logical_and(const Var& a, const Var& b);
Var logical_or(const Var& a, const Var& b);
Var logical_not(const Var& x);

inline Var operator+(const Var& a, const Var& b) { return add(a, b); }
inline Var operator-(const Var& a, const Var& b) { return subtract(a, b); }
inline Var operator*(const Var& a, const Var& b) { return multiply(a, b); }
inline Var operator/(const Var& a, const Var& b) { return divide(a, b); }
inline Var operator-(const Var& x) { return negative(x); }
inline Var operator+(const Var& a, double b) { return add(a, constant(b, a.dtype())); }
inline Var operator+(double a, const Var& b) { return add(constant(a, b.dtype()), b); }
inline Var operator-(const Var& a, double b) { return subtract(a, constant(b, a.dtype())); }
inline Var operator-(double a, const Var& b) { return subtract(constant(a, b.dtype()), b); }
inline Var operator*(const Var& a, double b) { return multiply(a, constant(b, a.dtype())); }
inline Var operator*(double a, const Var& b) { return multiply(constant(a, b.dtype()), b); }
inline Var operator/(const Var& a, double b) { return divide(a, constant(b, a.dtype())); }
inline Var operator/(double a, const Var& b) { return divide(constant(a, b.dtype()), b); }

Var astype(const Var& x, DType dtype);
// A Python number as a value of that dtype like others; fails as `where` if it does not fit.
Var from_number(const std::string& where, const Var& x, DType dtype);
Var broadcast_to(const Var& x, const Shape& shape);
Var reshape(const Var& x, const Shape& shape);
Var permute_dims(const Var& x, const Ints& axes);
Var matrix_transpose(const Var& x);
Var flip(const Var& x, const Ints& axes);
Var expand_dims(const Var& x, int64_t axis);
Var move_axis(const Var& x, int from, int to);
Var concat(std::span<const Var> parts, int64_t axis);
// x[start:stop:step] along every axis (NumPy's meaning, steps may be negative), and the array of
// `shape` that is zero but for x at those places.
Var slice(const Var& x, const Ints& starts, const Ints& sizes, const Ints& steps);
Var unslice(const Var& x, const Shape& shape, const Ints& starts, const Ints& steps);

Var sum(const Var& x, const Ints& axes, bool keepdims = false);
Var max(const Var& x, const Ints& axes, bool keepdims = false);
Var cumulative_sum(const Var& x, int64_t axis);
// The adjoint of broadcasting: sums x over the axes along which `shape` was stretched.
Var sum_to(const Var& x, const Shape& shape);
// y of a reduction over `axes` without keepdims, stretched back over `shape`.
Var spread(const Var& y, const Ints& axes, bool keepdims, const Shape& shape);

Var matmul(const Var& a, const Var& b);
// The product of the chain rule: zeros absorb what is not finite.
Var chain_matmul(const Var& a, const Var& b);
Var take(const Var& x, const Var& indices, int64_t axis);
Var stop_gradient(const Var& x);

}  // namespace wengert
