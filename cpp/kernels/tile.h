// What an elementwise operation computes, a run of elements at a time.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "array/array.h"
#include "kernels/isa.h"

namespace wengert::kernels {

inline constexpr int max_arity = 4;

// out[i] = f(in[0][i * step[0]], ...); a step is 1, or 0 for one element that serves all. `out` may
// be one of the inputs.
using Tile = void (*)(const void* const* in, const int64_t* step, void* out, int64_t n);

// first[i] = f(in[i * step]) and second[i] = g(in[i * step]); one of them may be the input.
using TwinTile = void (*)(const void* in, int64_t step, void* first, void* second, int64_t n);

// By instruction set and by the dtype of the (promoted) operands; null where there is none.
template <class T>
struct TilesOf {
  std::array<std::array<T, dtype_count>, isa_count> by_isa{};
  T operator()(DType dtype) const { return by_isa[std::size_t(isa())][std::size_t(dtype)]; }
};
using Tiles = TilesOf<Tile>;
using TwinTiles = TilesOf<TwinTile>;

// Walks strided and broadcast inputs, tile by tile, over the pool. `out` is contiguous; inputs have
// its shape or are 0-d.
void run_tiles(Tile tile, std::span<const Array> in, const Array& out);

}  // namespace wengert::kernels
