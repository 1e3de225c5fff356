// Scores are held keys by queries, so that the softmax over keys goes down the columns, lane by lane,
// and only the tile of queries has to be turned.
#include "kernels/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/blas.h"
#include "kernels/chain.h"
#include "kernels/copy.h"
#include "kernels/denormals.h"
#include "kernels/lanes.h"
#include "kernels/math.h"
#include "kernels/parallel.h"
#include "kernels/small_product.h"
#include "kernels/transpose.h"
#include "kernels/variants.h"

namespace wengert::kernels {
namespace {

constexpr int64_t tile = 64;  // queries, and keys, at a time

template <class T>
using Matrix = blas::Matrix<const T>;

template <class T>
inline constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

template <class T>
int64_t padded(int64_t n) {
  return (n + granule<T> - 1) / granule<T> * granule<T>;
}

// The matrix of an item: of one index of the leading axes and one head.
template <class T>
blas::Matrix<T> item_of(const Array& x, int64_t item) {
  const std::size_t lead = x.shape().size() - 3;
  const int64_t heads = x.shape()[lead + 1];
  int64_t offset = item % heads * x.strides()[lead + 1];
  item /= heads;
  for (std::size_t i = lead; i-- > 0; item /= x.shape()[i])
    offset += item % x.shape()[i] * x.strides()[i];
  return {x.data<T>() + offset, x.shape()[lead], x.shape()[lead + 2], x.strides()[lead],
          x.strides()[lead + 2]};
}

int64_t items_of(const Array& x) {
  int64_t items = 1;
  for (std::size_t i = 0; i + 1 < x.shape().size(); ++i)
    if (i + 3 != x.shape().size()) items *= x.shape()[i];
  return items;
}

// to[c * tile + i] = scale x[first + i, c]; 0 beyond its rows.
template <class T>
void turn(const Matrix<T>& x, int64_t first, T scale, T* to) {
  const int64_t rows = std::min(tile, x.rows - first);
  const T* from = x.data + first * x.row_stride;
  if (rows == tile && x.col_stride == 1) {
    transpose(from, x.row_stride, tile, x.cols, to, scale);
  } else {
    for (int64_t c = 0; c < x.cols; ++c) {
      for (int64_t i = 0; i < rows; ++i)
        to[c * tile + i] = scale * from[i * x.row_stride + c * x.col_stride];
      std::fill(to + c * tile + rows, to + (c + 1) * tile, T(0));
    }
  }
}

// Memory from the start of a line of the caches: vectors that lie in two take twice as long.
template <class T>
class Room {
 public:
  void fit(int64_t n) {
    if (const auto lines = std::size_t(n / granule<T> + 1); lines_.size() < lines) lines_.resize(lines);
  }
  T* data() { return lines_.data()->at; }

 private:
  struct alignas(64) Line {
    T at[granule<T>];
  };
  std::vector<Line> lines_;
};

// Rows of x in whole vectors: where they lie, or padded with zeros in `room`.
template <class T>
struct Rows {
  const T* data;
  int64_t stride;

