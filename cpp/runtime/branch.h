// A choice between two programs, and a loop until a program says no, as operations. Names no op.
#pragma once
#include "program/program.h"

namespace wengert {

// Runs `yes` or `no`, programs of the same inputs and output types, as `choice` (bool, 0-d) says.
Vars branch(Program yes, Program no, const Var& choice, std::span<const Var> inputs);

// Runs `body` on the state while `test` (of the same inputs, to a bool) holds; returns the last state.
// The first inputs of both are `constants` values that stay.
Vars repeat_while(Program test, Program body, std::size_t constants, std::span<const Var> inputs);

}  // namespace wengert
