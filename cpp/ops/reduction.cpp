// Reductions over axes, and scans along one. Loops are in kernels/reduce and kernels/scan; here are
// types, derivatives and batching.
#include <algorithm>
#include <limits>

#include "kernels/math.h"
#include "kernels/reduce.h"
#include "kernels/scan.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

using kernels::Fold;
using Prepare = std::function<void(const std::string& name, Vars& args, Attrs& at)>;

const Ints& axes_of(const Attrs& at) { return at.ints("axis"); }
bool keeps(const Attrs& at) { return at.flag("keepdims"); }

// What a rule's reduced operands become: g, or another value of the output's shape, over the input.
Var over_input(const Rule& r, const Var& y) {
  return spread(y, axes_of(r.attrs), keeps(r.attrs), r.shape());
}
Var reduce_like(const Rule& r, const Var& x) { return sum(x, axes_of(r.attrs), keeps(r.attrs)); }

int64_t reduced_count(const Shape& shape, const Ints& axes) {
  int64_t n = 1;
  for (int64_t axis : axes) n *= shape[std::size_t(axis)];
  return n;
}

void need_floats(const std::string&, Vars& args, Attrs&) {
  if (!is_float(args[0].dtype())) args[0] = astype(args[0], DType::float32);
}

void need_elements(const std::string& name, Vars& args, Attrs& at) {
  for (int64_t axis : axes_of(at))
    if (args[0].shape()[std::size_t(axis)] == 0)
      fail(ErrorKind::shape, name, ": needs at least one element to choose from; axis ", axis,
           " of ", args[0].shape(), " has size 0");
}

// The attribute `dtype` becomes the dtype of the result: int64 for integers and bool if none is
// asked for. x is converted first, but for what accumulates in int64 anyway.
void choose_dtype(const std::string& name, Vars& args, Attrs& at) {
  Var& x = args[0];
  if (at.is_none("dtype")) at = at.with("dtype", is_float(x.dtype()) ? x.dtype() : DType::int64);
  const DType dtype = at.dtype("dtype");
  if (dtype == DType::bool_)
    fail(ErrorKind::dtype, name,
         ": dtype must be a number's; got bool. Use any() or all() for truth values");
  const bool narrows = is_integer(dtype) && dtype != DType::int64;
  if (narrows || is_float(dtype) || is_float(x.dtype())) x = astype(x, dtype);
}

Vars batch_axes(const Batched& b) {
  Ints axes;
  for (int64_t axis : axes_of(b.attrs)) axes.push_back(axis + 1);
  return apply_all(b.op, b.ins, b.attrs.with("axis", axes));
}

// A row over axes. `result`: its dtype, given that of the (prepared) input.
Op over_axes(std::string name, std::string doc, Schema extra, Prepare prepare,
             std::function<DType(DType, const Attrs&)> result,
             std::function<void(const Call&)> kernel) {
  Op op{.name = name, .doc = std::move(doc), .family = Family::reduction, .inputs = {"x"}};
  op.params = {{"axis", AttrKind::ints, None{}}};
  for (Param& param : extra) op.params.push_back(std::move(param));
  op.params.push_back({"keepdims", AttrKind::boolean, false});
  op.prepare = [name, prepare](Vars& args, Attrs& at) {
    const int ndim = args[0].ndim();
    at = at.with("axis", at.is_none("axis") ? all_axes(ndim)
                                            : normalize_axes(name.c_str(), axes_of(at), ndim));
    if (prepare) prepare(name, args, at);
  };
  op.infer = [result](std::span<const Type> in, const Attrs& at) {
    return Types{{result(in[0].dtype, at), reduced_shape(in[0].shape, axes_of(at), keeps(at))}};
  };
  op.kernel = std::move(kernel);
  op.batch = batch_axes;
  return op;
}

Op over_axes(std::string name, std::string doc, Schema extra, Prepare prepare,
             std::function<DType(DType, const Attrs&)> result, Fold fold) {
  Op op = over_axes(std::move(name), std::move(doc), std::move(extra), std::move(prepare), std::move(result),
                    [fold](const Call& call) { kernels::reduce(fold, call.in[0], axes_of(call.attrs), call.out[0]); });
  op.fold = fold;
  return op;
}
DType same_dtype(DType x, const Attrs&) { return x; }
DType int64_dtype(DType, const Attrs&) { return DType::int64; }
DType bool_dtype(DType, const Attrs&) { return DType::bool_; }
DType chosen_dtype(DType, const Attrs& at) { return at.dtype("dtype"); }

