#include "runtime/budgeted.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <unordered_map>

namespace wengert {
namespace {

// One run of a step's kernel on zeros; what it takes, or nothing where zeros are no good to it.
std::optional<double> time_of(const Program& program, const Step& step) {
  using Clock = std::chrono::steady_clock;
  auto zeros = [&](std::span<const ValueId> ids) {
    std::vector<Array> out;
    for (const ValueId id : ids) {
      const Type& type = program.types[std::size_t(id)];
      out.push_back(Array::empty(type.dtype, type.shape));
      std::memset(out.back().raw(), 0, std::size_t(out.back().size()) * std::size_t(itemsize(type.dtype)));
    }
    return out;
  };
  const std::vector<Array> ins = zeros({step.ins.data(), step.ins.size()});
  std::vector<Array> outs = zeros({step.outs.data(), step.outs.size()});
  double best = 0;
  for (int run = 0; run < 2; ++run) {
    const auto start = Clock::now();
    try {
      step.op->kernel({.in = ins, .out = outs, .attrs = step.attrs});
    } catch (const Error&) {
      return {};
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = run == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

// Seconds of each step: measured once for each kind of operation, attributes and types, while that takes
// no more than a moment; else from what the machine does at best.
std::vector<double> seconds_of(const Program& program, const Limit& limit) {
  constexpr double moment = 0.3;
  const Storage storage = storage_of(program);
  std::vector<double> out = roofline(program, storage, limit.flops, limit.bandwidth);
  std::unordered_map<std::size_t, std::vector<std::size_t>> known;
  double spent = 0;
  auto alike = [&](const Step& a, const Step& b) {
    return a.op == b.op && a.attrs == b.attrs &&
           program.types_of({a.ins.data(), a.ins.size()}) == program.types_of({b.ins.data(), b.ins.size()});
  };
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    if (storage.is_view[s] || step.own_op || !step.op->kernel) continue;
    std::size_t hash = std::hash<const void*>()(step.op) ^ step.attrs.hash();
    for (const ValueId id : step.ins)
      hash = hash * 1000003u ^ std::size_t(numel(program.types[std::size_t(id)].shape));
    auto& same = known[hash];
    const auto found = std::find_if(same.begin(), same.end(), [&](std::size_t t) { return alike(program.steps[t], step); });
    if (found != same.end()) {
      out[s] = out[*found];
      continue;
    }
    same.push_back(s);
    if (spent + 4 * out[s] > moment) continue;
    const auto seconds = time_of(program, step);
    if (!seconds) continue;
    spent += 3 * *seconds;
    out[s] = *seconds;
  }
  return out;
}

// The steps that make new values of inputs, and what reads those: they come when nothing can fail any more.
std::vector<bool> changing(const Program& program, const std::vector<Update>& updates) {
  std::vector<bool> value(program.types.size(), false), out(program.steps.size(), false);
  for (const Update& update : updates) value[std::size_t(program.outputs[update.output])] = true;
  for (std::size_t s = 0; s < out.size(); ++s) {
    const Step& step = program.steps[s];
    for (const ValueId id : step.outs) out[s] = out[s] || value[std::size_t(id)];
    for (const ValueId id : step.ins) out[s] = out[s] || value[std::size_t(id)];
    if (out[s])
      for (const ValueId id : step.outs) value[std::size_t(id)] = true;
  }
  return out;
}

Fitter fitter_of(const Program& program, const std::vector<Update>& updates, const Limit& limit) {
  std::optional<OnDisk> on_disk;
  if (limit.disk) on_disk = OnDisk{*limit.disk, changing(program, updates)};
  return Fitter(program, seconds_of(program, limit),
                [&updates, taken = limit.taken](const Program& planned, int64_t enough) {
                  const int64_t left = enough < 0 ? -1 : std::max<int64_t>(enough - taken, 0);
                  return taken + Executor::planned(planned, updates, left).bytes;
                },
                std::move(on_disk));
}

// Values that the order makes again or has on disk, and those that others could have given up but that stay.
void describe(const Fitter& fitter, const Order& order, const Limit& limit, Scheduled& out) {
  const Program& program = fitter.program();
  const Storage& storage = fitter.storage();
  std::vector<int64_t> times(program.steps.size(), -1);
  std::vector<bool> on_disk(storage.bytes.size(), false), given_up(storage.bytes.size(), false);
  for (const auto& [number, move] : order) {
    if (move == Transfer::none) ++times[number];
    if (move == Transfer::spill) on_disk[number] = true;
    if (move == Transfer::spill) out.moving += limit.disk->to_write(storage.bytes[number]);
    if (move == Transfer::fetch) out.moving += limit.disk->to_read(storage.bytes[number]);
  }
  for (const int32_t b : fitter.across_peak()) given_up[std::size_t(b)] = true;
  for (std::size_t b = 0; b < storage.bytes.size(); ++b) {
    const int32_t maker = storage.maker[b];
    if (maker < 0 || !(on_disk[b] || (!storage.fixed[b] && (times[std::size_t(maker)] > 0 || given_up[b])))) continue;
    const Step& step = program.steps[std::size_t(maker)];
    out.values.push_back({step.op->name, program.types[std::size_t(storage.values[b][0])], storage.bytes[b],
                          times[std::size_t(maker)], step.source, on_disk[b]});
  }
  for (std::size_t s = 0; s < times.size(); ++s) out.flops += times[s] * program.flops(program.steps[s]);
}

}  // namespace

int64_t least_within(const Program& program, const std::vector<Update>& updates, const Limit& limit) {
  return fitter_of(program, updates, limit).least();
}

Scheduled keep_within(Program& program, const std::vector<Update>& updates, const Limit& limit) {
  Fitter fitter = fitter_of(program, updates, limit);
  const std::optional<Fit> found = fitter.fit(limit.bytes);
  if (!found) {
    const int64_t least = std::max(fitter.least(), limit.least);
    fail(ErrorKind::argument, "compile: a memory_budget of ", limit.bytes, " bytes is too small: this call needs ", least,
         " bytes at least");
  }
  Scheduled out;
  out.name = found->name;
  out.limit = limit.bytes;
  out.before = fitter.most();
  out.after = found->bytes;
  out.seconds = found->seconds;
  out.plans = fitter.plans();
  out.looked = fitter.looked();
  describe(fitter, found->order, limit, out);
  program = carry_out(program, fitter.storage(), found->order, limit.disk ? limit.disk->directory : std::string());
  return out;
}

std::vector<CurvePoint> memory_curve(const Program& program, const std::vector<Update>& updates, const Limit& limit) {
  Fitter fitter = fitter_of(program, updates, limit);
  std::vector<CurvePoint> out;
  for (const Fit& fit : fitter.curve())
    out.push_back({fit.bytes, fitter.own_seconds() + fit.seconds, fit.name});
  return out;
}

}  // namespace wengert
