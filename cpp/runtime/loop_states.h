// Which states of a loop are stored, and where the next one goes.
#pragma once
#include <memory>
#include <mutex>
#include <optional>

#include "runtime/checkpointed.h"
#include "runtime/spill.h"
#include "runtime/two_level.h"

namespace wengert {

// The part of a loop's states that is on disk, under a number that the record carries. A sweep that
// comes when it is gone begins from the initial state.
struct DiskStates {
  explicit DiskStates(const Loop& loop);
  ~DiskStates();
  DiskStates(const DiskStates&) = delete;
  Spill file;
  std::optional<TwoLevelPlan> plan;
  std::vector<std::pair<int64_t, int64_t>> stored;  // step and slot

  static int64_t enter(const std::shared_ptr<DiskStates>& states);  // gives it a number
  static std::shared_ptr<DiskStates> find(int64_t number);

 private:
  int64_t number_ = -1;
};

// What a loop has stored, in memory that goes with it: whether a sweep is at work on it, how many steps
// there were, the number of what is on disk, and the step of the state in each slot.
class Record {
 public:
  static constexpr std::size_t header = 3;
  static constexpr int64_t nothing = -1;
  explicit Record(const Array& memory) : data_(memory.data<int64_t>()), slots_(std::size_t(memory.size()) - header) {}
  int64_t& length() const { return data_[1]; }
  int64_t& disk() const { return data_[2]; }
  std::span<int64_t> steps() const { return {data_ + header, slots_}; }
  void clear() const {
    data_[0] = 0;
    data_[2] = nothing;
    std::fill_n(data_ + header, slots_, nothing);
  }
  // Sweeps on several threads may follow one loop: the first gets the states, the others begin without.
  bool take() const {
    const std::lock_guard lock(guard());
    return !std::exchange(data_[0], 1);
  }
  void give_back() const {
    const std::lock_guard lock(guard());
    clear();
  }

 private:
  static std::mutex& guard() {
    static std::mutex mutex;
    return mutex;
  }
  int64_t* data_;
  std::size_t slots_;
};

class LoopStates {
 public:
  struct Entry {
    int64_t step;
    bool on_disk;
    int64_t slot;
  };
  enum Place { nowhere, to_memory, to_disk };
  struct Move {
    int64_t steps;
    Place store;
  };

  // `stacks`: a stack of slots for each tensor of the state.
  void begin(std::vector<Array> stacks, int64_t slots, std::shared_ptr<DiskStates> disk);
  void end();  // lets go of the memory
  void read(const Record& record);
  void write(const Record& record) const;

  bool empty() const { return entries_.empty(); }
  const Entry& last() const { return entries_.back(); }
  void drop_last();

  // How to go on from `at`, the last stored state or the initial one, through a chain that ends at `end`
  // and has more than one step.
  Move next(int64_t at, int64_t end) const;
  void store(int64_t step, Place place, std::span<const Array> state);
  // The same where the length is not known: the state before each step arrives in turn (Wang, Moin and
  // Iaccarino, SIAM Journal on Scientific Computing 31, 2009), and those that are kept let a sweep from
  // any step repeat none more often than it must.
  void arrive(int64_t step, std::span<const Array> state);
  // The last stored state: where it lies in memory, or put into `room`.
  void load(std::vector<Array>& state, std::span<const Array> room);

 private:
  std::vector<Array> stacks_;
  std::shared_ptr<DiskStates> disk_;
  std::vector<Entry> entries_;  // ascending by step
  std::vector<int64_t> empty_, empty_on_disk_;
  int64_t end_on_disk_ = 0;  // slots from here were never used
  std::vector<int64_t> levels_;  // of entries that arrived
  std::size_t raised_ = 0;       // the entry whose level was raised last
};

Array row_of(const Array& x, int64_t row);

}  // namespace wengert
