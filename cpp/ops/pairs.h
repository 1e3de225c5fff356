// Two elementwise operations as one tile, whose first result never leaves the registers.
#pragma once
#include "ops/op.h"

namespace wengert {

// The tile of second(first(a, b), c), with `place` 1 of second(c, first(a, b)), for the operands a, b, c of
// `dtype`: the bits are those of the two tiles. Null where there is none.
kernels::Tile pair_tile(const Op& first, const Op& second, int place, DType dtype);

}  // namespace wengert
