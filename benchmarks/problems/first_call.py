"""The first call of what a contender records or compiles: seconds until the first result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..harness import Case, Problem


@dataclass(frozen=True)
class FirstCall(Problem):
    """Made anew for every sample, so that nothing is recorded yet. Only contenders that have
    `records` take part."""

    def prepare(self, contender: Any) -> Case | None:
        if not getattr(contender, "records", False):
            return None
        case = super().prepare(contender)
        make: Callable[[], Any] = lambda: super(FirstCall, self).prepare(contender)  # noqa: E731
        return None if case is None else replace(case, sample=lambda: time_of_first(make()))


def time_of_first(case: Case) -> float:
    start = time.perf_counter()
    case.run()
    return time.perf_counter() - start


KINDS = {
    "mlp_step", "sgd_step", "transformer_step", "elementwise", "lstm", "log_density", "hessian"
}  # fmt: skip


def problems(others: Sequence[Problem]) -> list[Problem]:
    """One for each of the others whose programs are recorded as a whole."""
    return [
        FirstCall(
            f"first call/{problem.name}",
            problem.kind,
            problem.inputs,
            problem.expected,
            problem.tolerance,
            problem.checked_runs,
            rounds=3,
        )
        for problem in others
        if problem.kind in KINDS
    ]
