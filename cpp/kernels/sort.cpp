#include "kernels/sort.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/move.h"
#include "kernels/parallel.h"

namespace wengert::kernels {
namespace {

template <bool descending, class T>
bool comes_first(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(b)) return !std::isnan(a);
  return descending ? a > b : a < b;
}

template <class T>
struct Item {
  T value;
  int64_t place;
};

// store(out offset, item) for the sorted items of every lane along `axis`. The place decides
// between equal values, so that an unstable sort is a stable one.
template <class T, bool descending, class Store>
void sort_lanes(const Array& x, int axis, const Array& out, Store store) {
  const auto a = std::size_t(axis);
  const int64_t n = x.shape()[a], step = x.strides()[a], out_step = out.strides()[a];
  Shape lanes = x.shape();
  Ints from = x.strides(), to = out.strides();
  lanes.erase(a), from.erase(a), to.erase(a);
  if (x.size() == 0) return;
  parallel::parallel_for(numel(lanes), (1 << 13) / n + 1, [&](int64_t begin, int64_t end) {
    std::vector<Item<T>> items(static_cast<std::size_t>(n));
    for (int64_t lane = begin; lane < end; ++lane) {
      const T* source = x.data<T>() + strided_offset(lanes, from, lane);
      for (int64_t i = 0; i < n; ++i) items[std::size_t(i)] = {source[i * step], i};
      std::sort(items.begin(), items.end(), [](const Item<T>& p, const Item<T>& q) {
        if (comes_first<descending>(p.value, q.value)) return true;
        return !comes_first<descending>(q.value, p.value) && p.place < q.place;
      });
      const int64_t start = strided_offset(lanes, to, lane);
      for (int64_t i = 0; i < n; ++i) store(start + i * out_step, items[std::size_t(i)]);
    }
  });
}

template <class F>
void dispatch_order(DType dtype, bool descending, F f) {
  dispatch(dtype, [&](auto tag) {
    if (descending)
      f(tag, std::true_type());
    else
      f(tag, std::false_type());
  });
}

}  // namespace

void sort(const Array& x, int axis, bool descending, const Array& out) {
  dispatch_order(x.dtype(), descending, [&](auto tag, auto down) {
    using T = typename decltype(tag)::type;
    T* to = out.data<T>();
    sort_lanes<T, down>(x, axis, out,
                        [to](int64_t at, const Item<T>& item) { to[at] = item.value; });
  });
}

void argsort(const Array& x, int axis, bool descending, const Array& out) {
  dispatch_order(x.dtype(), descending, [&](auto tag, auto down) {
    using T = typename decltype(tag)::type;
    int64_t* to = out.data<int64_t>();
    sort_lanes<T, down>(x, axis, out,
                        [to](int64_t at, const Item<T>& item) { to[at] = item.place; });
  });
}

}  // namespace wengert::kernels
