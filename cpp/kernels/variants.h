// One body of code, compiled for every instruction set and called for the one in use. Knows no
// kernel.
#pragma once
#include "base/dtype.h"
#include "kernels/isa.h"

namespace wengert::kernels {

template <class F, class... A>
struct Variants {
  static auto baseline(A... args) { return F::template run<16>(args...); }
  WENGERT_AVX2 static auto avx2(A... args) { return F::template run<32>(args...); }
  WENGERT_AVX512 static auto avx512(A... args) { return F::template run<64>(args...); }
};

// F::run<register size in bytes>(args...); what it calls is marked always_inline.
template <class F, class... A>
auto for_isa(A... args) {
  switch (isa()) {
    case Isa::avx512:
      return Variants<F, A...>::avx512(args...);
    case Isa::avx2:
      return Variants<F, A...>::avx2(args...);
    default:
      return Variants<F, A...>::baseline(args...);
  }
}

// The same for loops that divide or take roots: those take twice as long for a register of twice the
// size, and here and there longer.
template <class F, class... A>
auto for_isa_dividing(A... args) {
  if (isa() == Isa::baseline) return Variants<F, A...>::baseline(args...);
  return Variants<F, A...>::avx2(args...);
}

// f(TypeTag<T>{}) of a float dtype.
template <class F>
void for_floats(DType dtype, F&& f) {
  if (dtype == DType::float32) f(TypeTag<float>{});
  else f(TypeTag<double>{});
}

}  // namespace wengert::kernels
