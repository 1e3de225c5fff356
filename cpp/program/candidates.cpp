#include "program/candidates.h"

#include <algorithm>
#include <queue>

namespace wengert {

Division::Division(const Program& p, const Storage& s, std::span<const double> t, std::size_t at)
    : program(p), storage(s), seconds(t), frontier(at), last_early(s.bytes.size(), -1), first_late(s.bytes.size(), -1) {
  for (std::size_t i = 0; i < program.steps.size(); ++i)
    for (const ValueId id : program.steps[i].ins) {
      const auto b = std::size_t(storage.home[std::size_t(id)]);
      if (i < frontier) last_early[b] = int32_t(i);
      else if (first_late[b] < 0) first_late[b] = int32_t(i);
    }
  for (std::size_t b = 0; b < storage.bytes.size(); ++b) {
    if (storage.maker[b] < 0 || std::size_t(storage.maker[b]) >= frontier) continue;
    if (!storage.fixed[b]) given.push_back(int32_t(b));
    if (storage.bytes[b] > 0) movable.push_back(int32_t(b));
  }
}

std::vector<int64_t> Division::widths() const {
  std::vector<int64_t> change(frontier + 2, 0);
  for (const int32_t b : given) {
    const int64_t bytes = storage.bytes[std::size_t(b)];
    const int32_t last = last_early[std::size_t(b)];
    if (last < 0) continue;
    change[std::size_t(storage.maker[std::size_t(b)]) + 1] += bytes;
    change[std::size_t(last) + 1] -= bytes;
  }
  for (std::size_t i = 1; i < change.size(); ++i) change[i] += change[i - 1];
  return change;
}

std::vector<std::size_t> Division::narrow_places(std::size_t count) const {
  const std::vector<int64_t> width = widths();
  double total = 0;
  for (std::size_t s = 0; s < frontier; ++s) total += seconds[s];
  std::vector<std::size_t> out{0};
  double passed = 0;
  std::size_t s = 0;
  // Between the middles of two stages lies one place, the narrowest there; of equals the last.
  for (std::size_t k = 1; k < count; ++k) {
    const double from = total * (double(k) - 0.5) / double(count), to = total * (double(k) + 0.5) / double(count);
    std::size_t best = 0;
    for (; s < frontier && passed < to; ++s) {
      if (passed >= from && s > out.back() && (best == 0 || width[s] <= width[best])) best = s;
      passed += seconds[s];
    }
    if (best > 0) out.push_back(best);
  }
  if (frontier > out.back()) out.push_back(frontier);
  return out;
}

std::vector<bool> keep_segments(const Division& d, std::size_t count) {
  const std::vector<std::size_t> places = d.narrow_places(count);
  std::vector<bool> out(d.storage.bytes.size(), false);
  for (const int32_t b : d.given) {
    const auto made = std::size_t(d.storage.maker[std::size_t(b)]);
    const auto next = std::upper_bound(places.begin(), places.end(), made);
    if (next == places.end()) continue;
    out[std::size_t(b)] = d.last_early[std::size_t(b)] >= int32_t(*next);
  }
  return out;
}

std::vector<bool> keep_dear(const Division& d) {
  constexpr double few = 16;
  std::vector<bool> out(d.storage.bytes.size(), false);
  for (const int32_t b : d.given) {
    const Step& step = d.program.steps[std::size_t(d.storage.maker[std::size_t(b)])];
    int64_t bytes = 0;
    for (const ValueId id : step.outs) {
      const Type& type = d.program.types[std::size_t(id)];
      bytes += numel(type.shape) * int64_t(itemsize(type.dtype));
    }
    out[std::size_t(b)] = double(d.program.flops(step)) > few * double(bytes);
  }
  return out;
}

std::vector<bool> keep_after(const Division& d, std::span<const int32_t> given_up) {
  std::vector<bool> out(d.storage.bytes.size(), false);
  for (const int32_t b : d.given) out[std::size_t(b)] = d.first_late[std::size_t(b)] >= 0;
  for (const int32_t b : given_up) out[std::size_t(b)] = false;
  return out;
}

namespace {

// The steps that a buffer's making again takes, as long as they are few.
class Closure {
 public:
  Closure(const Division& d, const std::vector<bool>& kept)
      : d_(d), kept_(kept), again_(d.program.steps.size(), false), seen_(d.program.steps.size(), 0) {}

