#include "runtime/checkpointed.h"

#include <algorithm>

#include "graph/tangents.h"
#include "ops/vocabulary.h"
#include "runtime/branch.h"
#include "runtime/checkpointed_run.h"

namespace wengert {
namespace {

// A step and then its reverse, on the numbers that both have in common.
Program step_and_reverse(const Scan& op, const ScanBody& reverse, std::size_t row_seeds) {
  const Program& forward = op.pulled->forward;
  Program program = reverse.program;
  program.steps.insert(program.steps.begin(), forward.steps.begin(), forward.steps.end());
  const auto first_row = std::ptrdiff_t(op.body.constants + op.body.carry);
  const auto running = reverse.program.inputs.begin() + std::ptrdiff_t(reverse.constants);
  const auto rows = running + std::ptrdiff_t(reverse.carry);
  program.inputs.assign(forward.inputs.begin(), forward.inputs.begin() + first_row);
  program.inputs.insert(program.inputs.end(), running, rows);
  program.inputs.insert(program.inputs.end(), forward.inputs.begin() + first_row, forward.inputs.end());
  program.inputs.insert(program.inputs.end(), rows, rows + std::ptrdiff_t(row_seeds));
  // Python may count its calls: what it computes is always computed.
  for (const Step& step : forward.steps)
    if (step.op->evaluate) program.outputs.insert(program.outputs.end(), step.outs.begin(), step.outs.end());
  return program;
}

std::shared_ptr<Loop> loop_of(const Scan& op, std::span<const Var> inputs, std::optional<Program> test = {}) {
  ReverseBody reverse = reverse_body(op);
  auto loop = std::make_shared<Loop>();
  loop->forward = op.body;
  loop->shown = op.shown;
  loop->crossing = op.crossing;
  loop->carries = std::move(reverse.carries);
  loop->sums = std::move(reverse.sums);
  loop->rows = std::move(reverse.rows);
  loop->wanted = op.wanted;
  loop->test = std::move(test);
  loop->missing.resize(loop->inputs());
  loop->length = op.length;
  loop->backwards = op.backwards;
  loop->checkpoint = op.checkpoint;
  std::size_t row_seeds = 0;
  for (std::size_t j = op.body.carry; j < op.shown; ++j)
    row_seeds += is_float(loop->type_of(op.body.program, j).dtype);
  loop->both = step_and_reverse(op, reverse.body, row_seeds);
  loop->reverse = std::move(reverse.body);
  for (const Var& x : inputs)
    if (!x.is_abstract() && !x->array.is_contiguous()) loop->copies += x->array.size() * itemsize(x.dtype());
  settle_slots(*loop);
  return loop;
}

std::shared_ptr<Loop> while_of(Program test, Program body, std::size_t constants, std::span<const Var> like,
                               const Checkpoint& checkpoint) {
  Scan op;
  op.body = {std::move(body), constants, like.size() - constants, 0};
  op.shown = op.body.carry;
  op.checkpoint = checkpoint;
  op.sums_all = true;  // mapped, a step may reach others
  prepare_reverse(op, like);
  return loop_of(op, like, std::move(test));
}

// Values of these types of which the `tracked` ones say so: what a loop is made for.
std::vector<Var> like_inputs(const Program& program, const std::vector<bool>& tracked) {
  std::vector<Var> out;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    out.push_back(Var(Array(program.types[std::size_t(program.inputs[i])])));
    out.back()->tracked = tracked[i];
  }
  return out;
}

std::vector<bool> swept_constants(const Loop& loop) {
  std::vector<bool> out(loop.inputs(), false);
  for (const std::size_t input : loop.sums) out[input] = true;
  return out;
}

// Examples that are done stand still: the step is another one, and so is its reverse. What has a
// cotangent is mapped, so that each example has its own.
std::shared_ptr<Loop> batched_while_loop(const Loop& loop, std::vector<bool> batched, int64_t size) {
  const std::vector<bool> swept = swept_constants(loop);
  Program body = loop.forward.program;
  body.outputs.resize(loop.shown);
  for (std::size_t i = 0; i < batched.size(); ++i) batched[i] = batched[i] || swept[i] || loop.is_carry(i);
  BatchedWhile made = batched_while(*loop.test, body, loop.forward.constants, batched, size);
  const std::vector<Var> like = like_inputs(made.body, swept);
  return while_of(std::move(made.test), std::move(made.body), loop.forward.constants, like, loop.checkpoint);
}

std::shared_ptr<Loop> batched_loop(const Loop& loop, std::vector<bool> batched, bool forward, int64_t size) {
  auto out = forward && loop.test ? batched_while_loop(loop, batched, size) : std::make_shared<Loop>(loop);
  out->mapped.clear();
  if (forward && loop.test) return out;
  for (std::size_t i = 0; i < batched.size(); ++i) batched[i] = loop.is_carry(i) ? forward : batched[i];
  if (forward) out->forward.program = batch_program(loop.forward.program, batched, size);
  for (std::size_t i = 0; i < batched.size(); ++i) {
    for (int64_t& axis : out->missing[i]) ++axis;
    if (!batched[i]) out->missing[i].insert(0, 0);
  }
  std::vector<bool> constants, rows(loop.row_seeds(), true);
  for (const Crossing& c : loop.crossing) {
    if (c.kind == Crossing::constant) constants.push_back(batched[c.place]);
    else rows.push_back(c.kind == Crossing::row ? batched[c.place] : forward);
  }
  std::vector<bool> reverse = constants;
  reverse.insert(reverse.end(), loop.reverse.carry, true);
  reverse.insert(reverse.end(), rows.begin(), rows.end());
  out->reverse.program = batch_program(loop.reverse.program, reverse, size);
  const auto first_row = std::ptrdiff_t(loop.forward.constants + loop.forward.carry);
  std::vector<bool> both(batched.begin(), batched.begin() + first_row);
  both.insert(both.end(), loop.reverse.carry, true);
  both.insert(both.end(), batched.begin() + first_row, batched.end());
  both.insert(both.end(), loop.row_seeds(), true);
  out->both = batch_program(loop.both, both, size);
  if (!forward) return out;
  out->copies = loop.copies * size;
  for (std::size_t i = 0; i < batched.size(); ++i) {
    const Type type = loop.forward.program.types[std::size_t(loop.forward.program.inputs[i])];
    if (loop.is_row(i) && batched[i]) out->copies += numel(type.shape) * itemsize(type.dtype) * loop.length * size;
  }
  settle_slots(*out);
  return out;
}

struct Forward : Op {
  std::shared_ptr<const Loop> loop;
  std::unique_ptr<ForwardRun> run;
  std::unique_ptr<OnlineRun> online;
};

struct Reverse : Op {
  std::shared_ptr<const Loop> loop;
  std::unique_ptr<ReverseRun> run;
};

std::vector<Var> with_mapped_carry(const Loop& loop, std::span<const Var> ins, std::span<const bool> batched,
                                   int64_t size) {
  std::vector<Var> out(ins.begin(), ins.begin() + std::ptrdiff_t(loop.inputs()));
  const std::vector<bool> swept = loop.test ? swept_constants(loop) : std::vector<bool>(out.size(), false);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if ((loop.is_carry(i) || swept[i]) && !batched[i]) out[i] = broadcast_mapped(out[i], size);
    else if (loop.is_row(i) && batched[i]) out[i] = steps_in_front(out[i]);
  }
  return out;
}