  Rows(const Matrix<T>& x, int64_t first, int64_t count, Room<T>& room) {
    const T* from = x.data + first * x.row_stride;
    if (x.col_stride == 1 && x.cols % granule<T> == 0) {
      data = from, stride = x.row_stride;
      return;
    }
    stride = padded<T>(x.cols);
    room.fit(tile * stride);
    data = room.data();
    for (int64_t i = 0; i < count; ++i) {
      T* row = room.data() + i * stride;
      for (int64_t c = 0; c < x.cols; ++c) row[c] = from[i * x.row_stride + c * x.col_stride];
      std::fill(row + x.cols, row + stride, T(0));
    }
  }
};

// The keys of a tile that the queries from `c` on see: [0, all) all of these, [all, some) from one to the next fewer.
struct Seen {
  int64_t all, some;
  Seen(int64_t keys, int64_t c, int width, bool diagonal)
      : all(diagonal ? std::min(keys, c + 1) : keys), some(diagonal ? std::min(keys, c + width) : keys) {}
};

// Queries side by side: a vector, which wastes least on the diagonal, and no less than products take at a time.
// Loops over them stay loops: unrolled first, short ones would become scalars, not vectors.
template <int bytes, class T>
inline constexpr int side = std::max(bytes / int(sizeof(T)), 8);

// A tile of scores (keys by queries) becomes weights under the largest scores so far; `kept` is what
// remains of the weights before. On the diagonal a query sees the keys up to its own number.
struct Weigh {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(T* scores, int64_t keys, int64_t queries, bool diagonal,
                                         T* most, T* mass, T* kept) {
    constexpr int width = side<bytes, T>;
    T base[tile];
    for (int64_t c = 0; c < queries; c += width) {
      const Seen seen(keys, c, width, diagonal);
      T top[width];
      std::copy_n(most + c, width, top);
      const T* score = scores + c;
      for (int64_t j = 0; j < seen.all; ++j, score += tile)
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) top[l] = score[l] > top[l] ? score[l] : top[l];
      for (int64_t j = seen.all; j < seen.some; ++j, score += tile)
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) top[l] = int(j - c) <= l && score[l] > top[l] ? score[l] : top[l];
      for (int l = 0; l < width; ++l) {
        base[c + l] = top[l] == minus_infinity<T> ? T(0) : top[l];
        kept[c + l] = math::exp_flushed(most[c + l] - base[c + l]);
        most[c + l] = top[l];
      }
    }
    for (int64_t c = 0; c < queries; c += width) {
      const Seen seen(keys, c, width, diagonal);
      T sum[width], own[width];
      for (int l = 0; l < width; ++l) sum[l] = mass[c + l] * kept[c + l];
      std::copy_n(base + c, width, own);
      T* score = scores + c;
      for (int64_t j = 0; j < seen.all; ++j, score += tile)
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) {
          score[l] = math::exp_flushed(score[l] - own[l]);
          sum[l] += score[l];
        }
      for (int64_t j = seen.all; j < seen.some; ++j, score += tile)
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) {
          const T weight = math::exp_flushed(score[l] - own[l]);
          score[l] = int(j - c) <= l ? weight : T(0);
          sum[l] += score[l];
        }
      std::copy_n(sum, width, mass + c);
    }
  }
};

// Scores become weights, and their slopes g . v the cotangents of the scores before the scale.
struct Slopes {
  template <int bytes, class T>
  [[gnu::always_inline]] static void run(T* scores, T* slopes, int64_t keys, int64_t queries,
                                         bool diagonal, const T* lse, const T* drop, T scale) {
    constexpr int width = side<bytes, T>;
    for (int64_t c = 0; c < queries; c += width) {
      T base[width], mean[width];
      std::copy_n(lse + c, width, base);
      std::copy_n(drop + c, width, mean);
      const Seen seen(keys, c, width, diagonal);
      T *score = scores + c, *slope = slopes + c;
      for (int64_t j = 0; j < seen.all; ++j, score += tile, slope += tile)
#pragma GCC ivdep
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) {
          const T weight = math::exp_flushed(score[l] - base[l]), d = weight * ((slope[l] - mean[l]) * scale);
          score[l] = weight;
          slope[l] = d;
        }
      for (int64_t j = seen.all; j < seen.some; ++j, score += tile, slope += tile)
#pragma GCC ivdep
#pragma GCC unroll 1
        for (int l = 0; l < width; ++l) {
          const T weight = math::exp_flushed(score[l] - base[l]), d = weight * ((slope[l] - mean[l]) * scale);
          score[l] = int(j - c) <= l ? weight : T(0);
          slope[l] = int(j - c) <= l ? d : T(0);
        }
    }
  }
};

