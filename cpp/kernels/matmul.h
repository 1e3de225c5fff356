// Matrix products of arrays: any strides, broadcast batch axes, vectors. Knows no operation; the
// caller has checked shapes and dtypes.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

// out = a @ b as the array API's matmul defines it; `out` is contiguous. Strides become BLAS flags.
void matmul(const Array& a, const Array& b, const Array& out);

// The same for floats, but a product with a zero is 0, also where the other factor is infinite or NaN.
// Costs a look at the first row and column of each result where all is finite.
void chain_matmul(const Array& a, const Array& b, const Array& out);

// out[..., o] = sum_i x[..., i] weight[o, i] + bias[o]; `bias` may be null. Where `rectify`, 0 in the place of
// what is not positive.
void linear(const Array& x, const Array& weight, const Array* bias, bool rectify, const Array& out);

}  // namespace wengert::kernels
