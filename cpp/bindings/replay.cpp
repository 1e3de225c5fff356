#include "bindings/replay.h"

#include <algorithm>

#include "array/allocator.h"
#include "graph/source.h"
#include "graph/tangents.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"
#include "program/derive.h"
#include "program/early_checks.h"
#include "runtime/reorder.h"
#include "runtime/scan_op.h"
#include "runtime/stack_sums.h"
#include "sweeps/reverse.h"

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

struct Arranged {
  Rewritten rewritten;
  int64_t hoisted;  // steps that run elsewhere than recorded
};

Arranged arrange(Program& program, const std::vector<Update>& updates, bool exact) {
  Arranged out{rewrite(program, exact), 0};
  std::vector<Renewal> renewals;
  for (const Update& update : updates) renewals.push_back({program.inputs[update.input], program.outputs[update.output]});
  check_indices_early(program, renewals);
  const std::vector<Array> arrays = lay_out(program);
  out.hoisted = sink_steps(program, arrays);
  out.hoisted += hoist_renewals(program, arrays, renewals);
  out.hoisted += reorder(program, updates);
  return out;
}

}  // namespace

Extent extent(const Array& array) {
  if (array.size() == 0) return {};
  const auto* first = static_cast<const std::byte*>(array.raw());
  const std::byte* last = first;
  for (std::size_t axis = 0; axis < array.shape().size(); ++axis) {
    const int64_t reach = (array.shape()[axis] - 1) * array.strides()[axis] * itemsize(array.dtype());
    (reach < 0 ? first : last) += reach;
  }
  return {first, last + itemsize(array.dtype())};
}

Replay::Replay(Program program, const Recording& recording, std::size_t arguments, std::size_t results,
               std::optional<Pull> pull, std::optional<Limit> limit, bool exact)
    : program_(std::move(program)), exact_(exact), arguments_(arguments), results_(results), pull_(std::move(pull)),
      limit_(limit) {
  for (const Recording::Variable& variable : recording.variables())
    if (variable.entry) variables_.push_back({variable.outside, variable.assigned});
  for (Outside& read : variables_)
    for (const Outside& changed : variables_)
      read.copied |= !read.assigned && changed.assigned && extent(read.value.array()).meets(extent(changed.value.array()));
  for (std::size_t v = 0; v < variables_.size(); ++v) {
    const Node* node = variables_[v].value->node.get();
    reads_a_transform_ |= node && node->of_transform;
    if (variables_[v].copied) bound_variables_.push_back(v);
    Buffer* buffer = variables_[v].value.array().buffer().get();
    (variables_[v].assigned ? touched_.changes : touched_.reads).push_back(buffer);
    if (!variables_[v].assigned) continue;
    changes_read_only_ |= buffer->read_only;
    changed_.push_back(buffer);
  }
  for (const Recording::Gradient& gradient : recording.gradients()) {
    if (gradient.entry) read_slots_.push_back(slots_.size());
    slots_.push_back({gradient.leaf, bool(gradient.entry), gradient.now != gradient.entry, bool(gradient.now)});
    (slots_.back().changed ? touched_.changes : touched_.reads).push_back(gradient.leaf.get());
  }
  // Outputs: results, new values of variables, gradients that are left behind.
  std::size_t output = results_;
  for (std::size_t v = 0; v < variables_.size(); ++v)
    if (variables_[v].assigned) updates_.push_back({arguments_ + v, output++, true});
  first_kept_ = first_gradient_ = output;
  for (const Slot& slot : slots_) first_kept_ += slot.changed && slot.has;
  before_ = program_;
  const bool stacks = !exact_ && !limit_;  // what is stacked takes memory
  if (stacks) stacked_ = stack_sums(program_);
  const Arranged arranged = arrange(program_, updates_, exact_);
  rewritten_ = arranged.rewritten;
  hoisted_ = arranged.hoisted;
  if (pull_) {
    Program recorded = pull_->program;
    if (stacks && stack_sums(pull_->program) > 0) unstacked_pull_ = std::move(recorded);
    rewrite(pull_->program, exact_);
  }
  if (limit_) {
    unlimited_ = program_;
    Limit of_pull = *limit_;
    limit_->taken += copied_bytes();
    if (pull_) {
      limit_->least = least_within(pull_->program, {}, of_pull);
      of_pull.least = least_within(program_, updates_, *limit_);
      pull_bytes_ = keep_within(pull_->program, {}, of_pull).after;
    }
    scheduled_ = keep_within(program_, updates_, *limit_);
  }
  executors_.push_back(std::make_unique<Running>(program_, updates_, true));
}

