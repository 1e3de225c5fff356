#include "program/items.h"

#include <algorithm>

namespace wengert {
namespace {

class Finder {
 public:
  Finder(Program& program, bool exact)
      : program_(program), uses_(program.types.size(), 0), reader_(program.types.size(), 0),
        maker_(program.types.size(), none), roles_(program.steps.size(), Role::plain) {
    for (std::size_t s = 0; s < program.steps.size(); ++s) {
      for (const ValueId id : program.steps[s].ins) ++uses_[std::size_t(id)], reader_[std::size_t(id)] = s;
      for (const ValueId id : program.steps[s].outs) maker_[std::size_t(id)] = s;
    }
    for (const ValueId id : program.outputs) uses_[std::size_t(id)] += 2;
    if (!exact) assign_roles();
  }

  std::vector<Item> run() {
    std::vector<std::vector<Item>> of_root(program_.steps.size());
    for (std::size_t s = 0; s < program_.steps.size(); ++s)
      if (roles_[s] == Role::root) of_root[s] = open(s);
    std::vector<Item> items;
    items.reserve(program_.steps.size());
    for (std::size_t s = 0; s < program_.steps.size(); ++s) {
      const Step& step = program_.steps[s];
      if (roles_[s] == Role::inner) continue;
      if (!of_root[s].empty()) {
        std::move(of_root[s].begin(), of_root[s].end(), std::back_inserter(items));
        continue;
      }
      items.push_back({.kind = Item::step, .joins = is_scalar_step(program_, step), .like = s, .op = step.op,
                       .ins = {step.ins.begin(), step.ins.end()}, .out = step.outs[0]});
    }
    return items;
  }

 private:
  static constexpr std::size_t none = SIZE_MAX;
  enum class Role : uint8_t { plain, root, part, product, inner };

  bool is_float_step(const Step& step) const {
    const Type& type = program_.types[std::size_t(step.outs[0])];
    const auto is_like_it = [&](ValueId id) { return program_.types[std::size_t(id)] == type; };
    return is_scalar_step(program_, step) && is_float(type.dtype) &&
           std::all_of(step.ins.begin(), step.ins.end(), is_like_it);
  }

  // Additions and subtractions are roots, or parts of the only one that reads them.
  void assign_roles() {
    static const Op &multiply = find_op("multiply"), &chain_multiply = find_op("chain_multiply");
    for (std::size_t s = program_.steps.size(); s-- > 0;) {
      const Step& step = program_.steps[s];
      const bool is_sum = !step.own_op && (step.op->laws.sums || step.op == &subtract_);
      const bool is_product = step.op == &multiply || step.op == &chain_multiply;
      if (!(is_sum || is_product) || !is_float_step(step)) continue;
      const auto out = std::size_t(step.outs[0]);
      const std::size_t r = reader_[out];
      const bool within = uses_[out] == 1 && (roles_[r] == Role::root || roles_[r] == Role::part) &&
                          program_.steps[r].region == step.region;
      if (is_sum) roles_[s] = within ? Role::part : Role::root;
      else if (within) roles_[s] = Role::product;
    }
  }

  // The numbers, and the steps of products, that are added up, or subtracted.
  struct Terms {
    std::vector<ValueId> numbers;
    std::vector<std::size_t> products;
  };

