// Steps that move a value between memory and a file: `spill` begins to write it, `end_spill` waits until it
// is written, so that its memory may go; `fetch` begins to read it back, and who reads it first waits. Between
// them other steps run. They have no kernels: an executor knows what to do.
#pragma once
#include "program/program.h"

namespace wengert {

struct Transfer {
  enum Kind : uint8_t { none, spill, end_spill, fetch };
};

const Op& transfer_op(Transfer::Kind kind);
Transfer::Kind transfer_of(const Step& step);

// What a disk may hold, and what moving takes.
struct Disk {
  std::string directory;     // "": the system's temporary one
  int64_t bytes = -1;        // at once; -1: any number
  double latency = 3e-5;     // seconds of a transfer, whatever its size
  double write = 1e-9, read = 1e-9;  // seconds a byte

  double to_write(int64_t count) const { return latency + write * double(count); }
  double to_read(int64_t count) const { return latency + read * double(count); }
  double both(int64_t count) const { return to_write(count) + to_read(count); }
};

}  // namespace wengert
