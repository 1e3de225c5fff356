"""This engine: one compiled step, under a budget or with checkpointed layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import wengert as wg

from ..contenders.wengert import arrays, compiled, restarting, set_threads, version
from ..harness import Values
from ..problems.mlp import LEARNING_RATE
from ..problems.transformer import Stack, Transformer
from .settings import FRACTIONS, Setting, results, segments

__all__ = ["set_threads", "version"]

name = "wengert"
NOT_COUNTED = 1024
"""Bytes, at least what the peak has and no budget counts: the step's result and its constants."""


def checkpoint(f: Any, *arguments: Any) -> Any:
    return wg.checkpoint(f)(*arguments)


def settings(inputs: Transformer, quick: bool) -> Iterator[Setting]:
    parameters = [wg.tensor(p, requires_grad=True) for p in inputs.parameters]
    optimizer = wg.optim.Adam(parameters, lr=LEARNING_RATE)
    data = [wg.tensor(inputs.tokens), wg.tensor(inputs.targets)]
    restart = restarting(parameters, optimizer)

    def training(stack: Stack | None = None) -> Any:
        def step(tokens: wg.Tensor, targets: wg.Tensor) -> wg.Tensor:
            logits = inputs.logits(wg.nn, parameters, tokens, stack)
            loss = wg.nn.cross_entropy(logits.reshape(-1, inputs.vocabulary), targets.reshape(-1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return step

    def read(loss: wg.Tensor) -> Values:
        (group,) = optimizer.state_dict()["groups"]
        return results(loss.item(), arrays(group["state"]["mean"]))

    free = compiled(training(), data, read, restart)
    yield Setting("memory_budget", "none", free)
    assert free.peak_bytes is not None
    peak = free.peak_bytes(free.run)
    for fraction in FRACTIONS:
        budget = int(fraction * peak)
        case = compiled(training(), data, read, restart, memory_budget=budget - NOT_COUNTED)
        yield Setting("memory_budget", f"{fraction:.0%}", case, budget)
    every_other = segments(checkpoint, 1, lambda i: i % 2 == 0)
    every = segments(checkpoint, 1, lambda i: True)
    for label, stack in (("every other layer", every_other), ("every layer", every)):
        yield Setting("wg.checkpoint", label, compiled(training(stack), data, read, restart))
