// What training needs beside the rows. Optimiser steps update all parameters of a group in one
// call: the formulas are those of kernels/optimise.h, the state is tensors that
// python/wengert/optim keeps, and all is checked before anything changes.
#include "kernels/optimise.h"

#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/replay.h"
#include "bindings/tensor.h"
#include "graph/source.h"
#include "kernels/copy.h"

namespace wengert::bindings {
namespace {

constexpr std::size_t max_states = 3;
constexpr int64_t worth_a_release = 1 << 14;

// One parameter that has a gradient. All arrays are contiguous: `p` is a copy where the parameter
// itself is not.
struct Job {
  Var parameter;
  Array p, g;
  std::array<Array, max_states> states;
  int64_t* count;  // updates so far

  template <class T>
  T* state(std::size_t i) const {
    return states[i].has_data() ? states[i].data<T>() : nullptr;
  }
};

Var tensor_at(const char* name, const char* what, const py::list& list, std::size_t i) {
  PyObject* item = PyList_GET_ITEM(list.ptr(), Py_ssize_t(i));
  if (!is_tensor(item))
    fail(ErrorKind::type, name, ": ", what, " ", i, " must be a tensor; got a ",
         Py_TYPE(item)->tp_name);
  return Var(value_of(item));
}

// The gradient of parameter i, or null if it has none.
Var gradient_of(const char* name, const Var& parameter, std::size_t i) {
  if (parameter.is_abstract())
    fail(ErrorKind::trace, name, ": parameter ", i, " is traced and has no numbers yet");
  const Var g = leaf_grad(*parameter.get());
  if (!g) return g;
  if (g.is_abstract())
    fail(ErrorKind::trace, name, ": the gradient of parameter ", i,
         " is traced and has no numbers yet");
  if (g.dtype() != parameter.dtype() || !(g.shape() == parameter.shape()))
    fail(ErrorKind::shape, name, ": the gradient of parameter ", i, " must be like it, ",
         parameter->array.type(), "; got ", g->array.type());
  return g;
}

void require_writable(const char* name, const Var& parameter, std::size_t i) {
  refuse_in_body(name);
  const Array& array = parameter.array();
  if (!parameter->is_leaf)
    fail(ErrorKind::graph, name, ": only leaves can change in place; parameter ", i,
         " was made by '", parameter->node->name(), "'. Give the parameter that it was made of");
  if (array.buffer()->read_only)
    fail(ErrorKind::argument, name, ": parameter ", i, " shares read-only memory");
  for (std::size_t axis = 0; axis < array.shape().size(); ++axis)
    if (array.strides()[axis] == 0 && array.shape()[axis] > 1)
      fail(ErrorKind::argument, name, ": parameter ", i,
           " is a broadcast view, whose elements share memory");
}

// Whether the buffers of two arrays overlap: foreign ones may without being the same.
bool share_memory(const Array& a, const Array& b) {
  const Buffer &x = *a.buffer().get(), &y = *b.buffer().get();
  return x.data < y.data + y.bytes && y.data < x.data + x.bytes;
}

using States = std::initializer_list<const py::list*>;

std::vector<Job> find_jobs(const char* name, const py::list& params, States states,
                           const Var& counts) {
  const std::size_t n = params.size();
  if (counts.dtype() != DType::int64 || !(counts.shape() == Shape{int64_t(n)}) ||
      !counts.array().is_contiguous())
    fail(ErrorKind::shape, name, ": the counts must be int64 (", n, ",); got ",
         counts->array.type());
  for (const py::list* list : states)
    if (list->size() != n && list->size() != 0)
      fail(ErrorKind::shape, name, ": needs the state of ", n, " parameters; got ", list->size());
  std::vector<Job> jobs;
  jobs.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const Var parameter = tensor_at(name, "parameter", params, i);
    const Var g = gradient_of(name, parameter, i);
    if (!g) continue;
    require_writable(name, parameter, i);
    const bool same = share_memory(g.array(), parameter.array());
    Job& job = jobs.emplace_back(
        Job{.parameter = parameter,
            .p = kernels::contiguous(parameter.array()),
            .g = same ? kernels::contiguous_copy(g.array()) : kernels::contiguous(g.array()),
            .states = {},
            .count = counts.array().data<int64_t>() + i});
    std::size_t next = 0;
    for (const py::list* list : states) {
      if (list->size() > 0) {
        const Var state = tensor_at(name, "state", *list, i);
        if (!(state->array.type() == parameter->array.type()) || !state.array().is_contiguous())
          fail(ErrorKind::shape, name, ": the state of parameter ", i, " must be like it, ",
               parameter->array.type(), ", and contiguous; got ", state->array.type());
        job.states[next] = state.array();
      }
      ++next;
    }
  }
  // A gradient in the memory of another parameter is read as it was before the step.
  for (Job& job : jobs)
    if (job.g.buffer()->refs > 2 || job.g.buffer()->foreign)
      for (const Job& other : jobs)
        if (share_memory(other.parameter.array(), job.g)) {
          job.g = kernels::contiguous_copy(job.g);
          break;
        }
  return jobs;
}

void changed(const Array& array, uint32_t source) {
  if (!array.has_data()) return;
  ++array.buffer()->version;
  array.buffer()->changed_at = source;
}

// f(TypeTag<T>, job) updates one parameter.
template <class F>
void run(const std::vector<Job>& jobs, const F& f) {
  int64_t elements = 0;
  for (const Job& job : jobs) elements += job.p.size();
  auto update_all = [&] {
    for (const Job& job : jobs) {
      ++*job.count;
      if (job.p.dtype() == DType::float32)
        f(TypeTag<float>{}, job);
      else
        f(TypeTag<double>{}, job);
    }
  };
  if (elements < worth_a_release) {
    update_all();
  } else {
    without_interpreter_lock(update_all);
  }
  const uint32_t source = source_here();
  for (const Job& job : jobs) {
    if (job.p.buffer() != job.parameter.array().buffer())
      kernels::copy(job.p, job.parameter.array());
    changed(job.parameter.array(), source);
    for (const Array& state : job.states) changed(state, source);
  }
}

void sgd_step(const py::list& params, const py::list& momenta, const Var& counts, double lr,
              double momentum, double dampening, double weight_decay, bool nesterov,
              bool maximize) {
  const std::vector<Job> jobs = find_jobs("SGD", params, {&momenta}, counts);
  run(jobs, [&](auto tag, const Job& job) {
    using T = typename decltype(tag)::type;
    kernels::sgd_update<T>(job.p.data<T>(), job.g.data<T>(), job.state<T>(0), job.p.size(),
                           {.lr = lr,
                            .momentum = momentum,
                            .dampening = dampening,
                            .weight_decay = weight_decay,
                            .nesterov = nesterov,
                            .maximize = maximize,
                            .first = *job.count == 1});
  });
}

void adam_step(const py::list& params, const py::list& means, const py::list& squares,
               const py::list& largest, const Var& counts, double lr, double beta1, double beta2,
               double eps, double weight_decay, bool decoupled, bool maximize) {
  const std::vector<Job> jobs = find_jobs("Adam", params, {&means, &squares, &largest}, counts);
  kernels::AdamStep step{.lr = lr,
                         .beta1 = beta1,
                         .beta2 = beta2,
                         .eps = eps,
                         .weight_decay = weight_decay,
                         .decoupled = decoupled,
                         .maximize = maximize};
  run(jobs, [&](auto tag, const Job& job) {
    using T = typename decltype(tag)::type;
    step.set_count(*job.count);
    kernels::adam_update<T>(job.p.data<T>(), job.g.data<T>(), job.state<T>(0), job.state<T>(1),
                            job.state<T>(2), job.p.size(), step);
  });
}

void rmsprop_step(const py::list& params, const py::list& squares, const py::list& means,
                  const py::list& buffers, const Var& counts, double lr, double alpha, double eps,
                  double weight_decay, double momentum, bool maximize) {
  const std::vector<Job> jobs = find_jobs("RMSProp", params, {&squares, &means, &buffers}, counts);
  run(jobs, [&](auto tag, const Job& job) {
    using T = typename decltype(tag)::type;
    kernels::rmsprop_update<T>(job.p.data<T>(), job.g.data<T>(), job.state<T>(0), job.state<T>(1),
                               job.state<T>(2), job.p.size(),
                               {.lr = lr,
                                .alpha = alpha,
                                .eps = eps,
                                .weight_decay = weight_decay,
                                .momentum = momentum,
                                .maximize = maximize});
  });
}

// Whether nothing else sees the bytes of a leaf's gradient, of which `g` is one of two handles.
bool is_own(const Var& g) {
  return g.ref()->refs == 2 && g.array().buffer()->refs == 1 && !g.array().buffer()->foreign &&
         g.array().is_contiguous();
}

// The Euclidean norm of all gradients together; they are scaled so that it is at most `max_norm`.
double clip_grad_norm(const py::list& params, double max_norm) {
  std::vector<Var> leaves, grads;
  double squares = 0;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const Var parameter = tensor_at("clip_grad_norm", "parameter", params, i);
    const Var g = gradient_of("clip_grad_norm", parameter, i);
    if (!g) continue;
    const Array array = kernels::contiguous(g.array());
    squares += array.dtype() == DType::float32
                   ? kernels::sum_of_squares(array.data<float>(), array.size())
                   : kernels::sum_of_squares(array.data<double>(), array.size());
    leaves.push_back(parameter);
    grads.push_back(g);
  }
  const double norm = std::sqrt(squares), factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return norm;
  const uint32_t source = source_here();
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    // A gradient may be shared with another leaf or with the caller: then it gets bytes of its own.
    const bool own = is_own(grads[i]);
    const Array array = own ? grads[i].array() : kernels::contiguous_copy(grads[i].array());
    if (array.dtype() == DType::float32)
      kernels::scale_in_place(array.data<float>(), array.size(), factor);
    else
      kernels::scale_in_place(array.data<double>(), array.size(), factor);
    if (own)
      changed(array, source);
    else
      set_grad(*leaves[i].get(), Var(array));
  }
  return norm;
}

