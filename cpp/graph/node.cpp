#include "graph/node.h"

#include <atomic>

#include "array/allocator.h"
#include "graph/recording.h"
#include "graph/source.h"
#include "graph/tangents.h"
#include "ops/vocabulary.h"

namespace wengert {
namespace {

template <class T>
T* make_object() {
  return new (memory::allocate_object(sizeof(T))) T;
}
template <class T>
void free_object(T* object) {
  object->~T();
  memory::deallocate_object(object, sizeof(T));
}

// Ending a node ends its inputs, whose nodes end theirs: a queue instead of recursion, so that a
// million-node list frees in constant stack.
template <class T>
struct ReleaseQueue {
  std::vector<T*> waiting;
  bool running = false;
  void operator()(T* object) {
    waiting.push_back(object);
    if (running) return;
    running = true;
    while (!waiting.empty()) {
      T* next = waiting.back();
      waiting.pop_back();
      free_object(next);
    }
    running = false;
  }
};

uint64_t next_serial() {
  static uint64_t serial = 0;
  return ++serial;
}

}  // namespace

void release(Node* node) {
  thread_local ReleaseQueue<Node> queue;
  queue(node);
}

void release(Value* value) {
  thread_local ReleaseQueue<Value> queue;
  queue(value);
}

Ref<Node> make_node(const Op* op, Attrs attrs) {
  Ref<Node> node(make_object<Node>());
  node->serial = next_serial();
  node->op = op;
  node->attrs = std::move(attrs);
  if (op) node->source = source_here();
  if (op && !op->self.expired()) node->more().op = op->self.lock();
  return node;
}

Ref<Value> make_value(Array array) {
  Ref<Value> value(make_object<Value>());
  value->array = std::move(array);
  if (Recording* recording = Recording::current()) value->trace = recording->trace().id();
  return value;
}

Var::Var(Array array) : value_(make_value(std::move(array))) {}

Var detach(const Var& x) {
  // Traces and tapes know their values by their nodes.
  if (x.is_abstract() || Recording::current() || modes().tape) return stop_gradient(x);
  return Var(make_value(x.array()));
}

void make_leaf(Value& value) {
  value.tracked = true;
  // Recordings know the leaf by its node.
  if (value.node && value.node->is_leaf() && value.array.has_data()) return;
  if (Recording* recording = Recording::current()) recording->begin_leaf(Var(Ref<Value>(&value)));
  value.is_leaf = true;
  value.node = make_node(nullptr, {});
  value.node->out_types.push_back(value.array.type());
}

void drop_leaf(Value& value) {
  value.tracked = false;
  if (!value.array.has_data()) value.node = {};
  else if (value.node && leaf_grad(value)) set_grad(value, {});
}

void note_met(const Value& value) {
  if (Recording::current()) value.recorded = true;
}

bool keeps_grad(const Value& value) {
  if (!value.node || !value.node->extras) return false;
  const auto& grads = value.node->extras->grads;
  return std::any_of(grads.begin(), grads.end(), [&](const auto& entry) { return entry.first == value.index; });
}

Var leaf_grad(const Value& value) {
  note_met(value);
  if (Recording* recording = Recording::current(); recording && value.node && value.node->is_leaf())
    return recording->gradient(value.node);
  if (value.node && value.node->extras)
    for (const auto& [index, grad] : value.node->extras->grads)
      if (index == value.index) return grad;
  return {};
}

uint64_t& gradients_epoch() {
  static uint64_t epoch = 1;
  return epoch;
}

void set_grad(Value& value, Var grad) {
  if (Recording* recording = Recording::current(); recording && value.node && value.node->is_leaf())
    return recording->set_gradient(value.node, std::move(grad));
  ++gradients_epoch();
  auto& grads = value.node->more().grads;
  for (auto& entry : grads)
    if (entry.first == value.index) {
      entry.second = std::move(grad);
      return;
    }
  grads.emplace_back(value.index, std::move(grad));
}

void drop_saved(Node& node, uint32_t source) {
  for (Edge& edge : node.inputs) edge.value = {};
  node.saved_out.reset();
  node.freed = true;
  node.freed_at = source;
  // An op that is nothing but one computation, which is over, keeps what its rule reads: of it the name stays.
  const Op* op = node.op;
  if (!op || !node.extras || !node.extras->op || op->kernel || op->view || op->evaluate) return;
  const auto named = std::make_shared<Op>();
  named->name = op->name;
  node.op = named.get();
  node.extras->op = named;
}

Modes& modes() {
  thread_local Modes current;
  return current;
}

uint32_t new_region() {
  static std::atomic<uint32_t> region = 0;
  if (++region == 0) ++region;  // 0 stands for what is computed for the first time
  return region;
}

SourceHooks& source_hooks() {
  static SourceHooks hooks;
  return hooks;
}

std::string show_source(uint32_t source) {
  if (!source || !source_hooks().resolve) return "an unknown line";
  return source_hooks().resolve(source);
}

}  // namespace wengert
