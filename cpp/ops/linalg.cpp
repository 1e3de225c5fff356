// Matrix products. Rules move vectors and batch axes about with views, so that every adjoint is a
// matrix product again; transposes reach BLAS as flags.
#include "kernels/constants.h"
#include "kernels/matmul.h"
#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

int64_t last(const Shape& shape) { return shape.back(); }

// (..., n, k) as one matrix (N, k).
Var flat_rows(const Var& x) {
  const int64_t cols = last(x.shape());
  if (x.ndim() == 2) return x;
  Shape lead = x.shape();
  lead.pop_back();
  return reshape(x, {numel(lead), cols});
}

void prepare_product(const char* name, Domain domain, Vars& args) {
  if (args[0].ndim() == 0 || args[1].ndim() == 0)
    fail(ErrorKind::shape, name, ": operands need at least 1 axis; got ", args[0].shape(), " @ ",
         args[1].shape(), ". Use multiply for scalars");
  if (args[0].dtype() == args[1].dtype() && is_float(args[0].dtype())) return;
  promote_all(Op{.name = name}, args, domain);
}

[[noreturn]] void inner_mismatch(const Shape& a, const Shape& b, int64_t k1, int64_t k2) {
  const char* remedy = "";
  if (b.size() >= 2 && last(b) == k1)
    remedy = ". Did you mean matmul(x1, x2.mT)?";
  else if (a.size() >= 2 && a[a.size() - 2] == k2)
    remedy = ". Did you mean matmul(x1.mT, x2)?";
  fail(ErrorKind::shape, "matmul: inner dimensions differ: ", a, " @ ", b, " needs ", k1,
       " == ", k2, remedy);
}

// The leading axes of a and b, broadcast.
Shape batch_shape(const Shape& a, const Shape& b) {
  const std::size_t lead_a = a.size() - std::min<std::size_t>(a.size(), 2);
  const std::size_t lead_b = b.size() - std::min<std::size_t>(b.size(), 2);
  const std::size_t lead = std::max(lead_a, lead_b);
  Shape shape(lead, 1);
  for (std::size_t i = 0; i < lead; ++i) {
    const int64_t m = i + lead_a < lead ? 1 : a[i + lead_a - lead],
                  n = i + lead_b < lead ? 1 : b[i + lead_b - lead];
    if (m != n && m != 1 && n != 1)
      fail(ErrorKind::shape, "matmul: batch axes do not broadcast: ", a, " @ ", b, " needs ", m,
           " == ", n, ", or one of them 1");
    shape[i] = m == 1 ? n : m;
  }
  return shape;
}

Types infer_matmul(std::span<const Type> in, const Attrs&) {
  const Shape &a = in[0].shape, &b = in[1].shape;
  const int64_t k1 = last(a), k2 = b[b.size() - (b.size() > 1 ? 2 : 1)];
  if (k1 != k2) inner_mismatch(a, b, k1, k2);
  Shape shape = batch_shape(a, b);
  if (a.size() > 1) shape.push_back(a[a.size() - 2]);
  if (b.size() > 1) shape.push_back(last(b));
  check_shape("matmul", shape);
  return {{in[0].dtype, std::move(shape)}};
}

// G Bᵀ, summed over the batch axes that a was stretched along.
Var adjoint_of_left(const Rule& r) {
  const Var &b = r.in(1), &g = r.g();
  const Shape& a = r.shape(0);
  if (b.ndim() == 1) {
    const Var column = a.size() == 1 ? g : expand_dims(g, -1);
    return chain_multiply(broadcast_to(column, r.shape(0)), b);
  }
  if (a.size() == 1) {
    if (b.ndim() == 2) return chain_matmul(b, g);
    const Var items = chain_matmul(b, expand_dims(g, -1));
    return sum_to(reshape(items, Shape(items.shape().begin(), items.shape().end() - 1)), a);
  }
  return sum_to(chain_matmul(g, matrix_transpose(b)), a);
}

