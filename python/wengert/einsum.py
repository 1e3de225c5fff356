"""Products that contract axes: einsum, tensordot and their kin, one (batched) matmul a pair."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import Any

from ._core import ArgumentError, ShapeError, Tensor, asarray, ops
from .dtypes import result_type

__all__: list[str] = ["einsum", "tensordot"]

# A label is a letter, an int (interleaved form), or ("...", k): the k-th axis from the right of
# what an ellipsis stands for.
Label = Hashable
Labels = tuple[Label, ...]
Shape = tuple[int, ...]
Term = tuple[int, Labels]  # a value of a plan and the labels of its axes

_DOTS = "..."


def einsum(*operands: Any) -> Tensor:
    """Sums of products by Einstein's notation, as numpy.einsum: ``einsum("ij,jk->ik", a, b)``.

    A label that the output lacks is summed over; one that repeats within an operand takes its
    diagonal; ``...`` stands for axes that broadcast. Without ``->`` the output has the labels that
    occur once, in alphabetical order. The interleaved form ``einsum(a, [0, 1], b, [1, 2], [0, 2])``
    is understood too. Many operands are contracted pair by pair, each time the pair whose product
    is smallest beside what it replaces. Axes that one label names must have one size, or size 1.

    >>> a, b = wg.ones((2, 3)), wg.ones((3, 4))
    >>> wg.einsum("ij,jk->ik", a, b).shape
    (2, 4)
    """
    if not operands:
        raise ArgumentError("einsum: needs subscripts and operands; got none")
    if isinstance(operands[0], str):
        inputs, output = _parse(operands[0])
        arrays = list(operands[1:])
    else:
        arrays, inputs, output = _interleaved(list(operands))
    if len(inputs) != len(arrays):
        raise ArgumentError(
            f"einsum: the subscripts name {len(inputs)} operands; got {len(arrays)}"
        )
    tensors = [asarray(array) for array in arrays]
    result = _einsum_plan(inputs, output, tuple([x.shape for x in tensors])).run(tensors)
    if result.dtype == tensors[0].dtype:
        return result
    dtype = result_type(*tensors)
    return result if result.dtype == dtype else ops.astype(result, dtype)


class _Plan:
    """Operations on numbered values, of which only the shapes are known until it runs."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = list(shapes)
        self._steps: list[tuple[Callable[..., Tensor], tuple[int, ...], tuple[Any, ...]]] = []
        self.result = 0

    def _emit(self, row: Any, inputs: tuple[int, ...], attrs: tuple[Any, ...], shape: Shape) -> int:
        self._steps.append((row, inputs, attrs))
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def size(self, x: int) -> int:
        return prod(self.shapes[x])

    def reshape(self, x: int, shape: Shape) -> int:
        return x if shape == self.shapes[x] else self._emit(ops.reshape, (x,), (shape,), shape)

    def permute(self, x: int, axes: Sequence[int]) -> int:
        if list(axes) == list(range(len(axes))):
            return x
        shape = tuple([self.shapes[x][axis] for axis in axes])
        return self._emit(ops.permute_dims, (x,), (tuple(axes),), shape)

    def transpose(self, x: int) -> int:
        *lead, rows, columns = self.shapes[x]
        return self._emit(ops.matrix_transpose, (x,), (), (*lead, columns, rows))

    def diagonal(self, x: int) -> int:
        """Of the last two axes, which have one size."""
        return self._emit(ops.diagonal, (x,), (0,), self.shapes[x][:-1])

    def sum(self, x: int, axes: Sequence[int]) -> int:
        left = tuple([n for axis, n in enumerate(self.shapes[x]) if axis not in axes])
        return self._emit(ops.sum, (x,), (tuple(axes),), left)

    def multiply(self, a: int, b: int) -> int:
        shape = tuple([max(n, m) if n and m else 0 for n, m in self._pairs(a, b)])
        return self._emit(ops.multiply, (a, b), (), shape)

    def matmul(self, a: int, b: int) -> int:
        shape = (*self.shapes[a][:-1], self.shapes[b][-1])
        return self._emit(ops.matmul, (a, b), (), shape)

    def _pairs(self, a: int, b: int) -> Any:
        return zip(self.shapes[a], self.shapes[b], strict=True)

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        values: list[Any] = list(tensors)
        for row, inputs, attrs in self._steps:
            out = row(*[values[i] for i in inputs], *attrs)
            for i in inputs:  # each value is used once
                values[i] = None
            values.append(out)
        return values[self.result]


