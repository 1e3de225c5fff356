"""What optimisers share: groups of parameters with options, state in tensors, and saving it. The
update of a group is one call of the core, in place; in a recording it is one operation, whose
results are assigned."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .. import _core, arguments, other_names
from .._core import (
    ArgumentError,
    ArgumentTypeError,
    Error,
    ShapeError,
    Tensor,
    TraceError,
    ops,
)
from ..checked import checked_call
from ..creation import zeros_like
from ..grad_mode import enable_grad, no_grad
from .groups import Group, Groups, is_model, option, parameter_list

Schedule = Callable[[Any], Any]


_UPDATE_BYTES = 1 << 13
"""What one operation of a recorded step updates, at least: less costs more calls, more keeps more
gradients until all of them are there."""


def _together(params: list[Tensor]) -> list[list[int]]:
    """The places of the parameters that have gradients, in sets that one operation updates; the
    last come first, as their gradients do."""
    sets: list[list[int]] = [[]]
    size = 0
    for i in reversed(range(len(params))):
        if params[i].grad is None:
            continue
        if size >= _UPDATE_BYTES:
            sets.append([])
            size = 0
        sets[-1].append(i)
        size += params[i].size * params[i].dtype.itemsize
    if size < _UPDATE_BYTES and len(sets) > 1:
        rest = sets.pop()
        sets[-1] += rest
    return sets if sets[0] else []


_FLAGS = ("nesterov", "maximize", "amsgrad", "centered")
_NOT_NEGATIVE = ("lr", "weight_decay", "eps", "momentum")
_ONE = (*_NOT_NEGATIVE, "dampening", "alpha")  # number, while "betas" are several


class _Kept(NamedTuple):
    """Of a parameter that is in no group, but may come back: the tensor of counts and its place
    there, and its states."""

    parameter: weakref.ref
    counted: tuple[Tensor, int]
    states: dict[str, Tensor]


class Optimizer:
    """The base of optimisers. Subclasses give their options, the names of their states, and
    ``_update``, and ``_row`` where an operation does the same.

    ``param_groups`` holds the groups, dicts of "params" and options that may be changed; ``steps``
    counts the updates. A learning rate is a number or a schedule, a callable of ``steps``: of an
    int, or where the step is compiled of an int64 tensor.
    """

    _states: tuple[str, ...] = ()

    def __init__(self, params: Any, options: dict[str, Any]) -> None:
        self._options = options
        self._steps = _core.tensor(0, dtype="int64")
        self.param_groups: list[Group] = []  # which nobody knows yet
        self._known: list[Group] = []  # the groups, as the last step found them
        self._left: list[_Kept] = []
        single = isinstance(params, (Tensor, Mapping)) or is_model(params)
        if isinstance(params, Iterable) and not single:
            params = list(params)
        groups = params
        if not (isinstance(params, list) and params and isinstance(params[0], dict)):
            groups = [{"params": params}]
        for group in groups:
            self.add_param_group(group)
        self.__dict__["param_groups"] = Groups(self.param_groups, self._options)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_options", ()):
            raise ArgumentError(
                f"{type(self).__name__}: '{name}' is an option of each group: set "
                f"param_groups[0]['{name}']"
            )
        if name == "param_groups" and name in self.__dict__:
            if not isinstance(value, Iterable):
                raise ArgumentTypeError(f"param_groups: takes a list of dicts; got {value!r:.60}")
            value = Groups(value, self._options)
            _core._changed_options()
        super().__setattr__(name, value)

    @property
    def steps(self) -> int:
        """The number of updates so far; it can be assigned."""
        return int(self._steps)

    @steps.setter
    def steps(self, value: int) -> None:
        _core._assign(self._steps, value)

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
        params = parameter_list(name, group["params"])
        if not params:
            raise ArgumentError(
                f"{name}: got no parameters; a generator, such as model.parameters(), gives them "
                "only once"
            )
        taken = {id(p) for known in self.param_groups for p in known["params"]}
        if len({id(p) for p in params} - taken) < len(params):
            raise ArgumentError(f"{name}: a parameter appears more than once")
        options = {
            key: option(key, group.get(key, default)) for key, default in self._options.items()
        }
        self._check(options)
        self.param_groups.append(Group({"params": params, **options}, self._options))

    def _check(self, options: dict[str, Any]) -> None:
        """Raises for options out of range."""
        where = type(self).__name__
        for name, value in options.items():
            if name in _FLAGS:
                arguments.flag(where, name, value)
            elif not (name == "lr" and callable(value)):
                single = name in _ONE or not isinstance(value, (tuple, list))
                least = 0.0 if name in _NOT_NEGATIVE else -math.inf
                for x in [value] if single else value:
                    arguments.real(where, name, x, least, tensor=True, single=True)

    def _groups(self) -> list[Group]:
        """The groups, each with the counts and states of its parameters."""
        groups, known = self.param_groups, self._known
        same = len(groups) == len(known) and all(map(operator.is_, groups, known))
        if not same or not all(group.fits for group in groups):
            self._realign()
        return groups

    def _realign(self) -> None:
        """Takes counts and states to where their parameters are now; new ones begin."""
        name = type(self).__name__
        if _core._recording() and any(_core._is_assigned(group.counts) for group in self._known):
            raise TraceError(
                f"{name}: the parameters of a group change behind a step in the same compiled "
                "function; change param_groups between its calls"
            )
        every = [id(p) for group in self.param_groups for p in group.own("params")]
        if len(set(every)) < len(every):
            raise ArgumentError(f"{name}: a parameter appears more than once")
        kept = {id(p): own for own in self._left if (p := own.parameter()) is not None}
        for group in self._known:
            for i, p in enumerate(group.held):
                own = {key: tensors[i] for key, tensors in group.states.items()}
                kept[id(p)] = _Kept(weakref.ref(p), (group.counts, i), own)
        for group in self.param_groups:
            params = group.own("params")
            found = [kept.pop(id(p), None) for p in params]
            states = {
                key: [
                    was.states[key] if was and key in was.states else _core._make_state(p)
                    for p, was in zip(params, found)
                ]
                for key in dict.fromkeys(key for was in found if was for key in was.states)
            }
            counts = _core._counts_of([was.counted if was else None for was in found])
            group.hold(params, counts, states)
        self._known, self._left = list(self.param_groups), list(kept.values())

    def _update(self, group: Group, lr: Any) -> None:
        raise ArgumentTypeError(f"{type(self).__name__}: an optimiser defines _update")

    def _row(self, group: Group) -> tuple[Any, dict[str, Any], tuple[str, ...]] | None:
        """The operation that updates as ``_update`` does, its attributes and the names of the
        states it takes; None if there is none."""
        return None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have gradients, in place. A ``closure`` is called before; it
        computes a loss and its gradients, and step returns the loss."""
        loss = None if closure is None else self._loss_of(closure)
        recording = _core._recording()
        rates = []
        for group in self._groups():  # checked for all before anything changes
            if recording:
                self._require_numbers(group)
            if not group.checked or isinstance(group.own("lr"), Tensor):
                self._check_group(group)
            lr = group.own("lr")
            rates.append(self._scheduled(lr, recording) if callable(lr) else lr)
        if recording:
            self._record(rates)
            return loss
        for group, lr in zip(self.param_groups, rates):
            self._update(group, lr)
        _core._advance(self._steps)
        return loss

    def _scheduled(self, schedule: Schedule, recording: bool) -> Any:
        """The rate of this step."""
        where = type(self).__name__
        name = getattr(schedule, "__qualname__", None) or type(schedule).__name__
        try:
            lr = schedule(_core._as_number(self._steps) if recording else self.steps)
        except TraceError as error:
            says = f"the schedule {name} gets a traced step where training is compiled"
            raise TraceError(f"{where}: 'lr': {says}: {error}") from error
        try:
            lr = arguments.real(where, "lr", lr, tensor=True, single=True)
        except Error as error:
            raise type(error)(f"{error}, from the schedule {name}") from None
        # What the schedule returns may be a view of the counter, which changes.
        return lr + 0 if isinstance(lr, Tensor) and lr.dtype.kind in "iu" else lr

    def _loss_of(self, closure: Callable[[], Any]) -> Any:
        if not callable(closure):
            raise ArgumentTypeError(
                f"{type(self).__name__}: step takes a function that computes the loss, or nothing: "
                f"gradients are read from the parameters; got {closure!r:.60}"
            )
        with enable_grad():
            return closure()

    def _require_numbers(self, group: Group) -> None:
        """Raises for tensors that an operation takes as numbers, which a recording cannot read."""
        if type(self)._row is Optimizer._row:
            return
        for name in self._options:
            value = dict.get(group, name)
            parts = value if isinstance(value, tuple) else (value,)
            if name != "lr" and any(isinstance(part, Tensor) for part in parts):
                raise TraceError(
                    f"{type(self).__name__}: in a compiled step '{name}' takes a Python number, "
                    "and only 'lr' may be a tensor; got a tensor. Give its .item(); a number set "
                    f"later, as param_groups[0]['{name}'], records the step anew"
                )

    def _check_group(self, group: Group) -> None:
        missing = [name for name in self._options if name not in group]
        if missing:
            raise ArgumentError(f"{type(self).__name__}: a group lacks {', '.join(missing)}")
        self._check({name: group.own(name) for name in self._options})
        group.checked = True

    def _record(self, rates: list[Any]) -> None:
        with no_grad():
            for group, lr in zip(self.param_groups, rates):
                if lr is group.own("lr") and not isinstance(lr, Tensor):
                    rate = group.rate
                else:
                    rate = ops.reshape(_core.asarray(lr, dtype="float64"), ())
                row = self._row(group)
                if row is None:
                    self._update(group, rate)
                else:
                    self._record_update(group, rate, *row)
            _core._assign(self._steps, ops.add(self._steps, 1))

    def _record_update(
        self,
        group: Group,
        rate: Tensor,
        row: Any,
        attributes: dict[str, Any],
        names: tuple[str, ...],
    ) -> None:
        states = [group.state(name) for name in names]
        params, counts = group["params"], group.counts
        for which in _together(params):
            tensors, targets = [], [counts]
            for i in which:
                p, own = params[i], [state[i] for state in states]
                tensors += [p, p.grad, *own]
                targets += [p, *own]
            made = row(rate, counts, *tensors, which=which, states=len(names), **attributes)
            del tensors  # a view of what changes may not be held
            for target, value in zip(targets, made):
                _core._assign(target, value)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets the gradients of all parameters to None (with ``set_to_none=False`` that of those
        that have one to 0)."""
        for group in self.param_groups:
            for p in group.own("params"):
                p.grad = None if set_to_none or p.grad is None else zeros_like(p.grad)

    def state_dict(self) -> dict[str, Any]:
        """Options, counts and states, in a form that ``wg.save`` takes. Schedules are left out."""
        groups = []
        for group in self._groups():
            options = {
                name: value
                for name, value in group.items()
                if name != "params" and not callable(value)
            }
            groups.append({"options": options, "counts": group.counts, "state": group.states})
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
        arguments.integer(f"{name}: load_state_dict", "steps", steps, 0)
        loaded = [
            {key: option(key, value) for key, value in options.items()} for options, _, _ in parts
        ]
        sizes = [len(group.held) for group in self._groups()]
        found = [len(counts) for _, counts, _ in parts]
        if found != sizes:
            raise ArgumentError(
                f"{name}: load_state_dict: the state is of groups of {found} parameters, the "
                f"optimiser has groups of {sizes}"
            )
        for group, options, (_, _, state) in zip(self.param_groups, loaded, parts):
            unknown = [key for key in options if key not in self._options]
            unknown += [key for key in state if key not in self._states]
            if unknown:
                raise ArgumentError(f"{name}: load_state_dict: unknown {', '.join(unknown)}")
            self._check(options)
            for key, tensors in state.items():
                shapes = [t.shape for t in tensors]
                expected = [p.shape for p in group["params"]]
                if shapes != expected:
                    raise ShapeError(
                        f"{name}: load_state_dict: '{key}' has shapes {shapes}, the parameters "
                        f"{expected}"
                    )
        with no_grad():
            for group, options, (_, counts, state) in zip(self.param_groups, loaded, parts):
                _core._assign(group.counts, counts)
                # Compiled steps hold the tensors: what the loaded state lacks begins anew in them.
                for key in {**group.states, **state}:
                    own = group.state(key)
                    for to, value in zip(own, state.get(key, (0,) * len(own))):
                        _core._assign(to, value)
                group.update(
                    (key, value) for key, value in options.items() if not callable(group.get(key))
                )
        self.steps = steps

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{key}={group[key]}" for key in self._options if key in group)
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


other_names.cover(Optimizer, "wengert.optim.Optimizer")


@checked_call
def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> Any:
    """Scales the gradients of ``params`` so that the Euclidean norm of all together is at most
    ``max_norm``; returns the norm before, a float (in a compiled function a tensor, float64 ()).

    As in PyTorch the factor is min(1, max_norm / (norm + 1e-6)): an infinite norm turns finite
    gradients into 0 and infinite ones into NaN, a norm of NaN all of them into NaN.

    >>> w = wg.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> wg.optim.clip_grad_norm([w], 1.0)
    5.0
    """
    tensors = [params] if isinstance(params, Tensor) else parameter_list("clip_grad_norm", params)
    max_norm = arguments.real(
        "clip_grad_norm", "max_norm", max_norm, finite=False, tensor=True, single=True
    )
    if _core._recording():
        return _record_clipping(tensors, max_norm)
    return _core._clip_grad_norm(tensors, max_norm)


def _record_clipping(tensors: list[Tensor], max_norm: float) -> Tensor:
    found = [(p, g) for p in tensors for g in [p.grad] if g is not None]
    if not found:
        return _core.tensor(0.0, dtype="float64")
    with no_grad():
        norm = ops.global_norm(*(g for _, g in found))
        factor = ops.minimum(ops.divide(max_norm, ops.add(norm, 1e-6)), 1.0)
        for p, g in found:
            p.grad = ops.multiply(g, ops.astype(factor, g.dtype))
    return norm
