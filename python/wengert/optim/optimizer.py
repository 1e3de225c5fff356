"""What optimisers share: groups of parameters with options, state in tensors, and saving it. The
update of a group is one call of the core, in place; in a recording it is one operation, whose
results are assigned."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core, arguments, other_names
from .._core import (
    ArgumentError,
    ArgumentTypeError,
    GraphError,
    ShapeError,
    Tensor,
    TraceError,
    ops,
)
from ..checked import checked_call
from ..creation import zeros_like
from ..grad_mode import enable_grad, no_grad
from ..other_arguments import name_here
from ..side_effects import written

Schedule = Callable[[Any], Any]


def _is_model(params: Any) -> bool:
    return hasattr(params, "parameters")


def _parameter_list(where: str, params: Any) -> list[Tensor]:
    if isinstance(params, Tensor):
        raise ArgumentTypeError(
            f"{where}: takes an iterable of tensors or of dicts; got one tensor. Use [tensor]"
        )
    if not isinstance(params, Iterable) or isinstance(params, Mapping) or _is_model(params):
        raise ArgumentTypeError(
            f"{where}: takes an iterable of tensors or of dicts, such as model.parameters(); got "
            f"a {type(params).__name__}"
        )
    found = []
    for item in params:
        p = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not isinstance(p, Tensor):
            remedy = ". Use model.parameters()" if _is_model(p) else ""
            raise ArgumentTypeError(
                f"{where}: parameters are tensors; got a {type(p).__name__}{remedy}"
            )
        if not p.is_leaf:
            raise GraphError(
                f"{where}: parameters are leaves; got the result of an operation. Make a leaf of "
                "it: x.detach().requires_grad_()"
            )
        if p.dtype.kind != "f":
            raise ArgumentTypeError(f"{where}: parameters are floats; got {p.dtype}")
        found.append(p)
    return found


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


def _option(key: str, value: Any) -> Any:
    """NumPy's numbers as Python's, several as a tuple."""
    if key == "betas" and isinstance(value, (np.ndarray, Tensor)) and len(value.shape) == 1:
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(map(arguments.plain, value))
    return arguments.plain(value)


def _is_rate(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and 0.0 <= arguments.as_float(value) < math.inf


def _showing(name: str) -> Any:
    """The method of dict, which shows the options."""
    method = getattr(dict, name)

    @functools.wraps(method)
    def call(self: Group, *args: Any) -> Any:
        self._note_read()
        return method(self, *args)

    return call


class Group(dict):
    """The parameters of a group and their options. A number set as "lr" goes to the tensor
    ``rate``, which recorded steps read afresh; any other change makes them be recorded anew, and
    one of "lr" too where a recorded call itself has looked at it."""

    __slots__ = ("checked", "made", "names", "rate", "shown")
    checked: bool  # whether the optimiser has seen the options and found them good
    made: bool  # before, there is nobody who knows the options
    names: frozenset[str]  # of the options there are, where they are known
    rate: Tensor
    shown: bool  # whether a recording took "lr" for constant

    own = dict.__getitem__  # an option for the step itself, which does not count as shown

    def __new__(cls, *args: Any, **kwargs: Any) -> Group:
        group = super().__new__(cls)
        group.rate = _core.tensor(0.0, dtype="float64")
        group.checked = group.made = group.shown = False
        group.names = frozenset()
        return group

    def __init__(self, options: Mapping[str, Any] = {}, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = frozenset(names)
        self.update(options)
        self.made = True

    def _note_read(self) -> None:
        if _core._recording():
            self.shown = True

    def __getitem__(self, key: str) -> Any:
        if key == "lr":
            self._note_read()
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:  # so that dict(group) asks __getitem__
        return super().__iter__()

    get, copy, items, values = map(_showing, ("get", "copy", "items", "values"))
    __eq__, __ne__, __or__, __ror__ = map(_showing, ("__eq__", "__ne__", "__or__", "__ror__"))

    def _changed(self) -> None:
        self.checked = False
        if self.made:
            _core._changed_options()

    def _refuse_misnamed(self, key: str) -> None:
        """Groups may hold notes of the user's, but no option by another name."""
        ours = name_here(key, self.names)
        close = [ours] if ours else difflib.get_close_matches(key, self.names, cutoff=0.8)
        if close:
            raise ArgumentError(f"param_groups: there is no option '{key}'; use {close[0]}")

    def __setitem__(self, key: str, value: Any) -> None:
        if key != "params":
            if key not in self.names:
                self._refuse_misnamed(key)
            value = _option(key, value)
        old = dict.get(self, key)
        super().__setitem__(key, value)
        if key == "lr" and _is_rate(value):
            self._note_read()  # a call that sets it begins and ends with certain ones
            _core._assign(self.rate, float(value))
            if _is_rate(old):
                if self.shown and written(old) != written(value):  # there is a way back
                    start, end = [hash((id(self), written(x))) for x in (old, value)]
                    _core._changed_options(start ^ end)
                return
        self._changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def __ior__(self, other: Any) -> Group:  # type: ignore[misc]
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *args: Any) -> Any:
        value = super().pop(*args)
        self._changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        item = super().popitem()
        self._changed()
        return item

    def clear(self) -> None:
        super().clear()
        self._changed()


