// Recorded calls: what wg.compile keeps of a function for one set of shapes, and its replay.
#pragma once
#include <memory>

#include "bindings/tensor.h"
#include "graph/recording.h"
#include "program/simplify.h"
#include "runtime/executor.h"

namespace wengert::bindings {

// One recording of a call, and what it needs to run again.
class Replay {
 public:
  Replay(Program program, const Recording& recording, std::size_t arguments, std::size_t results);

  bool fits() const;  // whether the world is as it was when the call was recorded
  std::vector<Var> run(std::span<const Var> arguments);
  // Whether steps can follow each other without a look at the leaves' gradients in between.
  bool repeats() const;
  // `steps` runs in one go, results stacked; step i reads row i of the arguments that are `stacked`.
  std::vector<Var> run_many(std::span<const Var> arguments, const std::vector<bool>& stacked, int64_t steps);

  const Program& program() const { return program_; }
  const Program& before() const { return before_; }
  const Simplified& simplified() const { return simplified_; }
  const Executor& executor() const { return executors_[0]->executor; }

 private:
  struct Outside {
    Var value;
    bool assigned;
  };
  struct Slot {
    Ref<Node> leaf;
    bool had, changed, has;
  };
  // Calls from several threads run side by side, each in memory of its own.
  struct Running {
    Executor executor;
    std::vector<Array> inputs, outputs;
    bool busy = false;
    Running(const Program& program, const std::vector<Update>& updates) : executor(program, updates) {}
  };

  Running& free_executor();
  void bind(Running& running, std::span<const Var> arguments, int64_t rows);
  void execute(Running& running);
  std::vector<Var> hand_over(Running& running);

  Program program_, before_;
  Simplified simplified_;
  std::size_t arguments_, results_, first_gradient_ = 0;
  std::vector<Outside> variables_;
  std::vector<Slot> slots_;
  std::vector<Type> types_;
  std::vector<Update> updates_;
  std::vector<std::unique_ptr<Running>> executors_;
};

// Grows whenever an option changes that recordings take for fixed: a learning rule's, a module's mode.
int64_t& options_epoch();

// Calls that need no Python: arguments are taken apart, compared with what was recorded and the
// results put together in C++.
void bind_fast_call(py::module_& m);

}  // namespace wengert::bindings
