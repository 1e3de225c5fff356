#include "program/program.h"

#include <algorithm>
#include <unordered_map>

namespace wengert {

ValueId Program::new_value(Type type) {
  types.push_back(std::move(type));
  return ValueId(types.size() - 1);
}

std::vector<Type> Program::types_of(std::span<const ValueId> values) const {
  std::vector<Type> out;
  for (const ValueId id : values) out.push_back(types[std::size_t(id)]);
  return out;
}

int64_t Program::flops(const Step& step) const {
  return count_flops(*step.op, types_of({step.ins.data(), step.ins.size()}),
                     types_of({step.outs.data(), step.outs.size()}));
}

int64_t Program::flops() const {
  int64_t out = 0;
  for (const Step& step : steps) out += flops(step);
  return out;
}

bool Program::calls_out() const {
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    return step.op->body ? step.op->body->calls_out() : step.op->evaluate || step.op->calls_out;
  });
}

bool Program::is_long(int64_t runs) const {
  constexpr int64_t flops_an_element = 16, elements_a_step = 16;
  const auto of_run = double(flops() / flops_an_element + elements_a_step * int64_t(steps.size()));
  return double(runs) * of_run >= double(worth_a_release) ||
         std::any_of(steps.begin(), steps.end(), [](const Step& step) { return step.op->is_long; });
}

Program program_of(const Trace& trace, std::span<const Var> inputs, std::span<const Var> outputs,
                   std::span<const std::pair<Var, Var>> renamed) {
  return program_of(trace.nodes(), inputs, outputs, renamed);
}

Program program_of(std::span<const Ref<Node>> nodes, std::span<const Var> inputs, std::span<const Var> outputs,
                   std::span<const std::pair<Var, Var>> renamed) {
  Program program;
  std::unordered_map<const Value*, Var> stands_for;
  for (const auto& [name, value] : renamed) stands_for[name.get()] = value;
  std::unordered_map<const Value*, ValueId> leaves;
  std::unordered_map<const Node*, SmallVector<ValueId, 1>> made;
  for (const Var& x : inputs) {
    const ValueId id = program.new_value(x->array.type());
    leaves[x.get()] = id;
    program.inputs.push_back(id);
  }
  auto id_of = [&](Var x) {
    for (auto other = stands_for.find(x.get()); other != stands_for.end(); other = stands_for.find(x.get())) x = other->second;
    if (const auto leaf = leaves.find(x.get()); leaf != leaves.end()) return leaf->second;
    if (x->node)
      if (const auto node = made.find(x->node.get()); node != made.end()) return node->second[x->index];
    const ValueId id = program.new_value(x->array.type());
    leaves[x.get()] = id;
    program.constants.emplace_back(id, x);
    return id;
  };
  for (const Ref<Node>& node : nodes) {
    Step step{.op = node->op, .attrs = node->attrs, .ins = {}, .outs = {}, .source = node->source,
              .tracked = node->tracked, .region = node->region, .constant = node->constant,
              .own_op = node->op->self.lock()};
    for (const Edge& edge : node->inputs) step.ins.push_back(id_of(Var(edge.value)));
    for (const Type& type : node->out_types) step.outs.push_back(program.new_value(type));
    made[node.get()] = step.outs;
    program.steps.push_back(std::move(step));
  }
  for (const Var& y : outputs) program.outputs.push_back(id_of(y));
  return program;
}

Halves split(const Program& program, std::size_t at, std::span<const ValueId> rest_inputs,
             std::span<const ValueId> rest_outputs) {
  Halves out{program, program, {}};
  const auto middle = std::ptrdiff_t(at);
  out.first.steps.assign(program.steps.begin(), program.steps.begin() + middle);
  out.rest.steps.assign(program.steps.begin() + middle, program.steps.end());
  out.rest.inputs.assign(rest_inputs.begin(), rest_inputs.end());
  out.rest.outputs.assign(rest_outputs.begin(), rest_outputs.end());
  std::vector<bool> known(program.types.size(), false);
  for (const ValueId id : rest_inputs) known[std::size_t(id)] = true;
  for (const auto& [id, x] : program.constants) known[std::size_t(id)] = true;
  for (const Step& step : out.rest.steps)
    for (const ValueId id : step.outs) known[std::size_t(id)] = true;
  auto cross = [&](ValueId id) {
    if (known[std::size_t(id)]) return;
    known[std::size_t(id)] = true;
    out.crossing.push_back(id);
  };
  for (const Step& step : out.rest.steps)
    for (const ValueId id : step.ins) cross(id);
  for (const ValueId id : rest_outputs) cross(id);
  out.rest.inputs.insert(out.rest.inputs.end(), out.crossing.begin(), out.crossing.end());
  return out;
}

std::vector<Array> lay_out(const Program& program) {
  std::vector<Array> arrays(program.types.size());
  auto own = [&](ValueId id) {
    const Type& type = program.types[std::size_t(id)];
    const auto bytes = std::size_t(numel(type.shape)) * std::size_t(itemsize(type.dtype));
    arrays[std::size_t(id)] = Array::foreign(nullptr, bytes, false, type.dtype, type.shape,
                                             contiguous_strides(type.shape), [] {});
  };
  for (const ValueId id : program.inputs) own(id);
  for (const auto& [id, x] : program.constants) {
    if (x.is_abstract()) own(id);
    else
      arrays[std::size_t(id)] = Array::foreign(nullptr, x->array.buffer()->bytes, true, x.dtype(), x.shape(),
                                               x->array.strides(), [] {});
  }
  for (const Step& step : program.steps) {
    Array seen;
    if (step.op->view && step.ins.size() == 1)
      seen = step.op->view(arrays[std::size_t(step.ins[0])], step.attrs);
    if (seen.has_data()) arrays[std::size_t(step.outs[0])] = std::move(seen);
    else
      for (const ValueId id : step.outs) own(id);
  }
  return arrays;
}

