"""Arguments that are plain numbers and flags, Python's or NumPy's. An error begins with ``where``
and calls the argument ``name``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, ArgumentTypeError, Error, Tensor


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
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{where}: '{name}' takes True or False; got {value!r:.60}")
    return bool(value)


def _bounds(least: float, most: float, finite: bool) -> str:
    if most == 1.0:
        return "must be between 0 and 1"
    if least == 0.0:
        return "must be finite and not negative" if finite else "must not be negative"
    return "must be finite" if finite else "must not be NaN"


def real(
    where: str,
    name: str,
    value: Any,
    least: float = 0.0,
    most: float = math.inf,
    *,
    finite: bool = True,
    tensor: bool = False,
) -> None:
    """A number in [least, most]; with ``tensor`` also a tensor of such, whose numbers are looked at
    where it has any: in a trace it has none yet."""
    if type(value) is float and least <= value <= most and value < math.inf:
        return
    numbers = value
    if tensor and isinstance(value, Tensor):
        if value._is_abstract or _core._recording():
            return
        numbers = _core._numpy(_core._detach(value))
    elif isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ArgumentTypeError(f"{where}: '{name}' takes a number; got {value!r:.60}")
    if isinstance(value, int) and value.bit_length() > 1000:  # beyond any float
        fits = False
    else:
        fits = bool(np.all((numbers >= least) & (numbers <= most)))
        fits = fits and (not finite or bool(np.all(np.isfinite(numbers))))
    if not fits:
        raise ArgumentError(f"{where}: '{name}' {_bounds(least, most, finite)}; got {shown(value)}")


def to_tensor(where: str, name: str, value: Any) -> Tensor:
    """What can be made a tensor, as one."""
    try:
        return _core.asarray(value)
    except Error as error:
        raise type(error)(f"{where}: '{name}': {error}") from None


def probability(where: str, name: str, value: Any) -> None:
    real(where, name, value, 0.0, 1.0, tensor=True)
