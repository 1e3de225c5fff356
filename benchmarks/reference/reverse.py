"""Reverse mode (R-AD): a Wengert list of the program, and one sweep over it backwards.

The sweep reads only VJPs. Index order is topological order, so nothing is sorted or recursed into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .primitives import Primitive, Vector, plus


class Node(NamedTuple):
    """One line of the evaluation trace, h_i = f(h_x, h_w); a leaf has no f."""

    value: Vector
    active: bool
    f: Primitive | None = None
    x: int = -1
    w: int | None = None


class WengertList:
    """The evaluation trace of a program; a variable of the program is an index into it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def leaf(self, value: Vector, active: bool = True) -> int:
        """Append an argument of the program; one not active gets no adjoint."""
        self.nodes.append(Node(value, active))
        return len(self.nodes) - 1

    def apply(self, f: Primitive, x: int, w: int | None = None) -> int:
        """Append f(x, w)."""
        nodes = self.nodes
        if w is None:
            node = Node(f.value(nodes[x].value), nodes[x].active, f, x)
        else:
            active = nodes[x].active or nodes[w].active
            node = Node(f.value(nodes[x].value, nodes[w].value), active, f, x, w)
        nodes.append(node)
        return len(nodes) - 1

    def sweep(self, output: int, v: Vector) -> dict[int, Vector]:
        """The adjoints vᵀ ∂h_i y of the active leaves that y, the output, depends on."""
        nodes = self.nodes
        adjoints = {output: v} if nodes[output].active else {}

        def accumulate(i: int, adjoint: Vector) -> None:
            # Fan-out and weight sharing: the adjoint of a variable is the sum over its uses.
            adjoints[i] = plus(adjoints[i], adjoint) if i in adjoints else adjoint

        for i in range(output, -1, -1):
            _, _, f, x, w = nodes[i]
            if f is None or i not in adjoints:
                continue
            # All uses of h_i come after i, so its adjoint is complete.
            adjoint = adjoints.pop(i)
            arguments = nodes[x].value, nodes[w].value if w is not None else ()
            if w is not None and nodes[w].active:
                accumulate(w, f.weight_vjp(adjoint, *arguments))
            if nodes[x].active:
                accumulate(x, f.input_vjp(adjoint, *arguments))
        return adjoints


def gradients(
    program: Callable[..., Any], x: Vector, weights: Sequence[Vector]
) -> tuple[float, list[list[float]]]:
    """The program's output and ∇w_i y for all weights, in a forward and a backward pass.

    >>> from benchmarks.reference.primitives import Linear, total
    >>> program = lambda apply, x, w: apply(total, apply(Linear(2, 1), x, w))
    >>> gradients(program, [3.0, 4.0], [[1.0, 1.0, 0.0]])
    (7.0, [[3.0, 4.0, 1.0]])
    """
    trace = WengertList()
    input_leaf = trace.leaf(x, active=False)
    leaves = [trace.leaf(w) for w in weights]
    output = program(trace.apply, input_leaf, *leaves)
    y = trace.nodes[output].value
    if len(y) != 1:
        raise ValueError(f"gradients: the output must be a scalar; got {len(y)} entries")
    adjoints = trace.sweep(output, [1.0])
    return y[0], [
        list(adjoints.get(i, [0.0] * len(w))) for i, w in zip(leaves, weights, strict=True)
    ]
