#include "ops/families.h"

#include <cmath>

#include "kernels/constants.h"
#include "kernels/copy.h"

namespace wengert {

std::function<int64_t(std::span<const Type>, std::span<const Type>)> flops_a_number(int64_t count) {
  return [count](std::span<const Type> in, std::span<const Type>) { return count * numel(in[0].shape); };
}

std::function<int(std::span<const Array>, bool)> neutral(double value, bool commutes, bool loosely) {
  return [=](std::span<const Array> known, bool to_the_bit) {
    for (int i = 1; i >= (commutes ? 0 : 1); --i) {
      const Array& x = known[std::size_t(i)];
      if (x.has_data() && !(to_the_bit && loosely && is_float(x.dtype())) && kernels::is_filled(x, value)) return 1 - i;
    }
    return -1;
  };
}

Types same_type(std::span<const Type> in) { return {in[0]}; }

namespace {

DType promoted(const Op& op, const Vars& args, Domain domain) {
  bool strong = false;
  DType wide = DType::bool_;
  for (const Var& x : args)
    if (!x->weak) {
      wide = strong ? promote(wide, x.dtype()) : x.dtype();
      strong = true;
    }
  // A Python number widens only across kinds: an int leaves floats and integers alone, a float makes
  // integers the default float32.
  for (const Var& x : args)
    if (x->weak) {
      if (!strong) wide = promote(wide, is_float(x.dtype()) ? DType::float32 : x.dtype());
      else if (is_float(x.dtype()) && !is_float(wide)) wide = DType::float32;
      else if (is_integer(x.dtype()) && wide == DType::bool_) wide = DType::int64;
    }
  if (domain == Domain::floats && !is_float(wide)) {
    if (wide == DType::bool_)
      fail(ErrorKind::dtype, op.name, ": needs numbers; got bool. Convert first: x.astype(wg.float32)");
    wide = DType::float32;
  }
  if (domain == Domain::numbers && wide == DType::bool_)
    fail(ErrorKind::dtype, op.name, ": needs numbers; got bool. Use the logical functions, or convert first: "
         "x.astype(wg.float32)");
  if (domain == Domain::integers && is_float(wide))
    fail(ErrorKind::dtype, op.name, ": needs integers or bool; got ", wide);
  return wide;
}

}  // namespace

void promote_all(const Op& op, Vars& args, Domain domain) {
  const DType wide = promoted(op, args, domain);
  for (Var& x : args)
    x = x->weak && (x.is_abstract() || x.dtype() != wide) ? from_number(op.name, x, wide) : astype(x, wide);
}

void broadcast_all(const Op& op, Vars& args) {
  // 0-d operands that nothing differentiates are left to the kernel.
  auto left = [](const Var& x) { return x.ndim() == 0 && !x->tracked && !x->tangents && !x.is_abstract(); };
  const Shape* common = nullptr;
  bool same = true;
  for (const Var& x : args) {
    if (left(x)) continue;
    if (!common) common = &x.shape();
    else same = same && x.shape() == *common;
  }
  if (same) return;
  Shape shape;
  for (const Var& x : args) shape = broadcast_shapes(op.name.c_str(), shape, x.shape());
  for (Var& x : args)
    if (!left(x) && !(x.shape() == shape)) x = broadcast_to(x, shape);
}

Types infer_elementwise(std::span<const Type> in, bool returns_bool) {
  Type type = in.back();
  for (const Type& x : in)
    if (x.shape.size() > type.shape.size()) type.shape = x.shape;
  if (returns_bool) type.dtype = DType::bool_;
  return {std::move(type)};
}

Vars batch_elementwise(const Batched& b) {
  Shape shape;  // of the unbatched result; 0-d constants stay as they are
  for (std::size_t i = 0; i < b.ins.size(); ++i) {
    Shape own = b.ins[i].shape();
    if (b.batched[i]) own.erase(0);
    if (own.size() > shape.size()) shape = own;
  }
  shape.insert(0, b.size);
  Vars args;
  for (std::size_t i = 0; i < b.ins.size(); ++i) {
    Var x = b.ins[i];
    if (b.batched[i]) {
      Shape padded = x.shape();  // the mapped axis stays in front of axes that broadcast
      while (padded.size() < shape.size()) padded.insert(1, 1);
      x = broadcast_to(reshape(x, padded), shape);
    } else if (x.ndim() > 0) {
      x = broadcast_to(x, shape);
    }
    args.push_back(std::move(x));
  }
  return apply_all(b.op, {args.data(), args.size()}, b.attrs);
}

Var stretched(const Batched& b, int i) {
  if (b.is_batched(i)) return b.in(i);
  Shape shape = b.in(i).shape();
  shape.insert(0, b.size);
  return broadcast_to(b.in(i), shape);
}

Op elementwise(std::string name, std::string doc, std::vector<std::string> inputs, Domain domain,
               const kernels::Tiles* tiles, bool returns_bool, std::vector<Partial> partials) {
  Op op{.name = std::move(name), .doc = std::move(doc), .family = Family::elementwise, .inputs = std::move(inputs)};
  op.tiles = tiles;
  // The row's name alone is captured: rows move into the table after they are made.
  op.prepare = [domain, row = Op{.name = op.name}](Vars& args, Attrs&) {
    promote_all(row, args, domain);
    broadcast_all(row, args);
  };
  op.infer = [returns_bool](std::span<const Type> in, const Attrs&) { return infer_elementwise(in, returns_bool); };
  op.kernel = [tiles](const Call& call) {
    kernels::run_tiles((*tiles)(call.in.back().dtype()), call.in, call.out[0]);
  };
  op.batch = batch_elementwise;
  bool differentiable = false;
  for (const Partial& p : partials) differentiable |= bool(p.scale);
  if (!differentiable) return op;
  for (const Partial& p : partials) {
    Adjoint adjoint{.rule = {}, .saves_in = p.saves_in, .saves_out = p.saves_out};
    if (p.scale) adjoint.rule = [scale = p.scale](const Rule& r) { return scale(r, r.g()); };
    op.adjoints.push_back(std::move(adjoint));
  }
  op.tangent = [partials](const Rule& r) {
    Var dy;
    for (std::size_t i = 0; i < partials.size(); ++i)
      if (r.dxs[i] && partials[i].scale) {
        Var term = partials[i].scale(r, r.dxs[i]);
        dy = dy ? add(dy, term) : term;
      }
    return Vars{dy};
  };
  return op;
}

Op linear(Op row, uint32_t linear_in) {
  row.family = Family::linear;
  row.tangent = [linear_in](const Rule& r) {
    Vars args;
    bool any = false;
    for (std::size_t i = 0; i < r.ins.size(); ++i) {
      const bool passes = !(linear_in >> std::min<std::size_t>(i, 31) & 1u);
      any |= !passes && r.dxs[i];
      args.push_back(passes ? r.ins[i] : r.dxs[i] ? r.dxs[i] : zeros_like(r.ins[i]));
    }
    if (!any) return Vars{Var()};
    return apply_all(r.op, {args.data(), args.size()}, r.attrs);
  };
  return row;
}

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

void to_floats(const char* name, Vars& args) {
  bool same = is_float(args[0].dtype());
  for (const Var& x : args) same = same && x.dtype() == args[0].dtype();
  if (!same) promote_all(Op{.name = name}, args, Domain::floats);
}

Var call(const Op& op, std::initializer_list<Var> inputs, const Attrs& attrs) {
  return apply(op, {inputs.begin(), inputs.size()}, attrs);
}

Op fused(Op row, std::function<Var(std::span<const Var>, const Attrs&)> meaning) {
  row.family = Family::fused;
  if (!row.joint_adjoint && row.adjoints.empty())
    row.joint_adjoint = [meaning](const Rule& r) {
      return pull_back([&](std::span<const Var> x) { return meaning(x, r.attrs); }, r.ins, r.g());
    };
  if (!row.tangent)
    row.tangent = [meaning](const Rule& r) {
      return Vars{push_forward([&](std::span<const Var> x) { return meaning(x, r.attrs); }, r.ins, r.dxs)};
    };
  return row;
}

namespace {

// Several outputs as one vector, and back.
Var joined(const Vars& parts) {
  Vars flat;
  for (const Var& x : parts) flat.push_back(reshape(x, {numel(x.shape())}));
  return concat({flat.data(), flat.size()}, 0);
}
Vars parted(const Var& flat, std::span<const Type> types) {
  Vars out;
  int64_t at = 0;
  for (const Type& type : types) {
    const int64_t size = numel(type.shape);
    out.push_back(reshape(slice(flat, {at}, {size}, {1}), type.shape));
    at += size;
  }
  return out;
}

}  // namespace

Op fused_outputs(Op row, std::function<Vars(std::span<const Var>, const Attrs&)> meaning) {
  row.family = Family::fused;
  row.joint_adjoint = [meaning](const Rule& r) {
    Vars gs;
    for (std::size_t i = 0; i < r.out_types.size(); ++i)
      gs.push_back(r.gs[i] ? r.gs[i] : zeros(r.out_types[i]));
    return pull_back([&](std::span<const Var> x) { return joined(meaning(x, r.attrs)); }, r.ins, joined(gs));
  };
  row.tangent = [meaning](const Rule& r) {
    const Var dy = push_forward([&](std::span<const Var> x) { return joined(meaning(x, r.attrs)); }, r.ins, r.dxs);
    return dy ? parted(dy, r.out_types) : Vars(r.out_types.size());
  };
  return row;
}

}  // namespace wengert
