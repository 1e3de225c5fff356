"""What a loop keeps for its reverse sweep: the schedules of scan and while_loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _core
from ._core import ArgumentError, ArgumentTypeError


def _count(where: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{where}: '{name}' takes an int; got {value!r:.60}")
    if not 0 <= value < 2**48:
        raise ArgumentError(f"{where}: '{name}' takes 0 or more; got {value}")
    return value


class Checkpoint:
    """A schedule of stored states; use one of its kinds, such as `Binomial`."""

    def _plan(self) -> dict[str, Any]:
        raise NotImplementedError


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
    tensor(-0.8422)
    """

    slots: int

    def __post_init__(self) -> None:
        _count("Binomial", "slots", self.slots)

    def evaluations(self, length: int) -> int:
        """How many steps a gradient through ``length`` steps evaluates.

        >>> wg.Binomial(slots=2).evaluations(10)
        25
        """
        steps = _count("Binomial.evaluations", "length", length)
        return steps + _core._least_advances(steps, self.slots + 1)

    def _plan(self) -> dict[str, Any]:
        return {"slots": self.slots}