Vars apply_forward(std::shared_ptr<const Loop> loop, std::span<const Var> inputs, const Loop* mapped_from = nullptr);

Vars forward_adjoint(const Forward& op, const Rule& r) {
  const Loop& loop = *op.loop;
  std::vector<Var> given(r.ins.begin(), r.ins.end());
  for (std::size_t j = loop.shown; j < r.outs.size(); ++j) given.push_back(r.outs[j]);
  for (std::size_t j = 0; j < loop.shown; ++j)
    if (is_float(r.out_types[j].dtype)) given.push_back(r.gs[j] ? r.gs[j] : zeros(r.out_types[j]));
  const Vars found = checkpointed_reverse(op.loop, given);
  Vars out(r.ins.size());
  std::size_t next = 0;
  for (const auto* part : {&loop.carries, &loop.sums, &loop.rows})
    for (const std::size_t input : *part) {
      Ints axes = loop.missing[input];
      for (int64_t& axis : axes) axis += loop.is_row(input);
      out[input] = axes.empty() ? found[next] : sum(found[next], axes);
      ++next;
    }
  return out;
}

// Of what is shown; the reverse sweep's tangent does without those of what is kept.
Vars forward_tangent(const Forward& op, const Rule& r) {
  if (op.loop->test) {
    Program body = op.loop->forward.program;
    body.outputs.resize(op.loop->shown);
    Vars out = while_tangent(*op.loop->test, body, op.loop->forward.constants, false, op.loop->checkpoint, r);
    out.resize(r.outs.size());
    return out;
  }
  Scan plain;
  plain.body = op.loop->forward;
  plain.body.program.outputs.resize(op.loop->shown);
  plain.length = op.loop->length;
  plain.backwards = op.loop->backwards;
  plain.checkpoint = op.loop->checkpoint;
  Vars out = scan_tangent(plain, r);
  out.resize(r.outs.size());
  return out;
}

