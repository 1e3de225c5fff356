"""Products of two tensors under NumPy's names: short compositions of matmul and multiply."""

from __future__ import annotations

from typing import Any

from ._core import ShapeError, Tensor, asarray, ops
from .einsum import counted_from_front, tensordot
from .manipulation import moveaxis

__all__: list[str] = ["dot", "inner", "kron", "outer", "vdot", "vecdot"]


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Dot products along ``axis`` (negative: counted in each operand), the other axes broadcasting.

    >>> wg.vecdot(wg.ones((2, 3)), wg.ones(3))
    tensor([3., 3.])
    """
    a, b = asarray(x1), asarray(x2)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"vecdot: needs at least 1 dimension; got {a.shape} and {b.shape}")
    i, j = counted_from_front("vecdot", axis, a), counted_from_front("vecdot", axis, b)
    if a.shape[i] != b.shape[j]:
        raise ShapeError(
            f"vecdot: axis {axis} has sizes {a.shape[i]} and {b.shape[j]}; they must be equal"
        )
    a, b = moveaxis(a, i, -1), moveaxis(b, j, -1)
    if b.ndim == 1:
        return ops.matmul(a, b)
    product = ops.matmul(ops.expand_dims(a, -2), ops.expand_dims(b, -1))
    return ops.squeeze(product, (-2, -1))


def outer(x1: Any, x2: Any, /) -> Tensor:
    """All products of an element of x1 with one of x2, both flattened: shape (x1.size, x2.size).

    >>> wg.outer(wg.tensor([1, 2]), wg.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    return ops.multiply(ops.reshape(asarray(x1), (-1, 1)), ops.reshape(asarray(x2), (1, -1)))


def inner(x1: Any, x2: Any, /) -> Tensor:
    """Sum of products over the last axis of both; products with 0-d operands are elementwise.

    >>> wg.inner(wg.tensor([1, 2]), wg.tensor([3, 4]))
    tensor(11)
    """
    a, b = asarray(x1), asarray(x2)
    if a.ndim == 0 or b.ndim == 0:
        return ops.multiply(a, b)
    return tensordot(a, b, axes=(-1, -1))


def dot(x1: Any, x2: Any, /) -> Tensor:
    """numpy.dot: the last axis of x1 with the last but one (or only) axis of x2.

    >>> wg.dot(wg.tensor([1, 2]), wg.tensor([3, 4]))
    tensor(11)
    """
    a, b = asarray(x1), asarray(x2)
    if a.ndim == 0 or b.ndim == 0:
        return ops.multiply(a, b)
    if b.ndim <= 2:
        return ops.matmul(a, b)
    return tensordot(a, b, axes=(-1, -2))


def vdot(x1: Any, x2: Any, /) -> Tensor:
    """The dot product of both, flattened.

    >>> wg.vdot(wg.ones((2, 2)), wg.ones((2, 2)))
    tensor(4.)
    """
    return ops.matmul(ops.reshape(asarray(x1), (-1,)), ops.reshape(asarray(x2), (-1,)))


def kron(x1: Any, x2: Any, /) -> Tensor:
    """The Kronecker product: blocks x1[i, j] * x2.

    >>> wg.kron(wg.eye(2), wg.ones((2, 3))).shape
    (4, 6)
    """
    a, b = asarray(x1), asarray(x2)
    ndim = max(a.ndim, b.ndim)
    sa = (1,) * (ndim - a.ndim) + a.shape
    sb = (1,) * (ndim - b.ndim) + b.shape
    a = ops.reshape(a, [size for n in sa for size in (n, 1)])
    b = ops.reshape(b, [size for n in sb for size in (1, n)])
    return ops.reshape(ops.multiply(a, b), [n * m for n, m in zip(sa, sb, strict=True)])
