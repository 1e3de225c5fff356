#include "program/lane_group.h"

#include <algorithm>
#include <numeric>

#include "ops/vocabulary.h"
#include "program/lattice.h"

namespace wengert {
namespace {

constexpr std::size_t most_columns = 8;    // terms that are added up vector by vector
constexpr int64_t least_product = 4;       // numbers in a matrix that make a product worth a call
constexpr std::size_t most_axes = 6;
constexpr std::size_t least_collected = 32;  // numbers that make it worth to collect one operand of theirs

// What the items read at one place: number n * terms + k is term k of item n.
struct Operand {
  enum Kind { shared, constant, lanes, mixed } kind;
  std::vector<ValueId> ids;
  int vector = -1;            // of lanes: the one in which all lie
  std::vector<int32_t> lane = {};  // and where
};

class Group {
 public:
  Group(const Program& program, Lanes& lanes, std::vector<const Item*> items)
      : program_(program), lanes_(lanes), items_(std::move(items)), like_(program.steps[items_[0]->like]),
        terms_(items_[0]->terms()) {}

  void emit() {
    const Item& first = *items_[0];
    if (first.kind == Item::step) {
      std::vector<std::vector<ValueId>> places(first.ins.size());
      for (std::size_t p = 0; p < places.size(); ++p)
        for (const Item* item : items_) places[p].push_back(item->ins[p]);
      emit_step(std::move(places));
      return;
    }
    sort_terms();
    if (!emit_whole() && !emit_columns()) emit_table();
  }

 private:
  bool is_constant(ValueId id) const { return lanes_.is_fixed(id) && lanes_.home(id).vector < 0; }

  Operand operand(std::vector<ValueId> ids) {
    Operand out{.kind = Operand::lanes, .ids = std::move(ids), .vector = -1};
    if (terms_ == 1 && std::all_of(out.ids.begin(), out.ids.end(), [&](ValueId id) { return id == out.ids[0]; })) {
      out.kind = Operand::shared;
    } else if (std::all_of(out.ids.begin(), out.ids.end(), [&](ValueId id) { return is_constant(id); })) {
      out.kind = Operand::constant;
    } else {
      lanes_.house(like_, out.ids);
      out.vector = lanes_.home(out.ids[0]).vector;
      for (const ValueId id : out.ids) {
        if (lanes_.home(id).vector != out.vector) out.kind = Operand::mixed;
        out.lane.push_back(lanes_.home(id).lane);
      }
    }
    return out;
  }

  std::pair<int, int32_t> rank(ValueId id) const {
    const Lanes::Home& home = lanes_.home(id);
    return {home.vector, home.lane};
  }

  // What comes from outside, such as weights, is the left factor; then constants, then what was made.
  std::pair<int, int> side_of(ValueId id) const {
    return lanes_.is_outside(id) ? std::pair(0, 0) : std::pair(1, lanes_.home(id).vector);
  }

  // The terms of each item in the order of where they lie; factors likewise.
  void sort_terms() {
    const bool is_dot = items_[0]->kind == Item::dot;
    const std::size_t sides = is_dot ? 2 : 1, count = items_.size() * terms_;
    sides_.assign(sides, {});
    for (std::size_t side = 0; side < sides; ++side)
      for (const Item* item : items_)
        sides_[side].insert(sides_[side].end(), item->ins.begin() + std::ptrdiff_t(side * terms_),
                            item->ins.begin() + std::ptrdiff_t((side + 1) * terms_));
    for (const auto& side : sides_) {
      std::vector<ValueId> numbers;
      std::copy_if(side.begin(), side.end(), std::back_inserter(numbers), [&](ValueId id) { return !is_constant(id); });
      lanes_.house(like_, numbers);
    }
    for (std::size_t i = 0; is_dot && i < count; ++i)
      if (side_of(sides_[1][i]) < side_of(sides_[0][i])) std::swap(sides_[0][i], sides_[1][i]);
    std::vector<std::size_t> order(terms_);
    std::vector<ValueId> before(terms_);
    for (std::size_t first = 0; first < count; first += terms_) {
      std::iota(order.begin(), order.end(), first);
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        const auto left_a = rank(sides_[0][a]), left_b = rank(sides_[0][b]);
        return left_a != left_b || !is_dot ? left_a < left_b : rank(sides_[1][a]) < rank(sides_[1][b]);
      });
      for (auto& side : sides_) {
        for (std::size_t k = 0; k < terms_; ++k) before[k] = side[order[k]];
        std::copy(before.begin(), before.end(), side.begin() + std::ptrdiff_t(first));
      }
    }
  }

