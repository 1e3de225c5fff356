// Rows that follow index arrays: reading (take, gather), their transposes that add, one_hot and the
// sorts. Indices are data: kernels check them before they write anything.
#include <numeric>

#include "kernels/copy.h"
#include "kernels/gather.h"
#include "kernels/move.h"
#include "kernels/sort.h"
#include "ops/movement.h"
#include "ops/rows.h"

namespace wengert {
namespace {

constexpr uint32_t all_but_first = ~1u;
constexpr std::size_t max_indices = 30;  // a node's bit mask of saved inputs holds them, x and values

void check_integers(const char* where, std::span<const Var> indices) {
  for (const Var& index : indices)
    if (!is_integer(index.dtype()))
      fail(ErrorKind::dtype, where, ": indices must be integers; got ", index.dtype(),
           index.dtype() == DType::bool_ ? ". Index with the mask: x[mask]"
                                         : ". Convert first: indices.astype(wg.int64)");
}

std::span<const Var> indices_of(std::span<const Var> args) { return args.subspan(1); }

// The adjacent axes that index arrays replace, counted from the front; index arrays get one shape.
void prepare_indices(const char* where, Vars& args, Attrs& attrs, int ndim) {
  const std::size_t count = args.size() - 1;
  check_integers(where, indices_of({args.data(), args.size()}));
  Ints axes;
  for (int64_t axis : attrs.ints("axes")) axes.push_back(normalize_axis(where, axis, ndim));
  bool adjacent = true;
  for (std::size_t i = 1; i < axes.size(); ++i) adjacent &= axes[i] == axes[0] + int64_t(i);
  if (count == 0 || count > max_indices || axes.size() != count || !adjacent)
    fail(ErrorKind::shape, where, ": needs one index array for each of up to ", max_indices,
         " adjacent axes; got ", count, " for axes ", axes);
  Shape common;
  for (std::size_t i = 1; i <= count; ++i)
    common = broadcast_shapes(where, common, args[i].shape());
  for (std::size_t i = 1; i <= count; ++i) args[i] = broadcast_to(args[i], common);
  set(attrs, "axes", axes);
}

// shape with `count` axes from `axis` on replaced by those of `selected`.
Shape replaced(const Shape& shape, int64_t axis, std::size_t count, const Shape& selected) {
  Shape out(shape.begin(), shape.begin() + axis);
  for (int64_t size : selected) out.push_back(size);
  for (std::size_t i = std::size_t(axis) + count; i < shape.size(); ++i) out.push_back(shape[i]);
  return out;
}

// Of the axes that `count` index arrays index together.
Ints indexed_sizes(const Shape& shape, std::size_t count, const Attrs& attrs) {
  const Ints& axes = attrs.ints("axes");
  Ints out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(shape[std::size_t(axes[0]) + i]);
  return out;
}

Ints adjacent_axes(int64_t first, std::size_t count) {
  Ints axes(count);
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}
Var gather(std::span<const Var> args, int64_t axis) {
  static const Op& op = find_op("gather");
  return apply(op, args, make_attrs(op, {{"axes", adjacent_axes(axis, args.size() - 1)}}));
}
Var scatter_add(std::span<const Var> args, const Shape& shape, int64_t axis) {
  static const Op& op = find_op("scatter_add");
  return apply(op, args,
               make_attrs(op, {{"shape", shape}, {"axes", adjacent_axes(axis, args.size() - 1)}}));
}
Var scatter_add_along_axis(const Var& updates, const Var& indices, int64_t size, int64_t axis) {
  static const Op& op = find_op("scatter_add_along_axis");
  const Var args[] = {updates, indices};
  return apply(op, args, make_attrs(op, {{"size", size}, {"axis", axis}}));
}
Var take_along_axis(const Var& x, const Var& indices, int64_t axis) {
  static const Op& op = find_op("take_along_axis");
  const Var args[] = {x, indices};
  return apply(op, args, make_attrs(op, {{"axis", axis}}));
}

bool any_index_batched(const Batched& b) {
  return std::find(b.batched.begin() + 1, b.batched.end(), true) != b.batched.end();
}

// Index arrays of a batch, the inputs from `first` on, select within their own example: 0 .. B - 1 along a leading axis.
Var examples(const Batched& b, std::size_t first = 1) {
  Shape shape{b.size};
  for (std::size_t i = first; i < b.ins.size(); ++i)
    if (b.batched[i]) shape = Shape(b.ins[i].shape().size(), 1);
  shape[0] = b.size;
  Array out = Array::empty(DType::int64, shape);
  std::iota(out.data<int64_t>(), out.data<int64_t>() + b.size, int64_t(0));
  return Var(std::move(out));
}

Vars batch_gather(const Batched& b, int64_t axis) {
  Vars args(b.ins.begin(), b.ins.end());
  const bool own_indices = any_index_batched(b);
  if (own_indices && b.is_batched(0)) {
    args[0] = move_axis(args[0], 0, int(axis));
    args.insert(1, examples(b));
  }
  if (!own_indices) return {gather({args.data(), args.size()}, axis + 1)};
  return {move_axis(gather({args.data(), args.size()}, axis), int(axis), 0)};
}

Op gather_row() {
  return linear({
      .name = "gather",
      .doc = "Integer-array indexing of adjacent `axes`, one index array each: they broadcast, "
             "and their shape takes the place of those axes. Negative indices count from the end.",
      .inputs = {"x", "*indices"},
      .params = {{"axes", AttrKind::ints, {}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        prepare_indices("gather", args, attrs, args[0].ndim());
        check_shape("gather", replaced(args[0].shape(), attrs.ints("axes")[0], args.size() - 1,
                                       args[1].shape()));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, replaced(in[0].shape, attrs.ints("axes")[0], in.size() - 1,
                                            in[1].shape)}};
      },
      .kernel = [](const Call& call) {
        kernels::gather("gather", call.in[0], call.in.subspan(1), int(call.attrs.ints("axes")[0]),
                        call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      Vars args(r.ins.begin(), r.ins.end());
                      args[0] = r.g();
                      return scatter_add({args.data(), args.size()}, r.shape(),
                                         r.attrs.ints("axes")[0]);
                    }, .saves_in = all_but_first},
                   {}},
      .batch = [](const Batched& b) { return batch_gather(b, b.attrs.ints("axes")[0]); },
  }, 1);
}

