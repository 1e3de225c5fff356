"""``x.at[key]``: index assignment that makes a new tensor, for what derivatives follow."""

from __future__ import annotations

from typing import Any

from . import _core, other_names
from ._core import Tensor
from .checked import checked


class At:
    """``x.at[key]`` selects what ``x[key]`` reads; see ``Tensor.at``."""

    __slots__ = ("_x",)

    def __init__(self, x: Tensor) -> None:
        self._x = x

    def __getitem__(self, key: Any) -> Place:
        return Place(self._x, key)


class Place:
    """The selected elements of a tensor; see ``Tensor.at``."""

    __slots__ = ("_key", "_x")

    def __init__(self, x: Tensor, key: Any) -> None:
        self._x = x
        self._key = key

    @checked
    def set(self, value: Any) -> Tensor:
        """A copy of x with ``value``, which broadcasts and takes x's dtype, in these places. Where
        an index array names a place more than once, the last value counts.

        >>> wg.zeros(3).at[1:].set([5, 6])
        tensor([0., 5., 6.])
        """
        return _core._index_update(self._x, self._key, value, False)

    @checked
    def add(self, value: Any) -> Tensor:
        """A copy of x with ``value`` added in these places: as often as an index array names one.

        >>> wg.zeros(3).at[wg.tensor([0, 0, 2])].add(1)
        tensor([2., 0., 1.])
        """
        return _core._index_update(self._x, self._key, value, True)


other_names.cover(Place, "wengert.indexing.Place")


def at(x: Tensor) -> At:
    """``x.at[key].set(value)`` and ``x.at[key].add(value)`` give a copy of x, changed at the places
    that ``x[key]`` reads; x stays as it is. Both have derivatives in x and in the value, and keys
    may be traced: integers (one out of range raises, when it runs), or a mask, where one value is
    for all it selects. In a compiled function and in loops x is changed in place where nothing
    else reads it, so that an update costs what it writes.

    >>> wg.grad(lambda v: (wg.ones(3).at[1].set(v) ** 2).sum())(3.0)
    tensor(6.)
    """
    return At(x)
