"""Function transforms: grad, vjp, jvp, vmap. Trees and signatures here, the sweeps in C++."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import _core, tree
from ._core import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    ShapeError,
    Tensor,
    is_grad_enabled,
)
from .bodies import traced_once
from .checked import check_function, checked_call, warn
from .creation import zeros_like
from .grad_mode import enable_grad


def _float_leaves(where: str, what: str, argument: Any) -> tuple[list[Tensor], tree.Structure]:
    """The leaves of an argument that is differentiated, as float tensors."""
    leaves, structure = tree.flatten(argument)
    out = []
    for i, leaf in enumerate(leaves):
        is_tensor = isinstance(leaf, Tensor) and not _core._is_number(leaf)
        x = leaf if is_tensor else _as_leaf(where, leaf)
        if x.dtype.kind != "f":
            remedy = f"Write {leaf}.0" if type(leaf) is int else "Convert with astype"
            path = tree.paths(argument)[i]
            if what.startswith("argument"):
                remedy += ", or leave it out of argnums" + (", as another argument" if path else "")
            raise DTypeError(
                f"{where}: {what}{path} must be floating point; got {x.dtype}. {remedy}"
            )
        out.append(x)
    return out, structure


def _as_leaf(where: str, leaf: Any) -> Tensor:
    try:
        return _core.asarray(leaf)
    except ArgumentTypeError as error:
        remedy = ". Give a dict or a list" if isinstance(leaf, Iterator) else ""
        raise ArgumentTypeError(
            f"{where}: leaves must be tensors, arrays or numbers; got {leaf!r:.60}{remedy}"
        ) from error


def _meant_for(where: str, argument: Any) -> str:
    """What to do with an argument of f that a transform was given."""
    values = hasattr(argument, "shape") or isinstance(argument, (dict, float))
    return f". Call what {where} returns: {where}(f)(x)" if values else ""


def check_transform(where: str, f: Any, argnums: Any) -> None:
    """Refuses what is no function, and arguments of f in the place of their positions."""
    check_function(where, f)
    for position in argnums if isinstance(argnums, (list, tuple)) else (argnums,):
        if not isinstance(position, int) or isinstance(position, bool):
            raise ArgumentTypeError(
                f"{where}: 'argnums' takes ints; got {position!r:.60}{_meant_for(where, position)}"
            )


def _positions(where: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    if argnums == 0 and type(argnums) is int and count:
        return (0,)
    wanted = tuple(argnums) if isinstance(argnums, (list, tuple)) else (argnums,)
    for position in wanted:
        if not -count <= position < count:
            raise ArgumentError(
                f"{where}: argnums {position} for a call with {count} arguments by position (those "
                "by name are constants)"
            )
    chosen = tuple(position % count for position in wanted)
    if len(set(chosen)) < len(chosen):
        raise ArgumentError(f"{where}: argnums names an argument twice; got {wanted}")
    return chosen


def _split_aux(where: str, result: Any) -> Any:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ArgumentTypeError(f"{where}: with has_aux=True f must return (output, aux)")
    return result


def _check_flag(where: str, has_aux: Any) -> None:
    if not isinstance(has_aux, bool):
        raise ArgumentTypeError(f"{where}: 'has_aux' takes a bool; got {has_aux!r:.60}")


def _of_chosen(f: Callable, args: tuple, kwargs: dict, chosen: Sequence[int]) -> Callable:
    """f of the chosen arguments alone."""
    if len(args) == 1 and len(chosen) == 1 and not kwargs:
        return f

    def call(*values: Any) -> Any:
        merged = list(args)
        for position, value in zip(chosen, values):
            merged[position] = value
        return f(*merged, **kwargs)

    return call


class _Linearised:
    """A call of f on leaves of its own: the outputs and the targets of later sweeps."""

    def __init__(self, where: str, f: Callable, primals: Sequence[Any], has_aux: bool) -> None:
        check_function(where, f)
        _check_flag(where, has_aux)
        flat: list[Tensor] = []
        self.structures = []
        for i, primal in enumerate(primals):
            leaves, structure = _float_leaves(where, f"argument {i}", primal)
            flat += leaves
            self.structures.append(structure)
        with enable_grad():
            self.targets = [_core._alias(x) for x in flat]
            result = _core._call_followed(f, self.unflatten(self.targets))
        _core._end_leaves(self.targets)
        self.aux = None
        if has_aux:
            result, self.aux = _split_aux(where, result)
        self.out = result
        leaves, self.out_structure = tree.flatten(result)
        self.outputs = [_as_leaf(where, leaf) for leaf in leaves]

    def unflatten(self, flat: Sequence[Any]) -> list[Any]:
        if len(self.structures) == 1:
            return [tree.unflatten(self.structures[0], flat)]
        parts, start = [], 0
        for structure in self.structures:
            parts.append(tree.unflatten(structure, flat[start : start + structure.leaves]))
            start += structure.leaves
        return parts

    def plain(self, result: Any) -> Any:
        """The result, without the history the transform left where nothing outside wants it."""
        if self.outer:
            return result
        if isinstance(result, Tensor):
            return _core._release(result)
        return tree.map(lambda x: _core._release(x) if isinstance(x, Tensor) else x, result)

    def pull(self, seeds: list[Tensor], retain_graph: bool) -> list[Any]:
        found, self.outer = _core._reverse(self.outputs, seeds, self.targets, retain_graph)
        return self.unflatten(
            [zeros_like(x) if g is None else g for g, x in zip(found, self.targets)]
        )


def _value_and_gradient(
    where: str, f: Callable, argnums: int | Sequence[int], has_aux: bool
) -> Callable[..., Any]:
    check_transform(where, f, argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = _positions(where, argnums, len(args))
        of_chosen = _of_chosen(f, args, kwargs, chosen)
        call = _Linearised(where, of_chosen, [args[i] for i in chosen], has_aux)
        if len(call.outputs) != 1 or call.outputs[0].size != 1:
            got, remedy = "f returned no number", "Return the value"
            if len(call.outputs) == 1:
                got = f"the output has shape {call.outputs[0].shape}"
                remedy = "Reduce it with .sum(), or use wg.jacobian"
            elif call.outputs:
                got = f"f returned {len(call.outputs)} values"
                remedy = "With has_aux=True f may return a pair: the number and anything else"
            raise ShapeError(
                f"{where}: defined for functions that return one number; {got}. {remedy}"
            )
        y = call.outputs[0]
        if y is not call.out and tree.leaves(call.out)[0] is not y:
            warn(
                f"{where}: f returned a {type(tree.leaves(call.out)[0]).__name__}, not a tensor: "
                "the gradient is 0. Compute with tensors and functions of wengert to the end"
            )
        dtype = y.dtype
        if dtype.kind != "f":
            warn(
                f"{where}: f returned a tensor of {dtype}, which changes in steps: the gradient is "
                "0. Return floats: comparisons, argmax and integers have no derivative"
            )
        grads = call.pull([_core._full(y.shape, 1, dtype, where)], retain_graph=False)
        gradient = grads[0] if isinstance(argnums, int) else tuple(grads)
        value = call.plain(call.out)
        return ((value, call.plain(call.aux)) if has_aux else value), gradient

    return wrapped


def gradient_of(
    where: str, f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """``grad``, whose errors are of ``where``."""
    both = _value_and_gradient(where, f, argnums, has_aux)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


@checked_call
def value_and_grad(
    f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns ``(f(*args), gradient)``.

    f must return one number (with ``has_aux``: a pair of it and anything else). The gradient has
    the structure of the argument, or is a tuple where ``argnums`` is one.

    >>> wg.value_and_grad(lambda x: (x**2).sum())(wg.tensor([1.0, 2.0]))
    (tensor(5.), tensor([2., 4.]))
    """
    return _value_and_gradient("value_and_grad", f, argnums, has_aux)


