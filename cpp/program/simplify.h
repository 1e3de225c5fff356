// Rewrites that leave the results as they are, bit for bit. Names no op.
#pragma once
#include "program/program.h"

namespace wengert {

struct Simplified {
  int64_t identities = 0, repeated = 0, unused = 0;  // steps that went
};

// Puts the steps of bodies (Op::body) in the place of the steps that stand for them.
void open_bodies(Program& program);

// Opens bodies, then drops views that change nothing or lead back, double negations, steps whose value
// exists already and steps that nobody reads.
Simplified simplify(Program& program);

}  // namespace wengert
