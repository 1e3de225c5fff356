// The machine's side: memory counters, threads, configuration, and the interpreter lock around large
// kernels.
#include <pybind11/stl.h>

#include <chrono>
#include <thread>

#include "array/allocator.h"
#include "base/interrupt.h"
#include "bindings/tensor.h"
#include "graph/watch.h"
#include "kernels/blas.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"

namespace wengert::bindings {
namespace {

// Other Python threads run while the kernel does. Reference counts are not atomic, so the kernel
// gets arrays over buffer headers of its own. What Python computes within it is counted as ever.
void run_unlocked(const Op& op, const Call& call) {
  if (op.calls_out) return op.kernel(call);
  std::vector<Buffer> headers(call.in.size() + call.out.size());
  Arrays in, out;
  std::size_t next = 0;
  auto borrow = [&](const Array& array) {
    Buffer& header = headers[next++];
    header.refs = 1;  // never released: the header lives on this stack
    header.data = array.buffer()->data;
    header.bytes = array.buffer()->bytes;
    return Array(Ref<Buffer>(&header), array.dtype(), array.shape(), array.strides(), array.offset());
  };
  for (const Array& array : call.in) in.push_back(borrow(array));
  for (const Array& array : call.out) out.push_back(borrow(array));
  const memory::Shared shared;
  without_interpreter_lock([&] {
    op.kernel({.in = {in.data(), in.size()}, .out = {out.data(), out.size()}, .attrs = call.attrs});
  });
}

// Python handles signals in its main thread, which is taken to be that of the import. Threads of ours must not wait
// for the lock: who holds it may wait for them. And a thread that computes in Python gives it away every 5 ms only.
std::thread::id importer;
void check_signals() {
  using Clock = std::chrono::steady_clock;
  static Clock::time_point last;
  if (std::this_thread::get_id() != importer || Clock::now() - last < std::chrono::milliseconds(100)) return;
  last = Clock::now();
  const py::gil_scoped_acquire lock;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

}  // namespace

void bind_runtime(py::module_& m) {
  kernel_hook() = {.run = run_unlocked, .from = 1 << 14};
  importer = std::this_thread::get_id();
  check_interrupt = check_signals;
  blas::initialise();

  py::module_ memory = m.def_submodule("memory", "Exact counts of the bytes that arrays hold.");
  memory.def("live_bytes", memory::live_bytes, "Bytes held by arrays now.");
  memory.def("peak_bytes", memory::peak_bytes, "The largest number of bytes held since the last reset_peak().");
  m.def("_set_peak", memory::set_peak);
  memory.def("reset_peak", memory::reset_peak, "Starts a new peak at the bytes held now.");
  memory.def("live_objects", memory::live_objects, "Values and nodes alive now: what a leak test compares.");
  memory.def("release_cache", memory::release_cache, "Hands pooled, unused memory back to the system.");

  m.def("get_num_threads", parallel::num_threads, "Threads that large operations may use.");
  m.def("set_num_threads", [](py::handle threads) {
          const int64_t n = to_int("set_num_threads", "n", threads);
          if (n < 1 || n > parallel::max_threads)
            fail(ErrorKind::argument, "set_num_threads: takes 1 to ", parallel::max_threads, "; got ", n);
          parallel::set_num_threads(int(n));
        }, py::arg("n"), "Sets how many threads large operations may use. Results do not depend on it.");
  m.def("config", [] {
          py::dict out;
          out["version"] = WENGERT_VERSION;
          out["compiler"] = compiler();
          out["blas"] = blas::config();
          out["isa"] = name(isa());
          out["threads"] = parallel::num_threads();
          return out;
        }, "Version, compiler, BLAS, instruction set and threads, as a dict.");
  m.def("_set_watch", watch);
  m.def("_watching", watching);
  m.def("_set_isa", [](const std::string& wanted) {
    for (int level = 0; level < isa_count; ++level)
      if (wanted == name(Isa(level)) && Isa(level) <= best_isa()) return set_isa(Isa(level));
    fail(ErrorKind::argument, "isa: this machine cannot run '", wanted, "'");
  });
}

}  // namespace wengert::bindings
