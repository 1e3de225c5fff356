// Rows with a kernel of their own though they could be composed: softmax and cross entropy. Each adjoint
// that pays for itself is a companion row, which states its meaning.
#include <limits>
#include <numeric>

#include "kernels/softmax.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

using Meaning = std::function<Var(std::span<const Var>, const Attrs&)>;

constexpr const char* no_mass = " A row of -inf only has no mass: ";

Types like_first(std::span<const Type> in, const Attrs&) { return same_type(in); }

// False for the rows along `axis` that are -inf throughout.
Var has_mass(const Var& x, int64_t axis) {
  if (x->array.size() == 0) return full(1, {DType::bool_, reduced_shape(x.shape(), {axis}, true)});
  return not_equal(max(x, {axis}, true),
                   constant(-std::numeric_limits<double>::infinity(), x.dtype()));
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

Ints classes_of(const Type& logits, const Attrs& at) { return {logits.shape[1], at.integer("ignore_index")}; }

}  // namespace

std::vector<Op> fused_rows() {
  return {softmax_row(),
          softmax_grad_row(),
          log_softmax_row(),
          log_softmax_grad_row(),
          bounded(cross_entropy_row(), {1, [](auto in, auto, const Attrs& at) { return classes_of(in[0], at); }}),
          bounded(cross_entropy_grad_row(), {2, [](auto in, auto, const Attrs& at) { return classes_of(in[1], at); }})};
}

}  // namespace wengert
