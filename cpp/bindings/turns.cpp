#include "bindings/turns.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "bindings/tensor.h"

namespace wengert::bindings {
namespace {

// Guarded by Python's lock, but for `ended`, which waiting threads see without it.
struct Turns {
  std::vector<const Touched*> running;
  int waiting = 0;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t ended = 0;
};

Turns*& current() {
  static Turns* own = [] {
    // A process that was forked has none of the others' runs, nor their locks.
    pthread_atfork(nullptr, nullptr, [] { current() = new Turns; });
    return new Turns;  // outlives threads that run as the process ends
  }();
  return own;
}

bool meet(const std::vector<const void*>& a, const std::vector<const void*>& b) {
  return std::any_of(a.begin(), a.end(), [&](const void* key) { return std::find(b.begin(), b.end(), key) != b.end(); });
}

bool must_wait(const Turns& all, const Touched& own) {
  return std::any_of(all.running.begin(), all.running.end(), [&](const Touched* other) {
    return meet(own.changes, other->changes) || meet(own.changes, other->reads) || meet(own.reads, other->changes);
  });
}

}  // namespace

Turn::Turn(const Touched& touched, bool stays) {
  Turns& all = *current();
  while (!all.running.empty() && must_wait(all, touched)) {
    const uint64_t seen = all.ended;  // only who holds Python's lock, as this thread does, ends one
    ++all.waiting;
    without_interpreter_lock([&] {
      std::unique_lock lock(all.mutex);
      all.changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return all.ended != seen; });
    });
    --all.waiting;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  if (!stays || (touched.reads.empty() && touched.changes.empty())) return;
  all.running.push_back(&touched);
  held_ = &touched;
}

Turn::~Turn() {
  if (!held_) return;
  Turns& all = *current();
  const auto own = std::find(all.running.begin(), all.running.end(), held_);
  if (own != all.running.end()) all.running.erase(own);  // the fork of a process has none
  if (all.waiting == 0) return;
  {
    const std::lock_guard lock(all.mutex);
    ++all.ended;
  }
  all.changed.notify_all();
}

}  // namespace wengert::bindings
