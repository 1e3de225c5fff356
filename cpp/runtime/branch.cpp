#include "runtime/branch.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/interrupt.h"
#include "graph/tape.h"
#include "kernels/copy.h"
#include "ops/vocabulary.h"
#include "program/derive.h"
#include "runtime/checkpointed.h"
#include "sweeps/reverse.h"

namespace wengert {
namespace {

Types output_types(const Program& program) {
  Types out;
  for (const ValueId id : program.outputs) out.push_back(program.types[std::size_t(id)]);
  return out;
}

// Whose an output is: what one branch keeps for its sweep is no number of the other's, which has zeros there.
enum class Side : uint8_t { both, yes, no };

struct Branch : Op {
  Program yes, no;  // as they were given
  std::unique_ptr<ExecutorPool> run_yes, run_no;
  std::vector<Side> sides;  // of all outputs
  std::size_t shown = 0;
  std::optional<Pulled> pulled_yes, pulled_no;
  std::vector<bool> wanted;
  bool exact = false;
};

// Where the values are that a branch's reverse sweep reads: an input of the branch, or an output.
struct Place {
  bool is_input;
  std::size_t index;
};
std::vector<Place> places_of(const Pulled& pulled, const Program& branch, std::size_t& next) {
  std::vector<Place> out;
  for (const ValueId id : pulled.crossing) {
    std::size_t input = 0;
    while (input < branch.inputs.size() && branch.inputs[input] != id) ++input;
    if (input < branch.inputs.size()) out.push_back({true, input});
    else out.push_back({false, next++});
  }
  return out;
}

Vars choose(Program yes, Program no, std::vector<Side> sides, const Var& choice, std::span<const Var> inputs, bool exact);

// The branch's outputs, then what it keeps, with zeros for what the other one keeps.
Program with_kept(const Pulled& own, const Pulled& other, bool own_first) {
  Program program = own.forward;
  auto is_input = [](const Pulled& pulled, ValueId id) {
    return std::find(pulled.forward.inputs.begin(), pulled.forward.inputs.end(), id) != pulled.forward.inputs.end();
  };
  auto add_own = [&] {
    for (const ValueId id : own.crossing)
      if (!is_input(own, id)) program.outputs.push_back(id);
  };
  auto add_zeros = [&] {
    for (const ValueId id : other.crossing) {
      if (is_input(other, id)) continue;
      const Type type = other.forward.types[std::size_t(id)];
      const ValueId zero = program.new_value(type);
      program.constants.emplace_back(zero, zeros(type));
      program.outputs.push_back(zero);
    }
  };
  if (own_first) add_own(), add_zeros();
  else add_zeros(), add_own();
  return program;
}

// The reverse sweep of one branch, on the inputs of both: cotangents, what it reads, what the other
// one reads. Its outputs are the cotangents of all `wanted` inputs.
Program backward_of(const Pulled& own, const Pulled& other, const std::vector<bool>& wanted, bool own_first) {
  Program program = own.backward;
  const std::size_t seeds = own.backward.inputs.size() - own.crossing.size();
  std::vector<ValueId> inputs(own.backward.inputs.begin(), own.backward.inputs.begin() + std::ptrdiff_t(seeds)), foreign;
  for (const ValueId id : other.crossing) foreign.push_back(program.new_value(other.forward.types[std::size_t(id)]));
  const auto& first = own_first ? own.crossing : foreign;
  const auto& second = own_first ? foreign : own.crossing;
  inputs.insert(inputs.end(), first.begin(), first.end());
  inputs.insert(inputs.end(), second.begin(), second.end());
  std::vector<ValueId> outputs;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]) continue;
    if (own.found[i] >= 0) {
      outputs.push_back(own.backward.outputs[std::size_t(own.found[i])]);
      continue;
    }
    const Type type = own.forward.types[std::size_t(own.forward.inputs[i])];
    outputs.push_back(program.new_value(type));
    program.constants.emplace_back(outputs.back(), zeros(type));
  }
  program.inputs = std::move(inputs);
  program.outputs = std::move(outputs);
  return program;
}

