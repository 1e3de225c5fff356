#include "runtime/executor.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "runtime/grouping.h"
#include "runtime/parts.h"
#include "runtime/placement.h"
#include "runtime/planner.h"

namespace wengert {
namespace {

constexpr std::size_t for_ever = SIZE_MAX;

bool is_whole(const Array& array) {
  return array.offset() == 0 && array.is_contiguous() &&
         std::size_t(array.size()) * std::size_t(itemsize(array.dtype())) == array.buffer()->bytes;
}

// A buffer's life in units, and whose memory it takes.
struct Life {
  std::size_t made = 0, last = 0;
  bool outside = false;           // an input, a constant, or bound to an output
  int32_t within = -1;            // the first of those that share its memory, each ending where the next begins
  int item_size = 0;              // of a value that is all of it
  bool shown = false;             // as an output
  bool bound_to_state = false;
  bool over = false;              // made in the memory of what the step reads
};

}  // namespace

// Works out, once, what a run will do.
class Planner {
 public:
  Planner(Executor& to, const Program& program, std::vector<Update> updates, int64_t enough = -1)
      : to_(to), program_(program), arrays_(lay_out_parts(program)), homes_(homes_of(program, arrays_)),
        units_(plan_units(program, arrays_, homes_)), lives_(homes_.count) {
    to_.updates_ = std::move(updates);
    find_lives();
    find_quiet();
    bind_inputs();
    bind_updates();
    bind_outputs();
    pass_within_units();
    share_memory();
    place(enough);
  }

  Planned planned() const {
    return {arena_bytes_ + room_bytes_, units_.size(), peak_unit_ < units_.size() ? units_[peak_unit_].steps[0] : 0};
  }

  void build() {
    take_memory();
    build_units();
    list_copies();
  }

 private:
  const Array& array(ValueId id) const { return arrays_[std::size_t(id)]; }
  int32_t home(ValueId id) const { return homes_.of[std::size_t(id)]; }
  Life& life_of(ValueId id) { return lives_[std::size_t(home(id))]; }
  const Life& life_of(ValueId id) const { return lives_[std::size_t(home(id))]; }

  void find_lives() {
    for (const auto& [id, x] : program_.constants) life_of(id).outside = true;
    for (const ValueId id : program_.inputs) life_of(id).outside = true;
    for (std::size_t u = 0; u < units_.size(); ++u)
      for (const std::size_t s : units_[u].steps) {
        for (const ValueId id : program_.steps[s].outs) {
          Life& life = life_of(id);
          life.made = life.last = u;
          if (is_whole(array(id))) life.item_size = itemsize(array(id).dtype());
        }
        for (const ValueId id : program_.steps[s].ins) {
          Life& life = life_of(id);
          life.last = std::max(life.last, u);
        }
      }
    for (const ValueId id : program_.outputs) life_of(id).shown = true;
    find_readers();
  }

  // By buffer, in the order of units.
  void find_readers() {
    const auto each = [&](auto&& take) {
      for (std::size_t u = 0; u < units_.size(); ++u)
        for (const std::size_t s : units_[u].steps)
          for (const ValueId id : program_.steps[s].ins) take(std::size_t(home(id)), Reader{u, s});
    };
    first_reader_.assign(homes_.count + 2, 0);
    each([&](std::size_t buffer, Reader) { ++first_reader_[buffer + 2]; });
    for (std::size_t b = 2; b < first_reader_.size(); ++b) first_reader_[b] += first_reader_[b - 1];
    readers_.resize(first_reader_.back());
    each([&](std::size_t buffer, Reader reader) { readers_[first_reader_[buffer + 1]++] = reader; });
  }

  struct Reader {
    std::size_t unit, step;
  };
  std::span<const Reader> readers_of(int32_t buffer) const {
    const std::size_t from = first_reader_[std::size_t(buffer)];
    return {readers_.data() + from, first_reader_[std::size_t(buffer) + 1] - from};
  }

