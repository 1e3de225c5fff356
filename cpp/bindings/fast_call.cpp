#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <structmember.h>

#include "bindings/replay.h"
#include "graph/watch.h"

namespace wengert::bindings {
namespace {

constexpr int deepest = 32;

// A tree of arguments or results as numbers: containers with their sizes and keys, leaves with dtype
// and shape. Two calls of equal tokens are calls of one recording.
struct Signature {
  std::vector<uint64_t> tokens;
  std::vector<py::object> keys;  // kept, so that equal pointers are equal keys

  bool operator==(const Signature& other) const { return tokens == other.tokens; }
};

enum Token : uint64_t { leaf_token = 1, tuple_token, list_token, dict_token, none_token, static_token, number_token };

class Flattener {
 public:
  Flattener(Signature& to, std::vector<Var>& leaves, bool keeps) : to_(to), leaves_(leaves), keeps_(keeps) {}

  bool operator()(PyObject* object, int depth = 0) {
    if (is_tensor(object)) return add_leaf(Var(value_of(object)));
    if (PyTuple_CheckExact(object) || PyList_CheckExact(object)) {
      const Py_ssize_t n = Py_SIZE(object);
      push(PyTuple_CheckExact(object) ? tuple_token : list_token, n);
      if (depth == deepest) return false;
      for (Py_ssize_t i = 0; i < n && i < Py_SIZE(object); ++i)
        if (!(*this)(PyTuple_CheckExact(object) ? PyTuple_GET_ITEM(object, i) : PyList_GET_ITEM(object, i), depth + 1))
          return false;
      return true;
    }
    if (PyDict_CheckExact(object)) {
      push(dict_token, PyDict_GET_SIZE(object));
      if (depth == deepest) return false;
      PyObject *key, *value;
      Py_ssize_t position = 0;
      while (PyDict_Next(object, &position, &key, &value)) {
        add_pointer(key);
        if (!(*this)(value, depth + 1)) return false;
      }
      return true;
    }
    if (object == Py_None) {
      push(none_token, 0);
      return true;
    }
    if (PyFloat_Check(object) || PyLong_CheckExact(object)) {
      int overflow = 0;
      if (PyLong_CheckExact(object)) PyLong_AsLongLongAndOverflow(object, &overflow);
      return overflow == 0 && add_leaf(number_argument(object));
    }
    if (py::array::check_(object)) return add_leaf(tensor_from(object, {}, {}));
    return false;
  }

  void push(uint64_t kind, int64_t size) { to_.tokens.push_back(kind | uint64_t(size) << 8); }
  void add_pointer(PyObject* object) {
    to_.tokens.push_back(uint64_t(reinterpret_cast<uintptr_t>(object)));
    if (keeps_) to_.keys.push_back(py::reinterpret_borrow<py::object>(object));
  }

 private:
  bool add_leaf(Var x) {
    if (x.is_abstract() || x->tangents || (x->tracked && modes().grad_enabled)) return false;
    push((x->weak ? number_token : leaf_token) | uint64_t(x.dtype()) << 4, int64_t(x.ndim()));
    for (const int64_t size : x.shape()) to_.tokens.push_back(uint64_t(size));
    leaves_.push_back(std::move(x));
    return true;
  }

  Signature& to_;
  std::vector<Var>& leaves_;
  bool keeps_;
};

// How results are put together again: the tokens of the recorded result.
struct Template {
  struct Part {
    Token kind;
    Py_ssize_t size;
  };
  std::vector<Part> parts;
  std::vector<py::object> keys;

  bool read(PyObject* object, int depth = 0) {
    if (is_tensor(object) || py::array::check_(object) || PyFloat_CheckExact(object) || PyLong_Check(object)) {
      parts.push_back({leaf_token, 0});
    } else if (object == Py_None) {
      parts.push_back({none_token, 0});
    } else if (depth == deepest) {
      return false;
    } else if (PyTuple_CheckExact(object) || PyList_CheckExact(object)) {
      parts.push_back({PyTuple_CheckExact(object) ? tuple_token : list_token, Py_SIZE(object)});
      for (Py_ssize_t i = 0; i < Py_SIZE(object); ++i)
        if (!read(PyTuple_CheckExact(object) ? PyTuple_GET_ITEM(object, i) : PyList_GET_ITEM(object, i), depth + 1)) return false;
    } else if (PyDict_CheckExact(object)) {
      parts.push_back({dict_token, PyDict_GET_SIZE(object)});
      PyObject *key, *value;
      Py_ssize_t position = 0;
      while (PyDict_Next(object, &position, &key, &value)) {
        keys.push_back(py::reinterpret_borrow<py::object>(key));
        if (!read(value, depth + 1)) return false;
      }
    } else {
      return false;
    }
    return true;
  }

