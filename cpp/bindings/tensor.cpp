// The Tensor type: its slots for operators, attributes and conversions. Methods that are operations
// come from the table; sugar is added in python/wengert/tensor_methods.py.
#include "bindings/tensor.h"

#include <pybind11/stl.h>
#include <structmember.h>

#include <algorithm>

#include "graph/recording.h"
#include "graph/source.h"
#include "graph/tangents.h"
#include "graph/tape.h"
#include "ops/integers.h"
#include "ops/vocabulary.h"

namespace wengert::bindings {
namespace {

PyTypeObject* the_type = nullptr;

PyTensor* as_tensor(PyObject* object) { return reinterpret_cast<PyTensor*>(object); }
Var var_of(PyObject* object) { return Var(value_of(object)); }

// Memory of Tensor objects that ended, for the next ones.
constexpr std::size_t spare_limit = 256;
std::vector<PyTensor*>& spares() {
  static auto* list = new std::vector<PyTensor*>;
  return *list;
}

PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    PyObject* data = nullptr;
    int requires_grad = 0;
    PyObject* dtype = Py_None;
    static const char* names[] = {"data", "dtype", "requires_grad", nullptr};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|Op", const_cast<char**>(names), &data, &dtype,
                                     &requires_grad)) {
      const py::error_already_set error;
      if (!error.matches(PyExc_TypeError)) throw error;
      fail(ErrorKind::type, "Tensor: ", std::string(py::str(error.value())),
           "; it takes data, dtype, requires_grad");
    }
    Var x = tensor_from(data, dtype == Py_None ? std::optional<DType>() : to_dtype(dtype), {});
    x = detach(x);
    if (requires_grad) {
      if (!is_float(x.dtype()))
        fail(ErrorKind::dtype, "Tensor: only floating-point tensors can require gradients; got ", x.dtype(),
             ". Write 1.0 for 1, or convert with astype(wg.float32)");
      make_leaf(*x.get());
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (!self) return nullptr;
    new (&as_tensor(self)->value) Ref<Value>(x.ref());
    as_tensor(self)->weak_references = nullptr;
    x->python = self;
    ++shown(*x.get());
    if (x.is_abstract()) note_traced(self);
    return self;
  });
}

void tensor_dealloc(PyObject* self) {
  PyTensor* tensor = as_tensor(self);
  if (tensor->value) {
    tensor->value->python = nullptr;
    --shown(*tensor->value);
    if (tensor->value->trace) [[unlikely]] forget_traced(self);
  }
  // From here on the value is shown by another object, should a callback ask for it.
  if (tensor->weak_references) PyObject_ClearWeakRefs(self);
  tensor->value.~Ref<Value>();
  PyTypeObject* type = Py_TYPE(self);
  if (type == the_type && spares().size() < spare_limit) {
    spares().push_back(tensor);
    return;
  }
  type->tp_free(self);
  Py_DECREF(type);
}

// Objects that can stand beside a tensor in an operator; others get their own turn (reflected
// methods) unless Python can only fail on them.
bool refuses(PyObject* other) {
  return other == Py_None || PyUnicode_Check(other) || PyDict_Check(other) || PyBytes_Check(other);
}

bool is_traced_number(PyObject* x) { return is_tensor(x) && value_of(x)->weak && !value_of(x)->array.has_data(); }

// Whether the operation gives a bool of bools, as in Python, where ~True is -2.
bool is_logical(const std::string& name) { return name == "bitwise_and" || name == "bitwise_or" || name == "bitwise_xor"; }

