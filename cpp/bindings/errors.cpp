// C++ error kinds as Python exceptions: each derives from wg.Error and from the built-in that fits.
#include "bindings/tensor.h"
#include "graph/source.h"

namespace wengert::bindings {
namespace {

PyObject* classes[10];

PyObject* make_class(py::module_& m, const char* name, const char* doc, py::object bases) {
  const std::string full = std::string("wengert.") + name;
  PyObject* made = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr);
  if (!made) throw py::error_already_set();
  m.add_object(name, py::handle(made));
  return made;  // lives as long as the process
}

}  // namespace

void set_python_error(const Error& error) {
  const std::string text = error.what() + (error.source ? ", at " + show_source(error.source) : std::string());
  PyObject* message = PyUnicode_DecodeUTF8(text.data(), Py_ssize_t(text.size()), "replace");
  if (!message) return;
  PyErr_SetObject(classes[int(error.kind)], message);
  Py_DECREF(message);
}

void bind_errors(py::module_& m) {
  PyObject* base = make_class(m, "Error", "The base of every error that wengert raises.",
                              py::reinterpret_borrow<py::object>(PyExc_Exception));
  auto derive = [&](ErrorKind kind, const char* name, PyObject* builtin, const char* doc) {
    classes[int(kind)] = make_class(m, name, doc, py::make_tuple(py::handle(base), py::handle(builtin)));
  };
  derive(ErrorKind::shape, "ShapeError", PyExc_ValueError, "Shapes or axes that do not fit the operation.");
  derive(ErrorKind::dtype, "DTypeError", PyExc_TypeError, "A dtype that the operation does not take.");
  derive(ErrorKind::graph, "GraphError", PyExc_RuntimeError,
         "A backward pass over a freed graph, over changed values, or from a tensor without history.");
  derive(ErrorKind::trace, "TraceError", PyExc_TypeError, "A traced value used as a Python bool or number.");
  derive(ErrorKind::argument, "ArgumentError", PyExc_ValueError, "An argument out of its range.");
  derive(ErrorKind::type, "ArgumentTypeError", PyExc_TypeError, "An argument of the wrong Python type, or a missing one.");
  derive(ErrorKind::bounds, "BoundsError", PyExc_IndexError, "An index out of range.");
  derive(ErrorKind::memory, "OutOfMemory", PyExc_MemoryError, "More memory than the machine has.");
  derive(ErrorKind::numeric, "NumericError", PyExc_FloatingPointError,
         "An infinity or a NaN that an operation made of finite numbers, under debug_nans.");
  derive(ErrorKind::file, "FileError", PyExc_OSError, "A file that cannot be read or written.");
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& error) {
      set_python_error(error);
    } catch (const std::bad_alloc&) {
      set_python_error(Error(ErrorKind::memory, "memory: the system refused what was asked for"));
    }
  });
}

}  // namespace wengert::bindings
