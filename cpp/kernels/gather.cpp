#include "kernels/gather.h"

#include <atomic>
#include <cstring>
#include <memory>

#include "kernels/copy.h"
#include "kernels/move.h"
#include "kernels/parallel.h"

namespace wengert::kernels {
namespace {

constexpr int64_t grain = 1 << 15;     // elements
constexpr int64_t in_cache = 1 << 11;  // offsets that stay in L1 while index arrays add to them

template <class F>
decltype(auto) dispatch_index(DType dtype, F&& f) {
  switch (dtype) {
    case DType::uint8:
      return f(TypeTag<uint8_t>{});
    case DType::int32:
      return f(TypeTag<int32_t>{});
    default:
      return f(TypeTag<int64_t>{});
  }
}

// One index array and the axis of the target that it runs over.
struct Selector {
  const Array* index;
  int axis;
  int64_t size, stride;  // of that axis; elements
  bool from_end = true;  // negative indices are allowed

  int64_t value(int64_t at) const {
    return dispatch_index(index->dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      return int64_t(index->data<T>()[strided_offset(index->shape(), index->strides(), at)]);
    });
  }
  bool is_valid(int64_t at) const {
    return value(at) >= (from_end ? -size : 0) && value(at) < size;
  }

  // Adds to n offsets what the indices from `start` on select, and tells whether all are valid.
  bool add(int64_t start, int64_t step, int64_t n, int64_t* offsets) const {
    return dispatch_index(index->dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* from = index->data<T>() + start;
      const int64_t wrap = from_end ? size : 0, limit = size, scale = stride;
      bool bad = false;
      for (int64_t j = 0; j < n; ++j) {
        int64_t i = int64_t(from[j * step]);
        i += i < 0 ? wrap : 0;
        bad |= uint64_t(i) >= uint64_t(limit);
        offsets[j] += int64_t(uint64_t(i) * uint64_t(scale));  // may wrap where i is bad
      }
      return !bad;
    });
  }
};

// So many numbers of a kernel: few lie in memory that the thread keeps for its next one (a kernel within a kernel has
// its own), so that what runs again and again allocates nothing.
class Offsets {
 public:
  explicit Offsets(int64_t n) : size_(n) {
    if (n > few) {
      many_ = Array::empty(DType::int64, {n});
    } else if (kept().empty()) {
      few_ = std::make_unique_for_overwrite<int64_t[]>(few);
    } else {
      few_ = std::move(kept().back());
      kept().pop_back();
    }
  }
  ~Offsets() {
    if (few_ && kept().size() < kept().capacity()) kept().push_back(std::move(few_));
  }
  Offsets(Offsets&&) = default;

  int64_t size() const { return size_; }
  int64_t* data() const { return few_ ? few_.get() : many_.data<int64_t>(); }

 private:
  static constexpr int64_t few = 1 << 13;
  using Memory = std::unique_ptr<int64_t[]>;
  static std::vector<Memory>& kept() {
    thread_local std::vector<Memory> own = [] {
      std::vector<Memory> room;
      room.reserve(4);
      return room;
    }();
    return own;
  }

  int64_t size_;
  Memory few_;
  Array many_;
};

