#include "program/budget.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wengert {

std::vector<double> roofline(const Program& program, const Storage& storage, double flops, double bytes) {
  constexpr double call = 2e-7;  // what a step costs that does nothing
  std::vector<double> out(program.steps.size(), 0.0);
  auto bytes_of = [&](ValueId id) {
    const Type& type = program.types[std::size_t(id)];
    return double(numel(type.shape)) * itemsize(type.dtype);
  };
  for (std::size_t s = 0; s < out.size(); ++s) {
    if (storage.is_view[s]) continue;
    double moved = 0;
    for (const ValueId id : program.steps[s].ins) moved += bytes_of(id);
    for (const ValueId id : program.steps[s].outs) moved += bytes_of(id);
    out[s] = call + std::max(double(program.flops(program.steps[s])) / flops, moved / bytes);
  }
  return out;
}

// Candidates, of which none depends on the budget but those made in `fit`: so the least of them is the
// least budget, and more bytes never cost time.
Fitter::Fitter(const Program& program, std::vector<double> seconds, Measure measure)
    : program_(program), seconds_(std::move(seconds)), measure_(std::move(measure)), storage_(storage_of(program)),
      usual_(roofline(program, storage_, 5e10, 1e10)) {
  Order as_it_is(program.steps.size());
  std::iota(as_it_is.begin(), as_it_is.end(), 0u);
  const Peak peak = peak_of(program, storage_, as_it_is);
  add({.name = "all stored", .order = std::move(as_it_is), .kept = {}, .seconds = 0, .bytes = -1});
  if (peak.bytes == 0) return;
  division_.emplace(program_, storage_, usual_, peak.place);
  const Division& d = *division_;
  constexpr int cuts = 20;
  Cuts cuts_there(program_, storage_, usual_, peak.place);
  for (const Cuts::Kept& kept : cuts_there.hull(cuts)) add("minimum cut", kept.buffers);
  cut_ = cuts_there.edges_looked_at();
  add("dear ones stored", keep_dear(d));
  add("segments", keep_segments(d, std::size_t(std::sqrt(double(peak.place)))));
  for (std::size_t count = 2; count <= std::min<std::size_t>(d.given.size(), 256); count += (count + 1) / 2)
    add("segments", keep_segments(d, count));
  giving_up_ = giving_up(d);
  for (int part = 1; part <= 8; ++part) {
    const std::size_t count = giving_up_.size() * std::size_t(part) / 8;
    add("given up at the peak", keep_after(d, {giving_up_.data(), count}));
  }
  for (const std::size_t stages : {8, 16, 48}) {
    auto chain = std::make_unique<ChainOf>(d, std::min<std::size_t>(stages, std::max<std::size_t>(peak.place, 1)));
    if (!chain->any()) continue;
    for (Order& order : chain->orders(6)) add(made("chain", std::move(order)));
    chains_.push_back(std::move(chain));
  }
}

Fitter::Candidate Fitter::made(std::string name, std::vector<bool> kept) const {
  Candidate out{.name = std::move(name), .order = division_->order(kept), .kept = std::move(kept)};
  out.seconds = added_seconds(out.order);
  return out;
}

Fitter::Candidate Fitter::made(std::string name, Order order) const {
  const double seconds = added_seconds(order);
  return {.name = std::move(name), .order = std::move(order), .kept = {}, .seconds = seconds, .bytes = -1};
}

void Fitter::add(std::string name, std::vector<bool> kept) { add(made(std::move(name), std::move(kept))); }

void Fitter::add(Candidate candidate) {
  std::size_t hash = candidate.order.size();
  for (const uint32_t s : candidate.order) hash = hash * 1000003u ^ s;
  if (known_.insert(hash).second) candidates_.push_back(std::move(candidate));
}

int64_t Fitter::measure(const Order& order) {
  ++plans_;
  return measure_(carry_out(program_, storage_, order));
}

int64_t Fitter::bytes_of(Candidate& candidate) {
  if (candidate.bytes < 0) candidate.bytes = measure(candidate.order);
  return candidate.bytes;
}

double Fitter::added_seconds(const Order& order) const {
  double out = 0;
  std::vector<bool> done(program_.steps.size(), false);
  for (const uint32_t s : order) {
    if (done[s]) out += seconds_[s];
    done[s] = true;
  }
  return out;
}

