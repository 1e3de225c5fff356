// Rows that answer with truth values, and the bitwise ones. None has a derivative.
// Must not know: how rows are recorded or run.
#include <cmath>
#include <limits>

#include "ops/families.h"
#include "ops/rows.h"

namespace wengert {
namespace {

// For values as for bool: anything but 0 is true, NaN included.
template <class T>
[[gnu::always_inline]] inline bool truth(T x) {
  return x != T(0);
}

template <class T>
constexpr int width = int(sizeof(T)) * 8;

// A count outside [0, width) shifts every bit out.
template <class T>
[[gnu::always_inline]] inline T shift_left(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return U(b) < width<T> ? T(U(a) << (U(b) & (width<T> - 1))) : T(0);
}

template <class T>
[[gnu::always_inline]] inline T shift_right(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return T(a >> (U(b) < width<T> ? int(b) : width<T> - 1));
}
template <>
uint8_t shift_right(uint8_t a, uint8_t b) {
  return b < 8 ? uint8_t(a >> (b & 7)) : uint8_t(0);
}

template <class F>
Op bitwise(std::string name, std::string doc, F f) {
  return binary<Domain::integers>(std::move(name), std::move(doc), f, not_differentiable,
                                  not_differentiable);
}

Op without_bool(Op row) {
  row.prepare = [base = row.prepare, name = row.name](Vars& args, Attrs& attrs) {
    base(args, attrs);
    if (args[0].dtype() == DType::bool_)
      fail(ErrorKind::dtype, name, ": needs integers; got bool. Convert first: x.astype(wg.int32)");
  };
  return row;
}

}  // namespace

std::vector<Op> comparison_rows() {
  return {
      predicate("equal", "x1 == x2, elementwise, as bool. NaN equals nothing.",
                []<class T>(T a, T b) -> bool { return a == b; }),
      predicate("not_equal", "x1 != x2, elementwise, as bool. NaN differs from everything.",
                []<class T>(T a, T b) -> bool { return a != b; }),
      predicate("less", "x1 < x2, elementwise, as bool; False where either is NaN.",
                []<class T>(T a, T b) -> bool { return a < b; }),
      predicate("less_equal", "x1 <= x2, elementwise, as bool; False where either is NaN.",
                []<class T>(T a, T b) -> bool { return a <= b; }),
      predicate("greater", "x1 > x2, elementwise, as bool; False where either is NaN.",
                []<class T>(T a, T b) -> bool { return a > b; }),
      predicate("greater_equal", "x1 >= x2, elementwise, as bool; False where either is NaN.",
                []<class T>(T a, T b) -> bool { return a >= b; }),
      predicate("logical_and",
          "Whether x1 and x2 are both true. Anything but 0 is true, NaN included.",
                []<class T>(T a, T b) -> bool { return truth(a) & truth(b); }),
      predicate("logical_or", "Whether x1 or x2 is true. Anything but 0 is true, NaN included.",
                []<class T>(T a, T b) -> bool { return truth(a) | truth(b); }),
      predicate("logical_xor",
          "Whether exactly one of x1 and x2 is true. Anything but 0 is true, NaN included.",
                []<class T>(T a, T b) -> bool { return truth(a) != truth(b); }),
      predicate("logical_not", "Whether x is 0 (or False).",
                []<class T>(T x) -> bool { return !truth(x); }),
      predicate("isnan", "Whether x is NaN; False for integers.",
                []<class T>(T x) -> bool {
                  if constexpr (std::is_integral_v<T>) return false;
                  else return x != x;
                }),
      predicate("isinf", "Whether x is inf or -inf; False for integers.",
                []<class T>(T x) -> bool {
                  if constexpr (std::is_integral_v<T>) return false;
                  else return std::abs(x) == std::numeric_limits<T>::infinity();
                }),
      predicate("isfinite", "Whether x is neither infinite nor NaN; True for integers.",
                []<class T>(T x) -> bool {
                  if constexpr (std::is_integral_v<T>) return true;
                  else return std::abs(x) < std::numeric_limits<T>::infinity();
                }),
      predicate<Domain::numbers>("signbit",
          "Whether the sign bit of x is set: True for -0.0 and negative numbers.",
                []<class T>(T x) -> bool {
                  if constexpr (std::is_unsigned_v<T>) return false;
                  else if constexpr (std::is_integral_v<T>) return x < 0;
                  else return std::copysign(T(1), x) < T(0);
                }),
      bitwise("bitwise_and", "The bits set in both x1 and x2, for integers and bool.",
              []<class T>(T a, T b) -> T { return T(a & b); }),
      bitwise("bitwise_or", "The bits set in x1 or x2, for integers and bool.",
              []<class T>(T a, T b) -> T { return T(a | b); }),
      bitwise("bitwise_xor", "The bits set in exactly one of x1 and x2, for integers and bool.",
              []<class T>(T a, T b) -> T { return T(a ^ b); }),
      obeying({.involution = true},
        unary<Domain::integers>("bitwise_invert", "Every bit of x inverted, for integers and bool.",
              []<class T>(T x) -> T {
                if constexpr (std::is_same_v<T, bool>) return !x;
                else return T(~x);
              },
              not_differentiable)),
      without_bool(bitwise("bitwise_left_shift",
              "x1 with its bits moved left by x2, for integers; 0 where x2 is negative or not "
              "below the width.",
              []<class T>(T a, T b) -> T {
                if constexpr (std::is_same_v<T, bool>) return a;
                else return shift_left(a, b);
              })),
      without_bool(bitwise("bitwise_right_shift",
              "x1 with its bits moved right by x2, for integers, keeping the sign; where x2 is "
              "negative or not below the width, only copies of the sign bit are left.",
              []<class T>(T a, T b) -> T {
                if constexpr (std::is_same_v<T, bool>) return a;
                else return shift_right(a, b);
              })),
  };
}

}  // namespace wengert
