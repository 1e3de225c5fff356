// Which states of a loop are stored, and where the next one goes.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "runtime/checkpointed.h"
#include "runtime/spill.h"
#include "runtime/two_level.h"

namespace wengert {

// What a loop has stored, in memory that goes with it: whether a sweep is at work on it, how many steps
// there were, the number of what lies aside, and the step of the state in each slot.
class Record {
 public:
  static constexpr std::size_t header = 3;
  static constexpr int64_t nothing = -1;
  explicit Record(const Array& memory) : data_(memory.data<int64_t>()), slots_(std::size_t(memory.size()) - header) {}
  const void* place() const { return data_; }
  int64_t& length() const { return data_[1]; }
  int64_t& aside() const { return data_[2]; }
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

// States that lie elsewhere than in the memory that goes with the record: in a file, or in memory that
// grows with their number. The record carries a number under which a sweep finds them; one that comes when
// they are gone begins from the initial state.
struct AsideStates {
  explicit AsideStates(const Loop& loop);
  std::vector<Type> types;  // of a state
  std::optional<Spill> file;
  std::optional<TwoLevelPlan> plan;
  std::vector<std::vector<Array>> stacks;  // the first of a few slots, each further one of as many as there were
  std::vector<std::pair<int64_t, int64_t>> stored;  // step and slot

  Array place(std::size_t tensor, int64_t slot, int64_t slots);

 private:
  friend class AsidePool;
  int64_t number_ = -1;
  const void* record_ = nullptr;
  std::weak_ptr<class AsidePool> pool_;
};

// Those of one loop: taken while a record lives, idle when its sweep has ended, or when another record lies
// where it lay. Of records that no sweep ever asks for, the last `most_used` keep theirs.
class AsidePool : public std::enable_shared_from_this<AsidePool> {
 public:
  static constexpr std::size_t most_idle = 2;

  explicit AsidePool(std::size_t most_used) : most_used_(most_used) {}
  ~AsidePool();
  AsidePool(const AsidePool&) = delete;
  // For a record that begins; made by make() if none is idle.
  std::shared_ptr<AsideStates> enter(const Record& record, const std::function<std::shared_ptr<AsideStates>()>& make);
  // For the sweep of a record: nobody else finds them from then on. Null: they are gone.
  static std::shared_ptr<AsideStates> take(const Record& record);
  static void give_back(std::shared_ptr<AsideStates> states);

 private:
  std::size_t most_used_;
  std::vector<std::shared_ptr<AsideStates>> used_, idle_;  // the oldest first
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

  // `stacks`: a stack of slots for each tensor of the state, unless the slots are aside.
  void begin(std::vector<Array> stacks, int64_t slots, std::shared_ptr<AsideStates> aside);
  void end();  // lets go of the memory
  void read(const Record& record);
  void write(const Record& record) const;

  bool empty() const { return entries_.empty(); }
  const Entry& last() const { return entries_.back(); }
  void drop_last();

  // How to go on from `at`, the last stored state or the initial one, through a chain that ends at `end`
  // and has more than one step.
  Move next(int64_t at, int64_t end) const;
  void store(int64_t step, Place where, std::span<const Array> state);
  // The same where the length is not known: the state before each step arrives in turn (Wang, Moin and
  // Iaccarino, SIAM Journal on Scientific Computing 31, 2009), and those that are kept let a sweep from
  // any step repeat none more often than it must.
  void arrive(int64_t step, std::span<const Array> state);
  // The last stored state: where it lies in memory, or put into `room`.
  void load(std::vector<Array>& state, std::span<const Array> room);

 private:
  bool on_disk() const { return aside_ && aside_->file; }
  int64_t empty_slots() const { return slots_ - end_ + int64_t(empty_.size()); }
  Array place(std::size_t tensor, int64_t slot) const;

  std::vector<Array> stacks_;
  int64_t slots_ = 0;
  std::shared_ptr<AsideStates> aside_;
  std::vector<Entry> entries_;  // ascending by step
  std::vector<int64_t> empty_, empty_on_disk_;
  int64_t end_ = 0, end_on_disk_ = 0;  // slots from here were never used
  std::vector<int64_t> levels_;  // of entries that arrived
  std::size_t raised_ = 0;       // the entry whose level was raised last
};

Array row_of(const Array& x, int64_t row);

}  // namespace wengert
