// Chooses the fold of a reduction by dtype, and splits the axes of its input.
#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/reduce_walk.h"

namespace wengert::kernels {
namespace folds {

Walk make_walk(const Array& x, const Ints& axes, bool ordered) {
  struct Axis {
    int64_t size, stride;
  };
  Walk walk;
  SmallVector<Axis, 6> reduced;
  std::size_t next = 0;
  for (int i = 0; i < x.ndim(); ++i) {
    int64_t size = x.shape()[std::size_t(i)], stride = x.strides()[std::size_t(i)];
    const bool is_reduced = next < axes.size() && axes[next] == i;
    next += is_reduced;
    (is_reduced ? walk.count : walk.outputs) *= size;
    if (size == 1) continue;
    if (is_reduced) {
      if (!ordered && stride < 0) {
        walk.offset += (size - 1) * stride;
        stride = -stride;
      }
      reduced.push_back({size, stride});
    } else if (!walk.kept.empty() && walk.kept_strides.back() == stride * size) {
      walk.kept.back() *= size;
      walk.kept_strides.back() = stride;
    } else {
      walk.kept.push_back(size);
      walk.kept_strides.push_back(stride);
    }
  }
  const auto outside = [](const Axis& a, const Axis& b) { return a.stride > b.stride; };
  if (!ordered && !std::is_sorted(reduced.begin(), reduced.end(), outside))  // a sort takes memory
    std::stable_sort(reduced.begin(), reduced.end(), outside);
  for (const auto& [size, stride] : reduced) {
    if (!walk.reduced.empty() && walk.reduced_strides.back() == stride * size) {
      walk.reduced.back() *= size;
      walk.reduced_strides.back() = stride;
    } else {
      walk.reduced.push_back(size);
      walk.reduced_strides.push_back(stride);
    }
  }
  return walk;
}

namespace {

// f(tag of the C++ type): bool is read as bytes.
template <class F>
void for_numbers(DType dtype, F&& f) {
  dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    f(TypeTag<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>>{});
  });
}
template <class F>
void run(const Array& x, const Ints& axes, const Array& out, Ending ending = {}) {
  run_fold<F>(x, make_walk(x, axes, F::ordered), static_cast<typename F::Out*>(out.raw()), ending);
}

// The fold of integers in 64 bits, as f makes an element of `out` of it.
template <class F, class R, class Map>
void run_mapped(const Array& x, const Ints& axes, const Array& out, Map f) {
  const Walk walk = make_walk(x, axes, false);
  std::vector<int64_t> wide(std::size_t(walk.outputs));
  run_fold<F>(x, walk, wide.data());
  std::transform(wide.begin(), wide.end(), out.data<R>(), f);
}

template <template <class, class> class Fold>
void run_accumulating(const Array& x, const Ints& axes, const Array& out) {
  for_numbers(x.dtype(), [&]<class T>(TypeTag<T>) {
    if constexpr (std::is_floating_point_v<T>)
      run<Fold<T, T>>(x, axes, out);
    else if (out.dtype() == DType::int64)
      run<Fold<T, int64_t>>(x, axes, out);
    else
      run_mapped<Fold<T, int64_t>, T>(x, axes, out, [](int64_t a) { return T(a); });
  });
}

}  // namespace
}  // namespace folds

using namespace folds;

void reduce(Fold fold, const Array& x, const Ints& axes, const Array& out) {
  int64_t count = 1;
  for (int64_t axis : axes) count *= x.shape()[std::size_t(axis)];
  auto numbers = [&](auto f) { for_numbers(x.dtype(), f); };
  auto floats = [&](auto f) { for_floats(x.dtype(), f); };
  switch (fold) {
    case Fold::sum:
      return run_accumulating<Sum>(x, axes, out);
    case Fold::prod:
      return run_accumulating<Product>(x, axes, out);
    case Fold::mean:
      return floats(
          [&]<class T>(TypeTag<T>) { run<Sum<T, T>>(x, axes, out, {.divisor = double(count)}); });
    case Fold::norm:
      return floats([&]<class T>(TypeTag<T>) { run<SquareSum<T>>(x, axes, out, {.root = true}); });
    case Fold::logsumexp:
      return floats([&]<class T>(TypeTag<T>) { run<LogSumExp<T>>(x, axes, out); });
    case Fold::max:
      return numbers([&]<class T>(TypeTag<T>) { run<Extremum<T, true>>(x, axes, out); });
    case Fold::min:
      return numbers([&]<class T>(TypeTag<T>) { run<Extremum<T, false>>(x, axes, out); });
    case Fold::argmax:
      return numbers([&]<class T>(TypeTag<T>) { run<ArgExtremum<T, true>>(x, axes, out); });
    case Fold::argmin:
      return numbers([&]<class T>(TypeTag<T>) { run<ArgExtremum<T, false>>(x, axes, out); });
    case Fold::count:
      return numbers([&]<class T>(TypeTag<T>) { run<Count<T>>(x, axes, out); });
    case Fold::all:
      return numbers([&]<class T>(TypeTag<T>) {
        run_mapped<Count<T>, bool>(x, axes, out, [count](int64_t n) { return n == count; });
      });
    case Fold::any:
      return numbers([&]<class T>(TypeTag<T>) {
        run_mapped<Count<T>, bool>(x, axes, out, [](int64_t n) { return n > 0; });
      });
  }
}

void variance(const Array& x, const Ints& axes, double correction, bool root, const Array& out) {
  for_floats(x.dtype(), [&]<class T>(TypeTag<T>) {
    const Walk walk = make_walk(x, axes, false);
    const double divisor = double(walk.count) - correction;
    const Ending ending{.divisor = divisor > 0 ? divisor : 0, .root = root};
    if (walk.count == 0 || column_fold(walk, false) == 0)
      return run_fold<Variance<T>>(x, walk, out.data<T>(), ending);
    std::vector<double> mean(std::size_t(walk.outputs));
    run_fold<Sum<T, double>>(x, walk, mean.data(), {.divisor = double(walk.count)});
    run_fold<Deviation<T>>(x, walk, out.data<T>(), ending, mean.data());
  });
}

}  // namespace wengert::kernels
