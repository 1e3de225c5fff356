// The thread pool. One job runs at a time. Each thread has a share of its chunks, the same part of every
// job, since what it wrote in the last lies in its own cache; who is done takes from the others' shares.
// So no thread is ever needed: what sleeping workers do not take, the caller does.
#include "kernels/parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cpu_count.h"
#include "kernels/denormals.h"
#include "kernels/tasks.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wengert::parallel {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto worker_spin = std::chrono::microseconds(60);
constexpr auto caller_spin = std::chrono::microseconds(60);
// What must be left to do after the first chunk: to hand chunks to threads that spin costs half a
// microsecond, to wake one that sleeps 5, and 25 where it pushes the caller aside.
constexpr auto worth_sharing = std::chrono::microseconds(10);
constexpr auto worth_waking = std::chrono::microseconds(100);

// A ticket holds the number of a job and, below it, how many chunks of a share nobody has taken.
constexpr int chunk_bits = 32;
constexpr int64_t max_chunks = (int64_t{1} << chunk_bits) - 1;

thread_local bool in_region = false;

struct RegionGuard {
  RegionGuard() { in_region = true; }
  ~RegionGuard() { in_region = false; }
};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__linux__)
long futex(std::atomic<uint32_t>& word, int operation, uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, nullptr, nullptr,
                 0);
}
void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
  futex(word, FUTEX_WAIT_PRIVATE, value);
}
void wake(std::atomic<uint32_t>& word, int count) {
  futex(word, FUTEX_WAKE_PRIVATE, static_cast<uint32_t>(count));
}
#else
void sleep_while(std::atomic<uint32_t>& word, uint32_t value) { word.wait(value); }
void wake(std::atomic<uint32_t>& word, int count) {
  count == 1 ? word.notify_one() : word.notify_all();
}
#endif

template <class Done>
bool spin_until(Clock::duration limit, Done done) {
  const auto start = Clock::now();
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() - start < limit);
  return done();
}

class Pool {
 public:
  bool all_asleep() const { return sleepers_.load(std::memory_order_relaxed) >= present_.load(std::memory_order_relaxed); }

  // The chunks after the first `done`. False if another thread has the pool: the caller then runs them itself.
  bool try_run(int64_t n, int64_t grain, int64_t chunks, int64_t done, int threads, RangeBody body) {
    std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock || stopping_.load()) return false;
    resize(static_cast<size_t>(threads - 1));
    if (workers_.empty()) return false;

    RegionGuard guard;
    n_.store(n, std::memory_order_relaxed);
    grain_.store(grain, std::memory_order_relaxed);
    body_.store(&body, std::memory_order_relaxed);
    failed_.store(false, std::memory_order_relaxed);
    remaining_.store(chunks - done, std::memory_order_relaxed);
    const auto sharers = static_cast<int64_t>(workers_.size()) + 1;
    sharers_.store(static_cast<int>(sharers), std::memory_order_relaxed);
    ++job_;
    for (int64_t i = 0, end = done; i < sharers; ++i) {
      const int64_t begin = end;
      end = std::max(begin, (i + 1) * chunks / sharers);
      Share& share = shares_[static_cast<size_t>(i)];
      share.end.store(end, std::memory_order_relaxed);
      share.ticket.store(job_ << chunk_bits | static_cast<uint64_t>(end - begin), std::memory_order_release);
    }
    signal_.fetch_add(1);
    if (sleepers_.load() > 0) {
      wake(signal_, static_cast<int>(std::min<int64_t>(chunks - done, threads - 1)));
    }
    work(0);
    wait_for_last();
    if (failed_.load(std::memory_order_relaxed)) {
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
    return true;
  }