// Arithmetic among the numbers that a traced function was given, as Python does it: in float64, or in
// int64 as far as that goes, and a number again. Comparisons give bools, which count as 0 and 1.
PyObject* of_numbers(const Op& op, std::initializer_list<PyObject*> objects) {
  static const Op& convert = find_op("astype");
  Vars args;
  bool truths = is_logical(op.name);
  DType wide = op.name == "divide" ? DType::float64 : DType::int64;
  const Var traced = var_of(*std::find_if(objects.begin(), objects.end(), is_tensor));
  for (PyObject* x : objects) {
    const bool meant_float = is_float(traced.dtype());  // also of an integer beyond int64
    args.push_back(is_tensor(x) ? var_of(x) : meant_float ? to_var(x, traced) : number_argument(x));
    truths = truths && args.back().dtype() == DType::bool_;
    if (is_float(args.back().dtype())) wide = DType::float64;
  }
  if (truths) wide = DType::bool_;
  const Var& last = args.back();
  const bool below = !last.is_abstract() && last.dtype() == DType::int64 && *last.array().data<int64_t>() < 0;
  if (op.name == "power" && below) wide = DType::float64;
  for (Var& x : args) x = apply(convert, {&x, 1}, make_attrs(convert, {{"dtype", wide}}));
  const bool exact = wide == DType::int64 && may_leave_int64(op.name);
  const Var y = exact ? of_integers(op.name, args[0], args.back()) : apply(op, {args.data(), args.size()});
  y->weak = true;
  return wrap(y);
}

template <const char* name>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    static const Op& op = find_op(name);
    if (is_traced_number(a) ? is_number(b) || is_traced_number(b) : is_number(a) && is_traced_number(b))
      return of_numbers(op, {a, b});
    Var args[2];
    if (is_tensor(a)) {
      args[0] = var_of(a);
      if (!is_convertible(b)) {
        if (refuses(b)) fail(ErrorKind::type, name, ": cannot combine a tensor with a ", Py_TYPE(b)->tp_name);
        Py_RETURN_NOTIMPLEMENTED;
      }
      args[1] = to_var(b, args[0]);
    } else {
      args[1] = var_of(b);
      if (!is_convertible(a)) {
        if (refuses(a)) fail(ErrorKind::type, name, ": cannot combine a ", Py_TYPE(a)->tp_name, " with a tensor");
        Py_RETURN_NOTIMPLEMENTED;
      }
      args[0] = to_var(a, args[1]);
    }
    return wrap(apply(op, args));
  });
}

template <const char* name>
PyObject* unary_slot(PyObject* x) {
  return guarded([&] {
    static const Op& op = find_op(name);
    if (is_traced_number(x)) return of_numbers(op, {x});
    const Var arg = var_of(x);
    return wrap(apply(op, {&arg, 1}));
  });
}

PyObject* power_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  static constexpr char power_name[] = "power", square_name[] = "square";
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  if (is_tensor(a) && PyLong_CheckExact(b) && PyLong_AsLong(b) == 2) return unary_slot<square_name>(a);
  PyErr_Clear();
  return binary_slot<power_name>(a, b);
}

void require_one(const Var& x, const char* as) {
  if (x.is_abstract()) refuse_traced(as);
  refuse_recorded(x, as);
  if (x->array.size() != 1)
    fail(ErrorKind::shape, as, ": needs a tensor with one element; got shape ", x.shape(),
         ". Of all elements: .tolist(), or wg.exp(x) for math.exp(x)");
}

template <auto slot, class... Rest>
PyObject* in_place_slot(PyObject* self, PyObject* other, Rest*... rest) {
  PyObject* result = slot(self, other, rest...);
  if (is_traced_number(self)) return result;  // the variable holds another number from now on
  return result && is_tensor(result) ? update_in_place(self, other, result) : result;
}

PyObject* divmod_slot(PyObject* a, PyObject* b) {
  static constexpr char quotient_name[] = "floor_divide", remainder_name[] = "remainder";
  PyObject* quotient = binary_slot<quotient_name>(a, b);
  if (!quotient || quotient == Py_NotImplemented) return quotient;
  PyObject* remainder = binary_slot<remainder_name>(a, b);
  PyObject* both = remainder ? PyTuple_Pack(2, quotient, remainder) : nullptr;
  Py_XDECREF(remainder);
  Py_DECREF(quotient);
  return both;
}