// Variables that a run copies: those in memory that it changes otherwise, and those it cannot read as
// they lie.
int64_t Replay::copied_bytes() const {
  int64_t out = 0;
  for (const Outside& variable : variables_) {
    const Array& array = variable.value.array();
    if (variable.copied || !array.is_contiguous()) out += array.size() * itemsize(array.dtype());
  }
  return out;
}

// Of the programs as a call under a limit plans them: nothing is stacked there.
std::vector<CurvePoint> Replay::curve(Limit limit) const {
  Program program = stacked_ > 0 ? before_ : program_, pull = unstacked_pull_ ? *unstacked_pull_ : Program();
  if (stacked_ > 0) arrange(program, updates_, exact_);
  if (unstacked_pull_) rewrite(pull, exact_);
  int64_t most_of_pull = 0, least_of_pull = 0;
  if (pull_) {
    const std::vector<CurvePoint> points = memory_curve(unstacked_pull_ ? pull : pull_->program, {}, limit);
    most_of_pull = points.front().bytes;
    least_of_pull = points.back().bytes;
  }
  limit.taken = copied_bytes();
  std::vector<CurvePoint> out;
  for (const CurvePoint& point : memory_curve(program, updates_, limit)) {
    if (out.empty()) out.push_back({std::max(point.bytes, most_of_pull), point.seconds, point.name});
    const int64_t bytes = std::max(point.bytes, least_of_pull);
    if (bytes < out.back().bytes) out.push_back({bytes, point.seconds, point.name});
  }
  return out;
}

int64_t& options_epoch() {
  static int64_t epoch = 0;
  return epoch;
}

bool Replay::fits() {
  // A leaf of a transform that has ended will have no other value.
  if (reads_a_transform_)
    for (const Outside& variable : variables_)
      if (const Node* node = variable.value->node.get(); node && node->of_transform && node->ended) return false;
  if (fitted_at_ == gradients_epoch()) return true;
  for (const Slot& slot : slots_)
    if (bool(gradient_of(slot.leaf)) != slot.had) return false;
  fitted_at_ = gradients_epoch();
  return true;
}

bool Replay::overlaps(std::span<const Var> arguments) const {
  if (updates_.empty()) return false;
  for (const Var& x : arguments) {
    const Extent own = extent(x.array());
    for (const Outside& variable : variables_)
      if (variable.assigned && own.meets(extent(variable.value.array()))) return true;
  }
  return false;
}

namespace {

// The same memory under buffer headers of its own: while the interpreter lock is released, other
// threads change the counts of references, which are not atomic.
struct Borrowed {
  std::vector<Buffer> headers;
  std::vector<Array> arrays;

  explicit Borrowed(const std::vector<Array>& from) : headers(from.size()) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const Array& array = from[i];
      if (!array.has_data()) {
        arrays.emplace_back();
        continue;
      }
      headers[i].refs = 1;  // never released: the header ends with this
      headers[i].data = array.buffer()->data;
      headers[i].bytes = array.buffer()->bytes;
      arrays.emplace_back(Ref<Buffer>(&headers[i]), array.dtype(), array.shape(), array.strides(), array.offset());
    }
  }
};

// Long runs go on while other Python threads do.
bool goes_on_alone(const Executor& executor) {
  return !executor.calls_python() && executor.work() >= double(worth_a_release);
}

