// Between Python objects and tensors: numbers, nested sequences, NumPy arrays, DLPack producers.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/source.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"

namespace wengert::bindings {
namespace {

py::object& numpy() {
  static py::object* module = new py::object(py::module_::import("numpy"));
  return *module;
}

// np.dtype objects of the six dtypes; also the public wg.float32 and its kin.
const std::array<py::object, dtype_count>& dtype_objects() {
  static auto* made = [] {
    auto* objects = new std::array<py::object, dtype_count>;
    for (int i = 0; i < dtype_count; ++i) (*objects)[std::size_t(i)] = numpy().attr("dtype")(name(DType(i)));
    return objects;
  }();
  return *made;
}

std::optional<DType> known_dtype(const py::dtype& dtype) {
  switch (dtype.kind()) {
    case 'b': return DType::bool_;
    case 'u': if (dtype.itemsize() == 1) return DType::uint8; break;
    case 'i':
      if (dtype.itemsize() == 4) return DType::int32;
      if (dtype.itemsize() == 8) return DType::int64;
      break;
    case 'f':
      if (dtype.itemsize() == 4) return DType::float32;
      if (dtype.itemsize() == 8) return DType::float64;
      break;
    default: break;
  }
  return {};
}

DType array_dtype(const py::array& array) {
  if (const auto dtype = known_dtype(array.dtype())) return *dtype;
  fail(ErrorKind::dtype, "tensor: NumPy dtype '", std::string(py::str(array.dtype())),
       "' is not supported; convert first with .astype to bool, uint8, int32, int64, float32 or float64");
}

bool shareable(const py::array& array) {
  const int width = int(array.itemsize());
  if (reinterpret_cast<std::uintptr_t>(array.data()) % std::size_t(width) != 0) return false;
  for (py::ssize_t i = 0; i < array.ndim(); ++i)
    if (array.strides(i) % width != 0) return false;
  return true;
}

// The buffer of the tensor whose memory a NumPy array shows, so that in-place changes are counted in
// one place; none if the memory is NumPy's.
Ref<Buffer> buffer_behind(const py::array& array, int width) {
  py::object base = array;
  while (py::isinstance<py::array>(base)) base = py::reinterpret_borrow<py::array>(base).base();
  if (!base || !is_tensor(base.ptr())) return {};
  const Ref<Buffer>& buffer = value_of(base.ptr())->array.buffer();
  if (!buffer) return {};
  const auto offset = static_cast<const std::byte*>(array.data()) - buffer->data;
  return offset % width == 0 ? buffer : Ref<Buffer>();
}

// What ends shared memory; named, so that the owner can be asked for.
struct Release {
  PyObject* owner;
  void operator()() const { Py_DECREF(owner); }
};

Array share(py::array array) {
  const DType dtype = array_dtype(array);
  Shape shape;
  Ints strides;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(array.shape(i));
    strides.push_back(array.strides(i) / array.itemsize());
  }
  check_shape("tensor", shape);
  auto* data = const_cast<void*>(array.data());
  if (const Ref<Buffer> known = buffer_behind(array, itemsize(dtype))) {
    const auto offset = static_cast<std::byte*>(data) - known->data;
    return Array(known, dtype, std::move(shape), std::move(strides), offset / itemsize(dtype));
  }
  const bool read_only = !array.writeable();
  const auto bytes = std::size_t(array.nbytes());
  PyObject* owner = array.release().ptr();
  return Array::foreign(data, bytes, read_only, dtype, std::move(shape), std::move(strides),
                        Release{owner});
}

bool is_sequence(PyObject* object) { return PyList_Check(object) || PyTuple_Check(object); }

// No subclass: there is nothing to ask NumPy about it.
bool is_plain_array(py::handle data) {
  static const PyObject* type = numpy().attr("ndarray").ptr();
  return reinterpret_cast<PyObject*>(Py_TYPE(data.ptr())) == type;
}

py::object numpy_reads(py::handle data) {
  if (is_plain_array(data)) return py::reinterpret_borrow<py::object>(data);
  const bool producer = py::hasattr(data, "__dlpack__") && !py::isinstance<py::array>(data);
  return producer ? numpy().attr("from_dlpack")(data) : numpy().attr("asarray")(data);
}

// Any array-like as a native-endian, aligned NumPy array.
py::array as_numpy(py::handle data) {
  auto array = py::reinterpret_borrow<py::array>(numpy_reads(data));
  if (const char kind = array.dtype().kind(); is_sequence(data.ptr()) && (kind == 'c' || kind == 'U' || kind == 'S'))
    fail(ErrorKind::dtype, "tensor: a sequence holds real numbers; got ", kind == 'c' ? "complex ones in " : "text in ",
         show(data), kind == 'c' ? ". Keep real and imaginary parts in tensors of their own" : ". Number the words, or parse them");
  if (is_sequence(data.ptr()) && !known_dtype(array.dtype()))
    fail(ErrorKind::dtype, "tensor: a sequence holds numbers, integers among them that int64 holds; got ",
         show(data), ". Write floats for larger ones: 1e30");
  if (array.dtype().byteorder() == '>') array = array.attr("astype")(array.dtype().attr("newbyteorder")("="));
  array_dtype(array);
  if (!shareable(array)) array = array.attr("copy")();
  return array;
}

// An integer beyond int64 in the company of floats.
py::object meant_float(PyObject* integer) {
  const double value = PyLong_AsDouble(integer);
  if (value == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    fail(ErrorKind::dtype, "tensor: the Python integer does not fit a float; got ", show(integer));
  }
  return py::float_(value);
}

Var weak_scalar(PyObject* object, std::optional<DType> company) {
  Var x;
  if (PyBool_Check(object)) {
    x = Var(Array::scalar<bool>(object == Py_True));
  } else if (PyFloat_Check(object)) {
    const double value = PyFloat_AS_DOUBLE(object);
    x = company == DType::float64 ? Var(Array::scalar<double>(value)) : Var(Array::scalar<float>(float(value)));
  } else {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow && company && is_float(*company)) return weak_scalar(meant_float(object).ptr(), company);
    if (overflow)
      fail(ErrorKind::dtype, "tensor: the Python integer does not fit int64; got ", show(object));
    if (company == DType::float32) x = Var(Array::scalar<float>(float(value)));
    else if (company == DType::float64) x = Var(Array::scalar<double>(double(value)));
    else x = Var(Array::scalar<int64_t>(value));
  }
  x->weak = true;
  return x;
}

