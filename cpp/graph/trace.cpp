#include "graph/trace.h"

#include <algorithm>
#include <utility>

#include "graph/source.h"

namespace wengert {
namespace {

std::vector<Trace*>& open_traces() {
  thread_local std::vector<Trace*> traces;
  return traces;
}

// How many of the open traces operations may move into, from the outermost on.
std::size_t& lasting() {
  thread_local std::size_t count = SIZE_MAX;
  return count;
}

uint32_t next_id() {
  static uint32_t id = 0;
  if (++id == 0) ++id;  // 0 stands for no trace
  return id;
}

}  // namespace

Trace::Trace(bool conditional, bool inlined)
    : id_(next_id()), depth_(open_traces().size()), conditional_(conditional), inlined_(inlined) {
  open_traces().push_back(this);
}
Trace::~Trace() {
  close();
  // Gradients that were kept depend on the nodes that keep them.
  for (const Ref<Node>& node : nodes_)
    if (node->extras) node->extras->grads.clear();
}

void Trace::close() {
  if (open_) std::erase(open_traces(), this);
  open_ = false;
}

Var Trace::input(const Type& type) {
  Var x{Array(type)};
  x->trace = id_;
  return x;
}

Trace* Trace::of(const char* op, std::span<const Var> values) {
  const auto& traces = open_traces();
  Trace* innermost = nullptr;
  for (const Var& x : values) {
    if (!x.is_abstract()) continue;
    if (x->node && x->node->light)
      fail(ErrorKind::trace, op, ": a value made by '", x->node->name(), "', at ", show_source(x->node->source), ", inside a "
           "function under wg.checkpoint was used outside it; return it from the function, or .assign it there to a tensor "
           "made outside");
    const auto found = std::find_if(traces.begin(), traces.end(), [&](const Trace* t) { return t->id_ == x->trace; });
    if (found == traces.end())
      fail(ErrorKind::trace, op, ": a traced value was used after its trace had ended; return it from the traced "
           "function instead of storing it");
    if (!innermost || (*found)->depth_ > innermost->depth_) innermost = *found;
  }
  return innermost;
}

Trace* Trace::joined(bool stays) {
  Trace* out = this;
  for (Trace* trace : open_traces()) {
    if (trace->depth_ <= depth_) continue;
    if (trace->depth_ >= lasting() || !(stays || trace->inlined_)) break;
    if (trace->conditional_) out = trace;
  }
  return out;
}

Lasting::Lasting(const Trace* trace) : before_(std::exchange(lasting(), trace ? trace->depth() + 1 : 0)) {}
Lasting::~Lasting() { lasting() = before_; }

std::vector<Ref<Node>> Trace::cut(std::size_t from) {
  const auto begin = nodes_.begin() + std::ptrdiff_t(from);
  std::vector<Ref<Node>> out(std::make_move_iterator(begin), std::make_move_iterator(nodes_.end()));
  nodes_.erase(begin, nodes_.end());
  return out;
}

std::size_t Trace::open_count() { return open_traces().size(); }
Trace* Trace::innermost() { return open_traces().empty() ? nullptr : open_traces().back(); }

}  // namespace wengert
