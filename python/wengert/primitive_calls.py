"""What the core asks of one call of a primitive: its value, its types, its adjoint, its tangent and
its batched self, answered by the user's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _core, tree
from ._core import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    GraphError,
    ShapeError,
    Tensor,
    TraceError,
    is_grad_enabled,
)
from .creation import ones, zeros
from .grad_mode import enable_grad, no_grad
from .transforms import vmap

if TYPE_CHECKING:
    from .primitives import Primitive

Type = tuple[np.dtype, tuple[int, ...]]
Maybe = Sequence[Tensor | None]  # None: a structural zero
Way = Literal["vjp", "jvp"]

_MOST_KEYS = 256
_OTHER: dict[Way, Way] = {"vjp": "jvp", "jvp": "vjp"}


def is_float(x: Tensor) -> bool:
    return x.dtype.kind == "f"


def _types(tensors: Sequence[Tensor]) -> list[Type]:
    return [(x.dtype, x.shape) for x in tensors]


def _array(x: Any) -> Any:
    """A read-only NumPy array of a tensor."""
    if isinstance(x, Tensor):
        x = _core._numpy(x)
        x.flags.writeable = False
    return x


def _may_matter() -> bool:
    """Whether derivatives of what is computed now may be asked for."""
    return is_grad_enabled() or _core._sweep_may_matter()


def _refuse_closure(name: str, what: str, values: Maybe) -> None:
    """Raises where values that were computed from constants depend on anything else."""
    found = [y for y in values if y is not None]
    if any(y._is_abstract for y in found):
        raise TraceError(f"{name}: {what} closes over a traced value; pass it as an argument")
    if any(map(_core._is_differentiated, found)):
        raise GraphError(
            f"{name}: {what} closes over a tensor that is being differentiated; pass it as an "
            "argument (or detach it, if it is a constant)"
        )


def _evaluate(of: Call | Opaque | Batched, args: Sequence[Tensor]) -> list[Tensor]:
    """Of constants; recorded as around the call, so that what it closes over shows."""
    with enable_grad() if of.records else no_grad():
        outputs = of.forward(*args)
        _refuse_closure(of.name, of.what, outputs)
    return outputs


class Function:
    """A function of the user's, called with tensors or, if it takes none, with arrays."""

    def __init__(self, f: Callable) -> None:
        self.f = f
        self.wants_arrays = False
        self.traced: set[Any] = set()  # with what options and types it ran on abstract values

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.wants_arrays:
            return self.f(*tree.map(_array, args), **options)
        try:
            return self.f(*args, **options)
        except (TypeError, AttributeError) as error:
            if any(isinstance(x, Tensor) and x._is_abstract for x in tree.leaves(args)):
                raise
            try:
                result = self.f(*tree.map(_array, args), **options)
            except Exception:
                if "__array_ufunc__" in str(error):
                    raise
                raise error from None
        self.wants_arrays = True
        return result


def _regular(dtype: Any, shape: Sequence[int]) -> Tensor:
    """Ones, but symmetric positive definite matrices where they are square."""
    if len(shape) < 2 or shape[-1] != shape[-2] or np.dtype(dtype).kind != "f":
        return ones(shape, dtype=dtype)
    return _core.asarray(np.ones(shape, dtype) + shape[-1] * np.eye(shape[-1], dtype=dtype))


