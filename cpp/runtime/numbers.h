// Single numbers that lie here and there, copied by a table of addresses: into a vector, or from one to
// where they belong.
#pragma once
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

namespace wengert {

struct NumberMove {
  const std::byte* from;
  std::byte* to;
};

// f(a constant of that many bytes).
template <class F>
void with_width(int width, const F& f) {
  switch (width) {
    case 8: return f(std::integral_constant<std::size_t, 8>());
    case 4: return f(std::integral_constant<std::size_t, 4>());
    default: return f(std::integral_constant<std::size_t, 1>());
  }
}

inline void move_numbers(const std::vector<NumberMove>& moves, int width) {
  with_width(width, [&](auto bytes) {
    for (const NumberMove& move : moves) std::memcpy(move.to, move.from, bytes);
  });
}

inline void pack_numbers(const std::vector<const std::byte*>& from, std::byte* to, int width) {
  with_width(width, [&](auto bytes) {
    for (std::size_t i = 0; i < from.size(); ++i) std::memcpy(to + i * bytes, from[i], bytes);
  });
}

}  // namespace wengert
