"""Values of attributes and options that are compared by what they say."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

PLAIN = (bool, int, float, str)
_FIXED = (complex, bytes, range, slice, frozenset, np.generic, np.dtype, Enum, type)


def is_plain(value: Any) -> bool:
    if type(value) is tuple:
        return all(type(x) in PLAIN for x in value)  # such as a shape
    return value is None or type(value) in PLAIN


def is_fixed(value: Any) -> bool:
    """Whether it is plain, or another value that nobody can change."""
    return is_plain(value) or isinstance(value, _FIXED)


def same_value(a: Any, b: Any) -> bool:
    """Of fixed values, also in the sign of a zero. All empty lists, and dicts, are the same."""
    if type(a) is not type(b):
        return False
    if type(a) in (list, dict):
        return not a and not b
    return is_fixed(a) and is_fixed(b) and written(a) == written(b)


def written(value: Any) -> str:
    """A fixed value, exactly. (Python refuses to write very long integers to base ten.)"""
    if type(value) is tuple:
        return f"({', '.join(map(written, value))})"
    return hex(value) if type(value) is int else repr(value)
