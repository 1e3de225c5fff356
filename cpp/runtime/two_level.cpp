#include "runtime/two_level.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/revolve.h"

namespace wengert {

TwoLevelPlan::TwoLevelPlan(int64_t length, int64_t memory, int64_t disk, TransferCost cost)
    : length_(length), memory_(memory), disk_(disk < 0 ? -1 : std::min(disk, std::max<int64_t>(length - 2, 0))),
      transfer_(cost) {
  const double rows = double(disk_ < 0 ? 1 : disk_ + 1);
  const auto longest = int64_t(std::sqrt(exact_work / rows));
  if (disk_ >= 0 && length > longest) {
    period_ = (length + disk_) / (disk_ + 1);
    return;
  }
  table_ = std::min(length, longest);
  // With no place on disk, or none yet: from memory alone.
  for (int64_t empty = 0; empty <= std::max<int64_t>(disk_, 0); ++empty) rows_.push_back(best(empty, true));
  initial_ = best(disk_, false);
  if (length <= table_) return;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t steps = 1; steps <= table_; ++steps) {
    const double a_step = (transfer_.write + transfer_.read + double(steps) + rows_[0].cost[std::size_t(steps)]) / double(steps);
    if (a_step < least) least = a_step, period_ = steps;
  }
}

double TwoLevelPlan::in_memory(int64_t length, bool stored) const {
  if (length < 2) return 0;
  const int64_t states = memory_ + !stored;  // the first state of a chain from disk takes a place too
  return states < 1 ? std::numeric_limits<double>::infinity() : double(least_advances(length, states));
}

double TwoLevelPlan::unstored(int64_t length, int64_t empty) const {
  const double memory = in_memory(length, true);
  if (disk_ >= 0 && empty < 1) return memory;
  return std::min(memory, transfer_.write + row(disk_ < 0 ? 0 : empty - 1).cost[std::size_t(length)]);
}

// Of chains of all lengths at once: cost[n] = min(in memory, min_j j + unstored(n - j) + read + cost[j]).
TwoLevelPlan::Row TwoLevelPlan::best(int64_t empty, bool stored) const {
  const auto n = std::size_t(table_);
  Row out{std::vector<double>(n + 1, 0), std::vector<int32_t>(n + 1, 0)};
  std::vector<double> memory(n + 1), rest(n + 1, 0);  // rest: of what is left, its first state stored nowhere
  for (std::size_t i = 0; i <= n; ++i) memory[i] = in_memory(int64_t(i), stored);
  const bool grows = stored && disk_ < 0;  // the row is its own rest
  if (!grows)
    for (std::size_t i = 0; i <= n; ++i) rest[i] = unstored(int64_t(i), empty);
  const double read = stored ? transfer_.read : 0;
  for (std::size_t length = 1; length <= n; ++length) {
    double least = memory[length];
    std::size_t at = 0;
    const double *front = out.cost.data(), *back = rest.data() + length;
    for (std::size_t j = 1; j < length; ++j) {
      const double cost = double(j) + back[-std::ptrdiff_t(j)] + front[j] + read;
      if (cost < least) least = cost, at = j;
    }
    out.cost[length] = least;
    out.advance[length] = int32_t(at);
    if (grows) rest[length] = std::min(in_memory(int64_t(length), true), transfer_.write + least);
  }
  return out;
}

double TwoLevelPlan::cost(int64_t length, int64_t empty, bool stored) const {
  if (length <= table_) return (stored ? row(empty) : initial_).cost[std::size_t(length)];
  // Whole periods, and what is left at the end.
  double total = 0;
  bool from_disk = stored;
  while (length > table_) {
    const int64_t steps = advance(length, empty, from_disk);
    if (!steps) return total + in_memory(length, from_disk);
    total += double(steps) + transfer_.write + (from_disk ? transfer_.read : 0) +
             (table_ ? cost(steps, empty, from_disk) : in_memory(steps, from_disk));
    length -= steps;
    if (disk_ >= 0) --empty;
    from_disk = true;
  }
  return total + cost(length, empty, from_disk);
}

int64_t TwoLevelPlan::advance(int64_t length, int64_t empty, bool stored) const {
  if (length <= table_) return (stored ? row(empty) : initial_).advance[std::size_t(length)];
  if (disk_ >= 0 && empty < 1) return 0;
  return length > period_ ? period_ : 0;
}

bool TwoLevelPlan::writes(int64_t length, int64_t empty) const {
  if (disk_ >= 0 && empty < 1) return false;
  if (length > table_) return true;
  return transfer_.write + row(disk_ < 0 ? 0 : empty - 1).cost[std::size_t(length)] < in_memory(length, true);
}

}  // namespace wengert