// Aᵀ G; a weight b that all items share gets it as one tall product.
Var adjoint_of_right(const Rule& r) {
  const Var &a = r.in(0), &g = r.g();
  const Shape& b = r.shape(1);
  if (a.ndim() == 1) {
    if (b.size() == 1) return chain_multiply(g, a);
    return chain_multiply(broadcast_to(expand_dims(g, -2), b), expand_dims(a, -1));
  }
  if (b.size() == 1) return chain_matmul(reshape(g, {g->array.size()}), flat_rows(a));
  if (b.size() == 2) return chain_matmul(matrix_transpose(flat_rows(a)), flat_rows(g));
  return sum_to(chain_matmul(matrix_transpose(a), g), b);
}

// Axes of size 1 after the mapped one, so that `lead` batch axes line up.
Var align(const Var& x, int lead) {
  Shape shape = x.shape();
  while (int(shape.size()) < lead + 3) shape.insert(1, 1);
  return reshape(x, shape);
}

Var product(const Batched& b, const Var& x, const Var& y) {
  const Var args[] = {x, y};
  return apply(b.op, args);
}

Vars batch_matmul(const Batched& b) {
  const bool left = b.is_batched(0), right = b.is_batched(1);
  const Var &x = b.in(0), &y = b.in(1);
  const int nx = x.ndim() - left, ny = y.ndim() - right;
  // The mapped axis as further rows of the one matrix, or as one more batch axis.
  if (!right && ny <= 2) return {product(b, x, y)};
  if (!left && ny == 1 && nx <= 2) return {product(b, y, nx == 1 ? x : matrix_transpose(x))};
  if (!left && ny >= 2 && nx <= ny) return {product(b, x, y)};
  const int lead = std::max({nx, ny, 2}) - 2;
  Var a = nx == 1 ? expand_dims(x, -2) : x, c = ny == 1 ? expand_dims(y, -1) : y;
  if (left) a = align(a, lead);
  if (right) c = align(c, lead);
  const Var out = product(b, a, c);
  Shape shape = out.shape();
  if (ny == 1) shape.pop_back();
  if (nx == 1) shape.erase(shape.size() - (ny == 1 ? 1 : 2));
  return {reshape(out, shape)};
}

int64_t matmul_flops(std::span<const Type> in, std::span<const Type> out) {
  return 2 * numel(out[0].shape) * last(in[0].shape);
}

// d f(a, b) = f(da, b) + f(a, db)
Vars matmul_tangent(const Rule& r) {
  Var dy = r.dx(0) ? chain_matmul(r.dx(0), r.in(1)) : Var();
  if (r.dx(1)) {
    const Var term = chain_matmul(r.in(0), r.dx(1));
    dy = dy ? add(dy, term) : term;
  }
  return {dy};
}

Op product_row(const char* name, std::string doc, Domain domain, std::function<void(const Call&)> kernel) {
  return {.name = name,
          .doc = std::move(doc),
          .family = Family::bilinear,
          .inputs = {"x1", "x2"},
          .prepare = [=](Vars& args, Attrs&) { prepare_product(name, domain, args); },
          .infer = infer_matmul,
          .kernel = std::move(kernel),
          .adjoints = {{.rule = adjoint_of_left, .saves_in = 2},
                       {.rule = adjoint_of_right, .saves_in = 1}},
          .tangent = matmul_tangent,
          .batch = batch_matmul,
          .flops = matmul_flops};
}

Op matmul_row() {
  Op row = product_row(
      "matmul",
      "Matrix product of x1 (..., n, k) and x2 (..., k, m), whose leading axes broadcast. A vector "
      "x1 (k,) is a row and x2 (k,) a column, and its axis of size 1 is dropped from the result. "
      "Integer products wrap around. On x86, floats below the smallest normal one count as 0, as factors and as "
      "results: with them, a product takes up to a hundred times as long.",
      Domain::numbers, [](const Call& call) { kernels::matmul(call.in[0], call.in[1], call.out[0]); });
  row.laws.turns = true;
  return row;
}

bool product_joins(std::span<const Type> in) {
  const Shape &a = in[0].shape, &b = in[1].shape;
  return a.size() >= 2 && b.size() == 2 && last(a) > 0 &&
         kernels::product_joins(in[0].dtype, numel(a) / last(a), b[1], b[0]);
}