#define WENGERT_NAME(op) constexpr char op##_name[] = #op;
WENGERT_NAME(add) WENGERT_NAME(subtract) WENGERT_NAME(multiply) WENGERT_NAME(divide) WENGERT_NAME(floor_divide)
WENGERT_NAME(remainder) WENGERT_NAME(matmul) WENGERT_NAME(negative) WENGERT_NAME(abs) WENGERT_NAME(bitwise_and)
WENGERT_NAME(bitwise_or) WENGERT_NAME(bitwise_xor) WENGERT_NAME(bitwise_invert) WENGERT_NAME(bitwise_left_shift)
WENGERT_NAME(bitwise_right_shift) WENGERT_NAME(less) WENGERT_NAME(less_equal) WENGERT_NAME(equal)
WENGERT_NAME(not_equal) WENGERT_NAME(greater) WENGERT_NAME(greater_equal)
#undef WENGERT_NAME

PyObject* positive_slot(PyObject* x) { Py_INCREF(x); return x; }

PyObject* compare_slot(PyObject* a, PyObject* b, int relation) {
  if ((relation == Py_EQ || relation == Py_NE) && refuses(b)) Py_RETURN_NOTIMPLEMENTED;
  switch (relation) {
    case Py_LT: return binary_slot<less_name>(a, b);
    case Py_LE: return binary_slot<less_equal_name>(a, b);
    case Py_EQ: return binary_slot<equal_name>(a, b);
    case Py_NE: return binary_slot<not_equal_name>(a, b);
    case Py_GT: return binary_slot<greater_name>(a, b);
    default: return binary_slot<greater_equal_name>(a, b);
  }
}

int bool_slot(PyObject* self) {
  int answer = -1;
  PyObject* done = guarded([&]() -> PyObject* {
    const Var x = var_of(self);
    if (!x.is_abstract() && x->array.size() > 1)
      fail(ErrorKind::argument, "bool: the truth of a tensor with ", x->array.size(),
           " elements is ambiguous; use .any() or .all()");
    require_one(x, "bool");
    answer = dispatch(x.dtype(), [&](auto tag) {
      return *x->array.data<typename decltype(tag)::type>() != 0;
    });
    return Py_None;
  });
  return done ? answer : -1;
}

PyObject* item(PyObject* self, PyObject* = nullptr) {
  return guarded([&] {
    const Var x = var_of(self);
    require_one(x, "item");
    return dispatch(x.dtype(), [&](auto tag) -> PyObject* {
      using T = typename decltype(tag)::type;
      const T value = *x->array.data<T>();
      if constexpr (std::is_same_v<T, bool>) return PyBool_FromLong(value);
      else if constexpr (std::is_floating_point_v<T>) return PyFloat_FromDouble(value);
      else return PyLong_FromLongLong(value);
    });
  });
}

PyObject* float_slot(PyObject* self) {
  PyObject* value = item(self);
  PyObject* out = value ? PyNumber_Float(value) : nullptr;
  Py_XDECREF(value);
  return out;
}

PyObject* int_slot(PyObject* self) {
  PyObject* value = item(self);
  PyObject* out = value ? PyNumber_Long(value) : nullptr;
  Py_XDECREF(value);
  return out;
}

PyObject* index_slot(PyObject* self) {
  return guarded([&]() -> PyObject* {
    const Var x = var_of(self);
    if (!is_integer(x.dtype()) || x.ndim() != 0)
      fail(ErrorKind::type, "index: only a 0-d integer tensor can be an index; got ", x->array.type());
    return item(self);
  });
}

Py_ssize_t length(PyObject* self) {
  const Var x = var_of(self);
  if (x.ndim() > 0) return Py_ssize_t(x.shape()[0]);
  guarded([&]() -> PyObject* { fail(ErrorKind::type, "len: a 0-d tensor has no length"); });
  return -1;
}

