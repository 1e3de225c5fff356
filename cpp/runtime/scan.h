// Loops as operations: the body is a program, the reverse sweep of a scan is a scan, and so are its
// tangent and its batch. Names no op.
#pragma once
#include <optional>

#include "program/program.h"

namespace wengert {

// Inputs of the body: values that stay, the carry, a row of each of `rows`. Outputs: the next carry,
// then what is stacked.
struct ScanBody {
  Program program;
  std::size_t constants = 0, carry = 0, rows = 0;
};

// What a loop keeps for its reverse sweep: all that the steps' reverses read, or the carry before some
// steps, from which the others are run again.
struct Checkpoint {
  enum Kind { all, binomial } kind = all;
  int64_t slots = 0;    // states in memory, besides the initial one
  int64_t budget = -1;  // bytes that the loop and its reverse sweep may take, in place of slots
  int64_t disk = 0;     // states on disk besides; -1: as many as are of use
  int64_t disk_bytes = -1;  // in place of disk
  double write_cost = -1, read_cost = -1;  // of a state, in steps; below 0: measured
  std::string directory = {};              // for the file; "": the system's

  bool measures() const { return disk != 0 && (write_cost < 0 || read_cost < 0); }
};

// What `op` does, if it is a scan.
struct ScanParts {
  const ScanBody& body;
  int64_t length;
  bool backwards;
};
std::optional<ScanParts> as_scan(const Op& op);

// Runs the body `length` times, the last row first if `backwards`. `inputs` are like the body's, rows
// stacked along a first axis; returns the last carry and the stacked outputs.
Vars scan(ScanBody body, std::span<const Var> inputs, int64_t length, bool backwards = false,
          const Checkpoint& checkpoint = {});

}  // namespace wengert
