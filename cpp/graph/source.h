// Where the user's code made a node: a number that costs next to nothing to take and is turned into
// "model.py:41" only when shown. The bindings install both directions; without them it is 0.
#pragma once
#include <cstdint>
#include <string>

namespace wengert {

struct SourceHooks {
  uint32_t (*here)() = nullptr;
  std::string (*resolve)(uint32_t source) = nullptr;
};
SourceHooks& source_hooks();

inline uint32_t source_here() { return source_hooks().here ? source_hooks().here() : 0; }
std::string show_source(uint32_t source);  // "file.py:41", or "an unknown line"

}  // namespace wengert
