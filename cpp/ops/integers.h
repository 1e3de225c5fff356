// Arithmetic of Python integers among themselves. Python's have no bounds: where int64 ends, an error says so.
#pragma once
#include "ops/op.h"

namespace wengert {

// Whether the row of this name makes of Python integers what int64 may not hold, or what has no value.
bool may_leave_int64(const std::string& name);
// What that row makes of int64 numbers, as Python has it; of one argument, b is a.
Var of_integers(const std::string& name, const Var& a, const Var& b);

Op of_integers_row();

}  // namespace wengert