PyObject* ints_tuple(const Ints& values) {
  PyObject* out = PyTuple_New(Py_ssize_t(values.size()));
  for (std::size_t i = 0; out && i < values.size(); ++i)
    PyTuple_SET_ITEM(out, Py_ssize_t(i), PyLong_FromLongLong(values[i]));
  return out;
}

PyObject* get_shape(PyObject* self, void*) { return ints_tuple(value_of(self)->array.shape()); }
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(value_of(self)->array.ndim()); }
PyObject* get_size(PyObject* self, void*) { return PyLong_FromLongLong(value_of(self)->array.size()); }
PyObject* get_dtype(PyObject* self, void*) {
  return guarded([&] { return dtype_object(value_of(self)->array.dtype()); });
}
PyObject* get_requires_grad(PyObject* self, void*) {
  const Value& value = *value_of(self);
  note_met(value);
  return PyBool_FromLong(value.tracked);
}
PyObject* get_is_leaf(PyObject* self, void*) { return PyBool_FromLong(value_of(self)->is_leaf); }
PyObject* get_is_abstract(PyObject* self, void*) { return PyBool_FromLong(!value_of(self)->array.has_data()); }

PyObject* get_grad(PyObject* self, void*) {
  return guarded([&]() -> PyObject* {
    const Value& value = *value_of(self);
    if (const Var grad = leaf_grad(value)) return wrap(grad);
    if (value.tracked && !value.is_leaf && !keeps_grad(value) &&
        PyErr_WarnEx(PyExc_UserWarning, "grad: only leaves keep their gradient, and this tensor is the result of an "
                     "operation; call its retain_grad() before backward()", 1) < 0)
      return nullptr;
    Py_RETURN_NONE;
  });
}

// A number for a change of what has this number, and the way back. Mixed, as addresses lie in rows: the
// differences of four would cancel.
int64_t change_of(uint64_t x) {
  uint64_t mixed = x * 0x9E3779B97F4A7C15u;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
  return int64_t(mixed ^ (mixed >> 27));
}

int set_requires_grad(PyObject* self, PyObject* wanted, void*) {
  PyObject* done = guarded([&]() -> PyObject* {
    Value& value = *value_of(self);
    const bool on = wanted && to_bool("requires_grad", "requires_grad", wanted);
    if (!value.is_leaf)
      fail(ErrorKind::graph, "requires_grad: can be set on leaves only; this tensor was made by '", value.node->name(), "'");
    if (on && !is_float(value.array.dtype()))
      fail(ErrorKind::dtype, "requires_grad: only floating-point tensors can require gradients; got ", value.array.dtype(),
           ". Convert with astype(wg.float32)");
    const bool before = value.tracked;
    note_met(value);
    const auto tell = Recording::current() ? noted_options : changed_options;
    if (on != before && value.recorded) tell(change_of(reinterpret_cast<uintptr_t>(&value)));
    if (on && !value.tracked && !value.array.has_data()) {
      Recording* recording = Recording::current();
      if (!recording || !value.node || value.trace != recording->trace().id())
        fail(ErrorKind::trace, "requires_grad: cannot be set on an argument of a traced function; use wg.grad, or within "
             "wg.compile a tensor of its own: x.detach().requires_grad_()");
    }
    if (on && !value.tracked) make_leaf(value);
    if (!on) drop_leaf(value);
    if (Recording* recording = Recording::current()) recording->flag(var_of(self), before);
    return Py_None;
  });
  return done ? 0 : -1;
}

