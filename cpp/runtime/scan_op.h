// What the operations that loops become share: a scan, and the programs of its reverse sweep.
#pragma once
#include <memory>
#include <optional>

#include "program/derive.h"
#include "runtime/executor_pool.h"
#include "runtime/scan.h"

namespace wengert {

// Where a value that the reverse sweep of a step reads comes from.
struct Crossing {
  enum Kind { constant, row, kept } kind;
  std::size_t place;  // among the constants, the rows, or what the scan keeps
};

struct Scan : Op {
  ScanBody body;
  int64_t length = 0;
  bool backwards = false;
  Checkpoint checkpoint;
  std::size_t shown = 0;  // outputs that the caller asked for; the rest is kept for the sweep
  // The reverse sweep of a step, if the scan is to be swept.
  std::optional<Pulled> pulled;
  std::vector<bool> wanted;
  bool sums_all = false;  // the cotangents of wanted constants that a step does not reach, too
  std::vector<Crossing> crossing;

  std::unique_ptr<ExecutorPool> pool;

  std::size_t inputs_count() const { return body.constants + body.carry + body.rows; }
  bool is_row(std::size_t input) const { return input >= body.constants + body.carry; }
};

// The body of the reverse scan: its carry is the cotangent of the carry, and the sums of those of the
// constants; it stacks the cotangents of the rows.
struct ReverseBody {
  ScanBody body;
  std::vector<std::size_t> carries, sums, rows;  // inputs of the scan whose cotangents these are
};

ReverseBody reverse_body(const Scan& op);

// The reverse sweep of a step of a scan that is to be swept, with what it reads among the outputs.
void prepare_reverse(Scan& op, std::span<const Var> inputs);

// The tangent and the batch of a scan, as scans. `inputs` with a mapped axis have it in front.
Vars scan_tangent(const Scan& op, const Rule& r);
Vars scan_batch(const Scan& op, const Batched& b);

// The scan's rows and stacked values have the steps in front, not the mapped axis.
Var mapped_in_front(const Var& x);
Var steps_in_front(const Var& x);

// x with a mapped axis of `size` in front.
Var broadcast_mapped(const Var& x, int64_t size);

inline Type stacked(Type type, int64_t length) {
  type.shape.insert(0, length);
  return type;
}

}  // namespace wengert
