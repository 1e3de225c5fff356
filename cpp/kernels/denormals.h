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
  static constexpr unsigned flush = 0x8040;  // FTZ and DAZ

 private:
  unsigned before_;
#endif
};

// Between these two, within one of those, numbers are what they are again: for arithmetic on what is read and written
// there. What only passes in registers, a compiler may move out.
class DenormalsKept {
 public:
#if defined(__x86_64__)
  DenormalsKept() : before_(_mm_getcsr()), kept_(before_ & ~FlushDenormals::flush) {}
  [[gnu::always_inline]] void begin() const { asm volatile("ldmxcsr %0" : : "m"(kept_) : "memory"); }
  [[gnu::always_inline]] void end() const { asm volatile("ldmxcsr %0" : : "m"(before_) : "memory"); }

 private:
  unsigned before_, kept_;
#else
  void begin() const {}
  void end() const {}
#endif
};

}  // namespace wengert::kernels
