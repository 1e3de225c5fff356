#include "graph/tangents.h"

#include <algorithm>

#include "graph/trace.h"

namespace wengert {

void ForwardSweep::link(TangentSet& set, ForwardSweep* owner) {
  set.owner = owner;
  set.previous = nullptr;
  set.next = owner->sets_;
  if (set.next) set.next->previous = &set;
  owner->sets_ = &set;
}

void ForwardSweep::unlink(TangentSet& set) {
  if (!set.owner) return;
  if (set.previous) set.previous->next = set.next;
  else set.owner->sets_ = set.next;
  if (set.next) set.next->previous = set.previous;
  set.owner = nullptr;
}

void release(TangentSet* set) {
  ForwardSweep::unlink(*set);
  delete set;
}

std::vector<ForwardSweep*>& ForwardSweep::active() {
  thread_local std::vector<ForwardSweep*> sweeps;
  return sweeps;
}

ForwardSweep::ForwardSweep() : traces_around_(Trace::open_count()) { active().push_back(this); }

ForwardSweep::~ForwardSweep() {
  std::erase(active(), this);
  // Collected first: ending one tangent may end sets further down the list.
  std::vector<Var> ended;
  while (sets_) {
    TangentSet& set = *sets_;
    unlink(set);
    ended.push_back(std::move(set.entries.back().tangent));
    set.entries.pop_back();
    if (!set.entries.empty()) link(set, set.entries.back().sweep);
  }
}

bool ForwardSweep::is_within(const Trace& trace) const { return traces_around_ > trace.depth(); }

Var ForwardSweep::tangent_of(const Var& x) const {
  if (x->tangents)
    for (const auto& entry : x->tangents->entries)
      if (entry.sweep == this) return entry.tangent;
  return {};
}

void ForwardSweep::set_tangent(const Var& x, Var tangent) {
  if (!x->tangents) x->tangents = Ref<TangentSet>(new TangentSet);
  TangentSet& set = *x->tangents;
  unlink(set);
  set.entries.push_back({this, std::move(tangent)});
  link(set, this);
}

void ForwardSweep::seed(const Var& x, Var tangent) {
  followed_ |= tangent->tracked && modes().grad_enabled;
  set_tangent(x, std::move(tangent));
}

bool carries_tangent(const Var& x) {
  if (!x->tangents) return false;
  const auto& active = ForwardSweep::active();
  return std::any_of(active.begin(), active.end(), [&](const ForwardSweep* sweep) { return bool(sweep->tangent_of(x)); });
}

void push_tangents(const Op& op, const Attrs& attrs, std::span<const Var> ins,
                   std::span<const Var> outs, const Trace* trace) {
  auto& active = ForwardSweep::active();
  const bool any_float = std::any_of(outs.begin(), outs.end(), [](const Var& y) { return is_float(y.dtype()); });
  if (!op.tangent || !any_float) return;
  for (const Var& x : ins)
    if (x->tangents && std::any_of(x->tangents->entries.begin(), x->tangents->entries.end(),
                                   [](const auto& entry) { return !entry.sweep->is_here(); }))
      fail(ErrorKind::graph, op.name, ": a value that carries a tangent of wg.jvp was used in another thread, where the "
           "tangent would be lost; call wg.jvp within the thread");
  const std::vector<ForwardSweep*> sweeps = active;
  for (std::size_t level = 0; level < sweeps.size(); ++level) {
    if (trace && !sweeps[level]->is_within(*trace)) continue;
    Vars tangents;
    bool any = false;
    for (const Var& x : ins) {
      tangents.push_back(sweeps[level]->tangent_of(x));
      any |= bool(tangents.back());
    }
    if (!any) continue;
    SmallVector<Type, 3> types;
    SmallVector<const Type*, 3> in_types;
    for (const Var& x : ins) types.push_back(x->array.type());
    for (const Type& type : types) in_types.push_back(&type);
    Types out_types;
    for (const Var& y : outs) out_types.push_back(y->array.type());
    const Rule rule{.op = op, .attrs = attrs, .in_types = {in_types.data(), in_types.size()},
                    .out_types = {out_types.data(), out_types.size()}, .ins = ins, .outs = outs,
                    .gs = {}, .dxs = {tangents.data(), tangents.size()}};
    struct Outer {  // the sweeps outside `level` stay on
      std::vector<ForwardSweep*>& active;
      std::vector<ForwardSweep*> before;
      ~Outer() { active = before; }
    } outer{active, active};
    active.resize(level);
    const Lasting lasting(trace);  // as the values do that have the tangents
    const GradMode mode(modes().grad_enabled || (sweeps[level]->followed_ && !modes().constant));
    const Vars pushed = op.tangent(rule);
    for (std::size_t i = 0; i < pushed.size(); ++i)
      if (pushed[i]) sweeps[level]->set_tangent(outs[i], pushed[i]);
  }
}

}  // namespace wengert
