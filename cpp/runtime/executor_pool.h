// Executors of one program: runs may be at work on several threads, each has its own.
#pragma once
#include <memory>
#include <mutex>

#include "program/rewrite.h"
#include "runtime/executor.h"

namespace wengert {

// Things that are costly to make and serve one run at a time.
template <class T>
class IdlePool {
 public:
  // f(T&) with one that nobody else uses, made by make() if there is none.
  template <class Make, class F>
  void with(const Make& make, const F& f) {
    std::unique_ptr<T> own;
    {  // making one too, as it counts references to what the others hold
      const std::lock_guard lock(guard_);
      if (idle_.empty()) own = make();
      else own = std::move(idle_.back()), idle_.pop_back();
    }
    f(*own);
    const std::lock_guard lock(guard_);
    idle_.push_back(std::move(own));
  }

 private:
  std::mutex guard_;
  std::vector<std::unique_ptr<T>> idle_;
};

class ExecutorPool {
 public:
  // `exact`: what runs keeps the bits of `program`.
  explicit ExecutorPool(Program program, std::vector<Update> updates = {}, bool exact = false)
      : program_(std::move(program)), rewritten_(program_), updates_(std::move(updates)) {
    rewrite(rewritten_, exact);
  }

  // f(Executor&) with one that nobody else uses.
  template <class F>
  void with(const F& f) {
    executors_.with([&] { return std::make_unique<Executor>(rewritten_, updates_); }, f);
  }
  void run(std::span<const Array> inputs, std::span<const Array> outputs) {
    with([&](Executor& executor) { executor.run(inputs, outputs); });
  }
  // As it was given: what is derived from it computes as its operations do.
  const Program& program() const { return program_; }

 private:
  Program program_, rewritten_;
  std::vector<Update> updates_;
  IdlePool<Executor> executors_;
};

}  // namespace wengert
