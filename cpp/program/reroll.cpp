// Programs of single numbers: equal operations at one depth become one operation on a vector.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "program/rewrite.h"

namespace wengert {
namespace {

constexpr std::size_t least_numbers = 256;  // operations on single numbers that make it worth a look
constexpr std::size_t least_lanes = 8;

// Numbers from several vectors and single ones, as a vector: number i is that at `lane[i]` of operand `from[i]`.
std::shared_ptr<const Op> collector(std::vector<int32_t> from, std::vector<int32_t> lane) {
  auto op = std::make_shared<Op>();
  op->name = "collect";
  op->inputs = {"*numbers"};
  op->kernel = [from = std::move(from), lane = std::move(lane)](const Call& call) {
    thread_local std::vector<const void*> bases;
    bases.clear();
    for (const Array& x : call.in) bases.push_back(x.raw());
    dispatch(call.out[0].dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* out = call.out[0].data<T>();
      for (std::size_t i = 0; i < from.size(); ++i) out[i] = static_cast<const T*>(bases[std::size_t(from[i])])[lane[i]];
    });
  };
  op->self = op;
  return op;
}

class Reroller {
 public:
  explicit Reroller(Program& program) : program_(program) {}

  int64_t run() {
    if (!worth_it()) return 0;
    unite_constants();
    find_groups();
    if (groups_.empty()) return 0;
    find_singles();
    int64_t count = 0;
    for (const std::size_t s : order_) {
      const int g = group_of_[s];
      if (g < 0) {
        made_.push_back(program_.steps[s]);
      } else if (groups_[std::size_t(g)].steps[0] == s) {
        emit(groups_[std::size_t(g)]);
        count += int64_t(groups_[std::size_t(g)].steps.size()) - 1;
      }
    }
    program_.steps = std::move(made_);
    return count;
  }

 private:
  struct Group {
    std::vector<std::size_t> steps;
    ValueId vector = -1;
  };
  struct Home {
    int group = -1;
    int32_t lane = 0;
  };

  bool is_number(ValueId id) const { return program_.types[std::size_t(id)].shape.empty(); }
  bool is_candidate(const Step& step) const {
    return step.op->tiles && !step.own_op && step.outs.size() == 1 && is_number(step.outs[0]) &&
           std::all_of(step.ins.begin(), step.ins.end(), [&](ValueId id) { return is_number(id); });
  }

  bool worth_it() const {
    std::size_t count = 0;
    for (const Step& step : program_.steps) {
      if (step.own_op || step.op->evaluate) return false;  // whose order among each other may be seen
      count += is_candidate(step);
    }
    return count >= least_numbers && 2 * count >= program_.steps.size();
  }

  // Numbers that the user wrote again and again are one constant.
  void unite_constants() {
    std::vector<ValueId> instead(program_.types.size(), -1);
    std::map<std::pair<int, uint64_t>, ValueId> known;
    for (const auto& [id, x] : program_.constants) {
      if (x.is_abstract() || x.ndim() > 0 || !x->weak) continue;
      uint64_t bits = 0;
      std::memcpy(&bits, x->array.raw(), std::size_t(itemsize(x.dtype())));
      instead[std::size_t(id)] = known.emplace(std::pair(int(x.dtype()), bits), id).first->second;
    }
    for (Step& step : program_.steps)
      for (ValueId& id : step.ins)
        if (instead[std::size_t(id)] >= 0) id = instead[std::size_t(id)];
  }

  void find_groups() {
    const std::size_t count = program_.steps.size();
    std::vector<int> depth_of(program_.types.size(), 0), depth(count, 0);
    for (std::size_t s = 0; s < count; ++s) {
      for (const ValueId id : program_.steps[s].ins) depth[s] = std::max(depth[s], depth_of[std::size_t(id)]);
      for (const ValueId id : program_.steps[s].outs) depth_of[std::size_t(id)] = depth[s] + 1;
      order_.push_back(s);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) { return depth[a] < depth[b]; });
    group_of_.assign(count, -1);
    home_.assign(program_.types.size(), {});
    using Key = std::tuple<const Op*, uint32_t, std::vector<int>, std::size_t>;
    for (std::size_t first = 0, last = 0; first < count; first = last) {
      while (last < count && depth[order_[last]] == depth[order_[first]]) ++last;
      std::map<Key, std::vector<std::size_t>> alike;
      for (std::size_t i = first; i < last; ++i) {
        const Step& step = program_.steps[order_[i]];
        if (!is_candidate(step)) continue;
        std::vector<int> dtypes;
        for (const ValueId id : step.ins) dtypes.push_back(int(program_.types[std::size_t(id)].dtype));
        alike[{step.op, step.region, std::move(dtypes), step.attrs.hash()}].push_back(order_[i]);
      }
      for (auto& [key, steps] : alike) {
        const bool same = std::all_of(steps.begin(), steps.end(), [&](std::size_t s) {
          return program_.steps[s].attrs == program_.steps[steps[0]].attrs;
        });
        if (steps.size() < least_lanes || !same) continue;
        for (std::size_t lane = 0; lane < steps.size(); ++lane) {
          group_of_[steps[lane]] = int(groups_.size());
          home_[std::size_t(program_.steps[steps[lane]].outs[0])] = {int(groups_.size()), int32_t(lane)};
        }
        groups_.push_back({std::move(steps)});
      }
    }
  }

