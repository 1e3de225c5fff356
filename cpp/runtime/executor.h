// Replays a program: memory planned once, elementwise steps grouped, every step bound to the arrays it
// reads and writes, so that a run makes no object and takes no memory. Names no op.
#pragma once
#include "kernels/group.h"
#include "program/transfer.h"
#include "runtime/numbers.h"
#include "runtime/spill.h"

namespace wengert {

// An output that ends in the memory of an input: the recorded change of a tensor in place.
struct Update {
  std::size_t input, output;  // places in the program's lists
  bool late = false;          // not before all has run that may fail or be interrupted
};

// What one unit of a run is and costs: the operations it runs together, and bytes that leave or enter
// the unit.
struct UnitCost {
  std::string label;
  int64_t flops = 0, bytes = 0;
  double seconds = 0;  // the least of several runs
};

// What an executor would keep and run.
struct Planned {
  int64_t bytes;
  std::size_t units;
  std::size_t peak;  // a step with the most bytes alive
};

class Executor {
 public:
  // The program must outlive it. A run whose values cannot be moved to disk or back fails before it changes
  // an input. What both hold is not counted here: a loop makes executors of its body
  // without the interpreter lock.
  Executor(const Program& program, std::vector<Update> updates);
  // The `arena_bytes` and `units` of such an executor, worked out without taking memory. Of those who ask whether
  // it is `enough` for them (not negative), fewer bytes are an upper bound, and more a lower one.
  static Planned planned(const Program& program, std::vector<Update> updates, int64_t enough = -1);

  // Inputs are like the program's; `outputs` are contiguous memory for those that are no updates
  // (null arrays for the updates). The arrays of updated inputs are changed.
  void run(std::span<const Array> inputs, std::span<const Array> outputs) { run(inputs, outputs, {}, 0, 1); }
  // Steps first ... last - 1 of several: step i reads row i of the inputs that are `stacked` (by place),
  // and writes row i of every output. `backwards`: row last - 1 comes first.
  void run(std::span<const Array> inputs, std::span<const Array> outputs, const std::vector<bool>& stacked,
           int64_t first, int64_t last, bool backwards = false);

  // Binds the inputs that are `fixed` for good, but for those that have to be copied: runs find them
  // where they are now, and changed.
  void fix(std::span<const Array> inputs, const std::vector<bool>& fixed);

  // The units in their order, timed over `repeats` runs; the inputs that updates change are changed.
  std::vector<UnitCost> profile(std::span<const Array> inputs, std::span<const Array> outputs, int repeats);
  std::vector<UnitCost> costs() const;

  // Held between runs: values, and room for those that an update may overwrite.
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t live_bytes() const { return live_bytes_; }  // the most alive at once: what an arena cannot be smaller than
  int64_t bytes() const;  // all that it keeps
  std::size_t units() const { return units_.size(); }
  bool calls_python() const { return calls_python_; }
  double work() const { return work_; }  // a rough count of elements touched, to weigh a run

 private:
  struct Kernel {
    const Op* op;
    std::shared_ptr<const Op> own_op;
    const Attrs* attrs;
    std::vector<Array> ins, outs;
    uint32_t source;
  };
  // Kernels that threads share. Counts of references are not atomic, so each has buffers of its own, which
  // look at those of the plan.
  struct Tasks {
    std::vector<Kernel> kernels;
    std::vector<std::pair<Ref<Buffer>, Ref<Buffer>>> views;
  };
  struct DiskMove {  // of a value
    enum Kind { spill, end_spill, fetch, end_fetch } kind;
    Array value;
    std::size_t slot;
    int64_t place;  // in the file
  };
  struct Unit {
    enum Kind { kernel, group, pack, disk, tasks } kind;
    std::size_t index;
    UnitCost cost;
  };
  // Outside memory, bound at each run. `also` are values that are written where the input was.
  struct Input {
    Ref<Buffer> buffer;
    Array staged;  // a copy, where what is given is not contiguous
    Type type;
    std::vector<Ref<Buffer>> also = {};
  };
  // Single numbers, from wherever they lie into a vector.
  struct Pack {
    std::vector<Array> ins;
    Array out;
    std::vector<const std::byte*> from;  // where they are
    bool is_fixed = false;               // for good
  };
  struct Result {
    Ref<Buffer> buffer;  // bound to the caller's memory; null: copied at the end
    Array value;
    bool is_placed;  // by an update, or as a state
  };

  // An updated input that some output shows. Its new value is written to a row of that output, where the
  // next step reads it, and stands where the input was after the last.
  struct State {
    std::size_t input;
    Ref<Buffer> value;
    int before;  // the output of the values before each step; -1: one of those after it is bound to `value`
    std::byte* home = nullptr;
  };

  Executor() = default;
  void bind(std::span<const Array> inputs, std::span<const Array> outputs, const std::vector<bool>& stacked, int64_t row);
  void bind_input(std::size_t i, const Array& given, int64_t rows);
  void find_numbers(Pack& pack) const;
  void begin_disk();
  void run_unit(const Unit& unit);
  static void run_kernel(Kernel& kernel);
  void run_disk(const DiskMove& move);
  void run_piece(std::span<const Array> inputs, std::span<const Array> outputs, const std::vector<bool>& stacked,
                 int64_t first, int64_t last, bool backwards);
  void step();
  void begin_step(std::span<const Array> outputs, int64_t row, int64_t next);
  void end_step();
  void settle_states();
  void finish(std::span<const Array> inputs, std::span<const Array> outputs, bool rows, int64_t row);

  friend class Planner;
  std::vector<Unit> units_;
  std::vector<Kernel> kernels_;
  std::vector<Tasks> tasks_;
  std::vector<kernels::TileGroup> groups_;
  std::vector<Pack> packs_;
  std::vector<DiskMove> disk_moves_;
  std::vector<uint64_t> asked_;  // by slot: what the carrier has been asked for last
  std::string directory_;
  std::vector<Input> inputs_;
  std::vector<Result> results_;
  std::vector<Update> updates_;
  std::vector<State> states_;
  std::vector<bool> direct_;          // whether an update is written where it belongs
  std::vector<Array> update_values_;
  std::vector<Array> update_rooms_;   // for values that another update may overwrite
  std::vector<std::size_t> bound_results_, copied_results_, roomed_updates_, copied_updates_;  // places of such
  std::vector<std::size_t> loose_inputs_, loose_updates_;  // bound at each run
  std::vector<NumberMove> moves_[2];  // updates of 4 and 8 bytes that are copied between fixed places
  Array arena_;
  int64_t arena_bytes_ = 0, live_bytes_ = 0;
  bool calls_python_ = false;
  double work_ = 0;
  std::unique_ptr<Carrier> carrier_;  // ends before the memory it works on
};

}  // namespace wengert
