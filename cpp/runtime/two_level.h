// Checkpointing in memory and on disk: the schedule of least cost, where a step costs 1 and the
// transfer of a state to or from the disk what is given. H-Revolve (Herrmann and Pallez, ACM Transactions
// on Mathematical Software 46, 2020) for a limited number of states on disk, Disk-Revolve (Aupy, Herrmann,
// Hovland and Robert, SIAM Journal on Scientific Computing 38, 2016) for any; by dynamic programming.
#pragma once
#include <cstdint>
#include <vector>

namespace wengert {

struct TransferCost {
  double write = 0, read = 0;
};

class TwoLevelPlan {
 public:
  // `memory` states besides the initial one, which stays at hand for nothing; `disk` < 0: no limit.
  // Exact while `length` squared times (disk + 1) is at most `exact_work` (`disk` counts 0 where there
  // is no limit); beyond, states go to disk at equal distances: without a limit at the distance of
  // least cost a step, found exactly.
  TwoLevelPlan(int64_t length, int64_t memory, int64_t disk, TransferCost cost);
  static constexpr double exact_work = 8e8;

  // Of the reverse of `length` steps, besides one evaluation of each with its reverse. `stored`: the
  // first state is on disk; or it is the initial one.
  double cost(int64_t length, int64_t empty, bool stored) const;
  double cost() const { return cost(length_, disk_, false); }
  int64_t disk() const { return disk_; }
  bool exact() const { return length_ <= table_; }

  // How far to advance through a chain from its first state, on disk or the initial one, before the next
  // state goes to disk, or 0: the chain is reversed from memory alone. `empty`: states that fit on disk.
  int64_t advance(int64_t length, int64_t empty, bool stored) const;
  // Whether the first state of what is left then is worth writing.
  bool writes(int64_t length, int64_t empty) const;

 private:
  struct Row {
    std::vector<double> cost;
    std::vector<int32_t> advance;
  };
  double in_memory(int64_t length, bool stored) const;
  double unstored(int64_t length, int64_t empty) const;
  Row best(int64_t empty, bool stored) const;
  const Row& row(int64_t empty) const { return rows_[disk_ < 0 ? 0 : std::size_t(empty)]; }

  int64_t length_, memory_, disk_;
  TransferCost transfer_;
  int64_t table_ = 0;   // longest chain in the tables
  int64_t period_ = 0;  // for longer ones
  std::vector<Row> rows_;  // first state on disk, by empty places
  Row initial_;
};

}  // namespace wengert
