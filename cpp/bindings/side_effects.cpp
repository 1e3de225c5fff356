// What a call that is being recorded does to Python beside computing: which Tensor objects show its
// traced values, and state that was bound anew. python/wengert/side_effects.py knows about modules.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/source.h"
#include "ops/vocabulary.h"
#include "sweeps/reverse.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

// Tensor objects that have no value outside a recording, and the recording's trace.
std::unordered_map<PyObject*, uint32_t>& traced_objects() {
  static auto* objects = new std::unordered_map<PyObject*, uint32_t>;
  return *objects;
}

uint32_t recording_id() {
  Recording* recording = Recording::current();
  return recording ? recording->trace().id() : 0;
}

Recording& open_recording() {
  Recording* recording = Recording::current();
  if (!recording) fail(ErrorKind::trace, "compile: no call is being recorded");
  return *recording;
}

// Whether the numbers of x are known to the recording alone.
bool is_within(const Var& x) {
  Recording& recording = open_recording();
  return x.is_abstract() || (!recording.is_outside(*x.get()) && recording.read(x) != x);
}

// x as the end of the call sees it; null where it belongs to another trace, to the inside of a
// checkpointed function, or to an older history.
Var present(const Var& x) {
  Recording& recording = open_recording();
  if (x->tracked && recording.is_outside(*x.get())) return {};
  const Var now = recording.read(x);
  const bool foreign = now.is_abstract() && (now->trace != recording_id() || (now->node && now->node->light));
  return foreign ? Var() : now;
}

// Whether the call has changed x in place.
bool is_assigned(const Var& x) {
  const auto& variables = open_recording().variables();
  return std::any_of(variables.begin(), variables.end(), [&](const auto& v) { return v.outside == x && v.assigned; });
}

Type settled_type(const Var& x) { return {settled_dtype(x), x.shape()}; }

// Whether one Tensor object alone shows the memory of x, which a traced value has not.
bool is_unseen(const Var& x) {
  return !x.is_abstract() && shown(*x.get()) == 1 && !seen_outside(*x.array().buffer());
}

// Whether x takes the value in place while nobody sees it who reads the same memory otherwise.
bool can_take(const Var& x, const Var& value) {
  if (x->tracked || !(x->array.type() == settled_type(value))) return false;
  return is_unseen(x) && !x.array().buffer()->read_only && x.array().is_contiguous();
}

// A tensor from outside for a value that gets there at the end of the call.
Var place_for(const Var& value) {
  const Type type = settled_type(value);
  const Array zeros = Array::empty(type.dtype, type.shape);
  std::memset(zeros.raw(), 0, std::size_t(zeros.size() * itemsize(type.dtype)));
  const Var place(zeros);
  place->trace = 0;
  return place;
}

void rebind(const List& places, const List& values) {
  const GradMode off(false);
  Recording& recording = open_recording();
  for (std::size_t i = 0; i < places.size(); ++i) recording.assign(places[i], detach(settled(values[i])));
}

// The Tensor objects that a recording has left behind.
py::list left_behind(uint32_t recording) {
  py::list out;
  for (const auto& [object, id] : traced_objects())
    if (id == recording) out.append(py::handle(object));
  return out;
}

// "'add' at train.py:12", or nothing.
std::string made_by(const Var& x) {
  if (!x->node || !x->node->op) return {};
  return "'" + std::string(x->node->name()) + "' at " + show_source(x->node->source);
}

}  // namespace

// (Only values of a trace: their end is looked for.)
void note_traced(PyObject* tensor) {
  if (const uint32_t id = recording_id(); id && value_of(tensor)->trace) traced_objects()[tensor] = id;
}

void forget_traced(PyObject* tensor) {
  if (!traced_objects().empty()) traced_objects().erase(tensor);
}

void bind_side_effects(py::module_& m) {
  m.def("_recording_id", recording_id);
  m.def("_flagged", [] { return open_recording().flagged(); });
  m.def("_strays", [] { return open_recording().strays; });
  m.def("_recording_progress", [] { return Recording::progress(); });
  m.def("_left_behind", left_behind);
  m.def("_made_by", made_by);
  m.def("_source_here", [] { return show_source(source_here()); });
  m.def("_is_within", is_within);
  m.def("_is_assigned", is_assigned);
  m.def("_present", present);
  m.def("_can_take", can_take);
  m.def("_is_unseen", is_unseen);
  m.def("_place_for", place_for);
  m.def("_rebind", rebind);
  // Whether a reverse sweep outside the call may still ask for what x was made of.
  m.def("_has_open_history", [](const Var& x) {
    return x->tracked && modes().grad_enabled && can_sweep(x) && find_reach({&x, 1}, {}).outer;
  });
}

}  // namespace wengert::bindings
