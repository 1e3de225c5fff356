// The reverse sweep: adjoints from outputs to inputs, by descending serial. One loop serves
// backward(), vjp and the rows whose adjoint follows from their meaning. Names no op.
#pragma once
#include <unordered_set>

#include "graph/node.h"

namespace wengert {

struct SweepOptions {
  bool retain_graph = false;  // keep what the nodes saved, for another sweep
  bool accumulate = false;    // add the adjoints of leaves to their `grad` (backward())
  bool hooks_of_targets = true;  // false where a sweep that passes them again will run these
};

// The part of the graph that a transform sweeps: the nodes between its outputs and its targets.
// `outer` tells whether anything else than the targets wants a gradient of the outputs: a transform
// or a leaf outside, for which the sweep itself must be recorded.
struct Reach {
  std::unordered_set<const Node*> nodes;  // that depend on a target; the targets' too
  bool outer = false;
};
Reach find_reach(std::span<const Var> outputs, std::span<const Var> targets);

// Whether y has a history that somebody may ask for, as is taken for granted of what is no younger than `after`.
bool is_wanted(const Var& y, uint64_t after);

// Whether a sweep from y meets nothing that another sweep has used up, of what is younger than the node numbered `after`.
bool can_sweep(const Var& y, uint64_t after = 0);

// Sweeps from `outputs` with cotangents `seeds` and returns the adjoints of `targets` (null: the
// outputs do not depend on it). Only nodes of `reach` are visited, if one is given; the nodes of the
// targets are not passed. Emitted operations are recorded as the grad mode says.
Vars reverse_sweep(std::span<const Var> outputs, std::span<const Var> seeds,
                   std::span<const Var> targets, const SweepOptions& options,
                   const Reach* reach = nullptr);

// For a rule that gives all cotangents at once, while it runs: takes what has arrived at an input from
// elsewhere. The rule then returns the sum, in an order of its own choice.
Var take_arrived(std::size_t input);

// The leaf of a function transform: x as a new value, which a sweep can tell from x, connected to
// whatever transform tracks x.
Var transform_leaf(const Var& x);
// From now on only the transform itself asks for its leaf: its function has returned.
void end_leaf(const Var& leaf);

}  // namespace wengert
