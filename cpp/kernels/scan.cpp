// A scan walks its axis once for a tile of neighbouring lines, whose accumulators stay in L1.
#include "kernels/scan.h"

#include <algorithm>

#include "kernels/parallel.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t tile_width = 256;
constexpr int64_t grain = 1 << 15;

template <class T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

struct Add {
  static constexpr int arity = 1;
  template <class W>
  [[gnu::always_inline]] static W first(W x, W) {
    return x;
  }
  template <class W>
  [[gnu::always_inline]] static W next(W acc, W x, W) {
    return acc + x;
  }
};
struct Multiply : Add {
  template <class W>
  [[gnu::always_inline]] static W next(W acc, W x, W) {
    return acc * x;
  }
};
struct Recur {
  static constexpr int arity = 2;
  template <class W>
  [[gnu::always_inline]] static W first(W, W b) {
    return b;
  }
  template <class W>
  [[gnu::always_inline]] static W next(W acc, W a, W b) {
    return acc == W(0) ? b : a * acc + b;
  }
};

// `width` lines of `n` elements: steps along the axis, and from line to line.
template <class T, class R>
struct Tile {
  const T *x, *y;
  R* out;
  int64_t n, width;
  int64_t x_step, y_step, out_step;
  int64_t x_line, y_line;
};

template <class Step, class T, class R>
struct RunTile {
  template <int>
  [[gnu::always_inline]] static void run(const Tile<T, R>& tile) {
    if (tile.x_line == 1 && tile.y_line == 1)
      walk(tile, 1, 1);
    else
      walk(tile, tile.x_line, tile.y_line);
  }
  [[gnu::always_inline]] static void walk(Tile<T, R> t, int64_t x_line, int64_t y_line) {
    using W = Wide<T>;
    const T* y = Step::arity == 2 ? t.y : t.x;
    if (t.width == 1) {
      W a = Step::first(W(*t.x), W(*y));
      *t.out = R(a);
      for (int64_t i = 1; i < t.n; ++i) {
        t.x += t.x_step, y += t.y_step, t.out += t.out_step;
        a = Step::next(a, W(*t.x), W(*y));
        *t.out = R(a);
      }
      return;
    }
    W acc[tile_width];
    for (int64_t j = 0; j < t.width; ++j) {
      acc[j] = Step::first(W(t.x[j * x_line]), W(y[j * y_line]));
      t.out[j] = R(acc[j]);
    }
    for (int64_t i = 1; i < t.n; ++i) {
      t.x += t.x_step, y += t.y_step, t.out += t.out_step;
      for (int64_t j = 0; j < t.width; ++j) {
        acc[j] = Step::next(acc[j], W(t.x[j * x_line]), W(y[j * y_line]));
        t.out[j] = R(acc[j]);
      }
    }
  }
};

// Offset of the outer index `linear`: every axis but the scanned one and the innermost other.
int64_t outer_offset(const Array& x, int axis, int inner, int64_t linear) {
  int64_t at = 0;
  for (int i = x.ndim(); i-- > 0;) {
    if (i == axis || i == inner) continue;
    at += linear % x.shape()[std::size_t(i)] * x.strides()[std::size_t(i)];
    linear /= x.shape()[std::size_t(i)];
  }
  return at;
}

template <class Step, class T, class R>
void run_scan(const Array& x, const Array& y, int axis, bool reverse, const Array& out) {
  if (out.size() == 0) return;
  const int inner = out.ndim() == 1 ? -1 : axis == out.ndim() - 1 ? axis - 1 : out.ndim() - 1;
  const int64_t n = out.shape()[std::size_t(axis)];
  const int64_t lines = inner < 0 ? 1 : out.shape()[std::size_t(inner)];
  // The output's lines lie side by side only where the inner axis is its last.
  const bool side_by_side = inner >= 0 && inner == out.ndim() - 1;
  const int64_t most = side_by_side ? tile_width : 1;
  const int64_t tiles = (lines + most - 1) / most, outer = out.size() / (n * lines);
  auto stride = [](const Array& a, int i) {
    return i < 0 ? int64_t(1) : a.strides()[std::size_t(i)];
  };
  const int64_t start = reverse ? n - 1 : 0, sign = reverse ? -1 : 1;
  const int64_t work = n * std::min(lines, most);
  parallel::parallel_for(outer * tiles, std::max<int64_t>(1, grain / work),
                         [&](int64_t begin, int64_t end) {
                           for (int64_t i = begin; i < end; ++i) {
                             const int64_t first = i % tiles * most;
                             auto at = [&](const Array& a) {
                               return outer_offset(a, axis, inner, i / tiles) +
                                      first * stride(a, inner) + start * stride(a, axis);
                             };
                             const Tile<T, R> tile{.x = x.data<T>() + at(x),
                                                   .y = y.data<T>() + at(y),
                                                   .out = out.data<R>() + at(out),
                                                   .n = n,
                                                   .width = std::min(most, lines - first),
                                                   .x_step = sign * stride(x, axis),
                                                   .y_step = sign * stride(y, axis),
                                                   .out_step = sign * stride(out, axis),
                                                   .x_line = most == 1 ? 1 : stride(x, inner),
                                                   .y_line = most == 1 ? 1 : stride(y, inner)};
                             for_isa<RunTile<Step, T, R>>(tile);
                           }
                         });
}

}  // namespace

void scan(Scan scan, const Array& x, int axis, bool reverse, const Array& out) {
  dispatch(x.dtype(), [&]<class T>(TypeTag<T>) {
    using Same = std::conditional_t<std::is_same_v<T, bool>, int64_t, T>;
    auto run = [&]<class R>(TypeTag<R>) {
      if (scan == Scan::sum)
        run_scan<Add, T, R>(x, x, axis, reverse, out);
      else
        run_scan<Multiply, T, R>(x, x, axis, reverse, out);
    };
    if constexpr (std::is_integral_v<T>)
      if (out.dtype() == DType::int64) return run(TypeTag<int64_t>{});
    run(TypeTag<Same>{});
  });
}

void recurrence(const Array& a, const Array& b, int axis, bool reverse, const Array& out) {
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) { run_scan<Recur, T, T>(a, b, axis, reverse, out); });
}

}  // namespace wengert::kernels
