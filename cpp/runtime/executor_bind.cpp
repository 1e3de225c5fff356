// Where an executor finds what is outside of it, at each run or once for all.
#include <algorithm>
#include <unordered_set>

#include "kernels/copy.h"
#include "runtime/executor.h"

namespace wengert {

void Executor::bind_input(std::size_t i, const Array& given, int64_t rows) {
  Input& own = inputs_[i];
  const bool in_place = given.is_contiguous();
  if (!in_place) {
    if (!(own.staged.has_data() && own.staged.type() == given.type()))
      own.staged = Array::empty(given.dtype(), given.shape());
    kernels::copy(given, own.staged);
  }
  auto* data = static_cast<std::byte*>((in_place ? given : own.staged).raw()) + rows * int64_t(own.buffer->bytes);
  own.buffer->data = data;
  for (const Ref<Buffer>& buffer : own.also) buffer->data = data;
}

void Executor::fix(std::span<const Array> inputs, const std::vector<bool>& fixed) {
  std::vector<bool> stays = fixed;
  std::unordered_set<const Buffer*> moving;
  for (const State& state : states_) {
    stays[state.input] = false;
    moving.insert(state.value.get());
  }
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    stays[i] = stays[i] && inputs[i].is_contiguous();
    if (stays[i]) bind_input(i, inputs[i], 0);
    else moving.insert(inputs_[i].buffer.get());
  }
  for (const std::size_t j : bound_results_) moving.insert(results_[j].buffer.get());
  std::erase_if(loose_inputs_, [&](std::size_t i) { return stays[i]; });
  std::erase_if(loose_updates_, [&](std::size_t u) { return stays[updates_[u].input]; });
  for (Pack& pack : packs_) {
    const auto moves = [&](const Array& x) { return moving.contains(x.buffer().get()); };
    pack.is_fixed = std::none_of(pack.ins.begin(), pack.ins.end(), moves);
    if (pack.is_fixed) find_numbers(pack);
  }
  // What is copied at the end, from a place in the arena to a fixed one.
  const auto* arena = static_cast<const std::byte*>(arena_.raw());
  std::erase_if(copied_updates_, [&](std::size_t u) {
    const Array& value = update_rooms_[u].has_data() ? update_rooms_[u] : update_values_[u];
    const int width = itemsize(value.dtype());
    const auto* from = static_cast<const std::byte*>(value.raw());
    const bool inside = arena && from >= arena && from < arena + arena_bytes_;
    if (!stays[updates_[u].input] || value.size() != 1 || width < 4 || !inside) return false;
    moves_[width == 8].push_back({from, inputs_[updates_[u].input].buffer->data});
    return true;
  });
}

void Executor::find_numbers(Pack& pack) const {
  pack.from.clear();
  for (const Array& x : pack.ins) pack.from.push_back(static_cast<const std::byte*>(x.raw()));
}

}  // namespace wengert
