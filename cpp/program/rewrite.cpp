#include "program/rewrite.h"

#include <algorithm>
#include <numeric>

#include "program/layout.h"

namespace wengert {

bool is_fixed_constant(const Var& x) {
  if (x.is_abstract()) return false;
  const Buffer& buffer = *x->array.buffer();
  return !buffer.foreign && buffer.tensors == 0;
}

int64_t drop_neutral(Program& program, bool exact) {
  const LayoutRewriter layout(program);
  std::vector<Array> fixed(program.types.size());
  for (const auto& [id, x] : program.constants)
    if (is_fixed_constant(x)) fixed[std::size_t(id)] = x->array;
  std::vector<ValueId> instead(program.types.size());
  std::iota(instead.begin(), instead.end(), ValueId(0));
  int64_t count = 0;
  for (Step& step : program.steps) {
    std::vector<Array> known;
    bool any = false;
    for (ValueId& id : step.ins) {
      id = instead[std::size_t(id)];
      known.push_back(fixed[std::size_t(id)]);
      any |= known.back().has_data();
    }
    if (!any || step.own_op || !step.op->laws.passes) continue;
    const int input = step.op->laws.passes(known, exact);
    if (input < 0) continue;
    const ValueId through = step.ins[std::size_t(input)], out = step.outs[0];
    if (!(program.types[std::size_t(through)] == program.types[std::size_t(out)])) continue;
    // Who sums may sum in another order what lies in memory in another way.
    if (!layout.array(through).is_contiguous() && !layout.read_only_by(out, is_elementwise)) continue;
    instead[std::size_t(out)] = through;
    ++count;
  }
  for (ValueId& id : program.outputs) id = instead[std::size_t(id)];
  return count;
}

int64_t place_sums(Program& program) {
  const std::vector<int32_t> readers = count_readers(program);
  std::vector<const Step*> makers(program.types.size(), nullptr);
  int64_t count = 0;
  for (Step& step : program.steps) {
    const auto place = [&](int i) {
      const Step* made = makers[std::size_t(step.ins[std::size_t(i)])];
      if (!made || made->region != step.region || readers[std::size_t(step.ins[std::size_t(i)])] != 1) return false;
      if (!made->op->laws.placed) return false;
      const Op* placed = &find_op(made->op->laws.placed);
      const ValueId base = step.ins[std::size_t(1 - i)];
      const Type& type = program.types[std::size_t(step.outs[0])];
      if (!(program.types[std::size_t(base)] == type) ||
          !(program.types[std::size_t(step.ins[std::size_t(i)])] == type))
        return false;
      std::vector<std::pair<std::string, Attr>> attrs;
      for (const Param& param : placed->params) attrs.emplace_back(param.name, made->attrs.at(param.name.c_str()));
      step.ins = {base, made->ins[0]};
      step.op = placed;
      step.attrs = make_attrs(*placed, std::move(attrs));
      return true;
    };
    if (!step.own_op && step.op->laws.sums && (place(1) || place(0))) ++count;
    if (!step.own_op && step.outs.size() == 1) makers[std::size_t(step.outs[0])] = &step;
  }
  return count;
}

// Functions behind products, computed with them.
class Attacher {
 public:
  Attacher(Program& program, bool exact)
      : program_(program), exact_(exact), arrays_(lay_out(program)), readers_(count_readers(program)),
        makers_(program.types.size(), SIZE_MAX), gone_(program.steps.size(), false) {}

  int64_t run() {
    int64_t count = 0;
    for (std::size_t s = 0; s < program_.steps.size(); ++s) {
      Step& step = program_.steps[s];
      if (step.own_op || gone_[s]) continue;
      if (!step.op->laws.behind.empty()) makers_[std::size_t(step.outs[0])] = s;
      const std::size_t arguments = step.ins.size();
      for (std::size_t i = 0; i < arguments && arguments <= 2; ++i)
        if (attach(s, i)) {
          ++count;
          break;
        }
    }
    std::size_t s = 0;
    std::erase_if(program_.steps, [&](const Step&) { return gone_[s++]; });
    return count;
  }

 private:
  bool attach(std::size_t s, std::size_t i) {
    Step& step = program_.steps[s];
    const std::size_t at = makers_[std::size_t(step.ins[i])];
    if (at == SIZE_MAX || readers_[std::size_t(step.ins[i])] != 1) return false;
    const Step& first = program_.steps[at];
    const auto& all = first.op->laws.behind;
    const auto is_this = [&](const Laws::Behind& behind) { return step.op->name == behind.row; };
    const auto found = std::find_if(all.begin(), all.end(), is_this);
    if (found == all.end() || step.region != first.region || step.constant != first.constant) return false;
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
  const std::vector<Array> arrays_;
  std::vector<int32_t> readers_;
  std::vector<std::size_t> makers_;  // of each value that has functions behind it
  std::vector<bool> gone_;
};

Rewritten rewrite(Program& program, bool exact) {
  Rewritten out;
  auto tidy = [&] {
    const Simplified more = simplify(program);
    out.simplified.identities += more.identities;
    out.simplified.repeated += more.repeated;
    out.simplified.unused += more.unused;
  };
  tidy();
  out.neutral = drop_neutral(program, exact);
  out.narrowed = narrow(program);
  if (!exact) {
    out.transposed = move_transposes(program);
    out.placed = place_sums(program);
    out.summed = sum_boxes(program);
    out.joined = join_boxes(program);
    out.signs = fold_signs(program);
  }
  if (out.neutral || out.narrowed || out.transposed || out.placed || out.summed || out.joined || out.signs) {
    tidy();
    out.simplified.unused -= out.neutral + out.placed + out.summed;  // counted already
  }
  out.slopes = share_slopes(program);
  out.trailing = Attacher(program, exact).run();
  out.rerolled = reroll(program, exact);
  return out;
}

}  // namespace wengert
