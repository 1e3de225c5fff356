// Rows that put elements at other places: boxes cut out and put back, arrays joined, padded, rolled
// and repeated. All but a `pad` with a constant are linear, and each other's transposes.
#include "kernels/copy.h"
#include "kernels/move.h"
#include "ops/movement.h"
#include "ops/rows.h"

namespace wengert {

void check_box(const char* where, const Shape& whole, const Ints& sizes, Attrs& attrs) {
  Ints starts = attrs.ints("starts"), steps(whole.size(), 1);
  if (!attrs.is_none("steps")) steps = attrs.ints("steps");
  if (starts.size() != whole.size() || sizes.size() != whole.size() || steps.size() != whole.size())
    fail(ErrorKind::shape, where, ": needs one start, size and step for each axis of ", whole,
         "; got starts ", starts, ", sizes ", sizes, ", steps ", steps);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const int64_t size = sizes[i], n = whole[i];
    int64_t &start = starts[i], &step = steps[i];
    if (size <= 1) step = 1;
    if (size == 0) start = 0;
    const int64_t reach = size > 1 ? (n - 1) / (size - 1) : 1;  // the longest step that can fit
    bool fits = size >= 0 && start >= 0 && step != 0 && step >= -reach && step <= reach;
    if (fits && size > 0) {
      const int64_t last = start + (size - 1) * step;
      fits = start < n && last >= 0 && last < n;
    }
    if (!fits)
      fail(ErrorKind::bounds, where, ": start ", start, ", size ", size, " and step ", step,
           " leave axis ", i, " of size ", n);
  }
  set(attrs, "starts", starts);
  set(attrs, "steps", steps);
}

namespace {

Op slice_row() {
  return view_row({
      .name = "slice",
      .doc = "The elements starts + i * steps with 0 <= i < sizes of every axis; steps may be "
             "negative, starts count from the front. A view.",
      .inputs = {"x"},
      .params = {{"starts", AttrKind::ints, {}}, {"sizes", AttrKind::ints, {}},
                 {"steps", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        check_box("slice", args[0].shape(), attrs.ints("sizes"), attrs);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, attrs.ints("sizes")}};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        return kernels::slice_view(x, attrs.ints("starts"), attrs.ints("sizes"),
                                   attrs.ints("steps"));
      },
      .adjoints = {{.rule = [](const Rule& r) {
        return unslice(r.g(), r.shape(), r.attrs.ints("starts"), r.attrs.ints("steps"));
      }}},
      .batch = [](const Batched& b) {
        return Vars{slice(b.in(0), behind(0, b.attrs.ints("starts")),
                          behind(b.size, b.attrs.ints("sizes")),
                          behind(1, b.attrs.ints("steps")))};
      },
  });
}

Op unslice_row() {
  return linear({
      .name = "unslice",
      .doc = "The array of `shape` that is zero but for x at starts + i * steps: the transpose of "
             "slice.",
      .inputs = {"x"},
      .params = {{"shape", AttrKind::ints, {}}, {"starts", AttrKind::ints, {}},
                 {"steps", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        check_shape("unslice", attrs.ints("shape"));
        check_box("unslice", attrs.ints("shape"), args[0].shape(), attrs);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, attrs.ints("shape")}};
      },
      .kernel = [](const Call& call) {
        kernels::place(call.in[0], call.attrs.ints("starts"), call.attrs.ints("steps"), 0,
                       call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
        return slice(r.g(), r.attrs.ints("starts"), r.shape(), r.attrs.ints("steps"));
      }}},
      .batch = [](const Batched& b) {
        return Vars{unslice(b.in(0), behind(b.size, b.attrs.ints("shape")),
                            behind(0, b.attrs.ints("starts")),
                            behind(1, b.attrs.ints("steps")))};
      },
      .laws = {.placed = "unslice_add"},
  });
}

