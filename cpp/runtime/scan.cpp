#include "runtime/scan.h"

#include <memory>
#include <optional>

#include "graph/tangents.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"
#include "program/derive.h"
#include "runtime/executor_pool.h"

namespace wengert {
namespace {

// Where a value that the reverse sweep of a step reads comes from.
struct Crossing {
  enum Kind { constant, row, kept } kind;
  std::size_t place;  // among the constants, the rows, or what the scan keeps
};

struct Scan : Op {
  ScanBody body;
  int64_t length = 0;
  bool backwards = false;
  std::size_t shown = 0;  // outputs that the caller asked for; the rest is kept for the sweep
  // The reverse sweep of a step, if the scan is to be swept.
  std::optional<Pulled> pulled;
  std::vector<bool> wanted;
  std::vector<Crossing> crossing;

  std::unique_ptr<ExecutorPool> pool;

  std::size_t inputs_count() const { return body.constants + body.carry + body.rows; }
  bool is_row(std::size_t input) const { return input >= body.constants + body.carry; }
};

Type stacked(Type type, int64_t length) {
  type.shape.insert(0, length);
  return type;
}

void run_scan(const Scan& op, const Call& call) {
  std::vector<Array> inputs(call.in.begin(), call.in.end()), outputs(call.out.begin(), call.out.end());
  for (std::size_t k = 0; k < op.body.carry; ++k) {
    kernels::copy(inputs[op.body.constants + k], outputs[k]);
    inputs[op.body.constants + k] = outputs[k];
    outputs[k] = Array();
  }
  std::vector<bool> rows(inputs.size(), false);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = op.is_row(i);
  op.pool->with([&](Executor& executor) { executor.run(inputs, outputs, rows, 0, op.length, op.backwards); });
}

Vars joint_adjoint(const Scan& op, const Rule& r);
Vars tangent(const Scan& op, const Rule& r);
Vars batch(const Scan& op, const Batched& b);

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
  op->kernel = [self](const Call& call) { run_scan(*self, call); };
  op->flops = [self](std::span<const Type>, std::span<const Type>) {
    int64_t flops = 0;
    for (const Step& step : self->body.program.steps) flops += self->body.program.flops(step);
    return flops * self->length;
  };
  if (op->pulled) op->joint_adjoint = [self](const Rule& r) { return joint_adjoint(*self, r); };
  else op->followed = [self](std::span<const Var> in) { return scan(self->body, in, self->length, self->backwards); };
  op->tangent = [self](const Rule& r) { return tangent(*self, r); };
  op->batch = [self](const Batched& b) { return batch(*self, b); };
  op->self = op;
  Vars outs = apply_all(*op, inputs);
  Vars shown(outs.begin(), outs.begin() + std::ptrdiff_t(op->shown));
  return shown;
}

// What the reverse sweep of a step reads becomes an output of the step, unless the sweep's scan can
// be given it again.
void keep_crossing(Scan& op) {
  Program& program = op.body.program;
  for (const ValueId id : op.pulled->crossing) {
    std::size_t input = 0;
    while (input < program.inputs.size() && program.inputs[input] != id) ++input;
    if (input < op.body.constants) {
      op.crossing.push_back({Crossing::constant, input});
    } else if (input < program.inputs.size() && op.is_row(input)) {
      op.crossing.push_back({Crossing::row, input});
    } else {
      op.crossing.push_back({Crossing::kept, program.outputs.size()});
      program.outputs.push_back(id);
    }
  }
}

// The body of the reverse scan: its carry is the cotangent of the carry, and the sums of those of the
// constants; it stacks the cotangents of the rows.
struct ReverseBody {
  ScanBody body;
  std::vector<std::size_t> carries, sums, rows;  // inputs of the scan whose cotangents these are
};

ReverseBody reverse_body(const Scan& op) {
  static const Op& add_op = find_op("add");
  const Program& backward = op.pulled->backward;
  const std::size_t steps_of = op.body.program.inputs.size();
  Program program = backward;
  program.inputs.clear();
  program.outputs.clear();
  ReverseBody out;
  // The inputs of `backward`: cotangents of the float outputs, then what crosses.
  std::size_t next = 0;
  std::vector<ValueId> carry_seeds, row_seeds;
  for (std::size_t j = 0; j < op.shown; ++j) {
    const Type& type = op.body.program.types[std::size_t(op.body.program.outputs[j])];
    if (!is_float(type.dtype)) continue;
    (j < op.body.carry ? carry_seeds : row_seeds).push_back(backward.inputs[next++]);
  }
  std::vector<ValueId> constants, rows = row_seeds;
  for (std::size_t c = 0; c < op.crossing.size(); ++c) {
    const ValueId id = op.pulled->crossing[c];
    (op.crossing[c].kind == Crossing::constant ? constants : rows).push_back(id);
  }
  std::vector<ValueId> sum_inputs, carry_outputs, sum_outputs, row_outputs;
  auto found = [&](std::size_t input) {
    const int place = op.pulled->found[input];
    return place < 0 ? ValueId(-1) : backward.outputs[std::size_t(place)];
  };
  auto zero_of = [&](ValueId like) {
    const Type type = op.body.program.types[std::size_t(like)];
    const ValueId id = program.new_value(type);
    program.constants.emplace_back(id, zeros(type));
    return id;
  };
  for (std::size_t i = 0; i < steps_of; ++i) {
    const ValueId own = op.body.program.inputs[i];
    const Type type = op.body.program.types[std::size_t(own)];
    if (!is_float(type.dtype)) continue;
    const bool is_carry = i >= op.body.constants && !op.is_row(i);
    if (is_carry) {
      out.carries.push_back(i);
      carry_outputs.push_back(found(i) < 0 ? zero_of(own) : found(i));
    } else if (op.wanted[i] && found(i) >= 0 && op.is_row(i)) {
      out.rows.push_back(i);
      row_outputs.push_back(found(i));
    } else if (op.wanted[i] && found(i) >= 0) {
      out.sums.push_back(i);
      const ValueId before = program.new_value(type), after = program.new_value(type);
      program.steps.push_back({.op = &add_op, .attrs = {}, .ins = {before, found(i)}, .outs = {after}});
      sum_inputs.push_back(before);
      sum_outputs.push_back(after);
    }
  }
  for (const auto* part : {&constants, &carry_seeds, &sum_inputs, &rows})
    program.inputs.insert(program.inputs.end(), part->begin(), part->end());
  for (const auto* part : {&carry_outputs, &sum_outputs, &row_outputs})
    program.outputs.insert(program.outputs.end(), part->begin(), part->end());
  out.body = {std::move(program), constants.size(), carry_seeds.size() + sum_inputs.size(), rows.size()};
  return out;
}

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

Vars tangent(const Scan& op, const Rule& r) {
  const std::size_t n = op.inputs_count();
  std::vector<bool> active(n, false);
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_carry = i >= op.body.constants && !op.is_row(i);
    active[i] = is_float(r.in_types[i]->dtype) && (is_carry || r.dxs[i]);
  }
  Program pushed = push_program(op.body.program, active);
  // From (inputs, tangents) and (outputs, tangents) to constants, carry, rows of both.
  const std::size_t outputs = op.body.program.outputs.size();
  ScanBody body{.program = pushed};
  Program& program = body.program;
  program.inputs.clear();
  program.outputs.clear();
  std::vector<Var> inputs;
  auto section = [&](std::size_t begin, std::size_t end) {
    std::size_t count = 0, tangent_place = n;
    for (std::size_t i = begin; i < end; ++i, ++count) {
      program.inputs.push_back(pushed.inputs[i]);
      inputs.push_back(r.ins[i]);
    }
    for (std::size_t i = 0; i < end; ++i) {
      if (!active[i]) continue;
      if (i >= begin) {
        program.inputs.push_back(pushed.inputs[tangent_place]);
        inputs.push_back(r.dxs[i] ? r.dxs[i] : zeros(*r.in_types[i]));
        ++count;
      }
      ++tangent_place;
    }
    return count;
  };
  const std::size_t first_row = op.body.constants + op.body.carry;
  body.constants = section(0, op.body.constants);
  body.carry = section(op.body.constants, first_row);
  body.rows = section(first_row, n);
  std::vector<int> place_of(outputs, -1);  // of an output's tangent
  auto results = [&](std::size_t begin, std::size_t end) {
    for (std::size_t j = begin; j < end; ++j) program.outputs.push_back(pushed.outputs[j]);
    std::size_t next = outputs;
    for (std::size_t j = 0; j < end; ++j) {
      if (!is_float(op.body.program.types[std::size_t(op.body.program.outputs[j])].dtype)) continue;
      if (j >= begin) {
        place_of[j] = int(program.outputs.size());
        program.outputs.push_back(pushed.outputs[next]);
      }
      ++next;
    }
  };
  results(0, op.body.carry);
  results(op.body.carry, outputs);
  const Vars found = scan(std::move(body), inputs, op.length, op.backwards);
  Vars out(outputs);
  for (std::size_t j = 0; j < outputs; ++j)
    if (place_of[j] >= 0) out[j] = found[std::size_t(place_of[j])];
  return out;
}

