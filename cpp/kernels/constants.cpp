#include "kernels/constants.h"

#include <cmath>

namespace wengert::kernels {

bool is_filled(const Array& x, double value) {
  // Along an axis of stride 0 there is one element to look at.
  SmallVector<int64_t, 4> sizes, strides;
  for (std::size_t axis = 0; axis < x.shape().size(); ++axis) {
    if (x.shape()[axis] == 0) return false;
    if (x.shape()[axis] == 1 || x.strides()[axis] == 0) continue;
    sizes.push_back(x.shape()[axis]);
    strides.push_back(x.strides()[axis]);
  }
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  bool same = false;
  dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = x.data<T>();
    same = true;
    for (int64_t i = 0; i < count && same; ++i) {
      int64_t offset = 0, rest = i;
      for (std::size_t axis = sizes.size(); axis-- > 0; rest /= sizes[axis]) offset += rest % sizes[axis] * strides[axis];
      const auto found = double(data[offset]);
      same = found == value && std::signbit(found) == std::signbit(value);
    }
  });
  return same;
}

bool is_identity(const Array& x) {
  if (x.ndim() != 2 || x.shape()[0] != x.shape()[1]) return false;
  bool is = false;
  dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t n = x.shape()[0];
    is = true;
    for (int64_t i = 0; i < n && is; ++i) {
      const T* row = x.data<T>() + i * x.strides()[0];
      for (int64_t j = 0; j < n && is; ++j) is = row[j * x.strides()[1]] == T(i == j);
    }
  });
  return is;
}

}  // namespace wengert::kernels
