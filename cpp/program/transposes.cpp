// Transposes moved behind elementwise steps, and before products.
#include <algorithm>

#include "program/layout.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

constexpr int64_t worth_it = 1024;  // elements

// The order of axes in which x is one run of memory; empty where there is none, or it is that of the shape.
Ints memory_order(const Array& x) {
  Ints order = all_axes(x.ndim());
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return x.strides()[std::size_t(a)] > x.strides()[std::size_t(b)];
  });
  int64_t run = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto axis = std::size_t(order[i]);
    if (x.strides()[axis] != run) return {};
    run *= x.shape()[axis];
  }
  if (order == all_axes(x.ndim())) return {};
  return order;
}

const Ints turned = {1, 0};

bool is_turn(const Step& step) {
  return !step.own_op && step.op->name == "permute_dims" && step.attrs.ints("axes") == turned;
}

bool any_layout_serves(const Step& step) { return is_elementwise(step) || step.op->family == Family::bilinear; }

}  // namespace

int64_t move_transposes(Program& program) {
  LayoutRewriter layout(program);
  // The common order of the operands that are not broadcast.
  auto order_of = [&](const Step& step) {
    Ints order;
    for (const ValueId id : step.ins) {
      const Array& x = layout.array(id);
      const bool repeats = std::any_of(x.strides().begin(), x.strides().end(), [](int64_t s) { return s == 0; });
      if (x.ndim() == 0 || repeats) continue;
      const Ints own = memory_order(x);
      if (own.empty() || (!order.empty() && !(order == own))) return Ints();
      order = own;
    }
    return order;
  };
  // The step that transposes a product for those who want rows of it.
  auto turned_by = [&](const Step& step) -> const Step* {
    const auto is_matrix = [&](ValueId id) { return layout.shape(id).size() == 2; };
    if (step.own_op || !step.op->laws.turns || !is_matrix(step.ins[0]) || !is_matrix(step.ins[1])) return nullptr;
    const Step* reader = layout.only_reader(step.outs[0]);
    const bool wanted = reader && is_turn(*reader) && reader->region == step.region;
    return wanted && !layout.read_only_by(reader->outs[0], any_layout_serves) ? reader : nullptr;
  };
  int64_t count = 0;
  const std::vector<Step> steps = program.steps;
  std::vector<bool> done(program.types.size(), false);
  for (const Step& step : steps) {
    if (done[std::size_t(step.outs[0])]) continue;
    if (const Step* reader = turned_by(step)) {
      const auto transpose = [&](ValueId id) { return layout.view(step, "permute_dims", {{"axes", turned}}, id); };
      const ValueId left = transpose(step.ins[1]), right = transpose(step.ins[0]);
      layout.compute_as(step, {left, right}, reader->outs[0]);
      done[std::size_t(reader->outs[0])] = true;
      ++count;
      continue;
    }
    const Ints order = is_elementwise(step) && numel(layout.shape(step.outs[0])) >= worth_it &&
                               layout.read_only_by(step.outs[0], any_layout_serves)
                           ? order_of(step)
                           : Ints();
    if (order.empty()) {
      layout.keep(step);
      continue;
    }
    Ints back(order.size(), 0);
    Type type = program.types[std::size_t(step.outs[0])];
    const Shape shape = type.shape;
    for (std::size_t i = 0; i < order.size(); ++i) {
      back[std::size_t(order[i])] = int64_t(i);
      type.shape[i] = shape[std::size_t(order[i])];
    }
    SmallVector<ValueId, 3> ins;
    for (const ValueId id : step.ins)
      ins.push_back(layout.shape(id).size() == 0 ? id : layout.view(step, "permute_dims", {{"axes", order}}, id));
    const ValueId made = layout.compute(step, *step.op, step.attrs, std::move(ins), std::move(type));
    layout.view_as(step, "permute_dims", {{"axes", back}}, made, step.outs[0]);
    ++count;
  }
  layout.finish();
  return count;
}

}  // namespace wengert
