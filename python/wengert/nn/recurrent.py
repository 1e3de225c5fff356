"""Recurrent layers: LSTM, GRU. PyTorch's names, arguments, parameter names and initial
distributions; each layer is one product for all inputs and one ``wg.scan`` over the steps."""

from __future__ import annotations

import math
from typing import Any

from .. import _core, arguments
from .._core import ArgumentError, ArgumentTypeError, ShapeError, Tensor
from ..control import scan
from ..creation import zeros
from ..dtypes import result_type
from ..functions import stack
from . import functional as F
from . import init
from .layers import _parameter
from .module import Module, Parameter

_linear = _core.ops.linear
_sigmoid = _core.ops.sigmoid
_tanh = _core.ops.tanh


class _Recurrent(Module):
    """Layers in two directions over the steps of a sequence. A subclass says how many ``_gates`` of
    ``hidden_size`` a step has, what its state is made of and what a step does."""

    _gates: int
    _states: int
    _projects = False
    weight_hh_l0: Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = None,
    ) -> None:
        where = type(self).__name__
        self.input_size = arguments.integer(where, "input_size", input_size)
        self.hidden_size = arguments.integer(where, "hidden_size", hidden_size)
        self.num_layers = arguments.integer(where, "num_layers", num_layers, 1)
        self.proj_size = arguments.integer(where, "proj_size", proj_size)
        if self.proj_size and not self._projects:
            raise ArgumentError(f"{where}: 'proj_size' is for LSTM only; got {proj_size}")
        if self.proj_size and self.proj_size >= hidden_size:
            raise ArgumentError(
                f"{where}: 'proj_size' must be below hidden_size, {hidden_size}; got {proj_size}"
            )
        dropout = arguments.real(where, "dropout", dropout, 0.0, 1.0)
        self.bias = arguments.flag(where, "bias", bias)
        self.batch_first = arguments.flag(where, "batch_first", batch_first)
        self.bidirectional = arguments.flag(where, "bidirectional", bidirectional)
        self.dropout = float(dropout)
        width = self._gates * hidden_size
        for name, inputs in self._names():
            self.register_parameter(f"weight_ih_{name}", _parameter((width, inputs), dtype))
            self.register_parameter(f"weight_hh_{name}", _parameter((width, self._width), dtype))
            if bias:
                self.register_parameter(f"bias_ih_{name}", _parameter((width,), dtype))
                self.register_parameter(f"bias_hh_{name}", _parameter((width,), dtype))
            if self.proj_size:
                shape = proj_size, hidden_size
                self.register_parameter(f"weight_hr_{name}", _parameter(shape, dtype))
        self.reset_parameters()

    @property
    def _width(self) -> int:
        """Of the output of a step."""
        return self.proj_size or self.hidden_size

    def _names(self) -> list[tuple[str, int]]:
        """Of every layer and direction the end of its parameters' names, and its input size."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        inputs = [self.input_size] + [len(ends) * self._width] * (self.num_layers - 1)
        return [(f"l{layer}{end}", size) for layer, size in enumerate(inputs) for end in ends]

    def reset_parameters(self) -> None:
        """Draws all parameters anew, uniformly in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(max(self.hidden_size, 1))
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _step(
        self, states: tuple[Tensor, ...], gates: Tensor, w: Tensor, b: Any, projection: Any
    ) -> Any:
        raise ArgumentTypeError(f"{type(self).__name__}: a recurrent layer defines _step")

    def _input_bias(self, b_ih: Parameter | None, b_hh: Parameter | None) -> Any:
        return b_ih

    def _checked(self, x: Any, start: Any) -> tuple[Tensor, list[Tensor], bool]:
        """The input as (steps, batch, size), and each state as (layers, batch, hidden)."""
        where = type(self).__name__
        x = arguments.to_tensor(where, "input", x)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            axes = "(batch, steps" if self.batch_first else "(steps, batch"
            raise ShapeError(
                f"{where}: the input needs shape {axes}, {self.input_size}) or (steps, "
                f"{self.input_size}); got {x.shape}"
            )
        batched = x.ndim == 3
        if not batched:
            x = x.reshape(x.shape[0], 1, x.shape[1])
        elif self.batch_first:
            x = _core.ops.permute_dims(x, (1, 0, 2))
        shapes = [
            (len(self._names()), x.shape[1], size)
            for size in (self._width, self.hidden_size)[: self._states]
        ]
        weight = self.weight_hh_l0
        if start is None:
            dtype = result_type(x, weight)
            return x, [zeros(shape, dtype=dtype) for shape in shapes], batched
        given = start if isinstance(start, (tuple, list)) else [start]
        states = [arguments.to_tensor(where, "hx", s) for s in given]
        want = shapes if batched else [(n, size) for n, _, size in shapes]
        if [s.shape for s in states] != want:
            raise ShapeError(
                f"{where}: the start needs {self._states} tensor(s) of shape "
                f"{', '.join(map(str, want))}; got {', '.join(str(s.shape) for s in states)}"
            )
        dtype = result_type(x, weight, *states)
        return x, [s.astype(dtype).reshape(shape) for s, shape in zip(states, shapes)], batched

    def _run(self, x: Any, start: Any) -> tuple[Tensor, list[Tensor]]:
        x, states, batched = self._checked(x, start)
        ends: list[tuple[Tensor, ...]] = []
        ways = 2 if self.bidirectional else 1
        for place, (name, _) in enumerate(self._names()):
            layer, way = divmod(place, ways)
            if way == 0:
                if layer and self.dropout:
                    x = F.dropout(x, self.dropout, self.training)
                outputs: list[Tensor] = []
            w_ih, w_hh = getattr(self, f"weight_ih_{name}"), getattr(self, f"weight_hh_{name}")
            b_ih = getattr(self, f"bias_ih_{name}") if self.bias else None
            b_hh = getattr(self, f"bias_hh_{name}") if self.bias else None
            b = self._input_bias(b_ih, b_hh)
            gates = _linear(x, w_ih) if b is None else _linear(x, w_ih, b)

            w_hr = getattr(self, f"weight_hr_{name}") if self.proj_size else None

            def step(
                carry: Any, row: Tensor, w: Tensor = w_hh, b: Any = b_hh, hr: Any = w_hr
            ) -> Any:
                carry = self._step(carry, row, w, b, hr)
                return carry, carry[0]

            end, y = scan(step, tuple(s[place] for s in states), _flipped(gates, way))
            ends.append(end)
            outputs.append(_flipped(y, way))
            if way == ways - 1:
                x = outputs[0] if ways == 1 else _core.ops.concat(outputs, axis=-1)
        last = [stack(list(column)) for column in zip(*ends)]
        if not batched:
            return x.reshape(x.shape[0], x.shape[2]), [s.reshape(s.shape[0], -1) for s in last]
        return (_core.ops.permute_dims(x, (1, 0, 2)) if self.batch_first else x), last

    def extra_repr(self) -> str:
        said = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0),
            ("bidirectional", False), ("proj_size", 0),
        ):  # fmt: skip
            if getattr(self, name) != usual:
                said += f", {name}={getattr(self, name)}"
        return said


