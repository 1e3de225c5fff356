// Owns: the chain rule's product of a cotangent (or tangent) and a slope.
// Must not know: any function.
#pragma once

namespace wengert::kernels {

// Exactly 0 where either factor is 0: what is not asked for contributes nothing, also where the other
// is infinite or NaN, as on a branch that was not taken. Symmetric, so that both modes agree.
template <class T>
[[gnu::always_inline]] inline T chain(T g, T slope) {
  const T product = g * slope;
  return g == T(0) || slope == T(0) ? T(0) : product;
}

}  // namespace wengert::kernels
