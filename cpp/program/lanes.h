// Vectors whose elements, the lanes, are the numbers of a program: which number is where, and the steps
// that read several at once. Names no op but sums, products and views.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "program/program.h"

namespace wengert {

// An array of any shape over the lanes of one vector.
struct LaneView {
  ValueId base = -1;
  int64_t offset = 0;
  Ints strides = {};
};

// For each of several numbers the vector it lies in, among `sources`, and its lane there.
struct LaneTable {
  std::vector<ValueId> sources;
  std::vector<int32_t> from, lane;
};

class Lanes {
 public:
  struct Home {
    int vector = -1;  // among vectors(), or -1: none yet
    int32_t lane = 0;
  };
  struct Vector {
    ValueId id = -1;
    std::vector<ValueId> numbers;
  };

  explicit Lanes(Program& program);

  const Home& home(ValueId id) const { return homes_[std::size_t(id)]; }
  bool is_outside(ValueId id) const { return from_outside_[std::size_t(id)]; }
  const Vector& vector(int index) const { return vectors_[std::size_t(index)]; }
  // Whether the number is a constant that nobody can change.
  bool is_fixed(ValueId id) const { return fixed_.contains(id); }
  DType dtype(ValueId id) const { return program_.types[std::size_t(id)].dtype; }

  // From now on `numbers`, all of one dtype, are the lanes of `vector`.
  void settle(ValueId vector, std::vector<ValueId> numbers);
  // Gives homes to all that have none: what comes from outside, in one vector for each dtype, in the order
  // it is asked for; others in one of their own, made of them where this is called.
  void house(const Step& like, std::span<const ValueId> ids);
  // The number as a value of its own.
  ValueId number(const Step& like, ValueId id);
  void make_number(ValueId id) { is_number_[std::size_t(id)] = true; }

  // Steps that take source and region of `like`.
  ValueId add(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, Type type);
  ValueId add_own(const Step& like, std::shared_ptr<const Op> op, SmallVector<ValueId, 3> ins, Type type);
  ValueId view(const Step& like, ValueId base, const Shape& shape, const Ints& strides, int64_t offset);
  // The numbers side by side, as a vector: a part of one that is there, or collected.
  ValueId side_by_side(const Step& like, std::vector<ValueId> ids);
  ValueId collect(const Step& like, std::span<const ValueId> ids);
  ValueId constants(std::span<const ValueId> ids);  // the same, of fixed ones
  LaneTable table(std::span<const ValueId> ids) const;
  ValueId new_value(Type type);
  void keep(Step step) { made_.push_back(std::move(step)); }
  // All steps; those that read what comes from outside are first.
  std::vector<Step> finish();

 private:
  Program& program_;
  std::vector<bool> from_outside_, is_number_;
  std::unordered_map<ValueId, Array> fixed_;
  std::vector<Home> homes_;
  std::vector<Vector> vectors_;
  std::map<DType, int> outside_;  // the vector of what comes from outside
  std::vector<Step> made_;
  std::map<std::vector<int64_t>, ValueId> views_;
  std::map<std::vector<ValueId>, ValueId> collected_, constants_;
};

// sum over k of x[n count + k], or of products of such in two tables, of which `chain` ones are 0 where a
// factor is. The operands are the sources of the tables in turn.
std::shared_ptr<const Op> sum_of_lanes(LaneTable x, int64_t count);
std::shared_ptr<const Op> dot_of_lanes(LaneTable x, LaneTable y, int64_t count, bool chain);

}  // namespace wengert