// What weighted sums of values and the masses of a tile make of out and lse. A query without mass has 0.
struct Finish {
  template <int, class T>
  [[gnu::always_inline]] static void run(T* sums, int64_t stride, const T* most, const T* mass,
                                         const blas::Matrix<T>& out, T* lse) {
    T logs[tile];
    for (int64_t c = 0; c < tile; c += lanes<T>)
      for (int l = 0; l < lanes<T>; ++l) logs[c + l] = most[c + l] + math::log(mass[c + l]);
    std::copy_n(logs, out.rows, lse);
    for (int64_t i = 0; i < out.rows; ++i, sums += stride) {
      T* row = out.data + i * out.row_stride;
      const T share = mass[i] == T(0) ? T(0) : T(1) / mass[i];
      for (int64_t c = 0; c < out.cols; ++c) row[c] = sums[c] * share;
    }
  }
};

// drop[i] = sum_c a[c, i] b[c, i] - drop[i], for turned tiles: in the order of the products, so that the slope of a
// query that sees one key is 0.
struct Dots {
  template <int, class T>
  [[gnu::always_inline]] static void run(const T* a, const T* b, int64_t n, T* drop) {
    for (int64_t i = 0; i < tile; i += lanes<T>) {
      Block<T> sum = load(drop + i, lanes<T>, T(0));
      for (T& v : sum.at) v = -v;
      for (int64_t c = 0; c < n; ++c)
        for (int l = 0; l < lanes<T>; ++l) sum.at[l] += a[c * tile + i + l] * b[c * tile + i + l];
      store(sum, drop + i, lanes<T>);
    }
  }
};

struct AllFinite {
  template <int bytes, class T>
  [[gnu::always_inline]] static bool run(const blas::Matrix<T>& rows) {
    typedef T Vector [[gnu::vector_size(bytes)]];
    typedef math::detail::Bits<T> Bits [[gnu::vector_size(bytes)]];
    constexpr int64_t width = bytes / int64_t(sizeof(T));
    Bits probe = {};  // x - x is 0, or NaN; bits are joined in one cycle, where a sum takes four
    T rest = 0;
    for (int64_t i = 0; i < rows.rows; ++i) {
      const T* row = rows.data + i * rows.row_stride;
      int64_t c = 0;
      for (; c + width <= rows.cols; c += width) {
        Vector v;
        std::memcpy(&v, row + c, sizeof(v));
        probe |= Bits(v - v);
      }
      for (; c < rows.cols; ++c) rest += row[c] * T(0);
    }
    math::detail::Bits<T> found[width], any = 0;
    std::memcpy(found, &probe, sizeof(found));
    for (int l = 0; l < width; ++l) any |= found[l];
    return rest == T(0) && any == 0;
  }
};
template <class T>
bool all_finite(const blas::Matrix<T>& rows) {
  return for_isa<AllFinite, const blas::Matrix<T>&>(rows);
}

template <class T>
struct Forward {
  Matrix<T> q, k, v;
  Attention how;
  blas::Matrix<T> out;  // rows are contiguous
  T* lse;
};

// What a task keeps while it goes from tile to tile. Threads keep theirs: a replay takes no memory.
template <class T>
struct ForwardRoom {
  Room<T> queries, scores, sums, values;
  T most[tile], mass[tile], kept[tile];

  void fit(const Forward<T>& f) {
    queries.fit(f.q.cols * tile);
    scores.fit(tile * tile);
  }
};

int64_t keys_seen(const Attention& how, int64_t keys, int64_t query) {
  return how.is_causal ? std::min(keys, query + 1) : keys;
}

template <class T>
T score(const Forward<T>& f, int64_t i, int64_t j) {
  T sum = 0;
  for (int64_t c = 0; c < f.q.cols; ++c)
    sum += f.q.data[i * f.q.row_stride + c * f.q.col_stride] * T(f.how.scale) *
           f.k.data[j * f.k.row_stride + c * f.k.col_stride];
  return sum;
}

