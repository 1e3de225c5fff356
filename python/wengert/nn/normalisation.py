"""Batch normalisation, with running statistics as buffers that a call in training changes in
place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core, arguments
from .._core import ArgumentError, ShapeError, Tensor, ops
from ..dtypes import as_dtype
from ..grad_mode import no_grad
from . import init
from .module import Module, Parameter


def _sizes(where: str, input: Tensor, channels: dict[str, Tensor | None]) -> tuple[int, ...]:
    """The shape (1, C, 1 ...) that lies along the channels of the input (N, C, ...)."""
    if input.ndim < 2:
        raise ShapeError(f"{where}: the input must be (N, C, ...); got {input.shape}")
    size = input.shape[1]
    for name, x in channels.items():
        if x is not None and x.shape != (size,):
            raise ShapeError(
                f"{where}: {name} must be ({size},), one number a channel of the input "
                f"{input.shape}; got {x.shape}"
            )
    return (1, size, *(1,) * (input.ndim - 2))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias for x (N, C, ...), floats, with a mean and a
    variance (biased) a channel.

    In ``training`` those of the batch, which needs more than one value a channel; then
    ``running_mean`` and ``running_var`` (C,), if given, change in place to (1 - momentum) running +
    momentum batch, the variance without bias. Otherwise the running ones.

    >>> x = wg.tensor([[1.0], [3.0]])
    >>> wg.nn.batch_norm(x, None, None, training=True, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    eps = arguments.real("batch_norm", "eps", eps, tensor=True)
    momentum = arguments.real("batch_norm", "momentum", momentum, 0.0, 1.0, tensor=True)
    training = arguments.flag("batch_norm", "training", training)
    input = arguments.to_tensor("batch_norm", "input", input)
    given = {"running_mean": running_mean, "running_var": running_var}
    given |= {"weight": weight, "bias": bias}
    along = _sizes("batch_norm", input, given)
    if training:
        axes = (0, *range(2, input.ndim))
        n = input.size // max(along[1], 1)
        if n <= 1 and along[1] > 0:
            raise ArgumentError(
                "batch_norm: in training needs more than 1 value a channel; got an input of shape "
                f"{input.shape}. Use a larger batch, or eval()"
            )
        mean = ops.mean(input, axes, keepdims=True)
        centred = ops.subtract(input, mean)
        var = ops.mean(ops.square(centred), axes, keepdims=True)
        with no_grad():
            _follow(running_mean, mean, momentum)
            _follow(running_var, ops.multiply(var, n / (n - 1)) if n > 1 else var, momentum)
    else:
        if running_mean is None or running_var is None:
            raise ArgumentError("batch_norm: needs running_mean and running_var unless training")
        centred = ops.subtract(input, ops.reshape(running_mean, along))
        var = ops.reshape(running_var, along)
    y = ops.multiply(centred, ops.rsqrt(ops.add(var, eps)))
    if weight is not None:
        y = ops.multiply(y, ops.reshape(weight, along))
    return y if bias is None else ops.add(y, ops.reshape(bias, along))


def _follow(running: Tensor | None, value: Tensor, momentum: Any) -> None:
    """running = (1 - momentum) running + momentum value, in place."""
    if running is None:
        return
    new = ops.astype(ops.reshape(ops.stop_gradient(value), running.shape), running.dtype)
    kept = ops.multiply(running, 1.0 - momentum)
    _core._assign(running, ops.astype(ops.add(kept, ops.multiply(new, momentum)), running.dtype))


class _BatchNorm(Module):
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _ndims: tuple[int, ...]
    _shapes: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        where = type(self).__name__
        self.num_features = arguments.integer(where, "num_features", num_features)
        eps = arguments.real(where, "eps", eps)
        if momentum is not None:
            momentum = arguments.real(where, "momentum", momentum, 0.0, 1.0)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine = arguments.flag(where, "affine", affine)
        self.track_running_stats = arguments.flag(where, "track_running_stats", track_running_stats)
        dtype = as_dtype("float32" if dtype is None else dtype)
        size = self.num_features
        self.weight = Parameter(np.ones(size, dtype)) if affine else None
        self.bias = Parameter(np.zeros(size, dtype)) if affine else None
        stats = self.track_running_stats
        self.register_buffer("running_mean", _core.tensor(np.zeros(size, dtype)) if stats else None)
        self.register_buffer("running_var", _core.tensor(np.ones(size, dtype)) if stats else None)
        self.register_buffer("num_batches_tracked", _core.tensor(0) if stats else None)

    def reset_running_stats(self) -> None:
        """Sets the running mean to 0, the variance to 1 and the count of batches to 0."""
        with no_grad():
            for name, value in (
                ("running_mean", 0),
                ("running_var", 1),
                ("num_batches_tracked", 0),
            ):
                if getattr(self, name) is not None:
                    _core._assign(getattr(self, name), value)

    def reset_parameters(self) -> None:
        """Sets weight to 1, bias to 0 and the running statistics to their start."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        input = arguments.to_tensor(type(self).__name__, "input", input)
        if input.ndim not in self._ndims or input.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: the input must be {self._shapes} with C = "
                f"{self.num_features}; got {input.shape}"
            )
        momentum: Any = self.momentum
        counter = self.num_batches_tracked
        seen = ops.add(counter, 1) if self.training and counter is not None else None
        if seen is not None and momentum is None:  # the mean over all batches so far
            momentum = ops.reciprocal(ops.astype(seen, "float64"))
        out = batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            0.0 if momentum is None else momentum,
            self.eps,
        )
        if counter is not None and seen is not None:
            with no_grad():
                _core._assign(counter, seen)
        return out

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """``nn.batch_norm`` over (N, C) or (N, C, L), with weight, bias and running statistics (C,).
    With momentum None these are means over all batches.

    >>> layer = wg.nn.BatchNorm1d(2)
    >>> layer(wg.tensor([[1.0, 2.0], [3.0, 6.0]])).shape, layer.running_mean.tolist()
    ((2, 2), [0.20000000298023224, 0.4000000059604645])
    """

    _ndims = (2, 3)
    _shapes = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """``nn.batch_norm`` over (N, C, H, W), with weight, bias and running statistics (C,). With
    momentum None these are means over all batches.

    >>> wg.nn.BatchNorm2d(3).eval()(wg.zeros((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    _ndims = (4,)
    _shapes = "(N, C, H, W)"
