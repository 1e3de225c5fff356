"""wg.compile: a call recorded once, with all that it changes, and replayed in C++ from then on."""

from __future__ import annotations

import functools
import inspect
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _core, arguments, byte_size, other_names, tree
from ._core import ArgumentError, ArgumentTypeError, FileError, Tensor, TraceError
from .checked import calls_itself, checked_call, warn
from .loop_checkpoints import Budget, Checkpoint, TwoLevel
from .program import Program
from .runs import run
from .side_effects import Watch, in_turn

if TYPE_CHECKING:
    from .explain import Profile


class CacheInfo(NamedTuple):
    """How often a call was replayed, how often recorded, and how many recordings are kept."""

    hits: int
    misses: int
    size: int


class _Recorded(NamedTuple):
    """One recording, and the structure of what the call returns."""

    replay: Any
    structure: tree.Structure
    effects: Watch

    @property
    def once(self) -> list[str]:
        """What makes the next call another one: then this recording serves its own alone."""
        return self.effects.once


_MOST_ARGUMENTS = 1 << 16
_MANY = 8  # recordings before the first warning
_PARTS = "modules that are arguments"
_OPTIONS = "attributes or modes of modules, options of optimisers, requires_grad"
_STALE = 16  # recordings kept of other states of modules and options, and of other gradients


