// Values in a file: written behind the computation and read ahead of it by a helper thread, checked when
// they come back. The file has no name from the moment it is open, so that it goes with
// the process however that ends.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
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

// Pieces of any size, each where its owner says, known by a slot.
class SpillFile {
 public:
  explicit SpillFile(const std::string& directory);  // "": the system's temporary directory
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  void write(std::size_t slot, int64_t place, std::span<const std::byte> from);
  void read(std::size_t slot, int64_t place, std::span<std::byte> to) const;

 private:
  std::string directory_;
  int file_ = -1;
  std::vector<uint64_t> sums_;  // by slot
};

// Moves memory to a file and back on a thread of its own, in the order in which it is asked to. Memory that
// is on its way is not to be touched (or, while it is written, not to be changed) before it is waited for.
class Carrier {
 public:
  explicit Carrier(const std::string& directory) : file_(directory) {}
  ~Carrier();
  Carrier(const Carrier&) = delete;

  // The number of what was asked for. After an error nothing moves any more, and every call fails with it.
  uint64_t write(std::size_t slot, int64_t place, std::span<const std::byte> from);
  uint64_t read(std::size_t slot, int64_t place, std::span<std::byte> to);
  bool done(uint64_t number);
  void wait(uint64_t number);
  void check();   // raises the error, if there is one
  void settle();  // until nothing is on its way, whatever becomes of it
  bool failed();  // or belongs to the process that forked this one
  // Seconds that writing and reading so much take, by doing it once.
  std::pair<double, double> measure(std::span<std::byte> memory);

 private:
  struct Request {
    std::size_t slot;
    int64_t place;
    std::span<std::byte> memory;
    bool writes;
  };
  struct Helper {
    std::mutex guard;
    std::condition_variable changed;
    std::thread thread;
  };
  uint64_t ask(const Request& request);
  bool forked() const;
  std::unique_lock<std::mutex> lock() const;
  void work();

  SpillFile file_;
  std::deque<Request> requests_;
  uint64_t asked_ = 0, done_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  std::unique_ptr<Helper> helper_ = std::make_unique<Helper>();
  int process_ = 0;
};

// States of a loop, which goes on while they are on their way: copied to rooms first.
class Spill {
 public:
  static constexpr std::size_t rooms = 3;

  // States of arrays of these types.
  Spill(const std::string& directory, const std::vector<Type>& types);

  // An error of the helper is raised by the next call.
  void store(int64_t slot, std::span<const Array> state);
  void fetch(int64_t slot);  // soon to be loaded
  void load(int64_t slot, std::span<const Array> state);
  bool failed() { return carrier_.failed(); }  // for good: what it holds is lost
  std::pair<double, double> measure() { return carrier_.measure(memory_of(rooms_[0])); }

 private:
  struct Room {
    int64_t slot = -1;  // nothing
    bool reads = false;
    uint64_t number = 0;  // of the transfer that was asked for
    Array memory;
  };
  Room* spare();
  Room& wait_for_room();
  Room* holding(int64_t slot);
  void read_into(Room& room, int64_t slot);
  std::span<std::byte> memory_of(Room& room) const { return {static_cast<std::byte*>(room.memory.raw()), bytes_}; }

  std::vector<std::size_t> pieces_;
  std::size_t bytes_ = 0;
  std::vector<Room> rooms_;
  Carrier carrier_;  // ends first
};

}  // namespace wengert
