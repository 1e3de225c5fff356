// Loops and branches whose bodies are programs; python/wengert/control.py knows about trees.
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "graph/tangents.h"
#include "program/derive.h"
#include "runtime/branch.h"
#include "runtime/revolve.h"
#include "runtime/scan.h"
#include "runtime/spill.h"
#include "runtime/two_level.h"
#include "sweeps/reverse.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

// What a body reads from around it and somebody follows becomes an argument.
bool is_argument(const Var& x) { return x.is_abstract() || x->tracked || x->tangents; }

// Traces the body on values like `carry` and a row of each of `rows`: its program, whose first inputs
// are the values from around it, and those values.
struct Traced {
  Program program;
  std::vector<Var> constants;
  py::object result;
};

// x without a history that nobody can ask for, of what is younger than the node numbered `before`: a sweep within the
// body has used it up, or alone wanted it. The same holds for its tangents.
Var with_living_history(const Var& x, uint64_t before) {
  static const Op& alias = find_op("alias");
  if (x->tracked && can_sweep(x, before) && is_wanted(x, before)) return x;
  if (x.is_abstract()) {  // in the trace around this one it is what its node makes
    const GradMode off(false);
    return x->tracked ? apply(alias, {&x, 1}) : x;
  }
  std::vector<std::pair<ForwardSweep*, Var>> tangents;
  bool changed = x->tracked;
  for (ForwardSweep* sweep : ForwardSweep::active())
    if (const Var t = sweep->tangent_of(x)) {
      tangents.emplace_back(sweep, with_living_history(t, before));
      changed |= !(tangents.back().second == t);
    }
  if (!changed) return x;
  Var out = detach(x);
  for (auto& [sweep, t] : tangents) sweep->set_tangent(out, t);
  return out;
}

Traced trace_body(py::function f, const List& arguments, py::function flatten, bool conditional, bool inlined = false) {
  Trace trace(conditional, inlined);
  const uint64_t before = make_node(nullptr, {})->serial;
  Traced out;
  List inputs, outputs;
  py::list given;
  for (const Var& x : arguments) {
    inputs.push_back(trace.input(x->array.type()));
    given.append(inputs.back());
  }
  {
    struct Open {
      Open() { ++bodies_open(); }
      ~Open() { --bodies_open(); }
    } open;
    out.result = f(given);
  }
  for (py::handle y : flatten(out.result)) outputs.push_back(settled(to_var(y.ptr())));
  trace.close();
  out.program = program_of(trace, inputs, outputs);
  for (auto& [id, x] : out.program.constants) x = with_living_history(x, before);
  std::vector<ValueId> ids;
  for (const auto& [id, x] : out.program.constants)
    if (is_argument(x)) {
      ids.push_back(id);
      out.constants.push_back(x);
    }
  std::erase_if(out.program.constants, [](const auto& constant) { return is_argument(constant.second); });
  out.program.inputs.insert(out.program.inputs.begin(), ids.begin(), ids.end());
  return out;
}

// (result of the body on abstract values, outputs): last carry, then what is stacked.
Checkpoint to_checkpoint(const py::object& given) {
  Checkpoint out;
  if (given.is_none()) return out;
  out.kind = Checkpoint::binomial;
  auto number = [&](const char* name, auto& into) {
    if (given.contains(name)) into = py::cast<std::decay_t<decltype(into)>>(given[name]);
  };
  number("slots", out.slots);
  number("budget", out.budget);
  number("disk", out.disk);
  number("disk_bytes", out.disk_bytes);
  number("write_cost", out.write_cost);
  number("read_cost", out.read_cost);
  number("directory", out.directory);
  return out;
}

py::tuple run(py::function f, const List& carry, const List& rows, int64_t length, py::function flatten,
              py::function check, const py::object& checkpoint) {
  List arguments = carry, inputs;
  for (const Var& x : rows) {
    Type type = x->array.type();
    type.shape.erase(0);
    arguments.push_back(Var(Array(type)));
  }
  Traced traced = trace_body(std::move(f), arguments, std::move(flatten), length == 0);
  check(traced.result);
  ScanBody body{std::move(traced.program), traced.constants.size(), carry.size(), rows.size()};
  inputs = traced.constants;
  inputs.insert(inputs.end(), carry.begin(), carry.end());
  inputs.insert(inputs.end(), rows.begin(), rows.end());
  const Vars outs = scan(std::move(body), inputs, length, false, to_checkpoint(checkpoint));
  return py::make_tuple(traced.result, List(outs.begin(), outs.end()));
}

