"""JAX: each step one jit call on device arrays, with the state it replaces donated; `how` makes the
steps of others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..harness import Case, Values, in_one_call
from ..problems import rosenbrock as rosenbrocks
from ..problems.hessian import Softplus
from ..problems.logistic import Logistic
from ..problems.lstm import Lstm
from ..problems.mlp import BETAS, EPSILON, LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork
from ..problems.transformer import Transformer

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

name = "jax"
records = True
importing = ("import jax", "print(jax.grad(lambda x: x * x)(3.0))")


def version() -> str:
    return jax.__version__


def set_threads(threads: int) -> None:
    """It has read its number of threads from the environment and the processors it may use."""


def peak_bytes(f: Any, *arguments: Any) -> int:
    """What XLA planned for a call of f: temporaries, and results in memory of their own."""
    plan = f.lower(*arguments).compile().memory_analysis()
    return plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes


def fresh(state: Any) -> Any:
    """Copies: what is donated must not share memory with the inputs."""
    return jax.tree.map(lambda a: jnp.array(a, copy=True), state)


def each(update: Callable, first: Any, data: Values, read: Callable[[Any, Any], Values]) -> Case:
    """A call a step, where update(state, *data) is (state, result)."""
    update = jax.jit(update, donate_argnums=0)
    state = fresh(first)

    def restart() -> None:
        nonlocal state
        state = fresh(first)

    def step() -> Any:
        nonlocal state
        state, result = update(state, *data)
        jax.block_until_ready(state)
        return result

    def peak(_: Any) -> int:
        return peak_bytes(update, state, *data)

    return Case(step, lambda result: read(state, result), peak, restart=restart)


def scanned(update: Callable, first: Any, data: Values, read: Callable[[Any, Any], Values]) -> Case:
    """The same, many steps a call."""

    @partial(jax.jit, donate_argnums=0, static_argnums=2)
    def steps(state: Any, data: Values, count: int) -> Any:
        return jax.lax.scan(lambda state, _: update(state, *data), state, length=count)

    state = fresh(first)

    def restart() -> None:
        nonlocal state
        state = fresh(first)

    def take(count: int) -> Any:
        nonlocal state
        state, results = steps(state, data, count)
        jax.block_until_ready(state)
        return results

    def read_last(results: Any) -> Values:
        return read(state, jax.tree.map(lambda rows: rows[-1], results))

    return in_one_call(take, read_last, restart)


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


def cross_entropy(logits: Any, labels: Any) -> Any:
    logs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(logs, labels[..., None], -1).mean()


def adam(inputs: Any, loss_of: Callable, data: Values, how: Callable) -> Case:
    """Steps that minimise loss_of(parameters, *data)."""

    def update(state: Any, *data: Any) -> Any:
        parameters, means, squares, count = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, *data)
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

    zeros = [np.zeros_like(p) for p in inputs.parameters]
    first = (inputs.parameters, zeros, zeros, np.float32(0.0))
    return how(update, first, data, lambda state, loss: inputs.results(float(loss), list(state[0])))


def mlp_step(inputs: MLP, how: Any = each) -> Case:
    def loss_of(parameters: Values, x: Any, labels: Any) -> Any:
        return cross_entropy(logits(parameters, x), labels)

    return adam(inputs, loss_of, [jnp.asarray(inputs.x), jnp.asarray(inputs.labels)], how)


class Functions:
    """What the transformer takes, by PyTorch's names."""

    linear = staticmethod(lambda x, w, b=0.0: x @ w.T + b)
    embedding = staticmethod(lambda tokens, table: table[tokens])
    gelu = staticmethod(partial(jax.nn.gelu, approximate=False))

    @staticmethod
    def layer_norm(x: Any, _: Any, gain: Any, shift: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * gain + shift

    @staticmethod
    def scaled_dot_product_attention(q: Any, k: Any, v: Any, is_causal: bool) -> Any:
        by_time = (a.swapaxes(1, 2) for a in (q, k, v))
        return jax.nn.dot_product_attention(*by_time, is_causal=is_causal).swapaxes(1, 2)


def transformer_step(inputs: Transformer, how: Any = each) -> Case:
    def loss_of(parameters: Values, tokens: Any, targets: Any) -> Any:
        return cross_entropy(inputs.logits(Functions, parameters, tokens), targets)

    return adam(inputs, loss_of, [jnp.asarray(inputs.tokens), jnp.asarray(inputs.targets)], how)


def elementwise(values: np.ndarray) -> Case:
    x = jnp.asarray(values)

    @jax.jit
    @jax.grad
    def gradient(x: Any) -> Any:
        y = jnp.tanh(1.5 * x + 0.3) * jnp.exp(-x * x) + jax.nn.sigmoid(x) * jnp.sin(x)
        s = y * y
        return (s / (1.0 + s)).sum()

    def run() -> Any:
        return gradient(x).block_until_ready()

    return Case(run, lambda out: [out], lambda _: peak_bytes(gradient, x))


def lstm(inputs: Lstm) -> Case:
    x, parameters = jnp.asarray(inputs.x), list(map(jnp.asarray, inputs.parameters))

    @jax.jit
    @jax.grad
    def gradients(parameters: Values, x: Any) -> Any:
        w, u, b, b2 = parameters
        start = jnp.zeros((inputs.batch, inputs.size), x.dtype)

        def cell(state: Any, row: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(row + h @ u.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        _, outputs = jax.lax.scan(cell, (start, start), x @ w.T + b + b2)
        return 0.5 * (outputs * outputs).sum()

    return Case(lambda: jax.block_until_ready(gradients(parameters, x)), list)


def sgd_step(inputs: ScalarNetwork, how: Any = each) -> Case:
    def loss_of(parameters: Values, x: Any, y: Any) -> Any:
        return jnp.square(logits(parameters, x) - y).mean()

    def update(parameters: Values, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        return [p - SCALAR_RATE * g for p, g in zip(parameters, gradients, strict=True)], loss

    def read(parameters: Values, loss: Any) -> Values:
        return inputs.results(float(loss), parameters)

    data = [jnp.asarray(inputs.x), jnp.asarray(inputs.y)]
    return how(update, inputs.parameters, data, read)


def log_density(inputs: Logistic) -> Case:
    x, y = jnp.asarray(inputs.x), jnp.asarray(inputs.y)

    @jax.jit
    @jax.value_and_grad
    def value_and_grad(w: Any) -> Any:
        return jax.nn.log_sigmoid(y * (x @ w)).sum() - 0.5 * (w * w).sum()

    def run() -> Values:
        value, gradient = value_and_grad(inputs.w)
        return [float(value), np.asarray(gradient)]

    return Case(run, lambda results: results, lambda _: peak_bytes(value_and_grad, inputs.w))


def hessian(inputs: Softplus) -> Case:
    a, w = jnp.asarray(inputs.a), jnp.asarray(inputs.w)

    @jax.jit
    @jax.hessian
    def hessian_of(w: Any) -> Any:
        return jax.nn.softplus(a @ w).sum() + (w**4).sum()

    def run() -> Any:
        return hessian_of(w).block_until_ready()

    return Case(run, lambda out: [out], lambda _: peak_bytes(hessian_of, w))


def rosenbrock(size: int) -> Case:
    value_and_grad = jax.jit(jax.value_and_grad(rosenbrocks.value))
    return Case(lambda: rosenbrocks.minimise(value_and_grad, size), rosenbrocks.read)