// For each place of the (common) index shape, the offset in the target that the indices select,
// plus that of the place itself along the strides `along`. All indices are valid, or it fails and
// names the first that is not.
Offsets selected_offsets(const char* where, std::span<const Selector> selectors, const Ints& along) {
  Shape shape = selectors[0].index->shape();
  const int64_t n = numel(shape);
  Offsets offsets(n);
  bool plain = along.empty();  // then all is one run
  for (const Selector& s : selectors) plain &= s.index->is_contiguous();
  if (plain || shape.empty()) shape = {n};
  const Shape lead(shape.begin(), shape.end() - 1);
  std::atomic<int64_t> first_bad = n;
  parallel::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin, run; at < end; at += run) {
      const int64_t row = at / shape.back(), column = at % shape.back();
      run = std::min({end - at, shape.back() - column, in_cache});
      int64_t* to = offsets.data() + at;
      const int64_t base = along.empty() ? 0 : strided_offset(lead, along, row);
      const int64_t step = along.empty() ? 0 : along.back();
      for (int64_t j = 0; j < run; ++j) to[j] = base + (column + j) * step;
      bool good = true;
      for (const Selector& s : selectors) {
        const bool flat = plain || s.index->ndim() == 0;
        const int64_t last = flat ? 1 : s.index->strides().back();
        good &= s.add((flat ? 0 : strided_offset(lead, s.index->strides(), row)) + column * last,
                      last, run, to);
      }
      if (good) continue;
      auto valid = [&](int64_t i) {
        return std::all_of(selectors.begin(), selectors.end(),
                           [&](const Selector& s) { return s.is_valid(i); });
      };
      int64_t bad = at;
      while (bad + 1 < at + run && valid(bad)) ++bad;
      int64_t seen = first_bad;
      while (bad < seen && !first_bad.compare_exchange_weak(seen, bad)) {
      }
      return;
    }
  });
  if (first_bad == n) return offsets;
  const Selector* culprit = selectors.data();
  while (culprit != &selectors.back() && culprit->is_valid(first_bad)) ++culprit;
  fail(ErrorKind::bounds, where, ": index ", culprit->value(first_bad),
       " is out of range for axis ", culprit->axis, " with size ", culprit->size);
}

SmallVector<Selector, 4> selectors_of(const Array& target, std::span<const Array> indices, int axis) {
  SmallVector<Selector, 4> out;
  for (const Array& index : indices) {
    const auto i = std::size_t(axis);
    out.push_back(
        {.index = &index, .axis = axis, .size = target.shape()[i], .stride = target.strides()[i]});
    ++axis;
  }
  return out;
}

// The offset of every element of some axes, in C order.
SmallVector<int64_t, 8> all_offsets(const Shape& shape, const Ints& strides) {
  SmallVector<int64_t, 8> out{0}, next;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    next.clear();
    for (int64_t offset : out)
      for (int64_t i = 0; i < shape[axis]; ++i) next.push_back(offset + i * strides[axis]);
    std::swap(out, next);
  }
  return out;
}

// A strided array seen as [outer, selected, inner], with the offsets of each part. `inner` stays
// empty where those elements are contiguous.
struct Blocks {
  Offsets selected;
  SmallVector<int64_t, 8> outer, inner;
  int64_t rows, inner_size;

  Blocks(const char* where, const Array& target, std::span<const Array> indices, int axis)
      : selected(selected_offsets(where, selectors_of(target, indices, axis), {})),
        rows(selected.size()) {
    const std::size_t first = std::size_t(axis), last = first + indices.size();
    const Shape& shape = target.shape();
    const Ints& strides = target.strides();
    outer = all_offsets(Shape(shape.begin(), shape.begin() + first),
                        Ints(strides.begin(), strides.begin() + first));
    const Array back(target.buffer(), target.dtype(), Shape(shape.begin() + last, shape.end()),
                     Ints(strides.begin() + last, strides.end()), 0);
    inner_size = back.size();
    if (!back.is_contiguous()) inner = all_offsets(back.shape(), back.strides());
  }

  int64_t size() const { return int64_t(outer.size()) * rows * inner_size; }
  const int64_t* places() const { return inner.empty() ? nullptr : inner.data(); }

  // body(r, offset of its first element) for rows r in a range, counted over outer and selected.
  template <class Body>
  void for_rows(int64_t begin, int64_t end, Body body) const {
    if (begin >= end) return;
    const int64_t* chosen = selected.data();
    std::size_t o = std::size_t(begin / rows);
    for (int64_t r = begin, m = begin % rows; r < end; ++r) {
      body(r, outer[o] + chosen[m]);
      if (++m == rows) m = 0, ++o;
    }
  }
};