def _flipped(x: Tensor, way: int) -> Tensor:
    return _core.ops.flip(x, axis=0) if way else x


def _parts(x: Tensor, count: int) -> list[Tensor]:
    """The last axis in equal parts."""
    size = x.shape[-1] // count
    return [x[..., i * size : (i + 1) * size] for i in range(count)]


class LSTM(_Recurrent):
    """``output, (h, c) = lstm(x, (h0, c0))``: long short-term memory over the steps of x.

    x is (steps, batch, input_size), with ``batch_first`` (batch, steps, input_size), or (steps,
    input_size); the output has hidden_size in its last axis, twice that where ``bidirectional``.
    The states, at first zero, are (num_layers * directions, batch, hidden_size). With gates i, f, g
    and o in this order in the rows of the weights: c = sigmoid(f) c + sigmoid(i) tanh(g),
    h = sigmoid(o) tanh(c). ``dropout`` is between layers. With ``proj_size`` P, below hidden_size,
    h = W_hr (sigmoid(o) tanh(c)) has P features, and so have the output and the first state.

    >>> output, (h, c) = wg.nn.LSTM(3, 8)(wg.ones((5, 2, 3)))
    >>> output.shape, h.shape, c.shape
    ((5, 2, 8), (1, 2, 8), (1, 2, 8))
    """

    _gates, _states, _projects = 4, 2, True

    def _input_bias(self, b_ih: Parameter | None, b_hh: Parameter | None) -> Any:
        return None if b_ih is None or b_hh is None else _core.ops.add(b_ih, b_hh)

    def _step(
        self, states: tuple[Tensor, ...], gates: Tensor, w: Tensor, b: Any, projection: Any
    ) -> Any:
        h, c = states
        i, f, g, o = _parts(gates + _linear(h, w), 4)
        c = _sigmoid(f) * c + _sigmoid(i) * _tanh(g)
        h = _sigmoid(o) * _tanh(c)
        return (h if projection is None else _linear(h, projection)), c

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, (h, c) = self._run(input, hx)
        return output, (h, c)


class GRU(_Recurrent):
    """``output, h = gru(x, h0)``: gated recurrent units over the steps of x; shapes as in ``LSTM``.

    With gates r, z, n in the rows of the weights: n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
    h = (1 - z) n + z h.

    >>> output, h = wg.nn.GRU(3, 8, bidirectional=True)(wg.ones((5, 2, 3)))
    >>> output.shape, h.shape
    ((5, 2, 16), (2, 2, 8))
    """

    _gates, _states = 3, 1

    def _step(
        self, states: tuple[Tensor, ...], gates: Tensor, w: Tensor, b: Any, projection: Any
    ) -> Any:
        (h,) = states
        r, z, n = _parts(gates, 3)
        r_h, z_h, n_h = _parts(_linear(h, w) if b is None else _linear(h, w, b), 3)
        r, z = _sigmoid(r + r_h), _sigmoid(z + z_h)
        n = _tanh(n + r * n_h)
        return ((1.0 - z) * n + z * h,)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        output, (h,) = self._run(input, hx)
        return output, h
