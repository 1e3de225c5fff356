// How many states fit into what the caller grants.
#include <algorithm>

#include "runtime/checkpointed_run.h"

namespace wengert {
namespace {

int64_t bytes_of(const Type& type) { return numel(type.shape) * itemsize(type.dtype); }

int64_t state_bytes(const Loop& loop) {
  int64_t bytes = 0;
  for (std::size_t k = 0; k < loop.forward.carry; ++k) bytes += bytes_of(loop.type_of(loop.forward.program, k));
  return bytes;
}

// What the loop and its reverse sweep take without a stored state: results and cotangents, what the last
// step keeps, the rooms they work in; and once more the results and the cotangents, for what is around.
int64_t least_bytes(const Loop& loop) {
  const Program &forward = loop.forward.program, &reverse = loop.reverse.program;
  int64_t results = 0, bytes = int64_t(Record::header) * 8 + loop.copies;
  for (std::size_t j = 0; j < loop.shown; ++j)
    results += bytes_of(loop.type_of(forward, j)) * (j < loop.forward.carry ? 1 : loop.length);
  for (std::size_t j = 0; j < reverse.outputs.size(); ++j)
    results += bytes_of(loop.type_of(reverse, j)) * (j < loop.reverse.carry ? 1 : loop.length);
  for (std::size_t j = loop.shown; j < forward.outputs.size(); ++j) bytes += bytes_of(loop.type_of(forward, j));
  if (loop.checkpoint.disk != 0) bytes += int64_t(Spill::rooms) * state_bytes(loop);
  return 2 * results + bytes + ForwardRun(loop).working_bytes() + ReverseRun(loop).working_bytes();
}

}  // namespace

void settle_slots(Loop& loop) {
  Checkpoint& given = loop.checkpoint;
  const int64_t state = state_bytes(loop);
  if (given.disk_bytes >= 0) given.disk = given.disk_bytes / std::max<int64_t>(state, 1);
  int64_t slots = given.slots;
  if (given.budget >= 0) {
    const int64_t least = least_bytes(loop);
    if (given.budget < least)
      fail(ErrorKind::argument, loop.test ? "while_loop" : "scan", ": a gradient through the loop takes at least ", least,
           " bytes, one state ", state, "; the budget is ", given.budget, ". Grant more");
    slots = (given.budget - least) / (state + 8);  // 8 for its entry in the record
  }
  // Neither the initial state nor that of the last step, which is kept whole, takes a slot.
  loop.slots = loop.test ? slots : std::clamp<int64_t>(slots, 0, std::max<int64_t>(loop.length - 2, 0));
}

}  // namespace wengert
