"""Many calls of a compiled function (see `Compiled.run`): all in one, as soon as each call leaves
things as the next one needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core, arguments, tree
from ._core import ArgumentError, ShapeError, Tensor, TraceError
from .checked import warn
from .functions import concatenate, stack

if TYPE_CHECKING:
    from .compiler import Compiled

_REFUSAL = "run: cannot be recorded or differentiated; call the function instead"
_SETTLING = 2  # calls after which gradients, say, are as they will be


def run(f: Compiled, args: tuple, kwargs: dict, steps: int | None) -> Any:
    tensors, structure, fixed = f._leaves(args, kwargs)
    if _core._within_transform() or any(map(_core._is_followed, tensors)):
        raise TraceError(_REFUSAL)
    count = _rows(tensors) if steps is None else arguments.integer("run", "steps", steps, 1)
    if count < 1:
        raise ArgumentError("run: needs at least one step; the arguments have no rows")
    results: list[list[Tensor]] = []  # of calls one by one
    returned: Any = None  # the tree of the first
    for i in range(count):
        leaves = [x[i] for x in tensors] if steps is None else tensors
        found = None
        if i < _SETTLING:
            misses = f._misses
            entry = f._find(leaves, structure, fixed)
            if entry.replay.reads_differentiated:
                raise TraceError(_REFUSAL)
            is_new = f._misses > misses
            if i == 0:
                returned = entry.structure
                if is_new and steps is None:
                    _warn_of_rows(f, tensors, structure, fixed)
            own = entry.once or entry.effects.flags
            if not (entry.effects.is_eager or _core._watching() or entry.replay.overlaps(tensors)):
                if entry.replay.repeats and not own:
                    rest = [x[i:] for x in tensors] if steps is None and i else tensors
                    made = entry.replay.run_many(rest, [steps is None] * len(rest), count - i)
                    entry.effects.finish()
                    return _joined(results, tree.unflatten(entry.structure, made), returned)
                if entry.once or (is_new and own):  # recording it was a call
                    found = f._play(entry, leaves, structure, fixed)
        if found is None:
            traced, named = tree.unflatten(structure, leaves)
            found = f(*f._join(traced, fixed), **named)
        # Copies: what is returned may be what later calls change.
        results.append([_core.asarray(x, copy=True) for x in _leaves_like(returned, found)])
    return tree.unflatten(returned, [stack(column) for column in zip(*results)])


def _rows(tensors: list[Tensor]) -> int:
    sizes = {x.shape[0] if x.ndim else None for x in tensors}
    if len(sizes) != 1 or None in sizes:
        raise ShapeError(
            "run: every argument needs the same number of rows, one a step; got shapes "
            f"{', '.join(str(x.shape) for x in tensors) or 'none'}. What is the same in every step "
            "the function can close over, or all of it: run(..., steps=n). Batches lie along a "
            "first axis of their own: (steps, batch, ...)"
        )
    return tensors[0].shape[0]


def _leaves_like(structure: Any, found: Any) -> list[Any]:
    if (leaves := tree.leaves_like(structure, found)) is None:
        raise ArgumentError(f"run: steps must return like trees; got {found!r:.60}")
    return leaves


def _joined(results: list[list[Tensor]], rest: Any, structure: Any) -> Any:
    """Results of calls one by one, and of all others in one."""
    if not results:
        return rest
    parts = zip(zip(*results), _leaves_like(structure, rest))
    return tree.unflatten(structure, [concatenate([stack(own), last]) for own, last in parts])


def _warn_of_rows(f: Compiled, tensors: list[Tensor], structure: Any, fixed: tuple) -> None:
    """Where rows are new and the whole is not, one batch may have been meant."""
    if f._key(tensors, structure, fixed) in f._recordings:
        whole = max((x.shape for x in tensors), key=len)
        warn(
            f"run: each of {whole[0]} steps takes one row of every argument, such as {whole[1:]} "
            f"of {whole}, with which whole {f.__name__} was called before. For the same arguments "
            "in every step: run(..., steps=n)"
        )
