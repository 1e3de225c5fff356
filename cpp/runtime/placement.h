// Where in one arena values lie that live at different times.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wengert {

struct Interval {
  int64_t bytes;
  std::size_t first, last;  // units, inclusive
  int64_t offset = 0;
};

// The largest sum of bytes alive at once: no arena can be smaller.
int64_t most_live(const std::vector<Interval>& intervals);

// Gives each interval its place so that those alive together do not overlap; returns the arena's bytes. The smallest
// arena is not known to be found in reasonable time: the longest lives first, or the largest, then a walk over orders
// of a bounded length as long as the arena is larger than `most_live` by more than a 16th.
int64_t place_intervals(std::vector<Interval>& intervals);

}  // namespace wengert
