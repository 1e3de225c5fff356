#include "kernels/copy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iomanip>
#include <limits>

#include "kernels/parallel.h"
#include "kernels/tile_loop.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;

// The axes of `to`, outermost first, merged where both arrays allow it; the innermost is the one
// with the smallest stride in `to`, so that transposed copies write in order.
struct Plan {
  SmallVector<int64_t, 4> sizes, from, to;
};

Plan make_plan(const Array& from, const Array& to) {
  SmallVector<int64_t, 4> order;
  for (int axis = 0; axis < to.ndim(); ++axis)
    if (to.shape()[std::size_t(axis)] != 1) order.push_back(axis);
  const auto outside = [&](int64_t a, int64_t b) {
    return std::abs(to.strides()[std::size_t(a)]) > std::abs(to.strides()[std::size_t(b)]);
  };
  if (!std::is_sorted(order.begin(), order.end(), outside))  // a sort takes memory
    std::stable_sort(order.begin(), order.end(), outside);
  Plan plan;
  for (int64_t axis : order) {
    const auto i = std::size_t(axis);
    const int64_t size = to.shape()[i], f = from.strides()[i], t = to.strides()[i];
    if (!plan.sizes.empty() && plan.from.back() == f * size && plan.to.back() == t * size) {
      plan.sizes.back() *= size;
      plan.from.back() = f;
      plan.to.back() = t;
    } else {
      plan.sizes.push_back(size);
      plan.from.push_back(f);
      plan.to.push_back(t);
    }
  }
  if (plan.sizes.empty()) plan.sizes.push_back(1), plan.from.push_back(0), plan.to.push_back(0);
  return plan;
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, bool>) return x != From(0);
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // Bounds that are exact in From: 2^(digits) is, the largest integer may not be.
    constexpr From limit = From(uint64_t(1) << (std::numeric_limits<To>::digits - 1)) * From(2);
    const bool fits = x < limit && (std::is_signed_v<To> ? x >= -limit : x > From(-1));
    return fits ? To(x) : To(0);
  } else return To(x);
}

// body(from offset, to offset, n) for runs along the innermost axis, over the pool.
template <class Body>
void for_runs(const Plan& plan, Body body) {
  const int64_t inner = plan.sizes.back();
  int64_t total = 1;
  for (int64_t size : plan.sizes) total *= size;
  parallel::parallel_for(total, grain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int64_t n = std::min(end - at, inner - at % inner);
      int64_t rest = at, from = 0, to = 0;
      for (std::size_t axis = plan.sizes.size(); axis-- > 0;) {
        const int64_t i = rest % plan.sizes[axis];
        rest /= plan.sizes[axis];
        from += i * plan.from[axis];
        to += i * plan.to[axis];
      }
      body(from, to, n);
      at += n;
    }
  });
}

template <class T>
void add_run(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t n) {
  if (from_step == 1 && to_step == 1)
    for (int64_t i = 0; i < n; ++i) to[i] = T(to[i] + from[i]);
  else
    for (int64_t i = 0; i < n; ++i) to[i * to_step] = T(to[i * to_step] + from[i * from_step]);
}

// One short run of memory each, for which a plan would take longer than what it plans.
bool are_short_runs(const Array& from, const Array& to) {
  return to.size() <= grain && from.dtype() == to.dtype() && from.shape() == to.shape() && from.is_contiguous() &&
         to.is_contiguous();
}

}  // namespace

