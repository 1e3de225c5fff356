"""The cheap gradient principle, counted: `python -m benchmarks.flops`.

The gradient of a function in all its arguments costs a small multiple of the function, however many
they are (Griewank and Walther: 3 to 4 at most). The table counts the arithmetic operations in the
traces of f and of value_and_grad(f).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import wengert as wg

from .problems.rosenbrock import value as rosenbrock

BOUND = 4.0


class Count(NamedTuple):
    name: str
    numbers: int
    """In the arguments that the gradient is for."""
    value: int
    """Flops of f."""
    both: int
    """Flops of value_and_grad(f)."""

    @property
    def ratio(self) -> float:
        return self.both / self.value


def mlp(random: np.random.Generator) -> tuple[Callable, Any]:
    x, labels = wg.asarray(random.normal(size=(32, 16))), wg.arange(32) % 4
    p = [random.normal(size=s) for s in ((24, 16), (24,), (24, 24), (24,), (4, 24), (4,))]

    def loss(p: Any) -> Any:
        h = wg.nn.relu(wg.nn.linear(x, p[0], p[1]))
        h = wg.tanh(wg.nn.linear(h, p[2], p[3]))
        return wg.nn.cross_entropy(wg.nn.linear(h, p[4], p[5]), labels)

    return loss, p


def logistic_density(random: np.random.Generator) -> tuple[Callable, Any]:
    x, y = random.normal(size=(100, 8)), np.sign(random.normal(size=100))

    def log_density(w: Any) -> Any:
        return wg.log_sigmoid(y * (x @ w)).sum() - 0.5 * (w * w).sum()

    return log_density, random.normal(size=8)


def lstm(random: np.random.Generator) -> tuple[Callable, Any]:
    xs = random.normal(size=(10, 4, 6))
    p = {"x": random.normal(size=(6, 32)), "h": random.normal(size=(8, 32)), "b": np.zeros(32)}

    def loss(p: Any) -> Any:
        h, c = wg.zeros((4, 8), dtype="float64"), wg.zeros((4, 8), dtype="float64")
        for x in xs:
            gates = x @ p["x"] + h @ p["h"] + p["b"]
            i, f, g, o = (gates[:, 8 * k : 8 * k + 8] for k in range(4))
            c = wg.sigmoid(f) * c + wg.sigmoid(i) * wg.tanh(g)
            h = wg.sigmoid(o) * wg.tanh(c)
        return (h * h).sum()

    return loss, p


def attention(random: np.random.Generator) -> tuple[Callable, Any]:
    p = [random.normal(size=s) for s in ((12, 8), (8, 8), (8, 8), (8, 8))]

    def loss(p: Any) -> Any:
        x, q, k, v = p
        weights = wg.softmax((x @ q) @ (x @ k).T / 8**0.5, axis=-1)
        return (weights @ (x @ v)).sum()

    return loss, p


def gaussian(random: np.random.Generator) -> tuple[Callable, Any]:
    """The log-likelihood, by the factor of the precision."""
    x = random.normal(size=(50, 6))
    p = {"mean": random.normal(size=6), "factor": random.normal(size=(6, 6)), "log": np.zeros(6)}

    def log_likelihood(p: Any) -> Any:
        z = (x - p["mean"]) @ p["factor"] * wg.exp(p["log"])
        return 50 * p["log"].sum() - 0.5 * (z * z).sum()

    return log_likelihood, p


def chain(random: np.random.Generator) -> tuple[Callable, Any]:
    def f(x: Any) -> Any:
        for _ in range(5):
            x = wg.sin(wg.exp(-x * x)) + wg.sqrt(1.0 + x * x) / wg.cosh(x)
        return x.sum()

    return f, random.normal(size=1000)


def polynomial(random: np.random.Generator) -> tuple[Callable, Any]:
    """By Horner's rule, in the points and the coefficients."""

    def f(p: Any) -> Any:
        x, coefficients = p
        y = coefficients[0]
        for c in coefficients[1:]:
            y = y * x + c
        return y.sum()

    return f, (random.normal(size=200), list(random.normal(size=10)))


def convolution(random: np.random.Generator) -> tuple[Callable, Any]:
    """A 3x3 kernel, slice by slice."""

    def f(p: Any) -> Any:
        image, kernel = p
        y = 0.0
        for i in range(3):
            for j in range(3):
                y = y + kernel[3 * i + j] * image[i : i + 18, j : j + 18]
        return wg.relu(y).sum()

    return f, (random.normal(size=(20, 20)), list(random.normal(size=9)))


def mixture(random: np.random.Generator) -> tuple[Callable, Any]:
    """The log-likelihood of a mixture of normal distributions."""
    x = random.normal(size=(100, 1))
    p = {"weight": np.zeros(5), "mean": random.normal(size=5), "log": np.zeros(5)}

    def log_likelihood(p: Any) -> Any:
        z = (x - p["mean"]) * wg.exp(-p["log"])
        return wg.logsumexp(wg.log_softmax(p["weight"], axis=-1) - p["log"] - 0.5 * z * z, 1).sum()

    return log_likelihood, p


def standardisation(random: np.random.Generator) -> tuple[Callable, Any]:
    def f(p: Any) -> Any:
        x, scale, shift = p
        centred = x - x.mean(1, keepdims=True)
        variance = (centred * centred).mean(1, keepdims=True)
        return wg.tanh(centred / wg.sqrt(variance + 1e-5) * scale + shift).sum()

    return f, [random.normal(size=(32, 16)), np.ones(16), np.zeros(16)]


def oscillator(random: np.random.Generator) -> tuple[Callable, Any]:
    """Where ten Runge-Kutta steps of Van der Pol's equation lead."""

    def slope(x: Any, v: Any) -> tuple[Any, Any]:
        return v, (1.0 - x * x) * v - x

    def f(p: Any) -> Any:
        x, v = p
        for _ in range(10):
            a, b = slope(x, v)
            c, d = slope(x + 0.05 * a, v + 0.05 * b)
            x, v = x + 0.1 * c, v + 0.1 * d
        return (x * x + v * v).sum()

    return f, (random.normal(size=100), random.normal(size=100))


def programs() -> dict[str, tuple[Callable, Any]]:
    """By name: a function of one argument that returns one number, and the argument."""
    made = (
        *(mlp, logistic_density, lstm, attention, gaussian, chain, polynomial, convolution),
        *(mixture, standardisation, oscillator),
    )
    found = {make.__name__.replace("_", " "): make(np.random.default_rng(0)) for make in made}
    return {**found, "rosenbrock": (rosenbrock, np.random.default_rng(0).normal(size=100))}


def count(name: str) -> Count:
    f, p = programs()[name]
    numbers = sum(np.size(leaf) for leaf in wg.tree.leaves(p))
    both = wg.trace(wg.value_and_grad(f), p)
    return Count(name, numbers, wg.trace(f, p).flops, both.flops)


def main() -> None:
    print(f"{'program':18}{'numbers':>9}{'f':>10}{'f and gradient':>16}{'ratio':>8}")
    for row in map(count, programs()):
        print(f"{row.name:18}{row.numbers:9}{row.value:10}{row.both:16}{row.ratio:8.2f}")


if __name__ == "__main__":
    main()
