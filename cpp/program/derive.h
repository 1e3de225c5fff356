// Programs made from programs: carried out again through the one door, differentiated in either mode,
// mapped. What loops and branches need of their bodies. Names no op.
#pragma once
#include "program/program.h"

namespace wengert {

// The program's operations on these inputs, each through the door; the outputs.
Vars replay(const Program& program, std::span<const Var> inputs);

// A program and its reverse sweep. `forward` computes the outputs and then what crosses over;
// `backward` takes the cotangents of the `arrived` inputs, to which it adds, those of the float
// outputs (in order) and then what crosses, and gives the cotangents of the `wanted` inputs.
struct Pulled {
  Program forward, backward;
  std::vector<ValueId> crossing;  // in the numbers of both; some are inputs of `forward`
  std::vector<int> found;         // for each input which output of `backward`, or -1
};
Pulled pull_program(const Program& program, const std::vector<bool>& wanted, const std::vector<bool>& arrived = {});

// The program on inputs and the tangents of the `active` ones (after all inputs, in order): outputs,
// then the tangents of the float outputs.
Program push_program(const Program& program, const std::vector<bool>& active);

// The program with a mapped axis in front of the `batched` inputs and of all outputs.
Program batch_program(const Program& program, const std::vector<bool>& batched, int64_t size);

}  // namespace wengert
