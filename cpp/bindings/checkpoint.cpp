// Calls whose values are computed again in the reverse sweep; python/wengert/recomputation.py knows about
// decorators and policies.
#include "program/checkpoint.h"

#include <pybind11/stl.h>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/tangents.h"

namespace wengert::bindings {
namespace {

std::vector<Var> tensors_in(const py::object& result, const py::function& leaves) {
  if (is_tensor(result.ptr())) return {Var(value_of(result.ptr()))};
  std::vector<Var> out;
  for (py::handle leaf : leaves(result))
    if (is_tensor(leaf.ptr())) out.emplace_back(value_of(leaf.ptr()));
  return out;
}

// The policy as a question about one operation. Values that carry tangents are not kept apart from
// them: within forward sweeps everything is computed again.
Tape::Keeps to_keeps(const py::object& policy) {
  if (policy.is_none() || !ForwardSweep::active().empty()) return {};
  return [policy](const Op& op, const Attrs& attrs, std::span<const Type> ins, std::span<const Type> outs) {
    const Tape::Off off;
    const auto dtype = py::reinterpret_steal<py::object>(dtype_object(outs[0].dtype));
    const py::object answer = policy(op.name, attributes_object(op, attrs), dtype, shape_object(outs[0].shape),
                                     count_flops(op, ins, outs));
    return to_bool("checkpoint", "policy", answer);
  };
}

class PartOf {
 public:
  explicit PartOf(const Trace& trace) : part{&trace}, before_(modes().part) { modes().part = &part; }
  ~PartOf() {
    if (before_) before_->strayed |= part.strayed;
    modes().part = before_;
  }
  PartOf(const PartOf&) = delete;
  Part part;

 private:
  Part* before_;
};

py::object checkpoint(const py::object& f, const py::tuple& args, const py::dict& kwargs, const py::object& policy,
                      const py::function& leaves) {
  if (Trace* trace = Trace::innermost()) {
    const std::size_t from = trace->nodes().size();
    const Recording* recording = Recording::current();
    const std::size_t renamed = recording ? recording->renamed().size() : 0;
    PartOf own(*trace);
    py::object result = f(*args, **kwargs);
    enclose(*trace, from, renamed, own.part, tensors_in(result, leaves), to_keeps(policy));
    return result;
  }
  if (!modes().grad_enabled && !modes().tape) return f(*args, **kwargs);
  Tape tape(to_keeps(policy));
  py::object result = f(*args, **kwargs);
  enclose(tape, tensors_in(result, leaves));
  return result;
}

}  // namespace

void bind_checkpoint(py::module_& m) {
  m.def("_checkpoint", checkpoint);
}

}  // namespace wengert::bindings
