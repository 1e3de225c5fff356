// Scaled dot-product attention, which keeps its output and a number a query for the reverse sweep,
// not the weights. Must not know: how a tile is computed.
#include "kernels/attention.h"

#include <limits>
#include <numeric>

#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

const Schema attention_params = {{"scale", AttrKind::real, 1.0},
                                 {"is_causal", AttrKind::boolean, false}};

kernels::Attention how_of(const Attrs& at) { return {at.real("scale"), at.flag("is_causal")}; }

// The axes in front of the last three: of queries or keys, heads, features.
Shape leading(const Shape& shape) { return Shape(shape.begin(), shape.end() - 3); }
int64_t length(const Shape& shape) { return shape[shape.size() - 3]; }
int64_t heads(const Shape& shape) { return shape[shape.size() - 2]; }

Shape joined(Shape lead, std::initializer_list<int64_t> last) {
  for (const int64_t size : last) lead.push_back(size);
  return lead;
}

// (..., L, H, E) as (..., H, L, E), or back.
Var by_head(const Var& x) { return move_axis(x, x.ndim() - 3, x.ndim() - 2); }

void prepare_attention(Vars& args, Attrs&) {
  static const Op row{.name = "attention"};
  for (const Var& x : args)
    if (x.ndim() < 3)
      fail(ErrorKind::shape, "attention: q, k and v need at least 3 axes; got ", args[0].shape(),
           ", ", args[1].shape(), " and ", args[2].shape());
  promote_all(row, args, Domain::floats);
  Shape lead;  // with the heads as the last
  for (const Var& x : args)
    lead = broadcast_shapes("attention", lead, joined(leading(x.shape()), {heads(x.shape())}));
  const int64_t count = lead.back();
  lead.pop_back();
  for (Var& x : args) {
    const Shape wanted = joined(lead, {length(x.shape()), count, x.shape().back()});
    if (!(x.shape() == wanted)) x = broadcast_to(x, wanted);
  }
}

Types infer_attention(std::span<const Type> in, const Attrs&) {
  const Shape &q = in[0].shape, &k = in[1].shape, &v = in[2].shape;
  if (q.back() != k.back())
    fail(ErrorKind::shape, "attention: q (..., L, H, E) and k (..., S, H, E) must agree in E; got ",
         q, " and ", k);
  if (length(k) != length(v))
    fail(ErrorKind::shape, "attention: k (..., S, H, E) and v (..., S, H, D) must agree in S; got ",
         k, " and ", v);
  return {{in[0].dtype, joined(leading(q), {length(q), heads(q), v.back()})},
          {in[0].dtype, joined(leading(q), {heads(q), length(q)})}};
}

// The weights exp(scale q k' - lse) (..., H, L, S), 0 where a query does not see a key, for q and k by
// head.
Var weights_of(const Var& q, const Var& k, const Var& lse, const Attrs& at) {
  Var scores = matmul(q * at.real("scale"), matrix_transpose(k));
  constexpr double lowest = -std::numeric_limits<double>::infinity();
  if (at.flag("is_causal")) {
    const auto numbers = [](int64_t n, const Shape& shape) {
      Array out = Array::empty(DType::int64, shape);
      std::iota(out.data<int64_t>(), out.data<int64_t>() + n, int64_t(0));
      return Var(std::move(out));
    };
    const Shape& shape = scores.shape();
    const int64_t queries = shape[shape.size() - 2], keys = shape.back();
    const Var seen = less_equal(numbers(keys, {1, keys}), numbers(queries, {queries, 1}));
    scores = where(broadcast_to(seen, shape), scores, constant(lowest, scores.dtype()));
  }
  const Var base = where(equal(lse, constant(lowest, lse.dtype())), zeros_like(lse), lse);
  return exp(scores - expand_dims(base, -1));
}

Vars apply_grad(const Rule& r, const Var& g, const Var& g_lse) {
  static const Op& op = find_op("attention_grad");
  const Attrs at = make_attrs(
      op, {{"scale", r.attrs.at("scale")}, {"is_causal", r.attrs.at("is_causal")}});
  const Var args[] = {g, r.in(0), r.in(1), r.in(2), r.out(0), r.out(1), g_lse};
  return apply_all(op, {args, std::size_t(g_lse ? 7 : 6)}, at);
}

// With w the weights, dw = w (ds - sum_j w ds): the tangent of lse is that sum.
Vars attention_tangent(const Rule& r) {
  const Var q = by_head(r.in(0)), k = by_head(r.in(1)), w = weights_of(q, k, r.out(1), r.attrs);
  Var ds, out, lse;
  if (r.dx(0)) ds = chain_matmul(by_head(r.dx(0)), matrix_transpose(k));
  if (r.dx(1)) {
    const Var term = chain_matmul(q, matrix_transpose(by_head(r.dx(1))));
    ds = ds ? add(ds, term) : term;
  }
  if (ds) {
    const Var d = chain_multiply(ds * r.attrs.real("scale"), w), y = by_head(r.out(0));
    lse = sum(d, {-1});
    out = chain_matmul(d, by_head(r.in(2))) -
          chain_multiply(broadcast_to(expand_dims(lse, -1), y.shape()), y);
  }
  if (r.dx(2)) {
    const Var term = chain_matmul(w, by_head(r.dx(2)));
    out = out ? add(out, term) : term;
  }
  return {by_head(out), lse};
}

