"""What optimisers share: groups of parameters with options, state in tensors, and saving it. The
update of a group is one call of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import _core
from .._core import ArgumentError, ArgumentTypeError, GraphError, ShapeError, Tensor
from ..grad_mode import no_grad

Schedule = Callable[[int], float]


def _parameter_list(params: Any) -> list[Tensor]:
    if isinstance(params, Tensor):
        raise ArgumentTypeError(
            "optimizer: takes an iterable of tensors or of dicts; got one tensor. Use [tensor]"
        )
    if not isinstance(params, Iterable):
        remedy = ". Use model.parameters()" if hasattr(params, "parameters") else ""
        raise ArgumentTypeError(
            f"optimizer: takes an iterable of tensors or of dicts; got a "
            f"{type(params).__name__}{remedy}"
        )
    found = []
    for item in params:
        p = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not isinstance(p, Tensor):
            raise ArgumentTypeError(f"optimizer: parameters are tensors; got a {type(p).__name__}")
        if not p.is_leaf:
            raise GraphError("optimizer: parameters are leaves; got the result of an operation")
        if p.dtype.kind != "f":
            raise ArgumentTypeError(f"optimizer: parameters are floats; got {p.dtype}")
        found.append(p)
    return found


class Optimizer:
    """The base of optimisers. Subclasses give their options, the names of their states, and
    ``_update``.

    ``param_groups`` holds the groups, dicts of "params" and options that may be changed; ``steps``
    counts the updates. A learning rate is a number or a schedule, a callable of ``steps``.
    """

    _states: tuple[str, ...] = ()

    def __init__(self, params: Any, options: dict[str, Any]) -> None:
        self._options = options
        self.steps = 0
        self.param_groups: list[dict[str, Any]] = []
        self._counts: list[Tensor] = []
        self._state: list[dict[str, list[Tensor]]] = []
        if isinstance(params, Iterable) and not isinstance(params, Tensor):
            params = list(params)
        groups = params
        if not (isinstance(params, list) and params and isinstance(params[0], dict)):
            groups = [{"params": params}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds a dict of "params" (an iterable of tensors) and options of its own."""
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ArgumentTypeError(f"{name}: a group is a dict with 'params'; got {group!r}")
        unknown = [key for key in group if key != "params" and key not in self._options]
        if unknown:
            raise ArgumentError(
                f"{name}: unknown options {', '.join(unknown)}; it has {', '.join(self._options)}"
            )
        params = _parameter_list(group["params"])
        if not params:
            raise ArgumentError(f"{name}: got no parameters")
        taken = {id(p) for known in self.param_groups for p in known["params"]}
        if len({id(p) for p in params} - taken) < len(params):
            raise ArgumentError(f"{name}: a parameter appears more than once")
        options = {**self._options, **{key: group[key] for key in self._options if key in group}}
        self._check(options)
        self.param_groups.append({"params": params, **options})
        self._counts.append(_core.tensor(np.zeros(len(params), np.int64)))
        self._state.append({})

    def _check(self, options: dict[str, Any]) -> None:
        """Raises for options out of range."""
        for name, value in options.items():
            if name == "lr" and callable(value):
                continue
            pair = isinstance(value, (tuple, list))
            if not all(isinstance(x, (int, float, Tensor)) for x in (value if pair else [value])):
                raise ArgumentTypeError(
                    f"{type(self).__name__}: {name} must be a number; got {value!r}"
                )
        lr = options["lr"]
        if not callable(lr) and not float(lr) >= 0.0:
            raise ArgumentError(f"{type(self).__name__}: lr must not be negative; got {lr}")
        for name in ("weight_decay", "eps", "momentum"):
            if name in options and not options[name] >= 0.0:
                raise ArgumentError(
                    f"{type(self).__name__}: {name} must not be negative; got {options[name]}"
                )

    def _state_of(self, index: int, name: str) -> list[Tensor]:
        """State tensors of a group, zeros like its parameters at first."""
        state = self._state[index]
        if name not in state:
            params = self.param_groups[index]["params"]
            state[name] = [_core.tensor(np.zeros(p.shape, p.dtype)) for p in params]
        return state[name]

    def _update(self, index: int, group: dict[str, Any], lr: float) -> None:
        raise ArgumentTypeError(f"{type(self).__name__}: an optimiser defines _update")

    def step(self) -> None:
        """Updates the parameters that have gradients, in place."""
        steps = self.steps
        rates = []
        for group in self.param_groups:  # checked for all before anything changes
            self._check({name: group[name] for name in self._options})
            lr = group["lr"]
            rates.append(lr(steps) if callable(lr) else lr)
        for index, (group, lr) in enumerate(zip(self.param_groups, rates)):
            self._update(index, group, lr)
        self.steps = steps + 1

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to None."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Options, counts and states, in a form that ``wg.save`` takes. Schedules are left out."""
        groups = []
        for group, counts, state in zip(self.param_groups, self._counts, self._state):
            options = {
                name: value
                for name, value in group.items()
                if name != "params" and not callable(value)
            }
            groups.append({"options": options, "counts": counts, "state": state})
        return {"steps": self.steps, "groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what ``state_dict`` gave, for the same parameters in the same groups."""
        name = type(self).__name__
        try:
            groups = list(state_dict["groups"])
            steps = int(state_dict["steps"])
            parts = [(g["options"], g["counts"], g["state"]) for g in groups]
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"{name}: load_state_dict takes what state_dict gave; {error!r} is wrong"
            ) from None
        sizes = [len(group["params"]) for group in self.param_groups]
        found = [len(counts) for _, counts, _ in parts]
        if found != sizes:
            raise ArgumentError(
                f"{name}: load_state_dict: the state is of groups of {found} parameters, the "
                f"optimiser has groups of {sizes}"
            )
        for group, (options, _, state) in zip(self.param_groups, parts):
            unknown = [key for key in options if key not in self._options]
            unknown += [key for key in state if key not in self._states]
            if unknown:
                raise ArgumentError(f"{name}: load_state_dict: unknown {', '.join(unknown)}")
            for key, tensors in state.items():
                shapes = [t.shape for t in tensors]
                expected = [p.shape for p in group["params"]]
                if shapes != expected:
                    raise ShapeError(
                        f"{name}: load_state_dict: '{key}' has shapes {shapes}, the parameters "
                        f"{expected}"
                    )
        with no_grad():
            for i, (options, counts, state) in enumerate(parts):
                _core._assign(self._counts[i], counts)
                self._state[i] = {key: self._state[i].get(key, []) for key in state}
                for key, tensors in state.items():
                    if not self._state[i][key]:
                        del self._state[i][key]
                    for to, value in zip(self._state_of(i, key), tensors):
                        _core._assign(to, value)
                group = self.param_groups[i]
                group.update(
                    (key, tuple(value) if isinstance(value, list) else value)
                    for key, value in options.items()
                    if not callable(group[key])
                )
        self.steps = steps

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{key}={group[key]}" for key in self._options)
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scales the gradients of ``params`` so that the Euclidean norm of all together is at most
    ``max_norm``; returns the norm before.

    >>> w = wg.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> wg.optim.clip_grad_norm([w], 1.0)
    5.0
    """
    tensors = [params] if isinstance(params, Tensor) else _parameter_list(params)
    if not max_norm >= 0:
        raise ArgumentError(f"clip_grad_norm: max_norm must not be negative; got {max_norm}")
    return _core._clip_grad_norm(tensors, max_norm)
