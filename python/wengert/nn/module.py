"""Module: a tree of parameters with a `forward`. A module's parameters, buffers and children are
simply its attributes; nothing is registered when an attribute is set.

Must not know any layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from .. import _core, arguments, other_names, tree
from .._core import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, Tensor
from ..checked import checked_call, warn
from ..creation import zeros_like
from ..dtypes import as_dtype
from ..grad_mode import no_grad
from ..plain_values import PLAIN, written
from ..side_effects import ABSENT, Watched, changed, held, made

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module trains. A tensor given as ``data`` is shared, anything else copied.

    >>> wg.nn.Parameter([1.0, 2.0]).requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, data: Any, requires_grad: bool = True) -> Parameter:
        if not isinstance(data, Tensor):
            data = _core.tensor(data)
        return super().__new__(cls, data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Watched):
    """The base of models: assign parameters and modules as attributes, and define ``forward``.

    Calling a module is calling its class's ``forward``; there is no need to call
    ``super().__init__()``.

    State that ``forward`` changes belongs in tensors: ``self.mean.assign(new)``, or ``self.mean =
    new``, which ``wg.compile`` carries out likewise. A Python number that ``forward`` changes stays
    in replays what it was (and warns).

    >>> class Scale(wg.nn.Module):
    ...     def __init__(self):
    ...         self.factor = wg.nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> Scale()(wg.tensor([3.0])).tolist()
    [6.0]
    """

    training: bool = True
    # Names of buffers, and whether state_dict holds them; names of parameters that are not of type
    # Parameter, in the copies that transforms and functional_call make.
    _buffers: Mapping[str, bool] = {}
    _stand_ins: frozenset[str] = frozenset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The value of the module; subclasses define it."""
        raise ArgumentTypeError(f"{type(self).__name__}: define forward(self, ...)")

    __call__: Callable[..., Any] = forward

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # A call is `forward` itself, without a function in between, unless a class says otherwise.
        super().__init_subclass__(**kwargs)
        inherited = cls.__call__
        if any(base.__dict__.get("forward") is inherited for base in cls.__mro__):
            cls.__call__ = cls.forward  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        old = held(self, name)
        if isinstance(old, Parameter):
            if value is not None and not isinstance(value, Parameter):
                kind = "plain tensor" if isinstance(value, Tensor) else type(value).__name__
                raise ArgumentTypeError(
                    f"{type(self).__name__}: '{name}' is a Parameter and the new value a {kind}; "
                    "set its values with .assign, or wrap them in nn.Parameter"
                )
        elif name == "forward":
            raise ArgumentTypeError(
                f"{type(self).__name__}: forward belongs to the class; override it in a subclass"
            )
        object.__setattr__(self, name, value)
        if type(value) in (list, tuple, dict) and name[0] != "_":
            _warn_of_hidden(self, name, value)
        changed(self, name, old, value)

    def __delattr__(self, name: str) -> None:
        old = held(self, name)
        object.__delattr__(self, name)
        changed(self, name, old, ABSENT)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Makes a tensor part of the module's state that is not trained."""
        if self._buffers.get(name) is not persistent:
            self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as assigning the attribute."""
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(
                f"register_parameter: '{name}' must be a Parameter or None; got a "
                f"{type(param).__name__}"
            )
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as assigning the attribute."""
        setattr(self, name, _checked_module("add_module", module) if module is not None else None)

    def _members(self) -> dict[str, Any]:
        """Where parameters and children are found by name; containers keep children elsewhere."""
        return self.__parts__

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        stand_ins = self._stand_ins
        for name, value in self.__parts__.items():
            if isinstance(value, Parameter) or (name in stand_ins and value is not None):
                yield name, value

    def _own_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name in self._buffers:
            if (value := self.__parts__.get(name)) is not None:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules by attribute name."""
        for name, value in self._members().items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, by dotted path; each once."""
        seen: set[int] = set()

        def walk(path: str, module: Module) -> Iterator[tuple[str, Module]]:
            if remove_duplicate and id(module) in seen:
                return
            seen.add(id(module))
            yield path, module
            for name, child in module.named_children():
                yield from walk(f"{path}.{name}" if path else name, child)

        return walk(prefix, self)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        where = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in where:
            own: Callable[[], Iterable[tuple[str, Tensor]]] = getattr(module, kind)
            for name, value in own():
                if not remove_duplicate or id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Parameters by dotted path; one that is used in several places appears once.

        >>> [name for name, _ in wg.nn.Sequential(wg.nn.Linear(2, 3)).named_parameters()]
        ['0.weight', '0.bias']
        """
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            module._require_ready(path)
        return self._named("_own_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """The parameters, each once.

        >>> [p.shape for p in wg.nn.Linear(2, 3).parameters()]
        [(3, 2), (3,)]
        """
        return (value for _, value in self.named_parameters("", recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers by dotted path."""
        return self._named("_own_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (value for _, value in self.named_buffers("", recurse))

    def _require_ready(self, path: str) -> None:
        """Raises where the module does not know the shapes of its parameters yet."""

    def _make_ready(self, state: Mapping[str, Any], prefix: str) -> None:
        """Makes parameters whose shapes were left open like those of `state`, where it has them."""

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(remove_duplicate=False):
            module._require_ready(path)
            dot = path + "." if path else ""
            for name, value in module._own_parameters():
                yield dot + name, value
            for name, value in module._own_buffers():
                if module._buffers[name]:
                    yield dot + name, value

    def state_dict(self, *, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and buffers by dotted path, sharing memory with the module.

        >>> sorted(wg.nn.Linear(2, 3).state_dict())
        ['bias', 'weight']
        """
        return {prefix + name: _core._detach(value) for name, value in self._state()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copies values (tensors or arrays) into the parameters and buffers of the same names.

        Nothing changes where a shape differs or, unless ``strict=False``, where keys are missing or
        unexpected: that raises a ``wg.ArgumentError`` (``wg.ShapeError`` if only shapes differ).

        >>> model = wg.nn.Linear(2, 1)
        >>> model.load_state_dict({"weight": [[1.0, 2.0]], "bias": [0.5]})
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        """
        if not isinstance(state_dict, Mapping):
            raise ArgumentTypeError(
                f"load_state_dict: takes a dict of names to tensors; got a "
                f"{type(state_dict).__name__}"
            )
        for path, module in self.named_modules(remove_duplicate=False):
            module._make_ready(state_dict, path + "." if path else "")
        own = dict(self._state())
        values = {name: _core.asarray(state_dict[name]) for name in own if name in state_dict}
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        shapes = [
            f"'{name}' is {own[name].shape} here and {value.shape} in the state"
            for name, value in values.items()
            if own[name].shape != value.shape
        ]
        problems = []
        if strict and missing:
            problems.append(f"missing keys: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected keys: {', '.join(unexpected)}")
        if problems or shapes:
            kind = ArgumentError if problems else ShapeError
            if shapes:
                problems.append(f"shapes differ: {', '.join(shapes)}")
            raise kind(f"load_state_dict: {type(self).__name__}: {'; '.join(problems)}")
        with no_grad():
            for name, value in values.items():
                _core._assign(own[name], value)
        return IncompatibleKeys(missing, unexpected)

    def train(self: M, mode: bool = True) -> M:
        """Switches layers such as Dropout to their behaviour in training; returns the module."""
        mode = arguments.flag("train", "mode", mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Switches layers such as Dropout off; returns the module."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Sets whether the parameters want gradients; returns the module."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets the gradients of all parameters to None (with ``set_to_none=False`` that of those
        that have one to 0)."""
        for p in self.parameters():
            p.grad = None if set_to_none or p.grad is None else zeros_like(p.grad)

    @checked_call
    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Calls fn with every submodule, children first, then with the module; returns it."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def astype(self: M, dtype: Any) -> M:
        """Converts floating-point parameters and buffers to ``dtype``, as new tensors; returns the
        module. Make optimisers afterwards.

        >>> wg.nn.Linear(2, 3).astype(wg.float64).weight.dtype
        dtype('float64')
        """
        if as_dtype(dtype).kind != "f":
            raise DTypeError(f"astype: parameters are floats; got {as_dtype(dtype)}")
        made: dict[int, Tensor] = {}
        for path, module in self.named_modules():
            module._require_ready(path)
            for found in (module._own_parameters, module._own_buffers):
                for name, old in list(found()):
                    if old.dtype.kind == "f" and id(old) not in made:
                        new = _core.asarray(_core._detach(old), dtype=dtype)
                        is_parameter = isinstance(old, Parameter)
                        made[id(old)] = Parameter(new, old.requires_grad) if is_parameter else new
                    setattr(module, name, made.get(id(old), old))
        return self

    def extra_repr(self) -> str:
        """What __repr__ shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {module!r}" for name, module in self.named_children()]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [extra] if extra else []
        body = "\n".join(lines + children).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


other_names.cover(Module, "wengert.nn.Module")


def _checked_module(where: str, module: Any) -> Module:
    if isinstance(module, Module):
        return module
    if isinstance(module, type):
        raise ArgumentTypeError(
            f"{where}: takes modules; got the class {module.__name__}. Make one: "
            f"{module.__name__}(...)"
        )
    remedy = "Wrap functions in a Module"
    if isinstance(module, (list, tuple)):
        remedy = f"Give them one by one: {where}(*modules)"
    raise ArgumentTypeError(f"{where}: takes modules; got a {type(module).__name__}. {remedy}")


def _replaced(module: Module, new: dict[int, Any], memo: dict[int, Module]) -> Module:
    """A copy of a tree of modules in which the tensor with id i is new[i]."""
    if id(module) in memo:
        return memo[id(module)]
    copy = memo[id(module)] = object.__new__(type(module))
    made(copy)
    members = copy.__dict__
    members.update(module.__dict__)
    members["_stand_ins"] = frozenset(name for name, _ in module._own_parameters())
    for name, value in module.__dict__.items():
        if isinstance(value, Tensor):
            members[name] = new.get(id(value), value)
        elif isinstance(value, Module):
            members[name] = _replaced(value, new, memo)
        elif value is module._members():
            members[name] = {key: _replaced(child, new, memo) for key, child in value.items()}
    return copy


class _Skeleton:
    """What a module is beside its parameters."""

    __slots__ = ("ids", "key", "module")

    def __init__(self, module: Module, names: tuple[str, ...], ids: tuple[int, ...]) -> None:
        self.module = module
        self.key = (type(module), names)
        self.ids = ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Skeleton) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def constants(self) -> tuple:
        """The types of modules, which of them and of the parameters have which names, and their
        other attributes: plain ones by value, others, such as buffers, by identity. (The id of what
        is gone may come back; but a recording has read the modules, and ends with such a change.)
        """
        modules = list(self.module.modules())
        place = {key: i for i, key in enumerate((*map(id, modules), *self.ids))}
        found: list[Any] = []
        for module in modules:
            found.append(type(module))
            attributes, members = module.__dict__, module._members()
            for name, value in attributes.items():
                if name == "_stand_ins" or value is members:
                    continue
                known: Any = place.get(id(value))
                if known is None:
                    known = type(value), written(value) if type(value) in PLAIN else id(value)
                found.append((name, known))
            if members is not attributes:
                found.extend((name, place[id(child)]) for name, child in members.items())
        return tuple(found)


def _flatten(module: Module) -> tuple[list[Tensor], _Skeleton]:
    for part in module.modules():
        part.__dict__  # noqa: B018 (what is made of the leaves has all: it counts as read)
    named = list(module.named_parameters())
    values = [value for _, value in named]
    return values, _Skeleton(module, tuple(name for name, _ in named), tuple(map(id, values)))


def _unflatten(skeleton: _Skeleton, values: list[Any]) -> Module:
    return _replaced(skeleton.module, dict(zip(skeleton.ids, values)), {})


tree.register(Module, _flatten, _unflatten)


@checked_call
def functional_call(
    module: Module, params: Mapping[str, Any] | Module, *args: Any, **kwargs: Any
) -> Any:
    """``module(*args, **kwargs)`` with other parameters and buffers, by their names in
    ``state_dict``; those not named keep their values. The module itself stays as it is.

    A parameter used in several places is replaced in all of them by any of its names; of several
    of its names, the last counts. A single tuple is taken for the arguments, as in PyTorch, where
    it has one element or ``forward`` takes more than one argument.

    >>> model = wg.nn.Linear(1, 1)
    >>> params = {"weight": wg.tensor([[3.0]]), "bias": wg.tensor([1.0])}
    >>> wg.functional_call(model, params, wg.tensor([2.0])).tolist()
    [7.0]
    """
    if not isinstance(params, (Mapping, Module)):
        raise ArgumentTypeError(
            f"functional_call: takes a dict of names to tensors, such as "
            f"dict(model.named_parameters()); got a {type(params).__name__}"
        )
    if isinstance(params, Module):
        params = dict(params.named_parameters())
    module = _checked_module("functional_call", module)
    own = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    unknown = [name for name in params if name not in own]
    if unknown:
        raise ArgumentError(
            f"functional_call: {type(module).__name__} has no parameter or buffer "
            f"{', '.join(map(repr, unknown))}; it has {', '.join(own)}"
        )
    new = {id(own[name]): value for name, value in params.items()}
    if len(args) == 1 and type(args[0]) is tuple and _are_arguments(module, args, kwargs):
        args = args[0]
    return _replaced(module, new, {})(*args, **kwargs)


def _warn_of_hidden(module: Module, name: str, held: Any) -> None:
    """Modules in lists and dicts are not searched: their parameters would stay as they are."""
    values = held.values() if isinstance(held, dict) else held
    hidden = [x for x in values if isinstance(x, (Module, Parameter))]
    known = {*map(id, module.modules()), *map(id, module.parameters())} if hidden else set()
    if any(id(x) not in known for x in hidden):
        what = "modules" if isinstance(hidden[0], Module) else "parameters"
        remedy = "nn.ModuleList or nn.Sequential" if what == "modules" else "an attribute for each"
        warn(
            f"{type(module).__name__}: '{name}' is a {type(held).__name__} of {what}, in which no "
            f"parameters are found. Use {remedy}"
        )


def _are_arguments(module: Module, args: tuple[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a tuple that stands alone holds the arguments of a module, and is not its only
    one."""
    if len(args[0]) == 1:
        return True
    try:
        inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError:
        return True
    return False


class _Container(Module):
    """Children in order, by name, in a dict of their own."""

    _layers: dict[str, Module]

    def _members(self) -> dict[str, Any]:
        return self._layers

    def __getattr__(self, name: str) -> Any:
        layers = self.__dict__.get("_layers", {})
        if name in layers:
            return layers[name]
        other_names.missing("wengert.nn.Module", name, type(self).__name__)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child at the end, or replaces the one of that name."""
        # (A new dict, as a copy of the container may hold the old one.)
        self._layers = {**self._layers, name: _checked_module(type(self).__name__, module)}

    def append(self: M, module: Module) -> M:
        """Adds a child at the end; returns the container."""
        return self.extend((module,))  # type: ignore[attr-defined]

    def extend(self: M, modules: Iterable[Module]) -> M:
        """Adds children at the end; returns the container."""
        if not isinstance(modules, Iterable):
            raise ArgumentTypeError(
                f"{type(self).__name__}: takes modules in a list; got a {type(modules).__name__}"
            )
        layers = {**self._members()}
        for module in modules:
            layers[str(len(layers))] = _checked_module(type(self).__name__, module)
        self._layers = layers
        return self

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(list(self._layers.values()))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            names = list(self._layers)[index]
            part = object.__new__(type(self))
            part.__dict__.update(self.__dict__)
            part.__dict__["_layers"] = {name: self._layers[name] for name in names}
            return part
        return self._layers[self._name_at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def _name_at(self, index: int) -> str:
        names = list(self._layers)
        index = arguments.integer(type(self).__name__, "index", index, None)
        if not -len(names) <= index < len(names):
            raise _core.BoundsError(
                f"{type(self).__name__}: index {index} is out of range for {len(names)} modules"
            )
        return names[index]


class Sequential(_Container):
    """Modules called one after the other. Takes them in order, or a dict of names to modules.

    >>> model = wg.nn.Sequential(wg.nn.Linear(4, 8), wg.nn.Tanh(), wg.nn.Linear(8, 2))
    >>> model(wg.tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 2)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        only = modules[0] if len(modules) == 1 else None
        named = only if isinstance(only, Mapping) else {str(i): m for i, m in enumerate(modules)}
        where = type(self).__name__
        self._layers = {name: _checked_module(where, module) for name, module in named.items()}

    def forward(self, x: Any) -> Any:
        for module in self._layers.values():
            x = module(x)
        return x


class ModuleList(_Container):
    """A list of modules that belong to the module it is an attribute of.

    >>> len(wg.nn.ModuleList([wg.nn.Linear(2, 2) for _ in range(3)]))
    3
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._layers = {}
        self.extend(modules)
