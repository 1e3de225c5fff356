#include "program/transfer.h"

#include <array>

namespace wengert {
namespace {

Op make(std::string name, std::vector<std::string> inputs) {
  Op op;
  op.name = std::move(name);
  op.doc = "Moves a value between memory and a file.";
  op.inputs = std::move(inputs);
  op.params = {{"slot", AttrKind::integer, {}}, {"directory", AttrKind::text, Attr(std::string())}};
  return op;
}

}  // namespace

const Op& transfer_op(Transfer::Kind kind) {
  static const std::array<Op, 3> ops = {make("spill", {"x"}), make("end_spill", {"x", "writing"}),
                                        make("fetch", {"written"})};
  return ops[std::size_t(kind) - 1];
}

Transfer::Kind transfer_of(const Step& step) {
  for (const auto kind : {Transfer::spill, Transfer::end_spill, Transfer::fetch})
    if (step.op == &transfer_op(kind)) return kind;
  return Transfer::none;
}

}  // namespace wengert