@checked_call
def grad(
    f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The gradient of a function that returns one number, as a function of the same arguments.

    It is that of argument ``argnums``, with its structure, or a tuple where ``argnums`` is one.
    With ``has_aux`` f returns a pair, and the function ``(gradient, second of the pair)``.

    >>> wg.grad(lambda x: (x**2).sum())(wg.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    return gradient_of("grad", f, argnums, has_aux)


@checked_call
def vjp(f: Callable, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """``(f(*primals), vjp_fn)``, where ``vjp_fn(cotangent)`` returns one cotangent a primal.

    >>> y, vjp_fn = wg.vjp(lambda x: wg.sin(x), wg.tensor(0.0))
    >>> vjp_fn(wg.tensor(2.0))
    (tensor(2.),)
    """
    return vjp_of("vjp", f, primals, has_aux)


def vjp_of(
    where: str, f: Callable, primals: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """``vjp``, whose errors are of ``where``."""
    call = _Linearised(where, f, primals, has_aux)

    def vjp_fn(cotangent: Any) -> tuple[Any, ...]:
        leaves = tree.leaves_like(call.out_structure, cotangent)
        if leaves is None:
            raise ArgumentError(
                f"{where}: the cotangent must have the output's structure {call.out_structure}; "
                f"got {tree.flatten(cotangent)[1]}"
            )
        seeds = [_like(where, "cotangent", g, y) for g, y in zip(leaves, call.outputs)]
        return tuple(call.pull(seeds, retain_graph=True))

    call.outer = _core._is_outer(call.outputs, call.targets)
    out = call.plain(call.out)
    return (out, vjp_fn, call.plain(call.aux)) if has_aux else (out, vjp_fn)


def _like(where: str, what: str, given: Any, primal: Tensor) -> Tensor:
    x = _core.asarray(given)
    if x.shape != primal.shape:
        raise ShapeError(f"{where}: the {what} must have shape {primal.shape}; got {x.shape}")
    return x if x.dtype == primal.dtype else x.astype(primal.dtype)


@checked_call
def jvp(f: Callable, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """``(f(*primals), J tangents)``: forward mode, in one pass and about the primal's memory.

    >>> wg.jvp(wg.sin, (wg.tensor(0.0),), (wg.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    check_function("jvp", f)
    _check_flag("jvp", has_aux)
    check_directions("jvp", primals, tangents)
    return jvp_of("jvp", f, primals, tangents, has_aux)


def check_directions(where: str, primals: Any, tangents: Any) -> None:
    """Raises for what is no sequence with a tangent for each primal."""
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (list, tuple)):
            raise ArgumentTypeError(
                f"{where}: '{what}' takes a tuple with one entry an argument, such as (x,); got "
                f"{given!r:.60}"
            )
    if len(primals) != len(tangents):
        raise ArgumentError(f"{where}: {len(primals)} primals but {len(tangents)} tangents")


def jvp_of(
    where: str, f: Callable, primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """``jvp``, whose errors are of ``where``."""
    flat, structure = _float_leaves(where, "primals", tuple(primals))
    directions = tree.leaves_like(structure, tuple(tangents))
    if directions is None:
        other = tree.flatten(tuple(tangents))[1]
        raise ArgumentError(f"{where}: tangents must be like the primals {structure}; got {other}")
    directions = [_like(where, "tangent", t, x) for t, x in zip(directions, flat)]
    aux = None

    def call(leaves: list[Tensor]) -> Any:
        nonlocal aux
        result = f(*tree.unflatten(structure, leaves))
        if has_aux:
            result, aux = _split_aux(where, result)
        return result

    out, found = _core._forward(call, flat, directions, tree.leaves)
    leaves, out_structure = tree.flatten(out)
    leaves = [_as_leaf(where, y) for y in leaves]
    pushed = [zeros_like(y) if t is None else t for t, y in zip(found, leaves)]
    tangent = tree.unflatten(out_structure, pushed)
    return (out, tangent, aux) if has_aux else (out, tangent)


@checked_call
def linearize(f: Callable, *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """``(f(*primals), jvp_fn)``, where ``jvp_fn(*tangents)`` is J tangents at these primals.

    f runs once, and each product costs one sweep of its linear part, which is the transpose of its
    VJP. The sweep keeps what f recorded, so for one product ``wg.jvp`` needs less memory.

    >>> y, jvp_fn = wg.linearize(wg.sin, wg.tensor(0.0))
    >>> jvp_fn(wg.tensor(2.0)), jvp_fn(wg.tensor(3.0))
    (tensor(2.), tensor(3.))
    """
    call = _Linearised("linearize", f, primals, has_aux=False)
    floats = [i for i, y in enumerate(call.outputs) if y.dtype.kind == "f"]
    with enable_grad():
        cotangents = [_core._alias(zeros_like(call.outputs[i])) for i in floats]
    # J'c as a function of c: its own VJP is J.
    adjoints, call.outer = _core._reverse(
        [call.outputs[i] for i in floats],
        cotangents,
        call.targets,
        retain_graph=True,
        recorded=True,
    )
    _core._end_leaves(cotangents)
    whole = tree.flatten(primals)[1]
    reached = [i for i, g in enumerate(adjoints) if g is not None]

    def jvp_fn(*tangents: Any) -> Any:
        leaves = tree.leaves_like(whole, tangents)
        if leaves is None:
            given = [tree.flatten(tangent)[1] for tangent in tangents]
            raise ArgumentError(
                f"linearize: tangents must be like the primals {call.structures}; got {given}"
            )
        directions = [_like("linearize", "tangent", t, x) for t, x in zip(leaves, call.targets)]
        seeds = [directions[i] for i in reached]
        wanted = is_grad_enabled() and (call.outer or any(t.requires_grad for t in seeds))
        found, _ = _core._reverse(
            [adjoints[i] for i in reached], seeds, cotangents, retain_graph=True, recorded=wanted
        )
        pushed = dict(zip(floats, found))
        tangents_out = [
            zeros_like(y) if pushed.get(i) is None else pushed[i]
            for i, y in enumerate(call.outputs)
        ]
        return tree.unflatten(call.out_structure, tangents_out)

    return call.plain(call.out), jvp_fn


@checked_call
def vmap(f: Callable, in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """f over an axis of its arguments, all at once.

    ``in_axes`` is one axis for all arguments, or one an argument (None: not mapped; a tree within
    an argument may give one a leaf). ``out_axes`` says where the mapped axis goes in the outputs.
    Keyword arguments, and what is not mapped and no number, reach f as they are.

    f runs once: a random draw in it is one draw, which all examples share. For one an example, draw
    outside (``noise = rng.normal(size=(n, ...))``) and map over it.

    >>> dot = wg.vmap(lambda a, b: (a * b).sum())
    >>> dot(wg.ones((3, 2)), wg.ones((3, 2)))
    tensor([2., 2., 2.])
    """
    check_function("vmap", f)
    for axis in () if type(in_axes) is int else tree.leaves(in_axes):
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise ArgumentTypeError(
                f"vmap: axes must be ints, None or a tree of them; got {axis!r:.60}"
                f"{_meant_for('vmap', axis)}"
            )

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        flat, structure = tree.flatten(args)
        moved, places, sizes = [], [], []
        for i, axis in enumerate(_axes_of(in_axes, args)):
            if axis is None:
                flat[i] = _unmapped(flat[i])
                continue
            places.append(i)
            x = _as_leaf("vmap", flat[i])
            if not -x.ndim <= axis < x.ndim:
                raise ShapeError(
                    f"vmap: in_axes {axis} for an argument of shape {x.shape}; for what is the "
                    "same for all examples give None"
                )
            sizes.append(x.shape[axis])
            moved.append(_move(x, axis % x.ndim, 0))
        if not sizes:
            raise ArgumentError("vmap: at least one argument must be mapped (in_axes is None)")
        if len(set(sizes)) > 1:
            raise ShapeError(
                f"vmap: mapped axes must have one size; got {sorted(set(sizes))}. For what is the "
                "same for all examples give None in in_axes"
            )

        def call(leaves: list[Tensor]) -> Any:
            values = list(flat)
            for place, x in zip(places, leaves):
                values[place] = x
            return f(*tree.unflatten(structure, values), **kwargs)

        mapped = [True] * len(moved)
        result, found = _core._batch(
            traced_once("vmap", call), moved, mapped, sizes[0], tree.leaves
        )
        _, out_structure = tree.flatten(result)
        wanted = _axes_of(out_axes, result)
        outputs = []
        for (y, carries), axis in zip(found, wanted):
            if axis is None:
                if carries:
                    raise ArgumentError("vmap: out_axes is None for an output that is mapped")
                outputs.append(y)
                continue
            if not carries:
                y = _core.ops.broadcast_to(y, (sizes[0], *y.shape))
            if not -y.ndim <= axis < y.ndim:
                raise ShapeError(f"vmap: out_axes {axis} for an output of shape {y.shape}")
            outputs.append(_move(y, 0, axis % y.ndim))
        return tree.unflatten(out_structure, outputs)

    return wrapped


def _unmapped(leaf: Any) -> Any:
    try:  # numbers take the dtype of what they meet, as in f itself
        return _core._number(leaf) if type(leaf) in (int, float) else _core.asarray(leaf)
    except ArgumentTypeError:
        return leaf


def _move(x: Tensor, start: int, end: int) -> Tensor:
    if start == end:
        return x
    order = [i for i in range(x.ndim) if i != start]
    order.insert(end, start)
    return _core.ops.permute_dims(x, tuple(order))


def _axes_of(axes: Any, values: Any) -> list[int | None]:
    """One axis a leaf of ``values``: ``axes`` is an int, None, or a prefix of its tree."""
    if axes is None or (isinstance(axes, int) and not isinstance(axes, bool)):
        return [axes] * len(tree.leaves(values))
    if isinstance(axes, dict) and isinstance(values, dict):
        if axes.keys() != values.keys():
            raise ArgumentError(f"vmap: axes for {list(axes)}, values for {list(values)}")
        return [axis for key in values for axis in _axes_of(axes[key], values[key])]
    of_axes, of_values = tree._children(axes), tree._children(values)
    sequences = isinstance(axes, (list, tuple)) and isinstance(values, (list, tuple))
    if of_axes is None or of_values is None or not (sequences or of_axes[1] == of_values[1]):
        raise ArgumentTypeError(
            f"vmap: axes must be ints, None or a tree of them; got {axes!r:.60}"
        )
    if len(of_axes[0]) != len(of_values[0]):
        raise ArgumentError(
            f"vmap: got {len(of_axes[0])} axes for {len(of_values[0])} values; give one each, or a "
            "single int for all"
        )
    return [axis for a, v in zip(of_axes[0], of_values[0]) for axis in _axes_of(a, v)]
