"""JAX: jax.checkpoint with its policies around layers, unrolled and in a lax.scan over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..contenders.jax import (
    Functions,
    adam,
    cross_entropy,
    fresh,
    peak_bytes,
    set_threads,
    version,
)
from ..harness import Case, Values
from ..problems.transformer import Stack, Transformer, by_layer
from .settings import Setting, results, segments

__all__ = ["set_threads", "version"]

name = "jax"
POLICIES = {
    "matmuls kept": jax.checkpoint_policies.dots_saveable,
    "unbatched matmuls kept": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "nothing kept": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True)
class Stacked(Transformer):
    """With each parameter of the layers stacked over the layers."""

    @cached_property
    def parameters(self) -> Values:
        every = super().parameters
        layers = [np.stack(a) for a in zip(*by_layer(every[2:-3]), strict=True)]
        return [*every[:2], *layers, *every[-3:]]


def scan(wrap: Callable) -> Stack:
    def stack(layer: Callable, x: Any, parameters: Values) -> Any:
        step = wrap(lambda x, own: (layer(x, *own), None))
        return jax.lax.scan(step, x, parameters)[0]

    return stack


def unstacked(parameters: Values) -> Values:
    """By layer, from what is stacked."""
    rows = zip(*(np.asarray(p) for p in parameters[2:-3]), strict=True)
    return [*parameters[:2], *(p for row in rows for p in row), *parameters[-3:]]


class Steps:
    """Cases of steps that share one state."""

    def __init__(self, inputs: Transformer) -> None:
        self.inputs = inputs
        self.state: Any = None
        self.data = [jnp.asarray(inputs.tokens), jnp.asarray(inputs.targets)]

    def case(self, stack: Stack | None = None) -> Case:
        def loss_of(parameters: Values, tokens: Any, targets: Any) -> Any:
            return cross_entropy(self.inputs.logits(Functions, parameters, tokens, stack), targets)

        return adam(self.inputs, loss_of, self.data, self.how)

    def how(self, update: Callable, first: Any, data: Values, _: Any) -> Case:
        step = jax.jit(update, donate_argnums=0)
        if self.state is None:
            self.state = fresh(first)

        def restart() -> None:
            self.state = fresh(first)

        def run() -> Any:
            self.state, loss = step(self.state, *data)
            jax.block_until_ready(self.state)
            return loss

        def read(loss: Any) -> Values:
            moments = self.state[1]
            whole = unstacked(moments) if isinstance(self.inputs, Stacked) else moments
            return results(float(loss), whole)

        return Case(run, read, lambda _: peak_bytes(step, self.state, *data), restart=restart)


def settings(inputs: Transformer, quick: bool) -> Iterator[Setting]:
    unrolled = Steps(inputs)
    yield Setting("jax.checkpoint", "none", unrolled.case())

    def again(policy: Any, f: Callable, *arguments: Any) -> Any:
        return jax.checkpoint(f, policy=policy)(*arguments)

    for label, policy in POLICIES.items():
        every = segments(partial(again, policy), 1, lambda i: True)
        yield Setting("jax.checkpoint", label, unrolled.case(every))
    every_other = segments(partial(again, POLICIES["nothing kept"]), 1, lambda i: i % 2 == 0)
    yield Setting("jax.checkpoint", "every other layer", unrolled.case(every_other))

    sizes = {name: getattr(inputs, name) for name in Transformer.__dataclass_fields__}
    looped = Steps(Stacked(**sizes))
    yield Setting("jax.checkpoint in scan", "none", looped.case(scan(lambda step: step)))
    for label, policy in POLICIES.items():
        wrap = partial(jax.checkpoint, policy=policy, prevent_cse=False)
        yield Setting("jax.checkpoint in scan", label, looped.case(scan(wrap)))
