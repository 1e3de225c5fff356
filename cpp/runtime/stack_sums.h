// Sums over the steps of a scan taken out of its loop.
#pragma once
#include "program/program.h"

namespace wengert {

// A carry to which each step adds a product of two matrices it makes (the gradient of a weight) becomes
// one product of the stacked matrices after the loop, which adds in another order. Returns how many.
int64_t stack_sums(Program& program);

}  // namespace wengert
