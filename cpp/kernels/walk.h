// Walking strided memory in row-major order of its elements. Knows no operation.
#pragma once
#include <algorithm>

#include "base/small_vector.h"

namespace wengert::kernels {

using Steps = SmallVector<int64_t, 4>;

// Where element `linear` lies, by the sizes and strides of (merged) axes.
inline int64_t element_offset(const Steps& sizes, const Steps& strides, int64_t linear) {
  int64_t offset = 0;
  for (std::size_t axis = sizes.size(); axis-- > 0;) {
    offset += linear % sizes[axis] * strides[axis];
    linear /= sizes[axis];
  }
  return offset;
}

// Copies `n` elements from linear position `first` to contiguous memory.
template <class T>
void gather(const T* base, const Steps& sizes, const Steps& strides, int64_t first, int64_t n, T* to) {
  const int64_t inner = sizes.back(), stride = strides.back();
  int64_t offset = element_offset(sizes, strides, first);
  Steps index = sizes;  // along each axis
  for (std::size_t axis = sizes.size(); axis-- > 0; first /= sizes[axis]) index[axis] = first % sizes[axis];
  for (int64_t at = index.back(); n > 0; at = 0) {
    const int64_t run = std::min(n, inner - at);
    const T* from = base + offset;
    if (stride == 0) std::fill(to, to + run, *from);
    else
      for (int64_t i = 0; i < run; ++i) to[i] = from[i * stride];
    to += run, n -= run;
    offset -= at * stride;
    for (std::size_t axis = sizes.size() - 1; axis-- > 0;) {
      offset += strides[axis];
      if (++index[axis] < sizes[axis]) break;
      offset -= sizes[axis] * strides[axis];
      index[axis] = 0;
    }
  }
}

// The same for elements of `width` bytes.
inline void gather_bytes(const void* base, int width, const Steps& sizes, const Steps& strides, int64_t first,
                         int64_t n, void* to) {
  auto run = [&]<class T>(T) {
    gather(static_cast<const T*>(base), sizes, strides, first, n, static_cast<T*>(to));
  };
  if (width == 1) run(uint8_t());
  else if (width == 4) run(uint32_t());
  else run(uint64_t());
}

}  // namespace wengert::kernels