int set_grad_slot(PyObject* self, PyObject* grad, void*) {
  PyObject* done = guarded([&]() -> PyObject* {
    Value& value = *value_of(self);
    if (!grad || grad == Py_None) {
      if (value.node && leaf_grad(value)) set_grad(value, {});
      return Py_None;
    }
    if (!is_tensor(grad)) fail(ErrorKind::type, "grad: takes a tensor or None; got a ", Py_TYPE(grad)->tp_name);
    const Var g = var_of(grad);
    if (!(g.shape() == value.array.shape()) || g.dtype() != value.array.dtype())
      fail(g.shape() == value.array.shape() ? ErrorKind::dtype : ErrorKind::shape, "grad: must be like its tensor, ",
           value.array.type(), "; got ", g->array.type());
    if (!value.tracked) fail(ErrorKind::graph, "grad: the tensor does not require a gradient");
    set_grad(value, g);
    return Py_None;
  });
  return done ? 0 : -1;
}

PyObject* get_grad_fn(PyObject* self, void*) {
  return guarded([&]() -> PyObject* {
    const Value& value = *value_of(self);
    note_met(value);
    if (!value.tracked || value.is_leaf) Py_RETURN_NONE;
    return py::cast(value.node.get() ? value.node : Ref<Node>()).release().ptr();
  });
}

