// Single numbers that lie here and there, copied by a table of addresses: into a vector, or from one to
// where they belong.
#pragma once
#include <cstddef>
#include <cstring>
#include <vector>

namespace wengert {

struct NumberMove {
  const std::byte* from;
  std::byte* to;
};

template <std::size_t width>
void move_numbers_of(const std::vector<NumberMove>& moves) {
  for (const NumberMove& move : moves) std::memcpy(move.to, move.from, width);
}

inline void move_numbers(const std::vector<NumberMove>& moves, int width) {
  switch (width) {
    case 8: return move_numbers_of<8>(moves);
    case 4: return move_numbers_of<4>(moves);
    default: return move_numbers_of<1>(moves);
  }
}

}  // namespace wengert
