"""gradient_flow: how large the gradient is at every layer of a model, from one backward pass.

The pass runs on a copy of the model, whose modules note what they compute.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core, tree
from .._core import ArgumentError, ArgumentTypeError, Error, ShapeError, Tensor
from ..checked import checked_call
from ..grad_mode import enable_grad
from ..random import Generator, default_generator
from ..transforms import jvp
from .layers import Dropout, Identity
from .module import Module, Parameter, _replaced

_VANISHING, _EXPLODING = 1e-3, 1e3


@dataclass(frozen=True)
class LayerFlow:
    """One call of a layer. Norms are Euclidean, over all numbers of an array."""

    name: str  # dotted path in the model
    kind: str  # class name
    shape: tuple[int, ...]  # of the output; of the first where there are several
    adjoint: float  # norm of dL/dy, for the output y
    parameters: dict[str, float]  # norm of dL/dw for each of its own parameters, over all calls
    slope: float | None  # norm of phi' over the elements of an activation phi; else None
    mean_slope: float | None  # mean of |phi'| over them
    label: str  # "", "vanishing", "exploding", "zero" or "not finite"

    @property
    def gradient(self) -> float | None:
        """The norm of the gradients of all its parameters; None where it has none."""
        return math.hypot(*self.parameters.values()) if self.parameters else None


@dataclass(frozen=True, repr=False)
class GradientFlow:
    """The layers in order of execution; prints as a table.

    Layers are modules: an activation that is a function called in a ``forward`` (``nn.relu(x)``)
    has no row. Write it as a module (``nn.ReLU()``) to see its slopes.
    """

    layers: tuple[LayerFlow, ...]
    loss: float

    @property
    def ratio(self) -> float:
        """The adjoint's norm at the first layer over that at the last (NaN where that is 0)."""
        first, last = self.layers[0].adjoint, self.layers[-1].adjoint
        return first / last if last else math.nan

    @property
    def verdict(self) -> str:
        """The first layer's label, or "steady"."""
        return self.layers[0].label or "steady"

    def __str__(self) -> str:
        head = ("layer", "output", "|dL/dy|", "|dL/dw|", "|phi'|", "mean |phi'|", "")
        rows = [head]
        for layer in self.layers:
            rows.append(
                (
                    f"{layer.name} {layer.kind}".strip(),
                    str(layer.shape),
                    f"{layer.adjoint:.2e}",
                    "" if layer.gradient is None else f"{layer.gradient:.2e}",
                    "" if layer.slope is None else f"{layer.slope:.2e}",
                    "" if layer.mean_slope is None else f"{layer.mean_slope:.3f}",
                    layer.label,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = []
        for row in rows:
            left = [cell.ljust(width) for cell, width in zip(row[:2], widths)]
            right = [cell.rjust(width) for cell, width in zip(row[2:6], widths[2:])]
            lines.append("  ".join([*left, *right, row[6]]).rstrip())
        lines.append(f"|dL/dy| of the first layer over the last: {self.ratio:.2e}, {self.verdict}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | os.PathLike[str] | None = None, *, axes: Any = None) -> Any:
        """Draws the norms by layer on a logarithmic scale: of adjoints, of parameters' gradients,
        and of the slopes of activations.

        Into ``axes`` of matplotlib, or a new figure; returns the figure, after saving it where
        ``path`` is given. Raises ``wg.Error`` where matplotlib is missing or the path is wrong.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise Error("plot: needs matplotlib; run: pip install matplotlib") from error
        if axes is None:
            axes = Figure(figsize=(7, 4), layout="constrained").subplots()
        places = np.arange(len(self.layers))
        adjoints = [layer.adjoint or np.nan for layer in self.layers]
        axes.plot(places, adjoints, "o-", ms=4, color="#2563a8", label="|dL/dy| of outputs")
        for what, color, marker in (("gradient", "#c8322b", "s"), ("slope", "#3a8f3a", "^")):
            values = [getattr(layer, what) for layer in self.layers]
            shown = [(i, value) for i, value in zip(places, values) if value]
            label = "|dL/dw| of parameters" if what == "gradient" else "|phi'| of activations"
            if shown:
                axes.plot(*zip(*shown), marker, ms=4, color=color, label=label)
        axes.set(yscale="log", xlabel="layer, in order of execution", title="Gradient flow")
        names = [f"{layer.name} {layer.kind}" for layer in self.layers]
        if len(names) <= 24:
            axes.set_xticks(places, names, rotation=60, ha="right", size=7)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        figure = axes.get_figure()
        if path is not None:
            try:
                figure.savefig(path, dpi=150)
            except (OSError, ValueError, TypeError) as error:
                raise ArgumentError(f"plot: cannot save to {path!r:.80}: {error}") from error
        return figure


@dataclass
class _Note:
    module: Module
    name: str
    inputs: tuple[Any, ...]
    output: Tensor
    probes: list[Tensor]  # zeros added to the outputs: their gradients are the outputs' adjoints
    random_state: Tensor


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype.kind == "f"


def _noting(module: Module, name: str, notes: list[_Note]) -> None:
    """Makes calls of this module leave a note."""
    kind: Any = type(module)

    def forward(self: Module, *args: Any, **kwargs: Any) -> Any:
        state = default_generator().get_state()
        probes: list[Tensor] = []

        def probed(y: Any) -> Any:
            if not _is_float(y):
                return y
            probes.append(_core.tensor(np.zeros(y.shape, y.dtype), requires_grad=True))
            return y + probes[-1]

        result = kind.forward(self, *args, **kwargs)
        outputs = [y for y in tree.leaves(result) if _is_float(y)]
        if not outputs:
            return result
        inputs = args if not kwargs else ()
        notes.append(_Note(self, name, inputs, outputs[0], probes, state))
        return tree.map(probed, result)

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward})


def _slopes(note: _Note) -> np.ndarray | None:
    """phi' where the module is elementwise, as two random directions tell: then r * (J r) is the
    diagonal of J for any signs r."""
    module = note.module
    kind: Any = type(module).__mro__[1]
    if len(note.inputs) != 1 or isinstance(module, (Dropout, Identity)) or tree.leaves(module):
        return None
    x, y = note.inputs[0], note.output
    if not _is_float(x) or x.shape != y.shape or x is y or x.size == 0:
        return None
    rng = np.random.default_rng(0)
    found = []
    x = _core._detach(x)
    for _ in range(2):
        default_generator().set_state(note.random_state)
        signs = rng.choice([-1.0, 1.0], size=x.shape).astype(x.dtype)
        _, pushed = jvp(lambda z: kind.forward(module, z), (x,), (_core.asarray(signs),))
        found.append(signs * pushed.numpy())
    if not np.allclose(found[0], found[1], rtol=1e-5, atol=1e-7, equal_nan=True):
        return None
    return found[0].astype(np.float64)


def _norm(gradients: Sequence[Tensor | None]) -> float:
    parts = [_core._numpy(g).astype(np.float64) for g in gradients if g is not None]
    return math.sqrt(sum(float(np.vdot(g, g)) for g in parts))


def _label(adjoint: float, last: float) -> str:
    if not math.isfinite(adjoint):
        return "not finite"
    if adjoint == 0.0:
        return "zero"
    if last == 0.0 or not math.isfinite(last):
        return ""
    ratio = adjoint / last
    return "vanishing" if ratio < _VANISHING else "exploding" if ratio > _EXPLODING else ""


def _fresh(model: Module) -> tuple[Module, dict[int, Tensor]]:
    """A copy of the model with tensors of its own, and these by the ids of the model's."""
    new: dict[int, Tensor] = {}
    for p in model.parameters():
        new[id(p)] = Parameter(_core.tensor(_core._detach(p)), requires_grad=p.dtype.kind == "f")
    for b in model.buffers():
        new[id(b)] = _core.tensor(_core._detach(b))
    fresh = _replaced(model, dict(new), {})
    for module in fresh.modules():
        for name, value in module.__dict__.items():
            if isinstance(value, Generator):
                module.__dict__[name] = copy.copy(value)
    return fresh, new


def _call_loss(loss_fn: Callable[[Any, Any], Any], output: Any, y: Any) -> Any:
    try:
        return loss_fn(output, y)
    except TypeError as error:
        if isinstance(error, Error):
            raise
        raise ArgumentTypeError(
            "gradient_flow: loss_fn is called as loss_fn(model(x), y), with the model's output; it "
            f"raised: {error}"
        ) from error


@checked_call
def gradient_flow(
    model: Module, loss_fn: Callable[[Any, Any], Any], batch: tuple[Any, Any]
) -> GradientFlow:
    """The sizes of the gradients at every layer of ``model``, for ``loss_fn(model(x), y)`` with
    ``batch = (x, y)``, which returns one number (any float dtype).

    For each call of a layer (a module without submodules, or with parameters of its own), in order
    of execution: the norm of the adjoint of its output, |dL/dy|, that of its parameters' gradients,
    |dL/dw|, and for activations (elementwise modules without parameters) the norm of phi' and the
    mean of |phi'| over the elements, by which they scale the adjoint on its way back. Activations
    that are functions called in a ``forward`` are no layers. A layer is labelled "vanishing" where
    its |dL/dy| is less than 1e-3 of the last layer's, "exploding" above 1e3, "zero" or "not
    finite".

    The model stays as it is: parameters, gradients, buffers, flags and random state. Raises
    ``wg.Error`` for wrong arguments and for layers whose sizes are not known yet.

    >>> model = wg.nn.Sequential(wg.nn.Linear(2, 2), wg.nn.Sigmoid(), wg.nn.Linear(2, 1))
    >>> x, y = wg.ones((4, 2)), wg.zeros((4, 1))
    >>> flow = wg.nn.gradient_flow(model, wg.nn.mse_loss, (x, y))
    >>> [layer.kind for layer in flow.layers], flow.verdict
    (['Linear', 'Sigmoid', 'Linear'], 'steady')
    """
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"gradient_flow: takes a Module; got a {type(model).__name__}")
    if not callable(loss_fn):
        raise ArgumentTypeError(f"gradient_flow: loss_fn must be callable; got {loss_fn!r:.60}")
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ArgumentTypeError(f"gradient_flow: batch is a pair (x, y); got {batch!r:.60}")
    state = default_generator().get_state()
    notes: list[_Note] = []
    try:
        fresh, new = _fresh(model)
        for name, module in list(fresh.named_modules()):
            if not list(module.children()) or list(module._own_parameters()):
                _noting(module, name, notes)
        with enable_grad():
            output = fresh(tree.map(_core.asarray, batch[0]))
            loss = _call_loss(loss_fn, output, batch[1])
        if not isinstance(loss, Tensor) or loss.size != 1 or not _is_float(loss):
            shown = loss.shape if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ShapeError(f"gradient_flow: loss_fn must return one float number; got {shown}")
        if not notes:
            raise ArgumentError("gradient_flow: no layer of the model made a float tensor")
        owned = {id(p): p for p in new.values() if isinstance(p, Parameter) and p.requires_grad}
        targets = [probe for note in notes for probe in note.probes] + list(owned.values())
        seed = _core.tensor(np.ones(loss.shape, loss.dtype))
        found, _ = _core._reverse([loss], [seed], targets, False)
        gradients = {id(x): g for x, g in zip(targets, found)}
        adjoints = [_norm([gradients[id(p)] for p in note.probes]) for note in notes]
        layers = []
        for note, adjoint in zip(notes, adjoints):
            own = {
                name: _norm([gradients[id(p)]])
                for name, p in note.module._own_parameters()
                if id(p) in gradients
            }
            slopes = _slopes(note)
            layers.append(
                LayerFlow(
                    name=note.name,
                    kind=type(note.module).__name__,
                    shape=note.output.shape,
                    adjoint=adjoint,
                    parameters=own,
                    slope=None if slopes is None else float(np.linalg.norm(slopes)),
                    mean_slope=None if slopes is None else float(np.abs(slopes).mean()),
                    label=_label(adjoint, adjoints[-1]),
                )
            )
        return GradientFlow(tuple(layers), float(loss))
    finally:
        notes.clear()  # the classes of the copy's modules hold it, in a circle
        default_generator().set_state(state)
