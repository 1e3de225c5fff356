"""SciPy's L-BFGS-B, with its defaults, on the Rosenbrock function of n numbers from 0, float64.

SciPy's own time is part of every contender's. The steps amplify rounding, so that the numbers of
evaluations differ by a few in a hundred.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..harness import Problem, Values


def value(x: Any) -> Any:
    """Of an array of any library."""
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def gradient(x: np.ndarray) -> np.ndarray:
    """By hand."""
    g = np.zeros_like(x)
    rest = x[1:] - x[:-1] ** 2
    g[:-1] = -400.0 * rest * x[:-1] - 2.0 * (1.0 - x[:-1])
    g[1:] += 200.0 * rest
    return g


def minimise(value_and_grad: Callable[[np.ndarray], tuple[Any, Any]], size: int) -> Any:
    from scipy.optimize import minimize

    return minimize(value_and_grad, np.zeros(size), jac=True, method="L-BFGS-B")


def read(result: Any) -> Values:
    """Where it ended: the minimum, found to what the defaults ask for."""
    return [result.x, 1.0 + result.fun]


def problems(quick: bool) -> list[Problem]:
    if find_spec("scipy") is None:
        print("rosenbrock is left out: needs SciPy", file=sys.stderr)
        return []
    size = 10 if quick else 100

    def expected() -> Values:
        return [np.ones(size), 1.0]

    return [Problem(f"rosenbrock/L-BFGS-B {size}", "rosenbrock", size, expected, 1e-3)]