Op chain_matmul_row() {
  Op row = product_row(
      "chain_matmul",
      "matmul(x1, x2) in which a product with a zero is 0, also where the other factor is infinite or "
      "NaN: what is not asked for contributes nothing.",
      Domain::floats, [](const Call& call) { kernels::chain_matmul(call.in[0], call.in[1], call.out[0]); });
  row.laws.turns = true;
  row.laws.behind = {{.row = "chain_multiply", .both = "slope_product", .pays = product_joins, .sums = true}};
  // Zeros of an identity absorb what is not finite: the other factor comes out as it is.
  row.laws.passes = [](std::span<const Array> known, bool to_the_bit) {
    for (int i = 0; i < 2 && !to_the_bit; ++i)
      if (known[std::size_t(i)].has_data() && kernels::is_identity(known[std::size_t(i)])) return 1 - i;
    return -1;
  };
  return row;
}

Var linear_of(const Var& x, const Var& weight, const Var& bias = {}) {
  static const Op& op = find_op("linear");
  const Var args[] = {x, weight, bias};
  return apply(op, {args, std::size_t(bias ? 3 : 2)});
}

void prepare_linear(Vars& args, Attrs&) {
  static const Op row{.name = "linear"};
  if (args.size() > 3)
    fail(ErrorKind::type, "linear: takes x, weight and one bias; got ", args.size(), " tensors");
  promote_all(row, args, Domain::floats);
}

Types infer_linear(std::span<const Type> in, const Attrs&) {
  const Shape &x = in[0].shape, &weight = in[1].shape;
  if (weight.size() != 2)
    fail(ErrorKind::shape, "linear: weight needs 2 axes (out, in); got ", weight);
  if (x.empty()) fail(ErrorKind::shape, "linear: x needs at least 1 axis (..., in); got ()");
  if (last(x) != weight[1])
    fail(ErrorKind::shape, "linear: inner dimensions differ: x ", x, " with weight ", weight,
         " (out, in) needs ", last(x), " == ", weight[1],
         ". Give x (..., ", weight[1], ")", last(x) == weight[0] ? ", or weight.T for a weight (in, out)" : "");
  if (in.size() > 2 && !(in[2].shape == Shape{weight[0]}))
    fail(ErrorKind::shape, "linear: bias needs shape ", Shape{weight[0]}, "; got ", in[2].shape);
  Shape shape = x;
  shape.back() = weight[0];
  check_shape("linear", shape);
  return {{in[0].dtype, std::move(shape)}};
}

template <bool rectify>
void linear_kernel(const Call& call) {
  const Array* bias = call.in.size() > 2 ? &call.in[2] : nullptr;
  kernels::linear(call.in[0], call.in[1], bias, {.rectify = rectify}, call.out[0]);
}

Vars linear_tangent(const Rule& r) {
  const bool has_bias = r.ins.size() > 2;
  const Var db = has_bias ? r.dx(2) : Var();
  Var dy;
  auto gather = [&](const Var& term) { dy = dy ? add(dy, term) : term; };
  if (r.dx(0)) gather(chain_matmul(r.dx(0), matrix_transpose(r.in(1))));
  if (r.dx(1)) gather(chain_matmul(r.in(0), matrix_transpose(r.dx(1))));
  if (db) gather(broadcast_to(db, r.out_types[0].shape));
  return {dy};
}

Vars batch_linear(const Batched& b) {
  const Var &x = b.in(0), &weight = b.in(1);
  const bool has_bias = b.ins.size() > 2, bias_batched = has_bias && b.is_batched(2);
  if (!b.is_batched(1) && !bias_batched) return {linear_of(x, weight, has_bias ? b.in(2) : Var())};
  if (!b.is_batched(1) && b.is_batched(0)) {
    // The bias differs from item to item: it is added afterwards.
    const Var y = linear_of(x, weight);
    Shape shape(y.shape().size(), 1);
    shape[0] = b.size;
    shape.back() = last(y.shape());
    return {add(y, reshape(b.in(2), shape))};
  }
  const int64_t out = weight.shape()[weight.shape().size() - 2];
  Shape shape = x.shape();
  if (b.is_batched(0)) shape.erase(0);
  shape.back() = out;
  Shape lead = shape;
  lead.pop_back();
  const int64_t rows = numel(lead), cols = last(x.shape());
  const Var items = reshape(x, b.is_batched(0) ? Shape{b.size, rows, cols} : Shape{rows, cols});
  Var y = matmul(items, matrix_transpose(weight));
  if (has_bias) y = add(y, bias_batched ? expand_dims(b.in(2), 1) : b.in(2));
  shape.insert(0, b.size);
  return {reshape(y, shape)};
}

