#include "program/layout.h"

namespace wengert {

LayoutRewriter::LayoutRewriter(Program& program)
    : program_(program), arrays_(lay_out(program)), readers_(program.types.size()), shown_(program.types.size(), false) {
  for (std::size_t s = 0; s < program.steps.size(); ++s)
    for (const ValueId id : program.steps[s].ins) readers_[std::size_t(id)].push_back(s);
  for (const ValueId id : program.outputs) shown_[std::size_t(id)] = true;
  made_.reserve(program.steps.size());
}

void LayoutRewriter::add(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, ValueId out) {
  Array seen;
  if (op.view && ins.size() == 1) seen = op.view(array(ins[0]), attrs);
  if (!seen.has_data()) {
    const Type& type = program_.types[std::size_t(out)];
    const auto bytes = std::size_t(numel(type.shape)) * std::size_t(itemsize(type.dtype));
    seen = Array::foreign(nullptr, bytes, false, type.dtype, type.shape, contiguous_strides(type.shape), [] {});
  }
  arrays_.resize(program_.types.size());
  arrays_[std::size_t(out)] = std::move(seen);
  made_.push_back({.op = &op, .attrs = std::move(attrs), .ins = std::move(ins), .outs = {out}, .source = like.source,
                   .tracked = like.tracked, .region = like.region});
}

ValueId LayoutRewriter::view(const Step& like, const char* op, std::vector<std::pair<std::string, Attr>> given, ValueId of) {
  const Op& row = find_op(op);
  Attrs attrs = make_attrs(row, std::move(given));
  const Type from = program_.types[std::size_t(of)];
  const ValueId out = program_.new_value(row.infer({&from, 1}, attrs)[0]);
  add(like, row, std::move(attrs), {of}, out);
  return out;
}

void LayoutRewriter::view_as(const Step& like, const char* op, std::vector<std::pair<std::string, Attr>> given, ValueId of,
                             ValueId out) {
  const Op& row = find_op(op);
  add(like, row, make_attrs(row, std::move(given)), {of}, out);
}

ValueId LayoutRewriter::compute(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, Type type) {
  const ValueId out = program_.new_value(std::move(type));
  add(like, op, std::move(attrs), std::move(ins), out);
  return out;
}

}  // namespace wengert
