#include "program/order.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace wengert {

Storage storage_of(const Program& program) {
  const std::vector<Array> arrays = lay_out(program);
  Storage out;
  const std::size_t count = program.types.size();
  Homes homes = homes_of(program, arrays);
  out.home = std::move(homes.of);
  out.bytes.assign(homes.count, 0);
  out.maker.assign(homes.count, -1);
  out.fixed.assign(homes.count, false);
  out.values.resize(homes.count);
  out.maker_of.assign(count, -1);
  out.is_view.assign(program.steps.size(), false);
  auto add = [&](ValueId id) {
    const auto buffer = std::size_t(out.home[std::size_t(id)]);
    if (out.values[buffer].empty()) out.bytes[buffer] = int64_t(arrays[std::size_t(id)].buffer()->bytes);
    out.values[buffer].push_back(id);
    return buffer;
  };
  auto outside = [&](std::size_t buffer) {
    out.fixed[buffer] = true;
    out.bytes[buffer] = 0;
  };
  for (const ValueId id : program.inputs) outside(add(id));
  for (const auto& [id, x] : program.constants) outside(add(id));
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    out.is_view[s] = is_view(step, arrays);
    for (const ValueId id : step.outs) {
      const std::size_t buffer = add(id);
      out.maker_of[std::size_t(id)] = int32_t(s);
      if (out.is_view[s]) continue;
      out.maker[buffer] = int32_t(s);
      out.fixed[buffer] = bool(step.own_op);
    }
  }
  for (const ValueId id : program.outputs) outside(std::size_t(out.home[std::size_t(id)]));
  return out;
}

Order order_of(std::size_t steps) {
  Order out;
  for (std::size_t s = 0; s < steps; ++s) out.push_back({uint32_t(s)});
  return out;
}

Peak peak_of(const Program& program, const Storage& storage, const Order& order) {
  // A copy of a buffer lives from the entry that makes it to the last that reads it.
  std::vector<int32_t> copy_of_value(program.types.size(), -1);
  std::vector<int32_t> buffer_of_copy;
  std::vector<std::size_t> last, born;
  auto new_copy = [&](std::size_t buffer, std::size_t at) {
    buffer_of_copy.push_back(int32_t(buffer));
    born.push_back(at);
    last.push_back(at);
    return int32_t(buffer_of_copy.size()) - 1;
  };
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (const auto [buffer, move] = order[i]; move != Transfer::none) {
      int32_t& copy = copy_of_value[std::size_t(storage.values[buffer][0])];
      if (move == Transfer::fetch) copy = new_copy(buffer, i);
      else last[std::size_t(copy)] = i;
      continue;
    }
    const Step& step = program.steps[order[i].number];
    for (const ValueId id : step.ins)
      if (const int32_t copy = copy_of_value[std::size_t(id)]; copy >= 0) last[std::size_t(copy)] = i;
    for (const ValueId id : step.outs) {
      const auto buffer = std::size_t(storage.home[std::size_t(id)]);
      if (storage.is_view[order[i].number]) {
        copy_of_value[std::size_t(id)] = copy_of_value[std::size_t(step.ins[0])];
        continue;
      }
      const int32_t made = new_copy(buffer, i);
      if (int32_t& copy = copy_of_value[std::size_t(id)]; copy < 0 || !storage.fixed[buffer]) copy = made;
    }
  }
  std::vector<int64_t> change(order.size() + 1, 0);
  for (std::size_t c = 0; c < buffer_of_copy.size(); ++c) {
    const int64_t bytes = storage.bytes[std::size_t(buffer_of_copy[c])];
    change[born[c]] += bytes;
    change[last[c] + 1] -= bytes;
  }
  Peak out;
  int64_t live = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    live += change[i];
    if (live > out.bytes) out = {live, i};
  }
  return out;
}

