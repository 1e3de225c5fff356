// What rewrites may assume of rows of the table: their neutral operands, what undoes itself, what is a
// product with a slope. A row that is not named has none of these laws.
#pragma once
#include "ops/op.h"

namespace wengert {

struct Laws {
  // The operand that the result equals, given those that are constant (the others have no storage), or
  // -1; where not `to_the_bit`, but for the sign of a zero.
  std::function<int(std::span<const Array> known, bool to_the_bit)> passes = {};
  bool involution = false;  // op(op(x)) is x
  bool scales = false;      // op(g, ...) is chain_multiply(g, op(1, ...)), to the bit
  bool sums = false;        // op(a, b) is a + b
  // For a row that puts x into zeros: the one that adds x there to a base. base + op(x) is placed(base, x),
  // but for the sign of a zero.
  const Op* placed = nullptr;
};

const Laws& laws_of(const Op& op);

}  // namespace wengert
