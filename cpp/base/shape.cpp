#include "base/shape.h"

#include <algorithm>

namespace wengert {

std::ostream& operator<<(std::ostream& out, const Ints& values) {
  out << '(';
  for (std::size_t i = 0; i < values.size(); ++i) out << (i ? ", " : "") << values[i];
  return out << (values.size() == 1 ? ",)" : ")");
}

std::ostream& operator<<(std::ostream& out, const Type& type) {
  return out << type.dtype << ' ' << type.shape;
}

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

Ints contiguous_strides(const Shape& shape) {
  Ints strides(shape.size());
  int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

void check_shape(const char* where, const Shape& shape) {
  if (shape.size() > std::size_t(max_ndim))
    fail(ErrorKind::shape, where, ": at most ", max_ndim, " axes are supported; got ", shape.size());
  constexpr int64_t limit = int64_t(1) << 60;
  int64_t n = 1;
  for (int64_t size : shape) {
    if (size < 0) fail(ErrorKind::shape, where, ": sizes must not be negative; got ", shape);
    if (size > limit || (size > 0 && n > limit / size))
      fail(ErrorKind::memory, where, ": shape ", shape, " has too many elements (limit 2**60)");
    if (size > 0) n *= size;
  }
}

int normalize_axis(const char* where, int64_t axis, int ndim) {
  if (axis < -ndim || axis >= ndim)
    fail(ErrorKind::shape, where, ": axis ", axis, " is out of range for ", ndim,
         ndim == 1 ? " dimension" : " dimensions");
  return int(axis < 0 ? axis + ndim : axis);
}

Ints normalize_axes(const char* where, const Ints& axes, int ndim) {
  Ints out;
  for (int64_t axis : axes) out.push_back(normalize_axis(where, axis, ndim));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    fail(ErrorKind::shape, where, ": axes must be distinct; got ", axes, " for ", ndim, " dimensions");
  return out;
}

Ints all_axes(int ndim) {
  Ints out;
  for (int i = 0; i < ndim; ++i) out.push_back(i);
  return out;
}

Shape broadcast_shapes(const char* where, const Shape& a, const Shape& b) {
  const Shape& wide = a.size() >= b.size() ? a : b;
  const Shape& narrow = a.size() >= b.size() ? b : a;
  Shape out = wide;
  const std::size_t lead = wide.size() - narrow.size();
  for (std::size_t i = 0; i < narrow.size(); ++i) {
    int64_t& size = out[lead + i];
    if (size == narrow[i] || narrow[i] == 1) continue;
    if (size != 1)
      fail(ErrorKind::shape, where, ": shapes ", a, " and ", b,
           " do not broadcast: sizes must be equal or 1, axis ",
           int64_t(i) - int64_t(narrow.size()), " has ", size, " and ", narrow[i]);
    size = narrow[i];
  }
  return out;
}

Shape reduced_shape(const Shape& shape, const Ints& axes, bool keepdims) {
  Shape out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool reduced = next < axes.size() && axes[next] == int64_t(i);
    next += reduced;
    if (!reduced) out.push_back(shape[i]);
    else if (keepdims) out.push_back(1);
  }
  return out;
}

}  // namespace wengert
