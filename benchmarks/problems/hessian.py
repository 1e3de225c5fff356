"""The Hessian of sum(softplus(A w)) + sum(w^4): A' diag(s (1 - s)) A + 12 diag(w^2), where s is
sigmoid(A w); float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness import Problem, Values


@dataclass(frozen=True)
class Softplus:
    """The matrix and the point."""

    a: np.ndarray
    w: np.ndarray

    def expected(self) -> Values:
        s = 1.0 / (1.0 + np.exp(-(self.a @ self.w)))
        return [(self.a.T * (s * (1.0 - s))) @ self.a + 12.0 * np.diag(self.w**2)]


def problems(quick: bool) -> list[Problem]:
    rows, columns = (50, 10) if quick else (500, 100)
    random = np.random.default_rng(0)
    a = random.standard_normal((rows, columns)) / np.sqrt(columns)
    inputs = Softplus(a, random.standard_normal(columns))
    return [
        Problem(f"hessian/softplus {rows}x{columns}", "hessian", inputs, inputs.expected, 1e-12)
    ]
