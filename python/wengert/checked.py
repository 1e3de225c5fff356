"""The outer edge of public functions: what Python or NumPy raise about an argument becomes an error
of this package that names the function and shows what it was called with."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

from ._core import ArgumentError, ArgumentTypeError, Error, OutOfMemory

_WRONG_VALUE = (ValueError, ArithmeticError, LookupError, BufferError)
_made: dict[Callable, Callable] = {}  # one function under several names stays one


def _show(x: Any) -> str:
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{type(x).__name__} {x.dtype} {x.shape}"
    try:
        text = repr(x)
    except Exception:
        text = f"a {type(x).__name__}"
    return text if len(text) <= 60 else text[:60] + "..."


def _translated(name: str, error: Exception, args: tuple, kwargs: dict) -> Error:
    shown = ", ".join([*map(_show, args), *(f"{k}={_show(v)}" for k, v in kwargs.items())])
    text = str(error)
    if "incompatible function arguments" in text:
        text = "an argument has the wrong type, is missing or is not known"
    message = f"{name}: {text}; got ({shown})"
    if isinstance(error, MemoryError):
        return OutOfMemory(message)
    if isinstance(error, _WRONG_VALUE):
        return ArgumentError(message)
    return ArgumentTypeError(message)


def check_function(where: str, f: Any) -> None:
    if not callable(f):
        raise ArgumentTypeError(f"{where}: takes a function; got {f!r:.60}")


def checked(f: Callable, name: str = "") -> Callable:
    """f, raising errors of this package only. Not for functions that call the user's: their
    exceptions are theirs."""
    name = name or f.__name__

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except Error:
            raise
        except (TypeError, AttributeError, MemoryError, *_WRONG_VALUE) as error:
            raise _translated(name, error, args, kwargs) from error

    return call


def cover(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Puts ``checked`` around the functions of a module that were written in Python or bound."""
    for name in names:
        f = namespace[name]
        plain = isinstance(f, (types.FunctionType, types.BuiltinFunctionType))
        if plain and not hasattr(f, "__wrapped__"):
            if f not in _made:
                _made[f] = checked(f)
            namespace[name] = _made[f]
