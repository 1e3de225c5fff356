// The sweeps on flat lists of tensors; python/wengert/transforms.py knows about trees and functions.
#include <pybind11/stl.h>

#include <unordered_set>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/tangents.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"
#include "sweeps/batch.h"
#include "sweeps/reverse.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

// Gives results that share memory with another Tensor object, or with one another, memory of their
// own: who changes a derivative in place changes nothing else. (What f returned is as in a plain call:
// it shares what f makes it share.) `held`: Python holds each already.
void separate(std::span<Var> results, bool held) {
  static const Op& copy = find_op("copy");
  if (Recording::current()) return;
  std::unordered_set<const Buffer*> seen;
  for (Var& x : results) {
    if (!x || x.is_abstract() || x->tracked || x->tangents) continue;
    const Ref<Buffer>& buffer = x->array.buffer();
    const bool again = results.size() > 1 && !seen.insert(buffer.get()).second;
    if (again || buffer->foreign || buffer->tensors > (held ? 1 : 0)) x = apply(copy, {&x, 1});
  }
}

// Whether derivatives of what the running reverse sweep finds may be asked for: also where it is not
// recorded because it depends on nothing that is being differentiated.
thread_local bool sweep_may_matter = false;

class SweepMatters {
 public:
  explicit SweepMatters(bool on) : before_(std::exchange(sweep_may_matter, on)) {}
  ~SweepMatters() { sweep_may_matter = before_; }
  SweepMatters(const SweepMatters&) = delete;

 private:
  bool before_;
};

void backward(py::handle self, py::object gradient, py::handle retains, py::handle records) {
  const Var y = to_tensor("backward", "self", self);
  const bool retain_graph = to_bool("backward", "retain_graph", retains),
             create_graph = to_bool("backward", "create_graph", records);
  if (!y->tracked)
    fail(ErrorKind::graph, "backward: the tensor does not depend on any tensor with requires_grad=True; mark what is "
         "differentiated (wg.nn.Parameter, requires_grad=True), and compute outside wg.no_grad() and without detach()");
  Var g;
  if (gradient.is_none()) {
    if (numel(y.shape()) != 1)
      fail(ErrorKind::shape, "backward: a gradient is defined for one element only; got shape ", y.shape(),
           ". Reduce with .sum() or .mean(), or pass the cotangent: backward(gradient)");
    g = full(1, {y.dtype(), y.shape()});
  } else {
    g = to_var(gradient.ptr(), y);
    if (!(g.shape() == y.shape()) || g.dtype() != y.dtype())
      fail(g.shape() == y.shape() ? ErrorKind::dtype : ErrorKind::shape,
           "backward: the gradient must be like the tensor, ", y->array.type(), "; got ", g->array.type());
  }
  const SweepMatters matters(create_graph);
  GradMode mode(create_graph);
  reverse_sweep({&y, 1}, {&g, 1}, {}, {.retain_graph = retain_graph || create_graph, .accumulate = true});
}

// The adjoints of `targets`, and whether anything outside wants gradients of the outputs. Only if it
// does, or wants those of the seeds, is the sweep itself recorded; or if the caller says so.
py::tuple reverse(const List& outputs, const List& seeds, const List& targets, bool retain_graph,
                  std::optional<bool> recorded) {
  const Reach reach = find_reach(outputs, targets);
  bool wanted = reach.outer;
  for (const Var& g : seeds) wanted |= g->tracked;
  const bool record = recorded.value_or(wanted && modes().grad_enabled);
  const SweepMatters matters(modes().grad_enabled || sweep_may_matter);
  GradMode mode(record);
  Vars found = reverse_sweep(outputs, seeds, targets, {.retain_graph = retain_graph || record}, &reach);
  separate({found.data(), found.size()}, false);
  py::list out;
  for (const Var& g : found) out.append(g);
  return py::make_tuple(out, reach.outer && modes().grad_enabled);
}

py::object call_followed(py::function f, py::list args) {
  struct Within {
    Within() { ++modes().followed; }
    ~Within() { --modes().followed; }
  } within;
  return f(*args);
}

