// How a checkpointed loop runs on memory: the executors of its steps, and the room they work in.
#pragma once
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
  std::shared_ptr<AsideStates> disk_states(const Record& record, double step_seconds);
  void run(const Call& call, Room& room, Executor& first, Executor& last);

  const Loop& loop_;
  ExecutorPool first_, last_;
  IdlePool<Room> rooms_;
  std::shared_ptr<AsidePool> disk_ = std::make_shared<AsidePool>(8);  // each with a file and a thread
};

// The same for a loop that goes on while its test holds. Nothing is kept of a last step, and the states are
// in memory that grows with their number, as nobody knows how many there will be.
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
  std::shared_ptr<AsidePool> states_ = std::make_shared<AsidePool>(4096);
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
