#include "ops/integers.h"

#include <algorithm>
#include <limits>
#include <map>

#include "kernels/copy.h"
#include "ops/families.h"

namespace wengert {
namespace {

constexpr int64_t least = std::numeric_limits<int64_t>::min();

// The result, or nothing where int64 does not hold it.
using Result = std::optional<int64_t>;
using Function = Result (*)(int64_t a, int64_t b);

Result add(int64_t a, int64_t b) {
  int64_t y;
  return __builtin_add_overflow(a, b, &y) ? Result() : y;
}
Result subtract(int64_t a, int64_t b) {
  int64_t y;
  return __builtin_sub_overflow(a, b, &y) ? Result() : y;
}
Result multiply(int64_t a, int64_t b) {
  int64_t y;
  return __builtin_mul_overflow(a, b, &y) ? Result() : y;
}

void refuse_zero(const char* name, int64_t a, int64_t b) {
  if (b == 0) fail(ErrorKind::argument, name, ": the Python integer ", a, " has no quotient by 0");
}
Result floor_divide(int64_t a, int64_t b) {
  refuse_zero("floor_divide", a, b);
  if (a == least && b == -1) return {};
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
Result remainder(int64_t a, int64_t b) {
  refuse_zero("remainder", a, b);
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Result power(int64_t a, int64_t b) {
  if (b < 0) kernels::check_exponent("power", Array::scalar(b), DType::int64);
  Result y = 1, base = a;
  for (; b > 0; b >>= 1) {
    if (!base) return {};  // which a higher power needs
    if (b & 1) y = multiply(*y, *base);
    if (!y) return {};
    base = multiply(*base, *base);
  }
  return y;
}

void refuse_negative(const char* name, int64_t b) {
  if (b < 0) fail(ErrorKind::argument, name, ": Python integers have no shift by ", b);
}
Result left_shift(int64_t a, int64_t b) {
  refuse_negative("bitwise_left_shift", b);
  if (a == 0) return 0;
  if (b == 63 && a == -1) return least;
  return b > 62 ? Result() : multiply(a, int64_t(1) << b);
}
Result right_shift(int64_t a, int64_t b) {
  refuse_negative("bitwise_right_shift", b);
  return a >> std::min<int64_t>(b, 63);
}

Result square(int64_t a, int64_t) { return multiply(a, a); }
Result negative(int64_t a, int64_t) { return subtract(0, a); }
Result absolute(int64_t a, int64_t) { return a < 0 ? subtract(0, a) : a; }

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> known{
      {"add", add},         {"subtract", subtract},   {"multiply", multiply},
      {"power", power},     {"square", square},       {"floor_divide", floor_divide},
      {"abs", absolute},    {"negative", negative},   {"remainder", remainder},
      {"bitwise_left_shift", left_shift}, {"bitwise_right_shift", right_shift}};
  return known;
}

void kernel(const Call& call) {
  const std::string& name = call.attrs.text("name");
  const Function f = functions().at(name);
  const Array a = kernels::contiguous(call.in[0]), b = kernels::contiguous(call.in[1]);
  const int64_t *x1 = a.data<int64_t>(), *x2 = b.data<int64_t>();
  int64_t* out = call.out[0].data<int64_t>();
  for (int64_t i = 0; i < a.size(); ++i) {
    const Result y = f(x1[i], x2[i]);
    if (!y)
      fail(ErrorKind::dtype, name, ": int64 does not hold the result for the Python integers ", x1[i], " and ", x2[i],
           ". Use floats, or name their positions in static_argnums");
    out[i] = *y;
  }
}

}  // namespace

bool may_leave_int64(const std::string& name) { return functions().count(name) > 0; }

Var of_integers(const std::string& name, const Var& a, const Var& b) {
  static const Op& op = find_op("of_integers");
  const Var args[] = {a, b};
  return apply(op, args, make_attrs(op, {{"name", name}}));
}

Op of_integers_row() {
  return {.name = "of_integers",
          .doc = "What the operation `name` makes of Python integers x1 and x2 (of x1, where it takes one): an error "
                 "where int64 does not hold it.",
          .inputs = {"x1", "x2"},
          .params = {{"name", AttrKind::text, {}}},
          .infer = [](std::span<const Type> in, const Attrs& at) {
            if (!may_leave_int64(at.text("name")))
              fail(ErrorKind::argument, "of_integers: 'name' is not one of its operations; got '", at.text("name"), "'");
            if (in[0].dtype != DType::int64 || !(in[0] == in[1]))
              fail(ErrorKind::dtype, "of_integers: x1 and x2 are int64 and of one shape; got ", in[0], " and ", in[1]);
            return same_type(in);
          },
          .kernel = kernel,
          .batch = [](const Batched& b) {
            const Vars args = all_batched(b);
            return apply_all(b.op, {args.data(), args.size()}, b.attrs);
          },
          .may_raise = true};
}

}  // namespace wengert
