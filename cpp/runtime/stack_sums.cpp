#include "runtime/stack_sums.h"

#include <algorithm>

#include "ops/vocabulary.h"
#include "runtime/scan.h"

namespace wengert {
namespace {

constexpr int64_t free_bytes = 1 << 20;  // that may be stacked where a scan stacks less itself

int64_t bytes_of(const Type& type) { return numel(type.shape) * itemsize(type.dtype); }

// The carry of number `carry` grows by left' @ right in every step.
struct Sum {
  std::size_t carry;
  const Op* product;
  ValueId left, right;
};

// Whether the step transposes a matrix.
bool transposes(const Program& program, const Step& step) {
  static const Op &permute = find_op("permute_dims"), &transpose = find_op("matrix_transpose");
  if (program.types[std::size_t(step.outs[0])].shape.size() != 2) return false;
  return step.op == &transpose || (step.op == &permute && step.attrs.ints("axes")[0] == 1);
}

std::vector<Sum> find_sums(const ScanBody& body) {
  static const Op &add_op = find_op("add"), &matmul_op = find_op("matmul"), &chain_matmul = find_op("chain_matmul");
  const Program& program = body.program;
  std::vector<const Step*> maker(program.types.size(), nullptr);
  std::vector<int> uses(program.types.size(), 0);
  for (const Step& step : program.steps) {
    for (const ValueId id : step.ins) ++uses[std::size_t(id)];
    for (const ValueId id : step.outs) maker[std::size_t(id)] = &step;
  }
  for (const ValueId id : program.outputs) ++uses[std::size_t(id)];
  std::vector<Sum> out;
  for (std::size_t k = 0; k < body.carry; ++k) {
    const ValueId before = program.inputs[body.constants + k], after = program.outputs[k];
    const Step* sum = maker[std::size_t(after)];
    if (!sum || sum->op != &add_op || uses[std::size_t(before)] != 1 || uses[std::size_t(after)] != 1) continue;
    if (sum->ins[0] != before && sum->ins[1] != before) continue;
    const ValueId grown = sum->ins[0] == before ? sum->ins[1] : sum->ins[0];
    const Step* product = maker[std::size_t(grown)];
    if (!product || (product->op != &matmul_op && product->op != &chain_matmul) || uses[std::size_t(grown)] != 1) continue;
    if (!(program.types[std::size_t(grown)] == program.types[std::size_t(before)])) continue;
    const Step* turned = maker[std::size_t(product->ins[0])];
    const bool matrices = turned && transposes(program, *turned) &&
                          program.types[std::size_t(product->ins[1])].shape.size() == 2;
    if (matrices) out.push_back({k, product->op, turned->ins[0], product->ins[1]});
  }
  return out;
}

// What replaces one scan: a scan with fewer carries and more rows, and the products behind it.
class Stacker {
 public:
  Stacker(const ScanBody& body, int64_t length, bool backwards) : old_(body), body_(body), length_(length), backwards_(backwards) {}

  // The program from the scan's inputs to its outputs; no steps where there is nothing to gain.
  Program run() {
    for (const Sum& sum : find_sums(old_)) add(sum);
    if (sums_.empty()) return {};
    Trace trace;
    const GradMode off(false);
    std::vector<Var> inputs, kept, outputs;
    for (std::size_t i = 0; i < old_.program.inputs.size(); ++i) {
      Type type = old_.program.types[std::size_t(old_.program.inputs[i])];
      if (i >= old_.constants + old_.carry) type.shape.insert(0, length_);
      inputs.push_back(trace.input(type));
      if (!is_sum(i)) kept.push_back(inputs.back());
    }
    remove_carries();
    const Vars made = scan(body_, kept, length_, backwards_);
    auto rows = [&](const Place& place) {
      const Var& x = place.is_input ? inputs[place.index] : made[place.index - sums_.size()];
      return reshape(x, {x.shape()[0] * x.shape()[1], x.shape()[2]});
    };
    std::size_t next = 0;
    for (std::size_t j = 0; j < old_.program.outputs.size(); ++j) {
      if (j >= old_.carry || !is_sum(old_.constants + j)) {
        outputs.push_back(made[next++]);
        continue;
      }
      const auto& [sum, left, right] = *std::find_if(sums_.begin(), sums_.end(), [&](const auto& s) { return s.sum.carry == j; });
      const Var factors[] = {matrix_transpose(rows(left)), rows(right)};
      outputs.push_back(wengert::add(inputs[old_.constants + j], apply(*sum.product, factors)));
    }
    trace.close();
    return program_of(trace, inputs, outputs);
  }

