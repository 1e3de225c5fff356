"""A training step of a fully-connected classifier, on the vector primitives and the Wengert list.

Parameters go in and out as nested lists in the layout W ~ (outputs, inputs), b ~ (outputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from random import Random
from typing import Any

from . import reverse
from .primitives import SoftmaxCrossEntropy, Vector, linear_layers, relu, scale, total

Rows = Sequence[Sequence[float]]
Vectors = list[list[float]]
Layer = tuple[list[list[float]], list[float]]


class SGD:
    """w ← w - lr g."""

    def __init__(self, lr: float = 0.1) -> None:
        self.lr = lr

    def update(self, weights: Vectors, gradients: Vectors) -> Vectors:
        return [
            [s - self.lr * g for s, g in zip(w, gradient, strict=True)]
            for w, gradient in zip(weights, gradients, strict=True)
        ]


class Adam:
    """Adam with bias correction, ε added outside the square root."""

    def __init__(
        self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.steps = 0
        self.moments: list[tuple[list[float], list[float]]] = []

    def update(self, weights: Vectors, gradients: Vectors) -> Vectors:
        if not self.moments:
            self.moments = [([0.0] * len(w), [0.0] * len(w)) for w in weights]
        self.steps += 1
        b1, b2 = self.betas
        rate = self.lr / (1.0 - b1**self.steps)
        root = math.sqrt(1.0 - b2**self.steps)
        updated, moments = [], []
        for w, gradient, (first, second) in zip(weights, gradients, self.moments, strict=True):
            first = [b1 * m + (1.0 - b1) * g for m, g in zip(first, gradient, strict=True)]
            second = [b2 * v + (1.0 - b2) * g * g for v, g in zip(second, gradient, strict=True)]
            moments.append((first, second))
            updated.append(
                [
                    s - rate * m / (math.sqrt(v) / root + self.eps)
                    for s, m, v in zip(w, first, second, strict=True)
                ]
            )
        self.moments = moments
        return updated


class MLP:
    """Linear layers with ReLU between them, trained on the mean softmax cross-entropy.

    >>> mlp = MLP((2, 8, 3), seed=0)
    >>> first = mlp.step([[1.0, 0.0], [0.0, 1.0]], [0, 2])
    >>> mlp.step([[1.0, 0.0], [0.0, 1.0]], [0, 2]) < first
    True
    """

    def __init__(
        self, sizes: Sequence[int], seed: int = 0, optimizer: SGD | Adam | None = None
    ) -> None:
        random = Random(seed)
        self.layers = linear_layers(sizes)
        self.weights = [layer.initial_weights(random) for layer in self.layers]
        self.optimizer = Adam() if optimizer is None else optimizer

    def program(self, labels: Sequence[int]) -> Callable[..., Any]:
        """The program that takes vect(X) and each layer's [vect(W); b] to the mean loss."""
        if len(labels) == 0:
            raise ValueError("mlp: the mini-batch must not be empty; got no labels")

        def run(apply: Callable[..., Any], x: Any, *weights: Any) -> Any:
            h = apply(self.layers[0], x, weights[0])
            for layer, w in zip(self.layers[1:], weights[1:], strict=True):
                h = apply(layer, apply(relu, h), w)
            losses = apply(SoftmaxCrossEntropy(labels, self.layers[-1].outputs), h)
            return apply(total, apply(scale(1.0 / len(labels)), losses))

        return run

    def step(self, x_rows: Rows, labels: Sequence[int]) -> float:
        """One update by the optimizer on a mini-batch; returns the loss before it."""
        loss, gradients = self.flat_gradients(x_rows, labels)
        self.weights = self.optimizer.update(self.weights, gradients)
        return loss

    def gradients(self, x_rows: Rows, labels: Sequence[int]) -> tuple[float, list[Layer]]:
        """The loss, and (dW, db) of each layer."""
        loss, gradients = self.flat_gradients(x_rows, labels)
        return loss, self.nested(gradients)

    def get_parameters(self) -> list[Layer]:
        """(W, b) of each layer."""
        return self.nested(self.weights)

    def set_parameters(self, parameters: Sequence[tuple[Rows, Sequence[float]]]) -> None:
        """Take (W, b) of each layer; the optimizer's state stays."""
        weights = [[*chain.from_iterable(rows), *bias] for rows, bias in parameters]
        if len(weights) != len(self.layers):
            raise ValueError(
                f"set_parameters: one (W, b) a layer is needed; got {len(weights)} for "
                f"{len(self.layers)} layers"
            )
        for layer, w, (rows, _) in zip(self.layers, weights, parameters, strict=True):
            shape = len(rows), *{len(row) for row in rows}
            if shape != (layer.outputs, layer.inputs):
                raise ValueError(
                    f"set_parameters: W must be (outputs, inputs) = "
                    f"{(layer.outputs, layer.inputs)}; got {shape}"
                )
            layer.split(w)
        self.weights = weights

    def flat_gradients(self, x_rows: Rows, labels: Sequence[int]) -> tuple[float, Vectors]:
        x = list(chain.from_iterable(x_rows))
        return reverse.gradients(self.program(labels), x, self.weights)

    def nested(self, vectors: Sequence[Vector]) -> list[Layer]:
        layers = []
        for layer, vector in zip(self.layers, vectors, strict=True):
            rows, bias = layer.split(vector)
            layers.append(([list(row) for row in rows], list(bias)))
        return layers
