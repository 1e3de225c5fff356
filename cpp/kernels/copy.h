// Copies between strided arrays, with conversion of dtypes, and addition in place.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

// to[i] = from[i], broadcasting `from`; dtypes convert as C does, floats to bool by != 0, NaN and
// out-of-range floats to integers give 0.
void copy(const Array& from, const Array& to);
// Fails as `where` if an integer dtype does not hold a number of x, fractions aside.
void check_range(const std::string& where, const Array& x, DType dtype);
// Fails as `where` if one of x, int64 exponents for integers of that dtype, is negative.
void check_exponent(const std::string& where, const Array& x, DType dtype);
void fill(const Array& to, double value);
Array contiguous_copy(const Array& x);
Array contiguous(const Array& x);  // itself, or such a copy
// into += from, elementwise, the same dtype; `from` broadcasts, `into` may have any strides.
void add_into(const Array& into, const Array& from);

}  // namespace wengert::kernels
