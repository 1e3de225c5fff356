// Every row of the table as a Python function: signature, defaults and docstring are the row's. One
// callable type for all, so that a call parses its arguments in C++.
#include <pybind11/stl.h>
#include <structmember.h>

#include <algorithm>

#include "bindings/tensor.h"
#include "ops/op.h"

namespace wengert::bindings {
namespace {

struct PyOp {
  PyObject_HEAD
  const Op* op;
  vectorcallfunc call;
  PyObject* attributes;  // __dict__
};

PyTypeObject* op_type = nullptr;

// What to write instead, by python/wengert/other_arguments.py, which knows other libraries; or nothing.
template <class... Parts>
std::string remedy(const char* about, const Parts&... parts) {
  const std::string text = py::str(py::module_::import("wengert.other_arguments").attr(about)(parts...));
  return text.empty() ? text : text + "; ";
}

Attr to_attr(const Op& op, const Param& param, PyObject* object) {
  const bool none_allowed = param.none_allowed || (param.fallback && std::holds_alternative<None>(*param.fallback));
  if (object == Py_None && none_allowed) return None{};
  switch (param.kind) {
    case AttrKind::boolean: return to_bool(op.name, param.name, object);
    case AttrKind::integer: return to_int(op.name, param.name, object);
    case AttrKind::real: return to_real(op.name, param.name, object);
    case AttrKind::ints: return to_ints(op.name, param.name, object);
    case AttrKind::dtype:
      if (PyBool_Check(object) && std::ranges::any_of(op.params, [](const Param& p) { return p.name == "keepdims"; }))
        fail(ErrorKind::type, op.name, ": '", param.name, "' takes a dtype; got ", show(object), ". Write keepdims=",
             show(object));
      return to_dtype(object);
    default:
      if (!PyUnicode_Check(object))
        fail(ErrorKind::type, op.name, ": '", param.name, "' takes a string; got ", show(object));
      return std::string(py::str(object));
  }
}

// How many tensor arguments come first by position.
std::size_t leading(const Op& op, PyObject* const* args, std::size_t given) {
  if (!op.variadic()) return std::min(given, op.inputs.size());
  std::size_t n = 0;
  while (n < given && is_convertible(args[n]) && !(n >= op.inputs.size() && PyLong_Check(args[n]))) ++n;
  return n;
}

Vars convert_inputs(const Op& op, const std::vector<PyObject*>& objects) {
  // Python numbers take the dtype of the widest array beside them.
  auto is_index = [&](std::size_t i) {  // takes its dtype from nobody
    return op.inputs[std::min(i, op.inputs.size() - 1)].ends_with("indices");
  };
  Vars out(objects.size());
  Var company;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (!is_convertible(objects[i]))
      fail(ErrorKind::type, op.name, ": takes tensors, arrays and numbers; got ", show(objects[i]),
           PyDict_Check(objects[i]) ? ". For trees use wg.tree.map" : "");
    if (is_number(objects[i])) continue;
    out[i] = to_var(objects[i]);
    if (!company || company.dtype() < out[i].dtype()) company = out[i];
  }
  for (std::size_t i = 0; i < objects.size(); ++i)
    if (!out[i]) out[i] = company && !is_index(i) ? to_var(objects[i], company) : to_var(objects[i]);
  return out;
}

std::string arguments_of(const Op& op) {
  std::string out;
  for (const std::string& input : op.inputs) out += (out.empty() ? "" : ", ") + input;
  for (const Param& param : op.params) out += ", " + param.name;
  return out;
}

py::list names_of(const Op& op) {
  py::list out;
  for (const std::string& input : op.inputs) out.append(input);
  for (const Param& param : op.params) out.append(param.name);
  return out;
}

// NumPy's functions call the methods of their names with more arguments: np.sum(x).
bool is_numpy_only(const std::string& name) { return name == "out" || name == "dtype"; }

PyObject* call_op(PyObject* self, PyObject* const* args, std::size_t flagged, PyObject* names) {
  return guarded([&]() -> PyObject* {
    const Op& op = *reinterpret_cast<PyOp*>(self)->op;
    const auto positional = std::size_t(PyVectorcall_NARGS(flagged));
    std::vector<PyObject*> tensors;
    std::vector<PyObject*> params(op.params.size(), nullptr);
    std::size_t next = 0;
    py::tuple held;  // a conversion runs Python code, which may change the list
    if (op.variadic() && positional > 0 && op.inputs.size() == 1 && (PyList_Check(args[0]) || PyTuple_Check(args[0]))) {
      held = py::reinterpret_steal<py::tuple>(PySequence_Tuple(args[0]));
      for (py::handle item : held) tensors.push_back(item.ptr());
      next = 1;
    } else {
      next = leading(op, args, positional);
      tensors.assign(args, args + next);
    }
    if (!op.variadic()) tensors.resize(op.inputs.size(), nullptr);
    if (positional - next > op.params.size() && next < op.inputs.size())
      fail(ErrorKind::type, op.name, ": takes tensors, arrays and numbers; got ", show(args[next]));
    if (positional - next > op.params.size())
      fail(ErrorKind::type, op.name, ": takes at most ", op.inputs.size() + op.params.size(), " arguments; got ", positional, "; ",
           remedy("call_remedy", op.name, positional), "it takes ", arguments_of(op));
    for (std::size_t i = next; i < positional; ++i) params[i - next] = args[i];
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t k = 0; k < named; ++k) {
      const char* name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, k));
      if (!name) throw py::error_already_set();
      if (name == std::string("ddof")) name = "correction";
      PyObject* value = args[positional + std::size_t(k)];
      PyObject** place = nullptr;
      for (std::size_t i = 0; i < op.params.size(); ++i)
        if (op.params[i].name == name) place = &params[i];
      for (std::size_t i = 0; i < op.inputs.size() && !op.variadic(); ++i)
        if (op.inputs[i] == name) place = &tensors[i];
      if (!place && value == Py_None && is_numpy_only(name)) continue;
      if (!place && name == std::string("out"))
        fail(ErrorKind::type, op.name, ": 'out' can only be None; tensors are results, not places to write to");
      if (!place)
        fail(ErrorKind::type, op.name, ": has no argument '", name, "'; ",
             remedy("argument_remedy", name, names_of(op)), "it takes ", arguments_of(op));
      if (*place) fail(ErrorKind::type, op.name, ": the argument '", name, "' is given twice");
      *place = value;
    }
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (!tensors[i])
        fail(ErrorKind::type, op.name, ": the argument '", op.inputs[i], "' is missing; ",
             remedy("call_remedy", op.name, positional), "it takes ", arguments_of(op));
    // Rows that join tensors along an axis get a list of them, or several: one is seldom meant, and NumPy takes its
    // rows.
    const bool joins = op.variadic() && op.inputs.size() == 1 && !op.params.empty() && op.params[0].name == "axis";
    if (joins && tensors.size() == 1 && tensors[0] == args[0])
      fail(ErrorKind::type, op.name, ": takes several tensors, or a list of them; got one tensor. Give ", op.name,
           "([x]) for one, or list(x) for its rows");
    const std::size_t least = op.variadic() ? op.inputs.size() - 1 : op.inputs.size();
    if (tensors.size() < least) fail(ErrorKind::type, op.name, ": the argument '", op.inputs[tensors.size()], "' is missing");
    if (tensors.empty() && positional > 0)
      fail(ErrorKind::type, op.name, ": needs at least one tensor; got ", show(args[0]), ". Put them in a list");
    if (tensors.empty()) fail(ErrorKind::type, op.name, ": needs at least one tensor");
    Attrs attrs;
    if (!op.params.empty()) {
      std::vector<Attr> values;
      for (std::size_t i = 0; i < op.params.size(); ++i) {
        const Param& param = op.params[i];
        if (!params[i] && !param.fallback) fail(ErrorKind::type, op.name, ": the argument '", param.name, "' is missing");
        values.push_back(params[i] ? to_attr(op, param, params[i]) : *param.fallback);
      }
      attrs = Attrs(op.params, std::move(values));
    }
    const Vars inputs = convert_inputs(op, tensors);
    const Vars outs = apply_all(op, {inputs.data(), inputs.size()}, std::move(attrs));
    if (outs.size() == 1) return wrap(outs[0]);
    py::tuple all(outs.size());
    for (std::size_t i = 0; i < outs.size(); ++i) all[i] = outs[i];
    return all.release().ptr();
  });
}

