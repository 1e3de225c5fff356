#include "bindings/replay.h"

#include <algorithm>

#include "array/allocator.h"
#include "graph/tangents.h"

namespace wengert::bindings {
namespace {

Var gradient_of(const Ref<Node>& leaf) {
  const auto& extras = leaf->extras;
  return extras && !extras->grads.empty() ? extras->grads[0].second : Var();
}

void leave_gradient(const Ref<Node>& leaf, Var g) {
  Value holder;
  holder.node = leaf;
  set_grad(holder, std::move(g));
}

}  // namespace

Replay::Replay(Program program, const Recording& recording, std::size_t arguments, std::size_t results)
    : program_(std::move(program)), arguments_(arguments), results_(results) {
  for (const Recording::Variable& variable : recording.variables())
    if (variable.entry) variables_.push_back({variable.outside, variable.assigned});
  for (const Recording::Gradient& gradient : recording.gradients())
    slots_.push_back({gradient.leaf, bool(gradient.entry), gradient.now != gradient.entry, bool(gradient.now)});
  for (const ValueId id : program_.inputs) types_.push_back(program_.types[std::size_t(id)]);
  // Outputs: results, new values of variables, gradients that are left behind.
  std::size_t output = results_;
  for (std::size_t v = 0; v < variables_.size(); ++v)
    if (variables_[v].assigned) updates_.push_back({arguments_ + v, output++});
  first_gradient_ = output;
  before_ = program_;
  simplified_ = simplify(program_);
  executors_.push_back(std::make_unique<Running>(program_, updates_));
}

int64_t& options_epoch() {
  static int64_t epoch = 0;
  return epoch;
}

bool Replay::fits() const {
  for (const Slot& slot : slots_)
    if (bool(gradient_of(slot.leaf)) != slot.had) return false;
  std::size_t i = arguments_;
  for (const Outside& variable : variables_) {
    const Array& array = variable.value.array();
    const Type& type = types_[i++];
    if (array.dtype() != type.dtype || !(array.shape() == type.shape)) return false;
  }
  return true;
}

namespace {

template <class Running>
struct Busy {
  Running& running;
  explicit Busy(Running& r) : running(r) { running.busy = true; }
  ~Busy() {
    running.inputs.clear();
    running.outputs.clear();
    running.busy = false;
  }
};

}  // namespace

// With `rows` >= 0 every result gets as many rows.
void Replay::bind(Running& running, std::span<const Var> arguments, int64_t rows) {
  for (const Var& x : arguments) running.inputs.push_back(x.array());
  for (const Outside& variable : variables_) {
    if (variable.assigned && variable.value.array().buffer()->read_only)
      fail(ErrorKind::argument, "compile: a tensor that the call changes shares read-only memory");
    running.inputs.push_back(variable.value.array());
  }
  for (const Slot& slot : slots_)
    if (slot.had) running.inputs.push_back(gradient_of(slot.leaf).array());
  for (std::size_t j = 0; j < program_.outputs.size(); ++j) {
    const Type& type = program_.types[std::size_t(program_.outputs[j])];
    const bool is_update = j >= results_ && j < first_gradient_;
    Shape shape = type.shape;
    if (rows >= 0) shape.insert(0, rows);
    running.outputs.push_back(is_update ? Array() : Array::empty(type.dtype, shape));
  }
}

std::vector<Var> Replay::hand_over(Running& running) {
  for (const Outside& variable : variables_)
    if (variable.assigned) note_change(variable.value.array());
  std::vector<Var> out;
  out.reserve(results_);
  for (std::size_t k = 0; k < results_; ++k) out.emplace_back(running.outputs[k]);
  return out;
}

std::vector<Var> Replay::run(std::span<const Var> arguments) {
  Running& running = free_executor();
  const Busy busy(running);
  bind(running, arguments, -1);
  execute(running);
  std::size_t j = first_gradient_;
  for (const Slot& slot : slots_)
    if (slot.changed) leave_gradient(slot.leaf, slot.has ? Var(running.outputs[j++]) : Var());
  return hand_over(running);
}

bool Replay::repeats() const {
  for (const Slot& slot : slots_)
    if (slot.had || slot.has) return false;
  return true;
}

std::vector<Var> Replay::run_many(std::span<const Var> arguments, const std::vector<bool>& stacked, int64_t steps) {
  Running& running = free_executor();
  const Busy busy(running);
  bind(running, arguments, steps);
  std::vector<bool> rows = stacked;
  rows.resize(running.inputs.size(), false);
  // In pieces, so that Ctrl-C is seen.
  const double work = std::max(running.executor.work(), 1.0);
  const auto piece = int64_t(std::clamp(1e8 / work, 1.0, 1e6));
  for (int64_t first = 0; first < steps; first += piece) {
    const int64_t last = std::min(steps, first + piece);
    auto go = [&] { running.executor.run(running.inputs, running.outputs, rows, first, last); };
    if (running.executor.calls_python()) {
      go();
    } else {
      const memory::Shared shared;
      without_interpreter_lock(go);
    }
    if (PyErr_CheckSignals() != 0) {
      hand_over(running);
      throw py::error_already_set();
    }
  }
  return hand_over(running);
}

Replay::Running& Replay::free_executor() {
  for (auto& running : executors_)
    if (!running->busy) return *running;
  executors_.push_back(std::make_unique<Running>(program_, updates_));
  return *executors_.back();
}

void Replay::execute(Running& running) {
  Executor& executor = running.executor;
  constexpr double worth_a_release = 1 << 15;
  if (executor.calls_python() || executor.work() < worth_a_release)
    return executor.run(running.inputs, running.outputs);
  const memory::Shared shared;
  without_interpreter_lock([&] { executor.run(running.inputs, running.outputs); });
}

}  // namespace wengert::bindings
