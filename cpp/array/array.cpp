#include "array/array.h"

#include <new>

#include "array/allocator.h"

namespace wengert {
namespace {

// Header and data share one block: a small array is one allocation.
constexpr std::size_t header_bytes =
    (sizeof(Buffer) + memory::alignment - 1) / memory::alignment * memory::alignment;

}  // namespace

void release(Buffer* buffer) {
  if (buffer->foreign) {
    buffer->foreign();
    delete buffer;
    return;
  }
  const std::size_t bytes = buffer->bytes;
  buffer->~Buffer();
  memory::deallocate(buffer, header_bytes + bytes, bytes);
}

Array Array::empty(DType dtype, const Shape& shape) {
  const std::size_t bytes = std::size_t(numel(shape)) * std::size_t(itemsize(dtype));
  auto* block = static_cast<std::byte*>(memory::allocate(header_bytes + bytes, bytes));
  auto* buffer = new (block) Buffer;
  buffer->data = block + header_bytes;
  buffer->bytes = bytes;
  return Array(Ref<Buffer>(buffer), dtype, shape, contiguous_strides(shape), 0);
}

Array Array::foreign(void* data, std::size_t bytes, bool read_only, DType dtype, Shape shape,
                     Ints strides, std::function<void()> free) {
  auto* buffer = new Buffer;
  buffer->data = static_cast<std::byte*>(data);
  buffer->bytes = bytes;
  buffer->read_only = read_only;
  buffer->foreign = std::move(free);
  return Array(Ref<Buffer>(buffer), dtype, std::move(shape), std::move(strides), 0);
}

Array Array::scalar(DType dtype, double value) {
  return dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return scalar(static_cast<T>(value));
  });
}

bool Array::is_contiguous() const {
  int64_t step = 1;
  for (int64_t size : shape_)
    if (size == 0) return true;
  for (std::size_t i = shape_.size(); i-- > 0;) {
    if (shape_[i] != 1 && strides_[i] != step) return false;
    step *= shape_[i];
  }
  return true;
}

Array Array::broadcast_to(const Shape& shape) const {
  Ints strides(shape.size(), 0);
  const std::size_t lead = shape.size() - shape_.size();
  for (std::size_t i = 0; i < shape_.size(); ++i)
    if (shape_[i] == shape[lead + i]) strides[lead + i] = strides_[i];
  return view(shape, strides, offset_);
}

Array Array::try_reshape(const Shape& shape) const {
  if (is_contiguous()) return view(shape, contiguous_strides(shape), offset_);
  // Walk both shapes from the back in groups of equal element count; inside a group the old axes
  // must be one evenly strided run.
  Ints strides(shape.size(), 0);
  std::size_t i = shape_.size(), j = shape.size();
  while (i > 0 || j > 0) {
    if (i > 0 && shape_[i - 1] == 1) { --i; continue; }
    if (j > 0 && shape[j - 1] == 1) { --j; continue; }
    if (i == 0 || j == 0) return Array(Type{dtype_, shape});
    --i;
    const int64_t step = strides_[i];
    int64_t have = shape_[i], want = 1, filled = step;
    while (true) {
      if (want < have) {
        if (j == 0) return Array(Type{dtype_, shape});
        --j;
        strides[j] = filled;
        filled *= shape[j];
        want *= shape[j];
      } else if (want > have) {
        if (i == 0) return Array(Type{dtype_, shape});
        --i;
        if (shape_[i] == 1) continue;
        if (strides_[i] != step * have) return Array(Type{dtype_, shape});
        have *= shape_[i];
      } else {
        break;
      }
    }
  }
  return view(shape, strides, offset_);
}

}  // namespace wengert
