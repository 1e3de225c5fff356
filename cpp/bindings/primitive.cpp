// Operations whose rules are Python objects: made for a call, ended with the last node that uses
// them. python/wengert/primitives.py says what the rules do; this knows only how to ask them.
#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/tensor.h"
#include "graph/tangents.h"
#include "graph/trace.h"
#include "kernels/copy.h"

namespace wengert::bindings {
namespace {

struct PythonOp : Op {
  py::object rules;
};

py::list to_list(std::span<const Var> values, bool detached = false) {
  py::list out;
  for (const Var& x : values) out.append(x && detached ? detach(x) : x);
  return out;
}

Vars to_vars(const py::object& tensors) {
  Vars out;
  for (py::handle x : tensors) out.push_back(x.is_none() ? Var() : Var(value_of(x.ptr())));
  return out;
}

py::tuple shape_tuple(const Shape& shape) {
  py::tuple out(shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i) out[i] = shape[i];
  return out;
}

// Whether nobody differentiates what a rule computes from these: then it may leave wengert.
bool is_plain(std::initializer_list<std::span<const Var>> groups) {
  for (const auto& group : groups)
    for (const Var& x : group)
      if (x && (x.is_abstract() || carries_tangent(x) || (modes().grad_enabled && x->tracked)))
        return false;
  return true;
}

Arrays evaluate(const PythonOp& op, std::span<const Array> in) {
  const py::gil_scoped_acquire lock;
  const GradMode off(false);
  Vars args;
  for (const Array& x : in) args.push_back(Var(Array(x)));
  const Lent lent({{args.data(), args.size()}});
  Arrays out;
  for (const Var& y : to_vars(op.rules.attr("evaluate")(to_list({args.data(), args.size()})))) {
    auto same = [&](const Array& x) { return x.buffer() == y.array().buffer(); };
    const bool shared = std::any_of(in.begin(), in.end(), same) || std::any_of(out.begin(), out.end(), same);
    out.push_back(shared ? kernels::contiguous_copy(y.array()) : y.array());
  }
  return out;
}

Types infer(const PythonOp& op, std::span<const Type> in) {
  const GradMode off(false);
  py::list types;
  for (const Type& type : in)
    types.append(py::make_tuple(py::reinterpret_steal<py::object>(dtype_object(type.dtype)),
                                shape_tuple(type.shape)));
  Types out;
  for (py::handle type : op.rules.attr("infer")(types))
    out.push_back({to_dtype(type[py::int_(0)]), to_ints(op.name, "shape", type[py::int_(1)])});
  return out;
}

Vars adjoint(const PythonOp& op, const Rule& r, std::optional<int> index) {
  const bool plain = is_plain({r.gs, r.outs, r.ins});
  const Lent lent({r.gs, r.outs, r.ins});
  return to_vars(op.rules.attr("adjoint")(index, to_list(r.gs, plain), to_list(r.outs, plain),
                                          to_list(r.ins, plain), plain));
}

Vars tangent(const PythonOp& op, const Rule& r) {
  const bool plain = is_plain({r.dxs, r.outs, r.ins});
  const Lent lent({r.dxs, r.outs, r.ins});
  return to_vars(op.rules.attr("tangent")(to_list(r.dxs, plain), to_list(r.outs, plain),
                                          to_list(r.ins, plain), plain));
}

Vars batch(const PythonOp& op, const Batched& b) {
  return to_vars(op.rules.attr("batch")(
      to_list(b.ins), std::vector<bool>(b.batched.begin(), b.batched.end()), b.size));
}

std::shared_ptr<const Op> make_op(py::object rules) {
  auto op = std::make_shared<PythonOp>();
  const PythonOp* self = op.get();
  op->name = py::cast<std::string>(rules.attr("name"));
  op->inputs = {"*args"};
  op->infer = [self](std::span<const Type> in, const Attrs&) { return infer(*self, in); };
  op->evaluate = [self](std::span<const Array> in) { return evaluate(*self, in); };
  if (py::cast<bool>(rules.attr("joint")))
    op->joint_adjoint = [self](const Rule& r) { return adjoint(*self, r, {}); };
  else
    op->adjoints = {{.rule = [self](const Rule& r) { return adjoint(*self, r, r.index)[0]; },
                     .saves_in = saves_all}};
  op->tangent = [self](const Rule& r) { return tangent(*self, r); };
  op->batch = [self](const Batched& b) { return batch(*self, b); };
  op->rules = std::move(rules);
  op->self = op;
  return op;
}

// f of abstract values of these types, in a trace of its own.
py::object call_abstract(const py::function& f, const py::list& types) {
  Trace trace;
  const GradMode off(false);
  py::list args;
  for (py::handle type : types)
    args.append(
        trace.input({to_dtype(type[py::int_(0)]), to_ints("trace", "shape", type[py::int_(1)])}));
  return f(*args);
}

}  // namespace

void bind_primitive(py::module_& m) {
  m.def("_apply_rules", [](py::object rules, const std::vector<Var>& inputs) {
    const auto op = make_op(std::move(rules));
    const Vars outs = apply_all(*op, inputs);
    return to_list({outs.data(), outs.size()});
  });
  m.def("_call_abstract", call_abstract);
}

}  // namespace wengert::bindings