void execute(Executor& executor, const std::vector<Array>& inputs, const std::vector<Array>& outputs) {
  if (!goes_on_alone(executor)) return executor.run(inputs, outputs);
  const Borrowed in(inputs), out(outputs);
  const memory::Shared shared;
  without_interpreter_lock([&] { executor.run(in.arrays, out.arrays); });
}

template <class Running>
struct Busy {
  Running& running;
  explicit Busy(Running& r) : running(r) { running.busy = true; }
  ~Busy() {
    for (const std::size_t i : running.given) running.inputs[i] = Array();
    for (const std::size_t j : running.made) running.outputs[j] = Array();
    running.busy = false;
  }
};

}  // namespace

// Binds once what stays where it is from call to call. No value ever gets other memory.
void Replay::fix(Running& running) {
  const std::size_t count = running.keeps ? program_.outputs.size() : first_kept_;
  running.given.clear(), running.made.clear();
  running.inputs.resize(program_.inputs.size());
  running.outputs.resize(count);
  std::vector<bool> fixed(running.inputs.size(), false);
  for (std::size_t i = 0; i < fixed.size(); ++i) {
    const bool is_variable = i >= arguments_ && i < arguments_ + variables_.size();
    fixed[i] = is_variable && !variables_[i - arguments_].copied;
    if (fixed[i]) running.inputs[i] = variables_[i - arguments_].value.array();
    else running.given.push_back(i);
  }
  for (std::size_t j = 0; j < count; ++j)
    if (j < results_ || (j >= first_gradient_ && !running.carries)) running.made.push_back(j);
  running.executor.fix(running.inputs, fixed);
  running.fixed = true;
}

// With `rows` >= 0 every result gets as many rows.
void Replay::bind(Running& running, std::span<const Var> arguments, int64_t rows) {
  if (changes_read_only_) fail(ErrorKind::argument, "compile: a tensor that the call changes shares read-only memory");
  if (!running.fixed) fix(running);
  std::size_t at = 0;
  auto give = [&](const Array& array) { running.inputs[running.given[at++]] = array; };
  for (const Var& x : arguments) give(x.array());
  for (const std::size_t v : bound_variables_) give(kernels::contiguous_copy(variables_[v].value.array()));
  for (const std::size_t s : read_slots_) give(gradient_of(slots_[s].leaf).array());
  for (const std::size_t j : running.made) {
    const Type& type = program_.types[std::size_t(program_.outputs[j])];
    Shape shape = type.shape;
    if (rows >= 0) shape.insert(0, rows);
    running.outputs[j] = Array::empty(type.dtype, shape);
  }
}

void Replay::note_changes() {
  if (changed_.empty()) return;
  const uint32_t source = source_here();
  for (Buffer* buffer : changed_) ++buffer->version, buffer->changed_at = source;
}

std::vector<Var> Replay::hand_over(Running& running) {
  std::vector<Var> out;
  out.reserve(results_);
  for (std::size_t k = 0; k < results_; ++k) out.emplace_back(running.outputs[k]);
  return out;
}

std::vector<Var> Replay::run(std::span<const Var> arguments) { return run_keeping(arguments, nullptr); }

std::vector<Var> Replay::run_keeping(std::span<const Var> arguments, std::vector<Array>* kept) {
  const Turn turn(touched_, goes_on_alone(executors_[0]->executor));
  Running& running = free_executor(true);
  const Busy busy(running);
  bind(running, arguments, -1);
  note_changes();  // also where the run fails halfway
  execute(running.executor, running.inputs, running.outputs);
  std::size_t j = first_gradient_;
  for (const Slot& slot : slots_)
    if (slot.changed) leave_gradient(slot.leaf, slot.has ? Var(running.outputs[j++]) : Var());
  if (kept)
    for (const Pull::Kept& value : pull_->kept)
      kept->push_back(value.is_input ? running.inputs[value.place] : running.outputs[first_kept_ + value.place]);
  return hand_over(running);
}