// A row of x and of what `write` puts in a box of a copy of x, or of x itself; its derivative in x is `rest`.
Op into_box(Op named, Domain domain, void (*write)(const Array& box, const Array& values), std::function<Var(const Rule&)> rest) {
  Op row = linear(std::move(named));
  const std::string name = row.name;
  row.params = {{"starts", AttrKind::ints, {}}, {"steps", AttrKind::ints, None{}}};
  row.prepare = [name, domain](Vars& args, Attrs& attrs) {
    check_box(name.c_str(), args[0].shape(), args[1].shape(), attrs);
    promote_all({.name = name}, args, domain);
  };
  row.infer = [](std::span<const Type> in, const Attrs&) { return same_type(in.first(1)); };
  row.kernel = [write](const Call& call) {
    const Array &x = call.in[0], &values = call.in[1], &out = call.out[0];
    if (x.raw() != out.raw()) kernels::copy(x, out);
    if (values.size() > 0)
      write(kernels::slice_view(out, call.attrs.ints("starts"), values.shape(), call.attrs.ints("steps")), values);
  };
  row.adjoints = {{.rule = std::move(rest)},
                  {.rule = [](const Rule& r) {
                    return slice(r.g(), r.attrs.ints("starts"), r.shape(1), r.attrs.ints("steps"));
                  }}};
  row.batch = [](const Batched& b) {
    const Var args[] = {stretched(b, 0), stretched(b, 1)};
    return Vars{apply(b.op, args, b.attrs.with("starts", behind(0, b.attrs.ints("starts")))
                                      .with("steps", behind(1, b.attrs.ints("steps"))))};
  };
  row.overwrites = [](int, std::size_t, const Attrs&) { return 0; };
  row.writes_part = true;
  return row;
}

Op unslice_add_row() {
  Op row = into_box({.name = "unslice_add",
                     .doc = "base with x added at starts + i * steps: the adjoint of an array that several slices look at.",
                     .inputs = {"base", "x"}},
                    Domain::numbers, [](const Array& box, const Array& x) { kernels::add_into(box, x); },
                    [](const Rule& r) { return r.g(); });
  row.flops = [](std::span<const Type> in, std::span<const Type>) { return numel(in[1].shape); };
  return row;
}

Op slice_assign_row() {
  return into_box({.name = "slice_assign",
                   .doc = "x with `values` in the place of its elements at starts + i * steps (see slice).",
                   .inputs = {"x", "values"}},
                  Domain::everything, [](const Array& box, const Array& values) { kernels::copy(values, box); },
                  [](const Rule& r) {
                    const Var args[] = {r.g(), zeros({r.dtype(1), r.shape(1)})};
                    return apply(r.op, args, r.attrs);
                  });
}

Ints befores(const Attrs& attrs) {
  const Ints& width = attrs.ints("pad_width");
  Ints out;
  for (std::size_t i = 0; i < width.size(); i += 2) out.push_back(width[i]);
  return out;
}

Op pad_row() {
  return {
      .name = "pad",
      .doc = "x with pad_width = (before_0, after_0, before_1, ...) places of `constant` round "
             "each axis; one pair serves all axes, one number all sides.",
      .inputs = {"x"},
      .params = {{"pad_width", AttrKind::ints, {}}, {"constant", AttrKind::real, 0.0}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Ints& given = attrs.ints("pad_width");
        const std::size_t wanted = 2 * args[0].shape().size();
        if (given.size() != wanted && given.size() != 1 && given.size() != 2)
          fail(ErrorKind::shape, "pad: needs a width before and after each axis of ",
               args[0].shape(), ", ", wanted, " in all; got ", given);
        Ints width;
        for (std::size_t i = 0; i < wanted; ++i) {
          width.push_back(given[i % given.size()]);
          if (width.back() < 0)
            fail(ErrorKind::shape, "pad: widths must not be negative; got ", given);
          check_shape("pad", {width.back()});  // so that sums of sizes do not overflow
        }
        set(attrs, "pad_width", width);
        Shape shape = args[0].shape();
        for (std::size_t i = 0; i < wanted; ++i) shape[i / 2] += width[i];
        check_shape("pad", shape);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        const Ints& width = attrs.ints("pad_width");
        Type type = in[0];
        for (std::size_t i = 0; i < width.size(); ++i) type.shape[i / 2] += width[i];
        return Types{type};
      },
      .kernel = [](const Call& call) {
        const Array& x = call.in[0];
        kernels::place(x, befores(call.attrs), Ints(x.shape().size(), 1),
                       call.attrs.real("constant"), call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) {
        return slice(r.g(), befores(r.attrs), r.shape(), Ints(r.shape().size(), 1));
      }}},
      .tangent = [](const Rule& r) {
        return Vars{r.dx() ? apply(r.op, r.dxs, r.attrs.with("constant", 0.0)) : Var()};
      },
      .batch = [](const Batched& b) {
        return again(b, b.attrs.with("pad_width", behind(0, behind(0, b.attrs.ints("pad_width")))));
      },
  };
}

Vars batch_joined(const Batched& b) {
  Vars args;
  for (std::size_t i = 0; i < b.ins.size(); ++i) args.push_back(stretched(b, int(i)));
  return apply_all(b.op, {args.data(), args.size()},
                   b.attrs.with("axis", b.attrs.integer("axis") + 1));
}

