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
Fitter::Fitter(const Program& program, std::vector<double> seconds, Measure measure, std::optional<OnDisk> on_disk)
    : program_(program), seconds_(std::move(seconds)), measure_(std::move(measure)), storage_(storage_of(program)),
      usual_(roofline(program, storage_, 5e10, 1e10)), on_disk_(std::move(on_disk)) {
  Order as_it_is = order_of(program.steps.size());
  const Peak peak = peak_of(program, storage_, as_it_is);
  add({.name = "all stored", .order = std::move(as_it_is), .choice = {}, .seconds = 0});
  if (peak.bytes == 0) return;
  division_.emplace(program_, storage_, usual_, peak.place);
  const Division& d = *division_;
  for (Choice& choice : cuts(usual(), 0, 20)) add("minimum cut", std::move(choice.kept));
  add("dear ones stored", keep_dear(d));
  add("segments", keep_segments(d, std::size_t(std::sqrt(double(peak.place)))));
  for (std::size_t count = 2; count <= std::min<std::size_t>(d.given.size(), 256); count += (count + 1) / 2)
    add("segments", keep_segments(d, count));
  giving_up_ = giving_up(d);
  for (int part = 1; part <= 8; ++part) {
    const std::size_t count = giving_up_.size() * std::size_t(part) / 8;
    add("given up at the peak", keep_after(d, {giving_up_.data(), count}));
  }
  const std::vector<int32_t> wanted = across_peak();
  for (std::size_t part = 1; part < 8; ++part)
    add("first made given up", keep_after(d, {wanted.data(), wanted.size() * part / 8}));
  for (const std::size_t stages : {8, 16, 48}) {
    auto chain = std::make_unique<ChainOf>(d, std::min<std::size_t>(stages, std::max<std::size_t>(peak.place, 1)));
    if (!chain->any()) continue;
    for (Order& order : chain->orders(6)) add(made("chain", std::move(order)));
    chains_.push_back(std::move(chain));
  }
  if (!on_disk_) return;
  division_->at_end = on_disk_->at_end;
  to_move_ = on_disk_choices();
  add_on_disk(to_move_);
}

// Optimal choices by prices of bytes; with `part` > 0, values may go to disk, where that part of the moves
// delays the steps.
std::vector<Choice> Fitter::cuts(const Machine& machine, double part, int most) {
  std::vector<double> moving;
  if (part > 0)
    for (const int64_t bytes : storage_.bytes) moving.push_back(part * machine.disk.both(bytes));
  Cuts found(program_, storage_, machine.seconds, division_->frontier, std::move(moving));
  std::vector<Choice> out;
  for (Cuts::Kept& kept : found.hull(most)) out.push_back({std::move(kept.buffers), std::move(kept.on_disk)});
  cut_ += found.edges_looked_at();
  return out;
}

// Values on disk, in any number.
std::vector<Choice> Fitter::on_disk_choices() {
  const Division& d = *division_;
  std::vector<Choice> out;
  for (const double part : {1.0, 0.2})
    for (Choice& choice : cuts(usual(), part, 8)) out.push_back(std::move(choice));
  std::vector<bool> wanted(storage_.bytes.size(), false);
  int64_t all = 0;
  for (const int32_t b : d.movable)
    if (d.first_late[std::size_t(b)] >= 0) {
      wanted[std::size_t(b)] = true;
      all += storage_.bytes[std::size_t(b)];
    }
  const std::vector<bool> none(wanted.size(), false);
  for (const int part : {8, 6, 4, 2, 1}) {
    Choice choice{wanted, on_disk_first(d, wanted, all * part / 8)};
    for (std::size_t b = 0; b < wanted.size(); ++b) choice.kept[b] = choice.kept[b] && !choice.on_disk[b];
    out.push_back(std::move(choice));
  }
  out.push_back({none, keep_dear(d)});
  out.push_back({none, keep_segments(d, std::size_t(std::sqrt(double(d.frontier))))});
  return out;
}

// As much of them as there is disk. More disk need not leave what fits into less among these, so they count only
// where no more can be of use.
void Fitter::add_on_disk(const std::vector<Choice>& choices) {
  const int64_t room = on_disk_->disk.bytes;
  const bool any_room = room < 0 || room >= bytes_of(division_->movable);
  for (const Choice& choice : choices) {
    const std::vector<int32_t> moved = moved_by(choice);
    int64_t largest = 0;
    for (const int32_t b : moved) largest = std::max(largest, storage_.bytes[std::size_t(b)]);
    for (const double window : {0.0, double(std::min(4 * largest, bytes_of(moved)))})
      for (const bool rest_kept : {true, false}) {
        Choice own = within(choice, room, rest_kept);
        if (moved_by(own).empty()) continue;
        own.window = window;
        Candidate candidate = made("on disk", std::move(own), usual());
        candidate.counts = any_room;
        add(std::move(candidate));
      }
  }
}

