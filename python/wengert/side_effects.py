"""What a call does to Python beside computing, while it is recorded: attributes of modules that it
binds anew, and traced values that it leaves behind.

Knows modules only as objects that tell it of their attributes.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MemberDescriptorType
from typing import Any, NamedTuple

from . import _core, tree
from ._core import ArgumentError, Tensor, TraceError
from .argument_parts import new_parts, parts
from .arguments import shown
from .checked import warn
from .plain_values import is_fixed, is_plain, same_value, written

_NUMBERS = (int, float)
_CONTAINERS = (tuple, list, dict)
_SHOWN = 3  # of values left behind, in a message
ABSENT: Any = object()
_open = threading.local()  # the recordings of each thread, and what is traced within (bodies.py)
_turn = threading.RLock()
_PATIENCE = 1.0  # seconds


@contextmanager
def in_turn() -> Iterator[None]:
    """Lets one thread record at a time: attributes of modules hold traced values meanwhile. But a
    call may wait for a thread that wants to record: not longer than it makes progress."""
    turn, seen = _turn, -1
    while not (held := turn.acquire(timeout=_PATIENCE)) and seen != _core._recording_progress():
        seen = _core._recording_progress()
    try:
        yield
    finally:
        if held:
            turn.release()


class Watched:
    """The base of modules."""

    # The attributes for who looks for tensors and modules among them: plain values do not count as
    # read.
    __parts__ = property(lambda self: object.__getattribute__(self, "__dict__"))


_ALL = frozenset(("__dict__", "__getstate__", "__reduce__", "__reduce_ex__"))  # give all attributes


class _Reads:
    """The attributes that some recording has read: others may change freely. (What is read by
    ``object.__getattribute__`` itself is not seen.)"""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref, set[str]]] = {}
        self._recordings = 0
        self._lock = threading.Lock()
        known = self._known

        def read(owner: Any, name: str) -> Any:
            what = "__dict__" if name in _ALL else name
            if (watches := getattr(_open, "watches", None)) and watches[-1].reads(owner, what):
                return object.__getattribute__(owner, name)  # what the call itself has put there
            key = id(owner)
            if key not in known:
                known[key] = weakref.ref(owner, lambda _: known.pop(key, None)), set()
            known[key][1].add(what)
            return object.__getattribute__(owner, name)

        self._reader = read

    def meet(self, owner: Any, name: str, old: Any, new: Any) -> bool:
        """Whether some recording may have read the attribute that was `old` and is `new`."""
        if not self.told_by(owner):
            return True
        _, names = self._known.get(id(owner), (None, ()))
        found = name in names or "__dict__" in names
        return found or ("__parts__" in names and (_is_part(old) or _is_part(new)))

    def told_by(self, owner: Any) -> bool:
        """Whether it tells of all that is read."""
        return type(owner).__getattribute__ in (object.__getattribute__, self._reader)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Meanwhile, what is read of a module is noted."""
        with self._lock:
            self._recordings += 1
            Watched.__getattribute__ = self._reader  # type: ignore[method-assign]
        try:
            yield
        finally:
            with self._lock:
                self._recordings -= 1
                if not self._recordings:
                    del Watched.__getattribute__

    def begin_child(self, recordings: int) -> None:
        """So many go on in a forked child; those of other threads ended unseen."""
        self._lock = threading.Lock()
        if self._recordings and not recordings:
            del Watched.__getattribute__
        self._recordings = recordings


_reads = _Reads()


def _begin_child() -> None:
    global _turn
    _turn = threading.RLock()  # no thread that records came along
    _reads.begin_child(len(getattr(_open, "watches", ())))


os.register_at_fork(after_in_child=_begin_child)


def _is_part(value: Any) -> bool:
    return value is not ABSENT and not is_plain(value)


def held(owner: Any, name: str) -> Any:
    """What a module has under this name for itself, in a slot too, `ABSENT` where it has none; this
    does not count as read."""
    value = object.__getattribute__(owner, "__dict__").get(name, ABSENT)
    if value is ABSENT and isinstance(getattr(type(owner), name, None), MemberDescriptorType):
        try:
            return object.__getattribute__(owner, name)
        except AttributeError:
            pass
    return value


