// Instruction sets, chosen when the module loads. A function marked with one of these is compiled
// for it, with everything it calls inlined; the rest of the library is plain x86-64 (or aarch64).
#pragma once

// Attributes cannot be named by anything but a macro. `prefer-vector-width` asks for full registers; `prfchw`, which
// processors of these sets carry out or pass over, for lines that are about to be written as our own: one that
// another core has, too, would be asked for twice.
#if defined(__x86_64__)
#define WENGERT_AVX2 [[gnu::target("avx2,fma,bmi2,prfchw"), gnu::flatten]]
#define WENGERT_AVX512                                                                               \
  [[gnu::target("avx2,fma,bmi2,prfchw,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"), \
    gnu::flatten]]
#else
#define WENGERT_AVX2
#define WENGERT_AVX512
#endif

namespace wengert {

enum class Isa { baseline, avx2, avx512 };
inline constexpr int isa_count = 3;

Isa best_isa();  // what this machine can run
Isa isa();       // what the kernels use now
void set_isa(Isa level);  // not above best_isa()
const char* name(Isa level);

}  // namespace wengert
