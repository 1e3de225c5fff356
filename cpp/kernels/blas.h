// Matrix products on raw strided memory, with BLAS behind them. Knows no operation and no dtype
// beyond its template parameter.
#pragma once

#include <cstdint>
#include <type_traits>

namespace wengert::blas {

// Strides are in elements and may be zero or negative.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, cols, row_stride, col_stride;

  operator Matrix<const T>() const
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, row_stride, col_stride};
  }
};

template <class T>
using ConstMatrix = std::type_identity_t<Matrix<const T>>;

// Makes BLAS single-threaded: the engine owns the threads. Call once at load.
void initialise();

// Version and chosen core of the BLAS library.
const char* config();

// c = alpha a @ b + beta c for float and double; beta = 0 ignores what c holds. c must not overlap
// a or b, nor itself. Large products are split over threads by rows and columns, never by terms of
// a sum, and the split depends on the shape alone.
template <class T>
void gemm(std::type_identity_t<T> alpha, const ConstMatrix<T>& a, const ConstMatrix<T>& b,
          std::type_identity_t<T> beta, const Matrix<T>& c);

// Whether `gemm` leaves a product (m, k) @ (k, n) to one thread.
bool is_one_task(int64_t m, int64_t n, int64_t k);

// The same for each of `batch` items, whose matrices lie stride_a, stride_b, stride_c elements
// apart; stride_a and stride_b may be 0 (shared), stride_c may not.
template <class T>
void gemm_batched(int64_t batch, std::type_identity_t<T> alpha, ConstMatrix<T> a, int64_t stride_a,
                  ConstMatrix<T> b, int64_t stride_b, std::type_identity_t<T> beta, Matrix<T> c,
                  int64_t stride_c);

// What becomes of the numbers of a product before they reach memory, in this order.
template <class T>
struct Ending {
  const T* row = nullptr;    // every row is added to this one
  bool rectify = false;      // 0 in the place of what is not positive
  const T* plus = nullptr;   // added: numbers that lie as those of c do
  const T* times = nullptr;  // multiplied with: such, too
  double* sums = nullptr;    // with `times`: the sums of the columns are added to these

  bool joins() const { return plus || times; }
  Ending at(int64_t first_row, int64_t first_col, int64_t row_stride) const {
    const int64_t offset = first_row * row_stride + first_col;
    return {row ? row + first_col : row, rectify, plus ? plus + offset : plus, times ? times + offset : times,
            sums ? sums + first_col : sums};
  }
};

// c = a @ b with such an ending, in one pass over c; false, with nothing done, where that is not the fastest way.
template <class T>
bool gemm_with(const Ending<T>& ending, const ConstMatrix<T>& a, const ConstMatrix<T>& b, const Matrix<T>& c);

// Whether it does so for matrices that lie row by row, with an ending that joins c and others.
template <class T>
bool gemm_joins(int64_t m, int64_t n, int64_t k);

// c = a @ b for uint8, int32 and int64, modulo 2^bits.
template <class T>
void gemm_naive(ConstMatrix<T> a, ConstMatrix<T> b, Matrix<T> c);

}  // namespace wengert::blas
