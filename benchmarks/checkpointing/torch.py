"""PyTorch: torch.utils.checkpoint around layers, and the activation budget of torch.compile.

Layers are compiled one at a time, as all are alike: 48 in one graph compile for many minutes.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch._functorch import config
from torch.utils.checkpoint import checkpoint

from ..contenders.torch import arrays, peak_bytes, restarting, set_threads, version
from ..harness import Case, Values
from ..problems.mlp import LEARNING_RATE
from ..problems.transformer import Stack, Transformer, in_turn
from .settings import Setting, results, segments

__all__ = ["set_threads", "version"]

name = "torch"
BUDGETS = (1.0, 0.5, 0.25, 0.0)
"""Shares of a layer's activations that torch.compile may keep."""

CHOSEN: dict[str, tuple[int, Callable[[int], bool]]] = {
    "every 4th layer": (1, lambda i: i % 4 == 0),
    "every other layer": (1, lambda i: i % 2 == 0),
    "3 of 4 layers": (1, lambda i: i % 4 != 0),
    "every layer": (1, lambda i: True),
    "segments of 2": (2, lambda i: True),
    "segments of 4": (4, lambda i: True),
}


def with_budget(inputs: Transformer, budget: float) -> Stack:
    """A stack of layers compiled while the setting has this value."""

    def layer(x: Any, *parameters: Any) -> Any:
        return inputs.layer(torch.nn.functional, x, *parameters)

    # What is compiled is found again by its code: each budget has one of its own.
    code = layer.__code__.replace(co_name=f"layer_{100 * budget:.0f}")
    own = types.FunctionType(code, layer.__globals__, closure=layer.__closure__)
    replay = torch.compile(own)

    def stack(_: Callable, x: Any, parameters: Values) -> Any:
        with config.patch(activation_memory_budget=budget):
            return in_turn(replay, x, parameters)

    return stack


def settings(inputs: Transformer, quick: bool) -> Iterator[Setting]:
    parameters = [torch.tensor(p, requires_grad=True) for p in inputs.parameters]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    tokens, targets = torch.tensor(inputs.tokens), torch.tensor(inputs.targets)
    restart = restarting(parameters, optimizer)
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)

    def case(stack: Stack | None = None) -> Case:
        def step() -> Any:
            logits = inputs.logits(torch.nn.functional, parameters, tokens, stack)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        def read(loss: Any) -> Values:
            moments = [optimizer.state[p]["exp_avg"] for p in parameters]
            return results(loss.item(), arrays(moments))

        return Case(step, read, peak_bytes, restart=restart)

    yield Setting("torch.utils.checkpoint", "none", case())
    for label, (layers, chosen) in CHOSEN.items():
        yield Setting("torch.utils.checkpoint", label, case(segments(again, layers, chosen)))
    for budget in BUDGETS if not quick else BUDGETS[::2]:
        yield Setting("torch.compile, budget", f"{budget:g}", case(with_budget(inputs, budget)))
