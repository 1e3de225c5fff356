// Layer and RMS normalisation. Each adjoint that pays for itself is a companion row, which states its meaning.
#include "kernels/normalise.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

// The last `normalized_ndim` sizes.
Shape trailing(const Shape& shape, const Attrs& at) {
  return Shape(shape.end() - std::ptrdiff_t(at.integer("normalized_ndim")), shape.end());
}

Ints leading_axes(const Shape& shape, const Attrs& at, int64_t first = 0) {
  Ints axes;
  for (int64_t i = first; i < int64_t(shape.size()) - at.integer("normalized_ndim"); ++i)
    axes.push_back(i);
  return axes;
}

Ints trailing_axes(const Shape& shape, const Attrs& at) {
  Ints axes;
  for (int64_t i = int64_t(shape.size()) - at.integer("normalized_ndim"); i < int64_t(shape.size());
       ++i)
    axes.push_back(i);
  return axes;
}

void prepare_norm(const char* name, std::size_t most, Vars& args, const Attrs& attrs) {
  if (args.size() > most)
    fail(ErrorKind::type, name, ": takes at most ", most, " tensors; got ", args.size());
  to_floats(name, args);
  const int64_t n = attrs.integer("normalized_ndim");
  if (n < 1 || n > args[0].ndim())
    fail(ErrorKind::shape, name, ": normalized_ndim must be between 1 and the ", args[0].ndim(),
         " axes of ", args[0].shape(), "; got ", n);
}

void check_affine(const char* name, std::span<const Type> affine, const Shape& x, const Attrs& at) {
  const Shape shape = trailing(x, at);
  for (const Type& type : affine)
    if (!(type.shape == shape))
      fail(ErrorKind::shape, name, ": weight and bias need the shape ", shape,
           " of the normalised axes; got ", type.shape);
}

kernels::Normalisation normalisation(const Shape& x, const Attrs& at, bool centred) {
  return {numel(trailing(x, at)), at.real("eps"), centred};
}

// `layer_norm` subtracts the mean, `rms_norm` does not; companions are told by an attribute.
const char* norm_name(bool centred) { return centred ? "layer_norm" : "rms_norm"; }

Attrs companion_attrs(const Op& op, const Attrs& at, bool centred) {
  return make_attrs(
      op,
      {{"normalized_ndim", at.at("normalized_ndim")}, {"eps", at.at("eps")}, {"centred", centred}});
}

Var norm_grad(const Var& g, const Var& x, const Var& weight, const Attrs& at, bool centred) {
  static const Op& op = find_op("norm_grad");
  const Attrs attrs = companion_attrs(op, at, centred);
  return weight ? call(op, {g, x, weight}, attrs) : call(op, {g, x}, attrs);
}

Var norm_weight_grad(const Var& g, const Var& x, const Attrs& at, bool centred) {
  static const Op& op = find_op("norm_weight_grad");
  return call(op, {g, x}, companion_attrs(op, at, centred));
}

Var normalised(const Var& x, const Attrs& at, bool centred) {
  const Op& op = find_op(norm_name(centred));
  return call(
      op, {x},
      make_attrs(op, {{"normalized_ndim", at.at("normalized_ndim")}, {"eps", at.at("eps")}}));
}

Vars norm_tangent(const Rule& r, bool centred) {
  const std::size_t n = r.ins.size();
  Var dy;
  auto gather = [&](Var term) { dy = dy ? add(dy, term) : term; };
  if (r.dx(0)) {
    const Var d =
        norm_grad(r.dx(0), r.in(0), {}, r.attrs, centred);  // the Jacobian of xhat is symmetric
    gather(n > 1 ? multiply(d, r.in(1)) : d);
  }
  if (n > 1 && r.dx(1)) gather(multiply(normalised(r.in(0), r.attrs, centred), r.dx(1)));
  if (n > 2 && r.dx(2)) gather(broadcast_to(r.dx(2), r.shape(0)));
  return {dy};
}

