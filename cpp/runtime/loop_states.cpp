#include "runtime/loop_states.h"

#include <algorithm>
#include <unordered_map>

#include "kernels/copy.h"
#include "runtime/revolve.h"

namespace wengert {
namespace {

struct Numbers {
  std::mutex guard;
  int64_t next = 0;
  std::unordered_map<int64_t, std::weak_ptr<DiskStates>> states;
};

Numbers& numbers() {
  static Numbers all;
  return all;
}

}  // namespace

Array row_of(const Array& x, int64_t row) {
  Shape shape = x.shape();
  Ints strides = x.strides();
  const int64_t offset = x.offset() + row * strides[0];
  shape.erase(0);
  strides.erase(0);
  return x.view(std::move(shape), std::move(strides), offset);
}

DiskStates::DiskStates(const Loop& loop)
    : file(loop.checkpoint.directory, [&] {
        std::vector<Type> types;
        for (std::size_t k = 0; k < loop.forward.carry; ++k) types.push_back(loop.type_of(loop.forward.program, k));
        return types;
      }()) {}

int64_t DiskStates::enter(const std::shared_ptr<DiskStates>& states) {
  const std::lock_guard lock(numbers().guard);
  numbers().states.erase(states->number_);  // a record that still has it tells of states that are no more
  states->number_ = numbers().next++;
  numbers().states[states->number_] = states;
  return states->number_;
}

DiskStates::~DiskStates() {
  const std::lock_guard lock(numbers().guard);
  numbers().states.erase(number_);
}

std::shared_ptr<DiskStates> DiskStates::find(int64_t number) {
  const std::lock_guard lock(numbers().guard);
  const auto found = numbers().states.find(number);
  return found == numbers().states.end() ? nullptr : found->second.lock();
}

void LoopStates::begin(std::vector<Array> stacks, int64_t slots, std::shared_ptr<DiskStates> disk) {
  stacks_ = std::move(stacks);
  disk_ = std::move(disk);
  entries_.clear();
  empty_.clear();
  empty_on_disk_.clear();
  end_on_disk_ = 0;
  levels_.clear();
  raised_ = 0;
  for (int64_t slot = slots; slot-- > 0;) empty_.push_back(slot);
}

void LoopStates::end() {
  stacks_.clear();
  disk_.reset();
}

void LoopStates::read(const Record& record) {
  empty_.clear();
  for (std::size_t slot = 0; slot < record.steps().size(); ++slot) {
    const int64_t step = record.steps()[slot];
    if (step == Record::nothing) empty_.push_back(int64_t(slot));
    else entries_.push_back({step, false, int64_t(slot)});
  }
  if (disk_) {
    for (const auto& [step, slot] : disk_->stored) {
      entries_.push_back({step, true, slot});
      end_on_disk_ = std::max(end_on_disk_, slot + 1);
    }
    disk_->stored.clear();
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.step != b.step ? a.step < b.step : a.on_disk && !b.on_disk;
  });
}

void LoopStates::write(const Record& record) const {
  if (disk_) disk_->stored.clear();
  for (const Entry& entry : entries_) {
    if (entry.on_disk) disk_->stored.emplace_back(entry.step, entry.slot);
    else record.steps()[std::size_t(entry.slot)] = entry.step;
  }
}

void LoopStates::drop_last() {
  const Entry& entry = entries_.back();
  (entry.on_disk ? empty_on_disk_ : empty_).push_back(entry.slot);
  entries_.pop_back();
}

LoopStates::Move LoopStates::next(int64_t at, int64_t end) const {
  const int64_t length = end - at;
  auto memory_or_on = [&](int64_t steps) -> Move {
    if (empty_.empty()) return {length - 1, nowhere};
    return {steps, length - steps < 2 ? nowhere : to_memory};
  };
  if (disk_ && (entries_.empty() || entries_.back().on_disk)) {
    const TwoLevelPlan& plan = *disk_->plan;
    const int64_t used = end_on_disk_ - int64_t(empty_on_disk_.size()), room = plan.disk() < 0 ? 1 : plan.disk() - used;
    if (const int64_t steps = plan.advance(length, room, !entries_.empty())) {
      if (length - steps < 2) return {steps, nowhere};
      if (plan.writes(length - steps, room)) return {steps, to_disk};
      return memory_or_on(steps);
    }
    if (!entries_.empty() && !empty_.empty()) return {0, to_memory};
  }
  return memory_or_on(empty_.empty() ? 0 : next_stored(length, int64_t(empty_.size()) + 1));
}

void LoopStates::store(int64_t step, Place place, std::span<const Array> state) {
  std::vector<int64_t>& empty = place == to_disk ? empty_on_disk_ : empty_;
  if (place == to_disk && empty.empty()) empty.push_back(end_on_disk_++);
  const int64_t slot = empty.back();
  if (place == to_disk) {
    disk_->file.store(slot, state);
  } else {
    for (std::size_t k = 0; k < state.size(); ++k) kernels::copy(state[k], row_of(stacks_[k], slot));
  }
  empty.pop_back();
  entries_.push_back({step, place == to_disk, slot});
}

// A state may go once a later one has a higher level; where none may, the last is replaced and raised.
void LoopStates::arrive(int64_t step, std::span<const Array> state) {
  if (entries_.empty() && empty_.empty()) return;
  int64_t level = 0;
  if (empty_.empty()) {
    if (raised_ > 0 && levels_[raised_ - 1] < levels_[raised_]) {
      --raised_;
      empty_.push_back(entries_[raised_].slot);
      entries_.erase(entries_.begin() + std::ptrdiff_t(raised_));
      levels_.erase(levels_.begin() + std::ptrdiff_t(raised_));
    } else {
      level = levels_.back() + 1;
      levels_.pop_back();
      drop_last();
      raised_ = entries_.size();
    }
  }
  store(step, to_memory, state);
  levels_.push_back(level);
}

void LoopStates::load(std::vector<Array>& state, std::span<const Array> room) {
  const Entry& entry = entries_.back();
  if (entry.on_disk) disk_->file.load(entry.slot, room);
  for (std::size_t k = 0; k < state.size(); ++k) state[k] = entry.on_disk ? room[k] : row_of(stacks_[k], entry.slot);
  // The next one from disk comes while this one is worked from.
  for (std::size_t i = entries_.size() - 1; i-- > 0;)
    if (entries_[i].on_disk) return disk_->file.fetch(entries_[i].slot);
}

}  // namespace wengert
