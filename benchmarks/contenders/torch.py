"""PyTorch with its fused optimisers: eager, or what `how` makes of losses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch

from ..harness import Case, Values
from ..problems import chain as chains
from ..problems import rosenbrock as rosenbrocks
from ..problems.hessian import Softplus
from ..problems.logistic import Logistic
from ..problems.lstm import Lstm
from ..problems.mlp import LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork
from ..problems.transformer import Transformer

name = "torch"
importing = (
    "import torch",
    "x = torch.tensor(3.0, requires_grad=True); (x * x).backward(); print(x.grad.item())",
)


def version() -> str:
    return torch.__version__


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def arrays(tensors: Values) -> Values:
    return [t.detach().numpy() for t in tensors]


def peak_bytes(run: Callable[[], Any]) -> int:
    """From each allocation and release of a run, as the profiler records them."""
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        run()
    recorded = (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]")
    changes = [e.nbytes() for e in sorted(recorded, key=lambda e: e.start_ns())]
    return max(accumulate(changes), default=0)


def eager(f: Callable) -> Callable:
    return f


@torch.no_grad()
def restarting(parameters: Values, optimizer: Any) -> Callable[[], None]:
    """What puts the parameters back to their present values, and the optimiser to its start."""
    first = [p.clone() for p in parameters]

    @torch.no_grad()
    def restart() -> None:
        for p, value in zip(parameters, first, strict=True):
            p.copy_(value)
        for state in optimizer.state.values():
            for t in state.values():
                if t is not None:
                    t.zero_()

    return restart


def trained(
    loss_of: Callable, data: Values, parameters: Values, optimizer: Any, inputs: Any, how: Any
) -> Case:
    """A step that minimises loss_of(*data)."""
    loss_of = how(loss_of)

    def step() -> Any:
        loss = loss_of(*data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def read(loss: Any) -> Values:
        return inputs.results(loss.item(), arrays(parameters))

    return Case(step, read, peak_bytes, restart=restarting(parameters, optimizer))


def add(inputs: Values) -> Case:
    x = torch.tensor(inputs[0], requires_grad=True)
    y = torch.tensor(inputs[1])
    return Case(lambda: x + y, lambda out: arrays([out]))


def add_backward(inputs: Values) -> Case:
    x = torch.tensor(inputs[0], requires_grad=True)
    y, cotangent = torch.tensor(inputs[1]), torch.tensor(inputs[2])

    def run() -> Any:
        (x + y).backward(cotangent)
        gradient = x.grad
        x.grad = None
        return gradient

    return Case(run, lambda out: arrays([out]))


def chain(inputs: chains.Chain) -> Case:
    x = torch.tensor(chains.X, requires_grad=True)
    b, ones = torch.tensor(chains.B), torch.ones(4)

    def run() -> Values:
        y = x
        for _ in range(inputs.length):
            y = y + b
        y.backward(ones)
        gradient = x.grad
        x.grad = None
        return [y.detach(), gradient]

    return Case(run, arrays)


def fan(inputs: chains.Fan) -> Case:
    x = torch.tensor(chains.X.astype(np.float64), requires_grad=True)
    zero, ones = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)

    def run() -> Values:
        y = zero
        for _ in range(inputs.uses):
            y = y + x
        y.backward(ones)
        gradient = x.grad
        x.grad = None
        return [y.detach(), gradient]

    return Case(run, arrays)


def sequential(sizes: tuple[int, ...], parameters: Values) -> Any:
    layers: list[Any] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(torch.from_numpy(parameters[0]).dtype)
    with torch.no_grad():
        for p, value in zip(model.parameters(), parameters, strict=True):
            p.copy_(torch.from_numpy(value))
    return model


def mlp_step(inputs: MLP, how: Any = eager) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    data = [torch.tensor(inputs.x), torch.tensor(inputs.labels)]
    cross_entropy = torch.nn.functional.cross_entropy

    def loss_of(x: Any, labels: Any) -> Any:
        return cross_entropy(model(x), labels)

    return trained(loss_of, data, parameters, optimizer, inputs, how)


def transformer_step(inputs: Transformer, how: Any = eager) -> Case:
    parameters = [torch.tensor(p, requires_grad=True) for p in inputs.parameters]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    data = [torch.tensor(inputs.tokens), torch.tensor(inputs.targets)]
    cross_entropy = torch.nn.functional.cross_entropy

    def loss_of(tokens: Any, targets: Any) -> Any:
        logits = inputs.logits(torch.nn.functional, parameters, tokens)
        return cross_entropy(logits.flatten(0, 1), targets.flatten())

    return trained(loss_of, data, parameters, optimizer, inputs, how)


def elementwise(values: np.ndarray, how: Any = eager) -> Case:
    x = torch.tensor(values, requires_grad=True)

    def total(x: Any) -> Any:
        y = torch.tanh(1.5 * x + 0.3) * torch.exp(-x * x) + torch.sigmoid(x) * torch.sin(x)
        s = y * y
        return (s / (1.0 + s)).sum()

    total = how(total)

    def run() -> Any:
        total(x).backward()
        gradient = x.grad
        x.grad = None
        return gradient

    return Case(run, lambda gradient: arrays([gradient]), peak_bytes)


def lstm(inputs: Lstm) -> Case:
    model = torch.nn.LSTM(inputs.size, inputs.size)
    parameters = list(model.parameters())
    with torch.no_grad():
        for p, value in zip(parameters, inputs.parameters, strict=True):
            p.copy_(torch.from_numpy(value))
    x = torch.tensor(inputs.x)

    def run() -> Values:
        output, _ = model(x)
        return list(torch.autograd.grad(0.5 * (output * output).sum(), parameters))

    return Case(run, arrays)


def scalar_step(inputs: ScalarNetwork) -> Case:
    parameters = [
        torch.tensor(float(p), dtype=torch.float64, requires_grad=True) for p in inputs.first
    ]
    optimizer = torch.optim.SGD(parameters, lr=SCALAR_RATE, fused=True)
    xs, ys = inputs.x.tolist(), inputs.y.tolist()

    def outputs(x: list[float]) -> Values:
        sums: Values = []
        start = 0
        for size, count in pairwise(inputs.sizes):
            h: Values = [torch.relu(s) for s in sums] or x
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

    def loss_of() -> Any:
        loss: Any = 0.0
        for x, y in zip(xs, ys, strict=True):
            for output, target in zip(outputs(x), y, strict=True):
                error = output - target
                loss = loss + error * error
        return loss / inputs.y.size

    return trained(loss_of, [], parameters, optimizer, inputs, eager)


def sgd_step(inputs: ScalarNetwork, how: Any = eager) -> Case:
    model = sequential(inputs.sizes, inputs.parameters)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=SCALAR_RATE, fused=True)
    data = [torch.tensor(inputs.x), torch.tensor(inputs.y)]
    mse_loss = torch.nn.functional.mse_loss

    def loss_of(x: Any, y: Any) -> Any:
        return mse_loss(model(x), y)

    return trained(loss_of, data, parameters, optimizer, inputs, how)


def log_density(inputs: Logistic, how: Any = eager) -> Case:
    x, y = torch.from_numpy(inputs.x), torch.from_numpy(inputs.y)
    log_sigmoid = torch.nn.functional.logsigmoid
    value_of = how(lambda w: log_sigmoid(y * (x @ w)).sum() - 0.5 * (w * w).sum())

    def run() -> Values:
        w: Any = torch.from_numpy(inputs.w).requires_grad_()
        value = value_of(w)
        value.backward()
        return [value.item(), w.grad.numpy()]

    return Case(run, lambda results: results, peak_bytes)


def hessian(inputs: Softplus) -> Case:
    a, w = torch.tensor(inputs.a), torch.tensor(inputs.w)
    softplus = torch.nn.functional.softplus
    hessian_of = torch.func.hessian(lambda w: softplus(a @ w).sum() + (w**4).sum())
    return Case(lambda: hessian_of(w), lambda out: arrays([out]), peak_bytes)


def rosenbrock(size: int) -> Case:
    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        leaf: Any = torch.from_numpy(x).requires_grad_()
        value = rosenbrocks.value(leaf)
        value.backward()
        return value.item(), leaf.grad.numpy()

    return Case(lambda: rosenbrocks.minimise(value_and_grad, size), rosenbrocks.read)
