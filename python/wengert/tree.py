"""Nested containers of tensors as flat lists: dict, list, tuple, namedtuple, dataclass, None.

The only place that knows about containers. Types of one's own join with ``register``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._core import ArgumentError

_Flatten = Callable[[Any], tuple[Iterable[Any], Any]]
_Unflatten = Callable[[Any, list[Any]], Any]
_registered: dict[type, tuple[_Flatten, _Unflatten]] = {}


def register(kind: type, flatten: _Flatten, unflatten: _Unflatten) -> None:
    """Makes ``kind`` a container: ``flatten(x) -> (children, data)``,
    ``unflatten(data, children) -> x``; ``data`` must compare with ==."""
    _registered[kind] = (flatten, unflatten)


def _children(tree: Any) -> tuple[list[Any], Any] | None:
    """The children of a container and what rebuilds it; None for a leaf."""
    kind = type(tree)
    if kind is list:
        return tree, ("list",)
    if kind is tuple:
        return list(tree), ("tuple",)
    if kind is dict:
        keys = list(tree)
        return [tree[key] for key in keys], ("dict", tuple(keys))
    if tree is None:
        return [], ("none",)
    for base in kind.__mro__:
        if base in _registered:
            children, data = _registered[base][0](tree)
            return list(children), ("registered", base, data)
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return list(tree), ("namedtuple", kind)
    if isinstance(tree, dict):
        keys = list(tree)
        return [tree[key] for key in keys], ("mapping", kind, tuple(keys))
    if isinstance(tree, (list, tuple)):
        return list(tree), ("sequence", kind)
    if hasattr(kind, "__dataclass_fields__"):
        names = tuple(kind.__dataclass_fields__)
        return [getattr(tree, name) for name in names], ("dataclass", kind, names)
    return None


def _rebuild(data: tuple, children: list[Any]) -> Any:
    what = data[0]
    if what == "list":
        return children
    if what == "tuple":
        return tuple(children)
    if what == "dict":
        return dict(zip(data[1], children))
    if what == "none":
        return None
    if what == "registered":
        return _registered[data[1]][1](data[2], children)
    if what == "namedtuple":
        return data[1](*children)
    if what == "mapping":
        return data[1](zip(data[2], children))
    if what == "sequence":
        return data[1](children)
    return data[1](**dict(zip(data[2], children)))


class Structure:
    """The shape of a tree: what ``unflatten`` needs beside the leaves."""

    __slots__ = ("children", "data")

    def __init__(self, data: tuple | None, children: tuple[Structure, ...]) -> None:
        self.data = data
        self.children = children

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Structure)
            and self.data == other.data
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.data, self.children))

    def __repr__(self) -> str:
        if self.data is None:
            return "*"
        return str(_rebuild(self.data, list(self.children)))

    @property
    def leaves(self) -> int:
        """How many leaves a tree of this shape has."""
        return 1 if self.data is None else sum(child.leaves for child in self.children)


_LEAF = Structure(None, ())


def _walk(node: Any, leaves: list[Any]) -> Structure:
    found = _children(node)
    if found is None:
        leaves.append(node)
        return _LEAF
    children, data = found
    return Structure(data, tuple([_walk(child, leaves) for child in children]))


def _build(node: Structure, leaves: Iterator[Any]) -> Any:
    if node.data is None:
        return next(leaves)
    return _rebuild(node.data, [_build(child, leaves) for child in node.children])


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and its structure."""
    leaves: list[Any] = []
    structure = _walk(tree, leaves)
    return leaves, structure


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves."""
    items = list(leaves)
    if len(items) != structure.leaves:
        raise ArgumentError(f"unflatten: needs {structure.leaves} leaves; got {len(items)}")
    return _build(structure, iter(items))


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree in order."""
    return flatten(tree)[0]


def map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """f of every leaf (and of the leaves of ``others``, which have the same structure)."""
    first, structure = flatten(tree)
    columns = [first]
    for other in others:
        found, other_structure = flatten(other)
        if other_structure != structure:
            raise ArgumentError(f"map: trees differ: {structure} and {other_structure}")
        columns.append(found)
    return unflatten(structure, [f(*row) for row in zip(*columns)])
