// States of a loop in a file: written behind the computation and read ahead of it by a helper thread,
// checked when they come back. The file has no name from the moment it is open, so that it goes with
// the process however that ends.
#pragma once
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "array/array.h"

namespace wengert {

// Seconds the helper worked, and seconds somebody waited for it; bytes both ways.
struct SpillTimes {
  double worked = 0, waited = 0;
  int64_t written = 0, read = 0;
};
SpillTimes spill_times();  // of all files, since the process began

class SpillFile {
 public:
  SpillFile(const std::string& directory, std::size_t state_bytes);  // "": the system's temporary directory
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  void write(int64_t slot, const std::byte* state);
  void read(int64_t slot, std::byte* state) const;

 private:
  std::string directory_;
  std::size_t bytes_;
  int file_ = -1;
  std::vector<uint64_t> sums_;  // by slot
};

class Spill {
 public:
  static constexpr std::size_t rooms = 3;  // states on their way

  // States of arrays of these types.
  Spill(const std::string& directory, const std::vector<Type>& types);
  ~Spill();
  Spill(const Spill&) = delete;

  // An error of the helper is raised by the next call.
  void store(int64_t slot, std::span<const Array> state);
  void fetch(int64_t slot);  // soon to be loaded
  void load(int64_t slot, std::span<const Array> state);
  bool failed();  // for good: what it holds is lost
  // Seconds that writing and reading a state take, by doing it once.
  std::pair<double, double> measure();

 private:
  struct Room {
    enum { idle, to_write, to_read, working, ready } phase = idle;
    int64_t slot = -1;
    uint64_t turn = 0;  // what was asked for first is done first
    Array memory;
  };
  Room* spare();
  Room& wait_for_room(std::unique_lock<std::mutex>& lock);
  Room* holding(int64_t slot);
  void start();
  void work();
  void raise();

  SpillFile file_;
  std::vector<std::size_t> pieces_;
  std::vector<Room> rooms_;
  uint64_t turn_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::mutex guard_;
  std::condition_variable changed_;
  std::thread helper_;
  int process_ = 0;
};

}  // namespace wengert