// As an attribute of a class, an operation is a method.
PyObject* bind_method(PyObject* self, PyObject* object, PyObject*) {
  if (!object || object == Py_None) {
    Py_INCREF(self);
    return self;
  }
  return PyMethod_New(self, object);
}

std::string signature(const Op& op) {
  std::ostringstream out;
  out << "(";
  for (std::size_t i = 0; i < op.inputs.size(); ++i) out << (i ? ", " : "") << op.inputs[i];
  for (std::size_t i = 0; i < op.params.size(); ++i) {
    out << (i || !op.inputs.empty() ? ", " : "") << op.params[i].name;
    if (op.params[i].fallback) out << "=" << *op.params[i].fallback;
  }
  out << ")";
  return out.str();
}

PyObject* get_name(PyObject* self, void*) {
  const std::string& name = reinterpret_cast<PyOp*>(self)->op->name;
  return PyUnicode_FromStringAndSize(name.data(), Py_ssize_t(name.size()));
}
PyObject* get_doc(PyObject* self, void*) {
  const Op& op = *reinterpret_cast<PyOp*>(self)->op;
  return PyUnicode_FromString((op.name + signature(op) + "\n\n" + op.doc).c_str());
}
PyObject* get_signature(PyObject* self, void*) {
  return PyUnicode_FromString(signature(*reinterpret_cast<PyOp*>(self)->op).c_str());
}
PyObject* op_repr(PyObject* self) {
  return PyUnicode_FromFormat("<operation %s>", reinterpret_cast<PyOp*>(self)->op->name.c_str());
}
void op_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(reinterpret_cast<PyOp*>(self)->attributes);
  type->tp_free(self);
  Py_DECREF(type);
}

