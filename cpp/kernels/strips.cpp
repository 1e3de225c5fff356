// Two of 512 bits are multiplied and added in each cycle where the processor has such registers in full, if
// nothing else takes their ports: so terms come by eights, with addresses that need no arithmetic in between, and
// all other work is done beside them, a little at a time: the next strip of a is copied, the next rows of c asked for.
#include "kernels/strips.h"

#include <algorithm>
#include <cstring>

#include "kernels/denormals.h"
#include "kernels/isa.h"

namespace wengert::kernels {
namespace {

constexpr int64_t group = 8;  // terms; strips are copied eight numbers a term

// Whether the columns of a are its lines of memory.
enum class By { rows, columns };

// Lines that are asked for a few at a time, spread evenly: many at once would hold up those that are needed now.
struct Asker {
  const std::byte* run;
  int64_t lines, stride, at, left, quota;

  [[gnu::always_inline]] void ask() {
    for (int64_t n = quota; n > 0 && left > 0; --n, --left) {
      __builtin_prefetch(run + at * 64, 0, 2);
      if (++at == lines) at = 0, run += stride;
    }
  }
};

// What lies as c does and is joined with its numbers.
enum class With { nothing, plus, times };

template <class T, By by, With with, int rows, bool copies>
struct Strip {
  typedef T Vector [[gnu::vector_size(64)]];
  typedef T Eight [[gnu::vector_size(8 * sizeof(T))]];
  static constexpr int vectors = 2;
  static constexpr int64_t width = 64 / int64_t(sizeof(T)), columns = panel_columns<T>;
  static constexpr int64_t row = by == By::rows ? copied_row<T> : 1, col = by == By::rows ? 1 : strip_rows;  // of the copy
  using Sums = Vector[rows][vectors];

  [[gnu::always_inline]] static void run(const Strips<T>& p, int64_t i, Asker& asker, const DenormalsKept& kept) {
    Sums sums = {};
    T* c = p.c + i * p.c_row;
    const blas::Ending<T>& ending = p.ending;
    if (p.add || ending.row) {
      const T* from = ending.row ? ending.row : c;
      const int64_t stride = ending.row ? 0 : p.c_row;
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) std::memcpy(&sums[r][v], from + r * stride + v * width, sizeof(Vector));
    }
    const T* a = p.copied + i / strip_rows * copied_strip<T> + i % strip_rows * row;
    const T* b = p.panel;
    const T* next_c = c + rows * p.c_row;
    const T* other = with == With::plus ? ending.plus : ending.times;
    if constexpr (with != With::nothing) other += i * p.c_row;
    const T* next_other = with == With::nothing ? nullptr : other + rows * p.c_row;
    const T* next = p.a + (i + rows) * p.a_row;
    T* to = p.copied + (i / strip_rows + 1) * copied_strip<T>;
    const int64_t step = by == By::rows ? p.a_row : p.a_col, beyond = rows * p.a_row;
    int64_t left = p.terms;
    for (; left >= group; left -= group) {
      for (int v = 0; v < vectors; ++v) __builtin_prefetch(next_c + v * width, 1, 3);
      next_c += p.c_row;
      asker.ask();
      if constexpr (with != With::nothing) {
        for (int v = 0; v < vectors; ++v) __builtin_prefetch(next_other + v * width, 0, 3);
        next_other += p.c_row;
      }
#pragma GCC unroll 8
      for (int64_t t = 0; t < group; ++t) {
        if constexpr (copies) {
          Eight eight;
          std::memcpy(&eight, next + t * step, sizeof(eight));
          std::memcpy(to + t * (by == By::rows ? row : col), &eight, sizeof(eight));
          __builtin_prefetch(next + t * step + beyond, 0, 2);
        }
        term(sums, a + t * col, b + t * columns);
      }
      a += group * col, b += group * columns;
      if constexpr (copies) next += by == By::rows ? group : group * step, to += group * col;
    }
    for (; left > 0; --left, a += col, b += columns) {
      if constexpr (copies) {
        for (int r = 0; r < rows; ++r) to[r * row] = next[r * p.a_row];
        next += p.a_col, to += col;
      }
      term(sums, a, b);
    }
    if (ending.rectify)
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) sums[r][v] = sums[r][v] <= 0 ? Vector{} : sums[r][v];
    if constexpr (with != With::nothing) kept.begin(), join(sums, other, p.c_row);
    if constexpr (with == With::times) add_up(sums, ending.sums);
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) std::memcpy(c + r * p.c_row + v * width, &sums[r][v], sizeof(Vector));
    if constexpr (with != With::nothing) kept.end();
  }

  [[gnu::always_inline]] static void join(Sums& sums, const T* other, int64_t stride) {
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) {
        Vector own;
        std::memcpy(&own, other + r * stride + v * width, sizeof(own));
        sums[r][v] = with == With::plus ? sums[r][v] + own : sums[r][v] * own;
      }
  }

  [[gnu::always_inline]] static void add_up(const Sums& sums, double* columns) {
    typedef double Wide [[gnu::vector_size(64)]];
    for (int v = 0; v < vectors; ++v) {
      Vector all = sums[0][v];
      for (int r = 1; r < rows; ++r) all += sums[r][v];
      for (int64_t l = 0; l < width; l += 8, columns += 8) {
        Wide total;
        Eight eight;
        std::memcpy(&total, columns, sizeof(total));
        std::memcpy(&eight, reinterpret_cast<const T*>(&all) + l, sizeof(eight));
        total += __builtin_convertvector(eight, Wide);
        std::memcpy(columns, &total, sizeof(total));
      }
    }
  }

  [[gnu::always_inline]] static void term(Sums& sums, const T* a, const T* b) {
    Vector from[vectors];
    for (int v = 0; v < vectors; ++v) std::memcpy(&from[v], b + v * width, sizeof(Vector));
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[r][v] += a[r * row] * from[v];
  }
};