const Param dtype_param{"dtype", AttrKind::dtype, None{}};
const Param correction_param{"correction", AttrKind::real, 0.0};

Op sum_row() {
  Op op = over_axes("sum",
                    "The sum of x over axis (an int, several, or None for all). Integers and bool "
                    "are summed in int64, floats accumulate in double; dtype sets the result's.",
                    {dtype_param}, choose_dtype, chosen_dtype, Fold::sum);
  op.adjoints = {{.rule = [](const Rule& r) { return over_input(r, r.g()); }}};
  op.flops = flops_a_number(1);
  return linear(std::move(op));
}

Op mean_row() {
  Op op = over_axes(
      "mean", "The mean of x over axis; NaN of no elements. Integers and bool become float32.", {},
      need_floats, same_dtype, Fold::mean);
  op.adjoints = {{.rule = [](const Rule& r) {
    return over_input(r, r.g() / double(reduced_count(r.shape(), axes_of(r.attrs))));
  }}};
  op.flops = flops_a_number(1);
  return linear(std::move(op));
}

Var cumulative_prod(const Var& x, int64_t axis, bool reverse) {
  static const Op& op = find_op("cumulative_prod");
  return apply(op, {&x, 1}, make_attrs(op, {{"axis", axis}, {"reverse", reverse}}));
}

Var linear_recurrence(const Var& a, const Var& b, int64_t axis, bool reverse) {
  static const Op& op = find_op("linear_recurrence");
  const Var in[] = {a, b};
  return apply(op, in, make_attrs(op, {{"axis", axis}, {"reverse", reverse}}));
}

// y[i] = x[i - 1] and y[0] = first along `axis`; y[i] = x[i + 1] and y[-1] = first if `back`.
Var shifted(const Var& x, int64_t axis, double first, bool back) {
  Ints starts(x.shape().size(), 0), steps(x.shape().size(), 1);
  Shape rest = x.shape(), edge = x.shape();
  if (rest[std::size_t(axis)] == 0) return x;
  rest[std::size_t(axis)] -= 1;
  edge[std::size_t(axis)] = 1;
  starts[std::size_t(axis)] = back ? 1 : 0;
  const Var fill = full(first, {x.dtype(), edge}), kept = slice(x, starts, rest, steps);
  const Var forward[] = {fill, kept}, backward[] = {kept, fill};
  return concat(back ? backward : forward, axis);
}

// At each place the product of all elements but that one, without a division.
Var products_of_others(const Var& x, const Ints& axes) {
  if (axes.empty() || numel(x.shape()) == 0) return full(1, {x.dtype(), x.shape()});
  auto along = [](const Var& line, int64_t axis) {
    return cumulative_prod(shifted(line, axis, 1, false), axis, false) *
           cumulative_prod(shifted(line, axis, 1, true), axis, true);
  };
  if (axes.size() == 1) return along(x, axes[0]);
  Ints order, back(x.shape().size());
  Shape lines = reduced_shape(x.shape(), axes, false);
  for (int64_t i = 0; i < x.ndim(); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) order.push_back(i);
  for (int64_t axis : axes) order.push_back(axis);
  for (std::size_t i = 0; i < order.size(); ++i) back[std::size_t(order[i])] = int64_t(i);
  const Var moved = permute_dims(x, order);
  lines.push_back(reduced_count(x.shape(), axes));
  const Var others = along(reshape(moved, lines), int64_t(lines.size()) - 1);
  return permute_dims(reshape(others, moved.shape()), back);
}

Op prod_row() {
  Op op = over_axes("prod",
                    "The product of x over axis; 1 of no elements. Integers and bool are "
                    "multiplied in int64, floats in double; dtype sets the result's. The "
                    "derivative is right where factors are 0.",
                    {dtype_param}, choose_dtype, chosen_dtype, Fold::prod);
  op.adjoints = {{.rule =
                      [](const Rule& r) {
                        return chain_multiply(over_input(r, r.g()), products_of_others(r.in(0), axes_of(r.attrs)));
                      },
                  .saves_in = saves_all}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    return Vars{reduce_like(r, chain_multiply(r.dx(0), products_of_others(r.in(0), axes_of(r.attrs))))};
  };
  return op;
}

