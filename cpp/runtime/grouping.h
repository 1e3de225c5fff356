// Which steps run as one group of tiles, and how they become one. Names no op.
#pragma once
#include <functional>

#include "kernels/group.h"
#include "program/program.h"

namespace wengert {

// A reduction that a group may carry out on what it makes; in a group, it is one of those.
inline bool is_end(const Step& step) { return step.op->fold && !step.own_op; }

// How a group has to make the value that the step reads in order to reduce it on the way; nothing where
// it cannot. The value must lie in memory as the group makes it.
std::optional<kernels::Stretches> stretches_of(const Step& step, const std::vector<Array>& arrays);

// Steps of a planned unit. `leaves`: whether the unit's result is read by others.
kernels::TileGroup make_group(const Program& program, const std::vector<Array>& arrays,
                              const std::vector<std::size_t>& steps, const std::function<bool(ValueId)>& leaves);

}  // namespace wengert
