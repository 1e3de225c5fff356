// What an operation is: one row of the table. Everything else (bindings, stubs, printing, hashing,
// every transform) is read off the row.
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/reduce.h"
#include "kernels/tile.h"
#include "ops/var.h"

namespace wengert {

struct Op;
struct Program;  // program/program.h

// What a derivative rule sees of the node it differentiates. Rules only emit operations, so the
// result of a sweep can be swept again.
struct Rule {
  const Op& op;
  const Attrs& attrs;
  std::span<const Type* const> in_types;
  std::span<const Type> out_types;
  std::span<const Var> ins, outs;  // null where the row does not save the value
  std::span<const Var> gs;         // reverse: cotangents of the outputs, null = structural zero
  std::span<const Var> dxs;        // forward: tangents of the inputs, null = structural zero
  int index = 0;                   // reverse: the argument whose cotangent is asked for
  std::span<const bool> wanted = {};  // reverse, all at once: whose are

  const Var& in(int i) const { return ins[std::size_t(i)]; }
  const Var& out(int i = 0) const { return outs[std::size_t(i)]; }
  const Var& g(int i = 0) const { return gs[std::size_t(i)]; }
  const Var& dx(int i = 0) const { return dxs[std::size_t(i)]; }
  const Shape& shape(int i = 0) const { return in_types[std::size_t(i)]->shape; }
  DType dtype(int i = 0) const { return in_types[std::size_t(i)]->dtype; }
};

// The cotangent of one argument, and which values it reads: a node saves only those.
struct Adjoint {
  std::function<Var(const Rule&)> rule = {};  // empty: no derivative (indices, conditions)
  uint32_t saves_in = 0;                 // bit i: the value of input i
  bool saves_out = false;
};
inline constexpr uint32_t saves_all = ~0u;

// The inputs of an op under vmap: `batched` ones carry the mapped axis in front. The rule returns
// outputs that all carry it in front.
struct Batched {
  const Op& op;
  const Attrs& attrs;
  std::span<const Var> ins;
  std::span<const bool> batched;
  int64_t size;

  const Var& in(int i) const { return ins[std::size_t(i)]; }
  bool is_batched(int i) const { return batched[std::size_t(i)]; }
};

struct Call {
  std::span<const Array> in;
  std::span<Array> out;  // allocated; contiguous, or rows of such where the row `writes_rows_apart`
  const Attrs& attrs;
};

// What rewrites may assume of a row.
struct Laws {
  // The operand that the result equals, given those that are constant (the others have no storage), or
  // -1; where not `to_the_bit`, but for the sign of a zero.
  std::function<int(std::span<const Array> known, bool to_the_bit)> passes = {};
  bool involution = false;  // op(op(x)) is x
  bool scales = false;      // op(g, ...) is chain_multiply(g, op(1, ...)), to the bit
  bool sums = false;        // op(a, b) is a + b
  bool negates = false;     // op(x) is -x
  bool turns = false;       // of two matrices: the transpose of op(a, b) is op(b', a')
  bool odd = false;         // op(-a, b) and op(a, -b) are -op(a, b), but for the sign of a zero
  const char* with_negative = nullptr;  // the row that gives op(a, -b) for a and b
  // Of a row that puts x into zeros, the name of the one that adds x there to a base: base + op(x) is
  // placed(base, x), but for the sign of a zero.
  const char* placed = nullptr;
  // An elementwise row, and the one that gives it of this row's result, in one pass and to the bit. A row of two
  // arguments commutes, and the other one is the one numbered `third` of `both`. Where `sums`, `both` has one more
  // result: the sum of the first over all axes but the last, added up in an order of its own.
  struct Behind {
    const char *row, *both;
    bool (*pays)(std::span<const Type> in) = nullptr;  // or always
    bool sums = false;
    std::size_t third = 2;
  };
  std::vector<Behind> behind = {};
  // Of a row that updates parameters in turn (ops/optimise.h), the same for numbers that lie side by side:
  // each tensor holds one number a parameter.
  std::shared_ptr<const Op> by_number = {};
};

enum class Family { elementwise, linear, bilinear, reduction, general, fused };

struct Op {
  std::string name = {};
  std::string doc = {};
  Family family = Family::general;
  std::vector<std::string> inputs = {};  // names; a last one that starts with '*' takes any number
  Schema params = {};

  // Completes attributes, promotes dtypes and broadcasts shapes, by emitting casts and broadcasts.
  std::function<void(Vars&, Attrs&)> prepare = {};
  std::function<Types(std::span<const Type>, const Attrs&)> infer = {};
  // An output that shares the input's bytes, or one without storage where that cannot be: then the
  // kernel runs. A row has a kernel, a view, or both.
  std::function<Array(const Array&, const Attrs&)> view = {};
  std::function<void(const Call&)> kernel = {};
  // In place of both, for an op whose output types only its computation tells.
  std::function<Arrays(std::span<const Array>)> evaluate = {};

