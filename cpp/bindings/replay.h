// Recorded calls: what wg.compile keeps of a function for one set of shapes, and its replay.
#pragma once
#include <memory>
#include <optional>

#include "bindings/tensor.h"
#include "bindings/turns.h"
#include "graph/recording.h"
#include "graph/tangents.h"
#include "program/rewrite.h"
#include "runtime/budgeted.h"
#include "runtime/executor_pool.h"

namespace wengert::bindings {

// The bytes between the first and the last element of an array.
struct Extent {
  const std::byte *begin = nullptr, *end = nullptr;
  bool meets(const Extent& other) const { return begin < other.end && other.begin < end; }
};
Extent extent(const Array& array);

// The reverse sweep of a recorded call, for results that are differentiated later: from cotangents
// of results and what the call keeps, to cotangents of what it read.
struct Pull {
  Program program;
  std::vector<std::size_t> results;  // which results have cotangents
  struct Kept {
    bool is_input;      // an input of the call as it is; else an output beyond its results
    std::size_t place;
  };
  std::vector<Kept> kept;
  std::vector<int> found;  // for each argument and variable: which output is its cotangent, or -1
};

// One recording of a call, and what it needs to run again.
class Replay : public std::enable_shared_from_this<Replay> {
 public:
  Replay(Program program, const Recording& recording, std::size_t arguments, std::size_t results,
         std::optional<Pull> pull, std::optional<Limit> limit, bool exact);

  // Runs as one operation that a reverse sweep can pass. A sweep that is recorded itself calls `f`, the
  // function of the flat arguments, again: `f(list) -> list`. `owner` is what f is a method of, which f itself does not
  // keep alive.
  std::vector<Var> run_followed(std::span<const Var> arguments, const std::string& name, py::function f, py::object owner);
  bool has_pull() const { return pull_.has_value(); }

  bool fits();  // whether the world is as it was when the call was recorded
  // Whether an argument lies in memory that the call changes: what it reads there depends on when.
  bool overlaps(std::span<const Var> arguments) const;
  std::vector<Var> run(std::span<const Var> arguments);
  // Whether the call leaves the leaves' gradients as it wants to find them, so that steps can follow each other.
  bool repeats();
  bool reads_differentiated() const;  // a value from outside, which a transform around the call differentiates by
  // `steps` runs in one go, results stacked; step i reads row i of the arguments that are `stacked`.
  std::vector<Var> run_many(std::span<const Var> arguments, const std::vector<bool>& stacked, int64_t steps);

  // Each unit of a replay timed, the best of `repeats`, on copies of what the call changes.
  std::vector<UnitCost> profile(std::span<const Var> arguments, int repeats);

  const Program& program() const { return program_; }
  const Program& before() const { return before_; }
  const Rewritten& rewritten() const { return rewritten_; }
  int64_t hoisted() const { return hoisted_; }  // steps that run elsewhere than recorded
  int64_t stacked() const { return stacked_; }
  bool exact() const { return exact_; }
  const std::optional<Scheduled>& scheduled() const { return scheduled_; }
  std::vector<CurvePoint> curve(Limit limit) const;
  int64_t pull_bytes() const { return pull_bytes_; }
  const Executor& executor() const { return executors_[0]->executor; }

 private:
  struct Outside {
    Var value;
    bool assigned;
    bool copied = false;  // for a run, which changes its memory through another tensor
  };
  struct Slot {
    Ref<Node> leaf;
    bool had, changed, has;
    bool is_carried() const { return had && changed && has; }  // from step to step of a run
  };
  // Calls from several threads run side by side, each in memory of its own. Variables that are read
  // where they lie stay among the inputs from call to call.
  struct Running {
    Executor executor;
    std::vector<Array> inputs, outputs;
    std::vector<std::size_t> given, made;  // places of those that each call brings, and that it makes
    bool fixed = false, busy = false;
    bool keeps;            // also what the reverse sweep reads
    bool carries = false;  // gradients, which it changes in place
    Running(const Program& program, const std::vector<Update>& updates, bool keeps_all)
        : executor(program, updates), keeps(keeps_all) {}
  };

  Running& free_executor(bool keeps);
  Running& executor_of_runs();
  const Program& shown();
  void bind(Running& running, std::span<const Var> arguments, int64_t rows);
  void fix(Running& running);
  void note_changes();
  int64_t copied_bytes() const;
  std::vector<Var> hand_over(Running& running);
  std::vector<Var> run_keeping(std::span<const Var> arguments, std::vector<Array>* kept);
  Vars pull_back(const Rule& rule, const std::vector<Array>& kept);
  bool changes_tensors() const;
  Vars pull_back_followed(const Rule& rule, const std::vector<Array>& kept) const;
  Vars pull_back_once(const Rule& rule, const std::vector<Array>& kept, bool followed);
  Vars pull_back_recorded(const Rule& rule, const py::function& f);

  Program program_, before_, unlimited_;
  std::optional<Program> shown_;  // without what the reverse sweep reads
  Rewritten rewritten_;
  int64_t hoisted_ = 0;
  std::optional<Scheduled> scheduled_;
  int64_t stacked_ = 0;
  bool exact_;
  std::size_t arguments_, results_, first_gradient_ = 0, first_kept_ = 0;
  std::optional<Pull> pull_;
  std::optional<Program> unstacked_pull_;  // as recorded, where sums are stacked
  int64_t pull_bytes_ = 0;                 // under a limit
  std::optional<Limit> limit_;
  IdlePool<Executor> pullers_;  // their rules may call Python, which may switch threads
  std::vector<Outside> variables_;
  std::vector<std::size_t> bound_variables_;  // at each call: the copied ones
  std::vector<Buffer*> changed_;              // those of variables that are assigned
  Touched touched_;
  bool changes_read_only_ = false, reads_a_transform_ = false;
  std::vector<Slot> slots_;
  std::vector<std::size_t> read_slots_;  // whose gradient is an input
  uint64_t fitted_at_ = 0;               // the epoch of gradients at which the slots were as recorded
  std::vector<Update> updates_;
  std::vector<std::unique_ptr<Running>> executors_;
};

// Another number whenever an option changes that recordings take for fixed: a learning rule's, a
// module's mode.
int64_t& options_epoch();

// Whether a trace, a tape or a forward sweep is open on this thread.
inline bool within_transform() {
  return Trace::open_count() > 0 || !ForwardSweep::active().empty() || modes().tape != nullptr;
}

// Calls that need no Python: arguments are taken apart, compared with what was recorded and the
// results put together in C++.
void bind_fast_call(py::module_& m);

}  // namespace wengert::bindings
