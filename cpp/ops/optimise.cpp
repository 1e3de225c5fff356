// Rows that train: the update of an optimiser as an operation, with results where the eager step
// (bindings/optim.cpp) changes bytes in place, and the norm that gradients are clipped by. The
// formulas are those of kernels/optimise.h. No row has a derivative.
#include "kernels/optimise.h"

#include <array>
#include <cmath>

#include "kernels/copy.h"
#include "kernels/denormals.h"
#include "ops/families.h"
#include "ops/optimise.h"
#include "ops/rows.h"

namespace wengert {
namespace {

constexpr std::size_t max_states = 3;

using Layout = UpdateLayout;

// The input that output o is the new value of.
std::size_t renewed(const Layout& layout, std::size_t o) {
  if (o == 0) return 1;
  const std::size_t k = (o - 1) / (1 + layout.states), s = (o - 1) % (1 + layout.states);
  return s == 0 ? layout.in_p(k) : layout.in_state(k, s - 1);
}

Types infer_update(const std::string& name, std::span<const Type> in, const Attrs& at,
                   int64_t fewest, int64_t most) {
  const int64_t states = at.integer("states");
  if (states < fewest || states > most)
    fail(ErrorKind::argument, name, ": states must be from ", fewest, " to ", most, "; got ",
         states);
  const Layout layout = update_layout(at);
  if (in.size() != layout.inputs())
    fail(ErrorKind::argument, name, ": ", layout.params, " parameters with ", states,
         " states each take ", layout.inputs(), " tensors: lr, counts, and ", 2 + states,
         " a parameter; got ", in.size());
  if (!(in[0] == Type{DType::float64, {}}))
    fail(ErrorKind::dtype, name, ": lr must be float64 (); got ", in[0]);
  if (in[1].dtype != DType::int64 || in[1].shape.size() != 1)
    fail(ErrorKind::shape, name, ": counts must be int64 (n,); got ", in[1]);
  std::vector<bool> taken(std::size_t(in[1].shape[0]));
  for (int64_t place : at.ints("which")) {
    if (place < 0 || place >= in[1].shape[0])
      fail(ErrorKind::bounds, name, ": which must be places in counts ", in[1].shape, "; got ",
           place);
    if (taken[std::size_t(place)])
      fail(ErrorKind::argument, name, ": which must be distinct places; got ", place, " twice");
    taken[std::size_t(place)] = true;
  }
  Types out{in[1]};
  for (std::size_t k = 0; k < layout.params; ++k) {
    const Type& p = in[layout.in_p(k)];
    if (!is_float(p.dtype))
      fail(ErrorKind::dtype, name, ": parameter ", k, " must be float32 or float64; got ", p);
    for (std::size_t i = layout.in_g(k); i < layout.in_p(k + 1); ++i)
      if (!(in[i] == p))
        fail(ErrorKind::shape, name, ": the ", i == layout.in_g(k) ? "gradient" : "state",
             " of parameter ", k, " must be like it, ", p, "; got ", in[i]);
    for (std::size_t s = 0; s <= layout.states; ++s) out.push_back(p);
  }
  return out;
}

struct Bytes {
  const std::byte *begin, *end;
  explicit Bytes(const Array& x)
      : begin(static_cast<const std::byte*>(x.raw())),
        end(begin + x.size() * itemsize(x.dtype())) {}
};

// The output that is the new value of input i, or -1.
std::ptrdiff_t renewal(const Layout& layout, std::size_t i) {
  if (i < 2) return i == 0 ? -1 : 0;
  const std::size_t k = (i - 2) / (2 + layout.states), s = (i - 2) % (2 + layout.states);
  if (s == 1) return -1;
  return std::ptrdiff_t(s == 0 ? layout.out_p(k) : layout.out_state(k, s - 2));
}

// The inputs as they may be read while the outputs are written, contiguous: one is copied where it
// lies in the memory of an output other than its own new value. The rate is read before.
class Readable {
 public:
  Readable(const Call& call, const Layout& layout) : call_(call) {
    if (!plain(call, layout)) copy_overlapping(call, layout);
  }
  bool is_plain() const { return at_.empty(); }
  const Array& operator[](std::size_t i) const { return at_.empty() ? call_.in[i] : *at_[i]; }