 private:
  struct Place {
    bool is_input;
    std::size_t index;  // among the scan's inputs, or among its outputs before carries are removed
  };
  struct Stacked {
    Sum sum;
    Place left, right;
  };

  bool is_sum(std::size_t input) const {
    return std::any_of(sums_.begin(), sums_.end(), [&](const Stacked& s) { return old_.constants + s.sum.carry == input; });
  }

  int64_t row_bytes() const {
    int64_t bytes = 0;
    const Program& program = old_.program;
    for (std::size_t i = old_.constants + old_.carry; i < program.inputs.size(); ++i)
      bytes += bytes_of(program.types[std::size_t(program.inputs[i])]);
    for (std::size_t j = old_.carry; j < program.outputs.size(); ++j)
      bytes += bytes_of(program.types[std::size_t(program.outputs[j])]);
    return bytes;
  }

  // Where all steps' values of `id` are found, if they are already.
  bool find(ValueId id, Place& at) const {
    const Program& program = body_.program;
    for (std::size_t i = body_.constants + body_.carry; i < program.inputs.size(); ++i)
      if (program.inputs[i] == id) return at = {true, i}, true;
    for (std::size_t j = body_.carry; j < program.outputs.size(); ++j)
      if (program.outputs[j] == id) return at = {false, j}, true;
    return false;
  }

  Place place(ValueId id) {
    Place at{false, body_.program.outputs.size()};
    if (!find(id, at)) body_.program.outputs.push_back(id);
    return at;
  }

  void add(const Sum& sum) {
    int64_t more = 0;
    Place at{};
    for (const ValueId id : {sum.left, sum.right})
      if (!find(id, at)) more += bytes_of(body_.program.types[std::size_t(id)]);
    if (more > row_bytes() && more * length_ > free_bytes) return;
    const Place left = place(sum.left), right = place(sum.right);
    sums_.push_back({sum, left, right});
  }

  void remove_carries() {
    ScanBody body = body_;
    body.program.inputs.clear();
    body.program.outputs.clear();
    for (std::size_t i = 0; i < body_.program.inputs.size(); ++i)
      if (!is_sum(i)) body.program.inputs.push_back(body_.program.inputs[i]);
    for (std::size_t j = 0; j < body_.program.outputs.size(); ++j)
      if (j >= body_.carry || !is_sum(body_.constants + j)) body.program.outputs.push_back(body_.program.outputs[j]);
    body.carry -= sums_.size();
    body_ = std::move(body);
  }

  const ScanBody& old_;
  ScanBody body_;
  int64_t length_;
  bool backwards_;
  std::vector<Stacked> sums_;
};

// Puts the steps of `part`, which computes what `step` did, in its place.
void splice(Program& program, std::vector<Step>& steps, const Step& step, Program part) {
  std::vector<ValueId> name(part.types.size(), -1);
  for (std::size_t i = 0; i < part.inputs.size(); ++i) name[std::size_t(part.inputs[i])] = step.ins[i];
  for (std::size_t j = 0; j < part.outputs.size(); ++j) name[std::size_t(part.outputs[j])] = step.outs[j];
  for (std::size_t id = 0; id < name.size(); ++id)
    if (name[id] < 0) name[id] = program.new_value(part.types[id]);
  for (auto& [id, x] : part.constants) program.constants.emplace_back(name[std::size_t(id)], std::move(x));
  for (Step& own : part.steps) {
    for (ValueId& id : own.ins) id = name[std::size_t(id)];
    for (ValueId& id : own.outs) id = name[std::size_t(id)];
    own.source = step.source;
    own.region = step.region;
    steps.push_back(std::move(own));
  }
}

}  // namespace

int64_t stack_sums(Program& program) {
  int64_t count = 0;
  std::vector<Step> steps;
  for (const Step& step : program.steps) {
    const std::optional<ScanParts> parts = as_scan(*step.op);
    Program part = parts ? Stacker(parts->body, parts->length, parts->backwards).run() : Program();
    if (part.steps.empty()) {
      steps.push_back(step);
      continue;
    }
    ++count;
    splice(program, steps, step, std::move(part));
  }
  program.steps = std::move(steps);
  return count;
}

}  // namespace wengert