Op concat_row() {
  return linear({
      .name = "concat",
      .doc = "Arrays one after the other along `axis`; their other sizes must agree. Dtypes are "
             "promoted. None joins the flattened arrays.",
      .inputs = {"*arrays"},
      .params = {{"axis", AttrKind::integer, int64_t(0), true}},
      .prepare = [](Vars& args, Attrs& attrs) {
        if (args.empty()) fail(ErrorKind::argument, "concat: needs at least one array; got none");
        promote_all({.name = "concat"}, args, Domain::everything);
        if (attrs.is_none("axis")) {
          for (Var& x : args) x = reshape(x, {x->array.size()});
          return set(attrs, "axis", int64_t(0));
        }
        if (args[0].ndim() == 0)
          fail(ErrorKind::shape,
               "concat: 0-d arrays have no axis to join; use stack, or axis=None");
        const int axis = normalize_axis("concat", attrs.integer("axis"), args[0].ndim());
        for (std::size_t i = 1; i < args.size(); ++i) {
          Shape expected = args[0].shape();
          if (args[i].ndim() == args[0].ndim())
            expected[std::size_t(axis)] = args[i].shape()[std::size_t(axis)];
          if (!(args[i].shape() == expected))
            fail(ErrorKind::shape, "concat: shapes must agree but for axis ", axis, "; got ",
                 args[0].shape(), " and ", args[i].shape(), " at position ", i);
        }
        set(attrs, "axis", int64_t(axis));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Type type = in[0];
        const auto axis = std::size_t(attrs.integer("axis"));
        for (const Type& x : in.subspan(1)) type.shape[axis] += x.shape[axis];
        return Types{type};
      },
      .kernel = [](const Call& call) {
        const int axis = int(call.attrs.integer("axis"));
        int64_t at = 0;
        for (const Array& x : call.in) {
          const int64_t size = x.shape()[std::size_t(axis)];
          if (x.size() > 0) kernels::copy(x, kernels::slab(call.out[0], axis, at, size));
          at += size;
        }
      },
      .adjoints = {{.rule = [](const Rule& r) {
        const auto axis = std::size_t(r.attrs.integer("axis"));
        Ints starts(r.shape().size(), 0);
        for (int i = 0; i < r.index; ++i) starts[axis] += r.shape(i)[axis];
        return slice(r.g(), starts, r.shape(r.index), Ints(starts.size(), 1));
      }}},
      .batch = batch_joined,
      .joins = true,
  });
}

Op stack_row() {
  return linear({
      .name = "stack",
      .doc = "Arrays of one shape joined along a new axis at position `axis` of the result. "
             "Dtypes are promoted.",
      .inputs = {"*arrays"},
      .params = {{"axis", AttrKind::integer, int64_t(0)}},
      .prepare = [](Vars& args, Attrs& attrs) {
        if (args.empty()) fail(ErrorKind::argument, "stack: needs at least one array; got none");
        for (const Var& x : args)
          if (!(x.shape() == args[0].shape()))
            fail(ErrorKind::shape, "stack: shapes must be the same; got ", args[0].shape(),
                 " and ", x.shape());
        promote_all({.name = "stack"}, args, Domain::everything);
        const int ndim = args[0].ndim() + 1;
        check_shape("stack", Shape(std::size_t(ndim), 1));
        set(attrs, "axis", int64_t(normalize_axis("stack", attrs.integer("axis"), ndim)));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Type type = in[0];
        type.shape.insert(std::size_t(attrs.integer("axis")), int64_t(in.size()));
        return Types{type};
      },
      .kernel = [](const Call& call) {
        const auto axis = std::size_t(call.attrs.integer("axis"));
        const Array& out = call.out[0];
        Ints strides = out.strides();
        const int64_t step = strides[axis];
        strides.erase(axis);
        if (out.size() > 0)
          for (std::size_t i = 0; i < call.in.size(); ++i)
            kernels::copy(call.in[i],
                          out.view(call.in[i].shape(), strides, out.offset() + int64_t(i) * step));
      },
      .adjoints = {{.rule = [](const Rule& r) {
        const auto axis = std::size_t(r.attrs.integer("axis"));
        Shape sizes = r.shape();
        sizes.insert(axis, 1);
        Ints starts(sizes.size(), 0);
        starts[axis] = r.index;
        return reshape(slice(r.g(), starts, sizes, Ints(sizes.size(), 1)), r.shape());
      }}},
      .batch = batch_joined,
  });
}

