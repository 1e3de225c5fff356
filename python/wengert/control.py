"""Loops and branches whose bodies are recorded once: scan, cond, while_loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _core, arguments, tree
from ._core import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, Tensor, ops
from .bodies import traced_once
from .checked import check_function, checked_call
from .dtypes import bool_
from .loop_checkpoints import Binomial, Budget, Checkpoint, TwoLevel


def _tensors(where: str, values: Any) -> tuple[list[Tensor], tree.Structure]:
    leaves, structure = tree.flatten(values)
    try:
        return [_core.asarray(leaf) for leaf in leaves], structure
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{where}: takes trees of tensors, arrays and numbers") from error


def _settled(where: str, values: Any) -> Any:
    """What a body returns, of tensors: numbers among it are of use in its trace only."""
    leaves, structure = _tensors(where, values)
    return tree.unflatten(structure, leaves)


class _Settle(Exception):
    """The body gives Python numbers of the start another dtype: begin again with these leaves."""

    def __init__(self, leaves: list[Tensor]) -> None:
        self.leaves = leaves


def _weak(values: Any) -> list[bool]:
    return [
        _core._is_number(leaf)
        if isinstance(leaf, Tensor)
        else isinstance(leaf, float) or type(leaf) is int
        for leaf in tree.leaves(values)
    ]


def _check_like(
    where: str, found: Any, leaves: list[Tensor], structure: tree.Structure, weak: list[bool]
) -> None:
    """The state that a body returns must be like the state it got; Python numbers in the start
    (``weak``) take the body's dtype."""
    new, new_structure = _tensors(where, found)
    if new_structure != structure:
        raise ArgumentError(
            f"{where}: the body must return a state of structure {structure}; got {new_structure}"
        )
    settled = [
        ops.from_number(x, y.dtype, where)
        if loose and (y.dtype.kind == "f" or (y.dtype.kind in "iu" and x.dtype.kind in "iu"))
        else x
        for x, y, loose in zip(leaves, new, weak)
    ]
    if any(x.dtype != y.dtype for x, y in zip(leaves, settled)):
        raise _Settle(settled)
    for path, x, y in zip(tree.paths(found), leaves, new):
        if x.shape != y.shape:
            raise ShapeError(
                f"{where}: the state{path} must keep its shape {x.shape}; the body gives {y.shape}"
            )
        if x.dtype != y.dtype:
            raise DTypeError(
                f"{where}: the state{path} must keep its dtype {x.dtype}; the body gives "
                f"{y.dtype}. Convert the start with astype"
            )


def _kept(where: str, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise ArgumentTypeError(
            f"{where}: 'checkpoint' takes a schedule such as wg.Binomial(slots=10); got "
            f"{checkpoint!r:.60}"
        )
    return checkpoint._plan() if checkpoint is not None else None


@checked_call
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    checkpoint: Checkpoint | None = None,
) -> tuple[Any, Any]:
    """``carry, y = f(carry, x)`` for every row x of ``xs``: ``(last carry, stacked ys)``.

    ``xs`` is a tree of tensors whose first axes have one length, or None with ``length``. f is
    called once, on tensors without values; the loop runs in C++. Its reverse sweep is a scan too.
    What f would change (a tensor in place, an attribute of a module, a generator by drawing) raises
    a ``wg.TraceError``: state belongs in the carry.

    The reverse sweep needs values of every step. By default they are kept; ``checkpoint`` keeps the
    carry before some steps and runs the others again (`wg.Binomial`, `wg.Budget`, `wg.TwoLevel`).
    Gradients are the same bits. A sweep that is swept again (a Hessian) keeps everything, whatever
    ``checkpoint`` says.

    >>> total, partial = wg.scan(lambda c, x: (c + x, c), wg.tensor(0.0), wg.arange(4.0))
    >>> total, partial
    (tensor(6.), tensor([0., 0., 1., 3.]))
    """
    check_function("scan", f)
    kept = _kept("scan", checkpoint)
    carry, structure = _tensors("scan", init)
    rows, row_structure = _tensors("scan", xs)
    lengths = {x.shape[0] if x.ndim else None for x in rows}
    if None in lengths or len(lengths) > 1:
        raise ShapeError(
            "scan: xs need one length along their first axis; got shapes "
            f"{', '.join(str(x.shape) for x in rows)}"
        )
    if length is not None:
        length = arguments.integer("scan", "length", length)
    if not lengths and length is None:
        raise ArgumentError("scan: needs xs or a length")
    count = lengths.pop() if lengths else length
    if count is None or (length is not None and length != count):
        raise ArgumentError(f"scan: length {length} does not fit xs of length {count}")

    def call(leaves: list[Tensor]) -> Any:
        n = len(carry)
        result = f(tree.unflatten(structure, leaves[:n]), tree.unflatten(row_structure, leaves[n:]))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ArgumentTypeError(
                f"scan: f must return (carry, y), y None where there is none; got {result!r:.60}"
            )
        return _settled("scan", result)

    body = traced_once("scan", call)
    weak = _weak(init)

    def check(result: Any) -> None:
        _check_like("scan", result[0], carry, structure, weak)

    try:
        result, outputs = _core._scan(body, carry, rows, count, tree.leaves, check, kept)
    except _Settle as settled:
        carry, weak = settled.leaves, [False] * len(carry)
        result, outputs = _core._scan(body, carry, rows, count, tree.leaves, check, kept)
    n = len(carry)
    _, y_structure = tree.flatten(result[1])
    return tree.unflatten(structure, outputs[:n]), tree.unflatten(y_structure, outputs[n:])


def _has_value(x: Tensor) -> bool:
    return not _core._is_traced(x) and not _core._recording()


