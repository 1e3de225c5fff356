"""JAX: each step one jit call on device arrays, with the state it replaces donated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..harness import Case, Values
from ..problems import rosenbrock as rosenbrocks
from ..problems.hessian import Softplus
from ..problems.mlp import BETAS, EPSILON, LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

name = "jax"
importing = ("import jax", "print(jax.grad(lambda x: x * x)(3.0))")


def version() -> str:
    return jax.__version__


def set_threads(threads: int) -> None:
    """It has read its number of threads from the environment and the processors it may use."""


def add(inputs: Values) -> Case:
    x, y, _ = map(jnp.asarray, inputs)
    f = jax.jit(jnp.add)
    return Case(lambda: f(x, y).block_until_ready(), lambda out: [out])


def add_backward(inputs: Values) -> Case:
    x, y, cotangent = map(jnp.asarray, inputs)

    @jax.jit
    def f(x: Any, y: Any, cotangent: Any) -> Any:
        out, vjp = jax.vjp(lambda x: x + y, x)
        return out, vjp(cotangent)[0]

    return Case(lambda: jax.block_until_ready(f(x, y, cotangent)), lambda out: [out[1]])


def logits(parameters: Values, x: Any) -> Any:
    weights, biases = parameters[::2], parameters[1::2]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = jax.nn.relu(x @ w.T + b)
    return x @ weights[-1].T + biases[-1]


def mlp_step(inputs: MLP) -> Case:
    x, labels = jnp.asarray(inputs.x), jnp.asarray(inputs.labels)

    def loss_of(parameters: Values, x: Any, labels: Any) -> Any:
        logs = jax.nn.log_softmax(logits(parameters, x))
        return -jnp.take_along_axis(logs, labels[:, None], 1).mean()

    def update(state: Any, x: Any, labels: Any) -> Any:
        parameters, means, squares, count = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
        count = count + 1
        rate = LEARNING_RATE / (1 - BETAS[0] ** count)
        root = jnp.sqrt(1 - BETAS[1] ** count)
        means = [BETAS[0] * m + (1 - BETAS[0]) * g for m, g in zip(means, gradients, strict=True)]
        squares = [
            BETAS[1] * v + (1 - BETAS[1]) * g * g for v, g in zip(squares, gradients, strict=True)
        ]
        parameters = [
            p - rate * m / (jnp.sqrt(v) / root + EPSILON)
            for p, m, v in zip(parameters, means, squares, strict=True)
        ]
        return (parameters, means, squares, count), loss

    step_of = jax.jit(update, donate_argnums=0)
    zeros = [np.zeros_like(p) for p in inputs.parameters]
    # Copies: what is donated must not share memory with the inputs.
    state = jax.tree.map(
        lambda a: jnp.array(a, copy=True), (inputs.parameters, zeros, zeros, np.float32(0.0))
    )

    def step() -> Any:
        nonlocal state
        state, loss = step_of(state, x, labels)
        jax.block_until_ready(state)
        return loss

    return Case(step, lambda loss: inputs.results(float(loss), list(state[0])))


def elementwise(values: np.ndarray) -> Case:
    x = jnp.asarray(values)

    @jax.jit
    @jax.grad
    def gradient(x: Any) -> Any:
        y = jnp.tanh(1.5 * x + 0.3) * jnp.exp(-x * x) + jax.nn.sigmoid(x) * jnp.sin(x)
        s = y * y
        return (s / (1.0 + s)).sum()

    return Case(lambda: gradient(x).block_until_ready(), lambda out: [out])


def scalar_arrays(inputs: ScalarNetwork) -> Case:
    x, y = jnp.asarray(inputs.x), jnp.asarray(inputs.y)

    def loss_of(parameters: Values, x: Any, y: Any) -> Any:
        return jnp.square(logits(parameters, x) - y).mean()

    def update(parameters: Values, x: Any, y: Any) -> Values:
        gradients = jax.grad(loss_of)(parameters, x, y)
        return [p - SCALAR_RATE * g for p, g in zip(parameters, gradients, strict=True)]

    step_of = jax.jit(update, donate_argnums=0)
    parameters = [jnp.array(p, copy=True) for p in inputs.parameters]

    def step() -> None:
        nonlocal parameters
        parameters = step_of(parameters, x, y)
        jax.block_until_ready(parameters)

    return Case(step, lambda _: inputs.results(parameters))


def hessian(inputs: Softplus) -> Case:
    a, w = jnp.asarray(inputs.a), jnp.asarray(inputs.w)

    @jax.jit
    @jax.hessian
    def hessian_of(w: Any) -> Any:
        return jax.nn.softplus(a @ w).sum() + (w**4).sum()

    return Case(lambda: hessian_of(w).block_until_ready(), lambda out: [out])


def rosenbrock(size: int) -> Case:
    value_and_grad = jax.jit(jax.value_and_grad(rosenbrocks.value))
    return Case(lambda: rosenbrocks.minimise(value_and_grad, size), rosenbrocks.read)
