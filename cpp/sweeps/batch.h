// vmap: replays a trace through the batching rules. Names no op.
#pragma once
#include "graph/trace.h"

namespace wengert {

// The trace's `outputs` with `inputs` (traced placeholders) replaced by `values`; those flagged
// `batched` carry the mapped axis in front. Returns each output and whether it carries the axis.
std::vector<std::pair<Var, bool>> batch_sweep(const Trace& trace, std::span<const Var> inputs,
                                              std::span<const Var> values, const std::vector<bool>& batched,
                                              int64_t size, std::span<const Var> outputs);

}  // namespace wengert
