#include "runtime/parts.h"

#include <algorithm>
#include <utility>

namespace wengert {
namespace {

class Parts {
 public:
  explicit Parts(const Program& program)
      : program_(program), arrays_(lay_out(program)), readers_(count_readers(program)),
        makers_(arrays_.size(), nullptr) {
    for (const Step& step : program.steps)
      for (const ValueId id : step.outs) makers_[std::size_t(id)] = &step;
  }

  std::vector<Array> run() {
    for (const Step& step : program_.steps)
      if (step.op->joins) place(step);
    return std::move(arrays_);
  }

 private:
  using Places = std::vector<std::pair<ValueId, Array>>;

  const Array& array(ValueId id) const { return arrays_[std::size_t(id)]; }

  // All or none.
  void place(const Step& join) {
    const Array& whole = array(join.outs[0]);
    const auto axis = std::size_t(join.attrs.integer("axis"));
    const Step* maker = nullptr;
    Places found;
    int64_t offset = whole.offset();
    for (const ValueId id : join.ins) {
      const Step* made_by = follow(id, whole.view(array(id).shape(), whole.strides(), offset), found);
      if (!made_by || (maker && made_by != maker) || made_by->region != join.region) return;
      maker = made_by;
      offset += array(id).shape()[axis] * whole.strides()[axis];
    }
    for (auto& [id, part] : found) arrays_[std::size_t(id)] = std::move(part);
  }

  // Where the value lies if it is to be `part`, and so by views what it was made as. The step that can make it there,
  // or null.
  const Step* follow(ValueId id, Array part, Places& found) const {
    while (const Step* step = makers_[std::size_t(id)]) {
      if (readers_[std::size_t(id)] != 1 || part.size() == 0) return nullptr;
      found.emplace_back(id, part);
      if (!is_view(*step, arrays_)) {
        if (!step->op->writes_rows_apart || step->own_op) return nullptr;
        return part.strides().back() == 1 || part.shape().back() == 1 ? step : nullptr;
      }
      const Array &seen = array(id), &from = array(step->ins[0]);
      if (!seen.is_contiguous() || !from.is_contiguous() || seen.size() != from.size()) return nullptr;
      part = part.try_reshape(from.shape());
      if (!part.has_data()) return nullptr;
      id = step->ins[0];
    }
    return nullptr;
  }

  const Program& program_;
  std::vector<Array> arrays_;
  std::vector<int32_t> readers_;
  std::vector<const Step*> makers_;
};

}  // namespace

std::vector<Array> lay_out_parts(const Program& program) {
  const auto joins = [](const Step& step) { return step.op->joins; };
  return std::any_of(program.steps.begin(), program.steps.end(), joins) ? Parts(program).run() : lay_out(program);
}

}  // namespace wengert
