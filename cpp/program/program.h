// A program: a trace as a list of steps over numbered values, with nothing of the graph left in it.
// What is printed, counted, rewritten and replayed. Names no op.
#pragma once
#include "graph/trace.h"

namespace wengert {

using ValueId = int32_t;

struct Step {
  const Op* op = nullptr;
  Attrs attrs;
  SmallVector<ValueId, 3> ins;
  SmallVector<ValueId, 1> outs;
  uint32_t source = 0;   // where the user's code made it; see graph/source.h
  bool tracked = false;  // recorded for a reverse sweep; a replay records it again
  uint32_t region = 0;   // see graph/node.h, Modes, as for `constant`
  bool constant = false;
  bool alone = false;    // a reduction that joins no group
  std::shared_ptr<const Op> own_op = {};  // keeps an op alive that is no row of the table
};

// Runs as tiles, which may be those of a group.
inline bool is_elementwise(const Step& step) { return step.op->tiles && !step.own_op && step.outs.size() == 1; }

// The elements touched by a run during which other threads of Python had better go on.
inline constexpr int64_t worth_a_release = 1 << 15;

struct Program {
  std::vector<Type> types;  // of each value
  std::vector<Step> steps;  // in topological order
  std::vector<ValueId> inputs, outputs;
  std::vector<std::pair<ValueId, Var>> constants;  // values from outside the trace

  ValueId new_value(Type type);
  // What a step reads, or writes, as types.
  std::vector<Type> types_of(std::span<const ValueId> values) const;
  int64_t flops(const Step& step) const;
  int64_t flops() const;
  bool calls_out() const;             // a step computes in Python
  bool is_long(int64_t runs) const;  // so many take long enough for others to go on meanwhile
};

// The steps of a closed trace whose `inputs` are its placeholders, in the order they were recorded.
// Values that the trace did not make become constants. `renamed`: values that stand for another one.
Program program_of(const Trace& trace, std::span<const Var> inputs, std::span<const Var> outputs,
                   std::span<const std::pair<Var, Var>> renamed = {});
Program program_of(std::span<const Ref<Node>> nodes, std::span<const Var> inputs, std::span<const Var> outputs,
                   std::span<const std::pair<Var, Var>> renamed = {});

// The first `at` steps, and the rest: what the rest reads of the first is `crossing`. Both keep the
// numbers and constants of the whole; inputs and outputs are the caller's to set.
struct Halves {
  Program first, rest;
  std::vector<ValueId> crossing;
};
Halves split(const Program& program, std::size_t at, std::span<const ValueId> rest_inputs,
             std::span<const ValueId> rest_outputs);

// Where each value lives, without storage: an array of its strides over a buffer without bytes, which
// a view shares with the value it looks at.
std::vector<Array> lay_out(const Program& program);

// Indices, and what a step holds them to (see Op::Bounds).
struct Held {
  ValueId indices;
  Ints to;
};
std::vector<Held> held_by(const Program& program, const Step& step);

// Which steps may raise or be interrupted, those left out whose indices an earlier one has checked.
std::vector<bool> may_fail(const Program& program);
bool any_may_fail(const Program& program);

// How often each value is read, by steps and as an output.
std::vector<int32_t> count_readers(const Program& program);

// Whether the step has nothing to do: what it makes lies in the memory of what it reads, of which a joining step's
// parts have all been laid there or none.
bool is_view(const Step& step, const std::vector<Array>& arrays);

// The buffers of such a layout, numbered in the order in which they are made.
struct Homes {
  std::vector<int32_t> of;  // of each value; -1: none
  std::size_t count = 0;
};
Homes homes_of(const Program& program, const std::vector<Array>& arrays);

struct Traffic {
  int64_t bytes_peak = 0;   // most bytes alive at once: inputs, constants and what is still to be read
  int64_t bytes_moved = 0;  // read and written by steps that compute; views move nothing
};
Traffic traffic(const Program& program);

}  // namespace wengert
