#include "kernels/isa.h"

namespace wengert {
namespace {

Isa& current() {
  static Isa level = best_isa();
  return level;
}

}  // namespace

Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa isa() { return current(); }
void set_isa(Isa level) { current() = level <= best_isa() ? level : best_isa(); }

const char* name(Isa level) {
#if defined(__x86_64__)
  return level == Isa::avx512 ? "avx512" : level == Isa::avx2 ? "avx2" : "x86-64";
#else
  return level == Isa::baseline ? "aarch64" : "unsupported";
#endif
}

}  // namespace wengert