// The cotangents one by one.
Var norm_adjoint(const Rule& r, std::size_t i, bool centred) {
  if (i == 0) return norm_grad(r.g(), r.in(0), r.ins.size() > 1 ? r.in(1) : Var(), r.attrs, centred);
  return i == 1 ? norm_weight_grad(r.g(), r.in(0), r.attrs, centred) : sum(r.g(), leading_axes(r.shape(0), r.attrs));
}

// All of them where all are wanted, else those that are.
Vars norm_adjoints(const Rule& r, bool centred) {
  const std::size_t n = r.ins.size();
  if (n > 1 && std::all_of(r.wanted.begin(), r.wanted.end(), [](bool wanted) { return wanted; })) {
    static const Op& op = find_op("norm_grads");
    const Var args[] = {r.g(), r.in(0), r.in(1)};
    std::vector<std::pair<std::string, Attr>> attrs{{"normalized_ndim", r.attrs.at("normalized_ndim")},
                                                    {"eps", r.attrs.at("eps")}, {"centred", centred}, {"bias", n > 2}};
    return apply_all(op, args, make_attrs(op, std::move(attrs)));
  }
  Vars out(n);
  for (std::size_t i = 0; i < n; ++i)
    if (r.wanted[i]) out[i] = norm_adjoint(r, i, centred);
  return out;
}

// (B, trailing...) against (B, leading..., trailing...).
Var across_rows(const Var& weight, bool batched, const Shape& x, int64_t size) {
  if (!batched) return weight;
  Shape shape = weight.shape();
  shape[0] = size;
  while (shape.size() < x.size()) shape.insert(1, 1);
  return reshape(weight, shape);
}

Vars batch_norm_rows(const Batched& b, bool centred) {
  bool shared = true;
  for (std::size_t i = 1; i < b.ins.size(); ++i) shared = shared && !b.batched[i];
  if (shared) return apply_all(b.op, b.ins, b.attrs);
  const Var x = all_batched(b)[0];
  Var y = normalised(x, b.attrs, centred);
  y = multiply(y, across_rows(b.in(1), b.is_batched(1), x.shape(), b.size));
  if (b.ins.size() > 2) y = add(y, across_rows(b.in(2), b.is_batched(2), x.shape(), b.size));
  return {y};
}

Op norm_row(bool centred, std::string doc, std::string affine, std::size_t most) {
  const char* name = norm_name(centred);
  return {
      .name = name,
      .doc = std::move(doc),
      .family = Family::fused,
      .inputs = {"x", std::move(affine)},
      .params = {{"normalized_ndim", AttrKind::integer, int64_t(1)}, {"eps", AttrKind::real, 1e-5}},
      .prepare = [=](Vars& args, Attrs& at) { prepare_norm(name, most, args, at); },
      .infer =
          [=](std::span<const Type> in, const Attrs& at) {
            check_affine(name, in.subspan(1), in[0].shape, at);
            return same_type(in);
          },
      .kernel =
          [=](const Call& c) {
            kernels::normalise(c.in[0], c.in.size() > 1 ? &c.in[1] : nullptr,
                               c.in.size() > 2 ? &c.in[2] : nullptr,
                               normalisation(c.in[0].shape(), c.attrs, centred), c.out[0]);
          },
      .adjoints = {{.rule = [=](const Rule& r) { return norm_adjoint(r, 0, centred); }, .saves_in = 3},
                   {.rule = [=](const Rule& r) { return norm_adjoint(r, 1, centred); }, .saves_in = 1},
                   {.rule = [=](const Rule& r) { return norm_adjoint(r, 2, centred); }}},
      .joint_adjoint = [=](const Rule& r) { return norm_adjoints(r, centred); },
      .tangent = [=](const Rule& r) { return norm_tangent(r, centred); },
      .batch = [=](const Batched& b) { return batch_norm_rows(b, centred); },
      .flops = flops_a_number(8)};
}

const Schema companion_params = {{"normalized_ndim", AttrKind::integer, int64_t(1)},
                                 {"eps", AttrKind::real, 1e-5},
                                 {"centred", AttrKind::boolean, true}};