Op scatter_add_row() {
  return linear({
      .name = "scatter_add",
      .doc = "The array of `shape` that is zero but for `updates` added at the indices (as in "
             "gather, whose transpose it is); what falls on one place adds up.",
      .inputs = {"updates", "*indices"},
      .params = {{"shape", AttrKind::ints, {}}, {"axes", AttrKind::ints, {}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Shape shape = attrs.ints("shape");
        check_shape("scatter_add", shape);
        prepare_indices("scatter_add", args, attrs, int(shape.size()));
        const Shape selected = replaced(shape, attrs.ints("axes")[0], args.size() - 1,
                                        args[1].shape());
        check_shape("scatter_add", selected);
        if (!(broadcast_shapes("scatter_add", args[0].shape(), selected) == selected))
          fail(ErrorKind::shape, "scatter_add: updates of shape ", args[0].shape(),
               " do not fit the selected places, ", selected);
        args[0] = broadcast_to(args[0], selected);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, attrs.ints("shape")}};
      },
      .kernel = [](const Call& call) {
        kernels::scatter_add("scatter_add", call.in[0], call.in.subspan(1),
                             int(call.attrs.ints("axes")[0]), call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      Vars args(r.ins.begin(), r.ins.end());
                      args[0] = r.g();
                      return gather({args.data(), args.size()}, r.attrs.ints("axes")[0]);
                    }, .saves_in = all_but_first},
                   {}},
      .batch = [](const Batched& b) {
        const int64_t axis = b.attrs.ints("axes")[0];
        Vars args(b.ins.begin(), b.ins.end());
        Shape shape = b.attrs.ints("shape");
        if (!any_index_batched(b))
          return Vars{scatter_add({args.data(), args.size()}, behind(b.size, shape), axis + 1)};
        shape.insert(std::size_t(axis), b.size);
        args[0] = move_axis(stretched(b, 0), 0, int(axis));
        args.insert(1, examples(b));
        return Vars{move_axis(scatter_add({args.data(), args.size()}, shape, axis), int(axis), 0)};
      },
  }, 1);
}

Vars with_indices(Vars args, std::span<const Var> indices) {
  for (const Var& index : indices) args.push_back(index);
  return args;
}

