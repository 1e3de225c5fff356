// A choice between two programs, and a loop until a program says no, as operations. Names no op.
#pragma once
#include "runtime/scan.h"

namespace wengert {

// Runs `yes` or `no`, programs of the same inputs and output types, as `choice` (bool, 0-d) says.
// `exact`, here and below: they are rewritten so that every bit stays.
Vars branch(Program yes, Program no, const Var& choice, std::span<const Var> inputs, bool exact);

// Runs `body` on the state while `test` (of the same inputs, to a bool) holds; returns the last state.
// The first inputs of both are `constants` values that stay. A reverse sweep takes a checkpoint.
Vars repeat_while(Program test, Program body, std::size_t constants, std::span<const Var> inputs,
                  bool exact, const Checkpoint& checkpoint = {});

// The loop of `size` examples, those `batched` in front: it goes on while any of them does, and those
// that are done keep their state. All of the state is batched.
struct BatchedWhile {
  Program test, body;
};
BatchedWhile batched_while(const Program& test, const Program& body, std::size_t constants,
                           const std::vector<bool>& batched, int64_t size);

// Tangents of a loop's last state, by a loop of both.
Vars while_tangent(const Program& test, const Program& body, std::size_t constants, bool exact,
                   const Checkpoint& checkpoint, const Rule& r);

}  // namespace wengert
