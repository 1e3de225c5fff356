// What to store at a point of a program so that bytes stored, at a price, and time spent on making the
// rest again, or on moving it to a disk and back, are least together: a minimum cut. Names no op.
#pragma once
#include "program/order.h"

namespace wengert {

// The steps before `frontier` may be carried out again for those from it on.
class Cuts {
 public:
  // `moving`: seconds for each buffer, or nothing where there is no disk.
  Cuts(const Program& program, const Storage& storage, std::span<const double> seconds, std::size_t frontier,
       std::vector<double> moving = {});

  struct Kept {
    std::vector<bool> buffers;  // of those made before the frontier
    std::vector<bool> on_disk;  // the same
    int64_t bytes = 0;          // of the buffers
    double seconds = 0;         // of the steps carried out again, and of moves
  };
  // The optimum at `price` seconds a byte.
  Kept at(double price);
  // All optima between keeping the least and keeping all, dearest in bytes first; at most `most` cuts, and
  // fewer where a cut is much work.
  std::vector<Kept> hull(int most);

  int64_t edges_looked_at() const { return looked_; }

 private:
  struct Edge {
    int32_t to;
    int64_t room;
  };
  void connect(int32_t from, int32_t to, int64_t room);
  bool level();
  void push();

  const Program& program_;
  const Storage& storage_;
  std::span<const double> seconds_;
  std::size_t frontier_;
  std::vector<double> moving_;
  std::vector<int32_t> buffers_;       // that steps before the frontier make
  std::vector<int32_t> node_of_;       // of each buffer: it is needed after the frontier
  std::vector<int32_t> node_of_step_;  // the step is carried out again
  std::vector<std::pair<std::size_t, std::size_t>> prices_;  // edge and buffer
  std::vector<int64_t> rooms_;         // of all edges, without prices
  double scale_;                       // whole numbers for a second
  std::vector<Edge> edges_;            // in pairs, there and back
  std::vector<std::vector<int32_t>> of_;
  std::vector<int32_t> level_;
  std::vector<std::size_t> next_;
  int64_t looked_ = 0;
};

}  // namespace wengert
