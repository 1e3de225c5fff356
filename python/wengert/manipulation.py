"""Functions that rearrange, join and split tensors; views wherever bytes can be shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core, arguments
from ._core import ArgumentError, BoundsError, ShapeError, Tensor, asarray, ops
from .creation import full, ones
from .dtypes import bool_

__all__: list[str] = [
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "concatenate",
    "diagonal",
    "expand_dims",
    "flip",
    "hstack",
    "matrix_transpose",
    "moveaxis",
    "pad",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "unstack",
    "vstack",
]

broadcast_to = ops.broadcast_to
concat = ops.concat
concatenate = ops.concat
expand_dims = ops.expand_dims
flip = ops.flip
matrix_transpose = ops.matrix_transpose
permute_dims = ops.permute_dims
repeat = ops.repeat
roll = ops.roll
squeeze = ops.squeeze
stack = ops.stack
tile = ops.tile
transpose = ops.permute_dims


_MOST_PARTS = 1 << 16  # of fewer elements: what a slip asks for would not end


def _axis(where: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{where}: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def _axes(where: str, axes: int | Sequence[int], ndim: int) -> list[int]:
    given = [axes] if isinstance(axes, int) else list(axes)
    found = [_axis(where, axis, ndim) for axis in given]
    if len(set(found)) < len(found):
        raise ShapeError(f"{where}: axes must be distinct; got {given} for {ndim} dimensions")
    return found


def reshape(x: Any, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Tensor:
    """The elements of x in C order with another shape, of which one size may be -1. Shares memory
    with x where its strides allow; ``copy=True`` never does.

    >>> wg.reshape(wg.arange(6), (2, -1)).shape
    (2, 3)
    """
    return ops.reshape(ops.copy(x) if copy else x, shape)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Tensor:
    """x with its axes ``source`` at the positions ``destination``, the others in order. A view.

    >>> wg.moveaxis(wg.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = asarray(x)
    start, end = _axes("moveaxis", source, x.ndim), _axes("moveaxis", destination, x.ndim)
    if len(start) != len(end):
        raise ShapeError(
            f"moveaxis: needs as many sources as destinations; got {source} and {destination}"
        )
    order = [axis for axis in range(x.ndim) if axis not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return ops.permute_dims(x, order)


def swapaxes(x: Any, axis1: int, axis2: int, /) -> Tensor:
    """x with two axes exchanged. A view.

    >>> wg.swapaxes(wg.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = asarray(x)
    i, j = _axis("swapaxes", axis1, x.ndim), _axis("swapaxes", axis2, x.ndim)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return ops.permute_dims(x, order)


def diagonal(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements [i, i + offset] of axes ``axis1`` and ``axis2``, as a new last axis. A view.

    >>> wg.diagonal(wg.eye(3))
    tensor([1., 1., 1.])
    """
    x = asarray(x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal: needs at least 2 dimensions; got {x.shape}")
    return ops.diagonal(moveaxis(x, (axis1, axis2), (-2, -1)), offset)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along ``axis``, which they do not have. Views.

    >>> wg.unstack(wg.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    x = asarray(x)
    before = (slice(None),) * _axis("unstack", axis, x.ndim)
    keys = [(*before, i) for i in range(x.shape[axis])]
    return tuple([x[key] for key in keys])


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts of x along ``axis``: a number of equal ones, or those between the given places. Views.

    >>> [part.tolist() for part in wg.split(wg.arange(6), [2, 5])]
    [[0, 1], [2, 3, 4], [5]]
    """
    x = asarray(x)
    if isinstance(indices_or_sections, (int, np.integer)):
        size = x.shape[_axis("split", axis, x.ndim)]
        if indices_or_sections < 1 or size % indices_or_sections:
            raise ShapeError(
                f"split: {size} elements do not divide into {indices_or_sections} equal parts; "
                "use array_split"
            )
    return array_split(x, indices_or_sections, axis)


def array_split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Like ``split``; of a number of parts that does not divide the size the first are longer.

    >>> [part.tolist() for part in wg.array_split(wg.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    x = asarray(x)
    place = _axis("array_split", axis, x.ndim)
    size = x.shape[place]
    if isinstance(indices_or_sections, (int, np.integer)):
        parts = arguments.integer("array_split", "indices_or_sections", indices_or_sections, 1)
        if parts > max(size, _MOST_PARTS):
            raise ArgumentError(
                f"array_split: {parts} parts of {size} elements are too many, most of them empty"
            )
        long, short = size % parts, size // parts
        edges = [i * short + min(i, long) for i in range(1, parts)]
    else:
        edges = list(indices_or_sections)
    before = (slice(None),) * place
    bounds = [slice(low, high) for low, high in zip([0, *edges], [*edges, None], strict=True)]
    keys = [(*before, part) for part in bounds]
    return [x[key] for key in keys]


def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """The arrays, stretched to one shape. Views.

    >>> [a.shape for a in wg.broadcast_arrays(wg.ones((2, 1)), wg.ones(3))]
    [(2, 3), (2, 3)]
    """
    tensors = [asarray(a) for a in arrays]
    shape = broadcast_shapes(*(a.shape for a in tensors))
    return [ops.broadcast_to(a, shape) for a in tensors]


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes have after broadcasting.

    >>> wg.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"broadcast_shapes: {', '.join(map(str, shapes))} do not broadcast: "
            "sizes must be equal or 1"
        ) from None


def _reshaped(array: Any, ndim: int) -> Tensor:
    x = asarray(array)
    missing = ndim - x.ndim
    if missing <= 0:
        return x
    # NumPy's rule for three dimensions: a vector lies along the middle one.
    behind = 1 if ndim == 3 and x.ndim in (1, 2) else 0
    return ops.reshape(x, (1,) * (missing - behind) + x.shape + (1,) * behind)


def _at_least(arrays: tuple[Any, ...], ndim: int) -> Tensor | tuple[Tensor, ...]:
    out = tuple([_reshaped(array, ndim) for array in arrays])
    return out[0] if len(out) == 1 else out


def atleast_1d(*arrays: Any) -> Tensor | tuple[Tensor, ...]:
    """The arrays with at least one dimension.

    >>> wg.atleast_1d(3.0)
    tensor([3.])
    """
    return _at_least(arrays, 1)


def atleast_2d(*arrays: Any) -> Tensor | tuple[Tensor, ...]:
    """The arrays with at least two dimensions; new ones come first.

    >>> wg.atleast_2d(wg.arange(3)).shape
    (1, 3)
    """
    return _at_least(arrays, 2)


def atleast_3d(*arrays: Any) -> Tensor | tuple[Tensor, ...]:
    """The arrays with at least three dimensions: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1).

    >>> wg.atleast_3d(wg.arange(3)).shape
    (1, 3, 1)
    """
    return _at_least(arrays, 3)


def hstack(arrays: Sequence[Any], /) -> Tensor:
    """Arrays joined along axis 1, or along axis 0 where they have one dimension.

    >>> wg.hstack([wg.arange(2), wg.arange(3)]).shape
    (5,)
    """
    parts = [_reshaped(a, 1) for a in arrays]
    return ops.concat(parts, axis=0 if parts and parts[0].ndim == 1 else 1)


def vstack(arrays: Sequence[Any], /) -> Tensor:
    """Arrays joined along axis 0; vectors are rows.

    >>> wg.vstack([wg.arange(3), wg.arange(3)]).shape
    (2, 3)
    """
    return ops.concat([_reshaped(a, 2) for a in arrays], axis=0)


def _padded(x: Tensor, width: list[int], value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        if isinstance(value, (int, float)) and value:  # which the dtype must hold
            value = full((), value, dtype=x.dtype).item()
        return ops.pad(x, width, value)
    if value.ndim:
        raise ShapeError(f"pad: 'constant_values' is one number; got shape {value.shape}")
    inside = ops.pad(ones(x.shape, dtype=bool_), width, 0.0)
    number = _core._is_number(value)
    value = ops.from_number(value, x.dtype, "pad") if number else ops.astype(value, x.dtype)
    return ops.where(inside, ops.pad(x, width, 0.0), value)


_PAD_MODES = ("edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0.0) -> Tensor:
    """x with new places round it, as numpy.pad: ``pad_width`` is a number for all sides, a pair
    (before, after) for all axes, or one pair an axis. Modes: "constant" (``constant_values``, a
    number or a tensor of shape ()), "edge", "reflect", "symmetric", "wrap".

    >>> wg.pad(wg.tensor([1, 2]), (1, 2))
    tensor([0, 1, 2, 0, 0])
    """
    x = asarray(x)
    try:
        width = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
        whole = width.dtype.kind in "iu" or width.size == 0
    except ValueError:
        whole = False
    if not whole or (width < 0).any():
        raise ShapeError(
            "pad: 'pad_width' must be non-negative ints, a pair (before, after) or one an axis of "
            f"{x.shape}; got {pad_width!r}"
        )
    if mode == "constant":
        return _padded(x, width.reshape(-1).tolist(), constant_values)
    if mode not in _PAD_MODES:
        raise ArgumentError(f"pad: 'mode' must be 'constant' or one of {_PAD_MODES}; got {mode!r}")
    for axis, (before, after) in enumerate(width.tolist()):
        if before or after:
            if x.shape[axis] == 0:
                raise BoundsError(
                    f"pad: mode {mode!r} needs elements along axis {axis} of {x.shape}"
                )
            places = np.pad(np.arange(x.shape[axis]), (before, after), mode)  # type: ignore[call-overload]
            x = ops.take(x, places, axis)
    return x
