// How a checkpointed loop runs on memory: the executors of its steps, and the room they work in.
#pragma once
#include "runtime/checkpointed.h"

namespace wengert {

class ForwardRun {
 public:
  explicit ForwardRun(const Loop& loop);
  // in: the inputs. out: the shown outputs, the record of what is stored, a stack of stored states
  // for each carry, what the last step keeps.
  void operator()(const Call& call);

 private:
  const Loop& loop_;
  ExecutorPool first_, last_;
  IdlePool<std::vector<Array>> rooms_;
};

class ReverseRun {
 public:
  explicit ReverseRun(const Loop& loop);
  // in: the inputs, what ForwardRun kept, cotangents. out: cotangents as Loop says.
  // The stored states are used up: the record says so, and a second sweep runs all steps again.
  void operator()(const Call& call);

 private:
  struct Room {
    std::vector<Array> copies;   // of inputs that are not contiguous
    std::vector<Array> state;    // the carry that is being advanced
    std::vector<Array> scratch;  // outputs that nobody reads
    std::vector<std::pair<int64_t, int64_t>> stored;  // step and slot, ascending
    std::vector<int64_t> empty;                       // slots
  };
  std::unique_ptr<Room> make_room() const;
  void run(const Call& call, Room& room, Executor& tail, Executor& advance, Executor& both);

  const Loop& loop_;
  ExecutorPool tail_, advance_, both_;
  std::size_t unread_ = 0;  // outputs of `both` after the cotangents
  IdlePool<Room> rooms_;
  std::mutex guard_;
};

}  // namespace wengert
