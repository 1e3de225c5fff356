"""This engine, as a user writes it: eager, or what the other files say of `how`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain as concatenated
from itertools import pairwise
from typing import Any

import numpy as np
import wengert as wg

from ..harness import Case, Values, Wrong, in_one_call
from ..problems import chain as chains
from ..problems import rosenbrock as rosenbrocks
from ..problems.hessian import Softplus
from ..problems.logistic import Logistic
from ..problems.lstm import Lstm
from ..problems.mlp import LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork
from ..problems.transformer import Transformer

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


def eager(step: Callable, inputs: Values, read: Any, restart: Any = None) -> Case:
    return Case(lambda: step(*inputs), read, peak_bytes, restart=restart)


def compiled(
    step: Callable, inputs: Values, read: Any, restart: Any = None, **options: Any
) -> Case:
    replay = wg.compile(step, **options)

    def peak_of_another(_: Any) -> int:
        """What a recording holds from call to call, its arena, and what a call takes besides."""
        before = wg.memory.live_bytes()
        another = wg.compile(step, **options)
        another(*inputs)
        held = wg.memory.live_bytes() - before
        return held + peak_bytes(lambda: another(*inputs))

    return Case(lambda: replay(*inputs), read, peak_of_another, restart=restart)


def run(step: Callable, inputs: Values, read: Any, restart: Any) -> Case:
    replay: Any = wg.compile(step)

    def read_last(results: Any) -> Values:
        return read(wg.tree.map(lambda rows: rows[-1], results))

    return in_one_call(lambda n: replay.run(*inputs, steps=n), read_last, restart)


def restarting(parameters: Values, optimizer: wg.optim.Optimizer) -> Callable[[], None]:
    """What puts the parameters back to their present values, and the optimiser to its start."""
    first = [wg.tensor(p.detach()) for p in parameters]

    @wg.no_grad()
    def restart() -> None:
        for p, value in zip(parameters, first, strict=True):
            p.assign(value)
        for group in optimizer.state_dict()["groups"]:
            for t in (group["counts"], *concatenated(*group["state"].values())):
                t.assign(wg.zeros_like(t))
        optimizer.steps = 0

    return restart


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


def mlp_step(inputs: MLP, how: Any = eager) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    parameters = list(model.parameters())
    optimizer = wg.optim.Adam(parameters, lr=LEARNING_RATE)
    cross_entropy = wg.nn.cross_entropy

    def step(x: wg.Tensor, labels: wg.Tensor) -> wg.Tensor:
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: wg.Tensor) -> Values:
        return inputs.results(loss.item(), arrays(parameters))

    data = [wg.tensor(inputs.x), wg.tensor(inputs.labels)]
    return how(step, data, read, restarting(parameters, optimizer))


def transformer_step(inputs: Transformer, how: Any = eager) -> Case:
    parameters = [wg.tensor(p, requires_grad=True) for p in inputs.parameters]
    optimizer = wg.optim.Adam(parameters, lr=LEARNING_RATE)
    cross_entropy = wg.nn.cross_entropy

    def step(tokens: wg.Tensor, targets: wg.Tensor) -> wg.Tensor:
        logits = inputs.logits(wg.nn, parameters, tokens)
        loss = cross_entropy(logits.reshape(-1, inputs.vocabulary), targets.reshape(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: wg.Tensor) -> Values:
        return inputs.results(loss.item(), arrays(parameters))

    data = [wg.tensor(inputs.tokens), wg.tensor(inputs.targets)]
    return how(step, data, read, restarting(parameters, optimizer))


def elementwise(values: np.ndarray, how: Any = eager) -> Case:
    x: Any = wg.tensor(values, requires_grad=True)

    def gradient_of() -> wg.Tensor:
        y = wg.tanh(1.5 * x + 0.3) * wg.exp(-x * x) + wg.sigmoid(x) * wg.sin(x)
        s = y * y
        (s / (1.0 + s)).sum().backward()
        gradient = x.grad
        x.grad = None
        return gradient

    return how(gradient_of, [], lambda gradient: arrays([gradient]))


def lstm(inputs: Lstm, how: Any = eager) -> Case:
    model = wg.nn.LSTM(inputs.size, inputs.size)
    names = model.state_dict()
    model.load_state_dict(dict(zip(names, map(wg.tensor, inputs.parameters), strict=True)))
    parameters = list(model.parameters())

    def gradients(x: wg.Tensor) -> list[Any]:
        output, _ = model(x)
        (0.5 * (output * output).sum()).backward()
        found = [p.grad for p in parameters]
        for p in parameters:
            p.grad = None
        return found

    return how(gradients, [wg.tensor(inputs.x)], arrays)


def scalar_step(inputs: ScalarNetwork, how: Any = eager) -> Case:
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

    def step() -> wg.Tensor:
        loss: Any = 0.0
        for x, y in zip(xs, ys, strict=True):
            for output, target in zip(outputs(x), y, strict=True):
                error = output - target
                loss = loss + error * error
        loss = loss / inputs.y.size
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: wg.Tensor) -> Values:
        return inputs.results(loss.item(), arrays(parameters))

    return how(step, [], read, restarting(parameters, optimizer))


def sgd_step(inputs: ScalarNetwork, how: Any = eager) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    parameters = list(model.parameters())
    optimizer = wg.optim.SGD(parameters, lr=SCALAR_RATE)
    mse_loss = wg.nn.mse_loss

    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        loss = mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: wg.Tensor) -> Values:
        return inputs.results(loss.item(), arrays(parameters))

    data = [wg.tensor(inputs.x), wg.tensor(inputs.y)]
    return how(step, data, read, restarting(parameters, optimizer))


def log_density(inputs: Logistic, how: Any = eager) -> Case:
    x, y = wg.tensor(inputs.x), wg.tensor(inputs.y)

    @wg.value_and_grad
    def value_and_grad(w: wg.Tensor) -> wg.Tensor:
        return wg.log_sigmoid(y * (x @ w)).sum() - 0.5 * (w * w).sum()

    case = how(value_and_grad, [inputs.w], list)

    def to_numpy() -> Values:
        value, gradient = case.run()
        return [value.item(), gradient.numpy()]

    return replace(case, run=to_numpy)


def hessian(inputs: Softplus, how: Any = eager) -> Case:
    a, w = wg.tensor(inputs.a), wg.tensor(inputs.w)
    hessian_of = wg.hessian(lambda w: wg.softplus(a @ w).sum() + (w**4).sum())
    return how(hessian_of, [w], lambda out: arrays([out]))


def rosenbrock(size: int, how: Any = eager) -> Case:
    value_and_grad = wg.value_and_grad(rosenbrocks.value)
    if how is compiled:
        value_and_grad = wg.compile(value_and_grad)

    def to_numpy(x: np.ndarray) -> tuple[float, np.ndarray]:  # SciPy takes longer to convert
        value, gradient = value_and_grad(x)
        return value.item(), gradient.numpy()

    return Case(lambda: rosenbrocks.minimise(to_numpy, size), rosenbrocks.read, peak_bytes)
