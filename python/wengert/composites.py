"""Array functions that are short compositions of rows: no kernel and no derivative of their own."""

from __future__ import annotations

import math
from typing import Any

from . import _core, arguments
from ._core import ArgumentError, DTypeError, ShapeError, Tensor, asarray, ops
from .creation import check_device, ones, zeros
from .dtypes import as_dtype, bool_, finfo, iinfo, isdtype, result_type
from .manipulation import diagonal

__all__: list[str] = [
    "allclose",
    "array_equal",
    "astype",
    "average",
    "clip",
    "conj",
    "copy",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "deg2rad",
    "diff",
    "e",
    "imag",
    "inf",
    "isclose",
    "nan",
    "nan_to_num",
    "newaxis",
    "nonzero",
    "pi",
    "positive",
    "ptp",
    "rad2deg",
    "real",
    "searchsorted",
    "tril_indices",
    "triu_indices",
]

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

copy = ops.copy


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x converted to ``dtype``; with ``copy=False`` x itself where it has that dtype already.

    >>> wg.astype(wg.tensor([1.7, -1.7]), wg.int32)
    tensor([ 1, -1], dtype=int32)
    """
    check_device(device)
    x, dtype = asarray(x), as_dtype(dtype)
    if x.dtype == dtype:
        return ops.copy(x) if copy else x
    return ops.astype(x, dtype)


def positive(x: Any, /) -> Tensor:
    """+x: x itself, for numbers.

    >>> wg.positive(wg.tensor([1, -1]))
    tensor([ 1, -1])
    """
    x = asarray(x)
    if x.dtype == bool_:
        raise DTypeError("positive: needs numbers; got bool. Convert first: x.astype(wg.int32)")
    return x


def real(x: Any, /) -> Tensor:
    """The real part, which is x: there are no complex dtypes.

    >>> wg.real(wg.tensor(1.0))
    tensor(1.)
    """
    return asarray(x)


conj = real


def imag(x: Any, /) -> Tensor:
    """The imaginary part, which is 0: there are no complex dtypes.

    >>> wg.imag(wg.tensor([1.0, 2.0]))
    tensor([0., 0.])
    """
    x = asarray(x)
    return zeros(x.shape, dtype=x.dtype)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]: numbers, tensors that broadcast with x, or None for no limit. Where
    min > max the result is max. The derivative in x is 1 strictly between the bounds, 0 elsewhere.

    >>> wg.clip(wg.arange(5), 1, 3)
    tensor([1, 1, 2, 3, 3])
    """
    x = asarray(x)
    if min is None and max is None:
        return x
    whole = isdtype(x.dtype, "integral")
    if min is None:
        min = int(iinfo(x.dtype).min) if whole else -math.inf
    if max is None:
        max = int(iinfo(x.dtype).max) if whole else math.inf
    return ops.clip(x, min, max)


