// The recording of a whole call: while it is open, every operation on a tensor from outside joins its
// trace, and changes in place and gradients left in leaves are noted instead of done. What came from
// outside and what was changed are told apart by identity. Names no op.
#pragma once
#include <unordered_map>

#include "graph/trace.h"

namespace wengert {

class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  static Recording* current();  // of this thread, or null
  static uint64_t& progress();  // grows while something is recorded, on whatever thread
  static std::string& history_error();  // what the last one on this thread said that read what another sweep follows

  // A tensor that was changed, or came from outside: its stand-in at the start (null if it was made
  // within), and what it has become.
  struct Variable {
    Var outside, entry, now;
    bool assigned = false;
    uint32_t last_read = 0, first_assigned = 0;  // when, by the recording's own clock
  };
  // The gradient of a leaf from outside, null where there is none.
  struct Gradient {
    Ref<Node> leaf;
    Var entry, now;
  };

  // x as the recorded call sees it. Made within it and never assigned, it is x: a constant.
  Var read(const Var& x);
  void assign(const Var& to, const Var& value);
  bool is_outside(const Value& x) const { return x.array.has_data() && x.trace != trace_.id() && !x.weak; }
  Var gradient(const Ref<Node>& leaf);
  void set_gradient(const Ref<Node>& leaf, Var g);

  // x from outside, which did or did not before, requires a gradient from now on or does not any more.
  void flag(const Var& x, bool before);

  // x, made within, becomes a leaf that gathers a gradient of its own; what it was stands for it.
  void begin_leaf(const Var& x);
  void end_leaves();  // forgets the gradients of such leaves that nobody holds any more

  Trace& trace() { return trace_; }
  const std::vector<Variable>& variables() const { return variables_; }
  const std::vector<Gradient>& gradients() const { return gradients_; }
  // What was assigned: the tensor since then (of a leaf: it gathers the gradient), and the value it holds.
  const std::vector<std::pair<Var, Var>>& renamed() const { return renamed_; }
  // The tensors from outside whose flags were set, and what they were at the start.
  const std::vector<std::pair<Var, bool>>& flagged() const { return flagged_; }
  // Whether a backward pass has reached an argument, in which no replay leaves a gradient.
  bool strays = false;
  // Whether branches and loops are to keep the bits that their functions give when Python calls them.
  bool exact = false;

 private:
  Gradient& slot(const Ref<Node>& leaf);

  Trace trace_;
  std::vector<Variable> variables_;
  std::vector<Gradient> gradients_;
  std::vector<std::pair<Var, Var>> renamed_;
  std::vector<std::pair<Var, bool>> flagged_;
  std::vector<Var> inner_leaves_;
  std::unordered_map<const Value*, std::size_t> places_;
  std::unordered_map<const Node*, std::size_t> slots_;
  uint32_t clock_ = 0;
  Recording* before_;
};

// A traced Python float that found no company is float32; until then it has all its digits.
DType settled_dtype(const Var& x);
Var settled(const Var& x);

}  // namespace wengert