def changed(owner: Any, name: str, old: Any, new: Any) -> None:
    """An attribute of a module, which recordings take for constant, was `old` and is `new`; absent
    where they are `ABSENT`."""
    for body in getattr(_open, "bodies", ()):
        body.note(owner, name, old)
    watches = getattr(_open, "watches", None)
    if watches:
        for watch in watches:
            watch.note(owner, name, old)
        return
    if old is new or not _reads.meet(owner, name, old, new):
        return
    if old is ABSENT:
        old = getattr(type(owner), name, ABSENT)
    if new is ABSENT:
        new = getattr(type(owner), name, ABSENT)
    if old is new:
        return
    if is_plain(old) and is_plain(new):
        # There is a way back, as from train to eval and to train. (-1 and -2 have one hash.)
        start, end = written(old), written(new)
        if start != end:
            key = id(owner), name
            _core._changed_options(hash((key, start)) ^ hash((key, end)))
    elif not same_value(old, new):
        _core._changed_options()


def made(module: Any) -> None:
    """The module is a copy, whose attributes nobody else sees."""
    for body in getattr(_open, "bodies", ()):
        body.made(module)


class _Change(NamedTuple):
    """An attribute that has another value at the end of a call than at its start."""

    owner: Any
    name: str
    old: Any
    new: Any
    unread: bool = False  # by the call, which sets it whatever it was

    @property
    def path(self) -> str:
        return f"{type(self.owner).__name__}.{self.name}"

    def put(self, value: Any) -> None:
        if value is not ABSENT:
            object.__setattr__(self.owner, self.name, value)
        elif held(self.owner, self.name) is not ABSENT:
            object.__delattr__(self.owner, self.name)

    def pass_on(self) -> None:
        """To the recording around this one, or to those that took the attribute for constant."""
        changed(self.owner, self.name, self.old, self.new)

    def seen(self, value: Any) -> Any:
        return getattr(type(self.owner), self.name, value) if value is ABSENT else value

    @property
    def is_set(self) -> bool:
        """Whether replays can do it too."""
        return self.unread and is_fixed(self.new)

    def is_one(self) -> bool:
        old, new = self.seen(self.old), self.seen(self.new)
        return old is not new and not same_value(old, new)

    def counts(self) -> bool:
        """Whether it is a number that became another one."""
        return (
            not self.is_set and type(self.seen(self.old)) in _NUMBERS and type(self.new) in _NUMBERS
        )


def _flat(value: Any) -> tuple[list[Any], Any]:
    """The leaves and the structure of a tensor, or of a container of tensors. (Modules tell of
    their own.)"""
    if isinstance(value, Tensor):
        return tree.flatten(value)
    if type(value) in _CONTAINERS:
        try:
            return tree.flatten(value, whole=(Watched,))
        except ArgumentError:  # it holds itself
            pass
    return [], None


def _references(leaves: list[Any], i: int) -> int:
    return sys.getrefcount(leaves[i])


_ONE = _references([object()], 0)  # those to an object in a list, and nowhere else


class _Moves:
    """What the end of a recorded call assigns, and how often objects are held meanwhile."""

    def __init__(self, returned: Counter[int], changes: list[_Change]) -> None:
        self.places: list[Tensor] = []  # from outside
        self.values: list[Tensor] = []
        self.returned = returned
        self.bound = Counter(id(x) for change in changes for x in _flat(change.new)[0])
        self.made: dict[int, Tensor] = {}  # the new tensor for a value
        ends = [x for c in changes for value in (c.old, c.new) for x in _flat(value)[0]]
        # Whether names of one tensor could be told from names of equal ones.
        self.in_place = any(isinstance(x, Tensor) and _core._is_assigned(x) for x in ends)

    def add(self, place: Tensor, value: Tensor) -> None:
        self.places.append(place)
        self.values.append(value)


