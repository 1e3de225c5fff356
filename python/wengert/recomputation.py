"""wg.checkpoint: functions whose intermediate values are computed again instead of kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _core, arguments, tree
from ._core import ArgumentTypeError, Tensor
from .checked import check_function, checked_call
from .policies import Operation, Policy


@checked_call
def checkpoint(f: Callable | None = None, *, policy: Policy | None = None) -> Callable[..., Any]:
    """f, whose intermediate values are not kept for the reverse sweep but computed again in it.

    A call of the result calls f once and returns what f returns. Kept are the values that f read
    from around it (arguments, parameters, tensors it captured) and those that ``policy`` chooses; a
    reverse sweep carries the recorded operations out again, as far as it needs them. f itself is
    not called again: it may print, branch on values and change state (in ``wg.compile`` values that
    f makes by ``t.assign(value)`` only), and random numbers are the same. Gradients are those of f,
    to the bit, under every transform and in ``wg.compile``.

    ``policy(operation) -> bool`` says whether to keep what an operation made; ``wg.policies`` has
    the usual ones. Also a decorator, with or without arguments.

    A value that f read and that changes in place afterwards raises ``wg.GraphError`` in the sweep;
    so does a sweep from a tensor that left f otherwise than as (part of) its result.

    >>> @wg.checkpoint
    ... def block(x, w):
    ...     return wg.tanh(wg.tanh(x @ w) @ w)
    >>> w = wg.tensor([[0.5]], requires_grad=True)
    >>> block(wg.ones((1, 1)), w).sum().backward()
    >>> w.grad.shape
    (1, 1)
    """
    if f is None:
        return functools.partial(checkpoint, policy=policy)
    check_function("checkpoint", f)
    if policy is not None and not callable(policy):
        raise ArgumentTypeError(
            "checkpoint: 'policy' takes a function of an operation that returns a bool, such as "
            f"wg.policies.save_matmuls; got {policy!r:.60}"
        )
    keeps = None if policy is None else _question(policy)

    @functools.wraps(f, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return _core._checkpoint(f, args, kwargs, keeps, tree.leaves)

    return wrapped


def _question(policy: Policy) -> Callable[..., bool]:
    def keeps(*description: Any) -> bool:
        return arguments.flag("checkpoint", "policy's answer", policy(Operation(*description)))

    return keeps


@checked_call
def checkpoint_name(x: Any, name: str) -> Tensor:
    """x itself, under a name: ``wg.policies.save_names(name)`` keeps it.

    >>> keeps = wg.checkpoint(
    ...     lambda x: wg.sin(wg.checkpoint_name(wg.exp(x), "e")),
    ...     policy=wg.policies.save_names("e"),
    ... )
    >>> wg.grad(keeps)(0.0)
    tensor(0.5403023)
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"checkpoint_name: 'name' takes a str; got {name!r:.60}")
    return _core.ops.checkpoint_name(x, name)
