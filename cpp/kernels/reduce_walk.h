// How a reduction walks memory: along runs of reduced elements, or down columns where the kept axis
// is the contiguous one. Splits the work by shape alone. Knows no fold by name.
#pragma once
#include <array>
#include <vector>

#include "array/array.h"
#include "kernels/parallel.h"
#include "kernels/reduce_folds.h"
#include "kernels/variants.h"

namespace wengert::kernels::folds {

inline constexpr int64_t grain = 1 << 15;     // elements a task takes
inline constexpr int64_t longest_run = 2048;  // elements folded at a time, to stay in L1
inline constexpr int64_t gathered = 256;      // elements copied together where they lie apart
inline constexpr int64_t fewest_direct = 64;  // shortest run that is not copied
inline constexpr int64_t tile_width = 512;    // columns folded at a time
inline constexpr int64_t fewest_columns = 16;

// The axes of the input, merged where they can be walked as one. Strides in elements.
struct Walk {
  Ints kept, kept_strides, reduced, reduced_strides;
  int64_t offset = 0;
  int64_t outputs = 1, count = 1;

  int64_t kept_offset(int64_t linear) const { return offset + place(kept, kept_strides, linear); }
  int64_t reduced_offset(int64_t linear) const { return place(reduced, reduced_strides, linear); }

 private:
  static int64_t place(const Ints& sizes, const Ints& strides, int64_t linear) {
    int64_t at = 0;
    for (std::size_t axis = sizes.size(); axis-- > 1;) {
      at += linear % sizes[axis] * strides[axis];
      linear /= sizes[axis];
    }
    return sizes.empty() ? 0 : at + linear * strides[0];
  }
};

// Offsets of the reduced elements [first, first + n).
inline void list_places(const Walk& walk, int64_t first, int64_t n, int64_t* to) {
  const int64_t inner = walk.reduced.back(), stride = walk.reduced_strides.back();
  for (int64_t i = 0; i < n;) {
    const int64_t at = walk.reduced_offset(first + i);
    const int64_t run = std::min(n - i, inner - (first + i) % inner);
    for (int64_t j = 0; j < run; ++j) to[i + j] = at + j * stride;
    i += run;
  }
}

// `ordered`: the reduced axes keep their order and direction.
Walk make_walk(const Array& x, const Ints& axes, bool ordered);

template <class F>
struct Job {
  const Walk& walk;
  const typename F::In* x;
  typename F::Out* out;
  typename F::State* partial;  // where tasks that share an output leave their part; else null
  Ending ending;
  int64_t fold = 1;  // dense rows taken as one, where rows are short
  const double* center = nullptr;

