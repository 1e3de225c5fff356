// Programs of single numbers: equal operations at one depth become one operation on a vector.
#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <unordered_map>

#include "program/lane_group.h"
#include "program/lane_update.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

constexpr std::size_t least_numbers = 256;  // operations on single numbers that make it worth a look
constexpr std::size_t least_lanes = 8;      // or terms of one sum

class Reroller {
 public:
  Reroller(Program& program, bool exact) : program_(program), exact_(exact) {}

  int64_t run() {
    if (!worth_it()) return 0;
    unite_constants();
    items_ = find_items(program_, exact_);
    const std::vector<std::size_t> order = by_depth();
    lanes_.emplace(program_);
    int64_t count = 0;
    for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
      while (last < order.size() && depth_[order[last]] == depth_[order[first]]) ++last;
      count += emit_level({order.begin() + std::ptrdiff_t(first), last - first});
    }
    for (const ValueId id : program_.outputs) lanes_->number(program_.steps.back(), id);
    program_.steps = lanes_->finish();
    return count;
  }

 private:
  bool worth_it() const {
    std::size_t count = 0;
    for (const Step& step : program_.steps) {
      if (step.own_op || step.op->evaluate) return false;  // whose order among each other may be seen
      count += is_scalar_step(program_, step);
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

  std::vector<std::size_t> by_depth() {
    std::vector<int> depth_of(program_.types.size(), 0);
    std::vector<std::size_t> order;
    depth_.assign(items_.size(), 0);
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      for (const ValueId id : item.ins) depth_[i] = std::max(depth_[i], depth_of[std::size_t(id)]);
      depth_of[std::size_t(item.out)] = depth_[i] + 1;
      if (!item.joins)
        for (const ValueId id : program_.steps[item.like].outs) depth_of[std::size_t(id)] = depth_[i] + 1;
      order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return depth_[a] < depth_[b]; });
    return order;
  }

  using Items = std::vector<const Item*>;

  static bool is_enough(const Items& items) {
    return !items.empty() && items.size() * items[0]->terms() >= least_lanes;
  }

  const Attrs& attrs_of(const Item& item) const {
    static const Attrs none;
    const Step& like = program_.steps[item.like];
    return item.op == like.op ? like.attrs : none;
  }

  // Items that may be lanes of one operation, in the order of the program.
  std::vector<Items> find_alike(std::span<const std::size_t> level, Items& others) const {
    using Key = std::tuple<int, const Op*, uint32_t, uint64_t, std::size_t, std::size_t>;
    std::map<Key, std::size_t> places;
    std::vector<Items> out;
    for (const std::size_t i : level) {
      const Item& item = items_[i];
      if (!item.joins) {
        others.push_back(&item);
        continue;
      }
      const Step& like = program_.steps[item.like];
      uint64_t dtypes = 0;
      if (item.kind == Item::step)
        for (const ValueId id : item.ins) dtypes = dtypes * 16 + 1 + uint64_t(program_.types[std::size_t(id)].dtype);
      else dtypes = uint64_t(program_.types[std::size_t(item.out)].dtype);
      const Attrs& attrs = attrs_of(item);
      const Key key{item.kind, item.op, like.region, dtypes, item.terms(), attrs.hash()};
      const auto [found, is_new] = places.emplace(key, out.size());
      if (is_new) out.emplace_back();
      Items& alike = out[found->second];
      const bool same = alike.empty() || attrs_of(*alike[0]) == attrs;
      (same ? alike : others).push_back(&item);
    }
    return out;
  }

  // The items apart by the vectors that their operands lie in; too few of a kind stay together.
  std::vector<Items> divide(const Items& items) const {
    std::map<std::vector<int>, std::size_t> places;
    std::vector<Items> parts;
    for (const Item* item : items) {
      std::vector<int> vectors;
      const std::size_t terms = item->terms();
      for (std::size_t p = 0; p < item->ins.size(); p += terms) {
        const auto first = item->ins.begin() + std::ptrdiff_t(p);
        const auto of = [&](ValueId id) { return lanes_->is_outside(id) ? -2 : lanes_->home(id).vector; };
        int least = of(*first), most = least;
        for (std::size_t k = 0; k < terms; ++k) {
          least = std::min(least, of(first[std::ptrdiff_t(k)]));
          most = std::max(most, of(first[std::ptrdiff_t(k)]));
        }
        vectors.push_back(least);
        vectors.push_back(most);
      }
      if (item->kind == Item::dot && std::pair(vectors[2], vectors[3]) < std::pair(vectors[0], vectors[1]))
        std::swap(vectors[0], vectors[2]), std::swap(vectors[1], vectors[3]);
      const auto [found, is_new] = places.emplace(std::move(vectors), parts.size());
      if (is_new) parts.emplace_back();
      parts[found->second].push_back(item);
    }
    std::vector<Items> out;
    Items rest;
    for (Items& part : parts) {
      if (is_enough(part)) out.push_back(std::move(part));
      else rest.insert(rest.end(), part.begin(), part.end());
    }
    if (!rest.empty()) out.push_back(std::move(rest));
    return out;
  }

  // Items of one depth; returns how many steps others took over.
  int64_t emit_level(std::span<const std::size_t> level) {
    int64_t count = 0;
    Items others;
    for (const Items& alike : find_alike(level, others)) {
      for (Items& part : divide(alike)) {
        if (!is_enough(part)) {
          others.insert(others.end(), part.begin(), part.end());
          continue;
        }
        for (const Item* item : part) count += item->steps;
        count -= part[0]->kind == Item::step ? 1 : 2 * int64_t(part[0]->terms());
        emit_group(program_, *lanes_, std::move(part));
      }
    }
    for (const Item* item : others) {
      if (const auto joined = emit_updates(program_, *lanes_, program_.steps[item->like])) count += *joined;
      else emit_alone(*item);
    }
    return count;
  }

  ValueId number(const Step& like, ValueId id) { return lanes_->number(like, id); }

  // As the steps it came from.
  void emit_alone(const Item& item) {
    const Step& like = program_.steps[item.like];
    if (item.kind == Item::step) {
      Step step = like;
      step.ins.clear();
      for (const ValueId id : item.ins) step.ins.push_back(number(like, id));
      if (item.joins) step.op = item.op, step.attrs = attrs_of(item), step.outs = {item.out};
      for (const ValueId id : step.outs) lanes_->make_number(id);
      return lanes_->keep(std::move(step));
    }
    static const Op& add = find_op("add");
    const Type type = program_.types[std::size_t(item.out)];
    const std::size_t terms = item.terms();
    ValueId total = -1;
    for (std::size_t k = 0; k < terms; ++k) {
      ValueId term = number(like, item.ins[k]);
      if (item.kind == Item::dot)
        term = lanes_->add(like, *item.op, {}, {term, number(like, item.ins[terms + k])}, type);
      if (k == 0) {
        total = term;
        continue;
      }
      if (k + 1 < terms) total = lanes_->add(like, add, {}, {total, term}, type);
      else lanes_->keep({.op = &add, .attrs = {}, .ins = {total, term}, .outs = {item.out}, .source = like.source,
                         .tracked = like.tracked, .region = like.region});
    }
    lanes_->make_number(item.out);
  }

  Program& program_;
  const bool exact_;
  std::vector<Item> items_;
  std::vector<int> depth_;
  std::optional<Lanes> lanes_;
};

}  // namespace

int64_t reroll(Program& program, bool exact) { return Reroller(program, exact).run(); }

}  // namespace wengert
