// Derivatives of a composition at given values: fresh leaves, one sweep. Serves the rows whose
// transforms follow from their meaning.
#include "graph/tangents.h"
#include "graph/tape.h"
#include "ops/vocabulary.h"
#include "sweeps/reverse.h"

namespace wengert {

Var transform_leaf(const Var& x) {
  static const Op& alias = find_op("alias");
  const Tape::Whole whole;
  Var leaf = apply(alias, {&x, 1});
  if (leaf->tracked || !is_float(leaf.dtype())) return leaf;
  if (leaf.is_abstract()) {
    leaf->tracked = leaf->node->begins = true;
    leaf->is_leaf = false;
    return leaf;
  }
  const Ref<Node> made = leaf->node;  // a tape knows the leaf by its place there
  make_leaf(*leaf.get());
  leaf->node->of_transform = true;
  if (made) leaf->node->tape = made->tape, leaf->node->place = made->place;
  return leaf;
}

void end_leaf(const Var& leaf) {
  if (leaf->node && (leaf->node->is_leaf() || leaf->node->begins)) leaf->node->ended = true;
}

Vars pull_back(const Composition& f, std::span<const Var> at, const Var& g) {
  const bool enabled = modes().grad_enabled;
  Vars leaves, targets;
  Var y;
  {
    GradMode on(true);
    for (const Var& x : at) {
      leaves.push_back(transform_leaf(x));
      if (leaves.back()->tracked) targets.push_back(leaves.back());
    }
    y = f({leaves.data(), leaves.size()});
  }
  for (const Var& leaf : leaves) end_leaf(leaf);
  const std::span<const Var> ends{targets.data(), targets.size()};
  const Reach reach = find_reach({&y, 1}, ends);
  const bool recorded = enabled && (reach.outer || g->tracked);
  GradMode mode(recorded);
  const Vars found = reverse_sweep({&y, 1}, {&g, 1}, ends, {.retain_graph = recorded}, &reach);
  Vars out(leaves.size());
  for (std::size_t i = 0, next = 0; i < leaves.size(); ++i)
    if (leaves[i]->tracked) out[i] = found[next++];
  return out;
}

Var push_forward(const Composition& f, std::span<const Var> at, std::span<const Var> tangents) {
  static const Op& alias = find_op("alias");
  Vars leaves;
  for (const Var& x : at) leaves.push_back(apply(alias, {&x, 1}));
  ForwardSweep sweep;
  for (std::size_t i = 0; i < at.size(); ++i)
    if (tangents[i]) sweep.seed(leaves[i], tangents[i]);
  const Var y = f({leaves.data(), leaves.size()});
  return sweep.tangent_of(y);
}

}  // namespace wengert
