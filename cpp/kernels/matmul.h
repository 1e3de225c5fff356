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

// How `linear` ends; both may be null. `plus` has the shape of the result.
struct LinearEnd {
  bool rectify = false;  // 0 in the place of what is not positive
  const Array* plus = nullptr;
};

// out[..., o] = sum_i x[..., i] weight[o, i] + bias[o]; `bias` may be null.
void linear(const Array& x, const Array& weight, const Array* bias, const LinearEnd& end, const Array& out);

// out = a @ b times `slope`, of the same shape, where a product with a zero is 0 as for chain_matmul; and its sum over
// all axes but the last.
void slope_product(const Array& a, const Array& b, const Array& slope, const Array& out, const Array& sums);

// Whether these are made in the registers that hold the product, for matrices that lie row by row.
bool product_joins(DType dtype, int64_t m, int64_t n, int64_t k);

}  // namespace wengert::kernels
