#include "program/checkpoint.h"

#include <algorithm>
#include <unordered_set>

#include "graph/recording.h"
#include "graph/tangents.h"
#include "ops/vocabulary.h"
#include "program/derive.h"
#include "program/recompute.h"
#include "sweeps/reverse.h"

namespace wengert {
namespace {

// The outputs of the program: what its reader asks for, then what the node keeps for its sweep.
struct Checkpoint : Op {
  Program program;
  std::size_t shown = 0;
  Attended attended;
};

Vars adjoint(const Checkpoint& op, const Rule& r);
Vars tangent(const Checkpoint& op, const Rule& r);

// The values of the outputs, of which nothing is kept.
Arrays evaluate(const Program& program, std::span<const Array> in) {
  const GradMode off(false);
  Vars inputs;
  for (const Array& x : in) inputs.push_back(Var(Array(x)));
  const Recomputation plan = plan_again(program,
                                        {.tracked = std::vector<bool>(program.inputs.size(), false),
                                         .seeded = std::vector<bool>(program.outputs.size(), false),
                                         .values = true},
                                        std::vector<bool>(program.types.size(), false));
  Arrays out;
  for (const Var& y : run_again(program, plan, {inputs.data(), inputs.size()}, {}, {}, false)) out.push_back(y.array());
  return out;
}

std::shared_ptr<Checkpoint> make_checkpoint(Program program, std::size_t shown) {
  auto op = std::make_shared<Checkpoint>();
  const Checkpoint* self = op.get();
  op->name = "checkpoint";
  op->inputs = {"*tensors"};
  op->program = std::move(program);
  op->shown = op->reads_outs_from = shown;
  op->body = &op->program;
  op->infer = [self](std::span<const Type>, const Attrs&) {
    Types out;
    for (const ValueId id : self->program.outputs) out.push_back(self->program.types[std::size_t(id)]);
    return out;
  };
  op->evaluate = [self](std::span<const Array> in) { return evaluate(self->program, in); };
  op->flops = [self](std::span<const Type>, std::span<const Type>) { return self->program.flops(); };
  op->joint_adjoint = [self](const Rule& r) { return adjoint(*self, r); };
  op->tangent = [self](const Rule& r) { return tangent(*self, r); };
  op->batch = [self](const Batched& b) {
    const std::vector<bool> batched(b.batched.begin(), b.batched.end());
    return apply_all(*make_checkpoint(batch_program(self->program, batched, b.size), self->shown), b.ins);
  };
  op->self = op;
  return op;
}

// x as a constant to the sweep, with the tangents that it carries.
Var held(const Var& x) {
  if (!x->tracked) return x;
  Var out = detach(x);
  out->tangents = x->tangents;
  return out;
}

// A value that was kept, as a constant to the sweep: what leads to it is noted on the way.
Var known(const Var& x) {
  Var out(x.array());
  out->tangents = x->tangents;
  if (!x.is_abstract()) return out;
  out->trace = x->trace;
  out->node = x->node;
  out->index = x->index;
  return out;
}

Vars adjoint(const Checkpoint& op, const Rule& r) {
  const std::size_t n = r.ins.size();
  // Where the sweep is recorded, derivatives of what it finds by the other inputs may be asked for.
  const bool recorded = modes().grad_enabled;
  Vars leaves, targets, ends, seeds, outs;
  Wanted wanted;
  {
    const GradMode on(true);
    for (std::size_t i = 0; i < n; ++i) {
      const Var& x = r.ins[i];
      Var leaf = x;
      if (!x) {  // nobody reads its value, so that what is found does not depend on it
        leaf = Var(Array(*r.in_types[i]));
        if (r.wanted[i]) make_leaf(*leaf.get());
      } else if (r.wanted[i]) {
        leaf = transform_leaf(x);
      } else if (!recorded) {
        leaf = held(x);
      }
      leaves.push_back(leaf);
      if (r.wanted[i]) targets.push_back(leaf);
      wanted.tracked.push_back(leaf->tracked);
    }
    for (const Var& g : r.gs) wanted.seeded.push_back(bool(g));
    std::unordered_map<ValueId, Var> given;
    std::vector<bool> is_given(op.program.types.size(), false);
    for (std::size_t j = op.shown; !recorded && j < r.outs.size(); ++j) {
      given[op.program.outputs[j]] = known(r.outs[j]);
      is_given[std::size_t(op.program.outputs[j])] = true;
    }
    const Recomputation plan = plan_again(op.program, wanted, is_given);
    outs = run_again(op.program, plan, {leaves.data(), n}, given, op.attended, true);
  }
  for (const Var& leaf : targets) end_leaf(leaf);
  // To what has arrived from outside the sweep adds step by step, as if the steps were not apart.
  for (std::size_t i = 0, t = 0; i < n; ++i) {
    if (!r.wanted[i]) continue;
    if (Var g = take_arrived(i)) ends.push_back(targets[t]), seeds.push_back(std::move(g));
    ++t;
  }
  for (std::size_t j = 0; j < outs.size(); ++j) {
    if (!r.gs[j] || !outs[j] || !outs[j]->tracked) continue;
    ends.push_back(std::move(outs[j]));
    seeds.push_back(r.gs[j]);
  }
  outs.clear();
  const std::span<const Var> to{targets.data(), targets.size()};
  Reach reach;
  if (recorded) reach = find_reach({ends.data(), ends.size()}, to);
  Vars found = reverse_sweep({ends.data(), ends.size()}, {seeds.data(), seeds.size()}, to,
                             {.retain_graph = recorded}, recorded ? &reach : nullptr);
  Vars out(n);
  for (std::size_t i = 0, t = 0; i < n; ++i)
    if (r.wanted[i]) out[i] = std::move(found[t++]);
  return out;
}

Vars tangent(const Checkpoint& op, const Rule& r) {
  std::vector<bool> active;
  std::vector<Var> inputs(r.ins.begin(), r.ins.end());
  for (const Var& dx : r.dxs) {
    active.push_back(bool(dx));
    if (dx) inputs.push_back(dx);
  }
  Program program = push_program(op.program, active);
  // Its outputs are those of the op, then the tangents of the floats: shown ones and tangents go in
  // front, what is kept and its tangents behind.
  const std::size_t count = op.program.outputs.size();
  const std::vector<ValueId> all = std::move(program.outputs);
  std::vector<ValueId> kept(all.begin() + std::ptrdiff_t(op.shown), all.begin() + std::ptrdiff_t(count));
  program.outputs.assign(all.begin(), all.begin() + std::ptrdiff_t(op.shown));
  std::vector<int> places(count, -1);
  std::size_t next = count;
  for (std::size_t j = 0; j < count; ++j) {
    if (!is_float(op.program.types[std::size_t(op.program.outputs[j])].dtype)) continue;
    places[j] = int(program.outputs.size());
    program.outputs.push_back(all[next]);
    if (j >= op.shown) kept.push_back(all[next]);
    ++next;
  }
  const std::size_t shown = program.outputs.size();
  program.outputs.insert(program.outputs.end(), kept.begin(), kept.end());
  const Vars found = apply_all(*make_checkpoint(std::move(program), shown), inputs);
  Vars out(count);
  for (std::size_t j = 0; j < count; ++j)
    if (places[j] >= 0) out[j] = found[std::size_t(places[j])];
  return out;
}

// Steps that the outputs do not depend on, and inputs that nobody reads, go; `inputs` are the values
// of the program's.
void prune(Program& program, std::vector<Var>& inputs) {
  std::vector<bool> read(program.types.size(), false);
  for (const ValueId id : program.outputs) read[std::size_t(id)] = true;
  std::vector<Step> kept;
  for (std::size_t s = program.steps.size(); s-- > 0;) {
    Step& step = program.steps[s];
    if (std::none_of(step.outs.begin(), step.outs.end(), [&](ValueId id) { return read[std::size_t(id)]; })) continue;
    for (const ValueId id : step.ins) read[std::size_t(id)] = true;
    kept.push_back(std::move(step));
  }
  program.steps.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  std::erase_if(program.constants, [&](const auto& constant) { return !read[std::size_t(constant.first)]; });
  std::size_t next = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!read[std::size_t(program.inputs[i])]) continue;
    program.inputs[next] = program.inputs[i];
    inputs[next++] = inputs[i];
  }
  program.inputs.resize(next);
  inputs.resize(next);
}

