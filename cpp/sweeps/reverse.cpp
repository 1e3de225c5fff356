#include "sweeps/reverse.h"

#include <algorithm>
#include <unordered_map>

#include "graph/recording.h"
#include "graph/source.h"
#include "graph/tangents.h"
#include "graph/tape.h"
#include "graph/watch.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"

namespace wengert {
namespace {

struct Pending {
  Ref<Node> node;
  SmallVector<Var, 1> adjoints;  // one an output, null until a contribution arrives
};

// Whether nobody but this handle sees x, so that adding to it in place changes nothing else. A watch
// and a tape see every sum.
bool owned(const Var& x) {
  return x->refs == 1 && !watching() && !modes().tape && !x->tracked && !x->tangents && !x.is_abstract() &&
         x->array.buffer().unique() && !x->array.buffer()->foreign && x->array.is_contiguous();
}

void accumulate(Var& into, Var g) {
  if (!into) into = std::move(g);
  else if (owned(into) && !g->tracked && !g->tangents && !g.is_abstract()) kernels::add_into(into.array(), g.array());
  else if (owned(g) && !into->tracked && !into->tangents && !into.is_abstract()) {
    kernels::add_into(g.array(), into.array());
    into = std::move(g);
  } else into = add(into, g);
}

// What a leaf keeps: contiguous memory of its own, so that optimisers can update in place.
void accumulate_leaf(Node& leaf, Var g) {
  if (Recording* recording = Recording::current()) {
    const Ref<Node> node(&leaf);
    const Var before = recording->gradient(node);
    return recording->set_gradient(node, before ? add(before, g) : g);
  }
  if (g.is_abstract())
    fail(ErrorKind::trace, "backward: inside a traced function it would leave a traced gradient in a tensor made "
         "outside; use wg.grad there");
  auto& grads = leaf.more().grads;
  if (!grads.empty() && grads[0].second) {
    Var& grad = grads[0].second;
    const bool plain = !g->tracked && !g->tangents && !g.is_abstract() && !grad->tracked && !grad.is_abstract();
    const uint32_t own = grad->python ? 2u : 1u;  // the leaf's, and its Python object's
    const bool mine = !watching() && !modes().tape && grad->refs == own;
    if (plain && mine && grad->array.buffer().unique() && grad->array.is_contiguous() && !grad->array.buffer()->foreign) {
      ++grad->array.buffer()->version;
      kernels::add_into(grad.array(), g.array());
    } else {
      grad = add(grad, g);
    }
    return;
  }
  // Adopted only where nobody else sees it: later passes add to it in place.
  Var grad = std::move(g);
  if (!grad->tracked && !carries_tangent(grad) && !owned(grad)) grad = Var(kernels::contiguous_copy(grad.array()));
  grads.clear();
  grads.emplace_back(uint16_t(0), std::move(grad));
  ++gradients_epoch();
}

class Sweep;

// The node whose rule for all cotangents is running.
struct Asked {
  Sweep* sweep = nullptr;
  const Node* node = nullptr;
};
thread_local Asked asked;

[[noreturn]] void refuse_escaped(const Node& node) {
  fail(ErrorKind::graph, node.name(), ": was recorded at ", show_source(node.source), " inside a function under "
       "wg.checkpoint, which keeps no values for backward passes; return its result from the function");
}

class Sweep {
 public:
  Sweep(std::span<const Var> targets, const SweepOptions& options) : targets_(targets), options_(options) {
    results_.resize(targets.size());
  }
  ~Sweep() {
    for (Pending& entry : pending_)
      if (entry.node && entry.node->sweep == id_) entry.node->sweep = 0;
  }

  Var take(const Edge& edge) {
    Node* node = edge.node.get();
    if (!wants(node)) return {};
    const auto noted = node->sweep == id_ ? node->slot : shared_.contains(node) ? shared_.at(node) : -1;
    return noted < 0 ? Var() : std::exchange(pending_[std::size_t(noted)].adjoints[edge.index], {});
  }

