// Elementwise operations run together, and reductions of what they make: each block of elements passes
// through all of them before the next is touched, so that what lies between them stays in the first-level
// cache. The tiles and folds are those of the single operations, and the bits too.
#pragma once
#include <vector>

#include "kernels/streamed.h"
#include "kernels/tile.h"

namespace wengert::kernels {

// Operands are numbered: first the arrays read, then what the tiles make, as the builder likes.
struct TileGroup {
  struct Member {
    Tile tile;
    SmallVector<int, 4> ins;
    DType dtype;          // of its result
    int made;             // the number of its result
    int output = -1;      // the array it is written to, or -1: it stays within the group
    int scratch = -1;     // then its place there,
    int room = -1;        // or its room, if it is reduced
    TwinTile twin = {};   // runs in place of `tile` and makes a second result
    bool own_is_second = false;  // of the two that `twin` makes
    int twin_made = -1, twin_output = -1, twin_scratch = -1, twin_room = -1;  // of the other
  };
  // A result that is reduced as it is made, a stretch at a time.
  struct End {
    int value;  // its number
    std::unique_ptr<StreamedFold> fold;
  };
  Shape shape;
  std::vector<Array> reads;   // of the group's shape, or 0-d; any strides
  std::vector<Array> writes;  // contiguous; may be one of `reads` that no later member reads
  std::vector<Member> members;
  std::vector<End> ends;
  Stretches stretches{};  // of all ends
  int scratch_slots = 0, rooms = 0;
  static constexpr std::size_t most_ends = 8;

  void place_scratch();  // gives members that stay within the group their slots, and rooms to those reduced
  // Arrays may be bound to other memory between runs, not to other strides.
  void prepare();
  void run() const;

 private:
  struct Walked {
    bool plain, constant;  // one run of memory; one element
    SmallVector<int64_t, 4> strides;
  };
  void run_range(int64_t begin, int64_t end) const;
  const Array& operand(std::size_t k) const { return k < reads.size() ? reads[k] : writes[k - reads.size()]; }
  std::vector<Walked> walks_;
  std::vector<std::size_t> streams_;  // operands walked from end to end, where the caches do not hold them
  SmallVector<int64_t, 4> sizes_;
  int64_t block_ = 0, room_bytes_ = 0;
};

}  // namespace wengert::kernels