// One query, term by term: where a tile has something not finite, which a product of tiles would mix
// with what must not see it.
template <class T>
void attend_alone(const Forward<T>& f, int64_t i) {
  const int64_t keys = keys_seen(f.how, f.k.rows, i), width = f.v.cols;
  std::vector<T> weights(std::size_t(keys), T(0));
  T most = minus_infinity<T>, mass = 0;
  for (int64_t j = 0; j < keys; ++j) {
    weights[std::size_t(j)] = score(f, i, j);
    most = std::max(most, weights[std::size_t(j)]);
  }
  for (T& w : weights) mass += w = math::exp(w - (most == minus_infinity<T> ? T(0) : most));
  T* out = f.out.data + i * f.out.row_stride;
  std::fill(out, out + width, T(0));
  f.lse[i] = most + math::log(mass);
  if (mass == T(0)) return;
  for (int64_t j = 0; j < keys; ++j)
    for (int64_t c = 0; c < width; ++c)
      out[c] += weights[std::size_t(j)] / mass * f.v.data[j * f.v.row_stride + c * f.v.col_stride];
}

// Where sums over the rows of a result are made: in place where rows are whole vectors, else in `room`.
template <class T>
blas::Matrix<T> sums_of(const blas::Matrix<T>& result, Room<T>& room) {
  if (result.cols % granule<T> == 0) return result;
  const int64_t stride = padded<T>(result.cols);
  room.fit(result.rows * stride);
  return {room.data(), result.rows, result.cols, stride, 1};
}

template <class T>
void clear_rows(const blas::Matrix<T>& x, int64_t first) {
  for (int64_t i = first; i < x.rows; ++i) std::fill_n(x.data + i * x.row_stride, x.cols, T(0));
}

template <class T>
void attend(const Forward<T>& f, int64_t first, ForwardRoom<T>& room) {
  const int64_t count = std::min(tile, f.q.rows - first), width = f.v.cols,
                padded_width = padded<T>(width);
  const blas::Matrix<T> out{f.out.data + first * f.out.row_stride, count, width, f.out.row_stride, 1},
      sums = sums_of(out, room.sums);
  const int64_t columns = (count + lanes<T> - 1) / lanes<T> * lanes<T>;
  const int64_t keys = keys_seen(f.how, f.k.rows, first + count - 1);
  T* scores = room.scores.data();
  turn(f.q, first, T(f.how.scale), room.queries.data());
  std::fill_n(room.most, tile, minus_infinity<T>);
  std::fill_n(room.mass, tile, T(0));
  if (keys == 0) clear_rows(sums, 0);
  for (int64_t start = 0; start < keys; start += tile) {
    const int64_t n = std::min(tile, keys - start);
    const bool diagonal = f.how.is_causal && start == first;
    small_product<T>({.a = f.k.data + start * f.k.row_stride, .a_row = f.k.row_stride,
                      .a_col = f.k.col_stride, .b = room.queries.data(), .b_row = tile, .c = scores,
                      .c_row = tile, .m = n, .n = columns, .k = f.q.cols,
                      .band = diagonal ? Band::columns_from_row : Band::whole});
    for_isa<Weigh, T*, int64_t, int64_t, bool, T*, T*, T*>(scores, n, columns, diagonal, room.most,
                                                           room.mass, room.kept);
    for (int64_t i = 0; start > 0 && i < count; ++i)
      for (int64_t c = 0; c < width; ++c) sums.data[i * sums.row_stride + c] *= room.kept[i];
    const Rows<T> values(f.v, start, n, room.values);
    small_product<T>({.a = scores, .a_row = 1, .a_col = tile, .b = values.data,
                      .b_row = values.stride, .c = sums.data, .c_row = sums.row_stride, .m = count, .n = padded_width,
                      .k = n, .add = start > 0,
                      .band = diagonal ? Band::terms_to_row : Band::whole});
  }
  for_isa<Finish, T*, int64_t, const T*, const T*, const blas::Matrix<T>&, T*>(
      sums.data, sums.row_stride, room.most, room.mass, out, f.lse + first);
  if (!all_finite<T>(out))
    for (int64_t i = first; i < first + count; ++i) attend_alone(f, i);
}

