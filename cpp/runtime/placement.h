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

// The largest sum of bytes alive at once, than which no arena can be smaller, and the first unit that sees it.
struct Peak {
  int64_t bytes = 0;
  std::size_t unit = 0;
};
Peak peak_of(const std::vector<Interval>& intervals);

// Gives each interval its place so that those alive together do not overlap; returns the arena's bytes. The smallest
// arena is not known to be found in reasonable time: the longest lives first, or the largest, then a walk over orders
// of a bounded length as long as the arena is larger than the peak by more than a 16th. An arena of at most `enough`
// bytes ends the search: it is never smaller than that of a search to the end.
int64_t place_intervals(std::vector<Interval>& intervals, int64_t enough = 0);

}  // namespace wengert
