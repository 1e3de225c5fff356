"""Attention with several heads, under PyTorch's parameter names and called as there."""

from __future__ import annotations

import math
from typing import Any

from .. import _core, arguments
from .._core import ArgumentError, DTypeError, ShapeError, Tensor
from . import functional as F
from . import init
from .layers import Linear, _parameter
from .module import Module, Parameter

_ops = _core.ops


class MultiHeadAttention(Module):
    """PyTorch's ``nn.MultiheadAttention``: projections of query, key and value in ``num_heads``
    heads of ``embed_dim / num_heads`` features, attention, and a projection of the heads side by
    side. The call takes query (L, N, embed_dim), key (S, N, kdim) and value (S, N, vdim), with N
    in front under ``batch_first`` and without it for a single sequence, and returns the output,
    shaped as query, and the weights.

    As there, and other than in ``nn.scaled_dot_product_attention``, a boolean mask is True where
    attention is *not* allowed: ``key_padding_mask`` (N, S) and ``attn_mask`` (L, S) or
    (N * num_heads, L, S); float masks are added. ``is_causal`` needs no mask beside it. The weights
    are (N, L, S), the mean over heads, or (N, num_heads, L, S) without ``average_attn_weights``.
    With ``need_weights=False`` they are None, and without masks and dropout no matrix (L, S) is
    made.

    >>> attention = wg.nn.MultiHeadAttention(8, 2, batch_first=True)
    >>> x = wg.zeros((4, 5, 8))
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    ((4, 5, 8), (4, 5, 5))
    >>> y, _ = attention(x, x, x, is_causal=True, need_weights=False)
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = None,
    ) -> None:
        self.embed_dim = e = arguments.integer("MultiHeadAttention", "embed_dim", embed_dim, 1)
        self.num_heads = arguments.integer("MultiHeadAttention", "num_heads", num_heads, 1)
        if e % self.num_heads:
            raise ArgumentError(
                f"MultiHeadAttention: embed_dim must be a multiple of num_heads; got {e} and "
                f"{num_heads}"
            )
        dropout = arguments.probability("MultiHeadAttention", "dropout", dropout)
        bias = arguments.flag("MultiHeadAttention", "bias", bias)
        self.dropout = dropout
        self.batch_first = arguments.flag("MultiHeadAttention", "batch_first", batch_first)
        self.kdim = e if kdim is None else arguments.integer("MultiHeadAttention", "kdim", kdim)
        self.vdim = e if vdim is None else arguments.integer("MultiHeadAttention", "vdim", vdim)
        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        if self.kdim == self.vdim == e:
            self.in_proj_weight = _parameter((3 * e, e), dtype)
        else:
            self.q_proj_weight = _parameter((e, e), dtype)
            self.k_proj_weight = _parameter((e, self.kdim), dtype)
            self.v_proj_weight = _parameter((e, self.vdim), dtype)
        self.in_proj_bias = _parameter((3 * e,), dtype) if bias else None
        self.out_proj = Linear(e, e, bias, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew and sets biases to 0, by PyTorch's distributions."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if (weight := getattr(self, name)) is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        whole, bias = self.in_proj_weight, self.in_proj_bias
        if whole is not None and query is key and key is value:
            return self._thirds(F.linear(query, whole, bias))
        weights: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if whole is not None:
            weights = [w.mT for w in self._thirds(whole.mT)]
        biases = (None,) * 3 if bias is None else self._thirds(bias)
        inputs = zip((query, key, value), weights, biases, strict=True)
        return [F.linear(*parts) for parts in inputs]

    def _thirds(self, x: Tensor) -> list[Tensor]:
        e = self.embed_dim
        return [x[..., i * e : (i + 1) * e] for i in range(3)]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        need_weights = arguments.flag("MultiHeadAttention", "need_weights", need_weights)
        is_causal = arguments.flag("MultiHeadAttention", "is_causal", is_causal)
        average_attn_weights = arguments.flag(
            "MultiHeadAttention", "average_attn_weights", average_attn_weights
        )
        same = query is key and key is value
        named = {"query": query, "key": key, "value": value}
        query, key, value = (
            arguments.to_tensor("MultiHeadAttention", name, x) for name, x in named.items()
        )
        if same:
            key = value = query
        shapes = f"got {query.shape}, {key.shape} and {value.shape}"
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ShapeError(
                "MultiHeadAttention: query, key and value need 2 axes, or 3 with a batch; " + shapes
            )
        widths = self.embed_dim, self.kdim, self.vdim
        if (query.shape[-1], key.shape[-1], value.shape[-1]) != widths:
            raise ShapeError(
                f"MultiHeadAttention: the last axes must be embed_dim, kdim and vdim {widths}; "
                + shapes
            )
        # (N, length, features) or, for a single sequence, (length, features).
        turned = query.ndim == 3 and not self.batch_first
        by_head = []
        for x in self._projected(query, key, value):
            if turned:
                x = x.swapaxes(0, 1)
            x = x.reshape((*x.shape[:-1], self.num_heads, self.embed_dim // self.num_heads))
            by_head.append(x.swapaxes(-3, -2))
        q, k, v = by_head
        mask = self._mask(key_padding_mask, attn_mask, is_causal, q, k)
        dropout_p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
            scores = _ops.matmul(q * scale, _ops.matrix_transpose(k))
            weights = F.softmax(scores if mask is None else scores + mask, -1)
            weights = F.dropout(weights, dropout_p)
            y = _ops.matmul(weights, v)
            if average_attn_weights:
                weights = _ops.mean(weights, -3)
        elif mask is None or (is_causal and key_padding_mask is None and attn_mask is None):
            y = F.scaled_dot_product_attention(q, k, v, None, dropout_p, is_causal)
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p)
        y = y.swapaxes(-3, -2)
        y = y.reshape((*y.shape[:-2], self.embed_dim))
        y = self.out_proj(y.swapaxes(0, 1) if turned else y)
        return y, weights

    def _mask(
        self,
        padding: Tensor | None,
        mask: Tensor | None,
        is_causal: bool,
        q: Tensor,
        k: Tensor,
    ) -> Tensor | None:
        """What is added to the scores (..., num_heads, L, S)."""
        rows, columns, batch = q.shape[-2], k.shape[-2], q.shape[:-3]
        parts: list[Tensor] = []
        if padding is not None:
            padding = arguments.to_tensor("MultiHeadAttention", "key_padding_mask", padding)
            if padding.shape != (*batch, columns):
                raise ShapeError(
                    f"MultiHeadAttention: key_padding_mask must be {(*batch, columns)}; got "
                    f"{padding.shape}"
                )
            parts.append(padding[..., None, None, :])
        if mask is not None:
            mask = arguments.to_tensor("MultiHeadAttention", "attn_mask", mask)
            by_head = (math.prod(batch) * self.num_heads, rows, columns)
            if mask.shape == by_head:
                mask = mask.reshape((*batch, self.num_heads, rows, columns))
            elif mask.shape != (rows, columns):
                raise ShapeError(
                    f"MultiHeadAttention: attn_mask must be {(rows, columns)} or {by_head}; got "
                    f"{mask.shape}"
                )
            parts.append(mask)
        if is_causal:
            seen = _ops.tril(_core._full((rows, columns), True, "bool", "ones"))
            parts.append(_ops.logical_not(seen))
        total = None
        for part in parts:
            if part.dtype.kind not in "bf":
                raise DTypeError(f"MultiHeadAttention: masks are bool or float; got {part.dtype}")
            if part.dtype == "bool":
                part = _ops.where(part, -math.inf, _core._full((), 0.0, q.dtype, "zeros"))
            total = part if total is None else total + part
        return total

    def extra_repr(self) -> str:
        return (
            f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}, "
            f"bias={self.in_proj_bias is not None}, batch_first={self.batch_first}"
        )
