// Rows with a kernel of their own though they could be composed: softmax, cross entropy, layer and
// RMS normalisation. Each adjoint that pays for itself is a companion row, which states its
// meaning.
#include <limits>
#include <numeric>

#include "kernels/normalise.h"
#include "kernels/softmax.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

using Meaning = std::function<Var(std::span<const Var>, const Attrs&)>;

constexpr const char* no_mass = " A row of -inf only has no mass: ";

Var call(const Op& op, std::initializer_list<Var> inputs, const Attrs& attrs) {
  return apply(op, {inputs.begin(), inputs.size()}, attrs);
}

Types like_first(std::span<const Type> in, const Attrs&) { return same_type(in); }

// The inputs of a batching rule, all with the mapped axis in front.
Vars all_batched(const Batched& b) {
  Vars out;
  for (std::size_t i = 0; i < b.ins.size(); ++i) {
    Var x = b.ins[i];
    if (!b.batched[i]) {
      Shape shape = x.shape();
      shape.insert(0, b.size);
      x = broadcast_to(x, shape);
    }
    out.push_back(std::move(x));
  }
  return out;
}

void require_same_shape(const char* name, const Vars& args) {
  if (!(args[0].shape() == args[1].shape()))
    fail(ErrorKind::shape, name, ": shapes must be equal; got ", args[0].shape(), " and ",
         args[1].shape());
}

// False for the rows along `axis` that are -inf throughout.
Var has_mass(const Var& x, int64_t axis) {
  if (x->array.size() == 0) return full(1, {DType::bool_, reduced_shape(x.shape(), {axis}, true)});
  return not_equal(max(x, {axis}, true),
                   constant(-std::numeric_limits<double>::infinity(), x.dtype()));
}

// Integers become float32; mixed floats the wider one.
void to_floats(const char* name, Vars& args) {
  bool same = is_float(args[0].dtype());
  for (const Var& x : args) same = same && x.dtype() == args[0].dtype();
  if (!same) cast_all(args, promoted(Op{.name = name}, args, Domain::floats));
}

void prepare_axis(const char* name, Vars& args, Attrs& attrs) {
  to_floats(name, args);
  const int64_t given = attrs.integer("axis");
  const int64_t axis = normalize_axis(name, given, args[0].ndim());
  if (axis != given) attrs = attrs.with("axis", axis);
}

Vars batch_along_axis(const Batched& b) {
  const Vars args = all_batched(b);
  return apply_all(b.op, {args.data(), args.size()},
                   b.attrs.with("axis", b.attrs.integer("axis") + 1));
}

int axis_of(const Call& call) { return int(call.attrs.integer("axis")); }

Op axis_row(const char* name, std::string doc, void (*kernel)(const Call&)) {
  return {.name = name,
          .doc = std::move(doc),
          .family = Family::fused,
          .inputs = {"x"},
          .params = {{"axis", AttrKind::integer, int64_t(-1)}},
          .prepare = [name](Vars& args, Attrs& attrs) { prepare_axis(name, args, attrs); },
          .infer = like_first,
          .kernel = kernel,
          .batch = batch_along_axis,
          .flops = flops_a_number(4)};
}

Op axis_grad_row(const char* name, std::string doc, void (*kernel)(const Call&), Meaning meaning) {
  return fused({.name = name,
                .doc = std::move(doc),
                .inputs = {"g", "y"},
                .params = {{"axis", AttrKind::integer, int64_t(-1)}},
                .prepare =
                    [name](Vars& args, Attrs& attrs) {
                      require_same_shape(name, args);
                      prepare_axis(name, args, attrs);
                    },
                .infer = like_first,
                .kernel = kernel,
                .batch = batch_along_axis,
                .flops = flops_a_number(4)},
               std::move(meaning));
}

Var softmax_grad(const Var& g, const Var& y, const Attrs& at) {
  static const Op& op = find_op("softmax_grad");
  return call(op, {g, y}, at);
}

Op softmax_row() {
  Op row = axis_row(
      "softmax",
      std::string(
          "exp(x) / sum(exp(x)) along axis, computed as exp(x - max(x)); shape (...) to (...).") +
          no_mass + "its result and its gradient are 0.",
      [](const Call& c) { kernels::softmax(c.in[0], axis_of(c), c.out[0]); });
  row.adjoints = {{.rule = [](const Rule& r) { return softmax_grad(r.g(), r.out(), r.attrs); },
                   .saves_out = true}};
  row.tangent = [](const Rule& r) { return Vars{softmax_grad(r.dx(0), r.out(), r.attrs)}; };
  return row;
}