// What index_put writes in: all of x, or the box that its attributes name.
bool has_box(const Attrs& attrs) { return !attrs.is_none("starts"); }
Shape box_of(const Shape& x, const Attrs& attrs) { return has_box(attrs) ? attrs.ints("sizes") : x; }

Var index_put(const Var& x, const Var& values, std::span<const Var> indices, const Attrs& attrs) {
  static const Op& op = find_op("index_put");
  const Vars args = with_indices({x, values}, indices);
  return apply(op, {args.data(), args.size()}, attrs);
}

// Of what is gathered at the indices, which replace axes of these sizes, all but what a later index at the same place
// has taken over.
Var without_replaced(const Var& gathered, std::span<const Var> indices, const Ints& sizes, int64_t axis) {
  static const Op& op = find_op("index_put");
  const Shape& selected = indices[0].shape();
  if (numel(selected) <= 1) return gathered;
  Array numbers = Array::empty(DType::int64, selected);
  std::iota(numbers.data<int64_t>(), numbers.data<int64_t>() + numbers.size(), int64_t(0));
  const Var own(std::move(numbers));
  const Attrs plain = make_attrs(op, {{"axes", adjacent_axes(0, indices.size())}});
  const Vars last = with_indices({index_put(zeros({DType::int64, sizes}), own, indices, plain)}, indices);
  Shape shape = selected;
  shape.resize(gathered.shape().size() - std::size_t(axis), 1);
  return where(reshape(equal(gather({last.data(), last.size()}, 0), own), shape), gathered, zeros_like(gathered));
}

Vars batch_index_put(const Batched& b) {
  const int64_t axis = b.attrs.ints("axes")[0];
  const bool own_indices = std::find(b.batched.begin() + 2, b.batched.end(), true) != b.batched.end();
  const int64_t to = own_indices ? axis : 0;  // where the mapped axis goes
  Vars indices(b.ins.begin() + 2, b.ins.end());
  if (own_indices) indices.insert(0, examples(b, 2));
  Attrs attrs = b.attrs.with("axes", adjacent_axes(own_indices ? axis : axis + 1, indices.size()));
  const auto add_axis = [&](const char* name, int64_t value) {
    Ints items = attrs.ints(name);
    items.insert(std::size_t(to), value);
    attrs = attrs.with(name, items);
  };
  if (has_box(attrs)) add_axis("starts", 0), add_axis("sizes", b.size), add_axis("steps", 1);
  const Var x = move_axis(stretched(b, 0), 0, int(to)), values = move_axis(stretched(b, 1), 0, int(to));
  return {move_axis(index_put(x, values, {indices.data(), indices.size()}, attrs), int(to), 0)};
}

void put(const Call& call) {
  const Array &x = call.in[0], &out = call.out[0];
  const int axis = int(call.attrs.ints("axes")[0]);
  const Shape box = box_of(x.shape(), call.attrs);
  if (x.raw() != out.raw()) {
    for (std::size_t i = 2; i < call.in.size(); ++i) {  // first: `out` may be where a state is
      const int own = axis + int(i) - 2;
      kernels::check_indices("index_put", call.in[i], own, box[std::size_t(own)]);
    }
    kernels::copy(x, out);
  }
  const Array to = has_box(call.attrs)
                       ? kernels::slice_view(out, call.attrs.ints("starts"), box, call.attrs.ints("steps"))
                       : out;
  if (call.attrs.flag("accumulate")) kernels::scatter_add("index_put", call.in[1], call.in.subspan(2), axis, to, true);
  else kernels::scatter_assign("index_put", to, call.in.subspan(2), axis, call.in[1]);
}