// Where x is the extremum, or NaN, which then is; and by how many the derivative is shared.
struct Winners {
  Var mask, count;
};
Winners winners(const Rule& r) {
  const Var mask = logical_or(equal(r.in(0), over_input(r, r.out())), not_equal(r.in(0), r.in(0)));
  return {mask, reduce_like(r, astype(mask, r.dtype()))};
}

Op extremum(std::string name, std::string doc, Fold fold) {
  Op op = over_axes(std::move(name),
                    doc +
                        " over axis; NaN if there is one. An axis of size 0 is an error. Ties "
                        "share the derivative evenly.",
                    {}, need_elements, same_dtype, fold);
  op.adjoints = {{.rule =
                      [](const Rule& r) {
                        const auto [mask, count] = winners(r);
                        return where(mask, over_input(r, r.g() / count), constant(0, r.dtype()));
                      },
                  .saves_in = saves_all,
                  .saves_out = true}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    const auto [mask, count] = winners(r);
    return Vars{reduce_like(r, where(mask, r.dx(0), constant(0, r.dtype()))) / count};
  };
  return op;
}

Op place(std::string name, std::string doc, Fold fold) {
  return over_axes(
      std::move(name),
      doc +
          " of x along axis, int64: the first one, and NaN before all others. Over all axes "
          "(None) or several, its place in their row-major order.",
      {}, need_elements, int64_dtype, fold);
}

// The centered input, x - mean(x).
Var centered(const Rule& r) {
  static const Op& mean = find_op("mean");
  const Attrs at = make_attrs(mean, {{"axis", axes_of(r.attrs)}, {"keepdims", true}});
  return r.in(0) - broadcast_to(apply(mean, {&r.ins[0], 1}, at), r.shape());
}

double divisor(const Rule& r) {
  return std::max(0.0,
                  double(reduced_count(r.shape(), axes_of(r.attrs))) - r.attrs.real("correction"));
}

std::function<void(const Call&)> spreading(bool root) {
  return [root](const Call& call) {
    kernels::variance(call.in[0], axes_of(call.attrs), call.attrs.real("correction"), root,
                      call.out[0]);
  };
}

Op var_row() {
  Op op = over_axes(
      "var",
      "sum((x - mean(x))**2) / (n - correction) over axis, n elements each; not finite where n <= "
      "correction. Integers and bool become float32.",
      {correction_param}, need_floats, same_dtype, spreading(false));
  op.flops = flops_a_number(3);
  op.adjoints = {
      {.rule = [](const Rule& r) { return chain_multiply(over_input(r, r.g() * (2 / divisor(r))), centered(r)); },
       .saves_in = saves_all}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    return Vars{reduce_like(r, chain_multiply(r.dx(0), centered(r))) * (2 / divisor(r))};
  };
  return op;
}

// v / (scale y), and 0 where y is 0: the derivative of a root taken as least at its kink.
Var per_root(const Var& v, const Var& y, double scale) {
  const Var at_zero = equal(y, constant(0, y.dtype()));
  const Var safe = where(at_zero, constant(1, y.dtype()), y);
  return where(at_zero, constant(0, y.dtype()), chain_divide(v, scale == 1 ? safe : safe * scale));
}

Op std_row() {
  Op op =
      over_axes("std", "The square root of var(x) over axis. Its derivative is 0 where it is 0.",
                {correction_param}, need_floats, same_dtype, spreading(true));
  op.flops = flops_a_number(3);
  op.adjoints = {{.rule =
                      [](const Rule& r) {
                        return chain_multiply(over_input(r, per_root(r.g(), r.out(), divisor(r))), centered(r));
                      },
                  .saves_in = saves_all,
                  .saves_out = true}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    return Vars{per_root(reduce_like(r, chain_multiply(r.dx(0), centered(r))), r.out(), divisor(r))};
  };
  return op;
}

