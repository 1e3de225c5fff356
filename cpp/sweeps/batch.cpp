#include "sweeps/batch.h"

#include <ranges>
#include <unordered_map>

namespace wengert {
namespace {

struct Mapped {
  Var var;
  bool batched = false;
};

// The nodes that the outputs depend on (a transform within f may have traced others), each with the
// last that reads it; null for what is an output.
std::unordered_map<const Node*, const Node*> last_readers(const Trace& trace, std::span<const Var> outputs) {
  std::unordered_map<const Node*, const Node*> readers;
  for (const Var& y : outputs) readers.emplace(y->node.get(), nullptr);
  for (const Ref<Node>& node : trace.nodes() | std::views::reverse)
    if (readers.contains(node.get()))
      for (const Edge& edge : node->inputs) readers.try_emplace(edge.value->node.get(), node.get());
  return readers;
}

}  // namespace

std::vector<std::pair<Var, bool>> batch_sweep(const Trace& trace, std::span<const Var> inputs,
                                              std::span<const Var> values, const std::vector<bool>& batched,
                                              int64_t size, std::span<const Var> outputs) {
  std::unordered_map<const Value*, Mapped> leaves;
  std::unordered_map<const Node*, std::vector<Mapped>> made;
  for (std::size_t i = 0; i < inputs.size(); ++i) leaves[inputs[i].get()] = {values[i], batched[i]};
  // A value that the trace did not make is a constant, or belongs to a trace around this one.
  auto look_up = [&](const Var& x) -> Mapped {
    if (const auto leaf = leaves.find(x.get()); leaf != leaves.end()) return leaf->second;
    if (x->node)
      if (const auto node = made.find(x->node.get()); node != made.end()) return node->second[x->index];
    return {x, false};
  };
  const auto readers = last_readers(trace, outputs);
  for (const Ref<Node>& node : trace.nodes()) {
    if (!readers.contains(node.get())) continue;
    Vars ins;
    const std::size_t n = node->inputs.size();
    const auto flags = std::make_unique<bool[]>(n);
    bool any = false;
    for (const Edge& edge : node->inputs) {
      const Mapped x = look_up(Var(edge.value));
      flags[ins.size()] = x.batched;
      any |= x.batched;
      ins.push_back(x.var);
    }
    const std::span<const Var> args{ins.data(), ins.size()};
    const GradMode mode(modes().grad_enabled && node->tracked);
    const AgainMode again(node->constant);
    const Region region(node->region ? node->region : modes().region);
    const Vars outs = any ? node->op->batch({.op = *node->op, .attrs = node->attrs, .ins = args,
                                             .batched = {flags.get(), n}, .size = size})
                          : apply_all(*node->op, args, node->attrs);
    if (outs.size() != node->out_types.size())
      fail(ErrorKind::argument, node->op->name, ": must always give as many results; got ", node->out_types.size(),
           " where it was traced, and ", outs.size(), " where it is mapped");
    auto& entry = made[node.get()];
    for (const Var& y : outs) entry.push_back({y, any});
    for (const Edge& edge : node->inputs)
      if (const Node* made_by = edge.value->node.get(); made_by && readers.at(made_by) == node.get()) made.erase(made_by);
  }
  std::vector<std::pair<Var, bool>> results;
  for (const Var& y : outputs) {
    Mapped mapped = look_up(y);
    results.emplace_back(std::move(mapped.var), mapped.batched);
  }
  return results;
}

}  // namespace wengert
