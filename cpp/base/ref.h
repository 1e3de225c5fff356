// Intrusive reference counting. Counts are not atomic: graph work happens on one thread at a time
// (the bindings hold the interpreter lock); worker threads only ever see raw memory.
#pragma once
#include <cstdint>
#include <utility>

namespace wengert {

// T has a member `uint32_t refs` (0 when made) and a free function release(T*) that ends it.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  explicit Ref(T* p) : p_(p) { if (p_) ++p_->refs; }
  Ref(const Ref& other) : Ref(other.p_) {}
  Ref(Ref&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Ref& operator=(Ref other) noexcept { std::swap(p_, other.p_); return *this; }
  ~Ref() { if (p_ && --p_->refs == 0) release(p_); }

  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& other) const = default;
  bool unique() const { return p_ && p_->refs == 1; }

 private:
  T* p_ = nullptr;
};

}  // namespace wengert
