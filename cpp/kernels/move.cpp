#include "kernels/move.h"

#include "kernels/copy.h"
#include "kernels/parallel.h"

namespace wengert::kernels {

int64_t strided_offset(const Shape& shape, const Ints& strides, int64_t at) {
  int64_t offset = 0;
  for (std::size_t i = shape.size(); i-- > 0;) {
    offset += at % shape[i] * strides[i];
    at /= shape[i];
  }
  return offset;
}

Array slice_view(const Array& x, const Ints& starts, const Ints& sizes, const Ints& steps) {
  int64_t offset = x.offset();
  Ints strides = x.strides();
  const bool empty = numel(sizes) == 0;  // then a start may lie behind the end
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (!empty) offset += starts[i] * strides[i];
    strides[i] *= steps[i];
  }
  return x.view(sizes, std::move(strides), offset);
}

Array slab(const Array& x, int axis, int64_t start, int64_t size) {
  Shape shape = x.shape();
  shape[std::size_t(axis)] = size;
  const int64_t skipped = numel(shape) == 0 ? 0 : start * x.strides()[std::size_t(axis)];
  return x.view(std::move(shape), x.strides(), x.offset() + skipped);
}

void place(const Array& x, const Ints& starts, const Ints& steps, double rest, const Array& out) {
  const Shape &box = x.shape(), &whole = out.shape();
  bool leading = true;  // x fills whole rows of the first axis: only the others need the rest
  for (std::size_t i = 0; i < box.size(); ++i)
    leading &= steps[i] == 1 && (i == 0 || box[i] == whole[i]);
  if (!leading) {
    fill(out, rest);
  } else if (!box.empty()) {
    fill(slab(out, 0, 0, starts[0]), rest);
    fill(slab(out, 0, starts[0] + box[0], whole[0] - starts[0] - box[0]), rest);
  }
  if (x.size() > 0) copy(x, slice_view(out, starts, box, steps));
}

void roll(const Array& x, std::span<const int64_t> shifts, std::span<const int64_t> axes,
          const Array& out) {
  if (axes.empty()) return copy(x, out);
  const int axis = int(axes[0]);
  const int64_t shift = shifts[0], kept = x.shape()[std::size_t(axis)] - shift;
  if (kept > 0)
    roll(slab(x, axis, 0, kept), shifts.subspan(1), axes.subspan(1), slab(out, axis, shift, kept));
  if (shift > 0)
    roll(slab(x, axis, kept, shift), shifts.subspan(1), axes.subspan(1), slab(out, axis, 0, shift));
}

void triangle(const Array& x, int64_t k, bool lower, const Array& out) {
  if (out.size() == 0) return;
  const Shape rows_shape(x.shape().begin(), x.shape().end() - 1);
  const int64_t m = rows_shape.back(), n = x.shape().back(), step = x.strides().back();
  dispatch_width(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.data<T>();
    T* to = out.data<T>();
    parallel::parallel_for(out.size() / n, (1 << 15) / n + 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* row = from + strided_offset(rows_shape, x.strides(), r);
        T* target = to + r * n;
        const int64_t split = std::clamp<int64_t>(r % m + k + (lower ? 1 : 0), 0, n);
        const int64_t first = lower ? 0 : split, last = lower ? split : n;
        std::fill(target, target + first, T(0));
        for (int64_t j = first; j < last; ++j) target[j] = row[j * step];
        std::fill(target + last, target + n, T(0));
      }
    });
  });
}

}  // namespace wengert::kernels
