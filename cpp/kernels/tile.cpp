#include "kernels/tile.h"

#include <cstring>

#include "kernels/parallel.h"
#include "kernels/walk.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;   // elements a task takes: fixed, so results never depend on threads
constexpr int64_t gathered = 1024;   // elements of an awkward input copied at a time, to stay in L1
constexpr int64_t direct_run = 32;   // shortest inner run worth a tile call of its own

// Axes of the output merged where every operand can walk them as one.
struct Walk {
  int arity = 0;
  Steps sizes;
  std::array<Steps, max_arity> strides;  // in elements
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
        const int64_t offset = constant ? 0 : element_offset(walk.sizes, strides, at);
        from[k] = static_cast<std::byte*>(array.raw()) + offset * itemsize(array.dtype());
        step[k] = constant ? 0 : strides.back();
      } else {
        step[k] = 1;
        from[k] = scratch[k];
        gather_bytes(array.raw(), itemsize(array.dtype()), walk.sizes, strides, at, n, scratch[k]);
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
