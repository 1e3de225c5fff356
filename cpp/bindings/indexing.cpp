// x[key] and x[key] = value with NumPy's rules. Ints, slices, None and Ellipsis give views; integer
// and boolean arrays read and write element by element.
#include <numeric>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/source.h"
#include "graph/tape.h"
#include "kernels/copy.h"
#include "kernels/gather.h"
#include "kernels/move.h"
#include "ops/vocabulary.h"

namespace wengert::bindings {
namespace {

constexpr const char *where = "index", *assignment = "index assignment";

struct Item {
  enum Kind { integer, range, new_axis, ellipsis, array, truth } kind;
  int64_t value = 0;           // integer; truth: 0 or 1
  PyObject* object = nullptr;  // range
  Var array_value = {};        // array: integers, or a mask
  bool of_tensor = false;      // integer: what it reads is a copy, as where the number is known only later
  std::size_t axes() const {
    if (kind == integer || kind == range) return 1;
    if (kind != array) return 0;
    return array_value.dtype() == DType::bool_ ? array_value.shape().size() : 1;
  }
};
using Items = SmallVector<Item, 4>;

// The key as a box of x, seen in another shape, of which some axes are then indexed by arrays.
struct Selection {
  Ints starts, sizes, steps;
  Shape shape;
  bool sliced = false, reshaped = false, copies = false;
  Vars indices = {};
  Ints axes = {};         // of `shape`, one for each index array
  Ints own_axes = {};     // the same axes of x, or -1
  bool in_front = false;  // the axes of the index arrays come first in the result
};

[[noreturn]] void refuse_key(PyObject* object) {
  fail(ErrorKind::type, where,
       ": takes ints, slices, `...`, None, and integer or boolean arrays; got ",
       show(object));
}

int64_t to_index(PyObject* object) {
  const Py_ssize_t value = PyNumber_AsSsize_t(object, PyExc_OverflowError);
  if (value == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw py::error_already_set();
    PyErr_Clear();
    fail(ErrorKind::bounds, where, ": ", std::string(py::str(object)),
         " is out of range for any axis");
  }
  return value;
}

// Numbers from outside a recorded call are read afresh at each.
bool varies(const Var& x) {
  const Recording* recording = Recording::current();
  return x.is_abstract() || (recording && recording->is_outside(*x.get()));
}

Item array_item(const Var& x) {
  const DType dtype = x.dtype();
  if (is_float(dtype) && x->array.size() > 0)
    fail(ErrorKind::dtype, where, ": arrays that index must be integers or bool; got ",
         x->array.type(), ". Convert first: indices.astype(wg.int64)");
  if (dtype == DType::bool_) refuse_recorded(x, "index by a mask");
  if (x.ndim() == 0 && !varies(x)) {  // else an index array of no axes
    const int64_t value = dispatch(
        dtype, [&](auto tag) { return int64_t(*x->array.data<typename decltype(tag)::type>()); });
    return {.kind = dtype == DType::bool_ ? Item::truth : Item::integer, .value = value, .of_tensor = true};
  }
  if (dtype == DType::bool_ && x.is_abstract())
    fail(ErrorKind::trace, where,
         ": how many elements a traced mask selects is not known; use wg.where");
  return {.kind = Item::array, .array_value = is_float(dtype) ? astype(x, DType::int64) : x};
}

Item parse_item(PyObject* object) {
  if (PyLong_CheckExact(object)) return {.kind = Item::integer, .value = to_index(object)};
  if (PySlice_Check(object)) return {.kind = Item::range, .object = object};
  if (object == Py_None) return {.kind = Item::new_axis};
  if (object == Py_Ellipsis) return {.kind = Item::ellipsis};
  if (PyBool_Check(object)) return {.kind = Item::truth, .value = object == Py_True};
  if (is_tensor(object)) return array_item(Var(value_of(object)));
  if (PyFloat_Check(object) || PyUnicode_Check(object) || PyBytes_Check(object)) refuse_key(object);
  if (py::hasattr(object, "__array__")) {
    Item item = array_item(tensor_from(object, {}, {}));
    item.of_tensor = false;
    return item;
  }
  if (PyIndex_Check(object)) return {.kind = Item::integer, .value = to_index(object)};
  if (!PySequence_Check(object)) refuse_key(object);
  return array_item(tensor_from(py::list(py::reinterpret_borrow<py::object>(object)), {}, {}));
}

Items parse(PyObject* key) {
  Items items;
  if (!PyTuple_Check(key)) {
    items.push_back(parse_item(key));
    return items;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); ++i)
    items.push_back(parse_item(PyTuple_GET_ITEM(key, i)));
  return items;
}

// Adds to a selection what each kind of item does to the next axes of x.
class Builder {
 public:
  explicit Builder(const Shape& x) : x_(x) {}