class Call:
    """The rules of one call of a primitive."""

    joint = True  # one rule gives the cotangents of all inputs
    traces = False
    what = "the function"

    def __init__(self, own: Primitive, options: dict[str, Any], inputs: Sequence[Tensor]) -> None:
        self.primitive = own
        self.name = own.name
        self.options = options
        floats = [x.dtype for x in inputs if is_float(x)]
        self.float = max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype("float32"))
        self.multiple = False
        self.records = is_grad_enabled()

    def forward(self, *args: Tensor) -> list[Tensor]:
        result = self.primitive._forward(*args, **self.options)
        self.multiple = isinstance(result, tuple)
        values = result if self.multiple else (result,)
        if not values:
            raise ArgumentError(f"{self.name}: must return at least one array; got ()")
        return [self.tensor(y) for y in values]

    def tensor(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value
        if type(value) in (bool, int, float):
            return _core.asarray(value, dtype=self.float if type(value) is float else None)
        if not hasattr(value, "__array__") and not hasattr(value, "__dlpack__"):
            raise ArgumentTypeError(
                f"{self.name}: must return a tensor, an array or a tuple of them; got {value!r:.60}"
            )
        return _core.asarray(value, copy=True)

    def evaluate(self, args: Sequence[Tensor]) -> list[Tensor]:
        return _evaluate(self, args)

    def infer(self, types: Sequence[Type]) -> list[Type]:
        self.traces = True
        try:
            return _types(_core._call_abstract(self.forward, list(types)))
        except Exception:
            self.traces = False
        with no_grad():
            try:
                return _types(self.forward(*[ones(shape, dtype=dtype) for dtype, shape in types]))
            except Exception:  # of a singular matrix, perhaps
                given = [_regular(dtype, shape) for dtype, shape in types]
                try:
                    return _types(self.forward(*given))
                except Exception as error:
                    raise ArgumentError(
                        f"{self.name}: fails for made-up arguments, of which the types of its "
                        "results are learnt (all numbers 1, and then well-conditioned matrices): "
                        f"{type(error).__name__}: {error}. Let it give results of the right types "
                        "for these too"
                    ) from error

    def adjoint(
        self, _: None, cts: Maybe, outs: Sequence[Tensor], ins: Sequence[Tensor], plain: bool
    ) -> Maybe:
        return self.apply("vjp", cts, outs, ins, plain)

    def tangent(
        self, dxs: Maybe, outs: Sequence[Tensor], ins: Sequence[Tensor], plain: bool
    ) -> Maybe:
        return self.apply("jvp", dxs, outs, ins, plain)

    def batch(self, ins: Sequence[Tensor], batched: Sequence[bool], size: int) -> list[Tensor]:
        return _core._apply_rules(Batched(self, batched, size), ins)

    def rule_for(self, way: Way) -> Way:
        """The rule that gives the derivative that way: its own, or that of its transpose."""
        rules = self.primitive._rules
        if not rules:
            raise GraphError(
                f"{self.name}: a primitive has the derivatives that it is given; got no rule. "
                f"Define one with @{self.name}.def_vjp or @{self.name}.def_jvp"
            )
        return way if way in rules else _OTHER[way]

    def apply(
        self,
        way: Way,
        vectors: Maybe,
        outs: Sequence[Tensor],
        ins: Sequence[Tensor],
        plain: bool,
    ) -> Maybe:
        """J' or J times vectors. ``plain``: the result is not differentiated again."""
        rule = self.rule_for(way)
        traces = not (plain and rule == way) and self.rule_traces(rule, outs, ins)
        if traces and not plain:
            return self.run(way, vectors, outs, ins, True)
        if plain and not _core._watching():
            with enable_grad() if _may_matter() else no_grad():
                found = self.run(way, vectors, outs, ins, traces)
                _refuse_closure(self.name, f"the {rule.upper()} rule", found)
            return found
        opaque = Opaque(self, way, vectors, len(outs))
        results: list[Tensor | None] = [None] * len(ins if way == "vjp" else outs)
        targets = [i for i, x in enumerate(ins if way == "vjp" else outs) if is_float(x)]
        given = [v for v in vectors if v is not None]
        if targets and given:
            found = _core._apply_rules(opaque, [*given, *outs, *ins])
            for i, y in zip(targets, found):
                results[i] = y
        return results

    def run(
        self,
        way: Way,
        vectors: Maybe,
        outs: Sequence[Tensor],
        ins: Sequence[Tensor],
        traces: bool,
    ) -> Maybe:
        if way in self.primitive._rules:
            return self.call_rule(way, vectors, outs, ins, traces)
        transpose = _transpose if traces else _transpose_by_basis
        return transpose(
            lambda images: self.call_rule(_OTHER[way], images, outs, ins, traces),
            ins if way == "vjp" else outs,
            vectors,
        )

    def rule_traces(self, way: Way, outs: Sequence[Tensor], ins: Sequence[Tensor]) -> bool:
        """Whether a rule is written in wengert operations: then it runs on abstract values."""
        rule = self.primitive._rules[way]
        types = [*_types(outs), *_types(ins)]
        key = (tuple(self.options.items()), tuple(types))
        if key in rule.traced or rule.wants_arrays:
            return not rule.wants_arrays
        space = outs if way == "vjp" else ins
        floats = [x for x in space if is_float(x)]

        def call(*flat: Tensor) -> Maybe:
            given, n = iter(flat[: len(floats)]), len(floats)
            vectors = [next(given) if is_float(x) else None for x in space]
            ends = n + len(outs)
            return self.call_rule(way, vectors, flat[n:ends], flat[ends:], True)

        try:
            _core._call_abstract(call, [*_types(floats), *types])
        except Exception:
            return False
        if len(rule.traced) >= _MOST_KEYS:
            rule.traced.clear()
        rule.traced.add(key)
        return True

    def call_rule(
        self,
        way: Way,
        vectors: Maybe,
        outs: Sequence[Tensor],
        ins: Sequence[Tensor],
        traces: bool,
    ) -> Maybe:
        function = self.primitive._rules[way]
        rule = function.f if traces else function
        out = tuple(outs) if self.multiple else outs[0]
        if way == "jvp":
            tangents = tuple(
                zeros(x.shape, dtype=x.dtype) if t is None and is_float(x) else t
                for t, x in zip(vectors, ins)
            )
            result = rule(tangents, out, *ins, **self.options)
            if not self.multiple:
                result = (result,)
            return self.checked(way, result, outs, traces)
        cts = tuple(
            zeros(y.shape, dtype=y.dtype) if g is None else g for g, y in zip(vectors, outs)
        )
        result = rule(cts if self.multiple else cts[0], out, *ins, **self.options)
        return self.checked(way, result, ins, traces)

    def checked(self, way: Way, result: Any, space: Sequence[Tensor], traces: bool) -> Maybe:
        """What a rule returned, as tensors like those it belongs to."""
        what, to = ("cotangent", "argument") if way == "vjp" else ("tangent", "output")
        says = f"{self.name}: the {way.upper()} rule"
        if not isinstance(result, tuple):
            cts = "ct," if len(space) == 1 else ", ".join([f"ct{i + 1}" for i in range(len(space))])
            raise ArgumentTypeError(
                f"{says} must return a tuple with one {what} an {to}; got a {type(result).__name__}"
                + (f". Write return ({cts})" if isinstance(result, Tensor) else "")
            )
        if len(result) != len(space):
            raise ArgumentError(
                f"{says} must return one {what} an {to}, None where there is none; got "
                f"{len(result)} for {len(space)} "
                f"({', '.join(self.label(way, i) for i in range(len(space)))})"
            )
        found: list[Tensor | None] = []
        for i, (value, x) in enumerate(zip(result, space)):
            if value is None:
                found.append(None)
                continue
            label = self.label(way, i)
            if not is_float(x):
                raise DTypeError(
                    f"{says} gives a {what} for {label}, which has dtype {x.dtype}; an integer has "
                    "no derivative: give None"
                )
            if type(value) in (int, float):
                value = _core.asarray(value, dtype=x.dtype)
            g = self.tensor(value)
            if g.shape != x.shape:
                raise ShapeError(
                    f"{says} gives a {what} of shape {g.shape} for {label}, which has shape "
                    f"{x.shape}"
                )
            if not is_float(g):
                raise DTypeError(
                    f"{says} gives a {what} of dtype {g.dtype} for {label}, which has dtype "
                    f"{x.dtype}; convert it with astype"
                )
            found.append(g if g.dtype == x.dtype else g.astype(x.dtype))
        if not traces:
            _refuse_closure(self.name, f"the {way.upper()} rule", found)
        return found

    def label(self, way: Way, i: int) -> str:
        if way == "vjp":
            return f"'{self.primitive.argument(i)}'"
        return f"output {i}" if self.multiple else "the output"


def _transpose(linear: Callable[[Maybe], Maybe], space: Sequence[Tensor], vectors: Maybe) -> Maybe:
    """A' times ``vectors`` for a linear function A on ``space``: a reverse sweep over it."""
    with enable_grad():
        leaves = [
            _core._alias(zeros(x.shape, dtype=x.dtype)) if is_float(x) else None for x in space
        ]
        images = linear(leaves)
    ends = [(y, v) for y, v in zip(images, vectors) if y is not None and v is not None]
    targets = [x for x in leaves if x is not None]
    found, _ = _core._reverse([y for y, _ in ends], [v for _, v in ends], targets, False)
    results = iter(found)
    return [None if x is None else next(results) for x in leaves]


def _transpose_by_basis(
    linear: Callable[[Maybe], Maybe], space: Sequence[Tensor], vectors: Maybe
) -> Maybe:
    """The same where A cannot be swept: its products with every basis vector of the space."""

    def component(i: int, x: Tensor, k: int) -> float:
        basis = np.zeros(x.size, x.dtype)
        basis[k] = 1
        units: list[Tensor | None] = [None] * len(space)
        units[i] = _core.asarray(basis.reshape(x.shape), copy=True)
        pairs = zip(linear(units), vectors)
        return sum(float(np.vdot(y, v)) for y, v in pairs if y is not None and v is not None)

    return [
        _core.asarray(
            np.array([component(i, x, k) for k in range(x.size)], x.dtype).reshape(x.shape)
        )
        if is_float(x)
        else None
        for i, x in enumerate(space)
    ]


class Opaque:
    """J' or J times vectors as an operation, by rules that compute outside of wengert.

    Its inputs are the vectors that are not zero, the outputs and the inputs of the call. In the
    vectors it is linear, so there its derivatives are known; of the others it has none.
    """

    joint = False
    traces = False

    def __init__(self, call: Call, way: Way, vectors: Maybe, outputs: int) -> None:
        self.call = call
        self.way = way
        self.name = f"{call.name}_{way}"
        self.size = len(vectors)
        self.given = [i for i, v in enumerate(vectors) if v is not None]
        self.outputs = outputs
        self.records = _may_matter()
        self.what = f"the {call.rule_for(way).upper()} rule"

    def split(self, args: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        first, n = args[: len(self.given)], len(self.given)
        vectors: list[Any] = [None] * self.size
        for i, v in zip(self.given, first):
            vectors[i] = v
        return vectors, args[n : n + self.outputs], args[n + self.outputs :]

    def space(self, outs: Sequence[Any], ins: Sequence[Any]) -> Sequence[Any]:
        return ins if self.way == "vjp" else outs

    def forward(self, *args: Tensor) -> list[Tensor]:
        vectors, outs, ins = self.split(args)
        space = self.space(outs, ins)
        found = self.call.run(self.way, vectors, outs, ins, False)
        return [
            zeros(x.shape, dtype=x.dtype) if y is None else y
            for y, x in zip(found, space)
            if is_float(x)
        ]

    def evaluate(self, args: Sequence[Tensor]) -> list[Tensor]:
        return _evaluate(self, args)

    def infer(self, types: Sequence[Type]) -> list[Type]:
        _, outs, ins = self.split(types)
        return [type for type in self.space(outs, ins) if type[0].kind == "f"]

    def adjoint(
        self, index: int, gs: Maybe, _: Any, args: Sequence[Tensor], plain: bool
    ) -> list[Tensor | None]:
        if index >= len(self.given):
            self.refuse()
        _, outs, ins = self.split(args)
        g = iter(gs)
        full = [next(g) if is_float(x) else None for x in self.space(outs, ins)]
        found = self.call.apply(_OTHER[self.way], full, outs, ins, plain)
        return [found[self.given[index]]]

    def tangent(self, dxs: Maybe, _: Any, args: Sequence[Tensor], plain: bool) -> Maybe:
        if any(d is not None for d in dxs[len(self.given) :]):
            self.refuse()
        vectors, _, _ = self.split(dxs)
        _, outs, ins = self.split(args)
        found = self.call.apply(self.way, vectors, outs, ins, plain)
        return [y for y, x in zip(found, self.space(outs, ins)) if is_float(x)]

    def refuse(self) -> None:
        name, rule = self.call.name, self.call.rule_for(self.way)
        raise GraphError(
            f"{name}: the {rule.upper()} rule of '{name}' is written in NumPy, or reads numbers "
            "out of its tensors; write it in wengert operations to differentiate it again"
        )

    def batch(self, ins: Sequence[Tensor], batched: Sequence[bool], size: int) -> list[Tensor]:
        return _core._apply_rules(Batched(self, batched, size), ins)


class Batched:
    """Another operation over the leading axis of the inputs that are ``batched``."""

    def __init__(self, base: Call | Opaque | Batched, batched: Sequence[bool], size: int) -> None:
        self.base = base
        self.name: str = base.name
        self.joint: bool = base.joint
        self.batched = batched
        self.size = size
        self.axes = tuple(0 if carries else None for carries in batched)
        self.records: bool = base.records
        self.what: str = base.what

    @property
    def traces(self) -> bool:
        return self.base.traces

    def forward(self, *args: Tensor) -> list[Tensor]:
        if self.base.traces:
            return vmap(self.base.forward, in_axes=self.axes)(*args)
        rows = [
            self.base.forward(*[x[i] if carries else x for x, carries in zip(args, self.batched)])
            for i in range(self.size)
        ]
        if not rows:
            return [zeros(shape, dtype=dtype) for dtype, shape in self.infer(_types(args))]
        counts = sorted({len(row) for row in rows})
        if len(counts) > 1:
            raise ArgumentError(
                f"{self.name}: must always give as many results; got {counts[0]} for one example, "
                f"and {counts[-1]} for another"
            )
        return [_core.ops.stack(column) for column in zip(*rows)]

    def evaluate(self, args: Sequence[Tensor]) -> list[Tensor]:
        return _evaluate(self, args)

    def infer(self, types: Sequence[Type]) -> list[Type]:
        rows = [
            (dtype, shape[1:] if carries else shape)
            for (dtype, shape), carries in zip(types, self.batched)
        ]
        return [(dtype, (self.size, *shape)) for dtype, shape in self.base.infer(rows)]

    def adjoint(
        self, index: Any, gs: Maybe, outs: Maybe, ins: Sequence[Tensor], _: bool
    ) -> list[Tensor | None]:
        def rule(gs: Any, outs: Any, ins: Any) -> Any:
            return list(self.base.adjoint(index, gs, outs, ins, False))

        found = vmap(rule, in_axes=(0, 0, self.axes))(gs, outs, ins)
        batched = self.batched if index is None else [self.batched[index]]
        return [
            g if g is None or carries else _core.ops.sum(g, axis=0)
            for g, carries in zip(found, batched)
        ]

    def tangent(self, dxs: Maybe, outs: Maybe, ins: Sequence[Tensor], _: bool) -> Maybe:
        def rule(dxs: Any, outs: Any, ins: Any) -> Any:
            return list(self.base.tangent(dxs, outs, ins, False))

        return vmap(rule, in_axes=(self.axes, 0, self.axes))(dxs, outs, ins)

    def batch(self, ins: Sequence[Tensor], batched: Sequence[bool], size: int) -> list[Tensor]:
        return _core._apply_rules(Batched(self, batched, size), ins)
