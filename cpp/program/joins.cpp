// Sums of boxes in zeros: at one place, or such that fill an array along one axis.
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

// Sums of boxes one after the other, each read by the next alone.
class Summer {
 public:
  explicit Summer(Program& program)
      : program_(program), readers_(count_readers(program)), makers_(program.types.size(), SIZE_MAX) {}

  int64_t run() {
    int64_t count = 0;
    for (Step& step : program_.steps) {
      if (step.op == &more_ && sum(step)) ++count;
      if (step.op == &box_ || step.op == &more_) makers_[std::size_t(step.outs[0])] = kept_.size();
      kept_.push_back(std::move(step));
    }
    program_.steps = std::move(kept_);
    return count;
  }

 private:
  // The step that makes what `step` adds to, if nobody else reads it.
  std::size_t base(const Step& step) const {
    if (step.op != &more_) return SIZE_MAX;
    const std::size_t m = makers_[std::size_t(step.ins[0])];
    const bool fits = m != SIZE_MAX && readers_[std::size_t(step.ins[0])] == 1 && kept_[m].region == step.region &&
                      kept_[m].constant == step.constant;
    return fits ? m : SIZE_MAX;
  }

  bool at_one_place(const Step& a, const Step& b) const {
    return program_.types[std::size_t(a.ins.back())] == program_.types[std::size_t(b.ins.back())] &&
           a.attrs.ints("starts") == b.attrs.ints("starts") && a.attrs.ints("steps") == b.attrs.ints("steps");
  }

  bool sum(Step& last) {
    constexpr int furthest = 8;  // of a long chain, each step looks at so many
    Step* reader = &last;
    for (int depth = 0; depth < furthest; ++depth) {
      const std::size_t m = base(*reader);
      if (m == SIZE_MAX) return false;
      if (at_one_place(kept_[m], last)) {
        const Step first = kept_[m];
        take_out(first, *reader);
        Step sum = last;
        sum.op = &add_;
        sum.attrs = {};
        sum.ins = {first.ins.back(), last.ins.back()};
        sum.outs = {program_.new_value(program_.types[std::size_t(first.ins.back())])};
        last.ins.back() = sum.outs[0];
        kept_.push_back(std::move(sum));
        return true;
      }
      reader = &kept_[m];
    }
    return false;
  }

  // The reader adds to what `first` added to; to nothing, it puts its own box in zeros.
  void take_out(const Step& first, Step& reader) {
    if (first.op == &more_) {
      reader.ins[0] = first.ins[0];
      return;
    }
    const Shape& shape = program_.types[std::size_t(reader.outs[0])].shape;
    reader.op = &box_;
    reader.ins = {reader.ins.back()};
    reader.attrs = make_attrs(box_, {{"shape", Ints(shape.begin(), shape.end())},
                                     {"starts", reader.attrs.ints("starts")}, {"steps", reader.attrs.ints("steps")}});
  }

  const Op &box_ = find_op("unslice"), &more_ = find_op("unslice_add"), &add_ = find_op("add");
  Program& program_;
  std::vector<int32_t> readers_;
  std::vector<std::size_t> makers_;  // of each value, among those kept
  std::vector<Step> kept_;
};

}  // namespace

int64_t sum_boxes(Program& program) { return Summer(program).run(); }

int64_t join_boxes(Program& program) { return Joiner(program).run(); }

}  // namespace wengert
