"""Sparse Jacobians and Hessians: patterns, their colourings, and their detection in a trace.

Columns of a Jacobian that share no row are pushed through one JVP together (rows that share no
column are pulled through one VJP). A colouring says which, and the batched sweep has as many
directions as there are colours.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

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
)
from .checked import checked_call
from .colouring import Plan, places, plan_hessian, plan_jacobian
from .grad_mode import no_grad
from .program import Node, Program, trace
from .transforms import _float_leaves, _of_chosen, _positions, gradient_of, jvp, vjp, vmap

NUMBERS_A_SWEEP = 1 << 22  # in the directions that are swept together, or in their products
MOST_ENTRIES = 1 << 28  # of a pattern that is being detected


def _sparse(where: str) -> Any:
    try:
        return importlib.import_module("scipy.sparse")
    except ImportError as error:
        raise ArgumentError(
            f"{where}: sparse results are SciPy arrays, and SciPy is not installed. "
            "Install it with: pip install scipy"
        ) from error


def _pattern_of(where: str, given: Any) -> Any:
    """The pattern as a boolean csr_array with sorted indices."""
    sp = _sparse(where)
    wanted = "'sparsity' takes a SciPy sparse array, a boolean 2-D array or 'detect'"
    if isinstance(given, Tensor):
        given = given.detach().numpy()
    if isinstance(given, np.ndarray):
        if given.dtype != bool:
            raise DTypeError(
                f"{where}: {wanted}; got an array of {given.dtype}. Write array != 0 for the "
                "places of its nonzeros"
            )
    elif not sp.issparse(given):
        raise ArgumentTypeError(f"{where}: {wanted}; got {given!r:.60}")
    if given.ndim != 2:
        raise ShapeError(f"{where}: {wanted}; got shape {given.shape}")
    try:
        entries = sp.csr_array(given, copy=True)
        entries.check_format()
        entries.sum_duplicates()
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{where}: {wanted}; got one that is malformed: {error}") from error
    return _with(sp, entries, np.ones(entries.nnz, bool))


def _with(sp: Any, pattern: Any, values: np.ndarray) -> Any:
    """A new csr_array with the places of the pattern."""
    return sp.csr_array(
        (values, pattern.indices.copy(), pattern.indptr.copy()), shape=pattern.shape
    )


def _mirrored(pattern: Any) -> Any:
    """The pattern and its transpose in one, where it is square."""
    if pattern.shape[0] != pattern.shape[1]:
        return pattern
    both = (pattern + pattern.T).tocsr()
    both.sum_duplicates()
    return both


def _part(entries: Any, pattern: Any) -> Any:
    """The entries on a smaller pattern."""
    keys, wanted = (
        row * pattern.shape[1] + column for row, column in map(places, (entries, pattern))
    )
    return _with(_sparse("hessian"), pattern, entries.data[np.searchsorted(keys, wanted)])


# Sweeps.


def _refuse_followed(where: str, products: Tensor) -> None:
    if products._is_abstract or _core._is_differentiated(products):
        raise GraphError(
            f"{where}: with 'sparsity', the result is a constant; here it depends on a tensor that "
            "is being differentiated or traced. Leave 'sparsity' out, detach the tensor, or call "
            "within wg.no_grad()"
        )


def _values(
    where: str, sweep: Callable, shape: tuple[int, ...], dtype: Any, size: int, plan: Plan
) -> Any:
    """The entries, read off sweeps of directions of `shape` and `dtype` to products of `size`."""
    colours, wanted = plan.colours, plan.entry_colour
    chunk = max(1, NUMBERS_A_SWEEP // max(colours.size, size))
    members, entries = np.argsort(colours, kind="stable"), np.argsort(wanted, kind="stable")
    values = []
    for low in range(0, plan.directions, chunk):
        high = min(low + chunk, plan.directions)
        part = members[slice(*np.searchsorted(colours, [low, high], sorter=members))]
        directions = np.zeros((high - low, colours.size), dtype)
        directions[colours[part] - low, part] = 1
        products = sweep(_core.asarray(directions.reshape(-1, *shape)))
        _refuse_followed(where, products)
        products = products.detach().numpy().reshape(high - low, size)
        part = entries[slice(*np.searchsorted(wanted, [low, high], sorter=entries))]
        values.append(products[wanted[part] - low, plan.entry_place[part]])
    out = np.empty(wanted.size, values[0].dtype)
    out[entries] = np.concatenate(values)
    return out


def _fill(where: str, call: Callable, x: Tensor, pattern: Any, plan: Plan, dtype: Any) -> Any:
    """The Jacobian of call (one array to one array) at x, on the pattern."""
    if not pattern.nnz:
        values = np.zeros(0, dtype)
    elif plan.by_rows:
        out, pull = vjp(call, x)
        (y,), structure = tree.flatten(out)
        sweep = vmap(lambda row: pull(tree.unflatten(structure, [row]))[0])
        values = _values(where, sweep, _core.asarray(y).shape, dtype, x.size, plan)
    else:
        sweep = vmap(lambda column: tree.leaves(jvp(call, (x,), (column,))[1])[0])
        values = _values(where, sweep, x.shape, x.dtype, pattern.shape[0], plan)
    return _with(_sparse("jacobian"), pattern, values.astype(dtype, copy=False))


def _verify(where: str, entries: Any, v: np.ndarray, product: np.ndarray, eps: float) -> None:
    """Raises where the entries times v are not the product that forward mode gives.

    Rounding may take sqrt(eps) of the terms of a row, which leaves room for cancellation inside the
    function, and 100 eps of the largest row. Rows with infinities or NaN are skipped.
    """
    with np.errstate(all="ignore"):
        wide, product = entries.astype(np.float64), product.astype(np.float64)
        got, scale = wide @ v, abs(wide) @ np.abs(v)
        sound = np.isfinite(product) & np.isfinite(got)
        largest = np.max(np.maximum(scale, np.abs(product)), where=sound, initial=0.0)
        wrong = sound & (np.abs(got - product) > np.sqrt(eps) * scale + 100 * eps * largest)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ArgumentError(
            f"{where}: 'sparsity' must hold every nonzero; with this one the product with a random "
            f"vector is wrong in {np.count_nonzero(wrong)} of {wrong.size} rows (row {i}: "
            f"{got[i]:.6g}, by forward mode {product[i]:.6g}). Add what is missing, or use "
            "sparsity='detect'"
        )


def _one_array(where: str, what: str, value: Any) -> Tensor:
    leaves = tree.leaves(value)
    if len(leaves) != 1:
        raise ArgumentError(
            f"{where}: with 'sparsity', {what} must be one array; got {len(leaves)} leaves"
        )
    return _core.asarray(leaves[0])


def _argument(where: str, f: Callable, argnums: Any, args: tuple, kwargs: dict) -> Any:
    """The argument as a tensor, and f of it alone."""
    if not isinstance(argnums, int):
        raise ArgumentTypeError(
            f"{where}: with 'sparsity', argnums is one int; got {argnums!r:.60}"
        )
    chosen = _positions(where, argnums, len(args))
    leaves, structure = _float_leaves(where, "arguments", args[chosen[0]])
    x = _one_array(where, "the argument", leaves)
    of_chosen = _of_chosen(f, args, kwargs, chosen)
    return x, lambda x: of_chosen(tree.unflatten(structure, [x]))


@checked_call
def sparse_derivative(
    where: str, f: Callable, argnums: Any, sparsity: Any, symmetric: bool
) -> Callable[..., Any]:
    """What ``jacobian`` (symmetric: ``hessian``) with 'sparsity' returns."""
    detects = isinstance(sparsity, str) and sparsity == "detect"
    given = whole = None if detects else _pattern_of(where, sparsity)
    if symmetric and not detects:
        whole = _mirrored(given)
    make_plan = plan_hessian if symmetric else plan_jacobian
    plans: list[Plan] = []  # of the given pattern, once it is needed

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        x, call = _argument(where, f, argnums, args, kwargs)
        call = gradient_of(where, call) if symmetric else call
        if given is None:
            with no_grad():
                pattern, dtype = _detected(where, call, x.detach(), symmetric)
            return _fill(where, call, x, pattern, make_plan(pattern), dtype)
        v = np.random.default_rng(0).uniform(0.5, 1, x.size).astype(x.dtype)
        v[::2] *= -1
        out, push = jvp(call, (x,), (v.reshape(x.shape),))
        y, product = (_one_array(where, "the output", value) for value in (out, push))
        _check_float(where, y.dtype)
        _refuse_followed(where, product)
        if given.shape != (y.size, x.size):
            raise ShapeError(
                f"{where}: 'sparsity' must have shape (numbers out, numbers in), here "
                f"({y.size}, {x.size}); got {given.shape}"
            )
        if not plans:
            plans.append(make_plan(whole))
        entries = _fill(where, call, x, whole, plans[0], y.dtype)
        eps = max(np.finfo(x.dtype).eps, np.finfo(y.dtype).eps)
        _verify(where, entries, v, product.detach().numpy().reshape(-1), eps)
        return entries if entries.nnz == given.nnz else _part(entries, given)

    return wrapped


def _check_float(where: str, dtype: Any) -> None:
    if dtype.kind != "f":
        raise DTypeError(f"{where}: the output must be floating point; got {dtype}")


# Detection. A value that depends on the argument has a boolean array (its elements, the argument's
# elements); each operation makes its output's from those of its inputs.


@checked_call
def detect(f: Callable, argnums: int = 0) -> Callable[..., Any]:
    """The sparsity pattern of f's Jacobian, found in a trace: for ``wg.jacobian(..., sparsity=)``.

    f maps one floating-point array (other arguments are constants) to one array. The result, a
    boolean ``scipy.sparse.csr_array`` of shape (out.size, in.size), holds every entry that is not 0
    at some point: it follows operations, not numbers, so that it may hold some that are 0, and
    where it does not know an operation every output depends on all of the inputs. The pattern of a
    Hessian is that of the gradient's Jacobian. Raises ``wg.TraceError`` where f needs values (a
    branch on x, ``float(x)``).

    >>> wg.sparsity.detect(lambda x: x[1:] * x[:-1])(wg.ones(3)).toarray()
    array([[ True,  True, False],
           [False,  True,  True]])
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        x, call = _argument("detect", f, argnums, args, kwargs)
        with no_grad():
            return _detected("detect", call, x, False)[0]

    return wrapped


