#include "kernels/tile.h"

#include <cstring>

#include "kernels/parallel.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 15;   // elements a task takes: fixed, so results never depend on threads
constexpr int64_t gathered = 1024;   // elements of an awkward input copied at a time, to stay in L1
constexpr int64_t direct_run = 32;   // shortest inner run worth a tile call of its own

// Axes of the output merged where every operand can walk them as one.
struct Walk {
  int arity = 0;
  SmallVector<int64_t, 4> sizes;
  std::array<SmallVector<int64_t, 4>, max_arity> strides;  // in elements
};

Walk merge_axes(std::span<const Array> in, const Array& out) {
  Walk walk;
  walk.arity = int(in.size());
  for (std::size_t axis = 0; axis < out.shape().size(); ++axis) {
    const int64_t size = out.shape()[axis];
    if (size == 1) continue;
    bool merge = !walk.sizes.empty();
    for (std::size_t k = 0; k < in.size() && merge; ++k) {
      const int64_t stride = in[k].ndim() ? in[k].strides()[axis] : 0;
      merge = walk.strides[k].back() == stride * size;
    }
    if (merge) walk.sizes.back() *= size;
    else walk.sizes.push_back(size);
    for (std::size_t k = 0; k < in.size(); ++k) {
      const int64_t stride = in[k].ndim() ? in[k].strides()[axis] : 0;
      if (merge) walk.strides[k].back() = stride;
      else walk.strides[k].push_back(stride);
    }
  }
  if (walk.sizes.empty()) {
    walk.sizes.push_back(1);
    for (std::size_t k = 0; k < in.size(); ++k) walk.strides[k].push_back(0);
  }
  return walk;
}

int64_t element_offset(const Walk& walk, int k, int64_t linear) {
  int64_t offset = 0;
  for (std::size_t axis = walk.sizes.size(); axis-- > 0;) {
    offset += linear % walk.sizes[axis] * walk.strides[std::size_t(k)][axis];
    linear /= walk.sizes[axis];
  }
  return offset;
}

// Copies `n` elements from linear position `first` to contiguous scratch.
template <class T>
void gather(const Walk& walk, int k, const T* base, int64_t first, int64_t n, T* to) {
  const auto& strides = walk.strides[std::size_t(k)];
  const int64_t inner = walk.sizes.back(), stride = strides.back();
  while (n > 0) {
    const int64_t run = std::min(n, inner - first % inner);
    const T* from = base + element_offset(walk, k, first);
    for (int64_t i = 0; i < run; ++i) to[i] = from[i * stride];
    to += run, first += run, n -= run;
  }
}

void run_range(Tile tile, const Walk& walk, std::span<const Array> in, const Array& out,
               int64_t begin, int64_t end) {
  alignas(64) std::byte scratch[max_arity][gathered * 8];
  const void* from[max_arity];
  int64_t step[max_arity];
  const int64_t inner = walk.sizes.back();
  bool direct = inner >= direct_run || walk.sizes.size() == 1;
  for (int k = 0; k < walk.arity; ++k) {
    const int64_t stride = walk.strides[std::size_t(k)].back();
    direct = direct && (stride == 0 || stride == 1);
  }
  auto* to = static_cast<std::byte*>(out.raw());
  const int width = itemsize(out.dtype());
  for (int64_t at = begin; at < end;) {
    const int64_t n = direct ? std::min(end - at, inner - at % inner) : std::min(end - at, gathered);
    for (int k = 0; k < walk.arity; ++k) {
      const Array& array = in[std::size_t(k)];
      const auto& strides = walk.strides[std::size_t(k)];
      const bool constant = std::all_of(strides.begin(), strides.end(), [](int64_t s) { return s == 0; });
      if (direct || constant) {
        const int64_t offset = constant ? 0 : element_offset(walk, k, at);
        from[k] = static_cast<std::byte*>(array.raw()) + offset * itemsize(array.dtype());
        step[k] = constant ? 0 : strides.back();
      } else {
        step[k] = 1;
        from[k] = scratch[k];
        switch (itemsize(array.dtype())) {
          case 1: gather(walk, k, static_cast<uint8_t*>(array.raw()), at, n, reinterpret_cast<uint8_t*>(scratch[k])); break;
          case 4: gather(walk, k, static_cast<uint32_t*>(array.raw()), at, n, reinterpret_cast<uint32_t*>(scratch[k])); break;
          default: gather(walk, k, static_cast<uint64_t*>(array.raw()), at, n, reinterpret_cast<uint64_t*>(scratch[k]));
        }
      }
    }
    tile(from, step, to + at * width, n);
    at += n;
  }
}

}  // namespace

void run_tiles(Tile tile, std::span<const Array> in, const Array& out) {
  const int64_t n = out.size();
  if (n == 0) return;
  bool plain = true;  // every input contiguous or one element: no walk needed
  const void* from[max_arity];
  int64_t step[max_arity];
  for (std::size_t k = 0; k < in.size() && plain; ++k) {
    from[k] = in[k].raw();
    step[k] = in[k].ndim() == 0 && out.ndim() > 0 ? 0 : 1;
    plain = step[k] == 0 || in[k].is_contiguous();
  }
  if (plain && n <= grain) return tile(from, step, out.raw(), n);
  const Walk walk = merge_axes(in, out);
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    run_range(tile, walk, in, out, begin, end);
  });
}

}  // namespace wengert::kernels
