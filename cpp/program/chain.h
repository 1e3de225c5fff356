// Cheapest schedules for a chain of unequal stages under a limit of bytes: the exact optimum among
// persistent ones, which give up a stored value only when its stage is swept (Beaumont,
// Eyraud-Dubois, Herrmann, Joly, Shilova 2019). Knows no program.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace wengert {

// Stage s = 1 ... l maps a(s-1) to a(s); its reverse maps the cotangent d(s) to d(s-1) and reads
// a(s-1) and what the stage's forward made.
struct Chain {
  std::vector<double> forward, backward;            // seconds of each of the l stages
  std::vector<int64_t> full;                        // bytes of all that a stage's reverse reads, a(s) included
  std::vector<int64_t> forward_room, backward_room; // bytes in use while a stage runs, besides those
  std::vector<int64_t> state, cotangent;            // bytes of a(0) ... a(l) and of d(0) ... d(l)

  std::size_t size() const { return forward.size(); }
};

struct ChainOp {
  enum Kind : uint8_t {
    keep_all,    // forward, all kept for the reverse
    keep_input,  // forward, its input stays
    drop_input,  // forward, its input goes
    reverse,
  } kind;
  uint32_t stage;  // from 0
};

// The optima of one chain for every limit up to `limit` bytes, in `slots` steps. Sizes are rounded up to
// slots, so no schedule is over its limit; with limit <= slots nothing is rounded.
class ChainSchedules {
 public:
  ChainSchedules(Chain chain, int64_t limit, int64_t slots);

  // Seconds, and the operations; none if no persistent schedule has so little memory. a(0) is not
  // counted: it belongs to the caller.
  std::optional<double> seconds(int64_t limit) const;
  std::vector<ChainOp> schedule(int64_t limit) const;

 private:
  double& cost(std::size_t s, std::size_t t, int64_t m) { return costs_[(s * size_ + t) * row_ + std::size_t(m)]; }
  double cost(std::size_t s, std::size_t t, int64_t m) const { return costs_[(s * size_ + t) * row_ + std::size_t(m)]; }
  double cost_of_all(std::size_t s, std::size_t t, int64_t slots) const;
  double cost_of_cut(std::size_t s, std::size_t t, std::size_t cut, int64_t slots) const;
  int64_t slots_for(int64_t limit) const;

  std::size_t size_, row_;
  int64_t unit_;
  Chain chain_;                  // its bytes in slots
  std::vector<double> costs_;
  std::vector<double> passed_;   // sums of `forward`
  std::vector<int64_t> passing_; // passing_[s * size + e]: slots to run forward from s to before e
};

}  // namespace wengert
