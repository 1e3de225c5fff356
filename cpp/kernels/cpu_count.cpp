// Reads the affinity mask and the cgroup files. Knows nothing of threads.
#include "kernels/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace wengert {

#if defined(__linux__)
namespace {

int affinity_cpus() {
  // The kernel refuses a mask shorter than its own: try longer ones.
  for (int bits = 1024; bits <= 1 << 20; bits *= 4) {
    cpu_set_t* mask = CPU_ALLOC(bits);
    if (!mask) break;
    const size_t bytes = CPU_ALLOC_SIZE(bits);
    const int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

// CPUs by the quota of one cgroup directory; infinity where none is set.
double quota(const std::string& directory) {
  double limit = -1, period = -1;
  if (std::ifstream both(directory + "/cpu.max"); both) {
    both >> limit >> period;  // "max" fails to parse and leaves no quota
  } else {
    std::ifstream(directory + "/cpu.cfs_quota_us") >> limit;
    std::ifstream(directory + "/cpu.cfs_period_us") >> period;
  }
  return limit > 0 && period > 0 ? limit / period : INFINITY;
}

double smallest_quota(const std::string& root, std::string group) {
  double least = quota(root);
  for (; group.size() > 1; group.erase(group.rfind('/'))) {
    least = std::min(least, quota(root + group));
  }
  return least;
}

double cgroup_cpus() {
  double least = INFINITY;
  std::ifstream groups("/proc/self/cgroup");
  // Lines are "number:controllers:/path"; version 2 has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, smallest_quota("/sys/fs/cgroup", group));
      continue;
    }
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name == "cpu") least = std::min(least, smallest_quota("/sys/fs/cgroup/cpu", group));
    }
  }
  return least;
}

}  // namespace
#endif

int usable_cpus() {
#if defined(__linux__)
  const double cpus = std::min<double>(affinity_cpus(), std::ceil(cgroup_cpus()));
#else
  const double cpus = std::thread::hardware_concurrency();
#endif
  return std::max(1, static_cast<int>(cpus));
}

}  // namespace wengert
