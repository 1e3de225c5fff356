// Results that are made where they end: side by side. Names no op.
#pragma once
#include "program/program.h"

namespace wengert {

// The layout of the program, where results of a step that only a joining step reads, by views of all of them, lie in
// that step's result: it then has nothing to copy. They must come from one step whose kernel
// writes rows that lie apart.
std::vector<Array> lay_out_parts(const Program& program);

}  // namespace wengert
