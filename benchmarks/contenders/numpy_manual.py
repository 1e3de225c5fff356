"""NumPy with derivatives by hand: the control without automatic differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import Case, Values
from ..problems import chain as chains
from ..problems import rosenbrock as rosenbrocks
from ..problems.elementwise import gradient
from ..problems.hessian import Softplus
from ..problems.logistic import Logistic
from ..problems.mlp import BETAS, EPSILON, LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork
from .reference import peak_bytes

name = "numpy_manual"


def version() -> str:
    return np.__version__


def set_threads(threads: int) -> None:
    """Its BLAS has read its number of threads from the environment."""


def add(inputs: Values) -> Case:
    x, y, _ = inputs
    return Case(lambda: x + y, lambda out: [out], peak_bytes)


def add_backward(inputs: Values) -> Case:
    x, y, cotangent = inputs

    def run() -> np.ndarray:
        x + y
        return cotangent.copy()

    return Case(run, lambda out: [out], peak_bytes)


def chain(inputs: chains.Chain) -> Case:
    x, b = chains.X, chains.B

    def run() -> Values:
        values = [x]
        for _ in range(inputs.length):
            values.append(values[-1] + b)
        adjoint = np.ones(4, np.float32)
        for _ in reversed(values):
            adjoint = adjoint.copy()
        return [values[-1], adjoint]

    return Case(run, lambda results: results)


def fan(inputs: chains.Fan) -> Case:
    x = chains.X.astype(np.float64)

    def run() -> Values:
        values = [np.zeros(4)]
        for _ in range(inputs.uses):
            values.append(values[-1] + x)
        adjoint, gradient_x = np.ones(4), np.zeros(4)
        for _ in range(inputs.uses):
            gradient_x += adjoint
        return [values[-1], gradient_x]

    return Case(run, lambda results: results)


def linear_backward(weights: Values, h: Values, adjoint: np.ndarray, gradients: Values) -> None:
    """Writes the gradients of all weights and biases, given the adjoint of the last layer."""
    for i in reversed(range(len(weights))):
        np.matmul(adjoint.T, h[i], out=gradients[2 * i])
        np.sum(adjoint, 0, out=gradients[2 * i + 1])
        if i > 0:
            adjoint = adjoint @ weights[i]
            adjoint *= h[i] > 0.0


def linear_forward(x: np.ndarray, weights: Values, biases: Values) -> Values:
    h = [x]
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = h[-1] @ w.T
        z += b
        h.append(np.maximum(z, 0.0, out=z) if i < len(weights) - 1 else z)
    return h


def mlp_step(inputs: MLP) -> Case:
    # All parameters are slices of one array: Adam is then one pass over it.
    sizes = [p.size for p in inputs.parameters]
    flat = np.concatenate([p.ravel() for p in inputs.parameters])
    flat_gradient, mean, square = (np.zeros_like(flat) for _ in range(3))

    def parts(array: np.ndarray) -> Values:
        pieces = np.split(array, np.cumsum(sizes)[:-1])
        return [a.reshape(p.shape) for a, p in zip(pieces, inputs.parameters, strict=True)]

    parameters, gradients = parts(flat), parts(flat_gradient)
    weights, biases = parameters[::2], parameters[1::2]
    x, labels, rows = inputs.x, inputs.labels, np.arange(inputs.batch)
    work, first = np.empty_like(flat), flat.copy()
    count = 0

    def restart() -> None:
        nonlocal count
        count = 0
        flat[:], mean[:], square[:] = first, 0.0, 0.0

    def adam() -> None:
        nonlocal count, mean, square, flat
        count += 1
        mean *= BETAS[0]
        mean += np.multiply(flat_gradient, 1 - BETAS[0], out=work)
        square *= BETAS[1]
        np.multiply(flat_gradient, flat_gradient, out=work)
        square += np.multiply(work, 1 - BETAS[1], out=work)
        np.sqrt(square, out=work)
        np.divide(work, np.sqrt(1 - BETAS[1] ** count), out=work)
        np.add(work, EPSILON, out=work)
        np.divide(mean, work, out=work)
        flat -= np.multiply(work, LEARNING_RATE / (1 - BETAS[0] ** count), out=work)

    def step() -> Any:
        h = linear_forward(x, weights, biases)
        z = h[-1]
        z -= z.max(1, keepdims=True)
        e = np.exp(z)
        totals = e.sum(1, keepdims=True)
        loss = (np.log(totals[:, 0]) - z[rows, labels]).mean()
        e /= totals
        e[rows, labels] -= 1.0
        e /= inputs.batch
        linear_backward(weights, h, e, gradients)
        adam()
        return loss

    return Case(step, lambda loss: inputs.results(loss, parameters), peak_bytes, restart=restart)


def elementwise(values: np.ndarray) -> Case:
    return Case(lambda: gradient(values), lambda out: [out], peak_bytes)


def sgd_step(inputs: ScalarNetwork) -> Case:
    parameters = inputs.parameters
    gradients = [np.empty_like(p) for p in parameters]
    weights, biases = parameters[::2], parameters[1::2]

    def restart() -> None:
        for p, value in zip(parameters, inputs.parameters, strict=True):
            p[:] = value

    def step() -> Any:
        h = linear_forward(inputs.x, weights, biases)
        adjoint = h[-1] - inputs.y
        loss = np.vdot(adjoint, adjoint) / inputs.y.size
        adjoint *= 2.0 / inputs.y.size
        linear_backward(weights, h, adjoint, gradients)
        for p, g in zip(parameters, gradients, strict=True):
            p -= SCALAR_RATE * g
        return loss

    return Case(step, lambda loss: inputs.results(loss, parameters), peak_bytes, restart=restart)


def log_density(inputs: Logistic) -> Case:
    return Case(lambda: inputs.value_and_grad(inputs.w), list, peak_bytes)


def hessian(inputs: Softplus) -> Case:
    return Case(lambda: inputs.expected()[0], lambda out: [out], peak_bytes)


def rosenbrock(size: int) -> Case:
    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        return rosenbrocks.value(x), rosenbrocks.gradient(x)

    return Case(lambda: rosenbrocks.minimise(value_and_grad, size), rosenbrocks.read, peak_bytes)