Vars branch_adjoint(const Branch& op, const Rule& r) {
  std::vector<Var> kept(r.outs.begin(), r.outs.end()), given;
  const std::span<const Var> inputs = r.ins.subspan(1);
  if (modes().grad_enabled) {  // recorded again: no cotangent is to meet what this node keeps
    const Vars again = choose(with_kept(*op.pulled_yes, *op.pulled_no, true),
                              with_kept(*op.pulled_no, *op.pulled_yes, false), op.sides, r.ins[0], inputs, op.exact);
    kept.assign(again.begin(), again.end());
  }
  // To what has arrived from outside the branch adds step by step, as if its steps were not apart.
  std::vector<bool> arrived(op.wanted.size(), false);
  for (std::size_t i = 0; i < arrived.size(); ++i) {
    if (op.pulled_yes->found[i] < 0 && op.pulled_no->found[i] < 0) continue;
    if (Var g = take_arrived(i + 1)) arrived[i] = true, given.push_back(std::move(g));
  }
  const Pulled yes = pull_program(op.yes, op.wanted, arrived), no = pull_program(op.no, op.wanted, arrived);
  for (std::size_t j = 0; j < op.shown; ++j)
    if (is_float(r.out_types[j].dtype)) given.push_back(r.gs[j] ? r.gs[j] : zeros(r.out_types[j]));
  std::size_t next = op.shown;
  for (const Pulled* side : {&yes, &no})
    for (const Place& place : places_of(*side, side->forward, next))
      given.push_back(place.is_input ? inputs[place.index] : kept[place.index]);
  const Vars found = branch(backward_of(yes, no, op.wanted, true), backward_of(no, yes, op.wanted, false), r.ins[0], given,
                            op.exact);
  Vars out(r.ins.size());
  for (std::size_t i = 0, t = 0; i < op.wanted.size(); ++i)
    if (op.wanted[i]) out[i + 1] = found[t++];
  return out;
}

Vars branch_tangent(const Branch& op, const Rule& r) {
  std::vector<bool> active;
  std::vector<Var> inputs(r.ins.begin() + 1, r.ins.end());
  for (std::size_t i = 1; i < r.ins.size(); ++i) active.push_back(bool(r.dxs[i]));
  for (std::size_t i = 1; i < r.ins.size(); ++i)
    if (r.dxs[i]) inputs.push_back(r.dxs[i]);
  const Program &yes = op.run_yes->program(), &no = op.run_no->program();
  std::vector<Side> sides = op.sides;
  for (std::size_t j = 0; j < yes.outputs.size(); ++j)
    if (is_float(yes.types[std::size_t(yes.outputs[j])].dtype)) sides.push_back(op.sides[j]);
  const Vars found = choose(push_program(yes, active), push_program(no, active), std::move(sides), r.ins[0], inputs,
                            op.exact);
  Vars out(yes.outputs.size());
  std::size_t next = yes.outputs.size();
  for (std::size_t j = 0; j < yes.outputs.size(); ++j)
    if (is_float(yes.types[std::size_t(yes.outputs[j])].dtype)) out[j] = found[next++];
  return out;
}

Vars branch_batch(const Branch& op, const Batched& b) {
  const std::vector<bool> batched(b.batched.begin() + 1, b.batched.end());
  const Program yes = batch_program(op.run_yes->program(), batched, b.size),
                no = batch_program(op.run_no->program(), batched, b.size);
  const std::span<const Var> inputs = b.ins.subspan(1);
  if (!b.is_batched(0)) return choose(yes, no, op.sides, b.in(0), inputs, op.exact);
  // Each example chooses for itself: both run.
  const Vars a = replay(yes, inputs), c = replay(no, inputs);
  Vars out;
  for (std::size_t j = 0; j < a.size(); ++j) {
    if (op.sides[j] != Side::both) {
      out.push_back(op.sides[j] == Side::yes ? a[j] : c[j]);
      continue;
    }
    Shape shape(a[j].shape().size(), 1);
    shape[0] = b.size;
    out.push_back(where(reshape(b.in(0), shape), a[j], c[j]));
  }
  return out;
}

Vars apply_branch(std::shared_ptr<Branch> op, std::span<const Var> args) {
  Branch* self = op.get();
  op->name = "cond";
  op->inputs = {"choice", "*tensors"};
  op->infer = [self](std::span<const Type>, const Attrs&) { return output_types(self->run_yes->program()); };
  op->kernel = [self](const Call& call) {
    const bool chosen = *call.in[0].data<bool>();
    (chosen ? self->run_yes : self->run_no)->run(call.in.subspan(1), call.out);
  };
  op->flops = [self](std::span<const Type>, std::span<const Type>) {
    return std::max(self->yes.flops(), self->no.flops());
  };
  op->is_long = op->yes.is_long(1) || op->no.is_long(1);
  op->calls_out = op->yes.calls_out() || op->no.calls_out();
  op->may_raise = any_may_fail(op->yes) || any_may_fail(op->no);
  // Where it is carried out again what it keeps is shown, and other inputs may want gradients.
  const auto again = [self](std::span<const Var> in) {
    return choose(self->run_yes->program(), self->run_no->program(), self->sides, in[0], in.subspan(1), self->exact);
  };
  if (op->pulled_yes) op->joint_adjoint = [self](const Rule& r) { return branch_adjoint(*self, r); };
  else op->followed = again;
  op->tangent = [self](const Rule& r) { return branch_tangent(*self, r); };
  op->batch = [self](const Batched& b) { return branch_batch(*self, b); };
  op->converts = true;
  op->self = op;
  const Vars outs = apply_all(*op, args);
  op->followed = again;
  return Vars(outs.begin(), outs.begin() + std::ptrdiff_t(op->shown));
}

