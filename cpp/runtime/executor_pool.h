// Executors of one program: runs may be at work on several threads, each has its own.
#pragma once
#include <memory>
#include <mutex>

#include "program/rewrite.h"
#include "runtime/executor.h"

namespace wengert {

class ExecutorPool {
 public:
  explicit ExecutorPool(Program program, std::vector<Update> updates = {})
      : program_(std::move(program)), updates_(std::move(updates)) {
    rewrite(program_, false);
  }

  // f(Executor&) with one that nobody else uses.
  template <class F>
  void with(const F& f) {
    std::unique_ptr<Executor> executor;
    {
      const std::lock_guard lock(guard_);
      if (!idle_.empty()) {
        executor = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (!executor) executor = std::make_unique<Executor>(program_, updates_);
    f(*executor);
    const std::lock_guard lock(guard_);
    idle_.push_back(std::move(executor));
  }
  void run(std::span<const Array> inputs, std::span<const Array> outputs) {
    with([&](Executor& executor) { executor.run(inputs, outputs); });
  }
  const Program& program() const { return program_; }

 private:
  Program program_;
  std::vector<Update> updates_;
  std::mutex guard_;
  std::vector<std::unique_ptr<Executor>> idle_;
};

}  // namespace wengert
