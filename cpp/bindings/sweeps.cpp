// The sweeps on flat lists of tensors; python/wengert/transforms.py knows about trees and functions.
#include <pybind11/stl.h>

#include "bindings/tensor.h"
#include "graph/tangents.h"
#include "ops/vocabulary.h"
#include "sweeps/batch.h"
#include "sweeps/reverse.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

void backward(py::handle self, py::object gradient, py::handle retains, py::handle records) {
  const Var y = to_tensor("backward", "self", self);
  const bool retain_graph = to_bool("backward", "retain_graph", retains),
             create_graph = to_bool("backward", "create_graph", records);
  if (!y->tracked)
    fail(ErrorKind::graph, "backward: the tensor does not depend on any tensor with requires_grad=True");
  Var g;
  if (gradient.is_none()) {
    if (numel(y.shape()) != 1)
      fail(ErrorKind::shape, "backward: a gradient is defined for one element only; got shape ", y.shape(),
           ". Reduce with .sum() or .mean(), or pass the cotangent: backward(gradient)");
    g = full(1, {y.dtype(), y.shape()});
  } else {
    g = to_var(gradient.ptr(), y);
    if (!(g.shape() == y.shape()) || g.dtype() != y.dtype())
      fail(ErrorKind::shape, "backward: the gradient must be like the tensor, ", y->array.type(), "; got ", g->array.type());
  }
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
  GradMode mode(record);
  const Vars found = reverse_sweep(outputs, seeds, targets, {.retain_graph = retain_graph || record}, &reach);
  py::list out;
  for (const Var& g : found) out.append(g);
  return py::make_tuple(out, reach.outer && modes().grad_enabled);
}

// y without the history that a transform left behind; tangents of outer forward sweeps stay.
Var release_history(const Var& y) {
  if (y.is_abstract() || !y->tracked) return y;
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
    if (tangents[i]) sweep.set_tangent(leaf, *tangents[i]);
    leaves.append(leaf);
  }
  py::object result = f(leaves);
  py::list out;
  for (py::handle y : flatten(result)) {
    const Var tangent = is_tensor(y.ptr()) ? sweep.tangent_of(Var(value_of(y.ptr()))) : Var();
    out.append(tangent);
  }
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
  m.def("is_grad_enabled", [] { return modes().grad_enabled; }, "Whether operations are being recorded.");
  m.def("_set_grad_enabled", [](bool on) { return std::exchange(modes().grad_enabled, on); });
}

}  // namespace wengert::bindings
