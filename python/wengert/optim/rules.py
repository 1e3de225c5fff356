"""The update rules, with PyTorch's names, defaults and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import arguments
from .._core import ArgumentError, _adam_step, _rmsprop_step, _sgd_step, ops
from .groups import Group
from .optimizer import Optimizer, Schedule


class SGD(Optimizer):
    """Gradient descent: p -= lr d, where d = grad + weight_decay p. With momentum
    b = momentum b + (1 - dampening) d (the first b is d), and d is b, or d + momentum b (Nesterov).

    >>> w = wg.tensor([1.0], requires_grad=True)
    >>> optimizer = wg.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    _states = ("momentum",)

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ArgumentError(
                "SGD: nesterov needs momentum > 0 and dampening 0; got momentum="
                f"{options['momentum']}, dampening={options['dampening']}"
            )

    def _update(self, group: Group, lr: float) -> None:
        momentum = group.own("momentum")
        _sgd_step(
            group.own("params"),
            group.state("momentum") if momentum else [],
            group.counts,
            lr,
            momentum,
            group.own("dampening"),
            group.own("weight_decay"),
            group.own("nesterov"),
            group.own("maximize"),
        )

    def _row(self, group: Group) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
        attributes = {
            "momentum": group.own("momentum"),
            "dampening": group.own("dampening"),
            "weight_decay": group.own("weight_decay"),
            "nesterov": bool(group.own("nesterov")),
            "maximize": bool(group.own("maximize")),
        }
        return ops.sgd_update, attributes, ("momentum",) if group.own("momentum") else ()


class Adam(Optimizer):
    """Adam: m and v are running means of grad and grad**2, and
    p -= lr m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps). ``weight_decay`` adds
    weight_decay p to the gradient; with ``amsgrad`` the largest v so far takes its place.

    >>> w = wg.tensor([1.0], requires_grad=True)
    >>> optimizer = wg.optim.Adam([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.75]
    """

    _states = ("mean", "square", "largest")
    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, options: dict[str, Any]) -> None:
        betas = options["betas"]
        pair = isinstance(betas, tuple) and len(betas) == 2
        if pair:
            super()._check(options)
        if not pair or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ArgumentError(
                f"{type(self).__name__}: 'betas' must be two numbers in [0, 1); got {betas}"
            )

    def _update(self, group: Group, lr: float) -> None:
        beta1, beta2 = group.own("betas")
        _adam_step(
            group.own("params"),
            group.state("mean"),
            group.state("square"),
            group.state("largest") if group.own("amsgrad") else [],
            group.counts,
            lr,
            beta1,
            beta2,
            group.own("eps"),
            group.own("weight_decay"),
            self._decoupled,
            group.own("maximize"),
        )

    def _row(self, group: Group) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
        beta1, beta2 = group.own("betas")
        attributes = {
            "beta1": beta1,
            "beta2": beta2,
            "eps": group.own("eps"),
            "weight_decay": group.own("weight_decay"),
            "decoupled": self._decoupled,
            "maximize": bool(group.own("maximize")),
        }
        return ops.adam_update, attributes, self._states[: 3 if group.own("amsgrad") else 2]


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay before the update.

    >>> w = wg.tensor([1.0], requires_grad=True)
    >>> optimizer = wg.optim.AdamW([w], lr=0.5, weight_decay=1.0)
    >>> (w * 0.0).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSProp(Optimizer):
    """RMSProp: s is the running mean of grad**2 and p -= lr grad / (sqrt(s) + eps). With
    ``centered`` the square of the running mean of grad is taken off s; with ``momentum``
    b = momentum b + grad / (sqrt(s) + eps) and p -= lr b. ``weight_decay`` adds weight_decay p to
    the gradient.

    >>> w = wg.tensor([1.0], requires_grad=True)
    >>> optimizer = wg.optim.RMSProp([w], lr=0.25, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    _states = ("square", "mean", "momentum")

    def __init__(
        self,
        params: Any,
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        arguments.real("RMSProp", "alpha", options["alpha"], 0.0, 1.0, tensor=True, single=True)

    def _update(self, group: Group, lr: float) -> None:
        _rmsprop_step(
            group.own("params"),
            group.state("square"),
            group.state("mean") if group.own("centered") else [],
            group.state("momentum") if group.own("momentum") else [],
            group.counts,
            lr,
            group.own("alpha"),
            group.own("eps"),
            group.own("weight_decay"),
            group.own("momentum"),
            group.own("maximize"),
        )

    def _row(self, group: Group) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
        attributes = {
            "alpha": group.own("alpha"),
            "eps": group.own("eps"),
            "weight_decay": group.own("weight_decay"),
            "momentum": group.own("momentum"),
            "centered": bool(group.own("centered")),
            "maximize": bool(group.own("maximize")),
        }
        used = (True, group.own("centered"), group.own("momentum"))
        names = tuple(name for name, wanted in zip(self._states, used) if wanted)
        return ops.rmsprop_update, attributes, names
