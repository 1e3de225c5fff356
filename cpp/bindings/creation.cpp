// New arrays from nothing but a shape and numbers: what python/wengert/creation.py builds on.
#include <cmath>
#include <optional>

#include "bindings/tensor.h"
#include "kernels/copy.h"

namespace wengert::bindings {
namespace {

Shape to_shape(const char* where, py::handle object) {
  const Shape shape = to_ints(where, "shape", object, ErrorKind::memory);
  check_shape(where, shape);
  return shape;
}

std::optional<DType> optional_dtype(py::handle dtype) {
  if (dtype.is_none()) return {};
  return to_dtype(dtype);
}

Var full(py::handle size, py::handle value, py::handle dtype, const char* where) {
  const Shape shape = to_shape(where, size);
  const auto wanted = optional_dtype(dtype);
  const Var x = wanted && is_number(value.ptr()) ? tensor_from(value, wanted, {}) : to_var(value.ptr());
  if (x.is_abstract() || x.ndim() != 0)
    fail(ErrorKind::shape, where, ": the value must be one number; got shape ", x.shape());
  Array out = Array::empty(wanted.value_or(x.dtype()), shape);
  kernels::check_range(where, x.array(), out.dtype());
  kernels::copy(x.array(), out);
  return Var(std::move(out));
}

Var empty(py::handle size, py::handle dtype) {
  return Var(Array::empty(optional_dtype(dtype).value_or(DType::float32), to_shape("empty", size)));
}

// f(i) for 0 <= i < n, computed in the type that f returns.
template <class F>
Var sequence(const char* where, int64_t n, DType dtype, F&& f) {
  check_shape(where, {n});
  Array out = Array::empty(dtype, {n});
  dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (const int64_t end : {int64_t(0), n - 1})
      if (n > 0) kernels::check_range(where, Array::scalar(f(end)), dtype);
    for (int64_t i = 0; i < n; ++i) out.data<T>()[i] = T(f(i));
  });
  return Var(std::move(out));
}

bool is_whole(py::handle number) {
  return !PyFloat_Check(number.ptr()) && PyIndex_Check(number.ptr()) &&
         (!is_tensor(number.ptr()) || is_integer(value_of(number.ptr())->array.dtype()));
}

Var arange(py::handle start, py::handle stop, py::handle step, py::handle dtype) {
  if (is_whole(start) && is_whole(stop) && is_whole(step)) {
    const int64_t first = to_int("arange", "start", start), end = to_int("arange", "stop", stop),
                  by = to_int("arange", "step", step);
    if (by == 0) fail(ErrorKind::argument, "arange: 'step' must not be 0");
    // The distance may need 64 bits without a sign.
    const bool none = by > 0 ? first >= end : first <= end;
    const uint64_t distance =
        by > 0 ? uint64_t(end) - uint64_t(first) : uint64_t(first) - uint64_t(end);
    const uint64_t stride = by > 0 ? uint64_t(by) : -uint64_t(by);
    const uint64_t count = none ? 0 : (distance - 1) / stride + 1;
    if (count > uint64_t(1) << 60)
      fail(ErrorKind::memory, "arange: ", count, " elements are too many");
    return sequence(
        "arange", int64_t(count), optional_dtype(dtype).value_or(DType::int64),
        [&](int64_t i) { return int64_t(uint64_t(first) + uint64_t(i) * uint64_t(by)); });
  }
  const double first = to_real("arange", "start", start), end = to_real("arange", "stop", stop);
  const double by = to_real("arange", "step", step);
  if (by == 0) fail(ErrorKind::argument, "arange: 'step' must not be 0");
  const double count = std::ceil((end - first) / by);
  if (std::isnan(count))
    fail(ErrorKind::argument, "arange: no length from ", first, " to ", end, " by ", by);
  if (count > std::ldexp(1.0, 60))
    fail(ErrorKind::memory, "arange: ", count, " elements are too many");
  const double delta = (first + by) - first;
  return sequence("arange", count > 0 ? int64_t(count) : 0,
                  optional_dtype(dtype).value_or(DType::float32),
                  [&](int64_t i) { return first + double(i) * delta; });
}

Var linspace(py::handle start, py::handle stop, py::handle count, py::handle inclusive, py::handle dtype) {
  const int64_t num = to_int("linspace", "num", count);
  const bool endpoint = to_bool("linspace", "endpoint", inclusive);
  const double first = to_real("linspace", "start", start),
               last = to_real("linspace", "stop", stop);
  if (num < 0) fail(ErrorKind::shape, "linspace: 'num' must not be negative; got ", num);
  const double parts = double(endpoint ? num - 1 : num);
  const double step = parts > 0 ? (last - first) / parts : 0;
  return sequence("linspace", num, optional_dtype(dtype).value_or(DType::float32), [&](int64_t i) {
    return endpoint && i == num - 1 && i > 0 ? last : first + double(i) * step;
  });
}

Var eye(py::handle n_rows, py::handle n_cols, py::handle diagonal, py::handle dtype) {
  const int64_t rows = to_int("eye", "n_rows", n_rows), columns = to_int("eye", "n_cols", n_cols);
  int64_t k = to_int("eye", "k", diagonal);
  check_shape("eye", {rows, columns});
  Array out = Array::empty(optional_dtype(dtype).value_or(DType::float32), {rows, columns});
  kernels::fill(out, 0);
  k = std::clamp(k, -rows, columns);
  dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = std::max<int64_t>(0, -k); i < std::min(rows, columns - k); ++i)
      out.data<T>()[i * columns + i + k] = T(1);
  });
  return Var(std::move(out));
}

}  // namespace

void bind_creation(py::module_& m) {
  m.def("_full", full, py::arg("shape"), py::arg("value"), py::arg("dtype") = py::none(),
        py::arg("where") = "full");
  m.def("_empty", empty, py::arg("shape"), py::arg("dtype") = py::none());
  m.def("_arange", arange);
  m.def("_linspace", linspace);
  m.def("_eye", eye);
}

}  // namespace wengert::bindings
