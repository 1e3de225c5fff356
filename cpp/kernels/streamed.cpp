#include "kernels/streamed.h"

#include "kernels/reduce_walk.h"

namespace wengert::kernels {
namespace folds {
namespace {

constexpr int64_t most_bytes = 1 << 14;  // of a stretch, to stay in L1

// Whole rows at a time, rows longer than that by runs, or some rows of columns.
enum class Way { none, rows, runs, columns };

struct Plan {
  Way way = Way::none;
  int64_t fold = 1;  // see Job
  int64_t parts = 1;
  Stretches stretches{};
};

Plan plan_of(const Walk& walk, int64_t itemsize) {
  const int64_t count = walk.count, size = walk.outputs * count;
  if (size == 0 || count < 2) return {};
  if (const int64_t fold = column_fold(walk, true); fold > 0) {
    const int64_t columns = walk.kept.back(), line = count * columns;
    const bool dense = walk.reduced.size() == 1 && walk.reduced_strides[0] == columns &&
                       (walk.kept.size() == 1 || (walk.kept.size() == 2 && walk.kept_strides[0] == line));
    const int64_t stretch = rows_at_once * fold * columns, rows = rows_of_part(columns, fold);
    const int64_t span = std::min(line, rows * columns), parts = (count + rows - 1) / rows;
    if (!dense || columns > tile_width || stretch * itemsize > most_bytes) return {};
    if (size > grain && span == size) return {};
    return {Way::columns, fold, parts, {size, line, span, stretch}};
  }
  if (size <= longest_run) return {Way::rows, 1, 1, {size, size, size, size}};
  const bool dense = walk.reduced.size() == 1 && walk.reduced_strides[0] == 1 &&
                     (walk.kept.empty() || (walk.kept.size() == 1 && walk.kept_strides[0] == count));
  if (!dense) return {};
  if (count <= longest_run) {
    const int64_t stretch = longest_run / count * count;
    return {Way::rows, 1, 1, {size, size, std::min(size, grain / stretch * stretch), stretch}};
  }
  return {Way::runs, 1, (count + grain - 1) / grain, {size, count, std::min(count, grain), longest_run}};
}

template <class F>
struct Run {
  template <int>
  [[gnu::always_inline]] static void run(typename F::State& s, const typename F::In* x, int64_t n) {
    F::absorb(s, x, n, 0);
  }
};

// Rows [0, rows) at x of `width` columns, of which output `at` is the first.
struct Band {
  int64_t at, width, rows, part;
  bool begins, ends;
};
template <class F>
struct Columns {
  template <int>
  [[gnu::always_inline]] static void run(const Job<F>& job, const Band& band, const typename F::In* x,
                                         typename F::Acc* acc) {
    if (band.begins) std::fill_n(acc, band.width * job.fold, F::identity);
    const int64_t r = fold_tile(job, x, band.width * job.fold, 0, band.rows, acc, nullptr);
    if (band.ends) end_tile(job, x, band.at, band.width, r, band.rows, acc, nullptr, band.part);
  }
};

template <class F>
class Streamed final : public StreamedFold {
 public:
  using In = typename F::In;
  using State = typename F::State;
  static_assert(state_bytes >= tile_width * int64_t(sizeof(State)));

  Streamed(Walk walk, const Plan& plan, Ending ending, const Array& out)
      : walk_(std::move(walk)), plan_(plan), ending_(ending), out_(out) {
    if (plan.parts > 1) partial_.resize(std::size_t(plan.parts * walk_.outputs));
  }

  void absorb(const Stretch& stretch, void* state) override {
    const auto* x = static_cast<const In*>(stretch.at);
    const int64_t count = walk_.count, n = stretch.last - stretch.first;
    if (plan_.way == Way::rows) {
      Job<F> own = job();
      own.x = x;
      own.out += stretch.first / count;
      return run_part<Rows<F>, F, 5>(own, {0, n / count, 0, count, 0});
    }
    const int64_t line = stretch.first / plan_.stretches.line, at = stretch.first % plan_.stretches.line;
    const int64_t part = at / plan_.stretches.span;
    if (plan_.way == Way::runs) {
      State& s = *static_cast<State*>(state);
      if (stretch.begins) s = F::start();
      run_code<Run<F>, F, State&, const In*, int64_t>(s, x, n);
      if (stretch.ends) job().emit(line, s, part);
      return;
    }
    const int64_t columns = walk_.kept.back();
    const Band band{line * columns, columns, n / columns, part, stretch.begins, stretch.ends};
    run_code<Columns<F>, F, const Job<F>&, const Band&, const In*, State*>(job(), band, x, static_cast<State*>(state));
  }

  void join() override {
    if (partial_.empty()) return;
    Job<F> own = job();
    join_parts(own, plan_.parts);
  }

 private:
  Job<F> job() {
    return {.walk = walk_, .x = nullptr, .out = static_cast<typename F::Out*>(out_.raw()),
            .partial = partial_.empty() ? nullptr : partial_.data(), .ending = ending_, .fold = plan_.fold};
  }

  Walk walk_;
  Plan plan_;
  Ending ending_;
  Array out_;
  std::vector<State> partial_;
};

bool may_stream(Fold fold, DType dtype) {
  return (dtype == DType::float32 || dtype == DType::float64) &&
         (fold == Fold::sum || fold == Fold::mean || fold == Fold::prod || fold == Fold::max || fold == Fold::min);
}

}  // namespace
}  // namespace folds

using namespace folds;

std::optional<Stretches> stretches_of(Fold fold, const Array& x, const Ints& axes) {
  if (!may_stream(fold, x.dtype())) return {};
  const Plan plan = plan_of(make_walk(x, axes, false), itemsize(x.dtype()));
  if (plan.way == Way::none) return {};
  return plan.stretches;
}

std::unique_ptr<StreamedFold> streamed(Fold fold, const Array& x, const Ints& axes, const Array& out) {
  Walk walk = make_walk(x, axes, false);
  const Plan plan = plan_of(walk, itemsize(x.dtype()));
  const auto make = [&]<class T>(T) -> std::unique_ptr<StreamedFold> {
    const auto of = [&]<class F>(F, Ending ending = {}) {
      return std::make_unique<Streamed<Runs<F>>>(std::move(walk), plan, ending, out);
    };
    switch (fold) {
      case Fold::mean: return of(Sum<T, T>(), {.divisor = double(walk.count)});
      case Fold::prod: return of(Product<T, T>());
      case Fold::max: return of(Extremum<T, true>());
      case Fold::min: return of(Extremum<T, false>());
      default: return of(Sum<T, T>());
    }
  };
  return x.dtype() == DType::float32 ? make(float()) : make(double());
}

}  // namespace wengert::kernels
