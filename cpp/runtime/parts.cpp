#include "runtime/parts.h"

#include <utility>

namespace wengert {
namespace {

class Parts {
 public:
  explicit Parts(const Program& program)
      : program_(program), arrays_(lay_out(program)), readers_(count_readers(program)), makers_(arrays_.size(), nullptr) {
    for (const Step& step : program.steps)
      for (const ValueId id : step.outs) makers_[std::size_t(id)] = &step;
  }

  std::vector<Array> run() {
    for (const Step& step : program_.steps)
      if (step.op->joins) place(step);
    return std::move(arrays_);
  }

 private:
  const Array& array(ValueId id) const { return arrays_[std::size_t(id)]; }

  // All or none.
  void place(const Step& join) {
    const Array& whole = array(join.outs[0]);
    const auto axis = std::size_t(join.attrs.integer("axis"));
    const Step* maker = nullptr;
    std::vector<std::pair<ValueId, Array>> found;
    int64_t offset = whole.offset();
    for (ValueId id : join.ins) {
      Array part = whole.view(array(id).shape(), whole.strides(), offset);
      offset += part.shape()[axis] * whole.strides()[axis];
      // Back by views to what was made.
      for (const Step* step = makers_[std::size_t(id)];; step = makers_[std::size_t(id)]) {
        if (!step || readers_[std::size_t(id)] != 1 || part.size() == 0) return;
        found.emplace_back(id, part);
        if (!is_view(*step, arrays_)) {
          if (!step->op->writes_anywhere || step->own_op || step->region != join.region) return;
          if (maker && maker != step) return;
          if (part.strides().back() != 1 && part.shape().back() != 1) return;
          maker = step;
          break;
        }
        const Array &seen = array(id), &from = array(step->ins[0]);
        if (!seen.is_contiguous() || !from.is_contiguous() || seen.size() != from.size()) return;
        part = part.try_reshape(from.shape());
        if (!part.has_data()) return;
        id = step->ins[0];
      }
    }
    for (auto& [id, part] : found) arrays_[std::size_t(id)] = std::move(part);
  }

  const Program& program_;
  std::vector<Array> arrays_;
  std::vector<int32_t> readers_;
  std::vector<const Step*> makers_;
};

}  // namespace

std::vector<Array> lay_out_parts(const Program& program) { return Parts(program).run(); }

}  // namespace wengert
