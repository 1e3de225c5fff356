#include "program/lanes.h"

#include <cstring>

#include "program/rewrite.h"

namespace wengert {
namespace {

// A view of the lanes of a contiguous array.
const Op& strided_op() {
  static const Op op = [] {
    Op made;
    made.name = "lanes";
    made.inputs = {"x"};
    made.params = {{"shape", AttrKind::ints, {}}, {"strides", AttrKind::ints, {}}, {"offset", AttrKind::integer, {}}};
    made.view = [](const Array& x, const Attrs& at) {
      return x.view(at.ints("shape"), at.ints("strides"), x.offset() + at.integer("offset"));
    };
    return made;
  }();
  return op;
}

const Op& pack_op() {
  static const Op op = [] {
    Op made;
    made.name = "pack";
    made.inputs = {"*numbers"};
    made.packs = true;
    return made;
  }();
  return op;
}

// Where the operands of a call begin.
template <class T>
std::span<const T*> bases_of(const Call& call) {
  thread_local std::vector<const T*> bases;
  bases.clear();
  for (const Array& x : call.in) bases.push_back(x.data<T>());
  return bases;
}

std::shared_ptr<const Op> own_op(const char* name, std::function<void(const Call&)> kernel) {
  auto op = std::make_shared<Op>();
  op->name = name;
  op->inputs = {"*numbers"};
  op->kernel = std::move(kernel);
  op->self = op;
  return op;
}

// Numbers from the lanes of several vectors, copied in runs of neighbours.
std::shared_ptr<const Op> collector(const LaneTable& table) {
  struct Run {
    int32_t from, lane, size, at;
  };
  std::vector<Run> runs;
  for (std::size_t i = 0; i < table.from.size(); ++i) {
    const int32_t from = table.from[i], lane = table.lane[i];
    if (!runs.empty() && runs.back().from == from && runs.back().lane + runs.back().size == lane) ++runs.back().size;
    else runs.push_back({from, lane, 1, int32_t(i)});
  }
  return own_op("collect", [runs = std::move(runs)](const Call& call) {
    dispatch(call.out[0].dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto bases = bases_of<T>(call);
      T* out = call.out[0].data<T>();
      for (const Run& run : runs) {
        const T* x = bases[std::size_t(run.from)] + run.lane;
        if (run.size == 1) out[run.at] = *x;
        else std::memcpy(out + run.at, x, std::size_t(run.size) * sizeof(T));
      }
    });
  });
}

template <class F>
void for_floats(DType dtype, F&& f) {
  if (dtype == DType::float32) f(TypeTag<float>{});
  else f(TypeTag<double>{});
}

}  // namespace

std::shared_ptr<const Op> sum_of_lanes(LaneTable x, int64_t count) {
  return own_op("collect_sum", [x = std::move(x), count](const Call& call) {
    for_floats(call.out[0].dtype(), [&]<class T>(TypeTag<T>) {
      const auto bases = bases_of<T>(call);
      T* out = call.out[0].data<T>();
      const auto lanes = int64_t(x.from.size()) / count;
      for (int64_t n = 0; n < lanes; ++n) {
        double total = 0;
        for (auto i = std::size_t(n * count); i < std::size_t((n + 1) * count); ++i)
          total += double(bases[std::size_t(x.from[i])][x.lane[i]]);
        out[n] = T(total);
      }
    });
  });
}

std::shared_ptr<const Op> dot_of_lanes(LaneTable x, LaneTable y, int64_t count, bool chain) {
  return own_op("collect_dot", [x = std::move(x), y = std::move(y), count, chain](const Call& call) {
    for_floats(call.out[0].dtype(), [&]<class T>(TypeTag<T>) {
      const auto bases = bases_of<T>(call);
      const auto others = bases.subspan(x.sources.size());
      T* out = call.out[0].data<T>();
      const auto lanes = int64_t(x.from.size()) / count;
      for (int64_t n = 0; n < lanes; ++n) {
        T total = 0;
        for (auto i = std::size_t(n * count); i < std::size_t((n + 1) * count); ++i) {
          const T a = bases[std::size_t(x.from[i])][x.lane[i]], b = others[std::size_t(y.from[i])][y.lane[i]];
          if (!chain || (a != 0 && b != 0)) total += a * b;
        }
        out[n] = total;
      }
    });
  });
}

Lanes::Lanes(Program& program)
    : program_(program), from_outside_(program.types.size(), false), is_number_(program.types.size(), false),
      homes_(program.types.size()) {
  for (const ValueId id : program.inputs) from_outside_[std::size_t(id)] = is_number_[std::size_t(id)] = true;
  for (const auto& [id, x] : program.constants) {
    is_number_[std::size_t(id)] = true;
    if (is_fixed_constant(x) && x.ndim() == 0) fixed_.emplace(id, x.array());
  }
}

ValueId Lanes::new_value(Type type) {
  const ValueId id = program_.new_value(std::move(type));
  homes_.resize(program_.types.size());
  from_outside_.resize(program_.types.size(), false);
  is_number_.resize(program_.types.size(), false);
  return id;
}

void Lanes::settle(ValueId vector, std::vector<ValueId> numbers) {
  for (std::size_t lane = 0; lane < numbers.size(); ++lane)
    homes_[std::size_t(numbers[lane])] = {int(vectors_.size()), int32_t(lane)};
  vectors_.push_back({vector, std::move(numbers)});
}