// The results of an operation of its own, which is computed now and not again.
static Vars compute_once(const std::string& name, const Vars& ins, const std::function<Arrays()>& compute,
                         std::function<Vars(const Rule&)> joint_adjoint) {
  const auto op = std::make_shared<Op>();
  op->name = name;
  op->inputs = {"*tensors"};
  op->evaluate = [&](std::span<const Array>) { return compute(); };
  op->joint_adjoint = std::move(joint_adjoint);
  op->self = op;
  Vars made = apply_all(*op, {ins.data(), ins.size()});
  op->evaluate = {};
  return made;
}

std::vector<Var> Replay::run_followed(std::span<const Var> arguments, const std::string& name, py::function f, py::object owner) {
  Vars ins(arguments.begin(), arguments.end());
  // What the call changes is kept aside, as it was read: later calls may change it again.
  for (const Outside& variable : variables_) {
    const bool aside = (variable.assigned || variable.copied) && !variable.value->tracked;
    ins.push_back(aside ? Var(Array::scalar<bool>(false)) : variable.value);
  }
  const auto kept = std::make_shared<std::vector<Array>>();
  const auto self = shared_from_this();
  const auto run = [&] {
    Arrays out;
    for (const Var& y : run_keeping(arguments, kept.get())) out.push_back(y.array());
    return out;
  };
  auto pull = [self, kept, f = std::move(f), owner = std::move(owner), epoch = options_epoch()](const Rule& rule) {
    const bool followed =
        std::any_of(rule.gs.begin(), rule.gs.end(), [](const Var& g) { return g && (g.is_abstract() || g->tangents); });
    if (!modes().grad_enabled) return followed ? self->pull_back_followed(rule, *kept) : self->pull_back(rule, *kept);
    if (self->changes_tensors()) return self->pull_back_once(rule, *kept, followed);
    if (epoch != options_epoch())
      fail(ErrorKind::graph, rule.op.name, ": modules, options or flags have changed since the call, which a second "
           "derivative carries out again; ask for it before, or compile the derivative instead");
    return self->pull_back_recorded(rule, f);
  };
  const GradMode on(true);  // as within the call, if not around it
  const Vars made = compute_once(name, ins, run, std::move(pull));
  std::vector<Var> out;
  for (std::size_t i = 0; i < made.size(); ++i) {
    const bool followed = std::find(pull_->results.begin(), pull_->results.end(), i) != pull_->results.end();
    out.push_back(followed ? made[i] : detach(made[i]));
  }
  return out;
}

bool Replay::changes_tensors() const {
  return !updates_.empty() || std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.changed; });
}

// What the sweep found for each argument and variable, given its outputs. What no cotangent reaches has none, as in a
// sweep of single operations: no zeros.
template <class F>
static Vars hand_back(const Pull& pull, const Rule& rule, const F& output) {
  const Program& program = pull.program;
  std::vector<bool> reached(program.types.size(), false);
  bool all = true;
  for (std::size_t i = 0; i < pull.results.size(); ++i) {
    const bool given = bool(rule.gs[pull.results[i]]);
    reached[std::size_t(program.inputs[i])] = given;
    all = all && given;
  }
  for (const Step& step : program.steps) {
    const bool any = std::any_of(step.ins.begin(), step.ins.end(), [&](ValueId id) { return reached[std::size_t(id)]; });
    for (const ValueId id : step.outs) reached[std::size_t(id)] = any;
  }
  Vars out(rule.ins.size());
  for (std::size_t i = 0; i < pull.found.size(); ++i) {
    if (pull.found[i] < 0) continue;
    const auto place = std::size_t(pull.found[i]);
    if (all || reached[std::size_t(program.outputs[place])]) out[i] = output(place);
  }
  return out;
}

// Of cotangents that are mapped or carry tangents: linear in them, it goes by its operations one by one.
Vars Replay::pull_back_followed(const Rule& rule, const std::vector<Array>& kept) const {
  std::vector<Var> inputs;
  for (const std::size_t result : pull_->results)
    inputs.push_back(rule.gs[result] ? rule.gs[result] : zeros(rule.out_types[result]));
  for (const Array& x : kept) inputs.emplace_back(x);
  const Vars found = replay(pull_->program, inputs);
  return hand_back(*pull_, rule, [&](std::size_t place) { return found[place]; });
}