// Whether it is an array or a scalar of NumPy's, of doubles.
bool is_double(PyObject* object) {
  if (!PyFloat_Check(object) && !py::isinstance<py::array>(object)) return false;
  const py::object dtype = py::getattr(object, "dtype", py::none());
  return !dtype.is_none() && dtype.equal(py::handle(dtype_objects()[std::size_t(DType::float64)]));
}

// What a nested sequence holds beside Python's numbers: whether there is a tensor, and how deep it nests.
constexpr int deepest = 32;
struct Contents {
  bool tensors = false, doubles = false, too_deep = false;
};
void look_into(PyObject* sequence, int depth, Contents& found) {
  if (depth > deepest) found.too_deep = true;
  PyObject** items = PySequence_Fast_ITEMS(sequence);
  const Py_ssize_t size = PySequence_Fast_GET_SIZE(sequence);
  for (Py_ssize_t i = 0; i < size && !found.tensors && !found.too_deep; ++i) {
    if (PyFloat_CheckExact(items[i]) || PyLong_CheckExact(items[i])) continue;
    if (is_sequence(items[i])) look_into(items[i], depth + 1, found);
    else found.tensors = is_tensor(items[i]), found.doubles = found.doubles || is_double(items[i]);
  }
}

// What a nested sequence holds: tensors and arrays, numbers, lists of items.
struct Item {
  Var value = {};
  py::object number = {};
  std::vector<Item> items = {};
};

Item read_items(PyObject* object, int depth) {
  if (depth > deepest) fail(ErrorKind::argument, "tensor: sequences nest at most ", deepest, " deep");
  if (is_number(object)) return {.number = py::reinterpret_borrow<py::object>(object)};
  if (!is_sequence(object)) return {.value = to_var(object)};
  Item out;
  // Held: a conversion runs Python code, which may change the list.
  const auto held = py::reinterpret_steal<py::tuple>(PySequence_Tuple(object));
  if (!held) throw py::error_already_set();
  for (py::handle item : held) out.items.push_back(read_items(item.ptr(), depth + 1));
  return out;
}

