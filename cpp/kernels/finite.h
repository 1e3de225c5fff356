// Looks for infinities and NaN in arrays of any strides, without a copy. Knows no operation.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

// The place, counted in row-major order, of the first element that is infinite or NaN, or -1.
// Integers have none.
int64_t first_not_finite(const Array& x);

// The element at a place counted so, as a double.
double element(const Array& x, int64_t place);

}  // namespace wengert::kernels
