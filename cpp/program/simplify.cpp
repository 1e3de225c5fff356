#include "program/simplify.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>


namespace wengert {
namespace {

std::size_t hash_of(const Step& step) {
  std::size_t hash = std::hash<const void*>()(step.op) ^ step.attrs.hash();
  for (const ValueId id : step.ins) hash = hash * 1000003u ^ std::size_t(id);
  return hash;
}

bool same_value(const Step& a, const Step& b) {
  return a.op == b.op && a.region == b.region && a.ins == b.ins && a.attrs == b.attrs;
}

// Numbers of regions that stay apart from each other at each place where a body is opened.
class Regions {
 public:
  explicit Regions(uint32_t around) : around_(around) {}
  uint32_t of(uint32_t own) {
    if (own == 0) return around_;
    uint32_t& region = regions_[own];
    if (region == 0) region = around_ == 0 ? own : new_region();
    return region;
  }

 private:
  uint32_t around_;
  std::unordered_map<uint32_t, uint32_t> regions_;
};

}  // namespace

void open_bodies(Program& program) {
  const auto is_closed = [](const Step& step) { return step.op->body != nullptr; };
  while (std::any_of(program.steps.begin(), program.steps.end(), is_closed)) {  // a body may hold others
    std::unordered_map<ValueId, ValueId> instead;
    auto renamed = [&](ValueId id) {
      const auto found = instead.find(id);
      return found == instead.end() ? id : found->second;
    };
    std::vector<Step> opened;
    for (Step& step : program.steps) {
      for (ValueId& id : step.ins) id = renamed(id);
      if (!step.op->body) {
        opened.push_back(std::move(step));
        continue;
      }
      const Program& body = *step.op->body;
      std::vector<ValueId> own(body.types.size(), -1);
      for (std::size_t i = 0; i < body.inputs.size(); ++i) own[std::size_t(body.inputs[i])] = step.ins[i];
      for (const auto& [id, x] : body.constants)
        program.constants.emplace_back(own[std::size_t(id)] = program.new_value(x->array.type()), x);
      Regions regions(step.region);
      for (Step inner : body.steps) {
        for (ValueId& id : inner.ins) id = own[std::size_t(id)];
        for (ValueId& id : inner.outs) id = own[std::size_t(id)] = program.new_value(body.types[std::size_t(id)]);
        inner.region = regions.of(inner.region);
        opened.push_back(std::move(inner));
      }
      for (std::size_t j = 0; j < step.outs.size(); ++j) instead[step.outs[j]] = own[std::size_t(body.outputs[j])];
    }
    program.steps = std::move(opened);
    for (ValueId& id : program.outputs) id = renamed(id);
  }
}

Simplified simplify(Program& program) {
  open_bodies(program);
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
      if (arrays[std::size_t(source)].same_place(own)) return source;
      const std::size_t m = maker[std::size_t(source)];
      if (m == SIZE_MAX || kept[m].own_op || kept[m].ins.size() != 1 || kept[m].outs.size() != 1) return -1;
      if (depth == 0 && kept[m].op == step.op && step.op->laws.involution && kept[m].region == step.region) return kept[m].ins[0];
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
