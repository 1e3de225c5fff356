"""Derivatives for what has none: the value of one function with the derivative of another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import tree
from ._core import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, Tensor, asarray, ops
from .checked import checked_call
from .grad_mode import no_grad

__all__ = ["straight_through"]


def carry(value: Tensor, carrier: Tensor) -> Tensor:
    """``value`` to the bit, in the dtype of ``carrier`` and with its derivatives."""
    value = ops.astype(ops.stop_gradient(value), carrier.dtype)
    return ops.straight_through(value, carrier, ops.stop_gradient(carrier))


def _constant(leaf: Any) -> Any:
    return ops.stop_gradient(leaf) if isinstance(leaf, Tensor) else leaf


def _carried(value: Any, carrier: Any) -> Tensor:
    carrier = asarray(carrier)
    value = asarray(value)
    if carrier.dtype.kind != "f":
        raise DTypeError(
            f"straight_through: the surrogate must return floats; got {carrier.dtype}. "
            "Convert with astype"
        )
    if value.shape != carrier.shape:
        raise ShapeError(
            "straight_through: f and its surrogate must return the same shape; got "
            f"{value.shape} and {carrier.shape}"
        )
    return carry(value, carrier)


@checked_call
def straight_through(f: Callable, surrogate: Callable) -> Callable[..., Any]:
    """A function with the values of ``f`` and the derivatives, of every order, of ``surrogate``.

    Both are called with the same arguments and return trees of one structure whose leaves have the
    same shapes; the results have the dtypes of the surrogate's. ``f`` gets its tensors as constants
    and may return NumPy arrays; it may compute with NumPy wherever values are concrete, so not
    under ``vmap``.

    >>> step = wg.straight_through(lambda x: x > 0, wg.sigmoid)
    >>> wg.value_and_grad(step)(0.0)
    (tensor(0.), tensor(0.25))
    """
    for given in (f, surrogate):
        if not callable(given):
            raise ArgumentTypeError(f"straight_through: takes two functions; got {given!r:.60}")

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        carriers, structure = tree.flatten(surrogate(*args, **kwargs))
        constants, keywords = tree.map(_constant, (args, kwargs))
        with no_grad():
            values, own = tree.flatten(f(*constants, **keywords))
        if own != structure:
            raise ArgumentError(
                "straight_through: f and its surrogate must return trees of one structure; got "
                f"{own} and {structure}"
            )
        return tree.unflatten(structure, [_carried(*pair) for pair in zip(values, carriers)])

    return wrapped
