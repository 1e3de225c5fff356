#include "program/early_checks.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace wengert {
namespace {

constexpr std::size_t nowhere = SIZE_MAX;

// What is computed before the first step that writes a new value.
class Front {
 public:
  Front(const Program& program, std::span<const Renewal> renewals) : program_(program), moves_(program.steps.size(), false) {
    maker_.assign(program.types.size(), nowhere);
    for (std::size_t s = 0; s < program.steps.size(); ++s)
      for (const ValueId id : program.steps[s].outs) maker_[std::size_t(id)] = s;
    for (const Renewal& renewal : renewals)  // and what each is made over
      for (ValueId id = renewal.value; id >= 0 && maker_[std::size_t(id)] != nowhere;) {
        writers_.insert(maker_[std::size_t(id)]);
        id = overwritten(id);
      }
    if (!writers_.empty()) end_ = *std::min_element(writers_.begin(), writers_.end());
  }

  std::size_t end() const { return end_; }

  // Whether the value can be there, and then makes it so.
  bool reaches(ValueId id) {
    int most = 64;  // steps that indices are computed by
    return reaches(id, most);
  }

  bool moves(std::size_t s) const { return moves_[s]; }

 private:
  bool reaches(ValueId id, int& most) {
    constexpr int64_t small = 1 << 16;  // bytes; what is larger stays where it is
    const std::size_t s = maker_[std::size_t(id)];
    if (s == nowhere || s < end_ || moves_[s]) return true;
    const Step& step = program_.steps[s];
    if (--most < 0 || writers_.contains(s) || step.op->stays() || step.own_op) return false;
    for (const ValueId out : step.outs)
      if (const Type& type = program_.types[std::size_t(out)]; numel(type.shape) * itemsize(type.dtype) > small) return false;
    if (!std::all_of(step.ins.begin(), step.ins.end(), [&](ValueId in) { return reaches(in, most); })) return false;
    moves_[s] = true;
    return true;
  }

  ValueId overwritten(ValueId id) const {
    const Step& step = program_.steps[maker_[std::size_t(id)]];
    if (step.own_op || !step.op->overwrites) return -1;
    const auto place = std::find(step.outs.begin(), step.outs.end(), id) - step.outs.begin();
    const int over = step.op->overwrites(int(place), step.ins.size(), step.attrs);
    return over < 0 ? -1 : step.ins[std::size_t(over)];
  }

  const Program& program_;
  std::vector<std::size_t> maker_;
  std::unordered_set<std::size_t> writers_;
  std::size_t end_ = nowhere;
  std::vector<bool> moves_;
};

// Of the i-th array of indices.
int64_t indexed_axis(const Step& step, std::size_t i) {
  const Schema& params = step.op->params;
  const bool several = std::any_of(params.begin(), params.end(), [](const Param& param) { return param.name == "axes"; });
  return several ? step.attrs.ints("axes")[i] : step.attrs.integer("axis");
}

}  // namespace

int64_t check_indices_early(Program& program, std::span<const Renewal> renewals) {
  Front front(program, renewals);
  const std::size_t first = front.end();
  const std::vector<bool> failing = may_fail(program);
  struct Wanted {
    std::size_t step, input;
    Held held;
  };
  std::vector<Wanted> wanted;
  for (std::size_t s = first; s < program.steps.size(); ++s) {
    const std::vector<Held> own = held_by(program, program.steps[s]);
    if (!failing[s] || (s == first && !own.empty())) continue;  // the first checks its own before it writes
    if (own.empty()) return 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (own[i].to.size() != 1 || !front.reaches(own[i].indices)) return 0;
      wanted.push_back({s, program.steps[s].op->bounds.first + i, own[i]});
    }
  }
  if (wanted.empty()) return 0;

  static const Op& hold = find_op("hold_indices");
  std::vector<Step> checks;
  std::map<std::pair<ValueId, int64_t>, ValueId> known;  // what has passed, by indices and size
  for (const auto& [s, input, held] : wanted) {
    Step& reader = program.steps[s];
    const auto [found, is_new] = known.try_emplace({held.indices, held.to[0]}, -1);
    if (!is_new) {
      reader.ins[input] = found->second;
      continue;
    }
    const ValueId passed = found->second = program.new_value(program.types[std::size_t(held.indices)]);
    const std::size_t i = input - reader.op->bounds.first;
    checks.push_back({.op = &hold,
                      .attrs = make_attrs(hold, {{"size", held.to[0]}, {"axis", indexed_axis(reader, i)}, {"reader", reader.op->name}}),
                      .ins = {held.indices},
                      .outs = {passed},
                      .source = reader.source});
    reader.ins[input] = passed;
  }
  std::vector<Step> steps;
  const auto take = [&](std::size_t from, std::size_t to, bool moved) {
    for (std::size_t s = from; s < to; ++s)
      if (front.moves(s) == moved) steps.push_back(std::move(program.steps[s]));
  };
  take(0, first, false);
  take(first, program.steps.size(), true);
  const auto count = int64_t(checks.size());
  std::move(checks.begin(), checks.end(), std::back_inserter(steps));
  take(first, program.steps.size(), false);
  program.steps = std::move(steps);
  return count;
}

}  // namespace wengert
