// Sorting along one axis. Equal elements keep their order; NaN comes last either way.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

void sort(const Array& x, int axis, bool descending, const Array& out);
void argsort(const Array& x, int axis, bool descending, const Array& out);  // int64

}  // namespace wengert::kernels