// Of the values that were chosen to be kept, those that the sweep would compute again otherwise.
std::vector<ValueId> useful(const Program& program, const std::vector<bool>& tracked, const std::vector<ValueId>& chosen) {
  std::vector<bool> given(program.types.size(), false);
  for (const ValueId id : program.inputs) given[std::size_t(id)] = true;
  for (const auto& [id, x] : program.constants) given[std::size_t(id)] = true;
  const std::vector<bool> outside = given;
  const Wanted wanted{.tracked = tracked, .seeded = std::vector<bool>(program.outputs.size(), true)};
  for (const ValueId id : chosen) given[std::size_t(id)] = true;
  const Recomputation plan = plan_again(program, wanted, given);
  std::vector<ValueId> out;
  for (const ValueId id : chosen)
    if (plan.needed[std::size_t(id)] && !outside[std::size_t(id)] && std::find(out.begin(), out.end(), id) == out.end())
      out.push_back(id);
  return out;
}

// The tensors of a result that `mine` says were made within, and the tangents they carry, each once.
template <class F>
Vars made_within(std::span<const Var> results, const F& mine) {
  Vars out;
  std::unordered_set<const Value*> seen;
  std::vector<Var> waiting(results.rbegin(), results.rend());
  while (!waiting.empty()) {
    const Var x = std::move(waiting.back());
    waiting.pop_back();
    if (!seen.insert(x.get()).second) continue;
    if (mine(x)) out.push_back(x);
    if (x->tangents)
      for (const auto& entry : x->tangents->entries) waiting.push_back(entry.tangent);
  }
  return out;
}

