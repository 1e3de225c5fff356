// Numbers too small for a full mantissa cost a hundred cycles each on many processors, and gradients of what has
// converged are full of them; while one of these lives, this thread takes and makes zeros for them. One within
// another costs next to nothing.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace wengert::kernels {

class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) {
    if ((before_ & flush) != flush) _mm_setcsr(before_ | flush);
  }
  ~FlushDenormals() {
    if ((before_ & flush) != flush) _mm_setcsr(before_);
  }
#else
  FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;

  // A thread starts as the one that made it was just then.
  static void begin_thread() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() & ~flush);
#endif
  }

#if defined(__x86_64__)
 private:
  static constexpr unsigned flush = 0x8040;  // FTZ and DAZ
  unsigned before_;
#endif
};

}  // namespace wengert::kernels
