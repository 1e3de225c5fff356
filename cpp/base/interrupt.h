// Long loops ask now and then whether the user wants them to end.
#pragma once
#include <algorithm>
#include <cstdint>

namespace wengert {

// Throws if so; the bindings know how to tell. Null: nobody can want it.
inline void (*check_interrupt)() = nullptr;

class InterruptPoll {
 public:
  // Asks after some milliseconds, by the work of a step in elements touched.
  explicit InterruptPoll(double work_of_step)
      : period_(int64_t(std::clamp(1e7 / std::max(work_of_step, 1.0), 1.0, 1e6))), left_(period_) {}
  int64_t period() const { return period_; }
  void after(int64_t steps) {
    if ((left_ -= steps) > 0) return;
    left_ = period_;
    if (check_interrupt) check_interrupt();
  }

 private:
  int64_t period_, left_;
};

}  // namespace wengert
