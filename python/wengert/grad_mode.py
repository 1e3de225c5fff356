"""Whether operations are recorded: context managers that also decorate functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from . import _core
from ._core import ArgumentTypeError

F = TypeVar("F", bound=Callable)

_GENERATOR = 0x20 | 0x80 | 0x200  # code flags: generators, coroutines, asynchronous generators


class _GradMode:
    _enabled: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(_core._set_grad_enabled(self._enabled))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core._set_grad_enabled(self._before.pop())

    def __call__(self, f: F) -> F:
        if getattr(getattr(f, "__code__", None), "co_flags", 0) & _GENERATOR:
            raise ArgumentTypeError(
                f"{type(self).__name__}: cannot decorate the generator {f.__name__}: its body runs "
                "later; use it as a context manager inside"
            )

        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return f(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradMode):
    """Within it (or within a function it decorates) nothing is recorded.

    >>> x = wg.tensor(2.0, requires_grad=True)
    >>> with wg.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    _enabled = False


class enable_grad(_GradMode):
    """Within it operations are recorded, also inside ``no_grad``.

    >>> x = wg.tensor(2.0, requires_grad=True)
    >>> with wg.no_grad():
    ...     with wg.enable_grad():
    ...         y = x * x
    >>> y.requires_grad
    True
    """

    _enabled = True