 private:
  // Whether each new value replaces the old one, and the gradients lie together and apart from all.
  static bool plain(const Call& call, const Layout& layout) {
    if (call.in[1].raw() != call.out[0].raw()) return false;
    const std::byte *first = nullptr, *last = nullptr;  // around the gradients
    for (std::size_t k = 0; k < layout.params; ++k) {
      const std::size_t p = layout.in_p(k), out = layout.out_p(k);
      const Array& g = call.in[layout.in_g(k)];
      if (call.in[p].raw() != call.out[out].raw() || !g.is_contiguous()) return false;
      for (std::size_t s = 0; s < layout.states; ++s)
        if (call.in[p + 2 + s].raw() != call.out[out + 1 + s].raw()) return false;
      const Bytes own(g);
      if (own.begin == own.end) continue;
      first = first ? std::min(first, own.begin) : own.begin;
      last = std::max(last, own.end);
    }
    const auto* counts = static_cast<const std::byte*>(call.out[0].raw());
    if (counts < last && first < counts + call.out[0].size() * int64_t(sizeof(int64_t)))
      return false;
    for (std::size_t k = 0; k < layout.params; ++k) {
      const std::size_t out = layout.out_p(k);
      const Bytes own(call.out[out]);
      for (std::size_t s = 0; s <= layout.states; ++s) {
        const auto* y = static_cast<const std::byte*>(call.out[out + s].raw());
        if (y < last && first < y + (own.end - own.begin)) return false;
      }
    }
    return true;
  }

  void copy_overlapping(const Call& call, const Layout& layout) {
    std::vector<Bytes> written;
    written.reserve(call.out.size());
    for (const Array& y : call.out)
      if (y.size() > 0) written.emplace_back(y);
    std::sort(written.begin(), written.end(),
              [](const Bytes& a, const Bytes& b) { return a.begin < b.begin; });
    auto overlaps = [&](const Bytes& x) {
      auto after = std::partition_point(written.begin(), written.end(),
                                        [&](const Bytes& y) { return y.begin < x.end; });
      return after != written.begin() && std::prev(after)->end > x.begin;
    };
    at_.reserve(call.in.size());
    for (std::size_t i = 0; i < call.in.size(); ++i) {
      const Array& x = call.in[i];
      const std::ptrdiff_t own = renewal(layout, i);
      const bool in_place = own >= 0 && x.raw() == call.out[std::size_t(own)].raw();
      if (x.is_contiguous() && (in_place || x.size() == 0 || !overlaps(Bytes(x)))) {
        at_.push_back(&x);
      } else {
        copies_.reserve(call.in.size());  // so that they stay where they are
        at_.push_back(&copies_.emplace_back(kernels::contiguous_copy(x)));
      }
    }
  }

