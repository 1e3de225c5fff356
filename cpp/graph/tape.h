// The list of what one call does on values that have numbers, without the values: operations, who reads
// what, and the values from around the call. What is made within ends as if nothing were recorded, and
// can be computed again. Names no op.
#pragma once
#include <unordered_map>

#include "graph/node.h"

namespace wengert {

class Tape {
 public:
  // Whether the outputs of an operation are to be kept although they could be computed again.
  using Keeps = std::function<bool(const Op& op, const Attrs& attrs, std::span<const Type> ins, std::span<const Type> outs)>;

  explicit Tape(Keeps keeps);  // on from now
  ~Tape() { end(); }
  Tape(const Tape&) = delete;
  void end();

  struct Line {
    const Op* op;
    Attrs attrs;
    SmallVector<int32_t, 3> ins;  // numbers of values
    int32_t first;                // of its outputs
    uint32_t outs;
    uint32_t source;
    uint32_t region;
    bool tracked, constant;
    std::shared_ptr<const Op> own_op;
  };
  // A value from around the call, as it was when it was read.
  struct Outside {
    int32_t number;
    Var value;
    uint32_t version;  // of its buffer
  };
  struct Kept {
    int32_t number;
    Var value;
  };

  // Whether one of the values depends on a leaf made within: then it is for the sweep of a transform
  // within, and nodes that keep values are made as well.
  bool sweeps_within(std::span<const Var> values) const;
  // Adds a line. Without a node it makes one that keeps nothing.
  void note(const Op& op, const Attrs& attrs, std::span<const Var> ins, Vars& outs, bool tracked, Ref<Node> node);
  // The number of a value made within and not changed since, or -1.
  int32_t number_of(const Var& x) const;

  // While it lives, nodes keep values: the leaf of a transform is being made.
  class Whole {
   public:
    Whole() : tape_(modes().tape) { if (tape_) ++tape_->whole_; }
    ~Whole() { if (tape_) --tape_->whole_; }
    Whole(const Whole&) = delete;

   private:
    Tape* tape_;
  };
  // While it lives, the operations of this thread are nobody's.
  class Off {
   public:
    Off() : before_(modes().tape) { modes().tape = nullptr; }
    ~Off() { modes().tape = before_; }
    Off(const Off&) = delete;

   private:
    Tape* before_;
  };
  // To be called before memory changes in place: what a tape of this thread read there stays as it was.
  static void preserve(const Array& memory);
  // A hook, or the wish for a gradient, was left at this node: one made under a tape is held for them.
  static void attend(const Ref<Node>& node);

  const std::vector<Type>& types() const { return types_; }
  const std::vector<Line>& lines() const { return lines_; }
  const std::vector<Outside>& outside() const { return outside_; }
  const std::vector<Kept>& kept() const { return kept_; }
  const std::vector<Ref<Node>>& attended() const { return attended_; }

 private:
  int32_t new_number(const Var& x);
  int32_t read(const Var& x);

  uint32_t id_;
  uint64_t start_;  // the serial number of the newest node when it began
  int whole_ = 0;
  bool on_ = true;
  Keeps keeps_;
  std::vector<Type> types_;
  std::vector<uint32_t> versions_;  // of the buffer of each value
  std::vector<Line> lines_;
  std::vector<Outside> outside_;
  std::vector<Kept> kept_;
  std::vector<Ref<Node>> attended_;
  std::unordered_map<const Value*, std::size_t> places_;  // in outside_
  Tape* before_;
};

// Whether an operation on these values leaves a node that keeps values for a reverse sweep.
bool keeps_values(std::span<const Var> values);

}  // namespace wengert
