"""Groups of parameters: their options, and what an optimiser keeps of each parameter."""

from __future__ import annotations

import difflib
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core, arguments
from .._core import ArgumentError, ArgumentTypeError, GraphError, Tensor
from ..other_arguments import name_here
from ..plain_values import is_plain, written


def is_model(params: Any) -> bool:
    return hasattr(params, "parameters")


def parameter_list(where: str, params: Any) -> list[Tensor]:
    if isinstance(params, Tensor):
        raise ArgumentTypeError(
            f"{where}: takes an iterable of tensors or of dicts; got one tensor. Use [tensor]"
        )
    if not isinstance(params, Iterable) or isinstance(params, Mapping) or is_model(params):
        raise ArgumentTypeError(
            f"{where}: takes an iterable of tensors or of dicts, such as model.parameters(); got "
            f"a {type(params).__name__}"
        )
    found = []
    for item in params:
        p = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not isinstance(p, Tensor):
            remedy = ". Use model.parameters()" if is_model(p) else ""
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


def option(key: str, value: Any) -> Any:
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

    __slots__ = ("checked", "counts", "held", "made", "names", "rate", "shown", "states")
    checked: bool  # whether the optimiser has seen the options and found them good
    made: bool  # before, there is nobody who knows the options
    names: frozenset[str]  # of the options there are, where they are known
    rate: Tensor
    shown: bool  # whether a recording took "lr" for constant
    held: list[Tensor]  # the parameters that these are of:
    counts: Tensor  # updates of each
    states: dict[str, list[Tensor]]

    own = dict.__getitem__  # an option for the step itself, which does not count as shown

    def __new__(cls, *args: Any, **kwargs: Any) -> Group:
        group = super().__new__(cls)
        group.rate = _core.tensor(0.0, dtype="float64")
        group.checked = group.made = group.shown = False
        group.names = frozenset()
        group.hold([], _core._counts_of([]), {})
        return group

    def __init__(self, options: Mapping[str, Any] = {}, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = frozenset(names)
        self.update(options)
        self.made = True

    def __copy__(self) -> Group:
        return Group(dict.copy(self), self.names)

    def hold(self, params: list[Tensor], counts: Tensor, states: dict[str, list[Tensor]]) -> None:
        self.held, self.counts, self.states = list(params), counts, states

    @property
    def fits(self) -> bool:
        """Whether counts and states are those of the parameters."""
        params = self.own("params")
        return len(params) == len(self.held) and all(map(operator.is_, params, self.held))

    def state(self, name: str) -> list[Tensor]:
        """Tensors, zeros like the parameters at first."""
        if name not in self.states:
            self.states[name] = [_core._make_state(p) for p in self.held]
        return self.states[name]

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
            value = option(key, value)
        else:
            value = Parameters(parameter_list("param_groups", value))
        known, old = key in self, dict.get(self, key)
        super().__setitem__(key, value)
        if key == "lr" and _is_rate(value):
            self._note_read()  # a call that sets it begins and ends with certain ones
            _core._assign(self.rate, float(value))
            if _is_rate(old):
                if self.shown and written(old) != written(value):  # there is a way back
                    start, end = [hash((id(self), written(x))) for x in (old, value)]
                    _core._changed_options(start ^ end)
                return
        if known and is_plain(old) and is_plain(value) and written(old) == written(value):
            return  # as from a state_dict
        self._changed()

    def _refuse_without_params(self) -> None:
        raise ArgumentError(
            "param_groups: a group keeps its 'params'; to end it, take it out of param_groups"
        )

    def __delitem__(self, key: str) -> None:
        if key == "params":
            self._refuse_without_params()
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
        if args[:1] == ("params",):
            self._refuse_without_params()
        value = super().pop(*args)
        self._changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        last = next(reversed(dict.keys(self)))
        return last, self.pop(last)

    def clear(self) -> None:
        self._refuse_without_params()


class Known(list[Any]):
    """Parameters or groups, as recordings may know them: a change of the list makes them anew."""

    def settle(self) -> None:
        """Makes of new items what the list holds, or raises."""


class Parameters(Known):
    def settle(self) -> None:
        list.__setitem__(self, slice(None), parameter_list("param_groups", self))


class Groups(Known):
    """The groups of an optimiser: a dict that is put there becomes a `Group`."""

    def __init__(self, groups: Iterable[Any], names: Iterable[str]) -> None:
        super().__init__(groups)
        self.names = frozenset(names)
        self.settle()

    def __reduce__(self) -> Any:
        return Groups, (list(self), self.names)

    def settle(self) -> None:
        for i, group in enumerate(self):
            if type(group) is Group:
                continue
            if not isinstance(group, Mapping) or "params" not in group:
                raise ArgumentTypeError(
                    f"param_groups: a group is a dict with 'params'; got {group!r:.60}"
                )
            list.__setitem__(self, i, Group(group, self.names))


def _telling(name: str) -> Callable:
    change = getattr(list, name)

    @functools.wraps(change)
    def told(self: Known, *args: Any, **kwargs: Any) -> Any:
        before = list(self)
        try:
            result = change(self, *args, **kwargs)
            self.settle()
        except BaseException:
            list.__setitem__(self, slice(None), before)
            raise
        finally:
            _core._changed_options()
        return result

    return told


for _name in (
    *("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(Known, _name, _telling(_name))
