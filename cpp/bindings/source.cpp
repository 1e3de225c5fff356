// Source lines for nodes: the innermost Python frame outside this package, as (code object,
// instruction offset). Taking it reads a few pointers; the line is looked up only when shown.
#include <Python.h>

#if PY_VERSION_HEX >= 0x030B0000
// Python gives no public way to walk frames without making frame objects, which costs more than a
// small operation does.
#define Py_BUILD_CORE
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe.h>
#else
#include <internal/pycore_frame.h>
#endif
#pragma GCC diagnostic pop
#undef Py_BUILD_CORE
#else
#include <frameobject.h>
#endif

#include <unordered_map>

#include "bindings/tensor.h"
#include "graph/source.h"

namespace wengert::bindings {
namespace {

struct Place {
  PyCodeObject* code;  // owned
  int offset;          // in bytes
  bool operator==(const Place&) const = default;
};
struct PlaceHash {
  std::size_t operator()(const Place& p) const {
    return (reinterpret_cast<std::size_t>(p.code) >> 4) * 31 + std::size_t(p.offset);
  }
};

// Places are numbered once and kept; a program that makes code without end stops being numbered.
constexpr std::size_t most_places = 1 << 16;
struct Places {
  std::unordered_map<Place, uint32_t, PlaceHash> number;
  std::vector<Place> all{{nullptr, 0}};
  std::unordered_map<PyObject*, bool> ours;  // file name objects (owned): of this package?
  std::string package;                       // its folder, with a slash; empty until set
};

Places& places() {
  static auto* made = new Places;
  return *made;
}

bool in_package(PyObject* file) {
  auto& ours = places().ours;
  const auto found = ours.find(file);
  if (found != ours.end()) return found->second;
  const char* text = PyUnicode_AsUTF8(file);
  if (!text) PyErr_Clear();
  const std::string name = text ? text : "";
  const std::string& package = places().package;
  // The examples are users of the package.
  const bool mine = !package.empty() && name.starts_with(package) && !name.starts_with(package + "examples/");
  if (ours.size() < most_places) {
    Py_INCREF(file);
    ours.emplace(file, mine);
  }
  return mine;
}

// The innermost frame outside the package: its code (borrowed: the frame runs) and offset.
Place user_place() {
  PyThreadState* state = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030B0000
#if PY_VERSION_HEX >= 0x030D0000
  _PyInterpreterFrame* frame = state->current_frame;
#else
  _PyInterpreterFrame* frame = state->cframe->current_frame;
#endif
  for (; frame; frame = frame->previous) {
#if PY_VERSION_HEX >= 0x030C0000
    PyObject* code = PyUnstable_InterpreterFrame_GetCode(frame);
    Py_DECREF(code);  // the frame holds it
    if (!PyCode_Check(code)) continue;
    auto* user = reinterpret_cast<PyCodeObject*>(code);
    if (!in_package(user->co_filename)) return {user, PyUnstable_InterpreterFrame_GetLasti(frame)};
#else
    if (!in_package(frame->f_code->co_filename))
      return {frame->f_code, _PyInterpreterFrame_LASTI(frame) * int(sizeof(_Py_CODEUNIT))};
#endif
  }
#else
  for (PyFrameObject* frame = state->frame; frame; frame = frame->f_back)
    if (!in_package(frame->f_code->co_filename)) return {frame->f_code, frame->f_lasti * 2};
#endif
  return {nullptr, 0};
}

uint32_t here() {
  const Place place = user_place();
  if (!place.code) return 0;
  auto& known = places();
  const auto found = known.number.find(place);
  if (found != known.number.end()) return found->second;
  if (known.all.size() >= most_places) return 0;
  Py_INCREF(place.code);
  const auto number = uint32_t(known.all.size());
  known.all.push_back(place);
  known.number.emplace(place, number);
  return number;
}

std::string resolve(uint32_t source) {
  const Place& place = places().all[source];
  const char* file = PyUnicode_AsUTF8(place.code->co_filename);
  if (!file) {
    PyErr_Clear();
    return "an unknown line";
  }
  return std::string(file) + ":" + std::to_string(PyCode_Addr2Line(place.code, place.offset));
}

}  // namespace

void bind_source(py::module_& m) {
  m.def("_set_package_folder", [](std::string folder) { places().package = std::move(folder); });
  source_hooks() = {.here = here, .resolve = resolve};
}

}  // namespace wengert::bindings