Vars batch(const Scan& op, const Batched& b) {
  std::vector<bool> batched(b.batched.begin(), b.batched.end());
  std::vector<Var> inputs(b.ins.begin(), b.ins.end());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool is_carry = i >= op.body.constants && !op.is_row(i);
    if (is_carry && !batched[i]) {
      Shape shape = inputs[i].shape();
      shape.insert(0, b.size);
      inputs[i] = broadcast_to(inputs[i], shape);
      batched[i] = true;
    } else if (op.is_row(i) && batched[i]) {
      inputs[i] = move_axis(inputs[i], 0, 1);  // steps in front
    }
  }
  ScanBody body{batch_program(op.body.program, batched, b.size), op.body.constants, op.body.carry, op.body.rows};
  Vars outs = scan(std::move(body), inputs, op.length, op.backwards);
  for (std::size_t j = op.body.carry; j < outs.size(); ++j) outs[j] = move_axis(outs[j], 1, 0);
  return outs;
}

}  // namespace

Vars scan(ScanBody body, std::span<const Var> inputs, int64_t length, bool backwards) {
  auto op = std::make_shared<Scan>();
  op->body = std::move(body);
  op->length = length;
  op->backwards = backwards;
  op->shown = op->body.program.outputs.size();
  bool any = false;
  for (const Var& x : inputs) any |= x->tracked && modes().grad_enabled;
  if (any) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const bool is_carry = i >= op->body.constants && !op->is_row(i);
      op->wanted.push_back(is_float(inputs[i].dtype()) && (is_carry || inputs[i]->tracked));
    }
    op->pulled = pull_program(op->body.program, op->wanted);
    op->body.program = op->pulled->forward;
    keep_crossing(*op);
  }
  // The carry is changed where it stands.
  std::vector<Update> updates;
  for (std::size_t k = 0; k < op->body.carry; ++k) updates.push_back({op->body.constants + k, k});
  op->pool = std::make_unique<ExecutorPool>(op->body.program, std::move(updates));
  return apply_scan(std::move(op), inputs);
}

}  // namespace wengert
