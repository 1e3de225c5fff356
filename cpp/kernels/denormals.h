// Numbers too small for a full mantissa cost a hundred cycles each on many processors; while one of
// these lives, this thread takes and makes zeros for them.
#pragma once
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace wengert::kernels {

class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }  // FTZ and DAZ
  ~FlushDenormals() { _mm_setcsr(before_); }
#else
  FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;

#if defined(__x86_64__)
 private:
  unsigned before_;
#endif
};

}  // namespace wengert::kernels