template <class T>
T sum_of(T a, T b) {
  // Integers wrap; in C++ only unsigned ones do.
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
    return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
  else
    return T(a + b);
}

void clear(const Array& out) {
  if (out.size() > 0)
    std::memset(out.raw(), 0, std::size_t(out.size()) * std::size_t(itemsize(out.dtype())));
}

}  // namespace

void gather(const char* where, const Array& x, std::span<const Array> indices, int axis,
            const Array& out) {
  const Blocks blocks(where, x, indices, axis);
  if (blocks.size() == 0) return;
  dispatch_width(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.data<T>();
    T* to = out.data<T>();
    const int64_t inner = blocks.inner_size, rows = int64_t(blocks.outer.size()) * blocks.rows;
    const int64_t* places = blocks.places();
    parallel::parallel_for(rows, grain / inner + 1, [&](int64_t begin, int64_t end) {
      if (inner == 1)
        return blocks.for_rows(begin, end, [&](int64_t r, int64_t at) { to[r] = from[at]; });
      blocks.for_rows(begin, end, [&](int64_t r, int64_t at) {
        T* target = to + r * inner;
        if (!places)
          std::memcpy(target, from + at, std::size_t(inner) * sizeof(T));
        else
          for (int64_t i = 0; i < inner; ++i) target[i] = from[at + places[i]];
      });
    });
  });
}

void scatter_add(const char* where, const Array& given, std::span<const Array> indices, int axis,
                 const Array& out, bool onto) {
  const Blocks blocks(where, out, indices, axis);
  const Array updates = contiguous(given);
  if (!onto) clear(out);
  if (blocks.size() == 0) return;
  dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    // A task adds one strip of the inner elements, over all selected rows in their order.
    constexpr int64_t strip = 64;
    const int64_t inner = blocks.inner_size, rows = blocks.rows,
                  strips = (inner + strip - 1) / strip;
    const T* from = updates.data<T>();
    T* to = out.data<T>();
    const int64_t each = grain / (rows * std::min(strip, inner)) + 1;
    parallel::parallel_for(
        int64_t(blocks.outer.size()) * strips, each, [&](int64_t begin, int64_t end) {
          for (int64_t task = begin; task < end; ++task) {
            const int64_t o = task / strips, first = task % strips * strip,
                          n = std::min(strip, inner - first);
            auto add_one = [&](int64_t r, int64_t at) { to[at] = sum_of(to[at], from[r]); };
            auto add_strip = [&](int64_t r, int64_t at) {
              const T* source = from + r * inner + first;
              T* target = to + at + first;
              for (int64_t i = 0; i < n; ++i) target[i] = sum_of(target[i], source[i]);
            };
            if (inner == 1) blocks.for_rows(o * rows, (o + 1) * rows, add_one);
            else blocks.for_rows(o * rows, (o + 1) * rows, add_strip);
          }
        });
  });
}

void scatter_assign(const char* where, const Array& into, std::span<const Array> given, int axis,
                    const Array& values) {
  const auto first = std::size_t(axis), last = first + given.size();
  Shape common;
  for (const Array& index : given) {
    if (!is_integer(index.dtype()))
      fail(ErrorKind::dtype, where, ": indices must be integers; got ", index.dtype());
    common = broadcast_shapes(where, common, index.shape());
  }
  std::vector<Array> indices;
  for (const Array& index : given) indices.push_back(index.broadcast_to(common));
  Shape shape(into.shape().begin(), into.shape().begin() + first);
  for (int64_t size : common) shape.push_back(size);
  for (std::size_t i = last; i < into.shape().size(); ++i) shape.push_back(into.shape()[i]);
  if (!(broadcast_shapes(where, values.shape(), shape) == shape))
    fail(ErrorKind::shape, where, ": values of shape ", values.shape(),
         " do not fit the selected places, ", shape);

  const Blocks blocks(where, into, indices, axis);
  if (blocks.size() == 0) return;
  const bool fits = values.dtype() == into.dtype() && values.shape() == shape && values.is_contiguous();
  Array source = values;
  if (!fits || values.buffer() == into.buffer()) {
    source = Array::empty(into.dtype(), shape);
    copy(values, source);
  }
  dispatch_width(into.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = source.data<T>();
    T* to = into.data<T>();
    const int64_t inner = blocks.inner_size;
    const int64_t* places = blocks.places();
    blocks.for_rows(0, int64_t(blocks.outer.size()) * blocks.rows, [&](int64_t r, int64_t at) {
      if (!places)
        std::memcpy(to + at, from + r * inner, std::size_t(inner) * sizeof(T));
      else
        for (int64_t i = 0; i < inner; ++i) to[at + places[i]] = from[r * inner + i];
    });
  });
}

