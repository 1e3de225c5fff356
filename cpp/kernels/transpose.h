// Transposed copies of small dense matrices. Knows no operation.
#pragma once

#include <cstdint>

namespace wengert {

// to[j * rows + i] = scale from[i * stride + j] for i < rows, j < cols; float and double.
template <class T>
void transpose(const T* from, int64_t stride, int64_t rows, int64_t cols, T* to, T scale = T(1));

// Whether transpose has a vector kernel on this machine.
bool transpose_is_fast();

}  // namespace wengert
