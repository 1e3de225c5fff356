// A trace: while it is open, operations on its abstract values append here instead of computing; with
// values of several traces, in the innermost. The order of the list is topological.
#pragma once
#include "graph/node.h"

namespace wengert {

class Trace {
 public:
  explicit Trace(bool conditional = false);
  ~Trace();  // closes, if it is still open
  Trace(const Trace&) = delete;
  void close();

  Var input(const Type& type);  // an abstract value with no node
  const std::vector<Ref<Node>>& nodes() const { return nodes_; }
  void append(Ref<Node> node) { nodes_.push_back(std::move(node)); }
  std::vector<Ref<Node>> cut(std::size_t from);  // takes off what was appended after that many nodes
  uint32_t id() const { return id_; }
  std::size_t depth() const { return depth_; }  // how many traces were open when it opened

  // The innermost open trace of this thread that one of the values belongs to; null if all have data.
  static Trace* of(const char* op, std::span<const Var> values);
  Trace* or_conditional();  // the innermost open conditional one, if that is within this one
  static std::size_t open_count();
  static Trace* innermost();  // of those open on this thread, or null

 private:
  std::vector<Ref<Node>> nodes_;
  uint32_t id_;
  std::size_t depth_;
  bool open_ = true;
  bool conditional_;  // what is traced may never be carried out
};

}  // namespace wengert
