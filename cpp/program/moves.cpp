// When values go to disk and come back: written from where they lie as soon as they are made, read ahead of
// their first reader, by a helper that does one thing at a time.
#include <algorithm>
#include <deque>

#include "program/candidates.h"

namespace wengert {
namespace {

// Reads each value ahead of its first use so that it is there in time: the last possible moment, counted back
// from the end, but no more than `window` bytes ahead, and not before `first`.
Order read_ahead(const Division& d, const Machine& machine, const Order& order, std::size_t first, double window) {
  std::vector<std::size_t> reads;  // places
  std::vector<double> at(order.size() + 1, 0);  // when an entry begins if nothing waits
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (order[i].move == Transfer::fetch) reads.push_back(i);
    at[i + 1] = at[i] + (order[i].move == Transfer::none ? machine.seconds[order[i].number] : 0);
  }
  auto bytes = [&](std::size_t read) { return d.storage.bytes[order[reads[read]].number]; };
  std::vector<std::size_t> to(reads.size());
  double start = at.back();
  for (std::size_t k = reads.size(); k-- > 0;) {
    start = std::min(start, at[reads[k]]) - machine.disk.to_read(bytes(k));
    const auto found = std::upper_bound(at.begin(), at.begin() + std::ptrdiff_t(reads[k]) + 1, start);
    to[k] = std::max(first, std::size_t(std::max<std::ptrdiff_t>(found - at.begin() - 1, 0)));
    to[k] = std::min(to[k], reads[k]);
  }
  double ahead = 0;
  for (std::size_t k = 0, used = 0; k < reads.size(); ++k) {  // from `used` on all are ahead of their use
    ahead += double(bytes(k));
    for (; used <= k && ahead > window; ++used) ahead -= double(bytes(used));
    if (used > 0) to[k] = std::max(to[k], reads[used - 1] + (used <= k));
    if (k > 0) to[k] = std::max(to[k], to[k - 1]);
    to[k] = std::min(to[k], reads[k]);
  }
  Order out;
  std::size_t k = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (; k < reads.size() && to[k] <= i; ++k) out.push_back(order[reads[k]]);
    if (order[i].move != Transfer::fetch) out.push_back(order[i]);
  }
  return out;
}

}  // namespace

Order Division::order(const Choice& choice, const Machine& machine) const {
  OrderMaker maker(program, storage);
  auto moves = [&](int32_t b) { return !choice.on_disk.empty() && choice.on_disk[std::size_t(b)]; };
  bool any = false;
  for (const int32_t b : movable) any = any || moves(b);
  std::vector<std::vector<int32_t>> made(any ? frontier : 0), left(any ? frontier : 0);  // by step
  for (const int32_t b : movable) {
    if (!moves(b)) continue;
    const int32_t by = storage.maker[std::size_t(b)];
    made[std::size_t(by)].push_back(b);
    left[std::size_t(std::max(by, last_early[std::size_t(b)]))].push_back(b);
  }
  if (!any) {
    maker.run(0, frontier);
  } else {
    double now = 0, idle = 0, waiting = 0;  // when this step is done, and the helper; bytes nobody reads any more
    std::vector<double> written(storage.bytes.size(), 0);
    std::deque<int32_t> over;
    for (std::size_t s = 0; s < frontier; ++s) {
      maker.run(s, s + 1);
      now += machine.seconds[s];
      for (const int32_t b : made[s]) {
        maker.spill(b);
        idle = std::max(idle, now) + machine.disk.to_write(storage.bytes[std::size_t(b)]);
        written[std::size_t(b)] = idle;
      }
      for (const int32_t b : left[s]) {
        over.push_back(b);
        waiting += double(storage.bytes[std::size_t(b)]);
      }
      while (!over.empty() && (waiting > choice.window || written[std::size_t(over.front())] <= now)) {
        now = std::max(now, written[std::size_t(over.front())]);
        waiting -= double(storage.bytes[std::size_t(over.front())]);
        maker.end_spill(over.front());
        over.pop_front();
      }
    }
    for (const int32_t b : over) maker.end_spill(b);
  }
  for (const int32_t b : given)
    if (!choice.kept[std::size_t(b)] && !moves(b)) maker.give_up(b);
  for (const int32_t b : movable)
    if (moves(b)) maker.leave_on_disk(b);
  const std::size_t turn = maker.order().size();
  if (any && !at_end.empty()) {
    for (const bool end : {false, true})
      for (std::size_t s = frontier; s < program.steps.size(); ++s)
        if (at_end[s] == end) maker.run(s, s + 1);
  } else {
    maker.run(frontier, program.steps.size());
  }
  looked += maker.steps_looked_at();
  return any ? read_ahead(*this, machine, maker.order(), turn, choice.window) : maker.order();
}

std::vector<bool> on_disk_first(const Division& d, const std::vector<bool>& wanted, int64_t room) {
  std::vector<bool> out(wanted.size(), false);
  for (const int32_t b : d.movable) {
    const int64_t bytes = d.storage.bytes[std::size_t(b)];
    if (!wanted[std::size_t(b)] || bytes > room) continue;
    out[std::size_t(b)] = true;
    room -= bytes;
  }
  return out;
}

double seconds_of(const Program& program, const Storage& storage, const Machine& machine, const Order& order) {
  constexpr double asking = 1e-5;  // what it takes to wake the helper, and to be woken by it
  double now = 0, idle = 0;        // when this step is done, and the helper
  std::vector<double> written(storage.bytes.size(), 0), there(storage.bytes.size(), 0);
  for (const auto& [number, kind] : order) {
    if (kind == Transfer::none) {
      for (const ValueId id : program.steps[number].ins)
        now = std::max(now, there[std::size_t(storage.home[std::size_t(id)])]);
      now += machine.seconds[number];
      continue;
    }
    now += asking;
    if (kind == Transfer::end_spill) {
      now = std::max(now, written[number]);
      continue;
    }
    const int64_t bytes = storage.bytes[number];
    idle = std::max(idle, now) + (kind == Transfer::spill ? machine.disk.to_write(bytes) : machine.disk.to_read(bytes));
    (kind == Transfer::spill ? written : there)[number] = idle;
  }
  return now;
}

}  // namespace wengert