struct While : Op {
  std::size_t constants = 0;
  bool exact = false;
  Checkpoint checkpoint;
  std::unique_ptr<ExecutorPool> test, body;
};

void run_while(const While& op, const Call& call) {
  std::vector<Array> inputs(call.in.begin(), call.in.end());
  const std::size_t state = inputs.size() - op.constants;
  for (std::size_t k = 0; k < state; ++k) {
    kernels::copy(inputs[op.constants + k], call.out[k]);
    inputs[op.constants + k] = call.out[k];
  }
  const Array answer = Array::empty(DType::bool_, {});
  const std::vector<Array> nothing(state), answers{answer};
  op.test->with([&](Executor& test) {
    op.body->with([&](Executor& body) {
      InterruptPoll poll(test.work() + body.work());
      while (true) {
        test.run(inputs, answers);
        if (!*answer.data<bool>()) return;
        body.run(inputs, nothing);  // the state is changed where it stands
        poll.after(1);
      }
    });
  });
}

Vars while_batch(const While& op, const Batched& b) {
  std::vector<bool> batched(b.batched.begin(), b.batched.end());
  std::vector<Var> inputs(b.ins.begin(), b.ins.end());
  for (std::size_t i = op.constants; i < inputs.size(); ++i) {
    if (batched[i]) continue;
    inputs[i] = broadcast_mapped(inputs[i], b.size);
    batched[i] = true;
  }
  BatchedWhile loop = batched_while(op.test->program(), op.body->program(), op.constants, batched, b.size);
  return repeat_while(std::move(loop.test), std::move(loop.body), op.constants, inputs, op.exact, op.checkpoint);
}

Vars choose(Program yes, Program no, std::vector<Side> sides, const Var& choice, std::span<const Var> inputs, bool exact) {
  auto op = std::make_shared<Branch>();
  op->exact = exact;
  op->shown = yes.outputs.size();
  op->sides = std::move(sides);
  const std::vector<Update> no_updates;
  std::vector<Var> args{choice};
  args.insert(args.end(), inputs.begin(), inputs.end());
  if (keeps_values(args)) {
    for (const Var& x : inputs) op->wanted.push_back(x->tracked && is_float(x.dtype()));
    op->pulled_yes = pull_program(yes, op->wanted);
    op->pulled_no = pull_program(no, op->wanted);
    op->run_yes = std::make_unique<ExecutorPool>(with_kept(*op->pulled_yes, *op->pulled_no, true), no_updates, exact);
    op->run_no = std::make_unique<ExecutorPool>(with_kept(*op->pulled_no, *op->pulled_yes, false), no_updates, exact);
    std::size_t of_yes = op->shown;
    places_of(*op->pulled_yes, op->pulled_yes->forward, of_yes);
    op->sides.resize(of_yes, Side::yes);
    op->sides.resize(op->run_yes->program().outputs.size(), Side::no);
  } else {
    op->run_yes = std::make_unique<ExecutorPool>(yes, no_updates, exact);
    op->run_no = std::make_unique<ExecutorPool>(no, no_updates, exact);
  }
  op->yes = std::move(yes);
  op->no = std::move(no);
  return apply_branch(std::move(op), args);
}

}  // namespace

Vars branch(Program yes, Program no, const Var& choice, std::span<const Var> inputs, bool exact) {
  std::vector<Side> sides(yes.outputs.size(), Side::both);
  return choose(std::move(yes), std::move(no), std::move(sides), choice, inputs, exact);
}

