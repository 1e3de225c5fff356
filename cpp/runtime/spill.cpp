#include "runtime/spill.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wengert {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void fail_file(const std::string& directory, const char* what, int error, const char* remedy) {
  fail(ErrorKind::file, "checkpoint on disk: ", what, " in ", directory, error ? ": " : "",
       error ? std::strerror(error) : "", "; ", remedy);
}

constexpr const char* other_directory = "free some space, or name another directory (wg.TwoLevel(directory=...))";

// Four lanes of multiplied words: finds any changed bit, at the speed of memory.
uint64_t checksum(const std::byte* data, std::size_t bytes) {
  constexpr uint64_t odd = 0x9E3779B97F4A7C15u;
  uint64_t lanes[4] = {1, 2, 3, 4};
  std::size_t at = 0;
  for (; at + 32 <= bytes; at += 32)
    for (int i = 0; i < 4; ++i) {
      uint64_t word;
      std::memcpy(&word, data + at + 8 * i, 8);
      lanes[i] = std::rotl(lanes[i] ^ word, 29) * odd;
    }
  for (; at < bytes; ++at) lanes[at % 4] = std::rotl(lanes[at % 4] ^ uint64_t(data[at]), 29) * odd;
  uint64_t sum = bytes;
  for (const uint64_t lane : lanes) sum = std::rotl(sum ^ lane, 29) * odd;
  return sum;
}

std::string temporary_directory() {
  const char* given = std::getenv("TMPDIR");
  return given && *given ? given : "/tmp";
}

struct Times {
  std::mutex guard;
  SpillTimes all;
};

Times& times() {
  static Times own;
  return own;
}

void count(const SpillTimes& more) {
  const std::lock_guard lock(times().guard);
  SpillTimes& all = times().all;
  all = {all.worked + more.worked, all.waited + more.waited, all.written + more.written, all.read + more.read};
}

}  // namespace

SpillTimes spill_times() {
  const std::lock_guard lock(times().guard);
  return times().all;
}

SpillFile::SpillFile(const std::string& directory)
    : directory_(directory.empty() ? temporary_directory() : directory) {
  std::string folder = directory_ + "/wengert-XXXXXX";
  if (!mkdtemp(folder.data()))  // mode 0700
    fail_file(directory_, "cannot make a private directory", errno,
              "name a directory that can be written (wg.TwoLevel(directory=...))");
  const std::string name = folder + "/states";
  file_ = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const int error = errno;
  if (file_ >= 0) unlink(name.c_str());
  rmdir(folder.c_str());
  if (file_ < 0) fail_file(directory_, "cannot make a file", error, other_directory);
}

SpillFile::~SpillFile() { close(file_); }

