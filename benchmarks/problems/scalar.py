"""The reference's network of single numbers, trained by gradient descent on the mean squared error:
number by number as there, and as the array program that it stands for; a larger one as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..harness import Problem, Values
from ..reference.scalar import Network

LEARNING_RATE = 0.05
CHECKED_STEPS = 3


@dataclass(frozen=True)
class ScalarNetwork:
    """The sizes and the data; the network's first weights are the reference's."""

    sizes: tuple[int, ...] = (2, 16, 16, 1)
    rows: int = 8
    seed: int = 0
    dtype: str = "float64"

    @cached_property
    def x(self) -> np.ndarray:
        x = np.random.default_rng(0).standard_normal((self.rows, self.sizes[0]))
        return x.astype(self.dtype)

    @cached_property
    def y(self) -> np.ndarray:
        return np.sin(self.x.sum(1, keepdims=True)) * np.ones(self.sizes[-1], self.dtype)

    @cached_property
    def first(self) -> np.ndarray:
        """All parameters in the reference's order: each layer's weights, row by row, and biases."""
        drawn = [p.data for p in Network(self.sizes, self.seed).parameters]
        return np.array(drawn, self.dtype)

    def network(self) -> Network:
        return Network(self.sizes, self.seed)

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        """The weights (outputs, inputs) and biases in turn."""
        parts, start = [], 0
        for inputs, outputs in pairwise(self.sizes):
            for shape in ((outputs, inputs), (outputs,)):
                stop = start + int(np.prod(shape))
                parts.append(vector[start:stop].reshape(shape).copy())
                start = stop
        return parts

    @property
    def parameters(self) -> list[np.ndarray]:
        return self.split(self.first)

    def results(self, loss: float, parameters: Values) -> Values:
        """What is checked: the last step's loss, and the change of all parameters."""
        flat = np.concatenate([np.asarray(p, np.float64).ravel() for p in parameters])
        return [loss, flat - self.first]

    def expected(self) -> Values:
        """The results of CHECKED_STEPS steps, from the formulas."""
        parameters = [p.astype(np.float64) for p in self.parameters]
        for _ in range(CHECKED_STEPS):
            weights, biases = parameters[::2], parameters[1::2]
            h = [self.x]
            for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
                z = h[-1] @ w.T + b
                h.append(np.maximum(z, 0.0) if i < len(weights) - 1 else z)
            error = h[-1] - self.y
            adjoint = 2.0 * error / self.y.size
            for i in reversed(range(len(weights))):
                dw, db = adjoint.T @ h[i], adjoint.sum(0)
                adjoint = (adjoint @ weights[i]) * (h[i] > 0.0)
                weights[i] -= LEARNING_RATE * dw
                biases[i] -= LEARNING_RATE * db
        return self.results((error * error).mean(), parameters)


def problem(name: str, kind: str, network: ScalarNetwork) -> Problem:
    tolerance = 1e-10 if network.dtype == "float64" else 1e-5
    return Problem(name, kind, network, network.expected, tolerance, CHECKED_STEPS)


def problems() -> list[Problem]:
    network = ScalarNetwork()
    larger = ScalarNetwork((16, 32, 32, 1), rows=16, dtype="float32")
    return [
        problem("scalar/2-16-16-1 batch 8 by number", "scalar_step", network),
        problem("scalar/2-16-16-1 batch 8 as arrays", "sgd_step", network),
        problem("sgd/16-32-32-1 batch 16", "sgd_step", larger),
    ]
