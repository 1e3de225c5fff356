// The order of a small program's steps, for memory. Names no op.
#pragma once
#include "runtime/executor.h"

namespace wengert {

// Moves steps to an earlier place, or the one with the most bytes alive to a later one, a few places at a time,
// where the arena becomes smaller by it and no more units run: a value ends earlier, or comes in the place of one
// that has ended. A reduction may leave its group for it, where that saves enough. Each order is planned whole, which
// larger programs cannot afford. Returns the number of moves.
int64_t reorder(Program& program, const std::vector<Update>& updates);

}  // namespace wengert
