"""Checks every contender's result, then times all of them in turns.

Must not know any problem or contender.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol

import numpy as np

Values = list[Any]

STEPS = 100
"""That contenders which take many steps a call take in one."""

LONGEST = 500
"""Steps until the state is put back: on one batch gradients vanish, and then numbers are denormal,
which slows the arithmetic of most contenders tenfold, and not that of others."""


class Wrong(Exception):
    """A contender's result is not the problem's."""


@dataclass(frozen=True)
class Case:
    """What a contender brings to a problem.

    `run` does the work once: it is what is timed. `read` turns what the last run returned into the
    arrays that the problem expects. `peak_bytes` runs once more and tells the bytes at the peak
    above those before. `sample`, if given, replaces the timing of `run` by a figure of its own.

    A training step has `restart`, which puts its state back. Where one `run` takes `steps` of them,
    `take` is what `run` calls with that number; the check calls it with a smaller one.
    """

    run: Callable[[], Any]
    read: Callable[[Any], Values]
    peak_bytes: Callable[[Callable[[], Any]], int] | None = None
    sample: Callable[[], float] | None = None
    restart: Callable[[], Any] | None = None
    steps: int = 1
    take: Callable[[int], Any] | None = None


def in_one_call(
    take: Callable[[int], Any],
    read: Callable[[Any], Values],
    restart: Callable[[], Any],
    steps: int = STEPS,
) -> Case:
    """A case that takes so many steps a run; `take` takes as many as it is told."""
    return Case(lambda: take(steps), read, restart=restart, steps=steps, take=take)


class Contender(Protocol):
    """A module of `contenders`: for each kind of problem it takes part in, a function of that name
    from the problem's inputs to a Case, or None where it has none for these inputs."""

    name: str

    def set_threads(self, threads: int) -> None: ...


@dataclass(frozen=True)
class Problem:
    """Inputs, and the values that every contender must find.

    `expected` gives the values after `checked_runs` runs; an array agrees if the norm of its
    difference is at most `tolerance` times its own norm. A sample is the time of a run over
    `operations`.
    """

    name: str
    kind: str
    inputs: Any
    expected: Callable[[], Values]
    tolerance: float
    checked_runs: int = 1
    operations: int = 1
    rounds: int = 11
    unit: str = "s"

    def prepare(self, contender: Any) -> Case | None:
        """The contender's case, or None where it does not take part."""
        make = getattr(contender, self.kind, None)
        return None if make is None else make(self.inputs)


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most `rounds` rounds, of samples of `seconds` at least, each after a
    pause in which the threads of the one before stop to spin."""

    rounds: int = 99
    seconds: float = 0.04
    pause: float = 0.0


@dataclass
class Row:
    """One contender on one problem. `ratios` maps the names of the others to the median over
    rounds of this contender's sample over the other's in the same round."""

    problem: str
    contender: str
    unit: str
    wrong: str | None = None
    samples: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    ratios: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third


def difference(got: Any, want: Any) -> float:
    """The norm of the difference over the norm of `want` (at least the smallest normal number)."""
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if a.shape != b.shape:
        raise Wrong(f"a result has shape {a.shape}, not {b.shape}")
    if not np.all(np.isfinite(a)):
        raise Wrong("a result is not finite")
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(np.float64).tiny))


def check(case: Case, expected: Values, tolerance: float, runs: int) -> None:
    """Raises Wrong unless the values after `runs` runs are the expected ones."""
    try:
        if case.take is not None:
            result = case.take(runs)
        else:
            for _ in range(runs):
                result = case.run()
        values = case.read(result)
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"raised {type(error).__name__}: {error}") from error
    if len(values) != len(expected):
        raise Wrong(f"{len(values)} results, not {len(expected)}")
    for i, (got, want) in enumerate(zip(values, expected, strict=True)):
        distance = difference(got, want)
        if not distance <= tolerance:
            raise Wrong(
                f"result {i} differs by {distance:.2g} of its norm, allowed {tolerance:.2g}"
            )


def elapsed(case: Case, runs: int) -> float:
    """The time of so many runs, without that of putting the state back."""
    spent, stretch = 0.0, runs
    if case.restart is not None:
        stretch = max(1, LONGEST // case.steps)
    while runs > 0:
        if case.restart is not None:
            case.restart()
        start = time.perf_counter()
        for _ in repeat(None, min(runs, stretch)):
            case.run()
        spent += time.perf_counter() - start
        runs -= stretch
    return spent


def runs_for(case: Case, seconds: float) -> int:
    """Warms up, and finds how many runs take at least `seconds`."""
    runs = 1
    while (spent := elapsed(case, runs)) < seconds:
        runs = max(2 * runs, int(1.1 * runs * seconds / max(spent, 1e-9)))
        runs = min(runs, 10_000_000)
    return runs


def sampler(problem: Problem, case: Case, effort: Effort) -> Callable[[], float]:
    if case.sample is not None:
        return case.sample
    runs = runs_for(case, effort.seconds)

    def sample() -> float:
        # After the others: its memory is cached again; after a pause processors are slow for 50 ms.
        elapsed(case, runs if effort.pause else 1)
        return elapsed(case, runs) / (runs * case.steps * problem.operations)

    return sample


def interleave(
    samplers: Mapping[str, Callable[[], float]], rounds: int, pause: float = 0.0
) -> dict[str, list[float]]:
    """The samples of each, taken in turns, A, B, C, C, B, A, ..., as each leaves its mark on the
    next, with a pause before each."""
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    for r in range(rounds):
        turns = list(samplers.items())
        for name, sample in turns[:: -1 if r % 2 else 1]:
            time.sleep(pause)
            samples[name].append(sample())
    return samples


def ratio(samples: Sequence[float], others: Sequence[float]) -> float:
    """The median of the quotients of samples of one round."""
    return statistics.median(a / b for a, b in zip(samples, others, strict=True))


def run_problem(problem: Problem, contenders: Sequence[Any], effort: Effort) -> list[Row]:
    """A row for each contender that takes part. Those found wrong are not timed."""
    expected = problem.expected()
    rows: dict[str, Row] = {}
    right: dict[str, Case] = {}
    for contender in contenders:
        row = Row(problem.name, contender.name, problem.unit)
        try:
            case = problem.prepare(contender)
            if case is None:
                continue
            check(case, expected, problem.tolerance, problem.checked_runs)
            right[contender.name] = case
        except Wrong as wrong:
            row.wrong = str(wrong)
        rows[contender.name] = row
    for name, case in right.items():
        if case.peak_bytes is not None:
            rows[name].peak_bytes = case.peak_bytes(case.run)
    gc.collect()
    gc.freeze()
    try:
        samplers = {name: sampler(problem, case, effort) for name, case in right.items()}
        samples = interleave(samplers, min(problem.rounds, effort.rounds), effort.pause)
    finally:
        gc.unfreeze()
    for name in right:
        rows[name].samples = samples[name]
        rows[name].ratios = {
            other: ratio(samples[name], samples[other]) for other in right if other != name
        }
    return list(rows.values())
