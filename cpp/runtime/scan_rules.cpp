// The reverse sweep of a step as a body, the tangent and the batch of a scan.
#include <algorithm>

#include "ops/vocabulary.h"
#include "runtime/scan_op.h"

namespace wengert {
namespace {

// What the reverse sweep of a step reads becomes an output of the step, unless the sweep's scan can
// be given it again: inputs, also under another name.
void keep_crossing(Scan& op) {
  Program& program = op.body.program;
  const std::vector<Array> arrays = lay_out(program);
  for (const ValueId id : op.pulled->crossing) {
    const Array& crossing = arrays[std::size_t(id)];
    std::size_t input = 0;
    while (input < program.inputs.size() && !crossing.same_place(arrays[std::size_t(program.inputs[input])])) ++input;
    if (input < op.body.constants) {
      op.crossing.push_back({Crossing::constant, input});
    } else if (input < program.inputs.size() && op.is_row(input)) {
      op.crossing.push_back({Crossing::row, input});
    } else {
      // Of all steps together what is stacked may be there already.
      auto place = program.outputs.end();
      if (op.checkpoint.kind == Checkpoint::all)
        place = std::find(program.outputs.begin() + std::ptrdiff_t(op.body.carry), place, id);
      op.crossing.push_back({Crossing::kept, std::size_t(place - program.outputs.begin())});
      if (place == program.outputs.end()) program.outputs.push_back(id);
    }
  }
}

}  // namespace

void prepare_reverse(Scan& op, std::span<const Var> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool is_carry = i >= op.body.constants && !op.is_row(i);
    op.wanted.push_back(is_float(inputs[i].dtype()) && (is_carry || inputs[i]->tracked));
  }
  op.pulled = pull_program(op.body.program, op.wanted);
  op.body.program = op.pulled->forward;
  keep_crossing(op);
}

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
    } else if (op.wanted[i] && !op.is_row(i) && (found(i) >= 0 || op.sums_all)) {
      out.sums.push_back(i);
      const ValueId before = program.new_value(type), after = program.new_value(type);
      const ValueId term = found(i) >= 0 ? found(i) : zero_of(own);
      program.steps.push_back({.op = &add_op, .attrs = {}, .ins = {before, term}, .outs = {after}});
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

Vars scan_tangent(const Scan& op, const Rule& r) {
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
  const Vars found = scan(std::move(body), inputs, op.length, op.backwards, op.checkpoint);
  Vars out(outputs);
  for (std::size_t j = 0; j < outputs; ++j)
    if (place_of[j] >= 0) out[j] = found[std::size_t(place_of[j])];
  return out;
}

Var broadcast_mapped(const Var& x, int64_t size) {
  Shape shape = x.shape();
  shape.insert(0, size);
  return broadcast_to(x, shape);
}

Var mapped_in_front(const Var& x) { return move_axis(x, 1, 0); }
Var steps_in_front(const Var& x) { return move_axis(x, 0, 1); }

Vars scan_batch(const Scan& op, const Batched& b) {
  std::vector<bool> batched(b.batched.begin(), b.batched.end());
  std::vector<Var> inputs(b.ins.begin(), b.ins.end());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool is_carry = i >= op.body.constants && !op.is_row(i);
    if (is_carry && !batched[i]) {
      inputs[i] = broadcast_mapped(inputs[i], b.size);
      batched[i] = true;
    } else if (op.is_row(i) && batched[i]) {
      inputs[i] = steps_in_front(inputs[i]);
    }
  }
  ScanBody body{batch_program(op.body.program, batched, b.size), op.body.constants, op.body.carry, op.body.rows};
  Vars outs = scan(std::move(body), inputs, op.length, op.backwards, op.checkpoint);
  for (std::size_t j = op.body.carry; j < outs.size(); ++j) outs[j] = mapped_in_front(outs[j]);
  return outs;
}

}  // namespace wengert
