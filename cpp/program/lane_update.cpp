#include "program/lane_update.h"

#include <algorithm>
#include <optional>

#include "ops/optimise.h"

namespace wengert {
namespace {

constexpr std::size_t least_updates = 8;

}  // namespace

std::optional<int64_t> emit_updates(const Program& program, Lanes& lanes, const Step& step) {
  if (!step.op->laws.by_number || step.own_op) return std::nullopt;
  const UpdateLayout layout = update_layout(step.attrs);
  std::map<DType, std::vector<std::size_t>> numbers;
  std::vector<std::size_t> others;
  for (std::size_t k = 0; k < layout.params; ++k) {
    const Type& type = program.types[std::size_t(step.ins[layout.in_p(k)])];
    if (type.shape.empty()) numbers[type.dtype].push_back(k);
    else others.push_back(k);
  }
  std::erase_if(numbers, [&](const auto& entry) {
    const bool few = entry.second.size() < least_updates;
    if (few) others.insert(others.end(), entry.second.begin(), entry.second.end());
    return few;
  });
  if (numbers.empty()) return std::nullopt;

  const Ints& which = step.attrs.ints("which");
  const ValueId rate = lanes.number(step, step.ins[0]);
  ValueId counts = step.ins[1];
  std::size_t left = numbers.size() + !others.empty();
  const auto keep = [&](const Op& op, Ints places, SmallVector<ValueId, 3> ins, SmallVector<ValueId, 1> outs) {
    outs[0] = --left == 0 ? step.outs[0] : lanes.new_value(program.types[std::size_t(counts)]);
    counts = outs[0];
    lanes.keep({.op = &op, .attrs = step.attrs.with("which", std::move(places)), .ins = std::move(ins),
                .outs = std::move(outs), .source = step.source, .tracked = step.tracked, .region = step.region});
  };
  for (auto& [dtype, own] : numbers) {
    const auto read = [&](std::size_t place) {
      std::vector<ValueId> ids;
      for (const std::size_t k : own) ids.push_back(step.ins[layout.in_p(k) + place]);
      return ids;
    };
    lanes.house(step, read(0));
    std::stable_sort(own.begin(), own.end(), [&](std::size_t a, std::size_t b) {
      const auto &x = lanes.home(step.ins[layout.in_p(a)]), &y = lanes.home(step.ins[layout.in_p(b)]);
      return std::pair(x.vector, x.lane) < std::pair(y.vector, y.lane);
    });
    SmallVector<ValueId, 3> ins{rate, counts};
    for (std::size_t place = 0; place < 2 + layout.states; ++place)
      ins.push_back(lanes.side_by_side(step, read(place)));
    Ints places;
    for (const std::size_t k : own) places.push_back(which[k]);
    const Type type{dtype, {int64_t(own.size())}};
    SmallVector<ValueId, 1> outs{counts};
    for (std::size_t s = 0; s <= layout.states; ++s) outs.push_back(lanes.new_value(type));
    keep(*step.op->laws.by_number, std::move(places), std::move(ins), outs);
    for (std::size_t s = 0; s <= layout.states; ++s) {
      std::vector<ValueId> made;
      for (const std::size_t k : own) made.push_back(step.outs[layout.out_p(k) + s]);
      lanes.settle(outs[1 + s], std::move(made));
    }
  }
  if (!others.empty()) {
    SmallVector<ValueId, 3> ins{rate, counts};
    SmallVector<ValueId, 1> outs{counts};
    Ints places;
    for (const std::size_t k : others) {
      places.push_back(which[k]);
      for (std::size_t i = layout.in_p(k); i < layout.in_p(k + 1); ++i) ins.push_back(lanes.number(step, step.ins[i]));
      for (std::size_t o = layout.out_p(k); o < layout.out_p(k + 1); ++o) outs.push_back(step.outs[o]);
    }
    keep(*step.op, std::move(places), std::move(ins), std::move(outs));
  }
  for (const std::size_t k : others)
    for (std::size_t o = layout.out_p(k); o < layout.out_p(k + 1); ++o) lanes.make_number(step.outs[o]);
  lanes.make_number(step.outs[0]);
  int64_t count = 0;
  for (const auto& [dtype, own] : numbers) count += int64_t(own.size()) - 1;
  return count;
}

}  // namespace wengert
