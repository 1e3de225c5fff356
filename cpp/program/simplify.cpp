#include "program/simplify.h"

#include <numeric>
#include <unordered_map>

#include "ops/laws.h"

namespace wengert {
namespace {

bool same_place(const Array& a, const Array& b) {
  return a.buffer() == b.buffer() && a.type() == b.type() && a.strides() == b.strides() && a.offset() == b.offset();
}

std::size_t hash_of(const Step& step) {
  std::size_t hash = std::hash<const void*>()(step.op) ^ step.attrs.hash();
  for (const ValueId id : step.ins) hash = hash * 1000003u ^ std::size_t(id);
  return hash;
}

bool same_value(const Step& a, const Step& b) {
  return a.op == b.op && a.region == b.region && a.ins == b.ins && a.attrs == b.attrs;
}

}  // namespace

Simplified simplify(Program& program) {
  Simplified counts;
  const std::vector<Array> arrays = lay_out(program);
  std::vector<ValueId> instead(program.types.size());
  std::iota(instead.begin(), instead.end(), ValueId(0));
  std::unordered_map<std::size_t, std::vector<std::size_t>> known;
  std::vector<Step> kept;
  std::vector<std::size_t> maker(program.types.size(), SIZE_MAX);  // among those kept
  // A value that this step, of one input, gives back: what a view of views looks at in the end, or
  // what was negated before it is negated again.
  auto given_back = [&](const Step& step) -> ValueId {
    const Array& own = arrays[std::size_t(step.outs[0])];
    constexpr int furthest = 8;
    ValueId source = step.ins[0];
    for (int depth = 0; depth < furthest; ++depth) {
      if (same_place(arrays[std::size_t(source)], own)) return source;
      const std::size_t m = maker[std::size_t(source)];
      if (m == SIZE_MAX || kept[m].own_op || kept[m].ins.size() != 1 || kept[m].outs.size() != 1) return -1;
      if (depth == 0 && kept[m].op == step.op && laws_of(*step.op).involution && kept[m].region == step.region) return kept[m].ins[0];
      if (arrays[std::size_t(kept[m].ins[0])].buffer() != own.buffer()) return -1;
      source = kept[m].ins[0];
    }
    return -1;
  };
  for (Step& step : program.steps) {
    for (ValueId& id : step.ins) id = instead[std::size_t(id)];
    if (step.ins.size() == 1 && step.outs.size() == 1 && !step.own_op)
      if (const ValueId same = given_back(step); same >= 0) {
        instead[std::size_t(step.outs[0])] = same;
        ++counts.identities;
        continue;
      }
    // What the user wrote may differ from call to call; rows of the table do not.
    auto& same = known[hash_of(step)];
    bool found = false;
    for (const std::size_t earlier : same)
      if (!step.own_op && same_value(kept[earlier], step)) {
        for (std::size_t i = 0; i < step.outs.size(); ++i) instead[std::size_t(step.outs[i])] = kept[earlier].outs[i];
        found = true;
        break;
      }
    if (found) {
      ++counts.repeated;
      continue;
    }
    same.push_back(kept.size());
    for (const ValueId id : step.outs) maker[std::size_t(id)] = kept.size();
    kept.push_back(std::move(step));
  }
  for (ValueId& id : program.outputs) id = instead[std::size_t(id)];

  std::vector<bool> read(program.types.size(), false);
  for (const ValueId id : program.outputs) read[std::size_t(id)] = true;
  std::vector<bool> needed(kept.size(), false);
  for (std::size_t s = kept.size(); s-- > 0;) {
    for (const ValueId id : kept[s].outs) needed[s] = needed[s] || read[std::size_t(id)];
    if (!needed[s]) {
      ++counts.unused;
      continue;
    }
    for (const ValueId id : kept[s].ins) read[std::size_t(id)] = true;
  }
  program.steps.clear();
  for (std::size_t s = 0; s < kept.size(); ++s)
    if (needed[s]) program.steps.push_back(std::move(kept[s]));
  std::erase_if(program.constants, [&](const auto& constant) { return !read[std::size_t(constant.first)]; });
  return counts;
}

}  // namespace wengert
