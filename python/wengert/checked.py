"""The outer edge of public functions: what Python or NumPy raise about an argument becomes an error
of this package that names the function and shows what it was called with."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from ._core import ArgumentError, ArgumentTypeError, Error, OutOfMemory
from .other_arguments import argument_remedy, call_remedy

_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_OFTEN = 8  # calls within each other that are not by chance
_WRONG_VALUE = (ValueError, ArithmeticError, LookupError, BufferError)
F = TypeVar("F", bound=Callable)
_made: dict[Callable, Callable] = {}  # one function under several names stays one


def _show(x: Any) -> str:
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{type(x).__name__} {x.dtype} {x.shape}"
    try:
        text = repr(x)
    except Exception:
        text = f"a {type(x).__name__}"
    return text if len(text) <= 60 else text[:60] + "..."


_BOUND = re.compile(r"1\. \((?:self: [^,)]*,? ?)?(.*)\)(?: ->|$)", re.MULTILINE)


def _parameters(f: Callable, text: str) -> list[str]:
    """The names of what f takes; of a bound function its own message tells."""
    found = _BOUND.search(text)
    if found:
        parts = [part.split(":")[0].split("=")[0].strip() for part in found[1].split(", ")]
        return [part for part in parts if part.isidentifier()]
    try:
        return [name for name in inspect.signature(f).parameters if name not in ("self", "cls")]
    except (TypeError, ValueError):
        return []


def _named(f: Callable, text: str, args: tuple) -> str:
    """What to do about more arguments by position than f takes so."""
    found = _BOUND.search(text)
    if found:
        parts = [part.split(":")[0] for part in found[1].split(", ")]
        count = parts.index("*") if "*" in parts else len(parts)
        named = parts[count + 1 :]
    else:
        parameters = inspect.signature(f).parameters.values()
        named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        count = len(parameters) - len(named)
    return f"name the others: {named[0]}=..." if named and len(args) > count else ""


def _misnamed(f: Callable, text: str, args: tuple, kwargs: dict) -> str:
    """What is wrong with a call whose arguments do not fit the parameters of f."""
    known = _parameters(f, text)
    unknown = [name for name in kwargs if name not in known]
    takes = f"it takes {', '.join(known)}" if known else "it takes no arguments"
    if unknown:
        remedy = argument_remedy(unknown[0], known)
        return f"has no argument '{unknown[0]}'; " + (f"{remedy}; " if remedy else "") + takes
    if args and (remedy := call_remedy(f.__name__, args) or _named(f, text, args)):
        takes = f"{remedy}; {takes}"
    if "incompatible function arguments" in text:
        text = "an argument has the wrong type or is missing"
    return f"{text.partition('() ')[2] or text}; {takes}"


def _translated(f: Callable, name: str, error: Exception, args: tuple, kwargs: dict) -> Error:
    shown = ", ".join([*map(_show, args), *(f"{k}={_show(v)}" for k, v in kwargs.items())])
    text = str(error)
    trace = error.__traceback__
    if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
        text = _misnamed(f, text, args, kwargs)  # f itself did not begin
    message = f"{name}: {text}; got ({shown})"
    if isinstance(error, MemoryError):
        return OutOfMemory(message)
    if isinstance(error, _WRONG_VALUE):
        return ArgumentError(message)
    return ArgumentTypeError(message)


def _of_user(error: Exception) -> bool:
    """Whether a function of the user's was at work below this one."""
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith((_FOLDER, _NUMPY)):
            return True
        trace = trace.tb_next
    return False


def _without_name(f: Callable, text: str) -> str:
    """What an operation that f is made of says, without its name: the user called f."""
    name, colon, rest = text.partition(": ")
    own = name in _parameters(f, "") and name != f.__name__.rstrip("_")
    return rest if colon and name.isidentifier() and not own else text


def calls_itself(error: RecursionError, method: Callable) -> bool:
    """Whether the calls that ended so were calls of this bound method within each other."""
    count, code, owner = 0, method.__code__, method.__self__  # type: ignore[attr-defined]
    trace = error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code is code and frame.f_locals.get("self") is owner:
            count += 1
    return count > _OFTEN


def check_function(where: str, f: Any) -> None:
    if not callable(f):
        remedy = ". Of a recorded tensor use its backward()" if hasattr(f, "backward") else ""
        raise ArgumentTypeError(f"{where}: takes a function; got {f!r:.60}{remedy}")


def _class_name(made: Any) -> str:
    """That of the first argument of a constructor: an object, or the class itself."""
    return (made if isinstance(made, type) else type(made)).__name__


def checked(f: Callable, of_class: bool = False) -> Callable:
    """f, raising errors of this package only. Not for functions that call the user's: their
    exceptions are theirs. A constructor (``of_class``) goes by the name of its class, and may call
    the user's."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except Error as error:
            if of_class and _of_user(error):
                raise
            name = _class_name(args[0]) if of_class and args else f.__name__
            text = str(error)
            if not text.startswith((f"{name}:", f"{name} ", f"{name}(")):
                error.args = (f"{name}: {_without_name(f, text)}",)
            raise
        except (TypeError, AttributeError, MemoryError, *_WRONG_VALUE) as error:
            if of_class and _of_user(error):
                raise
            name, shown = (_class_name(args[0]), args[1:]) if of_class else (f.__name__, args)
            raise _translated(f, name, error, shown, kwargs) from error

    return call


def checked_call(f: F) -> F:
    """f, which calls the user's functions, raising errors of this package for arguments that do
    not fit its parameters; what is raised after it began is as it is."""

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            if trace is None or trace.tb_next is not None:
                raise
            raise _translated(f, f.__name__, error, args, kwargs) from None

    return call  # type: ignore[return-value]


def cover_constructors(classes: Iterable[type]) -> None:
    """Puts ``checked`` around the constructors of classes of this package and of their bases."""
    for cls in {base for made in classes for base in made.__mro__}:
        for name in ("__init__", "__new__"):
            made = vars(cls).get(name)
            init = made.__func__ if isinstance(made, staticmethod) else made
            if isinstance(init, types.FunctionType) and not hasattr(init, "__wrapped__"):
                call = checked(init, of_class=True)
                setattr(cls, name, staticmethod(call) if name == "__new__" else call)


def warn(message: str) -> None:
    """Warns at the line of the user that led here."""
    frame: types.FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith((_FOLDER, _NUMPY)):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def cover(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Puts ``checked`` around the functions of a module that were written in Python or bound."""
    for name in names:
        f = namespace[name]
        plain = isinstance(f, (types.FunctionType, types.BuiltinFunctionType))
        if plain and not hasattr(f, "__wrapped__"):
            if f not in _made:
                _made[f] = checked(f)
            namespace[name] = _made[f]
