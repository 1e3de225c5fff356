#include "graph/tangents.h"

namespace wengert {
namespace {

TangentSet*& all_sets() {
  static TangentSet* first = nullptr;
  return first;
}

TangentSet& set_of(Value& value) {
  if (!value.tangents) {
    auto* set = new TangentSet;
    TangentSet*& first = all_sets();
    set->next = first;
    if (first) first->previous = set;
    first = set;
    value.tangents = Ref<TangentSet>(set);
  }
  return *value.tangents;
}

}  // namespace

void release(TangentSet* set) {
  if (set->previous) set->previous->next = set->next;
  else all_sets() = set->next;
  if (set->next) set->next->previous = set->previous;
  delete set;
}

std::vector<ForwardSweep*>& ForwardSweep::active() {
  thread_local std::vector<ForwardSweep*> sweeps;
  return sweeps;
}

ForwardSweep::ForwardSweep() { active().push_back(this); }

ForwardSweep::~ForwardSweep() {
  std::erase(active(), this);
  // Collected first: ending one tangent may end sets further down the list.
  std::vector<Var> ended;
  for (TangentSet* set = all_sets(); set; set = set->next)
    for (auto& entry : set->entries)
      if (entry.sweep == this) {
        entry.sweep = nullptr;
        ended.push_back(std::move(entry.tangent));
        entry.tangent = {};
      }
}

Var ForwardSweep::tangent_of(const Var& x) const {
  if (x->tangents)
    for (const auto& entry : x->tangents->entries)
      if (entry.sweep == this) return entry.tangent;
  return {};
}

void ForwardSweep::set_tangent(const Var& x, Var tangent) {
  set_of(*x.get()).entries.push_back({this, std::move(tangent)});
}

void push_tangents(const Op& op, const Attrs& attrs, std::span<const Var> ins,
                   std::span<const Var> outs) {
  auto& active = ForwardSweep::active();
  if (!op.tangent || !is_float(outs[0].dtype())) return;
  const std::vector<ForwardSweep*> sweeps = active;
  for (std::size_t level = 0; level < sweeps.size(); ++level) {
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
    const Vars pushed = op.tangent(rule);
    for (std::size_t i = 0; i < pushed.size(); ++i)
      if (pushed[i]) sweeps[level]->set_tangent(outs[i], pushed[i]);
  }
}

}  // namespace wengert
