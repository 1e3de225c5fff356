// Reductions of a dense array that is given a stretch at a time, while it is made, so that it need not
// lie in memory as a whole. The order of combination is that of `reduce`, and so are the bits.
#pragma once
#include <memory>
#include <optional>

#include "kernels/reduce.h"

namespace wengert::kernels {

// How the elements are given, by shape alone: lines are cut into spans, which one thread folds from end to
// end, and spans into stretches; the last of each may be shorter. In elements.
struct Stretches {
  int64_t size, line, span, stretch;
  bool operator==(const Stretches&) const = default;
};

// None where `reduce` goes another way than along the elements, where a span would take too much memory or
// leave threads without work, and for folds that are more than a sum, a product or an extremum of floats:
// the compiler may contract their products in another way here.
std::optional<Stretches> stretches_of(Fold fold, const Array& x, const Ints& axes);

class StreamedFold {
 public:
  static constexpr int64_t state_bytes = 4096;  // at most, of a span

  struct Stretch {
    const void* at;       // its elements
    int64_t first, last;  // their places in the array
    bool begins, ends;    // its span
  };

  virtual ~StreamedFold() = default;
  // `state` stays with the span; its alignment is that of a cache line.
  virtual void absorb(const Stretch& stretch, void* state) = 0;
  virtual void join() = 0;  // when all spans are folded
};

// `x` and `out` as for `reduce`; x may be without memory, and out may be bound to other memory between runs.
std::unique_ptr<StreamedFold> streamed(Fold fold, const Array& x, const Ints& axes, const Array& out);

}  // namespace wengert::kernels
