// Programs within a limit of bytes: candidates of program/budget.h against real plans. Names no op.
#pragma once
#include "program/budget.h"
#include "runtime/executor.h"

namespace wengert {

struct Limit {
  int64_t bytes;            // for the values of a run, between its inputs and outputs
  double flops, bandwidth;  // what the machine does in a second at best
  int64_t taken = 0;        // of the bytes, by copies of inputs
  int64_t least = 0;        // that another program under the same limit needs
  std::optional<Disk> disk = {};  // leave to use one
};

// What became of a program under a limit.
struct Scheduled {
  std::string name;  // of the way that was the cheapest
  int64_t limit = 0, before = 0, after = 0;  // bytes
  int64_t flops = 0;                         // of what is carried out again
  double seconds = 0;                        // predicted, of the same and of waiting for the disk
  double moving = 0;                         // predicted, of the disk itself
  std::size_t plans = 0;                     // that were tried
  int64_t looked = 0;                        // at steps, edges and values, for that
  // Values that are stored across the peak, made again, or on disk meanwhile.
  struct Value {
    std::string name;
    Type type;
    int64_t bytes;
    int64_t times;  // made again; 0: stored
    uint32_t source;
    bool on_disk;
  };
  std::vector<Value> values;
};

// The least limit that can be kept to.
int64_t least_within(const Program& program, const std::vector<Update>& updates, const Limit& limit);

// Rewrites the program. A limit below the least there is fails, and leaves it as it was.
Scheduled keep_within(Program& program, const std::vector<Update>& updates, const Limit& limit);

struct CurvePoint {
  int64_t bytes;
  double seconds;  // predicted, of all steps
  std::string name;
};
// All trades of bytes for time, the most bytes first.
std::vector<CurvePoint> memory_curve(const Program& program, const std::vector<Update>& updates, const Limit& limit);

}  // namespace wengert
