// What the rows of optimisers take and give. Inputs are lr, counts, then p, g and the states of each
// parameter; outputs are counts, then p and the states of each.
#pragma once
#include "ops/op.h"

namespace wengert {

struct UpdateLayout {
  std::size_t states, params;

  std::size_t inputs() const { return 2 + params * (2 + states); }
  std::size_t outputs() const { return 1 + params * (1 + states); }
  // Of parameter k: its place, its gradient's and those of its states.
  std::size_t in_p(std::size_t k) const { return 2 + k * (2 + states); }
  std::size_t in_g(std::size_t k) const { return in_p(k) + 1; }
  std::size_t in_state(std::size_t k, std::size_t s) const { return in_p(k) + 2 + s; }
  std::size_t out_p(std::size_t k) const { return 1 + k * (1 + states); }
  std::size_t out_state(std::size_t k, std::size_t s) const { return out_p(k) + 1 + s; }
};

inline UpdateLayout update_layout(const Attrs& at) {
  return {std::size_t(at.integer("states")), at.ints("which").size()};
}

}  // namespace wengert