  // From which unit on nothing is waited for from the disk, and nothing can fail: only then may inputs change.
  void find_quiet() {
    std::unordered_set<int32_t> fetched;
    for (std::size_t u = 0; u < units_.size(); ++u)
      for (const std::size_t s : units_[u].steps) {
        const Step& step = program_.steps[s];
        for (const ValueId id : step.ins)
          if (fetched.erase(home(id))) quiet_ = u;
        const Transfer::Kind move = transfer_of(step);
        if (move == Transfer::end_spill) quiet_ = u;
        if (move == Transfer::fetch) fetched.insert(home(step.outs[0]));
      }
    if (std::ranges::none_of(to_.updates_, &Update::late)) return;
    const std::vector<bool> failing = may_fail(program_);
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const std::vector<std::size_t>& steps = units_[u].steps;
      if (std::none_of(steps.begin(), steps.end(), [&](std::size_t s) { return failing[s]; })) continue;
      const bool checks_first = steps.size() == 1 && program_.steps[steps[0]].op->bounds.of;
      safe_ = checks_first ? u : u + 1;
    }
  }

  void bind_inputs() {
    for (const ValueId id : program_.inputs)
      to_.inputs_.push_back({array(id).buffer(), Array(), program_.types[std::size_t(id)]});
    for (const auto& [id, x] : program_.constants)
      if (!x.is_abstract()) array(id).buffer()->data = static_cast<std::byte*>(x->array.raw());
  }

  // Whether the unit may write what it makes over another buffer, which nobody reads later.
  bool may_overwrite(ValueId made, ValueId over, std::size_t unit) const {
    if (array(made).buffer()->bytes != array(over).buffer()->bytes) return false;
    const int32_t own = home(made), old = home(over);
    const std::span<const Reader> readers = readers_of(old);
    if (readers.empty()) return true;
    const PlannedUnit& planned = units_[unit];
    // Where in the unit the new value is made.
    std::size_t maker = 0;
    for (std::size_t i = 0; i < planned.steps.size(); ++i)
      for (const ValueId id : program_.steps[planned.steps[i]].outs)
        if (home(id) == own) maker = i;
    for (const auto& [reader, s] : readers) {
      if (reader > unit) return false;
      if (reader < unit) continue;
      const Step& step = program_.steps[s];
      if (planned.grouped) {
        // Members up to the maker read the element at its own place and width, as of single numbers. A reduction's
        // result is as long as what its group reads for these alone, and comes after the members before it.
        const auto at = std::size_t(std::find(planned.steps.begin(), planned.steps.end(), s) - planned.steps.begin());
        if (at > maker) return false;
        for (const ValueId id : step.ins)
          if (home(id) == old && !(is_whole(array(id)) && array(id).size() == array(made).size() &&
                                   itemsize(array(id).dtype()) == life_of(made).item_size))
            return false;
        continue;
      }
      if (!step.op->overwrites || step.own_op) return false;
      bool allowed = false;
      for (std::size_t o = 0; o < step.outs.size(); ++o) {
        if (home(step.outs[o]) != own) continue;
        const int input = step.op->overwrites(int(o), step.ins.size(), step.attrs);
        allowed = input >= 0 && home(step.ins[std::size_t(input)]) == old && is_whole(array(step.ins[std::size_t(input)]));
        for (std::size_t i = 0; i < step.ins.size(); ++i)
          if (int(i) != input && home(step.ins[i]) == old) allowed = false;
      }
      if (!allowed) return false;
    }
    return true;
  }

  // The first output that is no update and shows all of the buffer.
  int shown_at(int32_t buffer) const {
    for (std::size_t j = 0; j < program_.outputs.size(); ++j)
      if (!is_update_[j] && home(program_.outputs[j]) == buffer && is_whole(array(program_.outputs[j]))) return int(j);
    return -1;
  }

