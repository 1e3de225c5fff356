"""Learning rates as functions of the number of updates so far: callables `step -> lr`."""

from __future__ import annotations

import math
from collections.abc import Callable

from .._core import ArgumentError


def _check_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise ArgumentError(f"{name}: needs at least 1 step; got {steps}")


def constant(lr: float) -> Callable[[int], float]:
    """The same rate at every step.

    >>> wg.optim.constant(0.1)(1000)
    0.1
    """
    return lambda step: lr


def linear(start: float, end: float, steps: int) -> Callable[[int], float]:
    """From start at step 0 along a line to end at step ``steps``, and end from then on.

    >>> wg.optim.linear(1.0, 0.0, 4)(1)
    0.75
    """
    _check_steps("linear", steps)
    return lambda step: start + (end - start) * min(step / steps, 1.0)


def cosine(lr: float, steps: int, end: float = 0.0) -> Callable[[int], float]:
    """From lr at step 0 along half a cosine to end at step ``steps``, and end from then on.

    >>> wg.optim.cosine(1.0, 10)(5)
    0.5
    """
    _check_steps("cosine", steps)

    def schedule(step: int) -> float:
        if step >= steps:
            return end
        return end + (lr - end) * (1.0 + math.cos(math.pi * step / steps)) / 2.0

    return schedule


def warmup(steps: int, after: float | Callable[[int], float]) -> Callable[[int], float]:
    """Rises along a line for ``steps`` steps, of which the first is 1 / steps of the full rate;
    then ``after``, a rate or a schedule that starts with step 0.

    >>> schedule = wg.optim.warmup(4, wg.optim.cosine(1.0, 10))
    >>> [schedule(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    _check_steps("warmup", steps)
    then = after if callable(after) else constant(after)

    def schedule(step: int) -> float:
        return then(0) * (step + 1) / steps if step < steps else then(step - steps)

    return schedule
