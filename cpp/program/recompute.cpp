#include "program/recompute.h"

#include <algorithm>

#include "graph/node.h"
#include "ops/vocabulary.h"

namespace wengert {
namespace {

void attend_again(Node& node, const Ref<Node>& first) {
  Extras& extras = node.more();
  extras.hooks = first->extras->hooks;
  for (const auto& entry : first->extras->grads) {
    const uint16_t index = entry.first;
    extras.hooks.emplace_back(index, Hook{0, [first, index](const Var& g) -> Var {
      for (auto& [place, grad] : first->extras->grads)
        if (place == index) grad = grad ? add(grad, g) : g;
      return {};
    }});
  }
}

}  // namespace

Recomputation plan_again(const Program& program, const Wanted& wanted, const std::vector<bool>& given) {
  const std::size_t values = program.types.size();
  std::vector<bool> tracked(values, false), passed(values, false);
  Recomputation plan{.modes = std::vector<Recomputation::Mode>(program.steps.size(), Recomputation::skip),
                     .needed = std::vector<bool>(values, false)};
  for (std::size_t i = 0; i < program.inputs.size(); ++i) tracked[std::size_t(program.inputs[i])] = wanted.tracked[i];
  const auto any = [](const std::vector<bool>& flags, const auto& ids) {
    return std::any_of(ids.begin(), ids.end(), [&](ValueId id) { return flags[std::size_t(id)]; });
  };
  for (const Step& step : program.steps)
    if (!step.constant && (step.op->differentiable() || step.op->followed) && any(tracked, step.ins))
      for (const ValueId id : step.outs) tracked[std::size_t(id)] = is_float(program.types[std::size_t(id)].dtype);
  for (std::size_t j = 0; j < program.outputs.size(); ++j) {
    const auto id = std::size_t(program.outputs[j]);
    if (wanted.values) plan.needed[id] = true;
    if (wanted.seeded[j] && tracked[id]) passed[id] = true;
  }
  for (std::size_t s = program.steps.size(); s-- > 0;) {
    const Step& step = program.steps[s];
    const bool passes = any(passed, step.outs);
    bool runs = false;
    if (passes) {
      const auto is_tracked = [&](std::size_t i) { return bool(tracked[std::size_t(step.ins[i])]); };
      const Op& op = *step.op;
      runs = bool(op.followed);  // it prepares for its sweep when it runs
      const Reads reads = runs ? Reads{saves_all, true} : reads_of(op, step.ins.size(), is_tracked);
      for (std::size_t i = 0; i < step.ins.size(); ++i) {
        const auto id = std::size_t(step.ins[i]);
        if (tracked[id]) passed[id] = true;
        if (reads.in(i)) plan.needed[id] = true;
      }
      for (std::size_t i = op.reads_outs_from; reads.outs && i < step.outs.size(); ++i)
        plan.needed[std::size_t(step.outs[i])] = true;
    }
    for (const ValueId id : step.outs) runs |= plan.needed[std::size_t(id)] && !given[std::size_t(id)];
    if (runs)
      for (const ValueId id : step.ins) plan.needed[std::size_t(id)] = true;
    plan.modes[s] = runs ? Recomputation::run : passes ? Recomputation::note : Recomputation::skip;
  }
  return plan;
}

Vars run_again(const Program& program, const Recomputation& plan, std::span<const Var> inputs,
               const std::unordered_map<ValueId, Var>& given, const Attended& attended, bool apart) {
  const uint32_t around = apart ? new_region() : modes().region;
  std::unordered_map<uint32_t, uint32_t> regions{{0, around}};
  std::vector<Var> values(program.types.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) values[std::size_t(program.inputs[i])] = inputs[i];
  for (const auto& [id, x] : program.constants) values[std::size_t(id)] = x;
  for (const auto& [id, x] : given) values[std::size_t(id)] = x;
  std::vector<uint32_t> readers(program.types.size(), 0);
  for (const ValueId id : program.outputs) ++readers[std::size_t(id)];
  for (std::size_t s = 0; s < program.steps.size(); ++s)
    if (plan.modes[s] != Recomputation::skip)
      for (const ValueId id : program.steps[s].ins) ++readers[std::size_t(id)];
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    if (plan.modes[s] == Recomputation::skip) continue;
    const Step& step = program.steps[s];
    uint32_t& region = regions[step.region];
    if (region == 0) region = new_region();
    const Region in_region(region);
    const AgainMode mode(step.constant);
    Vars ins;
    for (const ValueId id : step.ins) {
      const Var& x = values[std::size_t(id)];
      ins.push_back(x ? x : Var(Array(program.types[std::size_t(id)])));  // a constant that nobody reads
    }
    const std::span<const Var> args{ins.data(), ins.size()};
    Vars outs;
    if (plan.modes[s] == Recomputation::run) {
      outs = apply_all(*step.op, args, step.attrs);
    } else {
      Vars known;
      for (const ValueId id : step.outs) {
        const auto found = given.find(id);
        known.push_back(found == given.end() ? Var() : found->second);
      }
      outs = record_only(*step.op, step.attrs, args, program.types_of({step.outs.data(), step.outs.size()}),
                         {known.data(), known.size()});
    }
    if (const Ref<Node>& node = outs[0]->node; node && node->op) {
      node->source = step.source;
      if (const auto found = attended.find(step.outs[0]); found != attended.end()) attend_again(*node, found->second);
    }
    for (const ValueId id : step.ins)
      if (--readers[std::size_t(id)] == 0) values[std::size_t(id)] = {};
    for (std::size_t i = 0; i < outs.size(); ++i) values[std::size_t(step.outs[i])] = outs[i];
  }
  Vars out;
  for (const ValueId id : program.outputs) out.push_back(values[std::size_t(id)]);
  return out;
}

}  // namespace wengert