Var norm_grad_meaning(std::span<const Var> in, const Attrs& at) {
  const Var& x = in[1];
  const bool centred = at.flag("centred");
  const Ints axes = trailing_axes(x.shape(), at);
  const double n = double(std::max<int64_t>(numel(trailing(x.shape(), at)), 1));
  auto mean = [&](const Var& v) { return sum(v, axes, true) / n; };
  const Var h = in.size() > 2 ? chain_multiply(in[0], in[2]) : in[0];
  const Var from_mean = centred ? x - mean(x) : x;
  const Var scale = rsqrt(mean(square(from_mean)) + at.real("eps"));
  const Var xhat = from_mean * scale;
  const Var rest = (centred ? h - mean(h) : h) - chain_multiply(xhat, mean(chain_multiply(h, xhat)));
  return chain_multiply(rest, scale);
}

Op norm_grad_row() {
  return fused(
      {.name = "norm_grad",
       .doc = "The cotangent of x where g is that of layer_norm(x, weight), or of rms_norm without "
              "`centred`.",
       .inputs = {"g", "x", "*weight"},
       .params = companion_params,
       .prepare =
           [](Vars& args, Attrs& at) {
             require_same_shape("norm_grad", args);
             prepare_norm("norm_grad", 3, args, at);
           },
       .infer =
           [](std::span<const Type> in, const Attrs& at) {
             check_affine("norm_grad", in.subspan(2), in[0].shape, at);
             return same_type(in);
           },
       .kernel =
           [](const Call& c) {
             kernels::normalise_grad(
                 c.in[0], c.in[1], c.in.size() > 2 ? &c.in[2] : nullptr,
                 normalisation(c.in[0].shape(), c.attrs, c.attrs.flag("centred")), c.out[0]);
           },
       .batch =
           [](const Batched& b) {
             Vars args = all_batched(b);
             if (args.size() > 2) {
               if (b.is_batched(2)) {
                 args[0] = chain_multiply(args[0], across_rows(b.in(2), true, args[0].shape(), b.size));
                 args.pop_back();
               } else {
                 args[2] = b.in(2);
               }
             }
             return apply_all(b.op, {args.data(), args.size()}, b.attrs);
           },
       .flops = flops_a_number(12)},
      norm_grad_meaning);
}

Op norm_weight_grad_row() {
  return fused(
      {.name = "norm_weight_grad",
       .doc = "sum(g xhat) over the leading axes: the cotangent of weight in layer_norm(x, "
              "weight), or in "
              "rms_norm without `centred`.",
       .inputs = {"g", "x"},
       .params = companion_params,
       .prepare =
           [](Vars& args, Attrs& at) {
             require_same_shape("norm_weight_grad", args);
             prepare_norm("norm_weight_grad", 2, args, at);
           },
       .infer = [](std::span<const Type> in,
                   const Attrs& at) { return Types{{in[0].dtype, trailing(in[0].shape, at)}}; },
       .kernel =
           [](const Call& c) {
             kernels::normalise_weight_grad(
                 c.in[0], c.in[1], normalisation(c.in[0].shape(), c.attrs, c.attrs.flag("centred")),
                 c.out[0]);
           },
       .batch =
           [](const Batched& b) {
             const Vars args = all_batched(b);
             const Var terms = args[0] * normalised(args[1], b.attrs, b.attrs.flag("centred"));
             return Vars{sum(terms, leading_axes(terms.shape(), b.attrs, 1))};
           },
       .flops = flops_a_number(8)},
      [](std::span<const Var> in, const Attrs& at) {
        const Var terms = in[0] * normalised(in[1], at, at.flag("centred"));
        return sum(terms, leading_axes(terms.shape(), at));
      });
}

Schema with_bias(Schema params) {
  params.push_back({"bias", AttrKind::boolean, true});
  return params;
}

// x, weight and bias of the examples have cotangents of their own.
Vars batch_norm_grads(const Batched& b) {
  const Attrs own = companion_attrs(find_op("norm_grad"), b.attrs, b.attrs.flag("centred"));
  const Batched all{find_op("norm_grad"), own, b.ins, b.batched, b.size},
      two{find_op("norm_weight_grad"), own, b.ins.first(2), b.batched.first(2), b.size};
  Vars out{all.op.batch(all)[0], two.op.batch(two)[0]};
  if (b.attrs.flag("bias")) {
    const Var g = all_batched(b)[0];
    out.push_back(sum(g, leading_axes(g.shape(), b.attrs, 1)));
  }
  return out;
}

