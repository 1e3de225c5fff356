"""This engine, many compiled steps in one call: `wg.compile(step).run(..., steps=n)`."""

from __future__ import annotations

from ..harness import Case
from ..problems.mlp import MLP
from ..problems.scalar import ScalarNetwork
from . import wengert
from .wengert import run, set_threads, version

__all__ = ["set_threads", "version"]

name = "wengert_run"


def mlp_step(inputs: MLP) -> Case | None:
    return wengert.mlp_step(inputs, how=run) if inputs.is_quick else None


def sgd_step(inputs: ScalarNetwork) -> Case:
    return wengert.sgd_step(inputs, how=run)