  void integer(int64_t i) {
    const int64_t size = x_[next_];
    if (i < -size || i >= size)
      fail(ErrorKind::bounds, where, ": index ", i, " is out of range for axis ", next_,
           " with size ", size);
    box(i < 0 ? i + size : i, 1, 1);
    out.reshaped = true;
  }

  void range(PyObject* slice) {
    const auto* parts = reinterpret_cast<const PySliceObject*>(slice);
    for (PyObject* part : {parts->start, parts->stop, parts->step})
      if (is_tensor(part) && varies(Var(value_of(part))))
        fail(ErrorKind::trace, where, ": how many elements a slice has whose bounds are traced is not known, at ",
             show_source(source_here()), "; name the places, x[start + wg.arange(n)], or choose by a mask, "
             "wg.arange(len(x)) < stop");
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0) {
      if (PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        fail(ErrorKind::argument, where, ": the step of a slice must not be 0; got ",
             show(slice));
      }
      py::error_already_set error;
      if (!error.type().is(py::handle(PyExc_TypeError))) throw error;  // a TraceError says more
      refuse_key(slice);
    }
    const int64_t size = PySlice_AdjustIndices(x_[next_], &start, &stop, step);
    box(size > 0 ? start : 0, size, size > 1 ? step : 1);
    out.shape.push_back(size);
  }

  void whole(std::size_t count) {
    for (; count > 0; --count) {
      out.shape.push_back(x_[next_]);
      box(0, x_[next_], 1);
    }
  }

  void new_axis() {
    out.shape.push_back(1);
    out.reshaped = true;
  }

  void array(const Var& index) {
    out.axes.push_back(int64_t(out.shape.size()));
    out.own_axes.push_back(int64_t(next_));
    out.indices.push_back(index);
    whole(1);
  }

  void mask(const Array& mask) {
    for (std::size_t i = 0; i < mask.shape().size(); ++i)
      if (mask.shape()[i] != x_[next_ + i])
        fail(ErrorKind::bounds, where,
             ": a mask must have the sizes of the axes it selects from; got ", mask.shape(),
             " for axes ", next_, " and following of ", x_);
    for (Array& places : kernels::nonzero(mask)) array(Var(std::move(places)));
  }

  // A single truth value keeps all of x or nothing, along an axis of its own.
  void truth(bool keep) {
    Array index = Array::empty(DType::int64, {keep ? 1 : 0});
    kernels::fill(index, 0);
    out.axes.push_back(int64_t(out.shape.size()));
    out.own_axes.push_back(-1);
    out.indices.push_back(Var(std::move(index)));
    new_axis();
  }

  std::size_t next() const { return next_; }

  Selection out;

 private:
  void box(int64_t start, int64_t size, int64_t step) {
    out.starts.push_back(start);
    out.sizes.push_back(size);
    out.steps.push_back(step);
    out.sliced |= size != x_[next_] || step != 1;
    ++next_;
  }

  const Shape& x_;
  std::size_t next_ = 0;
};