template <class T, By by, With with>
WENGERT_AVX512 void all_strips(const Strips<T>& given) {
  const Strips<T> p = given;  // in registers: no store may change it
  const int64_t lines = p.ahead.runs * p.ahead.lines, times = p.m / strip_rows * (p.terms / group);
  Asker asker{p.ahead.from, p.ahead.lines, p.ahead.stride, 0, lines, times ? (lines + times - 1) / times : 0};
  const DenormalsKept kept;  // by what is no product
  int64_t i = 0;
  for (; i + strip_rows <= p.m; i += strip_rows) {
    if (p.first && i + 2 * strip_rows <= p.m) Strip<T, by, with, strip_rows, true>::run(p, i, asker, kept);
    else Strip<T, by, with, strip_rows, false>::run(p, i, asker, kept);
  }
  if (i + 4 <= p.m) Strip<T, by, with, 4, false>::run(p, i, asker, kept), i += 4;
  for (; i < p.m; ++i) Strip<T, by, with, 1, false>::run(p, i, asker, kept);
}

template <class T, By by>
void strips_with(const Strips<T>& p) {
  if (p.ending.plus) all_strips<T, by, With::plus>(p);
  else if (p.ending.times) all_strips<T, by, With::times>(p);
  else all_strips<T, by, With::nothing>(p);
}

template <class T>
void copy_rows(const blas::ConstMatrix<T>& a, int64_t first, int64_t rows, T* copied) {
  T* to = copied + first / strip_rows * copied_strip<T>;
  const T* from = a.data + first * a.row_stride;
  if (a.row_stride != 1) {
    for (int64_t r = 0; r < rows; ++r) std::copy_n(from + r * a.row_stride, a.cols, to + r * copied_row<T>);
  } else if (rows == strip_rows) {
    for (int64_t q = 0; q < a.cols; ++q) std::copy_n(from + q * a.col_stride, strip_rows, to + q * strip_rows);
  } else {
    for (int64_t q = 0; q < a.cols; ++q) std::copy_n(from + q * a.col_stride, rows, to + q * strip_rows);
  }
}

}  // namespace

template <class T>
void begin_copy(const blas::ConstMatrix<T>& a, T* copied) {
  copy_rows(a, 0, std::min(strip_rows, a.rows), copied);
  const int64_t left = a.rows % strip_rows;
  if (a.rows > strip_rows && left) copy_rows(a, a.rows - left, left, copied);
}

template <class T>
void multiply_strips(const Strips<T>& p) {
  if (p.a_row == 1) strips_with<T, By::columns>(p);
  else strips_with<T, By::rows>(p);
}

template void begin_copy<float>(const blas::ConstMatrix<float>&, float*);
template void begin_copy<double>(const blas::ConstMatrix<double>&, double*);
template void multiply_strips<float>(const Strips<float>&);
template void multiply_strips<double>(const Strips<double>&);

}  // namespace wengert::kernels
