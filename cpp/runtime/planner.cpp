#include "runtime/planner.h"

#include <algorithm>
#include <map>

#include "kernels/blas.h"
#include "runtime/grouping.h"

namespace wengert {
namespace {

constexpr std::size_t most_members = 48, most_products = 8;
constexpr int64_t worth_a_task = 1 << 24;  // operations

// A product of two matrices for one thread, long enough to wake another for a second one.
bool is_task(const Program& program, const Step& step) {
  if (step.op->family != Family::bilinear || step.own_op || step.ins.size() != 2) return false;
  const auto shape = [&](ValueId id) -> const Shape& { return program.types[std::size_t(id)].shape; };
  const Shape &a = shape(step.ins[0]), &out = shape(step.outs[0]);
  return a.size() == 2 && shape(step.ins[1]).size() == 2 && program.flops(step) >= worth_a_task &&
         blas::is_one_task(out[0], out[1], a[1]);
}

// Whether the group may reduce what the step reads, which it makes, as all its reductions do.
bool may_end(const Program& program, const std::vector<Array>& arrays, const PlannedUnit& unit, const Step& step) {
  const Step& first = program.steps[unit.steps[0]];
  const auto size = [&](ValueId id) { return arrays[std::size_t(id)].size(); };
  if (!unit.grouped || first.region != step.region || size(step.ins[0]) != size(first.outs[0])) return false;
  if (unit.steps.size() >= most_members) return false;
  const auto wanted = stretches_of(step, arrays);
  std::size_t ends = 0;
  bool alike = wanted.has_value();
  for (std::size_t i = 0; i < unit.steps.size() && alike; ++i) {
    const Step& other = program.steps[unit.steps[i]];
    if (!is_end(other)) continue;
    alike = ++ends < kernels::TileGroup::most_ends && stretches_of(other, arrays) == wanted;
  }
  return alike;
}

}  // namespace

std::vector<PlannedUnit> plan_units(const Program& program, const std::vector<Array>& arrays, const Homes& homes) {
  std::vector<PlannedUnit> units;
  constexpr std::size_t nowhere = SIZE_MAX;
  std::vector<std::size_t> made_in(homes.count, nowhere);  // the unit that writes a buffer
  std::map<std::pair<uint32_t, int64_t>, std::vector<std::size_t>> groups;  // of a region and a size, in order
  std::vector<bool> reduced(homes.count, false);  // there when all of its group has run
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    const auto array = [&](ValueId id) -> const Array& { return arrays[std::size_t(id)]; };
    const auto unit_of = [&](ValueId id) -> std::size_t& { return made_in[std::size_t(homes.of[std::size_t(id)])]; };
    const Array& out = array(step.outs[0]);
    if (is_view(step, arrays)) continue;
    std::size_t earliest = 0;  // the first unit this step may join or follow
    bool waits = false;        // for the last one
    const bool joinable = is_elementwise(step);
    for (const ValueId id : step.ins) {
      const std::size_t made = unit_of(id);
      if (made == nowhere) continue;
      earliest = std::max(earliest, made);
      waits |= made + 1 == units.size();
    }
    std::size_t chosen = units.size();
    if (is_end(step) && !step.alone)
      if (const std::size_t made = unit_of(step.ins[0]); made != nowhere && may_end(program, arrays, units[made], step))
        chosen = made;
    std::vector<std::size_t>* alike = joinable ? &groups[{step.region, out.size()}] : nullptr;
    const auto from = alike ? std::size_t(std::lower_bound(alike->begin(), alike->end(), earliest) - alike->begin()) : 0;
    for (std::size_t k = from; alike && k < alike->size(); ++k) {
      const std::size_t u = (*alike)[k];
      const PlannedUnit& unit = units[u];
      if (unit.steps.size() >= most_members) continue;
      const Array& shaped = array(program.steps[unit.steps[0]].outs[0]);
      const bool same_shape = shaped.shape() == out.shape();
      bool fits = true;
      for (const ValueId id : step.ins) {
        const Array& x = array(id);
        const bool within = unit_of(id) == u;
        // Of its own unit a member reads the element at its own place; of others, what can be walked
        // in the unit's shape.
        const bool in_line = x.is_contiguous() && x.offset() == 0 && x.size() == out.size();
        const bool there = within ? in_line && !reduced[std::size_t(homes.of[std::size_t(id)])]
                                  : same_shape || in_line || x.ndim() == 0;
        if (!there) fits = false;
      }
      if (fits) {
        chosen = u;
        break;
      }
    }
    if (!joinable && !waits && !units.empty() && is_task(program, step)) {
      const PlannedUnit& last = units.back();
      const Step& other = program.steps[last.steps[0]];
      const auto is_read = [&](ValueId id) {
        return std::any_of(step.ins.begin(), step.ins.end(),
                           [&](ValueId own) { return array(own).buffer() == array(id).buffer(); });
      };
      if (!last.grouped && last.steps.size() < most_products && other.region == step.region && is_task(program, other) &&
          std::any_of(other.ins.begin(), other.ins.end(), is_read))
        chosen = units.size() - 1;
    }
    if (chosen == units.size()) {
      units.push_back({{}, joinable});
      if (alike) alike->push_back(chosen);
    }
    if (units[chosen].grouped && is_end(step)) reduced[std::size_t(homes.of[std::size_t(step.outs[0])])] = true;
    units[chosen].steps.push_back(s);
    for (const ValueId id : step.outs) unit_of(id) = chosen;
  }
  return units;
}

}  // namespace wengert
