"""Functions that are traced once and stand for many calls, or for none: bodies of loops, branches
and what vmap maps. What they bind to attributes of modules would be bound once, whatever is
computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from . import _core
from ._core import Tensor, TraceError
from .plain_values import is_plain
from .side_effects import _Change, _flat, _open, held


class Body:
    """The attributes that change while a function is traced within a loop or a branch."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, str], tuple[weakref.ref, Any, str]] = {}
        self._own: dict[int, Any] = {}  # modules that it makes itself

    def made(self, module: Any) -> None:
        """The module is new, or a copy."""
        self._own[id(module)] = module

    def note(self, owner: Any, name: str, old: Any) -> None:
        """The attribute has changed; it was `old`."""
        members = object.__getattribute__(owner, "__dict__")
        if len(members) == 1 and name in members:  # its first one
            self.made(owner)
        key = id(owner), name
        known = self._first.get(key)
        if id(owner) not in self._own and (known is None or known[0]() is not owner):
            self._first[key] = weakref.ref(owner), old, _core._source_here()

    def changes(self) -> list[tuple[_Change, str]]:
        """Those that last, with the lines that made them."""
        found = []
        for (_, name), (owner, old, line) in self._first.items():
            if (alive := owner()) is not None:
                change = _Change(alive, name, old, held(alive, name))
                if change.is_one():
                    found.append((change, line))
        return found


def _is_state(value: Any) -> bool:
    """Whether what takes the place of the value is another value, and no part that is made at the
    first use."""
    if value is None:
        return False
    return is_plain(value) or any(isinstance(x, Tensor) for x in _flat(value)[0])


def _holds(value: Any, is_one: Callable[[Tensor], bool]) -> bool:
    return any(isinstance(x, Tensor) and is_one(x) for x in _flat(value)[0])


def _ends(x: Tensor) -> bool:
    """Whether x is a value of a function that is traced within the call that is recorded."""
    return _core._is_traced(x) and (not _core._recording() or _core._present(x) is None)


def traced_once(where: str, f: Callable[..., Any]) -> Callable[..., Any]:
    """f, as the body of a loop or a branch, or as what vmap maps, where it is traced: raises, with
    attributes as they were, where f leaves others."""

    def body(*args: Any) -> Any:
        own = Body()
        if not hasattr(_open, "bodies"):
            _open.bodies = []
        _open.bodies.append(own)
        try:
            result = f(*args)
        finally:
            _open.bodies.remove(own)
        refused = []
        for change, line in own.changes():
            if where == "vmap":
                wrong = _holds(change.new, _ends)
            else:
                wrong = _is_state(change.seen(change.old)) or _holds(change.new, _core._is_traced)
            if wrong:
                refused.append((change, line))
        if not refused:
            return result
        for change, _ in refused:
            change.put(change.old)
            change._replace(old=change.new, new=change.old).pass_on()
        change, line = refused[0]
        if where == "vmap":
            raise TraceError(
                f"vmap: the function binds {change.path}, at {line}, to a traced value, which "
                "stands for all examples and is of no use after the call; return it"
            )
        raise TraceError(
            f"{where}: the body binds {change.path} anew, at {line}. It is recorded once, so that "
            "this would happen once, and not at every step or in the branch taken; carry the value "
            "in the state of the loop, or return it"
        )

    return body
