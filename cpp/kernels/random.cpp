// Draws are made in groups of blocks, word by word: word w of the group's blocks lies together, so
// every loop runs over vectors.
#include "kernels/random.h"

#include <algorithm>
#include <numeric>

#include "kernels/math.h"
#include "kernels/parallel.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t group = 64;  // blocks

struct Words {
  uint32_t w[4][group];
};

constexpr uint32_t multiplier[2] = {0xD2511F53, 0xCD9E8D57}, weyl[2] = {0x9E3779B9, 0xBB67AE85};

[[gnu::always_inline]] inline void make_words(RandomState state, int64_t first_block,
                                              Words& words) {
  auto& [w0, w1, w2, w3] = words.w;
  for (int64_t j = 0; j < group; ++j) {
    const uint64_t block = state.counter + uint64_t(first_block + j);
    w0[j] = uint32_t(block), w1[j] = uint32_t(block >> 32), w2[j] = w3[j] = 0;
  }
  uint32_t k0 = uint32_t(state.key), k1 = uint32_t(state.key >> 32);
  for (int round = 0; round < 10; ++round, k0 += weyl[0], k1 += weyl[1])
    for (int64_t j = 0; j < group; ++j) {
      const uint64_t p = uint64_t(multiplier[0]) * w0[j], q = uint64_t(multiplier[1]) * w2[j];
      w0[j] = uint32_t(q >> 32) ^ w1[j] ^ k0;
      w2[j] = uint32_t(p >> 32) ^ w3[j] ^ k1;
      w1[j] = uint32_t(q);
      w3[j] = uint32_t(p);
    }
}

// Integers up to 2^31 as vectors of signed ones convert.
[[gnu::always_inline]] inline double whole(uint32_t x) { return double(int32_t(x)); }

// The 53 upper bits of 64: an integer below 2^53.
[[gnu::always_inline]] inline double bits53(uint32_t a, uint32_t b) {
  return whole(a >> 5) * 67108864.0 + whole(b >> 6);
}

template <class T>
constexpr int64_t per_group = group * 16 / int64_t(sizeof(T));

// Each maker fills per_group<T> elements from the words of one group.
template <class T>
struct Uniform {
  [[gnu::always_inline]] static void make(const Words& words, T* out) {
    const auto& w = words.w;
    for (int64_t j = 0; j < group; ++j) {
      if constexpr (sizeof(T) == 4) {
        for (int k = 0; k < 4; ++k) out[k * group + j] = float(int32_t(w[k][j] >> 8)) * 0x1p-24f;
      } else {
        for (int k = 0; k < 2; ++k)
          out[k * group + j] = bits53(w[2 * k][j], w[2 * k + 1][j]) * 0x1p-53;
      }
    }
  }
};

template <class T>
struct Normal {
  [[gnu::always_inline]] static void make(const Words& words, T* out) {
    constexpr int pairs = 8 / int(sizeof(T));
    for (int k = 0; k < pairs; ++k) {
      T radius[group], angle[group];
      for (int64_t j = 0; j < group; ++j) {
        const auto [u, v] = uniforms(words, k, j);
        radius[j] = std::sqrt(T(-2) * math::log(u));
        angle[j] = T(6.283185307179586) * v;
      }
      for (int64_t j = 0; j < group; ++j) out[2 * k * group + j] = radius[j] * math::cos(angle[j]);
      for (int64_t j = 0; j < group; ++j)
        out[(2 * k + 1) * group + j] = radius[j] * math::sin(angle[j]);
    }
  }

 private:
  struct Pair {
    T u, v;  // in (0, 1] and [0, 1)
  };
  [[gnu::always_inline]] static Pair uniforms(const Words& words, int k, int64_t j) {
    const auto& w = words.w;
    if constexpr (sizeof(T) == 4) {
      // All 32 bits for the radius: its logarithm decides how far the tail reaches.
      const float u =
          float(whole(w[2 * k][j] >> 1) * 0x1p-31 + (0.5 * whole(w[2 * k][j] & 1) + 0.5) * 0x1p-31);
      return {u, float(int32_t(w[2 * k + 1][j] >> 8)) * 0x1p-24f};
    } else {
      return {(bits53(w[0][j], w[1][j]) + 1) * 0x1p-53, bits53(w[2][j], w[3][j]) * 0x1p-53};
    }
  }
};

