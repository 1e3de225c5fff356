"""What a row of the op table says, and the domains its arguments are drawn from.

A row names an operation, the domains of its arguments, a NumPy function with the same arguments and
the cases (shapes and attributes) that every law of test_ops.py is tried on. Domains stay away from
kinks and jumps by more than the step of a central difference.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int32", "int64", "uint8")
EVERYTHING = (*NUMBERS, "bool")
INTEGERS = ("int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class Domain:
    """``kind``: "f" takes the dtype under test, "i" is int64 and "b" bool whatever that is."""

    draw: Callable[[np.random.Generator, Shape], np.ndarray]
    kind: str = "f"


@dataclass(frozen=True)
class Case:
    shapes: tuple[Shape, ...]
    attrs: dict[str, Any]

    def __str__(self) -> str:
        shapes = ";".join("x".join(map(str, shape)) or "()" for shape in self.shapes)
        attrs = ",".join(f"{name}={value}" for name, value in self.attrs.items())
        return f"{shapes},{attrs}".rstrip(",").replace(" ", "")


@dataclass(frozen=True)
class Row:
    name: str
    args: tuple[Domain, ...]
    numpy: Callable[..., Any]
    cases: tuple[Case, ...]
    large: Case | None  # big enough to be split between threads
    dtypes: tuple[str, ...]  # of the arguments of kind "f"
    ints: tuple[Domain, ...]  # the domains under integer dtypes
    tolerance: float  # of values, in units of the dtype's epsilon
    errors: tuple[tuple[tuple[Shape, ...], dict[str, Any], str], ...]

    def domains(self, case: Case, dtype: str) -> list[Domain]:
        args = self.ints if np.dtype(dtype).kind in "iu" and self.ints else self.args
        return [args[min(i, len(args) - 1)] for i in range(len(case.shapes))]

    def arrays(self, case: Case, dtype: str, salt: int = 0) -> list[np.ndarray]:
        """The arguments of a case: the same for the same salt, independent for another."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {case} {salt}".encode()))
        out = []
        for domain, shape in zip(self.domains(case, dtype), case.shapes, strict=True):
            drawn = np.asarray(domain.draw(rng, shape))
            if domain.kind == "f" and dtype == "uint8":
                drawn = np.abs(drawn)
            kinds = {"f": drawn > 0 if dtype == "bool" else drawn.astype(dtype)}
            kinds |= {"i": drawn.astype(np.int64), "b": drawn.astype(bool)}
            out.append(kinds[domain.kind])
        return out


def row(
    name: str,
    args: Sequence[Domain],
    numpy: Callable[..., Any],
    *,
    shapes: Sequence[tuple[Shape, ...]] | None = None,
    attrs: Sequence[dict[str, Any]] = ({},),
    cases: Sequence[tuple[tuple[Shape, ...], dict[str, Any]]] | None = None,
    large: tuple[tuple[Shape, ...], dict[str, Any]] | None = None,
    dtypes: Sequence[str] = FLOATS,
    ints: Sequence[Domain] = (),
    tolerance: float = 8,
    errors: Sequence[tuple[tuple[Shape, ...], dict[str, Any], str]] = (),
) -> Row:
    """``cases`` lists pairs of shapes and attributes, or they are all of ``shapes`` x ``attrs``."""
    if cases is None:
        if shapes is None:
            shapes = ELEMENTWISE[len(args)]
        cases = list(itertools.product(shapes, attrs))
    if large is None and shapes is ELEMENTWISE.get(len(args)):
        large = (((300, 250),) * len(args), dict(attrs[0]))
    return Row(
        name=name,
        args=tuple(args),
        numpy=numpy,
        cases=tuple(Case(tuple(s), dict(a)) for s, a in cases),
        large=None if large is None else Case(*large),
        dtypes=tuple(dtypes),
        ints=tuple(ints),
        tolerance=tolerance,
        errors=tuple(errors),
    )


# 0-d, empty and broadcast operands included.
def laid_out(*parts: Any) -> np.ndarray:
    """Several results as one vector, float64."""
    return np.concatenate([np.ravel(x).astype(np.float64) for x in parts])


ELEMENTWISE: dict[int, list[tuple[Shape, ...]]] = {
    1: [((3, 4),), ((),), ((2, 0),)],
    2: [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((2, 0), (1,))],
    3: [((3, 4), (3, 4), (3, 4)), ((4,), (2, 1, 1), (3, 1)), ((2, 3), (), ()), ((0,), (1,), ())],
}


def real(low: float, high: float) -> Domain:
    return Domain(lambda rng, shape: rng.uniform(low, high, shape))


def away_from(points: Sequence[float], low: float, high: float, gap: float = 0.05) -> Domain:
    """Uniform in [low, high], but no nearer to the points than the gap."""

    def draw(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        x = rng.uniform(low, high, shape)
        for point in points:
            near = np.abs(x - point) < gap
            x = np.where(near, point + np.where(x < point, -gap, gap) * (1 + rng.random(shape)), x)
        return x

    return Domain(draw)


nonzero = away_from([0], -3, 3, gap=0.3)
between_integers = Domain(
    lambda rng, shape: rng.integers(-4, 4, shape) + rng.uniform(0.1, 0.4, shape)
)


def distinct(offset: float = 0.0) -> Domain:
    """Multiples of 0.3 in random order, plus the offset and at most 0.02."""

    def draw(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        n = int(np.prod(shape))
        order = rng.permutation(n).reshape(shape) - n // 2
        return 0.3 * order + offset + rng.uniform(0, 0.02, shape)

    return Domain(draw)


def whole(low: int, high: int) -> Domain:
    """Integers in [low, high) of the dtype under test."""
    return Domain(lambda rng, shape: rng.integers(low, high, shape))


def index(low: int, high: int) -> Domain:
    """int64 in [low, high)."""
    return Domain(lambda rng, shape: rng.integers(low, high, shape), "i")


truth = Domain(lambda rng, shape: rng.random(shape) < 0.5, "b")
any_real = real(-3, 3)