Vars forward_batch(const Forward& op, const Batched& b) {
  const Loop& loop = *op.loop;
  const std::vector<bool> batched(b.batched.begin(), b.batched.end());
  Vars outs = apply_forward(batched_loop(loop, batched, true, b.size), with_mapped_carry(loop, b.ins, b.batched, b.size),
                            &loop);
  const std::size_t carry = loop.forward.carry, states = loop.shown + 1;
  for (std::size_t j = carry; j < loop.shown; ++j) outs[j] = mapped_in_front(outs[j]);
  outs[loop.shown] = broadcast_mapped(outs[loop.shown], b.size);
  for (std::size_t k = 0; k < loop.stacks(); ++k) outs[states + k] = mapped_in_front(outs[states + k]);
  return outs;
}

// Where it is carried out again, others of its inputs may want gradients: a loop of its own gives them. What this
// one would keep for its sweep is there all the same.
Vars forward_again(const Forward& op, std::span<const Var> inputs) {
  const Loop& loop = *op.loop;
  const auto is_new = [&](std::size_t i) { return inputs[i]->tracked && is_float(inputs[i].dtype()) && !loop.wanted[i]; };
  bool any_new = false;
  for (std::size_t i = 0; i < inputs.size(); ++i) any_new |= is_new(i);
  if (!any_new) return {};
  ScanBody body = loop.forward;
  body.program.outputs.resize(loop.shown);
  Vars out = loop.test ? repeat_while(*loop.test, std::move(body.program), body.constants, inputs, false, loop.checkpoint)
                       : scan(std::move(body), inputs, loop.length, loop.backwards, loop.checkpoint);
  const GradMode off(false);
  const Vars own = apply_all(op, inputs);
  for (std::size_t j = loop.shown; j < own.size(); ++j) out.push_back(own[j]);
  return out;
}