  py::object build(const std::vector<Var>& leaves) const {
    std::size_t part = 0, leaf = 0, key = 0;
    return build(leaves, part, leaf, key);
  }

 private:
  py::object build(const std::vector<Var>& leaves, std::size_t& part, std::size_t& leaf, std::size_t& key) const {
    const Part own = parts[part++];
    switch (own.kind) {
      case leaf_token: return py::reinterpret_steal<py::object>(wrap(leaves[leaf++]));
      case tuple_token: {
        py::tuple out(own.size);
        for (Py_ssize_t i = 0; i < own.size; ++i)
          PyTuple_SET_ITEM(out.ptr(), i, build(leaves, part, leaf, key).release().ptr());
        return out;
      }
      case list_token: {
        py::list out(own.size);
        for (Py_ssize_t i = 0; i < own.size; ++i)
          PyList_SET_ITEM(out.ptr(), i, build(leaves, part, leaf, key).release().ptr());
        return out;
      }
      case dict_token: {
        py::dict out;
        for (Py_ssize_t i = 0; i < own.size; ++i) {
          const py::object& name = keys[key++];
          out[name] = build(leaves, part, leaf, key);
        }
        return out;
      }
      default: return py::none();
    }
  }
};

// One recording that can be called without Python.
struct Entry {
  Signature signature;
  std::shared_ptr<Replay> replay;
  std::shared_ptr<const Template> result;
  int64_t epoch;
  bool grad_enabled;
  py::object after;  // what Python does at the end of a call; null: nothing
  py::object again;  // f itself, where a reverse sweep may follow; else null
  py::object owner;  // a weak reference to what f is a method of; None: a function
  std::string name;
};

struct FastCall {
  PyObject_HEAD
  vectorcallfunc call;
  std::vector<Entry>* entries;
  std::vector<Py_ssize_t>* statics;  // positions of arguments that are compared by identity
  int64_t hits;
};

PyTypeObject* fast_type = nullptr;

// The arguments of a call as one tree.
bool flatten_call(const FastCall& self, PyObject* const* args, Py_ssize_t positional, PyObject* names, Flattener& flatten) {
  flatten.push(tuple_token, positional);
  for (Py_ssize_t i = 0; i < positional; ++i) {
    bool is_static = false;
    for (const Py_ssize_t s : *self.statics) is_static |= i == (s < 0 ? s + positional : s);
    if (is_static) {
      flatten.push(static_token, 0);
      flatten.add_pointer(args[i]);
    } else if (!flatten(args[i])) {
      return false;
    }
  }
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t k = 0; k < named; ++k) {
    flatten.add_pointer(PyTuple_GET_ITEM(names, k));
    if (!flatten(args[positional + k])) return false;
  }
  return true;
}

// What does not fit a recording goes to the method `_slow` of the Python class.
PyObject* call_slow(PyObject* object, PyObject* const* args, Py_ssize_t positional, PyObject* names) {
  static PyObject* const name = PyUnicode_InternFromString("_slow");
  std::vector<PyObject*> all{object};
  all.insert(all.end(), args, args + positional + (names ? PyTuple_GET_SIZE(names) : 0));
  return PyObject_VectorcallMethod(name, all.data(), std::size_t(positional + 1), names);
}

PyObject* call_fast(PyObject* object, PyObject* const* args, std::size_t flagged, PyObject* names) {
  return guarded([&]() -> PyObject* {
    FastCall& self = *reinterpret_cast<FastCall*>(object);
    const Py_ssize_t positional = PyVectorcall_NARGS(flagged);
    if (self.entries->empty() || within_transform() || watching())
      return call_slow(object, args, positional, names);
    Signature signature;
    std::vector<Var> leaves;
    signature.tokens.reserve(64);
    leaves.reserve(16);
    Flattener flatten(signature, leaves, false);
    if (flatten_call(self, args, positional, names, flatten))
      for (const Entry& entry : *self.entries)
        if (entry.epoch == options_epoch() && entry.grad_enabled == modes().grad_enabled &&
            entry.signature == signature && entry.replay->fits()) {
          if (entry.replay->overlaps(leaves)) break;
          ++self.hits;
          const std::shared_ptr<Replay> replay = entry.replay;  // the run may add entries
          const std::shared_ptr<const Template> result = entry.result;
          const py::object after = entry.after, again = entry.again;
          const auto followed = [&] {
            const py::object owner = entry.owner.is_none() ? entry.owner : entry.owner();
            return replay->run_followed(leaves, entry.name, again, owner);
          };
          const std::vector<Var> found = again ? followed() : replay->run(leaves);
          if (after) after();
          return result->build(found).release().ptr();
        }
    return call_slow(object, args, positional, names);
  });
}

PyObject* fast_new(PyTypeObject* type, PyObject*, PyObject*) {
  return guarded([&]() -> PyObject* {
    auto* made = reinterpret_cast<FastCall*>(type->tp_alloc(type, 0));
    if (!made) return nullptr;
    made->call = call_fast;
    made->entries = new std::vector<Entry>;
    made->statics = new std::vector<Py_ssize_t>;
    made->hits = 0;
    return reinterpret_cast<PyObject*>(made);
  });
}
int fast_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  if (const auto* entries = reinterpret_cast<FastCall*>(object)->entries)
    for (const Entry& entry : *entries) {
      for (const py::object& key : entry.signature.keys) Py_VISIT(key.ptr());
      Py_VISIT(entry.after.ptr());
      Py_VISIT(entry.again.ptr());
      Py_VISIT(entry.owner.ptr());
      // (What several entries share is visited by none: it cannot be weighed.)
      if (entry.result.use_count() == 1)
        for (const py::object& key : entry.result->keys) Py_VISIT(key.ptr());
    }
  return 0;
}
int fast_clear(PyObject* object) {
  if (auto* entries = reinterpret_cast<FastCall*>(object)->entries) std::vector<Entry>().swap(*entries);
  return 0;
}
void fast_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  FastCall& self = *reinterpret_cast<FastCall*>(object);
  delete self.entries;
  delete self.statics;
  type->tp_free(object);
  Py_DECREF(type);
}

