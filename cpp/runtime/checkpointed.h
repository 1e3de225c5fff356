// Scans that keep some states for their reverse sweep and run the steps between them again.
#pragma once
#include "runtime/scan_op.h"

namespace wengert {

// What the two operations share: one runs the loop and keeps, the other sweeps it.
struct Loop {
  ScanBody forward;  // a step; outputs: the next carry, what is stacked, what the step's reverse reads
  ScanBody reverse;  // the reverse of a step that was kept, as ReverseBody says
  Program both;      // a step and its reverse
  std::size_t shown = 0;  // outputs of `forward` before what is kept
  std::vector<Crossing> crossing;
  std::vector<std::size_t> carries, sums, rows;  // inputs whose cotangents `reverse` gives
  std::vector<bool> wanted;                      // whether they would be given, if there were any
  std::vector<Ints> missing;  // mapped axes that cotangents have (steps not counted) and these inputs lack
  int64_t length = 0;     // unknown where `test` tells when to stop
  std::optional<Program> test;
  bool backwards = false;
  Checkpoint checkpoint;
  int64_t slots = 0;   // states that are stored in memory
  int64_t copies = 0;  // bytes of inputs that are not contiguous
  // Operations that run this loop mapped, with states aside that outlive their call.
  mutable std::vector<std::shared_ptr<const Op>> mapped = {};

  std::size_t inputs() const { return forward.constants + forward.carry + forward.rows; }
  // Of stored states, one a tensor; where nobody knows how many there will be, they lie aside.
  std::size_t stacks() const { return test ? 0 : forward.carry; }
  // Of the last step, which is kept whole where it is known to be the last.
  std::size_t kept() const { return test ? 0 : forward.program.outputs.size() - shown; }
  bool is_carry(std::size_t input) const { return input >= forward.constants && input < forward.constants + forward.carry; }
  bool is_row(std::size_t input) const { return input >= forward.constants + forward.carry; }
  std::size_t row_seeds() const;
  Type type_of(const Program& program, std::size_t output) const {
    return program.types[std::size_t(program.outputs[output])];
  }
};

// Sets `slots` from the checkpoint, and the states on disk where it gives bytes.
void settle_slots(Loop& loop);

// The shown outputs of a scan that is to be swept.
Vars checkpointed_scan(const Scan& op, std::span<const Var> inputs);

// The last state of a loop that goes on while `test` holds, to be swept.
Vars checkpointed_while(Program test, Program body, std::size_t constants, std::span<const Var> inputs,
                        const Checkpoint& checkpoint);

// The cotangents of the loop's inputs, from those of its shown outputs: the schedule is carried out
// when the operation runs. `given`: the inputs, what the loop kept, the cotangents of float outputs.
Vars checkpointed_reverse(std::shared_ptr<const Loop> loop, std::span<const Var> given);

}  // namespace wengert
