// The only threads of the library: a pool that splits index ranges in chunks. Knows nothing of
// arrays, operations or Python.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace wengert::parallel {

// A reference to a callable that outlives the call it is passed to.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
             std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& f) noexcept
      : object_(const_cast<std::remove_cvref_t<F>*>(std::addressof(f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

using RangeBody = FunctionRef<void(int64_t begin, int64_t end)>;

constexpr int max_threads = 256;

// Starts as the CPUs this process may use: its affinity mask, capped by its cgroup quota.
int num_threads();

// n is in 1..max_threads; the caller checks.
void set_num_threads(int n);

// Calls body on [0, grain), [grain, 2 grain), ... on the calling thread, and on others where the first
// chunk shows that the rest takes long. The partition depends on n and grain alone: a body that keeps
// one result a chunk gives the same bits with any number of threads. A call inside a body runs on that
// thread. The first exception of a body is rethrown here, and chunks not yet begun are dropped.
void parallel_for(int64_t n, int64_t grain, RangeBody body);

}  // namespace wengert::parallel
