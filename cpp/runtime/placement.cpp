#include "runtime/placement.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace wengert {
namespace {

constexpr int64_t line = 64;                       // bytes of a cache line
// Of intervals, in a walk over orders; the second as long as the arena is larger than the peak by more than a tenth.
constexpr std::size_t most_comparisons = 1 << 20, most_when_poor = 1 << 23;
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
    times_.clear();
    places_.clear();
    int64_t total = 0;
    for (const std::size_t i : order) {
      const Interval& own = intervals_[i];
      const int64_t to = alignment_of(own.bytes);
      int64_t offset = 0;
      const Time time{narrow(own.first), narrow(own.last)};
      for (std::size_t k = 0; k < times_.size(); ++k) {
        if (times_[k].last < time.first || time.last < times_[k].first) continue;
        if (places_[k].begin - offset >= own.bytes) break;
        offset = std::max(offset, aligned(places_[k].end, to));
      }
      comparisons_ += times_.size();
      offsets_[i] = offset;
      const auto at = std::upper_bound(places_.begin(), places_.end(), offset,
                                       [](int64_t begin, const Place& other) { return begin < other.begin; });
      times_.insert(times_.begin() + (at - places_.begin()), time);
      places_.insert(at, {offset, offset + own.bytes});
      total = std::max(total, offset + own.bytes);
    }
    return total;
  }

  const std::vector<int64_t>& offsets() const { return offsets_; }
  std::size_t comparisons() const { return comparisons_; }

 private:
  struct Time {
    uint32_t first, last;
  };
  struct Place {
    int64_t begin, end;
  };
  static uint32_t narrow(std::size_t unit) { return uint32_t(std::min<std::size_t>(unit, UINT32_MAX)); }

  const std::vector<Interval>& intervals_;
  std::vector<int64_t> offsets_;
  std::vector<Time> times_;    // of those that are placed, by where they begin
  std::vector<Place> places_;
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
  std::vector<std::pair<std::size_t, int64_t>> changes;  // of the bytes alive, from a unit on; first what ends
  changes.reserve(2 * intervals.size());
  for (const Interval& interval : intervals) {
    changes.emplace_back(interval.first, interval.bytes);
    if (interval.last != SIZE_MAX) changes.emplace_back(interval.last + 1, -interval.bytes);
  }
  std::sort(changes.begin(), changes.end());
  Peak out;
  int64_t live = 0;
  for (const auto& [unit, bytes] : changes)
    if (live += bytes; live > out.bytes) out = {live, unit};
  return out;
}

int64_t place_intervals(std::vector<Interval>& intervals, int64_t enough) {
  const std::size_t count = intervals.size();
  const int64_t least = peak_of(intervals).bytes;
  const int64_t good = std::max(least + least / 4096, enough), fair = std::max(least + least / 16, enough);
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
  const auto most = [&] { return total > least + least / 10 ? most_when_poor : most_comparisons; };
  for (int step = 0; total > (step < few_steps ? good : fair) && fit.comparisons() - spent < most(); ++step) {
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
