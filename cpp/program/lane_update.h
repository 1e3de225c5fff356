// Updates of parameters that are single numbers, carried out on vectors of them.
#pragma once
#include "program/lanes.h"

namespace wengert {

// Emits the step, and says so, where it updates several numbers: these together, other parameters as they
// were. Returns how many updates others took over.
std::optional<int64_t> emit_updates(const Program& program, Lanes& lanes, const Step& step);

}  // namespace wengert
