// What an array holds, as far as rewrites ask. Knows no operation.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

// Whether every element is `value`, sign of zero included; not where there is no element.
bool is_filled(const Array& x, double value);
// Whether x is a square matrix with ones on its diagonal and zeros elsewhere.
bool is_identity(const Array& x);

}  // namespace wengert::kernels
