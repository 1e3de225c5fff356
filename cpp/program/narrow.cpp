// Broadcasts moved behind elementwise steps.
#include "ops/vocabulary.h"
#include "program/layout.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

constexpr int64_t worth_it = 2048;  // elements that need not be computed, and how many for one that is
constexpr int64_t least_ratio = 4;

class Narrower {
 public:
  explicit Narrower(Program& program) : program_(program), layout_(program) {}

  int64_t run() {
    const std::vector<Step> steps = program_.steps;
    int64_t count = 0;
    for (const Step& step : steps) {
      const bool changed = is_elementwise(step) && layout_.shape(step.outs[0]).size() > 0 && (whole(step) || slope(step));
      if (changed) ++count;
      else layout_.keep(step);
    }
    layout_.finish();
    return count;
  }

 private:
  // The shape of what differs among operands, but for that of number `skipped`; 1 along the axes of which all are copies.
  Shape narrowed(const Step& step, int skipped) const {
    Shape shape = layout_.shape(step.outs[0]);
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      bool repeated = true;
      for (std::size_t i = 0; i < step.ins.size(); ++i) {
        const Array& x = layout_.array(step.ins[i]);
        if (int(i) != skipped && x.ndim() > 0 && x.strides()[axis] != 0) repeated = false;
      }
      if (repeated) shape[axis] = 1;
    }
    return shape;
  }

  bool pays(const Shape& small, const Shape& shape) const {
    return numel(shape) - numel(small) >= worth_it && numel(shape) >= least_ratio * numel(small);
  }

  ValueId reduced(const Step& step, ValueId id, const Shape& shape) {
    if (layout_.shape(id).size() == 0) return id;
    const Ints zeros(shape.size(), 0), ones(shape.size(), 1);
    return layout_.view(step, "slice", {{"starts", zeros}, {"sizes", shape}, {"steps", ones}}, id);
  }

  bool whole(const Step& step) {
    const ValueId out = step.outs[0];
    const Type type = program_.types[std::size_t(out)];
    const Shape small = narrowed(step, -1);
    if (!pays(small, type.shape) || !layout_.read_only_by(out, [](const Step& s) { return is_elementwise(s); })) return false;
    SmallVector<ValueId, 3> ins;
    for (const ValueId id : step.ins) ins.push_back(reduced(step, id, small));
    const ValueId once = layout_.compute(step, *step.op, step.attrs, std::move(ins), {type.dtype, small});
    layout_.view_as(step, "broadcast_to", {{"shape", type.shape}}, once, out);
    return true;
  }

  bool slope(const Step& step) {
    static const Op& product = find_op("chain_multiply");
    if (!step.op->laws.scales) return false;
    const ValueId out = step.outs[0], g = step.ins[0];
    const Type type = program_.types[std::size_t(out)];
    const Shape small = narrowed(step, 0);
    if (!pays(small, type.shape)) return false;
    SmallVector<ValueId, 3> ins;
    for (std::size_t i = 0; i < step.ins.size(); ++i) {
      if (i != 0) {
        ins.push_back(reduced(step, step.ins[i], small));
        continue;
      }
      ins.push_back(program_.new_value({type.dtype, {}}));
      program_.constants.emplace_back(ins.back(), constant(1, type.dtype));
    }
    const ValueId once = layout_.compute(step, *step.op, step.attrs, std::move(ins), {type.dtype, small});
    const ValueId wide = layout_.view(step, "broadcast_to", {{"shape", type.shape}}, once);
    Step last = step;
    last.op = &product;
    last.attrs = {};
    last.ins = {g, wide};
    layout_.keep(std::move(last));
    return true;
  }

  Program& program_;
  LayoutRewriter layout_;
};

}  // namespace

int64_t narrow(Program& program) { return Narrower(program).run(); }

}  // namespace wengert
