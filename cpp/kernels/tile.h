// The one elementwise loop. A functor becomes a tile: a loop over contiguous elements in blocks of
// fixed length, which the compiler turns into vector code for each instruction set. An element's
// result does not depend on its place in the tile, so any tiling gives the same bits.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "array/array.h"
#include "kernels/isa.h"

namespace wengert::kernels {

inline constexpr int max_arity = 4;

// out[i] = f(in[0][i * step[0]], ...); a step is 1, or 0 for one element that serves all. `out` may
// be one of the inputs.
using Tile = void (*)(const void* const* in, const int64_t* step, void* out, int64_t n);

// The tiles of one operation: by instruction set and by the dtype of its (promoted) operands.
struct Tiles {
  std::array<std::array<Tile, dtype_count>, isa_count> by_isa{};
  Tile operator()(DType dtype) const { return by_isa[std::size_t(isa())][std::size_t(dtype)]; }
};

template <class F, class R, class... A>
struct TileLoop {
  static constexpr int block = 128 / int(std::max({sizeof(R), sizeof(A)...}));

  template <std::size_t... I>
  [[gnu::always_inline]] static void run(const void* const* in, const int64_t* step, R* out,
                                         int64_t n, std::index_sequence<I...>) {
    std::tuple<std::array<A, block>...> spread;
    std::tuple<const A*...> from{static_cast<const A*>(in[I])...};
    if (n <= 0) return;
    // A step of 0 reads one block of copies again and again.
    ((step[I] == 0 ? (std::get<I>(spread).fill(*std::get<I>(from)),
                      void(std::get<I>(from) = std::get<I>(spread).data()))
                   : void()), ...);
    // One instance of the block serves whole blocks and the rest: the compiler may contract the
    // products of two instances differently, and an element's bits would depend on its place.
    R tail[block];
    for (int64_t done = 0; done < n; done += block) {
      const bool whole = n - done >= block;
      const int rest = int(n - done);
      if (!whole)
        ((step[I] == 0 ? void() : load_rest(std::get<I>(spread), std::get<I>(from), rest)), ...);
      one_block(whole ? out + done : tail, std::get<I>(from)...);
      if (!whole)
        for (int j = 0; j < rest; ++j) out[done + j] = tail[j];
      ((std::get<I>(from) += block * step[I]), ...);
    }
  }

  template <class T>
  [[gnu::always_inline]] static void load_rest(std::array<T, block>& to, const T*& from, int rest) {
    for (int j = 0; j < rest; ++j) to[std::size_t(j)] = from[j];
    for (int j = rest; j < block; ++j) to[std::size_t(j)] = from[0];
    from = to.data();
  }

  [[gnu::always_inline]] static void one_block(R* out, const A*... from) {
    constexpr F f{};
    R result[block];
#pragma GCC unroll 1  // unrolled whole, 16 doubles would not become vectors
    for (int j = 0; j < block; ++j) result[j] = R(f(from[j]...));
    if constexpr (requires { F::is_slow(*from...); }) {
      bool any = false;
      for (int j = 0; j < block; ++j) any |= F::is_slow(from[j]...);
      if (any) [[unlikely]]
        for (int j = 0; j < block; ++j)
          if (F::is_slow(from[j]...)) result[j] = R(F::slow(from[j]...));
    }
    for (int j = 0; j < block; ++j) out[j] = result[j];
  }

  using Indices = std::index_sequence_for<A...>;
  static void baseline(const void* const* in, const int64_t* step, void* out, int64_t n) {
    run(in, step, static_cast<R*>(out), n, Indices{});
  }
  WENGERT_AVX2 static void avx2(const void* const* in, const int64_t* step, void* out, int64_t n) {
    run(in, step, static_cast<R*>(out), n, Indices{});
  }
  WENGERT_AVX512 static void avx512(const void* const* in, const int64_t* step, void* out,
                                    int64_t n) {
    run(in, step, static_cast<R*>(out), n, Indices{});
  }
};

// Adds the tile of f for arguments A... under `dtype`.
// It returns bool where f does, else the type of the last argument.
template <class F, class... A>
void add_tile(Tiles& tiles, DType dtype) {
  using Last = std::tuple_element_t<sizeof...(A) - 1, std::tuple<A...>>;
  using R = std::conditional_t<std::is_same_v<decltype(F{}(A{}...)), bool>, bool, Last>;
  using Loop = TileLoop<F, R, A...>;
  tiles.by_isa[int(Isa::baseline)][int(dtype)] = Loop::baseline;
  tiles.by_isa[int(Isa::avx2)][int(dtype)] = Loop::avx2;
  tiles.by_isa[int(Isa::avx512)][int(dtype)] = Loop::avx512;
}

// Walks strided and broadcast inputs, tile by tile, over the pool. `out` is contiguous; inputs have
// its shape or are 0-d.
void run_tiles(Tile tile, std::span<const Array> in, const Array& out);

}  // namespace wengert::kernels
