// The watch over numbers: while it is on, the operation that first makes an infinity or a NaN fails.
// A hook around the kernels; off, it does not exist. Names no op.
#pragma once
#include "base/error.h"
#include "graph/node.h"

namespace wengert {

bool watching();      // on this thread
bool watch(bool on);  // for this thread; returns what was before

// Fails where an operation that has been carried out made the first number that is not finite.
void check_numbers(const Op& op, const Call& call);

// Called in a handler of `error`: throws it again, where it is the watch's telling also which
// operation's backward pass was running.
[[noreturn]] void rethrow_in_backward(const Error& error, const Node& node);

}  // namespace wengert