Selection select(const Shape& x, PyObject* key) {
  const Items items = parse(key);
  std::size_t used = 0, dots = 0;
  bool arrays = false;
  for (const Item& item : items) {
    used += item.axes();
    dots += item.kind == Item::ellipsis;
    arrays |= item.kind == Item::array || item.kind == Item::truth;
  }
  if (dots > 1)
    fail(ErrorKind::bounds, where, ": only one `...` can stand in an index; got ", dots);
  if (used > x.size())
    fail(ErrorKind::bounds, where, ": too many indices: ", used, " for ", x.size(),
         x.size() == 1 ? " dimension, shape " : " dimensions, shape ", x);
  Builder builder(x);
  // Index arrays (and ints beside them) that something else separates move to the front.
  enum { before, inside, after } place = before;
  for (const Item& item : items) {
    const bool advanced =
        item.kind == Item::integer || item.kind == Item::array || item.kind == Item::truth;
    if (advanced) {
      builder.out.in_front |= arrays && place == after;
      place = place == before ? inside : place;
    } else if (place == inside) {
      place = after;
    }
    switch (item.kind) {
      case Item::integer:
        builder.integer(item.value);
        builder.out.copies |= item.of_tensor;
        break;
      case Item::range:
        builder.range(item.object);
        break;
      case Item::new_axis:
        builder.new_axis();
        break;
      case Item::ellipsis:
        builder.whole(x.size() - used);
        break;
      case Item::truth:
        builder.truth(item.value != 0);
        break;
      case Item::array:
        if (item.array_value.dtype() == DType::bool_)
          builder.mask(item.array_value.array());
        else
          builder.array(item.array_value);
    }
  }
  builder.whole(x.size() - builder.next());
  return std::move(builder.out);
}

// The axes of the index arrays first, then the others.
Ints arrays_first(const Selection& s) {
  Ints order = s.axes;
  for (int64_t axis = 0; axis < int64_t(s.shape.size()); ++axis)
    if (std::find(s.axes.begin(), s.axes.end(), axis) == s.axes.end()) order.push_back(axis);
  return order;
}

Var read(const Var& x, PyObject* key) {
  const Selection s = select(x.shape(), key);
  static const Op &slice = find_op("slice"), &reshape = find_op("reshape"),
                  &alias = find_op("alias"), &copy = find_op("copy"), &gather = find_op("gather");
  Var y = x;
  if (s.sliced) y = apply(slice, {&x, 1}, Attrs(slice.params, {s.starts, s.sizes, s.steps}));
  if (s.reshaped) y = apply(reshape, {&y, 1}, Attrs(reshape.params, {s.shape}));
  if (s.indices.empty() && s.copies) return apply(copy, {&y, 1});
  if (s.indices.empty()) return s.sliced || s.reshaped ? y : apply(alias, {&x, 1});
  if (s.in_front) y = permute_dims(y, arrays_first(s));
  Vars args{y};
  for (const Var& index : s.indices) args.push_back(index);
  Ints axes(s.indices.size());
  std::iota(axes.begin(), axes.end(), s.in_front ? 0 : s.axes[0]);
  return apply(gather, {args.data(), args.size()}, Attrs(gather.params, {axes}));
}

// Leading axes of size 1 that the place assigned to does not have.
Array without_leading_ones(const Array& value, std::size_t ndim) {
  Shape shape = value.shape();
  Ints strides = value.strides();
  while (shape.size() > ndim && shape[0] == 1) {
    shape.erase(0);
    strides.erase(0);
  }
  return value.view(std::move(shape), std::move(strides), value.offset());
}

void check_fits(const Shape& value, const Shape& place) {
  if (!(broadcast_shapes(assignment, value, place) == place))
    fail(ErrorKind::shape, assignment, ": a value of shape ", value,
         " does not fit the selected places, ", place);
}

// The shape of what a selection reads.
Shape selected_shape(const Selection& s) {
  if (s.indices.empty()) return s.shape;
  Shape common, out;
  for (const Var& index : s.indices) common = broadcast_shapes(where, common, index.shape());
  const int64_t at = s.in_front ? 0 : s.axes[0];
  for (int64_t axis = 0; axis <= int64_t(s.shape.size()); ++axis) {
    if (axis == at)
      for (const int64_t size : common) out.push_back(size);
    if (axis < int64_t(s.shape.size()) && std::find(s.axes.begin(), s.axes.end(), axis) == s.axes.end())
      out.push_back(s.shape[std::size_t(axis)]);
  }
  return out;
}