// The dtype of the tensors and arrays, widened by the kind of the numbers.
void widen(const Item& item, std::optional<DType>& strong, std::optional<DType>& weak) {
  for (const Item& inner : item.items) widen(inner, strong, weak);
  if (item.value && !item.value->weak) strong = promote(strong.value_or(DType::bool_), item.value.dtype());
  if (item.value && item.value->weak) weak = promote(weak.value_or(DType::bool_), settled_dtype(item.value));
  if (item.number) weak = promote(weak.value_or(DType::bool_), weak_scalar(item.number.ptr(), {}).dtype());
}

// A Python number that the dtype holds; not yet of that dtype where it is a narrower one.
Var number_as(PyObject* object, DType dtype) {
  const bool narrows = PyFloat_Check(object) && !is_float(dtype);
  const Var x = weak_scalar(object, narrows ? DType::float64 : dtype);
  kernels::check_range("tensor", x.array(), dtype);
  x->weak = false;
  return x;
}

Var stack_items(const Item& item, DType dtype) {
  static const Op& stack = find_op("stack");
  if (item.value || item.number) {
    const Var x = item.value ? item.value : number_as(item.number.ptr(), dtype);
    return x->weak ? from_number("tensor", x, dtype) : astype(x, dtype);
  }
  std::vector<Var> parts;
  for (const Item& inner : item.items) parts.push_back(stack_items(inner, dtype));
  if (parts.empty()) return Var(Array::empty(dtype, {0}));
  for (const Var& x : parts)
    if (!(x.shape() == parts[0].shape()))
      fail(ErrorKind::shape, "tensor: the items of a sequence must have the same shape; got ", parts[0].shape(), " and ",
           x.shape());
  return apply(stack, parts, Attrs(stack.params, {int64_t(0)}));
}

// A sequence that holds tensors, through operations: histories, tangents and traces go on.
Var stacked(PyObject* sequence, std::optional<DType> dtype) {
  const Item items = read_items(sequence, 0);
  std::optional<DType> strong, weak;
  widen(items, strong, weak);
  const DType company = strong.value_or(DType::bool_);
  // A number adopts the dtype of its company, unless it is of a higher kind.
  const bool higher = weak && (is_float(*weak) ? !is_float(company) : company == DType::bool_ && *weak != DType::bool_);
  return stack_items(items, dtype.value_or(higher ? *weak : company));
}

bool is_array_like(PyObject* object) {
  return py::isinstance<py::array>(object) || is_sequence(object) ||
         py::hasattr(object, "__array__") || py::hasattr(object, "__dlpack__");
}

[[noreturn]] void refuse_object(PyObject* object) {
  const bool items = PyIter_Check(object) || PyRange_Check(object);
  fail(ErrorKind::type, "tensor: cannot make a tensor of a ", Py_TYPE(object)->tp_name, "; got ", show(object),
       items ? ". Make a list of it first: list(...)" : "");
}

Var from_object(PyObject* object, std::optional<DType> company) {
  if (is_tensor(object)) return Var(value_of(object));
  if (is_number(object)) return weak_scalar(object, company);
  if (is_array_like(object)) return tensor_from(object, {}, true);
  refuse_object(object);
}

}  // namespace

bool seen_outside(const Buffer& buffer) {
  if (!buffer.foreign) return false;
  const Release* release = buffer.foreign.target<Release>();
  if (!release || Py_REFCNT(release->owner) > 1) return true;
  return !py::reinterpret_borrow<py::array>(release->owner).attr("base").is_none();
}

bool is_number(PyObject* object) { return PyFloat_Check(object) || PyLong_Check(object); }

bool is_convertible(PyObject* object) {
  return is_tensor(object) || is_number(object) || is_array_like(object);
}

Var number_argument(PyObject* object) {
  Var x = PyFloat_Check(object) ? Var(Array::scalar<double>(PyFloat_AS_DOUBLE(object))) : weak_scalar(object, {});
  x->weak = !PyBool_Check(object);
  return x;
}

