// The one elementwise loop. A functor becomes a tile: a loop over contiguous elements in blocks of
// fixed length, which the compiler turns into vector code for each instruction set. An element's
// result does not depend on its place in the tile, so any tiling gives the same bits.
#pragma once
#include <algorithm>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/tile.h"

namespace wengert::kernels {

template <class F, class R, class... A>
struct TileLoop {
  static constexpr int block = 128 / int(std::max({sizeof(R), sizeof(A)...}));
  using Flag = std::conditional_t<sizeof(R) == 8, uint64_t, uint32_t>;

  template <class T>
  struct Spread {
    T at[block];
    Spread() {}  // to be filled where it is needed
  };

  template <std::size_t... I>
  [[gnu::always_inline]] static void run(const void* const* in, const int64_t* step, R* out,
                                         int64_t n, std::index_sequence<I...>) {
    std::tuple<Spread<A>...> spread;
    std::tuple<const A*...> from{static_cast<const A*>(in[I])...};
    if (n <= 0) return;
    // A step of 0 reads one block of copies again and again.
    ((step[I] == 0 ? (std::fill_n(std::get<I>(spread).at, block, *std::get<I>(from)),
                      void(std::get<I>(from) = std::get<I>(spread).at))
                   : void()), ...);
    R tail[block];
    for (int64_t left = n; left > 0; left -= block) {
      R* to = out;
      if (left < block) [[unlikely]] {
        ((step[I] == 0 ? void() : load_rest(std::get<I>(spread), std::get<I>(from), left)), ...);
        to = tail;
      }
      // One instance of the block serves whole blocks and the rest: the compiler may contract the
      // products of two instances differently, and an element's bits would depend on its place.
      asm("" : "+r"(to));
      one_block(to, std::get<I>(from)...);
      if (left < block) [[unlikely]] copy_rest(out, tail, left);
      out += block;
      ((std::get<I>(from) += block * step[I]), ...);
    }
  }

  template <class T>
  [[gnu::always_inline]] static void load_rest(Spread<T>& to, const T*& from, int64_t rest) {
    std::fill_n(to.at, block, *from);
    copy_rest(to.at, from, rest);
    from = to.at;
  }

  // In halves of known size: a copy of unknown size takes longer than the block.
  template <class T>
  [[gnu::always_inline]] static void copy_rest(T* to, const T* from, int64_t rest) {
#pragma GCC unroll 8
    for (int part = block / 2; part > 0; part /= 2)
      if (rest & part) {
        std::memcpy(to, from, std::size_t(part) * sizeof(T));
        to += part;
        from += part;
      }
  }

  // `out` may be one of the inputs, but no element is read after another is written.
  [[gnu::always_inline]] static void one_block(R* out, const A*... from) {
    constexpr F f{};
    if constexpr (requires { F::is_slow(*from...); }) {
      R result[block];
#pragma GCC unroll 1  // unrolled whole, 16 doubles would not become vectors
      for (int j = 0; j < block; ++j) result[j] = R(f(from[j]...));
      Flag any = 0;  // as wide as what it is of, to be found by vectors
      for (int j = 0; j < block; ++j) any |= Flag(F::is_slow(from[j]...));
      if (any) [[unlikely]]
        for (int j = 0; j < block; ++j)
          if (F::is_slow(from[j]...)) result[j] = R(F::slow(from[j]...));
      for (int j = 0; j < block; ++j) out[j] = result[j];
    } else {
#pragma GCC unroll 1
#pragma GCC ivdep
      for (int j = 0; j < block; ++j) out[j] = R(f(from[j]...));
    }
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

// Two functions of one argument at once: F::both(x, first, second), with F::slow_both where F::is_slow(x),
// if there is such.
template <class F, class T>
struct TwinLoop {
  using One = TileLoop<F, T, T>;
  static constexpr int block = One::block;

  [[gnu::always_inline]] static void run(const void* in, int64_t step, void* first, void* second,
                                         int64_t n) {
    typename One::template Spread<T> spread;
    T tails[2][block];
    const T* from = static_cast<const T*>(in);
    T *one = static_cast<T*>(first), *two = static_cast<T*>(second);
    if (n <= 0) return;
    if (step == 0) {
      std::fill_n(spread.at, block, *from);
      from = spread.at;
    }
    for (int64_t left = n; left > 0; left -= block) {
      T *to = one, *also = two;
      if (left < block) [[unlikely]] {
        if (step != 0) One::load_rest(spread, from, left);
        to = tails[0];
        also = tails[1];
      }
      asm("" : "+r"(to), "+r"(also));  // one instance of the block
      one_block(from, to, also);
      if (left < block) [[unlikely]] {
        One::copy_rest(one, tails[0], left);
        One::copy_rest(two, tails[1], left);
      }
      from += block * step;
      one += block;
      two += block;
    }
  }

  // `from` may be one of the others.
  [[gnu::always_inline]] static void one_block(const T* from, T* first, T* second) {
    constexpr bool has_slow = requires { F::is_slow(*from); };
    T kept[has_slow ? block : 1];
    typename One::Flag any = 0;
    if constexpr (has_slow) {
      for (int j = 0; j < block; ++j) any |= typename One::Flag(F::is_slow(from[j]));
      if (any) [[unlikely]] std::copy_n(from, block, kept);
    }
#pragma GCC unroll 1
#pragma GCC ivdep
    for (int j = 0; j < block; ++j) F::both(from[j], first[j], second[j]);
    if constexpr (has_slow)
      if (any) [[unlikely]]
        for (int j = 0; j < block; ++j)
          if (F::is_slow(kept[j])) F::slow_both(kept[j], first[j], second[j]);
  }

  static void baseline(const void* in, int64_t step, void* first, void* second, int64_t n) {
    run(in, step, first, second, n);
  }
  WENGERT_AVX2 static void avx2(const void* in, int64_t step, void* first, void* second,
                                int64_t n) {
    run(in, step, first, second, n);
  }
  WENGERT_AVX512 static void avx512(const void* in, int64_t step, void* first, void* second,
                                    int64_t n) {
    run(in, step, first, second, n);
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

template <class F, class T>
void add_twin_tile(TwinTiles& tiles, DType dtype) {
  using Loop = TwinLoop<F, T>;
  tiles.by_isa[int(Isa::baseline)][int(dtype)] = Loop::baseline;
  tiles.by_isa[int(Isa::avx2)][int(dtype)] = Loop::avx2;
  tiles.by_isa[int(Isa::avx512)][int(dtype)] = Loop::avx512;
}

}  // namespace wengert::kernels
