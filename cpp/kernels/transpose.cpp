// Blocks of 64 bytes of rows by 16 bytes of columns: each register gathers, in its four lanes, the
// same 16 bytes of every fourth part of the rows, and shuffles within lanes do the rest.
#include "kernels/transpose.h"

#include <algorithm>

#include "kernels/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace wengert {

#if defined(__x86_64__)
namespace {

// GCC 12 finds its own intrinsics uninitialised.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// Row `row` of the block, or the last one: a block at the edge reads no further.
template <class T>
struct Rows {
  const T* first;
  int64_t stride, last;
  const T* operator[](int64_t row) const { return first + std::min(row, last) * stride; }
};

WENGERT_AVX512 inline __m512 gather(Rows<float> rows, int64_t row) {
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(rows[row]));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[row + 4]), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[row + 8]), 2);
  return _mm512_insertf32x4(v, _mm_loadu_ps(rows[row + 12]), 3);
}

WENGERT_AVX512 inline __m512d gather(Rows<double> rows, int64_t row) {
  __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(rows[row]));
  v = _mm512_insertf64x2(v, _mm_loadu_pd(rows[row + 2]), 1);
  v = _mm512_insertf64x2(v, _mm_loadu_pd(rows[row + 4]), 2);
  return _mm512_insertf64x2(v, _mm_loadu_pd(rows[row + 6]), 3);
}

template <bool scales>
WENGERT_AVX512 inline void transpose_block(Rows<float> rows, float* to, int64_t to_stride,
                                           unsigned mask, float scale) {
  const __m512 r0 = gather(rows, 0), r1 = gather(rows, 1), r2 = gather(rows, 2),
               r3 = gather(rows, 3);
  const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1)),
                b = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1)),
                c = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3)),
                d = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));
  const __m512d columns[] = {_mm512_unpacklo_pd(a, c), _mm512_unpackhi_pd(a, c),
                             _mm512_unpacklo_pd(b, d), _mm512_unpackhi_pd(b, d)};
  const auto lanes = static_cast<__mmask16>(mask);
  for (int j = 0; j < 4; ++j) {
    __m512 column = _mm512_castpd_ps(columns[j]);
    if constexpr (scales) column = _mm512_mul_ps(column, _mm512_set1_ps(scale));
    _mm512_mask_storeu_ps(to + j * to_stride, lanes, column);
  }
}

template <bool scales>
WENGERT_AVX512 inline void transpose_block(Rows<double> rows, double* to, int64_t to_stride,
                                           unsigned mask, double scale) {
  const __m512d r0 = gather(rows, 0), r1 = gather(rows, 1);
  const auto lanes = static_cast<__mmask8>(mask);
  __m512d low = _mm512_unpacklo_pd(r0, r1), high = _mm512_unpackhi_pd(r0, r1);
  if constexpr (scales) {
    low = _mm512_mul_pd(low, _mm512_set1_pd(scale));
    high = _mm512_mul_pd(high, _mm512_set1_pd(scale));
  }
  _mm512_mask_storeu_pd(to, lanes, low);
  _mm512_mask_storeu_pd(to + to_stride, lanes, high);
}

template <bool scales, class T>
WENGERT_AVX512 void transpose_avx512(const T* from, int64_t stride, int64_t rows, int64_t cols,
                                     T* to, T scale) {
  constexpr int64_t high = 64 / sizeof(T), wide = 16 / sizeof(T);
  for (int64_t i = 0; i < rows; i += high) {
    const int64_t left = std::min(high, rows - i);
    const unsigned mask = (1u << left) - 1;
    int64_t j = 0;
    for (; j + wide <= cols; j += wide) {
      const T* corner = from + i * stride + j;
      T* column = to + j * rows + i;
      if (left == high) {
        transpose_block<scales>(Rows<T>{corner, stride, high}, column, rows, ~0u, scale);
      } else {
        transpose_block<scales>(Rows<T>{corner, stride, left - 1}, column, rows, mask, scale);
      }
    }
    for (; j < cols; ++j) {
      for (int64_t r = i; r < i + left; ++r)
        to[j * rows + r] = scales ? scale * from[r * stride + j] : from[r * stride + j];
    }
  }
}

#pragma GCC diagnostic pop

}  // namespace
#endif

bool transpose_is_fast() { return isa() == Isa::avx512; }

// A factor of 1 takes no part: a copy keeps every bit.
template <bool scales, class T>
void transpose_rows(const T* from, int64_t stride, int64_t rows, int64_t cols, T* to, T scale) {
#if defined(__x86_64__)
  if (transpose_is_fast()) return transpose_avx512<scales>(from, stride, rows, cols, to, scale);
#endif
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) to[j * rows + i] = scales ? scale * from[i * stride + j] : from[i * stride + j];
  }
}

template <class T>
void transpose(const T* from, int64_t stride, int64_t rows, int64_t cols, T* to, T scale) {
  if (scale == T(1)) transpose_rows<false>(from, stride, rows, cols, to, scale);
  else transpose_rows<true>(from, stride, rows, cols, to, scale);
}

template void transpose<float>(const float*, int64_t, int64_t, int64_t, float*, float);
template void transpose<double>(const double*, int64_t, int64_t, int64_t, double*, double);

}  // namespace wengert