class Watch:
    """The side effects of one recorded call.

    An attribute of a module that was bound to another tensor is bound to the old one again, which
    is changed in place instead, by replays too. Where that would be seen elsewhere, or where there
    was no such tensor, the recording serves one call: `finish` binds the attribute to a tensor of
    its own, which the next recording finds.

    Replays set what the call sets to a value that nobody can change, such as a shape, without
    having read it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.once: list[str] = []  # what changes that makes the next call another one
        self.carried: list[tuple[weakref.ref, str]] = []  # attributes that replays change in place
        self.sets: list[tuple[weakref.ref, str, Any]] = []  # and those that they set
        self._first: dict[tuple[int, str], tuple[weakref.ref, Any, bool]] = {}
        self._read: set[tuple[int, str]] = set()
        self._whole: list[tuple[weakref.ref, dict]] = []  # what was read, and perhaps written
        self._waiting: list[_Change] = []
        self._plain: list[_Change] = []  # the call's own, which stay
        self._lost: list[tuple[weakref.ref, str]] = []  # in copies, which arguments are
        self._dropped: list[str] = []  # in containers that are arguments, which are copies too
        self._due: list[_Change] = []
        # Tensors whose flags the call set: to what, and what they were.
        self.flags: list[tuple[weakref.ref, bool, bool]] = []
        self.is_eager = False  # f itself serves such calls
        self.epoch = 0  # of options and flags, as the next such call finds them
        self._recording = self._changes_before = 0

    def note(self, owner: Any, name: str, old: Any) -> None:
        """The attribute changes; it was `old`."""
        key = id(owner), name
        known = self._first.get(key)
        if known is None or known[0]() is not owner:
            looks = [name, "__dict__", *(["__parts__"] if _is_part(old) else [])]
            unread = not any((key[0], look) in self._read for look in looks)
            self._first[key] = weakref.ref(owner), old, unread and _reads.told_by(owner)

    def reads(self, owner: Any, name: str) -> bool:
        """The attribute is read: whether it is the call's own by now."""
        key = id(owner), name
        known = self._first.get(key)
        if known is not None and known[0]() is owner:
            return True
        if key not in self._read:
            self._read.add(key)
            if name == "__dict__":
                before = object.__getattribute__(owner, name)
                self._whole.append((weakref.ref(owner), dict(before)))
        return False

    def call(self, f: Callable, arguments: Callable[[], tuple[list[Any], dict]]) -> Any:
        """f(*args, **kwargs), within a recording that is open, with changes of attributes carried
        over to it. Modules among the arguments are read, too, and among the results."""
        self._recording, self.epoch = _core._recording_id(), _core._options_epoch()
        self._changes_before = _core._options_changes()
        if not hasattr(_open, "watches"):
            _open.watches = []
        _open.watches.append(self)
        try:
            with _reads.noted():
                args, kwargs = arguments()
                given = parts(args, kwargs, Watched)
                out = f(*args, **kwargs)
                self._dropped = new_parts(given, parts(args, kwargs, Watched))
                returned = Counter(map(id, tree.leaves(out)))
        finally:
            _open.watches.remove(self)
            self._note_hidden()
            for x, before in _core._flagged():
                if x.requires_grad != before:
                    self.flags.append((weakref.ref(x), not before, before))
        # Those that took over another attribute's tensor come first, and then hold it no more.
        self._waiting = sorted(self._changes(), key=lambda c: _has_traced(c.new), reverse=True)
        if not self._waiting:
            return out
        moves = _Moves(returned, self._waiting)
        while self._waiting:
            self._carry(self._waiting[-1], moves)
            self._waiting.pop()
        if any(id(x) in moves.returned for x in moves.places):  # what is returned is the old value
            out = tree.map(lambda x: _core._present(x) if isinstance(x, Tensor) else x, out)
        _core._rebind(moves.places, moves.values)
        del args, kwargs
        self._lost = [(copy, path) for copy, path in self._lost if copy() is None]  # not returned
        return out

    @property
    def after(self) -> Callable[[], None] | None:
        return self.finish if self.sets or self.flags else None

    def follow(self, results: list[Any]) -> None:
        """A sweep may follow what a call returns that set flags, each for a part of the history;
        and one within the call may have reached arguments, in which it leaves gradients."""
        tensors = [x for x in results if isinstance(x, Tensor)]
        self.is_eager = bool(_core._flagged()) and any(map(_core._has_open_history, tensors))
        if _core._strays():
            self.is_eager = True
            warn(
                f"compile: a backward() within {self.name} reaches an argument that requires a "
                "gradient, where only calls that are not compiled leave one: they are served so, "
                f"and gain nothing. Let {self.name} read the model or tensor from around it, use "
                "wg.grad, or detach the argument"
            )

    def close(self, f: Callable) -> None:
        """The recording of f has ended: raises where traced values outlive it."""
        if _core._left_behind(self._recording):
            gc.collect()  # some may be garbage by now
            if left := _core._left_behind(self._recording):
                from .leaks import describe  # loaded at first use

                left.sort(key=_core._made_by, reverse=True)  # arguments last
                some = range(min(len(left), _SHOWN))
                found = "; ".join(dict.fromkeys([describe(left, i, f) for i in some]))
                more = f"; and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
                raise TraceError(
                    f"compile: {self.name} keeps traced values, which are of no use after the call "
                    f"and which replays would not put there: {found}{more}. Return them from "
                    f"{self.name}, collect them in calls that are not compiled, or assign them to "
                    "tensors made outside (t.assign(value))"
                )
        counted = [
            f"{change.path} from {shown(change.seen(change.old))} to {shown(change.new)}"
            for change in self._plain
            if change.counts()
        ]
        if counted:
            warn(
                f"compile: {self.name} changes {', '.join(counted)} while it is recorded; replays "
                "leave that as it is, and what depends on it as recorded. Count in a tensor "
                "(register_buffer and .assign), or outside"
            )
        if self._lost:
            paths = ", ".join([*dict.fromkeys(path for _, path in self._lost)][:_SHOWN])
            warn(
                f"compile: {self.name} sets {paths} of a module that is an argument, which is a "
                f"copy within the call, so that this is lost. Let {self.name} close over the "
                "module, or return the value"
            )
        if self._dropped:
            places = ", ".join(self._dropped[:_SHOWN])
            warn(
                f"compile: {self.name} puts new values at {places}: within the call the containers "
                "that are arguments are copies, so that the caller does not get them. Return the "
                "new values, or let the caller keep them in tensors (t.assign(value))"
            )
        if self.is_eager:
            self.undo()
            for left in (self._plain, self._due, self.sets, self.once, self.flags):
                left.clear()
        elif _core._options_changes() != self._changes_before:
            self.once.append("an option or, by another thread, a module, which changed meanwhile")
        elif self.flags and any(not change.is_set for change in self._plain):
            self.once.append("flags and attributes, which the call itself changes")
        for change in self._plain:
            change.pass_on()
        self._plain.clear()
        if not self.flags:  # which replays set
            self.epoch = _core._options_epoch()

    def is_alone(self) -> bool:
        """Whether still nobody else holds what replays change in place."""
        for owner, name in self.carried:
            alive = owner()
            value = None if alive is None else held(alive, name)
            # (Held by the attribute, and by `value`.)
            if not isinstance(value, Tensor) and _references([value], 0) > _ONE + 2:
                return False
            leaves = _flat(value)[0]
            most = _ONE + 1 + isinstance(value, Tensor)
            for i in range(len(leaves)):
                if isinstance(leaves[i], Tensor) and (
                    _references(leaves, i) > most or not _core._is_unseen(leaves[i])
                ):
                    return False
        return True

    def undo(self) -> None:
        """Puts attributes back: the call failed, and all else is as it was before."""
        for change in (*self._waiting, *self._plain, *self._changes()):
            change.put(change.old)
        self._flag(2)

    def finish(self) -> None:
        """Binds what could not be changed in place and sets what calls set, after the call."""
        while self._due:
            change = self._due.pop()
            change.put(change.new)
            change.pass_on()
        for owner, name, value in self.sets:
            if (alive := owner()) is None:
                continue
            change = _Change(alive, name, held(alive, name), value)
            if change.is_one():
                change.put(value)
                change.pass_on()
        self._flag(1)

    def _flag(self, column: int) -> None:
        for flag in self.flags:
            if (x := flag[0]()) is not None:
                x.requires_grad = flag[column]

    def _note_hidden(self) -> None:
        """Notes traced values that were put where ``__setattr__`` does not see it, as those of
        cached properties are."""
        for owner, before in self._whole:
            if (alive := owner()) is not None and not _is_copy(alive):
                for name, new in object.__getattribute__(alive, "__dict__").items():
                    if (old := before.get(name, ABSENT)) is not new and _has_traced(new):
                        self.note(alive, name, old)
        self._whole.clear()

    def _changes(self) -> list[_Change]:
        found = []
        for (_, name), (owner, old, unread) in self._first.items():
            if (alive := owner()) is not None:
                new = held(alive, name)
                change = _Change(alive, name, old, new, unread)
                if change.is_set:
                    self.sets.append((owner, name, new))
                if change.is_one():
                    found.append(change)
        self._first.clear()
        self._read.clear()
        return found

    def _carry(self, change: _Change, moves: _Moves) -> None:
        leaves, structure = _flat(change.new)
        traced = _has_traced(change.new)
        if traced and (problem := _problem(change, leaves)):
            raise TraceError(f"compile: {self.name} binds {change.path} to {problem}")
        now = [_core._present(x) if isinstance(x, Tensor) else x for x in leaves]
        kept, known = _flat(change.old)
        alike = structure is not None and known == structure
        if alike and _takes(change, kept, leaves, now, moves):
            for i, x in enumerate(leaves):
                if isinstance(x, Tensor) and x is not kept[i]:
                    moves.add(kept[i], now[i])
            self.carried.append((weakref.ref(change.owner), change.name))
            change.put(change.old)
        elif traced:
            for i, x in enumerate(leaves):
                if isinstance(x, Tensor) and _core._is_within(x):
                    if id(x) not in moves.made:
                        moves.made[id(x)] = _core._place_for(now[i])
                        moves.add(moves.made[id(x)], now[i])
                    leaves[i] = moves.made[id(x)]
            self._due.append(change._replace(new=tree.unflatten(structure, leaves)))
            self.once.append(f"{change.path}, which the call itself binds anew")
            change.put(change.old)
        elif _is_copy(change.owner):
            self._lost.append((weakref.ref(change.owner), change.path))
        elif not _was_filled(change, leaves, kept):
            self._plain.append(change)
            if not change.counts() and not change.is_set:
                self.once.append(f"{change.path}, which the call itself binds anew")


