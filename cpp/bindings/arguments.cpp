// Python arguments as C++ ones: whoever asks names the function and the argument, so that a refusal
// can. Knows nothing of operations.
#include "bindings/tensor.h"
#include "graph/tangents.h"

namespace wengert::bindings {
namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& what, const char* wanted,
                         py::handle object) {
  PyErr_Clear();
  fail(ErrorKind::type, where, ": '", what, "' takes ", wanted, "; got ", show(object));
}

int64_t one_int(const std::string& where, const std::string& what, const char* wanted,
                PyObject* item, py::handle all, ErrorKind too_large = ErrorKind::argument) {
  if (is_tensor(item) && (!is_integer(value_of(item)->array.dtype()) || value_of(item)->array.ndim() != 0))
    refuse(where, what, wanted, all);
  // Another tensor says itself why it is no index.
  const bool whole = is_tensor(item) || (PyIndex_Check(item) && !PyFloat_Check(item));
  auto index = py::reinterpret_steal<py::object>(whole ? PyNumber_Index(item) : nullptr);
  if (!index) {
    if (is_tensor(item)) throw py::error_already_set();
    refuse(where, what, wanted, all);
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow > 0 && too_large == ErrorKind::memory)
    fail(too_large, where, ": ", what, " ", show(all), " is beyond any memory");
  if (overflow) fail(ErrorKind::argument, where, ": '", what, "' must fit int64; got ", show(all));
  return value;
}

}  // namespace

std::string show(py::handle object) {
  constexpr Py_ssize_t longest = 60;
  auto text = py::reinterpret_steal<py::object>(PyObject_Repr(object.ptr()));
  if (text && PyUnicode_GetLength(text.ptr()) > longest) {
    text = py::reinterpret_steal<py::object>(PyUnicode_Substring(text.ptr(), 0, longest));
    text = py::reinterpret_steal<py::object>(PyUnicode_FromFormat("%U...", text.ptr()));
  }
  const char* characters = text ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
  if (characters) return characters;
  PyErr_Clear();
  return std::string("a ") + Py_TYPE(object.ptr())->tp_name;
}

int64_t to_int(const std::string& where, const std::string& what, py::handle object) {
  return one_int(where, what, "an int", object.ptr(), object);
}

Ints to_ints(const std::string& where, const std::string& what, py::handle object,
             ErrorKind too_large) {
  const char* wanted = "an int or a sequence of ints";
  PyObject* given = object.ptr();
  if (PyLong_Check(given) || is_tensor(given))
    return {one_int(where, what, wanted, given, object, too_large)};
  if (PyUnicode_Check(given) || PyBytes_Check(given)) refuse(where, what, wanted, object);
  // An array with one integer and no axes is both: an index first.
  if (PyIndex_Check(given)) {
    if (auto index = py::reinterpret_steal<py::object>(PyNumber_Index(given)))
      return {one_int(where, what, wanted, index.ptr(), object, too_large)};
    PyErr_Clear();
  }
  if (!PySequence_Check(given)) refuse(where, what, wanted, object);
  // The items are held: an item's __index__ may change the list.
  const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(given));
  if (!items) refuse(where, what, wanted, object);
  Ints out;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.ptr()); ++i)
    out.push_back(
        one_int(where, what, wanted, PyTuple_GET_ITEM(items.ptr(), i), object, too_large));
  return out;
}

bool is_differentiated(const Var& x) {
  return carries_tangent(x) || (x->tracked && modes().grad_enabled);
}

bool is_followed(const Var& x) {
  return !modes().constant && (carries_tangent(x) || (x->tracked && modes().followed > 0));
}

double to_real(const std::string& where, const std::string& what, py::handle object) {
  if (is_tensor(object.ptr()))
    if (const Var x(value_of(object.ptr())); !x.is_abstract() && is_differentiated(x))
      fail(ErrorKind::graph, where, ": '", what, "' takes a number, to which no derivative leads; got a tensor "
           "that is being differentiated. Detach it, or write the function in operations that take tensors");
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1.0 && PyErr_Occurred()) {
    if (is_tensor(object.ptr())) throw py::error_already_set();
    if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
      PyErr_Clear();
      fail(ErrorKind::argument, where, ": '", what, "' must fit a float; got ", show(object));
    }
    refuse(where, what, "a number", object);
  }
  return value;
}

bool to_bool(const std::string& where, const std::string& what, py::handle object) {
  const bool known = PyLong_Check(object.ptr()) ||
                     std::string(Py_TYPE(object.ptr())->tp_name).starts_with("numpy.bool");
  if (!known) refuse(where, what, "a bool", object);
  return PyObject_IsTrue(object.ptr()) == 1;
}

Var to_tensor(const std::string& where, const std::string& what, py::handle object) {
  if (!is_tensor(object.ptr())) refuse(where, what, "a tensor", object);
  return Var(value_of(object.ptr()));
}

}  // namespace wengert::bindings
