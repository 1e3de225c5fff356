#include "kernels/group.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/walk.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 13;       // elements a task takes: fixed, so results never depend on threads
constexpr int64_t slot_bytes = 4096;     // of scratch a value
constexpr int most_operands = 256;
constexpr int64_t line = 64;             // bytes that memory gives at a time
constexpr int64_t near_bytes = 1 << 20;  // that the caches of a core are trusted to hold
constexpr int64_t asked_bytes = 1024;    // of each stream at a time: more would hold up what is needed now
constexpr std::size_t most_streams = 8;

// What the next block takes of an array. The processor's own prefetching ends with a page, and stores to
// far memory stop all that follows them: the lines are asked for while the block before is worked on.
struct Ahead {
  const std::byte *at, *end;
  bool written;
};

#if defined(__x86_64__)
[[gnu::target("prfchw")]]
#endif
void ask(Ahead& ahead, int64_t lines) {
  const std::byte* end = std::min(ahead.end, ahead.at + lines * line);
  if (ahead.written)
    for (; ahead.at < end; ahead.at += line) __builtin_prefetch(ahead.at, 1, 2);
  else
    for (; ahead.at < end; ahead.at += line) __builtin_prefetch(ahead.at, 0, 2);
}

}  // namespace

void TileGroup::place_scratch() {
  std::array<int, most_operands> last_use;
  for (std::size_t m = 0; m < members.size(); ++m) {
    last_use[std::size_t(members[m].made)] = int(m);
    if (members[m].twin) last_use[std::size_t(members[m].twin_made)] = int(m);
    for (const int in : members[m].ins) last_use[std::size_t(in)] = int(m);
  }
  const auto reduced = [&](int made) {
    return std::any_of(ends.begin(), ends.end(), [&](const End& end) { return end.value == made; });
  };
  std::vector<int> free;
  auto take = [&] {
    if (free.empty()) return scratch_slots++;
    const int slot = free.back();
    free.pop_back();
    return slot;
  };
  for (std::size_t m = 0; m < members.size(); ++m) {
    Member& member = members[m];
    if (member.output < 0) (reduced(member.made) ? member.room = rooms++ : member.scratch = take());
    if (member.twin && member.twin_output < 0) (reduced(member.twin_made) ? member.twin_room = rooms++ : member.twin_scratch = take());
    for (std::size_t k = 0; k <= m; ++k) {  // each slot is freed once, after its last reader
      const Member& made = members[k];
      if (made.scratch >= 0 && last_use[std::size_t(made.made)] == int(m)) free.push_back(made.scratch);
      if (made.twin_scratch >= 0 && last_use[std::size_t(made.twin_made)] == int(m)) free.push_back(made.twin_scratch);
    }
  }
}

void TileGroup::prepare() {
  sizes_.clear();
  walks_.assign(reads.size(), {});
  int widest = 1;
  for (const Array& array : reads) widest = std::max(widest, itemsize(array.dtype()));
  for (const Member& member : members) widest = std::max(widest, itemsize(member.dtype));
  block_ = slot_bytes / widest;
  room_bytes_ = (stretches.stretch * widest + line - 1) / line * line;
  // Axes merged where every operand can walk them as one.
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t size = shape[axis];
    if (size == 1) continue;
    auto stride = [&](const Array& array) { return array.ndim() ? array.strides()[axis] : 0; };
    bool merge = !sizes_.empty();
    for (std::size_t k = 0; k < reads.size() && merge; ++k) merge = walks_[k].strides.back() == stride(reads[k]) * size;
    if (merge) sizes_.back() *= size;
    else sizes_.push_back(size);
    for (std::size_t k = 0; k < reads.size(); ++k) {
      if (merge) walks_[k].strides.back() = stride(reads[k]);
      else walks_[k].strides.push_back(stride(reads[k]));
    }
  }
  for (std::size_t k = 0; k < reads.size(); ++k) {
    auto& strides = walks_[k].strides;
    walks_[k].constant = std::all_of(strides.begin(), strides.end(), [](int64_t s) { return s == 0; });
    walks_[k].plain = reads[k].ndim() > 0 && reads[k].is_contiguous();
  }
  streams_.clear();
  int64_t bytes = 0;
  for (std::size_t k = 0; k < reads.size() + writes.size(); ++k) {
    if (k < reads.size() && (walks_[k].constant || !walks_[k].plain)) continue;
    bytes += operand(k).size() * itemsize(operand(k).dtype());
    if (streams_.size() < most_streams) streams_.push_back(k);
  }
  if (bytes <= near_bytes) streams_.clear();
  else block_ = std::min<int64_t>(slot_bytes, asked_bytes * int64_t(members.size())) / widest;
}