def _scan(
    row: Any, first: Any, x: Any, axis: int | None, dtype: Any, include_initial: bool
) -> Tensor:
    x = asarray(x)
    if axis is None:
        if x.ndim > 1:
            raise ShapeError(
                f"{row.__name__}: 'axis' is needed for more than one dimension; got {x.shape}"
            )
        axis = 0
        x = ops.reshape(x, (-1,))
    out = row(x, axis, dtype)
    if include_initial:
        start = list(out.shape)
        start[axis] = 1
        out = ops.concat([first(start, dtype=out.dtype), out], axis=axis)
    return out


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Sums of x up to each place along ``axis`` (which only vectors may leave out); of integers in
    int64. With ``include_initial`` a 0 comes first.

    >>> wg.cumulative_sum(wg.tensor([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """
    return _scan(ops.cumulative_sum, zeros, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Products of x up to each place along ``axis`` (which only vectors may leave out); of integers
    in int64. With ``include_initial`` a 1 comes first.

    >>> wg.cumulative_prod(wg.tensor([1, 2, 3]))
    tensor([1, 2, 6])
    """
    return _scan(ops.cumulative_prod, ones, x, axis, dtype, include_initial)


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """numpy.cumsum: ``cumulative_sum``, of the flattened array where ``axis`` is None.

    >>> wg.cumsum(wg.tensor([[1, 2], [3, 4]]))
    tensor([ 1,  3,  6, 10])
    """
    x = asarray(x)
    return (
        ops.cumulative_sum(ops.reshape(x, (-1,)), 0, dtype)
        if axis is None
        else ops.cumulative_sum(x, axis, dtype)
    )


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """numpy.cumprod: ``cumulative_prod``, of the flattened array where ``axis`` is None.

    >>> wg.cumprod(wg.tensor([[1, 2], [3, 4]]), 0)
    tensor([[1, 2],
            [3, 8]])
    """
    x = asarray(x)
    return (
        ops.cumulative_prod(ops.reshape(x, (-1,)), 0, dtype)
        if axis is None
        else ops.cumulative_prod(x, axis, dtype)
    )


def diff(
    x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Tensor:
    """x[i + 1] - x[i] along ``axis``, n times over; ``prepend`` and ``append`` join x first.

    >>> wg.diff(wg.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    x = asarray(x)
    if n < 0:
        raise ArgumentError(f"diff: 'n' must not be negative; got {n}")
    if x.ndim == 0:
        raise ShapeError("diff: needs at least 1 dimension; got ()")
    parts = [part for part in (prepend, x, append) if part is not None]
    if len(parts) > 1:
        x = ops.concat(parts, axis=axis)
    before = (slice(None),) * (axis % x.ndim)
    upper, lower = (*before, slice(1, None)), (*before, slice(None, -1))
    for _ in range(n):
        step = ops.not_equal if x.dtype == bool_ else ops.subtract
        x = step(x[upper], x[lower])
    return x


def average(x: Any, /, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Tensor:
    """The mean of x over ``axis``, weighted by ``weights``: of x's shape, or one an element of the
    one axis.

    >>> wg.average(wg.tensor([1.0, 2.0]), weights=wg.tensor([3.0, 1.0]))
    tensor(1.25)
    """
    x = asarray(x)
    if weights is None:
        return ops.mean(x, axis, keepdims=keepdims)
    w = asarray(weights)
    if w.shape != x.shape:
        if not isinstance(axis, int) or w.shape != (x.shape[axis],):
            raise ShapeError(
                f"average: weights must have the shape of x, {x.shape}, or one entry a place "
                f"along the one axis; got {w.shape}"
            )
        w = ops.reshape(w, [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
        w = ops.broadcast_to(w, x.shape)
    total = ops.sum(w, axis, keepdims=keepdims)
    return ops.divide(ops.sum(ops.multiply(x, w), axis, keepdims=keepdims), total)


def ptp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The largest element over ``axis`` minus the smallest.

    >>> wg.ptp(wg.tensor([1, 5, 3]))
    tensor(4)
    """
    return ops.subtract(ops.max(x, axis, keepdims=keepdims), ops.min(x, axis, keepdims=keepdims))


def trace(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the ``offset``-th diagonal of axes ``axis1`` and ``axis2``.

    >>> wg.eye(3).trace()
    tensor(3.)
    """
    return ops.sum(diagonal(x, offset, axis1, axis2), -1)


def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The places of the elements that are not 0, in C order: one int64 tensor an axis.

    >>> wg.nonzero(wg.tensor([0, 3, 5]))
    (tensor([1, 2]),)
    """
    return _core._nonzero(asarray(x))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """The places at and below the k-th diagonal of an n x m (square by default) matrix.

    >>> wg.tril_indices(2)
    (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    return nonzero(ops.tril(ones((n, n if m is None else m), dtype=bool_), k))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """The places at and above the k-th diagonal of an n x m (square by default) matrix.

    >>> wg.triu_indices(2)
    (tensor([0, 0, 1]), tensor([0, 1, 1]))
    """
    return nonzero(ops.triu(ones((n, n if m is None else m), dtype=bool_), k))


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where each element of x2 would be inserted in the sorted vector x1: int64, the shape of x2.
    "left" counts the elements of x1 below it, "right" those not above it.

    >>> wg.searchsorted(wg.tensor([1.0, 2.0, 3.0]), wg.tensor([2.0, 9.0]))
    tensor([1, 3])
    """
    x1, x2 = asarray(x1), asarray(x2)
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted: 'side' must be 'left' or 'right'; got {side!r}")
    if x1.ndim != 1:
        raise ShapeError(f"searchsorted: x1 must have 1 dimension; got {x1.shape}")
    if sorter is not None:
        x1 = ops.take(x1, sorter, 0)
    # A binary search of all elements at once.
    row, steps = (ops.less if side == "left" else ops.less_equal), x1.size.bit_length()
    low = zeros(x2.shape, dtype="int64")
    high = ops.add(low, x1.size)
    for _ in range(steps if x1.size else 0):
        middle = ops.floor_divide(ops.add(low, high), 2)
        probe = ops.take(x1, ops.minimum(middle, x1.size - 1), 0)
        right = ops.logical_and(ops.less(low, high), row(probe, x2))
        low, high = (
            ops.where(right, ops.add(middle, 1), low),
            ops.where(right, high, ops.where(ops.less(low, high), middle, high)),
        )
    return low


def isclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol |x2|, elementwise, or both are the same infinity.

    >>> wg.isclose(wg.tensor([1.0, 2.0]), wg.tensor([1.0, 2.1]))
    tensor([ True, False])
    """
    x1, x2 = asarray(x1), asarray(x2)
    dtype = result_type(x1, x2, 1.0)
    a, b = ops.astype(x1, dtype), ops.astype(x2, dtype)
    rtol, atol = arguments.meant_float(rtol), arguments.meant_float(atol)
    near = ops.less_equal(
        ops.abs(ops.subtract(a, b)), ops.add(ops.multiply(ops.abs(b), rtol), atol)
    )
    close = ops.logical_or(ops.logical_and(near, ops.isfinite(b)), ops.equal(a, b))
    if equal_nan:
        close = ops.logical_or(close, ops.logical_and(ops.isnan(a), ops.isnan(b)))
    return close


def allclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close, as ``isclose`` says.

    >>> wg.allclose(wg.tensor([1.0, 2.0]), wg.tensor([1.0, 2.000001]))
    True
    """
    return bool(ops.all(isclose(x1, x2, rtol, atol, equal_nan)))


def array_equal(x1: Any, x2: Any) -> bool:
    """Whether x1 and x2 have the same shape and equal elements.

    >>> wg.array_equal(wg.arange(3), [0, 1, 2])
    True
    """
    x1, x2 = asarray(x1), asarray(x2)
    return x1.shape == x2.shape and bool(ops.all(ops.equal(x1, x2)))


def nan_to_num(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """x with NaN replaced by ``nan`` and infinities by ``posinf`` and ``neginf`` (by default the
    largest and smallest finite numbers).

    >>> wg.nan_to_num(wg.tensor([1.0, float("nan")]))
    tensor([1., 0.])
    """
    x, nan = asarray(x), arguments.meant_float(nan)
    posinf, neginf = arguments.meant_float(posinf), arguments.meant_float(neginf)
    if not isdtype(x.dtype, "real floating"):
        return ops.copy(x)
    limits = float(finfo(x.dtype).max)
    high = limits if posinf is None else posinf
    low = -limits if neginf is None else neginf
    x = ops.where(ops.isnan(x), nan, x)
    return ops.where(ops.equal(x, inf), high, ops.where(ops.equal(x, -inf), low, x))


def deg2rad(x: Any, /) -> Tensor:
    """Degrees to radians.

    >>> wg.deg2rad(wg.tensor(180.0))
    tensor(3.1415927)
    """
    return ops.multiply(x, math.pi / 180)


def rad2deg(x: Any, /) -> Tensor:
    """Radians to degrees.

    >>> wg.rad2deg(wg.tensor(0.0))
    tensor(0.)
    """
    return ops.multiply(x, 180 / math.pi)