// One shift an axis in [0, size); with axis None one shift of the flattened array.
void prepare_roll(Vars& args, Attrs& attrs) {
  auto wrap = [](int64_t shift, int64_t size) { return size ? (shift % size + size) % size : 0; };
  const Ints& shifts = attrs.ints("shift");
  const Shape& shape = args[0].shape();
  if (attrs.is_none("axis")) {
    const int64_t size = args[0]->array.size();
    int64_t total = 0;
    for (int64_t shift : shifts) total = wrap(total + wrap(shift, size), size);
    return set(attrs, "shift", Ints{total});
  }
  const Ints& axes = attrs.ints("axis");
  if (shifts.size() != axes.size() && shifts.size() != 1 && axes.size() != 1)
    fail(ErrorKind::shape, "roll: needs as many shifts as axes, or one of either; got shift ",
         shifts, " and axis ", axes);
  Ints merged_axes, merged;
  const bool none = shifts.empty() || axes.empty();
  for (std::size_t i = 0; i < (none ? 0 : std::max(shifts.size(), axes.size())); ++i) {
    const int64_t axis = normalize_axis("roll", axes[axes.size() == 1 ? 0 : i], args[0].ndim());
    const int64_t size = shape[std::size_t(axis)];
    const int64_t shift = wrap(shifts[shifts.size() == 1 ? 0 : i], size);
    const auto seen = std::find(merged_axes.begin(), merged_axes.end(), axis);
    if (seen == merged_axes.end()) {
      merged_axes.push_back(axis);
      merged.push_back(shift);
    } else {
      int64_t& before = merged[std::size_t(seen - merged_axes.begin())];
      before = wrap(before + shift, size);
    }
  }
  set(attrs, "axis", merged_axes);
  set(attrs, "shift", merged);
}

Op roll_row() {
  return linear({
      .name = "roll",
      .doc = "Elements moved by `shift` places along `axis`; those that leave at the end come "
             "back at the front. None rolls the flattened array and restores its shape.",
      .inputs = {"x"},
      .params = {{"shift", AttrKind::ints, {}}, {"axis", AttrKind::ints, None{}}},
      .prepare = prepare_roll,
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
      .kernel = [](const Call& call) {
        Array x = call.in[0], out = call.out[0];
        Ints axes{0};
        if (call.attrs.is_none("axis")) {
          const Shape flat{x.size()};
          x = x.try_reshape(flat);
          if (!x.has_data()) x = kernels::contiguous_copy(call.in[0]).try_reshape(flat);
          out = out.try_reshape(flat);
        } else {
          axes = call.attrs.ints("axis");
        }
        const Ints& shifts = call.attrs.ints("shift");
        kernels::roll(x, {shifts.data(), shifts.size()}, {axes.data(), axes.size()}, out);
      },
      .adjoints = {{.rule = [](const Rule& r) {
        Ints back = r.attrs.ints("shift");
        for (int64_t& shift : back) shift = -shift;
        return apply(r.op, {&r.g(), 1}, r.attrs.with("shift", back));
      }}},
      .batch = [](const Batched& b) {
        if (!b.attrs.is_none("axis")) return batch_axes(b);
        const Shape shape = b.in(0).shape();
        const Var rows = reshape(b.in(0), {b.size, b.size ? numel(shape) / b.size : 0});
        return Vars{reshape(apply(b.op, {&rows, 1}, b.attrs.with("axis", Ints{1})), shape)};
      },
  });
}

Op triangle_row(const char* name, const char* doc, bool lower) {
  return linear({
      .name = name,
      .doc = doc,
      .inputs = {"x"},
      .params = {{"k", AttrKind::integer, int64_t(0)}},
      .prepare = [name](Vars& args, Attrs& attrs) {
        need_matrix(name, args[0]);
        const Shape& shape = args[0].shape();
        set(attrs, "k", std::clamp(attrs.integer("k"), -shape[shape.size() - 2], shape.back()));
      },
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
      .kernel = [lower](const Call& call) {
        kernels::triangle(call.in[0], call.attrs.integer("k"), lower, call.out[0]);
      },
      .adjoints = {{.rule = [](const Rule& r) { return apply(r.op, r.gs, r.attrs); }}},
      .batch = [](const Batched& b) { return again(b, b.attrs); },
  });
}

// repeat and tile put copies along an axis of their own, inside or outside the axis they repeat,
// and merge the two: `shape` before the merger, and where those axes are.
struct Copies {
  Shape shape;
  Ints axes;
};
Copies copies(const Shape& shape, const Ints& repetitions, bool inside) {
  Copies out;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (inside) out.shape.push_back(shape[i]);
    if (repetitions[i] != 1) {
      out.axes.push_back(int64_t(out.shape.size()));
      out.shape.push_back(repetitions[i]);
    }
    if (!inside) out.shape.push_back(shape[i]);
  }
  return out;
}

