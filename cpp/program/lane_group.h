// Equal items on single numbers, carried out as one operation on vectors.
#pragma once
#include "program/items.h"
#include "program/lanes.h"

namespace wengert {

// Items of one kind, op, region, dtype and number of terms that do not read each other.
void emit_group(const Program& program, Lanes& lanes, std::vector<const Item*> items);

}  // namespace wengert
