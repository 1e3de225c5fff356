"""Rows of reductions and scans."""

import numpy as np

from .row import EVERYTHING, FLOATS, NUMBERS, any_real, distinct, nonzero, real, row, whole

AXES = [
    (((3, 4),), {"axis": 0}),
    (((3, 4),), {"axis": -1, "keepdims": True}),
    (((2, 3, 2),), {"axis": (0, 2)}),
    (((2, 3),), {}),
    (((),), {}),
]
EMPTY = [(((2, 0),), {"axis": 1}), (((0, 3),), {"axis": 1, "keepdims": True})]
NO_AXIS = [(((3, 4),), {"axis": 2}, r"axis 2.*2|2.*\(3, 4\)"), (((3, 4),), {"axis": (0, 0)}, r"0")]
NOTHING = [(((2, 0),), {"axis": 1}, r"at least one element.*axis 1.*\(2, 0\)")]
LARGE = (((90, 1100),), {"axis": 1})
sums = {"cases": AXES + EMPTY, "dtypes": EVERYTHING, "large": LARGE, "errors": NO_AXIS}
choices = {"cases": AXES + EMPTY[1:], "large": LARGE, "errors": NO_AXIS + NOTHING}
floats = {"cases": AXES, "dtypes": (*FLOATS, "int32"), "large": LARGE, "errors": NO_AXIS}


def typed_sum(x, axis=None, dtype=None, keepdims=False):
    return np.sum(x, axis, dtype or (None if x.dtype.kind == "f" else np.int64), keepdims=keepdims)


def typed_prod(x, axis=None, dtype=None, keepdims=False):
    return np.prod(x, axis, dtype or (None if x.dtype.kind == "f" else np.int64), keepdims=keepdims)


def place(choose):
    """argmax or argmin over several axes too: the place in their row-major order."""

    def reference(x, axis=None, keepdims=False):
        axes = tuple(range(x.ndim)) if axis is None else np.atleast_1d(axis) % max(x.ndim, 1)
        rest = [i for i in range(x.ndim) if i not in axes]
        lines = np.transpose(x, [*rest, *axes])
        shape = lines.shape[: len(rest)]
        out = choose(lines.reshape(*shape, int(np.prod([x.shape[i] for i in axes]))), axis=-1)
        return np.expand_dims(out, tuple(axes)) if keepdims else out

    return reference


def count_nonzero(x, axis=None, keepdims=False):
    return np.asarray(np.count_nonzero(x, axis=axis, keepdims=keepdims), np.int64)


def var(x, axis=None, correction=0.0, keepdims=False):
    return np.var(x, axis, ddof=correction, keepdims=keepdims)


def std(x, axis=None, correction=0.0, keepdims=False):
    return np.std(x, axis, ddof=correction, keepdims=keepdims)


def logsumexp(x, axis=None, keepdims=False):
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(x), axis, keepdims=keepdims))


def vector_norm(x, axis=None, keepdims=False):
    return np.sqrt(np.sum(x * x, axis, keepdims=keepdims))


def scan(along):
    def reference(x, axis=None, dtype=None, reverse=False):
        axis = axis or 0
        dtype = dtype or (None if x.dtype.kind == "f" else np.int64)
        x = np.flip(x, axis) if reverse else x
        y = along(x, axis, dtype)
        return np.flip(y, axis) if reverse else y

    return reference


def linear_recurrence(a, b, axis=-1, reverse=False):
    a, b = np.broadcast_arrays(a, b)
    out = np.zeros_like(b)
    places = range(b.shape[axis])
    at = (slice(None),) * (axis % b.ndim)
    previous = 0
    for i in reversed(places) if reverse else places:
        previous = out[(*at, i)] = a[(*at, i)] * previous + b[(*at, i)]
    return out


spread = [
    *AXES[:4],
    (((3, 4),), {"axis": 0, "correction": 1.0}),
    (((4, 2),), {"axis": 0, "correction": 0.5, "keepdims": True}),
]
SCANS = [
    (((5,),), {}),
    (((3, 4),), {"axis": 0}),
    (((3, 4),), {"axis": -1, "reverse": True}),
    (((2, 0),), {"axis": 1}),
]
scans = {
    "cases": SCANS,
    "dtypes": NUMBERS,
    "large": (((90, 1100),), {"axis": 1}),
    "errors": [(((3, 4),), {}, "axis"), (((),), {}, "0-d")],
}

ROWS = [
    row("sum", [any_real], typed_sum, **sums),
    row("prod", [nonzero], typed_prod, **sums),
    row("max", [distinct()], np.max, dtypes=EVERYTHING, **choices),
    row("min", [distinct()], np.min, dtypes=EVERYTHING, **choices),
    row("argmax", [distinct()], place(np.argmax), dtypes=EVERYTHING, **choices),
    row("argmin", [distinct()], place(np.argmin), dtypes=EVERYTHING, **choices),
    row("all", [whole(0, 3)], np.all, **sums),
    row("any", [whole(0, 2)], np.any, **sums),
    row("count_nonzero", [whole(0, 2)], count_nonzero, **sums),
    row("mean", [any_real], np.mean, **floats),
    row("var", [any_real], var, **{**floats, "cases": spread}),
    row("std", [distinct()], std, **{**floats, "cases": spread}),
    row("logsumexp", [any_real], logsumexp, **floats),
    row("vector_norm", [nonzero], vector_norm, **floats),
    row("cumulative_sum", [any_real], scan(np.cumsum), **scans, tolerance=32),
    row("cumulative_prod", [nonzero], scan(np.cumprod), **scans, tolerance=32),
    row(
        "linear_recurrence",
        [real(-1, 1), any_real],
        linear_recurrence,
        tolerance=32,
        cases=[
            (((5,), (5,)), {}),
            (((3, 4), (4,)), {"axis": 0}),
            (((3, 1), (3, 4)), {"axis": 1, "reverse": True}),
            (((0,), (0,)), {}),
            (((1,), (1,)), {}),
        ],
        large=(((90, 1100), (90, 1100)), {}),
    ),
]
