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
  out.trailing = attach(program, exact);
  out.rerolled = reroll(program, exact);
  return out;
}

}  // namespace wengert
