// What the files of rows that move elements share. Private to ops/.
#pragma once
#include "ops/families.h"

namespace wengert {

// Gives the attribute its canonical value; most calls find it there already.
inline void set(Attrs& attrs, const char* name, Attr value) {
  if (!(attrs.at(name) == value)) attrs = attrs.with(name, std::move(value));
}

inline Ints shifted(Ints axes) {
  for (int64_t& axis : axes) ++axis;
  return axes;
}
inline Ints behind(int64_t first, Ints rest) {
  rest.insert(0, first);
  return rest;
}

inline void need_matrix(const char* where, const Var& x) {
  if (x.ndim() < 2) fail(ErrorKind::shape, where, ": needs at least 2 dimensions; got ", x.shape());
}

// A box of `sizes` inside `whole`, one entry an axis, by the attributes `starts` and `steps`. The step of an axis with
// at most one element and the start of an empty one say nothing and become 1 and 0.
void check_box(const char* where, const Shape& whole, const Ints& sizes, Attrs& attrs);

// Batching by the row itself with other attributes, or with all its axes moved up by one.
inline Vars again(const Batched& b, Attrs attrs) {
  return apply_all(b.op, b.ins, std::move(attrs));
}
inline Vars batch_axes(const Batched& b) {
  return again(b, b.attrs.with("axis", shifted(b.attrs.ints("axis"))));
}

// A row that always shares its input's bytes; its kernel serves callers that own the output.
Op view_row(Op row);

}  // namespace wengert
