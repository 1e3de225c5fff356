"""What a compiled function shows of itself: its passes, and where its time goes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _core
from .program import Program
from .symbolic import MissingPackage


@dataclasses.dataclass(frozen=True)
class UnitCost:
    """What runs together in a replay, and its cost in one call."""

    label: str
    """The operations, in order."""
    flops: int
    bytes: int
    """Read from and written to memory; what stays within the unit is not counted."""
    seconds: float


def _amount(count: float, unit: str) -> str:
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {prefix}{unit}"
    return f"{count:.3g} {unit}"


def _counted(count: int, noun: str, width: int = 0) -> str:
    return f"{count:>{width}} {noun}" + ("" if count == 1 else "s")


def _row(name: str, program: Program) -> str:
    moved, peak = _amount(program.bytes_moved, "B"), _amount(program.bytes_peak, "B")
    flops = _amount(program.flops, "flop")
    nodes = f"{_counted(len(program), 'node', 6):<12}"
    return f"{name:<12} {nodes}  {flops:>12}  {moved:>10} moved  {peak:>10} peak"


def explain_text(replay: Any, recorded: Program, program: Program) -> str:
    """Each pass with nodes, flops and bytes before and after and what it changed, then the units of
    the replay."""
    identities, repeated, unused = replay.simplified
    neutral, narrowed, transposed, placed, summed, joined, signs, *others = replay.rewritten
    slopes, trailing, stacked, rerolled = others
    units = [UnitCost(*cost) for cost in replay.costs]
    moved = sum(unit.bytes for unit in units)
    lines = [
        f"compiled {program.name}" + (", exact" if replay.exact else ""),
        _row("recorded", recorded),
        _row("simplified", program),
        *(
            f"{'':12} {what}: {count}"
            for count, what in (
                (identities, "views that change nothing gone"),
                (repeated, "repeated nodes gone"),
                (unused, "unread nodes gone"),
                (neutral, "nodes that return an operand gone"),
                (narrowed, "nodes computed before they are broadcast"),
                (transposed, "transposes moved past other nodes"),
                (placed, "sums without zeros"),
                (summed, "slices at one place added up first"),
                (joined, "sums of slices put side by side"),
                (signs, "signs moved into sums"),
                (slopes, "derivatives made with the function"),
                (trailing, "functions of products computed with them"),
                (replay.hoisted, "steps moved, to save memory"),
                (stacked, "scans whose sums of products are one product"),
                (rerolled, "nodes on single numbers put together"),
            )
            if count
        ),
        f"{'grouped':<12} {_counted(len(units), 'unit', 6):<12}  {'':>12}"
        f"  {_amount(moved, 'B'):>10} moved  {_amount(replay.arena_bytes, 'B'):>10} arena"
        f" for {_amount(replay.live_bytes, 'B')} alive at most",
    ]
    if replay.schedule is not None:
        lines += schedule_lines(Schedule(*replay.schedule))
    for i, unit in enumerate(units):
        lines.append(
            f"{i:>4}  {_amount(unit.flops, 'flop'):>12}  {_amount(unit.bytes, 'B'):>10}  "
            f"{unit.label}"
        )
    return "\n".join(lines)


class Value(NamedTuple):
    """What a schedule stores (``times`` is 0), computes again, or has on disk for a while."""

    name: str
    dtype: Any
    shape: list[int]
    bytes: int
    times: int
    source: str
    on_disk: bool


class Schedule:
    """How a replay keeps within its budget."""

    def __init__(
        self,
        way: str,
        budget: int,
        before: int,
        after: int,
        flops: int,
        seconds: float,
        plans: int,
        looked: int,
        values: list[tuple],
        moving: float,
    ) -> None:
        self.way, self.budget, self.plans, self.looked = way, budget, plans, looked
        self.before, self.after = before, after
        self.flops, self.seconds, self.moving = flops, seconds, moving
        self.values = [Value(*value) for value in values]


def schedule_lines(schedule: Schedule, most: int = 4) -> list[str]:
    """What is stored, on disk and computed again, the most bytes first, and the price."""
    lines = [
        f"{'budget':<12} {_amount(schedule.budget, 'B')}: {_amount(schedule.before, 'B')} before, "
        f"{_amount(schedule.after, 'B')} after, the cheapest of "
        f"{_counted(schedule.plans, 'plan')}: {schedule.way}"
    ]
    stored = [value for value in schedule.values if not value.times and not value.on_disk]
    spilled = [value for value in schedule.values if value.on_disk]
    again = [value for value in schedule.values if value.times and not value.on_disk]
    price = f", +{_amount(schedule.flops, 'flop')}, +{schedule.seconds * 1e3:.3g} ms predicted"
    parts = [("stored", stored, ""), ("again", again, price)]
    if spilled:
        moving = f", {schedule.moving * 1e3:.3g} ms to write and read beside the rest predicted"
        parts.insert(1, ("on disk", spilled, moving))
    for name, values, more in parts:
        total = sum(value.bytes for value in values)
        lines.append(
            f"{name:<12} {_counted(len(values), 'value', 6):<13}  {_amount(total, 'B'):>10}{more}"
        )
        alike: dict[tuple, list[Value]] = {}
        for value in values:
            alike.setdefault((value.name, value.source, *value.shape), []).append(value)
        groups = sorted(alike.values(), key=lambda group: -sum(value.bytes for value in group))
        for group in groups[:most]:
            own, size = group[0], sum(value.bytes for value in group)
            lines.append(
                f"{'':12} {len(group):>6} x {own.name} {own.dtype}{own.shape}, "
                f"{_amount(size, 'B')}, {own.source}"
            )
    return lines


class Profile:
    """Time a unit of a compiled function, beside what this machine could do at best.

    ``units`` are in the order they run; prints as a table, the slowest first.
    """

    def __init__(self, units: Sequence[UnitCost], flops: float, bandwidth: float) -> None:
        self.units = list(units)
        self.flops_per_second = flops
        self.bytes_per_second = bandwidth

    @property
    def seconds(self) -> float:
        """The sum over all units."""
        return sum(unit.seconds for unit in self.units)

    def roofline(self, unit: UnitCost) -> float:
        """The least seconds the unit can take: its flops or its bytes at the machine's ceilings."""
        return max(unit.flops / self.flops_per_second, unit.bytes / self.bytes_per_second)

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [
            f"{self.seconds * 1e6:.1f} us in {_counted(len(self.units), 'unit')}; ceilings "
            f"{_amount(self.flops_per_second, 'flop')}/s and "
            f"{_amount(self.bytes_per_second, 'B')}/s",
            f"{'us':>9} {'share':>6} {'of roofline':>12}  unit",
        ]
        for unit in sorted(self.units, key=lambda unit: -unit.seconds):
            best = self.roofline(unit) / unit.seconds if unit.seconds else 0.0
            share = unit.seconds / total
            lines.append(f"{unit.seconds * 1e6:>9.2f} {share:>6.1%} {best:>12.0%}  {unit.label}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | None = None, *, most: int = 15) -> Any:
        """A bar a unit (the ``most`` slowest) and the roofline's part of it; saved to ``path``."""
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise MissingPackage(
                "plot: needs matplotlib, which is not installed; run: pip install matplotlib"
            ) from error
        units = sorted(self.units, key=lambda unit: unit.seconds)[-most:]
        figure, axes = plt.subplots(figsize=(8, 0.35 * len(units) + 1.2), layout="constrained")
        labels = [unit.label if len(unit.label) < 40 else unit.label[:37] + "..." for unit in units]
        places = range(len(units))
        axes.barh(places, [unit.seconds * 1e6 for unit in units], color="#c6d4e1", label="measured")
        axes.barh(
            places, [self.roofline(unit) * 1e6 for unit in units], color="#2a5783", label="roofline"
        )
        axes.set_yticks(places, labels)
        axes.set_xlabel("microseconds")
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def ceilings() -> tuple[float, float]:
    """This machine's flops and bytes a second: a matrix product and a copy, the best of several.
    The peak of memory is that of the user's program: it stays as it was."""
    before = _core.memory.peak_bytes()
    a = _core.asarray(np.ones((384, 384), np.float32))
    x = _core.asarray(np.ones(1 << 22, np.float32))
    product = min(_seconds(lambda: _core.ops.matmul(a, a)) for _ in range(5))
    copy = min(_seconds(lambda: _core.ops.copy(x)) for _ in range(5))
    _core._set_peak(before)
    return 2 * 384**3 / product, 2 * x.size * 4 / copy


def _seconds(f: Any) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start