class Compiled(_core._FastCall):
    """A function that records what a call of it does and replays it; made by ``wg.compile``."""

    __name__: str
    __wrapped__: Callable

    def __init__(
        self,
        f: Callable,
        static_argnums: int | Sequence[int],
        memory_budget: int | TwoLevel | None = None,
        exact: bool = False,
    ) -> None:
        functools.update_wrapper(self, f, updated=())
        if not hasattr(self, "__name__"):
            self.__name__ = type(f).__name__
        numbers = _numbers(f, static_argnums)
        self._static = frozenset(numbers)
        self._exact = exact
        self._budget = memory_budget
        _core._set_statics(self, list(numbers))
        self._recordings: dict[Any, list[_Recorded]] = {}
        self._bound: dict[int, tuple[weakref.ref, Compiled]] = {}
        self._owner: weakref.ref | None = None  # what f is a method of
        self._slow_hits = 0
        self._misses = 0

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """The method of ``owner``, with recordings of its own that end with it."""
        if owner is None:
            return self
        known = self._bound.get(id(owner))
        if known is None or known[0]() is not owner:
            bound, key, f = self._bound, id(owner), self.__wrapped__
            alive = weakref.ref(owner, lambda _: bound.pop(key, None))
            method = functools.wraps(f)(lambda *args, **kwargs: f(alive(), *args, **kwargs))
            own = (i if i < 0 else i - 1 for i in self._static if i != 0)
            inner = Compiled(method, tuple(own), self._budget, self._exact)
            inner._owner = alive
            known = bound[key] = alive, inner
        return _Method(owner, known[1])

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.__module__)
        path: str = getattr(self, "__qualname__", "")
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is self:
            return path
        return _compiled, (self.__wrapped__, tuple(self._static), self._budget, self._exact)

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
        return [arguments.traced(self.__name__, leaf) for leaf in leaves], structure, fixed

    def _given(self, leaves: list[Tensor], structure: Any, fixed: tuple) -> tuple[list[Any], dict]:
        """The arguments of f that have these leaves."""
        traced, kwargs = tree.unflatten(structure, leaves)
        return self._join(traced, fixed), kwargs

    def _record(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> _Recorded:
        watch = Watch(self.__name__)

        def call(leaves: list[Tensor]) -> Any:
            return watch.call(self.__wrapped__, lambda: self._given(leaves, structure, fixed))

        def results(found: Any) -> list[Any]:
            leaves = tree.leaves(found)
            for leaf in leaves:
                if not isinstance(leaf, (Tensor, np.ndarray, np.generic, int, float)):
                    raise ArgumentTypeError(
                        f"compile: {self.__name__} must return tensors, arrays and numbers, in "
                        f"containers; got {leaf!r:.60}"
                    )
            watch.follow(leaves)
            return leaves

        limit = None if self._budget is None else (_bytes(self._budget), *_ceilings(), self._disk())
        try:
            result, replay = _core._record(
                call, tensors, _followed(tensors), results, limit, self._exact
            )
            out_structure = _without_leaves(tree.flatten(result)[1])
            del result
            watch.close(self.__wrapped__)
        except BaseException as error:
            watch.undo()
            if isinstance(error, RecursionError) and calls_itself(error, self._slow):
                raise TraceError(
                    f"compile: {self.__name__} calls itself without end while it is recorded. What "
                    "ends a recursion is no traced value: give it in static_argnums, or write a "
                    "wg.while_loop"
                ) from None
            if _core._is_of_followed_history(str(error)):
                raise _HistoryError(str(error)) from None
            raise
        return _Recorded(replay, out_structure, watch)

    def _disk(self) -> tuple[str, int, float, float, float] | None:
        """Where values may go while they wait: directory, bytes and what moving takes."""
        budget = self._budget
        if not isinstance(budget, TwoLevel):
            return None
        directory = budget._plan().get("directory", "")
        most = -1 if budget.disk is None else byte_size.parse("compile", budget.disk)
        return directory, most, *_moving(directory or tempfile.gettempdir(), most)

    def _key(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> tuple[Any, ...]:
        types = tuple([(x.dtype, x.shape, _core._is_number(x)) for x in tensors])
        modes = (_core.is_grad_enabled(), *_followed(tensors))
        parts = tree.constants(structure)
        return structure, _exact(fixed), types, modes, self._exact, parts, _core._options_epoch()

    def _find(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> _Recorded:
        entry = self._known(tensors, structure, fixed)
        if entry is None:
            with in_turn():  # by then another thread may have recorded it
                entry = self._known(tensors, structure, fixed)
                if entry is None:
                    entry = self._add(tensors, structure, fixed)
        return entry

    def _known(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> _Recorded | None:
        try:
            known = self._recordings.get(self._key(tensors, structure, fixed), [])
        except TypeError:
            got = ", ".join([f"{x!r:.60} at position {i}" for i, x in fixed])
            raise ArgumentTypeError(
                f"compile: static arguments of {self.__name__} must be hashable, such as numbers, "
                f"strings and tuples; got {got}"
            ) from None
        for entry in known:
            if entry.replay.fits() and entry.effects.is_alone():
                self._slow_hits += 1
                return entry
        return None

    def _add(self, tensors: list[Tensor], structure: Any, fixed: tuple) -> _Recorded:
        key = self._key(tensors, structure, fixed)
        entry = self._record(tensors, structure, fixed)
        self._misses += 1
        if not entry.once:
            if not entry.effects.flags:  # as the call left modules, so the next one finds them
                key = self._key(tensors, structure, fixed)
            alike = self._recordings.setdefault(key, [])
            alike.append(entry)
            del alike[:-_STALE]
            self._forget_stale()
        self._warn_of_growth(entry.once)
        return entry

    def _forget_stale(self) -> None:
        now = _core._options_epoch()
        stale = [key for key in self._recordings if key[-1] != now]
        for key in stale[:-_STALE]:
            del self._recordings[key]

    def _warn_of_growth(self, once: list[str]) -> None:
        times, rest = divmod(self._misses, _MANY)
        if rest or times & (times - 1):  # told at 8, 16, 32, ...
            return
        keys = list(self._recordings)
        names = ("tree structure", "static arguments", "", "grad mode", "", _PARTS, _OPTIONS)
        changing = [name for i, name in enumerate(names) if name and len({k[i] for k in keys}) > 1]
        changing += self._changing_leaves(keys) if keys else []
        changing += once
        warn(
            f"compile: {self.__name__} was recorded {self._misses} times; what changes: "
            f"{', '.join(changing) or 'which leaves hold a gradient'}. Each recording keeps its "
            f"memory: pad to a few shapes, pass numbers that change as arguments, or forget all by "
            "cache_clear()"
        )

    def _changing_leaves(self, keys: list[tuple[Any, ...]]) -> list[str]:
        """The arguments of the newest tree structure whose shapes or dtypes differ."""
        structure, fixed = keys[-1][:2]
        alike = [key[2] for key in keys if key[0] == structure]
        changing = [i for i, column in enumerate(zip(*alike)) if len({*column}) > 1]
        try:
            parameters = list(inspect.signature(self.__wrapped__).parameters)
        except (TypeError, ValueError):
            parameters = []
        static = [number for (_, number), _ in fixed]
        traced, named = tree.unflatten(structure, list(range(structure.leaves)))
        paths: list[str] = []
        for i, arg in enumerate(
            self._join([(x,) for x in traced], tuple((i, None) for i in static))
        ):
            if arg is not None:
                name = parameters[i] if i < len(parameters) else f"argument {i}"
                paths += [name + path for path in tree.paths(arg[0])]
        for name, arg in named.items():
            paths += [name + path for path in tree.paths(arg)]
        return [f"shape or dtype of {paths[i]}" for i in changing]

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        """A call that the core could not match with a recording."""
        if _core._within_transform() or _core._watching():
            return self.__wrapped__(*args, **kwargs)
        try:
            tensors, structure, fixed = self._leaves(args, kwargs)
        except arguments.LongInteger:  # which no tensor holds: f may do without one
            return self.__wrapped__(*args, **kwargs)
        if any(x._is_abstract for x in tensors):  # of a trace that has ended
            return self.__wrapped__(*args, **kwargs)
        try:
            entry = self._find(tensors, structure, fixed)
        except _HistoryError:  # f closes over what a transform around the call differentiates by
            return self.__wrapped__(*args, **kwargs)
        if entry.effects.is_eager or entry.replay.overlaps(tensors):
            return self.__wrapped__(*args, **kwargs)
        out = self._play(entry, tensors, structure, fixed)
        if not (entry.once or entry.effects.carried):
            after = entry.effects.after
            again = self._again(structure, fixed) if entry.replay.has_pull else None
            owner, epoch = self._owner, entry.effects.epoch
            known = entry.replay, out, after, again, owner, self.__name__, epoch
            _core._add_recording(self, args, kwargs, *known)
        return out

    def _again(self, structure: Any, fixed: tuple) -> Callable[[list[Tensor]], list[Any]]:
        """The results of f as a function of its leaves, for who differentiates it twice."""

        def call(leaves: list[Tensor]) -> list[Any]:
            args, kwargs = self._given(leaves, structure, fixed)
            return tree.leaves(self.__wrapped__(*args, **kwargs))

        return call

    def _play(self, entry: _Recorded, tensors: list[Tensor], structure: Any, fixed: tuple) -> Any:
        if entry.replay.has_pull:
            again = self._again(structure, fixed)
            owner = self._owner and self._owner()
            results = entry.replay.run_followed(tensors, self.__name__, again, owner)
        else:
            results = entry.replay.run(tensors)
        entry.effects.finish()
        return tree.unflatten(entry.structure, results)

    def run(self, *args: Any, steps: int | None = None, **kwargs: Any) -> Any:
        """Many calls in one, in C++ without Python's lock: results stacked along a new first axis.

        ``run(xs, ys)`` makes one call a row: call i takes row i of *every* argument, ``xs[i]`` and
        ``ys[i]``. Batches lie along a first axis of their own: a data set (n * batch, features) is
        given as ``data.reshape(n, batch, features)``, its labels as ``labels.reshape(n, batch)``.

        ``run(x, y, steps=n)`` makes n calls with the same arguments, such as one batch n times.
        (Without ``steps`` every call would take one example of that batch.)

        What calls change (parameters, optimiser, random state) is carried from one to the next.
        Results have no history: what is to be differentiated is called.

        >>> total = wg.zeros(())
        >>> @wg.compile
        ... def add(x):
        ...     total.assign(total + x)
        ...     return total
        >>> add.run(wg.tensor([1.0, 2.0, 3.0]))
        tensor([1., 3., 6.])
        >>> add.run(wg.tensor(1.0), steps=2)
        tensor([7., 8.])
        """
        return run(self, args, kwargs, steps)

    def _replay(self, args: tuple, kwargs: dict) -> tuple[Any, list[Tensor]]:
        tensors, structure, fixed = self._leaves(args, kwargs)
        return self._find(tensors, structure, fixed)[0], tensors

    def cache_info(self) -> CacheInfo:
        """Hits, misses and the number of recordings."""
        size = sum(len(entries) for entries in self._recordings.values())
        return CacheInfo(self._hits + self._slow_hits, self._misses, size)

    def cache_clear(self) -> None:
        """Forgets all recordings, whose memory is free then, and counts anew: calls record again.

        >>> f = wg.compile(lambda x: x * x)
        >>> _ = [f(wg.ones(n)) for n in range(5)]
        >>> f.cache_clear()
        >>> f.cache_info()
        CacheInfo(hits=0, misses=0, size=0)
        """
        self._recordings.clear()
        _core._clear_recordings(self)
        self._slow_hits = self._misses = 0
        for _, method in list(self._bound.values()):
            method.cache_clear()

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program that a call with these arguments replays."""
        return self._named(self._replay(args, kwargs)[0].program)

    def _named(self, core: Any) -> Program:
        return Program(core, self.__name__, [f"x{i}" for i in range(len(core.inputs))])

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """What became of a call with these arguments: nodes, flops and bytes as recorded,
        simplified and grouped, then each unit of the replay (operations that run together) with
        its cost. Under a ``memory_budget`` also what is stored, on disk and computed again.

        >>> text = wg.compile(lambda x: wg.sin(x) * x + 1.0).explain(wg.ones(1000))
        >>> print(text.splitlines()[-1])
           0       3 kflop        8 kB  sin multiply add
        """
        from .explain import explain_text  # loaded at first use

        replay, _ = self._replay(args, kwargs)
        return explain_text(replay, self._named(replay.recorded), self._named(replay.program))

    def profile(self, *args: Any, repeats: int = 20, **kwargs: Any) -> Profile:
        """The time of each unit of the replay beside what this machine could do at best (measured
        ceilings of matrix products and of memory); prints as a table, ``.plot(path)`` draws it.

        Tensors that the call changes are copied first and stay as they are.
        """
        from .explain import Profile, UnitCost, ceilings

        repeats = arguments.integer("profile", "repeats", repeats, 1)
        replay, tensors = self._replay(args, kwargs)
        units = [UnitCost(*cost) for cost in replay.profile(tensors, repeats)]
        return Profile(units, *ceilings())


other_names.cover(Compiled, "wengert.compiler.Compiled")


class _HistoryError(TraceError):
    """Of a recording that reads what a reverse transform around it follows."""


_HistoryError.__name__ = _HistoryError.__qualname__ = "TraceError"
_HistoryError.__module__ = "wengert"


class _Method:
    """A compiled function as a method of ``__self__``."""

    def __init__(self, owner: Any, compiled: Compiled) -> None:
        self.__self__ = owner
        self._compiled = compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self._compiled.__name__)


def _compiled(
    f: Callable, static_argnums: Sequence[int], memory_budget: int | TwoLevel | None, exact: bool
) -> Compiled:
    return Compiled(f, static_argnums, memory_budget, exact)


def _without_leaves(structure: tree.Structure) -> tree.Structure:
    """The same for other leaves: a module among the containers holds those it had."""
    if not structure.registered:
        return structure
    others = [_core.tensor(0.0) for _ in range(structure.leaves)]
    return tree.flatten(tree.unflatten(structure, others))[1]


def _exact(x: Any) -> Any:
    """What tells x from values that are equal to it but do not compute alike: 1 from 1.0, 0.0 from
    -0.0."""
    if type(x) is tuple:
        return tuple([_exact(part) for part in x])
    return type(x), x.hex() if isinstance(x, float) else x


def _numbers(f: Callable, static_argnums: Any) -> tuple[int, ...]:
    given = static_argnums if isinstance(static_argnums, (list, tuple)) else (static_argnums,)
    numbers = tuple(
        [arguments.integer("compile", "static_argnums", n, None, _MOST_ARGUMENTS) for n in given]
    )
    try:
        kinds = [p.kind for p in inspect.signature(f).parameters.values()] if numbers else []
    except (TypeError, ValueError):
        return numbers
    count = sum(kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
    for n in numbers:
        if inspect.Parameter.VAR_POSITIONAL not in kinds and not -count <= n < count:
            raise ArgumentError(
                f"compile: static_argnums has {n}, but the function takes {count} by position"
            )
    return numbers


def _followed(tensors: list[Tensor]) -> list[bool]:
    """Which arguments a later reverse sweep may ask for."""
    wanted = _core.is_grad_enabled()
    return [wanted and x.requires_grad for x in tensors]


@functools.cache
def _ceilings() -> tuple[float, float]:
    """Flops and bytes a second, measured once a process."""
    from .explain import ceilings  # loaded at first use

    return ceilings()


@functools.cache
def _moving(directory: str, most: int) -> tuple[float, float, float]:
    """Seconds of a move to disk or back whatever its size, and seconds a byte written and read,
    measured once a process, with 8 MiB where ``most`` bytes (-1: any) and the system (a quota, or a
    limit on the size of files) allow, else with fewer."""
    small, large = 1 << 12, 1 << 23
    if most >= 0:
        large = min(large, max(most, 2 * small))
    start = _core._measure_spill(directory, small)
    while True:
        try:
            write, read = _core._measure_spill(directory, large)
            break
        except FileError:
            if large == 2 * small:
                raise
            large = max(large // 8, 2 * small)
    latency = min(*start, write, read)
    return latency, (write - latency) / large, (read - latency) / large


def _budget(given: Any) -> int | TwoLevel:
    """A memory budget: bytes, or bytes with a disk beside them."""
    where = "compile: 'memory_budget'"
    if isinstance(given, Budget):
        return byte_size.parse(where, given.size)
    if not isinstance(given, Checkpoint):
        return byte_size.parse(where, given)
    if not isinstance(given, TwoLevel):
        raise ArgumentTypeError(f"{where}: takes bytes, Budget or TwoLevel; got {given!r:.60}")
    for name in ("memory", "disk"):
        size = getattr(given, name)
        if not isinstance(size, str) and not (name == "disk" and size is None):
            raise ArgumentTypeError(
                f"{where}: 'TwoLevel.{name}' takes bytes as a string, such as '64MB', as there are "
                f"no states to count; got {size!r:.60}"
            )
    for name in ("write_cost", "read_cost"):
        if getattr(given, name) is not None:
            raise ArgumentTypeError(
                f"{where}: 'TwoLevel.{name}' is measured, as there are no steps to count it in; "
                f"leave it out; got {getattr(given, name)}"
            )
    return given


def _bytes(budget: int | TwoLevel) -> int:
    return byte_size.parse("compile", budget.memory) if isinstance(budget, TwoLevel) else budget


@checked_call
def compile(
    f: Callable | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    memory_budget: int | str | Budget | TwoLevel | None = None,
    exact: bool = False,
) -> Callable[..., Any]:
    """f, recorded at its first call and replayed in C++ from then on.

    All that a call does to tensors is recorded: forward, backward, optimiser updates, changes in
    place, and attributes of modules that are bound to new tensors. The tensors from outside that f
    met when it was recorded are read afresh at every call. Every set of shapes, dtypes and static
    arguments has a recording of its own. Python numbers become tensors that take the dtype of what
    they meet, as numbers do; positions in ``static_argnums`` keep their values, which are to be
    hashable. Within another transform, under ``wg.debug_nans`` and for integers beyond int64, f
    itself is run. Integers among themselves follow Python as far as int64 goes; beyond it, an error
    says so, as it does where the exponent of one is negative.

    Results equal those of f within rounding, as rewrites may sum in another order and take -0.0 for
    0.0. With ``exact=True`` such rewrites are left out and results are those of f to the bit, for
    tensors that lie row by row where they enter the call, a loop or a branch, or leave one: others
    are copied so first. (The body of a ``wg.scan`` is rewritten in eager calls just the same.) What
    no result and no change needs is not computed: an index out of range there raises nothing.

    What f reads of Python (globals, entries of dicts, counters, NumPy arrays) is what it was when
    it was recorded, and so are branches on it: give ``step % 4 == 0`` as a static argument. Of
    modules and optimisers a change of attributes or options is noticed. An ``if`` or ``float()`` on
    a traced value raises ``wg.TraceError``.

    What f does to Python it does when it is recorded, not in replays. ``self.mean = new`` in a
    module is carried out by both, as ``self.mean.assign(new)``; where something else would see that
    (another name or a view of the old tensor) or where there was no such tensor, the attribute gets
    a new one and the next call is recorded anew. Where an attribute cannot be carried over (a new
    ``Parameter``; a value whose history would be lost), and where a traced value stays in a global,
    a list, a dict or any other object, a ``wg.TraceError`` names the place: return the value. A
    number of a module that f changes, such as a counter, warns.

    ``memory_budget``, in bytes or as ``"64MB"`` or ``"1.5GiB"``, bounds what a call holds between
    its inputs and its outputs: the arena of a replay as the allocator counts it, with copies of
    tensors that cannot be read as they lie. Arguments, captured tensors, results and gradients that
    are left behind are not counted, nor is what an operation or the body of a loop uses while it
    runs, nor the states that a ``wg.while_loop`` stores by a checkpoint of its own. The reverse
    sweep of a result that is differentiated later has the same budget for itself, and what it reads
    of the call is kept besides; calls from several threads have one each. Values that do not fit
    are computed again, directly before they are read, by the schedule that adds the least time by
    prediction; results are the same to the bit. A budget below the least that the planner reaches
    raises a ``wg.ArgumentError`` that states it. Operations of the user's own, loops and branches
    are never carried out again.

    With ``memory_budget=wg.TwoLevel(memory="64MB", directory=...)`` values may also wait in a file
    (of at most ``disk`` bytes, if given), where that is cheaper by prediction or the only way:
    written as soon as they are made, from where they lie, and read back before they are read, by a
    thread of its own for each thread that calls. What is on its way stays in memory and counts. The
    first call measures the speed of the directory, once a process, so that one that cannot be used
    is refused there, even where all would fit in memory; where a quota or a limit on the size of
    files is below 8 MiB, less is written to measure. The file is as private and as fleeting as that
    of a loop (see `TwoLevel`); a full disk, a refused directory or changed bits raise a
    ``wg.FileError`` and leave all tensors as before that call (in ``run``, that step), as what a
    call changes is changed when all is read back.

    >>> step = wg.compile(lambda x: x * x + x)
    >>> step(wg.tensor([0.0, 1.0]))
    tensor([0., 2.])
    """
    if f is None:
        return functools.partial(
            compile, static_argnums=static_argnums, memory_budget=memory_budget, exact=exact
        )
    if not callable(f):
        raise ArgumentTypeError(f"compile: takes a function; got {f!r:.60}")
    exact = arguments.flag("compile", "exact", exact)
    if memory_budget is not None:
        memory_budget = _budget(memory_budget)
    return Compiled(f, static_argnums, memory_budget, exact)
