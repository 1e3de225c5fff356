"""Operations of one's own: a forward function with its derivative rules, for every transform."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from . import _core, other_names
from ._core import ArgumentTypeError, Tensor
from .checked import checked_call
from .primitive_calls import Call, Function, Way, is_float

__all__ = ["Primitive", "primitive"]


class Primitive:
    """An operation of one's own; see ``wg.primitive``."""

    def __init__(self, f: Callable) -> None:
        if not callable(f):
            raise ArgumentTypeError(f"primitive: takes a function; got {f!r:.60}")
        functools.update_wrapper(self, f)
        self.f = f
        self.name = str(getattr(f, "__name__", type(f).__name__))
        self._forward = Function(f)
        self._rules: dict[Way, Function] = {}
        try:
            self._signature = inspect.signature(f)
        except (TypeError, ValueError):
            self._signature = inspect.signature(lambda *args: None)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> str:
        return getattr(self, "__qualname__", self.name)  # pickled and copied by name

    @property
    def vjp_rule(self) -> Callable | None:
        """What ``def_vjp`` was given."""
        return self._rules["vjp"].f if "vjp" in self._rules else None

    @property
    def jvp_rule(self) -> Callable | None:
        """What ``def_jvp`` was given."""
        return self._rules["jvp"].f if "jvp" in self._rules else None

    def def_vjp(self, rule: Callable) -> Callable:
        """Decorates ``rule(ct, out, *args)``, the cotangents of the arguments given the output's.

        It returns a tuple with one entry an argument, of the argument's shape; None stands for
        zero, and for integers. Where the primitive returns a tuple, ``ct`` and ``out`` are tuples.

        >>> @wg.primitive
        ... def cube(x):
        ...     return x**3
        >>> @cube.def_vjp
        ... def _(ct, out, x):
        ...     return (3 * x**2 * ct,)
        >>> wg.grad(cube)(2.0), wg.grad(wg.grad(cube))(2.0)
        (tensor(12.), tensor(12.))
        """
        return self._define("vjp", rule)

    def def_jvp(self, rule: Callable) -> Callable:
        """Decorates ``rule(tangents, out, *args)``, the tangent of the output given the arguments'.

        ``tangents`` is a tuple with one entry an argument, like it (zeros for an argument that does
        not vary) and None for integers. The result has the output's shape (or is None, for zero),
        and is a tuple where the primitive returns one.

        >>> @wg.primitive
        ... def double(x):
        ...     return 2 * x
        >>> @double.def_jvp
        ... def _(tangents, out, x):
        ...     return 2 * tangents[0]
        >>> wg.jvp(double, (3.0,), (1.0,)), wg.grad(double)(3.0)
        ((tensor(6.), tensor(2.)), tensor(2.))
        """
        return self._define("jvp", rule)

    def _define(self, way: Way, rule: Callable) -> Callable:
        if not callable(rule):
            raise ArgumentTypeError(f"{self.name}.def_{way}: takes a function; got {rule!r:.60}")
        self._rules[way] = Function(rule)
        return rule

    def __call__(self, *args: Any, **options: Any) -> Any:
        try:
            bound = self._signature.bind(*args, **options)
        except TypeError as error:
            raise ArgumentTypeError(f"{self.name}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.kwargs.items():
            if isinstance(value, Tensor) or type(value).__hash__ is None:
                raise ArgumentTypeError(
                    f"{self.name}: the option '{name}' takes a plain value that can be hashed; got "
                    f"{value!r:.60}. Tensors and arrays are positional parameters"
                )
        inputs = self._inputs(bound.args)
        call = Call(self, bound.kwargs, inputs)
        outputs = _core._apply_rules(call, inputs)
        return tuple(outputs) if call.multiple else outputs[0]

    def _inputs(self, args: Sequence[Any]) -> list[Tensor]:
        """The arguments as tensors; Python numbers take the dtype of the floats beside them."""
        if not args:
            raise ArgumentTypeError(f"{self.name}: needs at least one tensor")
        arrays: list[Tensor | None] = []
        for i, x in enumerate(args):
            traced = isinstance(x, Tensor) and _core._is_number(x)  # as transforms pass numbers
            number = traced or type(x) in (bool, int, float)
            if not number and not hasattr(x, "__array__") and not hasattr(x, "__dlpack__"):
                raise ArgumentTypeError(
                    f"{self.name}: '{self.argument(i)}' takes a tensor, an array or a number; got "
                    f"{x!r:.60}. Options are keyword-only parameters"
                )
            arrays.append(
                None if number else x if isinstance(x, Tensor) else _core.asarray(x, copy=True)
            )
        floats = [x.dtype for x in arrays if x is not None and is_float(x)]
        widest = max(floats, key=lambda dtype: dtype.itemsize, default=None)
        return [
            _core.asarray(given, dtype=None if type(given) is bool else widest) if x is None else x
            for x, given in zip(arrays, args)
        ]

    def argument(self, i: int) -> str:
        """The name of argument i."""
        names: list[str] = []
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                return names[i] if i < len(names) else f"{name}[{i - len(names)}]"
            names.append(name)
        return names[i]


other_names.cover(Primitive, "wengert.primitives.Primitive")


@checked_call
def primitive(f: Callable) -> Primitive:
    """Makes an operation of f, with derivatives by rules of one's own instead of by what f does.

    f computes with NumPy or with wengert operations, and returns an array or a tuple of them. It
    gets its positional parameters as constant tensors, or as read-only NumPy arrays if it does not
    take tensors; keyword-only parameters are plain, hashable options, which the rules get too.
    ``def_vjp`` and ``def_jvp`` give the rules; from either the other follows. A VJP rule returns a
    tuple, one cotangent an argument: ``return ct,`` where there is one.

    Rules in wengert operations can be differentiated again, to any order. f and the rules must
    compute from what they are given alone: ``wg.GraphError`` where one closes over a tensor that is
    being differentiated. Rules in NumPy serve first derivatives and raise ``wg.GraphError``
    beyond; the direction that follows from one of them costs a call a number. To learn how a
    function is written, or the types of what it returns, it may be called once more, with abstract
    values, with ones or with well-conditioned matrices. Where it is recorded, in compiled
    functions, loops and branches, these types must not depend on the numbers that it gets:
    ``wg.ShapeError`` or ``wg.DTypeError`` where they do. Under ``vmap`` one in NumPy is called for
    each example.

    >>> @wg.primitive
    ... def swish(x, beta):
    ...     return x / (1 + np.exp(-beta * x))
    >>> @swish.def_vjp
    ... def _(ct, out, x, beta):
    ...     s = wg.sigmoid(beta * x)
    ...     slope = out * (1 - s)
    ...     return ct * (s + beta * slope), wg.sum(ct * x * slope)
    >>> wg.grad(swish, argnums=(0, 1))(1.0, 0.0)
    (tensor(0.5), tensor(0.25))
    """
    return Primitive(f)
