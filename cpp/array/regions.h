// Middle-sized blocks cut from regions that the system is asked to lend in large pages: parameters then
// lie close together, and the processor finds all of them in its tables of pages.
#pragma once
#include <cstddef>
#include <vector>

namespace wengert::memory {

inline constexpr std::size_t large_page = std::size_t(2) << 20;

// An offer to the system, no more.
void ask_for_large_pages(void* block, std::size_t bytes);

struct Span {
  std::byte* begin;
  std::size_t bytes;
};

class Regions {
 public:
  static bool serves(std::size_t bytes);
  void* cut(std::size_t bytes);  // null where the system has none
  bool own(const void* block) const;
  // Of a block that was cut, before take_back.
  void set_aside(void* block, std::size_t bytes);
  // Gives the memory of what was set aside back to the system: whole regions to the last byte of address
  // space; else pages, and what is next to each other becomes one span to cut from.
  void take_back();

 private:
  bool open();
  void make_room();

  std::vector<std::byte*> regions_;  // in order
  std::vector<Span> spans_;          // free to be cut, the smallest first
  std::vector<Span> aside_;
  std::size_t cut_ = 0;  // blocks
};

}  // namespace wengert::memory
