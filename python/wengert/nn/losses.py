"""Losses as functions, under the names of PyTorch's `nn.functional` and called as there, and as
modules."""

from __future__ import annotations

import math
from typing import Any

from .. import _core, arguments
from .._core import ArgumentError, DTypeError, ShapeError, Tensor
from ..checked import cover, warn
from .module import Module

_ops = _core.ops
_mean = _ops.mean
_sum = _ops.sum
_square = _ops.square
_subtract = _ops.subtract
_where = _ops.where
_cross_entropy_logits = _ops.cross_entropy_logits
_may_hold = _core._may_hold
_no_index = -100


def _is_number(x: Any, value: float) -> bool:
    """Whether x is a plain number with this value: a tensor may be differentiated."""
    return not isinstance(x, Tensor) and x == value


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else _core.asarray(x)


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return _mean(loss)
    if reduction == "sum":
        return _sum(loss)
    if reduction == "none":
        return loss
    raise ArgumentError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The reduction with a weight for each element; the mean is over the sum of weights."""
    if weight is None:
        return _reduce(loss, reduction)
    total = _reduce(loss * weight, "sum" if reduction == "mean" else reduction)
    if reduction != "mean":
        return total
    return total / _sum(_ops.broadcast_to(weight, loss.shape))


def _check_shapes(name: str, input: Any, target: Any) -> None:
    first, second = getattr(input, "shape", None), getattr(target, "shape", None)
    if first is None or second is None or first == second:
        return
    sizes = zip(reversed(first), reversed(second), strict=False)
    if all(m == n or m == 1 or n == 1 for m, n in sizes):  # else the difference refuses them
        warn(
            f"{name}: the input has shape {first} and the target {second}; they broadcast, which "
            "is seldom meant. Reshape one of them"
        )


def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """(x - t)**2.

    >>> wg.nn.mse_loss(wg.tensor([1.0, 2.0]), wg.tensor([1.0, 4.0])).item()
    2.0
    """
    _check_shapes("mse_loss", input, target)
    return _weighted(_square(_subtract(input, target)), weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """|x - t|."""
    _check_shapes("l1_loss", input, target)
    return _weighted(_ops.abs(_subtract(input, target)), weight, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """d**2 / (2 beta) where d = |x - t| is below beta, else d - beta / 2."""
    beta = arguments.real("smooth_l1_loss", "beta", beta, finite=False, tensor=True)
    _check_shapes("smooth_l1_loss", input, target)
    d = _ops.abs(_subtract(input, target))
    if _is_number(beta, 0):
        return _reduce(d, reduction)
    return _reduce(_where(d < beta, _square(d) * (0.5 / beta), d - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d**2 / 2 where d = |x - t| is at most delta, else delta (d - delta / 2). The mean is over
    the elements, also with weights."""
    delta = arguments.real("huber_loss", "delta", delta, finite=False, positive=True, tensor=True)
    _check_shapes("huber_loss", input, target)
    d = _ops.abs(_subtract(input, target))
    loss = _where(d <= delta, _square(d) * 0.5, (d - 0.5 * delta) * delta)
    return _reduce(loss if weight is None else loss * weight, reduction)


