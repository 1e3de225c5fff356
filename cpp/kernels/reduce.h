// Reductions over any set of axes of a strided array. The order of combination follows from shape
// and strides alone, so any number of threads gives the same bits. Knows no op, no derivative.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

enum class Fold { sum, mean, prod, max, min, argmax, argmin, all, any, count, norm, logsumexp };

// `axes` are sorted and distinct; `out` is contiguous, its elements in the order of the kept axes.
// Floats are summed and multiplied in double, integers modulo 2^64. Results:
//   sum, prod            floats: the dtype of x; integers and bool: int64, or the dtype of x
//   mean, norm, logsumexp, max, min     the dtype of x (the first three: floats only)
//   argmax, argmin, count               int64; argmax: the first place of the largest value, or of
//                                       NaN, in the row-major order of the reduced axes
//   all, any                            bool
// Over no elements at all: sum 0, prod 1, mean NaN, logsumexp -inf; max and argmax need one.
void reduce(Fold fold, const Array& x, const Ints& axes, const Array& out);

// The mean squared distance from the mean, over n - correction elements (NaN or infinity where that
// is not positive); its square root if `root`. Floats only.
void variance(const Array& x, const Ints& axes, double correction, bool root, const Array& out);

}  // namespace wengert::kernels
