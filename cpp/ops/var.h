// Var: the handle that rules compute with, concrete (it has data) or abstract (shape and dtype only).
// Knows nothing of how an operation is carried out or recorded; that is graph/apply.cpp.
#pragma once
#include "array/array.h"
#include "base/attrs.h"

namespace wengert {

struct Node;
struct Value;
struct TangentSet;
void release(Node* node);
void release(Value* value);
void release(TangentSet* set);

// A tensor: what a Python Tensor wraps and what nodes connect. `node` is the node that made it (for
// a leaf that wants a gradient, the node that accumulates it).
struct Value {
  uint32_t refs = 0;
  uint16_t index = 0;      // which output of `node`
  bool tracked = false;    // a reverse sweep may ask for its adjoint
  bool weak = false;       // a Python number: adopts the dtype of its company, a constant
  bool is_leaf = true;
  mutable bool recorded = false;  // a recording of a whole call has met it as it was
  uint16_t tensors = 0;    // how many Tensor objects show this abstract value or a view of it
  uint32_t trace = 0;      // which trace an abstract value belongs to
  Array array;
  Ref<Node> node;
  Ref<TangentSet> tangents;  // pushed along by the forward sweeps that are active
  void* python = nullptr;  // borrowed: the Python object that wraps this one, if any
};

class Var {
 public:
  Var() = default;  // no value: a structural zero
  explicit Var(Ref<Value> value) : value_(std::move(value)) {}
  explicit Var(Array array);  // a constant

  explicit operator bool() const { return bool(value_); }
  bool operator==(const Var&) const = default;
  Value* get() const { return value_.get(); }
  Value* operator->() const { return value_.get(); }
  const Ref<Value>& ref() const { return value_; }
  const Array& array() const { return value_->array; }
  const Shape& shape() const { return value_->array.shape(); }
  DType dtype() const { return value_->array.dtype(); }
  int ndim() const { return value_->array.ndim(); }
  bool is_abstract() const { return !value_->array.has_data(); }

 private:
  Ref<Value> value_;
};

using Vars = SmallVector<Var, 3>;
using Types = SmallVector<Type, 1>;
using Arrays = SmallVector<Array, 3>;

}  // namespace wengert
