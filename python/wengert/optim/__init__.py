"""Optimisers, gradient clipping and learning-rate schedules."""

from typing import TYPE_CHECKING, NoReturn

from .. import other_names
from ..checked import cover_constructors
from .optimizer import Optimizer, clip_grad_norm
from .rules import SGD, Adam, AdamW, RMSProp
from .schedules import constant, cosine, linear, warmup

cover_constructors([SGD, Adam, AdamW, RMSProp])

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "constant",
    "cosine",
    "linear",
    "warmup",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.optim", name)
