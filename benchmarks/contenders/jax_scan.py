"""JAX, many steps in one jit call: a `lax.scan` over the donated state."""

from __future__ import annotations

from ..harness import Case
from ..problems.mlp import MLP
from ..problems.scalar import ScalarNetwork
from . import jax
from .jax import scanned, set_threads, version

__all__ = ["set_threads", "version"]

name = "jax_scan"


def mlp_step(inputs: MLP) -> Case | None:
    return jax.mlp_step(inputs, how=scanned) if inputs.is_quick else None


def sgd_step(inputs: ScalarNetwork) -> Case:
    return jax.sgd_step(inputs, how=scanned)
