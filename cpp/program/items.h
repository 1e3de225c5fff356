// The steps of a program of single numbers as items that can be joined: a step, a sum of many numbers, a
// sum of many products.
#pragma once
#include "program/program.h"

namespace wengert {

struct Item {
  enum Kind : uint8_t { step, sum, dot } kind;
  bool joins;            // may become a lane of a vector operation
  std::size_t like;      // the step that it is, or that its last operation was
  const Op* op;          // what is carried out; of a sum `add`, of a dot its product
  std::vector<ValueId> ins;  // of a dot the left factors, then the right ones
  ValueId out;           // of the first output
  int64_t steps = 1;     // that it stands for

  std::size_t terms() const { return kind == step ? 1 : kind == sum ? ins.size() : ins.size() / 2; }
};

// An elementwise step on single numbers.
bool is_scalar_step(const Program& program, const Step& step);

// In topological order. Unless `exact`, additions and subtractions are joined to sums of as many numbers as
// nobody else reads a part of, and products that only a sum reads to its dots.
std::vector<Item> find_items(Program& program, bool exact);

}  // namespace wengert
