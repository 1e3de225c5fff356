// Binomial checkpointing of a chain of equal steps (Griewank and Walther, Algorithm 799: Revolve, ACM
// Transactions on Mathematical Software 26, 2000), in closed form. A chain is reversed step by step from
// its end; a step's reverse needs the state before it.
#pragma once
#include <cstdint>

namespace wengert {

// C(c + r, c): the longest chain that c stored states, the initial one included, reverse while no step
// is repeated more than r times; INT64_MAX where it is greater.
int64_t longest_chain(int64_t c, int64_t r);

// The least r with longest_chain(c, r) >= length.
int64_t least_repetition(int64_t length, int64_t c);

// Step evaluations that the reverse of `length` steps needs at least, besides those that go with the
// reverse of each step: r l - C(c + r, r - 1).
int64_t least_advances(int64_t length, int64_t c);

// How many steps to advance before the next state is stored, to need no more than that: a j with
// least_advances(length, c) = j + least_advances(length - j, c - 1) + least_advances(j, c).
// For length > 1; it is length - 1 (the last step, where nothing is stored) for c = 1.
int64_t next_stored(int64_t length, int64_t c);

}  // namespace wengert