Var to_var(PyObject* object) { return from_object(object, {}); }
Var to_var(PyObject* object, const Var& beside) { return from_object(object, beside.dtype()); }

DType to_dtype(py::handle object) {
  for (int i = 0; i < dtype_count; ++i)
    if (object.is(dtype_objects()[std::size_t(i)])) return DType(i);
  if (object.ptr() == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::float32;
  py::object converted;
  try {
    converted = numpy().attr("dtype")(object);
  } catch (py::error_already_set&) {
    fail(ErrorKind::dtype, "dtype: not a dtype: ", show(object),
         "; use bool, uint8, int32, int64, float32 or float64");
  }
  if (const auto dtype = known_dtype(py::reinterpret_borrow<py::dtype>(converted))) return *dtype;
  fail(ErrorKind::dtype, "dtype: '", std::string(py::str(converted)),
       "' is not supported; use bool, uint8, int32, int64, float32 or float64");
}

PyObject* dtype_object(DType dtype) { return py::object(dtype_objects()[std::size_t(dtype)]).release().ptr(); }

Var tensor_from(py::handle data, std::optional<DType> dtype, std::optional<bool> copy, const char* where) {
  auto finish = [&](const Array& array, bool mine) {
    const bool converts = dtype && *dtype != array.dtype();
    if (converts && copy == false)
      fail(ErrorKind::argument, "asarray: ", array.dtype(), " to ", *dtype, " needs a copy, and copy=False forbids one");
    if (!converts && (mine || copy != true)) return Var(Array(array));
    Array out = Array::empty(dtype.value_or(array.dtype()), array.shape());
    kernels::copy(array, out);
    return Var(std::move(out));
  };
  if (is_tensor(data.ptr())) {
    const Var x(value_of(data.ptr()));
    if (x->weak) return from_number(where, x, dtype.value_or(settled_dtype(x)));
    if (x.is_abstract() || Recording::current() || copy != true) return dtype ? astype(x, *dtype) : x;
    return finish(x.array(), false);
  }
  // A NumPy scalar is data with a dtype of its own, though np.float64 is a Python float too.
  if (PyFloat_CheckExact(data.ptr()) || PyLong_Check(data.ptr())) {
    const Var x = dtype ? number_as(data.ptr(), *dtype) : weak_scalar(data.ptr(), {});
    return finish(x.array(), true);
  }
  if (!is_array_like(data.ptr()))
    refuse_object(data.ptr());
  const bool sequence = is_sequence(data.ptr());
  Contents found;
  if (sequence && copy == false)
    fail(ErrorKind::argument, "asarray: a Python sequence cannot be shared, and copy=False forbids a copy");
  if (sequence) {
    look_into(data.ptr(), 0, found);
    if (found.tensors) return stacked(data.ptr(), dtype);
    copy = true;
  }
  py::array array;
  try {
    array = as_numpy(data);
  } catch (py::error_already_set& error) {
    const std::string why = py::str(error.value());
    if (sequence)
      fail(ErrorKind::argument, "tensor: nested sequences must hold numbers, as many in each of a level; ", why);
    fail(ErrorKind::argument, "tensor: cannot read a ", Py_TYPE(data.ptr())->tp_name, " as an array: ", why);
  }
  const Array shared = share(array);
  // Numbers must fit, NumPy's too; arrays are converted as NumPy converts them.
  if (dtype && (sequence || (shared.ndim() == 0 && !py::isinstance<py::array>(data) && !py::hasattr(data, "__dlpack__"))))
    kernels::check_range("tensor", shared, *dtype);
  // Python floats in sequences become the default float dtype; NumPy's doubles stay what they are.
  if (sequence && !dtype && !found.doubles && shared.dtype() == DType::float64) dtype = DType::float32;
  return finish(shared, false);
}

py::object to_numpy(const Var& x) {
  if (x.is_abstract())
    fail(ErrorKind::trace, "numpy: a traced value has no numbers yet, at ", show_source(source_here()),
         "; keep to wengert operations inside a traced function, or make a wg.primitive of what needs NumPy");
  refuse_recorded(x, "numpy");
  const Array& array = x.array();
  const int width = itemsize(array.dtype());
  std::vector<py::ssize_t> shape(array.shape().begin(), array.shape().end()), strides;
  for (int64_t stride : array.strides()) strides.push_back(stride * width);
  py::array out(py::reinterpret_borrow<py::dtype>(dtype_objects()[std::size_t(array.dtype())]), shape, strides,
                array.raw(), py::reinterpret_steal<py::object>(wrap(x)));
  // Broadcast views name one element many times; gradients must not be changed behind their back.
  bool writable = !array.buffer()->read_only && !array.buffer()->lent && !x->tracked;
  for (std::size_t i = 0; i < array.shape().size(); ++i)
    writable = writable && (array.strides()[i] != 0 || array.shape()[i] <= 1);
  if (!writable) out.attr("flags").attr("writeable") = false;
  return out;
}

void bind_convert(py::module_& m) {
  auto optional_dtype = [](py::object dtype) -> std::optional<DType> {
    if (dtype.is_none()) return {};
    return to_dtype(dtype);
  };
  m.def("tensor", [optional_dtype](py::object data, py::object dtype, py::object wants_grad) {
          const bool requires_grad = to_bool("tensor", "requires_grad", wants_grad);
          Var x = tensor_from(data, optional_dtype(dtype), true);
          const bool sequence = is_sequence(data.ptr());  // of tensors: a new value with their history
          const bool history = x->node || x->tracked || Recording::current();
          const Var copied = is_tensor(data.ptr()) ? Var(value_of(data.ptr())) : Var();
          if (copied && is_differentiated(copied) && !(requires_grad && copied->is_leaf))
            py::module_::import("wengert.checked").attr("warn")(
                "tensor: the new tensor is a constant: no derivative leads to the one it copies. Use x.copy() to keep the "
                "derivative, or wg.tensor(x.detach()) where none is meant");
          if (history && (!sequence || requires_grad)) x = detach(x);
          if (requires_grad) {
            if (!is_float(x.dtype()))
              fail(ErrorKind::dtype, "tensor: only floating-point tensors can require gradients; got ", x.dtype(),
                   ". Write 1.0 for 1, or give dtype=wg.float32");
            make_leaf(*x.get());
          }
          return x;
        },
        py::arg("data"), py::kw_only(), py::arg("dtype") = py::none(), py::arg("requires_grad") = false,
        "A new tensor that copies `data` (a number, nested sequence, array or tensor). Python floats become\n"
        "float32; arrays keep their dtype; numbers that an integer dtype does not hold raise. Of a tensor it is\n"
        "a constant, without history (x.copy() keeps it), and warns where a derivative ends there; tensors within a\n"
        "sequence are stacked as wg.stack does, and gradients reach them (with requires_grad=True the result\n"
        "is a leaf).\n\n"
        ">>> wg.tensor([1.0, 2.0], requires_grad=True)\ntensor([1., 2.], requires_grad=True)");
  m.def("asarray", [optional_dtype](py::object obj, py::object dtype, py::object copies, py::object device) {
          const auto copy = copies.is_none() ? std::optional<bool>() : to_bool("asarray", "copy", copies);
          if (!device.is_none() && !(PyUnicode_Check(device.ptr()) && std::string(py::str(device)) == "cpu"))
            fail(ErrorKind::argument, "asarray: the only device is 'cpu'; got ", show(device));
          return tensor_from(obj, optional_dtype(dtype), copy, "asarray");
        },
        py::arg("obj"), py::kw_only(), py::arg("dtype") = py::none(), py::arg("copy") = py::none(),
        py::arg("device") = py::none(),
        "`obj` as a tensor, sharing memory with NumPy arrays and DLPack producers where that is possible.\n"
        "copy=True always copies; copy=False raises where a copy is needed. Tensors within a sequence are\n"
        "stacked, and gradients reach them.");
  m.def("_dtypes", [] {
    py::dict out;
    for (int i = 0; i < dtype_count; ++i) out[name(DType(i))] = dtype_objects()[std::size_t(i)];
    return out;
  });
}

}  // namespace wengert::bindings
