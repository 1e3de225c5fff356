// Errors are part of the surface: fail() is the only throw in the library. Knows nothing of Python;
// bindings/errors.cpp maps each kind to an exception class.
#pragma once
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace wengert {

enum class ErrorKind { shape, dtype, graph, trace, argument, type, bounds, memory, numeric, file };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind what_kind, const std::string& message)
      : std::runtime_error(message), kind(what_kind) {}
  ErrorKind kind;
  uint32_t source = 0;  // where what fails in a replay was recorded (graph/source.h), if it says so
};

// fail(kind, "matmul: ", "inner dimensions differ: ", a, " @ ", b): every part is streamed.
template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(kind, message.str());
}

}  // namespace wengert