  const Call& call_;
  std::vector<const Array*> at_;  // none: as they are
  std::vector<Array> copies_;
};

template <class T>
struct Update {
  T* p;
  const T* g;
  std::array<T*, max_states> states;
  int64_t n, count;  // elements, and updates including this one
};

double rate_of(const Call& call) { return *call.in[0].data<double>(); }

// The new values, so far like the old ones.
void renew_all(const Call& call, const Layout& layout, const Readable& in) {
  if (in.is_plain()) return;  // they are there
  auto renew = [&](std::size_t i, std::size_t o) {
    if (in[i].raw() != call.out[o].raw()) kernels::copy(in[i], call.out[o]);
  };
  renew(1, 0);
  for (std::size_t k = 0; k < layout.params; ++k) {
    renew(layout.in_p(k), layout.out_p(k));
    for (std::size_t s = 0; s < layout.states; ++s)
      renew(layout.in_state(k, s), layout.out_state(k, s));
  }
}

// update(Update<T>) for each parameter.
template <class F>
void update_all(const Call& call, const F& update) {
  const Layout layout = update_layout(call.attrs);
  const Ints& which = call.attrs.ints("which");
  const Readable in(call, layout);
  const kernels::FlushDenormals flush;
  renew_all(call, layout, in);
  int64_t* counts = call.out[0].data<int64_t>();
  auto one = [&]<class T>(TypeTag<T>, std::size_t k) {
    const Array& p = call.out[layout.out_p(k)];
    Update<T> u{
        p.data<T>(), in[layout.in_g(k)].template data<T>(), {}, p.size(), ++counts[which[k]]};
    for (std::size_t s = 0; s < layout.states; ++s)
      u.states[s] = call.out[layout.out_state(k, s)].data<T>();
    update(u);
  };
  for (std::size_t k = 0; k < layout.params; ++k) {
    if (call.out[layout.out_p(k)].dtype() == DType::float32)
      one(TypeTag<float>{}, k);
    else
      one(TypeTag<double>{}, k);
  }
}

// The same where number k of each tensor belongs to parameter k: runs of equal counts at once.
template <class F>
void update_numbers(const Call& call, const F& update) {
  const Layout layout{update_layout(call.attrs).states, 1};
  const Ints& which = call.attrs.ints("which");
  const Readable in(call, layout);
  const kernels::FlushDenormals flush;
  renew_all(call, layout, in);
  int64_t* counts = call.out[0].data<int64_t>();
  const auto n = int64_t(which.size());
  const bool alike = kernels::advance_counts(counts, which.data(), n);
  auto all = [&]<class T>(TypeTag<T>) {
    for (int64_t first = 0, last = 0; first < n; first = last) {
      const int64_t count = counts[which[std::size_t(first)]];
      if (alike) last = n;
      while (last < n && counts[which[std::size_t(last)]] == count) ++last;
      Update<T> u{call.out[1].data<T>() + first,
                  in[layout.in_g(0)].template data<T>() + first,
                  {},
                  last - first,
                  count};
      for (std::size_t s = 0; s < layout.states; ++s)
        u.states[s] = call.out[layout.out_state(0, s)].data<T>() + first;
      update(u);
    }
  };
  if (call.out[1].dtype() == DType::float32)
    all(TypeTag<float>{});
  else
    all(TypeTag<double>{});
}

struct EachTensor {
  template <class F>
  void operator()(const Call& call, const F& update) const { update_all(call, update); }
};
struct EachNumber {
  template <class F>
  void operator()(const Call& call, const F& update) const { update_numbers(call, update); }
};

// Example k of the inputs: a slice of those that are mapped.
Vars example(const Batched& b, int64_t k) {
  Vars args(b.ins.begin(), b.ins.end());
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (!b.batched[i]) continue;
    Shape own = args[i].shape(), one = own;
    own.erase(0);
    one[0] = 1;
    Ints starts(one.size(), 0);
    starts[0] = k;
    args[i] = reshape(slice(args[i], starts, one, Ints(one.size(), 1)), own);
  }
  return args;
}

// Elementwise in the tensors. Where each example has a rate or counts of its own, an update each.
Vars batch_update(const Batched& b) {
  if (!b.is_batched(0) && !b.is_batched(1)) {
    Vars args{b.in(0), b.in(1)};
    for (std::size_t i = 2; i < b.ins.size(); ++i) args.push_back(stretched(b, int(i)));
    Vars outs = apply_all(b.op, {args.data(), args.size()}, b.attrs);
    outs[0] = broadcast_to(outs[0], {b.size, outs[0].shape()[0]});
    return outs;
  }
  const Layout layout = update_layout(b.attrs);
  std::vector<Vars> parts(layout.outputs());
  for (int64_t k = 0; k < b.size; ++k) {
    const Vars args = example(b, k);
    const Vars outs = apply_all(b.op, {args.data(), args.size()}, b.attrs);
    for (std::size_t o = 0; o < outs.size(); ++o) parts[o].push_back(expand_dims(outs[o], 0));
  }
  Vars stacked;
  for (std::size_t o = 0; o < parts.size(); ++o)
    stacked.push_back(b.size > 0 ? concat({parts[o].data(), parts[o].size()}, 0)
                                 : zeros_like(stretched(b, int(renewed(layout, o)))));
  return stacked;
}

// `step(call, each)` hands the formula of an update to `each`.
template <class Step>
Op update_row(std::string name, std::string doc, Schema params, int64_t fewest, int64_t most,
              std::function<void(const Attrs&)> check, const Step& step, int64_t flops_a_number) {
  params.push_back({"which", AttrKind::ints, {}});
  params.push_back({"states", AttrKind::integer, fewest});
  Op op{.name = name,
        .doc = std::move(doc) +
               " The tensors are p, g and the states of each parameter, all of one shape and "
               "float dtype; lr is float64 (); counts, int64 (n,), holds the updates so far, "
               "those of parameter k at which[k]. Returns counts, then p and the states of each.",
        .inputs = {"lr", "counts", "*tensors"},
        .params = std::move(params)};
  op.infer = [=](std::span<const Type> in, const Attrs& at) {
    if (check) check(at);
    return infer_update(name, in, at, fewest, most);
  };
  op.kernel = [step](const Call& call) { step(call, EachTensor{}); };
  op.batch = batch_update;
  op.flops = [flops_a_number](std::span<const Type> in, std::span<const Type> out) {
    const std::size_t count = in.size() - 1 - out.size();  // each has one input more: g
    int64_t elements = 0;
    for (std::size_t k = 0; k < count; ++k)
      elements += numel(in[2 + k * ((in.size() - 2) / count)].shape);
    return flops_a_number * elements;
  };
  op.overwrites = [](int output, std::size_t, const Attrs& at) {
    return int(renewed(update_layout(at), std::size_t(output)));
  };
  Op by_number{.name = name, .inputs = op.inputs};
  by_number.kernel = [step](const Call& call) { step(call, EachNumber{}); };
  by_number.flops = op.flops;
  by_number.overwrites = op.overwrites;  // one tensor of each kind: the first parameter's
  op.laws.by_number = std::make_shared<const Op>(std::move(by_number));
  return op;
}

Param number(const char* name, double fallback) { return {name, AttrKind::real, fallback}; }
Param flag(const char* name) { return {name, AttrKind::boolean, false}; }

template <class Each>
void sgd(const Call& call, const Each& each) {
  const Attrs& at = call.attrs;
  kernels::SgdStep step{.lr = rate_of(call),
                        .momentum = at.real("momentum"),
                        .dampening = at.real("dampening"),
                        .weight_decay = at.real("weight_decay"),
                        .nesterov = at.flag("nesterov"),
                        .maximize = at.flag("maximize")};
  each(call, [&]<class T>(const Update<T>& u) {
    step.first = u.count == 1;
    kernels::sgd_update<T>(u.p, u.g, u.states[0], u.n, step);
  });
}

template <class Each>
void adam(const Call& call, const Each& each) {
  const Attrs& at = call.attrs;
  kernels::AdamStep step{.lr = rate_of(call),
                         .beta1 = at.real("beta1"),
                         .beta2 = at.real("beta2"),
                         .eps = at.real("eps"),
                         .weight_decay = at.real("weight_decay"),
                         .decoupled = at.flag("decoupled"),
                         .maximize = at.flag("maximize")};
  each(call, [&]<class T>(const Update<T>& u) {
    step.set_count(u.count);
    kernels::adam_update<T>(u.p, u.g, u.states[0], u.states[1], u.states[2], u.n, step);
  });
}

template <class Each>
void rmsprop(const Call& call, const Each& each) {
  const Attrs& at = call.attrs;
  const bool centered = at.flag("centered");
  const kernels::RmsPropStep step{.lr = rate_of(call),
                                  .alpha = at.real("alpha"),
                                  .eps = at.real("eps"),
                                  .weight_decay = at.real("weight_decay"),
                                  .momentum = at.real("momentum"),
                                  .maximize = at.flag("maximize")};
  each(call, [&]<class T>(const Update<T>& u) {
    kernels::rmsprop_update<T>(u.p, u.g, u.states[0], centered ? u.states[1] : nullptr,
                               step.momentum != 0 ? u.states[centered ? 2 : 1] : nullptr, u.n,
                               step);
  });
}

void check_rmsprop(const Attrs& at) {
  const int64_t needed = 1 + at.flag("centered") + (at.real("momentum") != 0);
  if (at.integer("states") != needed)
    fail(ErrorKind::argument, "rmsprop_update: needs states=", needed,
         " with centered=", at.flag("centered") ? "True" : "False",
         ", momentum=", at.real("momentum"), "; got states=", at.integer("states"));
}

double squares_of(const Array& given) {
  const Array x = kernels::contiguous(given);
  return x.dtype() == DType::float32 ? kernels::sum_of_squares(x.data<float>(), x.size())
                                     : kernels::sum_of_squares(x.data<double>(), x.size());
}

Vars batch_norm(const Batched& b) {
  Var squares;
  for (std::size_t i = 0; i < b.ins.size(); ++i) {
    const Var x = square(astype(stretched(b, int(i)), DType::float64));
    Ints axes;
    for (int axis = 1; axis < x.ndim(); ++axis) axes.push_back(axis);
    const Var part = axes.empty() ? x : sum(x, axes);
    squares = squares ? squares + part : part;
  }
  return {sqrt(squares)};
}

Op norm_row() {
  Op op{.name = "global_norm",
        .doc =
            "The Euclidean norm of all elements of the tensors together, float64 (). The squares "
            "are taken in the dtype of each tensor and may overflow there.",
        .inputs = {"*tensors"}};
  op.infer = [](std::span<const Type> in, const Attrs&) {
    for (const Type& x : in)
      if (!is_float(x.dtype))
        fail(ErrorKind::dtype, "global_norm: takes float32 and float64 tensors; got ", x);
    return Types{{DType::float64, {}}};
  };
  op.kernel = [](const Call& call) {
    double squares = 0;
    for (const Array& x : call.in) squares += squares_of(x);
    *call.out[0].data<double>() = std::sqrt(squares);
  };
  op.batch = batch_norm;
  op.flops = [](std::span<const Type> in, std::span<const Type>) {
    int64_t count = 0;
    for (const Type& x : in) count += 2 * numel(x.shape);
    return count;
  };
  return op;
}

}  // namespace

