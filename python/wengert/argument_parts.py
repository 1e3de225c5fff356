"""What the containers among a call's arguments hold, and what the call has put into them."""

from __future__ import annotations

from typing import Any

from . import tree
from ._core import Tensor


def parts(args: list[Any], kwargs: dict, whole: type) -> dict[str, Any]:
    """By path; objects of the type ``whole``, which tell of their own parts, are one."""
    out: dict[str, Any] = {}
    for name, arg in [*((f"argument {i}", x) for i, x in enumerate(args)), *kwargs.items()]:
        if not isinstance(arg, (Tensor, whole)):
            leaves, structure = tree.flatten(arg, whole=(whole,))
            where = tree.paths(tree.unflatten(structure, [0] * len(leaves)))
            out.update(zip([name + path for path in where], leaves))
    return out


def new_parts(given: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The paths of what is there now and was not given."""
    known = {id(x) for x in given.values()}
    return [path for path, x in now.items() if id(x) not in known]
