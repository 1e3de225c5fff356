#include "base/attrs.h"

#include <functional>

namespace wengert {

std::ostream& operator<<(std::ostream& out, const Attr& value) {
  std::visit([&out]<class T>(const T& v) {
    if constexpr (std::is_same_v<T, None>) out << "None";
    else if constexpr (std::is_same_v<T, bool>) out << (v ? "True" : "False");
    else if constexpr (std::is_same_v<T, std::string>) out << '\'' << v << '\'';
    else out << v;
  }, value);
  return out;
}

Attrs::Attrs(const Schema& schema, std::vector<Attr> values) {
  if (values.size() != schema.size())
    fail(ErrorKind::argument, "attributes: ", schema.size(), " are declared; got ", values.size());
  if (schema.empty()) return;
  list_ = Ref<List>(new List{.schema = &schema, .values = std::move(values)});
}

void Attrs::missing(std::string_view name) {
  fail(ErrorKind::argument, "attributes: there is none named '", name, "'");
}

Attrs Attrs::with(std::string_view name, Attr value) const {
  std::vector<Attr> values = list_->values;
  values[std::size_t(&at(name) - list_->values.data())] = std::move(value);
  return Attrs(*list_->schema, std::move(values));
}

std::size_t Attrs::hash() const {
  if (!list_) return 0;
  std::ostringstream text;
  text << *this;
  return std::hash<std::string>{}(text.str());
}

bool Attrs::operator==(const Attrs& other) const {
  if (!list_ || !other.list_) return !list_ && !other.list_;
  return list_->schema == other.list_->schema && list_->values == other.list_->values;
}

std::ostream& operator<<(std::ostream& out, const Attrs& attrs) {
  if (!attrs.list_) return out;
  const auto& list = *attrs.list_;
  for (std::size_t i = 0; i < list.values.size(); ++i)
    out << (i ? ", " : "") << (*list.schema)[i].name << '=' << list.values[i];
  return out;
}

}  // namespace wengert
