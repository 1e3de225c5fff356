#include "program/derive.h"

#include "graph/tangents.h"
#include "ops/vocabulary.h"
#include "sweeps/batch.h"
#include "sweeps/reverse.h"

namespace wengert {
namespace {

std::vector<Var> placeholders(Trace& trace, const Program& program) {
  std::vector<Var> out;
  for (const ValueId id : program.inputs) out.push_back(trace.input(program.types[std::size_t(id)]));
  return out;
}

}  // namespace

Vars replay(const Program& program, std::span<const Var> inputs) {
  std::vector<Var> values(program.types.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) values[std::size_t(program.inputs[i])] = inputs[i];
  for (const auto& [id, x] : program.constants) values[std::size_t(id)] = x;
  for (const Step& step : program.steps) {
    Vars ins;
    for (const ValueId id : step.ins) ins.push_back(values[std::size_t(id)]);
    const Region region(step.region ? step.region : modes().region);
    const AgainMode mode(step.constant);
    const Vars outs = apply_all(*step.op, {ins.data(), ins.size()}, step.attrs);
    for (std::size_t i = 0; i < outs.size(); ++i) values[std::size_t(step.outs[i])] = outs[i];
  }
  Vars out;
  for (const ValueId id : program.outputs) out.push_back(values[std::size_t(id)]);
  return out;
}

Pulled pull_program(const Program& program, const std::vector<bool>& wanted, const std::vector<bool>& arrived) {
  Trace trace;
  const GradMode on(true);
  std::vector<Var> inputs = placeholders(trace, program), leaves = inputs;
  Vars targets;
  std::vector<std::pair<Var, Var>> renamed;  // the leaves are the inputs, as if there were no nodes between
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (wanted[i] && is_float(inputs[i].dtype())) {
      targets.push_back(leaves[i] = transform_leaf(inputs[i]));
      renamed.emplace_back(leaves[i], inputs[i]);
    }
  const std::size_t begin = trace.nodes().size();
  const Vars made = replay(program, leaves);
  std::vector<Var> outputs(made.begin(), made.end());
  const std::size_t shown = outputs.size(), middle = trace.nodes().size() - begin;
  std::vector<Var> seeds;
  Vars ends, cotangents;
  auto seed = [&](const Var& y) {
    seeds.push_back(trace.input(y->array.type()));
    if (!y->tracked) return;
    ends.push_back(y);
    cotangents.push_back(seeds.back());
  };
  for (std::size_t i = 0; i < arrived.size(); ++i)
    if (arrived[i]) seed(leaves[i]);
  for (const Var& y : made)
    if (is_float(y.dtype())) seed(y);
  Pulled out;
  out.found.assign(inputs.size(), -1);
  {
    const GradMode off(false);
    const Vars adjoints = reverse_sweep({ends.data(), ends.size()}, {cotangents.data(), cotangents.size()},
                                        {targets.data(), targets.size()}, {.retain_graph = true});
    int next = 0;
    for (std::size_t i = 0, t = 0; i < inputs.size(); ++i)
      if (wanted[i] && is_float(inputs[i].dtype())) {
        const Var& g = adjoints[t++];
        if (!g) continue;
        out.found[i] = next++;
        outputs.push_back(g);
      }
  }
  trace.close();
  inputs.insert(inputs.end(), seeds.begin(), seeds.end());
  const Program whole = program_of(std::span(trace.nodes()).subspan(begin), inputs, outputs, renamed);
  const auto first_seed = whole.inputs.end() - std::ptrdiff_t(seeds.size());
  const auto first_end = whole.outputs.begin() + std::ptrdiff_t(shown);
  Halves halves = split(whole, middle, {first_seed, whole.inputs.end()}, {first_end, whole.outputs.end()});
  out.forward = std::move(halves.first);
  out.forward.inputs.resize(out.forward.inputs.size() - seeds.size());
  out.forward.outputs.resize(shown);
  out.backward = std::move(halves.rest);
  out.crossing = std::move(halves.crossing);
  return out;
}

Program push_program(const Program& program, const std::vector<bool>& active) {
  static const Op& alias = find_op("alias");
  Trace trace;
  const GradMode off(false);
  std::vector<Var> inputs = placeholders(trace, program), leaves, tangents, outputs;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (active[i]) tangents.push_back(trace.input(inputs[i]->array.type()));
  {
    ForwardSweep sweep;
    for (std::size_t i = 0, t = 0; i < inputs.size(); ++i) {
      leaves.push_back(apply(alias, {&inputs[i], 1}));
      if (active[i]) sweep.seed(leaves.back(), tangents[t++]);
    }
    const Vars made = replay(program, leaves);
    outputs.assign(made.begin(), made.end());
    for (const Var& y : made)
      if (is_float(y.dtype())) {
        const Var dy = sweep.tangent_of(y);
        outputs.push_back(dy ? dy : zeros(y->array.type()));
      }
  }
  trace.close();
  inputs.insert(inputs.end(), tangents.begin(), tangents.end());
  return program_of(trace, inputs, outputs);
}

Program batch_program(const Program& program, const std::vector<bool>& batched, int64_t size) {
  Trace outer;
  const GradMode off(false);
  std::vector<Var> inputs, outputs;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    Type type = program.types[std::size_t(program.inputs[i])];
    if (batched[i]) type.shape.insert(0, size);
    inputs.push_back(outer.input(type));
  }
  {
    Trace inner;
    std::vector<Var> own;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      own.push_back(batched[i] ? inner.input(program.types[std::size_t(program.inputs[i])]) : inputs[i]);
    const Vars made = replay(program, own);
    inner.close();
    for (auto& [y, carries] : batch_sweep(inner, own, inputs, batched, size, {made.data(), made.size()})) {
      Shape shape = y.shape();
      if (!carries) {
        shape.insert(0, size);
        y = broadcast_to(y, shape);
      }
      outputs.push_back(y);
    }
  }
  outer.close();
  return program_of(outer, inputs, outputs);
}

}  // namespace wengert
