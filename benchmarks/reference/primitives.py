"""The primitives y = f(x, w) on flat lists of floats, each with its VJPs and JVPs.

A mini-batch of n rows is the flattened vector vect(X); a primitive finds n from the length of x.
Nothing here knows of programs, traces or modes of differentiation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import mul
from random import Random
from typing import TypeVar

Vector = Sequence[float]
T = TypeVar("T")


def dot(a: Vector, b: Vector) -> float:
    return sum(map(mul, a, b), 0.0)


def plus(a: Vector, b: Vector) -> list[float]:
    return [s + t for s, t in zip(a, b, strict=True)]


def rows_of(x: Sequence[T], size: int) -> list[Sequence[T]]:
    return [x[i : i + size] for i in range(0, len(x), size)]


def basis(size: int) -> list[list[float]]:
    """The basis vectors e_1, ..., e_size."""
    return [[float(i == j) for j in range(size)] for i in range(size)]


class Primitive(ABC):
    """y = f(x, w) and its products with a vector v, from the left (VJP) or the right (JVP).

    The defaults are those of a primitive f(x, {}) without weights, where w is empty.
    """

    @abstractmethod
    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        """f(x, w)."""

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        """vᵀ ∂x f(x, w)."""
        raise TypeError(f"{type(self).__name__} has no input VJP")

    def input_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        """∂x f(x, w) v."""
        raise TypeError(f"{type(self).__name__} has no input JVP")

    def weight_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        """vᵀ ∂w f(x, w)."""
        return []

    def weight_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        """∂w f(x, w) v."""
        return [0.0] * len(self.value(x, w))


def input_jacobian(f: Primitive, x: Vector, w: Vector = ()) -> list[list[float]]:
    """The rows of ∂x f(x, w), one input VJP with a basis vector each.

    >>> input_jacobian(relu, [3.0, -2.0])
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return [f.input_vjp(e, x, w) for e in basis(len(f.value(x, w)))]


def weight_jacobian(f: Primitive, x: Vector, w: Vector = ()) -> list[list[float]]:
    """The rows of ∂w f(x, w), one weight VJP with a basis vector each.

    >>> weight_jacobian(Linear(2, 1), [3.0, -2.0], [1.0, 1.0, 0.0])
    [[3.0, -2.0, 1.0]]
    """
    return [f.weight_vjp(e, x, w) for e in basis(len(f.value(x, w)))]


class Linear(Primitive):
    """y = Wx + b for each row x of the mini-batch, with w = [vect(W); b] and W ~ (outputs, inputs).

    >>> Linear(2, 1).value([1.0, 2.0, 3.0, 4.0], [10.0, 1.0, 0.5])
    [12.5, 34.5]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        if inputs < 1 or outputs < 1:
            raise ValueError(f"linear: sizes must be positive; got {inputs} and {outputs}")
        self.inputs = inputs
        self.outputs = outputs

    def initial_weights(self, random: Random) -> list[float]:
        """Uniform in ±1/sqrt(inputs), weights and bias."""
        bound = 1.0 / math.sqrt(self.inputs)
        return [random.uniform(-bound, bound) for _ in range((self.inputs + 1) * self.outputs)]

    def split(self, w: Vector) -> tuple[list[Vector], Vector]:
        """The rows of W, and b."""
        size = self.inputs * self.outputs
        if len(w) != size + self.outputs:
            raise ValueError(
                f"linear: w = [vect(W); b] must have {size} + {self.outputs} entries; got {len(w)}"
            )
        return rows_of(w[:size], self.inputs), w[size:]

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        if len(x) % self.inputs:
            raise ValueError(f"linear: x must be rows of {self.inputs}; got {len(x)} entries")
        weights, bias = self.split(w)
        return [
            dot(row, x_n) + b
            for x_n in rows_of(x, self.inputs)
            for row, b in zip(weights, bias, strict=True)
        ]

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        # vᵀW, a column of W at a time.
        columns = list(zip(*self.split(w)[0], strict=True))
        return [dot(v_n, column) for v_n in rows_of(v, self.outputs) for column in columns]

    def input_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        weights, _ = self.split(w)
        return [dot(row, v_n) for v_n in rows_of(v, self.inputs) for row in weights]

    def weight_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        # The outer product vxᵀ (E.6.10), summed over the rows of the mini-batch.
        v_columns = [v[i :: self.outputs] for i in range(self.outputs)]
        x_columns = [x[j :: self.inputs] for j in range(self.inputs)]
        outer = [dot(v_i, x_j) for v_i in v_columns for x_j in x_columns]
        return outer + [sum(v_i, 0.0) for v_i in v_columns]

    def weight_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        # f is linear in w.
        return self.value(x, v)


def linear_layers(sizes: Sequence[int]) -> list[Linear]:
    if len(sizes) < 2:
        raise ValueError(f"sizes: an input and an output size are needed; got {sizes}")
    return [Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]


class Elementwise(Primitive):
    """y_i = φ(x_i), whose input Jacobian is the diagonal matrix of φ'(x_i)."""

    def __init__(self, phi: Callable[[float], float], derivative: Callable[[float], float]) -> None:
        self.phi = phi
        self.derivative = derivative

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        return [self.phi(s) for s in x]

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        # v ⊙ φ'(x) (E.6.11).
        return [a * self.derivative(s) for a, s in zip(v, x, strict=True)]

    # A diagonal matrix is its own transpose.
    input_jvp = input_vjp


