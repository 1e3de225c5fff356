// Softmax, log-softmax, cross entropy and their adjoints along one axis. Outputs are contiguous;
// the caller has checked shapes and dtypes (float32 or float64). A row of -inf only has no mass:
// its softmax is 0, its log-softmax -inf, its loss +inf, and its adjoints are 0.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

void softmax(const Array& x, int axis, const Array& out);
void log_softmax(const Array& x, int axis, const Array& out);
// y (g - sum(g y)) and g - exp(y) sum(g), of the outputs y above.
void softmax_grad(const Array& g, const Array& y, int axis, const Array& out);
void log_softmax_grad(const Array& g, const Array& y, int axis, const Array& out);

struct ClassTargets {
  int64_t ignore_index;  // rows with this target have loss and adjoint 0
  double label_smoothing;
};

// For x (N, C) and target int64 (N,): out[n] = -sum_c q[n, c] log_softmax(x)[n, c], where q is
// 1 - label_smoothing at the target plus label_smoothing / C everywhere.
void cross_entropy(const Array& x, const Array& target, const ClassTargets& how, const Array& out);
// (softmax(x) - q) g[:, None]
void cross_entropy_grad(const Array& g, const Array& x, const Array& target,
                        const ClassTargets& how, const Array& out);

}  // namespace wengert::kernels
