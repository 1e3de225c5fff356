#include "graph/recording.h"

#include <algorithm>

#include "graph/source.h"
#include "kernels/copy.h"

namespace wengert {
namespace {

Recording*& current_recording() {
  thread_local Recording* recording = nullptr;
  return recording;
}

}  // namespace

Recording* Recording::current() { return current_recording(); }
std::string& Recording::history_error() {
  thread_local std::string last;
  return last;
}
uint64_t& Recording::progress() {
  static uint64_t made = 0;
  return made;
}

Recording::Recording() : before_(current_recording()) { current_recording() = this; }
Recording::~Recording() { current_recording() = before_; }

Var Recording::read(const Var& x) {
  if (const auto found = places_.find(x.get()); found != places_.end()) {
    Variable& variable = variables_[found->second];
    variable.last_read = ++clock_;
    return variable.now;
  }
  if (!is_outside(*x.get())) return x;
  if (x->tracked && !x->is_leaf) try {
    fail(ErrorKind::trace, "compile: a tensor from outside was made by '", x->node->name(), "', recorded at ",
         show_source(x->node->source), "; a compiled function cannot add to that history. Pass the tensor as an "
         "argument, or detach it");
  } catch (const Error& error) {
    history_error() = error.what();
    throw;
  }
  x->recorded = true;
  Var entry = trace_.input(x->array.type());
  entry->tracked = x->tracked;
  entry->is_leaf = x->is_leaf;
  entry->node = x->node;
  entry->index = x->index;
  places_.emplace(x.get(), variables_.size());
  variables_.push_back({x, entry, entry});
  variables_.back().last_read = ++clock_;
  return entry;
}

void Recording::assign(const Var& to, const Var& value) {
  const Var before = read(to);
  auto found = places_.find(to.get());
  if (found == places_.end()) {
    found = places_.emplace(to.get(), variables_.size()).first;
    variables_.push_back({to, {}, before});
  }
  // A value of its own: views of what it was copied from are none of it.
  Var now(value.is_abstract() ? value.array() : kernels::contiguous_copy(value.array()));
  now->trace = trace_.id();
  if (to->tracked) {  // it stays the leaf that gathers a gradient
    now->tracked = true;
    now->node = to->node;
    now->index = to->index;
  }
  renamed_.emplace_back(now, value);
  Variable& variable = variables_[found->second];
  variable.now = std::move(now);
  variable.assigned = true;
  if (!variable.first_assigned) variable.first_assigned = ++clock_;
}

void Recording::flag(const Var& x, bool before) {
  if (!is_outside(*x.get()) || x->tracked == before) return;
  if (std::none_of(flagged_.begin(), flagged_.end(), [&](const auto& known) { return known.first == x; }))
    flagged_.emplace_back(x, before);
  const auto found = places_.find(x.get());
  if (found == places_.end()) return;
  Variable& variable = variables_[found->second];
  Var now(variable.now.array());
  now->trace = trace_.id();
  now->tracked = x->tracked;
  if (x->tracked) now->node = x->node;
  renamed_.emplace_back(now, variable.now);
  variable.now = std::move(now);
}

void Recording::begin_leaf(const Var& x) {
  inner_leaves_.push_back(x);
  if (!x.is_abstract() || !x->node) return;
  Var was(x.array());
  was->node = x->node;
  was->index = x->index;
  renamed_.emplace_back(x, was);
}

void Recording::end_leaves() {
  std::erase_if(gradients_, [&](const Gradient& gradient) {
    return std::any_of(inner_leaves_.begin(), inner_leaves_.end(),
                       [&](const Var& x) { return x->node == gradient.leaf && (x.is_abstract() || !x->python); });
  });
}

Recording::Gradient& Recording::slot(const Ref<Node>& leaf) {
  const auto [found, is_new] = slots_.emplace(leaf.get(), gradients_.size());
  if (is_new) {
    Gradient& made = gradients_.emplace_back();
    made.leaf = leaf;
    if (leaf->extras && !leaf->extras->grads.empty() && leaf->extras->grads[0].second)
      made.entry = made.now = trace_.input(leaf->extras->grads[0].second->array.type());
  }
  return gradients_[found->second];
}

Var Recording::gradient(const Ref<Node>& leaf) { return slot(leaf).now; }

void Recording::set_gradient(const Ref<Node>& leaf, Var g) { slot(leaf).now = std::move(g); }

}  // namespace wengert
