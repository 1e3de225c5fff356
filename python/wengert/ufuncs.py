"""What NumPy's universal functions do with a tensor: operators stay here, so that derivatives pass;
others see the numbers, where nothing is differentiated."""

from __future__ import annotations

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


def _remedy(ufunc: np.ufunc, method: str) -> str:
    import wengert

    name = _NAMES.get((ufunc.__name__, method), ufunc.__name__ if method == "__call__" else "")
    if name and hasattr(wengert, name):
        return f"use wg.{name}"
    return "wrap it in wg.primitive, which gives it a derivative"


def _instead(place: str, name: str) -> str:
    """What to do in place of a function of NumPy, such as ``np.linalg`` and ``norm``."""
    from . import functions, linalg  # which come later

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


def refuse(function: Any, x: Tensor) -> None:
    """Raises where a NumPy function that asks for the numbers of x would lose a derivative."""
    name = function.__name__
    if name in _BLIND:
        return
    place = "np.linalg" if function.__module__ == "numpy.linalg" else "np"
    kind = TraceError if x._is_abstract else ArgumentTypeError
    what = "a traced value has none" if x._is_abstract else "a derivative would be lost"
    raise kind(
        f"{place}.{name}: computes with numbers; {what}. Use {_instead(place, name)}"
        + ("" if x._is_abstract else ", or detach the tensor: x.detach()")
    )


def warn_of_constants(where: str) -> None:
    """That numbers were taken from a tensor that a transform follows."""
    warn(
        f"{where}: NumPy arrays have no derivative: what is computed from this one is constant to "
        "the transform. Keep to tensors (wg.stack, wg.asarray); x.detach() is a tensor that is "
        "meant to be constant"
    )
