// Ways to divide a program between storing and carrying out again: segments at its narrow points, the
// chain of them, what is dear to make, and what gives back most at the peak. Names no op.
#pragma once
#include "program/chain.h"
#include "program/order.h"

namespace wengert {

// What becomes of the buffers made before the frontier that are wanted after it: kept, on disk meanwhile, or
// else made again.
struct Choice {
  std::vector<bool> kept, on_disk = {};  // the latter empty: nothing
  double window = 0;  // bytes that may wait in memory until they are written, and as many read ahead
};

struct Machine {
  std::span<const double> seconds;  // of each step
  Disk disk = {};
};

// What all candidates look at. The peak divides the program: what was made before it and is read
// from it on is what there is to give up.
struct Division {
  const Program& program;
  const Storage& storage;
  std::span<const double> seconds;  // of each step
  std::size_t frontier;
  std::vector<int32_t> last_early, first_late;  // readers of each buffer on either side, or -1
  std::vector<int32_t> given;                   // buffers made before the frontier, not fixed, in order
  std::vector<int32_t> movable;                 // the same with the fixed ones that take memory
  std::vector<bool> at_end;                     // steps that come when all is read back; or empty
  mutable int64_t looked = 0;                   // at steps and values, to show that planning is linear

  Division(const Program& p, const Storage& s, std::span<const double> t, std::size_t at);
  // Before the frontier all, then again what is not kept and is wanted.
  Order order(const Choice& choice, const Machine& machine) const;
  // Bytes that steps before the frontier hand over to each other at each place.
  std::vector<int64_t> widths() const;
  // At most `count` + 1 places from 0 to the frontier, of about equal time apart and narrow.
  std::vector<std::size_t> narrow_places(std::size_t count) const;
};

// What crosses those places, and what steps before the frontier share beyond them.
std::vector<bool> keep_segments(const Division& d, std::size_t count);
// What is dear: outputs of steps of more than a few operations a byte.
std::vector<bool> keep_dear(const Division& d);

// Buffers in the order in which to give them up, the most bytes and time alive for each second of making
// them again first.
std::vector<int32_t> giving_up(const Division& d);
// What goes to disk where `room` bytes are left at most: of `wanted`, the first made first, as they are away
// for longest.
std::vector<bool> on_disk_first(const Division& d, const std::vector<bool>& wanted, int64_t room);
// Seconds that an order takes, with steps and moves side by side: a step waits for what it reads, and what
// ends a move for the move.
double seconds_of(const Program& program, const Storage& storage, const Machine& machine, const Order& order);
std::vector<bool> keep_after(const Division& d, std::span<const int32_t> given_up);

// The program as a chain of at most `stages` stages between narrow places, and the optima for it.
class ChainOf {
 public:
  ChainOf(const Division& d, std::size_t stages);
  bool any() const { return schedules_.has_value(); }
  // The orders for limits from the least possible up, at most `count`.
  std::vector<Order> orders(std::size_t count) const;
  Order order(int64_t limit) const;
  int64_t least() const { return least_; }
  int64_t most() const { return most_; }

 private:
  const Division& d_;
  std::vector<std::size_t> places_, late_;        // stage s: places_[s] ...; its reverse: late_[s] ... late_[s-1]
  std::vector<std::vector<int32_t>> made_, states_;  // buffers made in a stage; crossing each place
  std::vector<bool> shared_;
  std::optional<ChainSchedules> schedules_;
  int64_t least_ = 0, most_ = 0;
};

}  // namespace wengert