// All inputs have the same leading axes: the mapped one becomes the first of them.
Vars batch_attention(const Batched& b) {
  Vars args;
  for (int i = 0; i < int(b.ins.size()); ++i) args.push_back(stretched(b, i));
  return apply_all(b.op, {args.data(), args.size()}, b.attrs);
}

int64_t pairs_flops(const Shape& q, const Shape& k, int64_t a_pair) {
  return numel(leading(q)) * heads(q) * length(q) * length(k) * a_pair;
}

Op attention_row() {
  return {.name = "attention",
          .doc = "Attention of q (..., L, H, E) on k (..., S, H, E) and v (..., S, H, D), of H heads "
                 "each for itself; H and the axes in front broadcast: softmax(scale q @ k.mT) @ v "
                 "(..., L, H, D) and the logarithm (..., H, L) of the sum that the softmax divides "
                 "by. With is_causal, query i sees the keys j <= i "
                 "only, and what it does not see does not enter, were it NaN. No matrix (L, S) is "
                 "kept for the reverse sweep. A query without keys, or with scores of -inf only, "
                 "has the results 0 and -inf, and gradient 0.",
          .family = Family::fused,
          .inputs = {"q", "k", "v"},
          .params = attention_params,
          .prepare = prepare_attention,
          .infer = infer_attention,
          .kernel =
              [](const Call& c) {
                kernels::attention(c.in[0], c.in[1], c.in[2], how_of(c.attrs), c.out[0], c.out[1]);
              },
          .joint_adjoint =
              [](const Rule& r) {
                return apply_grad(r, r.g(0) ? r.g(0) : zeros(r.out_types[0]), r.g(1));
              },
          .tangent = attention_tangent,
          .batch = batch_attention,
          .flops =
              [](std::span<const Type> in, std::span<const Type>) {
                const Shape &k = in[1].shape, &v = in[2].shape;
                return pairs_flops(in[0].shape, k, 2 * k.back() + 2 * v.back() + 4);
              }};
}

Types infer_attention_grad(std::span<const Type> in, const Attrs& at) {
  const Types made = infer_attention(in.subspan(1, 3), at);
  const Shape &out = made[0].shape, &lse = made[1].shape;
  bool fits = in[0].shape == out && in[4].shape == out && in[5].shape == lse;
  if (in.size() > 6) fits = fits && in[6].shape == lse;
  if (!fits)
    fail(ErrorKind::shape, "attention_grad: g and out need the shape ", out, " and lse ", lse,
         "; got ", in[0].shape, ", ", in[4].shape, " and ", in[5].shape);
  return {in[1], in[2], in[3]};
}

Vars grad_meaning(std::span<const Var> in, const Attrs& at) {
  const Var g = by_head(in[0]), q = by_head(in[1]), k = by_head(in[2]), v = by_head(in[3]);
  const Var w = weights_of(q, k, in[5], at);
  Var drop = sum(chain_multiply(g, by_head(in[4])), {-1});
  if (in.size() > 6) drop = drop - in[6];
  const Var slopes = chain_matmul(g, matrix_transpose(v)) - expand_dims(drop, -1);
  const Var d = chain_multiply(slopes, w) * at.real("scale");
  return {by_head(chain_matmul(d, k)), by_head(chain_matmul(matrix_transpose(d), q)),
          by_head(chain_matmul(matrix_transpose(w), g))};
}

Op attention_grad_row() {
  return fused_outputs(
      {.name = "attention_grad",
       .doc = "The cotangents of q, k and v where g is that of the first result of attention and "
              "g_lse, if given, that of the second.",
       .inputs = {"g", "q", "k", "v", "out", "lse", "*g_lse"},
       .params = attention_params,
       .prepare =
           [](Vars& args, Attrs&) {
             static const Op row{.name = "attention_grad"};
             if (args.size() > 7)
               fail(ErrorKind::type, "attention_grad: takes at most 7 tensors; got ", args.size());
             for (std::size_t i = 0; i < 5; ++i)
               if (args[i].ndim() < 3 || args[0].ndim() < 3 ||
                   !(leading(args[i].shape()) == leading(args[0].shape())) ||
                   heads(args[i].shape()) != heads(args[0].shape()))
                 fail(ErrorKind::shape, "attention_grad: g, q, k, v and out need at least 3 axes and "
                      "the same leading ones and heads; got ", args[0].shape(), " and ", args[i].shape());
             promote_all(row, args, Domain::floats);
           },
       .infer = infer_attention_grad,
       .kernel =
           [](const Call& c) {
             kernels::attention_grad(c.in[0], {c.in[1], c.in[2], c.in[3], c.in[4], c.in[5]},
                                     c.in.size() > 6 ? &c.in[6] : nullptr, how_of(c.attrs), c.out[0],
                                     c.out[1], c.out[2]);
           },
       .batch = batch_attention,
       .flops =
           [](std::span<const Type> in, std::span<const Type>) {
             const Shape &k = in[2].shape, &v = in[3].shape;
             return pairs_flops(in[1].shape, k, 6 * k.back() + 4 * v.back() + 6);
           },
       .writes_rows_apart = true},
      grad_meaning);
}

}  // namespace

std::vector<Op> attention_rows() { return {attention_row(), attention_grad_row()}; }

}  // namespace wengert
