#include "graph/tape.h"

#include <algorithm>

#include "graph/tangents.h"
#include "kernels/copy.h"

namespace wengert {
namespace {

uint32_t next_id() {
  static uint32_t id = 0;
  if (++id == 0) ++id;  // 0 stands for no tape
  return id;
}

uint32_t version_of(const Var& x) { return x->array.has_data() ? x->array.buffer()->version : 0; }

// x, to a sweep, with the numbers that its memory has now.
Var snapshot(const Var& x) {
  Var out(kernels::contiguous_copy(x.array()));
  out->tracked = x->tracked;
  out->is_leaf = x->is_leaf;
  out->node = x->node;
  out->index = x->index;
  out->tangents = x->tangents;
  return out;
}

}  // namespace

Tape::Tape(Keeps keeps)
    : id_(next_id()), start_(make_node(nullptr, {})->serial), keeps_(std::move(keeps)), before_(modes().tape) {
  modes().tape = this;
}

void Tape::end() {
  if (on_) modes().tape = before_;
  on_ = false;
}

bool Tape::sweeps_within(std::span<const Var> values) const {
  if (whole_ > 0) return true;
  return std::any_of(values.begin(), values.end(), [&](const Var& x) {
    return x->tracked && x->node && x->node->serial > start_ && !(x->node->light && x->node->tape == id_);
  });
}

int32_t Tape::new_number(const Var& x) {
  types_.push_back(x->array.type());
  versions_.push_back(version_of(x));
  return int32_t(types_.size() - 1);
}

int32_t Tape::number_of(const Var& x) const {
  if (!x->node || x->node->tape != id_) return -1;
  const auto number = int32_t(x->node->place + x->index);
  return version_of(x) == versions_[std::size_t(number)] ? number : -1;
}

int32_t Tape::read(const Var& x) {
  if (const int32_t number = number_of(x); number >= 0) return number;
  const auto [found, is_new] = places_.try_emplace(x.get(), outside_.size());
  if (!is_new && outside_[found->second].version == version_of(x)) return outside_[found->second].number;
  found->second = outside_.size();
  outside_.push_back({new_number(x), x, version_of(x)});
  return outside_.back().number;
}

void Tape::note(const Op& op, const Attrs& attrs, std::span<const Var> ins, Vars& outs, bool tracked, Ref<Node> node) {
  Line line{.op = &op, .attrs = attrs, .ins = {}, .first = 0, .outs = uint32_t(outs.size()), .source = 0,
            .region = modes().region, .tracked = tracked, .constant = modes().constant, .own_op = op.self.lock()};
  for (const Var& x : ins) line.ins.push_back(read(x));
  line.first = int32_t(types_.size());
  if (!node) {
    node = make_node(&op, {});
    node->light = true;
    node->tracked = tracked;
    for (std::size_t i = 0; i < outs.size(); ++i) {
      Value& y = *outs[i].get();
      node->out_types.push_back(y.array.type());
      y.node = node;
      y.index = uint16_t(i);
      y.tracked = tracked && is_float(y.array.dtype());
      y.is_leaf = !y.tracked;
    }
  }
  node->tape = id_;
  node->place = uint32_t(line.first);
  line.source = node->source;
  for (const Var& y : outs) new_number(y);
  std::vector<Type> in_types;
  if (keeps_)
    for (const Var& x : ins) in_types.push_back(x->array.type());
  if (keeps_ && keeps_(op, attrs, in_types, std::span(types_).subspan(std::size_t(line.first)))) {
    for (std::size_t i = 0; i < outs.size(); ++i) kept_.push_back({line.first + int32_t(i), outs[i]});
    // Another name for a value: that one is kept with it.
    if (ins.size() == 1 && outs.size() == 1 && number_of(ins[0]) >= 0 && ins[0].array().same_place(outs[0].array()))
      kept_.push_back({line.ins[0], ins[0]});
  }
  lines_.push_back(std::move(line));
}

void Tape::attend(const Ref<Node>& node) {
  for (Tape* tape = modes().tape; tape; tape = tape->before_)
    if (node->light && node->tape == tape->id_ &&
        std::find(tape->attended_.begin(), tape->attended_.end(), node) == tape->attended_.end())
      tape->attended_.push_back(node);
}

bool keeps_values(std::span<const Var> values) {
  if (!modes().grad_enabled) return false;
  bool tracked = false, abstract = false;
  for (const Var& x : values) tracked |= x->tracked, abstract |= x.is_abstract();
  return tracked && (abstract || !modes().tape || modes().tape->sweeps_within(values));
}

void Tape::preserve(const Array& memory) {
  for (Tape* tape = modes().tape; tape; tape = tape->before_) {
    for (Outside& entry : tape->outside_) {
      const Var before = entry.value;
      if (!before->array.has_data() || before->array.buffer() != memory.buffer() ||
          entry.version != version_of(before))
        continue;
      entry.value = snapshot(before);
      entry.version = 0;
      tape->places_.erase(before.get());
    }
    for (Kept& kept : tape->kept_)
      if (kept.value->array.buffer() == memory.buffer()) kept.value = snapshot(kept.value);
  }
}

}  // namespace wengert
