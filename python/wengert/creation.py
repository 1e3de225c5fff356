"""New tensors from shapes and numbers. The default dtype is float32, for integers int64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, ShapeError, Tensor, asarray, ops, tensor
from .dtypes import as_dtype, float32, float64, result_type

__all__: list[str] = [
    "arange",
    "asarray",
    "diag",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "identity",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tensor",
    "tri",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

Shape = int | Sequence[int]

tril = ops.tril
triu = ops.triu


def check_device(device: Any) -> None:
    """There is one device, "cpu"; the array API lets callers name it."""
    if not (device is None or (isinstance(device, str) and device == "cpu")):
        raise ArgumentError(f"device: the only device is 'cpu'; got {device!r}")


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ``shape`` (an int or several) filled with 0, float32 unless ``dtype`` is given.

    >>> wg.zeros((2, 2))
    tensor([[0., 0.],
            [0., 0.]])
    """
    check_device(device)
    return _core._full(shape, 0.0, float32 if dtype is None else dtype, "zeros")


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ``shape`` filled with 1, float32 unless ``dtype`` is given.

    >>> wg.ones(3)
    tensor([1., 1., 1.])
    """
    check_device(device)
    return _core._full(shape, 1.0, float32 if dtype is None else dtype, "ones")


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ``shape`` filled with one value. The dtype is that of the value: bool, int64 or
    float32 for Python numbers. A tensor as the value must broadcast to ``shape``, and gets a
    gradient.

    >>> wg.full((2,), 7)
    tensor([7, 7])
    """
    return _filled("full", shape, fill_value, dtype, device)


