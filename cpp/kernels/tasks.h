// Few long pieces of work on the pool of parallel.h.
#pragma once
#include "kernels/parallel.h"

namespace wengert::parallel {

// Calls body(i) for i in 0 ... n - 1, where each takes some 50 us or more: sleeping threads are woken at
// once. parallel_for first sees how long one chunk takes, which would be half of two tasks. A call inside
// a body runs on that thread; the first exception is rethrown here. Shorter tasks, for which `may_wake` is
// false, are only shared with threads that are awake.
void run_tasks(int64_t n, FunctionRef<void(int64_t i)> body, bool may_wake = true);

// Whether all tasks would run on this thread: there is no other, or it runs one already.
bool is_alone();

}  // namespace wengert::parallel
