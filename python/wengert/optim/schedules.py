"""Learning rates as functions of the number of updates so far: callables `step -> lr`. A step is an
int, or an integer tensor of shape () where training is compiled: then the rate is a float64 tensor
with the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import _core, arguments
from .._core import Tensor, ops
from ..checked import checked_call

Rate = Callable[[Any], Any]


def _length(name: str, steps: float) -> float:
    """A number of steps, an int where it is whole."""
    number = arguments.plain(steps)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, int) and not isinstance(number, bool):
        return arguments.integer(name, "steps", number, 1)
    return arguments.real(name, "steps", number, 1.0)


def _rate(where: str, name: str, value: Any) -> Any:
    return arguments.real(where, name, value, tensor=True, single=True)


def _real(step: Any) -> Any:
    return ops.astype(step, "float64") if isinstance(step, Tensor) else step


def _cos(x: Any) -> Any:
    """The cosine of the table, for numbers too: the C library's may differ in the last bit."""
    if isinstance(x, Tensor):
        return ops.cos(x)
    return ops.cos(_core.tensor(x, dtype="float64")).item()


@checked_call
def constant(lr: float) -> Rate:
    """The same rate at every step.

    >>> wg.optim.constant(0.1)(1000)
    0.1
    """
    lr = _rate("constant", "lr", lr)
    return lambda step: lr


@checked_call
def linear(start: float, end: float, steps: float) -> Rate:
    """From start at step 0 along a line to end at step ``steps``, and end from then on.

    >>> wg.optim.linear(1.0, 0.0, 4)(1)
    0.75
    """
    start, end = _rate("linear", "start", start), _rate("linear", "end", end)
    steps = _length("linear", steps)

    def schedule(step: Any) -> Any:
        part = _real(step) / steps
        part = ops.minimum(part, 1.0) if isinstance(part, Tensor) else min(part, 1.0)
        return start + (end - start) * part

    return schedule


@checked_call
def cosine(lr: float, steps: float, end: float = 0.0) -> Rate:
    """From lr at step 0 along half a cosine to end at step ``steps``, and end from then on.

    >>> wg.optim.cosine(1.0, 10)(5)
    0.5
    """
    lr, end = _rate("cosine", "lr", lr), _rate("cosine", "end", end)
    steps = _length("cosine", steps)
    full = math.ceil(steps)

    def curve(step: Any) -> Any:
        return end + (lr - end) * (1.0 + _cos(math.pi * _real(step) / steps)) / 2.0

    def schedule(step: Any) -> Any:
        if isinstance(step, Tensor):
            return ops.where(ops.greater_equal(step, full), end, curve(step))
        return end if step >= steps else curve(step)

    return schedule


@checked_call
def warmup(steps: float, after: float | Rate) -> Rate:
    """Rises along a line for ``steps`` steps, of which the first is 1 / steps of the full rate;
    then ``after``, a rate or a schedule that starts with step 0.

    >>> schedule = wg.optim.warmup(4, wg.optim.cosine(1.0, 10))
    >>> [schedule(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    steps = _length("warmup", steps)
    full = math.ceil(steps)
    then = after if callable(after) else constant(_rate("warmup", "after", after))

    def schedule(step: Any) -> Any:
        if isinstance(step, Tensor):
            rise = then(0) * (_real(step) + 1) / steps
            since = ops.subtract(step if steps == full else _real(step), steps)
            return ops.where(ops.less(step, full), rise, then(ops.maximum(since, 0)))
        return then(0) * (step + 1) / steps if step < steps else then(step - steps)

    return schedule