// y without the history that a transform left behind; tangents of outer forward sweeps stay.
Var release_history(const Var& y) {
  static const Op& alias = find_op("alias");
  if (!y->tracked) return y;
  if (y.is_abstract()) {  // in its trace it is what its node makes
    const GradMode off(false);
    return apply(alias, {&y, 1});
  }
  Var out = detach(y);
  out->tangents = y->tangents;
  return out;
}

// Calls f on aliases of `primals` that carry `tangents` (None: zero): (f's result, tangents of the
// tensors in `flatten(result)`).
py::tuple forward(py::function f, const List& primals, const std::vector<std::optional<Var>>& tangents, py::function flatten) {
  static const Op& op = find_op("alias");
  ForwardSweep sweep;
  py::list leaves;
  for (std::size_t i = 0; i < primals.size(); ++i) {
    Var leaf = apply(op, {&primals[i], 1});
    if (tangents[i]) sweep.seed(leaf, *tangents[i]);
    leaves.append(leaf);
  }
  py::object result = f(leaves);
  List pushed;
  for (py::handle y : flatten(result))
    pushed.push_back(is_tensor(y.ptr()) ? sweep.tangent_of(Var(value_of(y.ptr()))) : Var());
  separate(pushed, false);
  py::list out;
  for (const Var& tangent : pushed) out.append(tangent);
  return py::make_tuple(result, out);
}

// Traces f on abstract inputs of the unbatched types, then replays the trace through the batching
// rules. `inputs` carry the mapped axis in front where `batched`.
py::tuple batch(py::function f, const List& inputs, const std::vector<bool>& batched, int64_t size, py::function flatten) {
  Trace trace;
  List placeholders;
  py::list arguments;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Type type = inputs[i]->array.type();
    if (batched[i]) type.shape.erase(0);
    placeholders.push_back(batched[i] ? trace.input(type) : inputs[i]);
    placeholders.back()->tracked = inputs[i]->tracked;
    arguments.append(placeholders.back());
  }
  py::object result = f(arguments);
  List outputs;
  for (py::handle y : flatten(result)) outputs.push_back(to_var(y.ptr()));
  trace.close();
  py::list out;
  for (auto& [y, carries] : batch_sweep(trace, placeholders, inputs, batched, size, outputs))
    out.append(py::make_tuple(y, carries));
  return py::make_tuple(result, out);
}

}  // namespace

void bind_sweeps(py::module_& m) {
  m.def("_backward", backward);
  m.def("_separate", [](List results) {
    separate(results, true);
    return results;
  });
  m.def("_alias", transform_leaf);
  m.def("_end_leaves", [](const List& leaves) {
    for (const Var& leaf : leaves) end_leaf(leaf);
  });
  m.def("_release", release_history);
  m.def("_is_outer", [](const List& outputs, const List& targets) { return find_reach(outputs, targets).outer; });
  m.def("_reverse", reverse, py::arg("outputs"), py::arg("seeds"), py::arg("targets"), py::arg("retain_graph"),
        py::arg("recorded") = py::none());
  m.def("_forward", forward);
  m.def("_batch", batch);
  m.def("_call_followed", call_followed);
  m.def("_is_followed", is_followed);
  m.def("_is_differentiated", is_differentiated);
  m.def("_sweep_may_matter", [] { return sweep_may_matter; });
  m.def("is_grad_enabled", [] { return modes().grad_enabled; }, "Whether operations are being recorded.");
  // 1 is the user's enable_grad, 0 the user's no_grad; 2 and 3 are off and on around them, set by sweeps.
  m.def("_set_grad_enabled", [](int mode) {
    Modes& own = modes();
    const int before = own.constant ? (own.grad_enabled ? 3 : 0) : (own.grad_enabled ? 1 : 2);
    own.grad_enabled = mode == 1 || mode == 3;
    own.constant = mode == 0 || mode == 3;
    return before;
  });
}

}  // namespace wengert::bindings