Var adjoint_of_weight(const Rule& r, const Var& g) {
  if (r.shape(0).size() == 1) return chain_multiply(broadcast_to(expand_dims(g, -1), r.shape(1)), r.in(0));
  return chain_matmul(matrix_transpose(flat_rows(g)), flat_rows(r.in(0)));
}

bool linear_joins(std::span<const Type> in) {
  const Shape &x = in[0].shape, &weight = in[1].shape;
  return last(x) > 0 && kernels::product_joins(in[0].dtype, numel(x) / last(x), weight[0], weight[1]);
}

Op linear_row() {
  return {
      .name = "linear",
      .doc = "x @ weight.T + bias for x (..., in), weight (out, in) and, if given, bias (out,).",
      .family = Family::fused,
      .inputs = {"x", "weight", "*bias"},
      .prepare = prepare_linear,
      .infer = infer_linear,
      .kernel = linear_kernel<false>,
      .adjoints = {{.rule = [](const Rule& r) { return chain_matmul(r.g(), r.in(1)); }, .saves_in = 2},
                   {.rule = [](const Rule& r) { return adjoint_of_weight(r, r.g()); }, .saves_in = 1},
                   {.rule = [](const Rule& r) { return sum_to(r.g(), r.shape(2)); }}},
      .tangent = linear_tangent,
      .batch = batch_linear,
      .flops = [](std::span<const Type> in, std::span<const Type> out) {
        return matmul_flops(in, out) + (in.size() > 2 ? numel(out[0].shape) : 0);
      },
      .laws = {.behind = {{"relu", "linear_relu"}, {.row = "add", .both = "linear_add", .pays = linear_joins}}}};
}

Var rectified(const Rule& r, const Var& dy) {
  static const Op& op = find_op("relu_grad");
  return call(op, {dy, r.out()}, {});
}

// What a layer of a network is behind a program's rewrites. Where there is AVX-512, relu finds the product's numbers
// in registers.
Op linear_relu_row() {
  Op row = linear_row();
  row.name = "linear_relu";
  row.doc = "relu(linear(x, weight, bias)).";
  row.kernel = linear_kernel<true>;
  row.laws = {};
  row.adjoints = {
      {.rule = [](const Rule& r) { return chain_matmul(rectified(r, r.g()), r.in(1)); }, .saves_in = 2, .saves_out = true},
      {.rule = [](const Rule& r) { return adjoint_of_weight(r, rectified(r, r.g())); }, .saves_in = 1, .saves_out = true},
      {.rule = [](const Rule& r) { return sum_to(rectified(r, r.g()), r.shape(2)); }, .saves_out = true}};
  row.tangent = [](const Rule& r) -> Vars { return {rectified(r, linear_tangent(r)[0])}; };
  row.batch = [](const Batched& b) -> Vars {
    static const Op& relu = find_op("relu");
    return {call(relu, {batch_linear(b)[0]}, {})};
  };
  row.flops = [](std::span<const Type> in, std::span<const Type> out) {
    return matmul_flops(in, out) + (in.size() > 2 ? 2 : 1) * numel(out[0].shape);
  };
  return row;
}

// The arguments of `linear` among those of linear_add.
template <class Values>
auto without_third(const Values& in) {
  SmallVector<std::decay_t<decltype(in[0])>, 3> out;
  for (std::size_t i = 0; i < in.size(); ++i)
    if (i != 2) out.push_back(in[i]);
  return out;
}

