// Owns: the chain rule's product of a cotangent (or tangent) and a slope.
// Must not know: any function.
#pragma once

namespace wengert::kernels {

// Exactly 0 where g is 0: what is not asked for contributes nothing, also where the slope is infinite
// or NaN, as on a branch that was not taken. A slope of 0 absorbs an infinite g, but not a NaN: that
// one was taken, and shows.
template <class T>
[[gnu::always_inline]] inline T chain(T g, T slope) {
  T product = g * slope;
  product = slope == T(0) ? (g == g ? T(0) : g) : product;
  return g == T(0) ? T(0) : product;
}

}  // namespace wengert::kernels
