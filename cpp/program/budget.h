// Keeps a program within a limit of bytes: decides for each value whether it is stored, made again or on
// disk for a while, so that the plan of memory fits and the time added is least among the candidates. Names
// no op.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "program/candidates.h"
#include "program/cut.h"

namespace wengert {

// What a program's values would take: the real plan, gaps included. Where it is only asked whether it is `enough` (not
// negative), fewer bytes are an upper bound, and more a lower one.
using Measure = std::function<int64_t(const Program&, int64_t enough)>;

// One way to run a program.
struct Fit {
  std::string name;     // of the candidate
  Order order;
  int64_t bytes = 0;    // as measured
  double seconds = 0;   // predicted, of what is carried out again and of waiting for the disk
};

// Leave to use a disk.
struct OnDisk {
  Disk disk;
  std::vector<bool> at_end;  // steps that come when all is read back: they change what the caller sees
};

class Fitter {
 public:
  // `seconds`: what each step takes here, for the choice among candidates.
  Fitter(const Program& program, std::vector<double> seconds, Measure measure, std::optional<OnDisk> on_disk = {});
  Fitter(const Fitter&) = delete;

  // The cheapest that takes at most `budget` bytes; none if there is no such one.
  std::optional<Fit> fit(int64_t budget);
  int64_t most();   // bytes of the program as it is
  int64_t least();  // of the smallest candidate that counts: `fit` succeeds from there on; no more with more disk
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
    Choice choice;           // across the peak, for those that are no more than that
    double seconds = 0;
    int64_t at_least = 0, at_most = INT64_MAX;  // bytes, as far as they are known
    bool counts = true;      // where the least budget is asked for
  };
  int64_t measure(const Order& order, int64_t enough);
  double added_seconds(const Order& order) const;
  int64_t bytes_of(Candidate& candidate);
  bool fits(Candidate& candidate, int64_t budget);
  Fit fit_of(Candidate& candidate) { return {candidate.name, candidate.order, bytes_of(candidate), candidate.seconds}; }
  std::vector<std::size_t> by_time() const;  // the fastest first
  void add(std::string name, std::vector<bool> kept) { add(made(std::move(name), {std::move(kept)}, usual())); }
  void add(Candidate candidate);
  std::vector<Choice> on_disk_choices();
  void add_on_disk(const std::vector<Choice>& choices);
  void add_by_room();
  std::vector<int64_t> rooms(std::size_t most) const;
  std::vector<int32_t> moved_by(const Choice& choice) const;
  int64_t bytes_of(std::span<const int32_t> buffers) const;
  void add_mixed(const Candidate& small, const Candidate& fast, int64_t budget, std::vector<Candidate>& to);
  void add_stored(const Candidate& from, int64_t budget, std::vector<Candidate>& to);
  void add_windows(const Candidate& from, int64_t budget, std::vector<Candidate>& to);
  std::vector<Choice> cuts(const Machine& machine, double part, int most);
  Candidate made(std::string name, Choice choice, const Machine& machine) const;
  Choice within(Choice choice, int64_t room, bool rest_kept = true) const;
  Candidate made(std::string name, Order order) const;
  // Candidates are made for a usual machine, so that they are the same on each, and for this one.
  Machine usual() const { return {usual_}; }
  Machine own() const { return {seconds_, on_disk_ ? on_disk_->disk : Disk()}; }

  const Program& program_;
  std::vector<double> seconds_;
  Measure measure_;
  Storage storage_;
  std::vector<double> usual_;  // what steps take on a usual machine
  std::optional<OnDisk> on_disk_;
  std::optional<Division> division_;
  std::vector<int32_t> giving_up_;
  std::vector<std::unique_ptr<ChainOf>> chains_;
  std::vector<Candidate> candidates_;  // the first: the program as it is
  std::vector<Choice> to_move_;        // what `add_by_room` has still to look at
  std::unordered_map<std::size_t, std::size_t> known_;  // places by hashes of their orders
  std::size_t plans_ = 0;
  int64_t cut_ = 0;
};

// Seconds of each step where flops and bytes a second are these at best; views take none.
std::vector<double> roofline(const Program& program, const Storage& storage, double flops, double bytes);

}  // namespace wengert
