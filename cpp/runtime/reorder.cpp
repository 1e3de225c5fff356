#include "runtime/reorder.h"

#include <algorithm>

namespace wengert {
namespace {

constexpr std::size_t most_steps = 64, farthest = 8;

// Whether the step reads nothing that those of [first, last) make. Python code keeps its turn.
bool may_pass(const Step& step, const Step* first, const Step* last) {
  if (step.op->evaluate) return false;
  return std::none_of(first, last, [&](const Step& other) {
    return std::any_of(other.outs.begin(), other.outs.end(), [&](ValueId made) {
      return std::find(step.ins.begin(), step.ins.end(), made) != step.ins.end();
    });
  });
}

}  // namespace

int64_t reorder(Program& program, const std::vector<Update>& updates) {
  std::vector<Step>& steps = program.steps;
  if (steps.size() > most_steps || steps.empty()) return 0;
  Planned best = Executor::planned(program, updates);
  // Carries step `from` to place `to`, if that helps.
  const auto carry = [&](std::size_t from, std::size_t to) {
    const auto at = [&](std::size_t place) { return steps.begin() + std::ptrdiff_t(place); };
    const auto turn = [&](std::size_t source, std::size_t target) {
      if (target < source) std::rotate(at(target), at(source), at(source + 1));
      else std::rotate(at(source), at(source + 1), at(target + 1));
    };
    turn(from, to);
    const Planned found = Executor::planned(program, updates);
    if (found.bytes < best.bytes && found.units <= best.units) {
      best = found;
      return true;
    }
    turn(to, from);
    return false;
  };
  // One move across the peak, as what changes elsewhere leaves it as it is.
  const auto move = [&] {
    const std::size_t peak = best.peak, end = std::min(steps.size(), peak + farthest + 1);
    for (std::size_t from = std::max<std::size_t>(peak, 1); from < end; ++from)
      for (std::size_t to = from; to-- > 0 && from - to <= farthest;) {
        if (!may_pass(steps[from], &steps[to], &steps[from])) break;
        if (to <= peak && carry(from, to)) return true;
      }
    for (std::size_t to = peak + 1; to < end && may_pass(steps[to], &steps[peak], &steps[peak + 1]); ++to)
      if (carry(peak, to)) return true;
    return false;
  };
  int64_t moves = 0;
  while (moves < int64_t(steps.size()) && move()) ++moves;
  return moves;
}

}  // namespace wengert
