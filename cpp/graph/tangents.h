// Tangents that travel with values while a forward sweep is active. A sweep finds the tangents it
// pushed only to end them: they live and die with their values, so that forward mode alone keeps no
// list; a tangent's history may reach back to its value, and ending the sweep breaks that circle.
#pragma once
#include "graph/node.h"

namespace wengert {

class ForwardSweep;

struct TangentSet {
  struct Entry {
    ForwardSweep* sweep = nullptr;  // null once the sweep has ended
    Var tangent;
  };
  uint32_t refs = 0;
  SmallVector<Entry, 1> entries;
  TangentSet *previous = nullptr, *next = nullptr;  // all sets that are alive
};

// Active from construction to destruction; sweeps nest like scopes.
class ForwardSweep {
 public:
  ForwardSweep();
  ~ForwardSweep();
  ForwardSweep(const ForwardSweep&) = delete;

  Var tangent_of(const Var& x) const;  // null: a structural zero
  void set_tangent(const Var& x, Var tangent);

  // The sweeps that are active on this thread, outermost first.
  static std::vector<ForwardSweep*>& active();
};

// Pushes the tangents of a node's inputs to its outputs in every active sweep. While the rule of a
// sweep runs, that sweep and those inside it are off and the outer ones on.
void push_tangents(const Op& op, const Attrs& attrs, std::span<const Var> ins, std::span<const Var> outs);

}  // namespace wengert