@functools.lru_cache(maxsize=512)
def _einsum_plan(
    inputs: tuple[Labels, ...], output: Labels | None, shapes: tuple[Shape, ...]
) -> _Plan:
    expanded = [_expand(shape, labels) for shape, labels in zip(shapes, inputs, strict=True)]
    target = _output(expanded, inputs, output)
    plan = _Plan(shapes)
    terms = [_take_diagonals(plan, term) for term in _squeeze_ones(plan, expanded)]
    x, labels = _contract_all(plan, terms, target)
    plan.result = plan.permute(x, [labels.index(label) for label in target])
    return plan


@functools.lru_cache(maxsize=512)
def _parse(subscripts: str) -> tuple[tuple[Labels, ...], Labels | None]:
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")

    def labels(part: str) -> Labels:
        found: list[Label] = []
        while part:
            step = 3 if part.startswith(_DOTS) else 1
            if step == 1 and not part[0].isalpha():
                raise ArgumentError(
                    f"einsum: subscripts are letters, ',', '...' and '->'; got {subscripts!r}"
                )
            found.append(part[:step])
            part = part[step:]
        if found.count(_DOTS) > 1:
            raise ArgumentError(f"einsum: one '...' an operand; got {subscripts!r}")
        return tuple(found)

    return tuple([labels(part) for part in left.split(",")]), labels(right) if arrow else None


def _interleaved(operands: list[Any]) -> tuple[list[Any], tuple[Labels, ...], Labels | None]:
    def labels(part: Sequence[Any]) -> Labels:
        return tuple([_DOTS if label is Ellipsis else label for label in part])

    output = labels(operands.pop()) if len(operands) % 2 else None
    return operands[::2], tuple([labels(part) for part in operands[1::2]]), output


def _expand(shape: Shape, labels: Labels) -> Labels:
    """One label an axis: an ellipsis is replaced by labels that count from the right."""
    named = len(labels) - (_DOTS in labels)
    extra = len(shape) - named
    if extra < 0 or (extra > 0 and _DOTS not in labels):
        raise ShapeError(
            f"einsum: {''.join(map(str, labels))!r} names {named} axes; got shape {shape}"
        )
    out: list[Label] = []
    for label in labels:
        if label == _DOTS:
            out.extend((_DOTS, k) for k in range(extra, 0, -1))
        else:
            out.append(label)
    return tuple(out)


def _output(expanded: list[Labels], inputs: tuple[Labels, ...], output: Labels | None) -> Labels:
    dots = max(map(_dots, expanded), key=len, default=())
    if output is None:
        flat = [label for labels in inputs for label in labels if label != _DOTS]
        return (*dots, *sorted({label for label in flat if flat.count(label) == 1}, key=_in_order))
    target: list[Label] = []
    known = {label for labels in expanded for label in labels}
    for label in output:
        if label == _DOTS:
            target.extend(dots)
        elif label not in known:
            raise ArgumentError(f"einsum: output label {label!r} is in no operand")
        elif label in target:
            raise ArgumentError(f"einsum: output label {label!r} is there twice")
        else:
            target.append(label)
    if dots and _DOTS not in output:
        raise ArgumentError("einsum: the operands have '...' axes that the output lacks; add '...'")
    return tuple(target)


def _in_order(label: Label) -> tuple[str, Any]:
    return type(label).__name__, label


