"""Rows that move elements: views, placement, indexing, sorting, and the list's own rows."""

import numpy as np

from .row import EVERYTHING, FLOATS, NUMBERS, any_real, distinct, index, row, whole


def permute_dims(x, axes=None):
    return np.transpose(x, axes)


def expand_dims(x, axis):
    return np.expand_dims(x, axis)


def diagonal(x, offset=0):
    return np.diagonal(x, offset, -2, -1)


def box(starts, sizes, steps=None):
    """The index of the elements starts + i * steps."""
    steps = steps or (1,) * len(starts)
    return np.ix_(*[a + s * np.arange(n) for a, n, s in zip(starts, sizes, steps, strict=True)])


def slice_of(x, starts, sizes, steps=None):
    return x[box(starts, sizes, steps)]


def unslice(x, shape, starts, steps=None):
    out = np.zeros(shape, x.dtype)
    out[box(starts, x.shape, steps)] = x
    return out


def unslice_add(base, x, starts, steps=None):
    out = np.array(base)
    out[box(starts, x.shape, steps)] += x
    return out


def slice_assign(x, values, starts, steps=None):
    out = np.array(x)
    out[box(starts, values.shape, steps)] = values
    return out


def pad(x, pad_width, constant=0.0):
    width = tuple(pad_width) * (2 * x.ndim // len(pad_width) if len(pad_width) < 2 * x.ndim else 1)
    return np.pad(x, np.reshape(width, (-1, 2)), constant_values=constant)


def gather(x, *indices, axes):
    return x[(slice(None),) * (axes[0] % x.ndim) + indices]


def scatter_add(updates, *indices, shape, axes):
    out = np.zeros(shape, updates.dtype)
    np.add.at(out, (slice(None),) * (axes[0] % len(shape)) + indices, updates)
    return out


def index_put(x, values, *indices, axes, accumulate=False, starts=None, sizes=None, steps=None):
    out = np.array(x)
    part = np.array(out if starts is None else out[box(starts, sizes, steps)])
    places = (slice(None),) * (axes[0] % x.ndim) + indices
    if accumulate:
        np.add.at(part, places, values)
    else:
        part[places] = values
    out[... if starts is None else box(starts, sizes, steps)] = part
    return out


def take_along_axis(x, indices, axis=-1):
    shape = list(np.broadcast_shapes(np.delete(x.shape, axis), np.delete(indices.shape, axis)))
    shape.insert(axis % x.ndim, 0)
    shape[axis] = x.shape[axis]
    x = np.broadcast_to(x, shape)
    shape[axis] = indices.shape[axis]
    return np.take_along_axis(x, np.broadcast_to(indices, shape), axis)


def scatter_add_along_axis(updates, indices, size, axis=-1):
    updates, indices = np.broadcast_arrays(updates, indices)
    shape = list(updates.shape)
    shape[axis] = size
    out = np.zeros(shape, updates.dtype)
    where = list(np.indices(updates.shape))
    where[axis] = indices
    np.add.at(out, tuple(where), updates)
    return out


def one_hot(indices, num_classes, dtype="float32"):
    return (indices[..., None] == np.arange(num_classes)).astype(dtype)


def sort(x, axis=-1, descending=False, stable=True):
    return np.flip(np.sort(x, axis), axis) if descending else np.sort(x, axis)


def argsort(x, axis=-1, descending=False, stable=True):
    return np.argsort(-x if descending else x, axis, kind="stable")


def straight_through(value, carrier, anchor):
    return value + (carrier - anchor)


def astype(x, dtype):
    if dtype == "uint8" and x.dtype.kind == "f":  # undefined in NumPy outside its range
        x = np.where((x > -1) & (x < 256), x, 0)
    return x.astype(dtype)


# Of rows that write in a box of their first argument.
INTO_BOX = {
    "cases": [
        (((5, 6), (2, 3)), {"starts": (1, 0), "steps": (2, 1)}),
        (((5, 6), (5, 2)), {"starts": (4, 5), "steps": (-1, -3)}),
        (((3,), (0,)), {"starts": (0,)}),
        (((), ()), {"starts": ()}),
    ],
    "large": (((300, 250), (300, 100)), {"starts": (0, 100)}),
    "errors": [
        (((4,), (3,)), {"starts": (2,)}, r"start 2, size 3"),
        (((4,), (3, 1)), {"starts": (0,)}, r"each axis of \(4,\)"),
    ],
}

views = [
    row(
        "reshape",
        [any_real],
        np.reshape,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4),), {"shape": (2, 6)}),
            (((3, 4),), {"shape": (-1,)}),
            (((),), {"shape": (1, 1)}),
            (((2, 0),), {"shape": (0, 5)}),
        ],
        errors=[
            (((3, 4),), {"shape": (5, -1)}, r"\(3, 4\).*12.*\(5, -1\)"),
            (((3, 4),), {"shape": (2, 5)}, r"12.*\(2, 5\).*10"),
        ],
    ),
    row(
        "permute_dims",
        [any_real],
        permute_dims,
        dtypes=EVERYTHING,
        cases=[
            (((2, 3, 4),), {"axes": (1, 2, 0)}),
            (((2, 3, 4),), {}),
            (((3, 4),), {"axes": (-1, -2)}),
            (((),), {"axes": ()}),
            (((2, 0, 3),), {"axes": (2, 0, 1)}),
        ],
        errors=[(((3, 4),), {"axes": (0, 0)}, r"\(0, 0\)")],
    ),
    row(
        "matrix_transpose",
        [any_real],
        lambda x: np.swapaxes(x, -1, -2),
        dtypes=EVERYTHING,
        shapes=[((3, 4),), ((2, 3, 4),), ((2, 0, 3),)],
        errors=[(((3,),), {}, r"\(3,\)")],
    ),
    row(
        "broadcast_to",
        [any_real],
        np.broadcast_to,
        dtypes=EVERYTHING,
        cases=[
            (((3, 1),), {"shape": (2, 3, 4)}),
            (((),), {"shape": (2, 2)}),
            (((1, 3),), {"shape": (0, 3)}),
            (((4,),), {"shape": (4,)}),
        ],
        errors=[(((3,),), {"shape": (4,)}, r"\(3,\).*\(4,\)")],
    ),
    row(
        "expand_dims",
        [any_real],
        expand_dims,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4),), {"axis": 1}),
            (((3,),), {"axis": (0, -1)}),
            (((),), {"axis": 0}),
            (((0,),), {"axis": -1}),
        ],
        errors=[(((3,),), {"axis": 2}, r"axis.*2")],
    ),
    row(
        "squeeze",
        [any_real],
        np.squeeze,
        dtypes=EVERYTHING,
        cases=[
            (((3, 1, 4, 1),), {"axis": 1}),
            (((3, 1, 4, 1),), {"axis": (-1, 1)}),
            (((1, 1),), {}),
            (((0, 1),), {}),
        ],
        errors=[(((3, 4),), {"axis": 0}, r"size 1.*axis 0.*3")],
    ),
    row(
        "flip",
        [any_real],
        np.flip,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4),), {}),
            (((3, 4),), {"axis": 0}),
            (((2, 3, 4),), {"axis": (0, -1)}),
            (((),), {}),
            (((2, 0),), {}),
        ],
    ),
    row(
        "diagonal",
        [any_real],
        diagonal,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4),), {}),
            (((2, 4, 3),), {"offset": 1}),
            (((3, 3),), {"offset": -2}),
            (((3, 3),), {"offset": 7}),
            (((0, 3),), {}),
        ],
    ),
]

