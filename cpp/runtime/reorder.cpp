#include "runtime/reorder.h"

#include <algorithm>

#include "runtime/grouping.h"

namespace wengert {
namespace {

constexpr std::size_t most_steps = 64, farthest = 8;
constexpr int64_t worth_a_unit = 64;  // a reduction runs by itself where the arena becomes smaller by such a part

bool reads(const Step& step, const Step& other) {
  return std::any_of(other.outs.begin(), other.outs.end(), [&](ValueId made) {
    return std::find(step.ins.begin(), step.ins.end(), made) != step.ins.end();
  });
}

// Whether the step reads nothing that those of [first, last) make. Python code keeps its turn.
bool may_pass(const Step& step, const Step* first, const Step* last) {
  return !step.op->evaluate && std::none_of(first, last, [&](const Step& other) { return reads(step, other); });
}

}  // namespace

int64_t reorder(Program& program, const std::vector<Update>& updates) {
  std::vector<Step>& steps = program.steps;
  if (steps.size() > most_steps || steps.empty()) return 0;
  Planned best = Executor::planned(program, updates);
  const auto at = [&](std::size_t place) { return steps.begin() + std::ptrdiff_t(place); };
  // Carries step `from` to place `to`, if that helps by at least so many bytes, with at most so many units more.
  const auto carry = [&](std::size_t from, std::size_t to, int64_t worth = 1, std::size_t more = 0) {
    const auto turn = [&](std::size_t source, std::size_t target) {
      if (target < source) std::rotate(at(target), at(source), at(source + 1));
      else std::rotate(at(source), at(source + 1), at(target + 1));
    };
    turn(from, to);
    const Planned found = Executor::planned(program, updates);
    if (best.bytes - found.bytes >= worth && found.units <= best.units + more) {
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
    // What a reduction reads may be there at the peak anyway: then its result need not be.
    for (std::size_t from = peak; from-- > 0 && peak - from <= farthest;) {
      const bool waits = is_end(steps[from]) && !steps[from].alone &&
                         std::none_of(at(from + 1), at(peak + 1), [&](const Step& s) { return reads(s, steps[from]); });
      if (!waits) continue;
      steps[from].alone = true;
      if (carry(from, peak, std::max<int64_t>(1, best.bytes / worth_a_unit), 1)) return true;
      steps[from].alone = false;
    }
    return false;
  };
  int64_t moves = 0;
  while (moves < int64_t(steps.size()) && move()) ++moves;
  return moves;
}

}  // namespace wengert