Vars apply_forward(std::shared_ptr<const Loop> loop, std::span<const Var> inputs, const Loop* mapped_from) {
  auto op = std::make_shared<Forward>();
  Forward* self = op.get();
  op->loop = std::move(loop);
  if (op->loop->test) op->online = std::make_unique<OnlineRun>(*op->loop);
  else op->run = std::make_unique<ForwardRun>(*op->loop);
  op->name = op->loop->test ? "checkpointed_while_loop" : "checkpointed_scan";
  op->inputs = {"*tensors"};
  op->infer = [self](std::span<const Type>, const Attrs&) {
    const Loop& own = *self->loop;
    const Program& program = own.forward.program;
    Types out;
    for (std::size_t j = 0; j < own.shown; ++j)
      out.push_back(j < own.forward.carry ? own.type_of(program, j) : stacked(own.type_of(program, j), own.length));
    out.push_back({DType::int64, {int64_t(Record::header) + (own.test ? 0 : own.slots)}});
    for (std::size_t k = 0; k < own.stacks(); ++k) out.push_back(stacked(own.type_of(program, k), own.slots));
    for (std::size_t k = 0; k < own.kept(); ++k) out.push_back(own.type_of(program, own.shown + k));
    return out;
  };
  op->kernel = [self](const Call& call) { self->online ? (*self->online)(call) : (*self->run)(call); };
  op->flops = [self](std::span<const Type>, std::span<const Type>) {
    return self->loop->forward.program.flops() * std::max<int64_t>(self->loop->length, 1);
  };
  op->is_long = op->loop->test || op->loop->forward.program.is_long(op->loop->length);
  op->calls_out = (op->loop->test && op->loop->test->calls_out()) || op->loop->forward.program.calls_out();
  if (mapped_from && (self->loop->test || self->loop->checkpoint.disk != 0)) mapped_from->mapped.push_back(op);
  op->joint_adjoint = [self](const Rule& r) { return forward_adjoint(*self, r); };
  op->followed = [self](std::span<const Var> in) { return forward_again(*self, in); };
  op->tangent = [self](const Rule& r) { return forward_tangent(*self, r); };
  op->batch = [self](const Batched& b) { return forward_batch(*self, b); };
  op->converts = true;
  op->self = op;
  return apply_all(*op, inputs);
}

// The same from scans that keep everything: what a sweep of the sweep follows.
Vars plain_reverse(const Loop& loop, std::span<const Var> given) {
  const std::size_t n = loop.inputs(), seeds = n + 1 + loop.stacks() + loop.kept();
  int64_t length = loop.length;
  if (loop.test) {
    if (given[n].is_abstract())
      fail(ErrorKind::graph, "while_loop: how many steps there will be is not known when a gradient is recorded to be "
           "differentiated again; use wg.scan with a length, forward mode alone (wg.jacfwd(wg.jacfwd(f)) for "
           "wg.hessian(f)), or differentiate outside wg.compile, wg.vmap and other loops");
    length = Record(given[n]->array).length();
  }
  const Vars kept = scan(loop.forward, given.first(n), length, loop.backwards);
  std::vector<Var> inputs, rows(given.begin() + std::ptrdiff_t(seeds + loop.carries.size()), given.end());
  for (const Crossing& c : loop.crossing) {
    if (c.kind == Crossing::constant) inputs.push_back(given[c.place]);
    else rows.push_back(c.kind == Crossing::row ? given[c.place] : kept[c.place]);
  }
  for (std::size_t k = 0; k < loop.carries.size(); ++k) inputs.push_back(given[seeds + k]);
  for (std::size_t k = loop.carries.size(); k < loop.reverse.carry; ++k)
    inputs.push_back(zeros(loop.type_of(loop.reverse.program, k)));
  inputs.insert(inputs.end(), rows.begin(), rows.end());
  return scan(loop.reverse, inputs, length, !loop.backwards);
}

Vars reverse_tangent(const Reverse& op, const Rule& r) {
  static const Op& alias = find_op("alias");
  Vars leaves, out;
  for (const Var& x : r.ins) leaves.push_back(apply(alias, {&x, 1}));
  ForwardSweep sweep;
  for (std::size_t i = 0; i < leaves.size(); ++i)
    if (r.dxs[i]) sweep.seed(leaves[i], r.dxs[i]);
  for (const Var& y : plain_reverse(*op.loop, {leaves.data(), leaves.size()})) out.push_back(sweep.tangent_of(y));
  return out;
}