def _filled(where: str, shape: Shape, value: Any, dtype: Any, device: Any) -> Tensor:
    check_device(device)
    if not isinstance(value, (Tensor, np.ndarray)):
        return _core._full(shape, value, dtype, where)
    if dtype is not None and isinstance(value, Tensor) and _core._is_number(value):
        value = ops.from_number(value, dtype, where)
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    return ops.copy(ops.broadcast_to(asarray(value, dtype=dtype), sizes))


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ``shape`` whose elements are not initialised, float32 unless ``dtype`` is given.

    >>> wg.empty((2, 3)).shape
    (2, 3)
    """
    check_device(device)
    return _core._empty(shape, dtype)


def _like(x: Any, dtype: Any) -> tuple[tuple[int, ...], Any]:
    known = x if isinstance(x, Tensor) else asarray(x)
    return known.shape, known.dtype if dtype is None else dtype


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros with the shape (and, unless given, the dtype) of x.

    >>> wg.zeros_like(wg.tensor([1, 2]))
    tensor([0, 0])
    """
    check_device(device)
    shape, dtype = _like(x, dtype)
    return _core._full(shape, 0, dtype, "zeros_like")


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones with the shape (and, unless given, the dtype) of x.

    >>> wg.ones_like(wg.tensor([1, 2]))
    tensor([1, 1])
    """
    check_device(device)
    shape, dtype = _like(x, dtype)
    return _core._full(shape, 1, dtype, "ones_like")


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One value with the shape (and, unless given, the dtype) of x.

    >>> wg.full_like(wg.tensor([1.0, 2.0]), 5)
    tensor([5., 5.])
    """
    shape, dtype = _like(x, dtype)
    return _filled("full_like", shape, fill_value, dtype, device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor like x whose elements are not initialised.

    >>> wg.empty_like(wg.ones((2, 3))).shape
    (2, 3)
    """
    check_device(device)
    return _core._empty(*_like(x, dtype))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """start, start + step, ... before ``stop``, shape (ceil((stop - start) / step),). With one
    argument, 0, 1, ... before it. int64 where all are ints, else float32, or ``dtype``.

    >>> wg.arange(2, 9, 3)
    tensor([2, 5, 8])
    """
    check_device(device)
    if stop is None:
        start, stop = 0, start
    return _core._arange(start, stop, step, dtype)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int = 50,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, shape (num,), float32 unless
    ``dtype`` is given; without ``endpoint`` the last one is left out. 0-d tensors as ends get
    gradients.

    >>> wg.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    check_device(device)
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        first, last = asarray(start), asarray(stop)
        dtype = result_type(first, last, 1.0) if dtype is None else as_dtype(dtype)
        t = _core._linspace(0.0, 1.0, num, endpoint, dtype if dtype.kind == "f" else float64)
        made = ops.add(ops.multiply(first, ops.subtract(1.0, t)), ops.multiply(last, t))
        if all(not isinstance(end, Tensor) or _core._is_number(end) for end in (start, stop)):
            return ops.from_number(made, dtype, "linspace")
        return ops.astype(made, dtype)
    return _core._linspace(start, stop, num, endpoint, dtype)


def logspace(
    start: Any,
    stop: Any,
    /,
    num: int = 50,
    *,
    base: float = 10.0,
    dtype: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """base**e for the ``num`` exponents e of linspace(start, stop, num).

    >>> wg.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    dtype = float32 if dtype is None else as_dtype(dtype)
    exponents = linspace(start, stop, num, dtype=dtype, endpoint=endpoint)
    return ops.power(base if isinstance(base, Tensor) else float(base), exponents)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Tensor:
    """The n_rows x n_cols (square by default) matrix with 1 on its k-th diagonal, 0 elsewhere.

    >>> wg.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_device(device)
    return _core._eye(n_rows, n_rows if n_cols is None else n_cols, k, dtype)


def identity(n: int, *, dtype: Any = None) -> Tensor:
    """The n x n identity matrix.

    >>> wg.identity(2).shape
    (2, 2)
    """
    return eye(n, dtype=dtype)


def tri(n_rows: int, n_cols: int | None = None, /, k: int = 0, *, dtype: Any = None) -> Tensor:
    """Ones at and below the k-th diagonal of an n_rows x n_cols matrix, zeros above.

    >>> wg.tri(2)
    tensor([[1., 0.],
            [1., 1.]])
    """
    return tril(ones((n_rows, n_rows if n_cols is None else n_cols), dtype=dtype), k)


def diag(v: Any, k: int = 0) -> Tensor:
    """Of a vector, the square matrix with it on the k-th diagonal; of a matrix, that diagonal.

    >>> wg.diag([1, 2])
    tensor([[1, 0],
            [0, 2]])
    """
    v = asarray(v)
    if v.ndim == 2:
        return ops.diagonal(v, k)
    if v.ndim != 1:
        raise ShapeError(f"diag: needs 1 or 2 dimensions; got shape {v.shape}")
    n = v.shape[0] + abs(k)
    start = k if k >= 0 else -k * n
    if v.shape[0] == 0:
        return zeros((n, n), dtype=v.dtype)
    return ops.reshape(ops.unslice(v, (n * n,), (start,), (n + 1,)), (n, n))


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinate grids of the 1-d ``arrays``; "xy" swaps the first two axes, "ij" does not.

    >>> [g.shape for g in wg.meshgrid(wg.arange(2), wg.arange(3), indexing="ij")]
    [(2, 3), (2, 3)]
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: 'indexing' must be 'xy' or 'ij'; got {indexing!r}")
    axes = [asarray(a) for a in arrays]
    for a in axes:
        if a.ndim > 1:
            raise ShapeError(f"meshgrid: needs 1-d arrays; got shape {a.shape}")
    places = list(range(len(axes)))
    if indexing == "xy" and len(axes) > 1:
        places[:2] = [1, 0]
    sizes = [0] * len(axes)
    for a, place in zip(axes, places, strict=True):
        sizes[place] = a.size
    grids = []
    for a, place in zip(axes, places, strict=True):
        own = [1] * len(axes)
        own[place] = a.size
        grids.append(ops.broadcast_to(ops.reshape(a, own), sizes))
    return grids


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of a DLPack producer (``copy=True``: has its own).

    >>> wg.from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    check_device(device)
    if isinstance(x, Tensor):
        return ops.copy(x) if copy else x
    if not hasattr(x, "__dlpack__"):
        raise ArgumentError(
            f"from_dlpack: needs an object with __dlpack__; got a {type(x).__name__}"
        )
    return asarray(np.from_dlpack(x), copy=copy)