std::vector<Op> optimise_rows() {
  return {
      update_row(
          "sgd_update",
          "A step of gradient descent, as optim.SGD takes it: p - lr d with d = g + "
          "weight_decay p; with one state, the momentum buffer, d goes through it.",
          {number("momentum", 0), number("dampening", 0), number("weight_decay", 0),
           flag("nesterov"), flag("maximize")},
          0, 1,
          [](const Attrs& at) {
            if (at.real("momentum") != 0 && at.integer("states") == 0)
              fail(ErrorKind::argument,
                   "sgd_update: momentum needs states=1; got momentum=", at.real("momentum"),
                   ", states=0");
          },
          [](const Call& call, const auto& each) { sgd(call, each); }, 8),
      update_row("adam_update",
                 "A step of Adam, or with decoupled of AdamW, as optim.Adam takes it; the states "
                 "are the running means of g and g**2, and with a third (AMSGrad) the largest of "
                 "the latter.",
                 {number("beta1", 0.9), number("beta2", 0.999), number("eps", 1e-8),
                  number("weight_decay", 0), flag("decoupled"), flag("maximize")},
                 2, 3, {}, [](const Call& call, const auto& each) { adam(call, each); }, 18),
      update_row("rmsprop_update",
                 "A step of optim.RMSProp; the states are the running mean of g**2, with centered "
                 "that of g, and with momentum the buffer.",
                 {number("alpha", 0.99), number("eps", 1e-8), number("weight_decay", 0),
                  number("momentum", 0), flag("centered"), flag("maximize")},
                 1, 3, check_rmsprop,
                 [](const Call& call, const auto& each) { rmsprop(call, each); }, 12),
      norm_row(),
  };
}

}  // namespace wengert
