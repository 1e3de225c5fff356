"""What a loop keeps for its reverse sweep: the schedules of scan and while_loop."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from . import _core, arguments, byte_size
from ._core import ArgumentError, ArgumentTypeError
from .checked import cover_constructors


class Checkpoint:
    """A schedule of stored states; use one of its kinds, such as `Binomial`."""

    def _plan(self) -> dict[str, Any]:
        raise ArgumentTypeError(
            f"checkpoint: takes wg.Binomial, wg.Budget or wg.TwoLevel; got a {type(self).__name__}"
        )


@dataclass(frozen=True)
class Binomial(Checkpoint):
    """Keeps ``slots`` states of a loop besides the initial one and runs the steps between them
    again, as few times as can be (Griewank and Walther's Revolve): with c = slots + 1 and r the
    least integer with C(c + r, c) >= l, a gradient through l steps evaluates r l - C(c + r, r - 1)
    + l of them. With no slots each step is reached from the start, l (l + 1) / 2 in all.

    >>> def swing(state, _):
    ...     x, v = state
    ...     return (x + 0.01 * v, v - 0.01 * wg.sin(x)), None
    >>> def end(x):
    ...     keep = wg.Binomial(slots=9)
    ...     (x, v), _ = wg.scan(swing, (x, 0.0), None, length=1000, checkpoint=keep)
    ...     return x
    >>> wg.grad(end)(0.1)
    tensor(-0.89352137)
    """

    slots: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", arguments.integer("Binomial", "slots", self.slots))

    def evaluations(self, length: int) -> int:
        """How many steps a gradient through ``length`` steps evaluates.

        >>> wg.Binomial(slots=2).evaluations(10)
        25
        """
        steps = arguments.integer("Binomial.evaluations", "length", length)
        if steps >= 2**31 and self.slots < 64:  # the count may not fit 64 bits
            raise ArgumentError(
                f"Binomial.evaluations: with {self.slots} slots 'length' is below 2**31; "
                f"got {length}"
            )
        return steps + _core._least_advances(steps, self.slots + 1)

    def _plan(self) -> dict[str, Any]:
        return {"slots": self.slots}


@dataclass(frozen=True)
class Budget(Checkpoint):
    """Stores as many states as fit into ``size`` bytes (an int, or a string such as ``"64MB"``)
    with all that the loop and its reverse sweep take, results and cotangents included, and runs
    the other steps again as `Binomial` does. Raises ``wg.ArgumentError`` that states the least
    number of bytes where not even the sweep without a stored state fits. Under ``vmap`` the budget
    is for all examples together.

    >>> def end(x):
    ...     keep = wg.Budget("20kB")
    ...     return wg.scan(lambda c, _: (wg.sin(c), None), x, None, 1000, checkpoint=keep)[0].sum()
    >>> wg.memory.reset_peak()
    >>> before = wg.memory.live_bytes()
    >>> slope = wg.grad(end)(wg.ones(100))
    >>> wg.memory.peak_bytes() - before <= 20_000
    True
    """

    size: int | str

    def __post_init__(self) -> None:
        byte_size.parse("Budget", self.size)

    def _plan(self) -> dict[str, Any]:
        return {"budget": byte_size.parse("Budget", self.size)}


@dataclass(frozen=True)
class TwoLevel(Checkpoint):
    """Stores states in memory and others in a file; as the ``memory_budget`` of ``wg.compile``,
    with both sizes as strings, values of the call likewise.

    ``memory``: how many states besides the initial one, or the bytes that the loop and its reverse
    sweep may take, as for `Budget`. ``disk``: how many states more, or their bytes; None for as
    many as are of use. Both take an int for states and a string for bytes. The schedule is the one
    of least time by H-Revolve's and Disk-Revolve's dynamic programmes, where writing a state takes
    ``write_cost`` steps and reading one ``read_cost``; what is None is measured when the loop first
    runs. It is exact up to 28,000 steps; beyond, states go to disk at the equal distances of least
    cost a step (with ``disk`` limited, up to 28,000 / sqrt(disk + 1) steps, and beyond at equal
    distances).

    States are written behind the computation and read ahead of it, by a thread of their own. The
    file lies in a private folder of ``directory`` (the system's temporary directory by default) and
    has no name from the moment it is open: nothing is left behind, however the process ends. A full
    disk, a refused directory and a state that does not come back as it was written raise
    ``wg.FileError``; tensors are as they were. A loop makes its file when it has more states than
    memory holds; ``wg.compile`` tries the directory at the first call.

    >>> def end(x):
    ...     keep = wg.TwoLevel(memory=4, write_cost=2.0, read_cost=1.0)
    ...     return wg.scan(lambda c, _: (wg.sin(c), None), x, None, 500, checkpoint=keep)[0]
    >>> wg.grad(end)(1.0)
    tensor(0.00034897)
    """

    memory: int | str
    disk: int | str | None = None
    directory: str | os.PathLike[str] | None = None
    write_cost: float | None = None
    read_cost: float | None = None

    def __post_init__(self) -> None:
        self._plan()

    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = {"disk": -1}
        if isinstance(self.memory, str):
            plan["budget"] = byte_size.parse("TwoLevel", self.memory)
        else:
            plan["slots"] = arguments.integer("TwoLevel", "memory", self.memory)
        if isinstance(self.disk, str):
            plan["disk_bytes"] = byte_size.parse("TwoLevel", self.disk)
        elif self.disk is not None:
            plan["disk"] = arguments.integer("TwoLevel", "disk", self.disk)
        if self.directory is not None:
            try:
                plan["directory"] = os.fsdecode(self.directory)
                if "\0" in plan["directory"]:
                    raise ArgumentError(
                        "TwoLevel: 'directory' takes a path without a null character"
                    )
            except TypeError as error:
                raise ArgumentTypeError(
                    f"TwoLevel: 'directory' takes a path; got {self.directory!r:.60}"
                ) from error
        for name in ("write_cost", "read_cost"):
            cost = getattr(self, name)
            if cost is None:
                continue
            if isinstance(cost, bool) or not isinstance(cost, (int, float)):
                raise ArgumentTypeError(f"TwoLevel: '{name}' takes a number; got {cost!r:.60}")
            if not 0 <= cost < math.inf:
                raise ArgumentError(f"TwoLevel: '{name}' takes 0 or more steps; got {cost}")
            plan[name] = float(cost)
        return plan


cover_constructors([Binomial, Budget, TwoLevel])
