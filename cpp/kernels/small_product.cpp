#include "kernels/small_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

struct Multiply {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(const SmallProduct<T>& p) {
    constexpr int rows = bytes == 64 ? 8 : 4;  // as many as the registers hold; they divide a granule
    int64_t i = 0;
    for (; i + rows <= p.m; i += rows) {
      const int64_t lines = p.ahead.runs * p.ahead.lines;
      if (lines) ask(p.ahead, i * lines / p.m, (i + rows) * lines / p.m);
      strip<bytes, rows>(p, i);
    }
    if constexpr (rows > 4)
      if (i + 4 <= p.m) strip<bytes, 4>(p, i), i += 4;
    for (; i < p.m; ++i) strip<bytes, 1>(p, i);
  }

  // `rows` rows of c.
  template <int bytes, int rows, class T>
  [[gnu::always_inline]] static void strip(const SmallProduct<T>& p, int64_t i) {
    constexpr int64_t width = bytes / int64_t(sizeof(T));
    const int64_t first = p.band == Band::terms_from_row ? std::min(i, p.k) : 0;
    const int64_t last = p.band == Band::terms_to_row ? std::min(i + rows, p.k) : p.k;
    int64_t j = p.band == Band::columns_from_row ? i / width * width : 0;
    bool far = p.far;
    for (; j + 2 * width <= p.n; j += 2 * width) {
      if (far) block<bytes, rows, 2, true>(p, i, j, first, last);
      else block<bytes, rows, 2>(p, i, j, first, last);
      far = false;
    }
    for (; j < p.n; j += width) block<bytes, rows, 1>(p, i, j, first, last);
  }

  // Where `far`, a line of the next strip's rows of a is asked for at each term, from row to row.
  template <int bytes, int rows, int vectors, bool far = false, class T>
  [[gnu::always_inline]] static void block(const SmallProduct<T>& p, int64_t i, int64_t j,
                                           int64_t first, int64_t last) {
    typedef T Vector [[gnu::vector_size(bytes)]];
    constexpr int64_t width = bytes / int64_t(sizeof(T));
    Vector sums[rows][vectors] = {};
    T* c = p.c + i * p.c_row + j;
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) __builtin_prefetch(c + r * p.c_row + v * width, 1, 3);
    if (p.add || p.row) {
      const T* first_row = p.row ? p.row + j : c;
      const int64_t stride = p.row ? 0 : p.c_row;
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v)
          std::memcpy(&sums[r][v], first_row + r * stride + v * width, sizeof(Vector));
    }
    const T* a = p.a + i * p.a_row + first * p.a_col;
    const T* b = p.b + first * p.b_row + j;
    for (int64_t q = first; q < last; ++q, a += p.a_col, b += p.b_row) {
      if constexpr (far) __builtin_prefetch(a + (rows + (q & (rows - 1))) * p.a_row, 0, 2);
      Vector from[vectors];
      for (int v = 0; v < vectors; ++v) std::memcpy(&from[v], b + v * width, sizeof(Vector));
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sums[r][v] += a[r * p.a_row] * from[v];
    }
    if (p.rectify)
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) sums[r][v] = sums[r][v] <= 0 ? Vector{} : sums[r][v];
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v)
        std::memcpy(c + r * p.c_row + v * width, &sums[r][v], sizeof(Vector));
  }
};

}  // namespace

template <class T>
void small_product(const SmallProduct<T>& p) {
  for_isa<Multiply, const SmallProduct<T>&>(p);
}

template void small_product<float>(const SmallProduct<float>&);
template void small_product<double>(const SmallProduct<double>&);

}  // namespace wengert::kernels