def _as_rows(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(C,), (N, C) or (N, C, d1, ...) and class indices without C as rows (M, C) and (M,)."""
    shape = input.shape
    if shape == target.shape and len(shape) > 1:
        raise DTypeError(
            f"{name}: class probabilities must be floats; got {target.dtype}. Convert first: "
            "target.astype(wg.float32)"
        )
    expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if not shape or target.shape != expected:
        raise ShapeError(
            f"{name}: an input of shape {shape} needs class indices of shape {expected}, or class "
            f"probabilities of shape {shape}; got {target.shape}"
            + ("" if input.dtype.kind == "f" else ". The input comes first, then the target")
        )
    if len(shape) > 2:
        input = _ops.permute_dims(input, (0, *range(2, len(shape)), 1))
    return _ops.reshape(input, (-1 if target.size else 0, shape[min(1, len(shape) - 1)])), (
        _ops.reshape(target, (-1,))
    )


def _check_classes(name: str, classes: Tensor) -> None:
    if classes.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: class indices must be integers; got {classes.dtype}. Convert first: "
            "target.astype(wg.int64)"
        )


def _class_weights(name: str, weight: Any, classes: int) -> Tensor:
    weight = arguments.to_tensor(name, "weight", weight)
    if weight.shape != (classes,):
        raise ShapeError(
            f"{name}: 'weight' must be ({classes},), one number a class; got {weight.shape}"
        )
    return weight


def _picked(rows: Tensor, classes: Tensor, counts: Tensor) -> Tensor:
    """rows[i, classes[i]], and 0 where the row does not count."""
    safe = _ops.expand_dims(_where(counts, classes, 0), 1)
    return _where(counts, _ops.squeeze(_ops.take_along_axis(rows, safe, 1), 1), 0.0)


def _reduce_rows(losses: Tensor, target: Tensor, divisor: Tensor, reduction: str) -> Tensor:
    """Losses (M,) in the shape of the target, or reduced; the mean is over `divisor`."""
    if reduction == "mean":
        return _sum(losses) / divisor
    if reduction == "none":
        return _ops.reshape(losses, target.shape)
    return _reduce(losses, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = _no_index,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log_softmax(input) at the target class, for logits (C,), (N, C) or (N, C, d1, ...). The
    target is class indices (the same shape without C) or class probabilities (the same shape).

    ``weight`` (C,) rescales classes, indices equal to ``ignore_index`` do not count, and the mean
    is over the weights of the targets that do.

    >>> logits = wg.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> round(wg.nn.cross_entropy(logits, wg.tensor([0, 1])).item(), 4)
    0.1269
    """
    input, target = _tensor(input), _tensor(target)
    label_smoothing = arguments.probability(
        "cross_entropy", "label_smoothing", label_smoothing, single=True
    )
    if target.ndim == input.ndim and target.dtype.kind == "f":
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    rows, classes = input, target
    if input.ndim != 2 or target.ndim != 1:
        rows, classes = _as_rows("cross_entropy", input, target)
    if weight is None:
        try:
            losses = _cross_entropy_logits(rows, classes, label_smoothing, ignore_index)
        except DTypeError:
            _check_classes("cross_entropy", classes)
            raise
        if reduction == "mean" and not _may_hold(classes, ignore_index):
            return _mean(losses)
        if reduction != "mean":
            return _reduce_rows(losses, target, losses, reduction)
        counts = _ops.not_equal(classes, ignore_index)
        one = _core._full((), 1.0, losses.dtype, "ones")
        # Where all rows count this is their mean to the bit, as it is where the targets are known.
        return _mean(losses) / _mean(_where(counts, one, 0.0))
    _check_classes("cross_entropy", classes)
    weight = _class_weights("cross_entropy", weight, rows.shape[1])
    counts = _ops.not_equal(classes, ignore_index)
    logs = _ops.log_softmax(rows, 1)
    weights = _picked(_ops.broadcast_to(weight, logs.shape), classes, counts)
    losses = _picked(logs, classes, counts) * -weights
    if not _is_number(label_smoothing, 0):
        spread = _where(counts, _sum(logs * weight, 1), 0.0)
        share = label_smoothing / logs.shape[1]
        losses = losses * (1.0 - label_smoothing) - spread * share
    return _reduce_rows(losses, target, _sum(weights), reduction)


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    if input.shape != target.shape:
        raise ShapeError(
            f"cross_entropy: class probabilities need the shape of the input, {input.shape}; got "
            f"{target.shape}"
        )
    axis = min(1, input.ndim - 1)
    classes = input.shape[axis]
    if not _is_number(smoothing, 0):
        target = target * (1.0 - smoothing) + smoothing / classes
    if weight is not None:
        weight = _class_weights("cross_entropy", weight, classes)
        shape = [1] * input.ndim
        shape[axis] = classes
        target = target * _ops.reshape(weight, shape)
    losses = -_sum(_ops.log_softmax(input, axis) * target, axis)
    return _reduce(losses, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = _no_index,
    reduction: str = "mean",
) -> Tensor:
    """-input at the target class, for log-probabilities (C,), (N, C) or (N, C, d1, ...) and class
    indices; ``weight``, ``ignore_index`` and the mean as in cross_entropy."""
    input, target = _tensor(input), _tensor(target)
    rows, classes = _as_rows("nll_loss", input, target)
    _check_classes("nll_loss", classes)
    counts = _ops.not_equal(classes, ignore_index)
    if weight is None:
        weights = _ops.astype(counts, rows.dtype)
        losses = -_picked(rows, classes, counts)
    else:
        weight = _class_weights("nll_loss", weight, rows.shape[1])
        weights = _picked(_ops.broadcast_to(weight, rows.shape), classes, counts)
        losses = _picked(rows, classes, counts) * -weights
    return _reduce_rows(losses, target, _sum(weights), reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log(p) + (1 - t) log(1 - p)) for probabilities p; logarithms below -100 count as -100."""
    input, target = _tensor(input), _tensor(target)
    if input.shape != target.shape:
        raise ShapeError(
            f"binary_cross_entropy: input and target must have the same shape; got {input.shape} "
            f"and {target.shape}"
        )
    if not input._is_abstract and input.size:
        least, largest = float(_ops.min(input)), float(_ops.max(input))
        if least < 0.0 or largest > 1.0:
            raise ArgumentError(
                f"binary_cross_entropy: the input must be between 0 and 1; got {least} to {largest}"
                ". For logits use binary_cross_entropy_with_logits"
            )
    yes = _ops.clip(_ops.log(input), -100.0, math.inf)
    no = _ops.clip(_ops.log1p(-input), -100.0, math.inf)
    loss = (target - 1.0) * no - target * yes
    return _reduce(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy(sigmoid(x), t) without overflow; ``pos_weight`` multiplies the loss of
    positive targets.

    >>> x, t = wg.tensor([0.0, 0.0]), wg.tensor([0.0, 1.0])
    >>> round(wg.nn.binary_cross_entropy_with_logits(x, t).item(), 4)
    0.6931
    """
    input, target = _tensor(input), _tensor(target)
    if input.shape != target.shape:
        raise ShapeError(
            "binary_cross_entropy_with_logits: input and target must have the same shape; got "
            f"{input.shape} and {target.shape}"
        )
    below = _ops.log_sigmoid(input)
    if pos_weight is not None:
        below = below * ((pos_weight - 1.0) * target + 1.0)
    loss = (1.0 - target) * input - below
    return _reduce(loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """t (log(t) - x) for log-probabilities x, 0 log(0) being 0; ``reduction="batchmean"`` gives the
    divergence, the sum over the size of the first axis."""
    _check_shapes("kl_div", input, target)
    if arguments.flag("kl_div", "log_target", log_target):
        loss = _ops.exp(target) * (target - input)
    else:
        zero = _ops.equal(target, 0.0)
        entropy = _where(zero, 0.0, target * _ops.log(_where(zero, 1.0, target)))
        loss = entropy - target * input
    if reduction == "batchmean":
        return _sum(loss) / (loss.shape[0] if loss.ndim else 1)
    return _reduce(loss, reduction)


_FUNCTIONS = """
    binary_cross_entropy binary_cross_entropy_with_logits cross_entropy huber_loss kl_div l1_loss
    mse_loss nll_loss smooth_l1_loss
""".split()  # noqa: SIM905
cover(globals(), _FUNCTIONS)


class _Loss(Module):
    """A loss with its options; `weight` and `pos_weight` are buffers."""

    _reductions: tuple[str, ...] = ("mean", "sum", "none")
    _by_class = False  # whether `weight` has a number a class

    def __init__(self, **options: Any) -> None:
        self._options = tuple(options)
        for name, value in options.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, None if value is None else self._weight(name, value))
            else:
                setattr(self, name, self._checked(name, value))

    def _weight(self, name: str, value: Any) -> Tensor:
        where = type(self).__name__
        weight = arguments.to_tensor(where, name, value)
        if self._by_class and weight.ndim != 1:
            raise ShapeError(
                f"{where}: '{name}' must be (C,), one number a class; got {weight.shape}"
            )
        return weight

    def _checked(self, name: str, value: Any) -> Any:
        """The option, refused here where the call would refuse it."""
        where = type(self).__name__
        if name == "ignore_index":
            return arguments.integer(where, name, value, None, 2**63)
        if name == "label_smoothing":
            return arguments.probability(where, name, value, single=True)
        if name == "log_target":
            return arguments.flag(where, name, value)
        if name in ("beta", "delta"):
            positive = name == "delta"
            return arguments.real(where, name, value, finite=False, positive=positive, tensor=True)
        if not isinstance(value, str) or value not in self._reductions:
            *first, last = map(repr, self._reductions)
            raise ArgumentError(
                f"{where}: 'reduction' must be {', '.join(first)} or {last}; got {value!r:.60}"
            )
        return value

    def _kwargs(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self._options}


class CrossEntropyLoss(_Loss):
    """``nn.cross_entropy`` as a module."""

    _by_class = True

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = _no_index,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(input, target, **self._kwargs())


class NLLLoss(_Loss):
    """``nn.nll_loss`` as a module."""

    _by_class = True

    def __init__(
        self, weight: Any = None, *, ignore_index: int = _no_index, reduction: str = "mean"
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return nll_loss(input, target, **self._kwargs())


class MSELoss(_Loss):
    """``nn.mse_loss`` as a module."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mse_loss(input, target, **self._kwargs())


class L1Loss(_Loss):
    """``nn.l1_loss`` as a module."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return l1_loss(input, target, **self._kwargs())


class SmoothL1Loss(_Loss):
    """``nn.smooth_l1_loss`` as a module."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction, beta=beta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return smooth_l1_loss(input, target, **self._kwargs())


class HuberLoss(_Loss):
    """``nn.huber_loss`` as a module."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return huber_loss(input, target, **self._kwargs())


class BCELoss(_Loss):
    """``nn.binary_cross_entropy`` as a module."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy(input, target, **self._kwargs())


class BCEWithLogitsLoss(_Loss):
    """``nn.binary_cross_entropy_with_logits`` as a module."""

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
    ) -> None:
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(input, target, **self._kwargs())


class KLDivLoss(_Loss):
    """``nn.kl_div`` as a module."""

    _reductions = ("mean", "sum", "none", "batchmean")

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction, log_target=log_target)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return kl_div(input, target, **self._kwargs())
