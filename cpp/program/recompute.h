// Carrying a program out again, as far as a reverse sweep over it needs. Names no op.
#pragma once
#include <unordered_map>

#include "program/program.h"

namespace wengert {

// What has to happen at each step. An operation is noted where cotangents pass it and no adjoint reads
// what it makes: its node alone is recorded.
struct Recomputation {
  enum Mode : uint8_t { skip, note, run };
  std::vector<Mode> modes;    // of each step
  std::vector<bool> needed;   // of each value: whether it is read
};
struct Wanted {
  std::vector<bool> tracked;  // inputs that a reverse sweep leads to
  std::vector<bool> seeded;   // outputs that have a cotangent
  bool values = false;        // whether the outputs themselves are asked for
};
Recomputation plan_again(const Program& program, const Wanted& wanted, const std::vector<bool>& given);

// Nodes of the first time, by their first output, whose hooks and wishes for gradients hold again.
using Attended = std::unordered_map<ValueId, Ref<Node>>;

// Carries the program out through the one door, in a region of its own if `apart`, and returns the
// outputs; values end with their last reader. `given`: values of the program that are known.
Vars run_again(const Program& program, const Recomputation& plan, std::span<const Var> inputs,
               const std::unordered_map<ValueId, Var>& given, const Attended& attended, bool apart);

}  // namespace wengert