  std::vector<Adjoint> adjoints = {};  // one an input; the last serves the variadic rest
  // Or all at once, where they share work. A row with both saves what the adjoints read.
  std::function<Vars(const Rule&)> joint_adjoint = {};
  std::size_t reads_outs_from = 0;  // the outputs that joint_adjoint reads: from this one on
  std::function<Vars(const Rule&)> tangent = {};        // tangents of the outputs
  std::function<Vars(const Batched&)> batch = {};
  const kernels::Tiles* tiles = nullptr;  // elementwise rows: what fusion runs
  std::optional<kernels::Fold> fold = {};  // of x over the attribute `axis`: what may end a fused group
  // An elementwise row that shares most of this one's work, and what runs both: of the same argument, or one
  // that scales (see Laws) of 1 and that argument.
  std::string twin = {};
  const kernels::TwinTiles* twin_tiles = nullptr;
  // Arithmetic operations on these types. A row that does not say has its family's count: one a
  // number of the result (elementwise) or of the input (reductions), none for moves.
  std::function<int64_t(std::span<const Type> in, std::span<const Type> out)> flops = {};
  // The input whose memory an output may take over, or -1; the kernel copes with both.
  std::function<int(int output, std::size_t inputs, const Attrs&)> overwrites = {};
  bool writes_part = false;  // over its first input it writes no more than the others have
  Laws laws = {};
  bool converts = false;  // takes a Python number as it is, of whatever dtype
  // Applied in this one's place where an input wants a gradient: ops that must prepare for it. Gives nothing where
  // this one is prepared.
  std::function<Vars(std::span<const Var>)> followed = {};
  std::weak_ptr<const Op> self = {};  // of an op that is no row of the table: nodes keep it alive
  bool joins = false;                 // puts its inputs one after the other along the attribute `axis`
  // Its kernel writes outputs of any strides but the last, which is 1: they may lie where they are joined.
  bool writes_rows_apart = false;
  bool packs = false;                 // copies single numbers side by side; a run may do so by their addresses
  bool is_long = false;     // a loop: takes long, however few numbers it reads
  bool calls_out = false;   // a loop whose body computes in Python
  bool may_raise = false;   // for some numbers
  // Of a row that raises for indices out of bounds, which are its inputs from `first` on: what they are held to, each to
  // the size of an axis, or one to several numbers. Where the same indices have been held to the same before, it does
  // not raise. It changes nothing before it raises.
  struct Bounds {
    std::size_t first = 0;
    Ints (*of)(std::span<const Type> in, std::span<const Type> out, const Attrs&) = nullptr;
    bool passes = false;  // its result is the indices
  } bounds = {};
  const Program* body = nullptr;      // of an op that stands for a program; where it runs, its steps take its place

  // Not to be carried out where its result is not wanted.
  bool stays() const { return may_raise || is_long || calls_out || evaluate; }
  bool variadic() const { return !inputs.empty() && inputs.back()[0] == '*'; }
  bool differentiable() const { return joint_adjoint || !adjoints.empty(); }
  const Adjoint& adjoint(std::size_t i) const { return adjoints[std::min(i, adjoints.size() - 1)]; }
};

// The values that the adjoints of the tracked inputs read.
struct Reads {
  uint32_t ins = 0;
  bool outs = false;
  bool in(std::size_t i) const { return i >= 32 ? ins == saves_all : (ins >> i & 1u) != 0; }
};
template <class F>
Reads reads_of(const Op& op, std::size_t inputs, const F& is_tracked) {
  if (op.joint_adjoint && op.adjoints.empty()) return {saves_all, true};
  Reads out;
  for (std::size_t i = 0; i < inputs; ++i) {
    if (!is_tracked(i)) continue;
    out.ins |= op.adjoint(i).saves_in;
    out.outs |= op.adjoint(i).saves_out;
  }
  return out;
}

// The one door (graph/apply.cpp): every operation from Python, from a rule or from a replay. With
// concrete inputs it computes now; with an abstract one it only appends to the trace.
Vars apply_all(const Op& op, std::span<const Var> inputs, Attrs attrs = {});
Var apply(const Op& op, std::span<const Var> inputs, Attrs attrs = {});

// Derivatives of a composition, for rows that state their meaning in other operations (defined in
// sweeps/): the cotangents of the inputs given that of f's output, and the tangent of its output.
using Composition = std::function<Var(std::span<const Var>)>;
Vars pull_back(const Composition& f, std::span<const Var> at, const Var& g);
Var push_forward(const Composition& f, std::span<const Var> at, std::span<const Var> tangents);

// ops/registry.cpp: the table, in the order of its files. A row with a missing rule or a duplicate
// name fails when the table is made.
const std::vector<Op>& all_ops();
const Op& find_op(const std::string& name);
int64_t count_flops(const Op& op, std::span<const Type> in, std::span<const Type> out);
Attrs make_attrs(const Op& op, std::vector<std::pair<std::string, Attr>> given);

}  // namespace wengert