// Adds 1 in place to a step counter.
void advance(const Var& steps) {
  if (!(steps->array.type() == Type{DType::int64, {}}) || steps.is_abstract())
    fail(ErrorKind::argument, "advance: the counter must be int64 (); got ", steps->array.type());
  ++*steps.array().data<int64_t>();
  changed(steps.array(), source_here());
}

// Zeros like a parameter that outlive a recording made meanwhile.
Var make_state(const Var& like) {
  const Array zeros = Array::empty(like.dtype(), like.shape());
  std::memset(zeros.raw(), 0, std::size_t(zeros.size() * itemsize(zeros.dtype())));
  const Var state(zeros);
  state->trace = 0;
  return state;
}

// Counts of updates, int64: of each pair of a tensor of such and a place in it, and 0 for None.
Var counts_of(const std::vector<std::optional<std::pair<Var, int64_t>>>& places) {
  const Array counts = Array::empty(DType::int64, {int64_t(places.size())});
  int64_t* to = counts.data<int64_t>();
  for (const auto& place : places) {
    *to = 0;
    if (place) {
      const auto& [from, i] = *place;
      if (from.dtype() != DType::int64 || !from.array().is_contiguous() || i < 0 || i >= from.array().size())
        fail(ErrorKind::argument, "_counts_of: takes places in int64 tensors");
      *to = from.array().data<int64_t>()[i];
    }
    ++to;
  }
  const Var state(counts);
  state->trace = 0;
  return state;
}

