// How a program will run: which steps run together, where each value lives. Names no op.
#pragma once
#include "runtime/executor.h"

namespace wengert {

// A step of the program, several elementwise ones and reductions of what they make (`grouped`), or several that
// threads share.
struct PlannedUnit {
  std::vector<std::size_t> steps;
  bool grouped = false;
};

// Steps in an order that respects what they read. Joined are elementwise ones of equal shape where no other unit
// has to run between them, reductions of what these make where the order of their sums is kept, and products of
// one matrix that follow each other where each by itself is for one thread. Views have no unit.
std::vector<PlannedUnit> plan_units(const Program& program, const std::vector<Array>& arrays, const Homes& homes);

}  // namespace wengert
