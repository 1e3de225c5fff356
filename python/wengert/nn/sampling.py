"""Samples of discrete distributions that have derivatives."""

from __future__ import annotations

from typing import Any

from .. import random
from .._core import ArgumentError, DTypeError, Tensor, asarray, ops
from ..manipulation import moveaxis
from ..relaxation import carry


def gumbel_softmax(
    logits: Tensor,
    tau: Any = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    generator: Any = None,
) -> Tensor:
    """A relaxed sample of the categories along ``dim``, of the shape of ``logits`` (floats):
    softmax((logits + Gumbel noise) / tau), nearly one-hot for a small temperature ``tau``. With
    ``hard`` exactly one-hot, with the derivatives of the relaxed sample.

    Draws from ``wg.random.default_generator()`` unless another generator is given; under
    ``wg.vmap`` all examples share the draw. ``eps`` is accepted and has no effect, as in PyTorch.

    >>> y = wg.nn.gumbel_softmax(wg.zeros((2, 3)), hard=True)
    >>> y.sum(axis=-1).tolist()
    [1.0, 1.0]
    """
    logits = asarray(logits)
    if logits.dtype.kind != "f":
        raise DTypeError(f"gumbel_softmax: logits must be floats; got {logits.dtype}")
    if isinstance(tau, (int, float)) and not tau > 0:
        raise ArgumentError(f"gumbel_softmax: tau must be positive; got {tau}")
    if generator is None:
        generator = random.default_generator()
    noise = generator.gumbel(size=logits.shape, dtype=logits.dtype)
    soft = ops.softmax(ops.divide(ops.add(logits, noise), tau), dim)
    if not hard:
        return soft
    chosen = ops.argmax(ops.stop_gradient(soft), dim)
    return carry(moveaxis(ops.one_hot(chosen, soft.shape[dim], soft.dtype), -1, dim), soft)
