// A program as a chain of stages: its segments at narrow places, with the parts of the rest that read them.
#include <algorithm>

#include "program/candidates.h"

namespace wengert {

ChainOf::ChainOf(const Division& d, std::size_t stages)
    : d_(d), places_(d.narrow_places(stages)), shared_(d.storage.bytes.size(), false) {
  const std::size_t l = places_.size() - 1;
  if (l < 2) return;
  const std::size_t n = d.program.steps.size();
  std::vector<int32_t> stage_of(d.storage.bytes.size(), -1);
  made_.resize(l);
  states_.resize(l + 1);
  Chain chain;
  chain.forward.assign(l, 0);
  chain.backward.assign(l, 0);
  for (auto* sizes : {&chain.full, &chain.forward_room, &chain.backward_room}) sizes->assign(l, 0);
  for (auto* sizes : {&chain.state, &chain.cotangent}) sizes->assign(l + 1, 0);
  for (std::size_t s = 0; s < l; ++s)
    for (std::size_t i = places_[s]; i < places_[s + 1]; ++i) chain.forward[s] += d.seconds[i];
  for (const int32_t b : d.given) {
    const auto i = std::size_t(b);
    const auto next = std::upper_bound(places_.begin(), places_.end(), std::size_t(d.storage.maker[i]));
    const auto stage = std::size_t(next - places_.begin()) - 1;
    stage_of[i] = int32_t(stage);
    // What later stages read too belongs to none.
    if (stage + 2 <= l && d.last_early[i] >= int32_t(places_[std::min(stage + 2, l)])) {
      shared_[i] = true;
      continue;
    }
    made_[stage].push_back(b);
    const bool crosses = d.last_early[i] >= int32_t(places_[stage + 1]);
    if (crosses) states_[stage + 1].push_back(b);
    if (crosses) chain.state[stage + 1] += d.storage.bytes[i];
    if (crosses || d.first_late[i] >= 0) chain.full[stage] += d.storage.bytes[i];
  }
  // The reverse of stage s begins where something of it, or of one before it, is read first.
  late_.assign(l, n);
  for (const int32_t b : d.given)
    if (const auto i = std::size_t(b); !shared_[i] && d.first_late[i] >= 0) {
      std::size_t& first = late_[std::size_t(stage_of[i])];
      first = std::min(first, std::size_t(d.first_late[i]));
    }
  for (std::size_t s = 1; s < l; ++s) late_[s] = std::min(late_[s], late_[s - 1]);
  late_[l - 1] = d.frontier;
  // Bytes of the rest's own values, at each of its steps, and across each of its places.
  std::vector<int64_t> live(n + 1, 0), across(n + 1, 0), early(d.frontier + 1, 0);
  for (std::size_t b = 0; b < d.storage.bytes.size(); ++b) {
    const int32_t maker = d.storage.maker[b];
    if (maker < 0) continue;
    if (std::size_t(maker) < d.frontier) {
      if (stage_of[b] < 0) continue;
      const std::size_t end = std::min(places_[std::size_t(stage_of[b]) + 1],
                                       std::size_t(std::max(d.last_early[b], maker)) + 1);
      early[std::size_t(maker)] += d.storage.bytes[b];
      early[end] -= d.storage.bytes[b];
    }
  }
  std::vector<int32_t> last(d.storage.bytes.size(), -1);
  for (std::size_t i = d.frontier; i < n; ++i)
    for (const ValueId id : d.program.steps[i].ins) last[std::size_t(d.storage.home[std::size_t(id)])] = int32_t(i);
  for (std::size_t b = 0; b < d.storage.bytes.size(); ++b) {
    const int32_t maker = d.storage.maker[b];
    if (maker < int32_t(d.frontier)) continue;
    const std::size_t end = std::size_t(std::max(last[b], maker)) + 1;
    live[std::size_t(maker)] += d.storage.bytes[b];
    live[end] -= d.storage.bytes[b];
    if (end > std::size_t(maker) + 1) {
      across[std::size_t(maker) + 1] += d.storage.bytes[b];
      across[end] -= d.storage.bytes[b];
    }
  }
  for (std::size_t i = 1; i <= n; ++i) live[i] += live[i - 1], across[i] += across[i - 1];
  for (std::size_t i = 1; i <= d.frontier; ++i) early[i] += early[i - 1];
  int64_t most = 0;
  for (std::size_t s = 0; s < l; ++s) {
    const std::size_t begin = late_[s], end = s == 0 ? n : late_[s - 1];
    chain.cotangent[s + 1] = s + 1 == l ? 0 : across[begin];
    if (s == 0) chain.cotangent[0] = 0;
    int64_t peak = 0;
    for (std::size_t i = begin; i < end; ++i) {
      peak = std::max(peak, live[i]);
      chain.backward[s] += d.seconds[i];
    }
    chain.backward_room[s] = peak;
    peak = 0;
    for (std::size_t i = places_[s]; i < places_[s + 1]; ++i) peak = std::max(peak, early[i]);
    chain.forward_room[s] = std::max<int64_t>(peak - chain.state[s + 1], 0);
    most += chain.full[s];
  }
  for (std::size_t s = 0; s < l; ++s) {
    int64_t& room = chain.backward_room[s];
    room = std::max<int64_t>(room - chain.cotangent[s + 1] - chain.cotangent[s], 0);
  }
  int64_t extra = 0;
  for (std::size_t s = 0; s < l; ++s)
    extra = std::max(extra, chain.cotangent[s] + chain.cotangent[s + 1] + chain.backward_room[s] +
                                chain.forward_room[s]);
  most_ = most + extra;
  constexpr int64_t slots = 256;
  schedules_.emplace(std::move(chain), most_, slots);
  int64_t low = 0, high = most_;
  if (!schedules_->seconds(high)) {
    schedules_.reset();
    return;
  }
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (schedules_->seconds(middle)) high = middle;
    else low = middle + 1;
  }
  least_ = low;
}

std::vector<Order> ChainOf::orders(std::size_t count) const {
  std::vector<Order> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(order(least_ + (most_ - least_) * int64_t(i * i) / int64_t(count * count)));
  return out;
}

Order ChainOf::order(int64_t limit) const {
  OrderMaker maker(d_.program, d_.storage);
  std::vector<bool> passed(made_.size(), false);
  for (const ChainOp& op : schedules_->schedule(limit)) {
    const std::size_t s = op.stage;
    if (op.kind == ChainOp::reverse) {
      maker.run(late_[s], s == 0 ? d_.program.steps.size() : late_[s - 1]);
      continue;
    }
    if (!passed[s]) {
      maker.run(places_[s], places_[s + 1]);
      passed[s] = true;
    } else {
      for (const int32_t b : made_[s]) {
        const bool crosses = d_.last_early[std::size_t(b)] >= int32_t(places_[s + 1]);
        if (crosses || (op.kind == ChainOp::keep_all && d_.first_late[std::size_t(b)] >= 0)) maker.want(b);
      }
    }
    if (op.kind == ChainOp::keep_all) continue;
    for (const int32_t b : made_[s])
      if (d_.last_early[std::size_t(b)] < int32_t(places_[s + 1])) maker.give_up(b);
    if (op.kind == ChainOp::drop_input)
      for (const int32_t b : states_[s]) maker.give_up(b);
  }
  d_.looked += maker.steps_looked_at();
  return maker.order();
}

}  // namespace wengert
