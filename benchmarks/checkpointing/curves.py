"""Points checked, measured in turns, and shown as a table and a plot. Must not know a contender."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..harness import Values, Wrong, check, elapsed, interleave, ratio
from ..report import bytes_figure, figure
from .settings import Setting

TOLERANCE = 1e-4
"""Of the loss and of the gradient, in their norms."""


@dataclass
class Point:
    setting: Setting
    wrong: str | None = None
    peak: int = 0
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def checked(setting: Setting, want: Values) -> Point:
    """With its peak, if its first step from the start is right."""
    point, case = Point(setting), setting.case
    assert case.restart is not None and case.peak_bytes is not None
    try:
        case.restart()
        check(case, want, TOLERANCE, 1)
        point.peak = case.peak_bytes(case.run)
    except Wrong as wrong:
        point.wrong = str(wrong)
    return point


def line_of_check(point: Point) -> str:
    return f"  {point.setting.name:<42} {point.wrong or bytes_figure(point.peak)}"


def measure(points: Sequence[Point], rounds: int) -> None:
    """A step of each in turn, from the same state."""
    right = {point.setting.name: point for point in points if point.wrong is None}

    def sampler(point: Point) -> float:
        return elapsed(point.setting.case, 1)

    samplers = {name: (lambda point=point: sampler(point)) for name, point in right.items()}
    for name, samples in interleave(samplers, rounds).items():
        right[name].samples = samples


def best_peer(point: Point, points: Sequence[Point], ours: Collection[str]) -> Point | None:
    """The fastest of the others whose peak is at most what this one was allowed."""
    room = max(point.setting.budget or 0, point.peak)
    fits = [p for p in points if not p.wrong and p.setting.curve not in ours and p.peak <= room]
    return min(fits, key=lambda p: p.median, default=None)


def table(points: Sequence[Point], heading: str, ours: Collection[str]) -> list[str]:
    lines = [heading, f"  {'':<42} {'peak':>9} {'median':>9}  [least .. most]"]
    for point in points:
        if point.wrong is not None:
            lines.append(f"  {point.setting.name:<42} WRONG: {point.wrong}")
            continue
        spread = f"[{figure(min(point.samples), 's')} .. {figure(max(point.samples), 's')}]"
        peak, median = bytes_figure(point.peak), figure(point.median, "s")
        lines.append(f"  {point.setting.name:<42} {peak:>9} {median:>9}  {spread}")
    for point in points:
        if point.wrong is not None or point.setting.curve not in ours:
            continue
        other = best_peer(point, points, ours)
        if other is None:
            lines.append(f"{point.setting.name}: no other takes as little")
            continue
        quotient = ratio(point.samples, other.samples)
        lines.append(
            f"{point.setting.name}: {quotient:.3g} of the time of the best other at no more bytes, "
            f"{other.setting.name}"
        )
    return lines


def plot(points: Sequence[Point], heading: str, path: Path) -> None:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 6), layout="constrained")
    axes = picture.subplots()
    for curve in dict.fromkeys(point.setting.curve for point in points):
        own = [p for p in points if p.setting.curve == curve and p.wrong is None]
        own.sort(key=lambda p: p.peak)
        axes.plot([p.peak / 2**20 for p in own], [p.median for p in own], "o-", label=curve)
        for p in own:
            axes.annotate(p.setting.label, (p.peak / 2**20, p.median), fontsize=7)
    axes.set(xlabel="peak of a step, MB", ylabel="time of a step, s", title=heading)
    axes.legend()
    picture.savefig(path)