double Fitter::own_seconds() const { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

std::vector<int32_t> Fitter::across_peak() const {
  std::vector<int32_t> out;
  if (!division_) return out;
  for (const int32_t b : division_->given)
    if (division_->first_late[std::size_t(b)] >= 0) out.push_back(b);
  return out;
}

int64_t Fitter::most() { return bytes_of(candidates_.front()); }

int64_t Fitter::least() {
  int64_t out = most();
  for (Candidate& candidate : candidates_) out = std::min(out, bytes_of(candidate));
  return out;
}

// What the fast one keeps up to some step, and the small one after it, or the other way round.
void Fitter::add_mixed(const Candidate& small, const Candidate& fast, int64_t budget, std::vector<Candidate>& to) {
  for (const bool fast_first : {true, false}) {
    std::size_t low = 0, high = division_->frontier;  // steps that go the fast way: fits, and what may not
    std::optional<Candidate> best;
    for (int i = 0; i < 7 && high - low > 1; ++i) {
      const std::size_t middle = low + (high - low) / 2;
      std::vector<bool> kept = small.kept;
      for (const int32_t b : division_->given) {
        const auto made_at = std::size_t(storage_.maker[std::size_t(b)]);
        const bool first = fast_first ? made_at < middle : made_at >= division_->frontier - middle;
        if (first) kept[std::size_t(b)] = fast.kept[std::size_t(b)];
      }
      Candidate mixed = made(small.name + ", mixed", std::move(kept));
      if (bytes_of(mixed) <= budget) {
        low = middle;
        if (!best || mixed.seconds < best->seconds) best = std::move(mixed);
      } else {
        high = middle;
      }
    }
    if (best) to.push_back(std::move(*best));
  }
}

// Stores more of what is made again, the most seconds a byte first, as long as that fits.
void Fitter::add_stored(const Candidate& from, int64_t budget, std::vector<Candidate>& to) {
  std::vector<bool> again(program_.steps.size(), false), done(program_.steps.size(), false);
  for (const uint32_t s : from.order) {
    again[s] = done[s];
    done[s] = true;
  }
  std::vector<std::pair<double, int32_t>> gains;
  for (const int32_t b : division_->given) {
    const auto i = std::size_t(b);
    if (!from.kept[i] && again[std::size_t(storage_.maker[i])] && storage_.bytes[i] > 0)
      gains.emplace_back(-seconds_[std::size_t(storage_.maker[i])] / double(storage_.bytes[i]), b);
  }
  std::sort(gains.begin(), gains.end());
  std::size_t low = 0, high = gains.size() + 1;
  for (int i = 0; i < 7 && high - low > 1; ++i) {
    const std::size_t middle = low + (high - low) / 2;
    std::vector<bool> kept = from.kept;
    for (std::size_t k = 0; k < middle; ++k) kept[std::size_t(gains[k].second)] = true;
    Candidate more = made(from.name + ", filled", std::move(kept));
    if (bytes_of(more) <= budget) {
      low = middle;
      to.push_back(std::move(more));
    } else {
      high = middle;
    }
  }
}

std::optional<Fit> Fitter::fit(int64_t budget) {
  auto fit_of = [](const Candidate& c) { return Fit{c.name, c.order, c.bytes, c.seconds}; };
  if (most() <= budget) return fit_of(candidates_.front());
  std::vector<std::size_t> by_time(candidates_.size());
  std::iota(by_time.begin(), by_time.end(), std::size_t(0));
  std::stable_sort(by_time.begin(), by_time.end(),
                   [&](std::size_t a, std::size_t b) { return candidates_[a].seconds < candidates_[b].seconds; });
  std::optional<std::size_t> found;
  std::size_t fast = by_time.size();  // the slowest of those before it that keep values across the peak
  for (const std::size_t i : by_time) {
    if (bytes_of(candidates_[i]) <= budget) {
      found = i;
      break;
    }
    if (!candidates_[i].kept.empty()) fast = i;
  }
  if (!found) return {};
  std::vector<Candidate> more;
  // The first that fits and keeps values across the peak, mixed with the last that is faster.
  for (const std::size_t i : by_time) {
    if (candidates_[i].kept.empty() || bytes_of(candidates_[i]) > budget) continue;
    if (fast < by_time.size()) add_mixed(candidates_[i], candidates_[fast], budget, more);
    break;
  }
  std::size_t low = 0, high = giving_up_.size();  // given up: too little, and what may do
  for (int i = 0; i < 8 && high - low > 1; ++i) {
    const std::size_t middle = low + (high - low) / 2;
    Candidate given = made("given up at the peak", keep_after(*division_, {giving_up_.data(), middle}));
    if (bytes_of(given) <= budget) {
      high = middle;
      more.push_back(std::move(given));
    } else {
      low = middle;
    }
  }
  // Cuts by the times of this machine, the fastest first.
  std::vector<Candidate> own;
  for (Cuts::Kept& kept : Cuts(program_, storage_, seconds_, division_->frontier).hull(20))
    own.push_back(made("minimum cut", std::move(kept.buffers)));
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (bytes_of(own[i]) > budget) continue;
    if (i > 0) add_mixed(own[i], own[i - 1], budget, more);
    more.push_back(std::move(own[i]));
    break;
  }
  for (const auto& chain : chains_)
    for (const double part : {1.0, 0.95, 0.9, 0.8, 0.65}) {
      const auto limit = int64_t(part * double(budget));
      if (limit < chain->least() || limit > chain->most()) continue;
      Candidate c = made("chain", chain->order(limit));
      if (bytes_of(c) > budget) continue;
      more.push_back(std::move(c));
      break;
    }
  auto faster = [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; };
  more.push_back(candidates_[*found]);
  const Candidate best = *std::min_element(more.begin(), more.end(), faster);
  if (!best.kept.empty()) add_stored(best, budget, more);
  return fit_of(*std::min_element(more.begin(), more.end(), faster));
}

std::vector<Fit> Fitter::curve() {
  least();
  std::vector<const Candidate*> sorted;
  for (const Candidate& candidate : candidates_) sorted.push_back(&candidate);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Candidate* a, const Candidate* b) {
    return a->seconds != b->seconds ? a->seconds < b->seconds : a->bytes < b->bytes;
  });
  std::vector<Fit> out;
  for (const Candidate* c : sorted)
    if (out.empty() || c->bytes < out.back().bytes) out.push_back({c->name, c->order, c->bytes, c->seconds});
  return out;
}

}  // namespace wengert
