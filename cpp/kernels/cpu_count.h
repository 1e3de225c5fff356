// How many CPUs this process may use. Knows nothing of threads.
#pragma once

namespace wengert {

// The CPUs in the affinity mask, capped by the quota of the cgroup (v1 or v2) and its parents,
// rounded up; at least 1.
int usable_cpus();

}  // namespace wengert
