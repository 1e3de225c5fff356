#include "runtime/reorder.h"

#include <algorithm>

namespace wengert {
namespace {

constexpr std::size_t most_steps = 64, farthest = 8;
constexpr int most_plans = 1000;

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
  if (steps.size() > most_steps) return 0;
  int64_t moves = 0;
  int plans = 0;
  Planned best = Executor::planned(program, updates);
  for (std::size_t from = 1; from < steps.size() && plans < most_plans;) {
    bool better = false;
    for (std::size_t to = from; !better && to-- > 0 && from - to <= farthest;) {
      if (!may_pass(steps[from], &steps[to], &steps[from])) break;
      const auto first = steps.begin() + std::ptrdiff_t(to), middle = steps.begin() + std::ptrdiff_t(from);
      std::rotate(first, middle, middle + 1);
      const Planned found = Executor::planned(program, updates);
      ++plans;
      better = found.bytes < best.bytes && found.units <= best.units;
      if (better) best = found;
      else std::rotate(first, first + 1, middle + 1);
    }
    moves += better;
    from = better ? 1 : from + 1;
  }
  return moves;
}

}  // namespace wengert
