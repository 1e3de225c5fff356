// What an executor does at each run: binds outside memory and carries out its units.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/interrupt.h"
#include "kernels/copy.h"
#include "kernels/tasks.h"
#include "runtime/executor.h"

namespace wengert {

void Executor::bind(std::span<const Array> inputs, std::span<const Array> outputs, const std::vector<bool>& stacked,
                    int64_t row) {
  for (const std::size_t i : loose_inputs_) bind_input(i, inputs[i], i < stacked.size() && stacked[i] ? row : 0);
  for (const std::size_t j : bound_results_) {
    const Ref<Buffer>& buffer = results_[j].buffer;
    buffer->data = static_cast<std::byte*>(outputs[j].raw()) + (stacked.empty() ? 0 : row * int64_t(buffer->bytes));
  }
  for (State& state : states_) state.home = inputs_[state.input].buffer->data;
}

// `next`: the row of the step after this one; -1: there is none.
void Executor::begin_step(std::span<const Array> outputs, int64_t row, int64_t next) {
  for (const State& state : states_) {
    if (state.before < 0) continue;
    Buffer& input = *inputs_[state.input].buffer;
    const auto bytes = int64_t(input.bytes);
    auto* rows = static_cast<std::byte*>(outputs[std::size_t(state.before)].raw());
    if (input.data == state.home && bytes) std::memcpy(rows + row * bytes, state.home, input.bytes);
    input.data = rows + row * bytes;
    state.value->data = next < 0 ? state.home : rows + next * bytes;
  }
}

void Executor::end_step() {
  for (const State& state : states_)
    if (state.before < 0) inputs_[state.input].buffer->data = state.value->data;
}

void Executor::settle_states() {
  for (const State& state : states_)
    if (const Buffer& input = *inputs_[state.input].buffer; state.before < 0 && input.bytes && input.data != state.home)
      std::memcpy(state.home, input.data, input.bytes);
}

void Executor::run(std::span<const Array> inputs, std::span<const Array> outputs,
                   const std::vector<bool>& stacked, int64_t first, int64_t last, bool backwards) {
  if (last - first <= 1) return run_piece(inputs, outputs, stacked, first, last, backwards);
  InterruptPoll poll(work_);
  while (last - first > poll.period()) {
    const int64_t own = backwards ? last - poll.period() : first;
    run_piece(inputs, outputs, stacked, own, own + poll.period(), backwards);
    (backwards ? last : first) += backwards ? -poll.period() : poll.period();
    poll.after(poll.period());
  }
  run_piece(inputs, outputs, stacked, first, last, backwards);
}

void Executor::run_piece(std::span<const Array> inputs, std::span<const Array> outputs,
                         const std::vector<bool>& stacked, int64_t first, int64_t last, bool backwards) {
  const bool rows = !stacked.empty();
  const bool moves = std::find(stacked.begin(), stacked.end(), true) != stacked.end();
  const int64_t start = backwards ? last - 1 : first, sign = backwards ? -1 : 1;
  begin_disk();
  bind(inputs, outputs, stacked, start);
  // Where a step fails, those before it have been, and all that they changed is so.
  const auto settle = [&] {
    settle_states();
    for (const std::size_t u : loose_updates_) {
      const std::size_t i = updates_[u].input;
      if (!inputs[i].is_contiguous()) kernels::copy(inputs_[i].staged, inputs[i]);
    }
  };
  try {
    for (int64_t count = first, row = start; count < last; ++count, row += sign) {
      begin_step(outputs, rows ? row : 0, count + 1 < last ? row + sign : -1);
      step();
      finish(inputs, outputs, rows, row);
      end_step();
      if (!rows) continue;
      for (std::size_t i = 0; moves && i < inputs_.size() && i < stacked.size(); ++i)
        if (stacked[i]) inputs_[i].buffer->data += sign * int64_t(inputs_[i].buffer->bytes);
      for (const std::size_t j : bound_results_)
        results_[j].buffer->data += sign * int64_t(results_[j].buffer->bytes);
    }
  } catch (...) {
    for (const State& state : states_)  // the last step may have begun to write at home
      if (const Buffer& input = *inputs_[state.input].buffer; state.before >= 0 && input.bytes && input.data != state.home)
        std::memcpy(state.home, input.data, input.bytes);
    settle();
    throw;
  }
  settle();
}

void Executor::step() {
  for (const Unit& unit : units_) run_unit(unit);
}

// What a run that failed had asked for may still be on its way, to memory of this one.
void Executor::begin_disk() {
  if (disk_moves_.empty()) return;
  if (carrier_ && carrier_->failed()) carrier_.reset();
  if (carrier_) carrier_->settle();
  else carrier_ = std::make_unique<Carrier>(directory_);
}

void Executor::run_disk(const DiskMove& move) {
  auto* memory = static_cast<std::byte*>(move.value.raw());
  const std::size_t bytes = move.value.buffer()->bytes;
  if (move.kind == DiskMove::spill) asked_[move.slot] = carrier_->write(move.slot, move.place, {memory, bytes});
  else if (move.kind == DiskMove::fetch) asked_[move.slot] = carrier_->read(move.slot, move.place, {memory, bytes});
  else carrier_->wait(asked_[move.slot]);
}

// What Python computes has the types that it was recorded with, or it ends here.
static void check_types(const Op& op, std::span<const Array> made, std::span<const Array> expected) {
  if (made.size() != expected.size())
    fail(ErrorKind::shape, op.name, ": gave ", made.size(), " results, but ", expected.size(),
         " when it was recorded: in compiled functions, loops and branches their number depends on the types of the "
         "arguments alone");
  for (std::size_t i = 0; i < made.size(); ++i)
    if (!(made[i].type() == expected[i].type()))
      fail(made[i].shape() == expected[i].shape() ? ErrorKind::dtype : ErrorKind::shape, op.name, ": gave ",
           made[i].type(), ", but ", expected[i].type(),
           " when it was recorded: in compiled functions, loops and branches the types of results depend on those of "
           "the arguments alone");
}

void Executor::run_unit(const Unit& unit) {
  if (unit.kind == Unit::group) return groups_[unit.index].run();
  if (unit.kind == Unit::pack) {
    Pack& pack = packs_[unit.index];
    if (!pack.is_fixed) find_numbers(pack);
    return pack_numbers(pack.from, static_cast<std::byte*>(pack.out.raw()), itemsize(pack.out.dtype()));
  }
  if (unit.kind == Unit::disk) return run_disk(disk_moves_[unit.index]);
  if (unit.kind == Unit::kernel) return run_kernel(kernels_[unit.index]);
  Tasks& tasks = tasks_[unit.index];
  for (const auto& [own, planned] : tasks.views) own->data = planned->data;
  parallel::run_tasks(int64_t(tasks.kernels.size()), [&](int64_t i) { run_kernel(tasks.kernels[std::size_t(i)]); });
}

void Executor::run_kernel(Kernel& kernel) try {
  if (kernel.op->evaluate) {
    Arrays given;  // Python may keep them
    for (const Array& in : kernel.ins) given.push_back(kernels::contiguous_copy(in));
    const Arrays made = kernel.op->evaluate({given.data(), given.size()});
    check_types(*kernel.op, made, kernel.outs);
    for (std::size_t i = 0; i < made.size(); ++i) kernels::copy(made[i], kernel.outs[i]);
  } else {
    kernel.op->kernel({.in = kernel.ins, .out = kernel.outs, .attrs = *kernel.attrs});
  }
} catch (Error& error) {
  if (error.kind == ErrorKind::bounds && error.source == 0) error.source = kernel.source;
  throw;
}

int64_t Executor::bytes() const {
  int64_t total = arena_bytes_;
  for (const Array& room : update_rooms_)
    if (room.has_data()) total += room.size() * itemsize(room.dtype());
  return total;
}

std::vector<UnitCost> Executor::costs() const {
  std::vector<UnitCost> out;
  for (const Unit& unit : units_) out.push_back(unit.cost);
  return out;
}

std::vector<UnitCost> Executor::profile(std::span<const Array> inputs, std::span<const Array> outputs, int repeats) {
  using Clock = std::chrono::steady_clock;
  std::vector<UnitCost> out = costs();
  for (int repeat = 0; repeat < repeats; ++repeat) {
    begin_disk();
    bind(inputs, outputs, {}, 0);
    begin_step(outputs, 0, -1);
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const auto start = Clock::now();
      run_unit(units_[u]);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      out[u].seconds = repeat == 0 ? seconds : std::min(out[u].seconds, seconds);
    }
    finish(inputs, outputs, false, 0);
    end_step();
    settle_states();
  }
  return out;
}

// Copies what was not written where it belongs: results first, as updates may overwrite them.
void Executor::finish(std::span<const Array> inputs, std::span<const Array> outputs, bool rows, int64_t row) {
  for (const std::size_t j : copied_results_) {
    const Array& value = results_[j].value;
    kernels::copy(value, rows ? outputs[j].view(value.shape(), contiguous_strides(value.shape()),
                                                outputs[j].offset() + row * value.size())
                              : outputs[j]);
  }
  for (const std::size_t u : roomed_updates_) kernels::copy(update_values_[u], update_rooms_[u]);
  for (const std::size_t u : copied_updates_) {
    const Input& own = inputs_[updates_[u].input];
    const Array& given = inputs[updates_[u].input];
    kernels::copy(update_rooms_[u].has_data() ? update_rooms_[u] : update_values_[u],
                  given.is_contiguous() ? given : own.staged);
  }
  move_numbers(moves_[0], 4);
  move_numbers(moves_[1], 8);
}

}  // namespace wengert
