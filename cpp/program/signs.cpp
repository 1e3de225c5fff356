// Negations moved through products into sums, where they cost nothing.
#include <algorithm>

#include "program/layout.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

class SignFolder {
 public:
  explicit SignFolder(Program& program)
      : program_(program), layout_(program), negation_(program.types.size()) {}

  int64_t run() {
    const std::vector<Step> steps = program_.steps;
    int64_t count = 0;
    for (const Step& step : steps) {
      const Laws& laws = step.op->laws;
      if (is_elementwise(step) && laws.negates) negation_[std::size_t(step.outs[0])] = {step.op, step.ins[0], step.region};
      const bool changed = is_elementwise(step) && step.ins.size() == 2 &&
                           (laws.with_negative ? into_sum(step) : laws.odd && out_of_product(step));
      if (changed) ++count;
      else layout_.keep(step);
    }
    layout_.finish();
    return count;
  }

 private:
  struct Negation {  // a value that is -of
    const Op* op = nullptr;
    ValueId of = -1;
    uint32_t region = 0;
  };

  const Negation* negation(const Step& step, std::size_t i) const {
    const Negation& found = negation_[std::size_t(step.ins[i])];
    return found.op && found.region == step.region ? &found : nullptr;
  }

  bool into_sum(const Step& step) {
    const Negation *first = negation(step, 0), *second = negation(step, 1);
    if (!second && !(first && step.op->laws.sums)) return false;
    Step sum = step;
    sum.op = &find_op(step.op->laws.with_negative);
    if (second) sum.ins[1] = second->of;
    else sum.ins = {step.ins[1], first->of};
    layout_.keep(std::move(sum));
    return true;
  }

  // Both signs, or one that every reader takes into its sum.
  bool out_of_product(const Step& step) {
    const Negation *first = negation(step, 0), *second = negation(step, 1);
    const ValueId out = step.outs[0];
    if (!first && !second) return false;
    const bool both = first && second;
    const bool vanishes = both || layout_.read_only_by(out, [&](const Step& reader) {
      return reader.region == step.region && is_elementwise(reader) && reader.op->laws.with_negative &&
             reader.ins[0] != reader.ins[1] && (reader.op->laws.sums || reader.ins[1] == out);
    });
    if (!vanishes) return false;
    SmallVector<ValueId, 3> ins = step.ins;
    if (first) ins[0] = first->of;
    if (second) ins[1] = second->of;
    Step product = step;
    product.ins = ins;
    if (both) {
      layout_.keep(std::move(product));
      return true;
    }
    Step sign = step;
    sign.op = (first ? first : second)->op;
    sign.attrs = {};
    const Type type = program_.types[std::size_t(out)];
    product.outs = {program_.new_value(type)};
    sign.ins = {product.outs[0]};
    negation_[std::size_t(out)] = {sign.op, product.outs[0], step.region};
    negation_.resize(program_.types.size());
    layout_.keep(std::move(product));
    layout_.keep(std::move(sign));
    return true;
  }

  Program& program_;
  LayoutRewriter layout_;
  std::vector<Negation> negation_;
};

}  // namespace

int64_t fold_signs(Program& program) { return SignFolder(program).run(); }

}  // namespace wengert
