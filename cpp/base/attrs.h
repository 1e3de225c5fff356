// The attributes of an operation as data: a schema of named, typed parameters with defaults (part of
// a row), and an immutable, shared list of values that compares, hashes and prints.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ref.h"
#include "base/shape.h"

namespace wengert {

struct None {
  bool operator==(const None&) const = default;
};
using Attr = std::variant<None, bool, int64_t, double, Ints, DType, std::string>;
enum class AttrKind { boolean, integer, real, ints, dtype, text };

struct Param {
  std::string name;
  AttrKind kind;
  std::optional<Attr> fallback;  // absent: the caller must give it; None: may be left out
  bool none_allowed = false;     // the caller may give None although that is not the fallback
};
using Schema = std::vector<Param>;

std::ostream& operator<<(std::ostream& out, const Attr& value);

class Attrs {
 public:
  Attrs() = default;
  Attrs(const Schema& schema, std::vector<Attr> values);

  bool flag(std::string_view name) const { return std::get<bool>(at(name)); }
  int64_t integer(std::string_view name) const { return std::get<int64_t>(at(name)); }
  double real(std::string_view name) const { return std::get<double>(at(name)); }
  const Ints& ints(std::string_view name) const { return std::get<Ints>(at(name)); }
  DType dtype(std::string_view name) const { return std::get<DType>(at(name)); }
  const std::string& text(std::string_view name) const { return std::get<std::string>(at(name)); }
  bool is_none(std::string_view name) const { return std::holds_alternative<None>(at(name)); }
  // Inline: a name is a literal, whose comparison then needs no call.
  [[gnu::always_inline]] const Attr& at(std::string_view name) const {
    if (list_)
      for (std::size_t i = 0; i < list_->values.size(); ++i)
        if ((*list_->schema)[i].name == name) return list_->values[i];
    missing(name);
  }

  // A copy in which `name` has another value.
  Attrs with(std::string_view name, Attr value) const;

  bool empty() const { return !list_; }
  std::size_t hash() const;
  bool operator==(const Attrs& other) const;
  friend std::ostream& operator<<(std::ostream& out, const Attrs& attrs);  // axis=0, keepdims=False

 private:
  [[noreturn]] static void missing(std::string_view name);

  struct List {
    uint32_t refs = 0;
    const Schema* schema;
    std::vector<Attr> values;
    friend void release(List* list) { delete list; }
  };
  Ref<List> list_;
};

}  // namespace wengert
