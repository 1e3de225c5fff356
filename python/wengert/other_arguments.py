"""What arguments of other libraries are called here, for the errors of those that are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ONE_CALL = "a step is one call for all parameters anyway: leave it out"
_NO_COMPILER = "there is no compiler to tune: leave it out"
_ON_CPU = "everything is on the CPU: leave it out"
# What arguments of other libraries are called here; where there is none, what to do.
_ARGUMENTS: dict[str, tuple[str, ...] | str] = {
    "a_max": ("max",),
    "a_min": ("min",),
    "argnum": ("argnums",),
    "axes": ("axis", "dim"),
    "axis": ("dim", "axes"),
    "backend": _NO_COMPILER,
    "beta1": ("betas",),
    "beta2": ("betas",),
    "decay": ("weight_decay",),
    "decimals": "use Python's round(x, digits)",
    "descending": "give -x, or turn the result by wg.flip",
    "device": _ON_CPU,
    "dim": ("axis", "axes"),
    "dims": ("axis", "axes"),
    "donate_argnums": "what a call changes it changes in place: leave it out",
    "dynamic": "each new shape is recorded once: leave it out",
    "end": ("stop",),
    "epsilon": ("eps",),
    "foreach": _ONE_CALL,
    "fullgraph": "a function is always recorded whole: leave it out",
    "fused": _ONE_CALL,
    "in_dims": ("in_axes",),
    "inplace": "the result is a new tensor: leave it out",
    "keepdim": ("keepdims",),
    "layout": "every tensor is dense: leave it out",
    "learning_rate": ("lr",),
    "memory_format": "every operation takes any strides: leave it out",
    "mode": _NO_COMPILER,
    "non_blocking": _ON_CPU,
    "norm_type": "the norm is Euclidean: leave it out",
    "ord": ("p",),
    "out_dims": ("out_axes",),
    "p": ("ord",),
    "pin_memory": _ON_CPU,
    "reduce": ("reduction",),
    "requires_grad": "call .requires_grad_() on the result",
    "reverse": "give wg.flip(xs), and flip the results",
    "shape": ("size",),
    "size": ("shape",),
    "size_average": ("reduction",),
    "static_argnames": ("static_argnums",),
    "steps": ("num",),
    "step_size": ("lr",),
    "unbiased": "use correction: 1 for unbiased=True, 0 (the default) for unbiased=False",
    "unroll": "a body is recorded once and replayed in C++: leave it out",
    "use_reentrant": "nothing is run again but what an adjoint needs: leave it out",
    "wd": ("weight_decay",),
}
# Calls that another library takes with more, or fewer, arguments.
_CALLS: dict[str, str] = {
    "repeat": "to repeat the whole use wg.tile(x, sizes)",
    "apply": "to call with other parameters use wg.functional_call(module, params, x)",
    "permute_dims": "to exchange two axes use wg.swapaxes(x, axis1, axis2)",
    "reshape": "the sizes are one argument, such as (2, -1)",
    "round": "use Python's round(x, digits)",
    "where": "for the places use wg.nonzero(condition)",
}


def argument_remedy(name: str, known: Iterable[str]) -> str:
    """What to do about an argument that a function lacks, which knows others; may be empty."""
    remedy = _ARGUMENTS.get(name, ())
    if isinstance(remedy, str):
        return remedy
    return next((f"use {ours}" for ours in remedy if ours in known), "")


def call_remedy(name: str, args: Any) -> str:
    """What to do about a call with more or fewer arguments than a function takes; may be empty."""
    sizes = name in ("empty", "ones", "zeros") and all(type(size) is int for size in args)
    return f"sizes are one argument: write {name}({args})" if sizes else _CALLS.get(name, "")
