// A trace: while it is open, operations on its abstract values append here instead of computing; with
// values of several traces, in the innermost. The order of the list is topological.
#pragma once
#include "graph/node.h"

namespace wengert {

class Trace {
 public:
  // `conditional`: what is traced may never be carried out. `inlined`: in it an operation on values from
  // around it is carried out where it stands, as Python would.
  explicit Trace(bool conditional = false, bool inlined = false);
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
  // Where an operation on this trace's values goes: the innermost open conditional one, if that is within
  // this one, where it `stays`, else into what is inlined here. See Lasting.
  Trace* joined(bool stays);
  static std::size_t open_count();
  static Trace* innermost();  // of those open on this thread, or null

 private:
  std::vector<Ref<Node>> nodes_;
  uint32_t id_;
  std::size_t depth_;
  bool open_ = true;
  bool conditional_, inlined_;
};

// While it lives nothing moves into traces within `trace` (null: into any): what is made lasts as long as
// the values of that trace.
class Lasting {
 public:
  explicit Lasting(const Trace* trace);
  ~Lasting();
  Lasting(const Lasting&) = delete;

 private:
  std::size_t before_;
};

}  // namespace wengert
