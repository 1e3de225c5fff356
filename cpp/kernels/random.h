// Random numbers from a counter: element i of a draw is a function of (key, counter, i) alone, so
// any number of threads draws the same. Knows no op and holds no state.
#pragma once
#include <array>

#include "array/array.h"

namespace wengert::kernels {

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011).
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// A stream of blocks: block b has the 128-bit counter (counter + b, 0). A draw of n elements reads
// blocks below n only, so it never overlaps one that starts at counter + n.
struct RandomState {
  uint64_t key, counter;
};

// `out` is contiguous. Uniform in [0, 1), multiples of 2^-24 (float32) or 2^-53 (float64).
void random_uniform(RandomState state, const Array& out);
// Box-Muller: mean 0, variance 1, up to 6.7 (float32) or 8.6 (float64) in size.
void random_normal(RandomState state, const Array& out);
// low + floor(u (high - low) / 2^64) for u of 64 bits: probabilities are off by less than
// (high - low) / 2^64 of themselves. Any dtype that holds low and high - 1.
void random_integers(RandomState state, int64_t low, int64_t high, const Array& out);
// The numbers below out.size(), shuffled (Fisher-Yates). int64.
void random_permutation(RandomState state, const Array& out);

}  // namespace wengert::kernels