// Whether branches and loops keep bits: all but those of a recording that need not.
bool keeps_bits() { return !Recording::current() || Recording::current()->exact; }

// Makes two traced bodies programs of the same inputs: the values from around both, then arguments.
std::vector<Var> unite(Traced& a, Traced& b) {
  auto shift = [](Traced& own, const Traced& other, bool in_front) {
    std::vector<ValueId> foreign;
    for (const Var& x : other.constants) foreign.push_back(own.program.new_value(x->array.type()));
    const auto at = own.program.inputs.begin() + std::ptrdiff_t(in_front ? 0 : own.constants.size());
    own.program.inputs.insert(at, foreign.begin(), foreign.end());
  };
  shift(a, b, false);
  shift(b, a, true);
  std::vector<Var> all = a.constants;
  all.insert(all.end(), b.constants.begin(), b.constants.end());
  return all;
}

// What is an input more than once becomes one, at which all its cotangents add up.
void merge_inputs(Program& a, Program& b, List& inputs) {
  Recording* recording = Recording::current();
  List known;
  for (const Var& x : List(std::move(inputs))) {
    const Var own = recording ? recording->read(x) : x;
    const auto first = std::size_t(std::find(known.begin(), known.end(), own) - known.begin());
    if (first == known.size()) {
      known.push_back(own);
      continue;
    }
    for (Program* program : {&a, &b}) {
      const auto again = program->inputs.begin() + std::ptrdiff_t(known.size());
      for (Step& step : program->steps) std::replace(step.ins.begin(), step.ins.end(), *again, program->inputs[first]);
      std::replace(program->outputs.begin(), program->outputs.end(), *again, program->inputs[first]);
      program->inputs.erase(again);
    }
  }
  inputs = std::move(known);
}

py::tuple run_branch(const Var& choice, py::function yes, py::function no, const List& operands,
                     py::function flatten, py::function check) {
  const bool exact = keeps_bits();
  Traced a = trace_body(std::move(yes), operands, flatten, true, exact);
  Traced b = trace_body(std::move(no), operands, flatten, true, exact);
  check(a.result, b.result);
  List inputs = unite(a, b);
  inputs.insert(inputs.end(), operands.begin(), operands.end());
  merge_inputs(a.program, b.program, inputs);
  const Vars outs = branch(std::move(a.program), std::move(b.program), choice, inputs, exact);
  return py::make_tuple(a.result, List(outs.begin(), outs.end()));
}

List run_while(py::function test, py::function body, const List& state, py::function flatten,
               py::function check_test, py::function check_body, const py::object& checkpoint) {
  Traced a = trace_body(std::move(test), state, flatten, false), b = trace_body(std::move(body), state, flatten, true);
  check_test(a.result);
  check_body(b.result);
  List inputs = unite(a, b);
  const std::size_t constants = inputs.size();
  inputs.insert(inputs.end(), state.begin(), state.end());
  const Vars outs = repeat_while(std::move(a.program), std::move(b.program), constants, inputs, keeps_bits(),
                                 to_checkpoint(checkpoint));
  return List(outs.begin(), outs.end());
}

}  // namespace

void bind_control(py::module_& m) {
  m.def("_scan", run);
  m.def("_cond", run_branch);
  m.def("_while", run_while);
  m.def("_least_advances", least_advances);
  m.def("_next_stored", next_stored);
  m.def("_two_level_cost", [](int64_t length, int64_t memory, int64_t disk, double write, double read, bool stored) {
    const TwoLevelPlan plan(length, memory, disk, {write, read});
    return plan.cost(length, plan.disk(), stored);
  });
  // Seconds until so many bytes are written, and read, by a helper: the best of a few times.
  m.def("_measure_spill", [](const std::string& directory, int64_t bytes) {
    using Clock = std::chrono::steady_clock;
    const Array array = Array::empty(DType::uint8, {bytes});
    const std::span<std::byte> memory{array.data<std::byte>(), std::size_t(bytes)};
    std::fill(memory.begin(), memory.end(), std::byte(0));
    Carrier carrier(directory);
    std::vector<double> best(2, 1e9);
    for (int i = 0; i < 5; ++i)
      for (const bool reads : {false, true}) {
        const auto start = Clock::now();
        carrier.wait(reads ? carrier.read(0, 0, memory) : carrier.write(0, 0, memory));
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        best[reads] = std::min(best[reads], seconds);
      }
    return best;
  });
  m.def("_spill_times", [] {
    const SpillTimes times = spill_times();
    return std::vector<double>{times.worked, times.waited, double(times.written), double(times.read)};
  });
}

}  // namespace wengert::bindings
