// Runs without Python's lock, side by side: they take turns at what one of them changes.
#pragma once
#include <vector>

namespace wengert::bindings {

// What a run reads and changes: buffers, and leaves whose gradients it does.
struct Touched {
  std::vector<const void*> reads, changes;
};

// Waits until no other thread's run changes what this one touches, nor reads what it changes. With `stays` others then
// wait for this one until it ends. Such a run calls no Python and so comes to its end, whatever waits for it. Made and
// ended with the lock held. A signal ends the waiting as a Python error.
class Turn {
 public:
  Turn(const Touched& touched, bool stays);
  ~Turn();
  Turn(const Turn&) = delete;

 private:
  const Touched* held_ = nullptr;
};

}  // namespace wengert::bindings
