#include "program/hoist.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

namespace wengert {

namespace {

// Steps in the order of their places, which is stable.
template <class Place>
void sort_steps(Program& program, const std::vector<Place>& place) {
  std::vector<std::size_t> order(program.steps.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place[a] < place[b]; });
  std::vector<Step> steps;
  steps.reserve(order.size());
  for (const std::size_t s : order) steps.push_back(std::move(program.steps[s]));
  program.steps = std::move(steps);
}

}  // namespace

int64_t sink_steps(Program& program, const std::vector<Array>& arrays) {
  const auto home = [&](ValueId id) { return arrays[std::size_t(id)].buffer().get(); };
  const std::size_t end = program.steps.size();
  struct Readers {
    std::size_t first, last;
  };
  std::unordered_map<const Buffer*, Readers> readers;  // views, which cost nothing, are none
  std::unordered_map<const Buffer*, std::size_t> maker;
  for (std::size_t s = 0; s < end; ++s) {
    if (is_view(program.steps[s], arrays)) continue;
    for (const ValueId id : program.steps[s].ins) readers.try_emplace(home(id), s, s).first->second.last = s;
    for (const ValueId id : program.steps[s].outs) maker[home(id)] = s;
  }
  for (const ValueId id : program.outputs) readers.try_emplace(home(id), end, end).first->second.last = end;

  // Of each step the one that it comes before, and whether that is itself: then it stays.
  std::vector<std::pair<std::size_t, bool>> place(end);
  int64_t count = 0;
  std::size_t next = end;  // of those that stay
  for (std::size_t s = end; s-- > 0;) {
    place[s] = {s, true};
    const Step& step = program.steps[s];
    if (is_view(step, arrays)) continue;
    const Op& op = *step.op;
    const bool may = !op.tiles && !op.fold && !op.stays() && !step.own_op;
    std::size_t reader = end;
    for (const ValueId id : step.outs)
      if (const auto found = readers.find(home(id)); found != readers.end()) reader = std::min(reader, found->second.first);
    const auto lives_on = [&](ValueId id) { return !maker.contains(home(id)) || readers.at(home(id)).last >= reader; };
    if (may && next < reader && reader < end && std::all_of(step.ins.begin(), step.ins.end(), lives_on)) {
      place[s] = {reader, false};
      ++count;
    } else {
      next = s;
    }
  }
  for (std::size_t s = 0; s < end; ++s)  // views go with what they show
    if (is_view(program.steps[s], arrays))
      if (const auto found = maker.find(home(program.steps[s].ins[0])); found != maker.end())
        if (const auto& sunk = place[found->second]; !sunk.second) place[s] = std::max(place[s], sunk);
  sort_steps(program, place);
  return count;
}

int64_t hoist_renewals(Program& program, const std::vector<Array>& arrays, std::span<const Renewal> renewals) {
  if (renewals.empty()) return 0;
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
  std::vector<std::pair<std::size_t, bool>> place;  // and whether it was moved there
  const std::vector<bool> failing = may_fail(program);
  std::size_t safe = 0;  // nothing changes before what may fail
  int64_t count = 0;
  for (std::size_t s = 0; s < program.steps.size(); ++s) {
    if (failing[s]) safe = s;
    const Step& step = program.steps[s];
    place.emplace_back(s, false);
    const bool renewing = std::any_of(step.outs.begin(), step.outs.end(), [&](ValueId id) { return renews.contains(id); });
    if (renewing && frees(s)) {
      std::size_t after = safe;
      for (const ValueId id : step.ins)
        if (const auto found = made_at.find(home(id)); found != made_at.end()) after = std::max(after, place[found->second].first);
      for (const ValueId id : step.outs)
        if (const auto found = renews.find(id); found != renews.end())
          for (const Buffer* old : found->second)
            for (const std::size_t reader : readers[old])
              if (reader < s) after = std::max(after, place[reader].first);
      place[s] = {after, true};
      count += after + 1 < s;
    }
    for (const ValueId id : step.outs) made_at[home(id)] = s;
  }
  sort_steps(program, place);
  return count;
}

}  // namespace wengert