  // The items of a sum of three numbers or two products, or none. The steps they stand for are inner ones.
  std::vector<Item> open(std::size_t root) {
    struct Pending {
      ValueId id;
      bool negative;
    };
    std::vector<std::size_t> parts;
    std::vector<Pending> pending;
    Terms added, subtracted;
    const auto expand = [&](std::size_t s, bool negative) {
      const Step& step = program_.steps[s];
      pending.push_back({step.ins[1], negative != (step.op == &subtract_)});
      pending.push_back({step.ins[0], negative});
    };
    expand(root, false);
    while (!pending.empty()) {
      const auto [id, negative] = pending.back();
      pending.pop_back();
      const std::size_t s = maker_[std::size_t(id)];
      Terms& terms = negative ? subtracted : added;
      if (s != none && roles_[s] == Role::part) {
        parts.push_back(s);
        expand(s, negative);
      } else if (s != none && roles_[s] == Role::product) {
        terms.products.push_back(s);
      } else {
        terms.numbers.push_back(id);
      }
    }
    const std::size_t count = parts.size() + 2;
    std::vector<Item> items;
    const ValueId out = program_.steps[root].outs[0];
    for (Terms* terms : {&added, &subtracted}) open_products(root, *terms, items);
    if (count < 3 && items.empty()) return {};
    for (const std::size_t s : parts) roles_[s] = Role::inner;
    if (subtracted.numbers.empty()) {
      add_up(root, added, out, items);
      return items;
    }
    const ValueId more = add_up(root, added, -1, items), less = add_up(root, subtracted, -1, items);
    items.push_back({.kind = Item::step, .joins = true, .like = root, .op = &subtract_, .ins = {more, less},
                     .out = out});
    return items;
  }

  // Products become dots where there are several of a kind; all are numbers then.
  void open_products(std::size_t root, Terms& terms, std::vector<Item>& items) {
    auto& products = terms.products;
    std::stable_sort(products.begin(), products.end(), [&](std::size_t a, std::size_t b) { return name(a) < name(b); });
    for (std::size_t first = 0, last = 0; first < products.size(); first = last) {
      while (last < products.size() && program_.steps[products[last]].op == program_.steps[products[first]].op) ++last;
      if (last - first >= 2) items.push_back(dot(root, {products.begin() + std::ptrdiff_t(first), last - first}));
      terms.numbers.push_back(last - first >= 2 ? items.back().out : program_.steps[products[first]].outs[0]);
    }
  }

  // The sum of the numbers as `out`, or as any value if that is -1; returns which.
  ValueId add_up(std::size_t root, const Terms& terms, ValueId out, std::vector<Item>& items) {
    if (terms.numbers.size() == 1) {
      if (out < 0) return terms.numbers[0];
      items.back().out = out;  // the only dot
      return out;
    }
    if (out < 0) out = program_.new_value(program_.types[std::size_t(terms.numbers[0])]);
    const auto additions = int64_t(terms.numbers.size()) - 1;
    items.push_back({.kind = additions == 1 ? Item::step : Item::sum, .joins = true, .like = root, .op = &add_,
                     .ins = terms.numbers, .out = out, .steps = additions});
    return out;
  }

  const std::string& name(std::size_t s) const { return program_.steps[s].op->name; }

  Item dot(std::size_t root, std::span<const std::size_t> products) {
    const Step& first = program_.steps[products[0]];
    Item item{.kind = Item::dot, .joins = true, .like = root, .op = first.op, .ins = {},
              .out = program_.new_value(program_.types[std::size_t(first.outs[0])])};
    for (const std::size_t place : {std::size_t(0), std::size_t(1)})
      for (const std::size_t s : products) item.ins.push_back(program_.steps[s].ins[place]);
    for (const std::size_t s : products) roles_[s] = Role::inner;
    item.steps = 2 * int64_t(products.size()) - 1;
    return item;
  }

  const Op &add_ = find_op("add"), &subtract_ = find_op("subtract");
  Program& program_;
  std::vector<int> uses_;
  std::vector<std::size_t> reader_, maker_;
  std::vector<Role> roles_;
};

}  // namespace

bool is_scalar_step(const Program& program, const Step& step) {
  const auto is_number = [&](ValueId id) { return program.types[std::size_t(id)].shape.empty(); };
  return step.op->tiles && !step.own_op && step.outs.size() == 1 && is_number(step.outs[0]) &&
         std::all_of(step.ins.begin(), step.ins.end(), is_number);
}

std::vector<Item> find_items(Program& program, bool exact) { return Finder(program, exact).run(); }

}  // namespace wengert
