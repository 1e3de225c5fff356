"""Nested containers of tensors as flat lists: dict, list, tuple, namedtuple, dataclass, None.

The only place that knows about containers. Types of one's own join with ``register``.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import other_names
from ._core import ArgumentError, Tensor
from .checked import check_function, checked_call

_Flatten = Callable[[Any], tuple[Iterable[Any], Any]]
_Unflatten = Callable[[Any, list[Any]], Any]
_registered: dict[type, tuple[_Flatten, _Unflatten]] = {}
_KEYED = ("dict", "mapping", "defaultdict")
_LEAF_TYPES = frozenset({Tensor, np.ndarray, float, int, bool})  # leaves at a glance


@checked_call
def register(kind: type, flatten: _Flatten, unflatten: _Unflatten) -> None:
    """Makes ``kind`` a container: ``flatten(x) -> (children, data)``,
    ``unflatten(data, children) -> x``; ``data`` must compare with ==."""
    _registered[kind] = (flatten, unflatten)


def _children(tree: Any) -> tuple[list[Any], Any] | None:
    """The children of a container and what rebuilds it; None for a leaf."""
    kind = type(tree)
    if kind in _LEAF_TYPES:
        return None
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
            parts, data = _registered[base][0](tree)
            return list(parts), ("registered", base, data)
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return list(tree), ("namedtuple", kind)
    if isinstance(tree, dict):
        keys = list(tree)
        if isinstance(tree, defaultdict):
            return list(tree.values()), ("defaultdict", kind, tree.default_factory, tuple(keys))
        return [tree[key] for key in keys], ("mapping", kind, tuple(keys))
    if isinstance(tree, (list, tuple)):
        return list(tree), ("sequence", kind)
    if hasattr(kind, "__dataclass_fields__"):
        names = tuple([field.name for field in dataclasses.fields(kind)])
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
    if what == "defaultdict":
        return data[1](data[2], zip(data[3], children))
    if what == "sequence":
        return data[1](children)
    if all(field.init for field in dataclasses.fields(data[1])):
        return data[1](**dict(zip(data[2], children)))
    out = object.__new__(data[1])
    for name, child in zip(data[2], children):
        object.__setattr__(out, name, child)
    return out


class Structure:
    """The shape of a tree: what ``unflatten`` needs beside the leaves.

    ``leaves`` says how many leaves a tree of this shape has, ``registered`` whether any container
    is of a type of its own.
    """

    __slots__ = ("children", "data", "leaves", "registered")

    def __init__(self, data: tuple | None, children: tuple[Structure, ...]) -> None:
        self.data = data
        self.children = children
        self.leaves: int = 1 if data is None else sum([child.leaves for child in children])
        own = data is not None and data[0] == "registered"
        self.registered: bool = own or any(child.registered for child in children)

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


_LEAF = Structure(None, ())


def _walk(node: Any, leaves: list[Any], whole: tuple[type, ...] = ()) -> Structure:
    found = None if whole and isinstance(node, whole) else _children(node)
    if found is None:
        leaves.append(node)
        return _LEAF
    parts, data = found
    return Structure(data, tuple([_walk(part, leaves, whole) for part in parts]))


def _build(node: Structure, leaves: Iterator[Any]) -> Any:
    if node.data is None:
        return next(leaves)
    return _rebuild(node.data, [_build(child, leaves) for child in node.children])


def flatten(tree: Any, *, whole: tuple[type, ...] = ()) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and its structure; containers of the types ``whole`` count as
    leaves."""
    if type(tree) in _LEAF_TYPES:
        return [tree], _LEAF
    leaves: list[Any] = []
    try:
        structure = _walk(tree, leaves, whole)
    except RecursionError:
        raise ArgumentError(
            f"flatten: a {type(tree).__name__} is nested too deeply; does it hold itself?"
        ) from None
    return leaves, structure


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves."""
    items = list(leaves)
    if len(items) != structure.leaves:
        raise ArgumentError(f"unflatten: needs {structure.leaves} leaves; got {len(items)}")
    if structure is _LEAF:
        return items[0]
    return _build(structure, iter(items))


def _follow(node: Structure, tree: Any, leaves: list[Any]) -> bool:
    found = _children(tree)
    if node.data is None or found is None:
        leaves.append(tree)
        return node.data is None and found is None
    parts, data = found
    if data != node.data:
        if data[0] not in _KEYED or data[:-1] != node.data[:-1] or {*data[-1]} != {*node.data[-1]}:
            return False
        named = dict(zip(data[-1], parts))
        parts = [named[key] for key in node.data[-1]]
    return len(parts) == len(node.children) and all(
        _follow(child, part, leaves) for child, part in zip(node.children, parts)
    )


def leaves_like(structure: Structure, tree: Any) -> list[Any] | None:
    """The leaves of a tree in the order of ``structure``, whose dicts may list their keys in
    another one; None where the tree has another shape."""
    leaves: list[Any] = []
    return leaves if _follow(structure, tree, leaves) else None


def constants(structure: Structure) -> tuple:
    """What registered containers hold besides their leaves, for comparison with ==, where their
    ``data`` has a method of that name: trees may be alike without computing alike."""
    if not structure.registered:
        return ()
    data = structure.data
    own = getattr(data[2], "constants", None) if data and data[0] == "registered" else None
    return (own() if own else (), *[constants(child) for child in structure.children])


@checked_call
def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree in order."""
    return flatten(tree)[0]


@checked_call
def paths(tree: Any) -> list[str]:
    """How Python reaches each leaf from the tree: ``['w']``, ``[0].scale``; empty for a leaf."""
    found = _children(tree)
    if found is None:
        return [""]
    children, data = found
    if data[0] in _KEYED:
        steps = [f"[{key!r}]" for key in data[-1]]
    elif data[0] == "namedtuple":
        steps = [f".{name}" for name in data[1]._fields]
    elif data[0] == "dataclass":
        steps = [f".{name}" for name in data[2]]
    else:
        steps = [f"[{i}]" for i in range(len(children))]
    return [step + path for step, child in zip(steps, children) for path in paths(child)]


@checked_call
def map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """f of every leaf (and of the leaves of ``others``, which have the same structure)."""
    check_function("map", f)
    first, structure = flatten(tree)
    columns = [first]
    for other in others:
        found = leaves_like(structure, other)
        if found is None:
            raise ArgumentError(f"map: trees differ: {structure} and {flatten(other)[1]}")
        columns.append(found)
    return unflatten(structure, [f(*row) for row in zip(*columns)])


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.tree", name)
