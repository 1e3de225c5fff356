#include "array/allocator.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "array/regions.h"
#include "base/error.h"

namespace wengert::memory {
namespace {

// Four classes an octave: rounding wastes at most a quarter.
constexpr int class_count = 4 * 48;
constexpr std::size_t cache_floor = std::size_t(64) << 20;

struct Pool {
  std::array<std::vector<void*>, class_count> free_blocks;  // with room for all
  std::array<std::size_t, class_count> made = {};
  std::size_t cached = 0;
  Regions regions;
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

// A unit for a header, then the class of the rest: arrays often have a power of two of elements.
int size_class(std::size_t bytes) {
  const std::size_t units = std::max<std::size_t>((bytes + alignment - 1) / alignment, 1) - 1;
  if (units <= 4) return int(units);
  const int octave = int(std::bit_width(units - 1)) - 1;  // 2^octave < units <= 2^(octave+1)
  const int quarter = int((units - 1) >> (octave - 2)) & 3;
  return 4 * (octave - 1) + quarter + 1;
}

std::size_t class_bytes(int index) {
  if (index <= 4) return alignment * std::size_t(index + 1);
  const int octave = (index - 1) / 4 + 1, quarter = (index - 1) % 4;
  return alignment * (((std::size_t(quarter) + 5) << (octave - 2)) + 1);
}

void free_cache(Pool& p) {
  for (int index = 0; index < class_count; ++index) {
    const std::size_t bytes = class_bytes(index);
    auto& blocks = p.free_blocks[std::size_t(index)];
    while (!blocks.empty()) {
      void* block = blocks.back();
      blocks.pop_back();
      if (Regions::serves(bytes) && p.regions.own(block)) p.regions.set_aside(block, bytes);
      else std::free(block);
      --p.made[std::size_t(index)];
    }
  }
  p.regions.take_back();
  p.cached = 0;
}

// In pages of 2 MB where the system lends them on request: it takes 512 times fewer faults to touch them
// first, and the processor finds them all in its tables.
void* from_system(Pool& p, std::size_t bytes) {
  if (Regions::serves(bytes))
    if (void* block = p.regions.cut(bytes)) return block;
  void* block = std::aligned_alloc(alignment, bytes);  // not at large pages: all would begin in one line of the caches
  if (block && bytes >= 2 * large_page) ask_for_large_pages(block, bytes);
  return block;
}

// With room to take it back, which must not fail.
void* new_block(Pool& p, int index) try {
  auto& blocks = p.free_blocks[std::size_t(index)];
  std::size_t& made = p.made[std::size_t(index)];
  if (blocks.capacity() <= made) blocks.reserve(2 * made + 1);
  void* block = from_system(p, class_bytes(index));
  if (block) ++made;
  return block;
} catch (const std::bad_alloc&) {
  return nullptr;
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
  void* block = new_block(p, index);
  if (!block) {
    free_cache(p);
    block = new_block(p, index);
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

void set_peak(int64_t bytes) {
  const Turn turn;
  pool().peak = std::max(bytes, pool().live);
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
