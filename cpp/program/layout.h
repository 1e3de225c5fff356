// What rewrites of layouts share: views made as steps, and who reads a value. Private to program/.
#pragma once
#include "program/program.h"

namespace wengert {

class LayoutRewriter {
 public:
  explicit LayoutRewriter(Program& program);

  const Array& array(ValueId id) const { return arrays_[std::size_t(id)]; }
  const Shape& shape(ValueId id) const { return program_.types[std::size_t(id)].shape; }
  // Whether every step that reads the value satisfies `test`, and no output is it.
  template <class F>
  bool read_only_by(ValueId id, const F& test) const {
    if (shown_[std::size_t(id)]) return false;
    for (const std::size_t s : readers_[std::size_t(id)])
      if (!test(program_.steps[s])) return false;
    return true;
  }

  // The step that alone reads the value, which no output is; null if there is none.
  const Step* only_reader(ValueId id) const {
    const auto& readers = readers_[std::size_t(id)];
    return readers.size() == 1 && !shown_[std::size_t(id)] ? &program_.steps[readers[0]] : nullptr;
  }

  // Steps that replace the present one, `like` of which they take source and region.
  ValueId view(const Step& like, const char* op, std::vector<std::pair<std::string, Attr>> attrs, ValueId of);
  ValueId compute(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, Type type);
  void compute_as(const Step& like, SmallVector<ValueId, 3> ins, ValueId out) {
    add(like, *like.op, like.attrs, std::move(ins), out);
  }
  // The value `out` of the present step becomes that view instead.
  void view_as(const Step& like, const char* op, std::vector<std::pair<std::string, Attr>> attrs, ValueId of, ValueId out);
  void keep(Step step) { made_.push_back(std::move(step)); }
  void finish() { program_.steps = std::move(made_); }

 private:
  void add(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, ValueId out);

  Program& program_;
  std::vector<Array> arrays_;
  std::vector<std::vector<std::size_t>> readers_;
  std::vector<bool> shown_;
  std::vector<Step> made_;
};

}  // namespace wengert