@checked_call
def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any
) -> Any:
    """``true_fn(*operands)`` where ``pred`` (one bool) holds, else ``false_fn(*operands)``.

    Outside traces only the chosen function is called, as by ``if``. Inside ``compile``, ``scan``
    and the like both are recorded, and one runs; they must return trees of one structure, with the
    same shapes and dtypes. Under ``vmap`` over ``pred`` both run. Numbers become tensors: those of
    ``operands`` for the functions, and those that they return.

    In ``compile(exact=True)`` results and gradients have the bits of eager ones, but for sums over
    views that enter or leave a branch, for gradients through a result that is an operand itself
    and for gradients of gradients, which may be added up in another order.

    >>> wg.cond(True, wg.sin, wg.cos, 0.0)
    tensor(0.)
    """
    check_function("cond", true_fn)
    check_function("cond", false_fn)
    choice = _core.asarray(pred)
    if choice.shape != ():
        raise ShapeError(f"cond: pred must be one bool, 0-d; got shape {choice.shape}")
    leaves, structure = _tensors("cond", operands)
    if _has_value(choice):
        operands = tuple(  # modules stay themselves
            x if all(isinstance(leaf, Tensor) for leaf in tree.leaves(x)) else _settled("cond", x)
            for x in operands
        )
        return _settled("cond", (true_fn if choice.item() else false_fn)(*operands))

    def branch(f: Callable[..., Any]) -> Callable[[list[Tensor]], Any]:
        return traced_once(
            "cond", lambda given: _settled("cond", f(*tree.unflatten(structure, given)))
        )

    def check(yes: Any, no: Any) -> None:
        found, kind = _tensors("cond", yes)
        other, other_kind = _tensors("cond", no)
        if kind != other_kind:
            raise ArgumentError(f"cond: true_fn returns {kind}, but false_fn {other_kind}")
        for path, x, y in zip(tree.paths(yes), found, other):
            if x.shape != y.shape or x.dtype != y.dtype:
                raise ShapeError(
                    f"cond: the results{path} must be alike; true_fn gives {x.dtype} {x.shape}, "
                    f"false_fn {y.dtype} {y.shape}"
                )

    choice = choice if choice.dtype == bool_ else choice != 0
    yes, outputs = _core._cond(
        choice, branch(true_fn), branch(false_fn), leaves, tree.leaves, check
    )
    return tree.unflatten(tree.flatten(yes)[1], outputs)


@checked_call
def while_loop(
    cond_fn: Callable[[Any], Any],
    body_fn: Callable[[Any], Any],
    init: Any,
    *,
    checkpoint: Binomial | Budget | None = None,
) -> Any:
    """Replaces the state by ``body_fn(state)`` while ``cond_fn(state)`` holds; returns the last.

    Outside traces it is a Python loop, in every mode of differentiation. Inside ``compile``,
    ``scan`` and the like both functions are recorded once and the loop runs in C++; the state keeps
    its structure, shapes and dtypes, and reverse mode passes it with a ``checkpoint`` only
    (`wg.Binomial`, `wg.Budget`): then, outside traces too, it is recorded and runs in C++ with
    bounded memory, however many steps there are. The states that are stored meanwhile are chosen
    by Wang, Moin and Iaccarino's dynamic checkpointing: a gradient through l steps evaluates at
    most l more than `wg.Binomial` says, none more than r + 2 times. A gradient of that gradient
    keeps the values of all steps, and is not to be had inside traces.

    >>> wg.while_loop(lambda x: x < 100.0, lambda x: x * 2.0, 3.0)
    tensor(192.)
    >>> def f(x):
    ...     keep = wg.Binomial(slots=5)
    ...     return wg.while_loop(lambda y: y < 100.0, lambda y: y * y, x, checkpoint=keep)
    >>> wg.grad(f)(1.5)
    tensor(7006.3022)
    """
    kept = _kept("while_loop", checkpoint)
    if isinstance(checkpoint, TwoLevel):
        raise ArgumentTypeError(
            "while_loop: 'checkpoint' takes wg.Binomial or wg.Budget; the schedule of wg.TwoLevel "
            "needs the number of steps (use wg.scan)"
        )
    check_function("while_loop", cond_fn)
    check_function("while_loop", body_fn)
    state, structure = _tensors("while_loop", init)
    weak = _weak(init)

    def once(f: Callable[[Any], Any]) -> Callable[[list[Tensor]], Any]:
        return traced_once(
            "while_loop", lambda given: _settled("while_loop", f(tree.unflatten(structure, given)))
        )

    def check_test(answer: Any) -> None:
        x = _core.asarray(answer)
        if x.shape != () or x.dtype != bool_:
            raise ShapeError(
                f"while_loop: cond_fn must return one bool, 0-d; got {x.dtype} {x.shape}"
            )

    def check_state(found: Any) -> None:
        _check_like("while_loop", found, state, structure, weak)

    if kept is None and all(_has_value(x) for x in state):
        current = tree.unflatten(structure, state)
        while True:
            answer = cond_fn(current)
            if isinstance(answer, Tensor) and not _has_value(answer):
                break
            check_test(answer)
            if not _core.asarray(answer).item():
                return current
            current = body_fn(current)
            try:
                check_state(current)
            except _Settle as settled:
                state, weak = settled.leaves, [False] * len(weak)
                check_state(current)
        state, _ = _tensors("while_loop", current)

    test, body = once(cond_fn), once(body_fn)
    try:
        outputs = _core._while(test, body, state, tree.leaves, check_test, check_state, kept)
    except _Settle as settled:
        state, weak = settled.leaves, [False] * len(weak)
        outputs = _core._while(test, body, state, tree.leaves, check_test, check_state, kept)
    return tree.unflatten(structure, outputs)
