#include "runtime/planner.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace wengert {
namespace {

constexpr std::size_t most_members = 48;

bool is_elementwise(const Step& step) {
  return step.op->tiles && !step.own_op && step.outs.size() == 1;
}

}  // namespace

std::vector<PlannedUnit> plan_units(const Program& program, const std::vector<Array>& arrays) {
  std::vector<PlannedUnit> units;
  std::unordered_map<const Buffer*, std::size_t> made_in;  // the unit that writes a buffer
  std::map<std::pair<uint32_t, int64_t>, std::vector<std::size_t>> groups;  // of a region and a size, in order
  made_in.reserve(arrays.size());
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    const auto array = [&](ValueId id) -> const Array& { return arrays[std::size_t(id)]; };
    const Array& out = array(step.outs[0]);
    const bool is_view = step.ins.size() == 1 && array(step.ins[0]).buffer() == out.buffer();
    if (is_view) continue;
    std::size_t earliest = 0;  // the first unit this step may join or follow
    const bool joinable = is_elementwise(step);
    for (const ValueId id : step.ins) {
      const auto found = made_in.find(array(id).buffer().get());
      if (found != made_in.end()) earliest = std::max(earliest, found->second);
    }
    std::size_t chosen = units.size();
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
        const auto found = made_in.find(x.buffer().get());
        const bool within = found != made_in.end() && found->second == u;
        // Of its own unit a member reads the element at its own place; of others, what can be walked
        // in the unit's shape.
        const bool in_line = x.is_contiguous() && x.offset() == 0 && x.size() == out.size();
        if (within ? !in_line : !(same_shape || in_line || x.ndim() == 0)) fits = false;
      }
      if (fits) {
        chosen = u;
        break;
      }
    }
    if (chosen == units.size()) {
      units.push_back({{}, joinable});
      if (alike) alike->push_back(chosen);
    }
    units[chosen].steps.push_back(s);
    for (const ValueId id : step.outs) made_in[array(id).buffer().get()] = chosen;
  }
  return units;
}

}  // namespace wengert
