#include "runtime/checkpointed_run.h"

#include <algorithm>

#include "kernels/copy.h"
#include "runtime/revolve.h"

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

Array row_of(const Array& x, int64_t row) {
  Shape shape = x.shape();
  Ints strides = x.strides();
  const int64_t offset = x.offset() + row * strides[0];
  shape.erase(0);
  strides.erase(0);
  return x.view(std::move(shape), std::move(strides), offset);
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

// The steps to advance through a chain before the next state is stored.
int64_t stride(int64_t length, int64_t empty) { return length < 2 ? 0 : next_stored(length, empty + 1); }

// What the loop stored, in memory that goes with it: whether a sweep is at work on it, and the step of
// the state in each slot.
class Record {
 public:
  static constexpr int64_t nothing = -1;
  explicit Record(const Array& memory) : data_(memory.data<int64_t>()), slots_(std::size_t(memory.size()) - 1) {}
  std::span<int64_t> steps() const { return {data_ + 1, slots_}; }
  void clear() const {
    data_[0] = 0;
    std::fill_n(data_ + 1, slots_, nothing);
  }
  // Sweeps on several threads may follow one loop: the first gets the states, the others begin without.
  bool take(std::mutex& guard) const {
    const std::lock_guard lock(guard);
    return !std::exchange(data_[0], 1);
  }
  void give_back(std::mutex& guard) const {
    const std::lock_guard lock(guard);
    clear();
  }

 private:
  int64_t* data_;
  std::size_t slots_;
};

}  // namespace

ForwardRun::ForwardRun(const Loop& loop)
    : loop_(loop), first_(with_outputs(loop.forward.program, loop.shown), carry_updates(loop)),
      last_(loop.forward.program, carry_updates(loop)) {}

void ForwardRun::operator()(const Call& call) {
  const std::size_t first_carry = loop_.forward.constants, carry = loop_.forward.carry;
  std::vector<Array> inputs(call.in.begin(), call.in.end());
  std::vector<Array> outputs(call.out.begin(), call.out.begin() + std::ptrdiff_t(loop_.shown));
  const std::span<const Array> states(call.out.data() + loop_.shown + 1, carry);
  Record record(call.out[loop_.shown]);
  rooms_.with([&] { return std::make_unique<std::vector<Array>>(inputs.size()); }, [&](std::vector<Array>& room) {
    for (std::size_t k = 0; k < carry; ++k) {
      kernels::copy(inputs[first_carry + k], outputs[k]);
      inputs[first_carry + k] = outputs[k];
      outputs[k] = Array();
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) settle(inputs[i], room[i]);
    int64_t at = 0, used = 0;
    const int64_t end = loop_.length - 1;  // the last step is kept whole, its state is not stored
    record.clear();
    first_.with([&](Executor& executor) {
      while (at < end) {
        const int64_t next = at + stride(loop_.length - at, loop_.slots - used);
        run_steps(loop_, executor, inputs, outputs, at, next);
        at = next;
        if (at == end) break;
        for (std::size_t k = 0; k < carry; ++k) kernels::copy(inputs[first_carry + k], row_of(states[k], used));
        record.steps()[used++] = at;
      }
    });
    const int64_t row = row_at(loop_, end);
    for (std::size_t i = first_carry + carry; i < inputs.size(); ++i) inputs[i] = row_of(inputs[i], row);
    for (std::size_t j = carry; j < outputs.size(); ++j) outputs[j] = row_of(outputs[j], row);
    for (std::size_t k = 0; k < loop_.kept(); ++k) outputs.push_back(call.out[loop_.shown + 1 + carry + k]);
    last_.with([&](Executor& executor) { executor.run(inputs, outputs); });
  });
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
  room->stored.reserve(std::size_t(loop_.slots));
  room->empty.reserve(std::size_t(loop_.slots));
  return room;
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
                    first_row = first_carry + carry;
  std::vector<Array> states(call.in.begin() + std::ptrdiff_t(n + 1), call.in.begin() + std::ptrdiff_t(n + 1 + carry));
  struct Taken {  // ends with the sweep, which uses the states up
    std::mutex& guard;
    Record record;
    bool mine = record.take(guard);
    ~Taken() { if (mine) record.give_back(guard); }
  } taken{guard_, Record(call.in[n])};
  const Record* record = taken.mine ? &taken.record : nullptr;
  if (!record)
    for (Array& x : states) x = Array::empty(x.dtype(), x.shape());
  std::vector<Array> inputs(call.in.begin(), call.in.begin() + std::ptrdiff_t(n));
  for (std::size_t i = 0; i < n; ++i) settle(inputs[i], room.copies[i]);
  const std::span<const Array> kept = call.in.subspan(n + 1 + carry, loop_.kept());
  const std::span<const Array> seeds = call.in.subspan(n + 1 + carry + loop_.kept());
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

  {  // The last step, which was kept.
    const int64_t row = row_at(loop_, loop_.length - 1);
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

  room.stored.clear();
  room.empty.clear();
  for (int64_t slot = 0; slot < loop_.slots; ++slot) {
    const int64_t step = record ? record->steps()[std::size_t(slot)] : Record::nothing;
    if (step == Record::nothing) room.empty.push_back(slot);
    else room.stored.emplace_back(step, slot);
  }
  std::sort(room.stored.begin(), room.stored.end());
  const std::vector<Array> initial(inputs.begin() + std::ptrdiff_t(first_carry), inputs.begin() + std::ptrdiff_t(first_row));
  std::vector<Array> advancing = inputs;
  const std::vector<Array> no_outputs(carry);
  for (int64_t end = loop_.length - 1; end > 0;) {
    if (!room.stored.empty() && room.stored.back().first >= end) {
      room.empty.push_back(room.stored.back().second);
      room.stored.pop_back();
      continue;
    }
    // The nearest stored state, advanced to the last of the steps that are left.
    int64_t at = room.stored.empty() ? 0 : room.stored.back().first;
    std::vector<Array> state = initial;
    if (!room.stored.empty())
      for (std::size_t k = 0; k < carry; ++k) state[k] = row_of(states[k], room.stored.back().second);
    if (at < end - 1) {
      for (std::size_t k = 0; k < carry; ++k) {
        kernels::copy(state[k], room.state[k]);
        state[k] = advancing[first_carry + k] = room.state[k];
      }
      while (at < end - 1) {
        const int64_t next = at + stride(end - at, int64_t(room.empty.size()));
        run_steps(loop_, advance, advancing, no_outputs, at, next);
        at = next;
        if (at == end - 1 || room.empty.empty()) continue;
        const int64_t slot = room.empty.back();
        room.empty.pop_back();
        for (std::size_t k = 0; k < carry; ++k) kernels::copy(state[k], row_of(states[k], slot));
        room.stored.emplace_back(at, slot);
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
  }
}

}  // namespace wengert