Program carry_out(const Program& program, const Storage& storage, const Order& order, const std::string& directory) {
  Program out;
  out.types = program.types;
  out.inputs = program.inputs;
  out.constants = program.constants;
  out.steps.reserve(order.size());
  uint32_t regions = 0;
  for (const Step& step : program.steps) regions = std::max(regions, step.region + 1);
  // From the first repetition on, what is carried out for the first time has other regions too: it
  // would be drawn to steps before it, and with it the end of what it reads.
  uint32_t next_region = 2 * regions;
  std::vector<ValueId> now(program.types.size());
  std::iota(now.begin(), now.end(), ValueId(0));
  std::vector<bool> done(program.steps.size(), false);
  bool repeating = false, repeated = false;
  std::vector<ValueId> written(storage.bytes.size(), -1);  // what says that a buffer is on disk, or on its way
  std::vector<int64_t> slots(storage.bytes.size(), -1);
  int64_t next_slot = 0;
  auto move = [&](Transfer::Kind kind, std::size_t buffer) {
    const auto x = std::size_t(storage.values[buffer][0]);
    const Step& maker = program.steps[std::size_t(storage.maker[buffer])];
    if (kind == Transfer::spill) slots[buffer] = next_slot++;
    const Op& op = transfer_op(kind);
    Step step{.op = &op, .attrs = make_attrs(op, {{"slot", slots[buffer]}, {"directory", directory}}), .ins = {},
              .outs = {}, .source = maker.source, .region = maker.region};
    if (kind != Transfer::fetch) step.ins.push_back(now[x]);
    if (kind != Transfer::spill) step.ins.push_back(written[buffer]);
    const ValueId made = out.new_value(kind == Transfer::fetch ? program.types[x] : Type{DType::uint8, {0}});
    step.outs = {made};
    (kind == Transfer::fetch ? now[x] : written[buffer]) = made;
    repeated = repeated || kind == Transfer::fetch;
    out.steps.push_back(std::move(step));
  };
  for (const auto& [s, kind] : order) {
    if (kind != Transfer::none) {
      move(kind, s);
      continue;
    }
    Step step = program.steps[s];
    for (ValueId& id : step.ins) id = now[std::size_t(id)];
    if (done[s]) {
      if (!repeating) ++next_region;
      repeating = repeated = true;
      step.region = next_region;
      step.tracked = false;
      for (ValueId& id : step.outs) {
        const auto was = std::size_t(id);
        id = out.new_value(program.types[was]);
        if (storage.is_view[s] || !storage.fixed[std::size_t(storage.home[was])]) now[was] = id;
      }
    } else {
      repeating = false;
      if (repeated) step.region += regions;
      done[s] = true;
    }
    out.steps.push_back(std::move(step));
  }
  for (const ValueId id : program.outputs) out.outputs.push_back(now[std::size_t(id)]);
  return out;
}

OrderMaker::OrderMaker(const Program& program, const Storage& storage)
    : program_(program), storage_(storage), there_(program.types.size(), false), on_disk_(storage.bytes.size(), false) {
  for (std::size_t id = 0; id < there_.size(); ++id) there_[id] = storage.maker_of[id] < 0;
}

void OrderMaker::forget(int32_t buffer) {
  for (const ValueId id : storage_.values[std::size_t(buffer)]) there_[std::size_t(id)] = false;
}

void OrderMaker::give_up(int32_t buffer) {
  if (!storage_.fixed[std::size_t(buffer)]) forget(buffer);
}

void OrderMaker::spill(int32_t buffer) { order_.push_back({uint32_t(buffer), Transfer::spill}); }

void OrderMaker::end_spill(int32_t buffer) { order_.push_back({uint32_t(buffer), Transfer::end_spill}); }

void OrderMaker::leave_on_disk(int32_t buffer) {
  on_disk_[std::size_t(buffer)] = true;
  forget(buffer);
}

void OrderMaker::want(int32_t buffer) {
  for (const ValueId id : storage_.values[std::size_t(buffer)])
    if (!there_[std::size_t(id)] && !storage_.is_view[std::size_t(storage_.maker_of[std::size_t(id)])])
      make(std::size_t(storage_.maker_of[std::size_t(id)]));
}

void OrderMaker::run(std::size_t first, std::size_t last) {
  for (std::size_t s = first; s < last; ++s) make(s);
}

bool OrderMaker::fetched(ValueId id) const {
  return on_disk_[std::size_t(storage_.home[std::size_t(id)])] &&
         !storage_.is_view[std::size_t(storage_.maker_of[std::size_t(id)])];
}

void OrderMaker::make(std::size_t step) {
  pending_.assign(1, step);
  while (!pending_.empty()) {
    const std::size_t s = pending_.back();
    const std::size_t before = pending_.size();
    ++looked_;
    for (const ValueId id : program_.steps[s].ins)
      if (!there_[std::size_t(id)] && !fetched(id)) pending_.push_back(std::size_t(storage_.maker_of[std::size_t(id)]));
    if (pending_.size() > before) {  // in the order of the program
      std::sort(pending_.begin() + std::ptrdiff_t(before), pending_.end(), std::greater<>());
      continue;
    }
    pending_.pop_back();
    bool wanted = s == step;
    for (const ValueId id : program_.steps[s].outs) wanted = wanted || !there_[std::size_t(id)];
    if (!wanted) continue;  // asked for twice
    for (const ValueId id : program_.steps[s].ins)
      if (!there_[std::size_t(id)]) {
        order_.push_back({uint32_t(storage_.home[std::size_t(id)]), Transfer::fetch});
        there_[std::size_t(id)] = true;
      }
    order_.push_back({uint32_t(s)});
    for (const ValueId id : program_.steps[s].outs) there_[std::size_t(id)] = true;
  }
}

}  // namespace wengert