template <class T>
struct Backward {
  Forward<T> f;  // its out and lse are not written
  Matrix<T> g, out;
  const T *lse, *g_lse;  // of the item; g_lse may be null
  blas::Matrix<T> dq, dk, dv;  // rows are contiguous
};

template <class T>
struct BackwardRoom {
  Room<T> queries, seeds, scores, slopes, dq, dk, dv, rows_q, rows_k, rows_g;
  T base[tile], drop[tile];

  void fit(const Forward<T>& f) {
    queries.fit(f.q.cols * tile);
    seeds.fit(f.v.cols * tile);
    scores.fit(tile * std::max(tile, f.v.cols));
    slopes.fit(tile * tile);
  }
};

// Term by term, as attend_alone.
template <class T>
void pull_alone(const Backward<T>& b) {
  const Forward<T>& f = b.f;
  const int64_t inner = f.q.cols, width = f.v.cols;
  const T scale = T(f.how.scale);
  for (const blas::Matrix<T>& x : {b.dq, b.dk, b.dv}) clear_rows(x, 0);
  const auto at = [](const Matrix<T>& x, int64_t i, int64_t c) {
    return x.data[i * x.row_stride + c * x.col_stride];
  };
  for (int64_t i = 0; i < f.q.rows; ++i) {
    T drop = b.g_lse ? -b.g_lse[i] : T(0);
    for (int64_t c = 0; c < width; ++c) drop += chain(at(b.g, i, c), at(b.out, i, c));
    const int64_t keys = keys_seen(f.how, f.k.rows, i);
    for (int64_t j = 0; j < keys; ++j) {
      T slope = -drop;
      for (int64_t c = 0; c < width; ++c) slope += chain(at(b.g, i, c), at(f.v, j, c));
      const T weight = math::exp(score(f, i, j) - (b.lse[i] == minus_infinity<T> ? T(0) : b.lse[i]));
      const T d = chain(weight, slope) * scale;
      T *dq = b.dq.data + i * b.dq.row_stride, *dk = b.dk.data + j * b.dk.row_stride,
        *dv = b.dv.data + j * b.dv.row_stride;
      for (int64_t c = 0; c < width; ++c) dv[c] += chain(weight, at(b.g, i, c));
      for (int64_t c = 0; c < inner; ++c) {
        dq[c] += chain(d, at(f.k, j, c));
        dk[c] += chain(d, at(f.q, i, c));
      }
    }
  }
}

template <class T>
void put_back(const blas::Matrix<T>& sums, const blas::Matrix<T>& result) {
  if (sums.data == result.data) return;
  for (int64_t i = 0; i < result.rows; ++i)
    std::copy_n(sums.data + i * sums.row_stride, result.cols, result.data + i * result.row_stride);
}

// Its rows are read soon: they lie apart, where the processor does not foresee them.
template <class T>
[[gnu::always_inline]] inline void ask_rows(const Matrix<T>& x) {
  if (x.col_stride != 1) return;
  const T* row = x.data;
  for (int64_t i = 0; i < x.rows; ++i, row += x.row_stride)
    for (int64_t c = 0; c < x.cols; c += granule<T>) __builtin_prefetch(row + c, 0, 2);
}

// `count` numbers, and 0 behind them.
template <class T>
void fill_tile(const T* from, int64_t count, T* to) {
  std::copy_n(from, count, to);
  std::fill(to + count, to + tile, T(0));
}

