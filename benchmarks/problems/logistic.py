"""Value and gradient of a logistic regression's log-density, as a sampler calls it: float64, NumPy
arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness import Problem, Values


@dataclass(frozen=True)
class Logistic:
    """sum(log sigmoid(y (x w))) - |w|^2 / 2 for labels y of 1 and -1, and the point w."""

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray

    def value_and_grad(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """By hand."""
        margins = self.y * (self.x @ w)
        value = -np.logaddexp(0.0, -margins).sum() - 0.5 * (w @ w)
        return value, (self.y / (1.0 + np.exp(margins))) @ self.x - w

    def expected(self) -> Values:
        return list(self.value_and_grad(self.w))


def problems(quick: bool) -> list[Problem]:
    rows, columns = (20, 3) if quick else (100, 10)
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, columns))
    y = np.where(random.random(rows) < 0.5, -1.0, 1.0)
    inputs = Logistic(x, y, 0.1 * random.standard_normal(columns))
    return [Problem(f"logistic/{rows}x{columns}", "log_density", inputs, inputs.expected, 1e-12)]