// What differentiates the sweep again finds that it cannot.
Vars Replay::pull_back_once(const Rule& rule, const std::vector<Array>& kept, bool followed) {
  Vars found = followed ? pull_back_followed(rule, kept) : pull_back(rule, kept), ins;
  for (const Var& g : found)
    if (g) ins.push_back(g);
  const std::size_t count = ins.size();
  for (const std::span<const Var> read : {rule.ins, rule.gs})
    for (const Var& x : read)
      if (x) ins.push_back(x);
  const auto op = std::make_shared<Op>();
  op->name = rule.op.name;
  op->inputs = {"*tensors"};
  op->infer = [count](std::span<const Type> in, const Attrs&) { return Types(in.begin(), in.begin() + std::ptrdiff_t(count)); };
  op->evaluate = [count](std::span<const Array> in) { return Arrays(in.begin(), in.begin() + std::ptrdiff_t(count)); };
  op->tangent = [count](const Rule& r) { return Vars(r.dxs.begin(), r.dxs.begin() + std::ptrdiff_t(count)); };
  op->batch = [count](const Batched& b) {
    Vars mapped(b.ins.begin(), b.ins.end());
    for (std::size_t i = 0; i < count; ++i)
      if (!b.batched[i]) mapped[i] = broadcast_mapped(mapped[i], b.size);
    return apply_all(b.op, {mapped.data(), mapped.size()});
  };
  op->joint_adjoint = [](const Rule& again) -> Vars {
    fail(ErrorKind::graph, again.op.name, ": a compiled function that changes tensors cannot be called again for a second "
         "derivative; compile the derivative instead");
  };
  op->self = op;
  const Vars made = apply_all(*op, {ins.data(), ins.size()});
  std::size_t next = 0;
  for (Var& g : found)
    if (g) g = made[next++];
  return found;
}

// What differentiates the sweep again sees f's own operations.
Vars Replay::pull_back_recorded(const Rule& rule, const py::function& f) {
  py::list given;
  Vars leaves, targets, ends, seeds;
  std::vector<std::size_t> places;
  {
    const GradMode on(true);
    for (std::size_t i = 0; i < rule.ins.size(); ++i) {
      const bool wanted = rule.ins[i]->tracked, is_argument = i < arguments_;
      Var x = rule.ins[i];
      if (is_argument) given.append(x = wanted ? transform_leaf(x) : x);
      if (!wanted) continue;
      targets.push_back(x);
      places.push_back(i);
    }
    const py::list results = f(given);
    for (const std::size_t result : pull_->results) {
      if (!rule.gs[result]) continue;
      ends.push_back(to_tensor(rule.op.name, "result", results[result]));
      seeds.push_back(rule.gs[result]);
    }
  }
  for (std::size_t t = 0; t < targets.size(); ++t)
    if (places[t] < arguments_) end_leaf(targets[t]);
  const std::span<const Var> wanted{targets.data(), targets.size()};
  const Reach reach = find_reach({ends.data(), ends.size()}, wanted);
  const Vars found = reverse_sweep({ends.data(), ends.size()}, {seeds.data(), seeds.size()}, wanted,
                                   {.retain_graph = true}, &reach);
  Vars out(rule.ins.size());
  for (std::size_t t = 0; t < targets.size(); ++t) out[places[t]] = found[t];
  return out;
}