// A layer whose result is added to what it was made of.
Op linear_add_row() {
  return fused(
      {.name = "linear_add",
       .doc = "linear(x, weight, bias) + y.",
       .inputs = {"x", "weight", "y", "*bias"},
       .prepare =
           [](Vars& args, Attrs&) {
             static const Op row{.name = "linear_add"};
             if (args.size() > 4)
               fail(ErrorKind::type, "linear_add: takes x, weight, y and one bias; got ", args.size(), " tensors");
             promote_all(row, args, Domain::floats);
           },
       .infer =
           [](std::span<const Type> in, const Attrs& at) {
             const auto own = without_third(in);
             Types out = infer_linear({own.data(), own.size()}, at);
             if (!(in[2].shape == out[0].shape))
               fail(ErrorKind::shape, "linear_add: y needs shape ", out[0].shape, "; got ", in[2].shape);
             return out;
           },
       .kernel =
           [](const Call& c) {
             kernels::linear(c.in[0], c.in[1], c.in.size() > 3 ? &c.in[3] : nullptr, {.plus = &c.in[2]}, c.out[0]);
           },
       .batch =
           [](const Batched& b) {
             const auto ins = without_third(b.ins);
             bool batched[3] = {};
             for (std::size_t i = 0; i < ins.size(); ++i) batched[i] = b.is_batched(int(i < 2 ? i : i + 1));
             const Batched own{b.op, b.attrs, {ins.data(), ins.size()}, {batched, ins.size()}, b.size};
             const bool any = batched[0] || batched[1] || batched[2];
             const Var y = any ? batch_linear(own)[0] : linear_of(ins[0], ins[1], ins.size() > 2 ? ins[2] : Var());
             return Vars{add(y, b.in(2))};
           },
       .flops = [](std::span<const Type> in, std::span<const Type> out) {
         return matmul_flops(in, out) + (in.size() > 3 ? 2 : 1) * numel(out[0].shape);
       }},
      [](std::span<const Var> in, const Attrs&) {
        return add(linear_of(in[0], in[1], in.size() > 3 ? in[3] : Var()), in[2]);
      });
}

// A cotangent on its way through a layer and the function before it; the sum is that of the bias before that.
Op slope_product_row() {
  const auto meaning = [](std::span<const Var> in, const Attrs&) {
    const Var y = chain_multiply(chain_matmul(in[0], in[1]), in[2]);
    Ints axes;
    for (int64_t axis = 0; axis + 1 < y.ndim(); ++axis) axes.push_back(axis);
    return Vars{y, sum(y, axes, false)};
  };
  return fused_outputs(
      {.name = "slope_product",
       .doc = "chain_multiply(chain_matmul(x1, x2), slope) for x1 (..., n, k) and x2 (k, m), and its sum over all axes "
              "but the last.",
       .inputs = {"x1", "x2", "slope"},
       .prepare =
           [](Vars& args, Attrs&) {
             static const Op row{.name = "slope_product"};
             promote_all(row, args, Domain::floats);
           },
       .infer =
           [](std::span<const Type> in, const Attrs& at) {
             if (in[0].shape.size() < 2 || in[1].shape.size() != 2)
               fail(ErrorKind::shape, "slope_product: needs x1 (..., n, k) and x2 (k, m); got ", in[0].shape, " and ",
                    in[1].shape);
             Types out = infer_matmul(in.first(2), at);
             if (!(in[2].shape == out[0].shape))
               fail(ErrorKind::shape, "slope_product: slope needs shape ", out[0].shape, "; got ", in[2].shape);
             out.push_back({out[0].dtype, {last(out[0].shape)}});
             return out;
           },
       .kernel =
           [](const Call& c) { kernels::slope_product(c.in[0], c.in[1], c.in[2], c.out[0], c.out[1]); },
       .batch =
           [](const Batched& b) {
             static const Op& product = find_op("chain_matmul");
             Var y = b.is_batched(0) || b.is_batched(1)
                         ? batch_matmul({product, b.attrs, b.ins.first(2), b.batched.first(2), b.size})[0]
                         : chain_matmul(b.in(0), b.in(1));
             y = chain_multiply(y, b.in(2));
             Ints axes;
             for (int64_t axis = 1; axis + 1 < y.ndim(); ++axis) axes.push_back(axis);
             return Vars{y, sum(y, axes, false)};
           },
       .flops = [](std::span<const Type> in, std::span<const Type> out) {
         return matmul_flops(in, out) + 2 * numel(out[0].shape);
       }},
      meaning);
}

}  // namespace

std::vector<Op> linalg_rows() {
  return {matmul_row(), chain_matmul_row(), linear_row(), linear_relu_row(), linear_add_row(), slope_product_row()};
}

}  // namespace wengert