  // Passes a changed input on in the rows of an output that shows it before or after the step.
  bool keep_in_rows(std::size_t input, ValueId made) {
    const int32_t own = home(made);
    const int before = shown_at(home(program_.inputs[input]));
    if (before < 0 && shown_at(own) < 0) return false;
    Life& life = life_of(made);
    if (before >= 0 && life.bound_to_state) return false;
    if (before < 0) life.bound_to_state = true;
    else life.outside = holds_state_[std::size_t(before)] = true;
    to_.states_.push_back({input, array(made).buffer(), before});
    return true;
  }

  // The value is made where the input lies, and so is each before it that it is made over, as far back as that can be.
  void write_over(const Update& update, ValueId made) {
    const ValueId old = program_.inputs[update.input];
    life_of(made).outside = life_of(made).over = true;
    to_.inputs_[update.input].also.push_back(array(made).buffer());
    const Life& life = life_of(made);
    const Step* maker = nullptr;
    int place = -1;
    for (const std::size_t s : units_[life.made].steps)
      for (std::size_t k = 0; k < program_.steps[s].outs.size(); ++k)
        if (program_.steps[s].outs[k] == made) maker = &program_.steps[s], place = int(k);
    if (!maker || maker->own_op || !maker->op->overwrites) return;
    const int over = maker->op->overwrites(place, maker->ins.size(), maker->attrs);
    if (over < 0) return;
    const ValueId before = maker->ins[std::size_t(over)];
    const Life& earlier = life_of(before);
    if (earlier.outside || earlier.shown || earlier.within >= 0 || !is_whole(array(before)) ||
        !(array(before).type() == array(old).type()) || earlier.made < settled(update) ||
        !may_overwrite(made, before, life.made) || !may_overwrite(before, old, earlier.made))
      return;
    write_over(update, before);
  }

  // The first unit that may change the input.
  std::size_t settled(const Update& update) const { return update.late ? std::max(quiet_, safe_) : quiet_; }

  // A changed input whose new value can be written where it belongs.
  void bind_updates() {
    is_update_.assign(program_.outputs.size(), false);
    holds_state_ = is_update_;
    for (const Update& update : to_.updates_) is_update_[update.output] = true;
    for (const Update& update : to_.updates_) {
      const ValueId made = program_.outputs[update.output], old = program_.inputs[update.input];
      const Array &value = array(made), &input = array(old);
      Life& life = life_of(made);
      bool direct = !life.outside && is_whole(value) && value.type() == input.type();
      if (direct && (quiet_ > 0 || !keep_in_rows(update.input, made))) {
        direct = life.made >= settled(update) && !life.bound_to_state &&
                 !life_of(old).shown && may_overwrite(made, old, life.made);
        if (direct) write_over(update, made);
      }
      to_.direct_.push_back(direct);
      to_.update_values_.push_back(value);
      needs_room_.push_back(!direct && life.outside);
      if (needs_room_.back()) room_bytes_ += value.size() * itemsize(value.dtype());
    }
  }

  void bind_outputs() {
    for (std::size_t j = 0; j < program_.outputs.size(); ++j) {
      const Array& value = array(program_.outputs[j]);
      Executor::Result result{.buffer = {}, .value = value, .is_placed = is_update_[j] || holds_state_[j]};
      Life& life = life_of(program_.outputs[j]);
      if (!result.is_placed && !life.outside && is_whole(value)) {
        life.outside = true;
        result.buffer = value.buffer();
      } else if (!life.outside) {
        life.last = for_ever;
      }
      to_.results_.push_back(std::move(result));
    }
    // A value that is shown, or written where an input belongs, is read at the end.
    for (const ValueId id : program_.outputs)
      if (Life& life = life_of(id); !life.outside) life.last = for_ever;
  }

  // What only other members of its group read never reaches memory.
  void pass_within_units() {
    for (std::size_t u = 0; u < units_.size(); ++u)
      for (const std::size_t s : units_[u].steps)
        if (const ValueId made = program_.steps[s].outs[0];
            units_[u].grouped && !is_end(program_.steps[s]) && !read_elsewhere(made, u))
          life_of(made).outside = true;
  }