PyGetSetDef properties[] = {
    {"shape", get_shape, nullptr, "Sizes of the axes.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"size", get_size, nullptr, "Number of elements.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type, a NumPy dtype.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether backward passes give it a gradient.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether no recorded operation made it.", nullptr},
    {"_is_abstract", get_is_abstract, nullptr, "Whether it stands for a value in a trace.", nullptr},
    {"grad", get_grad, set_grad_slot, "The accumulated gradient, or None.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "The node that made the tensor; None for leaves.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"item", item, METH_NOARGS, "The only element, as a Python number."},
    {"__array__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(array_protocol)),
     METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"__array_function__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function_protocol)), METH_FASTCALL,
     "NumPy's protocol for its functions that are not universal: those that call the tensor's own method\n"
     "keep the derivative, the others compute with the numbers of constant tensors and raise for the rest."},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

template <class F> void* slot_cast(F* f) { return reinterpret_cast<void*>(f); }

PyTypeObject* make_type() {
  static PyType_Slot slots[] = {
      {Py_tp_new, slot_cast(tensor_new)},
      {Py_tp_dealloc, slot_cast(tensor_dealloc)},
      {Py_tp_getset, properties},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {Py_tp_richcompare, slot_cast(compare_slot)},
      {Py_tp_hash, slot_cast(_Py_HashPointer)},
      {Py_nb_add, slot_cast(binary_slot<add_name>)},
      {Py_nb_subtract, slot_cast(binary_slot<subtract_name>)},
      {Py_nb_multiply, slot_cast(binary_slot<multiply_name>)},
      {Py_nb_true_divide, slot_cast(binary_slot<divide_name>)},
      {Py_nb_floor_divide, slot_cast(binary_slot<floor_divide_name>)},
      {Py_nb_remainder, slot_cast(binary_slot<remainder_name>)},
      {Py_nb_divmod, slot_cast(divmod_slot)},
      {Py_nb_matrix_multiply, slot_cast(binary_slot<matmul_name>)},
      {Py_nb_power, slot_cast(power_slot)},
      {Py_nb_negative, slot_cast(unary_slot<negative_name>)},
      {Py_nb_positive, slot_cast(positive_slot)},
      {Py_nb_absolute, slot_cast(unary_slot<abs_name>)},
      {Py_nb_and, slot_cast(binary_slot<bitwise_and_name>)},
      {Py_nb_or, slot_cast(binary_slot<bitwise_or_name>)},
      {Py_nb_xor, slot_cast(binary_slot<bitwise_xor_name>)},
      {Py_nb_invert, slot_cast(unary_slot<bitwise_invert_name>)},
      {Py_nb_lshift, slot_cast(binary_slot<bitwise_left_shift_name>)},
      {Py_nb_rshift, slot_cast(binary_slot<bitwise_right_shift_name>)},
      {Py_nb_inplace_add, slot_cast(in_place_slot<binary_slot<add_name>>)},
      {Py_nb_inplace_subtract, slot_cast(in_place_slot<binary_slot<subtract_name>>)},
      {Py_nb_inplace_multiply, slot_cast(in_place_slot<binary_slot<multiply_name>>)},
      {Py_nb_inplace_true_divide, slot_cast(in_place_slot<binary_slot<divide_name>>)},
      {Py_nb_inplace_floor_divide, slot_cast(in_place_slot<binary_slot<floor_divide_name>>)},
      {Py_nb_inplace_remainder, slot_cast(in_place_slot<binary_slot<remainder_name>>)},
      {Py_nb_inplace_power, slot_cast(in_place_slot<power_slot, PyObject>)},
      {Py_nb_inplace_and, slot_cast(in_place_slot<binary_slot<bitwise_and_name>>)},
      {Py_nb_inplace_or, slot_cast(in_place_slot<binary_slot<bitwise_or_name>>)},
      {Py_nb_inplace_xor, slot_cast(in_place_slot<binary_slot<bitwise_xor_name>>)},
      {Py_nb_inplace_lshift, slot_cast(in_place_slot<binary_slot<bitwise_left_shift_name>>)},
      {Py_nb_inplace_rshift, slot_cast(in_place_slot<binary_slot<bitwise_right_shift_name>>)},
      {Py_nb_bool, slot_cast(bool_slot)},
      {Py_nb_float, slot_cast(float_slot)},
      {Py_nb_int, slot_cast(int_slot)},
      {Py_nb_index, slot_cast(index_slot)},
      {Py_sq_length, slot_cast(length)},
      {Py_mp_length, slot_cast(length)},
      {Py_mp_subscript, slot_cast(subscript)},
      {Py_mp_ass_subscript, slot_cast(assign_subscript)},
      {Py_tp_doc, const_cast<char*>("An array that can record what is computed with it.\n\n"
                                    "Made by wg.tensor, wg.asarray and the array functions.")},
      {0, nullptr}};
  static PyType_Spec spec = {"wengert.Tensor", sizeof(PyTensor), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  return type;
}

}  // namespace

PyTypeObject* tensor_type() { return the_type; }

void refuse_traced(const char* as) {
  const std::string_view asked = as;
  if (asked != "bool" && asked != "item")
    fail(ErrorKind::trace, as, ": a traced value does not change in place, at ", show_source(source_here()),
         "; make a new one, x = x.at[key].set(value) or x = x + y, and go on with that");
  fail(ErrorKind::trace, as, ": a traced value has no number yet, at ", show_source(source_here()), "; ",
       asked == "bool" ? "choose with wg.where, wg.cond or wg.while_loop, or wg.maximum and wg.minimum for max and min"
                       : "keep to the tensor (wg.cos(x) for math.cos(x), wg.where, wg.cond, wg.scan for range), or return "
                         "it and read it outside",
       Recording::current() ? ". An argument that is a plain number can stay one where it is given by position: static_argnums of wg.compile" : "");
}

void refuse_recorded(const Var& x, const char* as) {
  const Recording* recording = Recording::current();
  if (recording && recording->is_outside(*x.get()))
    fail(ErrorKind::trace, as, ": a compiled function asked, at ", show_source(source_here()), ", for the number in a tensor "
         "from outside, which would be frozen in the recording; keep to wengert operations (wg.cos(x) for math.cos(x), "
         "wg.where, wg.cond), or pass it as a Python number (static_argnums)");
}

PyObject* wrap(const Var& x) {
  if (x->python) {
    auto* known = static_cast<PyObject*>(x->python);
    Py_INCREF(known);
    return known;
  }
  PyTensor* made;
  if (!spares().empty()) {
    made = spares().back();
    spares().pop_back();
    // The type's reference was kept with the memory.
    Py_SET_REFCNT(reinterpret_cast<PyObject*>(made), 1);
  } else {
    made = as_tensor(the_type->tp_alloc(the_type, 0));
    if (!made) throw py::error_already_set();
  }
  new (&made->value) Ref<Value>(x.ref());
  made->weak_references = nullptr;
  x->python = made;
  ++shown(*x.get());
  if (x.is_abstract()) [[unlikely]] note_traced(reinterpret_cast<PyObject*>(made));
  return reinterpret_cast<PyObject*>(made);
}

void bind_tensor(py::module_& m) {
  the_type = make_type();
  m.add_object("Tensor", py::handle(reinterpret_cast<PyObject*>(the_type)));

  // Nodes are met, not made: one without an operation behind it would be a null pointer.
  const auto not_made = py::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_new = [](PyTypeObject*, PyObject*, PyObject*) -> PyObject* {
      return guarded([]() -> PyObject* { fail(ErrorKind::type, "Node: operations make nodes; it has no constructor"); });
    };
  });
  py::class_<Node, Ref<Node>>(m, "Node", "An operation that was recorded: what made a tensor.", not_made)
      .def_property_readonly("name", [](const Node& n) { return n.name(); })
      .def_property_readonly("next_functions",
                             [](const Node& n) {
                               py::list out;
                               for (const Edge& e : n.inputs)
                                 out.append(py::make_tuple(py::cast(e.node), e.index));
                               return py::tuple(out);
                             },
                             "Where the adjoints of the inputs go: pairs of node and output index.")
      .def_property_readonly("source", [](const Node& n) { return show_source(n.source); },
                             "The user's line that recorded it.")
      .def("__repr__", [](const Node& n) { return std::string("<") + n.name() + " recorded at " + show_source(n.source) + ">"; });

  m.def("_assign", [](const Var& to, py::object from) { assign(to, value_for("assign", to, from.ptr())); });
  m.def("_detach", [](const Var& x) { return detach(x); });
  m.def("_retain_grad", [](const Var& x) {
    if (!x->tracked) fail(ErrorKind::graph, "retain_grad: the tensor does not require a gradient");
    if (x->is_leaf) return;
    if (!leaf_grad(*x.get())) set_grad(*x.get(), {});
    Tape::attend(x->node);
  });
  m.def("_register_hook", [](const Var& x, py::object call) {
    if (!PyCallable_Check(call.ptr()))
      fail(ErrorKind::type, "register_hook: 'hook' takes a function of one tensor; got ", show(call));
    if (!x->tracked) fail(ErrorKind::graph, "register_hook: the tensor does not require a gradient");
    static int64_t next_id = 0;
    const int64_t id = ++next_id;
    auto run = [call](const Var& g) -> Var {
      const Lent lent({{&g, 1}});
      py::object replaced = call(g);
      if (replaced.is_none()) return {};
      if (!is_tensor(replaced.ptr()))
        fail(ErrorKind::type, "hook: must return a tensor or None; got ", show(replaced));
      Var out = var_of(replaced.ptr());
      if (!(out.shape() == g.shape()) || out.dtype() != g.dtype())
        fail(out.shape() == g.shape() ? ErrorKind::dtype : ErrorKind::shape,
             "hook: must return a gradient like the one it got, ", g->array.type(), "; got ", out->array.type());
      return out;
    };
    x->node->more().hooks.emplace_back(x->index, Hook{id, run});
    if (x->recorded) changed_options(change_of(uint64_t(id)));
    Tape::attend(x->node);
    return id;
  });
  m.def("_remove_hook", [](const Var& x, int64_t id) {
    if (!x->node || !x->node->extras) return;
    const auto is_it = [id](const auto& entry) { return entry.second.id == id; };
    if (std::erase_if(x->node->extras->hooks, is_it) > 0 && x->recorded) changed_options(change_of(uint64_t(id)));
  });
}

}  // namespace wengert::bindings
