"""Forward mode (F-AD): tangents travel with the values, and no list is kept.

A tangent matrix is held by its columns, so that multiplying it by a Jacobian is a JVP a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .primitives import Primitive, Vector, basis, plus


class Dual(NamedTuple):
    """A value h, and the columns of its tangent matrix Ŵ_j = ∂w_j h for each j it depends on."""

    value: Vector
    tangents: dict[int, Sequence[Vector]]


EMPTY = Dual((), {})


def apply(f: Primitive, x: Dual, w: Dual = EMPTY) -> Dual:
    """f(x, w), with the tangents of x and w pushed through its Jacobians."""
    # Ŵ_j ← [∂x f] Ŵ_j
    tangents: dict[int, Sequence[Vector]] = {
        j: [f.input_jvp(column, x.value, w.value) for column in columns]
        for j, columns in x.tangents.items()
    }
    # Ŵ_i = ∂w f, and a sum of both where w_i was used before.
    for i, columns in w.tangents.items():
        fresh = [f.weight_jvp(column, x.value, w.value) for column in columns]
        tangents[i] = list(map(plus, tangents[i], fresh)) if i in tangents else fresh
    return Dual(f.value(x.value, w.value), tangents)


def gradients(
    program: Callable[..., Any], x: Vector, weights: Sequence[Vector]
) -> tuple[float, list[list[float]]]:
    """The program's output and ∇w_i y for all weights, in one forward pass.

    >>> from benchmarks.reference.primitives import Linear, total
    >>> program = lambda apply, x, w: apply(total, apply(Linear(2, 1), x, w))
    >>> gradients(program, [3.0, 4.0], [[1.0, 1.0, 0.0]])
    (7.0, [[3.0, 4.0, 1.0]])
    """
    leaves = [Dual(w, {i: basis(len(w))}) for i, w in enumerate(weights)]
    y = program(apply, Dual(x, {}), *leaves)
    if len(y.value) != 1:
        raise ValueError(f"gradients: the output must be a scalar; got {len(y.value)} entries")
    zeros = [[[0.0]] * len(w) for w in weights]
    return y.value[0], [
        [column[0] for column in y.tangents.get(i, zeros[i])] for i in range(len(weights))
    ]


def jvp(
    program: Callable[..., Any], x: Vector, weights: Sequence[Vector], directions: Sequence[Vector]
) -> tuple[Vector, Vector]:
    """The program's output, and its directional derivative along one direction a weight.

    >>> from benchmarks.reference.primitives import multiply
    >>> jvp(lambda apply, x, w: apply(multiply, x, w), [3.0, 4.0], [[1.0, 1.0]], [[1.0, 2.0]])
    ([3.0, 4.0], [3.0, 8.0])
    """
    # All weights share the one column that the direction spans.
    leaves = [Dual(w, {0: [direction]}) for w, direction in zip(weights, directions, strict=True)]
    y = program(apply, Dual(x, {}), *leaves)
    return y.value, y.tangents.get(0, [[0.0] * len(y.value)])[0]