def _detected(where: str, call: Callable, x: Tensor, symmetric: bool) -> tuple[Any, Any]:
    """The pattern and the dtype of the output."""
    sp = _sparse(where)
    try:
        program = trace(call, x).opened()
    except TraceError as error:
        raise TraceError(
            f"{where}: finding the sparsity traces the function, which then may not ask for values "
            f"({error}). Give the pattern instead: sparsity=a boolean array or SciPy sparse array"
        ) from error
    if len(program.outputs) != 1:
        raise ArgumentError(
            f"{where}: with 'sparsity', the output must be one array; got {len(program.outputs)}"
        )
    dtype, shape = program.types[program.outputs[0]]
    _check_float(where, dtype)
    pattern = _Dependence(where, sp, program).of_output()
    if pattern is None:
        pattern = sp.csr_array((prod(shape), x.size), dtype=bool)
    pattern = _mirrored(pattern) if symmetric else pattern
    pattern.sum_duplicates()
    return pattern, dtype


# Arguments whose derivative is 0 wherever there is one; None: all of them.
FLAT: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("sign", "floor", "ceil", "trunc", "round", "floor_divide", "stop_gradient")),
    **dict.fromkeys(("copysign", "base_log", "relu_grad"), (1,)),
    **dict.fromkeys(("keep_greater", "share_greater"), (1, 2)),
}
SAME = ("alias", "astype", "checkpoint_name", "copy")
REDUCTIONS = ("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "vector_norm")
# What only moves elements shows where each one goes by moving their numbers.
MOVES = (
    *("reshape", "permute_dims", "matrix_transpose", "broadcast_to", "expand_dims", "squeeze"),
    *("flip", "diagonal", "slice", "unslice", "pad", "concat", "stack", "roll", "tril", "triu"),
    *("repeat", "tile"),
)
GATHERS = ("take", "gather", "take_along_axis")
SCATTERS = {"scatter_add": "gather", "scatter_add_along_axis": "take_along_axis"}
# All elements along the axis reach all results along it.
MIX_ALONG = (
    *("cumulative_sum", "cumulative_prod", "linear_recurrence", "sort"),
    *("softmax", "softmax_grad", "log_softmax", "log_softmax_grad"),
)


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(i % ndim for i in axes)


def _keep(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if i in axes else size for i, size in enumerate(shape))


def _mixed(
    node: Node, i: int, shapes: Sequence[tuple[int, ...]]
) -> tuple[Sequence[int], tuple[int, ...]] | None:
    """What an output reads of input i: everything along these axes, which leaves one number a
    line; the lines, in this shape, broadcast to the output. None where that is not known."""
    name, shape, ndim = node.name, shapes[i], len(shapes[i])
    if _core.op_table.get(name, {}).get("family") == "elementwise":
        return (), shape
    if name in REDUCTIONS:
        return _axes(node.attributes["axis"], ndim), node.shape
    if name in MIX_ALONG:
        axis = _axes(node.attributes["axis"], len(node.shape))[0] - len(node.shape) + ndim
        return ((axis,), _keep(shape, (axis,))) if axis >= 0 else ((), shape)
    if name in ("layer_norm", "rms_norm", "norm_grad"):
        if i > 0 and name != "norm_grad":
            return (), shape
        axes = range(ndim - node.attributes["normalized_ndim"], ndim)
        return axes, _keep(shape, axes)
    if name == "matmul":
        axis = ndim - 1 if i == 0 or ndim == 1 else ndim - 2
        lines = _keep(shape, (axis,))
        return (axis,), lines if len(shapes[1 - i]) > 1 else lines[:axis] + lines[axis + 1 :]
    if name in ("linear", "linear_relu"):
        lines = shape if i == 2 else shape[:-1] if i == 1 else (*shape[:-1], 1)
        return () if i == 2 else (ndim - 1,), lines
    if name == "cross_entropy_logits":
        return (1,), node.shape
    if name == "cross_entropy_grad":
        return ((), (*shape, 1)) if i == 0 else ((1,), (shape[0], 1))
    return None


class _Dependence:
    """Pushes the dependence on the first input through a program."""

    def __init__(self, where: str, sp: Any, program: Program) -> None:
        self.where = where
        self.sp = sp
        self.program = program
        self.numbers = prod(program.types[program.inputs[0]][1])
        identity = sp.csr_array(sp.eye(self.numbers, dtype=bool, format="csr"))
        self.known = {program.inputs[0]: identity}

    def of_output(self) -> Any:
        """The output's dependence; None where there is none."""
        needed = set(self.program.outputs)
        steps = []
        for node, is_row in zip(self.program.nodes[::-1], self.program._core.from_table[::-1]):
            if not needed.isdisjoint(node.outputs):
                needed.update(node.inputs)
                steps.append((node, is_row))
        for node, is_row in reversed(steps):
            flat = FLAT.get(node.name, ()) if is_row else ()
            ins = [
                None if flat is None or i in flat else self.known.get(value)
                for i, value in enumerate(node.inputs)
            ]
            if all(rows is None for rows in ins):
                continue
            push = self.push if is_row else self.everything
            for value in node.outputs:
                dtype, shape = self.program.types[value]
                if dtype.kind == "f":
                    self.known[value] = push(node, ins, prod(shape))
        return self.known.get(self.program.outputs[0])

    def push(self, node: Node, ins: list[Any], size: int) -> Any:
        constants = self.program.constants
        if node.name in SAME:
            return ins[0]
        if node.name in MOVES:
            return self.moved(node, ins, [])
        if node.name in GATHERS and all(value in constants for value in node.inputs[1:]):
            return self.moved(node, ins[:1], [constants[value] for value in node.inputs[1:]])
        if node.name in SCATTERS and all(value in constants for value in node.inputs[1:]):
            return self.scattered(node, ins[0], size)
        if len(node.outputs) > 1:
            return self.everything(node, ins, size)
        shapes = [self.program.types[value][1] for value in node.inputs]
        total = None
        for i, rows in enumerate(ins):
            if rows is None:
                continue
            read = _mixed(node, i, shapes)
            if read is None:
                return self.everything(node, ins, size)
            part = self.spread(self.union(rows, shapes[i], read[0]), read[1], node.shape)
            total = part if total is None else total + part
        return total

    def moved(self, node: Node, ins: list[Any], indices: list[Tensor]) -> Any:
        """By the op itself, on numbers that stand for the rows of all inputs; 0 for none."""
        arrays, start = [], 1
        for value, rows in zip(node.inputs, ins):
            shape = self.program.types[value][1]
            if rows is None:
                numbers = np.zeros(prod(shape), np.int64)
            else:
                numbers = np.arange(start, start + prod(shape))
                start += prod(shape)
            arrays.append(_core.asarray(numbers.reshape(shape)))
        attributes = dict(node.attributes)
        if node.name == "pad":
            attributes["constant"] = 0.0
        moved = getattr(_core.ops, node.name)(*arrays, *indices, **attributes)
        rows = self.sp.vstack([rows for rows in ins if rows is not None], format="csr")
        return self.select(rows, moved.numpy().reshape(-1))

    def select(self, rows: Any, numbers: np.ndarray) -> Any:
        """Row number - 1 for each number, an empty one for 0."""
        lengths = np.concatenate([[0], np.diff(rows.indptr)])
        self.make_room(int(lengths[numbers].sum()))
        if numbers.all():
            return rows[numbers - 1]
        there = numbers > 0
        ends = np.concatenate([[0], np.cumsum(there)])
        entries = (np.ones(ends[-1], bool), numbers[there] - 1, ends)
        return self.sp.csr_array(entries, shape=(numbers.size, rows.shape[0])) @ rows

    def make_room(self, entries: int) -> None:
        if entries > MOST_ENTRIES:
            raise _core.OutOfMemory(
                f"{self.where}: a value in the function depends on almost everything; its pattern "
                f"would hold {entries} entries, more than {MOST_ENTRIES}. Give the pattern of the "
                "result if that is sparse, or use wg.jvp, wg.vjp and wg.hvp"
            )

    def scattered(self, node: Node, rows: Any, size: int) -> Any:
        """The transposed op on the numbers of the output tells where each element goes."""
        shape = self.program.types[node.outputs[0]][1]
        axis = "axes" if "axes" in node.attributes else "axis"
        numbers = _core.asarray(np.arange(size).reshape(shape))
        indices = [self.program.constants[value] for value in node.inputs[1:]]
        goes_to = getattr(_core.ops, SCATTERS[node.name])
        goes_to = goes_to(numbers, *indices, **{axis: node.attributes[axis]})
        return self.gathered_in(rows, goes_to.numpy().reshape(-1), size)

    def gathered_in(self, rows: Any, lines: np.ndarray, count: int) -> Any:
        """The union of the rows that have one line number, for each line."""
        entries = (np.ones(lines.size, bool), (lines, np.arange(lines.size)))
        return self.sp.csr_array(entries, shape=(count, lines.size)) @ rows

    def union(self, rows: Any, shape: tuple[int, ...], axes: Sequence[int]) -> Any:
        if not len(axes):
            return rows
        kept = _keep(shape, axes)
        lines = np.broadcast_to(np.arange(prod(kept)).reshape(kept), shape)
        return self.gathered_in(rows, lines.reshape(-1), prod(kept))

    def spread(self, rows: Any, shape: tuple[int, ...], out: tuple[int, ...]) -> Any:
        if prod(shape) == prod(out):
            return rows
        numbers = np.arange(1, prod(shape) + 1).reshape(shape)
        return self.select(rows, np.broadcast_to(numbers, out).reshape(-1))

    def everything(self, node: Node, ins: list[Any], size: int) -> Any:
        """Every output element depends on all that any input element depends on."""
        reached = np.unique(np.concatenate([rows.indices for rows in ins if rows is not None]))
        self.make_room(reached.size * size)
        entries = (np.ones(reached.size * size, bool), np.tile(reached, size))
        ends = np.arange(size + 1) * reached.size
        return self.sp.csr_array((*entries, ends), shape=(size, self.numbers))
