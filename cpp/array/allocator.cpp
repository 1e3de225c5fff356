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
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace wengert::memory {
namespace {

// Four classes an octave: rounding wastes at most a quarter.
constexpr int class_count = 4 * 48;
constexpr std::size_t cache_floor = std::size_t(64) << 20;

// Blocks of these sizes are cut from regions, so that they lie in large pages too.
constexpr std::size_t region_bytes = std::size_t(16) << 20, least_cut = std::size_t(16) << 10, most_cut = std::size_t(2) << 20;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool cuts_blocks = false;  // it watches what lies between blocks
#else
constexpr bool cuts_blocks = true;
#endif

struct Region {
  int64_t cut = 0, idle = 0;  // blocks: all, and when the cache is freed, those in it
};

struct Pool {
  std::array<std::vector<void*>, class_count> free_blocks;
  std::size_t cached = 0, stuck = 0;              // stuck: could not be freed last time
  std::unordered_map<uintptr_t, Region> regions;  // by address / region_bytes
  std::byte* open = nullptr;                      // what is left of the newest region
  std::size_t left = 0;
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

Region* region_of(Pool& p, const void* block) {
  const auto found = p.regions.find(reinterpret_cast<uintptr_t>(block) / region_bytes);
  return found == p.regions.end() ? nullptr : &found->second;
}

// A region goes when all that was cut from it is here.
void free_cache(Pool& p) {
  for (auto& [address, region] : p.regions) region.idle = 0;
  for (const auto& blocks : p.free_blocks)
    for (const void* block : blocks)
      if (Region* region = region_of(p, block)) ++region->idle;
  p.cached = 0;
  for (int index = 0; index < class_count; ++index) {
    auto& blocks = p.free_blocks[std::size_t(index)];
    std::erase_if(blocks, [&](void* block) {
      const Region* region = region_of(p, block);
      if (!region) std::free(block);
      return !region || region->idle == region->cut;
    });
    p.cached += blocks.size() * class_bytes(index);
  }
  p.stuck = p.cached;
  const uintptr_t open = reinterpret_cast<uintptr_t>(p.open) / region_bytes;
  std::erase_if(p.regions, [&](const auto& entry) {
    const auto& [address, region] = entry;
    if (region.idle != region.cut) return false;
    if (address == open) p.left = 0;
    std::free(reinterpret_cast<void*>(address * region_bytes));
    return true;
  });
}

// With pages of 2 MB where the system lends them on request: it takes 512 times fewer faults to touch them
// first, and the processor finds them all in its tables.
void* in_large_pages(std::size_t bytes, std::size_t aligned) {
  void* block = std::aligned_alloc(aligned, bytes);
#if defined(__linux__)
  const auto page = uintptr_t(sysconf(_SC_PAGE_SIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) / page * page;
  if (block) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // an offer, no more
#endif
  return block;
}

// The rest of the region before it is lost until that is freed.
void open_region(Pool& p) {
  void* region = in_large_pages(region_bytes, region_bytes);
  if (!region) return;
  p.regions[reinterpret_cast<uintptr_t>(region) / region_bytes] = {};
  p.open = static_cast<std::byte*>(region);
  p.left = region_bytes;
}

void* from_system(Pool& p, std::size_t bytes) {
  if (bytes > most_cut) return in_large_pages(bytes, alignment);
  if (cuts_blocks && bytes >= least_cut) {
    if (p.left < bytes) open_region(p);
    if (p.left >= bytes) {
      void* block = p.open;
      ++region_of(p, block)->cut;
      p.open += bytes;
      p.left -= bytes;
      return block;
    }
  }
  return std::aligned_alloc(alignment, bytes);
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
  void* block = from_system(p, class_bytes(index));
  if (!block) {
    free_cache(p);
    block = from_system(p, class_bytes(index));
  }
  if (!block) fail(ErrorKind::memory, "memory: the system refused ", bytes, " bytes");
  return block;
}

void give(void* block, std::size_t bytes) {
  Pool& p = pool();
  const int index = size_class(bytes);
  p.cached += class_bytes(index);
  p.free_blocks[std::size_t(index)].push_back(block);
  if (p.cached > p.stuck + std::max(cache_floor, std::size_t(p.peak))) free_cache(p);
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
