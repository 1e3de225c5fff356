"""Models: modules, layers, losses and functions, under PyTorch's names."""

from typing import TYPE_CHECKING, NoReturn

from .. import other_names
from ..checked import cover_constructors
from . import functional, init
from .attention import MultiHeadAttention
from .flow import GradientFlow, gradient_flow
from .functional import *  # noqa: F403
from .layers import (
    ELU,
    GELU,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    ReLU,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .module import Module, ModuleList, Parameter, Sequential, functional_call
from .normalisation import BatchNorm1d, BatchNorm2d
from .recurrent import GRU, LSTM

cover_constructors(
    cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, (Module, Parameter, GradientFlow))
)

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GradientFlow",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "functional_call",
    "gradient_flow",
    "init",
    *functional.__all__,
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.nn", name)