void check_indices(const char* where, const Array& indices, int axis, int64_t size) {
  const Selector selector{.index = &indices, .axis = axis, .size = size, .stride = 0};
  selected_offsets(where, {&selector, 1}, {});
}

void gather_along(const char* where, const Array& x, const Array& indices, int axis,
                  const Array& out) {
  Ints along = x.strides();
  along[std::size_t(axis)] = 0;
  const auto selectors = selectors_of(x, {&indices, 1}, axis);
  const Offsets offsets = selected_offsets(where, selectors, along);
  dispatch_width(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.data<T>();
    T* to = out.data<T>();
    const int64_t* at = offsets.data();
    parallel::parallel_for(out.size(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = from[at[i]];
    });
  });
}

void scatter_add_along(const char* where, const Array& given, const Array& indices, int axis,
                       const Array& out) {
  Ints along = out.strides();
  along[std::size_t(axis)] = 0;
  const auto selectors = selectors_of(out, {&indices, 1}, axis);
  const Offsets offsets = selected_offsets(where, selectors, along);
  const Array updates = contiguous(given);
  clear(out);
  if (updates.size() == 0) return;
  // Places that differ before `axis` never meet.
  const int64_t outer = numel(Shape(out.shape().begin(), out.shape().begin() + axis));
  const int64_t each = updates.size() / outer;
  dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = updates.data<T>();
    T* to = out.data<T>();
    const int64_t* at = offsets.data();
    parallel::parallel_for(outer, grain / each + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * each; i < end * each; ++i) to[at[i]] = sum_of(to[at[i]], from[i]);
    });
  });
}

void one_hot(const char* where, const Array& indices, const Array& out) {
  Ints along(out.strides().begin(), out.strides().end() - 1);
  const Selector classes{.index = &indices,
                         .axis = out.ndim() - 1,
                         .size = out.shape().back(),
                         .stride = 1,
                         .from_end = false};
  const Offsets offsets = selected_offsets(where, {&classes, 1}, along);
  clear(out);
  dispatch(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < offsets.size(); ++i) out.data<T>()[offsets.data()[i]] = T(1);
  });
}

std::vector<Array> nonzero(const Array& x) {
  Array mask = x;
  if (x.dtype() != DType::bool_ || !x.is_contiguous()) {
    mask = Array::empty(DType::bool_, x.shape());
    copy(x, mask);
  }
  const bool* set = mask.data<bool>();
  const int64_t n = mask.size(), count = std::count(set, set + n, true);
  std::vector<Array> out;
  for (int axis = 0; axis < x.ndim(); ++axis) out.push_back(Array::empty(DType::int64, {count}));
  for (int64_t at = 0, found = 0; found < count; ++at) {
    if (!set[at]) continue;
    int64_t rest = at;
    for (auto axis = std::size_t(x.ndim()); axis-- > 0;) {
      out[axis].data<int64_t>()[found] = rest % x.shape()[axis];
      rest /= x.shape()[axis];
    }
    ++found;
  }
  return out;
}

}  // namespace wengert::kernels
