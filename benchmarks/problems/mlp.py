"""A training step of a multilayer perceptron: ReLU, mean softmax cross-entropy, Adam, float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..harness import Problem, Values

LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8
CHECKED_STEPS = 3

SIZES = [
    ((4, 32, 32, 2), 8),
    ((64, 64, 64, 10), 32),
    ((784, 512, 256, 10), 128),
    ((1024, 1024, 1024, 1024, 1024), 512),
]


def adam(
    loss_and_gradients: Callable[[Values], tuple[float, Values]], first: Values
) -> tuple[float, Values]:
    """The last loss and the parameters after CHECKED_STEPS steps in float64."""
    parameters = [p.astype(np.float64) for p in first]
    means = [np.zeros_like(p) for p in parameters]
    squares = [np.zeros_like(p) for p in parameters]
    for step in range(1, CHECKED_STEPS + 1):
        loss, gradients = loss_and_gradients(parameters)
        for p, m, v, g in zip(parameters, means, squares, gradients, strict=True):
            m += (1 - BETAS[0]) * (g - m)
            v += (1 - BETAS[1]) * (g * g - v)
            root = np.sqrt(v / (1 - BETAS[1] ** step)) + EPSILON
            p -= LEARNING_RATE * m / (1 - BETAS[0] ** step) / root
    return loss, parameters


@dataclass(frozen=True)
class MLP:
    """Weights (outputs, inputs) and biases in turn, and one batch, used in every step."""

    sizes: tuple[int, ...]
    batch: int

    @cached_property
    def parameters(self) -> list[np.ndarray]:
        random = np.random.default_rng(0)
        drawn = []
        for inputs, outputs in pairwise(self.sizes):
            bound = 1.0 / np.sqrt(inputs)
            for shape in ((outputs, inputs), (outputs,)):
                drawn.append(random.uniform(-bound, bound, shape).astype(np.float32))
        return drawn

    @cached_property
    def x(self) -> np.ndarray:
        random = np.random.default_rng(1)
        return random.standard_normal((self.batch, self.sizes[0])).astype(np.float32)

    @cached_property
    def labels(self) -> np.ndarray:
        return np.random.default_rng(2).integers(0, self.sizes[-1], self.batch)

    @property
    def multiplications(self) -> int:
        return self.batch * sum(a * b for a, b in pairwise(self.sizes))

    @property
    def is_quick(self) -> bool:
        """Whether many steps in one call take no seconds."""
        return self.multiplications < 1_000_000_000

    def results(self, loss: float, parameters: Values) -> Values:
        """What is checked: the last step's loss, and the change of each parameter."""
        changes = [
            np.asarray(now, np.float64) - then
            for now, then in zip(parameters, self.parameters, strict=True)
        ]
        return [loss, *changes]

    def expected(self) -> Values:
        """The results of CHECKED_STEPS steps in float64, from the formulas."""
        return self.results(*adam(self.loss_and_gradients, self.parameters))

    def loss_and_gradients(self, parameters: Values) -> tuple[float, Values]:
        weights, biases = parameters[::2], parameters[1::2]
        h = [self.x.astype(np.float64)]
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = h[-1] @ w.T + b
            h.append(np.maximum(z, 0.0) if i < len(weights) - 1 else z)
        z = h[-1] - h[-1].max(1, keepdims=True)
        logs = z - np.log(np.exp(z).sum(1, keepdims=True))
        rows = np.arange(self.batch)
        loss = -logs[rows, self.labels].mean()
        adjoint = np.exp(logs)
        adjoint[rows, self.labels] -= 1.0
        adjoint /= self.batch
        gradients: Values = []
        for i in reversed(range(len(weights))):
            gradients[:0] = [adjoint.T @ h[i], adjoint.sum(0)]
            if i > 0:
                adjoint = (adjoint @ weights[i]) * (h[i] > 0.0)
        return loss, gradients


def problem(sizes: tuple[int, ...], batch: int) -> Problem:
    mlp = MLP(sizes, batch)
    shape = "-".join(map(str, sizes))
    # Adam divides g by its own size: entries of g that nearly cancel lose most of their digits.
    return Problem(
        f"mlp/{shape} batch {batch}",
        "mlp_step",
        mlp,
        mlp.expected,
        tolerance=1e-2,
        checked_runs=CHECKED_STEPS,
        rounds=7 if batch > 256 else 15,
    )


def problems(quick: bool) -> list[Problem]:
    sizes = [*SIZES[:2], ((196, 128, 64, 10), 32), ((64,) * 5, 32)] if quick else SIZES
    return [problem(*size) for size in sizes]
