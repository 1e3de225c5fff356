"""The problems, one file a family."""

from __future__ import annotations

from collections.abc import Sequence

from ..harness import Problem
from . import chain, elementwise, hessian, mlp, overhead, process, rosenbrock, scalar


def all_problems(quick: bool, cpus: Sequence[int]) -> list[Problem]:
    """All problems in order; `quick` makes the large ones small. `cpus` are the processors that
    problems about several processes may use."""
    return [
        *overhead.problems(),
        *chain.problems(quick),
        *mlp.problems(quick),
        *elementwise.problems(quick),
        *scalar.problems(),
        *hessian.problems(quick),
        *rosenbrock.problems(quick),
        *process.problems(quick, cpus),
    ]
