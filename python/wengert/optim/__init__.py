"""Optimisers, gradient clipping and learning-rate schedules."""

from .optimizer import Optimizer, clip_grad_norm
from .rules import SGD, Adam, AdamW, RMSProp
from .schedules import constant, cosine, linear, warmup

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
