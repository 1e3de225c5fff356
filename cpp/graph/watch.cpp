#include "graph/watch.h"

#include <algorithm>
#include <cmath>

#include "graph/source.h"
#include "kernels/finite.h"

namespace wengert {
namespace {

thread_local bool on_here = false;
int threads_on = 0;      // under the interpreter's lock, as all below
KernelHook around = {};  // the hook that the watch stands before

// As it is printed: the sign of a NaN tells nothing.
double shown(double x) { return std::isnan(x) ? std::abs(x) : x; }

Ints index_of(int64_t place, const Shape& shape) {
  Ints index = shape;
  for (std::size_t axis = shape.size(); axis-- > 0; place /= shape[axis]) index[axis] = place % shape[axis];
  return index;
}

bool asked_for(const Op& op, const Call& call) {
  if (call.in.empty()) return true;
  return std::any_of(op.params.begin(), op.params.end(), [&](const Param& param) {
    const double* value = std::get_if<double>(&call.attrs.at(param.name.c_str()));
    return value && !std::isfinite(*value);
  });
}

// The inputs place by place of the output, if it depends on them so; else none.
Arrays beside(const Op& op, const Call& call, const Array& out) {
  Arrays ins;
  if (op.family == Family::elementwise)
    for (const Array& in : call.in) ins.push_back(in.broadcast_to(out.shape()));
  return ins;
}

// The first place of `out` that is not finite though its inputs are; -1: none.
int64_t made_at(const Op& op, const Call& call, const Array& out) {
  int64_t place = kernels::first_not_finite(out);
  if (place < 0) return -1;
  const bool inputs_finite = std::all_of(call.in.begin(), call.in.end(),
                                         [](const Array& in) { return kernels::first_not_finite(in) < 0; });
  if (inputs_finite) return place;
  const Arrays ins = beside(op, call, out);
  if (ins.size() == 0) return -1;
  for (; place < out.size(); ++place)
    if (!std::isfinite(kernels::element(out, place)) &&
        std::all_of(ins.begin(), ins.end(), [&](const Array& in) { return std::isfinite(kernels::element(in, place)); }))
      return place;
  return -1;
}

void run_watched(const Op& op, const Call& call) {
  around(op, call);
  if (on_here) check_numbers(op, call);
}

}  // namespace

bool watching() { return on_here; }

bool watch(bool on) {
  if (on == on_here) return on;
  on_here = on;
  if (on && threads_on++ == 0) around = std::exchange(kernel_hook(), {run_watched, 0});
  if (!on && --threads_on == 0) kernel_hook() = around;
  return !on;
}

void check_numbers(const Op& op, const Call& call) {
  for (const Array& out : call.out) {
    const int64_t place = made_at(op, call, out);
    if (place < 0 || asked_for(op, call)) continue;
    std::ostringstream from;
    const Arrays ins = beside(op, call, out);
    for (std::size_t i = 0; i < ins.size(); ++i)
      from << (i ? ", " : " (there: ") << shown(kernels::element(ins[i], place)) << (i + 1 == ins.size() ? ")" : "");
    fail(ErrorKind::numeric, op.name, ": must give finite numbers from finite ones under debug_nans; gave ",
         shown(kernels::element(out, place)), " at index ", index_of(place, out.shape()), " of its output ", out.type(),
         from.str(), ", at ", show_source(source_here()), ". Keep its inputs away from there (clip, where, an epsilon)");
  }
}

void rethrow_in_backward(const Error& error, const Node& node) {
  if (error.kind != ErrorKind::numeric) throw;
  fail(ErrorKind::numeric, error.what(), "; the backward pass of ", node.name(), ", recorded at ",
       show_source(node.source), ", was running");
}

}  // namespace wengert
