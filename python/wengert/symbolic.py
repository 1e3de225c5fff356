"""Programs on single numbers as SymPy expressions: one table, from operations to formulas."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import ArgumentError, Error, ShapeError
from .checked import checked

if TYPE_CHECKING:
    from .program import Program

Formula = Callable[..., Any]


class MissingPackage(Error, ImportError):
    """An optional package is not installed."""


def load_sympy() -> ModuleType:
    try:
        import sympy
    except ImportError as error:
        raise MissingPackage(
            "to_sympy: needs SymPy, which is not installed; run: pip install sympy"
        ) from error
    return sympy


def number(sp: ModuleType, value: Any) -> Any:
    """Of a NumPy scalar: exact where it is a small integer or a simple fraction, to the dtype."""
    if value.dtype.kind == "b":
        return sp.true if value else sp.false
    if value.dtype.kind in "iu":
        return sp.Integer(int(value))
    if not np.isfinite(value):
        return sp.nan if np.isnan(value) else sp.oo if value > 0 else -sp.oo
    simple = Fraction(float(value)).limit_denominator(1000)
    if abs(simple.numerator) <= 10**6 and value.dtype.type(simple) == value:
        return sp.Rational(simple.numerator, simple.denominator)
    return sp.Float(str(value), 17 if value.dtype == np.float64 else 9)


class _Formulas:
    """What each operation means; those whose meaning depends on dtypes are in ``convert``."""

    def __init__(self, sp: ModuleType) -> None:
        self.sp = sp
        self.table = {
            **self.arithmetic(),
            **self.selection(),
            **self.logic(),
            **self.elementary(),
            **self.activations(),
        }

    def cases(self, *pairs: tuple[Any, Any], otherwise: Any) -> Any:
        return self.sp.Piecewise(*pairs, (otherwise, True))

    def sign(self, x: Any) -> Any:
        return (
            self.sp.sign(x)
            if x.is_extended_real
            else self.cases((1, x > 0), (-1, x < 0), otherwise=0)
        )

    def absolute(self, x: Any) -> Any:
        return (
            self.sp.Abs(x)
            if x.is_extended_real
            else self.cases((x, x > 0), (-x, x < 0), otherwise=0)
        )

    def truncated(self, x: Any) -> Any:
        return self.cases((self.sp.floor(x), x >= 0), otherwise=self.sp.ceiling(x))

    def rounded(self, x: Any) -> Any:
        near = self.sp.floor(x + self.sp.Rational(1, 2))
        tie = self.sp.Eq(x + self.sp.Rational(1, 2), near)
        return self.cases((near - self.sp.Mod(near, 2), tie), otherwise=near)

    def slope(self, f: Formula) -> Formula:
        """g times the derivative of f at x."""

        def formula(g: Any, x: Any) -> Any:
            t = self.sp.Dummy()
            return g * self.sp.diff(f(t), t).subs(t, x)

        return formula

    def arithmetic(self) -> dict[str, Formula]:
        sp = self.sp
        return {
            "add": lambda a, b: a + b,
            "subtract": lambda a, b: a - b,
            "multiply": lambda a, b: a * b,
            "divide": lambda a, b: a / b,
            "chain_multiply": lambda a, b: a * b,
            "chain_divide": lambda a, b: a / b,
            "divide_or_zero": lambda a, b: self.cases((0, sp.Eq(b, 0)), otherwise=a / b),
            "floor_divide": lambda a, b: sp.floor(a / b),
            "remainder": lambda a, b: a - b * sp.floor(a / b),
            "negative": lambda x: -x,
            "reciprocal": lambda x: 1 / x,
            "square": lambda x: x**2,
            "power": lambda a, b: a**b,
            "power_grad": lambda g, a, b: g * b * a ** (b - 1),
            "base_log": lambda a, b: sp.log(a),
            "sqrt": sp.sqrt,
            "rsqrt": lambda x: 1 / sp.sqrt(x),
            "abs": self.absolute,
            "sign": self.sign,
            "copysign": lambda a, b: self.cases(
                (self.absolute(a), b >= 0), otherwise=-self.absolute(a)
            ),
            "floor": sp.floor,
            "ceil": sp.ceiling,
            "trunc": self.truncated,
            "round": self.rounded,
            "straight_through": lambda value, carrier, anchor: value + (carrier - anchor),
        }

    def selection(self) -> dict[str, Formula]:
        sp = self.sp

        def larger(a: Any, b: Any, constant: int = 0) -> Any:
            # At a tie with a constant the derivative is the constant's.
            if constant == 0:
                return sp.Max(a, b)
            x, fixed = (a, b) if constant == 2 else (b, a)
            return self.cases((x, x > fixed), otherwise=fixed)

        def smaller(a: Any, b: Any, constant: int = 0) -> Any:
            if constant == 0:
                return sp.Min(a, b)
            x, fixed = (a, b) if constant == 2 else (b, a)
            return self.cases((x, x < fixed), otherwise=fixed)

        return {
            "maximum": larger,
            "minimum": smaller,
            "clip": lambda x, low, high: self.cases(
                (high, sp.Or(x >= high, low >= high)), (low, x <= low), otherwise=x
            ),
            "keep_greater": lambda g, a, b: self.cases((g, a > b), otherwise=0),
            "share_greater": lambda g, a, b: self.cases(
                (g, a > b), (g / 2, sp.Eq(a, b)), otherwise=0
            ),
        }

    def logic(self) -> dict[str, Formula]:
        sp = self.sp
        return {
            "equal": sp.Eq,
            "not_equal": sp.Ne,
            "less": lambda a, b: a < b,
            "less_equal": lambda a, b: a <= b,
            "greater": lambda a, b: a > b,
            "greater_equal": lambda a, b: a >= b,
            "logical_and": sp.And,
            "logical_or": sp.Or,
            "logical_xor": sp.Xor,
            "logical_not": sp.Not,
            "isnan": lambda x: sp.false,
            "isinf": lambda x: sp.false,
            "isfinite": lambda x: sp.true,
            "signbit": lambda x: x < 0,
            "bitwise_and": sp.And,
            "bitwise_or": sp.Or,
            "bitwise_xor": sp.Xor,
            "bitwise_invert": sp.Not,
        }

    def elementary(self) -> dict[str, Formula]:
        sp = self.sp
        own = "exp log erf erfc sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh"
        return {
            **{name: getattr(sp, name) for name in own.split()},
            "expm1": lambda x: sp.exp(x) - 1,
            "log1p": lambda x: sp.log(x + 1),
            "log2": lambda x: sp.log(x) / sp.log(2),
            "log10": lambda x: sp.log(x) / sp.log(10),
            "logaddexp": lambda a, b: sp.log(sp.exp(a) + sp.exp(b)),
            "logaddexp_share": lambda a, b: 1 / (1 + sp.exp(b - a)),
            "exp_difference": lambda a, b: sp.exp(a - b),
            "hypot": lambda a, b: sp.sqrt(a**2 + b**2),
            "tanh_grad": lambda g, y: g * (1 - y**2),
        }

    def activations(self) -> dict[str, Formula]:
        sp = self.sp

        def sigmoid(x: Any) -> Any:
            return 1 / (1 + sp.exp(-x))

        def silu(x: Any) -> Any:
            return x * sigmoid(x)

        def gelu(x: Any) -> Any:
            return x * (1 + sp.erf(x / sp.sqrt(2))) / 2

        def gelu_tanh(x: Any) -> Any:
            cubic = sp.Rational(44715, 10**6) * x**3
            return x * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (x + cubic))) / 2

        def where_positive(x: Any, otherwise: Any) -> Any:
            return self.cases((x, x > 0), otherwise=otherwise)

        return {
            "relu": lambda x: where_positive(x, 0),
            "relu_grad": lambda g, y: self.cases((g, y > 0), otherwise=0),
            "leaky_relu": lambda x, a: where_positive(x, a * x),
            "elu": lambda x, a: where_positive(x, a * (sp.exp(x) - 1)),
            "sigmoid": sigmoid,
            "sigmoid_grad": lambda g, y: g * y * (1 - y),
            "softplus": lambda x: sp.log(1 + sp.exp(x)),
            "log_sigmoid": lambda x: -sp.log(1 + sp.exp(-x)),
            "silu": silu,
            "silu_grad": self.slope(silu),
            "gelu": gelu,
            "gelu_grad": self.slope(gelu),
            "gelu_tanh": gelu_tanh,
            "gelu_tanh_grad": self.slope(gelu_tanh),
        }

    def truth(self, x: Any, dtype: np.dtype) -> Any:
        return x if dtype.kind == "b" else self.sp.Ne(x, 0)

    def as_number(self, x: Any, dtype: np.dtype) -> Any:
        return self.cases((1, x), otherwise=0) if dtype.kind == "b" else x

    def convert(self, x: Any, before: np.dtype, after: np.dtype) -> Any:
        if after.kind == "b":
            return self.truth(x, before)
        x = self.as_number(x, before)
        return self.truncated(x) if before.kind == "f" and after.kind != "f" else x


# What returns its argument where that is a single number.
_SAME = {
    *("alias", "checkpoint_name", "copy", "stop_gradient"),
    *("reshape", "broadcast_to", "permute_dims"),
    *("sum", "mean", "prod", "max", "min"),
}
_ON_TRUTHS = {
    *("logical_and", "logical_or", "logical_xor", "logical_not"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"),
}


@functools.cache
def _formulas(sp: ModuleType) -> _Formulas:
    return _Formulas(sp)


def _needed(program: Program) -> set[int]:
    """The values that the outputs depend on."""
    needed = set(program.outputs)
    for node in reversed(program.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
    return needed


def _meaning(known: _Formulas, node: Any, ins: list[Any], dtypes: list[np.dtype]) -> Any:
    name, attributes = node.name, node.attributes
    if name in _SAME:
        return ins[0]
    if name == "astype":
        return known.convert(ins[0], dtypes[0], np.dtype(str(node.dtype)))
    if name == "where":
        condition, a, b = ins
        if dtypes[1].kind == "b":
            return known.sp.ITE(condition, a, b)
        return known.cases((a, condition), otherwise=b)
    bits = name.startswith("bitwise")
    if name not in known.table or (bits and dtypes[0].kind != "b"):
        raise ArgumentError(
            f"to_sympy: {name} at {node.source} has no SymPy formula; "
            "rewrite that line with elementary functions"
        )
    prepare = known.truth if name in _ON_TRUTHS else known.as_number
    extra = {"constant": attributes["constant"]} if "constant" in attributes else {}
    return known.table[name](*map(prepare, ins, dtypes), **extra)


@checked
def to_sympy(program: Program, **assumptions: bool) -> Any:
    """See ``Program.to_sympy``."""
    sp = load_sympy()
    known = _formulas(sp)
    program = program.opened()
    needed = _needed(program)
    values: dict[int, Any] = {}
    for value, name in zip(program.inputs, program.input_names):
        shape = program.types[value][1]
        if value in needed and shape != ():
            raise ShapeError(
                f"to_sympy: defined for functions of single numbers, shape (); got the argument "
                f"{name} of shape {shape}. Trace the function on numbers"
            )
        values[value] = sp.Symbol(name, **assumptions)
    for value, x in program.constants.items():
        if value in needed and x.shape == ():
            values[value] = number(sp, x.numpy()[()])
    for node in program.nodes:
        if not needed.intersection(node.outputs):
            continue
        for value in (*node.outputs, *node.inputs):
            if program.types[value][1] != ():
                raise ShapeError(
                    f"to_sympy: defined for programs on single numbers, shape (); got {node.name} "
                    f"at {node.source} with shape {program.types[value][1]}. Trace the function "
                    "on numbers"
                )
        dtypes = [np.dtype(str(program.types[value][0])) for value in node.inputs]
        ins = [values[value] for value in node.inputs]
        values[node.outputs[0]] = _meaning(known, node, ins, dtypes)
    found = tuple(values[value] for value in program.outputs)
    return found[0] if len(found) == 1 else found
