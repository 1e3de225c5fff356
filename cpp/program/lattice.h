// Tables of places that step evenly along several axes, as the indices of nested loops do.
#pragma once
#include <optional>
#include <span>

#include "base/shape.h"

namespace wengert {

struct LatticeAxis {
  int64_t size;
  SmallVector<int64_t, 4> strides;  // of each table
};
using Lattice = SmallVector<LatticeAxis, 4>;

// The axes of `count` places, outermost first: place i of table t is tables[t][first + i * block]. As few
// as there can be; none if the places are not even along any.
std::optional<Lattice> find_lattice(std::span<const std::span<const int32_t>> tables, std::size_t first,
                                    std::size_t block, std::size_t count);

}  // namespace wengert
