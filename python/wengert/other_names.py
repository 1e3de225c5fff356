"""The errors of names that are not here, with what does the same."""

from __future__ import annotations

import difflib
import dis
import importlib
import sys
from typing import Any, NoReturn

from ._core import Error
from .other_functions import FUNCTIONS
from .other_layers import LAYERS
from .other_methods import METHODS

_HOMES = ("wengert.nn", "wengert.optim", "wengert", "wengert.linalg", "wengert.random")
_NAMES = {**FUNCTIONS, **LAYERS, **METHODS}


class MissingNameError(Error, AttributeError):
    """A name of PyTorch, JAX or NumPy, or of none, that is not here."""


class _MissingImport(Error, ImportError):
    """The same in an import, which would not show an AttributeError."""


MissingNameError.__module__ = _MissingImport.__module__ = "wengert"
_MissingImport.__name__ = _MissingImport.__qualname__ = "MissingNameError"
_IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def remedy(names: str, name: str) -> str:
    """What does the same as a name that a module lacks; may be empty."""
    return _NAMES.get(names, {}).get(name, "")


def _elsewhere(names: str, name: str) -> str:
    """Where this package has the function or class that a module of it lacks; may be empty."""
    for home in _HOMES:
        module = importlib.import_module(home)
        found = name in getattr(module, "__all__", dir(module))
        if found and home != names and callable(getattr(module, name)):
            return f"wg{home[7:]}.{name}"
    return ""


def missing(names: str, name: str, owner: str | None = None) -> NoReturn:
    """Raises for a name that a module (whose ``__getattr__`` calls this), or an object of the class
    ``owner``, lacks, with the name that does the same, if there is one."""
    instead = remedy(names, name)
    if owner:
        use = f"; use {instead}" if instead else ""
        raise MissingNameError(f"'{owner}' object has no attribute '{name}'{use}")
    asks = sys._getframe(2)
    searched = name[0] != "_" and not asks.f_code.co_filename.startswith("<frozen importlib")
    if not instead and searched:
        instead = _elsewhere(names, name)
    use = f"; use {instead}" if instead else ""
    if not instead and searched:
        there = dir(sys.modules[names])
        close = [x for x in there if x.lower() == name.lower()]
        close = close or difflib.get_close_matches(name, there, 1, 0.8)
        use = f"; did you mean '{close[0]}'?" if close else ""
    if asks.f_lasti >= 0 and asks.f_code.co_code[asks.f_lasti] == _IMPORT_FROM:
        raise _MissingImport(f"cannot import name '{name}' from '{names}'{use}")
    raise MissingNameError(f"module '{names}' has no attribute '{name}'{use}")


class _Missing:
    """Stands in a class for a name that it lacks. (A ``__getattr__`` would slow every lookup.)"""

    def __init__(self, names: str, name: str) -> None:
        self._names, self._name = names, name

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        missing(self._names, self._name, owner.__name__)

    def __repr__(self) -> str:
        return f"<missing; use {_NAMES[self._names][self._name]}>"


class _MissingData(_Missing):
    """``x.data = value`` raises too: Python only says that it is read-only."""

    def __set__(self, instance: Any, value: Any) -> NoReturn:
        missing(self._names, self._name, type(instance).__name__)


def cover(cls: type, names: str) -> None:
    """Lets a name that the instances of a class lack raise with the name that does the same."""
    known = _NAMES[names]
    for name in known:
        setattr(cls, name, (_MissingData if name == "data" else _Missing)(names, name))

    def present(self: Any) -> list[str]:
        return [name for name in object.__dir__(self) if name not in known or hasattr(self, name)]

    present.__name__, present.__qualname__ = "__dir__", f"{cls.__name__}.__dir__"
    cls.__dir__ = present  # type: ignore[assignment]
