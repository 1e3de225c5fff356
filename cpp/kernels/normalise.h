// Layer and RMS normalisation over the trailing `n` elements of each row, and their adjoints.
// Outputs are contiguous; the caller has checked shapes and dtypes (float32 or float64).
#pragma once
#include "array/array.h"

namespace wengert::kernels {

struct Normalisation {
  int64_t n;  // elements a row
  double eps;
  bool centred;  // layer norm: (x - mean) / sqrt(var + eps); else x / sqrt(mean(x^2) + eps)
};

// xhat weight + bias, where xhat is the normalised x; weight and bias of n elements may be null.
void normalise(const Array& x, const Array* weight, const Array* bias, const Normalisation& how,
               const Array& out);

// The cotangent of x: (h - mean(h) - xhat mean(h xhat)) / deviation with h = g weight, where
// mean(h) is left out of RMS normalisation.
void normalise_grad(const Array& g, const Array& x, const Array* weight, const Normalisation& how,
                    const Array& out);

// The same plus `more`, of the shape of x, if not null, and on the way through g and x the cotangents of weight and, if
// not null, of bias.
void normalise_grads(const Array& g, const Array& x, const Array& weight, const Array* more, const Normalisation& how,
                     const Array& out, const Array& weight_out, const Array* bias_out);

// The cotangent of weight: the sum of g xhat over rows.
void normalise_weight_grad(const Array& g, const Array& x, const Normalisation& how,
                           const Array& out);

}  // namespace wengert::kernels