void place(const Selection& s, Array into, const Array& value) {
  if (s.sliced) into = kernels::slice_view(into, s.starts, s.sizes, s.steps);
  if (s.reshaped) into = into.try_reshape(s.shape);
  if (s.indices.empty()) {
    const Array source = without_leading_ones(value, into.shape().size());
    check_fits(source.shape(), into.shape());
    const bool overlap = source.buffer() == into.buffer();
    kernels::copy(overlap ? kernels::contiguous_copy(source) : source, into);
    return;
  }
  if (s.in_front) {
    Shape shape;
    Ints strides;
    for (int64_t axis : arrays_first(s)) {
      shape.push_back(into.shape()[std::size_t(axis)]);
      strides.push_back(into.strides()[std::size_t(axis)]);
    }
    into = into.view(std::move(shape), std::move(strides), into.offset());
  }
  Arrays indices;
  Shape common;
  for (const Var& index : s.indices) {
    common = broadcast_shapes(where, common, index.shape());
    indices.push_back(index.array());
  }
  const std::size_t ndim = into.shape().size() - s.indices.size() + common.size();
  kernels::scatter_assign(assignment, into, {indices.data(), indices.size()}, s.in_front ? 0 : int(s.axes[0]),
                          without_leading_ones(value, ndim));
}

// Of `value` what is left without leading axes of size 1 that the place does not have, in x's dtype.
Var fitted(const Var& x, const Var& value, const Shape& place) {
  Shape own = value.shape();
  while (own.size() > place.size() && own[0] == 1) own.erase(0);
  check_fits(own, place);
  if (is_float(value.dtype()) && !is_float(x.dtype()))
    fail(ErrorKind::dtype, assignment, ": ", value.dtype(), " into ", x.dtype(), " would lose digits; convert with astype");
  return reshape(as_dtype_of(assignment, x, value), own);
}

// The selected places as those of index arrays of x's own axes, next to each other, within a box; with none where the
// axes of the arrays come first, or one of them is no axis of x.
std::optional<std::pair<Vars, Ints>> within_box(const Selection& s) {
  if (s.in_front || s.own_axes.empty() || s.own_axes[0] < 0) return {};
  std::pair<Vars, Ints> out;
  for (std::size_t i = 0; i < s.indices.size(); ++i) {
    if (s.own_axes[i] < 0) return {};
    if (i > 0)
      for (int64_t axis = s.own_axes[i - 1] + 1; axis < s.own_axes[i]; ++axis) {  // a number between two arrays
        out.first.push_back(Var(Array::scalar<int64_t>(0)));
        out.second.push_back(axis);
      }
    out.first.push_back(s.indices[i]);
    out.second.push_back(s.own_axes[i]);
  }
  return out;
}

// x with the value at the selected places, or added there, as operations.
Var updated(const Var& x, const Selection& s, const Var& given, bool adds) {
  static const Op &slice = find_op("slice"), &assign = find_op("slice_assign"), &add = find_op("unslice_add"),
                  &put = find_op("index_put");
  const Shape shape = selected_shape(s);
  const Var value = fitted(x, given, shape);
  if (numel(shape) == 0) return x;
  const Attrs box(assign.params, {s.starts, s.steps});
  if (s.indices.empty()) {
    const Var args[] = {x, reshape(broadcast_to(value, shape), s.sizes)};
    return apply(adds ? add : assign, args, box);
  }
  const auto put_at = [&](const Var& into, const Var& values, const Vars& indices, std::vector<Attr> attrs) {
    Vars args{into, values};
    for (const Var& index : indices) args.push_back(index);
    return apply(put, {args.data(), args.size()}, Attrs(put.params, std::move(attrs)));
  };
  if (const auto own = within_box(s)) {
    const auto& [indices, axes] = *own;
    Shape common, places(s.sizes.begin(), s.sizes.begin() + axes[0]);  // the value's, with all axes of the box
    for (const Var& index : indices) common = broadcast_shapes(where, common, index.shape());
    for (const int64_t size : common) places.push_back(size);
    for (std::size_t axis = std::size_t(axes.back()) + 1; axis < s.sizes.size(); ++axis) places.push_back(s.sizes[axis]);
    const Var values = value.ndim() == 0 ? value : reshape(broadcast_to(value, shape), places);
    if (!s.sliced) return put_at(x, values, indices, {axes, adds, None{}, None{}, None{}});
    return put_at(x, values, indices, {axes, adds, s.starts, s.sizes, s.steps});
  }
  Var part = x;
  if (s.sliced) part = apply(slice, {&x, 1}, Attrs(slice.params, {s.starts, s.sizes, s.steps}));
  part = reshape(part, s.shape);
  const Ints order = arrays_first(s);
  if (s.in_front) part = permute_dims(part, order);
  Ints axes(s.indices.size());
  std::iota(axes.begin(), axes.end(), s.in_front ? 0 : s.axes[0]);
  part = put_at(part, value, s.indices, {axes, adds, None{}, None{}, None{}});
  if (s.in_front) {
    Ints back(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) back[std::size_t(order[i])] = int64_t(i);
    part = permute_dims(part, back);
  }
  const Var whole[] = {x, reshape(part, s.sizes)};
  // In x's own order, so that what reads it later goes through the numbers as it would through x.
  return s.sliced || s.in_front ? apply(assign, whole, box) : reshape(whole[1], x.shape());
}

