"""Numerical differentiation: the program is run, never looked into; 2 runs a scalar weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .primitives import Primitive, Vector


def apply(f: Primitive, x: Vector, w: Vector = ()) -> Vector:
    return f.value(x, w)


def evaluate(program: Callable[..., Any], x: Vector, weights: Sequence[Vector]) -> float:
    """The program's output, a scalar.

    >>> from benchmarks.reference.primitives import add, total
    >>> program = lambda apply, x, w: apply(total, apply(add, x, w))
    >>> evaluate(program, [1.0, 2.0], [[3.0, 4.0]])
    10.0
    """
    (y,) = program(apply, x, *weights)
    return y


def gradients(
    program: Callable[..., Any], x: Vector, weights: Sequence[Vector], step: float = 1e-5
) -> tuple[float, list[list[float]]]:
    """The program's output, and central differences (y(w + h) - y(w - h)) / 2h in place of ∇w_i y.

    The error is of order step², and of the rounding error of y over step.
    """

    def run_with(i: int, k: int, s: float) -> float:
        moved = [list(w) for w in weights]
        moved[i][k] = s
        return evaluate(program, x, moved)

    def difference(i: int, k: int) -> float:
        s = weights[i][k]
        h = step * max(1.0, abs(s))
        return (run_with(i, k, s + h) - run_with(i, k, s - h)) / ((s + h) - (s - h))

    return evaluate(program, x, weights), [
        [difference(i, k) for k in range(len(w))] for i, w in enumerate(weights)
    ]
