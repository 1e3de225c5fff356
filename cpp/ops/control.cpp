// Rows about the list itself rather than numbers: identity leaves, cuts, conversions of dtype.
#include "kernels/copy.h"
#include "ops/families.h"
#include "ops/integers.h"
#include "ops/rows.h"

namespace wengert {
namespace {

void copy_kernel(const Call& call) { kernels::copy(call.in[0], call.out[0]); }
Array same_view(const Array& x, const Attrs&) { return x; }

Op alias() {
  return linear({.name = "alias",
                 .doc = "x itself as a new value: the leaf of a function transform.",
                 .inputs = {"x"},
                 .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
                 .view = same_view,
                 .kernel = copy_kernel,
                 .adjoints = {{.rule = [](const Rule& r) { return r.g(); }}},
                 .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }});
}

Op checkpoint_name_row() {
  return linear({.name = "checkpoint_name",
                 .doc = "x itself under a `name`, by which a policy of wg.checkpoint can choose to keep it.",
                 .inputs = {"x"},
                 .params = {{"name", AttrKind::text, {}}},
                 .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
                 .view = same_view,
                 .kernel = copy_kernel,
                 .adjoints = {{.rule = [](const Rule& r) { return r.g(); }}},
                 .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }});
}

Op copy_row() {
  return linear({.name = "copy",
                 .doc = "x in memory of its own, contiguous.",
                 .inputs = {"x"},
                 .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
                 .kernel = copy_kernel,
                 .adjoints = {{.rule = [](const Rule& r) { return r.g(); }}},
                 .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }});
}

Op stop_gradient_row() {
  return {.name = "stop_gradient",
          .doc = "x, taken as a constant: no derivative of any order passes.",
          .inputs = {"x"},
          .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
          .view = same_view,
          .kernel = copy_kernel,
          .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }};
}

Op astype_row() {
  Op row = linear({.name = "astype",
                   .doc = "x converted to dtype. Floats truncate towards zero to integers, NaN and values out "
                          "of range give 0; to bool, everything but 0 is True. Derivatives pass between floats.",
                   .inputs = {"x"},
                   .params = {{"dtype", AttrKind::dtype, {}}},
                   .infer = [](std::span<const Type> in, const Attrs& at) { return Types{{at.dtype("dtype"), in[0].shape}}; },
                   .view = [](const Array& x, const Attrs& at) {
                     return x.dtype() == at.dtype("dtype") ? x : Array(x.type());
                   },
                   .kernel = copy_kernel,
                   .adjoints = {{.rule = [](const Rule& r) { return astype(r.g(), r.dtype()); }}},
                   .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }});
  row.converts = true;
  return row;
}

Op from_number_row() {
  Op row = linear({.name = "from_number",
                   .doc = "x, a Python number, converted to dtype: fails as the operation `where` if it is an integer "
                          "dtype that does not hold x, fractions aside, or for an `exponent` below 0.",
                   .inputs = {"x"},
                   .params = {{"dtype", AttrKind::dtype, {}},
                              {"where", AttrKind::text, std::string("from_number")},
                              {"exponent", AttrKind::boolean, false}},
                   .infer = [](std::span<const Type> in, const Attrs& at) { return Types{{at.dtype("dtype"), in[0].shape}}; },
                   .view = [](const Array& x, const Attrs& at) {
                     return x.dtype() == at.dtype("dtype") && !at.flag("exponent") ? x : Array(x.type());
                   },
                   .kernel = [](const Call& call) {
                     const std::string& where = call.attrs.text("where");
                     if (call.attrs.flag("exponent")) kernels::check_exponent(where, call.in[0], call.out[0].dtype());
                     kernels::check_range(where, call.in[0], call.out[0].dtype());
                     copy_kernel(call);
                   },
                   .adjoints = {{.rule = [](const Rule& r) { return astype(r.g(), r.dtype()); }}},
                   .batch = [](const Batched& b) { return apply_all(b.op, b.ins, b.attrs); }});
  row.converts = row.may_raise = true;
  return row;
}

Op straight_through_row() {
  auto moved = []<class T>(T value, T carrier, T anchor) -> T {
    const bool same = carrier == anchor || (carrier != carrier && anchor != anchor);
    return same ? value : value + (carrier - anchor);
  };
  return elementwise("straight_through",
                     "value + (carrier - anchor), and value to the bit where carrier and anchor are the same, "
                     "infinite or NaN included. With value and anchor = carrier taken as constants, it has the "
                     "value of the one and the derivatives of the other.",
                     {"value", "carrier", "anchor"}, Domain::floats,
                     make_tiles<Domain::floats, decltype(moved), 3>(), false,
                     {partial(one), partial(one), partial(minus_one)});
}

}  // namespace

std::vector<Op> control_rows() {
  return {alias(), checkpoint_name_row(), copy_row(), stop_gradient_row(), astype_row(), from_number_row(), of_integers_row(), straight_through_row()};
}

}  // namespace wengert