def sigmoid_of(s: float) -> float:
    # Neither branch overflows.
    return 1.0 / (1.0 + math.exp(-s)) if s >= 0.0 else math.exp(s) / (1.0 + math.exp(s))


# ReLU'(0) = 0, of the subdifferential [0, 1].
relu = Elementwise(lambda s: 0.0 if s <= 0.0 else s, lambda s: 0.0 if s <= 0.0 else 1.0)
sigmoid = Elementwise(sigmoid_of, lambda s: sigmoid_of(s) * (1.0 - sigmoid_of(s)))
tanh = Elementwise(math.tanh, lambda s: 1.0 - math.tanh(s) ** 2)


def scale(factor: float) -> Elementwise:
    return Elementwise(lambda s: factor * s, lambda s: factor)


class Add(Primitive):
    """y = x + w, where w may be any variable: two branches of an acyclic graph meet here."""

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        require_equal_lengths("add", x, w)
        return plus(x, w)

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return list(v)

    input_jvp = weight_vjp = weight_jvp = input_vjp


class Multiply(Primitive):
    """y = x ⊙ w, where w may be any variable."""

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        require_equal_lengths("multiply", x, w)
        return list(map(mul, x, w))

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return list(map(mul, v, w))

    def weight_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return list(map(mul, v, x))

    input_jvp = input_vjp
    weight_jvp = weight_vjp


def require_equal_lengths(name: str, x: Vector, w: Vector) -> None:
    if len(x) != len(w):
        raise ValueError(f"{name}: x and w must have equal lengths; got {len(x)} and {len(w)}")


def log_sum_exp(x: Vector) -> float:
    # The largest entry is taken out, so that nothing overflows.
    largest = max(x)
    return largest + math.log(sum(math.exp(s - largest) for s in x))


class SoftmaxCrossEntropy(Primitive):
    """The per-input loss -log softmax(x)[label] of each row of logits.

    >>> SoftmaxCrossEntropy([0], classes=2).value([0.0, 0.0])
    [0.6931471805599453]
    """

    def __init__(self, labels: Sequence[int], classes: int) -> None:
        if not all(0 <= label < classes for label in labels):
            raise ValueError(
                f"cross_entropy: labels must be in 0 .. {classes - 1}; got {list(labels)}"
            )
        self.labels = labels
        self.classes = classes

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        if len(x) != len(self.labels) * self.classes:
            raise ValueError(
                f"cross_entropy: x must be {len(self.labels)} rows of {self.classes} logits; "
                f"got {len(x)} entries"
            )
        return [
            log_sum_exp(logits) - logits[label]
            for label, logits in zip(self.labels, rows_of(x, self.classes), strict=True)
        ]

    def row_gradients(self, x: Vector) -> list[list[float]]:
        """softmax(x) - e_label for each row: the only entries of the input Jacobian not zero."""
        gradients = []
        for label, logits in zip(self.labels, rows_of(x, self.classes), strict=True):
            normalizer = log_sum_exp(logits)
            gradient = [math.exp(s - normalizer) for s in logits]
            gradient[label] -= 1.0
            gradients.append(gradient)
        return gradients

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return [
            v_n * g
            for v_n, gradient in zip(v, self.row_gradients(x), strict=True)
            for g in gradient
        ]

    def input_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return [
            dot(g, v_n)
            for g, v_n in zip(self.row_gradients(x), rows_of(v, self.classes), strict=True)
        ]


class Sum(Primitive):
    """y = Σ x, the last operation of a program, whose input Jacobian is 1ᵀ."""

    def value(self, x: Vector, w: Vector = ()) -> list[float]:
        return [sum(x, 0.0)]

    def input_vjp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return [v[0]] * len(x)

    def input_jvp(self, v: Vector, x: Vector, w: Vector = ()) -> list[float]:
        return [sum(v, 0.0)]


add = Add()
multiply = Multiply()
total = Sum()