  // Only the nodes of `reach` will be visited.
  void limit_to(const Reach& reach) { reach_ = &reach; }

  void seed(const Var& output, const Var& g) {
    if (output->node && output->tracked) contribute(output->node, output->index, g);
    else
      for (std::size_t t = 0; t < targets_.size(); ++t)
        if (targets_[t] == output) accumulate(results_[t], g);
  }

  Vars run() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), Younger{pending_});
      const int32_t slot = heap_.back();
      heap_.pop_back();
      Pending entry = std::move(pending_[std::size_t(slot)]);
      if (entry.node->sweep == id_) entry.node->sweep = 0;
      else shared_.erase(entry.node.get());
      free_slots_.push_back(slot);
      visit(entry);
    }
    return std::move(results_);
  }

 private:
  struct Younger {
    const std::vector<Pending>& pending;
    bool operator()(int32_t a, int32_t b) const {
      return pending[std::size_t(a)].node->serial < pending[std::size_t(b)].node->serial;
    }
  };

  static uint32_t next_id() {
    static uint32_t id = 0;
    if (++id == 0) ++id;  // 0 stands for no sweep
    return id;
  }

  bool wants(const Node* node) const { return node && (!reach_ || reach_->nodes.contains(node)); }

  // Where the node waits, or -1. Another sweep (of a hook, of another thread) may be holding the
  // node's own note of it; then this sweep keeps one of its own.
  int32_t& place(Node& node) {
    if (node.sweep == id_) return node.slot;
    if (node.sweep != 0) return shared_.try_emplace(&node, -1).first->second;
    node.sweep = id_;
    return node.slot = -1;
  }

  void contribute(const Ref<Node>& node, std::size_t index, Var g) {
    if (!wants(node.get())) return;
    int32_t& noted = place(*node);
    int32_t slot = noted;
    if (slot < 0) {
      if (free_slots_.empty()) {
        slot = int32_t(pending_.size());
        pending_.emplace_back();
      } else {
        slot = free_slots_.back();
        free_slots_.pop_back();
      }
      Pending& entry = pending_[std::size_t(slot)];
      entry.node = node;
      entry.adjoints.resize(node->out_types.size());
      noted = slot;
      heap_.push_back(slot);
      std::push_heap(heap_.begin(), heap_.end(), Younger{pending_});
    }
    accumulate(pending_[std::size_t(slot)].adjoints[index], std::move(g));
  }

  void visit(Pending& entry) {
    Node& node = *entry.node;
    const bool is_target = std::any_of(targets_.begin(), targets_.end(), [&](const Var& x) { return x->node == entry.node; });
    if (node.extras && (options_.hooks_of_targets || !is_target)) run_hooks(node, entry.adjoints);
    for (std::size_t t = 0; t < targets_.size(); ++t)
      if (targets_[t]->node == entry.node)
        if (const Var& g = entry.adjoints[targets_[t]->index]) accumulate(results_[t], g);
    if (is_target) return;
    if (node.is_leaf()) {
      if (options_.accumulate && !node.ended && entry.adjoints[0]) accumulate_leaf(node, std::exchange(entry.adjoints[0], {}));
      return;
    }
    if (node.light) refuse_escaped(node);
    if (node.begins && !node.ended && options_.accumulate)
      if (Recording* recording = Recording::current()) recording->strays = true;
    if (node.freed)
      fail(ErrorKind::graph, node.name(), ": the values saved for the backward pass were freed by an "
           "earlier one; the operation was recorded at ", show_source(node.source),
           ", the values freed at ", show_source(node.freed_at),
           ". Call backward(retain_graph=True) the first time to sweep the graph again");
    try {
      propagate(entry);
    } catch (const Error& error) {
      rethrow_in_backward(error, node);
    }
    if (options_.retain_graph || node.begins) return;  // a leaf of a transform holds nothing
    if (!node.traced) drop_saved(node, source_);
    else if (Recording::current()) node.freed = true, node.freed_at = source_;
  }

  void run_hooks(Node& node, SmallVector<Var, 1>& adjoints) {
    const auto hooks = node.extras->hooks;  // a hook may add or remove hooks
    for (const auto& [index, hook] : hooks)
      if (Var& g = adjoints[index])
        if (Var replaced = hook.call(g)) g = replaced;
    if (node.is_leaf() || !options_.accumulate) return;
    for (auto& [index, kept] : node.extras->grads)
      if (const Var& g = adjoints[index]) kept = kept ? add(kept, g) : g;
  }

  Var saved_input(const Node& node, std::size_t i) {
    const Edge& edge = node.inputs[i];
    if (edge.value && edge.value->array.has_data() && edge.value->array.buffer()->version != edge.version)
      changed(node, *edge.value->array.buffer());
    return Var(edge.value);
  }

  // The output again, connected as the original was.
  Var saved_output(const Ref<Node>& node, std::size_t i) {
    const SavedOutput& saved = (*node->saved_out)[i];
    if (saved.array.has_data() && saved.array.buffer()->version != saved.version)
      changed(*node, *saved.array.buffer());
    if (saved.instead) return Var(saved.instead);
    Var y{Array(saved.array)};
    y->node = node;
    y->index = uint16_t(i);
    y->tracked = is_float(saved.array.dtype());
    y->is_leaf = false;
    y->tangents = saved.tangents;
    y->trace = saved.trace;
    return y;
  }

  [[noreturn]] void changed(const Node& node, const Buffer& buffer) {
    fail(ErrorKind::graph, node.name(), ": a value that its backward pass needs was changed in place; "
         "the operation was recorded at ", show_source(node.source), ", the value changed at ",
         show_source(buffer.changed_at), ". Change a copy, or run backward() first");
  }

  void propagate(Pending& entry) {
    const Node& node = *entry.node;
    const Op& op = *node.op;
    const std::size_t n = node.inputs.size();
    SmallVector<const Type*, 3> in_types;
    Vars ins, outs;
    for (std::size_t i = 0; i < n; ++i) {
      in_types.push_back(&node.in_type(i));
      ins.push_back(saved_input(node, i));
    }
    for (std::size_t i = 0; i < node.out_types.size(); ++i)
      outs.push_back(node.saved_out ? saved_output(entry.node, i) : Var());
    Rule rule{.op = op, .attrs = node.attrs, .in_types = {in_types.data(), n},
              .out_types = {node.out_types.data(), node.out_types.size()}, .ins = {ins.data(), n},
              .outs = {outs.data(), outs.size()}, .gs = {entry.adjoints.data(), entry.adjoints.size()},
              .dxs = {}};
    if (op.joint_adjoint) {
      SmallVector<bool, 8> wanted;
      for (const Edge& edge : node.inputs) wanted.push_back(wants(edge.node.get()));
      rule.wanted = {wanted.data(), n};
      struct Asking {
        Asked before;
        ~Asking() { asked = before; }
      } const asking{std::exchange(asked, {this, &node})};
      Vars gs = op.joint_adjoint(rule);
      for (std::size_t i = 0; i < n; ++i)
        if (gs[i]) contribute(node.inputs[i].node, node.inputs[i].index, std::move(gs[i]));
      return;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const Adjoint& adjoint = op.adjoint(i);
      if (!wants(node.inputs[i].node.get()) || !adjoint.rule) continue;
      rule.index = int(i);
      if (Var g = adjoint.rule(rule)) contribute(node.inputs[i].node, node.inputs[i].index, std::move(g));
    }
  }

  std::span<const Var> targets_;
  SweepOptions options_;
  const Reach* reach_ = nullptr;
  uint32_t id_ = next_id();
  std::unordered_map<const Node*, int32_t> shared_;
  std::vector<Pending> pending_;
  std::vector<int32_t> heap_, free_slots_;
  Vars results_;
  uint32_t source_ = source_here();  // the line that started the sweep
};