// Pickled and copied by name.
PyObject* op_reduce(PyObject* self, PyObject*) {
  return guarded([&] {
    py::object find = py::module_::import("wengert").attr("functions").attr("find_operation");
    return py::make_tuple(find, py::make_tuple(reinterpret_cast<PyOp*>(self)->op->name)).release().ptr();
  });
}

PyMethodDef op_methods[] = {{"__reduce__", op_reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyGetSetDef op_properties[] = {{"__name__", get_name, nullptr, nullptr, nullptr},
                               {"__qualname__", get_name, nullptr, nullptr, nullptr},
                               {"__doc__", get_doc, nullptr, nullptr, nullptr},
                               {"__text_signature__", get_signature, nullptr, nullptr, nullptr},
                               {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMemberDef op_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(PyOp, call), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(PyOp, attributes), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyTypeObject* make_op_type() {
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(bind_method)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(op_dealloc)},
                                {Py_tp_methods, op_methods},
                                {Py_tp_getset, op_properties},
                                {Py_tp_members, op_members},
                                {Py_tp_repr, reinterpret_cast<void*>(op_repr)},
                                {0, nullptr}};
  static PyType_Spec spec = {"wengert.Operation", sizeof(PyOp), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  return type;
}

const char* kind_name(AttrKind kind) {
  constexpr const char* names[] = {"bool", "int", "float", "ints", "dtype", "str"};
  return names[int(kind)];
}
const char* family_name(Family family) {
  constexpr const char* names[] = {"elementwise", "linear", "bilinear", "reduction", "general", "fused"};
  return names[int(family)];
}

}  // namespace

void bind_ops(py::module_& m) {
  op_type = make_op_type();
  py::module_ ops = m.def_submodule("ops", "Every operation of the table, under its own name.");
  py::dict table;
  for (const Op& op : all_ops()) {
    PyObject* object = op_type->tp_alloc(op_type, 0);
    if (!object) throw py::error_already_set();
    reinterpret_cast<PyOp*>(object)->op = &op;
    reinterpret_cast<PyOp*>(object)->call = call_op;
    reinterpret_cast<PyOp*>(object)->attributes = nullptr;
    ops.add_object(op.name.c_str(), py::handle(object));
    py::list params;
    for (const Param& param : op.params) {
      std::ostringstream fallback;
      if (param.fallback) fallback << *param.fallback;
      params.append(py::make_tuple(param.name, kind_name(param.kind),
                                   param.fallback ? py::object(py::str(fallback.str())) : py::object(py::none())));
    }
    py::dict row;
    row["inputs"] = op.inputs;
    row["params"] = params;
    row["family"] = family_name(op.family);
    row["differentiable"] = op.differentiable();
    row["doc"] = op.doc;
    table[op.name.c_str()] = row;
  }
  m.attr("op_table") = table;
}

}  // namespace wengert::bindings
