// Programs that are computed again instead of kept: what a call recorded becomes one node, which keeps
// the values that the call read from around it, and whose reverse sweep carries the program out again.
// Where a program that holds such a node runs, the node's own steps take its place. Names no op.
#pragma once
#include "graph/tape.h"
#include "program/program.h"

namespace wengert {

// Makes what the tape took down one node, whose outputs `results` become: values that the call
// returned (those not made within stay what they are). Ends the tape.
void enclose(Tape& tape, std::span<const Var> results);

// The same of what was appended to a trace since it had `from` nodes, and its recording, if there is
// one, `renamed` pairs of names. Nothing happens where `part` strayed.
void enclose(Trace& trace, std::size_t from, std::size_t renamed, const Part& part, std::span<const Var> results,
             const Tape::Keeps& keeps);

}  // namespace wengert