void SpillFile::write(std::size_t slot, int64_t place, std::span<const std::byte> from) {
  if (slot >= sums_.size()) sums_.resize(slot + 1);
  sums_[slot] = checksum(from.data(), from.size());
  for (std::size_t done = 0; done < from.size();) {
    const ssize_t n = pwrite(file_, from.data() + done, from.size() - done, off_t(place) + off_t(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_file(directory_, "cannot write a state", n < 0 ? errno : ENOSPC, other_directory);
    done += std::size_t(n);
  }
}

void SpillFile::read(std::size_t slot, int64_t place, std::span<std::byte> to) const {
  for (std::size_t done = 0; done < to.size();) {
    const ssize_t n = pread(file_, to.data() + done, to.size() - done, off_t(place) + off_t(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_file(directory_, "cannot read a state", errno, other_directory);
    if (n == 0) fail_file(directory_, "the file of states was cut short", 0, "nothing else may change it");
    done += std::size_t(n);
  }
  if (checksum(to.data(), to.size()) != sums_[slot])
    fail_file(directory_, "a state came back with other bits than were written", 0, "the disk or something else changed them");
}

Carrier::~Carrier() {
  if (!helper_->thread.joinable()) return;
  if (forked()) {  // the thread is the parent's, and so is what it waits for
    (void)helper_.release();
    return;
  }
  {
    const std::lock_guard lock(helper_->guard);
    stop_ = true;
  }
  helper_->changed.notify_all();
  helper_->thread.join();
}

bool Carrier::forked() const { return process_ != 0 && process_ != getpid(); }

std::unique_lock<std::mutex> Carrier::lock() const {
  if (forked()) fail(ErrorKind::file, "checkpoint on disk: the states belong to the process that forked this one");
  return std::unique_lock(helper_->guard);
}

uint64_t Carrier::ask(const Request& request) {
  const auto own = lock();
  if (error_) std::rethrow_exception(error_);
  if (!helper_->thread.joinable()) {
    process_ = getpid();
    helper_->thread = std::thread([this] { work(); });
  }
  requests_.push_back(request);
  helper_->changed.notify_all();
  return ++asked_;
}

uint64_t Carrier::write(std::size_t slot, int64_t place, std::span<const std::byte> from) {
  return ask({slot, place, {const_cast<std::byte*>(from.data()), from.size()}, true});
}

uint64_t Carrier::read(std::size_t slot, int64_t place, std::span<std::byte> to) {
  return ask({slot, place, to, false});
}

bool Carrier::done(uint64_t number) {
  const auto own = lock();
  return done_ >= number;
}

void Carrier::wait(uint64_t number) {
  const auto start = Clock::now();
  auto own = lock();
  if (done_ < number) {
    helper_->changed.wait(own, [&] { return done_ >= number; });
    count({.waited = since(start)});
  }
  if (error_) std::rethrow_exception(error_);
}

void Carrier::check() {
  const auto own = lock();
  if (error_) std::rethrow_exception(error_);
}

void Carrier::settle() {
  auto own = lock();
  helper_->changed.wait(own, [&] { return done_ == asked_; });
}

bool Carrier::failed() {
  if (forked()) return true;
  const auto own = lock();
  return bool(error_);
}

void Carrier::work() {
  std::unique_lock own(helper_->guard);
  while (true) {
    helper_->changed.wait(own, [&] { return stop_ || !requests_.empty(); });
    if (stop_) return;
    const Request next = requests_.front();
    requests_.pop_front();
    if (!error_) {
      own.unlock();
      const auto start = Clock::now();
      std::exception_ptr failed;
      try {
        if (next.writes) file_.write(next.slot, next.place, next.memory);
        else file_.read(next.slot, next.place, next.memory);
      } catch (...) {
        failed = std::current_exception();
      }
      const auto moved = int64_t(next.memory.size());
      count({.worked = since(start), .written = next.writes ? moved : 0, .read = next.writes ? 0 : moved});
      own.lock();
      error_ = failed;
    }
    ++done_;
    helper_->changed.notify_all();
  }
}

std::pair<double, double> Carrier::measure(std::span<std::byte> memory) {
  std::fill(memory.begin(), memory.end(), std::byte(0));
  const auto start = Clock::now();
  file_.write(0, 0, memory);
  const double write = since(start);
  file_.read(0, 0, memory);
  return {write, since(start) - write};
}

Spill::Spill(const std::string& directory, const std::vector<Type>& types) : rooms_(rooms), carrier_(directory) {
  for (const Type& type : types) {
    pieces_.push_back(std::size_t(numel(type.shape)) * std::size_t(itemsize(type.dtype)));
    bytes_ += pieces_.back();
  }
  for (Room& room : rooms_) room.memory = Array::empty(DType::uint8, {int64_t(bytes_)});
}

Spill::Room* Spill::holding(int64_t slot) {
  for (Room& room : rooms_)
    if (room.slot == slot) return &room;
  return nullptr;
}

// One that is idle, or whose state was written or fetched longest ago; null if all are at work.
Spill::Room* Spill::spare() {
  Room* found = nullptr;
  for (Room& room : rooms_) {
    if (room.slot < 0) return &room;
    if (carrier_.done(room.number) && !(found && found->number < room.number)) found = &room;
  }
  return found;
}

Spill::Room& Spill::wait_for_room() {
  carrier_.check();
  Room* found = spare();
  if (!found) {
    found = &*std::min_element(rooms_.begin(), rooms_.end(),
                               [](const Room& a, const Room& b) { return a.number < b.number; });
    carrier_.wait(found->number);
  }
  found->slot = -1;
  return *found;
}

void Spill::store(int64_t slot, std::span<const Array> state) {
  if (Room* old = holding(slot)) {  // a state that this one replaces
    carrier_.wait(old->number);
    old->slot = -1;
  }
  Room& room = wait_for_room();
  auto* to = static_cast<std::byte*>(room.memory.raw());
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    if (pieces_[k]) std::memcpy(to, state[k].raw(), pieces_[k]);
    to += pieces_[k];
  }
  room.number = carrier_.write(std::size_t(slot), slot * int64_t(bytes_), memory_of(room));
  room.slot = slot;
  room.reads = false;
}

void Spill::read_into(Room& room, int64_t slot) {
  room.slot = -1;
  room.number = carrier_.read(std::size_t(slot), slot * int64_t(bytes_), memory_of(room));
  room.slot = slot;
  room.reads = true;
}

void Spill::fetch(int64_t slot) {
  if (holding(slot)) return;
  if (Room* room = spare()) read_into(*room, slot);
}

void Spill::load(int64_t slot, std::span<const Array> state) {
  carrier_.check();
  Room* room = holding(slot);
  if (!room) read_into(*(room = &wait_for_room()), slot);
  if (room->reads) carrier_.wait(room->number);  // what is being written can be read
  const auto* from = static_cast<const std::byte*>(room->memory.raw());
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    if (pieces_[k]) std::memcpy(state[k].raw(), from, pieces_[k]);
    from += pieces_[k];
  }
}

}  // namespace wengert
