// A run that fails changes nothing: what is out of bounds had better be found before an input changes.
#pragma once
#include "program/hoist.h"

namespace wengert {

// Holds indices to their bounds before the first step that writes a new value of an input, where all later steps that
// may fail read such indices: inputs can then change in place. Returns how many arrays of indices it holds.
int64_t check_indices_early(Program& program, std::span<const Renewal> renewals);

}  // namespace wengert
