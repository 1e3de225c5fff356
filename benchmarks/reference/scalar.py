"""Reverse mode on single numbers: a Wengert list with one entry an operation, and a small network.

Values are plain Python floats: where `math` raises (overflow, division by zero), so does a Scalar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from random import Random

from .primitives import linear_layers, sigmoid_of

Number = int | float


class Trace:
    """The Wengert list: for entry i, the pairs (index of an input, partial derivative in it)."""

    def __init__(self) -> None:
        self.inputs: list[tuple[tuple[int, float], ...]] = []
        self.leaves: list[Scalar] = []


class Scalar:
    """A number on a trace; `Scalar(3.0)` is a leaf on a trace of its own.

    >>> trace = Trace()
    >>> a, b = Scalar(2.0, trace), Scalar(3.0, trace)
    >>> (a * b + a**2).backward()
    >>> a.grad, b.grad
    (7.0, 2.0)
    """

    __slots__ = ("data", "grad", "index", "trace")

    def __init__(self, data: float, trace: Trace | None = None) -> None:
        self.data = float(data)
        self.grad = 0.0
        self.trace = Trace() if trace is None else trace
        self.index = len(self.trace.inputs)
        self.trace.inputs.append(())
        self.trace.leaves.append(self)

    def record(self, data: float, *inputs: tuple[int, float]) -> Scalar:
        """Append an operation with its local partial derivatives."""
        result = Scalar.__new__(Scalar)
        result.data = data
        result.grad = 0.0
        result.trace = self.trace
        result.index = len(self.trace.inputs)
        self.trace.inputs.append(inputs)
        return result

    def index_of(self, other: Scalar) -> int:
        if other.trace is not self.trace:
            raise ValueError(
                f"scalar: operands must be on one trace; got {self!r} and {other!r} on two; "
                "pass the same trace to both"
            )
        return other.index

    def backward(self) -> None:
        """Add the derivative of this number in each leaf to the leaf's `grad`."""
        inputs = self.trace.inputs
        adjoints = [0.0] * (self.index + 1)
        adjoints[self.index] = 1.0
        for i in range(self.index, -1, -1):
            adjoint = adjoints[i]
            if adjoint != 0.0:
                for j, partial in inputs[i]:
                    adjoints[j] += adjoint * partial
        for leaf in self.trace.leaves:
            if leaf.index <= self.index:
                leaf.grad += adjoints[leaf.index]

    def __add__(self, other: Scalar | Number) -> Scalar:
        if isinstance(other, Scalar):
            j = self.index_of(other)
            return self.record(self.data + other.data, (self.index, 1.0), (j, 1.0))
        return self.record(self.data + other, (self.index, 1.0))

    def __mul__(self, other: Scalar | Number) -> Scalar:
        if isinstance(other, Scalar):
            a, b, j = self.data, other.data, self.index_of(other)
            return self.record(a * b, (self.index, b), (j, a))
        return self.record(self.data * other, (self.index, other))

    def __sub__(self, other: Scalar | Number) -> Scalar:
        if isinstance(other, Scalar):
            j = self.index_of(other)
            return self.record(self.data - other.data, (self.index, 1.0), (j, -1.0))
        return self.record(self.data - other, (self.index, 1.0))

    def __truediv__(self, other: Scalar | Number) -> Scalar:
        if isinstance(other, Scalar):
            y, b, j = self.data / other.data, other.data, self.index_of(other)
            return self.record(y, (self.index, 1.0 / b), (j, -y / b))
        return self.record(self.data / other, (self.index, 1.0 / other))

    def __pow__(self, exponent: Number) -> Scalar:
        if not isinstance(exponent, Number):
            return NotImplemented
        # The exponent 0 is apart: s ** 0 is constant, also where s ** -1 does not exist.
        slope = exponent * math.pow(self.data, exponent - 1) if exponent else 0.0
        return self.record(math.pow(self.data, exponent), (self.index, slope))

    def __neg__(self) -> Scalar:
        return self.record(-self.data, (self.index, -1.0))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Number) -> Scalar:
        return self.record(other - self.data, (self.index, -1.0))

    def __rtruediv__(self, other: Number) -> Scalar:
        y = other / self.data
        return self.record(y, (self.index, -y / self.data))

    def exp(self) -> Scalar:
        y = math.exp(self.data)
        return self.record(y, (self.index, y))

    def log(self) -> Scalar:
        return self.record(math.log(self.data), (self.index, 1.0 / self.data))

    def tanh(self) -> Scalar:
        y = math.tanh(self.data)
        return self.record(y, (self.index, 1.0 - y * y))

    def relu(self) -> Scalar:
        """ReLU, with ReLU'(0) = 0."""
        if self.data <= 0.0:
            return self.record(0.0, (self.index, 0.0))
        return self.record(self.data, (self.index, 1.0))

    def sigmoid(self) -> Scalar:
        y = sigmoid_of(self.data)
        return self.record(y, (self.index, y * (1.0 - y)))

    def __repr__(self) -> str:
        return f"Scalar({self.data})"


class Network:
    """A fully-connected network of Scalars with ReLU between its layers.

    `parameters` holds [vect(W); b] of each layer in turn, W ~ (outputs, inputs), as Scalars.
    Values are never changed in place: each step puts new parameters on a new trace.

    >>> network = Network((1, 4, 1), seed=1)
    >>> network.loss([[0.5]], [[1.0]]).backward()
    >>> network.step(lr=0.1)
    """

    def __init__(self, sizes: Sequence[int], seed: int = 0) -> None:
        random = Random(seed)
        self.layers = linear_layers(sizes)
        trace = Trace()
        self.parameters = [
            Scalar(s, trace) for layer in self.layers for s in layer.initial_weights(random)
        ]

    def outputs(self, x: Sequence[Number]) -> list[Scalar]:
        """The network's outputs for one input row."""
        parameters = iter(self.parameters)
        sums: list[Scalar] = []
        for layer in self.layers:
            h = [s.relu() for s in sums] or x
            weights = [list(islice(parameters, layer.inputs)) for _ in range(layer.outputs)]
            biases = list(islice(parameters, layer.outputs))
            sums = [
                sum((w * s for w, s in zip(row, h, strict=True)), start=b)
                for row, b in zip(weights, biases, strict=True)
            ]
        return sums

    def loss(self, xs: Sequence[Sequence[Number]], ys: Sequence[Sequence[Number]]) -> Scalar:
        """The mean squared error over all entries of the rows `ys`."""
        errors = [
            output - target
            for x, y in zip(xs, ys, strict=True)
            for output, target in zip(self.outputs(x), y, strict=True)
        ]
        squares = [error * error for error in errors]
        return sum(squares[1:], start=squares[0]) / len(squares)

    def step(self, lr: float) -> None:
        """One step of gradient descent along the parameters' `grad`, which then starts at zero."""
        trace = Trace()
        self.parameters = [Scalar(p.data - lr * p.grad, trace) for p in self.parameters]
