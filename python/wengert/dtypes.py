"""Element types: their names, their promotion, and the questions of the array API about them."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, DTypeError, Tensor

__all__: list[str] = [
    "bool",
    "bool_",
    "can_cast",
    "finfo",
    "float32",
    "float64",
    "iinfo",
    "int32",
    "int64",
    "isdtype",
    "promote_types",
    "result_type",
    "uint8",
]

_dtypes: dict[str, np.dtype] = _core._dtypes()
bool_: np.dtype = _dtypes["bool"]
uint8: np.dtype = _dtypes["uint8"]
int32: np.dtype = _dtypes["int32"]
int64: np.dtype = _dtypes["int64"]
float32: np.dtype = _dtypes["float32"]
float64: np.dtype = _dtypes["float64"]
bool: np.dtype = bool_

# Promotion takes the later of two.
_order = [bool_, uint8, int32, int64, float32, float64]
_known: dict[Any, np.dtype] = {dtype: dtype for dtype in _order} | {float: float32}
_kinds = {
    "bool": {bool_},
    "signed integer": {int32, int64},
    "unsigned integer": {uint8},
    "integral": {uint8, int32, int64},
    "real floating": {float32, float64},
    "complex floating": set(),
    "numeric": {uint8, int32, int64, float32, float64},
}


def as_dtype(dtype: Any) -> np.dtype:
    """The NumPy dtype of anything that names one of the six; Python's ``float`` is float32."""
    try:
        return _known[dtype]
    except (KeyError, TypeError):
        pass
    try:
        return _known[np.dtype(dtype)]
    except (KeyError, TypeError):
        names = ", ".join(_dtypes)
        raise DTypeError(f"dtype: {dtype!r} is not supported; use one of {names}") from None


def promote_types(type1: Any, type2: Any) -> np.dtype:
    """The dtype of an operation on both: bool < integers < floats, the wider within a kind.

    >>> wg.promote_types(wg.int64, wg.float32)
    dtype('float32')
    """
    return _order[max(_order.index(as_dtype(type1)), _order.index(as_dtype(type2)))]


def _number_type(item: Any) -> type | None:
    """The type of a Python number, also of one that a compiled function was given."""
    if isinstance(item, Tensor) and _core._is_number(item):
        return float if item.dtype.kind == "f" else int
    return type(item) if type(item) in (builtins.bool, int, float) else None


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype that an operation on all of these has. Python numbers only decide the kind:
    ``result_type(x32, 2.0)`` is float32.

    >>> wg.result_type(wg.int32, 2.5)
    dtype('float32')
    """
    if not arrays_and_dtypes:
        raise ArgumentError("result_type: needs at least one array or dtype; got none")
    numbers = [_number_type(item) for item in arrays_and_dtypes]
    strong = [
        as_dtype(getattr(item, "dtype", item))
        for item, number in zip(arrays_and_dtypes, numbers)
        if number is None
    ]
    kinds = {*numbers}
    found = max(map(_order.index, strong), default=0)
    if float in kinds:
        found = max(found, _order.index(float32))
    if int in kinds and found == 0:
        found = _order.index(int64)
    return _order[found]


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Whether promotion may convert ``from_`` (a dtype or tensor) to the dtype ``to``.

    >>> wg.can_cast(wg.float64, wg.float32)
    False
    """
    start = as_dtype(from_.dtype if isinstance(from_, Tensor) else from_)
    return promote_types(start, to) == as_dtype(to)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether a dtype is of a kind: another dtype, one of the array API's names ("bool",
    "integral", "real floating", "numeric", ...), or a tuple of such.

    >>> wg.isdtype(wg.float32, ("integral", "real floating"))
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str):
        if kind not in _kinds:
            raise ArgumentError(f"isdtype: unknown kind {kind!r}; use one of {', '.join(_kinds)}")
        return as_dtype(dtype) in _kinds[kind]
    return as_dtype(dtype) == as_dtype(kind)


def finfo(type: Any, /) -> np.finfo:
    """Limits of a floating-point dtype (or of a tensor's): eps, max, min, smallest_normal, bits.

    >>> wg.finfo(wg.float32).eps
    np.float32(1.1920929e-07)
    """
    dtype = as_dtype(type.dtype if isinstance(type, Tensor) else type)
    if not isdtype(dtype, "real floating"):
        raise DTypeError(f"finfo: needs a floating-point dtype; got {dtype}. Use iinfo")
    return np.finfo(dtype)


def iinfo(type: Any, /) -> np.iinfo:
    """Limits of an integer dtype (or of a tensor's): max, min, bits.

    >>> wg.iinfo(wg.int32).max
    2147483647
    """
    dtype = as_dtype(type.dtype if isinstance(type, Tensor) else type)
    if not isdtype(dtype, "integral"):
        raise DTypeError(f"iinfo: needs an integer dtype; got {dtype}. Use finfo")
    return np.iinfo(dtype)
