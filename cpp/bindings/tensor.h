// The Python Tensor: a plain CPython type, because a pybind11 class costs as much as a whole small
// operation; pybind11 sees it through the caster below.
#pragma once
#include <pybind11/pybind11.h>

#include <exception>
#include <optional>

#include "graph/node.h"

PYBIND11_DECLARE_HOLDER_TYPE(T, wengert::Ref<T>, true)

namespace wengert::bindings {

namespace py = pybind11;

struct PyTensor {
  PyObject_HEAD
  Ref<Value> value;
  PyObject* weak_references;
};

PyTypeObject* tensor_type();
inline bool is_tensor(PyObject* object) { return PyObject_TypeCheck(object, tensor_type()); }
inline const Ref<Value>& value_of(PyObject* tensor) { return reinterpret_cast<PyTensor*>(tensor)->value; }

PyObject* wrap(const Var& x);        // new reference; the same object for the same value
Var to_var(PyObject* object);        // tensors, numbers, NumPy arrays, nested sequences; or a TypeError
// The same, a Python number taking the dtype it would be cast to in company of `beside`.
Var to_var(PyObject* object, const Var& beside);
bool is_number(PyObject* object);  // of Python, a bool included
bool is_convertible(PyObject* object);
// Whether a NumPy array that Python still holds, or another library, sees memory that is not ours.
bool seen_outside(const Buffer& buffer);
Var tensor_from(py::handle data, std::optional<DType> dtype, std::optional<bool> copy, const char* where = "tensor");
DType to_dtype(py::handle object);   // wg.float32, "float32", np.float32, np.dtype
py::object to_numpy(const Var& x);
PyObject* dtype_object(DType dtype); // new reference

// Arguments of the function `where` under the name `what`, or an error that names both.
int64_t to_int(const std::string& where, const std::string& what, py::handle object);
Ints to_ints(const std::string& where, const std::string& what, py::handle object,
             ErrorKind too_large = ErrorKind::argument);
double to_real(const std::string& where, const std::string& what, py::handle object);
bool to_bool(const std::string& where, const std::string& what, py::handle object);
Var to_tensor(const std::string& where, const std::string& what, py::handle object);
std::string show(py::handle object);  // its repr, cut
// The attributes of an operation by name, and a shape, as Python has them.
py::dict attributes_object(const Op& op, const Attrs& attrs);
py::tuple shape_object(const Shape& shape);

// Whether a derivative by x, or by what x depends on, may be asked for.
bool is_differentiated(const Var& x);
// Whether a transform whose function runs follows x.
bool is_followed(const Var& x);

// The count of Tensor objects that show the memory of x.
uint16_t& shown(Value& x);
// A Tensor object that means nothing outside the recording that is open; and its end.
void note_traced(PyObject* tensor);
void forget_traced(PyObject* tensor);
// What is written into `to`: numbers and sequences of them must be ones of its dtype, when recorded
// ones are known too (as_dtype_of).
Var value_for(const char* where, const Var& to, PyObject* object);
Var as_dtype_of(const char* where, const Var& to, const Var& from);
// Changes the bytes of a tensor in place, seen by all its views.
// `ending`: a tensor that no statement but this one sees.
void assign(const Var& to, const Var& from, const Var& ending = {});
bool is_temporary(PyObject* x);  // on the interpreter's stack and nowhere else
// x += v, of which `result` is x + v (the reference is taken), changes the memory of x. Where that
// would lose a derivative the variable gets a new tensor with the same numbers, if nothing else could
// tell the difference.
PyObject* update_in_place(PyObject* self, PyObject* other, PyObject* result);
// In-place changes: what forbids one (it fails as `where`), and the note that one happened.
void check_in_place(const char* where, const Var& to, const Var& from);
void note_change(const Array& to);
// A Python number as an argument of a traced function: float64 or int64 until it meets a tensor, whose
// dtype it takes.
Var number_argument(PyObject* object);
// While it lives, Python code that is handed these tensors cannot change them in place.
class Lent {
 public:
  explicit Lent(std::initializer_list<std::span<const Var>> groups);
  ~Lent();
  Lent(const Lent&) = delete;

 private:
  std::vector<Ref<Buffer>> buffers_;
};
// Fails because x has no number yet.
[[noreturn]] void refuse_traced(const char* as);
// Fails while a call is being recorded and x comes from outside it.
// Bodies of loops and branches that are being traced on this thread, in which nothing changes in place.
int& bodies_open();
void refuse_in_body(const char* where);
void refuse_recorded(const Var& x, const char* as);
// Says that something changed which recordings take for constant: an option, a mode, an attribute.
// `from_to` names the change and its way back, which leads to the recordings made before; 0: there is
// none.
void changed_options(int64_t from_to = 0);
// The same for flags that the open recording notes itself, or of which it knows.
void noted_options(int64_t from_to);
// NumPy's __array__(dtype=None, copy=None) and __array_function__(function, types, args, kwargs).
PyObject* array_protocol(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);
PyObject* function_protocol(PyObject* self, PyObject* const* args, Py_ssize_t count);
// x[key] and x[key] = value, as slots of the type.
PyObject* subscript(PyObject* self, PyObject* key);
int assign_subscript(PyObject* self, PyObject* key, PyObject* value);

void set_python_error(const Error& error);

// Runs f, turning C++ exceptions into Python ones.
template <class F>
PyObject* guarded(F&& f) {
  try {
    return f();
  } catch (const Error& error) {
    set_python_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    set_python_error(Error(ErrorKind::memory, "memory: the system refused what was asked for"));
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// Runs f while other Python threads run. The lock is taken back outside any destructor: at the end
// of the process Python ends waiting threads there by unwinding their stack.
template <class F>
void without_interpreter_lock(F&& f) {
  PyThreadState* state = PyEval_SaveThread();
  std::exception_ptr error;
  try {
    f();
  } catch (const std::exception&) {
    error = std::current_exception();
  }
  PyEval_RestoreThread(state);
  if (error) std::rethrow_exception(error);
}

void bind_errors(py::module_& m);
void bind_tensor(py::module_& m);
void bind_numpy_protocol(py::module_& m);
void bind_convert(py::module_& m);
void bind_creation(py::module_& m);
void bind_indexing(py::module_& m);
void bind_ops(py::module_& m);
void bind_sweeps(py::module_& m);
void bind_program(py::module_& m);
void bind_compile(py::module_& m);
void bind_control(py::module_& m);
void bind_checkpoint(py::module_& m);
void bind_runtime(py::module_& m);
void bind_source(py::module_& m);
void bind_optim(py::module_& m);
void bind_primitive(py::module_& m);
void bind_side_effects(py::module_& m);

}  // namespace wengert::bindings

namespace pybind11::detail {

template <>
struct type_caster<wengert::Var> {
  PYBIND11_TYPE_CASTER(wengert::Var, const_name("wengert.Tensor"));
  bool load(handle source, bool) {
    if (!wengert::bindings::is_tensor(source.ptr())) return false;
    value = wengert::Var(wengert::bindings::value_of(source.ptr()));
    return true;
  }
  static handle cast(const wengert::Var& x, return_value_policy, handle) {
    return x ? handle(wengert::bindings::wrap(x)) : none().release();
  }
};

}  // namespace pybind11::detail
