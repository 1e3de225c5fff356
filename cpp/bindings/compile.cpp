// Recording calls for wg.compile. python/wengert/compiler.py knows about trees, keys and what to
// record when.
#include "bindings/replay.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "graph/source.h"
#include "graph/tangents.h"
#include "ops/vocabulary.h"
#include "sweeps/reverse.h"

namespace wengert::bindings {
namespace {

using List = std::vector<Var>;

// (label, flops, bytes, seconds) of each unit.
py::list costs_object(const std::vector<UnitCost>& costs) {
  py::list out;
  for (const UnitCost& cost : costs) out.append(py::make_tuple(cost.label, cost.flops, cost.bytes, cost.seconds));
  return out;
}

// (directory, bytes or -1, latency, seconds a byte written and read), or None.
using DiskGiven = std::optional<std::tuple<std::string, int64_t, double, double, double>>;
std::optional<Disk> disk_of(const DiskGiven& given) {
  if (!given) return {};
  const auto& [directory, bytes, latency, write, read] = *given;
  return Disk{directory, bytes, latency, write, read};
}

// (way, limit, bytes before and after, flops and seconds added, plans tried, what they looked at, values, seconds of
// the disk); a value is (name, dtype, shape, bytes, times made again, source, on disk).
py::object scheduled_object(const Replay& replay) {
  const std::optional<Scheduled>& found = replay.scheduled();
  if (!found) return py::none();
  py::list values;
  for (const Scheduled::Value& value : found->values)
    values.append(py::make_tuple(value.name, py::reinterpret_steal<py::object>(dtype_object(value.type.dtype)),
                                 std::vector<int64_t>(value.type.shape.begin(), value.type.shape.end()), value.bytes,
                                 value.times, show_source(value.source), value.on_disk));
  return py::make_tuple(found->name, found->limit, found->before, found->after, found->flops, found->seconds, found->plans,
                        found->looked, values, found->moving);
}

// Of two tensors over the same bytes one is changed: the other must have been read before.
void refuse_shared_memory(const Recording& recording) {
  const auto& variables = recording.variables();
  for (const auto& changed : variables) {
    if (!changed.assigned || !changed.entry) continue;
    for (const auto& other : variables)
      if (other.entry && other.outside != changed.outside &&
          (other.assigned || other.last_read > changed.first_assigned) &&
          extent(other.outside.array()).meets(extent(changed.outside.array())))
        fail(ErrorKind::trace, "compile: the call changes a tensor of shape ", changed.outside.shape(),
             " that shares its memory with another one it reads later, of shape ", other.outside.shape(), "; use one of them");
  }
}

// Cuts off the reverse sweep, which starts at step `middle`: the call keeps what it reads.
Pull cut_pull(Program& program, std::size_t middle, const Recording& recording, std::size_t arguments,
              std::size_t cotangents, std::size_t found) {
  const std::vector<ValueId> seeds(program.inputs.end() - std::ptrdiff_t(cotangents), program.inputs.end());
  const std::vector<ValueId> ends(program.outputs.end() - std::ptrdiff_t(found), program.outputs.end());
  Halves halves = split(program, middle, seeds, ends);
  program = std::move(halves.first);
  program.inputs.resize(program.inputs.size() - cotangents);
  program.outputs.resize(program.outputs.size() - found);
  Pull pull{.program = std::move(halves.rest), .results = {}, .kept = {}, .found = {}};
  std::vector<bool> fixed(program.inputs.size(), false);  // inputs that the call leaves as they are
  std::fill(fixed.begin(), fixed.begin() + std::ptrdiff_t(arguments), true);
  std::size_t place = arguments;
  for (const auto& variable : recording.variables())
    if (variable.entry) fixed[place++] = !variable.assigned;
  std::size_t outputs = 0;
  for (const ValueId id : halves.crossing) {
    const auto input = std::size_t(std::find(program.inputs.begin(), program.inputs.end(), id) - program.inputs.begin());
    if (input < program.inputs.size() && fixed[input]) {
      pull.kept.push_back({true, input});
    } else {
      pull.kept.push_back({false, outputs++});
      program.outputs.push_back(id);
    }
  }
  return pull;
}

// Calls f once on abstract tensors like `arguments`, of which a caller wants the gradients of those
// that are `followed`: (f's result, Replay). `limit`: bytes, flops and bytes a second, the disk.
py::tuple record(py::function f, const List& arguments, const std::vector<bool>& followed, py::function flatten,
                 const std::optional<std::tuple<int64_t, double, double, DiskGiven>>& limit, bool exact) {
  Recording recording;
  recording.exact = exact;
  List placeholders, targets;
  std::vector<int> places;  // of the targets, among arguments and variables
  py::list given;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    placeholders.push_back(recording.trace().input(arguments[i]->array.type()));
    placeholders.back()->weak = arguments[i]->weak;
    Var x = placeholders.back();
    if (followed[i]) {
      x = transform_leaf(x);
      targets.push_back(x);
      places.push_back(int(i));
    }
    given.append(x);
  }
  py::object result = f(given);
  List inputs = placeholders, outputs;
  for (py::handle y : flatten(result)) {
    outputs.push_back(settled(recording.read(to_var(y.ptr()))));
  }
  const std::size_t results = outputs.size();
  refuse_shared_memory(recording);
  recording.end_leaves();
  int place = int(arguments.size());
  for (const auto& variable : recording.variables()) {
    if (!variable.entry) continue;
    inputs.push_back(variable.entry);
    if (variable.entry->tracked) {
      targets.push_back(variable.entry);
      places.push_back(place);
    }
    ++place;
    if (variable.assigned) outputs.push_back(variable.now);
  }
  for (const auto& gradient : recording.gradients()) {
    if (gradient.entry) inputs.push_back(gradient.entry);
    if (gradient.now && gradient.now != gradient.entry) outputs.push_back(gradient.now);
  }
  // Results whose history is still to be swept: their gradients are the caller's to ask for.
  List ends, seeds;
  std::vector<std::size_t> with_history;
  for (std::size_t i = 0; i < results; ++i)  // also where only the call itself has enabled gradients
    if (can_sweep(outputs[i])) {
      with_history.push_back(i);
      ends.push_back(outputs[i]);
      seeds.push_back(recording.trace().input(outputs[i]->array.type()));
    }
  const std::size_t middle = recording.trace().nodes().size();
  std::vector<int> found(std::size_t(place), -1);
  std::size_t cotangents = 0;
  if (!ends.empty()) {
    const GradMode off(false);
    const Vars adjoints = reverse_sweep(ends, seeds, targets, {.retain_graph = true, .hooks_of_targets = false});
    for (std::size_t t = 0; t < targets.size(); ++t)
      if (adjoints[t]) {
        found[std::size_t(places[t])] = int(cotangents++);
        outputs.push_back(adjoints[t]);
      }
    inputs.insert(inputs.end(), seeds.begin(), seeds.end());
  }
  recording.trace().close();
  Program program = program_of(recording.trace(), inputs, outputs, recording.renamed());
  for (const auto& [id, x] : program.constants)
    if (x.is_abstract())
      fail(ErrorKind::trace, "compile: the call uses a traced value of another trace; pass it as an argument");
  std::optional<Pull> pull;
  if (!ends.empty()) {
    pull = cut_pull(program, middle, recording, arguments.size(), seeds.size(), cotangents);
    pull->results = with_history;
    pull->found = found;
  }
  std::optional<Limit> within;
  if (limit) {
    const auto& [bytes, flops, bandwidth, disk] = *limit;
    within = Limit{.bytes = bytes, .flops = flops, .bandwidth = bandwidth, .disk = disk_of(disk)};
    for (const Var& x : arguments)
      if (!x.array().is_contiguous()) within->taken += x.array().size() * itemsize(x.dtype());
  }
  auto replay = std::make_shared<Replay>(std::move(program), recording, arguments.size(), results, std::move(pull), within,
                                         exact);
  return py::make_tuple(result, replay);
}

// The cheapest persistent schedule of a chain: (seconds, [(operation, stage)]), or None where `limit` bytes
// do not do. Stages are (forward, backward, full, forward_room, backward_room).
py::object chain_schedule(const std::vector<std::tuple<double, double, int64_t, int64_t, int64_t>>& stages,
                          std::vector<int64_t> states, std::vector<int64_t> cotangents, int64_t limit, int64_t slots) {
  Chain chain;
  for (const auto& [forward, backward, full, forward_room, backward_room] : stages) {
    chain.forward.push_back(forward);
    chain.backward.push_back(backward);
    chain.full.push_back(full);
    chain.forward_room.push_back(forward_room);
    chain.backward_room.push_back(backward_room);
  }
  chain.state = std::move(states);
  chain.cotangent = std::move(cotangents);
  const ChainSchedules schedules(std::move(chain), limit, slots);
  const std::optional<double> seconds = schedules.seconds(limit);
  if (!seconds) return py::none();
  constexpr const char* names[] = {"keep_all", "keep_input", "drop_input", "reverse"};
  py::list out;
  for (const ChainOp& op : schedules.schedule(limit)) out.append(py::make_tuple(names[op.kind], op.stage));
  return py::make_tuple(*seconds, out);
}

}  // namespace

