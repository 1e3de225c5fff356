"""The reference in plain Python: its Wengert list of vectors, and of single numbers."""

from __future__ import annotations

import platform
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..harness import Case, Values
from ..problems import chain as chains
from ..problems.mlp import LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork
from ..reference import mlp
from ..reference.primitives import add as vector_add
from ..reference.reverse import WengertList

name = "reference"

# A step of plain Python with more multiplications would take seconds.
MOST_MULTIPLICATIONS = 1_000_000


def version() -> str:
    return f"on Python {platform.python_version()}"


def set_threads(threads: int) -> None:
    """It has one."""


def peak_bytes(run: Callable[[], Any]) -> int:
    """Of Python objects."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def add(inputs: Values) -> Case:
    x, y, _ = (v.tolist() for v in inputs)

    def run() -> Sequence[float]:
        trace = WengertList()
        return trace.nodes[trace.apply(vector_add, trace.leaf(x), trace.leaf(y, False))].value

    return Case(run, lambda out: [out], peak_bytes)


def add_backward(inputs: Values) -> Case:
    x, y, cotangent = (v.tolist() for v in inputs)

    def run() -> Sequence[float]:
        trace = WengertList()
        leaf = trace.leaf(x)
        out = trace.apply(vector_add, leaf, trace.leaf(y, False))
        return trace.sweep(out, cotangent)[leaf]

    return Case(run, lambda out: [out], peak_bytes)


def chain(inputs: chains.Chain) -> Case:
    x, b = chains.X.tolist(), chains.B.tolist()

    def run() -> Values:
        trace = WengertList()
        leaf, constant = trace.leaf(x), trace.leaf(b, False)
        y = leaf
        for _ in range(inputs.length):
            y = trace.apply(vector_add, y, constant)
        return [trace.nodes[y].value, trace.sweep(y, [1.0] * 4)[leaf]]

    return Case(run, lambda results: results)


def fan(inputs: chains.Fan) -> Case:
    x = chains.X.tolist()

    def run() -> Values:
        trace = WengertList()
        leaf, y = trace.leaf(x), trace.leaf([0.0] * 4, False)
        for _ in range(inputs.uses):
            y = trace.apply(vector_add, y, leaf)
        return [trace.nodes[y].value, trace.sweep(y, [1.0] * 4)[leaf]]

    return Case(run, lambda results: results)


def mlp_step(inputs: MLP) -> Case | None:
    if inputs.multiplications > MOST_MULTIPLICATIONS:
        return None
    model = mlp.MLP(inputs.sizes, optimizer=mlp.Adam(LEARNING_RATE))
    weights, biases = inputs.parameters[::2], inputs.parameters[1::2]
    model.set_parameters([(w.tolist(), b.tolist()) for w, b in zip(weights, biases, strict=True)])
    x, labels = inputs.x.tolist(), inputs.labels.tolist()

    def read(loss: float) -> Values:
        found = [np.array(p) for layer in model.get_parameters() for p in layer]
        return inputs.results(loss, found)

    return Case(lambda: model.step(x, labels), read, peak_bytes)


def scalar_step(inputs: ScalarNetwork) -> Case:
    network = inputs.network()
    xs, ys = inputs.x.tolist(), inputs.y.tolist()

    def step() -> float:
        loss = network.loss(xs, ys)
        loss.backward()
        network.step(SCALAR_RATE)
        return loss.data

    def read(loss: float) -> Values:
        return inputs.results(loss, [np.array([p.data for p in network.parameters])])

    return Case(step, read, peak_bytes)


sgd_step = scalar_step
