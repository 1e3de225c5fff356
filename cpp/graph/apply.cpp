// The one door: every operation of the library passes here, and leaves the same node behind whether
// it was computed or only traced.
#include "graph/recording.h"
#include "graph/tangents.h"
#include "graph/tape.h"
#include "graph/trace.h"
#include "graph/watch.h"
#include "ops/vocabulary.h"

namespace wengert {
namespace {

// The value that a trace knows x by.
const Ref<Value>& known_as(const Var& x) {
  if (x->node && x->node->saved_out)
    if (const Ref<Value>& instead = (*x->node->saved_out)[x->index].instead) return instead;
  return x.ref();
}

Ref<Node> record(const Op& op, const Attrs& attrs, std::span<const Var> ins, Vars& outs, bool tracked,
                 bool traced) {
  Ref<Node> node = make_node(&op, attrs);
  node->traced = traced;
  node->tracked = tracked;
  node->region = modes().region;
  node->constant = modes().constant;
  for (const Var& y : outs) node->out_types.push_back(y->array.type());
  Reads reads;
  if (tracked) reads = reads_of(op, ins.size(), [&](std::size_t i) { return ins[i]->tracked; });
  for (std::size_t i = 0; i < ins.size(); ++i) {
    const Var& x = ins[i];
    Edge edge;
    if (x->tracked) {
      edge.node = x->node;
      edge.index = x->index;
    }
    if (traced || reads.in(i)) {
      edge.value = traced ? known_as(x) : x.ref();
      if (x->array.has_data()) edge.version = x->array.buffer()->version;
    }
    if (!(x->array.dtype() == node->out_types[0].dtype && x->array.shape() == node->out_types[0].shape))
      edge.type = std::make_unique<Type>(x->array.type());
    node->inputs.push_back(std::move(edge));
  }
  for (std::size_t i = 0; i < outs.size(); ++i) {
    outs[i]->node = node;
    outs[i]->index = uint16_t(i);
    outs[i]->tracked = tracked && is_float(outs[i].dtype());
    outs[i]->is_leaf = !outs[i]->tracked;
  }
  if (reads.outs && outs.size() > op.reads_outs_from) {
    node->saved_out = std::make_unique<std::vector<SavedOutput>>(op.reads_outs_from);
    for (std::size_t i = op.reads_outs_from; i < outs.size(); ++i) {
      const Var& y = outs[i];
      node->saved_out->push_back({y.array(), {}, y->array.has_data() ? y->array.buffer()->version : 0, y->trace, {}});
    }
  }
  return node;
}

Vars compute(const Op& op, const Attrs& attrs, std::span<const Var> ins) {
  Vars outs;
  if (op.view && ins.size() == 1) {
    Array out = op.view(ins[0].array(), attrs);
    if (out.has_data()) {
      outs.push_back(Var(std::move(out)));
      return outs;
    }
  }
  Arrays in_arrays, out_arrays;
  SmallVector<Type, 3> in_types;
  for (const Var& x : ins) {
    in_arrays.push_back(x.array());
    in_types.push_back(x->array.type());
  }
  if (op.evaluate) {
    const Tape::Off off;
    out_arrays = op.evaluate({in_arrays.data(), in_arrays.size()});
    if (watching())
      check_numbers(op, {.in = {in_arrays.data(), in_arrays.size()},
                         .out = {out_arrays.data(), out_arrays.size()}, .attrs = attrs});
    for (Array& out : out_arrays) outs.push_back(Var(std::move(out)));
    return outs;
  }
  for (Type& type : op.infer({in_types.data(), in_types.size()}, attrs))
    out_arrays.push_back(Array::empty(type.dtype, type.shape));
  run_kernel(op, {.in = {in_arrays.data(), in_arrays.size()},
                  .out = {out_arrays.data(), out_arrays.size()}, .attrs = attrs});
  for (Array& out : out_arrays) outs.push_back(Var(std::move(out)));
  return outs;
}

Vars infer_only(const Op& op, const Attrs& attrs, std::span<const Var> ins, uint32_t trace) {
  SmallVector<Type, 3> in_types;
  for (const Var& x : ins) in_types.push_back(x->array.type());
  Vars outs;
  for (Type& type : op.infer({in_types.data(), in_types.size()}, attrs)) {
    outs.push_back(Var(Array(std::move(type))));
    outs.back()->trace = trace;
  }
  return outs;
}

void settle_numbers(Vars& ins) {
  for (const Var& x : ins)
    if (!x->weak && is_float(x.dtype())) return;
  for (Var& x : ins) x = settled(x);
}

}  // namespace

DType settled_dtype(const Var& x) { return x->weak && x.dtype() == DType::float64 ? DType::float32 : x.dtype(); }
Var settled(const Var& x) { return astype(x, settled_dtype(x)); }

KernelHook& kernel_hook() {
  static KernelHook hook;
  return hook;
}

void KernelHook::operator()(const Op& op, const Call& call) const {
  int64_t elements = 0;
  for (const Array& out : call.out) elements += out.size();
  for (const Array& in : call.in) elements += in.size();
  if (run && (elements >= from || op.is_long)) run(op, call);
  else op.kernel(call);
}

void run_kernel(const Op& op, const Call& call) { kernel_hook()(op, call); }

Vars apply_all(const Op& op, std::span<const Var> inputs, Attrs attrs) {
  Vars ins(inputs.begin(), inputs.end());
  if (Recording* recording = Recording::current())
    for (Var& x : ins) x = recording->read(x);
  // (What a row completes by the dtype of its one argument follows from the settled one.)
  if (!op.converts && ins.size() == 1) settle_numbers(ins);
  if (op.prepare) op.prepare(ins, attrs);
  if (!op.converts) settle_numbers(ins);
  const std::span<const Var> args{ins.data(), ins.size()};
  bool abstract = false, wants_gradient = false, tangents = false;
  for (const Var& x : args) {
    abstract |= x.is_abstract();
    wants_gradient |= x->tracked;
    tangents |= bool(x->tangents);
  }
  if (op.followed && keeps_values(args))
    if (Vars made = op.followed(args); !made.empty()) return made;
  const bool tracked = wants_gradient && modes().grad_enabled && (op.differentiable() || op.followed);
  Trace* trace = abstract ? Trace::of(op.name.c_str(), args) : nullptr;
  if (trace) trace = trace->joined(op.stays());
  Vars outs = abstract ? infer_only(op, attrs, args, trace->id()) : compute(op, attrs, args);
  const Ref<Node> node = leave_node(op, attrs, args, outs, tracked, trace);
  if (tangents) {
    // A node beside the part's trace may keep tangents that are the part's.
    if (Part* part = modes().part; part && tracked && trace != part->trace) part->strayed = true;
    push_tangents(op, attrs, args, {outs.data(), outs.size()}, trace);
    if (node && node->saved_out)
      for (std::size_t i = 0; i < outs.size(); ++i) (*node->saved_out)[i].tangents = outs[i]->tangents;
  }
  return outs;
}

Ref<Node> leave_node(const Op& op, const Attrs& attrs, std::span<const Var> ins, Vars& outs, bool tracked, Trace* trace) {
  Ref<Node> node;
  Tape* const tape = trace ? nullptr : modes().tape;
  const bool keeps = !tape || (tracked && tape->sweeps_within(ins));
  if (keeps && (tracked || trace)) node = record(op, attrs, ins, outs, tracked, trace != nullptr);
  if (trace) trace->append(node);
  if (trace && Recording::current()) ++Recording::progress();
  if (tape) tape->note(op, attrs, ins, outs, tracked, node);
  return node;
}

Vars record_only(const Op& op, const Attrs& attrs, std::span<const Var> ins, std::span<const Type> types,
                 std::span<const Var> given) {
  bool traced = false;
  for (const Var& y : given) traced |= y && y.is_abstract();
  Vars outs;
  for (std::size_t i = 0; i < types.size(); ++i) {
    outs.push_back(Var(given[i] ? given[i].array() : Array(types[i])));
    if (!given[i]) continue;
    outs.back()->trace = given[i]->trace;
    outs.back()->tangents = given[i]->tangents;
  }
  const Ref<Node> node = record(op, attrs, ins, outs, true, traced);
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (!given[i] || !(traced || node->saved_out)) continue;
    if (!node->saved_out) node->saved_out = std::make_unique<std::vector<SavedOutput>>(types.size());
    SavedOutput& saved = (*node->saved_out)[i];
    saved.tangents = given[i]->tangents;
    if (traced) saved.instead = known_as(given[i]);
  }
  return outs;
}

Var apply(const Op& op, std::span<const Var> inputs, Attrs attrs) {
  return std::move(apply_all(op, inputs, std::move(attrs))[0]);
}

}  // namespace wengert