  // The order of the items in which operands that lie in the lanes of a vector are read in turn: first
  // those that are a whole vector.
  std::vector<std::size_t> sorted(const std::vector<Operand>& operands) const {
    std::vector<const Operand*> keys;
    for (const Operand& x : operands)
      if (x.kind == Operand::lanes) keys.push_back(&x);
    const auto is_whole = [&](const Operand* x) {
      if (terms_ != 1 || lanes_.vector(x->vector).numbers.size() != items_.size()) return false;
      std::vector<bool> seen(items_.size(), false);
      for (const int32_t lane : x->lane) seen[std::size_t(lane)] = true;
      return std::find(seen.begin(), seen.end(), false) == seen.end();
    };
    std::stable_partition(keys.begin(), keys.end(), is_whole);
    std::vector<std::size_t> order = as_made();
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      for (const Operand* key : keys)
        if (const int32_t x = key->lane[a * terms_], y = key->lane[b * terms_]; x != y) return x < y;
      return false;
    });
    return order;
  }
  std::vector<std::size_t> as_made() const {
    std::vector<std::size_t> order(items_.size());
    std::iota(order.begin(), order.end(), std::size_t(0));
    return order;
  }

  void reorder(std::vector<Operand>& operands, const std::vector<std::size_t>& order) {
    const auto apply = [&](auto& list, std::size_t block) {
      const auto before = list;
      for (std::size_t n = 0; n < order.size(); ++n)
        for (std::size_t k = 0; k < block; ++k) list[n * block + k] = before[order[n] * block + k];
    };
    apply(items_, 1);
    for (Operand& x : operands) {
      apply(x.ids, terms_);
      if (!x.lane.empty()) apply(x.lane, terms_);
    }
  }

  // The axes of items, and behind them those of terms; `strides_` are those of each operand. False where
  // what lies in lanes does not lie evenly.
  bool find_axes(const std::vector<Operand>& operands) {
    std::vector<std::span<const int32_t>> tables;
    for (const Operand& x : operands)
      if (x.kind == Operand::lanes) tables.push_back(x.lane);
    const auto of_terms = find_lattice(tables, 0, 1, terms_), of_items = find_lattice(tables, 0, terms_, items_.size());
    if (!of_terms || !of_items || of_terms->size() + of_items->size() > most_axes) return false;
    for (const auto table : tables)
      for (std::size_t i = terms_; i < table.size(); ++i)
        if (table[i] - table[i - i % terms_] != table[i % terms_] - table[0]) return false;
    item_axes_ = of_items->size();
    sizes_.clear();
    strides_.assign(operands.size(), {});
    for (const auto* axes : {&*of_items, &*of_terms})
      for (const LatticeAxis& axis : *axes) {
        sizes_.push_back(axis.size);
        std::size_t t = 0;
        for (std::size_t p = 0; p < operands.size(); ++p)
          strides_[p].push_back(operands[p].kind == Operand::lanes ? axis.strides[t++] : 0);
      }
    return true;
  }

  // Finds an order in which all operands lie evenly; where there is none, those that do not in the
  // order of the program are collected.
  void arrange(std::vector<Operand>& operands) {
    if (try_order(operands)) return;
    for (Operand& x : operands) {
      if (x.kind != Operand::lanes) continue;
      const std::span<const int32_t> table(x.lane);
      const auto alone = find_lattice({&table, 1}, 0, 1, x.lane.size());
      if (!alone || alone->size() != 1) x.kind = Operand::mixed;
    }
    find_axes(operands);
  }

  // Leaves items and operands in the order that was found, or as they were.
  bool try_order(std::vector<Operand>& operands) {
    const std::vector<std::size_t> order = sorted(operands);
    const std::vector<const Item*> items = items_;
    std::vector<Operand> before = operands;
    reorder(operands, order);
    if (find_axes(operands)) return true;
    operands = std::move(before);
    items_ = items;
    return find_axes(operands);
  }

  // Number i of the operand is at index (..., i) of all axes.
  LaneView view_of(const Operand& x, std::size_t p) {
    switch (x.kind) {
      case Operand::shared: return {lanes_.number(like_, x.ids[0]), 0, strides_[p]};
      case Operand::lanes: return {lanes_.vector(x.vector).id, x.lane[0], strides_[p]};
      case Operand::mixed: return {lanes_.collect(like_, x.ids), 0, contiguous_strides(sizes_)};
      default: return constant_view(x);
    }
  }

  // Of constants, those along the axes that they differ along.
  LaneView constant_view(const Operand& x) {
    const Ints dense = contiguous_strides(sizes_);
    Shape kept;
    std::vector<std::size_t> places{0};
    LaneView out{.strides = Ints(sizes_.size(), 0)};
    std::vector<std::size_t> varying;
    for (std::size_t axis = 0; axis < sizes_.size(); ++axis) {
      const auto size = std::size_t(sizes_[axis]), step = std::size_t(dense[axis]);
      bool varies = false;
      for (std::size_t i = 0; i < x.ids.size() && !varies; ++i) varies = x.ids[i] != x.ids[i - i / step % size * step];
      if (!varies) continue;
      varying.push_back(axis);
      kept.push_back(sizes_[axis]);
      std::vector<std::size_t> more;
      for (const std::size_t place : places)
        for (std::size_t i = 0; i < size; ++i) more.push_back(place + i * step);
      places = std::move(more);
    }
    const Ints strides = contiguous_strides(kept);
    for (std::size_t i = 0; i < varying.size(); ++i) out.strides[varying[i]] = strides[i];
    std::vector<ValueId> ids;
    for (const std::size_t place : places) ids.push_back(x.ids[place]);
    out.base = lanes_.constants(ids);
    return out;
  }

  ValueId view(const LaneView& x, std::span<const std::size_t> axes) {
    Shape shape;
    Ints strides;
    for (const std::size_t axis : axes) shape.push_back(sizes_[axis]), strides.push_back(x.strides[axis]);
    return lanes_.view(like_, x.base, shape, strides, x.offset);
  }
  std::vector<std::size_t> axes(std::size_t first, std::size_t last) const {
    std::vector<std::size_t> out(last - first);
    std::iota(out.begin(), out.end(), first);
    return out;
  }
  Type type_over(std::span<const std::size_t> axes) const {
    Type out{program_.types[std::size_t(items_[0]->out)].dtype, {}};
    for (const std::size_t axis : axes) out.shape.push_back(sizes_[axis]);
    return out;
  }

  void settle(ValueId vector) {
    std::vector<ValueId> numbers;
    for (const Item* item : items_) numbers.push_back(item->out);
    lanes_.settle(vector, std::move(numbers));
  }

  ValueId read(const Operand& x, std::size_t p) {
    return x.kind == Operand::shared ? lanes_.number(like_, x.ids[0]) : view(view_of(x, p), axes(0, item_axes_));
  }

  void emit_step(std::vector<std::vector<ValueId>> places) {
    std::vector<Operand> operands;
    for (auto& ids : places) operands.push_back(operand(std::move(ids)));
    arrange(operands);
    SmallVector<ValueId, 3> ins;
    for (std::size_t p = 0; p < operands.size(); ++p) ins.push_back(read(operands[p], p));
    settle(lanes_.add(like_, *items_[0]->op, like_.op == items_[0]->op ? like_.attrs : Attrs(), std::move(ins),
                      type_over(axes(0, item_axes_))));
  }

  // One reduction, or one product of matrices.
  bool emit_whole() {
    std::vector<Operand> operands;
    for (const auto& ids : sides_) operands.push_back(operand(ids));
    for (const Operand& x : operands)
      if (x.kind == Operand::mixed) return false;
    const std::vector<const Item*> items = items_;
    const bool done = try_order(operands) && (operands.size() == 1 ? emit_sum(operands[0]) : emit_product(operands));
    if (!done) items_ = items;
    return done;
  }

  bool emit_sum(const Operand& x) {
    static const Op& sum = find_op("sum");
    const Type type = type_over(axes(0, item_axes_));
    const ValueId all = view(view_of(x, 0), axes(0, sizes_.size()));
    Ints along;
    for (std::size_t axis = item_axes_; axis < sizes_.size(); ++axis) along.push_back(int64_t(axis));
    Attrs attrs = make_attrs(sum, {{"axis", along}, {"keepdims", false}, {"dtype", type.dtype}});
    settle(lanes_.add(like_, sum, std::move(attrs), {all}, type));
    return true;
  }

  // Axes that only one factor has are its rows or columns, the others are walked. The items take the
  // order of the result: that of rows of weights, or else the one nearer to the program's.
  bool emit_product(const std::vector<Operand>& operands) {
    static const Op &matmul = find_op("matmul"), &chain_matmul = find_op("chain_matmul");
    static const Op& multiply = find_op("multiply");
    if (sizes_.size() - item_axes_ > 1) return false;
    LaneView a = view_of(operands[0], 0), b = view_of(operands[1], 1);
    std::size_t row = SIZE_MAX, column = SIZE_MAX;
    for (std::size_t axis = 0; axis < item_axes_; ++axis) {
      const bool of_a = a.strides[axis] != 0, of_b = b.strides[axis] != 0;
      if (of_a && !of_b) row = axis;
      if (of_b && !of_a) column = axis;
    }
    if ((row == SIZE_MAX ? 1 : sizes_[row]) * (column == SIZE_MAX ? 1 : sizes_[column]) < least_product) return false;
    if (row != SIZE_MAX && column != SIZE_MAX && !lanes_.is_outside(operands[0].ids[0]) && apart(row) < apart(column)) {
      std::swap(row, column);
      std::swap(a, b);
    }
    std::vector<std::size_t> batch;
    for (std::size_t axis = 0; axis < item_axes_; ++axis)
      if (axis != row && axis != column) batch.push_back(axis);
    Shape lead;
    for (const std::size_t axis : batch) lead.push_back(sizes_[axis]);
    const auto matrix = [&](const LaneView& x, std::initializer_list<std::size_t> last) {
      Shape shape = lead;
      Ints strides;
      for (const std::size_t axis : batch) strides.push_back(x.strides[axis]);
      for (const std::size_t axis : last) {
        shape.push_back(axis < sizes_.size() ? sizes_[axis] : 1);
        strides.push_back(axis < sizes_.size() ? x.strides[axis] : 0);
      }
      return lanes_.view(like_, x.base, shape, strides, x.offset);
    };
    const ValueId left = matrix(a, {row, item_axes_}), right = matrix(b, {item_axes_, column});
    Shape shape = lead;
    for (const std::size_t axis : {row, column}) shape.push_back(axis < sizes_.size() ? sizes_[axis] : 1);
    const ValueId made = lanes_.add(like_, items_[0]->op == &multiply ? matmul : chain_matmul, {}, {left, right},
                                    {type_over({}).dtype, shape});
    for (const std::size_t axis : {row, column})
      if (axis < sizes_.size()) batch.push_back(axis);
    permute_items(batch);
    settle(made);
    return true;
  }

  // How far in the program neighbours along the axis are.
  std::size_t apart(std::size_t axis) const {
    const Ints dense = contiguous_strides(Shape(sizes_.begin(), sizes_.begin() + item_axes_));
    const std::size_t first = items_[0]->like, next = items_[std::size_t(dense[axis])]->like;
    return std::max(first, next) - std::min(first, next);
  }

  void permute_items(const std::vector<std::size_t>& axes) {
    const Ints dense = contiguous_strides(Shape(sizes_.begin(), sizes_.begin() + item_axes_));
    std::vector<std::size_t> places{0};
    for (const std::size_t axis : axes) {
      std::vector<std::size_t> more;
      for (const std::size_t place : places)
        for (int64_t i = 0; i < sizes_[axis]; ++i) more.push_back(place + std::size_t(i * dense[axis]));
      places = std::move(more);
    }
    const std::vector<const Item*> before = items_;
    for (std::size_t n = 0; n < places.size(); ++n) items_[n] = before[places[n]];
  }

  // Few terms, each a vector of its own: what adds them up is elementwise.
  bool emit_columns() {
    static const Op& add = find_op("add");
    if (terms_ > most_columns || items_.size() < terms_) return false;
    const std::size_t count = terms_;
    std::vector<Operand> operands;
    terms_ = 1;
    for (std::size_t k = 0; k < count; ++k)
      for (const auto& side : sides_) {
        std::vector<ValueId> ids;
        for (std::size_t n = 0; n < items_.size(); ++n) ids.push_back(side[n * count + k]);
        operands.push_back(operand(std::move(ids)));
      }
    const std::vector<const Item*> items = items_;
    arrange(operands);
    const auto collected = std::size_t(std::count_if(operands.begin(), operands.end(), [](const Operand& x) {
      return x.kind == Operand::mixed;
    }));
    if (items_.size() * count < least_collected * collected) {
      items_ = items;
      terms_ = count;
      return false;
    }
    const Type type = type_over(axes(0, item_axes_));
    ValueId total = -1;
    for (std::size_t p = 0; p < operands.size(); p += sides_.size()) {
      ValueId term = read(operands[p], p);
      if (sides_.size() == 2) term = lanes_.add(like_, *items_[0]->op, {}, {term, read(operands[p + 1], p + 1)}, type);
      total = total < 0 ? term : lanes_.add(like_, add, {}, {total, term}, type);
    }
    settle(total);
    return true;
  }

  // Anything else, by tables.
  void emit_table() {
    SmallVector<ValueId, 3> ins;
    std::vector<LaneTable> tables;
    for (const auto& ids : sides_) {
      lanes_.house(like_, ids);
      tables.push_back(lanes_.table(ids));
      for (const ValueId id : tables.back().sources) ins.push_back(id);
    }
    static const Op& chain_multiply = find_op("chain_multiply");
    const auto count = int64_t(terms_);
    auto op = tables.size() == 1 ? sum_of_lanes(std::move(tables[0]), count)
                                 : dot_of_lanes(std::move(tables[0]), std::move(tables[1]), count,
                                                items_[0]->op == &chain_multiply);
    settle(lanes_.add_own(like_, std::move(op), std::move(ins), {type_over({}).dtype, {int64_t(items_.size())}}));
  }

  const Program& program_;
  Lanes& lanes_;
  std::vector<const Item*> items_;
  const Step like_;
  std::size_t terms_;
  std::vector<std::vector<ValueId>> sides_;
  std::size_t item_axes_ = 0;  // of all axes
  Shape sizes_;
  std::vector<Ints> strides_;  // of each operand
};

}  // namespace

void emit_group(const Program& program, Lanes& lanes, std::vector<const Item*> items) {
  Group(program, lanes, std::move(items)).emit();
}

}  // namespace wengert
