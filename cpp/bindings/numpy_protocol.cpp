// What NumPy asks of a tensor: its numbers, and what its functions are to do with it. (Its universal functions:
// python/wengert/ufuncs.py, which has the words too.)
#include "bindings/tensor.h"
#include "graph/recording.h"

namespace wengert::bindings {
namespace {

// The function of NumPy that asks for numbers on this thread, the outermost if it calls others; borrowed.
thread_local PyObject* asking = nullptr;

class Asking {
 public:
  explicit Asking(PyObject* function) : before_(asking) {
    if (!before_) asking = function;
  }
  ~Asking() { asking = before_; }
  Asking(const Asking&) = delete;

 private:
  PyObject* before_;
};

py::object words(const char* name) { return py::module_::import("wengert.ufuncs").attr(name); }

bool is_constant(const Var& x) {
  const Recording* recording = Recording::current();
  return !x.is_abstract() && !is_differentiated(x) && !(recording && recording->is_outside(*x.get()));
}

// The numbers of x; warns where a transform follows it, which loses it there.
py::object numbers_of(const char* where, const Var& x) {
  py::object numbers = to_numpy(x);
  if (is_followed(x)) words("warn_of_constants")(where);
  return numbers;
}

// dtype and copy, by position or name.
struct Wanted {
  py::handle dtype = Py_None, copy = Py_None;

  Wanted(PyObject* const* args, Py_ssize_t count, PyObject* names) {
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count > 2) fail(ErrorKind::type, "__array__: takes dtype and copy; got ", count, " arguments");
    if (count > 0) dtype = args[0];
    if (count > 1) copy = args[1];
    for (Py_ssize_t i = 0; i < named; ++i) {
      PyObject* name = PyTuple_GET_ITEM(names, i);
      if (PyUnicode_CompareWithASCIIString(name, "dtype") == 0 && count == 0) dtype = args[count + i];
      else if (PyUnicode_CompareWithASCIIString(name, "copy") == 0 && count < 2) copy = args[count + i];
      else fail(ErrorKind::type, "__array__: takes dtype and copy, each once; got ", show(name));
    }
  }
};

}  // namespace

PyObject* array_protocol(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return guarded([&]() -> PyObject* {
    const Wanted wanted(args, count, names);
    const Var x(value_of(self));
    if (asking && !is_constant(x)) words("refuse")(py::handle(asking), x);
    py::object array = numbers_of("np.asarray", x);
    if (!wanted.dtype.is_none() && !py::object(array.attr("dtype")).equal(wanted.dtype)) {
      if (wanted.copy.is(py::handle(Py_False)))
        fail(ErrorKind::argument, "__array__: ", value_of(self)->array.dtype(), " to ", std::string(py::str(wanted.dtype)),
             " needs a copy, and copy=False forbids one");
      return array.attr("astype")(wanted.dtype).release().ptr();
    }
    const int copies = PyObject_IsTrue(wanted.copy.ptr());
    if (copies < 0) throw py::error_already_set();
    if (copies > 0) array = array.attr("copy")();
    return array.release().ptr();
  });
}

PyObject* function_protocol(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 4 || !PyDict_Check(args[3]))
      fail(ErrorKind::type, "__array_function__: takes a function, types, args and kwargs");
    PyObject* function = args[0];
    // What it does with arrays, by the one name or the other.
    static PyObject* const name = PyUnicode_InternFromString("_implementation");
    PyObject* found = PyObject_GetAttr(function, name);
    if (!found) PyErr_Clear(), found = PyObject_GetAttrString(function, "__wrapped__");
    if (!found) throw py::error_already_set();
    const auto plain = py::reinterpret_steal<py::object>(found);
    const auto given = py::reinterpret_steal<py::tuple>(PySequence_Tuple(args[2]));
    if (!given) throw py::error_already_set();
    const Asking own(function);
    return PyObject_Call(plain.ptr(), given.ptr(), args[3]);
  });
}

void bind_numpy_protocol(py::module_& m) {
  m.def("_is_constant", is_constant);
  m.def("_numpy", [](const Var& x) { return to_numpy(x); });
  m.def("_numbers_of", [](const Var& x) { return numbers_of("numpy", x); });
}

}  // namespace wengert::bindings
