// A vector with inline room for N elements: shapes, axes, inputs of a node. Grows to the heap.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <utility>

namespace wengert {

template <class T, int N>
class SmallVector {
 public:
  using value_type = T;
  SmallVector() = default;
  SmallVector(std::initializer_list<T> items) : SmallVector(items.begin(), items.end()) {}
  explicit SmallVector(std::size_t n, const T& fill = T()) { resize(n, fill); }
  template <std::input_iterator It>
  SmallVector(It first, It last) { for (; first != last; ++first) push_back(*first); }
  SmallVector(const SmallVector& other) {
    reserve(other.size_);
    std::uninitialized_copy(other.begin(), other.end(), data_);
    size_ = other.size_;
  }
  SmallVector(SmallVector&& other) noexcept { take(other); }
  SmallVector& operator=(const SmallVector& other) {
    if (this != &other) { SmallVector copy(other); *this = std::move(copy); }
    return *this;
  }
  SmallVector& operator=(SmallVector&& other) noexcept {
    if (this != &other) { drop(); take(other); }
    return *this;
  }
  ~SmallVector() { drop(); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T& back() { return data_[size_ - 1]; }
  const T& back() const { return data_[size_ - 1]; }

  void push_back(T item) {
    if (size_ == capacity_) reserve(2 * std::size_t(capacity_));
    new (data_ + size_) T(std::move(item));
    ++size_;
  }
  void pop_back() { data_[--size_].~T(); }
  void clear() { std::destroy(begin(), end()); size_ = 0; }
  void resize(std::size_t n, const T& fill = T()) {
    while (size_ > n) pop_back();
    reserve(n);
    while (size_ < n) push_back(fill);
  }
  void insert(std::size_t at, T item) {
    push_back(std::move(item));
    std::rotate(begin() + at, end() - 1, end());
  }
  void erase(std::size_t at) {
    std::move(begin() + at + 1, end(), begin() + at);
    pop_back();
  }
  void reserve(std::size_t n) {
    if (n <= capacity_) return;
    T* room = static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(alignof(T))));
    std::uninitialized_move(begin(), end(), room);
    std::destroy(begin(), end());
    if (!is_inline()) ::operator delete(data_, std::align_val_t(alignof(T)));
    data_ = room;
    capacity_ = uint32_t(n);
  }
  friend bool operator==(const SmallVector& a, const SmallVector& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  T* room() { return std::launder(reinterpret_cast<T*>(room_)); }
  bool is_inline() const { return static_cast<const void*>(data_) == static_cast<const void*>(room_); }
  void drop() {
    clear();
    if (!is_inline()) ::operator delete(data_, std::align_val_t(alignof(T)));
    data_ = room();
    capacity_ = N;
  }
  // Precondition: this holds nothing.
  void take(SmallVector& other) noexcept {
    if (other.is_inline()) {
      std::uninitialized_move(other.begin(), other.end(), data_);
      size_ = other.size_;
      other.clear();
    } else {
      data_ = std::exchange(other.data_, other.room());
      size_ = std::exchange(other.size_, 0);
      capacity_ = std::exchange(other.capacity_, N);
    }
  }

  T* data_ = room();
  uint32_t size_ = 0, capacity_ = N;
  alignas(T) std::byte room_[N * sizeof(T)];
};

using Ints = SmallVector<int64_t, 4>;

}  // namespace wengert
