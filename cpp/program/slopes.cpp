// Derivatives made where the function is: f(x) and its slope share most of their work, and the slope is
// kept for the reverse sweep in the place of x.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ops/vocabulary.h"
#include "program/layout.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

class SlopeSharer {
 public:
  explicit SlopeSharer(Program& program) : program_(program), layout_(program), slopes_(program.types.size(), -1) {
    for (std::size_t id = 0; id < program.types.size(); ++id)
      sharing_[layout_.array(ValueId(id)).buffer().get()].push_back(ValueId(id));
  }

  int64_t run() {
    const std::vector<Step> steps = program_.steps;
    for (const Step& step : steps)
      for (const ValueId id : step.outs) made_.insert(id);
    int64_t count = 0;
    for (const Step& step : steps) {
      if (use_slope(step)) {
        ++count;
        continue;
      }
      layout_.keep(step);
      if (is_elementwise(step) && !step.op->twin.empty() && pays(step)) make_slope(step);
    }
    layout_.finish();
    return count;
  }

 private:
  bool is_slope_of(const Step& step, const Step& f) const {
    return is_elementwise(step) && step.op->laws.scales && step.op->name == f.op->twin && step.ins[1] == f.ins[0] &&
           step.ins[0] != f.ins[0];
  }

  // Whether x is all of its memory, which others only look at in order to make x.
  bool lies_alone(ValueId x) const {
    const Array& own = layout_.array(x);
    if (std::size_t(own.size()) * std::size_t(itemsize(own.dtype())) != own.buffer()->bytes) return false;
    for (const ValueId id : sharing_.at(own.buffer().get())) {
      const auto looks = [&](const Step& reader) { return layout_.array(reader.outs[0]).buffer() == own.buffer(); };
      if (id != x && !layout_.read_only_by(id, looks)) return false;
    }
    return true;
  }

  // Nothing but f and its derivatives reads x: it need not be kept.
  bool pays(const Step& f) const {
    const ValueId x = f.ins[0];
    if (!made_.contains(x) || slopes_[std::size_t(x)] >= 0 || !lies_alone(x)) return false;
    bool any = false;
    return layout_.read_only_by(x, [&](const Step& reader) {
      const bool is_slope = is_slope_of(reader, f);
      any |= is_slope;
      return is_slope || (reader.op == f.op && reader.region == f.region);
    }) && any;
  }

  void make_slope(const Step& f) {
    const Op& op = find_op(f.op->twin);
    const ValueId x = f.ins[0];
    const Type type = program_.types[std::size_t(x)];
    const ValueId one = program_.new_value({type.dtype, {}});
    program_.constants.emplace_back(one, constant(1, type.dtype));
    slopes_[std::size_t(x)] = layout_.compute(f, op, {}, {one, x}, type);
  }

  bool use_slope(const Step& step) {
    static const Op& product = find_op("chain_multiply");
    if (!is_elementwise(step) || !step.op->laws.scales || step.ins.size() != 2) return false;
    const ValueId slope = slopes_[std::size_t(step.ins[1])];
    if (slope < 0) return false;
    Step last = step;
    last.op = &product;
    last.attrs = {};
    last.ins = {step.ins[0], slope};
    layout_.keep(std::move(last));
    return true;
  }

  Program& program_;
  LayoutRewriter layout_;
  std::unordered_set<ValueId> made_;
  std::unordered_map<const Buffer*, std::vector<ValueId>> sharing_;  // values, by their memory
  std::vector<ValueId> slopes_;  // of each value of before, where it has one
};

}  // namespace

int64_t share_slopes(Program& program) {
  const auto has_twin = [](const Step& step) { return !step.op->twin.empty(); };
  if (std::none_of(program.steps.begin(), program.steps.end(), has_twin)) return 0;
  return SlopeSharer(program).run();
}

}  // namespace wengert
