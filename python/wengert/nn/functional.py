"""Functions of a model under the names of PyTorch's `nn.functional`, called as there. `inplace` is
accepted and has no effect: results are always new. Losses are in losses.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import _core, arguments, other_names
from .._core import ArgumentError, BoundsError, DTypeError, ShapeError, Tensor
from ..checked import cover as _cover
from ..checked import warn
from .losses import (
    _is_number,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .normalisation import batch_norm
from .sampling import gumbel_softmax

__all__ = [
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "gumbel_softmax",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "relu",
    "relu6",
    "rms_norm",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "tanh",
]

_ops = _core.ops
_relu = _ops.relu
_gelu = _ops.gelu
_gelu_tanh = _ops.gelu_tanh
_silu = _ops.silu
_sigmoid = _ops.sigmoid
_tanh = _ops.tanh
_linear = _ops.linear
_softmax = _ops.softmax
_log_softmax = _ops.log_softmax


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), with derivative 0 at 0.

    >>> wg.nn.relu(wg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return _relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x clipped to [0, 6]."""
    return _ops.clip(input, 0.0, 6.0)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x clipped to [min_val, max_val]."""
    return _ops.clip(input, min_val, max_val)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    return _ops.leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return _ops.elu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalising scale * elu(x, alpha)."""
    return _ops.elu(input, 1.6732632423543772) * 1.0507009873554805


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi the normal distribution; ``approximate="tanh"`` for the usual approximation.

    >>> round(wg.nn.gelu(wg.tensor(1.0)).item(), 4)
    0.8413
    """
    if approximate == "none":
        return _gelu(input)
    if approximate == "tanh":
        return _gelu_tanh(input)
    raise ArgumentError(f"gelu: approximate must be 'none' or 'tanh'; got {approximate!r}")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return input * _tanh(_ops.softplus(input))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _sigmoid(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) without overflow."""
    return _ops.log_sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _tanh(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, without overflow; x itself where beta * x > threshold.

    >>> round(wg.nn.softplus(wg.tensor(0.0)).item(), 4)
    0.6931
    """
    if _is_number(beta, 1) and _is_number(threshold, 20):
        return _ops.softplus(input)
    scaled = input * beta
    return _ops.where(scaled > threshold, input, _ops.softplus(scaled) / beta)


def _dimension(name: str, input: Any, dim: int | None) -> int:
    if dim is not None:
        return dim
    ndim = arguments.to_tensor(name, "input", input).ndim
    warn(f"{name}: choose the axis, for example dim=-1")
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``, without overflow.

    >>> wg.nn.softmax(wg.tensor([0.0, 0.0]), dim=-1).tolist()
    [0.5, 0.5]
    """
    if dtype is not None:
        input = _ops.astype(input, dtype)
    return _softmax(input, dim if dim is not None else _dimension("softmax", input, dim))


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-x)."""
    return softmax(-input, _dimension("softmin", input, dim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """x - log(sum(exp(x))) along ``dim``, without overflow."""
    if dtype is not None:
        input = _ops.astype(input, dtype)
    return _log_softmax(input, dim if dim is not None else _dimension("log_softmax", input, dim))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for x (..., in), weight (out, in), bias (out,).

    >>> wg.nn.linear(wg.tensor([1.0, 2.0]), wg.tensor([[3.0, 4.0]])).tolist()
    [11.0]
    """
    return _linear(input, weight) if bias is None else _linear(input, weight, bias)


