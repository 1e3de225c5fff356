// How a checkpointed loop runs on memory: the executors of its steps, and the room they work in.
#pragma once
#include <map>

#include "runtime/checkpointed.h"
#include "runtime/loop_states.h"

namespace wengert {

class ForwardRun {
 public:
  explicit ForwardRun(const Loop& loop);
  // in: the inputs. out: the shown outputs, the record of what is stored, a stack of stored states
  // for each carry, what the last step keeps.
  void operator()(const Call& call);
  int64_t working_bytes();  // besides inputs and outputs

 private:
  struct Room {
    std::vector<Array> copies;  // of inputs that are not contiguous
    LoopStates states;
  };
  std::shared_ptr<DiskStates> disk_states(const Array& record, double step_seconds);
  void run(const Call& call, Room& room, Executor& first, Executor& last);

  const Loop& loop_;
  ExecutorPool first_, last_;
  IdlePool<Room> rooms_;
  std::mutex guard_;
  std::map<const void*, std::shared_ptr<DiskStates>> disk_;  // by where the record lies
};

// The same for a loop that goes on while its test holds. Nothing is kept of a last step.
class OnlineRun {
 public:
  explicit OnlineRun(const Loop& loop);
  void operator()(const Call& call);

 private:
  struct Room {
    std::vector<Array> copies;
    Array answer = Array::empty(DType::bool_, {});
    LoopStates states;
  };
  void run(const Call& call, Room& room, Executor& test, Executor& body);

  const Loop& loop_;
  ExecutorPool test_, body_;
  IdlePool<Room> rooms_;
};

class ReverseRun {
 public:
  explicit ReverseRun(const Loop& loop);
  // in: the inputs, what ForwardRun kept, cotangents. out: cotangents as Loop says.
  // The stored states are used up: the record says so, and a second sweep runs all steps again.
  void operator()(const Call& call);
  int64_t working_bytes();

 private:
  struct Room {
    std::vector<Array> copies;   // of inputs that are not contiguous
    std::vector<Array> state;    // the carry that is being advanced
    std::vector<Array> scratch;  // outputs that nobody reads
    LoopStates states;
  };
  std::unique_ptr<Room> make_room() const;
  void run(const Call& call, Room& room, Executor& tail, Executor& advance, Executor& both);

  const Loop& loop_;
  ExecutorPool tail_, advance_, both_;
  std::size_t unread_ = 0;  // outputs of `both` after the cotangents
  IdlePool<Room> rooms_;
};

}  // namespace wengert
