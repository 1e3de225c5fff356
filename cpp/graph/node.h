// The Wengert list: nodes, what they keep for the sweeps, and the modes in which `apply` records.
// Knows no op by name.
#pragma once
#include <memory>

#include "ops/op.h"

namespace wengert {

// One input of a node. `node` is where its adjoint goes (null: it wants none); `value` is kept only
// if a rule reads it, or while tracing.
struct Edge {
  Ref<Node> node;
  Ref<Value> value;
  std::unique_ptr<Type> type;  // null: the same as output 0
  uint32_t version = 0;        // of the kept value's buffer
  uint16_t index = 0;          // which output of `node`
};

struct Hook {
  int64_t id;
  std::function<Var(const Var&)> call;  // gets a gradient, may return another in its place
};

// What few nodes have: hooks, gradients the user asked to keep, a leaf's own gradient, an op of their own.
struct Extras {
  std::vector<std::pair<uint16_t, Hook>> hooks;
  std::vector<std::pair<uint16_t, Var>> grads;  // retained outputs; a leaf has one entry
  std::shared_ptr<const Op> op;                 // where it is no row of the table
};

// The value of an output that a rule reads, kept without the Value itself: that one owns the node.
struct SavedOutput {
  Array array;
  Ref<TangentSet> tangents;
  uint32_t version = 0;
  uint32_t trace = 0;
  Ref<Value> instead;  // in a trace, the value of another node that is this one's; see record_only
};

struct Node {
  uint32_t refs = 0;
  uint32_t source = 0;   // where the user's code made it; see source.h
  uint64_t serial = 0;   // grows with time: every edge points to a smaller one
  const Op* op = nullptr;
  Attrs attrs;
  SmallVector<Edge, 2> inputs;
  Types out_types;
  std::unique_ptr<std::vector<SavedOutput>> saved_out;
  std::unique_ptr<Extras> extras;
  uint32_t sweep = 0;    // the sweep in which it waits for its turn (0: none), and its place there
  int32_t slot = -1;
  uint32_t freed_at = 0; // the line whose sweep did, if `freed`
  bool traced = false;   // part of a trace: keeps its inputs for the replay
  bool tracked = false;  // recorded for a reverse sweep; a replay records it again
  bool freed = false;    // a sweep has used and dropped what it kept
  bool begins = false;   // the leaf of a transform on a traced value
  uint32_t region = 0;   // the mode's when it was made, as is `constant`
  bool constant = false;
  bool light = false;    // made under a tape (tape.h): keeps no values, so that no sweep passes it
  uint32_t tape = 0, place = 0;  // which one, and the number there of its first output
  bool of_transform = false;  // the leaf of a transform on a value
  bool ended = false;    // the leaf of a transform whose function has returned: nobody else asks for it

  bool is_leaf() const { return op == nullptr; }  // accumulates the gradient of a leaf
  const char* name() const { return op ? op->name.c_str() : "AccumulateGrad"; }
  const Type& in_type(std::size_t i) const { return inputs[i].type ? *inputs[i].type : out_types[0]; }
  Extras& more() { if (!extras) extras = std::make_unique<Extras>(); return *extras; }
};

Ref<Node> make_node(const Op* op, Attrs attrs);
Ref<Value> make_value(Array array);
Var detach(const Var& x);           // the same array, no history, no tangent
void make_leaf(Value& value);       // wants a gradient from now on, and not any more:
void drop_leaf(Value& value);
void note_met(const Value& value);  // by the recording that is open, if one is
bool keeps_grad(const Value& value);  // of a result: whether a backward pass leaves its gradient there
Var leaf_grad(const Value& value);  // of a leaf, or a retained one; null if there is none
void set_grad(Value& value, Var grad);
// Another number whenever a leaf gets a gradient or loses it.
uint64_t& gradients_epoch();

// Frees what a node keeps for a reverse sweep, which runs at the line `source`; the node itself
// stays for inspection.
void drop_saved(Node& node, uint32_t source);

// Runs a kernel, through the hook where the work has as many elements or is a long loop: the bindings
// let other Python threads run meanwhile.
struct KernelHook {
  void (*run)(const Op& op, const Call& call) = nullptr;
  int64_t from = 0;
  void operator()(const Op& op, const Call& call) const;
};
KernelHook& kernel_hook();
void run_kernel(const Op& op, const Call& call);

class Tape;
class Trace;

// A part of a trace that is to become one node (program/checkpoint.h). It strayed where something was
// recorded for a sweep beside that trace.
struct Part {
  const Trace* trace;
  bool strayed = false;
};

// Modes, one a thread.
struct Modes {
  bool grad_enabled = true;
  // Within no_grad of the user's: what is made there is a constant to every reverse sweep, also to
  // those over a replay.
  bool constant = false;
  int followed = 0;  // functions of reverse transforms that run
  Tape* tape = nullptr;
  Part* part = nullptr;
  // What is computed again has a region of its own: a program never takes what another region made in
  // its place, nor runs it together with another's steps.
  uint32_t region = 0;
};
Modes& modes();

class GradMode {
 public:
  explicit GradMode(bool enabled) : before_(modes().grad_enabled) { modes().grad_enabled = enabled; }
  ~GradMode() { modes().grad_enabled = before_; }
  GradMode(const GradMode&) = delete;

 private:
  bool before_;
};

class Region {
 public:
  explicit Region(uint32_t region) : before_(modes().region) { modes().region = region; }
  ~Region() { modes().region = before_; }
  Region(const Region&) = delete;

 private:
  uint32_t before_;
};
uint32_t new_region();

// The mode in which a step that was recorded is carried out again.
class AgainMode {
 public:
  explicit AgainMode(bool constant) : before_(modes().constant), grad_(modes().grad_enabled && !constant) {
    modes().constant |= constant;
  }
  ~AgainMode() { modes().constant = before_; }
  AgainMode(const AgainMode&) = delete;

 private:
  bool before_;
  GradMode grad_;
};

// The node that `apply` would leave behind for outputs that are there already.
Ref<Node> leave_node(const Op& op, const Attrs& attrs, std::span<const Var> ins, Vars& outs, bool tracked, Trace* trace);

// The outputs, of these types, of an operation that a reverse sweep has to pass while nobody reads them
// but in `given` (null: not at all): its node alone, nothing is computed.
Vars record_only(const Op& op, const Attrs& attrs, std::span<const Var> ins, std::span<const Type> types,
                 std::span<const Var> given);

}  // namespace wengert
