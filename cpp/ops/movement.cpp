// Rows that see all or some elements of x in another order or shape: views wherever bytes can be
// shared. Rows that put elements together are in placement.cpp, index arrays in indexing.cpp.
#include "ops/movement.h"

#include "kernels/copy.h"
#include "ops/rows.h"

namespace wengert {

Op view_row(Op row) {
  row.kernel = [view = row.view](const Call& call) {
    kernels::copy(view(call.in[0], call.attrs), call.out[0]);
  };
  return linear(std::move(row));
}

namespace {

Var back_to_shape(const Rule& r) { return reshape(r.g(), r.shape()); }

Op reshape_row() {
  return linear({
      .name = "reshape",
      .doc = "The elements of x in C order with another `shape`; one size may be -1 and is then "
             "worked out. Shares memory with x where its strides allow.",
      .inputs = {"x"},
      .params = {{"shape", AttrKind::ints, {}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Shape& wanted = attrs.ints("shape");
        const auto unknown = std::find(wanted.begin(), wanted.end(), -1);
        Shape shape = wanted;
        if (unknown != wanted.end()) {
          if (std::count(wanted.begin(), wanted.end(), -1) > 1)
            fail(ErrorKind::shape, "reshape: only one size can be -1; got ", wanted);
          shape[std::size_t(unknown - wanted.begin())] = 1;
        }
        check_shape("reshape", shape);
        const int64_t have = args[0]->array.size(), known = numel(shape);
        if (unknown != wanted.end()) {
          if (known == 0 || have % known != 0)
            fail(ErrorKind::shape, "reshape: ", args[0].shape(), " has ", have,
                 " elements; no size in place of -1 gives as many in ", wanted);
          shape[std::size_t(unknown - wanted.begin())] = have / known;
          set(attrs, "shape", shape);
        } else if (have != known) {
          fail(ErrorKind::shape, "reshape: ", args[0].shape(), " has ", have, " elements; ", wanted,
               " has ", known);
        }
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, attrs.ints("shape")}};
      },
      .view = [](const Array& x, const Attrs& attrs) { return x.try_reshape(attrs.ints("shape")); },
      .kernel = [](const Call& call) {
        kernels::copy(call.in[0], call.out[0].try_reshape(call.in[0].shape()));
      },
      .adjoints = {{.rule = back_to_shape}},
      .batch = [](const Batched& b) {
        return again(b, b.attrs.with("shape", behind(b.size, b.attrs.ints("shape"))));
      },
  });
}

Op permute_dims_row() {
  return view_row({
      .name = "permute_dims",
      .doc = "Axis i of the result is axis axes[i] of x; None reverses them. A view.",
      .inputs = {"x"},
      .params = {{"axes", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const int ndim = args[0].ndim();
        Ints axes = all_axes(ndim);
        if (attrs.is_none("axes")) {
          std::reverse(axes.begin(), axes.end());
        } else {
          const Ints& given = attrs.ints("axes");
          const Ints sorted = normalize_axes("permute_dims", given, ndim);
          if (!(sorted == axes))
            fail(ErrorKind::shape, "permute_dims: axes must name each axis once; got ", given,
                 " for ", args[0].shape());
          for (int i = 0; i < ndim; ++i)
            axes[std::size_t(i)] = normalize_axis("permute_dims", given[std::size_t(i)], ndim);
        }
        set(attrs, "axes", axes);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Shape shape;
        for (int64_t axis : attrs.ints("axes")) shape.push_back(in[0].shape[std::size_t(axis)]);
        return Types{{in[0].dtype, shape}};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        Shape shape;
        Ints strides;
        for (int64_t axis : attrs.ints("axes")) {
          shape.push_back(x.shape()[std::size_t(axis)]);
          strides.push_back(x.strides()[std::size_t(axis)]);
        }
        return x.view(std::move(shape), std::move(strides), x.offset());
      },
      .adjoints = {{.rule = [](const Rule& r) {
        const Ints& axes = r.attrs.ints("axes");
        Ints inverse(axes.size());
        for (std::size_t i = 0; i < axes.size(); ++i) inverse[std::size_t(axes[i])] = int64_t(i);
        return permute_dims(r.g(), inverse);
      }}},
      .batch = [](const Batched& b) {
        return again(b, b.attrs.with("axes", behind(0, shifted(b.attrs.ints("axes")))));
      },
  });
}

Op matrix_transpose_row() {
  return view_row({
      .name = "matrix_transpose",
      .doc = "The last two axes exchanged. A view.",
      .inputs = {"x"},
      .prepare = [](Vars& args, Attrs&) { need_matrix("matrix_transpose", args[0]); },
      .infer = [](std::span<const Type> in, const Attrs&) {
        Type type = in[0];
        std::swap(type.shape[type.shape.size() - 1], type.shape[type.shape.size() - 2]);
        return Types{type};
      },
      .view = [](const Array& x, const Attrs&) {
        Shape shape = x.shape();
        Ints strides = x.strides();
        const std::size_t last = shape.size() - 1;
        std::swap(shape[last], shape[last - 1]);
        std::swap(strides[last], strides[last - 1]);
        return x.view(std::move(shape), std::move(strides), x.offset());
      },
      .adjoints = {{.rule = [](const Rule& r) { return matrix_transpose(r.g()); }}},
      .batch = [](const Batched& b) { return again(b, b.attrs); },
  });
}

Op broadcast_to_row() {
  return view_row({
      .name = "broadcast_to",
      .doc = "x repeated along new leading axes and along axes of size 1 until it has `shape`. A "
             "read-only view: the copies are one element in memory.",
      .inputs = {"x"},
      .params = {{"shape", AttrKind::ints, {}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Shape &from = args[0].shape(), &to = attrs.ints("shape");
        check_shape("broadcast_to", to);
        if (!(broadcast_shapes("broadcast_to", from, to) == to))
          fail(ErrorKind::shape, "broadcast_to: only axes of size 1 can be stretched; got ", from,
               " for ", to);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, attrs.ints("shape")}};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        return x.broadcast_to(attrs.ints("shape"));
      },
      .adjoints = {{.rule = [](const Rule& r) { return sum_to(r.g(), r.shape()); }}},
      .batch = [](const Batched& b) {
        const Shape shape = behind(b.size, b.attrs.ints("shape"));
        Shape padded = b.in(0).shape();  // the mapped axis stays in front of the new ones
        while (padded.size() < shape.size()) padded.insert(1, 1);
        return Vars{broadcast_to(reshape(b.in(0), padded), shape)};
      },
  });
}

Op expand_dims_row() {
  return view_row({
      .name = "expand_dims",
      .doc = "A new axis of size 1 at position `axis` of the result (an int or several). A view.",
      .inputs = {"x"},
      .params = {{"axis", AttrKind::ints, Ints{0}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Ints& axes = attrs.ints("axis");
        const int ndim = args[0].ndim() + int(axes.size());
        set(attrs, "axis", normalize_axes("expand_dims", axes, ndim));
        check_shape("expand_dims", Shape(std::size_t(ndim), 1));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Type type = in[0];
        for (int64_t axis : attrs.ints("axis")) type.shape.insert(std::size_t(axis), 1);
        return Types{type};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        Shape shape = x.shape();
        Ints strides = x.strides();
        for (int64_t axis : attrs.ints("axis")) {
          shape.insert(std::size_t(axis), 1);
          strides.insert(std::size_t(axis), 0);
        }
        return x.view(std::move(shape), std::move(strides), x.offset());
      },
      .adjoints = {{.rule = back_to_shape}},
      .batch = batch_axes,
  });
}

Op squeeze_row() {
  return view_row({
      .name = "squeeze",
      .doc = "x without the axes `axis`, which must have size 1; None: without all such axes. A "
             "view.",
      .inputs = {"x"},
      .params = {{"axis", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const Shape& shape = args[0].shape();
        Ints axes;
        if (attrs.is_none("axis")) {
          for (std::size_t i = 0; i < shape.size(); ++i)
            if (shape[i] == 1) axes.push_back(int64_t(i));
        } else {
          axes = normalize_axes("squeeze", attrs.ints("axis"), args[0].ndim());
          for (int64_t axis : axes)
            if (shape[std::size_t(axis)] != 1)
              fail(ErrorKind::shape, "squeeze: an axis must have size 1 to be removed; axis ",
                   axis, " of ", shape, " has ", shape[std::size_t(axis)]);
        }
        set(attrs, "axis", axes);
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        return Types{{in[0].dtype, reduced_shape(in[0].shape, attrs.ints("axis"), false)}};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        const Ints& axes = attrs.ints("axis");
        return x.view(reduced_shape(x.shape(), axes, false), 
                      reduced_shape(x.strides(), axes, false), x.offset());
      },
      .adjoints = {{.rule = back_to_shape}},
      .batch = batch_axes,
  });
}

Op flip_row() {
  return view_row({
      .name = "flip",
      .doc = "The elements in reverse order along `axis` (an int, several, or None for all). A "
             "view.",
      .inputs = {"x"},
      .params = {{"axis", AttrKind::ints, None{}}},
      .prepare = [](Vars& args, Attrs& attrs) {
        const int ndim = args[0].ndim();
        const bool all = attrs.is_none("axis");
        set(attrs, "axis", all ? all_axes(ndim) : normalize_axes("flip", attrs.ints("axis"), ndim));
      },
      .infer = [](std::span<const Type> in, const Attrs&) { return same_type(in); },
      .view = [](const Array& x, const Attrs& attrs) {
        Ints strides = x.strides();
        int64_t offset = x.offset();
        for (int64_t axis : attrs.ints("axis")) {
          int64_t& stride = strides[std::size_t(axis)];
          if (x.size() > 0) offset += (x.shape()[std::size_t(axis)] - 1) * stride;
          stride = -stride;
        }
        return x.view(x.shape(), std::move(strides), offset);
      },
      .adjoints = {{.rule = [](const Rule& r) { return flip(r.g(), r.attrs.ints("axis")); }}},
      .batch = batch_axes,
  });
}

// Where the offset-th diagonal of an m x n matrix starts, counted in C order, and its length.
struct Diagonal {
  int64_t row, column, length;
};
Diagonal diagonal_of(const Shape& shape, int64_t offset) {
  const int64_t m = shape[shape.size() - 2], n = shape.back();
  const int64_t row = std::max<int64_t>(-offset, 0), column = std::max<int64_t>(offset, 0);
  const int64_t length = std::max<int64_t>(std::min(m - row, n - column), 0);
  return length > 0 ? Diagonal{row, column, length} : Diagonal{0, 0, 0};
}

Op diagonal_row() {
  return view_row({
      .name = "diagonal",
      .doc = "The elements [..., i, i + offset] of the last two axes. A view.",
      .inputs = {"x"},
      .params = {{"offset", AttrKind::integer, int64_t(0)}},
      .prepare = [](Vars& args, Attrs& attrs) {
        need_matrix("diagonal", args[0]);
        const Shape& shape = args[0].shape();
        const int64_t offset = attrs.integer("offset");
        set(attrs, "offset", std::clamp(offset, -shape[shape.size() - 2], shape.back()));
      },
      .infer = [](std::span<const Type> in, const Attrs& attrs) {
        Shape shape(in[0].shape.begin(), in[0].shape.end() - 2);
        shape.push_back(diagonal_of(in[0].shape, attrs.integer("offset")).length);
        return Types{{in[0].dtype, shape}};
      },
      .view = [](const Array& x, const Attrs& attrs) {
        const Diagonal d = diagonal_of(x.shape(), attrs.integer("offset"));
        Shape shape(x.shape().begin(), x.shape().end() - 2);
        shape.push_back(d.length);
        Ints strides(x.strides().begin(), x.strides().end() - 1);
        const int64_t down = strides.back(), right = x.strides().back();
        strides.back() = down + right;
        return x.view(std::move(shape), std::move(strides),
                      x.offset() + d.row * down + d.column * right);
      },
      .adjoints = {{.rule = [](const Rule& r) {
        // In C order a diagonal has the step n + 1.
        const int64_t n = r.shape().back();
        const Diagonal d = diagonal_of(r.shape(), r.attrs.integer("offset"));
        Shape flat(r.shape().begin(), r.shape().end() - 2);
        Ints starts(flat.size(), 0), steps(flat.size(), 1);
        flat.push_back(r.shape()[flat.size()] * n);
        starts.push_back(d.row * n + d.column);
        steps.push_back(n + 1);
        return reshape(unslice(r.g(), flat, starts, steps), r.shape());
      }}},
      .batch = [](const Batched& b) { return again(b, b.attrs); },
  });
}

}  // namespace

std::vector<Op> movement_rows() {
  return {
      reshape_row(),     permute_dims_row(), matrix_transpose_row(), broadcast_to_row(),
      expand_dims_row(), squeeze_row(),      flip_row(),             diagonal_row(),
  };
}

}  // namespace wengert