// Whether an integer tensor may hold `value`: false only where it is known not to.
bool may_hold(const Var& x, int64_t value) {
  if (x.is_abstract() || !is_integer(x.dtype())) return true;
  const Array array = kernels::contiguous(x.array());
  return dispatch(array.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = array.data<T>();
    bool found = false;
    for (int64_t i = 0; i < array.size(); ++i) found |= int64_t(data[i]) == value;
    return found;
  });
}

}  // namespace

namespace {
uint64_t changes = 0;
}

void noted_options(int64_t from_to) { options_epoch() ^= from_to; }

void changed_options(int64_t from_to) {
  ++changes;
  noted_options(from_to ? from_to : int64_t(changes * 0x9E3779B97F4A7C15u));
}

void bind_optim(py::module_& m) {
  m.def("_sgd_step", sgd_step);
  m.def("_adam_step", adam_step);
  m.def("_rmsprop_step", rmsprop_step);
  m.def("_clip_grad_norm", clip_grad_norm);
  m.def("_may_hold", may_hold);
  m.def("_advance", advance);
  m.def("_make_state", make_state);
  m.def("_counts_of", counts_of);
  m.def("_changed_options", changed_options, py::arg("from_to") = 0);
  m.def("_options_epoch", [] { return options_epoch(); });
  m.def("_options_changes", [] { return changes; });
}

}  // namespace wengert::bindings
