"""wg.compile: a call recorded once, with all that it changes, and replayed in C++ from then on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import _core, tree
from ._core import ArgumentError, ArgumentTypeError, ShapeError, Tensor, TraceError
from .functions import stack
from .program import Program


class CacheInfo(NamedTuple):
    """How often a call was replayed, how often recorded, and how many recordings are kept."""

    hits: int
    misses: int
    size: int


_MANY = 8


class Compiled(_core._FastCall):
    """A function that records what a call of it does and replays it; made by ``wg.compile``."""

    def __init__(self, f: Callable, static_argnums: int | Sequence[int]) -> None:
        functools.update_wrapper(self, f)
        self.__wrapped__ = f
        numbers = _numbers(static_argnums)
        self._static = frozenset(numbers)
        _core._set_statics(self, list(numbers))
        self._recordings: dict[Any, list[tuple[Any, tree.Structure]]] = {}
        self._slow_hits = 0
        self._misses = 0

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def _split(self, args: tuple) -> tuple[tuple, tuple]:
        """The arguments that are traced (static ones left out), and the static ones."""
        if not self._static:
            return args, ()
        static = {i % len(args) for i in self._static if -len(args) <= i < len(args)}
        fixed = tuple((i, args[i]) for i in sorted(static))
        return tuple(x for i, x in enumerate(args) if i not in static), fixed

    def _join(self, traced: Sequence[Any], fixed: tuple) -> list[Any]:
        merged = list(traced)
        for i, value in fixed:
            merged.insert(i, value)
        return merged

    def _leaves(self, args: tuple, kwargs: dict) -> tuple[list[Tensor], Any, tuple]:
        traced, fixed = self._split(args)
        leaves, structure = tree.flatten((traced, kwargs))
        tensors = []
        for leaf in leaves:
            try:
                tensors.append(leaf if isinstance(leaf, Tensor) else _core.asarray(leaf))
            except (ArgumentError, ArgumentTypeError):
                raise ArgumentTypeError(
                    f"compile: {self.__name__} takes tensors, arrays and numbers; got "
                    f"{leaf!r:.60}. Name its position in static_argnums"
                ) from None
        return tensors, structure, fixed

    def _record(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> tuple[Any, ...]:
        def call(leaves: list[Tensor]) -> Any:
            traced, kwargs = tree.unflatten(structure, leaves)
            return self.__wrapped__(*self._join(traced, fixed), **kwargs)

        result, replay, history = _core._record(call, tensors, tree.leaves)
        return replay, tree.flatten(result)[1], history

    def _find(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> tuple[Any, ...]:
        key = (
            structure,
            fixed,
            tuple([(x.dtype, x.shape) for x in tensors]),
            _core.is_grad_enabled(),
            _core._options_epoch(),
        )
        try:
            known = self._recordings.setdefault(key, [])
        except TypeError:
            raise ArgumentTypeError(
                f"compile: static arguments of {self.__name__} must be hashable; got {fixed!r:.80}"
            ) from None
        for entry in known:
            if entry[0].fits():
                self._slow_hits += 1
                return entry
        self._misses += 1
        entry = self._record(tensors, structure, fixed)
        known.append(entry)
        self._warn_of_growth()
        return entry

    def _warn_of_growth(self) -> None:
        if self._misses % _MANY:
            return
        keys = list(self._recordings)
        names = ("tree structure", "static arguments", "shapes or dtypes", "grad mode", "options")
        changing = [name for i, name in enumerate(names) if len({key[i] for key in keys}) > 1]
        warnings.warn(
            f"compile: {self.__name__} was recorded {self._misses} times; what changes: "
            f"{', '.join(changing) or 'gradients left in leaves'}",
            stacklevel=4,
        )

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        """A call that the core could not match with a recording."""
        tensors, structure, fixed = self._leaves(args, kwargs)
        if _core._recording() or _core._is_followed(tensors):
            return self.__wrapped__(*args, **kwargs)
        replay, out_structure, history = self._find(tensors, structure, fixed)
        if history:
            return self.__wrapped__(*args, **kwargs)
        out = tree.unflatten(out_structure, replay.run(tensors))
        _core._add_recording(self, args, kwargs, replay, out)
        return out

    def run(self, *args: Any, steps: int | None = None, **kwargs: Any) -> Any:
        """Many calls in one, in C++ without Python's lock: results stacked along a new first axis.

        Without ``steps`` call i takes row i of every argument (``xs[i]``); with ``steps=n`` all n
        calls take the same arguments. What calls change (parameters, optimiser, random state) is
        carried from one to the next.

        >>> total = wg.zeros(())
        >>> @wg.compile
        ... def add(x):
        ...     total.assign(total + x)
        ...     return total
        >>> add.run(wg.tensor([1.0, 2.0, 3.0]))
        tensor([1., 3., 6.])
        """
        tensors, structure, fixed = self._leaves(args, kwargs)
        if steps is None:
            sizes = {x.shape[0] if x.ndim else None for x in tensors}
            if len(sizes) != 1 or None in sizes:
                raise ShapeError(
                    "run: every argument needs the same number of rows, one a step; got shapes "
                    f"{', '.join(str(x.shape) for x in tensors) or 'none'}. For the same arguments "
                    "in every step: run(..., steps=n)"
                )
            count = tensors[0].shape[0]
            rows = [x[0] for x in tensors] if count else []
        else:
            count, rows = _step_count(steps), tensors
        if count < 1:
            raise ArgumentError(f"run: needs at least one step; got {count}")
        if _core._recording() or _core._is_followed(tensors):
            raise TraceError("run: cannot be recorded or differentiated; call the function instead")
        replay, out_structure, history = self._find(rows, structure, fixed)
        stacked = [steps is None] * len(tensors)
        if replay.repeats and not history:
            return tree.unflatten(out_structure, replay.run_many(tensors, stacked, count))
        results = []
        for i in range(count):
            leaves = [x[i] for x in tensors] if steps is None else tensors
            traced, named = tree.unflatten(structure, leaves)
            results.append(tree.leaves(self(*self._join(traced, fixed), **named)))
        parts = [stack([_core.asarray(x) for x in column]) for column in zip(*results)]
        return tree.unflatten(out_structure, parts)

    def cache_info(self) -> CacheInfo:
        """Hits, misses and the number of recordings."""
        size = sum(len(entries) for entries in self._recordings.values())
        return CacheInfo(self._hits + self._slow_hits, self._misses, size)

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program that a call with these arguments replays."""
        replay, _, _ = self._find(*self._leaves(args, kwargs))
        count = len(replay.program.inputs)
        return Program(replay.program, self.__name__, [f"x{i}" for i in range(count)])