def _normalized_ndim(name: str, input: Tensor, normalized_shape: int | Sequence[int]) -> int:
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name}: the last axes of the input, {input.shape}, must be normalized_shape; "
            f"got {shape}"
        )
    return len(shape)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are
    ``normalized_shape``."""
    input = arguments.to_tensor("layer_norm", "input", input)
    eps = arguments.real("layer_norm", "eps", eps, tensor=True, single=True)
    ndim = _normalized_ndim("layer_norm", input, normalized_shape)
    if weight is None:
        y = _ops.layer_norm(input, normalized_ndim=ndim, eps=eps)
        return y if bias is None else y + bias
    if bias is None:
        return _ops.layer_norm(input, weight, normalized_ndim=ndim, eps=eps)
    return _ops.layer_norm(input, weight, bias, normalized_ndim=ndim, eps=eps)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x**2) + eps) * weight over the last axes, whose sizes are
    ``normalized_shape``; eps is by default the dtype's."""
    input = arguments.to_tensor("rms_norm", "input", input)
    ndim = _normalized_ndim("rms_norm", input, normalized_shape)
    if eps is None:
        eps = 2.0**-52 if input.dtype == "float64" else 2.0**-23
    eps = arguments.real("rms_norm", "eps", eps, tensor=True, single=True)
    if weight is None:
        return _ops.rms_norm(input, normalized_ndim=ndim, eps=eps)
    return _ops.rms_norm(input, weight, normalized_ndim=ndim, eps=eps)


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: Any = None,
) -> Tensor:
    """In training, zeros with probability p and the other elements over 1 - p; else x itself. Draws
    from ``wg.random.default_generator()`` unless another generator is given."""
    input = arguments.to_tensor("dropout", "input", input)
    p = arguments.probability("dropout", "p", p)
    if not arguments.flag("dropout", "training", training) or _is_number(p, 0):
        return input
    if _is_number(p, 1):
        return _ops.where(False, input, 0.0)
    if generator is None:
        from .. import random

        generator = random.default_generator()
    keep = generator.random(input.shape) >= p
    return _ops.where(keep, input * (1.0 / (1.0 - p)), 0.0)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of weight (n, d) at integer indices of any shape: (...) to (..., d). The row at
    ``padding_idx`` gets no gradient.

    >>> wg.nn.embedding(wg.tensor([1, 0]), wg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    try:
        rows = _ops.take(weight, input, 0)
    except (DTypeError, BoundsError) as error:
        text = str(error).removeprefix("take: ")
        raise type(error)(f"embedding: {text}; weight is {weight.shape}") from None
    if padding_idx is None:
        return rows
    size = weight.shape[0]
    if not -size <= padding_idx < size:
        raise ArgumentError(f"embedding: padding_idx {padding_idx} is not one of {size} rows")
    padding = _ops.expand_dims(_ops.equal(input, padding_idx % size), -1)
    return _ops.where(padding, _ops.stop_gradient(rows), rows)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 vectors that are 1 at the class and 0 elsewhere: (...) to (..., num_classes). By
    default there are as many classes as the largest index asks for.

    >>> wg.nn.one_hot(wg.tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if num_classes == -1:
        tensor = arguments.to_tensor("one_hot", "tensor", tensor)
        if tensor.dtype.kind not in "iu":
            raise DTypeError(f"one_hot: indices must be integers; got {tensor.dtype}")
        if tensor.size == 0:
            raise ArgumentError("one_hot: give num_classes where there are no indices")
        num_classes = int(_ops.max(tensor)) + 1
    return _ops.one_hot(tensor, num_classes, dtype="int64")


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm, eps), where norm is the p-norm along ``dim``.

    >>> wg.nn.normalize(wg.tensor([3.0, 4.0]), dim=0).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    p = arguments.real("normalize", "p", p, finite=False, tensor=True)
    eps = arguments.real("normalize", "eps", eps, tensor=True)
    if _is_number(p, 2):
        norm = _ops.vector_norm(input, dim, True)
    elif _is_number(p, 1):
        norm = _ops.sum(_ops.abs(input), dim, keepdims=True)
    elif _is_number(p, math.inf):
        norm = _ops.max(_ops.abs(input), dim, keepdims=True)
    else:
        sums = _ops.sum(_ops.power(_ops.abs(input), p), dim, keepdims=True)
        zero = _ops.equal(sums, 0.0)
        norm = _ops.where(zero, 0.0, _ops.power(_ops.where(zero, 1.0, sums), 1.0 / p))
    return input / _ops.maximum(norm, eps)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.mT * scale + mask) @ value for query (..., L, E), key (..., S, E) and
    value (..., S, D), whose leading axes broadcast; scale is 1 / sqrt(E) unless given. A boolean
    mask is True where attention is allowed, a float one is added; with ``is_causal`` query i sees
    the keys j <= i only. A query that sees no key gets 0. With ``enable_gqa`` axis -3 holds heads,
    and a head of key and value serves a group of neighbouring heads of query.

    Without mask and dropout no matrix (L, S) is kept, forward or backward, and the keys that
    ``is_causal`` hides cost nothing. A mask or dropout makes that matrix.

    >>> q, k, v = wg.tensor([[1.0]]), wg.tensor([[0.0], [0.0]]), wg.tensor([[1.0], [3.0]])
    >>> wg.nn.scaled_dot_product_attention(q, k, v).tolist()
    [[2.0]]
    """
    where = "scaled_dot_product_attention"
    is_causal = arguments.flag(where, "is_causal", is_causal)
    enable_gqa = arguments.flag(where, "enable_gqa", enable_gqa)
    dropout_p = arguments.probability(where, "dropout_p", dropout_p)
    if is_causal and attn_mask is not None:
        raise ArgumentError(f"{where}: give 'attn_mask' or 'is_causal', not both")
    query = arguments.to_tensor(where, "query", query)
    key = arguments.to_tensor(where, "key", key)
    value = arguments.to_tensor(where, "value", value)
    _check_attention(query, key, value, enable_gqa)
    mask = None if attn_mask is None else arguments.to_tensor(where, "attn_mask", attn_mask)
    if mask is not None:
        _check_mask(mask, query, key, value, enable_gqa)
    if scale is None:
        scale = 1.0 / math.sqrt(max(query.shape[-1], 1))
    scale = arguments.real(where, "scale", scale, -math.inf, tensor=True)
    if isinstance(scale, Tensor):  # which may be differentiated
        if scale.shape != ():
            raise ShapeError(f"{where}: 'scale' takes one number, of shape (); got {scale.shape}")
        query, scale = query * scale, 1.0
    heads = query.shape[-3] if enable_gqa and query.ndim > 2 else None
    if enable_gqa:
        query, key, value, mask = _by_group(query, key, value, mask)
    if mask is None and _is_number(dropout_p, 0):
        out = _attention(query, key, value, float(scale), is_causal)
    else:
        scores = _ops.matmul(query * scale, _ops.matrix_transpose(key))
        if is_causal:
            rows, columns = scores.shape[-2:]
            mask = _ops.tril(_core._full((rows, columns), True, "bool", "ones"))
        if mask is not None:
            allowed = mask.dtype == "bool"
            scores = _ops.where(mask, scores, -math.inf) if allowed else scores + mask
        out = _ops.matmul(dropout(_softmax(scores, -1), dropout_p), value)
    if heads is None:
        return out
    return _ops.reshape(out, (*out.shape[:-4], heads, *out.shape[-2:]))


def _check_attention(query: Tensor, key: Tensor, value: Tensor, by_group: bool) -> None:
    where = "scaled_dot_product_attention"
    lengths = {"query": "L, E", "key": "S, E", "value": "S, D"}
    for (name, axes), x in zip(lengths.items(), (query, key, value)):
        if x.ndim < 2:
            raise ShapeError(f"{where}: '{name}' must be (..., {axes}); got {x.shape}")
        if x.dtype.kind == "b":
            raise DTypeError(f"{where}: '{name}' must hold numbers; got bool")
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"{where}: 'query' (..., L, E) and 'key' (..., S, E) must have the same last axis; got "
            f"{query.shape} and {key.shape}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"{where}: 'key' (..., S, E) and 'value' (..., S, D) must have the same S; got "
            f"{key.shape} and {value.shape}"
        )
    heads = _check_heads(query, key, value) if by_group else None
    leading = [_leading(x, heads) for x in (query, key, value)]
    if not leading[0] == leading[1] == leading[2]:
        _broadcast("the leading axes of 'query', 'key' and 'value'", leading, (query, key, value))


def _broadcast(what: str, shapes: Sequence[tuple[int, ...]], given: Sequence[Tensor]) -> None:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        got = ", ".join(str(x.shape) for x in given)
        raise ShapeError(
            f"scaled_dot_product_attention: {what} must broadcast; got {got}"
        ) from None


def _leading(x: Tensor, heads: int | None) -> tuple[int, ...]:
    """The axes of x before the last two; of all ``heads`` where keys and values serve several."""
    return x.shape[:-2] if heads is None else (*x.shape[:-3], heads)


def _check_heads(query: Tensor, key: Tensor, value: Tensor) -> int:
    where = "scaled_dot_product_attention: enable_gqa"
    if min(query.ndim, key.ndim, value.ndim) < 3 or key.shape[-3] != value.shape[-3]:
        raise ShapeError(
            f"{where} needs query (..., Hq, L, E), key (..., H, S, E) and value (..., H, S, D); "
            f"got {query.shape}, {key.shape} and {value.shape}"
        )
    heads, shared = query.shape[-3], key.shape[-3]
    if shared == 0 or heads % shared:
        raise ShapeError(
            f"{where} needs a multiple of the {shared} heads of key as heads of query; got {heads}"
        )
    return heads


def _check_mask(mask: Tensor, query: Tensor, key: Tensor, value: Tensor, by_group: bool) -> None:
    """The scores (..., L, S) may be larger than a mask, not smaller."""
    name = "scaled_dot_product_attention: 'attn_mask'"
    if mask.dtype.kind not in "bf":
        raise DTypeError(f"{name} is bool or float; got {mask.dtype}")
    scores = (query.shape[-2], key.shape[-2])
    if any(n not in (1, whole) for n, whole in zip(mask.shape[::-1], scores[::-1])):
        raise ShapeError(
            f"{name} must broadcast to (..., {scores[0]}, {scores[1]}); got {mask.shape}"
        )
    if mask.ndim <= 2 or mask.shape[:-2] == query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        return
    heads = query.shape[-3] if by_group else None
    if heads is not None and mask.shape[-3] not in (1, heads):
        raise ShapeError(f"{name} must have 1 or {heads} heads on axis -3; got {mask.shape}")
    leading = [mask.shape[:-2], *(_leading(x, heads) for x in (query, key, value))]
    what = "the leading axes of 'attn_mask', 'query', 'key' and 'value'"
    _broadcast(what, leading, (mask, query, key, value))


def _heads_inside(x: Tensor) -> Tensor:
    """(..., H, L, E) as (..., L, H, E), or back."""
    n = x.ndim
    return _ops.permute_dims(x, (*range(n - 3), n - 2, n - 3, n - 1))


def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> Tensor:
    """Without the matrix of weights. The row has the heads beside the features, where the layers
    around it have them: nothing is copied on the way."""
    by_head = max(q.ndim, k.ndim, v.ndim) > 3
    q, k, v = (
        _heads_inside(x) if by_head and x.ndim > 2 else _ops.expand_dims(x, -2) for x in (q, k, v)
    )
    out, _ = _ops.attention(q, k, v, scale=scale, is_causal=is_causal)
    return _heads_inside(out) if by_head else _ops.squeeze(out, -2)


def _by_group(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple:
    """Heads (..., Hq, L, E) as groups (..., H, Hq / H, L, E) that share a key and a value."""
    heads, shared = query.shape[-3], key.shape[-3]

    def split(x: Tensor) -> Tensor:
        groups = (1, 1) if x.shape[-3] == 1 else (shared, heads // shared)
        return _ops.reshape(x, (*x.shape[:-3], *groups, *x.shape[-2:]))

    if mask is not None and mask.ndim > 2:
        mask = split(mask)
    return split(query), _ops.expand_dims(key, -3), _ops.expand_dims(value, -3), mask


_cover(globals(), __all__)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        other_names.missing("wengert.nn.functional", name)
