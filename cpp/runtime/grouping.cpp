#include "runtime/grouping.h"

#include <algorithm>
#include <span>
#include <unordered_map>

#include "ops/pairs.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

using kernels::TileGroup;

const Ints& axes_of(const Step& step) { return step.attrs.ints("axis"); }

class Grouping {
 public:
  Grouping(const Program& program, const std::vector<Array>& arrays, const std::vector<std::size_t>& steps,
           const std::function<bool(ValueId)>& leaves)
      : program_(program), arrays_(arrays), steps_(steps), leaves_(leaves) {}

  TileGroup make() {
    group_.shape = array(step(0).outs[0]).shape();
    list_reads();
    for (std::size_t i = 0; i < steps_.size(); ++i)
      if (is_end(step(i))) add_end(i);
      else add_member(i);
    fuse_pairs();
    group_.place_scratch();
    group_.prepare();
    return std::move(group_);
  }

 private:
  const Step& step(std::size_t i) const { return program_.steps[steps_[i]]; }
  const Array& array(ValueId id) const { return arrays_[std::size_t(id)]; }
  const Buffer* home(ValueId id) const { return array(id).buffer().get(); }
  // Results are numbered like the steps, after the arrays read.
  int number(std::size_t i) const { return int(group_.reads.size() + i); }

