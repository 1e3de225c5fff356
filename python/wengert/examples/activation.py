"""An activation function with a trainable parameter, once as a primitive with an input VJP and a
weight VJP of its own and once as composed operations: the derivatives agree, and both train.

    python -m wengert.examples.activation --help
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

import wengert as wg

from .options import positive

Swish = Callable[[wg.Tensor, wg.Tensor], wg.Tensor]


@wg.primitive
def swish(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """x * sigmoid(beta * x) of inputs (n, units), with one parameter a unit: beta (units,)."""
    return x / (1 + np.exp(-beta * x))


@swish.def_vjp
def _(ct: wg.Tensor, out: wg.Tensor, x: wg.Tensor, beta: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
    gate = wg.sigmoid(beta * x)
    slope = out * (1 - gate)  # x times the gate's derivative
    input_vjp = ct * (gate + beta * slope)
    weight_vjp = wg.sum(ct * x * slope, axis=0)
    return input_vjp, weight_vjp


def composed_swish(x: wg.Tensor, beta: wg.Tensor) -> wg.Tensor:
    return x * wg.sigmoid(beta * x)


def difference(of: Callable[[Swish], Sequence[wg.Tensor]]) -> float:
    """The largest one between what the two give."""
    pairs = zip(wg.tree.leaves(of(swish)), wg.tree.leaves(of(composed_swish)))
    return max(wg.max(wg.abs(a - b)).item() for a, b in pairs)


def compare(rng: wg.random.Generator) -> dict[str, float]:
    """Derivatives of a loss over a batch in double precision, by the primitive and composed."""
    x, weights = (rng.normal(size=(8, 4), dtype=wg.float64) for _ in range(2))
    beta = rng.uniform(0.5, 2.0, size=4, dtype=wg.float64)

    def loss(f: Swish) -> Callable[..., wg.Tensor]:
        return lambda x, beta: (weights * f(x, beta) ** 2).sum()

    return {
        "value": difference(lambda f: [f(x, beta)]),
        "input VJP": difference(lambda f: [wg.grad(loss(f), 0)(x, beta)]),
        "weight VJP": difference(lambda f: [wg.grad(loss(f), 1)(x, beta)]),
        "JVP": difference(lambda f: wg.jvp(loss(f), (x, beta), (weights, beta))),
        "second order": difference(lambda f: wg.hessian(loss(f), (0, 1))(x, beta)),
    }


def fit(f: Swish, x: wg.Tensor, y: wg.Tensor, seed: int, steps: int) -> tuple[float, wg.Tensor]:
    """Trains a network of one hidden layer; returns its last loss and the trained betas."""
    rng = wg.random.default_rng(seed)
    units = 16
    first, last = rng.normal(size=(1, units)), rng.normal(size=(units, 1)) / units**0.5
    values = (first, wg.zeros(units), wg.ones(units), last, wg.zeros(1))
    parameters = [wg.tensor(value, requires_grad=True) for value in values]
    w, b, beta, v, c = parameters
    optimizer = wg.optim.Adam(parameters, lr=0.02)
    for _ in range(steps):
        loss = ((f(x @ w + b, beta) @ v + c - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item(), beta.detach()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.activation",
        description="A trainable activation function as a primitive and as composed operations.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of the numbers and of the network")
    parser.add_argument("--steps", type=positive, default=1000, help="of the fit")
    options = parser.parse_args(arguments)

    print("swish(x, beta) = x * sigmoid(beta * x), as a primitive and composed")
    for name, largest in compare(wg.random.default_rng(options.seed)).items():
        print(f"  {name:<13} largest difference {largest:.1e}")

    x = wg.linspace(-2.0, 2.0, 64).reshape(64, 1)
    y = wg.sin(3.0 * x)
    print(f"fit of sin(3 x) in {options.steps} steps, beta trained from 1")
    for name, f in (("primitive", swish), ("composed", composed_swish)):
        loss, beta = fit(f, x, y, options.seed, options.steps)
        low, high = wg.min(beta).item(), wg.max(beta).item()
        print(f"  {name:<13} loss {loss:.4f}, beta now in [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
