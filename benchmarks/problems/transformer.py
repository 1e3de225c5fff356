"""A training step of a small causal transformer: pre-norm, GELU, mean softmax cross-entropy of the
next token, Adam, float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..harness import Problem, Values
from .mlp import CHECKED_STEPS, adam

LAYER = 11
"""Parameters of a layer: two of the norm, the attention's inputs, its output (two), two of the
norm, and twice two of the layers around GELU."""


Stack = Callable[[Callable, Any, Values], Any]


def by_layer(parameters: Values) -> list[Values]:
    return [parameters[start : start + LAYER] for start in range(0, len(parameters), LAYER)]


def in_turn(layer: Callable, x: Any, parameters: Values) -> Any:
    for own in by_layer(parameters):
        x = layer(x, *own)
    return x


@dataclass(frozen=True)
class Transformer:
    """`parameters` are the embeddings of tokens and positions, those of each layer, two of the last
    norm and the output's weight. Weights are (outputs, inputs)."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    length: int = 64
    batch: int = 8
    vocabulary: int = 64

    @cached_property
    def parameters(self) -> Values:
        random, d = np.random.default_rng(0), self.width

        def weight(outputs: int, inputs: int, scale: float = 1.0) -> np.ndarray:
            drawn = random.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)
            return drawn.astype(np.float32)

        def constant(value: float, size: int = d) -> np.ndarray:
            return np.full(size, value, np.float32)

        norm, depth = (constant(1.0), constant(0.0)), (2.0 * self.layers) ** -0.5
        drawn = [weight(self.vocabulary, d), weight(self.length, d)]
        for _ in range(self.layers):
            drawn += [*norm, weight(3 * d, d), weight(d, d, depth), constant(0.0)]
            drawn += [*norm, weight(4 * d, d), constant(0.0, 4 * d)]
            drawn += [weight(d, 4 * d, depth), constant(0.0)]
        return [p.copy() for p in (*drawn, *norm, weight(self.vocabulary, d))]

    @cached_property
    def text(self) -> np.ndarray:
        shape = (self.batch, self.length + 1)
        return np.random.default_rng(1).integers(0, self.vocabulary, shape)

    @property
    def tokens(self) -> np.ndarray:
        return np.ascontiguousarray(self.text[:, :-1])

    @property
    def targets(self) -> np.ndarray:
        return np.ascontiguousarray(self.text[:, 1:])

    def logits(
        self, functions: Any, parameters: Values, tokens: Any, stack: Stack | None = None
    ) -> Any:
        """(batch, length, vocabulary), by functions of PyTorch's names. `stack` is what runs the
        layers: from the function of a layer, its input and the parameters of all layers."""
        f, d = functions, self.width
        x = f.embedding(tokens, parameters[0]) + parameters[1]
        x = (stack or in_turn)(partial(self.layer, f), x, parameters[2:-3])
        g, b, out = parameters[-3:]
        return f.linear(f.layer_norm(x, (d,), g, b), out)

    def layer(self, functions: Any, x: Any, *parameters: Any) -> Any:
        f, d = functions, self.width
        g, b, inner, outer, bias, g2, b2, up, c, down, c2 = parameters
        h = f.linear(f.layer_norm(x, (d,), g, b), inner)
        q, k, v = (self.by_head(h[..., i * d : (i + 1) * d]) for i in range(3))
        h = f.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + f.linear(h.swapaxes(1, 2).reshape(x.shape), outer, bias)
        h = f.gelu(f.linear(f.layer_norm(x, (d,), g2, b2), up, c))
        return x + f.linear(h, down, c2)

    def by_head(self, x: Any) -> Any:
        """(batch, length, width) as (batch, heads, length, width / heads)."""
        shape = (self.batch, self.length, self.heads, self.width // self.heads)
        return x.reshape(shape).swapaxes(1, 2)

    def results(self, loss: float, parameters: Values) -> Values:
        """What is checked: the last step's loss, and the change of all parameters."""
        changes = [
            (np.asarray(now, np.float64) - then).ravel()
            for now, then in zip(parameters, self.parameters, strict=True)
        ]
        return [loss, np.concatenate(changes)]

    def expected(self) -> Values:
        """The results of CHECKED_STEPS steps in float64, from the formulas."""
        return self.results(*adam(self.loss_and_gradients, self.parameters))

    def loss_and_gradients(self, parameters: Values) -> tuple[float, Values]:
        rules = Rules(self, parameters)
        x = parameters[0][self.tokens] + parameters[1]
        for i in range(2, len(parameters) - 3, LAYER):
            x = x + rules.linear(rules.attention(rules.linear(rules.norm(x, i), i + 2)), i + 3)
            rules.skip()
            x = x + rules.linear(rules.gelu(rules.linear(rules.norm(x, i + 5), i + 7)), i + 9)
            rules.skip()
        i = len(parameters) - 3
        z = rules.linear(rules.norm(x, i), i + 2)
        z = z - z.max(-1, keepdims=True)
        logs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        one_hot = np.eye(self.vocabulary)[self.targets]
        adjoint = rules.sweep((np.exp(logs) - one_hot) / self.targets.size)
        np.add.at(rules.gradients[0], self.tokens, adjoint)
        rules.gradients[1] += adjoint.sum(0)
        return -float((logs * one_hot).sum() / self.targets.size), rules.gradients


class Rules:
    """The formulas of values and adjoints: the steps back are a list of functions of an adjoint."""

    def __init__(self, sizes: Transformer, parameters: Values) -> None:
        self.sizes, self.parameters = sizes, parameters
        self.gradients = [np.zeros_like(p) for p in parameters]
        self.back: list[Callable[[np.ndarray], np.ndarray] | None] = []

    def skip(self) -> None:
        """Ends a branch beside which the identity runs."""
        self.back.append(None)

    def sweep(self, adjoint: np.ndarray) -> np.ndarray:
        beside = None
        for step in reversed(self.back):
            if step is not None:
                adjoint = step(adjoint)
                continue
            adjoint = adjoint if beside is None else adjoint + beside
            beside = adjoint
        return adjoint if beside is None else adjoint + beside

    def linear(self, x: np.ndarray, i: int) -> np.ndarray:
        """With a bias where the next parameter is a vector of the outputs."""
        w, rows = self.parameters[i], x.reshape(-1, x.shape[-1])
        biased = i + 1 < len(self.parameters) and self.parameters[i + 1].shape == w.shape[:1]

        def back(adjoint: np.ndarray) -> np.ndarray:
            flat = adjoint.reshape(-1, len(w))
            self.gradients[i] += flat.T @ rows
            if biased:
                self.gradients[i + 1] += flat.sum(0)
            return adjoint @ w

        self.back.append(back)
        return x @ w.T + (self.parameters[i + 1] if biased else 0.0)

    def norm(self, x: np.ndarray, i: int) -> np.ndarray:
        gain, shift = self.parameters[i], self.parameters[i + 1]
        centred = x - x.mean(-1, keepdims=True)
        scale = 1.0 / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
        y = centred * scale

        def back(adjoint: np.ndarray) -> np.ndarray:
            self.gradients[i] += (adjoint * y).sum((0, 1))
            self.gradients[i + 1] += adjoint.sum((0, 1))
            a = adjoint * gain
            along = y * (a * y).mean(-1, keepdims=True)
            return scale * (a - a.mean(-1, keepdims=True) - along)

        self.back.append(back)
        return y * gain + shift

    def attention(self, x: np.ndarray) -> np.ndarray:
        d, by_head = self.sizes.width, self.sizes.by_head
        q, k, v = (by_head(x[..., i * d : (i + 1) * d]) for i in range(3))
        scale = 1.0 / math.sqrt(q.shape[-1])
        scores = scale * q @ k.swapaxes(-1, -2)
        scores[..., ~np.tri(self.sizes.length, dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)

        def joined(y: np.ndarray) -> np.ndarray:
            return y.swapaxes(1, 2).reshape(*x.shape[:2], d)

        def back(adjoint: np.ndarray) -> np.ndarray:
            adjoint = by_head(adjoint)
            dw = weights * (adjoint @ v.swapaxes(-1, -2))
            ds = scale * (dw - weights * dw.sum(-1, keepdims=True))
            parts = (ds @ k, ds.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ adjoint)
            return np.concatenate([joined(part) for part in parts], -1)

        self.back.append(back)
        return joined(weights @ v)

    def gelu(self, x: np.ndarray) -> np.ndarray:
        below = 0.5 + 0.5 * np.vectorize(math.erf)(x * math.sqrt(0.5))
        slope = below + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        self.back.append(lambda adjoint: adjoint * slope)
        return x * below


def problems(quick: bool) -> list[Problem]:
    sizes = Transformer(2, 16, 2, 8, 2, 12) if quick else Transformer()
    name = f"transformer/{sizes.layers} x {sizes.width} batch {sizes.batch} x {sizes.length}"
    # As for the perceptrons: entries of g that nearly cancel lose most of their digits.
    step = "transformer_step"
    return [Problem(name, step, sizes, sizes.expected, 3e-2, CHECKED_STEPS, rounds=9)]