// Makes `outs`, of which the first `shown` are there for the caller, the outputs of one node.
Ref<Node> adopt(const Checkpoint& op, std::span<const Var> ins, Vars& outs, Trace* trace) {
  struct Before {
    bool tracked;
    Ref<Node> node;
    uint16_t index;
  };
  std::vector<Before> before;
  bool tracked = false;
  for (std::size_t i = 0; i < op.shown; ++i) {
    before.push_back({outs[i]->tracked, outs[i]->node, outs[i]->index});
    tracked |= outs[i]->tracked;
  }
  const Ref<Node> node = leave_node(op, {}, ins, outs, tracked, trace);
  for (std::size_t i = 0; i < op.shown; ++i) {
    Value& y = *outs[i].get();
    y.tracked = before[i].tracked;
    y.is_leaf = !y.tracked;
    if (!y.tracked && !trace && !modes().tape) y.node = {};
    if (!y.tracked || !before[i].node->extras) continue;
    for (const auto& [index, grad] : before[i].node->extras->grads)
      if (index == before[i].index) y.node->more().grads.emplace_back(y.index, grad);
  }
  return node;
}

}  // namespace

void enclose(Tape& tape, std::span<const Var> results) {
  tape.end();
  Vars outs = made_within(results, [&](const Var& x) { return tape.number_of(x) >= 0; });
  const bool tracked = std::any_of(outs.begin(), outs.end(), [](const Var& y) { return y->tracked; });
  if (!tracked && !modes().tape) {
    for (const Var& y : outs) y->node = {};
    return;
  }
  Program program;
  program.types = tape.types();
  for (const Tape::Line& line : tape.lines()) {
    Step step{.op = line.op, .attrs = line.attrs, .ins = {}, .outs = {}, .source = line.source, .tracked = line.tracked,
              .region = line.region, .constant = line.constant, .own_op = line.own_op};
    step.ins = line.ins;
    for (uint32_t i = 0; i < line.outs; ++i) step.outs.push_back(line.first + ValueId(i));
    program.steps.push_back(std::move(step));
  }
  for (const Var& y : outs) program.outputs.push_back(tape.number_of(y));
  std::unordered_map<ValueId, uint32_t> versions;
  std::vector<Var> inputs;
  for (const Tape::Outside& entry : tape.outside()) {
    const Var& x = entry.value;
    if (x->weak) {
      program.constants.emplace_back(entry.number, x);
      continue;
    }
    program.inputs.push_back(entry.number);
    versions[entry.number] = entry.version;
    inputs.push_back(x);
  }
  prune(program, inputs);
  const std::size_t shown = outs.size();
  std::vector<bool> is_tracked;
  for (const Var& x : inputs) is_tracked.push_back(x->tracked);
  std::vector<ValueId> chosen;
  for (const Tape::Kept& kept : tape.kept()) chosen.push_back(kept.number);
  for (const ValueId id : useful(program, is_tracked, chosen)) {
    const auto kept = std::find_if(tape.kept().begin(), tape.kept().end(), [&](const auto& k) { return k.number == id; });
    program.outputs.push_back(id);
    outs.push_back(Var(kept->value.array()));
  }
  const auto op = make_checkpoint(std::move(program), shown);
  for (const Ref<Node>& node : tape.attended()) op->attended[ValueId(node->place)] = node;
  const Ref<Node> node = adopt(*op, inputs, outs, nullptr);
  if (!node || modes().tape) return;
  // A sweep that is recorded itself computes also again what is kept.
  const std::vector<bool> given(op->program.types.size(), false);
  const Wanted wanted{.tracked = is_tracked, .seeded = std::vector<bool>(outs.size(), true)};
  const Recomputation plan = plan_again(op->program, wanted, given);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueId id = op->program.inputs[i];
    Edge& edge = node->inputs[i];
    edge.version = versions[id];
    if (!plan.needed[std::size_t(id)]) edge.value = {};
  }
}

