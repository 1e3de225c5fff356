// Tangents that travel with values while a forward sweep is active. A sweep finds the tangents it
// pushed only to end them: they live and die with their values, so that forward mode alone keeps no
// list; a tangent's history may reach back to its value, and ending the sweep breaks that circle.
#pragma once
#include "graph/node.h"

namespace wengert {

class ForwardSweep;
class Trace;

struct TangentSet {
  struct Entry {
    ForwardSweep* sweep = nullptr;
    Var tangent;
  };
  uint32_t refs = 0;
  SmallVector<Entry, 1> entries;                    // of active sweeps, outermost first
  ForwardSweep* owner = nullptr;                    // the innermost of them, in whose list the set is
  TangentSet *previous = nullptr, *next = nullptr;  // in that list
};

// Active from construction to destruction; sweeps nest like scopes.
class ForwardSweep {
 public:
  ForwardSweep();
  ~ForwardSweep();
  ForwardSweep(const ForwardSweep&) = delete;

  Var tangent_of(const Var& x) const;  // null: a structural zero
  void set_tangent(const Var& x, Var tangent);
  // Seeds the sweep. If the seed is followed by a reverse sweep so are all tangents, also those of what is computed
  // while nothing else is recorded: the adjoints of a reverse sweep within.
  void seed(const Var& x, Var tangent);

  bool is_within(const Trace& trace) const;  // began while the trace was open
  bool is_here() const { return home_ == &active(); }  // began on this thread

  // The sweeps that are active on this thread, outermost first.
  static std::vector<ForwardSweep*>& active();

 private:
  friend void release(TangentSet* set);
  friend void push_tangents(const Op& op, const Attrs& attrs, std::span<const Var> ins, std::span<const Var> outs,
                            const Trace* trace);
  static void link(TangentSet& set, ForwardSweep* owner);
  static void unlink(TangentSet& set);

  TangentSet* sets_ = nullptr;
  std::size_t traces_around_;
  bool followed_ = false;
  const void* home_ = &active();
};

// Whether x depends on what an active sweep differentiates by.
bool carries_tangent(const Var& x);

// Pushes the tangents of a node's inputs to its outputs in every active sweep. While the rule of a
// sweep runs, that sweep and those inside it are off and the outer ones on. Where the node joins a
// trace, only the sweeps within it push: those around it push when it is replayed.
void push_tangents(const Op& op, const Attrs& attrs, std::span<const Var> ins, std::span<const Var> outs,
                   const Trace* trace);

}  // namespace wengert
