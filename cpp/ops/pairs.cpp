// Compiled without contraction: a product is rounded before it is added, as between two tiles.
#include "ops/pairs.h"

#include "kernels/chain.h"
#include "kernels/tile_loop.h"

namespace wengert {
namespace {

struct Add {
  template <class T> T operator()(T a, T b) const { return a + b; }
};
struct Subtract {
  template <class T> T operator()(T a, T b) const { return a - b; }
};
struct SubtractFrom {
  template <class T> T operator()(T a, T b) const { return b - a; }
};
struct Multiply {
  template <class T> T operator()(T a, T b) const { return a * b; }
};
struct ChainMultiply {
  template <class T> T operator()(T a, T b) const { return kernels::chain(a, b); }
};

template <class First, class Second>
struct Pair {
  template <class T> T operator()(T a, T b, T c) const { return Second{}(First{}(a, b), c); }
};

constexpr std::size_t kinds = 4, seconds = kinds + 1;
using Table = std::array<std::array<kernels::Tiles, seconds>, kinds>;

template <class First, class... Second>
void add_pairs(std::array<kernels::Tiles, seconds>& row) {
  std::size_t at = 0;
  auto add = [&]<class F>() {
    kernels::add_tile<F, float, float, float>(row[at], DType::float32);
    kernels::add_tile<F, double, double, double>(row[at], DType::float64);
    ++at;
  };
  (add.template operator()<Pair<First, Second>>(), ...);
}

template <class... First>
Table make_table() {
  Table table;
  std::size_t at = 0;
  (add_pairs<First, Add, Subtract, Multiply, ChainMultiply, SubtractFrom>(table[at++]), ...);
  return table;
}

std::size_t kind_of(const Op& op) {
  static const std::array<const Op*, kinds> ops{&find_op("add"), &find_op("subtract"), &find_op("multiply"),
                                                &find_op("chain_multiply")};
  return std::size_t(std::find(ops.begin(), ops.end(), &op) - ops.begin());
}

}  // namespace

kernels::Tile pair_tile(const Op& first, const Op& second, int place, DType dtype) {
  static const Table table = make_table<Add, Subtract, Multiply, ChainMultiply>();
  constexpr std::size_t subtract = 1, subtract_from = kinds;
  const std::size_t f = kind_of(first), s = kind_of(second);
  if (f == kinds || s == kinds) return nullptr;
  return table[f][s == subtract && place == 1 ? subtract_from : s](dtype);
}

}  // namespace wengert