PyMemberDef fast_members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(FastCall, call), READONLY, nullptr},
                              {"_hits", T_LONGLONG, offsetof(FastCall, hits), READONLY, nullptr},
                              {nullptr, 0, 0, 0, nullptr}};

PyTypeObject* make_type() {
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_new, reinterpret_cast<void*>(fast_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(fast_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(fast_traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(fast_clear)},
                                {Py_tp_members, fast_members},
                                {0, nullptr}};
  static PyType_Spec spec = {"wengert._core._FastCall", sizeof(FastCall), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
                                 Py_TPFLAGS_HAVE_VECTORCALL, slots};
  auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  return type;
}

FastCall& fast_of(py::handle object) {
  if (!PyObject_TypeCheck(object.ptr(), fast_type)) fail(ErrorKind::type, "compile: not a compiled function");
  return *reinterpret_cast<FastCall*>(object.ptr());
}

// Adds a recording that was made for these arguments; `result` is what it returned. Trees of other
// containers than list, tuple and dict stay with Python.
void add_recording(py::handle fast, py::tuple args, py::dict kwargs, py::object recorded, py::object result,
                   py::object after, py::object again, py::object owner, std::string called, int64_t epoch) {
  FastCall& self = fast_of(fast);
  auto made = std::make_shared<Template>();
  Entry entry{.signature = {}, .replay = recorded.cast<std::shared_ptr<Replay>>(), .result = made, .epoch = epoch,
              .grad_enabled = modes().grad_enabled,
              .after = after.is_none() ? py::object() : after,
              .again = again.is_none() ? py::object() : again,
              .owner = owner,
              .name = std::move(called)};
  std::vector<Var> leaves;
  std::vector<PyObject*> given;
  for (py::handle arg : args) given.push_back(arg.ptr());
  py::list names;
  for (auto [name, value] : kwargs) {
    names.append(name);
    given.push_back(value.ptr());
  }
  Flattener flatten(entry.signature, leaves, true);
  const py::tuple name_tuple(names);
  if (!flatten_call(self, given.data(), Py_ssize_t(args.size()), name_tuple.ptr(), flatten)) return;
  if (!made->read(result.ptr())) return;
  // Keys and static arguments are compared by identity: equal ones that are made anew at each call
  // must not fill the memory.
  constexpr std::size_t most_entries = 64;
  if (self.entries->size() == most_entries) self.entries->erase(self.entries->begin());
  self.entries->push_back(std::move(entry));
}

void clear_recordings(py::handle fast) {
  std::vector<Entry> ended;  // what ends with them may call this function
  ended.swap(*fast_of(fast).entries);
  fast_of(fast).hits = 0;
}

}  // namespace

void bind_fast_call(py::module_& m) {
  fast_type = make_type();
  m.add_object("_FastCall", py::handle(reinterpret_cast<PyObject*>(fast_type)));
  m.def("_set_statics", [](py::handle fast, std::vector<Py_ssize_t> positions) { *fast_of(fast).statics = std::move(positions); });
  m.def("_add_recording", add_recording);
  m.def("_clear_recordings", clear_recordings);
}

}  // namespace wengert::bindings