  void list_reads() {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      for (const ValueId id : step(i).ins) {
        if (made_by_.contains(home(id)) || read_at_.contains(id)) continue;
        read_at_[id] = int(group_.reads.size());
        const Array& x = array(id);
        const bool reshaped = x.ndim() > 0 && !(x.shape() == group_.shape);
        group_.reads.push_back(reshaped ? x.view(group_.shape, contiguous_strides(group_.shape), x.offset()) : x);
      }
      made_by_[home(step(i).outs[0])] = i;
    }
  }

  int operand(ValueId id) const {
    const auto found = made_by_.find(home(id));
    return found != made_by_.end() ? number(found->second) : read_at_.at(id);
  }

  void add_end(std::size_t i) {
    const Step& own = step(i);
    const Array& x = array(own.ins[0]);
    group_.stretches = *stretches_of(own, arrays_);
    group_.ends.push_back({operand(own.ins[0]), kernels::streamed(*own.op->fold, x, axes_of(own), array(own.outs[0]))});
    member_at_.push_back(-1);
  }

  void add_member(std::size_t i) {
    const Step& own = step(i);
    const bool stays = !leaves_(own.outs[0]);
    if (const int twin = find_twin(i, stays); twin >= 0) {
      TileGroup::Member& member = group_.members[std::size_t(twin)];
      member.twin_made = number(i);
      if (!stays) {
        member.twin_output = int(group_.writes.size());
        group_.writes.push_back(array(own.outs[0]));
      }
      alone_[std::size_t(twin)] = nullptr;
      member_at_.push_back(twin);
      return;
    }
    TileGroup::Member member{.tile = (*own.op->tiles)(array(own.ins.back()).dtype()), .ins = {},
                             .dtype = array(own.outs[0]).dtype(), .made = number(i)};
    for (const ValueId id : own.ins) member.ins.push_back(operand(id));
    if (!stays) {
      member.output = int(group_.writes.size());
      group_.writes.push_back(array(own.outs[0]));
    }
    member_at_.push_back(int(group_.members.size()));
    group_.members.push_back(std::move(member));
    alone_.push_back(&own);
  }

  bool is_one(ValueId id) const {
    const auto found = std::find_if(program_.constants.begin(), program_.constants.end(),
                                    [&](const auto& constant) { return constant.first == id; });
    if (found == program_.constants.end() || !is_fixed_constant(found->second)) return false;
    const Array& x = found->second->array;
    if (x.size() != 1) return false;
    return x.dtype() == DType::float32 ? *x.data<float>() == 1 : x.dtype() == DType::float64 && *x.data<double>() == 1;
  }

  // What a step shares with its twin: its argument, or that of a slope.
  ValueId argument(const Step& own) const {
    if (own.ins.size() == 1) return own.ins[0];
    return own.op->laws.scales && own.ins.size() == 2 && is_one(own.ins[0]) ? own.ins[1] : -1;
  }

  // The member, made before step i, whose tile can make the result of step i too: its twin from now on. What
  // does not stay within the group may be written over an operand, so that it cannot be made earlier.
  int find_twin(std::size_t i, bool stays) {
    const Step& own = step(i);
    for (std::size_t k = stays || i == 0 ? 0 : i - 1; k < i; ++k) {
      const Step& other = step(k);
      if (member_at_[k] < 0 || group_.members[std::size_t(member_at_[k])].twin) continue;
      const bool leads = other.op->twin == own.op->name, follows = own.op->twin == other.op->name;
      if ((!leads && !follows) || argument(own) < 0 || argument(own) != argument(other)) continue;
      TileGroup::Member& member = group_.members[std::size_t(member_at_[k])];
      member.twin = (*(leads ? other : own).op->twin_tiles)(array(argument(own)).dtype());
      member.own_is_second = follows;
      return member_at_[k];
    }
    return -1;
  }

  // A result that one later member alone reads is made by that member, where there is a tile for both.
  void fuse_pairs() {
    auto& members = group_.members;
    std::vector<int> uses(group_.reads.size() + steps_.size(), 0);
    for (const auto& member : members)
      for (const int in : member.ins) ++uses[std::size_t(in)];
    for (const auto& end : group_.ends) ++uses[std::size_t(end.value)];
    for (std::size_t m = 0; m < members.size(); ++m) {
      if (!alone_[m] || alone_[m]->ins.size() != 2) continue;
      for (std::size_t place = 0; place < 2; ++place) {
        const int made = members[m].ins[place];
        std::size_t k = 0;
        while (k < m && members[k].made != made) ++k;
        if (k == m || !alone_[k] || uses[std::size_t(made)] != 1 || members[k].output >= 0) continue;
        // Arrays that the first one reads must not be overwritten before the second runs.
        const bool reads_arrays = members[k].ins[0] < number(0) || members[k].ins.back() < number(0);
        const auto writes = [](const auto& member) { return member.output >= 0 || member.twin_output >= 0; };
        const auto between = std::span(members).subspan(k, m - k);
        if (reads_arrays && std::any_of(between.begin(), between.end(), writes)) continue;
        const kernels::Tile tile = pair_tile(*alone_[k]->op, *alone_[m]->op, int(place), members[m].dtype);
        if (!tile) continue;
        members[m].ins = {members[k].ins[0], members[k].ins[1], members[m].ins[1 - place]};
        members[m].tile = tile;
        members.erase(members.begin() + std::ptrdiff_t(k));
        alone_.erase(alone_.begin() + std::ptrdiff_t(k));
        alone_[--m] = nullptr;
        break;
      }
    }
  }

  const Program& program_;
  const std::vector<Array>& arrays_;
  const std::vector<std::size_t>& steps_;
  const std::function<bool(ValueId)>& leaves_;
  TileGroup group_;
  std::unordered_map<const Buffer*, std::size_t> made_by_;  // the step that makes a buffer
  std::unordered_map<ValueId, int> read_at_;
  std::vector<int> member_at_;       // of each step so far; -1: none
  std::vector<const Step*> alone_;   // of each member, if it makes that step's result only; else null
};

}  // namespace

std::optional<kernels::Stretches> stretches_of(const Step& step, const std::vector<Array>& arrays) {
  const Array& x = arrays[std::size_t(step.ins[0])];
  if (!is_end(step) || !x.is_contiguous() || x.offset() != 0) return {};
  return kernels::stretches_of(*step.op->fold, x, axes_of(step));
}

TileGroup make_group(const Program& program, const std::vector<Array>& arrays, const std::vector<std::size_t>& steps,
                     const std::function<bool(ValueId)>& leaves) {
  return Grouping(program, arrays, steps, leaves).make();
}

}  // namespace wengert
