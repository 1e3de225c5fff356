#include <algorithm>

#include "program/rewrite.h"

namespace wengert {
namespace {

class Attacher {
 public:
  Attacher(Program& program, bool exact)
      : program_(program), exact_(exact), readers_(count_readers(program)),
        makers_(program.types.size(), SIZE_MAX), gone_(program.steps.size(), false) {}

  int64_t run() {
    int64_t count = 0;
    for (std::size_t s = 0; s < program_.steps.size(); ++s) {
      Step& step = program_.steps[s];
      if (step.own_op || gone_[s]) continue;
      if (!step.op->laws.behind.empty()) makers_[std::size_t(step.outs[0])] = s;
      const std::size_t arguments = step.ins.size();
      for (std::size_t i = 0; i < arguments && arguments <= 2; ++i)
        if (join(s, i)) {
          ++count;
          break;
        }
    }
    std::size_t s = 0;
    std::erase_if(program_.steps, [&](const Step&) { return gone_[s++]; });
    return count;
  }

 private:
  bool join(std::size_t s, std::size_t i) {
    Step& step = program_.steps[s];
    const std::size_t at = makers_[std::size_t(step.ins[i])];
    if (at == SIZE_MAX || readers_[std::size_t(step.ins[i])] != 1) return false;
    const Step& first = program_.steps[at];
    const auto& all = first.op->laws.behind;
    const auto is_this = [&](const Laws::Behind& behind) { return step.op->name == behind.row; };
    const auto found = std::find_if(all.begin(), all.end(), is_this);
    if (found == all.end() || step.region != first.region || step.constant != first.constant) return false;
    if (arrays_.empty()) arrays_ = lay_out(program_);  // before the first change
    const std::vector<Type> types = program_.types_of(first.ins);
    if ((found->pays && !found->pays(types)) || (found->sums && exact_) || read_between(at, s)) return false;
    SmallVector<ValueId, 3> ins = first.ins;
    if (step.ins.size() == 2) {
      const ValueId other = step.ins[1 - i];
      if (!(program_.types[std::size_t(other)] == program_.types[std::size_t(step.outs[0])]) ||
          !arrays_[std::size_t(other)].is_contiguous())
        return false;
      ins.insert(found->third, other);
    }
    for (std::size_t k = 1; k < first.outs.size(); ++k) step.outs.push_back(first.outs[k]);
    if (found->sums) step.outs.push_back(take_sum(s));
    step.op = &find_op(found->both);
    step.attrs = first.attrs;
    step.ins = std::move(ins);
    step.tracked = first.tracked;
    gone_[at] = true;
    return true;
  }

  // Whether other results of step `at` are read before step s.
  bool read_between(std::size_t at, std::size_t s) const {
    const auto& outs = program_.steps[at].outs;
    for (std::size_t r = at + 1; r < s && outs.size() > 1; ++r)
      for (const ValueId id : program_.steps[r].ins)
        if (std::find(outs.begin(), outs.end(), id) != outs.end()) return true;
    return false;
  }

  // What the sum of the step's result over all axes but the last is from now on.
  ValueId take_sum(std::size_t s) {
    const ValueId x = program_.steps[s].outs[0];
    const Type& type = program_.types[std::size_t(x)];
    const Type own{type.dtype, {type.shape.back()}};
    for (std::size_t r = s + 1; r < program_.steps.size(); ++r) {
      const Step& reader = program_.steps[r];
      if (reader.op->fold != kernels::Fold::sum || reader.own_op || gone_[r] || reader.ins[0] != x ||
          reader.region != program_.steps[s].region || reader.constant != program_.steps[s].constant)
        continue;
      const std::size_t axes = reader.attrs.ints("axis").size();
      if (!(program_.types[std::size_t(reader.outs[0])] == own) || axes + 1 != type.shape.size()) continue;
      const Ints& over = reader.attrs.ints("axis");
      if (std::find(over.begin(), over.end(), int64_t(axes)) != over.end()) continue;
      gone_[r] = true;
      return reader.outs[0];
    }
    return program_.new_value(own);
  }

  Program& program_;
  const bool exact_;
  std::vector<Array> arrays_;  // none until there is something to attach
  std::vector<int32_t> readers_;
  std::vector<std::size_t> makers_;  // of each value that has functions behind it
  std::vector<bool> gone_;
};

}  // namespace

int64_t attach(Program& program, bool exact) { return Attacher(program, exact).run(); }

}  // namespace wengert
