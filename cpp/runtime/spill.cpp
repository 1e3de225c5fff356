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

#include "kernels/copy.h"

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

SpillFile::SpillFile(const std::string& directory, std::size_t state_bytes)
    : directory_(directory.empty() ? temporary_directory() : directory), bytes_(state_bytes) {
  std::string folder = directory_ + "/wengert-XXXXXX";
  if (!mkdtemp(folder.data()))  // mode 0700
    fail_file(directory_, "cannot make a private directory", errno, "name a directory that can be written (wg.TwoLevel(directory=...))");
  const std::string name = folder + "/states";
  file_ = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const int error = errno;
  if (file_ >= 0) unlink(name.c_str());
  rmdir(folder.c_str());
  if (file_ < 0) fail_file(directory_, "cannot make a file", error, other_directory);
}

SpillFile::~SpillFile() { close(file_); }

void SpillFile::write(int64_t slot, const std::byte* state) {
  if (std::size_t(slot) >= sums_.size()) sums_.resize(std::size_t(slot) + 1);
  sums_[std::size_t(slot)] = checksum(state, bytes_);
  for (std::size_t done = 0; done < bytes_;) {
    const ssize_t n = pwrite(file_, state + done, bytes_ - done, off_t(slot) * off_t(bytes_) + off_t(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_file(directory_, "cannot write a state", n < 0 ? errno : ENOSPC, other_directory);
    done += std::size_t(n);
  }
}

void SpillFile::read(int64_t slot, std::byte* state) const {
  for (std::size_t done = 0; done < bytes_;) {
    const ssize_t n = pread(file_, state + done, bytes_ - done, off_t(slot) * off_t(bytes_) + off_t(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_file(directory_, "cannot read a state", errno, other_directory);
    if (n == 0) fail_file(directory_, "the file of states was cut short", 0, "nothing else may change it");
    done += std::size_t(n);
  }
  if (checksum(state, bytes_) != sums_[std::size_t(slot)])
    fail_file(directory_, "a state came back with other bits than were written", 0, "the disk or something else changed them");
}

Spill::Spill(const std::string& directory, const std::vector<Type>& types)
    : file_(directory,
            [&] {
              std::size_t bytes = 0;
              for (const Type& type : types) bytes += std::size_t(numel(type.shape)) * std::size_t(itemsize(type.dtype));
              return bytes;
            }()),
      rooms_(rooms) {
  std::size_t bytes = 0;
  for (const Type& type : types) {
    pieces_.push_back(std::size_t(numel(type.shape)) * std::size_t(itemsize(type.dtype)));
    bytes += pieces_.back();
  }
  for (Room& room : rooms_) room.memory = Array::empty(DType::uint8, {int64_t(bytes)});
}

Spill::~Spill() {
  if (!helper_.joinable()) return;
  if (process_ != getpid()) {  // a fork has no helper
    helper_.detach();
    return;
  }
  {
    const std::lock_guard lock(guard_);
    stop_ = true;
  }
  changed_.notify_all();
  helper_.join();
}

void Spill::start() {
  if (helper_.joinable() && process_ == getpid()) return;
  if (helper_.joinable()) fail(ErrorKind::file, "checkpoint on disk: the states belong to the process that forked this one");
  process_ = getpid();
  helper_ = std::thread([this] { work(); });
}

void Spill::raise() {
  if (error_) std::rethrow_exception(error_);
}

bool Spill::failed() {
  const std::lock_guard lock(guard_);
  return bool(error_);
}

void Spill::work() {
  std::unique_lock lock(guard_);
  while (true) {
    Room* next = nullptr;
    for (Room& room : rooms_)
      if ((room.phase == Room::to_write || room.phase == Room::to_read) && (!next || room.turn < next->turn)) next = &room;
    if (stop_) return;
    if (!next) {
      changed_.wait(lock);
      continue;
    }
    const bool writes = next->phase == Room::to_write;
    auto* memory = static_cast<std::byte*>(next->memory.raw());
    // A room that is being written may be read from meanwhile.
    if (!writes) next->phase = Room::working;
    lock.unlock();
    const auto start = Clock::now();
    std::exception_ptr failed;
    try {
      if (writes) file_.write(next->slot, memory);
      else file_.read(next->slot, memory);
    } catch (...) {
      failed = std::current_exception();
    }
    lock.lock();
    const int64_t moved = next->memory.size();
    count({.worked = since(start), .written = writes ? moved : 0, .read = writes ? 0 : moved});
    next->phase = failed ? Room::idle : Room::ready;
    if (failed) error_ = failed;
    changed_.notify_all();
  }
}

Spill::Room* Spill::holding(int64_t slot) {
  for (Room& room : rooms_)
    if (room.phase != Room::idle && room.slot == slot) return &room;
  return nullptr;
}

// One that is idle, or whose state was written or fetched longest ago; null if all are at work.
Spill::Room* Spill::spare() {
  Room* found = nullptr;
  for (Room& room : rooms_) {
    if (room.phase == Room::idle) return &room;
    if (room.phase == Room::ready && !(found && found->turn < room.turn)) found = &room;
  }
  return found;
}

Spill::Room& Spill::wait_for_room(std::unique_lock<std::mutex>& lock) {
  const auto start = Clock::now();
  while (true) {
    raise();
    if (Room* found = spare()) {
      count({.waited = since(start)});
      found->turn = ++turn_;
      return *found;
    }
    changed_.wait(lock);
  }
}

void Spill::store(int64_t slot, std::span<const Array> state) {
  start();
  std::unique_lock lock(guard_);
  while (Room* old = holding(slot)) {  // a state that this one replaces
    raise();
    if (old->phase == Room::ready) old->phase = Room::idle;
    else changed_.wait(lock);
  }
  Room& room = wait_for_room(lock);
  room.slot = slot;
  room.phase = Room::working;
  lock.unlock();
  auto* to = static_cast<std::byte*>(room.memory.raw());
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    if (pieces_[k]) std::memcpy(to, state[k].raw(), pieces_[k]);
    to += pieces_[k];
  }
  lock.lock();
  room.phase = Room::to_write;
  changed_.notify_all();
}

void Spill::fetch(int64_t slot) {
  start();
  const std::lock_guard lock(guard_);
  if (holding(slot)) return;
  Room* room = spare();
  if (!room) return;
  room->slot = slot;
  room->turn = ++turn_;
  room->phase = Room::to_read;
  changed_.notify_all();
}

void Spill::load(int64_t slot, std::span<const Array> state) {
  fetch(slot);
  std::unique_lock lock(guard_);
  const auto start = Clock::now();
  const Room* room = nullptr;
  while (true) {
    raise();
    room = holding(slot);
    if (room && (room->phase == Room::ready || room->phase == Room::to_write)) break;
    if (room) {
      changed_.wait(lock);
      continue;
    }
    Room& own = wait_for_room(lock);
    own.slot = slot;
    own.phase = Room::to_read;
    changed_.notify_all();
  }
  count({.waited = since(start)});
  const auto* from = static_cast<const std::byte*>(room->memory.raw());
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    if (pieces_[k]) std::memcpy(state[k].raw(), from, pieces_[k]);
    from += pieces_[k];
  }
}

std::pair<double, double> Spill::measure() {
  auto* memory = static_cast<std::byte*>(rooms_[0].memory.raw());
  std::memset(memory, 0, std::size_t(rooms_[0].memory.size()));
  const auto start = Clock::now();
  file_.write(0, memory);
  const double write = since(start);
  file_.read(0, memory);
  return {write, since(start) - write};
}

}  // namespace wengert