// A tracked input without a node stands for a value that a transform around the trace tracks.
bool tracked_outside(const Edge& edge) { return !edge.node && edge.value && edge.value->tracked; }

// Whether a leaf that somebody may still ask for is behind the node, or one not younger than the number `after`.
bool reaches_living_leaf(const Ref<Node>& node, uint64_t after = 0) {
  std::vector<const Node*> waiting{node.get()};
  std::unordered_set<const Node*> seen{node.get()};
  while (!waiting.empty()) {
    const Node* next = waiting.back();
    waiting.pop_back();
    if ((next->is_leaf() || next->begins) && !next->ended) return true;
    if (next->light || next->serial <= after) return true;  // tracked, so a leaf is
    for (const Edge& edge : next->inputs) {
      if (tracked_outside(edge)) return true;
      if (edge.node && seen.insert(edge.node.get()).second) waiting.push_back(edge.node.get());
    }
  }
  return false;
}

}  // namespace

Var take_arrived(std::size_t input) { return asked.sweep->take(asked.node->inputs[input]); }

bool is_wanted(const Var& y, uint64_t after) { return y->tracked && y->node && reaches_living_leaf(y->node, after); }

bool can_sweep(const Var& y, uint64_t after) {
  if (!y->tracked || !y->node) return false;
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> nodes{y->node.get()};
  while (!nodes.empty()) {
    const Node* node = nodes.back();
    nodes.pop_back();
    if (!node || node->serial <= after || !seen.insert(node).second) continue;
    if (node->freed) return false;
    for (const Edge& edge : node->inputs) nodes.push_back(edge.node.get());
  }
  return true;
}