  // At exit. A pool that some thread is using still is left to die with the process.
  void shut_down() {
    if (in_region) return;
    std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock) return;
    resize(0);
    stopping_.store(true);
  }

 private:
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
    std::atomic<int64_t> end{0};  // behind its last chunk
  };

  void resize(size_t count) {
    if (workers_.size() > count) {
      stopping_.store(true);
      signal_.fetch_add(1);
      wake(signal_, max_threads);
      for (std::thread& worker : workers_) worker.join();
      workers_.clear();
      stopping_.store(false);
    }
    if (workers_.size() == count) return;
    // Signals are for the threads the program knows.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      workers_.reserve(count);
      while (workers_.size() < count) {
        const size_t own = workers_.size() + 1;
        workers_.emplace_back([this, own] { serve(own); });
      }
    } catch (const std::exception&) {
      // Out of threads: fewer workers give the same result.
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    present_.store(static_cast<int>(workers_.size()));
  }

  void serve(size_t own) {
    kernels::FlushDenormals::begin_thread();
    in_region = true;
    while (true) {
      const uint32_t seen = signal_.load();
      if (stopping_.load()) return;
      work(own);
      const auto called = [&] { return signal_.load(std::memory_order_relaxed) != seen; };
      if (spin_until(worker_spin, called)) continue;
      sleepers_.fetch_add(1);
      sleep_while(signal_, seen);
      sleepers_.fetch_sub(1);
    }
  }

  // Takes chunks until there are none, its own first.
  void work(size_t own) {
    take(shares_[own]);
    const auto sharers = static_cast<size_t>(sharers_.load(std::memory_order_relaxed));
    for (size_t i = 0; i < sharers; ++i) take(shares_[i]);
  }

  // The fields are used only if the exchange succeeds: then a chunk was left, the job was not over, and
  // nobody had begun to write the fields of the next.
  void take(Share& share) {
    uint64_t ticket = share.ticket.load(std::memory_order_acquire);
    while (const int64_t left = static_cast<int64_t>(ticket & max_chunks)) {
      const int64_t n = n_.load(std::memory_order_relaxed);
      const int64_t grain = grain_.load(std::memory_order_relaxed);
      const int64_t begin = (share.end.load(std::memory_order_relaxed) - left) * grain;
      const RangeBody* body = body_.load(std::memory_order_relaxed);
      if (!share.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
        continue;
      }
      run(*body, begin, n - begin > grain ? begin + grain : n);
      finish_chunk();
      ticket = share.ticket.load(std::memory_order_acquire);
    }
  }

  void run(RangeBody body, int64_t begin, int64_t end) {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      body(begin, end);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  void finish_chunk() {
    if (remaining_.fetch_sub(1) == 1 && caller_sleeps_.exchange(0) == 1) wake(caller_sleeps_, 1);
  }

  void wait_for_last() {
    const auto done = [&] { return remaining_.load() == 0; };
    if (spin_until(caller_spin, done)) return;
    while (true) {
      caller_sleeps_.store(1);
      if (done()) break;
      sleep_while(caller_sleeps_, 1);
    }
    caller_sleeps_.store(0);
  }

  std::mutex busy_;
  std::vector<std::thread> workers_;
  std::atomic<bool> stopping_{false};
  uint64_t job_ = 0;

  std::atomic<int64_t> n_{0}, grain_{0};
  std::atomic<int> sharers_{1};
  std::atomic<const RangeBody*> body_{nullptr};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;

  std::array<Share, max_threads> shares_;
  alignas(64) std::atomic<int64_t> remaining_{0};
  alignas(64) std::atomic<uint32_t> signal_{0};
  std::atomic<int> sleepers_{0}, present_{0};
  alignas(64) std::atomic<uint32_t> caller_sleeps_{0};
};

// Never freed: threads may still look at it while the process exits.
std::atomic<Pool*> the_pool{nullptr};
std::atomic<int> thread_count{0};

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::atexit([] {
      if (Pool* p = the_pool.load()) p->shut_down();
    });
    // The child has none of the workers, and perhaps a locked mutex: it starts anew.
    pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
  });
  Pool* current = the_pool.load(std::memory_order_acquire);
  if (current) return *current;
  auto* fresh = new Pool;
  if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
  delete fresh;
  return *current;
}

void run_inline(int64_t n, int64_t grain, int64_t first, RangeBody body) {
  for (int64_t begin = first; begin < n; begin += grain) {
    if (n - begin <= grain) return body(begin, n);
    body(begin, begin + grain);
  }
}

}  // namespace

int num_threads() {
  int count = thread_count.load(std::memory_order_relaxed);
  if (count == 0) {
    int unset = 0;
    thread_count.compare_exchange_strong(unset, std::clamp(usable_cpus(), 1, max_threads));
    count = thread_count.load(std::memory_order_relaxed);
  }
  return count;
}

void set_num_threads(int n) { thread_count.store(n, std::memory_order_relaxed); }

void parallel_for(int64_t n, int64_t grain, RangeBody body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (n <= grain) return body(0, n);
  const int64_t chunks = (n - 1) / grain + 1;
  const int threads = in_region || chunks > max_chunks ? 1 : num_threads();
  if (threads == 1) return run_inline(n, grain, 0, body);
  const auto start = Clock::now();
  {
    const RegionGuard guard;
    body(0, grain);
  }
  Pool& own = pool();
  const auto to_come = (Clock::now() - start) * (chunks - 1);
  if (to_come < (own.all_asleep() ? worth_waking : worth_sharing) ||
      !own.try_run(n, grain, chunks, 1, threads, body)) {
    const RegionGuard guard;
    run_inline(n, grain, grain, body);
  }
}

bool is_alone() { return in_region || num_threads() == 1; }

void run_tasks(int64_t n, FunctionRef<void(int64_t i)> body, bool may_wake) {
  const auto each = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  };
  const int threads = n < 2 || n > max_chunks || in_region ? 1 : num_threads();
  const bool shares = threads > 1 && (may_wake || !pool().all_asleep());
  if (!shares || !pool().try_run(n, 1, n, 0, threads, each)) each(0, n);
}

}  // namespace wengert::parallel
