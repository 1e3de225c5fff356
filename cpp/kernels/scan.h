// Running sums, products and linear recurrences along one axis. Knows no op, no derivative.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

enum class Scan { sum, prod };

// out[i] = x[0] + ... + x[i] along `axis`, or the product; from the end if `reverse`. Floats
// accumulate in double, integers modulo 2^64. `out` is contiguous: the dtype of x, or for integers
// and bool int64.
void scan(Scan scan, const Array& x, int axis, bool reverse, const Array& out);

// out[0] = b[0], out[i] = a[i] out[i - 1] + b[i], where an out[i - 1] of 0 absorbs any a[i]; from the end if
// `reverse`. Floats of one dtype.
void recurrence(const Array& a, const Array& b, int axis, bool reverse, const Array& out);

}  // namespace wengert::kernels