Vars reverse_batch(const Reverse& op, const Batched& b) {
  const Loop& loop = *op.loop;
  const std::size_t n = loop.inputs(), seeds = n + 1 + loop.stacks() + loop.kept();
  const bool forward = b.is_batched(int(n));  // or the loop ran once for all, and only cotangents are mapped
  const std::vector<bool> batched(b.batched.begin(), b.batched.begin() + std::ptrdiff_t(n));
  std::vector<Var> given(b.ins.begin(), b.ins.end());
  if (forward) {
    const std::vector<Var> inputs = with_mapped_carry(loop, b.ins, b.batched, b.size);
    std::copy(inputs.begin(), inputs.end(), given.begin());
    const Var& record = b.ins[n];
    given[n] = reshape(slice(record, {0, 0}, {1, record.shape()[1]}, {1, 1}), {record.shape()[1]});
    for (std::size_t k = 0; k < loop.stacks(); ++k) given[n + 1 + k] = steps_in_front(given[n + 1 + k]);
  } else {
    for (std::size_t i = 0; i < n; ++i)
      if (loop.is_row(i) && batched[i]) given[i] = steps_in_front(given[i]);
  }
  for (std::size_t i = seeds; i < given.size(); ++i) {
    if (!b.batched[i]) given[i] = broadcast_mapped(given[i], b.size);
    if (i >= seeds + loop.carries.size()) given[i] = steps_in_front(given[i]);
  }
  Vars outs = checkpointed_reverse(batched_loop(loop, batched, forward, b.size), given);
  for (std::size_t j = loop.reverse.carry; j < outs.size(); ++j) outs[j] = mapped_in_front(outs[j]);
  return outs;
}

}  // namespace

std::size_t Loop::row_seeds() const {
  std::size_t kept_rows = 0;
  for (const Crossing& c : crossing) kept_rows += c.kind != Crossing::constant;
  return reverse.rows - kept_rows;
}

Vars checkpointed_scan(const Scan& op, std::span<const Var> inputs) {
  const Vars outs = apply_forward(loop_of(op, inputs), inputs);
  return Vars(outs.begin(), outs.begin() + std::ptrdiff_t(op.shown));
}

Vars checkpointed_while(Program test, Program body, std::size_t constants, std::span<const Var> inputs,
                        const Checkpoint& checkpoint) {
  const std::size_t shown = inputs.size() - constants;
  const Vars outs = apply_forward(while_of(std::move(test), std::move(body), constants, inputs, checkpoint), inputs);
  return Vars(outs.begin(), outs.begin() + std::ptrdiff_t(shown));
}

Vars checkpointed_reverse(std::shared_ptr<const Loop> loop, std::span<const Var> given) {
  auto op = std::make_shared<Reverse>();
  Reverse* self = op.get();
  op->loop = std::move(loop);
  op->run = std::make_unique<ReverseRun>(*op->loop);
  op->name = op->loop->test ? "checkpointed_while_loop_reverse" : "checkpointed_scan_reverse";
  op->inputs = {"*tensors"};
  op->infer = [self](std::span<const Type>, const Attrs&) {
    const Loop& own = *self->loop;
    Types out;
    for (std::size_t j = 0; j < own.reverse.program.outputs.size(); ++j) {
      const Type type = own.type_of(own.reverse.program, j);
      out.push_back(j < own.reverse.carry ? type : stacked(type, own.length));
    }
    return out;
  };
  op->kernel = [self](const Call& call) { (*self->run)(call); };
  op->flops = [self](std::span<const Type>, std::span<const Type>) {
    return self->loop->both.flops() * std::max<int64_t>(self->loop->length, 1);
  };
  op->is_long = op->loop->test || op->loop->both.is_long(op->loop->length);
  op->calls_out = op->loop->both.calls_out();
  op->followed = [self](std::span<const Var> in) { return plain_reverse(*self->loop, in); };
  op->tangent = [self](const Rule& r) { return reverse_tangent(*self, r); };
  op->batch = [self](const Batched& b) { return reverse_batch(*self, b); };
  op->converts = true;
  op->self = op;
  return apply_all(*op, given);
}

}  // namespace wengert
