// Keeps a program within a limit of bytes: decides for each value whether it is stored or made again,
// so that the plan of memory fits and the time added is least among the candidates. Names no op.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <unordered_set>

#include "program/candidates.h"
#include "program/cut.h"

namespace wengert {

// What a program's values would take: the real plan, gaps included.
using Measure = std::function<int64_t(const Program&)>;

// One way to run a program.
struct Fit {
  std::string name;     // of the candidate
  Order order;
  int64_t bytes = 0;    // as measured
  double seconds = 0;   // predicted, of what is carried out again
};

class Fitter {
 public:
  // `seconds`: what each step takes here, for the choice among candidates.
  Fitter(const Program& program, std::vector<double> seconds, Measure measure);
  Fitter(const Fitter&) = delete;

  // The cheapest that takes at most `budget` bytes; none if there is no such one.
  std::optional<Fit> fit(int64_t budget);
  int64_t most();   // bytes of the program as it is
  int64_t least();  // of the smallest candidate: `fit` succeeds from there on
  // Those of the candidates that none betters in both bytes and seconds, the largest first.
  std::vector<Fit> curve();

  const Program& program() const { return program_; }
  const Storage& storage() const { return storage_; }
  double own_seconds() const;  // of each step once
  std::vector<int32_t> across_peak() const;  // buffers that could be given up there
  std::size_t plans() const { return plans_; }
  // Steps, edges and values looked at in search of candidates.
  int64_t looked() const { return cut_ + (division_ ? division_->looked : 0); }

 private:
  struct Candidate {
    std::string name;
    Order order;
    std::vector<bool> kept;  // across the peak, for those that are no more than that
    double seconds = 0;
    int64_t bytes = -1;      // not measured yet
  };
  int64_t measure(const Order& order);
  double added_seconds(const Order& order) const;
  int64_t bytes_of(Candidate& candidate);
  void add(std::string name, std::vector<bool> kept);
  void add(Candidate candidate);
  void add_mixed(const Candidate& small, const Candidate& fast, int64_t budget, std::vector<Candidate>& to);
  void add_stored(const Candidate& from, int64_t budget, std::vector<Candidate>& to);
  Candidate made(std::string name, std::vector<bool> kept) const;
  Candidate made(std::string name, Order order) const;

  const Program& program_;
  std::vector<double> seconds_;
  Measure measure_;
  Storage storage_;
  std::vector<double> usual_;  // what steps take on a usual machine: candidates are the same on each
  std::optional<Division> division_;
  std::vector<int32_t> giving_up_;
  std::vector<std::unique_ptr<ChainOf>> chains_;
  std::vector<Candidate> candidates_;  // the first: the program as it is
  std::unordered_set<std::size_t> known_;  // hashes of their orders
  std::size_t plans_ = 0;
  int64_t cut_ = 0;
};

// Seconds of each step where flops and bytes a second are these at best; views take none.
std::vector<double> roofline(const Program& program, const Storage& storage, double flops, double bytes);

}  // namespace wengert