Types infer_norm_grads(std::span<const Type> in, const Attrs& at) {
  check_affine("norm_grads", in.subspan(2, 1), in[0].shape, at);
  Types out{in[1], in[2]};
  if (at.flag("bias")) out.push_back(in[2]);
  return out;
}

Vars norm_grads_meaning(std::span<const Var> in, const Attrs& at) {
  const bool centred = at.flag("centred");
  Vars out{norm_grad(in[0], in[1], in[2], at, centred), norm_weight_grad(in[0], in[1], at, centred)};
  if (at.flag("bias")) out.push_back(sum(in[0], leading_axes(in[0].shape(), at)));
  return out;
}

void norm_grads_kernel(const Call& c, const Array* more) {
  kernels::normalise_grads(c.in[0], c.in[1], c.in[2], more,
                           normalisation(c.in[1].shape(), c.attrs, c.attrs.flag("centred")), c.out[0], c.out[1],
                           c.out.size() > 2 ? &c.out[2] : nullptr);
}

Op norm_grads_row() {
  return fused_outputs(
      {.name = "norm_grads",
       .doc = "The cotangents of x, weight and, with `bias`, of bias where g is that of layer_norm(x, weight, bias), or "
              "of rms_norm without `centred`.",
       .inputs = {"g", "x", "weight"},
       .params = with_bias(companion_params),
       .prepare =
           [](Vars& args, Attrs& at) {
             require_same_shape("norm_grads", args);
             prepare_norm("norm_grads", 3, args, at);
           },
       .infer = infer_norm_grads,
       .kernel = [](const Call& c) { norm_grads_kernel(c, nullptr); },
       .batch = batch_norm_grads,
       .flops = flops_a_number(16),
       .laws = {.behind = {{.row = "add", .both = "norm_grads_add", .third = 3}}}},
      norm_grads_meaning);
}

// Where x goes two ways, past the norm too.
Op norm_grads_add_row() {
  const auto with = [](Vars out, const Var& more) {
    out[0] = add(out[0], more);
    return out;
  };
  return fused_outputs(
      {.name = "norm_grads_add",
       .doc = "norm_grads(g, x, weight) with more, of the shape of x, added to the first.",
       .inputs = {"g", "x", "weight", "more"},
       .params = with_bias(companion_params),
       .prepare =
           [](Vars& args, Attrs& at) {
             require_same_shape("norm_grads_add", args);
             prepare_norm("norm_grads_add", 4, args, at);
           },
       .infer =
           [](std::span<const Type> in, const Attrs& at) {
             if (!(in[3] == in[1]))
               fail(ErrorKind::shape, "norm_grads_add: more needs shape ", in[1].shape, "; got ", in[3].shape);
             return infer_norm_grads(in, at);
           },
       .kernel = [](const Call& c) { norm_grads_kernel(c, &c.in[3]); },
       .batch =
           [=](const Batched& b) {
             const Batched own{b.op, b.attrs, b.ins.first(3), b.batched.first(3), b.size};
             return with(batch_norm_grads(own), b.in(3));
           },
       .flops = flops_a_number(17)},
      [=](std::span<const Var> in, const Attrs& at) { return with(norm_grads_meaning(in.first(3), at), in[3]); });
}

}  // namespace

std::vector<Op> norm_rows() {
  return {norm_row(true,
                   "xhat * weight + bias with xhat = (x - mean) / sqrt(var + eps), over the last "
                   "normalized_ndim axes of "
                   "x; weight and bias have their shape and may be left out from the end.",
                   "*affine", 3),
          norm_row(false,
                   "x / sqrt(mean(x^2) + eps) * weight over the last normalized_ndim axes of x; "
                   "weight has their shape "
                   "and may be left out.",
                   "*weight", 2),
          norm_grad_row(),
          norm_weight_grad_row(),
          norm_grads_row(),
          norm_grads_add_row()};
}

}  // namespace wengert