def _dots(labels: Labels) -> Labels:
    return tuple([label for label in labels if isinstance(label, tuple)])


def _squeeze_ones(plan: _Plan, expanded: list[Labels]) -> list[Term]:
    """Drops an operand's axes of size 1 whose label is longer elsewhere: they broadcast."""
    sizes: dict[Label, int] = {}
    for x, labels in enumerate(expanded):
        for label, size in zip(labels, plan.shapes[x], strict=True):
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                name = _DOTS if isinstance(label, tuple) else label
                raise ShapeError(
                    f"einsum: label {name!r} has sizes {known} and {size}; they must be equal or 1"
                )
    out = []
    for x, labels in enumerate(expanded):
        shape = plan.shapes[x]
        kept = [i for i, n in enumerate(shape) if n != 1 or sizes[labels[i]] == 1]
        y = plan.reshape(x, tuple([shape[i] for i in kept]))
        out.append((y, tuple([labels[i] for i in kept])))
    return out


def _take_diagonals(plan: _Plan, term: Term) -> Term:
    x, labels = term
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            rest = [i for i in range(len(labels)) if i not in (first, second)]
            x = plan.diagonal(plan.permute(x, [*rest, first, second]))
            labels = (*[labels[i] for i in rest], label)
    return x, labels


def _sum_lone(plan: _Plan, term: Term, others: set[Label]) -> Term:
    x, labels = term
    lone = [i for i, label in enumerate(labels) if label not in others]
    if not lone:
        return term
    return plan.sum(x, lone), tuple([label for label in labels if label in others])


def _contract_all(plan: _Plan, terms: list[Term], target: Labels) -> Term:
    def needed(*without: int) -> set[Label]:
        return set(target).union(
            *(labels for i, (_, labels) in enumerate(terms) if i not in without)
        )

    terms = [_sum_lone(plan, term, needed(i)) for i, term in enumerate(terms)]
    while len(terms) > 1:
        i, j = _best_pair(plan, terms, target) if len(terms) > 2 else (0, 1)
        joined = _contract(plan, terms[i], terms[j], needed(i, j))
        terms = [term for k, term in enumerate(terms) if k not in (i, j)] + [joined]
    return terms[0]


def _best_pair(plan: _Plan, terms: list[Term], target: Labels) -> tuple[int, int]:
    counts: dict[Label, int] = {}
    sizes: dict[Label, int] = {}
    for x, labels in terms:
        for label, size in zip(labels, plan.shapes[x], strict=True):
            counts[label] = counts.get(label, 0) + 1
            sizes[label] = size
    best, pair = None, (0, 1)
    for i, (x, left) in enumerate(terms):
        for j in range(i + 1, len(terms)):
            y, right = terms[j]
            both = set(left) | set(right)
            alone = {label for label in both if counts[label] == (label in left) + (label in right)}
            made = prod(sizes[label] for label in both if label in target or label not in alone)
            work = prod(sizes[label] for label in both)
            cost = (made - plan.size(x) - plan.size(y), work)
            if best is None or cost < best:
                best, pair = cost, (i, j)
    return pair


def _contract(plan: _Plan, first: Term, second: Term, keep: set[Label]) -> Term:
    """One product of two terms, summed over the labels they share that nobody else needs."""
    (a, la), (b, lb) = first, second
    larger = la if plan.size(a) >= plan.size(b) else lb
    shared = [label for label in larger if label in la and label in lb]
    batch = tuple([label for label in shared if label in keep])
    inner = tuple([label for label in shared if label not in keep])
    left = tuple([label for label in la if label not in shared])
    right = tuple([label for label in lb if label not in shared])
    sizes = dict(zip(la, plan.shapes[a], strict=True))
    sizes |= dict(zip(lb, plan.shapes[b], strict=True))

    def shape(labels: Labels) -> Shape:
        return tuple([sizes[label] for label in labels])

    out = batch + left + right
    if not inner:
        a = plan.reshape(
            _arrange(plan, a, la, batch + left), shape(batch + left) + (1,) * len(right)
        )
        spread = shape(batch) + (1,) * len(left) + shape(right)
        b = plan.reshape(_arrange(plan, b, lb, batch + right), spread)
        return plan.multiply(a, b), out
    product = plan.matmul(
        _as_matrices(plan, (a, la), batch, left, inner, sizes),
        _as_matrices(plan, (b, lb), batch, inner, right, sizes),
    )
    return plan.reshape(product, shape(out)), out


