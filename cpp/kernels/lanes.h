// Loops over contiguous rows in blocks that the compiler turns into vector code, with sums in a
// fixed order that do not lose digits on long rows. For code compiled through variants.h.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace wengert::kernels {

// Longer than the loops that compilers unroll to scalars before they vectorise.
template <class T>
inline constexpr int lanes = 128 / int(sizeof(T));

template <class T>
struct Block {
  T at[lanes<T>];
};

template <class T>
[[gnu::always_inline]] inline Block<T> filled(T value) {
  Block<T> block;
  for (int j = 0; j < lanes<T>; ++j) block.at[j] = value;
  return block;
}

// The first `left` elements at `from`, or as many as fit, then `pad`.
template <class T>
[[gnu::always_inline]] inline Block<T> load(const T* from, int64_t left, T pad) {
  Block<T> block;
  if (left >= lanes<T>) {
    std::memcpy(block.at, from, sizeof(block.at));
  } else {
    block = filled(pad);
    for (int j = 0; j < int(left); ++j) block.at[j] = from[j];
  }
  return block;
}

template <class T>
[[gnu::always_inline]] inline void store(const Block<T>& block, T* to, int64_t left) {
  if (left >= lanes<T>)
    std::memcpy(to, block.at, sizeof(block.at));
  else
    for (int j = 0; j < int(left); ++j) to[j] = block.at[j];
}

// f(i, left) for every block of [begin, end): whole ones first, so that their code has no branches.
template <class T, class F>
[[gnu::always_inline]] inline void for_blocks(int64_t begin, int64_t end, F f) {
  int64_t i = begin;
  for (; i + lanes<T> <= end; i += lanes<T>) f(i, int64_t(lanes<T>));
  if (i < end) f(i, end - i);
}

inline constexpr int64_t longest_run = 2048;  // elements that are added in T; sums of runs are added in double

// Sum over all lanes of the blocks f(i, left), i < n, whose padding must be 0.
template <int bytes, class T, class F>
[[gnu::always_inline]] inline double sum_blocks(int64_t n, F f) {
  typedef T Vector [[gnu::vector_size(bytes)]];
  constexpr int parts = int(sizeof(Block<T>)) / bytes;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += longest_run) {
    Vector sums[parts] = {};
    for_blocks<T>(begin, std::min(begin + longest_run, n), [&](int64_t i, int64_t left) {
      const Block<T> block = f(i, left);
      for (int p = 0; p < parts; ++p) {
        Vector terms;
        std::memcpy(&terms, block.at + p * (bytes / int(sizeof(T))), sizeof(terms));
        sums[p] += terms;
      }
    });
    for (int p = 1; p < parts; ++p) sums[0] += sums[p];
    T rest[bytes / sizeof(T)];
    std::memcpy(rest, &sums[0], sizeof(rest));
    for (int width = bytes / int(sizeof(T)) / 2; width > 0; width /= 2)
      for (int j = 0; j < width; ++j) rest[j] += rest[j + width];
    total += double(rest[0]);
  }
  return total;
}

inline constexpr int64_t strip = 16;  // rows whose sums are made together, as each waits for its own

// Lanes of a and b, whose numbers follow those of a. A macro: a register that another instruction set lacks cannot be
// returned.
#if defined(__clang__)
#define WENGERT_SHUFFLE(V, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define WENGERT_SHUFFLE(V, a, b, ...) __builtin_shuffle(a, b, V{__VA_ARGS__})
#endif

// Sums of several short rows, from registers: a block of `Block` would go through the stack.
template <int bytes, class T>
struct RowSums {
  typedef T Vector [[gnu::vector_size(bytes)]];
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Places [[gnu::vector_size(bytes)]];
  static constexpr int width = bytes / int(sizeof(T));

  // By reference: a register that another instruction set lacks cannot be returned.
  [[gnu::always_inline]] static void load(const T* from, Vector& v) { std::memcpy(&v, from, sizeof(v)); }
  // Its first `left` elements, then `pad`.
  [[gnu::always_inline]] static void load(const T* from, int64_t left, T pad, Vector& v) {
    if (left >= width) return load(from, v);
    T part[width];
    std::fill_n(part, width, pad);
    std::copy_n(from, left, part);
    load(part, v);
  }

