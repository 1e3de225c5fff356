"""Arguments that are plain numbers and flags, Python's or NumPy's. An error begins with ``where``
and calls the argument ``name``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._core import ArgumentError, ArgumentTypeError, Tensor


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


def check_probability(where: str, name: str, value: Any) -> None:
    """Whether a tensor is one shows in its numbers only, which a trace does not have."""
    if isinstance(value, Tensor):
        return
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ArgumentTypeError(f"{where}: '{name}' takes a number; got {value!r:.60}")
    if not 0.0 <= value <= 1.0:
        raise ArgumentError(f"{where}: '{name}' must be between 0 and 1; got {value}")
