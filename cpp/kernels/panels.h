// Matrix products by panels of b: a few columns, copied in the order they are read, serve many rows of a. Knows
// no operation.
#pragma once
#include "kernels/blas.h"

namespace wengert::kernels {

// Whether that is faster here than BLAS, which has its own way with small products.
template <class T>
bool panels_pay(const blas::ConstMatrix<T>& a, int64_t n);

// Whether all panels of n columns can end with numbers that lie as those of c do.
template <class T>
bool panels_join(const blas::ConstMatrix<T>& a, int64_t n);

// c = a @ b, or c += a @ b, with such an ending. The columns of c are neighbours.
template <class T>
void panel_product(const blas::ConstMatrix<T>& a, const blas::ConstMatrix<T>& b, bool add,
                   const blas::Ending<T>& ending, const blas::Matrix<T>& c);

}  // namespace wengert::kernels
