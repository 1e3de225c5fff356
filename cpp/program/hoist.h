// The order of a program's steps, for memory; `arrays` is its layout, which no order changes. Names no op.
#pragma once
#include "program/program.h"

namespace wengert {

// Runs what no group takes, products above all, right before the first step that reads its result, where all that it
// reads lives that long anyway. Returns how many steps it moved.
int64_t sink_steps(Program& program, const std::vector<Array>& arrays);

// An input, and the value that takes its memory over in the end.
struct Renewal {
  ValueId input, value;
};

// Runs the steps that renew inputs and end more bytes than they make, the updates of optimisers, as soon
// as what they read is there and what reads the old values is done: a gradient then lives from its
// adjoint to its update, instead of until the sweep has all of them. Returns how many steps it moved.
int64_t hoist_renewals(Program& program, const std::vector<Array>& arrays, std::span<const Renewal> renewals);

}  // namespace wengert