Op softmax_grad_row() {
  return axis_grad_row(
      "softmax_grad", "y (g - sum(g y)) along axis: the adjoint of softmax with output y.",
      [](const Call& c) { kernels::softmax_grad(c.in[0], c.in[1], axis_of(c), c.out[0]); },
      [](std::span<const Var> in, const Attrs& at) {
        const Var &g = in[0], &y = in[1];
        return chain_multiply(g - sum(chain_multiply(g, y), {at.integer("axis")}, true), y);
      });
}

Op log_softmax_row() {
  Op row =
      axis_row("log_softmax",
               std::string("x - logsumexp(x) along axis, without overflow; shape (...) to (...).") +
                   no_mass + "its result is -inf and its gradient 0.",
               [](const Call& c) { kernels::log_softmax(c.in[0], axis_of(c), c.out[0]); });
  row.adjoints = {{.rule =
                       [](const Rule& r) {
                         static const Op& op = find_op("log_softmax_grad");
                         return call(op, {r.g(), r.out()}, r.attrs);
                       },
                   .saves_out = true}};
  row.tangent = [](const Rule& r) {
    const int64_t axis = r.attrs.integer("axis");
    const Var &dx = r.dx(0), &y = r.out();
    return Vars{where(has_mass(y, axis), dx - sum(chain_multiply(dx, exp(y)), {axis}, true), zeros_like(dx))};
  };
  return row;
}

Op log_softmax_grad_row() {
  return axis_grad_row(
      "log_softmax_grad",
      "g - exp(y) sum(g) along axis, 0 where y is -inf throughout: the adjoint of log_softmax with "
      "output y.",
      [](const Call& c) { kernels::log_softmax_grad(c.in[0], c.in[1], axis_of(c), c.out[0]); },
      [](std::span<const Var> in, const Attrs& at) {
        const Var &g = in[0], &y = in[1];
        const int64_t axis = at.integer("axis");
        return where(has_mass(y, axis), g - chain_multiply(broadcast_to(sum(g, {axis}, true), y.shape()), exp(y)), zeros_like(g));
      });
}

const Schema target_params = {{"label_smoothing", AttrKind::real, 0.0},
                              {"ignore_index", AttrKind::integer, int64_t(-100)}};

// `args` end with logits (N, C) and class indices (N,).
void prepare_targets(const char* name, Vars& args, const Attrs& attrs) {
  const Var &x = args[args.size() - 2], &target = args[args.size() - 1];
  if (x.ndim() != 2 || !(target.shape() == Shape{x.shape()[0]}))
    fail(ErrorKind::shape, name, ": needs logits (N, C) and targets (N,); got ", x.shape(), " and ",
         target.shape());
  if (!is_integer(target.dtype()))
    fail(ErrorKind::dtype, name, ": targets are class indices of an integer dtype; got ",
         target.dtype());
  const double smoothing = attrs.real("label_smoothing");
  if (!(smoothing >= 0 && smoothing <= 1))
    fail(ErrorKind::argument, name, ": label_smoothing must be between 0 and 1; got ", smoothing);
  const Var indices = astype(target, DType::int64);
  args.pop_back();
  to_floats(name, args);
  args.push_back(indices);
}

kernels::ClassTargets class_targets(const Attrs& at) {
  return {at.integer("ignore_index"), at.real("label_smoothing")};
}

// The mapped axis becomes part of N.
Vars batch_examples(const Batched& b) {
  Vars args = all_batched(b);
  const int64_t examples = args.back().shape()[1];
  for (Var& x : args) {
    Shape shape(x.shape().begin() + 1, x.shape().end());
    shape[0] = b.size * examples;
    x = reshape(x, shape);
  }
  const Var out = apply(b.op, {args.data(), args.size()}, b.attrs);
  Shape shape = out.shape();
  shape[0] = examples;
  shape.insert(0, b.size);
  return {reshape(out, shape)};
}

Var cross_entropy_grad(const Var& g, const Var& x, const Var& target, const Attrs& at) {
  static const Op& op = find_op("cross_entropy_grad");
  return call(op, {g, x, target}, at);
}

