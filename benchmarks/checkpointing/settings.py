"""What the contenders of this benchmark share: the step, its settings and what is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..harness import Case, Values
from ..problems.mlp import BETAS
from ..problems.transformer import LAYER, Stack, Transformer

FRACTIONS = (0.5, 0.35, 0.25)
"""Budgets, of the peak of this engine's step that has none."""


def sizes(quick: bool) -> Transformer:
    return Transformer(6, 32, 2, 16, 4, 12) if quick else Transformer(48, 256, 8, 128, 8, 64)


@dataclass(frozen=True)
class Setting:
    """A point of a curve: a way to run the step. `budget`: the bytes that it was allowed."""

    curve: str
    label: str
    case: Case
    budget: int | None = None

    @property
    def name(self) -> str:
        return f"{self.curve}: {self.label}"


def results(loss: float, moments: Values) -> Values:
    """What is checked after one step: the loss, and the gradient, which is the optimiser's first
    moment over 1 - beta."""
    return [loss, np.concatenate([np.ravel(m) for m in moments]) / (1.0 - BETAS[0])]


def expected(inputs: Transformer) -> Values:
    """The same in float64, from the formulas."""
    loss, gradients = inputs.loss_and_gradients([p.astype(np.float64) for p in inputs.parameters])
    return [loss, np.concatenate([g.ravel() for g in gradients])]


def segments(checkpoint: Callable, layers: int, chosen: Callable[[int], bool]) -> Stack:
    """A stack that runs `layers` layers at a time, those segments checkpointed that are chosen by
    their number; `checkpoint` takes a function and its arguments."""

    def several(layer: Callable, x: Any, *parameters: Any) -> Any:
        for start in range(0, len(parameters), LAYER):
            x = layer(x, *parameters[start : start + LAYER])
        return x

    def stack(layer: Callable, x: Any, parameters: Values) -> Any:
        run = partial(several, layer)
        step = layers * LAYER
        for i, start in enumerate(range(0, len(parameters), step)):
            own = parameters[start : start + step]
            x = checkpoint(run, x, *own) if chosen(i) else run(x, *own)
        return x

    return stack
