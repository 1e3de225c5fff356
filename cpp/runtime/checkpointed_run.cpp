#include "runtime/checkpointed_run.h"

#include <algorithm>
#include <chrono>

#include "base/interrupt.h"
#include "kernels/copy.h"

namespace wengert {
namespace {

std::vector<Update> carry_updates(const Loop& loop) {
  std::vector<Update> out;
  for (std::size_t k = 0; k < loop.forward.carry; ++k) out.push_back({loop.forward.constants + k, k});
  return out;
}

Program with_outputs(Program program, std::size_t count) {
  program.outputs.resize(count);
  return program;
}

int64_t row_at(const Loop& loop, int64_t step) { return loop.backwards ? loop.length - 1 - step : step; }

// Steps first ... last - 1; the executor changes the carry where it stands.
void run_steps(const Loop& loop, Executor& executor, std::span<const Array> inputs, std::span<const Array> outputs,
               int64_t first, int64_t last) {
  std::vector<bool> rows(std::max<std::size_t>(inputs.size(), 1), false);
  for (std::size_t i = 0; i < inputs.size(); ++i) rows[i] = loop.is_row(i);
  const int64_t low = loop.backwards ? loop.length - last : first, high = loop.backwards ? loop.length - first : last;
  executor.run(inputs, outputs, rows, low, high, loop.backwards);
}

// An executor copies what is not contiguous each time it is bound: done once here.
void settle(Array& x, Array& room) {
  if (x.is_contiguous()) return;
  if (!(room.has_data() && room.type() == x.type())) room = Array::empty(x.dtype(), x.shape());
  kernels::copy(x, room);
  x = room;
}

}  // namespace

ForwardRun::ForwardRun(const Loop& loop)
    : loop_(loop), first_(with_outputs(loop.forward.program, loop.shown), carry_updates(loop)),
      last_(loop.forward.program, carry_updates(loop)) {}

void ForwardRun::operator()(const Call& call) {
  rooms_.with([&] { return std::make_unique<Room>(); }, [&](Room& room) {
    first_.with([&](Executor& first) { last_.with([&](Executor& last) { run(call, room, first, last); }); });
  });
}

// Where this record's states go on disk, if the loop has more than memory holds; null: nowhere.
std::shared_ptr<AsideStates> ForwardRun::disk_states(const Record& record, double step_seconds) {
  const Checkpoint& given = loop_.checkpoint;
  if (given.disk == 0 || loop_.slots >= loop_.length - 2) return nullptr;
  return disk_->enter(record, [&] {
    auto states = std::make_shared<AsideStates>(loop_);
    states->file.emplace(given.directory, states->types);
    TransferCost cost{given.write_cost, given.read_cost};
    if (cost.write < 0 || cost.read < 0) {
      const auto [write, read] = states->file->measure();
      const double step = std::max(step_seconds, 1e-9);
      if (cost.write < 0) cost.write = write / step;
      if (cost.read < 0) cost.read = read / step;
    }
    states->plan.emplace(loop_.length, loop_.slots, given.disk, cost);
    return states;
  });
}

void ForwardRun::run(const Call& call, Room& room, Executor& first, Executor& last) {
  const std::size_t first_carry = loop_.forward.constants, carry = loop_.forward.carry;
  std::vector<Array> inputs(call.in.begin(), call.in.end());
  std::vector<Array> outputs(call.out.begin(), call.out.begin() + std::ptrdiff_t(loop_.shown));
  const Record record(call.out[loop_.shown]);
  record.clear();
  record.length() = loop_.length;
  room.copies.resize(inputs.size());
  for (std::size_t k = 0; k < carry; ++k) {
    kernels::copy(inputs[first_carry + k], outputs[k]);
    inputs[first_carry + k] = outputs[k];
    outputs[k] = Array();
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) settle(inputs[i], room.copies[i]);
  const std::span<const Array> state(inputs.data() + first_carry, carry);
  const int64_t end = loop_.length - 1;  // the last step is kept whole, its state is not stored
  int64_t at = 0;
  double seconds = 0;
  if (loop_.checkpoint.measures())  // the first step also warms up
    for (; at < std::min<int64_t>(end, 2); ++at) {
      const auto start = std::chrono::steady_clock::now();
      run_steps(loop_, first, inputs, outputs, at, at + 1);
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  const std::shared_ptr<AsideStates> disk = disk_states(record, seconds);
  LoopStates& states = room.states;
  states.begin({call.out.begin() + std::ptrdiff_t(loop_.shown + 1), call.out.begin() + std::ptrdiff_t(loop_.shown + 1 + carry)},
               loop_.slots, disk);
  for (int64_t from = 0; from < end;) {
    const LoopStates::Move move = states.next(from, loop_.length);
    const int64_t to = std::max(from + move.steps, at);
    run_steps(loop_, first, inputs, outputs, std::max(from, at), to);
    from = to;
    if (from == end) break;
    if (move.store != LoopStates::nowhere) states.store(from, move.store, state);
  }
  states.write(record);
  states.end();
  const int64_t row = row_at(loop_, end);
  for (std::size_t i = first_carry + carry; i < inputs.size(); ++i) inputs[i] = row_of(inputs[i], row);
  for (std::size_t j = carry; j < outputs.size(); ++j) outputs[j] = row_of(outputs[j], row);
  for (std::size_t k = 0; k < loop_.kept(); ++k) outputs.push_back(call.out[loop_.shown + 1 + carry + k]);
  last.run(inputs, outputs);
}

OnlineRun::OnlineRun(const Loop& loop)
    : loop_(loop), test_(*loop.test), body_(with_outputs(loop.forward.program, loop.shown), carry_updates(loop)) {}

void OnlineRun::operator()(const Call& call) {
  rooms_.with([&] { return std::make_unique<Room>(); }, [&](Room& room) {
    test_.with([&](Executor& test) { body_.with([&](Executor& body) { run(call, room, test, body); }); });
  });
}

void OnlineRun::run(const Call& call, Room& room, Executor& test, Executor& body) {
  const std::size_t first_carry = loop_.forward.constants, carry = loop_.forward.carry;
  std::vector<Array> inputs(call.in.begin(), call.in.end());
  const Record record(call.out[carry]);
  record.clear();
  room.copies.resize(inputs.size());
  for (std::size_t k = 0; k < carry; ++k) {
    kernels::copy(inputs[first_carry + k], call.out[k]);
    inputs[first_carry + k] = call.out[k];
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) settle(inputs[i], room.copies[i]);
  LoopStates& states = room.states;
  states.begin({}, loop_.slots, states_->enter(record, [&] { return std::make_shared<AsideStates>(loop_); }));
  const std::vector<Array> no_outputs(carry), answers{room.answer};
  int64_t step = 0;
  InterruptPoll poll(test.work() + body.work());
  while (true) {
    test.run(inputs, answers);
    if (!*room.answer.data<bool>()) break;
    if (step > 0) states.arrive(step, {inputs.data() + first_carry, carry});
    body.run(inputs, no_outputs);
    ++step;
    poll.after(1);
  }
  record.length() = step;
  states.write(record);
  states.end();
}

int64_t ForwardRun::working_bytes() {
  int64_t bytes = 0;
  for (ExecutorPool* pool : {&first_, &last_}) pool->with([&](Executor& executor) { bytes += executor.bytes(); });
  return bytes;
}

ReverseRun::ReverseRun(const Loop& loop)
    : loop_(loop),
      tail_(loop.reverse.program,
            [&] {
              std::vector<Update> out;
              for (std::size_t k = 0; k < loop.reverse.carry; ++k) out.push_back({loop.reverse.constants + k, k});
              return out;
            }()),
      advance_(with_outputs(loop.forward.program, loop.forward.carry), carry_updates(loop)),
      both_(loop.both,
            [&] {
              std::vector<Update> out;
              for (std::size_t k = 0; k < loop.reverse.carry; ++k)
                out.push_back({loop.forward.constants + loop.forward.carry + k, k});
              return out;
            }()),
      unread_(loop.both.outputs.size() - loop.reverse.program.outputs.size()) {}

std::unique_ptr<ReverseRun::Room> ReverseRun::make_room() const {
  auto room = std::make_unique<Room>();
  const Program &both = both_.program(), &forward = loop_.forward.program;
  auto empty_like = [](const Type& type) { return Array::empty(type.dtype, type.shape); };
  for (std::size_t k = 0; k < loop_.forward.carry; ++k) room->state.push_back(empty_like(loop_.type_of(forward, k)));
  for (std::size_t j = 0; j < unread_; ++j)
    room->scratch.push_back(empty_like(loop_.type_of(both, loop_.reverse.program.outputs.size() + j)));
  room->copies.resize(loop_.inputs());
  return room;
}

int64_t ReverseRun::working_bytes() {
  int64_t bytes = 0;
  for (ExecutorPool* pool : {&tail_, &advance_, &both_}) pool->with([&](Executor& executor) { bytes += executor.bytes(); });
  rooms_.with([&] { return make_room(); }, [&](Room& room) {
    for (const auto* arrays : {&room.state, &room.scratch})
      for (const Array& x : *arrays) bytes += x.size() * itemsize(x.dtype());
  });
  return bytes;
}

void ReverseRun::operator()(const Call& call) {
  rooms_.with([&] { return make_room(); }, [&](Room& room) {
    tail_.with([&](Executor& tail) {
      advance_.with([&](Executor& advance) {
        both_.with([&](Executor& both) { run(call, room, tail, advance, both); });
      });
    });
  });
}

void ReverseRun::run(const Call& call, Room& room, Executor& tail, Executor& advance, Executor& both) {
  const std::size_t n = loop_.inputs(), carry = loop_.forward.carry, first_carry = loop_.forward.constants,
                    first_row = first_carry + carry, first_kept = n + 1 + loop_.stacks();
  std::vector<Array> inputs(call.in.begin(), call.in.begin() + std::ptrdiff_t(n));
  for (std::size_t i = 0; i < n; ++i) settle(inputs[i], room.copies[i]);
  const std::span<const Array> kept = call.in.subspan(first_kept, loop_.kept());
  const std::span<const Array> seeds = call.in.subspan(first_kept + loop_.kept());
  const std::span<const Array> row_seeds = seeds.subspan(loop_.carries.size());
  // The cotangents of the carry, and the sums of those of the constants, are changed where they stand.
  const std::span<const Array> running(call.out.data(), loop_.reverse.carry);
  for (std::size_t k = 0; k < running.size(); ++k) {
    if (k < loop_.carries.size()) kernels::copy(seeds[k], running[k]);
    else kernels::fill(running[k], 0);
  }
  auto outputs_at = [&](int64_t row) {
    std::vector<Array> out(running.size());
    for (std::size_t j = running.size(); j < call.out.size(); ++j) out.push_back(row_of(call.out[j], row));
    return out;
  };

  const Record record(call.in[n]);
  int64_t end = record.length();
  if (!loop_.test) {  // The last step, which was kept.
    --end;
    const int64_t row = row_at(loop_, end);
    std::vector<Array> given, rows;
    for (const Array& seed : row_seeds) rows.push_back(row_of(seed, row));
    for (const Crossing& c : loop_.crossing) {
      if (c.kind == Crossing::constant) given.push_back(inputs[c.place]);
      else rows.push_back(c.kind == Crossing::row ? row_of(inputs[c.place], row) : kept[c.place - loop_.shown]);
    }
    given.insert(given.end(), running.begin(), running.end());
    given.insert(given.end(), rows.begin(), rows.end());
    tail.run(given, outputs_at(row));
  }

  std::vector<Array> stacks(call.in.begin() + std::ptrdiff_t(n + 1), call.in.begin() + std::ptrdiff_t(first_kept));
  struct Taken {  // ends with the sweep, which uses the states up
    Record record;
    LoopStates& states;
    bool mine = record.take();
    std::shared_ptr<AsideStates> aside = mine ? AsidePool::take(record) : nullptr;
    ~Taken() {
      states.end();
      AsidePool::give_back(std::move(aside));
      if (mine) record.give_back();
    }
  } taken{record, room.states};
  if (!taken.mine)
    for (Array& x : stacks) x = Array::empty(x.dtype(), x.shape());
  if (!taken.aside && loop_.test) taken.aside = std::make_shared<AsideStates>(loop_);
  LoopStates& states = room.states;
  states.begin(std::move(stacks), loop_.slots, taken.aside);
  if (taken.mine) states.read(record);
  const std::vector<Array> initial(inputs.begin() + std::ptrdiff_t(first_carry), inputs.begin() + std::ptrdiff_t(first_row));
  std::vector<Array> advancing = inputs;
  const std::vector<Array> no_outputs(carry);
  InterruptPoll poll(both.work());
  while (end > 0) {
    if (!states.empty() && states.last().step >= end) {
      states.drop_last();
      continue;
    }
    // The nearest stored state, advanced to the last of the steps that are left.
    int64_t at = states.empty() ? 0 : states.last().step;
    std::vector<Array> state = initial;
    if (!states.empty()) states.load(state, room.state);
    if (at < end - 1) {
      for (std::size_t k = 0; k < carry; ++k) {
        if (state[k].raw() != room.state[k].raw()) kernels::copy(state[k], room.state[k]);
        state[k] = advancing[first_carry + k] = room.state[k];
      }
      while (at < end - 1) {
        const LoopStates::Move move = states.next(at, end);
        run_steps(loop_, advance, advancing, no_outputs, at, at + move.steps);
        at += move.steps;
        if (move.store != LoopStates::nowhere) states.store(at, move.store, state);
      }
    }
    const int64_t row = row_at(loop_, at);
    std::vector<Array> given(inputs.begin(), inputs.begin() + std::ptrdiff_t(first_carry));
    given.insert(given.end(), state.begin(), state.end());
    given.insert(given.end(), running.begin(), running.end());
    for (std::size_t i = first_row; i < n; ++i) given.push_back(row_of(inputs[i], row));
    for (const Array& seed : row_seeds) given.push_back(row_of(seed, row));
    std::vector<Array> outputs = outputs_at(row);
    outputs.insert(outputs.end(), room.scratch.begin(), room.scratch.end());
    both.run(given, outputs);
    end = at;
    poll.after(1);
  }
}

}  // namespace wengert