  // A result takes over the memory of an operand that ends there.
  void share_memory() {
    std::vector<bool> taken(homes_.count, false);
    for (std::size_t u = 0; u < units_.size(); ++u)
      for (const std::size_t s : units_[u].steps)
        for (const ValueId made : program_.steps[s].outs) {
          Life& own = life_of(made);
          if (own.outside || own.within >= 0 || own.last == own.made) continue;
          for (const std::size_t reader : units_[u].steps)
            for (const ValueId id : program_.steps[reader].ins) {
              const int32_t old = home(id);
              const Life& life = life_of(id);
              if (own.within >= 0 || old == home(made) || life.outside || life.made >= u || life.last != u) continue;
              if (taken[std::size_t(old)] || !may_overwrite(made, id, u)) continue;
              own.within = life.within >= 0 ? life.within : old;
              own.over = true;
              taken[std::size_t(old)] = true;
            }
        }
  }

  bool read_elsewhere(ValueId id, std::size_t unit) const {
    if (life_of(id).shown) return true;
    const std::span<const Reader> readers = readers_of(home(id));
    return std::any_of(readers.begin(), readers.end(), [&](const Reader& r) { return r.unit != unit; });
  }

  void build_units() {
    std::unordered_map<int32_t, std::size_t> fetched;  // not waited for yet: places of moves
    for (std::size_t u = 0; u < units_.size(); ++u) {
      for (const std::size_t s : units_[u].steps)
        for (const ValueId id : program_.steps[s].ins)
          if (const auto found = fetched.find(home(id)); found != fetched.end()) {
            Executor::DiskMove move = to_.disk_moves_[found->second];
            move.kind = Executor::DiskMove::end_fetch;
            add_disk_move(std::move(move), "end_fetch");
            fetched.erase(found);
          }
      const Step& step = program_.steps[units_[u].steps[0]];
      if (units_[u].grouped) build_group(u);
      else if (units_[u].steps.size() > 1) build_tasks(units_[u]);
      else if (step.op->packs) build_pack(step);
      else if (transfer_of(step) == Transfer::none) build_kernel(step);
      else if (build_disk_move(step) == Transfer::fetch) fetched[home(step.outs[0])] = to_.disk_moves_.size() - 1;
    }
  }

  void build_pack(const Step& step) {
    Executor::Pack pack;
    for (const ValueId id : step.ins) pack.ins.push_back(array(id));
    pack.out = array(step.outs[0]);
    to_.work_ += 2 * double(step.ins.size());
    to_.units_.push_back({Executor::Unit::pack, to_.packs_.size(), cost_of(step)});
    to_.packs_.push_back(std::move(pack));
  }

  void add_disk_move(Executor::DiskMove move, std::string label) {
    to_.work_ += worth_a_release;
    UnitCost cost{.label = std::move(label)};
    const bool begins = move.kind == Executor::DiskMove::spill || move.kind == Executor::DiskMove::fetch;
    if (begins) cost.bytes = int64_t(move.value.buffer()->bytes);
    to_.units_.push_back({Executor::Unit::disk, to_.disk_moves_.size(), std::move(cost)});
    to_.disk_moves_.push_back(std::move(move));
  }

  Transfer::Kind build_disk_move(const Step& step) {
    const Transfer::Kind kind = transfer_of(step);
    const auto slot = std::size_t(step.attrs.integer("slot"));
    const Array& value = array(kind == Transfer::fetch ? step.outs[0] : step.ins[0]);
    if (kind == Transfer::spill) {
      to_.directory_ = step.attrs.text("directory");
      to_.asked_.push_back(0);
      places_.push_back(file_bytes_);
      file_bytes_ += int64_t(value.buffer()->bytes);
    }
    const auto own = kind == Transfer::spill       ? Executor::DiskMove::spill
                     : kind == Transfer::end_spill ? Executor::DiskMove::end_spill
                                                   : Executor::DiskMove::fetch;
    add_disk_move({own, value, slot, places_[slot]}, step.op->name);
    return kind;
  }