void Lanes::house(const Step& like, std::span<const ValueId> ids) {
  std::vector<ValueId> loose;
  for (const ValueId id : ids) {
    if (home(id).vector >= 0) continue;
    if (!from_outside_[std::size_t(id)]) {
      homes_[std::size_t(id)].vector = 0;  // listed once
      loose.push_back(id);
      continue;
    }
    const auto [found, is_new] = outside_.emplace(dtype(id), int(vectors_.size()));
    if (is_new) vectors_.push_back({new_value({dtype(id), {}}), {}});
    std::vector<ValueId>& numbers = vectors_[std::size_t(found->second)].numbers;
    homes_[std::size_t(id)] = {found->second, int32_t(numbers.size())};
    numbers.push_back(id);
  }
  if (loose.empty()) return;
  SmallVector<ValueId, 3> ins(loose.begin(), loose.end());
  const ValueId made = add(like, pack_op(), {}, std::move(ins), {dtype(loose[0]), {int64_t(loose.size())}});
  settle(made, std::move(loose));
}

ValueId Lanes::number(const Step& like, ValueId id) {
  if (is_number_[std::size_t(id)]) return id;
  const Home& own = home(id);
  Attrs at = make_attrs(strided_op(), {{"shape", Ints{}}, {"strides", Ints{}}, {"offset", int64_t(own.lane)}});
  keep({.op = &strided_op(), .attrs = std::move(at), .ins = {vector(own.vector).id}, .outs = {id},
        .source = like.source, .tracked = like.tracked, .region = like.region});
  is_number_[std::size_t(id)] = true;
  return id;
}

ValueId Lanes::add(const Step& like, const Op& op, Attrs attrs, SmallVector<ValueId, 3> ins, Type type) {
  const ValueId out = new_value(std::move(type));
  keep({.op = &op, .attrs = std::move(attrs), .ins = std::move(ins), .outs = {out}, .source = like.source,
        .tracked = like.tracked, .region = like.region});
  return out;
}

ValueId Lanes::add_own(const Step& like, std::shared_ptr<const Op> op, SmallVector<ValueId, 3> ins, Type type) {
  const ValueId out = add(like, *op, {}, std::move(ins), std::move(type));
  made_.back().own_op = std::move(op);
  return out;
}

ValueId Lanes::view(const Step& like, ValueId base, const Shape& shape, const Ints& strides, int64_t offset) {
  const Type& type = program_.types[std::size_t(base)];
  const auto outside = outside_.find(type.dtype);  // of a length not known yet
  const bool growing = outside != outside_.end() && vector(outside->second).id == base;
  if (type.shape == shape && offset == 0 && strides == contiguous_strides(shape) && !growing) return base;
  std::vector<int64_t> key{base, offset};
  key.insert(key.end(), shape.begin(), shape.end());
  key.insert(key.end(), strides.begin(), strides.end());
  const auto [known, is_new] = views_.emplace(std::move(key), -1);
  if (is_new) {
    Attrs at = make_attrs(strided_op(), {{"shape", shape}, {"strides", strides}, {"offset", offset}});
    known->second = add(like, strided_op(), std::move(at), {base}, {type.dtype, shape});
  }
  return known->second;
}

LaneTable Lanes::table(std::span<const ValueId> ids) const {
  LaneTable out;
  std::unordered_map<int, int32_t> place;  // of vectors, among the sources
  for (const ValueId id : ids) {
    const Home& own = home(id);
    const auto [found, is_new] = place.emplace(own.vector, int32_t(out.sources.size()));
    if (is_new) out.sources.push_back(vector(own.vector).id);
    out.from.push_back(found->second);
    out.lane.push_back(own.lane);
  }
  return out;
}

ValueId Lanes::collect(const Step& like, std::span<const ValueId> ids) {
  const auto [known, is_new] = collected_.emplace(std::vector<ValueId>(ids.begin(), ids.end()), -1);
  if (is_new) {
    const LaneTable from = table(ids);
    known->second = add_own(like, collector(from), SmallVector<ValueId, 3>(from.sources.begin(), from.sources.end()),
                            {dtype(ids[0]), {int64_t(ids.size())}});
  }
  return known->second;
}

ValueId Lanes::side_by_side(const Step& like, std::vector<ValueId> ids) {
  house(like, ids);
  const Home first = home(ids[0]);
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (home(ids[i]).vector != first.vector || home(ids[i]).lane != first.lane + int32_t(i)) return collect(like, ids);
  return view(like, vector(first.vector).id, {int64_t(ids.size())}, {1}, first.lane);
}

ValueId Lanes::constants(std::span<const ValueId> ids) {
  if (ids.size() == 1) return ids[0];
  const auto [known, is_new] = constants_.emplace(std::vector<ValueId>(ids.begin(), ids.end()), -1);
  if (is_new) {
    Array all = Array::empty(dtype(ids[0]), {int64_t(ids.size())});
    const auto width = std::size_t(itemsize(all.dtype()));
    auto* to = static_cast<std::byte*>(all.raw());
    for (const ValueId id : ids) std::memcpy(to, fixed_.at(id).raw(), width), to += width;
    known->second = new_value(all.type());
    program_.constants.emplace_back(known->second, Var(std::move(all)));
  }
  return known->second;
}

std::vector<Step> Lanes::finish() {
  std::vector<Step> out;
  for (const auto& [dtype, index] : outside_) {
    const Vector& own = vectors_[std::size_t(index)];
    program_.types[std::size_t(own.id)].shape = {int64_t(own.numbers.size())};
    SmallVector<ValueId, 3> ins(own.numbers.begin(), own.numbers.end());
    out.push_back({.op = &pack_op(), .attrs = {}, .ins = std::move(ins), .outs = {own.id},
                   .source = made_.empty() ? 0 : made_[0].source});
  }
  for (Step& step : made_) out.push_back(std::move(step));
  return out;
}

}  // namespace wengert
