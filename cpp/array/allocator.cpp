#include "array/allocator.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "base/error.h"

namespace wengert::memory {
namespace {

// Four classes an octave: rounding wastes at most a quarter.
constexpr int class_count = 4 * 48;
constexpr std::size_t cache_floor = std::size_t(64) << 20;

struct Pool {
  std::array<std::vector<void*>, class_count> free_blocks;
  std::size_t cached = 0;
  int64_t live = 0, peak = 0, objects = 0;
  std::size_t largest = 0;  // the machine's memory: no single block may exceed it
};

Pool& pool() {
  static Pool* instance = [] {
    auto* made = new Pool;  // never destroyed: arrays may outlive static destructors
    made->largest = std::size_t(sysconf(_SC_PHYS_PAGES)) * std::size_t(sysconf(_SC_PAGE_SIZE));
    return made;
  }();
  return *instance;
}

std::mutex pool_mutex;
// Changed with the interpreter lock only, so that it does not become 0 or leave it within a turn.
std::atomic<int> sharers = 0;

// A child of fork() gets the pool whole, and the mutex free, whatever other threads were at.
[[maybe_unused]] const int at_fork =
    pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); }, [] { pool_mutex.unlock(); });

// Locks only where threads can meet: a mutex at every turn would cost a tenth of a small operation.
class Turn {
 public:
  Turn() : locked_(sharers.load(std::memory_order_relaxed) > 0) { if (locked_) pool_mutex.lock(); }
  ~Turn() { if (locked_) pool_mutex.unlock(); }
  Turn(const Turn&) = delete;

 private:
  bool locked_;
};

void free_cache(Pool& p) {
  for (auto& blocks : p.free_blocks) {
    for (void* block : blocks) std::free(block);
    blocks.clear();
  }
  p.cached = 0;
}

int size_class(std::size_t bytes) {
  const std::size_t units = std::max<std::size_t>((bytes + alignment - 1) / alignment, 1);
  if (units <= 4) return int(units) - 1;
  const int octave = int(std::bit_width(units - 1)) - 1;  // 2^octave < units <= 2^(octave+1)
  const int quarter = int((units - 1) >> (octave - 2)) & 3;
  return 4 * (octave - 1) + quarter;
}

std::size_t class_bytes(int index) {
  if (index < 4) return alignment * std::size_t(index + 1);
  const int octave = index / 4 + 1, quarter = index % 4;
  return alignment * ((std::size_t(quarter) + 5) << (octave - 2));
}

// With pages of 2 MB where the system lends them on request: it takes 512 times fewer faults to touch them
// first, and the processor finds them all in its tables.
void* from_system(std::size_t bytes) {
  void* block = std::aligned_alloc(alignment, bytes);
#if defined(__linux__)
  constexpr std::size_t worth_it = std::size_t(4) << 20;
  if (block && bytes >= worth_it) {
    const auto page = uintptr_t(sysconf(_SC_PAGE_SIZE));
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + page - 1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) / page * page;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // an offer, no more
  }
#endif
  return block;
}

void* take(std::size_t bytes) {
  Pool& p = pool();
  const int index = size_class(bytes);
  if (bytes > p.largest)
    fail(ErrorKind::memory, "memory: ", bytes, " bytes asked for; the machine has ", p.largest);
  auto& blocks = p.free_blocks[std::size_t(index)];
  if (!blocks.empty()) {
    void* block = blocks.back();
    blocks.pop_back();
    p.cached -= class_bytes(index);
    return block;
  }
  void* block = from_system(class_bytes(index));
  if (!block) {
    free_cache(p);
    block = from_system(class_bytes(index));
  }
  if (!block) fail(ErrorKind::memory, "memory: the system refused ", bytes, " bytes");
  return block;
}

void give(void* block, std::size_t bytes) {
  Pool& p = pool();
  const int index = size_class(bytes);
  p.cached += class_bytes(index);
  p.free_blocks[std::size_t(index)].push_back(block);
  if (p.cached > std::max(cache_floor, std::size_t(p.peak))) free_cache(p);
}

}  // namespace

Shared::Shared() { sharers.fetch_add(1, std::memory_order_relaxed); }
Shared::~Shared() { sharers.fetch_sub(1, std::memory_order_relaxed); }

void* allocate(std::size_t bytes, std::size_t counted) {
  const Turn turn;
  void* block = take(bytes);
  Pool& p = pool();
  p.live += int64_t(counted);
  p.peak = std::max(p.peak, p.live);
  return block;
}

void deallocate(void* block, std::size_t bytes, std::size_t counted) {
  const Turn turn;
  pool().live -= int64_t(counted);
  give(block, bytes);
}

void* allocate_object(std::size_t bytes) {
  const Turn turn;
  ++pool().objects;
  return take(bytes);
}

void deallocate_object(void* block, std::size_t bytes) {
  const Turn turn;
  --pool().objects;
  give(block, bytes);
}

int64_t live_bytes() {
  const Turn turn;
  return pool().live;
}

int64_t peak_bytes() {
  const Turn turn;
  return pool().peak;
}

void reset_peak() {
  const Turn turn;
  pool().peak = pool().live;
}

int64_t live_objects() {
  const Turn turn;
  return pool().objects;
}

void release_cache() {
  const Turn turn;
  free_cache(pool());
}

}  // namespace wengert::memory