  Executor::Kernel kernel_of(const Step& step) {
    Executor::Kernel kernel{.op = step.op, .own_op = step.own_op, .attrs = &step.attrs, .ins = {}, .outs = {},
                            .source = step.source};
    for (const ValueId id : step.ins) kernel.ins.push_back(array(id)), to_.work_ += double(array(id).size());
    for (const ValueId id : step.outs) kernel.outs.push_back(array(id)), to_.work_ += double(array(id).size());
    to_.work_ += double(program_.flops(step)) / 16;
    if (step.op->is_long) to_.work_ += worth_a_release;
    to_.calls_python_ |= step.op->evaluate || step.op->calls_out;
    return kernel;
  }

  void build_kernel(const Step& step) {
    to_.units_.push_back({Executor::Unit::kernel, to_.kernels_.size(), cost_of(step)});
    to_.kernels_.push_back(kernel_of(step));
  }

  void build_tasks(const PlannedUnit& unit) {
    Executor::Tasks tasks;
    UnitCost cost;
    for (const std::size_t s : unit.steps) {
      const UnitCost own = cost_of(program_.steps[s]);
      cost.label += (cost.label.empty() ? "" : " | ") + own.label;
      cost.flops += own.flops;
      cost.bytes += own.bytes;
      tasks.kernels.push_back(kernel_of(program_.steps[s]));
      for (auto* arrays : {&tasks.kernels.back().ins, &tasks.kernels.back().outs})
        for (Array& x : *arrays) {
          const Ref<Buffer> planned = x.buffer();
          const Ref<Buffer> own_buffer =
              Array::foreign(nullptr, planned->bytes, false, x.dtype(), x.shape(), x.strides(), [] {}).buffer();
          x = Array(own_buffer, x.dtype(), x.shape(), x.strides(), x.offset());
          tasks.views.emplace_back(own_buffer, planned);
        }
    }
    to_.units_.push_back({Executor::Unit::tasks, to_.tasks_.size(), std::move(cost)});
    to_.tasks_.push_back(std::move(tasks));
  }

  UnitCost cost_of(const Step& step) const {
    UnitCost out{.label = step.op->name, .flops = program_.flops(step)};
    const auto bytes = [&](ValueId id) { return array(id).size() * itemsize(array(id).dtype()); };
    const bool in_part = step.op->writes_part && life_of(step.outs[0]).over;
    for (std::size_t i = in_part; i < step.ins.size(); ++i) out.bytes += (in_part ? 2 : 1) * bytes(step.ins[i]);
    if (!in_part)
      for (const ValueId id : step.outs) out.bytes += bytes(id);
    return out;
  }

  void build_group(std::size_t u) {
    const auto leaves = [&](ValueId id) { return read_elsewhere(id, u); };
    kernels::TileGroup group = make_group(program_, arrays_, units_[u].steps, leaves);
    UnitCost cost;
    for (const std::size_t s : units_[u].steps) {
      const Step& step = program_.steps[s];
      cost.label += (cost.label.empty() ? "" : " ") + step.op->name;
      cost.flops += program_.flops(step);
      const Array& out = array(step.outs[0]);
      to_.work_ += double(out.size());
      if (is_end(step)) cost.bytes += out.size() * itemsize(out.dtype());
    }
    for (const Array& x : group.reads) cost.bytes += x.size() * itemsize(x.dtype());
    for (const Array& x : group.writes) cost.bytes += x.size() * itemsize(x.dtype());
    to_.units_.push_back({Executor::Unit::group, to_.groups_.size(), std::move(cost)});
    to_.groups_.push_back(std::move(group));
  }

  std::size_t root(int32_t buffer) const {
    const int32_t first = lives_[std::size_t(buffer)].within;
    return std::size_t(first >= 0 ? first : buffer);
  }

  struct Placed {
    std::size_t made;
    int32_t home;
    Buffer* buffer;
  };

