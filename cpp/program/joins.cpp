// Sums of boxes in zeros that fill an array along one axis.
#include <algorithm>

#include "program/rewrite.h"

namespace wengert {
namespace {

class Joiner {
 public:
  explicit Joiner(Program& program)
      : program_(program), readers_(count_readers(program)), makers_(program.types.size(), nullptr) {}

  int64_t run() {
    int64_t count = 0;
    for (Step& step : program_.steps) {
      if (step.op == &more_ && join(step)) ++count;
      if (step.outs.size() == 1) makers_[std::size_t(step.outs[0])] = &step;
    }
    return count;
  }

 private:
  // The boxes that `last` and the sums it adds to put in zeros; none where something else begins them.
  std::vector<const Step*> boxes(const Step& last) const {
    std::vector<const Step*> found{&last};
    while (found.back()->op == &more_) {
      const ValueId base = found.back()->ins[0];
      const Step* made = makers_[std::size_t(base)];
      if (!made || readers_[std::size_t(base)] != 1 || made->region != last.region) return {};
      if (made->op != &more_ && made->op != &box_) return {};
      found.push_back(made);
    }
    return found;
  }

  bool join(Step& last) {
    std::vector<const Step*> parts = boxes(last);
    const Shape& whole = program_.types[std::size_t(last.outs[0])].shape;
    for (std::size_t axis = 0; axis < whole.size() && !parts.empty(); ++axis) {
      const auto start = [&](const Step* part) { return part->attrs.ints("starts")[axis]; };
      const auto size = [&](const Step* part) { return program_.types[std::size_t(part->ins.back())].shape[axis]; };
      std::sort(parts.begin(), parts.end(),
                [&](auto* a, auto* b) { return std::pair(start(a), size(a)) < std::pair(start(b), size(b)); });
      int64_t filled = 0;
      for (const Step* part : parts) {
        const Shape& box = program_.types[std::size_t(part->ins.back())].shape;
        bool fits = start(part) == filled;
        for (std::size_t i = 0; i < whole.size(); ++i)
          fits = fits && part->attrs.ints("steps")[i] == 1 && (i == axis || box[i] == whole[i]);
        filled = fits ? filled + box[axis] : -1;
        if (!fits) break;
      }
      if (filled != whole[axis]) continue;
      SmallVector<ValueId, 3> ins;
      for (const Step* part : parts) ins.push_back(part->ins.back());
      last.ins = std::move(ins);
      last.op = &find_op("concat");
      last.attrs = make_attrs(*last.op, {{"axis", int64_t(axis)}});
      return true;
    }
    return false;
  }

  const Op &box_ = find_op("unslice"), &more_ = find_op("unslice_add");
  Program& program_;
  std::vector<int32_t> readers_;
  std::vector<const Step*> makers_;
};

}  // namespace

int64_t join_boxes(Program& program) { return Joiner(program).run(); }

}  // namespace wengert