def _numbers(static_argnums: Any) -> tuple[int, ...]:
    given = static_argnums if isinstance(static_argnums, (list, tuple)) else (static_argnums,)
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int):
            raise ArgumentTypeError(f"compile: 'static_argnums' takes ints; got {number!r:.60}")
    return tuple(given)


def _step_count(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise ArgumentTypeError(f"run: 'steps' takes an int; got {steps!r:.60}")
    return steps


def compile(
    f: Callable | None = None, *, static_argnums: int | Sequence[int] = ()
) -> Callable[..., Any]:
    """f, recorded at its first call and replayed in C++ from then on.

    All that a call does is recorded: forward, backward, optimiser updates and changes of tensors
    in place. Tensors from outside are read afresh at every call. Every set of shapes, dtypes and
    static arguments has a recording of its own. A call whose arguments require gradients, or within
    another transform, runs f itself.

    >>> step = wg.compile(lambda x: wg.sin(x) * x)
    >>> step(wg.tensor([0.0, 1.0]))
    tensor([0.      , 0.841471])
    """
    if f is None:
        return functools.partial(compile, static_argnums=static_argnums)
    if not callable(f):
        raise ArgumentTypeError(f"compile: takes a function; got {f!r:.60}")
    return Compiled(f, static_argnums)