placement = [
    row(
        "slice",
        [any_real],
        slice_of,
        dtypes=EVERYTHING,
        cases=[
            (((5, 6),), {"starts": (1, 0), "sizes": (2, 3), "steps": (2, 1)}),
            (((5, 6),), {"starts": (4, 5), "sizes": (5, 2), "steps": (-1, -3)}),
            (((5,),), {"starts": (2,), "sizes": (0,)}),
            (((),), {"starts": (), "sizes": ()}),
        ],
        errors=[(((5,),), {"starts": (2,), "sizes": (4,)}, r"start 2, size 4.*axis 0 of size 5")],
    ),
    row(
        "unslice",
        [any_real],
        unslice,
        dtypes=EVERYTHING,
        cases=[
            (((2, 3),), {"shape": (5, 6), "starts": (1, 0), "steps": (2, 1)}),
            (((5, 2),), {"shape": (5, 6), "starts": (4, 5), "steps": (-1, -3)}),
            (((0,),), {"shape": (3,), "starts": (0,)}),
            (((),), {"shape": (), "starts": ()}),
        ],
        errors=[(((3,),), {"shape": (4,), "starts": (2,)}, r"start 2, size 3")],
    ),
    row(
        "unslice_add",
        [any_real, any_real],
        unslice_add,
        dtypes=NUMBERS,
        **INTO_BOX,
    ),
    row(
        "slice_assign",
        [any_real, any_real],
        slice_assign,
        dtypes=EVERYTHING,
        **INTO_BOX,
    ),
    row(
        "pad",
        [any_real],
        pad,
        dtypes=EVERYTHING,
        cases=[
            (((2, 3),), {"pad_width": (1, 0, 2, 1)}),
            (((2, 3),), {"pad_width": (1,), "constant": 2.0}),
            (((3,),), {"pad_width": (0, 2)}),
            (((0, 2),), {"pad_width": (1, 1, 0, 0)}),
        ],
        errors=[(((3,),), {"pad_width": (-1, 0)}, r"negative.*\(-1, 0\)")],
    ),
    row(
        "concat",
        [any_real],
        lambda *x, axis=0: np.concatenate(x, axis),
        dtypes=EVERYTHING,
        cases=[
            (((2, 3), (1, 3), (2, 3)), {}),
            (((2, 3), (2, 1)), {"axis": -1}),
            (((2, 3), ()), {"axis": None}),
            (((0, 2), (3, 2)), {"axis": 0}),
        ],
        errors=[(((2, 3), (2, 4)), {}, r"\(2, 3\) and \(2, 4\)"), (((), ()), {}, "0-d")],
    ),
    row(
        "stack",
        [any_real],
        lambda *x, axis=0: np.stack(x, axis),
        dtypes=EVERYTHING,
        cases=[
            (((2, 3),) * 3, {}),
            (((2, 3),) * 2, {"axis": -1}),
            (((), ()), {}),
            (((0, 2),) * 2, {"axis": 1}),
        ],
        errors=[(((2,), (3,)), {}, r"\(2,\) and \(3,\)")],
    ),
    row(
        "roll",
        [any_real],
        np.roll,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4),), {"shift": 5}),
            (((3, 4),), {"shift": -1, "axis": 1}),
            (((3, 4),), {"shift": (1, 2), "axis": (0, 1)}),
            (((),), {"shift": 1}),
            (((2, 0),), {"shift": 1, "axis": 1}),
        ],
    ),
    row(
        "tril",
        [any_real],
        np.tril,
        dtypes=EVERYTHING,
        cases=[(((3, 4),), {}), (((2, 3, 3),), {"k": 1}), (((3, 3),), {"k": -9}), (((0, 3),), {})],
    ),
    row(
        "triu",
        [any_real],
        np.triu,
        dtypes=EVERYTHING,
        cases=[(((3, 4),), {}), (((2, 3, 3),), {"k": -1}), (((3, 3),), {"k": 9}), (((0, 3),), {})],
    ),
    row(
        "repeat",
        [any_real],
        np.repeat,
        dtypes=EVERYTHING,
        cases=[
            (((2, 3),), {"repeats": 2}),
            (((2, 3),), {"repeats": 3, "axis": -1}),
            (((2, 3),), {"repeats": 0, "axis": 0}),
            (((),), {"repeats": 2}),
            (((0, 2),), {"repeats": 2, "axis": 1}),
        ],
        errors=[(((3,),), {"repeats": -1}, "-1")],
    ),
    row(
        "tile",
        [any_real],
        lambda x, repetitions: np.tile(x, repetitions),
        dtypes=EVERYTHING,
        cases=[
            (((2, 3),), {"repetitions": (2,)}),
            (((2, 3),), {"repetitions": (2, 1, 3)}),
            (((),), {"repetitions": (2,)}),
            (((2,),), {"repetitions": (0,)}),
        ],
    ),
]

