"""The gradient of sum(y y / (1 + y y)) in x, y = tanh(1.5 x + 0.3) exp(-x x) + sigmoid(x) sin x."""

from __future__ import annotations

import numpy as np

from ..harness import Problem, Values


def inputs(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def gradient(x: np.ndarray) -> np.ndarray:
    """By hand, in the precision of x."""
    t, e = np.tanh(1.5 * x + 0.3), np.exp(-x * x)
    s, sine = 1.0 / (1.0 + np.exp(-x)), np.sin(x)
    y = t * e + s * sine
    dy = e * (1.5 * (1.0 - t * t) - 2.0 * x * t) + s * ((1.0 - s) * sine + np.cos(x))
    return 2.0 * y / np.square(1.0 + y * y) * dy


def problems(quick: bool) -> list[Problem]:
    size = 10_000 if quick else 1_000_000
    x = inputs(size)

    def expected() -> Values:
        return [gradient(x.astype(np.float64))]

    return [Problem(f"elementwise/{size}", "elementwise", x, expected, 1e-5)]
