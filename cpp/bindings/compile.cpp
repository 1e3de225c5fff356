// Recording calls for wg.compile. python/wengert/compiler.py knows about trees, keys and what to
// record when.
#include "bindings/replay.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "graph/tangents.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

// Two tensors over the same bytes, one of them changed, would fall out of step.
void refuse_shared_memory(const Recording& recording) {
  const auto& variables = recording.variables();
  for (const auto& changed : variables) {
    if (!changed.assigned || !changed.entry) continue;
    for (const auto& other : variables)
      if (other.entry && other.outside != changed.outside &&
          other.outside->array.buffer() == changed.outside->array.buffer())
        fail(ErrorKind::trace, "compile: the call changes a tensor of shape ", changed.outside.shape(),
             " that shares its memory with another one it reads, of shape ", other.outside.shape(), "; use one of them");
  }
}

// Calls f once on abstract tensors like `arguments`: (f's result, Replay, whether the result has a
// history that a sweep may still ask for).
py::tuple record(py::function f, const List& arguments, py::function flatten) {
  Recording recording;
  List placeholders;
  py::list given;
  for (const Var& x : arguments) {
    placeholders.push_back(recording.trace().input(x->array.type()));
    given.append(placeholders.back());
  }
  py::object result = f(given);
  List inputs = placeholders, outputs;
  for (py::handle y : flatten(result)) outputs.push_back(recording.read(to_var(y.ptr())));
  const std::size_t results = outputs.size();
  refuse_shared_memory(recording);
  for (const auto& variable : recording.variables()) {
    if (!variable.entry) continue;
    inputs.push_back(variable.entry);
    if (variable.assigned) outputs.push_back(variable.now);
  }
  for (const auto& gradient : recording.gradients()) {
    if (gradient.entry) inputs.push_back(gradient.entry);
    if (gradient.now && gradient.now != gradient.entry) outputs.push_back(gradient.now);
  }
  // A result whose history is still to be swept: its gradient is the caller's to ask for.
  bool history = false;
  for (std::size_t i = 0; i < results; ++i)
    history |= outputs[i]->tracked && outputs[i]->node && !outputs[i]->node->freed;
  recording.trace().close();
  Program program = program_of(recording.trace(), inputs, outputs, recording.renamed());
  auto replay = std::make_shared<Replay>(std::move(program), recording, arguments.size(), results);
  return py::make_tuple(result, replay, history);
}

}  // namespace

void bind_compile(py::module_& m) {
  py::class_<Replay, std::shared_ptr<Replay>>(m, "_Replay")
      .def("fits", &Replay::fits)
      .def_property_readonly("repeats", &Replay::repeats)
      .def("run_many", [](Replay& r, const List& arguments, const std::vector<bool>& stacked, int64_t steps) {
        return r.run_many(arguments, stacked, steps);
      })
      .def("run", [](Replay& r, const List& arguments) { return r.run(arguments); })
      .def_property_readonly("program", [](const Replay& r) { return r.program(); })
      .def_property_readonly("recorded", [](const Replay& r) { return r.before(); })
      .def_property_readonly("arena_bytes", [](const Replay& r) { return r.executor().arena_bytes(); })
      .def_property_readonly("units", [](const Replay& r) { return r.executor().units(); });
  bind_fast_call(m);
  m.def("_record", record);
  // Whether a transform around the call follows one of the tensors.
  m.def("_is_followed", [](const List& tensors) {
    return std::any_of(tensors.begin(), tensors.end(), [](const Var& x) {
      return x.is_abstract() || x->tangents || (x->tracked && modes().grad_enabled);
    });
  });
  m.def("_recording", [] { return Recording::current() != nullptr; });
}

}  // namespace wengert::bindings
