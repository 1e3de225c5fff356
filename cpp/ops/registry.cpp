// Joins the files of the table and refuses rows that lack a rule. Explicit, so that no linker drops
// a row.
#include <unordered_map>

#include "ops/rows.h"

namespace wengert {
namespace {

void check_row(const Op& op) {
  auto refuse = [&](const char* why) { fail(ErrorKind::argument, "op table: '", op.name, "' ", why); };
  if (!op.infer) refuse("has no type rule");
  if (!op.kernel) refuse("has no kernel");
  if (!op.batch) refuse("has no batching rule");
  if ((op.family == Family::bilinear || op.family == Family::fused) && !op.flops) refuse("does not count its flops");
  if (op.differentiable() != bool(op.tangent)) refuse("has a derivative in one mode only");
}

struct Table {
  std::vector<Op> rows;
  std::unordered_map<std::string, const Op*> by_name;

  Table() {
    for (auto* file : {arithmetic_rows, transcendental_rows, activation_rows, comparison_rows, reduction_rows,
                       movement_rows, placement_rows, indexing_rows, linalg_rows, fused_rows, norm_rows,
                       attention_rows, random_rows, optimise_rows, control_rows})
      for (Op& op : file()) rows.push_back(std::move(op));
    for (const Op& op : rows) {
      check_row(op);
      if (!by_name.emplace(op.name, &op).second) fail(ErrorKind::argument, "op table: two rows are named '", op.name, "'");
    }
  }
};

const Table& table() {
  static const Table* made = new Table;  // nodes point to rows until the process ends
  return *made;
}

}  // namespace

const std::vector<Op>& all_ops() { return table().rows; }

const Op& find_op(const std::string& name) {
  const auto found = table().by_name.find(name);
  if (found == table().by_name.end()) fail(ErrorKind::argument, "op table: there is no row named '", name, "'");
  return *found->second;
}

int64_t count_flops(const Op& op, std::span<const Type> in, std::span<const Type> out) {
  if (op.flops) return op.flops(in, out);
  switch (op.family) {
    case Family::elementwise: return numel(out[0].shape);
    case Family::reduction: return numel(in[0].shape);
    default: return 0;
  }
}

Attrs make_attrs(const Op& op, std::vector<std::pair<std::string, Attr>> given) {
  std::vector<Attr> values;
  for (const Param& param : op.params) {
    const Attr* value = param.fallback ? &*param.fallback : nullptr;
    for (const auto& [name, attr] : given)
      if (name == param.name) value = &attr;
    if (!value) fail(ErrorKind::type, op.name, ": the argument '", param.name, "' is missing");
    values.push_back(*value);
  }
  return Attrs(op.params, std::move(values));
}

}  // namespace wengert
