// Scaled dot-product attention and its adjoint, a tile of queries and keys at a time: the matrix of
// weights is never whole. Knows no operation.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

struct Attention {
  double scale;
  bool is_causal;  // query i sees the keys j <= i only
};

// For q (..., L, H, E), k (..., S, H, E) and v (..., S, H, D), H heads that do not see each other, of
// the same leading axes and any strides: lse (..., H, L) = log(sum_j exp(scale q_i . k_j)) and
// out (..., L, H, D) = sum_j w_ij v_j with the weights w_ij = exp(scale q_i . k_j - lse_i). A query
// without mass (no keys, or scores of -inf only) has out 0 and lse -inf. What a query does not see
// does not enter, were it NaN. Outputs are contiguous.
void attention(const Array& q, const Array& k, const Array& v, const Attention& how,
               const Array& out, const Array& lse);

struct AttentionValues {
  const Array &q, &k, &v, &out, &lse;
};

// The cotangents of q, k and v where g is that of out and g_lse (may be null) that of lse. With
// d_ij = w_ij (g_i . v_j - g_i . out_i + g_lse_i):
//   dq_i = scale sum_j d_ij k_j,  dk_j = scale sum_i d_ij q_i,  dv_j = sum_i w_ij g_i,
// where a factor of 0 absorbs one that is infinite or NaN.
void attention_grad(const Array& g, const AttentionValues& at, const Array* g_lse,
                    const Attention& how, const Array& dq, const Array& dk, const Array& dv);

}  // namespace wengert::kernels