// A key that is a mask whose number of true elements is not known: then the value must be one for all of them.
std::optional<Var> open_mask(PyObject* key) {
  if (!is_tensor(key)) return {};
  const Var mask(value_of(key));
  return mask.dtype() == DType::bool_ && varies(mask) ? std::optional(mask) : std::nullopt;
}

Var updated(const Var& x, const Var& mask, const Var& given, bool adds) {
  Shape shape = mask.shape();
  if (shape.size() > x.shape().size() || !std::equal(shape.begin(), shape.end(), x.shape().begin()))
    fail(ErrorKind::bounds, assignment, ": a mask must have the sizes of the axes it selects from; got ", shape,
         " for ", x.shape());
  Shape rest(x.shape().begin() + std::ptrdiff_t(shape.size()), x.shape().end());
  if (given.ndim() > int(rest.size()) && given->array.size() != 1)
    fail(ErrorKind::trace, assignment, ": how many elements a traced mask selects is not known, so that the value must "
         "be one for all of them, of shape ", rest, "; got ", given.shape(), ". Use wg.where");
  const Var value = fitted(x, given, rest);
  shape.resize(x.shape().size(), 1);
  return wengert::where(reshape(mask, shape), adds ? x + value : value, x);
}

Var updated(const Var& x, PyObject* key, const Var& value, bool adds) {
  if (const auto mask = open_mask(key)) return updated(x, *mask, value, adds);
  return updated(x, select(x.shape(), key), value, adds);
}

void write(const Var& x, PyObject* key, PyObject* object) {
  const Var value = value_for(assignment, x, object);
  check_in_place(assignment, x, value);
  Recording* recording = Recording::current();
  const auto known = [&](const Var& own) { return !own.is_abstract() && recording->read(own) == own; };
  const Var ending = is_tensor(object) && is_temporary(object) ? Var(value_of(object)) : Var();
  if (recording && (open_mask(key) || !known(x) || !known(value))) return assign(x, updated(x, key, value, false), ending);
  const Selection s = select(x.shape(), key);
  if (std::any_of(s.indices.begin(), s.indices.end(), varies)) {
    if (!recording)
      fail(ErrorKind::trace, assignment, ": the index is a traced value, at ", show_source(source_here()),
           ", and the tensor is from outside; return the value, or make a new one: x = x.at[key].set(value)");
    return assign(x, updated(x, s, value, false), ending);
  }
  Tape::preserve(x.array());
  place(s, x.array(), value.array());
  note_change(x.array());
}

}  // namespace

PyObject* subscript(PyObject* self, PyObject* key) {
  return guarded([&] { return wrap(read(Var(value_of(self)), key)); });
}

int assign_subscript(PyObject* self, PyObject* key, PyObject* value) {
  PyObject* done = guarded([&]() -> PyObject* {
    if (!value) fail(ErrorKind::type, "index: elements of a tensor cannot be deleted");
    write(Var(value_of(self)), key, value);
    return Py_None;
  });
  return done ? 0 : -1;
}

void bind_indexing(py::module_& m) {
  // What x.at[key] does: a copy of x with the value at the selected places, or added there.
  m.def("_index_update", [](const Var& x, const py::object& key, const py::object& value, bool adds) {
    return updated(x, key.ptr(), value_for(adds ? "index addition" : assignment, x, value.ptr()), adds);
  });
  m.def("_nonzero", [](const Var& x) {
    if (x.is_abstract())
      fail(ErrorKind::trace, "nonzero: how many elements of a traced value are not 0 is not known");
    if (x.ndim() == 0) fail(ErrorKind::shape, "nonzero: needs at least 1 dimension; got ()");
    py::list out;
    for (Array& places : kernels::nonzero(x.array())) out.append(Var(std::move(places)));
    return py::tuple(out);
  });
}

}  // namespace wengert::bindings