void TileGroup::run() const {
  const int64_t n = numel(shape);
  if (n == 0) return;
  if (ends.empty()) {
    if (n <= grain) return run_range(0, n);
    return parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) { run_range(begin, end); });
  }
  const auto& [size, length, span, stretch] = stretches;
  const int64_t spans = (length + span - 1) / span;  // of a line
  parallel::parallel_for(size / length * spans, std::max<int64_t>(1, grain / span), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t from = i / spans * length, begin = i % spans * span;
      run_range(from + begin, from + std::min(begin + span, length));
    }
  });
  for (const End& end : ends) end.fold->join();
}

void TileGroup::run_range(int64_t begin, int64_t end) const {
  const void* at[most_operands];
  int64_t step[most_operands];
  const std::size_t inputs = reads.size();
  int awkward = 0;
  for (std::size_t k = 0; k < inputs; ++k)
    if (walks_[k].constant) at[k] = reads[k].raw(), step[k] = 0;
    else step[k] = 1, awkward += !walks_[k].plain;
  // One slot a value within the group, and one an input that has to be gathered.
  thread_local std::vector<std::byte> memory;
  const int64_t own_bytes = (scratch_slots + awkward) * slot_bytes;
  const std::size_t needed =
      std::size_t(own_bytes + rooms * room_bytes_ + int64_t(ends.size()) * StreamedFold::state_bytes + line);
  if (memory.size() < needed) memory.resize(needed);
  const auto sharing = int64_t(members.size());
  const int64_t lines = (slot_bytes / line + sharing - 1) / sharing;
  auto* scratch = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
  std::byte *rooms_at = scratch + own_bytes, *states = rooms_at + rooms * room_bytes_;
  const void* reduced[most_ends];  // what the stretch being made holds
  int64_t from = begin, until = ends.empty() ? end : std::min(end, begin + stretches.stretch);  // its place
  for (int64_t first = begin, n; first < end; first += n) {
    const auto place = [&](int output, int slot, int room, int width) {
      if (output >= 0) return static_cast<std::byte*>(writes[std::size_t(output)].raw()) + first * width;
      if (room < 0) return scratch + slot * slot_bytes;
      return rooms_at + room * room_bytes_ + (first - from) * width;
    };
    n = std::min(block_, until - first);
    int gathered = scratch_slots;
    for (std::size_t k = 0; k < inputs; ++k) {
      const Walked& walk = walks_[k];
      if (walk.constant) continue;
      const int width = itemsize(reads[k].dtype());
      const auto* base = static_cast<const std::byte*>(reads[k].raw());
      if (walk.plain) {
        at[k] = base + first * width;
        continue;
      }
      std::byte* to = scratch + gathered++ * slot_bytes;
      at[k] = to;
      gather_bytes(base, width, sizes_, walk.strides, first, n, to);
    }
    Ahead ahead[most_streams];
    const int64_t to_come = std::min(block_, end - first - n);
    const std::size_t streams = to_come > 0 ? streams_.size() : 0;
    for (std::size_t s = 0; s < streams; ++s) {
      const Array& array = operand(streams_[s]);
      const auto* next = static_cast<const std::byte*>(array.raw()) + (first + n) * itemsize(array.dtype());
      ahead[s] = {next, next + to_come * itemsize(array.dtype()), streams_[s] >= inputs};
    }
    for (const Member& member : members) {
      for (std::size_t s = 0; s < streams; ++s) ask(ahead[s], lines);
      const auto made = std::size_t(member.made);
      const int width = itemsize(member.dtype);
      std::byte* to = place(member.output, member.scratch, member.room, width);
      at[made] = to;
      step[made] = 1;
      const auto in = std::size_t(member.ins.back());
      if (member.twin) {
        std::byte* also = place(member.twin_output, member.twin_scratch, member.twin_room, width);
        at[std::size_t(member.twin_made)] = also;
        step[std::size_t(member.twin_made)] = 1;
        if (member.own_is_second) std::swap(to, also);
        member.twin(at[in], step[in], to, also, n);
        continue;
      }
      const void* operands[max_arity];
      int64_t steps[max_arity];
      for (std::size_t i = 0; i < member.ins.size(); ++i) {
        operands[i] = at[member.ins[i]];
        steps[i] = step[member.ins[i]];
      }
      member.tile(operands, steps, to, n);
    }
    for (std::size_t e = 0; e < ends.size() && first == from; ++e) reduced[e] = at[std::size_t(ends[e].value)];
    if (first + n < until) continue;
    for (std::size_t e = 0; e < ends.size(); ++e)
      ends[e].fold->absorb({reduced[e], from, until, from == begin, until == end},
                           states + int64_t(e) * StreamedFold::state_bytes);
    from = until;
    until = std::min(end, until + stretches.stretch);
  }
}

}  // namespace wengert::kernels