index4 = index(-4, 4)
indexing = [
    row(
        "hold_indices",
        [index4],
        lambda x, size, axis=0, reader="": x,
        dtypes=("int64",),
        cases=[
            (((5,),), {"size": 4}),
            (((2, 3),), {"size": 4}),
            (((),), {"size": 9}),
            (((0,),), {"size": 0}),
        ],
        errors=[(((90,),), {"size": 2}, "index.*axis 0 with size 2")],
    ),
    row(
        "take",
        [any_real, index4],
        np.take,
        dtypes=EVERYTHING,
        cases=[
            (((4, 3), (5,)), {"axis": 0}),
            (((3, 4), (2, 2)), {"axis": -1}),
            (((2, 3), ()), {}),
            (((4,), (0,)), {"axis": 0}),
        ],
        large=(((4, 30_000), (5,)), {"axis": 0}),
        errors=[(((2, 1), (90,)), {"axis": 1}, r"index.*axis.*size 1|size 1")],
    ),
    row(
        "gather",
        [any_real, index4],
        gather,
        dtypes=EVERYTHING,
        cases=[
            (((4, 3), (5,)), {"axes": (0,)}),
            (((4, 5, 3), (2, 1), (3,)), {"axes": (0, 1)}),
            (((3, 4, 4), (2,), ()), {"axes": (-2, -1)}),
            (((4, 4), (0,)), {"axes": (0,)}),
        ],
        large=(((4, 30_000), (5,)), {"axes": (0,)}),
    ),
    row(
        "index_put",
        [any_real, any_real, index4],
        index_put,
        dtypes=NUMBERS,
        cases=[
            (((4, 3), (5, 3), (5,)), {"axes": (0,)}),
            (((4, 3), (5, 3), (5,)), {"axes": (0,), "accumulate": True}),
            (((4, 5, 3), (3,), (2, 1), (3,)), {"axes": (0, 1)}),
            (((4, 5, 3), (3,), (2, 1), (3,)), {"axes": (0, 1), "accumulate": True}),
            (((3, 4, 4), (2,), (2,), ()), {"axes": (-2, -1)}),
            (((4,), (), (6,)), {"axes": (0,)}),
            (
                ((9, 5), (3, 2), (3,)),
                {"axes": (0,), "starts": (7, 1), "sizes": (4, 2), "steps": (-2, 3)},
            ),
            (
                ((2, 6, 4), (5,), (5,), ()),
                {"axes": (1, 2), "accumulate": True, "starts": (1, 2, 0), "sizes": (1, 4, 4)},
            ),
            (((4, 2), (0, 2), (0,)), {"axes": (0,)}),
        ],
        large=(((4, 30_000), (5, 30_000), (5,)), {"axes": (0,), "accumulate": True}),
        errors=[(((4, 2), (7, 5, 2), (5,)), {"axes": (0,)}, r"\(7, 5, 2\) do not fit.*\(5, 2\)")],
    ),
    row(
        "scatter_add",
        [any_real, index4],
        scatter_add,
        dtypes=NUMBERS,
        cases=[
            (((5, 3), (5,)), {"shape": (4, 3), "axes": (0,)}),
            (((2, 3, 3), (2, 1), (3,)), {"shape": (4, 5, 3), "axes": (0, 1)}),
            (((3, 2), (2,), ()), {"shape": (3, 4, 4), "axes": (-2, -1)}),
            (((0, 3), (0,)), {"shape": (4, 3), "axes": (0,)}),
        ],
        large=(((50, 3000), (50,)), {"shape": (4, 3000), "axes": (0,)}),
    ),
    row(
        "take_along_axis",
        [any_real, index4],
        take_along_axis,
        dtypes=EVERYTHING,
        cases=[
            (((3, 4), (3, 5)), {}),
            (((4, 3), (2, 3)), {"axis": 0}),
            (((4, 3), (2, 1)), {"axis": 0}),
            (((1, 4), (3, 2)), {"axis": 1}),
            (((4,), (0,)), {}),
        ],
        large=(((4, 30_000), (3, 30_000)), {"axis": 0}),
    ),
    row(
        "scatter_add_along_axis",
        [any_real, index4],
        scatter_add_along_axis,
        dtypes=NUMBERS,
        cases=[
            (((3, 5), (3, 5)), {"size": 4}),
            (((2, 3), (2, 3)), {"size": 4, "axis": 0}),
            (((2, 3), (2, 1)), {"size": 4, "axis": 0}),
            (((0,), (0,)), {"size": 4}),
        ],
        large=(((9, 30_000), (9, 30_000)), {"size": 4, "axis": 0}),
    ),
    row(
        "one_hot",
        [index(0, 4)],
        one_hot,
        dtypes=("float32",),
        cases=[
            (((5,),), {"num_classes": 4}),
            (((2, 3),), {"num_classes": 6, "dtype": "float64"}),
            (((),), {"num_classes": 4, "dtype": "int32"}),
            (((0,),), {"num_classes": 4, "dtype": "bool"}),
        ],
        errors=[(((90,),), {"num_classes": 1}, "num_classes|class|index")],
    ),
    row(
        "sort",
        [distinct()],
        sort,
        dtypes=NUMBERS,
        large=(((70, 1000),), {}),
        cases=[
            (((3, 4),), {}),
            (((3, 4),), {"axis": 0, "descending": True}),
            (((1,),), {}),
            (((2, 0),), {}),
        ],
    ),
    row(
        "argsort",
        [distinct()],
        argsort,
        dtypes=FLOATS,
        large=(((70, 1000),), {}),
        cases=[
            (((3, 4),), {}),
            (((3, 4),), {"axis": 0, "descending": True}),
            (((1,),), {}),
            (((2, 0),), {}),
        ],
    ),
]