def _is_copy(owner: Any) -> bool:
    """Whether it stands for a module that is an argument of a function that is traced."""
    return "_stand_ins" in vars(owner)


def _has_traced(value: Any) -> bool:
    return any(isinstance(x, Tensor) and _core._is_within(x) for x in _flat(value)[0])


def _was_filled(change: _Change, leaves: list[Any], kept: list[Any]) -> bool:
    """Whether the attribute held an empty container before the call, which filled it, and holds an
    empty one again."""
    return (
        type(change.new) is type(change.old)
        and type(change.old) in (list, dict)
        and not leaves
        and bool(kept)
        and all(isinstance(x, Tensor) and _core._is_within(x) for x in kept)
    )


def _problem(change: _Change, leaves: list[Any]) -> str | None:
    """Why the traced values among these cannot become state."""
    for x in leaves:
        if not isinstance(x, Tensor) or not _core._is_within(x):
            continue
        made = _core._made_by(x)
        what = f"a traced value{f', made by {made}' if made else ''}, "
        write = f"self.{change.name}"
        if _core._present(x) is None:
            return (
                f"{what}of a function that is traced within it (by vmap, scan, cond, checkpoint) "
                "and ends before; return the value from that function, or, in checkpoint, write "
                f"{write}.assign(...)"
            )
        if _is_copy(change.owner):
            return (
                f"{what}in a copy of the module, as arguments and transforms get it; write "
                f"{write}.assign(...), or let the function close over the module"
            )
        if type(x) is not Tensor or (x.is_leaf and x.requires_grad):
            return (
                f"a new leaf made of traced values; make it before the call, and write "
                f"{write}.assign(...) in wg.no_grad() where it changes"
            )
        if _core._has_open_history(x):
            return (
                f"{what}whose derivative the attribute would lose; write {write} = value.detach(), "
                "or return the value"
            )
    return None


def _takes(
    change: _Change, kept: list[Any], leaves: list[Any], now: list[Any], moves: _Moves
) -> bool:
    """Whether the old tensors can hold the present values, and nobody else holds the old ones: only
    `kept` and the change, or the container that it holds, and the results of the call."""
    if not isinstance(change.old, Tensor) and _references([change.old], 0) != _ONE + 1:
        return False
    for i, x in enumerate(leaves):
        if x is kept[i]:
            continue
        if not isinstance(x, Tensor) or not isinstance(kept[i], Tensor):
            if not same_value(x, kept[i]):
                return False
            continue
        alone = _references(kept, i) == _ONE + 1 + moves.returned[id(kept[i])]
        alike = type(x) is type(kept[i]) and now[i] is not None
        if not alone or not alike or not _core._can_take(kept[i], now[i]):
            return False
        if moves.in_place and (moves.bound[id(x)] > 1 or not _core._is_within(x)):
            return False
    return True
