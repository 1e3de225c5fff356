// Matrix products by panels of b: a few columns, copied in the order they are read, serve many rows of a. Knows
// no operation.
#pragma once
#include "kernels/blas.h"

namespace wengert::kernels {

// Whether that is faster here than BLAS, which has its own way with small products.
template <class T>
bool panels_pay(const blas::ConstMatrix<T>& a, int64_t n);

// c = a @ b, or c += a @ b, or with `row` c[i] = row + (a @ b)[i]; where `rectify`, 0 in the place of what is not
// positive. The columns of c are neighbours.
template <class T>
void panel_product(const blas::ConstMatrix<T>& a, const blas::ConstMatrix<T>& b, bool add, const T* row, bool rectify,
                   const blas::Matrix<T>& c);

}  // namespace wengert::kernels
