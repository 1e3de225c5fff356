// Shapes, strides, broadcasting and axes: the only axis arithmetic in the library.
#pragma once
#include <ostream>
#include <span>

#include "base/dtype.h"
#include "base/small_vector.h"

namespace wengert {

using Shape = Ints;
inline constexpr int max_ndim = 32;

struct Type {
  DType dtype = DType::float32;
  Shape shape;
  bool operator==(const Type&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Ints& values);  // (2, 3) as Python prints it
std::ostream& operator<<(std::ostream& out, const Type& type);    // float32 (2, 3)

int64_t numel(const Shape& shape);
Ints contiguous_strides(const Shape& shape);  // in elements, C order

// Negative sizes, more than max_ndim axes and element counts beyond 2^60 fail as `where`.
void check_shape(const char* where, const Shape& shape);

// -ndim <= axis < ndim, or it fails as `where`; returns the axis counted from the front.
int normalize_axis(const char* where, int64_t axis, int ndim);
// Sorted, distinct axes; an empty list with `all` stands for every axis.
Ints normalize_axes(const char* where, const Ints& axes, int ndim);
Ints all_axes(int ndim);

// NumPy broadcasting of two shapes, or it fails as `where`.
Shape broadcast_shapes(const char* where, const Shape& a, const Shape& b);
// The shape that is left when `axes` (normalized) are reduced.
Shape reduced_shape(const Shape& shape, const Ints& axes, bool keepdims);

}  // namespace wengert
