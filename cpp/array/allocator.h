// Pooled, aligned memory for array data that counts what is live. One thread at a time, like all
// graph work, but for kernels that run beside it: see Shared.
#pragma once
#include <cstddef>
#include <cstdint>

namespace wengert::memory {

inline constexpr std::size_t alignment = 64;

// At least `bytes` bytes, aligned; an allocation that cannot be served fails as ErrorKind::memory.
// `counted` bytes (the array's own, without headers) are added to the live count until deallocate.
void* allocate(std::size_t bytes, std::size_t counted);
void deallocate(void* block, std::size_t bytes, std::size_t counted);

// Small objects of the graph (nodes, values): pooled, not counted as array bytes.
void* allocate_object(std::size_t bytes);
void deallocate_object(void* block, std::size_t bytes);

// While one is alive several threads may allocate. Made and ended where graph work is done (in the
// bindings: with the interpreter lock held), around kernels that run without it.
class Shared {
 public:
  Shared();
  ~Shared();
  Shared(const Shared&) = delete;
};

int64_t live_bytes();
int64_t peak_bytes();
void reset_peak();
void set_peak(int64_t bytes);  // to what it was before a measurement, or what is held if that is more
int64_t live_objects();
void release_cache();  // hand the pooled, unused blocks back to the system

}  // namespace wengert::memory