  void place(int64_t enough) {
    // In the order of the values, so that equal programs have equal plans.
    std::vector<bool> seen(homes_.count, false);
    for (std::size_t id = 0; id < arrays_.size(); ++id) {
      const int32_t buffer = homes_.of[id];
      if (buffer < 0 || seen[std::size_t(buffer)]) continue;
      seen[std::size_t(buffer)] = true;
      const Life& life = lives_[std::size_t(buffer)];
      if (!life.outside) inside_.push_back({life.made, buffer, arrays_[id].buffer().get()});
    }
    std::stable_sort(inside_.begin(), inside_.end(), [](const Placed& a, const Placed& b) {
      return a.made != b.made ? a.made < b.made : a.buffer->bytes > b.buffer->bytes;
    });
    place_of_.assign(homes_.count, SIZE_MAX);
    for (const Placed& own : inside_) {
      const Life& life = lives_[std::size_t(own.home)];
      std::size_t& found = place_of_[root(own.home)];
      if (found == SIZE_MAX) {
        found = intervals_.size();
        intervals_.push_back({int64_t(own.buffer->bytes), life.made, life.last});
      }
      Interval& interval = intervals_[found];
      interval.first = std::min(interval.first, life.made);
      interval.last = std::max(interval.last, life.last);
    }
    const Peak peak = peak_of(intervals_);
    peak_unit_ = peak.unit;
    to_.live_bytes_ = peak.bytes + room_bytes_;
    const bool too_many = enough >= 0 && to_.live_bytes_ > enough;
    arena_bytes_ = too_many ? peak.bytes : place_intervals(intervals_, std::max<int64_t>(enough - room_bytes_, 0));
  }

  void take_memory() {
    to_.arena_bytes_ = arena_bytes_ + room_bytes_;
    to_.arena_ = Array::empty(DType::uint8, {arena_bytes_});
    for (std::size_t i = 0; i < to_.update_values_.size(); ++i) {
      const Array& value = to_.update_values_[i];
      to_.update_rooms_.push_back(needs_room_[i] ? Array::empty(value.dtype(), value.shape()) : Array());
    }
    auto* base = static_cast<std::byte*>(to_.arena_.raw());
    for (const Placed& own : inside_) own.buffer->data = base + intervals_[place_of_[root(own.home)]].offset;
  }

  void list_copies() {
    for (std::size_t j = 0; j < to_.results_.size(); ++j) {
      const Executor::Result& result = to_.results_[j];
      if (result.buffer) to_.bound_results_.push_back(j);
      else if (!result.is_placed) to_.copied_results_.push_back(j);
    }
    for (std::size_t u = 0; u < to_.updates_.size(); ++u) {
      if (to_.update_rooms_[u].has_data()) to_.roomed_updates_.push_back(u);
      if (!to_.direct_[u]) to_.copied_updates_.push_back(u);
      to_.loose_updates_.push_back(u);
    }
    for (std::size_t i = 0; i < to_.inputs_.size(); ++i) to_.loose_inputs_.push_back(i);
  }

  Executor& to_;
  const Program& program_;
  std::vector<Array> arrays_;
  Homes homes_;
  std::vector<PlannedUnit> units_;
  std::vector<Life> lives_;                // of each buffer
  std::vector<Reader> readers_;            // of all buffers, one after the other
  std::vector<std::size_t> first_reader_;  // of each
  std::vector<bool> needs_room_;               // of each update
  std::vector<bool> is_update_, holds_state_;  // of each output
  std::vector<Interval> intervals_;
  std::vector<std::size_t> place_of_;          // of each buffer that others lie within, among the intervals
  std::vector<Placed> inside_;
  int64_t arena_bytes_ = 0, room_bytes_ = 0;
  std::size_t quiet_ = 0, safe_ = 0, peak_unit_ = 0;
  std::vector<int64_t> places_;  // in the file, by slot
  int64_t file_bytes_ = 0;
};

Executor::Executor(const Program& program, std::vector<Update> updates) {
  Planner(*this, program, std::move(updates)).build();
}

Planned Executor::planned(const Program& program, std::vector<Update> updates, int64_t enough) {
  Executor none;
  return Planner(none, program, std::move(updates), enough).planned();
}

}  // namespace wengert
