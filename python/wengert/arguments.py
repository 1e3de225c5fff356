"""Arguments that are plain numbers and flags, Python's or NumPy's. An error begins with ``where``
and calls the argument ``name``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, ArgumentTypeError, DTypeError, Error, ShapeError, Tensor


def shown(value: Any) -> str:
    """Python refuses to write very long integers."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an int of {value.bit_length()} bits"
    return f"{value!r:.60}"


def integer(where: str, name: str, value: Any, least: int | None = 0, below: int = 2**48) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"{where}: '{name}' takes an int; got {shown(value)}")
    if least is not None and value < least:
        wanted = "must not be negative" if least == 0 else f"is at least {least}"
        raise ArgumentError(f"{where}: '{name}' {wanted}; got {shown(int(value))}")
    if abs(int(value)) >= below:
        raise ArgumentError(f"{where}: '{name}' is below {below}; got {shown(int(value))}")
    return int(value)


def flag(where: str, name: str, value: Any) -> bool:
    one = isinstance(value, (np.ndarray, Tensor)) and value.shape == () and value.dtype.kind == "b"
    if not one and not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{where}: '{name}' takes True or False; got {value!r:.60}")
    return bool(value)


def plain(value: Any) -> Any:
    """NumPy's numbers, of arrays of shape () too, as Python's."""
    one = isinstance(value, np.ndarray) and value.shape == ()
    value = value.item() if one or isinstance(value, (np.number, np.bool_)) else value
    return float(value) if isinstance(value, np.longdouble) else value


def as_float(number: float) -> float:
    """Infinite where an int is beyond any float."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def meant_float(value: Any) -> Any:
    """A Python int as the float that is meant: it may not fit int64, as a tensor's ints must."""
    return float(value) if type(value) is int else value


def _bounds(least: float, most: float, finite: bool, positive: bool) -> str:
    if positive:
        return "must be finite and positive" if finite else "must be positive"
    if most == 1.0:
        return "must be between 0 and 1"
    if least == 0.0:
        return "must be finite and not negative" if finite else "must not be negative"
    if least > 0.0:
        return f"must be finite and at least {least:g}"
    return "must be finite" if finite else "must not be NaN"


def real(
    where: str,
    name: str,
    value: Any,
    least: float = 0.0,
    most: float = math.inf,
    *,
    finite: bool = True,
    positive: bool = False,
    tensor: bool = False,
    single: bool = False,
) -> Any:
    """A number in [least, most], without 0 if ``positive``, as a float; with ``tensor`` also a
    tensor of such (``single``: of one), as it is, whose numbers are looked at where it has any: in
    a trace it has none yet."""
    if type(value) is float and least <= value <= most and value < math.inf and not positive:
        return value
    result: Any
    numbers: Any
    if tensor and isinstance(value, Tensor):
        if value.dtype.kind == "b":
            raise ArgumentTypeError(f"{where}: '{name}' takes a number; got a tensor of bool")
        if single and value.size != 1:
            raise ShapeError(f"{where}: '{name}' takes one number; got shape {value.shape}")
        if value._is_abstract or _core._recording():
            return value
        result, numbers = value, _core._numpy(_core._detach(value))
    else:
        number = plain(value)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ArgumentTypeError(f"{where}: '{name}' takes a number; got {value!r:.60}")
        result = numbers = as_float(number)
        finite = finite or (isinstance(number, int) and math.isinf(result))
    fits = np.all((numbers >= least) & (numbers <= most))
    if finite:
        fits = fits and np.all(np.isfinite(numbers))
    if positive:
        fits = fits and np.all(numbers > 0)
    if not fits:
        says = _bounds(least, most, finite, positive)
        raise ArgumentError(f"{where}: '{name}' {says}; got {shown(value)}")
    return result


class LongInteger(DTypeError):
    """An integer for a compiled function that int64 does not hold."""


def traced(f: str, value: Any) -> Tensor:
    """An argument of the compiled function ``f``."""
    if isinstance(value, Tensor):
        return value
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise LongInteger(
            f"compile: {f} takes integers that int64 holds; got {shown(value)}. Give a float, or "
            "name its position in static_argnums"
        )
    try:
        is_number = isinstance(value, float) or type(value) is int
        return _core._number(value) if is_number else _core.asarray(value)
    except (ArgumentError, ArgumentTypeError):
        raise ArgumentTypeError(
            f"compile: {f} takes tensors, arrays and numbers; got {value!r:.60}. Pass it by "
            "position, as an argument of its own, and name that position in static_argnums"
        ) from None


def to_tensor(where: str, name: str, value: Any) -> Tensor:
    """What can be made a tensor, as one."""
    if isinstance(value, Tensor):
        return value
    try:
        return _core.asarray(value)
    except Error as error:
        text = str(error).removeprefix("asarray: ").removeprefix("tensor: ")
        raise type(error)(f"{where}: '{name}': {text}") from None


def probability(where: str, name: str, value: Any, single: bool = False) -> Any:
    return real(where, name, value, 0.0, 1.0, tensor=True, single=single)
