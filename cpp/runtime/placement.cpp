#include "runtime/placement.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

namespace wengert {
namespace {

constexpr int64_t line = 64;                       // bytes of a cache line
constexpr std::size_t most_comparisons = 1 << 20;  // of intervals, in a walk over orders
constexpr int few_steps = 32;                      // of a walk, to better what is fair already

// Large values begin at a line. Small ones begin at a multiple of the largest power of two in their size, which
// costs no byte between values of one size and is never less than an element asks for.
int64_t alignment_of(int64_t bytes) {
  constexpr int64_t large = 16 * line;
  return bytes >= large ? line : std::clamp<int64_t>(bytes & -bytes, 1, line);
}

int64_t aligned(int64_t offset, int64_t to) { return (offset + to - 1) & -to; }

using Order = std::vector<std::size_t>;

// One after another to the lowest gap that is free for the whole of its life.
class FirstFit {
 public:
  explicit FirstFit(const std::vector<Interval>& intervals) : intervals_(intervals), offsets_(intervals.size()) {}

  int64_t place(const Order& order) {
    placed_.clear();
    int64_t total = 0;
    for (const std::size_t i : order) {
      const Interval& own = intervals_[i];
      const int64_t to = alignment_of(own.bytes);
      int64_t offset = 0;
      for (const Placed& other : placed_) {
        if (other.last < own.first || own.last < other.first) continue;
        if (other.begin - offset >= own.bytes) break;
        offset = std::max(offset, aligned(other.end, to));
      }
      comparisons_ += placed_.size();
      offsets_[i] = offset;
      const Placed made{offset, offset + own.bytes, own.first, own.last};
      placed_.insert(std::upper_bound(placed_.begin(), placed_.end(), made,
                                      [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                     made);
      total = std::max(total, made.end);
    }
    return total;
  }

  const std::vector<int64_t>& offsets() const { return offsets_; }
  std::size_t comparisons() const { return comparisons_; }

 private:
  struct Placed {
    int64_t begin, end;
    std::size_t first, last;
  };
  const std::vector<Interval>& intervals_;
  std::vector<int64_t> offsets_;
  std::vector<Placed> placed_;  // by where they begin
  std::size_t comparisons_ = 0;
};

// Descending by `key`, and as they come where it is equal.
template <class Key>
Order descending(std::size_t count, Key&& key) {
  Order order(count);
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) > key(b); });
  return order;
}

}  // namespace

Peak peak_of(const std::vector<Interval>& intervals) {
  std::map<std::size_t, int64_t> change;  // of the bytes alive, from a unit on
  for (const Interval& interval : intervals) {
    change[interval.first] += interval.bytes;
    if (interval.last != SIZE_MAX) change[interval.last + 1] -= interval.bytes;
  }
  Peak out;
  int64_t live = 0;
  for (const auto& [unit, bytes] : change)
    if (live += bytes; live > out.bytes) out = {live, unit};
  return out;
}

int64_t place_intervals(std::vector<Interval>& intervals) {
  const std::size_t count = intervals.size();
  const int64_t least = peak_of(intervals).bytes, good = least + least / 4096, fair = least + least / 16;
  FirstFit fit(intervals);
  int64_t total = INT64_MAX;
  const auto attempt = [&](const Order& order) {
    const int64_t reached = fit.place(order);
    if (reached < total) {
      total = reached;
      for (std::size_t i = 0; i < count; ++i) intervals[i].offset = fit.offsets()[i];
    }
    return reached;
  };
  const auto bytes = [&](std::size_t i) { return intervals[i].bytes; };
  const auto life = [&](std::size_t i) { return double(intervals[i].last) - double(intervals[i].first) + 1; };
  // The longest lives first leave the short ones one place after the other: it is in the cache.
  Order order = descending(count, life);
  int64_t height = attempt(order);
  if (total > good) height = attempt(order = descending(count, [&](std::size_t i) { return double(bytes(i)) * life(i); }));
  if (total > good) height = attempt(order = descending(count, bytes));
  // A walk over orders: what sticks out goes first, or any one goes elsewhere; a slightly higher arena is on the way.
  std::minstd_rand random;  // equal programs have equal plans
  std::vector<int64_t> offsets = fit.offsets();
  const std::size_t spent = fit.comparisons();
  for (int step = 0; total > (step < few_steps ? good : fair) && fit.comparisons() - spent < most_comparisons; ++step) {
    Order tried = order;
    if (step % 4 == 0) {
      std::stable_partition(tried.begin(), tried.end(), [&](std::size_t i) { return offsets[i] + bytes(i) > least; });
    } else {
      const auto from = tried.begin() + std::ptrdiff_t(random() % count), to = tried.begin() + std::ptrdiff_t(random() % count);
      if (from < to) std::rotate(from, from + 1, to + 1);
      else std::rotate(to, from, from + 1);
    }
    const int64_t reached = attempt(tried);
    if (reached > height + height / 16) continue;
    height = reached;
    offsets = fit.offsets();
    order = std::move(tried);
  }
  return count == 0 ? 0 : total;
}

}  // namespace wengert
