"""What arguments of other libraries are called here, for the errors of those that are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ONE_CALL = "a step is one call for all parameters anyway: leave it out"
_NO_COMPILER = "there is no compiler to tune: leave it out"
_ON_CPU = "everything is on the CPU: leave it out"
# What arguments of other libraries are called here; where there is none, what to do.
_ARGUMENTS: dict[str, tuple[str, ...] | str] = {
    "T_max": ("steps",),
    "a": ("x",),
    "a_max": ("max",),
    "a_min": ("min",),
    "allow_int": "an integer has no derivative: give floats",
    "argnum": ("argnums",),
    "arr": ("x",),
    "axes": ("axis", "dim"),
    "axis": ("dim", "axes"),
    "axis_name": "there is one device, and sums over the axis come after vmap: leave it out",
    "b1": ("betas",),
    "b2": ("betas",),
    "backend": _NO_COMPILER,
    "beta1": ("betas",),
    "beta2": ("betas",),
    "capturable": _ONE_CALL,
    "chunk_size": "call it on parts of the arrays",
    "chunks": ("indices_or_sections",),
    "clip_value": "for each parameter write p.grad = p.grad.clip(-c, c)",
    "decay": ("alpha", "weight_decay"),
    "decay_steps": ("steps",),
    "decimals": "use Python's round(x, digits)",
    "descending": "give -x, or turn the result by wg.flip",
    "device": _ON_CPU,
    "diagonal": ("k", "offset"),
    "dim": ("axis", "axes"),
    "dim0": "to exchange two axes use wg.swapaxes(x, axis1, axis2)",
    "dim1": "to exchange two axes use wg.swapaxes(x, axis1, axis2)",
    "dims": ("axis", "axes"),
    "donate_argnames": "what a call changes it changes in place: leave it out",
    "donate_argnums": "what a call changes it changes in place: leave it out",
    "dynamic": "each new shape is recorded once: leave it out",
    "end": ("stop",),
    "end_value": ("end",),
    "epsilon": ("eps",),
    "error_if_nonfinite": "the norm is returned: look whether it is finite",
    "eta_min": ("end",),
    "features": ("out_features",),
    "force": "write x.detach().numpy(): everything is on the CPU",
    "foreach": _ONE_CALL,
    "fullgraph": "a function is always recorded whole: leave it out",
    "fused": _ONE_CALL,
    "hi": ("max",),
    "holomorphic": "there are no complex numbers: leave it out",
    "in_dims": ("in_axes",),
    "in_shardings": _ON_CPU,
    "init_value": ("lr", "start"),
    "inline": _NO_COMPILER,
    "inplace": "the result is a new tensor: leave it out",
    "input": ("x", "x1"),
    "k": ("offset",),
    "keepdim": ("keepdims",),
    "key": "a generator keeps its own state: leave it out",
    "kind": ("stable",),
    "l2": ("weight_decay",),
    "labels": ("target",),
    "layout": "every tensor is dense: leave it out",
    "learning_rate": ("lr",),
    "lo": ("min",),
    "logits": ("input",),
    "map_location": _ON_CPU,
    "maxval": ("high",),
    "mean": ("loc",),
    "memory_format": "every operation takes any strides: leave it out",
    "minval": ("low",),
    "mode": _NO_COMPILER,
    "newshape": ("shape",),
    "non_blocking": _ON_CPU,
    "norm_type": "the norm is Euclidean: leave it out",
    "num_samples": ("size",),
    "offset": ("k",),
    "options": _NO_COMPILER,
    "ord": ("p",),
    "order": "elements are taken row by row: transpose before, or leave it out",
    "other": ("x2",),
    "out_dims": ("out_axes",),
    "out_shardings": _ON_CPU,
    "p": ("ord",),
    "pin_memory": _ON_CPU,
    "predictions": ("input",),
    "preserve_rng_state": "the function runs once, and draws once: leave it out",
    "prevent_cse": "what is computed again is kept apart anyway: leave it out",
    "reduce": ("reduction",),
    "replacement": ("replace",),
    "requires_grad": "call .requires_grad_() on the result",
    "reverse": "give wg.flip(xs), and flip the results",
    "rho": ("alpha",),
    "sections": ("indices_or_sections",),
    "shape": ("size",),
    "size": ("shape",),
    "size_average": ("reduction",),
    "sparse": "every result is dense: leave it out",
    "split_size_or_sections": "give the number of parts, or the places where they begin",
    "static_argnames": ("static_argnums",),
    "std": ("scale",),
    "step_size": ("lr",),
    "steps": ("num",),
    "targets": ("target",),
    "total_iters": ("steps",),
    "transition_steps": ("steps",),
    "unbiased": "use correction: 1 for unbiased=True, 0 (the default) for unbiased=False",
    "unroll": "a body is recorded once and replayed in C++: leave it out",
    "use_bias": ("bias",),
    "use_reentrant": "nothing is run again but what an adjoint needs: leave it out",
    "value": ("fill_value", "constant_values", "lr"),
    "warmup_steps": ("steps",),
    "wd": ("weight_decay",),
    "weights_only": "files hold tensors and nothing to run: leave it out",
    "where": "choose before by wg.where(mask, x, 0), or what leaves the result as it is",
    "x": ("x1",),
    "y": ("x2",),
    "y_pred": ("input",),
    "y_true": ("target",),
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


def name_here(name: str, known: Iterable[str]) -> str:
    """Which of the known names another library's has here; may be empty."""
    names = _ARGUMENTS.get(name, ())
    return "" if isinstance(names, str) else next((ours for ours in names if ours in known), "")


def argument_remedy(name: str, known: Iterable[str]) -> str:
    """What to do about an argument that a function lacks, which knows others; may be empty."""
    remedy = _ARGUMENTS.get(name, "")
    if isinstance(remedy, str):
        return remedy
    ours = name_here(name, known)
    return f"use {ours}" if ours else ""


def call_remedy(name: str, args: Any) -> str:
    """What to do about a call with more or fewer arguments than a function takes; may be empty."""
    sizes = name in ("empty", "ones", "zeros") and all(type(size) is int for size in args)
    return f"sizes are one argument: write {name}({args})" if sizes else _CALLS.get(name, "")
