// Element types, their promotion, and dispatch from a DType to a C++ type.
#pragma once
#include <cstdint>
#include <ostream>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace wengert {

enum class DType : uint8_t { bool_, uint8, int32, int64, float32, float64 };
inline constexpr int dtype_count = 6;

template <class T> struct TypeTag { using type = T; };

// dispatch(dtype, [&](auto tag) { using T = typename decltype(tag)::type; ... })
template <class F>
decltype(auto) dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bool_: return f(TypeTag<bool>{});
    case DType::uint8: return f(TypeTag<uint8_t>{});
    case DType::int32: return f(TypeTag<int32_t>{});
    case DType::int64: return f(TypeTag<int64_t>{});
    case DType::float32: return f(TypeTag<float>{});
    default: return f(TypeTag<double>{});
  }
}

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return DType::bool_;
  else if constexpr (std::is_same_v<T, uint8_t>) return DType::uint8;
  else if constexpr (std::is_same_v<T, int32_t>) return DType::int32;
  else if constexpr (std::is_same_v<T, int64_t>) return DType::int64;
  else if constexpr (std::is_same_v<T, float>) return DType::float32;
  else { static_assert(std::is_same_v<T, double>); return DType::float64; }
}

inline constexpr int itemsize(DType dtype) {
  constexpr int sizes[dtype_count] = {1, 1, 4, 8, 4, 8};
  return sizes[int(dtype)];
}
inline constexpr const char* name(DType dtype) {
  constexpr const char* names[dtype_count] = {"bool", "uint8", "int32", "int64", "float32", "float64"};
  return names[int(dtype)];
}
inline constexpr bool is_float(DType dtype) { return dtype >= DType::float32; }
inline constexpr bool is_integer(DType dtype) {
  return dtype == DType::uint8 || dtype == DType::int32 || dtype == DType::int64;
}
inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

// The wider of two types: bool < integers < floats, wider within a kind. An integer array never
// widens a float one (float32 with int64 stays float32).
inline constexpr DType promote(DType a, DType b) { return a < b ? b : a; }

inline DType dtype_from_name(const std::string& text) {
  for (int i = 0; i < dtype_count; ++i)
    if (text == name(DType(i))) return DType(i);
  fail(ErrorKind::dtype, "dtype: unknown type '", text,
       "'; use one of bool, uint8, int32, int64, float32, float64");
}

}  // namespace wengert
