#include "runtime/scan.h"

#include <algorithm>

#include "graph/tape.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"
#include "runtime/checkpointed.h"
#include "runtime/scan_op.h"

namespace wengert {
namespace {

void run_scan(const Scan& op, const Call& call) {
  std::vector<Array> inputs(call.in.begin(), call.in.end()), outputs(call.out.begin(), call.out.end());
  for (std::size_t k = 0; k < op.body.carry; ++k) {
    kernels::copy(inputs[op.body.constants + k], outputs[k]);
    inputs[op.body.constants + k] = outputs[k];
    outputs[k] = Array();
  }
  std::vector<bool> rows(std::max<std::size_t>(inputs.size(), 1), false);
  for (std::size_t i = 0; i < inputs.size(); ++i) rows[i] = op.is_row(i);
  op.pool->with([&](Executor& executor) { executor.run(inputs, outputs, rows, 0, op.length, op.backwards); });
}

struct RunScan {
  const Scan* op;
  void operator()(const Call& call) const { run_scan(*op, call); }
};

Vars joint_adjoint(const Scan& op, const Rule& r) {
  // A sweep that is itself recorded makes what is kept anew, so that no cotangent meets it here.
  std::vector<Var> kept(r.outs.begin(), r.outs.end());
  if (modes().grad_enabled) {
    const Vars again = scan(op.body, r.ins, op.length, op.backwards);
    kept.assign(again.begin(), again.end());
  }
  ReverseBody reverse = reverse_body(op);
  std::vector<Var> constants, carry, rows;
  for (std::size_t j = 0; j < op.shown; ++j) {
    if (!is_float(r.out_types[j].dtype)) continue;
    const Var g = r.gs[j] ? r.gs[j] : zeros(r.out_types[j]);
    (j < op.body.carry ? carry : rows).push_back(g);
  }
  for (const std::size_t input : reverse.sums) carry.push_back(zeros(*r.in_types[input]));
  for (const Crossing& c : op.crossing) {
    if (c.kind == Crossing::constant) constants.push_back(r.ins[c.place]);
    else rows.push_back(c.kind == Crossing::row ? r.ins[c.place] : kept[c.place]);
  }
  std::vector<Var> inputs = constants;
  inputs.insert(inputs.end(), carry.begin(), carry.end());
  inputs.insert(inputs.end(), rows.begin(), rows.end());
  const Vars found = scan(std::move(reverse.body), inputs, op.length, !op.backwards);
  Vars out(r.ins.size());
  std::size_t next = 0;
  for (const auto* part : {&reverse.carries, &reverse.sums, &reverse.rows})
    for (const std::size_t input : *part) out[input] = found[next++];
  return out;
}

Vars apply_scan(std::shared_ptr<Scan> op, std::span<const Var> inputs) {
  Scan* self = op.get();
  op->name = "scan";
  op->inputs = {"*tensors"};
  op->infer = [self](std::span<const Type>, const Attrs&) {
    Types out;
    const Program& program = self->body.program;
    for (std::size_t j = 0; j < program.outputs.size(); ++j) {
      const Type& type = program.types[std::size_t(program.outputs[j])];
      out.push_back(j < self->body.carry ? type : stacked(type, self->length));
    }
    return out;
  };
  op->kernel = RunScan{self};
  op->flops = [self](std::span<const Type>, std::span<const Type>) {
    return self->body.program.flops() * self->length;
  };
  op->is_long = op->body.program.is_long(op->length);
  op->calls_out = op->body.program.calls_out();
  op->may_raise = any_may_fail(op->body.program);
  // Where it is carried out again what it keeps is shown, and other inputs may want gradients.
  const auto again = [self](std::span<const Var> in) {
    return scan(self->body, in, self->length, self->backwards, self->checkpoint);
  };
  if (op->pulled) op->joint_adjoint = [self](const Rule& r) { return joint_adjoint(*self, r); };
  else op->followed = again;
  op->tangent = [self](const Rule& r) { return scan_tangent(*self, r); };
  op->batch = [self](const Batched& b) { return scan_batch(*self, b); };
  op->converts = true;
  op->self = op;
  Vars outs = apply_all(*op, inputs);
  op->followed = again;
  Vars shown(outs.begin(), outs.begin() + std::ptrdiff_t(op->shown));
  return shown;
}

}  // namespace

std::optional<ScanParts> as_scan(const Op& op) {
  const RunScan* run = op.kernel.target<RunScan>();
  if (!run) return {};
  return ScanParts{run->op->body, run->op->length, run->op->backwards};
}

Vars scan(ScanBody body, std::span<const Var> inputs, int64_t length, bool backwards, const Checkpoint& checkpoint) {
  auto op = std::make_shared<Scan>();
  op->body = std::move(body);
  op->length = length;
  op->backwards = backwards;
  op->checkpoint = checkpoint;
  op->shown = op->body.program.outputs.size();
  if (keeps_values(inputs)) {
    prepare_reverse(*op, inputs);
    if (checkpoint.kind != Checkpoint::all && length > 0) return checkpointed_scan(*op, inputs);
  }
  // The carry is changed where it stands.
  std::vector<Update> updates;
  for (std::size_t k = 0; k < op->body.carry; ++k) updates.push_back({op->body.constants + k, k});
  op->pool = std::make_unique<ExecutorPool>(op->body.program, std::move(updates));
  return apply_scan(std::move(op), inputs);
}

}  // namespace wengert
