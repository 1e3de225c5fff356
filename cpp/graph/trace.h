// A trace: while one is open, operations on abstract inputs append here instead of computing. The
// order of the list is topological.
#pragma once
#include "graph/node.h"

namespace wengert {

class Trace {
 public:
  Trace();   // opens: the innermost open trace of this thread takes the operations
  ~Trace();  // closes, if it is still open
  Trace(const Trace&) = delete;
  void close();

  Var input(const Type& type);  // an abstract value with no node
  const std::vector<Ref<Node>>& nodes() const { return nodes_; }
  void append(Ref<Node> node) { nodes_.push_back(std::move(node)); }

  static Trace* current();

 private:
  std::vector<Ref<Node>> nodes_;
  bool open_ = true;
};

}  // namespace wengert
