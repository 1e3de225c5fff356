// Kernels that place elements elsewhere by position alone. Those that follow index arrays are in
// gather.h.
#pragma once
#include "array/array.h"

namespace wengert::kernels {

// f(TypeTag<T>) with an unsigned T as wide as the dtype: moving bytes needs no more.
template <class F>
decltype(auto) dispatch_width(DType dtype, F&& f) {
  switch (itemsize(dtype)) {
    case 1:
      return f(TypeTag<uint8_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    default:
      return f(TypeTag<uint64_t>{});
  }
}

// Where the element at flat (C order) position `at` of this shape lies, in elements.
int64_t strided_offset(const Shape& shape, const Ints& strides, int64_t at);

// Views: a box of x, and a box along one axis.
Array slice_view(const Array& x, const Ints& starts, const Ints& sizes, const Ints& steps);
Array slab(const Array& x, int axis, int64_t start, int64_t size);

// out = rest everywhere but for x at starts + i * steps.
void place(const Array& x, const Ints& starts, const Ints& steps, double rest, const Array& out);

// out[i + shift] = x[i] along each axis, round its end; 0 <= shift <= size.
void roll(const Array& x, std::span<const int64_t> shifts, std::span<const int64_t> axes,
          const Array& out);

// Elements on one side of the k-th diagonal of the last two axes (and on it); zeros elsewhere.
void triangle(const Array& x, int64_t k, bool lower, const Array& out);

}  // namespace wengert::kernels