std::vector<Held> held_by(const Program& program, const Step& step) {
  std::vector<Held> out;
  const Op::Bounds& bounds = step.op->bounds;
  if (!bounds.of || step.own_op) return out;
  const Ints to = bounds.of(program.types_of(step.ins), program.types_of(step.outs), step.attrs);
  const std::size_t count = step.ins.size() - bounds.first;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back({step.ins[bounds.first + i], count == to.size() ? Ints{to[i]} : to});
  return out;
}

std::vector<bool> may_fail(const Program& program) {
  std::vector<bool> out;
  std::unordered_map<ValueId, std::vector<Ints>> known;
  const auto is_known = [&](const Held& held) {
    const auto found = known.find(held.indices);
    return found != known.end() && std::find(found->second.begin(), found->second.end(), held.to) != found->second.end();
  };
  for (const Step& step : program.steps) {
    const std::vector<Held> own = held_by(program, step);
    out.push_back(step.op->stays() && (own.empty() || !std::all_of(own.begin(), own.end(), is_known)));
    for (const Held& held : own) {
      if (!is_known(held)) known[held.indices].push_back(held.to);
      if (step.op->bounds.passes) known[step.outs[0]].push_back(held.to);
    }
  }
  return out;
}

bool any_may_fail(const Program& program) {
  const std::vector<bool> failing = may_fail(program);
  return std::find(failing.begin(), failing.end(), true) != failing.end();
}

std::vector<int32_t> count_readers(const Program& program) {
  std::vector<int32_t> readers(program.types.size(), 0);
  for (const Step& step : program.steps)
    for (const ValueId id : step.ins) ++readers[std::size_t(id)];
  for (const ValueId id : program.outputs) ++readers[std::size_t(id)];
  return readers;
}

bool is_view(const Step& step, const std::vector<Array>& arrays) {
  const auto buffer = [&](ValueId id) { return arrays[std::size_t(id)].buffer().get(); };
  return (step.ins.size() == 1 || step.op->joins) && buffer(step.ins[0]) == buffer(step.outs[0]);
}

Homes homes_of(const Program& program, const std::vector<Array>& arrays) {
  Homes out{std::vector<int32_t>(arrays.size(), -1)};
  const auto buffer = [&](ValueId id) { return arrays[std::size_t(id)].buffer().get(); };
  const auto home = [&](ValueId id) -> int32_t& { return out.of[std::size_t(id)]; };
  const auto own = [&](ValueId id) { home(id) = int32_t(out.count++); };
  for (const ValueId id : program.inputs) own(id);
  for (const auto& [id, x] : program.constants) own(id);
  for (const Step& step : program.steps) {
    const bool looks = is_view(step, arrays);
    for (auto id = step.outs.begin(); id != step.outs.end(); ++id) {
      // Results of a step share a buffer where they are parts of what joins them.
      const auto same = std::find_if(step.outs.begin(), id, [&](ValueId other) { return buffer(other) == buffer(*id); });
      if (looks) home(*id) = home(step.ins[0]);
      else if (same != id) home(*id) = home(*same);
      else own(*id);
    }
  }
  return out;
}

Traffic traffic(const Program& program) {
  const std::vector<Array> arrays = lay_out(program);
  auto home = [&](ValueId id) { return arrays[std::size_t(id)].buffer().get(); };
  auto bytes_of = [&](ValueId id) {
    const Type& type = program.types[std::size_t(id)];
    return numel(type.shape) * int64_t(itemsize(type.dtype));
  };
  constexpr std::size_t for_ever = SIZE_MAX;
  std::unordered_map<const Buffer*, std::size_t> last_use;
  for (std::size_t s = 0; s < program.steps.size(); ++s)
    for (const ValueId id : program.steps[s].ins) last_use[home(id)] = s;
  for (const ValueId id : program.inputs) last_use[home(id)] = for_ever;
  for (const auto& [id, x] : program.constants) last_use[home(id)] = for_ever;
  for (const ValueId id : program.outputs) last_use[home(id)] = for_ever;

  Traffic out;
  int64_t live = 0;
  std::unordered_map<const Buffer*, int64_t> alive;
  auto make = [&](ValueId id) {
    if (alive.emplace(home(id), int64_t(home(id)->bytes)).second) live += int64_t(home(id)->bytes);
  };
  for (const ValueId id : program.inputs) make(id);
  for (const auto& [id, x] : program.constants) make(id);
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    for (const ValueId id : step.outs) make(id);
    out.bytes_peak = std::max(out.bytes_peak, live);
    if (!is_view(step, arrays)) {
      for (const ValueId id : step.ins) out.bytes_moved += bytes_of(id);
      for (const ValueId id : step.outs) out.bytes_moved += bytes_of(id);
    }
    auto end = [&](ValueId id) {
      const auto last = last_use.find(home(id));
      if (last != last_use.end() && last->second > s) return;
      if (const auto found = alive.find(home(id)); found != alive.end()) {
        live -= found->second;
        alive.erase(found);
      }
    };
    for (const ValueId id : step.ins) end(id);
    for (const ValueId id : step.outs) end(id);
  }
  out.bytes_peak = std::max(out.bytes_peak, live);
  return out;
}

}  // namespace wengert
