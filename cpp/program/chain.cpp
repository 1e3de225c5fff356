#include "program/chain.h"

#include <algorithm>
#include <limits>

namespace wengert {
namespace {

constexpr double never = std::numeric_limits<double>::infinity();

}  // namespace

// cost(s, t, m): the least seconds from a(s) and d(t+1) (stages numbered from 0, so stage s reads
// a(s)) to d(s), in m slots for all but a(s). Either stage s keeps all it makes and the rest has what is
// left, or the states up to a cut are passed over, the rest from the cut is swept with one state less
// room, and then the part before it in the same way.
ChainSchedules::ChainSchedules(Chain chain, int64_t limit, int64_t slots)
    : size_(chain.size()), unit_(std::max<int64_t>((limit + slots - 1) / std::max<int64_t>(slots, 1), 1)),
      chain_(std::move(chain)) {
  const int64_t most = std::max<int64_t>(limit, 0) / unit_;
  row_ = std::size_t(most) + 1;
  for (auto* bytes : {&chain_.full, &chain_.forward_room, &chain_.backward_room, &chain_.state, &chain_.cotangent})
    for (int64_t& b : *bytes) b = (b + unit_ - 1) / unit_;
  passed_.assign(size_ + 1, 0.0);
  for (std::size_t s = 0; s < size_; ++s) passed_[s + 1] = passed_[s] + chain_.forward[s];
  passing_.assign(size_ * (size_ + 1), 0);
  for (std::size_t s = 0; s < size_; ++s)
    for (std::size_t e = s + 1; e <= size_; ++e) {
      const std::size_t k = e - 1;
      const int64_t own = chain_.state[k + 1] + chain_.forward_room[k] + (k > s ? chain_.state[k] : 0);
      passing_[s * (size_ + 1) + e] = std::max(own, k > s ? passing_[s * (size_ + 1) + k] : 0);
    }
  costs_.assign(size_ * size_ * row_, never);
  for (std::size_t length = 1; length <= size_; ++length)
    for (std::size_t s = 0; s + length <= size_; ++s) {
      const std::size_t t = s + length - 1;
      for (int64_t m = 0; m <= most; ++m) {
        double best = cost_of_all(s, t, m);
        for (std::size_t cut = s + 1; cut <= t; ++cut) best = std::min(best, cost_of_cut(s, t, cut, m));
        cost(s, t, m) = best;
      }
    }
}

double ChainSchedules::cost_of_all(std::size_t s, std::size_t t, int64_t m) const {
  const int64_t full = chain_.full[s];
  const int64_t there = chain_.cotangent[t + 1] + full + chain_.forward_room[s];
  const int64_t back = chain_.cotangent[s + 1] + full + chain_.cotangent[s] + chain_.backward_room[s];
  if (std::max(there, back) > m) return never;
  return chain_.forward[s] + chain_.backward[s] + (s < t ? cost(s + 1, t, m - full) : 0.0);
}

double ChainSchedules::cost_of_cut(std::size_t s, std::size_t t, std::size_t cut, int64_t m) const {
  const int64_t state = chain_.state[cut];
  if (chain_.cotangent[t + 1] + passing_[s * (size_ + 1) + cut] > m || state > m) return never;
  return passed_[cut] - passed_[s] + cost(cut, t, m - state) + cost(s, cut - 1, m);
}

int64_t ChainSchedules::slots_for(int64_t limit) const { return std::min(limit / unit_, int64_t(row_) - 1); }

std::optional<double> ChainSchedules::seconds(int64_t limit) const {
  if (size_ == 0) return 0.0;
  if (limit < 0 || cost(0, size_ - 1, slots_for(limit)) == never) return {};
  return cost(0, size_ - 1, slots_for(limit));
}

std::vector<ChainOp> ChainSchedules::schedule(int64_t limit) const {
  std::vector<ChainOp> out;
  if (size_ == 0 || !seconds(limit)) return out;
  struct Task {
    std::size_t s, t;
    int64_t m;
    bool reverse;  // of stage s alone: what it reads is there
  };
  std::vector<Task> tasks{{0, size_ - 1, slots_for(limit), false}};
  while (!tasks.empty()) {
    const auto [s, t, m, reverse] = tasks.back();
    tasks.pop_back();
    if (reverse) {
      out.push_back({ChainOp::reverse, uint32_t(s)});
      continue;
    }
    double best = cost_of_all(s, t, m);
    std::size_t chosen = s;
    for (std::size_t cut = s + 1; cut <= t; ++cut)
      if (const double other = cost_of_cut(s, t, cut, m); other < best) best = other, chosen = cut;
    if (chosen == s) {
      out.push_back({ChainOp::keep_all, uint32_t(s)});
      tasks.push_back({s, s, 0, true});
      if (s < t) tasks.push_back({s + 1, t, m - chain_.full[s], false});
      continue;
    }
    out.push_back({ChainOp::keep_input, uint32_t(s)});
    for (std::size_t k = s + 1; k < chosen; ++k) out.push_back({ChainOp::drop_input, uint32_t(k)});
    tasks.push_back({s, chosen - 1, m, false});
    tasks.push_back({chosen, t, m - chain_.state[chosen], false});
  }
  return out;
}

}  // namespace wengert
