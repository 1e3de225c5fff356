// A strided view of a reference-counted buffer. Knows nothing of kernels or derivatives.
#pragma once
#include <functional>

#include "base/ref.h"
#include "base/shape.h"

namespace wengert {

// Bytes shared by views. `version` counts in-place updates, so that a sweep can tell that a value it
// needs was changed. `foreign` keeps memory that somebody else owns (NumPy, DLPack) alive.
struct Buffer {
  uint32_t refs = 0;
  uint32_t version = 0;
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  uint32_t changed_at = 0;  // source of the last in-place update
  bool read_only = false;
  bool lent = false;       // to a hook or a rule, which must not change it
  uint16_t tensors = 0;    // how many Tensor objects show it
  std::function<void()> foreign;
};
void release(Buffer* buffer);

class Array {
 public:
  Array() = default;
  // Shape and dtype without storage: what a trace computes with.
  explicit Array(Type type) : dtype_(type.dtype), shape_(std::move(type.shape)) {}
  Array(Ref<Buffer> buffer, DType dtype, Shape shape, Ints strides, int64_t offset)
      : buffer_(std::move(buffer)), dtype_(dtype), shape_(std::move(shape)),
        strides_(std::move(strides)), offset_(offset) {}

  static Array empty(DType dtype, const Shape& shape);  // contiguous, not initialised
  static Array foreign(void* data, std::size_t bytes, bool read_only, DType dtype, Shape shape,
                       Ints strides, std::function<void()> free);
  template <class T>
  static Array scalar(T value) {
    Array out = empty(dtype_of<T>(), {});
    *out.data<T>() = value;
    return out;
  }
  static Array scalar(DType dtype, double value);

  bool has_data() const { return bool(buffer_); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Ints& strides() const { return strides_; }  // in elements
  int64_t offset() const { return offset_; }
  int ndim() const { return int(shape_.size()); }
  int64_t size() const { return numel(shape_); }
  Type type() const { return {dtype_, shape_}; }
  const Ref<Buffer>& buffer() const { return buffer_; }

  template <class T>
  T* data() const { return reinterpret_cast<T*>(buffer_->data) + offset_; }
  void* raw() const { return buffer_->data + offset_ * itemsize(dtype_); }

  bool is_contiguous() const;
  bool same_place(const Array& other) const {
    return buffer_ == other.buffer_ && dtype_ == other.dtype_ && shape_ == other.shape_ &&
           strides_ == other.strides_ && offset_ == other.offset_;
  }
  // The same bytes seen otherwise; the caller answers for the bounds.
  Array view(Shape shape, Ints strides, int64_t offset) const {
    return Array(buffer_, dtype_, std::move(shape), std::move(strides), offset);
  }
  Array broadcast_to(const Shape& shape) const;  // stride 0 along the new and stretched axes
  // A view with another shape, if the strides allow one; otherwise no storage.
  Array try_reshape(const Shape& shape) const;

 private:
  Ref<Buffer> buffer_;
  DType dtype_ = DType::float32;
  Shape shape_;
  Ints strides_;
  int64_t offset_ = 0;
};

}  // namespace wengert