  void emit(int64_t o, const typename F::State& s, int64_t part) const {
    if (partial)
      partial[part * walk.outputs + o] = s;
    else
      out[o] = F::finish(s, ending);
  }
};

// Part `part` of outputs [begin, end): their reduced elements [first, last).
template <class F>
[[gnu::always_inline]] inline void walk_rows(const Job<F>& job, int64_t begin, int64_t end,
                                             int64_t first, int64_t last, int64_t part) {
  using In = typename F::In;
  const Walk& walk = job.walk;
  const int64_t inner = walk.reduced.empty() ? 1 : walk.reduced.back();
  const int64_t stride = walk.reduced.empty() ? 1 : walk.reduced_strides.back();
  if constexpr (F::lanewise)
    if (walk.reduced.size() <= 1 && inner <= 16) {
      for (int64_t o = begin; o < end; ++o) {
        const In* x = job.x + walk.kept_offset(o);
        auto s = F::identity;
        for (int64_t r = 0; r < inner; ++r) s = F::merge(s, F::map(x[r * stride], {}));
        job.emit(o, s, part);
      }
      return;
    }
  // Elements that lie apart are copied together. Neighbouring outputs, whose elements share cache
  // lines, take turns.
  const bool direct = stride == 1 && (inner >= fewest_direct || walk.reduced.size() <= 1);
  constexpr int64_t group = 16;
  typename F::State states[group];
  int64_t places[gathered], bases[group];
  In copied[gathered];
  for (int64_t o = begin; o < end;) {
    const int64_t many = direct ? 1 : std::min(group, end - o);
    for (int64_t k = 0; k < many; ++k) bases[k] = walk.kept_offset(o + k), states[k] = F::start();
    for (int64_t r = first; r < last;) {
      int64_t n = std::min(direct ? longest_run : gathered, last - r);
      if (direct)
        n = std::min(n, inner - r % inner);
      else
        list_places(walk, r, n, places);
      for (int64_t k = 0; k < many; ++k) {
        const In* x = job.x + bases[k];
        if (direct)
          x += walk.reduced_offset(r);
        else {
          for (int64_t i = 0; i < n; ++i) copied[i] = x[places[i]];
          x = copied;
        }
        F::absorb(states[k], x, n, r);
      }
      r += n;
    }
    for (int64_t k = 0; k < many; ++k) job.emit(o + k, states[k], part);
    o += many;
  }
}

// Folds the rows [first, last) at x, `n` elements each, eight at a time and then one by one, as many dense
// rows as the job folds counting as one; returns the first that is left over.
template <class F>
[[gnu::always_inline]] inline int64_t fold_tile(const Job<F>& job, const typename F::In* x, int64_t n, int64_t first,
                                                int64_t last, typename F::Acc* acc, const double* center) {
  const Walk& walk = job.walk;
  const typename F::In* rows[rows_at_once];
  const int64_t step = job.fold;
  int64_t r = first;
  for (; r + rows_at_once * step <= last; r += rows_at_once * step) {
    for (int k = 0; k < rows_at_once; ++k) rows[k] = x + walk.reduced_offset(r + k * step);
    fold_rows<F>(rows, n, acc, center);
  }
  for (; r + step <= last; r += step) fold_row<F>(x + walk.reduced_offset(r), n, acc, center);
  return r;
}

// Puts together what was folded as one, adds the rows [r, last), and emits outputs [at, at + width).
template <class F>
[[gnu::always_inline]] inline void end_tile(const Job<F>& job, const typename F::In* x, int64_t at, int64_t width,
                                            int64_t r, int64_t last, typename F::Acc* acc, const double* center,
                                            int64_t part) {
  for (int64_t k = 1; k < job.fold; ++k)
    for (int64_t j = 0; j < width; ++j) acc[j] = F::merge(acc[j], acc[k * width + j]);
  for (; r < last; ++r) fold_row<F>(x + job.walk.reduced_offset(r), width, acc, center);
  if (job.partial) {
    for (int64_t j = 0; j < width; ++j) job.emit(at + j, acc[j], part);
    return;
  }
  typename F::Out* out = job.out + at;
  const Ending ending = job.ending;
#pragma GCC ivdep
  for (int64_t j = 0; j < width; ++j) out[j] = F::finish(acc[j], ending);
}

// The columns [begin, end) of the innermost kept axis at the outer kept index `outer`: their rows
// [first, last).
template <class F>
[[gnu::always_inline]] inline void walk_tile(const Job<F>& job, int64_t outer, int64_t begin,
                                             int64_t end, int64_t first, int64_t last,
                                             int64_t part) {
  const int64_t columns = job.walk.kept.back(), n = (end - begin) * job.fold;
  const typename F::In* x = job.x + job.walk.kept_offset(outer * columns) + begin;
  typename F::Acc acc[tile_width];
  std::fill_n(acc, n, F::identity);
  const double* center = F::centered ? job.center + outer * columns + begin : nullptr;
  const int64_t r = fold_tile(job, x, n, first, last, acc, center);
  end_tile(job, x, outer * columns + begin, end - begin, r, last, acc, center, part);
}

template <class F>
struct Rows {
  template <int>
  [[gnu::always_inline]] static void run(const Job<F>& job, const std::array<int64_t, 5>& a) {
    walk_rows<F>(job, a[0], a[1], a[2], a[3], a[4]);
  }
};
template <class F>
struct Tile {
  template <int>
  [[gnu::always_inline]] static void run(const Job<F>& job, const std::array<int64_t, 6>& a) {
    walk_tile<F>(job, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
};

// Integers have no code of their own for the longest vectors.
template <class Part, class F, class... A>
void run_code(A... args) {
  using Code = Variants<Part, A...>;
  if constexpr (std::is_floating_point_v<typename F::In>)
    if (isa() == Isa::avx512) return Code::avx512(args...);
  if constexpr (!F::plain)
    if (isa() >= Isa::avx2) return Code::avx2(args...);
  Code::baseline(args...);
}
template <class Part, class F, std::size_t n>
void run_part(const Job<F>& job, const std::array<int64_t, n>& range) {
  run_code<Part, F, const Job<F>&, const std::array<int64_t, n>&>(job, range);
}

// Neighbours merge, level by level: the order of the parts is kept.
template <class F>
void join_parts(Job<F>& job, int64_t parts) {
  const int64_t outputs = job.walk.outputs;
  typename F::State* at = job.partial;
  for (; parts > 1; parts = (parts + 1) / 2) {
    for (int64_t p = 0; p < parts / 2; ++p)
      for (int64_t o = 0; o < outputs; ++o) {
        typename F::State s = at[2 * p * outputs + o];
        F::merge_states(s, at[(2 * p + 1) * outputs + o]);
        at[p * outputs + o] = s;
      }
    if (parts % 2) std::copy_n(at + (parts - 1) * outputs, outputs, at + parts / 2 * outputs);
  }
  job.partial = nullptr;
  for (int64_t o = 0; o < outputs; ++o) job.emit(o, at[o], 0);
}

template <class F>
void reduce_rows(Job<F> job) {
  const Walk& walk = job.walk;
  const int64_t parts = (walk.count + grain - 1) / grain;
  if (parts == 1) {
    parallel::parallel_for(
        walk.outputs, std::max<int64_t>(1, grain / walk.count),
        [&](int64_t b, int64_t e) { run_part<Rows<F>, F, 5>(job, {b, e, 0, walk.count, 0}); });
    return;
  }
  std::vector<typename F::State> partial(std::size_t(parts * walk.outputs));
  job.partial = partial.data();
  parallel::parallel_for(parts * walk.outputs, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t part = i % parts, o = i / parts;
      run_part<Rows<F>, F, 5>(
          job, {o, o + 1, part * grain, std::min(walk.count, (part + 1) * grain), part});
    }
  });
  join_parts(job, parts);
}

// Rows folded as one where they are short and dense; 0 where columns are not the way.
inline int64_t column_fold(const Walk& walk, bool may_fold) {
  if (walk.kept.empty() || walk.reduced.empty() || walk.kept_strides.back() != 1) return 0;
  if (walk.reduced_strides.back() == 1) return 0;
  const int64_t columns = walk.kept.back();
  if (columns >= fewest_columns) return 1;
  const bool dense = walk.reduced.size() == 1 && walk.reduced_strides[0] == columns;
  return may_fold && dense && walk.count >= 256 ? 128 / columns : 0;
}

// Of columns, that one task takes.
inline int64_t rows_of_part(int64_t columns, int64_t fold) {
  const int64_t unit = rows_at_once * fold;
  return std::max<int64_t>(8, 2 * grain / (std::min(columns, tile_width) * unit)) * unit;
}

template <class F>
void reduce_columns(Job<F> job) {
  const Walk& walk = job.walk;
  const int64_t columns = walk.kept.back(), outer = walk.outputs / columns;
  const int64_t tiles = (columns + tile_width - 1) / tile_width;
  const int64_t width = std::min(columns, tile_width);
  const int64_t rows = rows_of_part(columns, job.fold);
  const int64_t parts = (walk.count + rows - 1) / rows;
  std::vector<typename F::State> partial;
  if (parts > 1) {
    partial.resize(std::size_t(parts * walk.outputs));
    job.partial = partial.data();
  }
  const int64_t work = width * std::min(rows, walk.count);
  parallel::parallel_for(
      outer * tiles * parts, std::max<int64_t>(1, grain / work), [&](int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) {
          const int64_t tile = i % tiles, part = i / tiles % parts, o = i / (tiles * parts);
          run_part<Tile<F>, F, 6>(
              job, {o, tile * tile_width, std::min(columns, (tile + 1) * tile_width), part * rows,
                    std::min(walk.count, (part + 1) * rows), part});
        }
      });
  if (parts > 1) join_parts(job, parts);
}

// The whole of one fold over a walk. `center`, for centered folds, holds a value an output.
template <class Fold>
void run_fold(const Array& x, const Walk& walk, typename Fold::Out* out, Ending ending = {},
              const double* center = nullptr) {
  using F = std::conditional_t<Fold::lanewise, Runs<Fold>, Fold>;
  if (walk.outputs == 0) return;
  if (walk.count == 0) {
    std::fill_n(out, walk.outputs, F::finish(F::start(), ending));
    return;
  }
  Job<F> job{.walk = walk,
             .x = static_cast<const typename F::In*>(x.raw()),
             .out = out,
             .partial = nullptr,
             .ending = ending,
             .center = center};
  if constexpr (Fold::lanewise) {
    const int64_t fold = column_fold(walk, !Fold::centered);
    if (fold > 0) {
      job.fold = fold;
      return reduce_columns(job);
    }
  }
  reduce_rows(job);
}

}  // namespace wengert::kernels::folds