struct Raw64 {
  [[gnu::always_inline]] static void make(const Words& words, uint64_t* out) {
    const auto& w = words.w;
    for (int k = 0; k < 2; ++k)
      for (int64_t j = 0; j < group; ++j)
        out[k * group + j] = uint64_t(w[2 * k + 1][j]) << 32 | w[2 * k][j];
  }
};

// Elements [begin, end) of a draw; `begin` starts a group.
template <class Maker, class T>
struct FillRange {
  template <int>
  [[gnu::always_inline]] static void run(RandomState state, T* out, int64_t begin, int64_t end) {
    Words words;
    T made[per_group<T>];
    for (int64_t i = begin; i < end; i += per_group<T>) {
      make_words(state, i / per_group<T> * group, words);
      if (i + per_group<T> <= end) {
        Maker::make(words, out + i);
      } else {
        Maker::make(words, made);
        std::copy_n(made, end - i, out + i);
      }
    }
  }
};

template <class Maker, class T>
void fill(RandomState state, T* out, int64_t n) {
  parallel::parallel_for(n, 1 << 14, [=](int64_t begin, int64_t end) {
    for_isa<FillRange<Maker, T>>(state, out, begin, end);
  });
}

uint64_t below(uint64_t bits, uint64_t range) {
  return uint64_t((unsigned __int128)(bits)*range >> 64);
}

// f(i, bits) with 64 random bits for each i in [0, n), in order within a chunk of the range.
template <class F>
void with_bits(RandomState state, int64_t begin, int64_t end, F f) {
  constexpr int64_t many = per_group<uint64_t>;
  uint64_t bits[many];
  for (int64_t i = begin; i < end; i += many) {
    const int64_t n = std::min(many, end - i);
    const RandomState here{state.key, state.counter + uint64_t(i / many * group)};
    for_isa<FillRange<Raw64, uint64_t>>(here, static_cast<uint64_t*>(bits), int64_t(0), many);
    for (int64_t j = 0; j < n; ++j) f(i + j, bits[j]);
  }
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round, key[0] += weyl[0], key[1] += weyl[1]) {
    const uint64_t p = uint64_t(multiplier[0]) * c[0], q = uint64_t(multiplier[1]) * c[2];
    c = {uint32_t(q >> 32) ^ c[1] ^ key[0], uint32_t(q), uint32_t(p >> 32) ^ c[3] ^ key[1],
         uint32_t(p)};
  }
  return c;
}

void random_uniform(RandomState state, const Array& out) {
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) { fill<Uniform<T>>(state, out.data<T>(), out.size()); });
}

void random_normal(RandomState state, const Array& out) {
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) { fill<Normal<T>>(state, out.data<T>(), out.size()); });
}

void random_integers(RandomState state, int64_t low, int64_t high, const Array& out) {
  const uint64_t range = uint64_t(high) - uint64_t(low);
  dispatch(out.dtype(), [&]<class T>(TypeTag<T>) {
    T* to = out.data<T>();
    parallel::parallel_for(out.size(), 1 << 14, [&](int64_t begin, int64_t end) {
      with_bits(state, begin, end, [&](int64_t i, uint64_t bits) {
        to[i] = T(int64_t(uint64_t(low) + below(bits, range)));
      });
    });
  });
}

void random_permutation(RandomState state, const Array& out) {
  int64_t* to = out.data<int64_t>();
  const int64_t n = out.size();
  std::iota(to, to + n, int64_t(0));
  with_bits(state, 0, n,
            [&](int64_t i, uint64_t bits) { std::swap(to[i], to[below(bits, uint64_t(i) + 1)]); });
}

}  // namespace wengert::kernels
