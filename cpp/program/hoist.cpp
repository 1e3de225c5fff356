#include "program/hoist.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

namespace wengert {

int64_t hoist_renewals(Program& program, std::span<const Renewal> renewals) {
  if (renewals.empty()) return 0;
  const std::vector<Array> arrays = lay_out(program);
  const auto home = [&](ValueId id) { return arrays[std::size_t(id)].buffer().get(); };
  std::unordered_map<ValueId, std::vector<const Buffer*>> renews;
  for (const Renewal& renewal : renewals) renews[renewal.value].push_back(home(renewal.input));
  std::unordered_map<const Buffer*, std::vector<std::size_t>> readers;
  for (std::size_t s = 0; s < program.steps.size(); ++s)
    for (const ValueId id : program.steps[s].ins) readers[home(id)].push_back(s);
  std::unordered_set<const Buffer*> shown;
  for (const ValueId id : program.outputs) shown.insert(home(id));

  // Whether step s ends more bytes than it makes, those over old values not counted.
  std::unordered_map<const Buffer*, std::size_t> made_at;  // the last step that wrote there
  const auto frees = [&](std::size_t s) {
    int64_t bytes = 0;
    std::unordered_set<const Buffer*> ended;
    for (const ValueId id : program.steps[s].ins)
      if (made_at.contains(home(id)) && !shown.contains(home(id)) && readers[home(id)].back() == s && ended.insert(home(id)).second)
        bytes += int64_t(home(id)->bytes);
    for (const ValueId id : program.steps[s].outs)
      if (!renews.contains(id)) bytes -= int64_t(home(id)->bytes);
    return bytes > 0;
  };

  // Steps stay where they are, at their own number, but for those moved, which follow the last step
  // that they wait for; what reads their results comes later anyway.
  std::vector<std::size_t> place(program.steps.size());
  std::vector<bool> moved(program.steps.size(), false);
  int64_t count = 0;
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    const Step& step = program.steps[s];
    place[s] = s;
    const bool renewing = std::any_of(step.outs.begin(), step.outs.end(), [&](ValueId id) { return renews.contains(id); });
    if (renewing && frees(s)) {
      std::size_t after = 0;
      for (const ValueId id : step.ins)
        if (const auto found = made_at.find(home(id)); found != made_at.end()) after = std::max(after, place[found->second]);
      for (const ValueId id : step.outs)
        if (const auto found = renews.find(id); found != renews.end())
          for (const Buffer* old : found->second)
            for (const std::size_t reader : readers[old])
              if (reader < s) after = std::max(after, place[reader]);
      place[s] = after;
      moved[s] = true;
      count += after + 1 < s;
    }
    for (const ValueId id : step.outs) made_at[home(id)] = s;
  }
  std::vector<std::size_t> order(program.steps.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(place[a], bool(moved[a])) < std::pair(place[b], bool(moved[b]));
  });
  std::vector<Step> steps;
  steps.reserve(order.size());
  for (const std::size_t s : order) steps.push_back(std::move(program.steps[s]));
  program.steps = std::move(steps);
  return count;
}

}  // namespace wengert
