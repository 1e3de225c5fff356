#include "program/lattice.h"

#include <algorithm>

namespace wengert {

std::optional<Lattice> find_lattice(std::span<const std::span<const int32_t>> tables, std::size_t first,
                                    std::size_t block, std::size_t count) {
  Lattice out;
  const auto step = [&](std::size_t t, std::size_t i) {  // from place i - 1 to place i
    return tables[t][first + i * block] - tables[t][first + (i - 1) * block];
  };
  // The longest even run at the front is an axis if all other runs are like it; the places where runs
  // begin have the axes further out.
  while (count > 1) {
    LatticeAxis axis{1, {}};
    for (std::size_t t = 0; t < tables.size(); ++t) axis.strides.push_back(step(t, 1));
    const auto even = [&](std::size_t i) {
      for (std::size_t t = 0; t < tables.size(); ++t)
        if (step(t, i) != axis.strides[t]) return false;
      return true;
    };
    std::size_t run = 2;
    while (run < count && even(run)) ++run;
    if (count % run != 0) return std::nullopt;
    for (std::size_t i = run; i < count; ++i)
      if (i % run != 0 && !even(i)) return std::nullopt;
    axis.size = int64_t(run);
    out.push_back(std::move(axis));
    block *= run;
    count /= run;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace wengert
