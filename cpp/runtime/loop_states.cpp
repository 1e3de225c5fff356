#include "runtime/loop_states.h"

#include <algorithm>
#include <unordered_map>

#include "kernels/copy.h"
#include "runtime/revolve.h"

namespace wengert {
namespace {

// Which pool has what a record tells of; guards all pools.
struct Numbers {
  std::mutex guard;
  int64_t next = 0;
  std::unordered_map<int64_t, std::weak_ptr<AsidePool>> pools;
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

AsideStates::AsideStates(const Loop& loop) {
  for (std::size_t k = 0; k < loop.forward.carry; ++k) types.push_back(loop.type_of(loop.forward.program, k));
}

Array AsideStates::place(std::size_t tensor, int64_t slot, int64_t slots) {
  int64_t first = 0, count = 4;
  for (std::size_t s = 0;; ++s) {
    if (s == stacks.size()) {
      stacks.emplace_back();
      for (const Type& type : types)
        stacks[s].push_back(Array::empty(type.dtype, stacked(type, std::min(count, slots - first)).shape));
    }
    if (slot < first + count) return row_of(stacks[s][tensor], slot - first);
    first += count;
    count = first;
  }
}

std::shared_ptr<AsideStates> AsidePool::enter(const Record& record,
                                              const std::function<std::shared_ptr<AsideStates>()>& make) {
  std::vector<std::shared_ptr<AsideStates>> over;  // ends when nothing is locked
  std::shared_ptr<AsideStates> own;
  {
    const std::lock_guard lock(numbers().guard);
    for (std::size_t i = 0; i < used_.size();) {
      if (used_[i]->record_ == record.place() || (i == 0 && used_.size() >= most_used_)) {
        numbers().pools.erase(used_[i]->number_);
        over.push_back(std::move(used_[i]));
        used_.erase(used_.begin() + std::ptrdiff_t(i));
      } else {
        ++i;
      }
    }
    if (!idle_.empty()) {
      own = std::move(idle_.back());
      idle_.pop_back();
    } else if (!over.empty()) {
      own = std::move(over.back());
      over.pop_back();
    }
  }
  if (own && own->file && own->file->failed()) own.reset();
  if (!own) own = make();
  own->stored.clear();
  own->record_ = record.place();
  own->pool_ = weak_from_this();
  const std::lock_guard lock(numbers().guard);
  own->number_ = numbers().next++;
  numbers().pools[own->number_] = weak_from_this();
  used_.push_back(own);
  record.aside() = own->number_;
  return own;
}

AsidePool::~AsidePool() {
  const std::lock_guard lock(numbers().guard);
  for (const auto& states : used_) numbers().pools.erase(states->number_);
}

std::shared_ptr<AsideStates> AsidePool::take(const Record& record) {
  std::shared_ptr<AsidePool> pool;  // may end here, when nothing is locked
  const std::lock_guard lock(numbers().guard);
  const auto found = numbers().pools.find(record.aside());
  if (found == numbers().pools.end()) return nullptr;
  pool = found->second.lock();
  numbers().pools.erase(found);
  if (!pool) return nullptr;
  const auto own = std::find_if(pool->used_.begin(), pool->used_.end(),
                                [&](const auto& states) { return states->number_ == record.aside(); });
  if (own == pool->used_.end()) return nullptr;
  std::shared_ptr<AsideStates> out = std::move(*own);
  pool->used_.erase(own);
  return out;
}

void AsidePool::give_back(std::shared_ptr<AsideStates> states) {
  if (!states) return;
  states->stored.clear();
  if (states->file && states->file->failed()) return;
  const std::shared_ptr<AsidePool> pool = states->pool_.lock();
  const std::lock_guard lock(numbers().guard);
  if (pool && pool->idle_.size() < most_idle) pool->idle_.push_back(std::move(states));
}

void LoopStates::begin(std::vector<Array> stacks, int64_t slots, std::shared_ptr<AsideStates> aside) {
  stacks_ = std::move(stacks);
  slots_ = slots;
  aside_ = std::move(aside);
  entries_.clear();
  empty_.clear();
  empty_on_disk_.clear();
  end_ = end_on_disk_ = 0;
  levels_.clear();
  raised_ = 0;
}

Array LoopStates::place(std::size_t tensor, int64_t slot) const {
  if (!aside_ || aside_->file) return row_of(stacks_[tensor], slot);
  return aside_->place(tensor, slot, slots_);
}

void LoopStates::end() {
  stacks_.clear();
  aside_.reset();
}

void LoopStates::read(const Record& record) {
  end_ = int64_t(record.steps().size());
  for (std::size_t slot = 0; slot < record.steps().size(); ++slot) {
    const int64_t step = record.steps()[slot];
    if (step == Record::nothing) empty_.push_back(int64_t(slot));
    else entries_.push_back({step, false, int64_t(slot)});
  }
  if (aside_) {
    int64_t& end = on_disk() ? end_on_disk_ : end_;
    std::vector<bool> used;
    for (const auto& [step, slot] : aside_->stored) {
      entries_.push_back({step, on_disk(), slot});
      end = std::max(end, slot + 1);
      used.resize(std::size_t(end));
      used[std::size_t(slot)] = true;
    }
    for (std::size_t slot = used.size(); slot-- > 0;)
      if (!used[slot]) (on_disk() ? empty_on_disk_ : empty_).push_back(int64_t(slot));
    aside_->stored.clear();
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.step != b.step ? a.step < b.step : a.on_disk && !b.on_disk;
  });
}

void LoopStates::write(const Record& record) const {
  if (aside_) aside_->stored.clear();
  for (const Entry& entry : entries_) {
    if (entry.on_disk || (aside_ && !on_disk())) aside_->stored.emplace_back(entry.step, entry.slot);
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
    if (empty_slots() == 0) return {length - 1, nowhere};
    return {steps, length - steps < 2 ? nowhere : to_memory};
  };
  if (on_disk() && (entries_.empty() || entries_.back().on_disk)) {
    const TwoLevelPlan& plan = *aside_->plan;
    const int64_t used = end_on_disk_ - int64_t(empty_on_disk_.size()), room = plan.disk() < 0 ? 1 : plan.disk() - used;
    if (const int64_t steps = plan.advance(length, room, !entries_.empty())) {
      if (length - steps < 2) return {steps, nowhere};
      if (plan.writes(length - steps, room)) return {steps, to_disk};
      return memory_or_on(steps);
    }
    if (!entries_.empty() && empty_slots() > 0) return {0, to_memory};
  }
  return memory_or_on(empty_slots() == 0 ? 0 : next_stored(length, empty_slots() + 1));
}

void LoopStates::store(int64_t step, Place where, std::span<const Array> state) {
  std::vector<int64_t>& empty = where == to_disk ? empty_on_disk_ : empty_;
  if (empty.empty()) empty.push_back((where == to_disk ? end_on_disk_ : end_)++);
  const int64_t slot = empty.back();
  if (where == to_disk) {
    aside_->file->store(slot, state);
  } else {
    for (std::size_t k = 0; k < state.size(); ++k) kernels::copy(state[k], place(k, slot));
  }
  empty.pop_back();
  entries_.push_back({step, where == to_disk, slot});
}

// A state may go once a later one has a higher level; where none may, the last is replaced and raised.
void LoopStates::arrive(int64_t step, std::span<const Array> state) {
  if (slots_ == 0) return;
  int64_t level = 0;
  if (empty_slots() == 0) {
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
  if (entry.on_disk) aside_->file->load(entry.slot, room);
  for (std::size_t k = 0; k < state.size(); ++k) state[k] = entry.on_disk ? room[k] : place(k, entry.slot);
  // The next one from disk comes while this one is worked from.
  for (std::size_t i = entries_.size() - 1; i-- > 0;)
    if (entries_[i].on_disk) return aside_->file->fetch(entries_[i].slot);
}

}  // namespace wengert
