"""What takes a process of its own: importing, and a training step with a busy process beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..harness import Case, Problem, Wrong
from ..settings import without_limits
from . import mlp

TIMED_IMPORT = """
import time, numpy
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
"""


def output_of(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=without_limits()
    )
    if done.returncode:
        raise Wrong(f"a process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


class ImportProblem(Problem):
    """The time of importing a contender in a fresh process that has imported NumPy. What is checked
    is that the module then gives the gradient of x x at 3."""

    def prepare(self, contender: Any) -> Case | None:
        programs = getattr(contender, self.kind, None)
        if programs is None:
            return None
        importing, printing = programs
        return Case(
            run=lambda: output_of("-c", f"{importing}\n{printing}"),
            read=lambda printed: [np.float64(printed)],
            sample=lambda: float(output_of("-c", TIMED_IMPORT.format(code=importing))),
        )


@dataclass(frozen=True)
class NeighbourProblem(Problem):
    """A step while a process beside it keeps one of two processors busy, with the number of threads
    that each contender chooses itself: `figure` is its time ("beside"), or that over its time alone
    ("slowdown")."""

    figure: str = "slowdown"
    cpus: tuple[int, ...] = ()
    seconds: float = 1.0

    def prepare(self, contender: Any) -> Case | None:
        case = super().prepare(contender)
        if case is None or contender.name == "reference":
            return None
        cpus = ",".join(map(str, self.cpus))
        arguments = ("-m", "benchmarks.neighbour", contender.name, cpus, str(self.seconds))
        return replace(case, sample=lambda: json.loads(output_of(*arguments))[self.figure])


def problems(quick: bool, cpus: Sequence[int]) -> list[Problem]:
    step = mlp.problem(*mlp.SIZES[1])
    return [
        ImportProblem("process/import", "importing", None, lambda: [np.float64(6.0)], 1e-6),
        *(
            NeighbourProblem(
                f"process/{name} with a busy neighbour",
                step.kind,
                step.inputs,
                step.expected,
                step.tolerance,
                step.checked_runs,
                rounds=3,
                unit=unit,
                figure=figure,
                cpus=tuple(cpus[-2:]),
                seconds=0.02 if quick else 1.0,
            )
            for name, figure, unit in (("step", "beside", "s"), ("slow-down", "slowdown", "x"))
        ),
    ]
