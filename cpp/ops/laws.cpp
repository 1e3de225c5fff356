#include "ops/laws.h"

#include <unordered_map>

#include "kernels/constants.h"

namespace wengert {
namespace {

// With `value` in its last operand (in either, where it `commutes`) the row gives the other one: to the
// bit, or in floats but for the sign of a zero (`loosely`).
Laws neutral(double value, bool commutes, bool loosely) {
  return {.passes = [=](std::span<const Array> known, bool to_the_bit) {
    for (int i = 1; i >= (commutes ? 0 : 1); --i) {
      const Array& x = known[std::size_t(i)];
      if (x.has_data() && !(to_the_bit && loosely && is_float(x.dtype())) && kernels::is_filled(x, value)) return 1 - i;
    }
    return -1;
  }};
}

Laws neutral_matrix() {
  return {.passes = [](std::span<const Array> known, bool to_the_bit) {
    for (int i = 0; i < 2 && !to_the_bit; ++i)
      if (known[std::size_t(i)].has_data() && kernels::is_identity(known[std::size_t(i)])) return 1 - i;
    return -1;
  }};
}

std::unordered_map<const Op*, Laws> make_laws() {
  std::unordered_map<const Op*, Laws> laws;
  laws[&find_op("add")] = neutral(0.0, true, true);  // -0 + 0 is 0
  laws[&find_op("subtract")] = neutral(0.0, false, false);
  laws[&find_op("multiply")] = neutral(1.0, true, false);
  laws[&find_op("divide")] = neutral(1.0, false, false);
  laws[&find_op("chain_multiply")] = neutral(1.0, true, true);  // gives 0 for -0
  laws[&find_op("chain_matmul")] = neutral_matrix();  // whose zeros absorb what is not finite
  for (const char* name : {"negative", "bitwise_invert"}) laws[&find_op(name)].involution = true;
  for (const char* name : {"sigmoid_grad", "silu_grad", "gelu_grad", "gelu_tanh_grad", "power_grad"})
    laws[&find_op(name)].scales = true;
  laws[&find_op("add")].sums = true;
  laws[&find_op("unslice")].placed = &find_op("unslice_add");
  return laws;
}

}  // namespace

const Laws& laws_of(const Op& op) {
  static const std::unordered_map<const Op*, Laws> laws = make_laws();
  static const Laws none;
  const auto found = laws.find(&op);
  return found == laws.end() ? none : found->second;
}

}  // namespace wengert