  // sums[k][r] = the sum of the vectors that f(r, i, left, v) or f(r, i, left, v, u) sets, i < n, whose padding must
  // be 0; r < rows <= strip.
  template <int kinds, class F>
    requires(kinds == 1 || kinds == 2)
  [[gnu::always_inline]] static void sum(int64_t rows, int64_t n, F f, double (&sums)[kinds][strip]) {
    T lane[kinds][strip][width];
    for (int k = 0; k < kinds; ++k) {
      std::fill_n(sums[k], strip, 0.0);
      for (int64_t r = rows; r < strip; ++r) std::fill_n(lane[k][r], width, T(0));
    }
    for (int64_t begin = 0; begin < n; begin += longest_run) {
      const int64_t end = std::min(begin + longest_run, n);
      for (int64_t r = 0; r < rows; ++r) {
        Vector own[4][kinds] = {};
        const auto add = [&](int64_t i, int64_t left, int to) {
          Vector v, u;  // not an array, which would go through the stack
          if constexpr (kinds == 1) f(r, i, left, v);
          else f(r, i, left, v, u), own[to][1] += u;
          own[to][0] += v;
        };
        int64_t i = begin;
        for (; i + 4 * width <= end; i += 4 * width)
#pragma GCC unroll 4
          for (int to = 0; to < 4; ++to) add(i + to * width, width, to);
        for (; i + width <= end; i += width) add(i, width, 0);
        if (i < end) add(i, end - i, 1);
        for (int k = 0; k < kinds; ++k) {
          own[0][k] = (own[0][k] + own[2][k]) + (own[1][k] + own[3][k]);
          std::memcpy(lane[k][r], &own[0][k], sizeof(Vector));
        }
      }
      for (int k = 0; k < kinds; ++k) add_lanes(lane[k], sums[k]);
    }
  }

 private:
  // sums[r] += the sum of lane[r], halves added to halves until one is left.
  [[gnu::always_inline]] static void add_lanes(const T (&lane)[strip][width], double (&sums)[strip]) {
    Vector v[strip];
#pragma GCC unroll 16
    for (int r = 0; r < strip; ++r) load(lane[r], v[r]);
    fold<width / 2, strip / 2>(v);
    constexpr int left = strip / width;
    for (int r = 0; r < left; ++r)
      for (int j = 0; j < width; ++j) sums[r + j * left] += double(v[r][j]);
  }

  // Rows r and r + pairs become one vector, with half as many lanes for each.
  template <int half, int pairs>
  [[gnu::always_inline]] static void fold(Vector* v) {
#pragma GCC unroll 8
    for (int r = 0; r < pairs; ++r) add_halves<half>(v[r], v[r + pairs], std::make_index_sequence<width>{});
    if constexpr (half > 1) fold<half / 2, pairs / 2>(v);
  }

  // The halves of each 2 * half lanes of a, added, then those of b, and so on.
  template <int half, std::size_t... lane>
  [[gnu::always_inline]] static void add_halves(Vector& a, const Vector& b, std::index_sequence<lane...>) {
    a = WENGERT_SHUFFLE(Places, a, b, from(lane, half)...) + WENGERT_SHUFFLE(Places, a, b, from(lane, half) + half...);
  }
  static constexpr int from(std::size_t lane, int half) {
    const int part = int(lane) / half;
    return part / 2 * 2 * half + int(lane) % half + part % 2 * width;
  }
};

// Whether a cotangent asks for nothing of a row: then a NaN in the row stays out of the adjoint.
template <class T>
[[gnu::always_inline]] inline bool all_zero(const T* g, int64_t n) {
  bool zero = true;
  for (int64_t i = 0; i < n; ++i) zero &= g[i] == T(0);
  return zero;
}

}  // namespace wengert::kernels