// The same choices for a few amounts of disk up to what there is: the amounts do not depend on it, so that what fits
// with less disk fits with more. Of each amount those that look smallest.
void Fitter::add_by_room() {
  const std::vector<Choice> choices = std::exchange(to_move_, {});
  if (choices.empty()) return;
  const std::size_t of_each = std::clamp<std::size_t>(6'000 / program_.steps.size(), 3, 12), most_rooms = 5 * of_each;
  const int64_t most_room = on_disk_->disk.bytes;
  int64_t less = 0;  // room, of which these were asked already
  for (const int64_t room : rooms(most_rooms)) {
    if (most_room >= 0 && room > most_room) break;
    std::vector<std::pair<int64_t, Candidate>> found;
    for (const Choice& choice : choices) {
      const int64_t wanted = bytes_of(moved_by(choice));
      if (wanted <= less) continue;
      for (const bool rest_kept : {true, false}) {
        if (!rest_kept && wanted <= room) continue;
        Choice own = within(choice, room, rest_kept);
        if (moved_by(own).empty()) continue;
        Candidate candidate = made("on disk", std::move(own), usual());
        const int64_t bytes = peak_of(program_, storage_, candidate.order).bytes;
        found.emplace_back(bytes, std::move(candidate));
      }
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < std::min(found.size(), of_each); ++i) add(std::move(found[i].second));
    less = room;
  }
}

// What each value takes that is wanted across the peak, and the first of them together: all such sums in short programs.
std::vector<int64_t> Fitter::rooms(std::size_t most) const {
  std::vector<int64_t> sums;
  int64_t sum = 0;
  for (const int32_t b : division_->movable) {
    if (division_->first_late[std::size_t(b)] < 0) continue;
    sums.push_back(storage_.bytes[std::size_t(b)]);
    sums.push_back(sum += sums.back());
  }
  std::sort(sums.begin(), sums.end());
  sums.erase(std::unique(sums.begin(), sums.end()), sums.end());
  if (sums.size() <= most) return sums;
  std::vector<int64_t> out;
  for (const std::size_t part : {4, 2}) out.push_back(sums[sums.size() / (part * most)]);
  for (std::size_t i = 1; i <= most; ++i) out.push_back(sums[sums.size() * i / most - 1]);
  return out;
}

std::vector<int32_t> Fitter::moved_by(const Choice& choice) const {
  std::vector<int32_t> out;
  for (const int32_t b : division_->movable)
    if (!choice.on_disk.empty() && choice.on_disk[std::size_t(b)]) out.push_back(b);
  return out;
}

int64_t Fitter::bytes_of(std::span<const int32_t> buffers) const {
  int64_t out = 0;
  for (const int32_t b : buffers) out += storage_.bytes[std::size_t(b)];
  return out;
}

// What finds no room on disk (negative: there is enough) is kept, or else made again where that can be.
Choice Fitter::within(Choice choice, int64_t room, bool rest_kept) const {
  if (choice.on_disk.empty() || room < 0) return choice;
  const std::vector<bool> fits = on_disk_first(*division_, choice.on_disk, room);
  for (std::size_t b = 0; b < fits.size(); ++b)
    if (choice.on_disk[b] && !fits[b]) choice.kept[b] = rest_kept || storage_.fixed[b];
  choice.on_disk = fits;
  return choice;
}

Fitter::Candidate Fitter::made(std::string name, Choice choice, const Machine& machine) const {
  if (on_disk_) choice = within(std::move(choice), on_disk_->disk.bytes);
  Candidate out{.name = std::move(name), .order = division_->order(choice, machine), .choice = std::move(choice)};
  out.seconds = added_seconds(out.order);
  return out;
}

Fitter::Candidate Fitter::made(std::string name, Order order) const {
  const double seconds = added_seconds(order);
  return {.name = std::move(name), .order = std::move(order), .choice = {}, .seconds = seconds};
}

void Fitter::add(Candidate candidate) {
  std::size_t hash = candidate.order.size();
  for (const Entry& entry : candidate.order) hash = hash * 1000003u ^ (entry.number * 4u + entry.move);
  const auto [known, is_new] = known_.emplace(hash, candidates_.size());
  if (is_new) candidates_.push_back(std::move(candidate));
  else candidates_[known->second].counts |= candidate.counts;
}

int64_t Fitter::measure(const Order& order, int64_t enough) {
  ++plans_;
  return measure_(carry_out(program_, storage_, order), enough);
}

int64_t Fitter::bytes_of(Candidate& candidate) {
  if (candidate.at_least < candidate.at_most) candidate.at_least = candidate.at_most = measure(candidate.order, -1);
  return candidate.at_most;
}

bool Fitter::fits(Candidate& candidate, int64_t budget) {
  if (candidate.at_least <= budget && budget < candidate.at_most) {
    const int64_t bytes = measure(candidate.order, budget);
    (bytes <= budget ? candidate.at_most : candidate.at_least) = bytes;
  }
  return candidate.at_most <= budget;
}

std::vector<std::size_t> Fitter::by_time() const {
  std::vector<std::size_t> out(candidates_.size());
  std::iota(out.begin(), out.end(), std::size_t(0));
  std::stable_sort(out.begin(), out.end(),
                   [&](std::size_t a, std::size_t b) { return candidates_[a].seconds < candidates_[b].seconds; });
  return out;
}

double Fitter::added_seconds(const Order& order) const {
  return std::max(seconds_of(program_, storage_, own(), order) - own_seconds(), 0.0);
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
  add_by_room();
  int64_t out = most();
  const std::vector<std::size_t> sorted = by_time();
  for (auto i = sorted.rbegin(); i != sorted.rend(); ++i)  // the slowest are the smallest, often
    if (Candidate& c = candidates_[*i]; c.counts && fits(c, out - 1)) out = bytes_of(c);
  return out;
}

// What the fast one keeps up to some step, and the small one after it, or the other way round.
void Fitter::add_mixed(const Candidate& small, const Candidate& fast, int64_t budget, std::vector<Candidate>& to) {
  const bool moves = !small.choice.on_disk.empty() || !fast.choice.on_disk.empty();
  for (const bool fast_first : {true, false}) {
    std::size_t low = 0, high = division_->frontier;  // steps that go the fast way: fits, and what may not
    std::optional<Candidate> best;
    for (int i = 0; i < 7 && high - low > 1; ++i) {
      const std::size_t middle = low + (high - low) / 2;
      Choice choice = small.choice;
      choice.on_disk.resize(moves ? storage_.bytes.size() : 0, false);
      for (const int32_t b : division_->movable) {
        const auto made_at = std::size_t(storage_.maker[std::size_t(b)]);
        const bool first = fast_first ? made_at < middle : made_at >= division_->frontier - middle;
        if (!first) continue;
        choice.kept[std::size_t(b)] = fast.choice.kept[std::size_t(b)];
        if (moves) choice.on_disk[std::size_t(b)] = !fast.choice.on_disk.empty() && fast.choice.on_disk[std::size_t(b)];
      }
      Candidate mixed = made(small.name + ", mixed", std::move(choice), own());
      if (fits(mixed, budget)) {
        low = middle;
        if (!best || mixed.seconds < best->seconds) best = std::move(mixed);
      } else {
        high = middle;
      }
    }
    if (best) to.push_back(std::move(*best));
  }
}

// Stores more of what is made again or on disk, the most seconds a byte first, as long as that fits.
void Fitter::add_stored(const Candidate& from, int64_t budget, std::vector<Candidate>& to) {
  std::vector<bool> again(program_.steps.size(), false), done(program_.steps.size(), false);
  for (const auto& [s, move] : from.order) {
    if (move != Transfer::none) continue;
    again[s] = done[s];
    done[s] = true;
  }
  std::vector<std::pair<double, int32_t>> gains;
  for (const int32_t b : division_->movable) {
    const auto i = std::size_t(b);
    const auto bytes = double(storage_.bytes[i]);
    if (!from.choice.on_disk.empty() && from.choice.on_disk[i])
      gains.emplace_back(-own().disk.both(storage_.bytes[i]) / bytes, b);
    else if (!storage_.fixed[i] && !from.choice.kept[i] && again[std::size_t(storage_.maker[i])])
      gains.emplace_back(-seconds_[std::size_t(storage_.maker[i])] / bytes, b);
  }
  std::sort(gains.begin(), gains.end());
  std::size_t low = 0, high = gains.size() + 1;
  for (int i = 0; i < 7 && high - low > 1; ++i) {
    const std::size_t middle = low + (high - low) / 2;
    Choice choice = from.choice;
    for (std::size_t k = 0; k < middle; ++k) {
      const auto b = std::size_t(gains[k].second);
      choice.kept[b] = true;
      if (!choice.on_disk.empty()) choice.on_disk[b] = false;
    }
    Candidate more = made(from.name + ", filled", std::move(choice), own());
    if (fits(more, budget)) {
      low = middle;
      to.push_back(std::move(more));
    } else {
      high = middle;
    }
  }
}

// Lets more bytes wait to be written and be read ahead, as long as that fits.
void Fitter::add_windows(const Candidate& from, int64_t budget, std::vector<Candidate>& to) {
  double all = 0, largest = 0;
  for (const int32_t b : division_->movable) {
    if (!from.choice.on_disk[std::size_t(b)]) continue;
    all += double(storage_.bytes[std::size_t(b)]);
    largest = std::max(largest, double(storage_.bytes[std::size_t(b)]));
  }
  for (double window = all; window >= largest && window > 0; window /= 2) {
    Choice choice = from.choice;
    choice.window = window;
    Candidate wider = made(from.name, std::move(choice), own());
    if (!fits(wider, budget)) continue;
    to.push_back(std::move(wider));
    return;
  }
}

std::optional<Fit> Fitter::fit(int64_t budget) {
  if (most() <= budget) return fit_of(candidates_.front());
  const std::vector<std::size_t> sorted = by_time();
  std::vector<Candidate> more;
  // Among those in memory alone, so that a disk never costs time, and among all.
  const std::vector<bool> kinds = on_disk_ ? std::vector<bool>{false, true} : std::vector<bool>{false};
  for (const bool moves : kinds) {
    std::vector<std::size_t> alike;
    for (const std::size_t i : sorted)
      if (moves || candidates_[i].choice.on_disk.empty()) alike.push_back(i);
    std::optional<std::size_t> found;
    std::size_t fast = candidates_.size();  // the slowest of those before it that keep values across the peak
    for (const std::size_t i : alike) {
      if (fits(candidates_[i], budget)) {
        found = i;
        break;
      }
      if (!candidates_[i].choice.kept.empty()) fast = i;
    }
    if (!found) continue;
    more.push_back(candidates_[*found]);
    // The first that fits and keeps values across the peak, mixed with the last that is faster.
    for (const std::size_t i : alike) {
      if (candidates_[i].choice.kept.empty() || !fits(candidates_[i], budget)) continue;
      if (fast < candidates_.size()) add_mixed(candidates_[i], candidates_[fast], budget, more);
      break;
    }
  }
  const auto counts = [](const Candidate& c) { return c.counts; };
  if (std::none_of(more.begin(), more.end(), counts)) {
    add_by_room();
    for (const std::size_t i : by_time())
      if (candidates_[i].counts && fits(candidates_[i], budget)) {
        more.push_back(candidates_[i]);
        break;
      }
    if (std::none_of(more.begin(), more.end(), counts)) return {};
  }
  std::size_t low = 0, high = giving_up_.size();  // given up: too little, and what may do
  for (int i = 0; i < 8 && high - low > 1; ++i) {
    const std::size_t middle = low + (high - low) / 2;
    Candidate given = made("given up at the peak", {keep_after(*division_, {giving_up_.data(), middle})}, own());
    if (fits(given, budget)) {
      high = middle;
      more.push_back(std::move(given));
    } else {
      low = middle;
    }
  }
  // Cuts by the times of this machine, the fastest first.
  auto add_cuts = [&](double part, int count) {
    std::vector<Candidate> made_by;
    for (Choice& choice : cuts(own(), part, count))
      made_by.push_back(made(part > 0 ? "on disk" : "minimum cut", std::move(choice), own()));
    for (std::size_t i = 0; i < made_by.size(); ++i) {
      if (!fits(made_by[i], budget)) continue;
      if (i > 0) add_mixed(made_by[i], made_by[i - 1], budget, more);
      more.push_back(std::move(made_by[i]));
      break;
    }
  };
  add_cuts(0, 20);
  if (on_disk_)
    for (const double part : {1.0, 0.3}) add_cuts(part, 10);
  for (const auto& chain : chains_)
    for (const double part : {1.0, 0.95, 0.9, 0.8, 0.65}) {
      const auto limit = int64_t(part * double(budget));
      if (limit < chain->least() || limit > chain->most()) continue;
      Candidate c = made("chain", chain->order(limit));
      if (!fits(c, budget)) continue;
      more.push_back(std::move(c));
      break;
    }
  auto faster = [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; };
  for (const bool moves : kinds) {
    const Candidate* best = nullptr;
    for (const Candidate& c : more)
      if ((moves || c.choice.on_disk.empty()) && !(best && best->seconds <= c.seconds)) best = &c;
    if (best && !best->choice.kept.empty()) add_stored(Candidate(*best), budget, more);
  }
  if (const Candidate now = *std::min_element(more.begin(), more.end(), faster); !now.choice.on_disk.empty())
    add_windows(now, budget, more);
  return fit_of(*std::min_element(more.begin(), more.end(), faster));
}

std::vector<Fit> Fitter::curve() {
  const int64_t smallest = least();
  std::vector<Fit> out;
  for (const std::size_t i : by_time()) {
    Candidate& c = candidates_[i];
    if (!out.empty() && (!fits(c, out.back().bytes - 1) || bytes_of(c) < smallest)) continue;
    if (!out.empty() && out.back().seconds == c.seconds) out.pop_back();
    out.push_back(fit_of(c));
  }
  return out;
}

}  // namespace wengert