Op index_put_row() {
  Op row = linear({
      .name = "index_put",
      .doc = "x with `values` at the indices (as in gather): of several for one place the last one counts, or, with "
             "`accumulate`, all are added to what is there. With a box (see slice) the indices are those of its "
             "elements.",
      .inputs = {"x", "values", "*indices"},
      .params = {{"axes", AttrKind::ints, {}}, {"accumulate", AttrKind::boolean, false},
                 {"starts", AttrKind::ints, None{}}, {"sizes", AttrKind::ints, None{}},
                 {"steps", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        static const Op own{.name = "index_put"};
        if (has_box(attrs)) check_box("index_put", args[0].shape(), attrs.ints("sizes"), attrs);
        Vars numbers{args[0], args[1]};
        promote_all(own, numbers, attrs.flag("accumulate") ? Domain::numbers : Domain::everything);
        Vars indexed = with_indices({args[0]}, {args.begin() + 2, args.end()});
        prepare_indices("index_put", indexed, attrs, args[0].ndim());
        const Shape selected = replaced(box_of(args[0].shape(), attrs), attrs.ints("axes")[0], indexed.size() - 1,
                                        indexed[1].shape());
        check_shape("index_put", selected);
        if (!(broadcast_shapes("index_put", args[1].shape(), selected) == selected))
          fail(ErrorKind::shape, "index_put: values of shape ", args[1].shape(), " do not fit the selected places, ",
               selected);
        args[0] = numbers[0];
        args[1] = broadcast_to(numbers[1], selected);
        std::copy(indexed.begin() + 1, indexed.end(), args.begin() + 2);
      },
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in.first(1)); },
      .kernel = put,
      .adjoints = {{.rule = [](const Rule& r) {
                      if (r.attrs.flag("accumulate")) return r.g();
                      return index_put(r.g(), zeros({r.dtype(1), {}}), r.ins.subspan(2), r.attrs);
                    }, .saves_in = ~3u},
                   {.rule = [](const Rule& r) {
                      const int64_t axis = r.attrs.ints("axes")[0];
                      const std::span<const Var> indices = r.ins.subspan(2);
                      const Shape box = box_of(r.shape(), r.attrs);
                      Var g = r.g();
                      if (has_box(r.attrs)) g = slice(g, r.attrs.ints("starts"), box, r.attrs.ints("steps"));
                      const Vars args = with_indices({g}, indices);
                      const Var found = gather({args.data(), args.size()}, axis);
                      if (r.attrs.flag("accumulate")) return found;
                      return without_replaced(found, indices, indexed_sizes(box, indices.size(), r.attrs), axis);
                    }, .saves_in = ~3u},
                   {}},
      .batch = batch_index_put,
  }, 3);
  row.overwrites = [](int, std::size_t, const Attrs&) { return 0; };
  row.writes_part = true;
  return row;
}

Op hold_indices_row() {
  return {
      .name = "hold_indices",
      .doc = "The indices, if all are places of an axis of `size`, counted from either end; else the error of `reader`, "
             "for which they select along `axis`.",
      .inputs = {"indices"},
      .params = {{"size", AttrKind::integer, {}}, {"axis", AttrKind::integer, int64_t(0)},
                 {"reader", AttrKind::text, std::string("hold_indices")}},
      .prepare = [](Vars& args, Attrs&) { check_integers("hold_indices", {args.data(), 1}); },
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
      .kernel = [](const Call& call) {
        kernels::check_indices(call.attrs.text("reader").c_str(), call.in[0], int(call.attrs.integer("axis")),
                               call.attrs.integer("size"));
        kernels::copy(call.in[0], call.out[0]);
      },
      .batch = [](const Batched& b) { return again(b, b.attrs); },
  };
}

Op take_row() {
  return linear({
      .name = "take",
      .doc = "The elements of x at `indices` (integers of any shape, which takes the axis's "
             "place) along `axis`; None takes from the flattened array. Negative indices count "
             "from the end.",
      .inputs = {"x", "indices"},
      .params = {{"axis", AttrKind::integer, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        check_integers("take", {&args[1], 1});
        if (attrs.is_none("axis")) {
          args[0] = reshape(args[0], {args[0]->array.size()});
          set(attrs, "axis", int64_t(0));
        }
        set(attrs, "axis", int64_t(normalize_axis("take", attrs.integer("axis"), args[0].ndim())));
        check_shape("take", replaced(args[0].shape(), attrs.integer("axis"), 1, args[1].shape()));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, replaced(in[0].shape, attrs.integer("axis"), 1, in[1].shape)}};
      },
      .kernel = [](const Call& call) {
        kernels::gather("take", call.in[0], call.in.subspan(1), int(call.attrs.integer("axis")),
                        call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      const Var args[] = {r.g(), r.in(1)};
                      return scatter_add(args, r.shape(), r.attrs.integer("axis"));
                    }, .saves_in = all_but_first},
                   {}},
      .batch = [](const Batched& b) { return batch_gather(b, b.attrs.integer("axis")); },
  }, 1);
}

