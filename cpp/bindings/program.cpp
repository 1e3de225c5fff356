// Traces of Python functions as programs, and what Python reads of them; python/wengert/program.py
// prints and draws.
#include "program/program.h"

#include <pybind11/stl.h>

#include "bindings/tensor.h"
#include "graph/source.h"
#include "program/simplify.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

template <class Ids>
py::tuple tuple_of(const Ids& values) {
  py::tuple out(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = values[i];
  return out;
}

py::object attr_object(const Attr& attr) {
  if (const auto* flag = std::get_if<bool>(&attr)) return py::bool_(*flag);
  if (const auto* integer = std::get_if<int64_t>(&attr)) return py::int_(*integer);
  if (const auto* real = std::get_if<double>(&attr)) return py::float_(*real);
  if (const auto* text = std::get_if<std::string>(&attr)) return py::str(*text);
  if (const auto* dtype = std::get_if<DType>(&attr)) return py::reinterpret_steal<py::object>(dtype_object(*dtype));
  if (const auto* ints = std::get_if<Ints>(&attr)) return tuple_of(*ints);
  return py::none();
}

py::object type_object(const Type& type) {
  return py::make_tuple(py::reinterpret_steal<py::object>(dtype_object(type.dtype)), tuple_of(type.shape));
}

// (name, attributes, inputs, outputs, flops, source, body) of each step.
py::list steps_object(const Program& program) {
  py::list out;
  for (const Step& step : program.steps) {
    const py::object body = step.op->body ? py::cast(*step.op->body) : py::none();
    out.append(py::make_tuple(step.op->name, attributes_object(*step.op, step.attrs), tuple_of(step.ins), tuple_of(step.outs),
                              program.flops(step), show_source(step.source), body));
  }
  return out;
}

// Calls f on abstract tensors like `inputs` and returns (result, program).
py::tuple trace(py::function f, const List& inputs, py::function flatten) {
  Trace trace;
  List placeholders, outputs;
  py::list arguments;
  for (const Var& x : inputs) {
    placeholders.push_back(trace.input(x->array.type()));
    arguments.append(placeholders.back());
  }
  py::object result = f(arguments);
  for (py::handle y : flatten(result)) outputs.push_back(to_var(y.ptr()));
  trace.close();
  return py::make_tuple(result, program_of(trace, placeholders, outputs));
}

}  // namespace

py::dict attributes_object(const Op& op, const Attrs& attrs) {
  py::dict out;
  for (const Param& param : op.params) out[param.name.c_str()] = attr_object(attrs.at(param.name.c_str()));
  return out;
}

py::tuple shape_object(const Shape& shape) { return tuple_of(shape); }

void bind_program(py::module_& m) {
  py::class_<Program>(m, "_Program")
      .def_property_readonly("types", [](const Program& p) {
        py::list out;
        for (const Type& type : p.types) out.append(type_object(type));
        return out;
      })
      .def_property_readonly("inputs", [](const Program& p) { return tuple_of(p.inputs); })
      .def_property_readonly("outputs", [](const Program& p) { return tuple_of(p.outputs); })
      .def_property_readonly("constants", [](const Program& p) {
        py::dict out;
        for (const auto& [id, x] : p.constants) out[py::int_(id)] = x;
        return out;
      })
      .def_property_readonly("steps", steps_object)
      // The same without steps that stand for programs.
      .def_property_readonly("opened", [](Program p) {
        open_bodies(p);
        return p;
      })
      // For each step whether its operation is a row of the table: a primitive may bear a row's name.
      .def_property_readonly("from_table", [](const Program& p) {
        const std::vector<Op>& rows = all_ops();
        std::vector<bool> out;
        for (const Step& step : p.steps) out.push_back(step.op >= rows.data() && step.op < rows.data() + rows.size());
        return out;
      })
      .def_property_readonly("bytes_peak", [](const Program& p) { return traffic(p).bytes_peak; })
      .def_property_readonly("bytes_moved", [](const Program& p) { return traffic(p).bytes_moved; });
  m.def("_trace", trace);
  m.def("_is_traced", [](const Var& x) { return x.is_abstract(); });
}

}  // namespace wengert::bindings