Vars while_tangent(const Program& test, const Program& body, std::size_t constants, bool exact,
                   const Checkpoint& checkpoint, const Rule& r) {
  std::vector<bool> active;
  for (std::size_t i = 0; i < r.ins.size(); ++i)
    active.push_back(is_float(r.in_types[i]->dtype) && (i >= constants || r.dxs[i]));
  const Program pushed = push_program(body, active);
  Program next = pushed, asked = test;
  next.inputs.clear();
  next.outputs.clear();
  asked.inputs.clear();
  std::vector<Var> inputs;
  std::size_t place = r.ins.size(), kept = 0;
  // Constants and their tangents, then the state and its.
  for (const bool is_state : {false, true}) {
    const std::size_t begin = is_state ? constants : 0, end = is_state ? r.ins.size() : constants;
    for (std::size_t i = begin; i < end; ++i) {
      next.inputs.push_back(pushed.inputs[i]);
      asked.inputs.push_back(test.inputs[i]);
      inputs.push_back(r.ins[i]);
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (!active[i]) continue;
      next.inputs.push_back(pushed.inputs[place++]);
      asked.inputs.push_back(asked.new_value(*r.in_types[i]));
      inputs.push_back(r.dxs[i] ? r.dxs[i] : zeros(*r.in_types[i]));
    }
    if (!is_state) kept = inputs.size();
  }
  next.outputs = pushed.outputs;
  const Vars found = repeat_while(std::move(asked), std::move(next), kept, inputs, exact, checkpoint);
  Vars out(body.outputs.size());
  std::size_t at = body.outputs.size();
  for (std::size_t j = 0; j < body.outputs.size(); ++j)
    if (is_float(body.types[std::size_t(body.outputs[j])].dtype)) out[j] = found[at++];
  return out;
}

BatchedWhile batched_while(const Program& one_test, const Program& one_body, std::size_t constants,
                           const std::vector<bool>& batched, int64_t size) {
  const Program test = batch_program(one_test, batched, size), body = batch_program(one_body, batched, size);
  static const Op& any = find_op("any");
  auto traced = [&](auto f) {
    Trace trace;
    const GradMode off(false);
    std::vector<Var> own;
    for (const ValueId id : body.inputs) own.push_back(trace.input(body.types[std::size_t(id)]));
    const std::vector<Var> outs = f(own);
    trace.close();
    return program_of(trace, own, outs);
  };
  BatchedWhile out;
  out.test = traced([&](const std::vector<Var>& own) {
    const Var active = replay(test, own)[0];
    return std::vector<Var>{apply(any, {&active, 1}, make_attrs(any, {}))};
  });
  out.body = traced([&](const std::vector<Var>& own) {
    const Var active = replay(test, own)[0];
    const Vars made = replay(body, own);
    std::vector<Var> next;
    for (std::size_t k = 0; k < made.size(); ++k) {
      Shape shape(made[k].shape().size(), 1);
      shape[0] = size;
      next.push_back(where(reshape(active, shape), made[k], own[constants + k]));
    }
    return next;
  });
  return out;
}

Vars repeat_while(Program test, Program body, std::size_t constants, std::span<const Var> inputs,
                  bool exact, const Checkpoint& checkpoint) {
  if (checkpoint.kind != Checkpoint::all && keeps_values(inputs))
    return checkpointed_while(std::move(test), std::move(body), constants, inputs, checkpoint);
  auto op = std::make_shared<While>();
  std::vector<Update> updates;
  for (std::size_t k = 0; k < body.outputs.size(); ++k) updates.push_back({constants + k, k});
  op->constants = constants;
  op->exact = exact;
  op->checkpoint = checkpoint;
  op->test = std::make_unique<ExecutorPool>(std::move(test), std::vector<Update>(), exact);
  op->body = std::make_unique<ExecutorPool>(std::move(body), std::move(updates), exact);
  While* self = op.get();
  op->name = "while_loop";
  op->inputs = {"*tensors"};
  op->infer = [self](std::span<const Type>, const Attrs&) { return output_types(self->body->program()); };
  op->kernel = [self](const Call& call) { run_while(*self, call); };
  op->flops = [self](std::span<const Type>, std::span<const Type>) { return self->body->program().flops(); };
  op->is_long = true;
  op->calls_out = op->test->program().calls_out() || op->body->program().calls_out();
  if (checkpoint.kind == Checkpoint::all)
    op->joint_adjoint = [](const Rule&) -> Vars {
      fail(ErrorKind::graph, "while_loop: how many steps there will be is not known when it is recorded, so their states "
           "cannot all be kept for the reverse sweep; give checkpoint=wg.Binomial(slots=...), use wg.scan with a "
           "length, or forward mode (wg.jvp, wg.jacfwd)");
    };
  else
    op->followed = [self](std::span<const Var> in) {
      return repeat_while(self->test->program(), self->body->program(), self->constants, in, self->exact, self->checkpoint);
    };
  op->tangent = [self](const Rule& r) {
    return while_tangent(self->test->program(), self->body->program(), self->constants, self->exact, self->checkpoint, r);
  };
  op->batch = [self](const Batched& b) { return while_batch(*self, b); };
  op->converts = true;
  op->self = op;
  return apply_all(*op, inputs);
}

}  // namespace wengert
