"""Jacobians, Hessians and their products: VJPs and JVPs of all basis vectors in one sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from . import _core, tree
from ._core import ArgumentError, Tensor
from .checked import checked_call
from .creation import eye
from .dtypes import result_type
from .grad_mode import no_grad
from .manipulation import concat
from .transforms import (
    _float_leaves,
    _of_chosen,
    _positions,
    check_directions,
    check_transform,
    gradient_of,
    jvp_of,
    vjp_of,
    vmap,
)


def _basis(leaves: Sequence[Tensor]) -> list[Tensor]:
    """For each leaf the basis vectors of all leaves: (total size, *shape of the leaf)."""
    total = sum(x.size for x in leaves)
    out, start = [], 0
    for x in leaves:
        rows = _core.ops.slice(
            eye(total, dtype=x.dtype), starts=(0, start), sizes=(total, x.size), steps=(1, 1)
        )
        out.append(rows.reshape(total, *x.shape))
        start += x.size
    return out


def _split(x: Tensor, shapes: Sequence[tuple[int, ...]], axis: int) -> list[Tensor]:
    """Cuts the axis over the elements of all leaves into one part a leaf, of its shape."""
    out, start = [], 0
    for shape in shapes:
        starts, sizes = [0] * x.ndim, list(x.shape)
        starts[axis], sizes[axis] = start, prod(shape)
        part = _core.ops.slice(x, starts=starts, sizes=sizes, steps=[1] * x.ndim)
        out.append(part.reshape(*x.shape[:axis], *shape, *x.shape[axis + 1 :]))
        start += sizes[axis]
    return out


def _widened(x: Tensor, dtype: Any) -> Tensor:
    """x in the wider of its dtype and another: a Jacobian has that of its input and output."""
    wide = result_type(x.dtype, dtype)
    return x if x.dtype == wide else x.astype(wide)


@checked_call
def jacrev(f: Callable, argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian of f by reverse mode: one VJP a number in the output, all in one sweep.

    The result has the output's structure, in whose leaves stands the argument's: arrays of shape
    (*output, *input), in the wider dtype of the two. Best where the output is smaller than the
    input.

    >>> wg.jacrev(lambda x: x**2)(wg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    check_transform("jacrev", f, argnums)
    return _by_reverse_mode("jacrev", f, argnums)


def _by_reverse_mode(where: str, f: Callable, argnums: int | Sequence[int]) -> Callable[..., Any]:
    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _positions(where, argnums, len(args))
        call = _of_chosen(f, args, kwargs, chosen)
        out, pull = vjp_of(where, call, [args[i] for i in chosen])
        outputs, out_structure = tree.flatten(out)
        if not outputs:
            return out
        outputs = [_core.asarray(y) for y in outputs]
        basis = tree.unflatten(out_structure, _basis(outputs))
        rows = vmap(pull)(basis)
        leaves, structure = tree.flatten(rows if not isinstance(argnums, int) else rows[0])
        leaves = _core._separate(leaves)
        by_input = [_split(x, [y.shape for y in outputs], 0) for x in leaves]
        by_output = [
            tree.unflatten(structure, [_widened(parts[i], y.dtype) for parts in by_input])
            for i, y in enumerate(outputs)
        ]
        return tree.unflatten(out_structure, by_output)

    return wrapped


@checked_call
def jacfwd(f: Callable, argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian of f by forward mode: one JVP a number in the argument, all in one pass.

    The result is as ``jacrev``'s. Best where the argument is smaller than the output.

    >>> wg.jacfwd(lambda x: x**2)(wg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    check_transform("jacfwd", f, argnums)
    return _by_forward_mode("jacfwd", f, argnums)


def _by_forward_mode(where: str, f: Callable, argnums: int | Sequence[int]) -> Callable[..., Any]:
    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _positions(where, argnums, len(args))
        call = _of_chosen(f, args, kwargs, chosen)
        values = tuple(args[i] for i in chosen)
        inputs, in_structure = _float_leaves(where, "arguments", values)
        primals = tree.unflatten(in_structure, inputs)
        if inputs:
            basis = tree.unflatten(in_structure, _basis(inputs))
            columns = vmap(lambda direction: jvp_of(where, call, primals, direction)[1])(basis)
        else:
            columns = call(*values)
        outputs, out_structure = tree.flatten(columns)
        outputs = _core._separate(outputs) if inputs else outputs

        def place(column: Tensor) -> Any:
            found: list[Tensor] = []
            if inputs:
                moved = _core.ops.permute_dims(column, (*range(1, column.ndim), 0))
                found = _split(moved, [x.shape for x in inputs], column.ndim - 1)
            found = [_widened(part, x.dtype) for part, x in zip(found, inputs)]
            parts = tree.unflatten(in_structure, found)
            return parts if not isinstance(argnums, int) else parts[0]

        return tree.unflatten(out_structure, [place(column) for column in outputs])

    return wrapped


@checked_call
def jacobian(
    f: Callable, argnums: int | Sequence[int] = 0, sparsity: Any = None
) -> Callable[..., Any]:
    """The Jacobian of f, by the mode that needs fewer sweeps for these shapes; see ``jacrev``.

    With ``sparsity``, f maps one floating-point array (that of ``argnums``, an int) to one array,
    and the result is a ``scipy.sparse.csr_array`` of shape (numbers out, numbers in), in the dtype
    of the output, and a constant: ``wg.GraphError`` where it depends on a tensor that is being
    differentiated (detach it, or call within ``wg.no_grad``). ``sparsity`` says where it is not 0:
    a SciPy sparse array (its stored entries, whatever they hold), a boolean 2-D array, or
    ``"detect"``, which traces f at every call to find out (``wg.sparsity.detect`` finds it once).
    Columns that share no row, or rows that share no column, share a direction of one batched sweep:
    a tridiagonal pattern of any size takes three. (Beyond 2**22 numbers, directions are swept in
    several batches.)

    A given pattern is coloured at the first call, and at every call tried on one JVP with a random
    vector: one that lacks a nonzero raises ``wg.ArgumentError``, unless what is lacking changes a
    product by less than sqrt(eps) of the terms of its row, or 100 eps of the largest row; NaN and
    infinities are not compared. ``wg.ShapeError`` where the pattern has another shape,
    ``wg.TraceError`` where f cannot be traced.

    >>> wg.jacobian(lambda x: wg.sum(x**3))(wg.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    >>> wg.jacobian(lambda x: x[1:] * x[:-1], sparsity="detect")(wg.arange(1.0, 4.0)).toarray()
    array([[2., 1., 0.],
           [0., 3., 2.]], dtype=float32)
    """
    check_transform("jacobian", f, argnums)
    if sparsity is not None:
        from .sparsity import sparse_derivative  # loaded at first use

        return sparse_derivative("jacobian", f, argnums, sparsity, symmetric=False)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _positions("jacobian", argnums, len(args))
        values = tuple(args[i] for i in chosen)
        inputs, _ = _float_leaves("jacobian", "arguments", values)
        with no_grad():
            out = f(*args, **kwargs)
        numbers_out = sum(_core.asarray(y).size for y in tree.leaves(out))
        numbers_in = sum(x.size for x in inputs)
        mode = _by_forward_mode if numbers_in < numbers_out else _by_reverse_mode
        return mode("jacobian", f, argnums)(*args, **kwargs)

    return wrapped


@checked_call
def hessian(
    f: Callable, argnums: int | Sequence[int] = 0, sparsity: Any = None
) -> Callable[..., Any]:
    """The Hessian of a function that returns one number: forward over reverse mode.

    ``sparsity`` is as for ``wg.jacobian``, for a result of shape (numbers in, numbers in): a star
    colouring of the symmetric pattern says which columns share a Hessian-vector product (two of
    them do for an arrow). A pattern may hold one triangle alone; entries are where it says.

    >>> wg.hessian(lambda x: (x**3).sum())(wg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    >>> wg.hessian(lambda x: (x**3).sum(), sparsity="detect")(wg.tensor([1.0, 2.0])).nnz
    2
    """
    check_transform("hessian", f, argnums)
    if sparsity is not None:
        from .sparsity import sparse_derivative

        return sparse_derivative("hessian", f, argnums, sparsity, symmetric=True)
    return _by_forward_mode("hessian", gradient_of("hessian", f, argnums), argnums)


@checked_call
def hvp(f: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The product of f's Hessian with ``tangents``, without the Hessian: the JVP of the gradient.

    f returns one number; the result is like the primals (alone where there is one).

    >>> wg.hvp(lambda x: (x**3).sum(), (wg.tensor([1.0, 2.0]),), (wg.tensor([1.0, 0.0]),))
    tensor([6., 0.])
    """
    check_directions("hvp", primals, tangents)
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp_of("hvp", gradient_of("hvp", f, argnums), primals, tangents)[1]


@checked_call
def ravel(values: Any) -> tuple[Tensor, Callable[[Any], Any]]:
    """``(flat, unravel)``: all leaves as one vector, and the function that rebuilds the tree.

    For ``scipy.optimize`` and samplers. Leaves are floating point; the vector has the widest dtype,
    and ``unravel`` restores each leaf's own; Python numbers have none and take the vector's.

    >>> flat, unravel = wg.ravel({"a": wg.ones((2, 2)), "b": 3.0})
    >>> flat
    tensor([1., 1., 1., 1., 3.])
    >>> unravel(flat)["b"]
    tensor(3.)
    """
    leaves, structure = _float_leaves("ravel", "leaves", values)
    shapes = [x.shape for x in leaves]
    total = sum(x.size for x in leaves)
    flat = concat([x.reshape(-1) for x in leaves]) if leaves else _core.asarray([])
    numbers = [type(x) in (int, float) for x in tree.leaves(values)]
    dtypes = [flat.dtype if n else x.dtype for n, x in zip(numbers, leaves)]

    def unravel(vector: Any) -> Any:
        x = _core.asarray(vector)
        if x.shape != (total,):
            raise ArgumentError(f"unravel: needs a vector of {total} numbers; got shape {x.shape}")
        parts = _split(x, shapes, 0)
        return tree.unflatten(structure, [p.astype(dtype) for p, dtype in zip(parts, dtypes)])

    return flat, unravel