// What the `next` pull reads, if there is one, is asked for bit by bit: all at once it would hold up the products.
template <class T>
void pull(const Backward<T>& b, const Backward<T>* next, BackwardRoom<T>& room) {
  const Forward<T>& f = b.f;
  const int64_t inner = f.q.cols, width = f.v.cols;
  const int64_t inner_stride = padded<T>(inner), width_stride = padded<T>(width);
  const blas::Matrix<T> dq = sums_of(b.dq, room.dq), dk = sums_of(b.dk, room.dk),
                        dv = sums_of(b.dv, room.dv);
  T *scores = room.scores.data(), *slopes = room.slopes.data();
  const int64_t keys_asked = f.q.rows == 0 ? 0 : keys_seen(f.how, f.k.rows, f.q.rows - 1);
  clear_rows(dk, keys_asked);
  clear_rows(dv, keys_asked);
  if (f.k.rows == 0) clear_rows(dq, 0);
  for (int64_t first = 0; first < f.q.rows; first += tile) {
    const int64_t count = std::min(tile, f.q.rows - first);
    const int64_t columns = (count + lanes<T> - 1) / lanes<T> * lanes<T>;
    const int64_t keys = keys_seen(f.how, f.k.rows, first + count - 1);
    T* outs = scores;  // until those are made
    turn(b.g, first, T(1), room.seeds.data());
    turn(b.out, first, T(1), outs);
    const Rows<T> queries(f.q, first, count, room.rows_q), seeds(b.g, first, count, room.rows_g);
    fill_tile(b.lse + first, count, room.base);
    for (T& lse : room.base) lse = lse == minus_infinity<T> ? T(0) : lse;
    fill_tile(b.g_lse ? b.g_lse + first : nullptr, b.g_lse ? count : 0, room.drop);
    for_isa<Dots, const T*, const T*, int64_t, T*>(room.seeds.data(), outs, width, room.drop);
    turn(f.q, first, T(f.how.scale), room.queries.data());
    for (int64_t start = 0; start < keys; start += tile) {
      const int64_t n = std::min(tile, keys - start);
      const bool diagonal = f.how.is_causal && start == first;
      const bool again = f.how.is_causal ? start != first : first > 0;  // these keys have sums already
      const Backward<T>* asked = first + tile >= f.q.rows && start + tile >= keys ? next : nullptr;
      const Band columns_band = diagonal ? Band::columns_from_row : Band::whole,
                 from_band = diagonal ? Band::terms_from_row : Band::whole;
      small_product<T>({.a = f.k.data + start * f.k.row_stride, .a_row = f.k.row_stride,
                        .a_col = f.k.col_stride, .b = room.queries.data(), .b_row = tile,
                        .c = scores, .c_row = tile, .m = n, .n = columns, .k = inner,
                        .band = columns_band});
      if (asked) ask_rows(asked->f.q);
      small_product<T>({.a = f.v.data + start * f.v.row_stride, .a_row = f.v.row_stride,
                        .a_col = f.v.col_stride, .b = room.seeds.data(), .b_row = tile,
                        .c = slopes, .c_row = tile, .m = n, .n = columns, .k = width,
                        .band = columns_band});
      if (asked) ask_rows(asked->f.k);
      for_isa<Slopes, T*, T*, int64_t, int64_t, bool, const T*, const T*, T>(
          scores, slopes, n, columns, diagonal, room.base, room.drop, T(f.how.scale));
      if (asked) ask_rows(asked->f.v);
      small_product<T>({.a = scores, .a_row = tile, .a_col = 1, .b = seeds.data,
                        .b_row = seeds.stride, .c = dv.data + start * dv.row_stride,
                        .c_row = dv.row_stride, .m = n, .n = width_stride, .k = count, .add = again,
                        .band = from_band});
      if (asked) ask_rows(asked->g);
      small_product<T>({.a = slopes, .a_row = tile, .a_col = 1, .b = queries.data,
                        .b_row = queries.stride, .c = dk.data + start * dk.row_stride,
                        .c_row = dk.row_stride, .m = n, .n = inner_stride, .k = count, .add = again,
                        .band = from_band});
      if (asked) ask_rows(asked->out);
      const Rows<T> keys_here(f.k, start, n, room.rows_k);
      small_product<T>({.a = slopes, .a_row = 1, .a_col = tile, .b = keys_here.data,
                        .b_row = keys_here.stride, .c = dq.data + first * dq.row_stride, .c_row = dq.row_stride, .m = count,
                        .n = inner_stride, .k = n, .add = start > 0,
                        .band = diagonal ? Band::terms_to_row : Band::whole});
    }
  }
  put_back(dq, b.dq);
  put_back(dk, b.dk);
  put_back(dv, b.dv);
  if (!all_finite(b.dq) || !all_finite(b.dk) || !all_finite(b.dv)) pull_alone(b);
}

