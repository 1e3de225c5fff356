#include "array/regions.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>

namespace wengert::memory {
namespace {

constexpr std::size_t region_bytes = std::size_t(16) << 20;
constexpr std::size_t least_cut = std::size_t(16) << 10, most_cut = 2 * large_page;

// AddressSanitizer watches what lies between blocks of its own.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
constexpr bool has_regions = true;
#else
constexpr bool has_regions = false;
#endif

// The whole pages within.
Span pages_of(Span span) {
  const auto page = uintptr_t(sysconf(_SC_PAGE_SIZE));
  const auto address = reinterpret_cast<uintptr_t>(span.begin);
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + span.bytes) / page * page;
  return {reinterpret_cast<std::byte*>(begin), end > begin ? end - begin : 0};
}

}  // namespace

void ask_for_large_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  const Span pages = pages_of({static_cast<std::byte*>(block), bytes});
  madvise(pages.begin, pages.bytes, MADV_HUGEPAGE);
#endif
}

bool Regions::serves(std::size_t bytes) { return has_regions && bytes >= least_cut && bytes < most_cut; }

// Nothing is allocated when memory comes back, as it may when there is no other left.
void Regions::make_room() {
  const auto reserve = [](auto& items, std::size_t count) {
    if (items.capacity() < count) items.reserve(2 * count);
  };
  const std::size_t regions = regions_.size() + 1, blocks = cut_ + 1;
  reserve(regions_, regions);
  reserve(spans_, blocks + regions);  // before a region's first block, and behind each
  reserve(aside_, 2 * blocks + regions);
}

bool Regions::open() {
  // One large page more than needed, so that a region begins where one does.
  void* mapped = mmap(nullptr, region_bytes + large_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return false;
  auto* begin = static_cast<std::byte*>(mapped);
  const std::size_t before = -reinterpret_cast<uintptr_t>(begin) % large_page;
  if (before) munmap(begin, before);
  begin += before;
  munmap(begin + region_bytes, large_page - before);
  ask_for_large_pages(begin, region_bytes);
  regions_.insert(std::ranges::upper_bound(regions_, begin), begin);
  spans_.push_back({begin, region_bytes});  // no other is as large
  return true;
}

void* Regions::cut(std::size_t bytes) try {
  make_room();
  auto best = std::ranges::lower_bound(spans_, bytes, {}, &Span::bytes);
  if (best == spans_.end()) {
    if (!open()) return nullptr;
    best = spans_.end() - 1;
  }
  const Span span = *best;
  spans_.erase(best);
  const Span rest{span.begin + bytes, span.bytes - bytes};
  if (rest.bytes) spans_.insert(std::ranges::lower_bound(spans_, rest.bytes, {}, &Span::bytes), rest);
  ++cut_;
  return span.begin;
} catch (const std::bad_alloc&) {
  return nullptr;
}

bool Regions::own(const void* block) const {
  const auto after = std::ranges::upper_bound(regions_, static_cast<const std::byte*>(block));
  return after != regions_.begin() && block < *std::prev(after) + region_bytes;
}

void Regions::set_aside(void* block, std::size_t bytes) {
  aside_.push_back({static_cast<std::byte*>(block), bytes});
  --cut_;
}

void Regions::take_back() {
  if (aside_.empty()) return;
  aside_.insert(aside_.end(), spans_.begin(), spans_.end());
  spans_.clear();
  std::ranges::sort(aside_, {}, &Span::begin);
  for (std::size_t i = 0; i < aside_.size();) {
    Span span = aside_[i++];
    const auto follows = [&](const Span& next) {
      return next.begin == span.begin + span.bytes && !std::ranges::binary_search(regions_, next.begin);
    };
    while (i < aside_.size() && follows(aside_[i])) span.bytes += aside_[i++].bytes;
    if (span.bytes == region_bytes) {
      munmap(span.begin, region_bytes);
      regions_.erase(std::ranges::lower_bound(regions_, span.begin));
    } else {
      const Span pages = pages_of(span);
      madvise(pages.begin, pages.bytes, MADV_DONTNEED);
      spans_.push_back(span);
    }
  }
  aside_.clear();
  std::ranges::sort(spans_, {}, &Span::bytes);
  // Else the system would, in time, make a large page again of every one that a single block keeps.
  for (std::byte* region : regions_) madvise(region, region_bytes, MADV_NOHUGEPAGE);
}

}  // namespace wengert::memory