Op cross_entropy_row() {
  return {
      .name = "cross_entropy_logits",
      .doc = std::string(
                 "The loss (N,) of each row of the logits x (N, C) with class index target (N,): "
                 "-sum(q log_softmax(x)), where q is 1 - label_smoothing at the target plus "
                 "label_smoothing / C everywhere. It is 0 where target is ignore_index.") +
             no_mass + "its loss is inf and its gradient 0.",
      .family = Family::fused,
      .inputs = {"x", "target"},
      .params = target_params,
      .prepare = [](Vars& args, Attrs& at) { prepare_targets("cross_entropy_logits", args, at); },
      .infer = [](std::span<const Type> in,
                  const Attrs&) { return Types{{in[0].dtype, in[1].shape}}; },
      .kernel =
          [](const Call& c) {
            kernels::cross_entropy(c.in[0], c.in[1], class_targets(c.attrs), c.out[0]);
          },
      .adjoints = {{.rule =
                        [](const Rule& r) {
                          return cross_entropy_grad(r.g(), r.in(0), r.in(1), r.attrs);
                        },
                    .saves_in = 3},
                   {}},
      .tangent =
          [](const Rule& r) {
            if (!r.dx(0)) return Vars{Var()};
            const Var ones = full(1, r.out_types[0]);
            return Vars{sum(chain_multiply(r.dx(0), cross_entropy_grad(ones, r.in(0), r.in(1), r.attrs)), {1})};
          },
      .batch = batch_examples,
      .flops = flops_a_number(5)};
}

Var cross_entropy_grad_meaning(std::span<const Var> in, const Attrs& at) {
  static const Op& softmax = find_op("softmax");
  const Var &g = in[0], &x = in[1];
  const Var target = expand_dims(in[2], 1);
  const int64_t classes = x.shape()[1];
  Array indices = Array::empty(DType::int64, {classes});
  std::iota(indices.data<int64_t>(), indices.data<int64_t>() + classes, int64_t(0));
  const double smoothing = at.real("label_smoothing");
  const Var hot = astype(equal(target, Var(std::move(indices))), x.dtype());
  const Var q = hot * (1 - smoothing) + smoothing / double(std::max<int64_t>(classes, 1));
  const Var counts =
      logical_and(not_equal(target, constant(double(at.integer("ignore_index")), DType::int64)),
                  has_mass(x, 1));
  const Var d =
      chain_multiply(broadcast_to(expand_dims(g, 1), x.shape()),
                     call(softmax, {x}, make_attrs(softmax, {{"axis", int64_t(1)}})) - q);
  return where(counts, d, zeros_like(x));
}

Op cross_entropy_grad_row() {
  return fused({.name = "cross_entropy_grad",
                .doc = "(softmax(x) - q) g[:, None], 0 for rows without a loss: the adjoint of "
                       "cross_entropy_logits.",
                .inputs = {"g", "x", "target"},
                .params = target_params,
                .prepare =
                    [](Vars& args, Attrs& at) {
                      if (!(args[0].shape() == args[2].shape()))
                        fail(ErrorKind::shape,
                             "cross_entropy_grad: g and target must have the same shape; got ",
                             args[0].shape(), " and ", args[2].shape());
                      prepare_targets("cross_entropy_grad", args, at);
                    },
                .infer = [](std::span<const Type> in, const Attrs&) { return Types{in[1]}; },
                .kernel =
                    [](const Call& c) {
                      kernels::cross_entropy_grad(c.in[0], c.in[1], c.in[2], class_targets(c.attrs),
                                                  c.out[0]);
                    },
                .batch = batch_examples,
                .flops = [](std::span<const Type> in, std::span<const Type>) { return 5 * numel(in[1].shape); }},
               cross_entropy_grad_meaning);
}

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
      .adjoints = {{.rule =
                        [=](const Rule& r) {
                          return norm_grad(r.g(), r.in(0), r.ins.size() > 1 ? r.in(1) : Var(),
                                           r.attrs, centred);
                        },
                    .saves_in = 3},
                   {.rule =
                        [=](const Rule& r) {
                          return r.index == 1 ? norm_weight_grad(r.g(), r.in(0), r.attrs, centred)
                                              : sum(r.g(), leading_axes(r.shape(0), r.attrs));
                        },
                    .saves_in = 1}},
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
  const Var h = in.size() > 2 ? in[0] * in[2] : in[0];
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
                 args[0] = multiply(args[0], across_rows(b.in(2), true, args[0].shape(), b.size));
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

}  // namespace

std::vector<Op> fused_rows() {
  return {softmax_row(),
          softmax_grad_row(),
          log_softmax_row(),
          log_softmax_grad_row(),
          cross_entropy_row(),
          cross_entropy_grad_row(),
          norm_row(true,
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
          norm_weight_grad_row()};
}

}  // namespace wengert
