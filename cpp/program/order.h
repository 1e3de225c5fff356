// Programs whose steps are carried out again: an order names steps, some more than once, and a step
// that comes again makes its values afresh. What is stored, what is recomputed and what is on disk for a
// while is all in the order. Names no op.
#pragma once
#include "program/transfer.h"

namespace wengert {

// A step, or a move of a buffer to or from the disk.
struct Entry {
  uint32_t number;
  Transfer::Kind move = Transfer::none;
};
using Order = std::vector<Entry>;
Order order_of(std::size_t steps);  // each once

// The buffers of a program's values, numbered; a view has the buffer of what it looks at.
struct Storage {
  std::vector<int32_t> home;             // of each value
  std::vector<int64_t> bytes;            // of each buffer; none for what lies outside the program's memory
  std::vector<int32_t> maker;            // the step that makes a buffer, or -1
  std::vector<bool> fixed;               // never made again: from outside, shown outside, made by a user's code
  std::vector<int32_t> maker_of;         // of each value: its step (of a view: the view's), or -1
  std::vector<bool> is_view;             // of each step
  std::vector<std::vector<ValueId>> values;  // of each buffer
};
Storage storage_of(const Program& program);

// Most bytes alive at once, by the sizes of values alone, and when.
struct Peak {
  int64_t bytes = 0;
  std::size_t place = 0;
};
Peak peak_of(const Program& program, const Storage& storage, const Order& order);

// The program in this order: values made again or read back are new ones, the former in regions of their
// own, and each read sees the newest; of what is fixed there is one. `directory`: where the disk is.
Program carry_out(const Program& program, const Storage& storage, const Order& order,
                  const std::string& directory = "");

// Makes an order: a value that is wanted and was given up is made again first, with all that this needs.
class OrderMaker {
 public:
  OrderMaker(const Program& program, const Storage& storage);
  void run(std::size_t first, std::size_t last);
  void give_up(int32_t buffer);  // no effect on what is fixed or not there
  void want(int32_t buffer);
  // Of a buffer, whether fixed or not, but for what lies outside the program's memory.
  void spill(int32_t buffer);      // its value is being written
  void end_spill(int32_t buffer);
  void leave_on_disk(int32_t buffer);  // read back when it is wanted
  const Order& order() const { return order_; }
  int64_t steps_looked_at() const { return looked_; }

 private:
  void make(std::size_t step);  // with what it reads and is not there
  bool fetched(ValueId id) const;  // where it is not there
  void forget(int32_t buffer);

  const Program& program_;
  const Storage& storage_;
  std::vector<bool> there_, on_disk_;  // values, buffers
  Order order_;
  std::vector<std::size_t> pending_;
  int64_t looked_ = 0;
};

}  // namespace wengert