Op norm_row() {
  Op op = over_axes("vector_norm",
                    "The Euclidean norm of x over axis. Its derivative is 0 where it is 0.", {},
                    need_floats, same_dtype, Fold::norm);
  op.flops = flops_a_number(2);
  op.adjoints = {
      {.rule = [](const Rule& r) { return chain_multiply(over_input(r, per_root(r.g(), r.out(), 1)), r.in(0)); },
       .saves_in = saves_all,
       .saves_out = true}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    return Vars{per_root(reduce_like(r, chain_multiply(r.dx(0), r.in(0))), r.out(), 1)};
  };
  return op;
}

struct ExpDifference {
  template <class T>
  [[gnu::always_inline]] T operator()(T x, T y) const {
    const T infinity = std::numeric_limits<T>::infinity();
    const T d = math::exp(x - y);
    return y == -infinity ? T(0) : (x == y ? T(1) : d);
  }
};

Var softmax_weights(const Rule& r) {
  static const Op& op = find_op("exp_difference");
  const Var in[] = {r.in(0), over_input(r, r.out())};
  return apply(op, in);
}

Op logsumexp_row() {
  Op op = over_axes("logsumexp",
                    "log(sum(exp(x))) over axis without overflow: -inf (with derivative 0) where "
                    "all x are -inf or there are none, inf where one is.",
                    {}, need_floats, same_dtype, Fold::logsumexp);
  op.flops = flops_a_number(3);
  op.adjoints = {{.rule = [](const Rule& r) { return chain_multiply(over_input(r, r.g()), softmax_weights(r)); },
                  .saves_in = saves_all,
                  .saves_out = true}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    return Vars{reduce_like(r, chain_multiply(r.dx(0), softmax_weights(r)))};
  };
  return op;
}

// A row along one axis, that can run from the end.
Op along_axis(std::string name, std::string doc, std::vector<std::string> inputs, Schema params,
              Prepare prepare) {
  Op op{.name = name,
        .doc = std::move(doc),
        .inputs = std::move(inputs),
        .params = std::move(params)};
  op.prepare = [name, prepare](Vars& args, Attrs& at) {
    prepare(name, args, at);
    const int ndim = args[0].ndim();
    if (ndim == 0) fail(ErrorKind::shape, name, ": needs at least one axis; got a 0-d tensor");
    if (at.is_none("axis") && ndim > 1)
      fail(ErrorKind::argument, name, ": axis must be given for ", ndim,
           " dimensions; got axis=None");
    at = at.with(
        "axis",
        int64_t(at.is_none("axis") ? 0 : normalize_axis(name.c_str(), at.integer("axis"), ndim)));
  };
  op.infer = [](std::span<const Type> in, const Attrs& at) {
    return Types{{is_float(in[0].dtype) ? in[0].dtype : at.dtype("dtype"), in[0].shape}};
  };
  op.batch = [](const Batched& b) {
    return apply_all(b.op, b.ins, b.attrs.with("axis", b.attrs.integer("axis") + 1));
  };
  return op;
}

std::function<void(const Call&)> scanning(kernels::Scan scan) {
  return [scan](const Call& call) {
    kernels::scan(scan, call.in[0], int(call.attrs.integer("axis")), call.attrs.flag("reverse"),
                  call.out[0]);
  };
}

const Schema scan_params{
    {"axis", AttrKind::integer, None{}}, dtype_param, {"reverse", AttrKind::boolean, false}};

Op cumulative_sum_row() {
  Op op = along_axis("cumulative_sum",
                     "Running sums of x along axis (which may be left out for one dimension); "
                     "from the end if reverse. Integers and bool are summed in int64.",
                     {"x"}, scan_params, choose_dtype);
  op.kernel = scanning(kernels::Scan::sum);
  op.flops = flops_a_number(1);
  op.adjoints = {{.rule = [](const Rule& r) {
    return apply(r.op, r.gs, r.attrs.with("reverse", !r.attrs.flag("reverse")));
  }}};
  return linear(std::move(op));
}

