"""Linear algebra under the names of the array API's ``linalg``, as far as products reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import other_names
from ._core import ArgumentError, ShapeError, Tensor, asarray, ops
from .checked import cover
from .creation import eye
from .einsum import tensordot
from .manipulation import matrix_transpose
from .products import outer as _flat_outer
from .products import vecdot

__all__ = [
    "cross",
    "diagonal",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_transpose",
    "norm",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]

matmul = ops.matmul
diagonal = ops.diagonal

Axis = int | Sequence[int] | None


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """The norm (sum |x|**ord)**(1 / ord) of x as a vector over ``axis``; ``ord`` may be any number,
    inf, -inf, or 0 (how many elements are not 0). The derivative is 0 where the 2-norm is 0.

    >>> wg.linalg.vector_norm(wg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if ord == 2:
        return ops.vector_norm(x, axis, keepdims)
    size = ops.abs(asarray(x))
    if size.dtype.kind != "f":
        size = ops.astype(size, "float32")
    if ord == math.inf:
        return ops.max(size, axis, keepdims=keepdims)
    if ord == -math.inf:
        return ops.min(size, axis, keepdims=keepdims)
    if ord == 0:
        return ops.astype(ops.count_nonzero(size, axis, keepdims=keepdims), size.dtype)
    if ord == 1:
        return ops.sum(size, axis, keepdims=keepdims)
    if not isinstance(ord, (int, float)):
        raise ArgumentError(f"vector_norm: 'ord' takes a number; got {ord!r}")
    return ops.power(ops.sum(ops.power(size, ord), axis, keepdims=keepdims), 1 / ord)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """A norm of the matrices in the last two axes: "fro" (Frobenius), 1 or -1 (the largest or
    smallest column sum of |x|), inf or -inf (the same of rows).

    >>> wg.linalg.matrix_norm(wg.ones((2, 2)))
    tensor(2.)
    """
    x = asarray(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm: needs at least 2 dimensions; got {x.shape}")
    if ord == "fro":
        return ops.vector_norm(x, (-2, -1), keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f"matrix_norm: 'ord' must be 'fro', 1, -1, inf or -inf; got {ord!r}")
    inner, outer_axis = (-2, -1) if abs(ord) == 1 else (-1, -2)
    sums = vector_norm(x, axis=inner, keepdims=True, ord=1)
    out = (ops.max if ord > 0 else ops.min)(sums, outer_axis, keepdims=True)
    return out if keepdims else ops.squeeze(out, (-2, -1))


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """numpy.linalg.norm: the 2-norm of x flattened or along ``axis``; with ``ord``, the norm of a
    vector (one axis) or a matrix (two).

    >>> wg.linalg.norm(wg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = asarray(x)
    if ord is None:
        return ops.vector_norm(x, axis, keepdims)
    axes = (
        tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    )
    if len(axes) == 1:
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    if len(axes) != 2:
        raise ShapeError(f"norm: 'ord' needs one axis or two; got {axes} for shape {x.shape}")
    if ord == "fro":
        return ops.vector_norm(x, axes, keepdims)
    i, j = (axis % x.ndim for axis in axes)
    order = [axis for axis in range(x.ndim) if axis not in (i, j)] + [i, j]
    out = matrix_norm(ops.permute_dims(x, order), ord=ord)
    return ops.expand_dims(out, (i, j)) if keepdims else out


def outer(x1: Any, x2: Any, /) -> Tensor:
    """All products of an element of one vector with one of the other, shape (n, m).

    >>> wg.linalg.outer(wg.tensor([1, 2]), wg.tensor([3, 4])).shape
    (2, 2)
    """
    a, b = asarray(x1), asarray(x2)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer: needs two vectors; got {a.shape} and {b.shape}")
    return _flat_outer(a, b)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the ``offset``-th diagonal of the last two axes.

    >>> wg.linalg.trace(wg.eye(3))
    tensor(3.)
    """
    return ops.sum(ops.diagonal(x, offset), -1, dtype)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The cross product along ``axis``, which has size 3 in both; the other axes broadcast.

    >>> wg.linalg.cross(wg.tensor([1, 0, 0]), wg.tensor([0, 1, 0]))
    tensor([0, 0, 1])
    """
    a, b = asarray(x1), asarray(x2)
    for x in (a, b):
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != 3:
            raise ShapeError(
                f"cross: axis {axis} must have size 3 in both; got {a.shape} and {b.shape}"
            )
    left = ops.multiply(ops.roll(a, -1, axis), ops.roll(b, -2, axis))
    right = ops.multiply(ops.roll(a, -2, axis), ops.roll(b, -1, axis))
    return ops.subtract(left, right)


def matrix_power(x: Any, n: int, /) -> Tensor:
    """The n-th power of square matrices in the last two axes, n >= 0, by repeated squaring.

    >>> wg.linalg.matrix_power(wg.tensor([[1, 1], [0, 1]]), 3)
    tensor([[1, 3],
            [0, 1]])
    """
    x = asarray(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"matrix_power: needs square matrices; got {x.shape}")
    if n < 0:
        raise ArgumentError(f"matrix_power: 'n' must not be negative; got {n}")
    if n == 0:
        return ops.copy(ops.broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape))
    while n % 2 == 0:
        x = ops.matmul(x, x)
        n //= 2
    out = x
    while n > 1:
        x = ops.matmul(x, x)
        n //= 2
        if n % 2:
            out = ops.matmul(out, x)
    return out


cover(globals(), __all__)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.linalg", name)