Types infer_copies(std::span<const Type> in, const Ints& repetitions) {
  Type type = in[0];
  for (std::size_t i = 0; i < repetitions.size(); ++i) type.shape[i] *= repetitions[i];
  return {type};
}
void copy_copies(const Call& call, const Ints& repetitions, bool inside) {
  const Array& x = call.in[0];
  const Copies to = copies(x.shape(), repetitions, inside);
  Ints strides = x.strides();
  for (int64_t axis : to.axes) strides.insert(std::size_t(axis), 0);
  if (call.out[0].size() > 0)
    kernels::copy(x.view(to.shape, std::move(strides), x.offset()),
                  call.out[0].try_reshape(to.shape));
}
Var sum_copies(const Rule& r, const Ints& repetitions, bool inside) {
  const Copies from = copies(r.shape(), repetitions, inside);
  return sum(reshape(r.g(), from.shape), from.axes);
}
void check_copies(const char* where, const Shape& shape, const Ints& repetitions) {
  check_shape(where, repetitions);
  Shape made = shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    check_shape(where, {shape[i], repetitions[i]});
    made[i] *= repetitions[i];
  }
  check_shape(where, made);
  check_shape(where, Shape(copies(shape, repetitions, true).shape.size(), 1));
}

Ints repeats_of(const Attrs& attrs, std::size_t ndim) {
  Ints out(ndim, 1);
  out[std::size_t(attrs.integer("axis"))] = attrs.integer("repeats");
  return out;
}

Op repeat_row() {
  return linear({
      .name = "repeat",
      .doc = "Each element `repeats` times in a row along `axis`; None repeats those of the "
             "flattened array.",
      .inputs = {"x"},
      .params = {{"repeats", AttrKind::integer, {}}, {"axis", AttrKind::integer, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        if (attrs.is_none("axis")) {
          args[0] = reshape(args[0], {args[0]->array.size()});
          set(attrs, "axis", int64_t(0));
        }
        const int ndim = args[0].ndim();
        set(attrs, "axis", int64_t(normalize_axis("repeat", attrs.integer("axis"), ndim)));
        check_copies("repeat", args[0].shape(), repeats_of(attrs, std::size_t(ndim)));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return infer_copies(in, repeats_of(attrs, in[0].shape.size()));
      },
      .kernel = [](const Call& call) {
        copy_copies(call, repeats_of(call.attrs, call.in[0].shape().size()), true);
      },
      .adjoints = {{.rule = [](const Rule& r) {
        return sum_copies(r, repeats_of(r.attrs, r.shape().size()), true);
      }}},
      .batch = [](const Batched& b) {
        return again(b, b.attrs.with("axis", b.attrs.integer("axis") + 1));
      },
  });
}

Op tile_row() {
  return linear({
      .name = "tile",
      .doc = "The whole of x repeated repetitions[i] times along axis i; missing axes or "
             "repetitions are taken as leading ones.",
      .inputs = {"x"},
      .params = {{"repetitions", AttrKind::ints, {}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        Ints repetitions = attrs.ints("repetitions");
        Shape shape = args[0].shape();
        while (repetitions.size() < shape.size()) repetitions.insert(0, 1);
        while (shape.size() < repetitions.size()) shape.insert(0, 1);
        args[0] = reshape(args[0], shape);
        set(attrs, "repetitions", repetitions);
        check_copies("tile", shape, repetitions);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return infer_copies(in, attrs.ints("repetitions"));
      },
      .kernel = [](const Call& call) { copy_copies(call, call.attrs.ints("repetitions"), false); },
      .adjoints = {{.rule = [](const Rule& r) {
        return sum_copies(r, r.attrs.ints("repetitions"), false);
      }}},
      .batch = [](const Batched& b) {
        return again(b, b.attrs.with("repetitions", behind(1, b.attrs.ints("repetitions"))));
      },
  });
}

}  // namespace

std::vector<Op> placement_rows() {
  return {
      slice_row(),
      unslice_row(),
      unslice_add_row(),
      slice_assign_row(),
      pad_row(),
      concat_row(),
      stack_row(),
      roll_row(),
      triangle_row("tril", "x at and below the k-th diagonal of the last two axes, zero above it.",
                   true),
      triangle_row("triu", "x at and above the k-th diagonal of the last two axes, zero below it.",
                   false),
      repeat_row(),
      tile_row(),
  };
}

}  // namespace wengert
