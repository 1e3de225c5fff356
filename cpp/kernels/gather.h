// Kernels that read, add and write at integer indices. Every index is checked, as `where`, before
// anything is written; negative ones count from the end.
#pragma once
#include <vector>

#include "array/array.h"

namespace wengert::kernels {

// The axes axis, axis + 1, ... of x, one for each index array, are replaced by the one shape of
// those arrays: out[o, m, i] = x[o, indices[0][m], indices[1][m], ..., i].
void gather(const char* where, const Array& x, std::span<const Array> indices, int axis,
            const Array& out);

// Its transpose: zeros (or what is there, `onto` which it adds), then out[o, indices[m], i] +=
// updates[o, m, i] in the order of m, whatever the number of threads.
void scatter_add(const char* where, const Array& updates, std::span<const Array> indices, int axis,
                 const Array& out, bool onto = false);

// into[o, indices[m], i] = values[o, m, i], in place; of equal indices the last one wins. Index
// arrays and values broadcast, values are converted.
void scatter_assign(const char* where, const Array& into, std::span<const Array> indices, int axis,
                    const Array& values);

// Fails unless all are places along the axis, of that size.
void check_indices(const char* where, const Array& indices, int axis, int64_t size);

// out[..., m, ...] = x[..., indices[..., m, ...], ...] along one axis, and its transpose.
void gather_along(const char* where, const Array& x, const Array& indices, int axis,
                  const Array& out);
void scatter_add_along(const char* where, const Array& updates, const Array& indices, int axis,
                       const Array& out);

// out[..., c] = (indices[...] == c); an index counts from the front only.
void one_hot(const char* where, const Array& indices, const Array& out);

// The places of elements that are not zero, in C order: one int64 array an axis of x (which has at
// least one). How many there are depends on the data.
std::vector<Array> nonzero(const Array& x);

}  // namespace wengert::kernels
