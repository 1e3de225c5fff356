#include "runtime/revolve.h"

#include <algorithm>

namespace wengert {

int64_t longest_chain(int64_t c, int64_t r) {
  if (c < 0 || r < 0) return 0;
  const int64_t few = std::min(c, r), many = std::max(c, r);
  __int128 chain = 1;
  for (int64_t i = 1; i <= few; ++i) {
    chain = chain * (many + i) / i;  // C(many + i, i), a whole number
    if (chain > INT64_MAX) return INT64_MAX;
  }
  return int64_t(chain);
}

int64_t least_repetition(int64_t length, int64_t c) {
  if (c == 1) return std::max<int64_t>(length - 1, 0);
  __int128 chain = 1;  // C(c + r, r), which grows until it is long enough
  int64_t r = 0;
  while (chain < length) {
    ++r;
    chain = chain * (c + r) / r;
  }
  return r;
}

int64_t least_advances(int64_t length, int64_t c) {
  if (length < 2) return 0;
  if (c == 1) return length * (length - 1) / 2;
  const int64_t r = least_repetition(length, c);
  return r * length - longest_chain(c + 1, r - 1);
}

int64_t next_stored(int64_t length, int64_t c) {
  if (c == 1) return length - 1;
  // Optimal are those that leave both parts within r - 1 and r, or r and r - 1, repetitions:
  // any j <= C(c + r - 1, c) whose rest length - j <= C(c - 1 + r, c - 1), and no part too short.
  const int64_t r = least_repetition(length, c);
  return std::min(longest_chain(c, r - 1), length - longest_chain(c - 1, r - 1));
}

}  // namespace wengert
