"""What wg.checkpoint keeps: functions of an operation that say whether to keep what it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ._core import ArgumentError, ArgumentTypeError
from .checked import cover

__all__ = [
    "Operation",
    "save_any_of",
    "save_everything",
    "save_matmuls",
    "save_names",
    "save_nothing",
]


class Operation(NamedTuple):
    """What a policy is asked about; ``dtype`` and ``shape`` are those of the (first) output."""

    name: str
    attributes: dict[str, Any]
    dtype: Any
    shape: tuple[int, ...]
    flops: int
    """Arithmetic operations; moves of data count none."""

    @property
    def checkpoint_name(self) -> str | None:
        """The name that ``wg.checkpoint_name`` gave, if it is that operation."""
        return self.attributes["name"] if self.name == "checkpoint_name" else None


Policy = Callable[[Operation], bool]

_PRODUCTS = frozenset({"matmul", "linear", "conv2d", "convolution", "attention"})


def save_nothing(operation: Operation) -> bool:
    """Everything is computed again; as without a policy."""
    return False


def save_everything(operation: Operation) -> bool:
    """All that the sweep reads is kept; as without ``wg.checkpoint``."""
    return True


def save_matmuls(operation: Operation) -> bool:
    """Matrix products, convolutions and attention are kept, and what is cheap computed again."""
    return operation.name in _PRODUCTS


def save_names(*names: str) -> Policy:
    """A policy that keeps the values that ``wg.checkpoint_name`` gave one of these names."""
    for name in names:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"save_names: takes names; got {name!r:.60}")
    if not names:
        raise ArgumentError("save_names: takes at least one name; got none")
    return lambda operation: operation.checkpoint_name in names


def save_any_of(*policies: Policy) -> Policy:
    """A policy that keeps what one of these would keep."""
    for policy in policies:
        if not callable(policy):
            raise ArgumentTypeError(f"save_any_of: takes policies; got {policy!r:.60}")
    return lambda operation: any(policy(operation) for policy in policies)


cover(globals(), __all__)