Reach find_reach(std::span<const Var> outputs, std::span<const Var> targets) {
  Reach reach;
  std::unordered_set<const Node*> ends;
  uint64_t first = UINT64_MAX;  // nothing older depends on a target
  for (const Var& x : targets) {
    if (!x->node) continue;
    ends.insert(x->node.get());
    first = std::min(first, x->node->serial);
    for (const Edge& edge : x->node->inputs)
      reach.outer = reach.outer || tracked_outside(edge) || (edge.node && reaches_living_leaf(edge.node));
  }
  std::unordered_set<const Node*> seen;
  std::vector<Ref<Node>> nodes;
  auto see = [&](const Ref<Node>& node) {
    if (ends.contains(node.get())) {
      if (seen.insert(node.get()).second) nodes.push_back(node);
    } else if (node->serial < first || node->is_leaf() || (node->light && !node->traced)) {
      if (node->serial >= first && node->light && !modes().tape) refuse_escaped(*node);
      reach.outer = reach.outer || reaches_living_leaf(node);
    } else if (seen.insert(node.get()).second) {
      nodes.push_back(node);
    }
  };
  for (const Var& y : outputs)
    if (y->tracked && y->node) see(y->node);
  for (std::size_t next = 0; next < nodes.size(); ++next) {
    const Ref<Node> node = nodes[next];
    if (ends.contains(node.get())) continue;
    for (const Edge& edge : node->inputs) {
      if (edge.node) see(edge.node);
      reach.outer |= tracked_outside(edge);
    }
  }
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return a->serial < b->serial; });
  reach.nodes = ends;
  for (const Ref<Node>& node : nodes)
    for (const Edge& edge : node->inputs)
      if (reach.nodes.contains(edge.node.get())) {
        reach.nodes.insert(node.get());
        break;
      }
  return reach;
}

Vars reverse_sweep(std::span<const Var> outputs, std::span<const Var> seeds,
                   std::span<const Var> targets, const SweepOptions& options, const Reach* reach) {
  Sweep sweep(targets, options);
  if (reach) sweep.limit_to(*reach);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (seeds[i]) sweep.seed(outputs[i], seeds[i]);
  return sweep.run();
}

}  // namespace wengert
