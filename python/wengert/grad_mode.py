"""Whether operations are recorded, and whether numbers are watched: context managers that also
decorate functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from . import _core
from ._core import ArgumentTypeError
from .checked import cover_constructors

F = TypeVar("F", bound=Callable)

_GENERATOR = 0x20 | 0x80 | 0x200  # code flags: generators, coroutines, asynchronous generators


class _Mode:
    _enabled: bool
    _set: Callable[[Any], Any] = staticmethod(_core._set_grad_enabled)  # returns what was before

    def __new__(cls, f: Any = None) -> Any:
        """With a function, as in ``@wg.no_grad``, the function it decorates."""
        mode = super().__new__(cls)
        mode._before = []
        return mode if f is None else mode(f)

    _before: list[Any]

    def __enter__(self) -> None:
        self._before.append(self._set(self._enabled))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._set(self._before.pop())

    def __call__(self, f: F) -> F:
        name = type(self).__name__
        if not callable(f):
            raise ArgumentTypeError(
                f"{name}: takes nothing or the function it decorates; got {f!r:.60}. Use: "
                f"with wg.{name}():"
            )
        if getattr(getattr(f, "__code__", None), "co_flags", 0) & _GENERATOR:
            raise ArgumentTypeError(
                f"{name}: cannot decorate the generator {f.__name__}: its body runs "
                "later; use it as a context manager inside"
            )

        @functools.wraps(f)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return f(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_Mode):
    """Within it (or within a function it decorates) nothing is recorded.

    >>> x = wg.tensor(2.0, requires_grad=True)
    >>> with wg.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    _enabled = False


class enable_grad(_Mode):
    """Within it operations are recorded, also inside ``no_grad``.

    >>> x = wg.tensor(2.0, requires_grad=True)
    >>> with wg.no_grad():
    ...     with wg.enable_grad():
    ...         y = x * x
    >>> y.requires_grad
    True
    """

    _enabled = True


class debug_nans(_Mode):
    """Within it (or within a function it decorates) the operation that first makes an infinity or a
    NaN of finite numbers raises ``wg.NumericError``, in a forward or a backward pass.

    The message names the operation, the first such place of its output, and your line; in a
    backward pass also the operation whose gradient was being computed, and the line that recorded
    it. Values that were infinite or NaN before are nobody's fault, wherever they go: those in your
    data, in ``wg.full(..., -inf)``, selected by ``wg.where``, or given as an argument. Elementwise
    operations are judged place by place, others by all their inputs. It holds for the thread that
    entered it, costs a pass over every result, and sees operations on tensors, primitives and their
    rules: not what optimisers do in place. A backward pass that raises may have left gradients in
    some of the leaves.

    >>> with wg.debug_nans():  # doctest: +ELLIPSIS
    ...     wg.log(wg.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    wengert.NumericError: log: must give finite numbers from finite ones under debug_nans; ...
    """

    _enabled = True
    _set = staticmethod(_core._set_watch)


cover_constructors([no_grad, enable_grad, debug_nans])
