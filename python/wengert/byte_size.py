"""Sizes in bytes as users write them: 64_000_000, "64MB", "1.5 GiB"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import numpy as np

from . import arguments
from ._core import ArgumentError, ArgumentTypeError

_UNITS = {"B": 1}
for _power, _prefix in enumerate("KMGT", start=1):
    _UNITS[f"{_prefix}B"] = 1000**_power
    _UNITS[f"{_prefix}IB"] = 1024**_power
_FORM = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([KMGT]?I?B)?", re.ASCII | re.IGNORECASE)


def parse(where: str, size: Any) -> int:
    """A size as bytes, rounded down: an int, or a string of a number and a unit (B, kB, MB, GB, TB
    are powers of 1000; KiB, MiB, GiB, TiB of 1024; no unit means bytes). ``where`` begins the
    message of an error.

    >>> from wengert import byte_size
    >>> byte_size.parse("compile", "64MB"), byte_size.parse("compile", "1.5 GiB")
    (64000000, 1610612736)
    """
    if isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        if not 0 <= size < 2**63:
            raise ArgumentError(
                f"{where}: a size in bytes is from 0 to 2**63 - 1; got {arguments.shown(size)}"
            )
        return int(size)
    if not isinstance(size, str):
        raise ArgumentTypeError(
            f"{where}: takes bytes as an int or a string such as '64MB'; got {size!r:.60}"
        )
    found = _FORM.fullmatch(size.strip())
    unit = found and (found[2] or "B").upper()
    if not found or unit not in _UNITS:
        raise ArgumentError(
            f"{where}: takes a size such as '64MB', '1.5GiB' or '4096'; got {size!r:.60}"
        )
    return parse(where, int(Decimal(found[1]) * _UNITS[unit]))


def show(size: int) -> str:
    """Bytes for people: ``show(1_500_000)`` is '1.5 MB'.

    >>> from wengert import byte_size
    >>> byte_size.show(1_500_000), byte_size.show(999)
    ('1.5 MB', '999 B')
    """
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