  // Which numbers are read as such: by other steps, by a whole vector, or at the end.
  void find_singles() {
    single_.assign(program_.types.size(), false);
    for (std::size_t s = 0; s < program_.steps.size(); ++s)
      if (group_of_[s] < 0)
        for (const ValueId id : program_.steps[s].ins) single_[std::size_t(id)] = true;
    for (const ValueId id : program_.outputs) single_[std::size_t(id)] = true;
    for (const Group& group : groups_)
      for (std::size_t i = 0; i < program_.steps[group.steps[0]].ins.size(); ++i)
        if (is_shared(group, i)) single_[std::size_t(program_.steps[group.steps[0]].ins[i])] = true;
  }

  bool is_shared(const Group& group, std::size_t operand) const {
    const ValueId first = program_.steps[group.steps[0]].ins[operand];
    return std::all_of(group.steps.begin(), group.steps.end(), [&](std::size_t s) { return program_.steps[s].ins[operand] == first; });
  }

  ValueId add(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, Type type) {
    const ValueId out = program_.new_value(std::move(type));
    made_.push_back({.op = &op, .attrs = std::move(attrs), .ins = std::move(ins), .outs = {out}, .source = like.source,
                     .tracked = like.tracked, .region = like.region});
    return out;
  }

  // The vector of one operand of all lanes: a piece of another vector, or collected.
  ValueId operand(const Group& group, std::size_t place) {
    static const Op& slice = find_op("slice");
    const Step& like = program_.steps[group.steps[0]];
    if (is_shared(group, place)) return like.ins[place];
    const auto lanes = int64_t(group.steps.size());
    const DType dtype = program_.types[std::size_t(like.ins[place])].dtype;
    std::vector<ValueId> ids;
    for (const std::size_t s : group.steps) ids.push_back(program_.steps[s].ins[place]);
    const Home first = home_[std::size_t(ids[0])], second = home_[std::size_t(ids[1])];
    const int32_t stride = second.lane - first.lane;
    bool regular = first.group >= 0 && stride != 0;
    for (std::size_t i = 0; i < ids.size() && regular; ++i) {
      const Home& home = home_[std::size_t(ids[i])];
      regular = home.group == first.group && home.lane == first.lane + int32_t(i) * stride;
    }
    if (regular) {
      const ValueId from = groups_[std::size_t(first.group)].vector;
      if (stride == 1 && first.lane == 0 && program_.types[std::size_t(from)].shape[0] == lanes) return from;
      Attrs attrs = make_attrs(slice, {{"starts", Ints{first.lane}}, {"sizes", Ints{lanes}}, {"steps", Ints{stride}}});
      return add(like, slice, std::move(attrs), {from}, {dtype, {lanes}});
    }
    const auto [known, is_new] = collected_.emplace(ids, -1);
    if (is_new) known->second = collect(like, ids, {dtype, {lanes}});
    return known->second;
  }

  ValueId collect(const Step& like, const std::vector<ValueId>& ids, Type type) {
    std::vector<int32_t> from, lane;
    std::unordered_map<ValueId, int32_t> place;
    SmallVector<ValueId, 3> ins;
    for (const ValueId id : ids) {
      const Home& home = home_[std::size_t(id)];
      const ValueId source = home.group >= 0 ? groups_[std::size_t(home.group)].vector : id;
      const auto [found, is_new] = place.emplace(source, int32_t(ins.size()));
      if (is_new) ins.push_back(source);
      from.push_back(found->second);
      lane.push_back(home.group >= 0 ? home.lane : 0);
    }
    std::shared_ptr<const Op> op = collector(std::move(from), std::move(lane));
    const ValueId out = add(like, *op, {}, std::move(ins), std::move(type));
    made_.back().own_op = std::move(op);
    return out;
  }

  void emit(Group& group) {
    static const Op &slice = find_op("slice"), &reshape = find_op("reshape");
    const Step like = program_.steps[group.steps[0]];
    SmallVector<ValueId, 3> ins;
    for (std::size_t place = 0; place < like.ins.size(); ++place) ins.push_back(operand(group, place));
    const DType dtype = program_.types[std::size_t(like.outs[0])].dtype;
    group.vector = add(like, *like.op, like.attrs, std::move(ins), {dtype, {int64_t(group.steps.size())}});
    for (std::size_t lane = 0; lane < group.steps.size(); ++lane) {
      const ValueId number = program_.steps[group.steps[lane]].outs[0];
      if (!single_[std::size_t(number)]) continue;
      Attrs at = make_attrs(slice, {{"starts", Ints{int64_t(lane)}}, {"sizes", Ints{1}}, {"steps", Ints{1}}});
      const ValueId piece = add(like, slice, std::move(at), {group.vector}, {dtype, {1}});
      add(like, reshape, make_attrs(reshape, {{"shape", Ints{}}}), {piece}, {dtype, {}});
      made_.back().outs = {number};
    }
  }

  Program& program_;
  std::vector<std::size_t> order_;
  std::vector<int> group_of_;
  std::vector<Group> groups_;
  std::vector<Home> home_;
  std::vector<bool> single_;
  std::vector<Step> made_;
  std::map<std::vector<ValueId>, ValueId> collected_;
};

}  // namespace

int64_t reroll(Program& program) { return Reroller(program).run(); }

}  // namespace wengert
