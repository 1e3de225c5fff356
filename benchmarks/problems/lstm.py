"""The gradients of a long short-term memory's weights, of half the sum of its squared outputs;
float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..harness import Problem, Values


@dataclass(frozen=True)
class Lstm:
    """`parameters` are those of PyTorch: weights (4 hidden, inputs) and (4 hidden, hidden) with the
    gates i, f, g, o, and two biases."""

    steps: int = 100
    batch: int = 16
    size: int = 64

    @cached_property
    def x(self) -> np.ndarray:
        shape = self.steps, self.batch, self.size
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    @cached_property
    def parameters(self) -> Values:
        random, n = np.random.default_rng(1), self.size
        shapes = (4 * n, n), (4 * n, n), (4 * n,), (4 * n,)
        drawn = [random.uniform(-1.0, 1.0, shape) / np.sqrt(n) for shape in shapes]
        return [p.astype(np.float32) for p in drawn]

    def expected(self) -> Values:
        w, u, b, b2 = (p.astype(np.float64) for p in self.parameters)
        x = self.x.astype(np.float64)
        h = c = np.zeros((self.batch, self.size))
        kept = []
        for row in x:
            gates = np.split(row @ w.T + h @ u.T + b + b2, 4, axis=1)
            i, f, o = (1.0 / (1.0 + np.exp(-gates[k])) for k in (0, 1, 3))
            g = np.tanh(gates[2])
            kept.append((h, c, i, f, g, o))
            c = f * c + i * g
            h = o * np.tanh(c)
        dw, du, db = np.zeros_like(w), np.zeros_like(u), np.zeros_like(b)
        dh = dc = np.zeros_like(h)
        for row, (before, c_before, i, f, g, o) in zip(x[::-1], kept[::-1], strict=True):
            t = np.tanh(f * c_before + i * g)
            dh = dh + o * t
            dc = dc + dh * o * (1.0 - t * t)
            parts = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g)
            adjoint = np.concatenate([*parts, dh * t * o * (1.0 - o)], axis=1)
            dw, du, db = dw + adjoint.T @ row, du + adjoint.T @ before, db + adjoint.sum(0)
            dh, dc = adjoint @ u, dc * f
        return [dw, du, db, db]


def problems(quick: bool) -> list[Problem]:
    inputs = Lstm(5, 2, 8) if quick else Lstm()
    name = f"lstm/{inputs.steps} steps, batch {inputs.batch}, hidden {inputs.size}"
    return [Problem(name, "lstm", inputs, inputs.expected, 1e-4)]
