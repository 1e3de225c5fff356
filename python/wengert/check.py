"""check_grads: derivatives against numerical differentiation and against each other.

Everything is linear algebra on flat float64 vectors: a problem has a vector of numbers to vary, a
value, and its Jacobian as two products (forward, reverse) that must agree with differences.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core, tree
from ._core import ArgumentError, ArgumentTypeError, Tensor
from .checked import checked_call
from .random import default_generator
from .transforms import _as_leaf, jvp, vjp

_BASIS = 200  # up to so many numbers every single one is varied; beyond, random directions
_CELLS = 1 << 20  # the largest numerical Jacobian that is stored
_DIRECTIONS = 4
_BLOCKS = 32  # beyond _BASIS, so many leaves are also varied alone
_STEPS = [0.02 / 8**k for k in range(10)]  # of central differences, in units of max(1, |x|)
_MODE = {"fwd": "forward", "rev": "reverse"}
_Function = Callable[..., "tuple[Tensor, ...]"]


@dataclass
class _Slots:
    """The names and shapes of the leaves that a flat vector joins."""

    names: list[str]
    shapes: list[tuple[int, ...]]

    def __post_init__(self) -> None:
        self.ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])

    @property
    def size(self) -> int:
        return int(self.ends[-1])

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        spans = zip(self.ends, self.ends[1:], self.shapes)
        return [vector[start:end].reshape(shape) for start, end, shape in spans]

    def blocks(self, vector: np.ndarray) -> np.ndarray:
        """The vector on one of the first leaves, 0 on the others, for each: small ones are lost
        beside large ones. Nothing for a single leaf."""
        spans = [span for span in zip(self.ends, self.ends[1:]) if span[0] < span[1]]
        spans = spans[:_BLOCKS] if len(spans) > 1 else []
        rows = np.zeros((len(spans), self.size))
        for row, (start, end) in zip(rows, spans):
            row[start:end] = vector[start:end]
        return rows

    def entry(self, place: int) -> str:
        leaf = int(np.searchsorted(self.ends, place, side="right")) - 1
        index = np.unravel_index(place - self.ends[leaf], self.shapes[leaf])
        return f"{self.names[leaf]}, entry {tuple(map(int, index))}"


def _join(leaves: Sequence[Any]) -> np.ndarray:
    parts = [_core._numpy(_core._detach(x)).reshape(-1).astype(np.float64) for x in leaves]
    return np.concatenate([np.zeros(0), *parts])


class _Problem:
    """f of float leaves at a point; f returns its float outputs."""

    def __init__(self, f: _Function, at: Sequence[Tensor], inputs: list[str], out: str) -> None:
        self.f = f
        self.at = list(at)
        self.dtypes = [x.dtype for x in at]
        self.inputs = _Slots(inputs, [x.shape for x in at])
        self.x = _join(at)
        self.scale = np.maximum(1.0, np.abs(self.x))
        self.state = default_generator().get_state()
        outputs = self.call(self.at)
        several = len(outputs) > 1
        names = [f"{out} {i}" if several else out for i in range(len(outputs))]
        self.outputs = _Slots(names, [y.shape for y in outputs])
        self.out_dtypes = [y.dtype for y in outputs]
        self.value = _join(outputs)
        dtypes = self.dtypes + self.out_dtypes
        self.single = any(dtype == np.float32 for dtype in dtypes)
        self.eps = float(np.finfo(np.float32 if self.single else np.float64).eps)

    def call(self, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """f, drawing the same random numbers each time."""
        default_generator().set_state(self.state)
        return self.f(*leaves)

    def _leaves(self, vector: np.ndarray, slots: _Slots, dtypes: list[Any]) -> list[Tensor]:
        parts = zip(slots.split(vector), dtypes)
        return [_core.tensor(np.array(part, dtype=dtype)) for part, dtype in parts]

    def values(self, x: np.ndarray) -> np.ndarray:
        return _join(self.call(self._leaves(x, self.inputs, self.dtypes)))

    def push(self, u: np.ndarray) -> np.ndarray:
        """J u."""
        tangents = self._leaves(u, self.inputs, self.dtypes)
        return _join(jvp(lambda *xs: self.call(xs), self.at, tangents)[1])

    def pull(self, v: np.ndarray) -> np.ndarray:
        """J' v."""
        cotangents = self._leaves(v, self.outputs, self.out_dtypes)
        return _join(vjp(lambda *xs: self.call(xs), *self.at)[1](tuple(cotangents)))

    def differences(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J u by central differences of ever smaller steps, neighbours extrapolated (Richardson);
        of each number the estimate that changed least, and by how much."""
        best, coarse, estimate = np.full((3, self.value.size), np.nan)
        error, change = np.full((2, self.value.size), np.inf)
        with np.errstate(all="ignore"):
            for step in _STEPS:
                low, high = self.values(self.x - step * u), self.values(self.x + step * u)
                slope = np.where(high == low, 0.0, high - low) / (2 * step)
                better = slope + (slope - coarse) / 63
                size = np.maximum(np.abs(high), np.abs(low))
                rounding = self.eps * np.where(np.isinf(size), 0.0, size) / step
                before, change = change, np.abs(better - estimate) + rounding
                change[np.isnan(change)] = np.inf
                coarse, estimate = slope, better
                if np.all(np.isfinite(change) & (change <= 1e-8 * np.abs(better) + 4 * rounding)):
                    return better, change
                # Of noise, two estimates may happen to agree, three will not.
                doubt = np.where(np.isinf(before), change, np.maximum(change, 0.1 * before))
                smaller = doubt < error
                best[smaller], error[smaller] = better[smaller], doubt[smaller]
        return best, error

    def derivative(self, mode: str, rng: np.random.Generator) -> _Problem:
        """The directional derivative in a random direction, as a function of the same point."""
        if mode == "fwd":
            us = self._leaves(_signs(rng, self.inputs.size), self.inputs, self.dtypes)

            def of(*xs: Tensor) -> tuple[Tensor, ...]:
                return jvp(self.f, xs, us)[1]

        else:
            v = rng.standard_normal(self.outputs.size)
            vs = tuple(self._leaves(v, self.outputs, self.out_dtypes))

            def of(*xs: Tensor) -> tuple[Tensor, ...]:
                return vjp(self.f, *xs)[1](vs)

        problem = _Problem(of, self.at, self.inputs.names, "derivative")
        if mode == "rev":
            problem.outputs.names = [f"derivative by {name}" for name in self.inputs.names]
        return problem


def _signs(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], size=n)


@dataclass
class _Check:
    """One round: how the modes compare at one order."""

    problem: _Problem
    order: int
    over: str  # the modes that made the function from the user's
    rtol: float | None
    atol: float | None
    rng: np.random.Generator

    def run(self, modes: Sequence[str]) -> None:
        p = self.problem
        n, m = p.inputs.size, p.outputs.size
        if n == 0 or m == 0:
            return
        self.every_input = n <= _BASIS and n * m <= _CELLS
        if self.every_input:
            us = np.diag(p.scale)
        else:
            us = _signs(self.rng, n * _DIRECTIONS).reshape(_DIRECTIONS, n)
            us = np.concatenate([us, p.inputs.blocks(us[0])]) * p.scale
        self.every_output = m <= _BASIS
        if self.every_output:
            vs = np.eye(m)
        else:
            vs = self.rng.standard_normal((_DIRECTIONS, m))
            vs = np.concatenate([vs, p.outputs.blocks(vs[0])])

        found = [p.differences(u) for u in us]
        slopes, errors = np.array([s for s, _ in found]), np.array([e for _, e in found])
        self.magnitude = float(np.abs(_finite(slopes)).max(initial=0.0))
        self.spread = 1.0 if self.every_output else float(np.sqrt(m))
        pushed = np.array([p.push(u) for u in us]) if "fwd" in modes else None
        if pushed is not None:
            self.compare("forward", us, np.eye(m), pushed, slopes, errors)
        if "rev" in modes:
            rows = np.array([p.pull(v) for v in vs])
            pulled = us @ rows.T
            self.compare("reverse", us, vs, pulled, slopes @ vs.T, errors @ np.abs(vs).T)
            if pushed is not None:
                self.agree(us, vs, pushed @ vs.T, pulled, rows)

    def tolerance(
        self,
        one: Any,
        other: Any,
        error: Any,
        size: Any,
        spread: float = 1.0,
        tight: bool = False,
    ) -> Any:
        """``size``: of the derivatives near by; ``spread``: how much larger than one derivative a
        sum of them is."""
        largest = spread * self.magnitude
        single = self.problem.single
        rtol = self.rtol if self.rtol is not None else 5e-3 if single else 1e-5
        atol = self.atol
        if atol is None:
            atol = (1e-5 if single else 1e-11) + (1e-4 if single else 1e-7) * size
        if tight:
            rtol, atol = rtol / 100, atol / 100
        if self.atol is None:
            atol = atol + 100 * self.problem.eps * largest
        values = np.abs(_finite(self.problem.value)).max(initial=0.0)
        rounding = 1e3 * self.problem.eps * spread * float(values)
        doubt = np.minimum(10 * error, (1e-2 if single else 1e-3) * largest + rounding)
        return atol + rtol * np.fmax(np.abs(one), np.abs(other)) + doubt

    def worst(self, ours: np.ndarray, theirs: np.ndarray, bound: np.ndarray) -> int | None:
        """The place of the worst disagreement, or None where all agree."""
        with np.errstate(all="ignore"):
            excess = np.abs(ours - theirs) / bound
        excess[np.isnan(excess)] = np.inf
        place = int(np.argmax(excess))
        return place if excess.reshape(-1)[place] > 1.0 else None

    def compare(
        self,
        mode: str,
        us: np.ndarray,
        vs: np.ndarray,
        ours: np.ndarray,
        theirs: np.ndarray,
        errors: np.ndarray,
    ) -> None:
        """Rows are directions ``us`` of the inputs, columns ``vs`` of the outputs."""
        spread = 1.0 if mode == "forward" else self.spread
        size = _size_near(theirs)
        place = self.worst(ours, theirs, self.tolerance(ours, theirs, errors, size, spread))
        if place is None:
            return
        row, column = divmod(place, ours.shape[1])
        u, v = self.locate(mode, us[row], vs[column])
        p = self.problem
        slope, error = p.differences(u)
        value = v @ p.push(u) if mode == "forward" else p.pull(v) @ u
        number, doubt = _dot(v, slope), float(np.abs(v) @ np.where(v == 0, 0.0, error))
        step = float(np.abs(u).max())
        value, number, doubt = value / step, number / step, doubt / step
        bound = float(self.tolerance(value, number, doubt, _finite_size(value, number)))
        notes = ""
        if not np.isfinite(number):
            notes = ". The function is not finite beside the argument: check it elsewhere"
        elif not np.isfinite(value):
            notes = ". The derivative is not finite where the function is smooth"
        elif doubt > bound:
            notes = f". Differences do not settle (by {doubt:.2g}): a kink, a jump or noise is near"
        raise AssertionError(
            f"check_grads: {mode} mode{self.over}, order {self.order}: {self.where(u, v)}: "
            f"the derivative is {value:.9g}, by differences {number:.9g}; they differ "
            f"by {abs(value - number):.3g}, tolerance {bound:.3g}{notes}"
        )

    def agree(
        self,
        us: np.ndarray,
        vs: np.ndarray,
        pushed: np.ndarray,
        pulled: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """<v, J u> = <J'v, u>, more strictly than differences can tell."""
        size = np.maximum(_size_near(pushed), _size_near(pulled))
        place = self.worst(
            pushed, pulled, self.tolerance(pushed, pulled, 0.0, size, self.spread, tight=True)
        )
        if place is None:
            return
        row, column = divmod(place, pushed.shape[1])
        u, v = self.locate("", us[row], vs[column])
        step = float(np.abs(u).max())
        ahead = _dot(v, self.problem.push(u)) / step
        back = _dot(self.problem.pull(v), u) / step
        bound = float(self.tolerance(ahead, back, 0.0, _finite_size(ahead, back), tight=True))
        raise AssertionError(
            f"check_grads: modes fwd and rev{self.over}, order {self.order}: {self.where(u, v)}: "
            f"<v, J u> is {ahead:.12g} and <J'v, u> is {back:.12g}; they differ "
            f"by {abs(ahead - back):.3g}, tolerance {bound:.3g}"
        )

    def where(self, u: np.ndarray, v: np.ndarray) -> str:
        inputs, outputs = self.problem.inputs, self.problem.outputs
        return (
            f"{inputs.entry(int(np.argmax(np.abs(u))))}; of {outputs.entry(int(np.argmax(v != 0)))}"
        )

    def locate(self, mode: str, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A direction of one number in, and of one number out, in which a disagreement remains."""
        if not self.every_input:
            u = _halve(u, lambda part: self.gap(mode, part, v))
        return u, _halve(v, lambda part: self.gap(mode, u, part))

    def gap(self, mode: str, u: np.ndarray, v: np.ndarray) -> float:
        p = self.problem
        ahead = _dot(v, p.push(u)) if mode != "reverse" else _dot(v, p.differences(u)[0])
        back = _dot(p.pull(v), u) if mode != "forward" else _dot(v, p.differences(u)[0])
        gap = abs(ahead - back)
        return gap if np.isfinite(gap) else np.inf


def _finite(x: np.ndarray) -> np.ndarray:
    return x[np.isfinite(x)]


def _finite_size(*numbers: float) -> float:
    return max((abs(x) for x in numbers if np.isfinite(x)), default=0.0)


def _size_near(x: np.ndarray) -> np.ndarray:
    """For each entry the largest in its row or the largest in its column, whichever is less: both
    the input and the output have derivatives of that size."""
    sizes = np.where(np.isfinite(x), np.abs(x), 0.0)
    return np.minimum(sizes.max(axis=1, keepdims=True), sizes.max(axis=0, keepdims=True))


def _dot(v: np.ndarray, x: np.ndarray) -> float:
    chosen = v != 0
    return float(v[chosen] @ x[chosen])


def _halve(vector: np.ndarray, gap: Callable[[np.ndarray], float]) -> np.ndarray:
    """The vector with all but one of its entries set to zero: of the halves the worse, again."""
    places = np.flatnonzero(vector)
    while places.size > 1:
        halves = np.array_split(places, 2)
        parts = [np.zeros_like(vector), np.zeros_like(vector)]
        for part, half in zip(parts, halves):
            part[half] = vector[half]
        places = halves[0] if gap(parts[0]) >= gap(parts[1]) else halves[1]
    one = np.zeros_like(vector)
    one[places] = vector[places]
    return one


def _argument_names(f: Callable, args: tuple) -> list[str]:
    """ "argument 0 'x'['w']", for every leaf of every argument."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for i, arg in enumerate(args):
        positional = i < len(parameters) and parameters[i].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        name = f"argument {i}" + (f" '{parameters[i].name}'" if positional else "")
        if hasattr(arg, "named_parameters"):
            names += [f"{name}.{path}" for path, _ in arg.named_parameters()]
        else:
            names += [name + path for path in tree.paths(arg)]
    return names


def _is_varied(leaf: Any) -> bool:
    return isinstance(leaf, float) or getattr(getattr(leaf, "dtype", None), "kind", "") == "f"


def _make_problem(f: Callable, args: tuple) -> _Problem:
    leaves, structure = tree.flatten(args)
    varied = [i for i, leaf in enumerate(leaves) if _is_varied(leaf)]
    for leaf in leaves:
        _as_leaf("check_grads", leaf)
    if not varied:
        raise ArgumentError("check_grads: the arguments hold no floating-point number to vary")
    names = _argument_names(f, args)
    chosen = [_core._detach(_core.asarray(leaves[i])) for i in varied]
    for i, x in zip(varied, chosen):
        if not np.isfinite(_core._numpy(x)).all():
            raise ArgumentError(f"check_grads: arguments must be finite; got {names[i]} = {x}")
    double = [  # a Python float in all its digits
        _core.asarray(leaf if isinstance(leaf, float) else x, dtype=np.float64)
        for leaf, x in zip((leaves[i] for i in varied), chosen)
    ]

    def call(*xs: Tensor) -> tuple[Tensor, ...]:
        values = list(leaves)
        for i, x in zip(varied, xs):
            values[i] = x
        result = f(*tree.unflatten(structure, values))
        outputs = [_as_leaf("check_grads", y) for y in tree.leaves(result)]
        return tuple(y for y in outputs if y.dtype.kind == "f")

    inputs = [names[i] for i in varied]
    try:
        problem = _Problem(call, double, inputs, "output")
    except Exception:
        # f may be made for float32; if it is not, its error is the answer.
        if all(x.dtype == np.float64 for x in chosen):
            raise
        problem = _Problem(call, chosen, inputs, "output")
    if not problem.outputs.names:
        raise ArgumentError("check_grads: f returns no floating-point number")
    again = problem.values(problem.x)
    if not np.array_equal(again, problem.value, equal_nan=True):
        raise ArgumentError(
            "check_grads: f must give the same values for the same arguments; two calls differ by "
            f"{np.nanmax(np.abs(again - problem.value)):.3g}. Give it a generator made inside f"
        )
    return problem


def _number(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise ArgumentTypeError(f"check_grads: '{name}' takes a number; got {value!r:.60}")
    if not 0 <= value < np.inf:
        raise ArgumentError(f"check_grads: '{name}' must be finite and not negative; got {value}")


@checked_call
def check_grads(
    f: Callable,
    args: Any,
    *,
    order: int = 1,
    modes: Sequence[str] = ("fwd", "rev"),
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Checks the derivatives of ``f(*args)``; returns None, or raises ``AssertionError`` where they
    are wrong, naming the mode, the order, the worst entry, both values and the tolerance.

    ``args`` is a tuple of trees of arrays or numbers (anything else is one argument); what is not
    floating point is not varied. f returns a tree too. For each order up to ``order`` and each of
    ``modes`` the products with the Jacobian are compared with numerical differentiation, and
    ``<v, J u> = <J'v, u>`` between the two; the derivatives of order 2 and above are those of the
    derivatives in every combination of modes. Up to 200 numbers are varied one by one, more of them
    in random directions, all at once and leaf by leaf, and a fault is then searched for by halving.

    float32 is converted to float64 for the check where f runs so; where it does not, tolerances are
    wider. By default ``rtol`` is 1e-5 (float32: 5e-3) and ``atol`` 1e-7 (1e-4) of the largest
    derivative by the same number or of the same number; what rounding leaves in doubt is added. At
    a kink or a jump of f no check can succeed; one nearby does no harm. f is called often: it must
    give the same values each time (``wg.random.default_generator()`` is set back before each call),
    and not change anything. Raises ``wg.Error`` for arguments that cannot be checked.

    >>> wg.check_grads(lambda x: wg.sin(x) * x, (wg.tensor([1.0, 2.0]),), order=2)
    >>> wg.check_grads(lambda x: wg.stop_gradient(x) * x, 3.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: check_grads: forward mode, order 1: argument 0 'x', entry (); ...
    """
    if not callable(f):
        raise ArgumentTypeError(f"check_grads: takes a function; got {f!r:.60}")
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)):
        raise ArgumentTypeError(f"check_grads: 'order' takes an int; got {order!r:.60}")
    if order < 1:
        raise ArgumentError(f"check_grads: 'order' must be at least 1; got {order}")
    known = isinstance(modes, (list, tuple)) and all(isinstance(m, str) for m in modes)
    if not known or not modes or not set(modes) <= set(_MODE):
        raise ArgumentError(
            f"check_grads: 'modes' takes some of 'fwd' and 'rev', in a tuple; got {modes!r:.60}"
        )
    _number("rtol", rtol)
    _number("atol", atol)
    given = args if type(args) is tuple else (args,)
    rng = np.random.default_rng(0)
    state = default_generator().get_state()
    try:
        level = [("", _make_problem(f, given))]
        for k in range(1, int(order) + 1):
            for over, problem in level:
                _Check(problem, k, over, rtol, atol, rng).run(modes)
            if k < order:
                level = [
                    (f"{over} over {_MODE[mode]} mode", problem.derivative(mode, rng))
                    for over, problem in level
                    for mode in dict.fromkeys(modes)
                ]
    finally:
        default_generator().set_state(state)