void copy(const Array& from, const Array& to) {
  if (to.size() == 0) return;
  if (are_short_runs(from, to)) {
    std::memmove(to.raw(), from.raw(), std::size_t(to.size() * itemsize(to.dtype())));
    return;
  }
  const Array source = from.shape() == to.shape() ? from : from.broadcast_to(to.shape());
  const Plan plan = make_plan(source, to);
  const int64_t from_step = plan.from.back(), to_step = plan.to.back();
  if (from.dtype() == to.dtype() && from_step == 1 && to_step == 1) {
    const int width = itemsize(to.dtype());
    auto* src = static_cast<const std::byte*>(source.raw());
    auto* dst = static_cast<std::byte*>(to.raw());
    for_runs(plan, [&](int64_t f, int64_t t, int64_t n) {
      std::memmove(dst + t * width, src + f * width, std::size_t(n * width));
    });
    return;
  }
  if (from.dtype() == to.dtype() && from_step == 0 && to_step == 1) {
    dispatch(to.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for_runs(plan, [&](int64_t f, int64_t t, int64_t n) {
        std::fill_n(to.data<T>() + t, n, source.data<T>()[f]);
      });
    });
    return;
  }
  dispatch(from.dtype(), [&](auto from_tag) {
    using F = typename decltype(from_tag)::type;
    dispatch(to.dtype(), [&](auto to_tag) {
      using T = typename decltype(to_tag)::type;
      const F* src = source.data<F>();
      T* dst = to.data<T>();
      for_runs(plan, [&](int64_t f, int64_t t, int64_t n) {
        for (int64_t i = 0; i < n; ++i) dst[t + i * to_step] = convert<T>(src[f + i * from_step]);
      });
    });
  });
}

void check_range(const std::string& where, const Array& x, DType dtype) {
  if (!is_integer(dtype) || x.dtype() <= dtype || x.size() == 0) return;
  const Array numbers = x.is_contiguous() ? x : contiguous_copy(x);
  dispatch(x.dtype(), [&](auto from_tag) {
    dispatch(dtype, [&](auto to_tag) {
      using F = typename decltype(from_tag)::type;
      using T = typename decltype(to_tag)::type;
      const F* first = numbers.data<F>();
      const F* bad = std::find_if(first, first + numbers.size(), [](F number) {
        if constexpr (std::is_floating_point_v<F>) return F(convert<T>(number)) != std::trunc(number);
        else return F(T(number)) != number;
      });
      if (bad == first + numbers.size()) return;
      std::ostringstream shown;
      shown << std::setprecision(17) << *bad;
      fail(ErrorKind::dtype, where, ": the Python ", is_float(x.dtype()) ? "float " : "integer ", shown.str(),
           " does not fit ", dtype, " (", +std::numeric_limits<T>::min(), " to ", +std::numeric_limits<T>::max(),
           "). Use a wider dtype, such as x.astype(wg.int64)");
    });
  });
}

void check_exponent(const std::string& where, const Array& x, DType dtype) {
  const Array numbers = x.is_contiguous() ? x : contiguous_copy(x);
  const int64_t* first = numbers.data<int64_t>();
  const int64_t* bad = std::find_if(first, first + numbers.size(), [](int64_t number) { return number < 0; });
  if (bad != first + numbers.size())
    fail(ErrorKind::argument, where, ": integers have no negative integer powers; got the exponent ", *bad, " for ", dtype,
         ". Use floats: x.astype(wg.float32), or 1 / x");
}

void fill(const Array& to, double value) {
  if (to.size() > grain || !to.is_contiguous()) return copy(Array::scalar(to.dtype(), value), to);
  dispatch(to.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::fill_n(to.data<T>(), to.size(), T(value));
  });
}

Array contiguous_copy(const Array& x) {
  Array out = Array::empty(x.dtype(), x.shape());
  copy(x, out);
  return out;
}

Array contiguous(const Array& x) { return x.is_contiguous() ? x : contiguous_copy(x); }

void add_into(const Array& into, const Array& from) {
  if (into.size() == 0) return;
  if (are_short_runs(from, into))
    return dispatch(into.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      add_run(from.data<T>(), 1, into.data<T>(), 1, into.size());
    });
  const Array source = from.shape() == into.shape() ? from : from.broadcast_to(into.shape());
  const Plan plan = make_plan(source, into);
  dispatch(into.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* src = source.data<T>();
    T* dst = into.data<T>();
    for_runs(plan, [&](int64_t f, int64_t t, int64_t n) {
      add_run(src + f, plan.from.back(), dst + t, plan.to.back(), n);
    });
  });
}

}  // namespace wengert::kernels