void enclose(Trace& trace, std::size_t from, std::size_t renamed, const Part& part, std::span<const Var> results,
             const Tape::Keeps& keeps) {
  std::vector<Var> changed;  // what tensors from outside, and gradients, have become
  std::span<const std::pair<Var, Var>> names;
  if (Recording* recording = Recording::current(); recording && &recording->trace() == &trace) {
    names = std::span(recording->renamed()).subspan(renamed);
    for (const auto& [name, value] : names) {
      if (name->tracked) return;  // a leaf was changed: what reads it later has another history than value
      changed.push_back(value);
    }
    for (const Recording::Gradient& gradient : recording->gradients())
      if (gradient.now) changed.push_back(gradient.now);
  }
  if (part.strayed || trace.nodes().size() == from) return;
  std::vector<Ref<Node>> nodes = trace.cut(from);
  std::unordered_set<const Node*> mine;
  for (const Ref<Node>& node : nodes) {
    mine.insert(node.get());
    node->light = true;  // no longer the trace's
  }
  std::vector<Var> ends(results.begin(), results.end());
  ends.insert(ends.end(), changed.begin(), changed.end());
  Vars outs = made_within(ends, [&](const Var& x) { return x.is_abstract() && mine.contains(x->node.get()); });
  Program program = program_of(nodes, {}, {outs.data(), outs.size()}, names);
  Attended attended;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]->extras && (!nodes[i]->extras->hooks.empty() || !nodes[i]->extras->grads.empty()))
      attended[program.steps[i].outs[0]] = nodes[i];
  std::vector<Var> inputs;
  std::vector<std::pair<ValueId, Var>> constants;
  for (const auto& [id, x] : program.constants) {
    const bool is_input = x.is_abstract() || x->tracked || x->tangents || !x->weak;
    if (!is_input) {
      constants.emplace_back(id, x);
      continue;
    }
    program.inputs.push_back(id);
    inputs.push_back(x);
  }
  program.constants = std::move(constants);
  prune(program, inputs);
  const std::size_t shown = outs.size();
  if (keeps) {
    std::vector<ValueId> chosen;
    const std::vector<Array> arrays = lay_out(program);
    for (const Step& step : program.steps) {
      const auto types = [&](const auto& ids) { return program.types_of({ids.data(), ids.size()}); };
      if (!keeps(*step.op, step.attrs, types(step.ins), types(step.outs))) continue;
      chosen.insert(chosen.end(), step.outs.begin(), step.outs.end());
      if (step.ins.size() == 1 && arrays[std::size_t(step.ins[0])].same_place(arrays[std::size_t(step.outs[0])]))
        chosen.push_back(step.ins[0]);
    }
    std::vector<bool> floats;
    for (const Var& x : inputs) floats.push_back(is_float(x.dtype()));
    for (const ValueId id : useful(program, floats, chosen)) {
      program.outputs.push_back(id);
      outs.push_back(Var(Array(program.types[std::size_t(id)])));
      outs.back()->trace = trace.id();
    }
  }
  if (outs.empty()) return;
  const auto op = make_checkpoint(std::move(program), shown);
  op->attended = std::move(attended);
  adopt(*op, inputs, outs, &trace);
}

}  // namespace wengert