Op cumulative_prod_row() {
  Op op = along_axis(
      "cumulative_prod",
      "Running products of x along axis (which may be left out for one dimension); from the end "
      "if reverse. Integers and bool are multiplied in int64. The derivative is right where "
      "factors are 0.",
      {"x"}, scan_params, choose_dtype);
  op.kernel = scanning(kernels::Scan::prod);
  op.flops = flops_a_number(1);
  // y[i] = x[i] y[i - 1], so dy[i] = x[i] dy[i - 1] + dx[i] y[i - 1]; the adjoint runs it
  // backwards.
  op.adjoints = {{.rule =
                      [](const Rule& r) {
                        const int64_t axis = r.attrs.integer("axis");
                        const bool reverse = r.attrs.flag("reverse");
                        const Var g = linear_recurrence(shifted(r.in(0), axis, 0, !reverse), r.g(),
                                                        axis, !reverse);
                        return chain_multiply(g, shifted(r.out(), axis, 1, reverse));
                      },
                  .saves_in = saves_all,
                  .saves_out = true}};
  op.tangent = [](const Rule& r) {
    if (!r.dx(0)) return Vars{Var()};
    const int64_t axis = r.attrs.integer("axis");
    const bool reverse = r.attrs.flag("reverse");
    return Vars{
        linear_recurrence(r.in(0), chain_multiply(r.dx(0), shifted(r.out(), axis, 1, reverse)), axis, reverse)};
  };
  return op;
}

Op linear_recurrence_row() {
  Op op = along_axis(
      "linear_recurrence",
      "y[0] = b[0], y[i] = a[i] y[i - 1] + b[i] along axis; from the end if reverse. A y[i - 1] of "
      "0 absorbs an infinite or NaN a[i]. a and b broadcast.",
      {"a", "b"}, {{"axis", AttrKind::integer, int64_t(-1)}, {"reverse", AttrKind::boolean, false}},
      [](const std::string& name, Vars& args, Attrs&) {
        const Op row{.name = name};
        promote_all(row, args, Domain::floats);
        const Shape shape = broadcast_shapes(name.c_str(), args[0].shape(), args[1].shape());
        for (Var& x : args) x = broadcast_to(x, shape);
      });
  op.kernel = [](const Call& call) {
    kernels::recurrence(call.in[0], call.in[1], int(call.attrs.integer("axis")),
                        call.attrs.flag("reverse"), call.out[0]);
  };
  op.flops = flops_a_number(2);
  op.joint_adjoint = [](const Rule& r) {
    const int64_t axis = r.attrs.integer("axis");
    const bool reverse = r.attrs.flag("reverse");
    const Var db = linear_recurrence(shifted(r.in(0), axis, 0, !reverse), r.g(), axis, !reverse);
    return Vars{chain_multiply(db, shifted(r.out(), axis, 0, reverse)), db};
  };
  op.tangent = [](const Rule& r) {
    const int64_t axis = r.attrs.integer("axis");
    const bool reverse = r.attrs.flag("reverse");
    Var term = r.dx(1);
    if (r.dx(0)) {
      const Var own = chain_multiply(r.dx(0), shifted(r.out(), axis, 0, reverse));
      term = term ? term + own : own;
    }
    return Vars{term ? linear_recurrence(r.in(0), term, axis, reverse) : term};
  };
  return op;
}

}  // namespace

std::vector<Op> reduction_rows() {
  return {
      sum_row(),
      prod_row(),
      extremum("max", "The largest element of x", Fold::max),
      extremum("min", "The smallest element of x", Fold::min),
      place("argmax", "The place of the largest element", Fold::argmax),
      place("argmin", "The place of the smallest element", Fold::argmin),
      over_axes("all", "Whether every element of x is nonzero (NaN is), over axis.", {}, {},
                bool_dtype, Fold::all),
      over_axes("any", "Whether some element of x is nonzero (NaN is), over axis.", {}, {},
                bool_dtype, Fold::any),
      over_axes("count_nonzero", "How many elements of x are nonzero (NaN is), over axis; int64.",
                {}, {}, int64_dtype, Fold::count),
      mean_row(),
      var_row(),
      std_row(),
      logsumexp_row(),
      binary(
          "exp_difference",
          "exp(x1 - x2), the weight of x1 in a logsumexp x2: 0 where x2 is -inf, 1 where both are "
          "inf.",
          ExpDifference{}, [](Y y) { return y; }, [](Y y) { return negative(y); }),
      norm_row(),
      cumulative_sum_row(),
      cumulative_prod_row(),
      linear_recurrence_row(),
  };
}

}  // namespace wengert
