#include "kernels/finite.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

template <class T>
struct Scan {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

  // Bit by bit in blocks: one more in the exponent of |x| reaches the sign only if it was all ones.
  template <int bytes>
  static int64_t run(const T* x, int64_t n) {
    constexpr int64_t block = 1024;
    constexpr Bits magnitude = ~Bits(0) >> 1, one = Bits(1) << (std::numeric_limits<T>::digits - 1);
    int64_t i = 0;
    for (; i + block <= n; i += block) {
      Bits seen = 0;
      for (int64_t j = 0; j < block; ++j) seen |= (std::bit_cast<Bits>(x[i + j]) & magnitude) + one;
      if (seen > magnitude) break;
    }
    for (; i < n; ++i)
      if (!std::isfinite(x[i])) return i;
    return -1;
  }
};

int64_t offset_of(const Array& x, int64_t place) {
  int64_t offset = 0;
  for (std::size_t axis = x.shape().size(); axis-- > 0;) {
    offset += place % x.shape()[axis] * x.strides()[axis];
    place /= x.shape()[axis];
  }
  return offset;
}

template <class T>
int64_t first_in(const Array& x) {
  if (x.is_contiguous()) return for_isa<Scan<T>>(static_cast<const T*>(x.data<T>()), x.size());
  const int64_t run = x.shape().back(), stride = x.strides().back();
  for (int64_t start = 0; start < x.size(); start += run) {
    const T* row = x.data<T>() + offset_of(x, start);
    for (int64_t i = 0; i < run; ++i)
      if (!std::isfinite(row[i * stride])) return start + i;
  }
  return -1;
}

}  // namespace

int64_t first_not_finite(const Array& x) {
  if (!is_float(x.dtype()) || x.size() == 0) return -1;
  return x.dtype() == DType::float32 ? first_in<float>(x) : first_in<double>(x);
}

double element(const Array& x, int64_t place) {
  return dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return double(x.data<T>()[offset_of(x, place)]);
  });
}

}  // namespace wengert::kernels
