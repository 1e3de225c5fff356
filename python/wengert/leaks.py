"""Says what made a traced value that was left behind, and who holds it."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from . import _core
from ._core import Tensor

_DEPTH = 3  # containers within containers that are followed
_MOST = 10000  # objects that are looked at
_WRAPPERS = 20  # around a function


def describe(left: list[Tensor], i: int, f: Callable) -> str:
    """One of the traced values that outlived the recording of f."""
    x = left[i]
    made = _core._made_by(x)
    what = f"the value made by {made}" if made else "a value"
    try:
        holder = _in_sight(x, f) or _holder(x, {id(left)}, _DEPTH)
    except Exception:  # what users define may raise anything
        holder = None
    return f"{what}, held by {holder or 'an object without a name'}"


def _in_sight(x: Any, f: Callable) -> str | None:
    """How f itself reaches x: by a variable of a function around it, a default, a global or an
    attribute."""
    for name, value in _variables(f):
        if value is x:
            return f"'{name}'"
        if (part := _part(value, x, _DEPTH)) is not None:
            return f"'{name}{part}'"
    return None


def _variables(f: Any) -> Iterator[tuple[str, Any]]:
    for _ in range(_WRAPPERS):
        inner = getattr(f, "__wrapped__", None) or getattr(f, "func", None)
        f = f if inner is None else inner
    owner = getattr(f, "__self__", None if isinstance(f, FunctionType) else f)
    if owner is not None:
        yield "self", owner
    f = getattr(f, "__func__", f)
    if not isinstance(f, FunctionType):
        f = vars(type(f)).get("__call__")
    if not isinstance(f, FunctionType):
        return
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty
            continue
    code = f.__code__
    named = code.co_varnames[: code.co_argcount]
    defaults = f.__defaults__ or ()
    yield from zip(named[len(named) - len(defaults) :], defaults)
    yield from (f.__kwdefaults__ or {}).items()
    for name in _global_names(code):
        if name in f.__globals__:
            yield name, f.__globals__[name]


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _items(value: Any) -> list[tuple[str, Any]]:
    """What a container or an object holds, and where: ``[0]``, ``['loss']``, ``.best``."""
    if isinstance(value, dict):
        return [(f"[{_shown(key)}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [(f"[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [("", item) for item in value]
    if isinstance(value, type):
        return [(f".{name}", item) for name, item in vars(value).items()]
    if isinstance(value, ModuleType):
        return []
    return [(f".{name}", item) for name, item in _attributes(value).items()]


def _shown(key: Any) -> str:
    try:
        return f"{key!r:.40}"
    except Exception:
        return _kind(key)


def _attributes(value: Any) -> dict:
    try:
        found = vars(value)
    except Exception:
        return {}
    return found if isinstance(found, dict) else {}


def _part(value: Any, x: Any, depth: int = 1) -> str | None:
    """The shortest way from a container or an object to x."""
    near, seen = [("", value)], {id(value)}
    for _ in range(depth):
        further = []
        for path, holder in near:
            for step, item in _items(holder):
                if item is x:
                    return path + step
                if id(item) not in seen and len(seen) < _MOST:
                    seen.add(id(item))
                    further.append((path + step, item))
        near = further
    return None


def _holder(x: Any, skip: set[int], depth: int) -> str | None:
    """Any way from a name to x that Python knows of."""
    for module, loaded in list(sys.modules.items()):
        for name, value in list(_attributes(loaded).items()):
            if value is x:
                return f"'{module}.{name}'"
    other = None
    running = {id(frame) for frame in _running()}
    holders = gc.get_referrers(x) if depth else []
    skip.add(id(holders))
    holders.sort(key=lambda holder: isinstance(holder, FrameType))
    while holders:
        holder = holders.pop()
        if id(holder) in skip or id(holder) in running:
            continue
        if isinstance(holder, FrameType):
            if not _is_ours(holder.f_globals):
                return f"the frame of '{holder.f_code.co_name}' in an exception"
            continue
        if isinstance(holder, CellType):
            if (name := _name_of_cell(holder)) is not None:
                return f"the variable '{name}' of a function"
            other = other or _holder(holder, skip, depth - 1)
            continue
        part = _part(holder, x)
        if isinstance(holder, dict) and (owner := _owner(holder)) is not None:
            return f"the attribute {type(owner).__name__}.{part[2:-2] if part else ''}"
        if part is not None and not isinstance(holder, (dict, list, tuple, deque, set, frozenset)):
            return f"the attribute {type(holder).__name__}{part}"
        found = _holder(holder, skip, depth - 1)
        if found is not None:
            return f"{found}, {_kind(holder)}"
        other = _kind(holder)
    return other


def _running() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_ours(variables: dict) -> bool:
    """Whether these are the globals of a module of the package."""
    return str(variables.get("__name__")).partition(".")[0] == __package__


def _kind(x: Any) -> str:
    name = type(x).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _owner(members: dict) -> Any:
    """The object of which this is the __dict__."""
    for holder in gc.get_referrers(members):
        if _attributes(holder) is members:
            return holder
    return None


def _name_of_cell(cell: CellType) -> str | None:
    for closure in gc.get_referrers(cell):
        if isinstance(closure, tuple):
            for f in gc.get_referrers(closure):
                if not isinstance(f, FunctionType) or _is_ours(f.__globals__):
                    continue
                if f.__closure__ is closure:
                    names = zip(f.__code__.co_freevars, closure)
                    return next((name for name, own in names if own is cell), None)
    return None
