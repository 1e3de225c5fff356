"""Layers: modules with parameters, and activations as modules. PyTorch's names, arguments,
parameter names and initial distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _core, arguments
from .._core import ArgumentError, ArgumentTypeError, ShapeError, Tensor
from ..dtypes import as_dtype
from . import functional as F
from . import init
from .module import Module, Parameter

_linear = _core.ops.linear
_relu = _core.ops.relu
_silu = _core.ops.silu
_tanh = _core.ops.tanh
_sigmoid = _core.ops.sigmoid


def _parameter(shape: Sequence[int], dtype: Any) -> Parameter:
    return Parameter(np.empty(tuple(shape), as_dtype("float32" if dtype is None else dtype)))


class Linear(Module):
    """x @ weight.T + bias for x (..., in); weight is (out, in). ``Linear(out_features)`` takes the
    input size from the first call, or from the state that is loaded.

    >>> layer = wg.nn.Linear(8)
    >>> layer(wg.tensor([[1.0, 2.0]])).shape, layer.weight.shape
    ((1, 8), (8, 2))
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        in_features: int | None = None,
        out_features: int | None = None,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        if out_features is None:
            in_features, out_features = None, in_features
        self.out_features = arguments.integer("Linear", "out_features", out_features)
        self.in_features: int | None = None
        self._has_bias = arguments.flag("Linear", "bias", bias)
        self._dtype = None if dtype is None else as_dtype(dtype)
        self.weight = self.bias = None
        if in_features is not None:
            self._make(arguments.integer("Linear", "in_features", in_features))

    def _make(self, in_features: int) -> None:
        self.in_features = in_features
        self.weight = _parameter((self.out_features, in_features), self._dtype)
        if self._has_bias:
            self.bias = _parameter((self.out_features,), self._dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias anew, uniformly in +-1 / sqrt(in_features)."""
        self._require_ready("")
        bound = 1.0 / math.sqrt(max(self.in_features or 0, 1))
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _require_ready(self, path: str) -> None:
        if self.weight is None:
            raise ArgumentError(
                f"Linear({self.out_features}){f' at {path!r}' if path else ''}: the input size is "
                "not known yet; call the model once, load its state, or use "
                "Linear(in_features, out_features)"
            )

    def _make_ready(self, state: Mapping[str, Any], prefix: str) -> None:
        shape: tuple[int, ...] = getattr(state.get(prefix + "weight"), "shape", ())
        if self.weight is None and len(shape) == 2:
            self._make(shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if weight is None:
            if _core._recording():
                raise ArgumentError(
                    f"Linear({self.out_features}): the input size is not known when the call is "
                    "compiled; call the model once before, or use Linear(in_features, out_features)"
                )
            shape = _core.asarray(x).shape
            if not shape:
                raise ShapeError("Linear: the input needs at least 1 axis (..., in); got ()")
            self._make(shape[-1])
            weight, bias = self.weight, self.bias
            assert weight is not None
        return _linear(x, weight) if bias is None else _linear(x, weight, bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self._has_bias}"
        )


class Embedding(Module):
    """The rows of weight (num_embeddings, embedding_dim) at integer indices of any shape. The row
    at ``padding_idx`` starts as 0 and gets no gradient.

    >>> wg.nn.Embedding(10, 3)(wg.tensor([1, 5])).shape
    (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = None,
    ) -> None:
        self.num_embeddings = arguments.integer("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = arguments.integer("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None:
            padding_idx = arguments.integer("Embedding", "padding_idx", padding_idx, None)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(
                f"Embedding: padding_idx {padding_idx} is not one of {num_embeddings} rows"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = _parameter((num_embeddings, embedding_dim), dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the rows anew from the standard normal distribution."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            values = _core._numpy(_core._detach(self.weight)).copy()
            values[self.padding_idx] = 0.0
            init._set(self.weight, values)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _shape(where: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    given = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    if not given:
        raise ArgumentError(f"{where}: 'normalized_shape' needs at least 1 axis; got ()")
    return tuple([arguments.integer(where, "normalized_shape", n) for n in given])


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, of sizes normalized_shape.

    >>> wg.nn.LayerNorm(4)(wg.tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 4)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        eps = arguments.real("LayerNorm", "eps", eps)
        self.eps = eps
        self.elementwise_affine = elementwise_affine = arguments.flag(
            "LayerNorm", "elementwise_affine", elementwise_affine
        )
        bias = arguments.flag("LayerNorm", "bias", bias)
        self.weight = self.bias = None
        if elementwise_affine:
            self.weight = _parameter(self.normalized_shape, dtype)
            if bias:
                self.bias = _parameter(self.normalized_shape, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to 1 and bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x**2) + eps) * weight over the last axes, of sizes normalized_shape.

    >>> wg.nn.RMSNorm(2)(wg.tensor([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        if eps is not None:
            eps = arguments.real("RMSNorm", "eps", eps)
        self.eps = eps
        self.elementwise_affine = elementwise_affine = arguments.flag(
            "RMSNorm", "elementwise_affine", elementwise_affine
        )
        self.weight = _parameter(self.normalized_shape, dtype) if elementwise_affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


def _number(where: str, name: str, value: Any) -> Any:
    """What broadcasts with the input: a number, or a tensor, which may be differentiated."""
    return arguments.real(where, name, value, -math.inf, finite=False, tensor=True)


class Dropout(Module):
    """In training, zeros with probability p and the other elements over 1 - p; in ``eval`` x
    itself. Draws from ``generator``, or else from ``wg.random.default_generator()``.

    >>> layer = wg.nn.Dropout(0.5).eval()
    >>> layer(wg.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, generator: Any = None) -> None:
        p = arguments.probability("Dropout", "p", p)
        if generator is not None and not callable(getattr(generator, "random", None)):
            raise ArgumentTypeError(
                "Dropout: 'generator' takes a generator, such as wg.random.default_rng(seed); got "
                f"{generator!r:.60}"
            )
        self.p = p
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Identity(Module):
    """x itself; takes and ignores any arguments when made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """The axes from start_dim to end_dim as one.

    >>> wg.nn.Flatten()(wg.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = arguments.integer("Flatten", "start_dim", start_dim, None)
        self.end_dim = arguments.integer("Flatten", "end_dim", end_dim, None)
        if self.start_dim > self.end_dim and (self.start_dim < 0) == (self.end_dim < 0):
            raise ArgumentError(
                f"Flatten: 'start_dim' lies behind 'end_dim'; got {start_dim} and {end_dim}"
            )

    def forward(self, input: Tensor) -> Tensor:
        input = arguments.to_tensor("Flatten", "input", input)
        shape, n = input.shape, input.ndim
        first, last = (d + n if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < n:
            raise ShapeError(
                f"Flatten: start_dim={self.start_dim}, end_dim={self.end_dim} do not fit {shape}"
            )
        size = math.prod(shape[first : last + 1])
        return _core.ops.reshape(input, (*shape[:first], size, *shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class ReLU(Module):
    """``nn.relu`` as a module."""

    def __init__(self, inplace: bool = False) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        return _relu(input)


class LeakyReLU(Module):
    """``nn.leaky_relu`` as a module."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = _number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """``nn.elu`` as a module."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = _number("ELU", "alpha", alpha)

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class GELU(Module):
    """``nn.gelu`` as a module."""

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError(f"GELU: approximate must be 'none' or 'tanh'; got {approximate!r}")
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """``nn.silu`` as a module."""

    def __init__(self, inplace: bool = False) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        return _silu(input)


class Tanh(Module):
    """``nn.tanh`` as a module."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return _tanh(input)


class Sigmoid(Module):
    """``nn.sigmoid`` as a module."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return _sigmoid(input)


class Softplus(Module):
    """``nn.softplus`` as a module."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = _number("Softplus", "beta", beta)
        self.threshold = _number("Softplus", "threshold", threshold)

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


def _dim(where: str, dim: Any) -> int | None:
    return None if dim is None else arguments.integer(where, "dim", dim, None)


class Softmax(Module):
    """``nn.softmax`` as a module."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dim("Softmax", dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """``nn.log_softmax`` as a module."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dim("LogSoftmax", dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
