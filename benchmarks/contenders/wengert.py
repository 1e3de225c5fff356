"""This engine, eager, as a user writes it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import wengert as wg

from ..harness import Case, Values, Wrong
from ..problems import chain as chains
from ..problems import rosenbrock as rosenbrocks
from ..problems.hessian import Softplus
from ..problems.mlp import LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork

name = "wengert"
importing = (
    "import wengert as wg",
    "x = wg.tensor(3.0, requires_grad=True); (x * x).backward(); print(x.grad.item())",
)


def version() -> str:
    config = wg.config()
    return f"{config['version']} ({config['isa']})"


def set_threads(threads: int) -> None:
    wg.set_num_threads(threads)


def peak_bytes(run: Callable[[], Any]) -> int:
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    run()
    return wg.memory.peak_bytes() - before


def arrays(tensors: Values) -> Values:
    return [t.detach().numpy() for t in tensors]


def add(inputs: Values) -> Case:
    x: Any = wg.tensor(inputs[0], requires_grad=True)
    y = wg.tensor(inputs[1])
    return Case(lambda: x + y, lambda out: arrays([out]), peak_bytes)


def add_backward(inputs: Values) -> Case:
    x: Any = wg.tensor(inputs[0], requires_grad=True)
    y, cotangent = wg.tensor(inputs[1]), wg.tensor(inputs[2])

    def run() -> wg.Tensor:
        (x + y).backward(cotangent)
        gradient = x.grad
        x.grad = None
        return gradient

    return Case(run, lambda out: arrays([out]), peak_bytes)


def returning_memory(run: Callable[[], Any], read: Callable[[Any], Values]) -> Case:
    """A case whose runs return NumPy arrays and must leave no tensor behind."""
    before = wg.memory.live_bytes(), wg.memory.live_objects()

    def checked(result: Any) -> Values:
        after = wg.memory.live_bytes(), wg.memory.live_objects()
        if after != before:
            raise Wrong(f"live bytes and objects were {before} and are {after} after the run")
        return read(result)

    return Case(run, checked, peak_bytes)


def chain(inputs: chains.Chain) -> Case:
    x: Any = wg.tensor(chains.X, requires_grad=True)
    b, ones = wg.tensor(chains.B), wg.ones(4)

    def run() -> Values:
        y = x
        for _ in range(inputs.length):
            y = y + b
        y.backward(ones)
        results = [y.detach().numpy().copy(), x.grad.numpy().copy()]
        x.grad = None
        return results

    return returning_memory(run, lambda results: results)


def fan(inputs: chains.Fan) -> Case:
    x: Any = wg.tensor(chains.X.astype(np.float64), requires_grad=True)
    zero, ones = wg.zeros(4, dtype="float64"), wg.ones(4, dtype="float64")

    def run() -> Values:
        y = zero
        for _ in range(inputs.uses):
            y = y + x
        y.backward(ones)
        results = [y.detach().numpy().copy(), x.grad.numpy().copy()]
        x.grad = None
        return results

    return returning_memory(run, lambda results: results)


def sequential(sizes: tuple[int, ...], parameters: Values) -> wg.nn.Sequential:
    layers: list[wg.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [wg.nn.Linear(inputs, outputs, dtype=str(parameters[0].dtype)), wg.nn.ReLU()]
    model = wg.nn.Sequential(*layers[:-1])
    names = model.state_dict()
    model.load_state_dict(dict(zip(names, map(wg.tensor, parameters), strict=True)))
    return model


def mlp_step(inputs: MLP) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    optimizer = wg.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    x, labels = wg.tensor(inputs.x), wg.tensor(inputs.labels)
    cross_entropy = wg.nn.cross_entropy

    def step() -> wg.Tensor:
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: wg.Tensor) -> Values:
        return inputs.results(loss.item(), arrays(list(model.parameters())))

    return Case(step, read, peak_bytes)


def elementwise(values: np.ndarray) -> Case:
    x: Any = wg.tensor(values, requires_grad=True)

    def run() -> wg.Tensor:
        y = wg.tanh(1.5 * x + 0.3) * wg.exp(-x * x) + wg.sigmoid(x) * wg.sin(x)
        s = y * y
        (s / (1.0 + s)).sum().backward()
        gradient = x.grad
        x.grad = None
        return gradient

    return Case(run, lambda gradient: arrays([gradient]), peak_bytes)


def scalar_step(inputs: ScalarNetwork) -> Case:
    parameters = [wg.tensor(float(p), dtype="float64", requires_grad=True) for p in inputs.first]
    optimizer = wg.optim.SGD(parameters, lr=SCALAR_RATE)
    xs, ys = inputs.x.tolist(), inputs.y.tolist()
    relu = wg.nn.relu

    def outputs(x: list[float]) -> Values:
        sums: Values = []
        start = 0
        for size, count in pairwise(inputs.sizes):
            h: Values = [relu(s) for s in sums] or x
            bias = start + size * count
            sums = []
            for j in range(count):
                total = parameters[bias + j]
                first = start + j * size
                for w, s in zip(parameters[first : first + size], h, strict=True):
                    total = total + w * s
                sums.append(total)
            start = bias + count
        return sums

    def step() -> None:
        loss: Any = 0.0
        for x, y in zip(xs, ys, strict=True):
            for output, target in zip(outputs(x), y, strict=True):
                error = output - target
                loss = loss + error * error
        (loss / inputs.y.size).backward()
        optimizer.step()
        optimizer.zero_grad()

    return Case(step, lambda _: inputs.results(arrays(parameters)), peak_bytes)


def scalar_arrays(inputs: ScalarNetwork) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    optimizer = wg.optim.SGD(model.parameters(), lr=SCALAR_RATE)
    x, y = wg.tensor(inputs.x), wg.tensor(inputs.y)
    mse_loss = wg.nn.mse_loss

    def step() -> None:
        mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return Case(step, lambda _: inputs.results(arrays(list(model.parameters()))), peak_bytes)


def hessian(inputs: Softplus) -> Case:
    a, w = wg.tensor(inputs.a), wg.tensor(inputs.w)
    hessian_of = wg.hessian(lambda w: wg.softplus(a @ w).sum() + (w**4).sum())
    return Case(lambda: hessian_of(w), lambda out: arrays([out]), peak_bytes)


def rosenbrock(size: int) -> Case:
    value_and_grad = wg.value_and_grad(rosenbrocks.value)
    return Case(lambda: rosenbrocks.minimise(value_and_grad, size), rosenbrocks.read, peak_bytes)
