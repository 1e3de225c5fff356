"""PyTorch with `torch.compile` around the loss and its gradient; its first calls take minutes."""

from functools import partial

import torch as pytorch

from . import torch
from .torch import set_threads, version

__all__ = ["set_threads", "version"]

name = "torch_compile"

mlp_step = partial(torch.mlp_step, how=pytorch.compile)
sgd_step = partial(torch.sgd_step, how=pytorch.compile)
transformer_step = partial(torch.transformer_step, how=pytorch.compile)
elementwise = partial(torch.elementwise, how=pytorch.compile)
log_density = partial(torch.log_density, how=pytorch.compile)