class _Groups(list[Group]):
    """Groups that recordings may know: a change of the list makes them be recorded anew."""


def _telling(name: str) -> Callable:
    change = getattr(list, name)

    @functools.wraps(change)
    def told(self: _Groups, *args: Any, **kwargs: Any) -> Any:
        try:
            return change(self, *args, **kwargs)
        finally:
            _core._changed_options()

    return told


for _name in (
    *("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(_Groups, _name, _telling(_name))


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
        self._counts: list[Tensor] = []
        self._state: list[dict[str, list[Tensor]]] = []
        single = isinstance(params, (Tensor, Mapping)) or _is_model(params)
        if isinstance(params, Iterable) and not single:
            params = list(params)
        groups = params
        if not (isinstance(params, list) and params and isinstance(params[0], dict)):
            groups = [{"params": params}]
        for group in groups:
            self.add_param_group(group)
        self.__dict__["param_groups"] = _Groups(self.param_groups)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_options", ()):
            raise ArgumentError(
                f"{type(self).__name__}: '{name}' is an option of each group: set "
                f"param_groups[0]['{name}']"
            )
        if name == "param_groups" and name in self.__dict__:
            value = _Groups(value)
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
        params = _parameter_list(name, group["params"])
        if not params:
            raise ArgumentError(
                f"{name}: got no parameters; a generator, such as model.parameters(), gives them "
                "only once"
            )
        taken = {id(p) for known in self.param_groups for p in known["params"]}
        if len({id(p) for p in params} - taken) < len(params):
            raise ArgumentError(f"{name}: a parameter appears more than once")
        options = {
            key: _option(key, group.get(key, default)) for key, default in self._options.items()
        }
        self._check(options)
        self.param_groups.append(Group({"params": params, **options}, self._options))
        self._counts.append(_core.tensor(np.zeros(len(params), np.int64)))
        self._state.append({})

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

    def _state_of(self, index: int, name: str) -> list[Tensor]:
        """State tensors of a group, zeros like its parameters at first."""
        state = self._state[index]
        if name not in state:
            state[name] = [_core._make_state(p) for p in self.param_groups[index]["params"]]
        return state[name]

    def _update(self, index: int, group: Group, lr: Any) -> None:
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
        for i, group in enumerate(self.param_groups):  # checked for all before anything changes
            if type(group) is not Group:
                group = self.param_groups[i] = Group(group, self._options)
            if recording:
                self._require_numbers(group)
            lr = group.own("lr")
            if not group.checked or isinstance(lr, Tensor):
                self._check_group(group)
            if callable(lr):
                lr = lr(self._steps if recording else self.steps)
                lr = arguments.real(type(self).__name__, "lr", lr, tensor=True, single=True)
            rates.append(lr)
        if recording:
            self._record(rates)
            return loss
        for index, (group, lr) in enumerate(zip(self.param_groups, rates)):
            self._update(index, group, lr)
        _core._advance(self._steps)
        return loss

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
            for index, (group, lr) in enumerate(zip(self.param_groups, rates)):
                if lr is group.own("lr") and not isinstance(lr, Tensor):
                    rate = group.rate
                else:
                    rate = ops.reshape(_core.asarray(lr, dtype="float64"), ())
                row = self._row(group)
                if row is None:
                    self._update(index, group, rate)
                else:
                    self._record_update(index, group, rate, *row)
            _core._assign(self._steps, ops.add(self._steps, 1))

    def _record_update(
        self,
        index: int,
        group: Group,
        rate: Tensor,
        row: Any,
        attributes: dict[str, Any],
        names: tuple[str, ...],
    ) -> None:
        states = [self._state_of(index, name) for name in names]
        params, counts = group["params"], self._counts[index]
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
    tensors = [params] if isinstance(params, Tensor) else _parameter_list("clip_grad_norm", params)
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