  // Their seconds; negative if they are too many.
  double of(int32_t buffer) {
    found_.assign(1, d_.storage.maker[std::size_t(buffer)]);
    seen_[std::size_t(found_[0])] = ++turn_;
    double seconds = again_[std::size_t(found_[0])] ? 0 : d_.seconds[std::size_t(found_[0])];
    for (std::size_t i = 0; i < found_.size(); ++i) {
      ++d_.looked;
      if (again_[std::size_t(found_[i])]) continue;
      for (const ValueId id : d_.program.steps[std::size_t(found_[i])].ins) {
        const auto b = std::size_t(d_.storage.home[std::size_t(id)]);
        const int32_t maker = d_.storage.maker[b];
        if (d_.storage.fixed[b] || maker < 0 || kept_[b]) continue;
        if (again_[std::size_t(maker)] || seen_[std::size_t(maker)] == turn_) continue;
        if (found_.size() == most) return -1;
        seen_[std::size_t(maker)] = turn_;
        seconds += d_.seconds[std::size_t(maker)];
        found_.push_back(maker);
      }
    }
    return seconds;
  }
  const std::vector<int32_t>& found() const { return found_; }
  void carry_out() { for (const int32_t s : found_) again_[std::size_t(s)] = true; }

 private:
  static constexpr std::size_t most = 256;
  const Division& d_;
  const std::vector<bool>& kept_;
  std::vector<bool> again_;
  std::vector<uint32_t> seen_;
  uint32_t turn_ = 0;
  std::vector<int32_t> found_;
};

}  // namespace

std::vector<int32_t> giving_up(const Division& d) {
  std::vector<bool> kept = keep_after(d, {});
  std::vector<std::vector<int32_t>> made_from(d.storage.bytes.size());  // what steps before the frontier make of each
  for (const int32_t b : d.given)
    for (const ValueId id : d.program.steps[std::size_t(d.storage.maker[std::size_t(b)])].ins)
      made_from[std::size_t(d.storage.home[std::size_t(id)])].push_back(b);
  Closure closure(d, kept);
  std::priority_queue<std::pair<double, int32_t>> queue;
  std::vector<double> newest(d.storage.bytes.size(), -1);
  auto ask = [&](int32_t b) {
    const auto i = std::size_t(b);
    const double seconds = closure.of(b);
    const double life = double(d.first_late[i] - std::max(d.last_early[i], d.storage.maker[i]));
    newest[i] = seconds < 0 ? -1 : double(d.storage.bytes[i]) * life / (seconds + 1e-12);
    if (newest[i] > 0) queue.emplace(newest[i], b);
  };
  for (const int32_t b : d.given)
    if (kept[std::size_t(b)]) ask(b);
  std::vector<int32_t> out;
  while (!queue.empty()) {
    const auto [score, b] = queue.top();
    queue.pop();
    if (!kept[std::size_t(b)] || score != newest[std::size_t(b)]) continue;
    const double before = newest[std::size_t(b)];
    ask(b);
    if (newest[std::size_t(b)] < before) continue;  // others gave up what it is made of
    kept[std::size_t(b)] = false;
    out.push_back(b);
    closure.of(b);
    closure.carry_out();
    // What is made of what is made again has become cheaper.
    std::size_t asked = 0;
    const std::vector<int32_t> again = closure.found();
    for (const int32_t s : again)
      for (const ValueId id : d.program.steps[std::size_t(s)].outs)
        for (const int32_t next : made_from[std::size_t(d.storage.home[std::size_t(id)])])
          if (kept[std::size_t(next)] && ++asked <= 16) ask(next);
  }
  return out;
}

}  // namespace wengert