def _arrange(plan: _Plan, x: int, labels: Labels, wanted: Labels) -> int:
    return plan.permute(x, [labels.index(label) for label in wanted])


def _as_matrices(
    plan: _Plan, term: Term, batch: Labels, rows: Labels, columns: Labels, sizes: dict[Label, int]
) -> int:
    """The term as (batch, rows, columns), or (rows, columns) without a batch; where the memory has
    columns before rows, as a transposed view of it."""
    x, labels = term

    def grouped(*groups: Labels) -> int:
        shape = tuple([prod(sizes[label] for label in group) for group in groups])
        arranged = _arrange(plan, x, labels, tuple([label for group in groups for label in group]))
        return plan.reshape(arranged, shape if batch else shape[1:])

    if labels == batch + columns + rows and labels != batch + rows + columns:
        return plan.transpose(grouped(batch, columns, rows))
    return grouped(batch, rows, columns)


def tensordot(x1: Any, x2: Any, /, *, axes: int | Sequence[Any] = 2) -> Tensor:
    """Sum of products over pairs of axes: the last ``axes`` of x1 with the first of x2, or the axes
    ``axes[0]`` of x1 with ``axes[1]`` of x2 (ints or sequences). The axes left keep their order.

    >>> wg.tensordot(wg.ones((2, 3, 4)), wg.ones((3, 4, 5))).shape
    (2, 5)
    """
    a, b = asarray(x1), asarray(x2)
    if isinstance(axes, int):
        if axes < 0 or axes > min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: {axes} axes of shapes {a.shape} and {b.shape} cannot be contracted"
            )
        own = list(range(a.ndim - axes, a.ndim))
        other = list(range(axes))
    else:
        if len(axes) != 2:
            raise ArgumentError(f"tensordot: 'axes' takes an int or two sequences; got {axes!r}")
        own, other = ([one] if isinstance(one, int) else list(one) for one in axes)
    own = [counted_from_front("tensordot", axis, a) for axis in own]
    other = [counted_from_front("tensordot", axis, b) for axis in other]
    if len(own) != len(other) or any(
        a.shape[i] != b.shape[j] for i, j in zip(own, other, strict=True)
    ):
        raise ShapeError(
            f"tensordot: contracted axes must have the same sizes; got axes {own} of {a.shape} "
            f"and {other} of {b.shape}"
        )
    if len(set(own)) < len(own) or len(set(other)) < len(other):
        raise ShapeError(f"tensordot: contracted axes must be distinct; got {own} and {other}")
    return _tensordot_plan(a.shape, b.shape, tuple(own), tuple(other)).run([a, b])


@functools.lru_cache(maxsize=512)
def _tensordot_plan(sa: Shape, sb: Shape, own: Shape, other: Shape) -> _Plan:
    la: list[Label] = list(range(len(sa)))
    lb: list[Label] = list(range(len(sa), len(sa) + len(sb)))
    for i, j in zip(own, other, strict=True):
        lb[j] = la[i]
    keep = {*la, *lb} - {la[i] for i in own}
    plan = _Plan([sa, sb])
    plan.result, _ = _contract(plan, (0, tuple(la)), (1, tuple(lb)), keep)
    return plan


def counted_from_front(where: str, axis: int, x: Tensor) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"{where}: axis {axis} is out of range for shape {x.shape}")
    return axis % x.ndim