Vars Replay::pull_back(const Rule& rule, const std::vector<Array>& kept) {
  std::vector<Array> inputs, outputs;
  for (const std::size_t result : pull_->results) {
    const Type& type = rule.out_types[result];
    inputs.push_back(rule.gs[result] ? rule.gs[result].array() : Array::scalar(type.dtype, 0.0).broadcast_to(type.shape));
  }
  inputs.insert(inputs.end(), kept.begin(), kept.end());
  for (const ValueId id : pull_->program.outputs) {
    const Type& type = pull_->program.types[std::size_t(id)];
    outputs.push_back(Array::empty(type.dtype, type.shape));
  }
  pullers_.with([&] { return std::make_unique<Executor>(pull_->program, std::vector<Update>()); },
                [&](Executor& executor) { execute(executor, inputs, outputs); });
  return hand_back(*pull_, rule, [&](std::size_t place) { return Var(outputs[place]); });
}

bool Replay::repeats() {
  for (const Outside& variable : variables_)
    if (variable.copied) return false;
  for (const Slot& slot : slots_)
    if (slot.had != slot.has) return false;
  // A limit was planned without the changes of gradients in place.
  return !limit_ || executor_of_runs().executor.bytes() + limit_->taken <= limit_->bytes;
}

bool Replay::reads_differentiated() const {
  return std::any_of(variables_.begin(), variables_.end(), [](const Outside& variable) {
    const Node* node = variable.value->node.get();
    return variable.value->tracked && node && node->of_transform && !node->ended;
  });
}

std::vector<Var> Replay::run_many(std::span<const Var> arguments, const std::vector<bool>& stacked, int64_t steps) {
  const Turn turn(touched_, !executors_[0]->executor.calls_python());
  Running& running = executor_of_runs();
  const Busy busy(running);
  if (running.carries)  // in place, but not in that of a gradient that somebody may hold
    for (const Slot& slot : slots_)
      if (slot.is_carried()) leave_gradient(slot.leaf, Var(kernels::contiguous_copy(gradient_of(slot.leaf).array())));
  bind(running, arguments, steps);
  note_changes();
  std::vector<bool> rows = stacked;
  rows.resize(running.inputs.size(), false);
  const Borrowed inputs(running.inputs), outputs(running.outputs);
  auto go = [&] { running.executor.run(inputs.arrays, outputs.arrays, rows, 0, steps); };
  if (running.executor.calls_python()) {
    go();
  } else {
    const memory::Shared shared;
    without_interpreter_lock(go);
  }
  return hand_over(running);
}

// Without what the reverse sweep reads.
const Program& Replay::shown() {
  if (!pull_) return program_;
  if (!shown_) {
    shown_ = limit_ ? unlimited_ : program_;
    shown_->outputs.resize(first_kept_);
    simplify(*shown_);
    if (limit_) keep_within(*shown_, updates_, *limit_);
  }
  return *shown_;
}

Replay::Running& Replay::free_executor(bool keeps) {
  for (auto& running : executors_)
    if (!running->busy && running->keeps == keeps && !running->carries) return *running;
  executors_.push_back(std::make_unique<Running>(keeps ? program_ : shown(), updates_, keeps));
  return *executors_.back();
}

// Gradients that each step finds and leaves are inputs that it changes.
Replay::Running& Replay::executor_of_runs() {
  std::vector<Update> updates = updates_;
  std::size_t output = first_gradient_;
  for (std::size_t r = 0, s = 0; s < slots_.size(); ++s) {
    if (slots_[s].is_carried()) updates.push_back({arguments_ + variables_.size() + r, output, true});
    r += slots_[s].had;
    output += slots_[s].changed && slots_[s].has;
  }
  if (updates.size() == updates_.size()) return free_executor(!pull_);
  for (auto& running : executors_)
    if (!running->busy && running->carries) return *running;
  executors_.push_back(std::make_unique<Running>(shown(), updates, false));
  executors_.back()->carries = true;
  return *executors_.back();
}

std::vector<UnitCost> Replay::profile(std::span<const Var> arguments, int repeats) {
  Running& running = free_executor(true);
  const Busy busy(running);
  bind(running, arguments, -1);
  std::vector<Array> inputs = running.inputs;
  for (const Update& update : updates_) inputs[update.input] = kernels::contiguous_copy(inputs[update.input]);
  return Executor(program_, updates_).profile(inputs, running.outputs, repeats);
}

}  // namespace wengert::bindings