listed = [
    row("alias", [any_real], np.copy, dtypes=EVERYTHING),
    row("copy", [any_real], np.copy, dtypes=EVERYTHING),
    row(
        "checkpoint_name",
        [any_real],
        lambda x, name: np.copy(x),
        attrs=[{"name": "h"}],
        dtypes=EVERYTHING,
    ),
    row("stop_gradient", [any_real], np.copy, dtypes=EVERYTHING),
    row(
        "astype",
        [any_real],
        astype,
        dtypes=EVERYTHING,
        attrs=[
            {"dtype": "float64"},
            {"dtype": "float32"},
            {"dtype": "int32"},
            {"dtype": "uint8"},
            {"dtype": "bool"},
        ],
        shapes=[((3, 4),)],
        ints=[whole(0, 100)],
    ),
    row(
        "from_number",
        [any_real],
        lambda x, dtype, exponent=False: x.astype(dtype),
        dtypes=EVERYTHING,
        attrs=[
            {"dtype": "float64"},
            {"dtype": "float32"},
            {"dtype": "int32"},
            {"dtype": "bool"},
        ],
        shapes=[((3, 4),)],
        ints=[whole(0, 100)],
    ),
    row("straight_through", [any_real] * 3, straight_through),
]

ROWS = views + placement + indexing + listed