// Two arrays that broadcast but along `axis`.
void prepare_along(const char* where, Vars& args, Attrs& attrs) {
  check_integers(where, {&args[1], 1});
  if (args[0].ndim() != args[1].ndim())
    fail(ErrorKind::shape, where, ": needs indices with as many dimensions as the array; got ",
         args[1].shape(), " for ", args[0].shape());
  const auto axis = std::size_t(normalize_axis(where, attrs.integer("axis"), args[0].ndim()));
  Shape shapes[] = {args[0].shape(), args[1].shape()};
  const int64_t sizes[] = {shapes[0][axis], shapes[1][axis]};
  shapes[0][axis] = shapes[1][axis] = 1;
  Shape common = broadcast_shapes(where, shapes[0], shapes[1]);
  for (std::size_t i = 0; i < 2; ++i) {
    common[axis] = sizes[i];
    check_shape(where, common);
    args[i] = broadcast_to(args[i], common);
  }
  set(attrs, "axis", int64_t(axis));
}

Vars batch_along(const Batched& b) {
  const Var args[] = {stretched(b, 0), stretched(b, 1)};
  return apply_all(b.op, args, b.attrs.with("axis", b.attrs.integer("axis") + 1));
}

Op take_along_axis_row() {
  return linear({
      .name = "take_along_axis",
      .doc = "y[..., i, ...] = x[..., indices[..., i, ...], ...] along `axis`; the other axes of "
             "x and indices broadcast. Negative indices count from the end.",
      .inputs = {"x", "indices"},
      .params = {{"axis", AttrKind::integer, int64_t(-1)}},
      .prepare = [](Vars& args, Attrs& attrs) { prepare_along("take_along_axis", args, attrs); },
      .infer = [](std::span<const Type> in, const Attrs&) {
        return Types{{in[0].dtype, in[1].shape}};
      },
      .kernel = [](const Call& call) {
        kernels::gather_along("take_along_axis", call.in[0], call.in[1],
                              int(call.attrs.integer("axis")), call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      const int64_t axis = r.attrs.integer("axis");
                      return scatter_add_along_axis(r.g(), r.in(1), r.shape()[std::size_t(axis)],
                                                    axis);
                    }, .saves_in = all_but_first},
                   {}},
      .batch = batch_along,
  }, 1);
}

Op scatter_add_along_axis_row() {
  return linear({
      .name = "scatter_add_along_axis",
      .doc = "Zeros of `size` along `axis`, with updates[..., i, ...] added at indices[..., i, "
             "...]: the transpose of take_along_axis.",
      .inputs = {"updates", "indices"},
      .params = {{"size", AttrKind::integer, {}}, {"axis", AttrKind::integer, int64_t(-1)}},
      .prepare = [](Vars& args, Attrs& attrs) {
        prepare_along("scatter_add_along_axis", args, attrs);
        const auto axis = std::size_t(attrs.integer("axis"));
        if (args[0].shape()[axis] != args[1].shape()[axis]) {
          const Shape common =
              broadcast_shapes("scatter_add_along_axis", args[0].shape(), args[1].shape());
          args[0] = broadcast_to(args[0], common);
          args[1] = broadcast_to(args[1], common);
        }
        Shape shape = args[0].shape();
        shape[axis] = attrs.integer("size");
        check_shape("scatter_add_along_axis", shape);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Type type = in[0];
        type.shape[std::size_t(attrs.integer("axis"))] = attrs.integer("size");
        return Types{type};
      },
      .kernel = [](const Call& call) {
        kernels::scatter_add_along("scatter_add_along_axis", call.in[0], call.in[1],
                                   int(call.attrs.integer("axis")), call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      return take_along_axis(r.g(), r.in(1), r.attrs.integer("axis"));
                    }, .saves_in = all_but_first},
                   {}},
      .batch = batch_along,
  }, 1);
}

Op one_hot_row() {
  return {
      .name = "one_hot",
      .doc = "y[..., c] = 1 where indices[...] == c, else 0, for 0 <= c < num_classes. An index "
             "outside that range is an error; no derivative.",
      .inputs = {"indices"},
      .params = {{"num_classes", AttrKind::integer, {}},
                 {"dtype", AttrKind::dtype, DType::float32}},
      .prepare = [](Vars& args, Attrs& attrs) {
        check_integers("one_hot", {&args[0], 1});
        Shape shape = args[0].shape();
        shape.push_back(attrs.integer("num_classes"));
        check_shape("one_hot", shape);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Type type{attrs.dtype("dtype"), in[0].shape};
        type.shape.push_back(attrs.integer("num_classes"));
        return Types{type};
      },
      .kernel = [](const Call& call) { kernels::one_hot("one_hot", call.in[0], call.out[0]); },
      .batch = [](const Batched& b) { return again(b, b.attrs); },
  };
}

