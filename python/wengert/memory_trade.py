"""The trade of a call's memory for time, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from . import arguments, byte_size
from ._core import ArgumentTypeError
from .checked import checked_call
from .compiler import Compiled, _ceilings
from .explain import Schedule
from .symbolic import MissingPackage


@dataclasses.dataclass(frozen=True)
class MemoryPoint:
    """A call under one budget."""

    peak_bytes: int
    """Of the memory of a replay: what ``wg.compile(f, memory_budget=...)`` bounds."""
    predicted_seconds: float
    measured_seconds: float
    way: str
    """What the schedule is made by."""


class MemoryCurve:
    """What ``wg.memory_curve`` found: ``points``, from the least memory to the most; prints as a
    table."""

    def __init__(self, name: str, points: Sequence[MemoryPoint]) -> None:
        self.name = name
        self.points = list(points)

    @property
    def least(self) -> MemoryPoint:
        """The point of least memory: no budget below it can be met."""
        return self.points[0]

    @property
    def most(self) -> MemoryPoint:
        """The fastest under a budget: nothing is computed again or waits on disk."""
        return self.points[-1]

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {'peak':>10} {'of most':>8} {'predicted':>12} {'measured':>12}  way"
        ]
        for point in self.points:
            part = point.peak_bytes / self.most.peak_bytes if self.most.peak_bytes else 1.0
            lines.append(
                f"{'':{len(self.name) + 1}} {byte_size.show(point.peak_bytes):>10} {part:>8.1%} "
                f"{point.predicted_seconds * 1e3:>9.4g} ms {point.measured_seconds * 1e3:>9.4g} ms"
                f"  {point.way}"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | None = None) -> Any:
        """Predicted and measured seconds over peak bytes; saved to ``path``. Needs matplotlib."""
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise MissingPackage(
                "plot: needs matplotlib; pip install 'wengert[examples]'"
            ) from error
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        sizes = [point.peak_bytes / 1e6 for point in self.points]
        for label, marker, seconds in (
            ("measured", "o-", [point.measured_seconds for point in self.points]),
            ("predicted", ".--", [point.predicted_seconds for point in self.points]),
        ):
            axes.plot(sizes, [1e3 * s for s in seconds], marker, label=label)
        axes.set_xlabel("peak, MB")
        axes.set_ylabel("milliseconds a call")
        axes.set_title(self.name)
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


@checked_call
def memory_curve(f: Callable, *args: Any, points: int = 8, **kwargs: Any) -> MemoryCurve:
    """How fast ``f(*args)`` runs under ``wg.compile`` in how little memory: at most ``points``
    schedules, of which none betters another in both, from the least memory to that of keeping all.

    f is recorded once a point and each recording is timed (the best of three runs, the sum over
    its units) on copies of what it changes, so that nothing is changed. Predicted seconds are those
    of measured ceilings of arithmetic and memory. Raises ``wg.ArgumentError`` unless ``points`` is
    an int of 2 or more. Of an f compiled with a ``wg.TwoLevel`` for a budget, values may go to its
    disk.

    >>> def loss(x):
    ...     for _ in range(20):
    ...         x = wg.sin(x @ x)
    ...     return x.sum()
    >>> curve = wg.memory_curve(wg.grad(loss), wg.ones((32, 32)), points=3)
    >>> curve.least.peak_bytes < curve.most.peak_bytes
    True
    """
    if not callable(f):
        raise ArgumentTypeError(f"memory_curve: takes a function; got {f!r:.60}")
    points = arguments.integer("memory_curve", "points", points, 2)
    static: tuple[int, ...] = ()
    exact = False
    budget: Any = 0
    disk = None
    if isinstance(f, Compiled):
        static, exact, budget, disk = tuple(f._static), f._exact, f._budget, f._disk()
        f = f.__wrapped__
    whole = Compiled(f, static, None, exact)
    replay = whole._replay(args, kwargs)[0]
    found = replay.curve(*_ceilings(), disk)
    chosen = sorted({round(i * (len(found) - 1) / (points - 1)) for i in range(points)})
    made = []
    for i in reversed(chosen):
        own = dataclasses.replace(budget, memory=f"{found[i][0]}B") if disk else found[i][0]
        replay, tensors = Compiled(f, static, own, exact)._replay(args, kwargs)
        schedule = Schedule(*replay.schedule)
        predicted = found[0][1] + schedule.seconds
        measured = sum(cost[3] for cost in replay.profile(tensors, 3))
        peak = max(schedule.after, replay.pull_bytes)
        made.append(MemoryPoint(peak, predicted, measured, schedule.way))
    return MemoryCurve(whole.__name__, made)
