"""The problems, one file a family."""

from __future__ import annotations

from collections.abc import Sequence

from ..harness import Problem
from . import (
    chain,
    elementwise,
    first_call,
    hessian,
    logistic,
    lstm,
    mlp,
    overhead,
    process,
    rosenbrock,
    scalar,
    transformer,
)


def all_problems(quick: bool, cpus: Sequence[int]) -> list[Problem]:
    """All problems in order; `quick` makes the large ones small. `cpus` are the processors that
    problems about several processes may use."""
    within = [
        *overhead.problems(),
        *chain.problems(quick),
        *mlp.problems(quick),
        *transformer.problems(quick),
        *elementwise.problems(quick),
        *lstm.problems(quick),
        *scalar.problems(),
        *logistic.problems(quick),
        *hessian.problems(quick),
        *rosenbrock.problems(quick),
    ]
    return [*within, *first_call.problems(within), *process.problems(quick, cpus)]