Schema sort_params() {
  return {{"axis", AttrKind::integer, int64_t(-1)}, {"descending", AttrKind::boolean, false},
          {"stable", AttrKind::boolean, true}};
}
void prepare_sort(Vars& args, Attrs& attrs, const char* where) {
  set(attrs, "axis", int64_t(normalize_axis(where, attrs.integer("axis"), args[0].ndim())));
}
Vars batch_sort(const Batched& b) {
  return again(b, b.attrs.with("axis", b.attrs.integer("axis") + 1));
}

// The permutation that sorted x: the derivative moves with the elements.
Var order_of(const Rule& r) {
  static const Op& op = find_op("argsort");
  return apply(op, {&r.in(0), 1},
               make_attrs(op, {{"axis", r.attrs.at("axis")},
                               {"descending", r.attrs.at("descending")}}));
}

Op sort_row() {
  return {
      .name = "sort",
      .doc = "x in ascending (or descending) order along `axis`. NaN comes last in both; equal "
             "elements keep their order, whatever `stable` says.",
      .inputs = {"x"},
      .params = sort_params(),
      .prepare = [](Vars& args, Attrs& attrs) { prepare_sort(args, attrs, "sort"); },
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
      .kernel = [](const Call& call) {
        kernels::sort(call.in[0], int(call.attrs.integer("axis")), call.attrs.flag("descending"),
                      call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
                      const int64_t axis = r.attrs.integer("axis");
                      return scatter_add_along_axis(r.g(), order_of(r),
                                                    r.shape()[std::size_t(axis)], axis);
                    }, .saves_in = 1}},
      .tangent = [](const Rule& r) {
        return Vars{r.dx() ? take_along_axis(r.dx(), order_of(r), r.attrs.integer("axis")) : Var()};
      },
      .batch = batch_sort,
  };
}

Op argsort_row() {
  return {
      .name = "argsort",
      .doc = "The int64 indices that sort x along `axis`: take_along_axis(x, argsort(x)) is "
             "sort(x). No derivative.",
      .inputs = {"x"},
      .params = sort_params(),
      .prepare = [](Vars& args, Attrs& attrs) { prepare_sort(args, attrs, "argsort"); },
      .infer = [](std::span<const Type> in, const Attrs&) {
        return Types{{DType::int64, in[0].shape}};
      },
      .kernel = [](const Call& call) {
        kernels::argsort(call.in[0], int(call.attrs.integer("axis")),
                         call.attrs.flag("descending"), call.out[0]);
      },
      .batch = batch_sort,
  };
}

// What indices along an axis of the first input are held to.
Ints along_axis(std::span<const Type> in, std::span<const Type>, const Attrs& at) {
  return {in[0].shape[std::size_t(at.integer("axis"))]};
}

}  // namespace

std::vector<Op> indexing_rows() {
  return {
      bounded(take_row(), {1, along_axis}),
      bounded(gather_row(), {1, [](auto in, auto, const Attrs& at) { return indexed_sizes(in[0].shape, in.size() - 1, at); }}),
      bounded(scatter_add_row(), {1, [](auto in, auto out, const Attrs& at) { return indexed_sizes(out[0].shape, in.size() - 1, at); }}),
      bounded(index_put_row(),
              {2, [](auto in, auto, const Attrs& at) { return indexed_sizes(box_of(in[0].shape, at), in.size() - 2, at); }}),
      bounded(hold_indices_row(), {0, [](auto, auto, const Attrs& at) { return Ints{at.integer("size")}; }, true}),
      bounded(take_along_axis_row(), {1, along_axis}),
      bounded(scatter_add_along_axis_row(), {1, [](auto, auto out, const Attrs& at) { return Ints{out[0].shape[std::size_t(at.integer("axis"))]}; }}),
      bounded(one_hot_row(), {0, [](auto, auto out, const Attrs&) { return Ints{out[0].shape.back(), 0}; }}),  // none negative
      sort_row(),
      argsort_row(),
  };
}

}  // namespace wengert