void bind_compile(py::module_& m) {
  py::class_<Replay, std::shared_ptr<Replay>>(m, "_Replay")
      .def("fits", &Replay::fits)
      .def("overlaps", [](const Replay& r, const List& arguments) { return r.overlaps(arguments); })
      .def_property_readonly("repeats", &Replay::repeats)
      .def_property_readonly("reads_differentiated", &Replay::reads_differentiated)
      .def("run_many", [](Replay& r, const List& arguments, const std::vector<bool>& stacked, int64_t steps) {
        return r.run_many(arguments, stacked, steps);
      })
      .def_property_readonly("simplified", [](const Replay& r) {
        const Simplified& counts = r.rewritten().simplified;
        return py::make_tuple(counts.identities, counts.repeated, counts.unused);
      })
      .def_property_readonly("rewritten", [](const Replay& r) {
        const Rewritten& counts = r.rewritten();
        return py::make_tuple(counts.neutral, counts.narrowed, counts.transposed, counts.placed, counts.summed,
                              counts.joined, counts.signs, counts.slopes, counts.trailing, r.stacked(), counts.rerolled);
      })
      .def_property_readonly("exact", &Replay::exact)
      .def_property_readonly("hoisted", &Replay::hoisted)
      .def_property_readonly("costs", [](const Replay& r) { return costs_object(r.executor().costs()); })
      .def("profile", [](Replay& r, const List& arguments, int repeats) {
        return costs_object(r.profile(arguments, repeats));
      })
      .def_property_readonly("has_pull", &Replay::has_pull)
      .def("run_followed", [](Replay& r, const List& arguments, const std::string& name, py::function f, py::object owner) {
        return r.run_followed(arguments, name, std::move(f), std::move(owner));
      })
      .def("run", [](Replay& r, const List& arguments) { return r.run(arguments); })
      .def_property_readonly("program", [](const Replay& r) { return r.program(); })
      .def_property_readonly("recorded", [](const Replay& r) { return r.before(); })
      .def_property_readonly("live_bytes", [](const Replay& r) { return r.executor().live_bytes(); })
      .def_property_readonly("arena_bytes", [](const Replay& r) { return r.executor().arena_bytes(); })
      .def_property_readonly("schedule", scheduled_object)
      .def_property_readonly("pull_bytes", &Replay::pull_bytes)
      .def("curve", [](const Replay& r, double flops, double bandwidth, const DiskGiven& disk) {
        py::list out;
        for (const CurvePoint& point : r.curve({.bytes = 0, .flops = flops, .bandwidth = bandwidth, .disk = disk_of(disk)}))
          out.append(py::make_tuple(point.bytes, point.seconds, point.name));
        return out;
      }, py::arg("flops"), py::arg("bandwidth"), py::arg("disk") = py::none())
      .def_property_readonly("units", [](const Replay& r) { return r.executor().units(); });
  bind_fast_call(m);
  m.def("_record", record);
  m.def("_chain_schedule", chain_schedule);
  m.def("_number", [](py::handle number) { return number_argument(number.ptr()); });
  // A traced integer as such a number, with which Python's arithmetic goes on.
  m.def("_as_number", [](const Var& x) {
    static const Op& alias = find_op("alias");
    const Var y = apply(alias, {&x, 1});
    y->weak = true;
    return y;
  });
  m.def("_is_number", [](const Var& x) { return x->weak && x.dtype() != DType::bool_; });
  // Whether a transform around the call may follow what it reads.
  m.def("_within_transform", within_transform);
  // Whether a recording has failed so because it read what a transform around it differentiates by.
  m.def("_is_of_followed_history", [](const std::string& error) {
    return modes().followed > 0 && !error.empty() && error == Recording::history_error();
  });
  m.def("_recording", [] { return Recording::current() != nullptr; });
}

}  // namespace wengert::bindings