constexpr double worth_a_task = 0x1p19;  // multiply-adds

int64_t tasks_of(double work) {
  return int64_t(std::max(1.0, worth_a_task / std::max(work, 1.0)));
}

}  // namespace

void attention(const Array& q, const Array& k, const Array& v, const Attention& how,
               const Array& out, const Array& lse) {
  const int64_t items = items_of(q);
  if (lse.size() == 0) return;
  for_floats(out.dtype(), [&]<class T>(TypeTag<T>) {
    const auto forward = [&](int64_t item) {
      return Forward<T>{item_of<T>(q, item), item_of<T>(k, item), item_of<T>(v, item), how,
                        item_of<T>(out, item), lse.data<T>() + item * q.shape()[q.shape().size() - 3]};
    };
    const Forward<T> like = forward(0);
    const int64_t tiles = (like.q.rows + tile - 1) / tile;
    const double work = double(std::min(tile, like.q.rows)) * double(like.k.rows) *
                        double(like.q.cols + like.v.cols);
    parallel::parallel_for(items * tiles, tasks_of(work), [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      thread_local ForwardRoom<T> own;
      ForwardRoom<T>& room = own;  // found once
      room.fit(like);
      for (int64_t t = begin; t < end; ++t) attend(forward(t / tiles), t % tiles * tile, room);
    });
  });
}

void attention_grad(const Array& g, const AttentionValues& at, const Array* g_lse,
                    const Attention& how, const Array& dq, const Array& dk, const Array& dv) {
  const int64_t items = items_of(at.q);
  if (items == 0) return;
  const Array lse = contiguous(at.lse), slope = g_lse ? contiguous(*g_lse) : Array();
  for_floats(dq.dtype(), [&]<class T>(TypeTag<T>) {
    const auto backward = [&](int64_t item) {
      const int64_t first = item * at.q.shape()[at.q.shape().size() - 3];
      return Backward<T>{{item_of<T>(at.q, item), item_of<T>(at.k, item), item_of<T>(at.v, item), how,
                          {}, nullptr},
                         item_of<T>(g, item), item_of<T>(at.out, item), lse.data<T>() + first,
                         g_lse ? slope.data<T>() + first : nullptr, item_of<T>(dq, item),
                         item_of<T>(dk, item), item_of<T>(dv, item)};
    };
    const Backward<T> like = backward(0);
    const double work = double(like.f.q.rows) * double(like.f.k.rows) *
                        double(3 * like.f.q.cols + 2 * like.f.v.cols);
    constexpr int64_t near_bytes = 1 << 18;  // of an item, which must not push out what the one before it needs
    const bool foreseen = int64_t(sizeof(T)) * (like.f.q.rows + like.f.k.rows) * (like.f.q.cols + like.f.v.cols) <= near_bytes;
    parallel::parallel_for(items, tasks_of(work), [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      thread_local BackwardRoom<T> own;
      BackwardRoom<T>& room = own;
      room.fit(like.f);
      for (int64_t item = begin; item < end; ++item) {  // at the end, the next task's: often this thread's too
        const Backward<T> next = backward(std::min(item + 1, items - 1));
        pull(backward(item), foreseen && item + 1 < items ? &next : nullptr, room);
      }
    });
  });
}

}  // namespace wengert::kernels
