"""What NumPy's universal functions do with a tensor: operators stay here, so that derivatives pass;
others see the numbers, where nothing is differentiated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core, other_names
from ._core import ArgumentError, ArgumentTypeError, Tensor, TraceError, ops
from .checked import warn

# The ufuncs behind NumPy's binary operators: array + tensor is np.add(array, tensor).
_OPERATORS: dict[np.ufunc, Callable] = {
    np.add: ops.add,
    np.subtract: ops.subtract,
    np.multiply: ops.multiply,
    np.true_divide: ops.divide,
    np.floor_divide: ops.floor_divide,
    np.remainder: ops.remainder,
    np.divmod: lambda a, b: (ops.floor_divide(a, b), ops.remainder(a, b)),
    np.power: ops.power,
    np.matmul: ops.matmul,
    np.bitwise_and: ops.bitwise_and,
    np.bitwise_or: ops.bitwise_or,
    np.bitwise_xor: ops.bitwise_xor,
    np.left_shift: ops.bitwise_left_shift,
    np.right_shift: ops.bitwise_right_shift,
    np.less: ops.less,
    np.less_equal: ops.less_equal,
    np.equal: ops.equal,
    np.not_equal: ops.not_equal,
    np.greater: ops.greater,
    np.greater_equal: ops.greater_equal,
}

# Where wengert's name is not NumPy's.
_NAMES = {
    ("add", "reduce"): "sum",
    ("multiply", "reduce"): "prod",
    ("maximum", "reduce"): "max",
    ("minimum", "reduce"): "min",
    ("logical_and", "reduce"): "all",
    ("logical_or", "reduce"): "any",
    ("add", "accumulate"): "cumulative_sum",
    ("multiply", "accumulate"): "cumulative_prod",
    ("absolute", "__call__"): "abs",
    ("fabs", "__call__"): "abs",
    ("invert", "__call__"): "bitwise_invert",
    ("rint", "__call__"): "round",
}


# Functions without a derivative to lose: they compare, look for places, or show.
_COMPARING = """allclose isclose array_equal array_equiv shape ndim size argmax argmin argsort
argwhere nonzero flatnonzero count_nonzero searchsorted digitize histogram bincount unique isin
result_type can_cast may_share_memory shares_memory array_repr array_str array2string save savetxt
savez iscomplexobj isrealobj isneginf isposinf lexsort"""
_BLIND = frozenset(_COMPARING.split())


class _Numbers(threading.local):
    """Which NumPy function asks for the numbers of tensors on this thread, if one does."""

    asked_by = ""


_numbers = _Numbers()


def _remedy(ufunc: np.ufunc, method: str) -> str:
    import wengert

    name = _NAMES.get((ufunc.__name__, method), ufunc.__name__ if method == "__call__" else "")
    if name and hasattr(wengert, name):
        return f"use wg.{name}"
    return "wrap it in wg.primitive, which gives it a derivative"


def _instead(asked_by: str) -> str:
    """What to do in place of a function of NumPy, such as ``np.linalg.norm``."""
    from . import functions, linalg  # which come later

    place, _, name = asked_by.rpartition(".")
    if place == "np" and name in functions.__all__:
        return f"wg.{name}"
    if name in linalg.__all__:
        return f"wg.linalg.{name}"
    known = other_names.remedy(place.replace("np", "wengert"), name)
    around = "wg.primitive around it, which gives it a derivative"
    return around if not known or known.startswith("numpy") else known


def apply_ufunc(
    self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
) -> Any:
    """NumPy's protocol: array-with-tensor operators give tensors, other ufuncs of constant tensors
    NumPy arrays. ``wg.Error`` where a derivative would be lost."""
    if method == "__call__" and ufunc in _OPERATORS and not out and not options:
        return _OPERATORS[ufunc](*inputs)
    if any(isinstance(y, Tensor) for y in out) or (
        method == "at" and isinstance(inputs[0], Tensor)
    ):
        raise ArgumentError(
            f"np.{ufunc.__name__}: tensors are read-only to NumPy; got one to write to. "
            "Use x.assign(value)"
        )
    given = [*inputs, *options.values()]
    if any(isinstance(x, Tensor) and not _core._is_constant(x) for x in given):
        called = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        abstract = any(isinstance(x, Tensor) and x._is_abstract for x in given)
        kind = TraceError if abstract else ArgumentTypeError
        what = "a traced value has none" if abstract else "this tensor's derivative would be lost"
        detach = "" if abstract else ", or detach the tensor: x.detach()"
        remedy = _remedy(ufunc, method)
        raise kind(f"{called}: computes with numbers; {what}. Instead, {remedy}{detach}")
    arrays = [np.asarray(x) if isinstance(x, Tensor) else x for x in inputs]
    named = {k: np.asarray(x) if isinstance(x, Tensor) else x for k, x in options.items()}
    if out:
        named["out"] = out
    return getattr(ufunc, method)(*arrays, **named)


def apply_function(
    self: Tensor, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """NumPy's protocol for its other functions: those that call the tensor's own method keep the
    derivative, the others compute with the numbers of constant tensors and raise for the rest."""
    plain = getattr(function, "_implementation", None) or function.__wrapped__
    if function.__name__ in _BLIND:
        return plain(*args, **kwargs)
    home = "np.linalg" if function.__module__ == "numpy.linalg" else "np"
    before = _numbers.asked_by  # by a function that calls this one
    _numbers.asked_by = before or f"{home}.{function.__name__}"
    try:
        return plain(*args, **kwargs)
    finally:
        _numbers.asked_by = before


def to_array(x: Tensor) -> np.ndarray:
    """The numbers of x for NumPy; ``wg.Error`` where a NumPy function would lose a derivative."""
    if _numbers.asked_by and not _core._is_constant(x):
        kind = TraceError if x._is_abstract else ArgumentTypeError
        what = "a traced value has none" if x._is_abstract else "a derivative would be lost"
        raise kind(
            f"{_numbers.asked_by}: computes with numbers; {what}. Use "
            f"{_instead(_numbers.asked_by)}"
            + ("" if x._is_abstract else ", or detach the tensor: x.detach()")
        )
    return numbers_of("np.asarray", x)


def numbers_of(where: str, x: Tensor) -> np.ndarray:
    """The numbers of x; warns where a transform follows it, which loses it there."""
    numbers = _core._numpy(x)
    if _core._is_followed(x):
        warn(
            f"{where}: NumPy arrays have no derivative: what is computed from this one is constant "
            "to the transform. Keep to tensors (wg.stack, wg.asarray); x.detach() is a tensor that "
            "is meant to be constant"
        )
    return numbers
