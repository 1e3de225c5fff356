// How a program will run: which steps run together, where each value lives. Names no op.
#pragma once
#include "runtime/executor.h"

namespace wengert {

// A step of the program, several elementwise ones (`grouped`), or several that threads share.
struct PlannedUnit {
  std::vector<std::size_t> steps;
  bool grouped = false;
};

// Steps in an order that respects what they read; elementwise ones of equal shape joined where no
// other unit has to run between them, products of one matrix that follow each other where each by itself
// is for one thread. Views have no unit.
std::vector<PlannedUnit> plan_units(const Program& program, const std::vector<Array>& arrays, const Homes& homes);

}  // namespace wengert
