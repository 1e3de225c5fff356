"""The evaluation trace of a function (its Wengert list), as data that prints."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from . import _core, tree
from ._core import ArgumentTypeError, Tensor
from .checked import checked_call, cover_constructors


@dataclasses.dataclass(frozen=True)
class Node:
    """One line of a program: an operation on numbered values."""

    name: str
    attributes: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtype: Any
    """Of the first output, as is ``shape``."""
    shape: tuple[int, ...]
    flops: int
    """Arithmetic operations; moves of data count none."""
    source: str
    """The user's line that made it, as ``file.py:41``."""
    body: Program | None = None
    """What an operation that stands for a program carries out."""


class Program:
    """A list of operations on numbered values, in the order they are carried out.

    ``inputs`` and ``outputs`` are numbers of values, ``constants`` the tensors from outside by
    number, ``types`` the (dtype, shape) of every value, ``input_names`` what the function calls its
    arguments. Prints as text, one line a node.
    """

    def __init__(self, core: Any, name: str, input_names: list[str]) -> None:
        self._core = core
        self.name = name
        self.input_names = input_names
        self.inputs: tuple[int, ...] = core.inputs
        self.outputs: tuple[int, ...] = core.outputs
        self.constants: dict[int, Tensor] = core.constants
        self.types: list[tuple[Any, tuple[int, ...]]] = core.types
        self.nodes = [
            Node(name, attributes, ins, outs, dtype, shape, flops, source, _body(body))
            for name, attributes, ins, outs, flops, source, body in core.steps
            for dtype, shape in [self.types[outs[0]]]
        ]

    @property
    def flops(self) -> int:
        """Arithmetic operations of one run."""
        return sum(node.flops for node in self.nodes)

    @property
    def bytes_peak(self) -> int:
        """The most bytes alive at once in this order: inputs, constants and what is still read."""
        return self._core.bytes_peak

    @property
    def bytes_moved(self) -> int:
        """Bytes that operations read and write; views move none."""
        return self._core.bytes_moved

    def opened(self) -> Program:
        """The same program with the bodies of ``checkpoint`` in the place of their nodes."""
        return Program(self._core.opened, self.name, self.input_names)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        return f"<Program {self.name}: {len(self.nodes)} nodes, {self.flops} flops>"

    def to_dot(self) -> str:
        """The program as a picture, in Graphviz's language: arguments are ellipses, constants
        notes, operations boxes with dtype and shape (their source line is the tooltip), outputs
        framed twice.

        >>> print(wg.trace(wg.sin, 2.0).to_dot().splitlines()[-2])
          op0 -> out0;
        """
        from . import program_dot  # loaded at first use

        return program_dot.to_dot(self)

    def to_sympy(self, **assumptions: bool) -> Any:
        """The outputs as SymPy expressions (one, or a tuple of several) of symbols named as the
        arguments; ``assumptions`` such as ``real=True`` are those of the symbols.

        Defined for programs on single numbers, of shape (). Numbers that are small integers or
        simple fractions become exact. ``stop_gradient(x)`` is x, and derivative rules that yield
        0 where they are not asked for are plain products. Raises ``wg.ShapeError`` for other
        shapes, ``wg.ArgumentError`` for operations without a formula, and an ``ImportError`` (a
        ``wg.Error`` too) where SymPy is not installed.

        >>> wg.trace(lambda x: wg.sin(x) * x / 2, 1.0).to_sympy()
        x*sin(x)/2
        """
        from . import symbolic

        return symbolic.to_sympy(self, **assumptions)

    def value_names(self) -> dict[int, str]:
        """A readable name for every value: arguments by name, small constants by what they hold."""
        names = dict(zip(self.inputs, self.input_names))
        for i, (value, x) in enumerate(self.constants.items()):
            known = x.size == 1 and x.ndim == 0 and not _core._is_traced(x)
            names[value] = f"{x.item():g}" if known else f"c{i}"
        made = (value for node in self.nodes for value in node.outputs)
        names.update((value, f"v{i}") for i, value in enumerate(made, start=1))
        return names


def _type_text(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _body(core: Any) -> Program | None:
    if core is None:
        return None
    return Program(core, "body", [f"x{i}" for i in range(len(core.inputs))])


def _lines(program: Program) -> Iterator[str]:
    names = program.value_names()
    arguments = ", ".join(
        f"{names[value]}: {_type_text(*program.types[value])}" for value in program.inputs
    )
    yield f"{program.name}({arguments}):"
    for value in program.constants:
        if names[value].startswith("c"):
            yield f"  {names[value]} = constant  # {_type_text(*program.types[value])}"
    rows = []
    for node in program.nodes:
        parts = [names[value] for value in node.inputs]
        parts += [f"{key}={value}" for key, value in node.attributes.items()]
        made = ", ".join(names[value] for value in node.outputs)
        rows.append((f"  {made} = {node.name}({', '.join(parts)})", node))
    width = min(72, max((len(text) for text, _ in rows), default=0))
    for text, node in rows:
        yield f"{text:{width}}  # {_type_text(node.dtype, node.shape)}"
        if node.body is not None:
            yield from (f"    {line}" for line in _lines(node.body))
    yield f"  return {', '.join(names[value] for value in program.outputs)}"


def _names_of(f: Callable, args: tuple) -> list[str]:
    """A name for every leaf of the arguments: ``x``, ``params['w']``."""
    try:
        bound = inspect.signature(f).bind(*args).arguments
    except (TypeError, ValueError):
        bound = {f"x{i}": value for i, value in enumerate(args)}
    names = []
    for name, value in bound.items():
        paths = tree.paths(value)
        names += [f"{name}{path}" for path in paths]
    return names


@checked_call
def trace(f: Callable, *args: Any) -> Program:
    """The evaluation trace of ``f(*args)``: what f computes, operation by operation.

    f is called once, on tensors without values of the arguments' shapes and dtypes (pytrees of
    tensors, arrays and numbers). Asking such a tensor for its value raises ``wg.TraceError``.

    >>> print(wg.trace(lambda x: wg.sin(x) * x, 2.0))
    lambda(x: float32[]):
      v1 = sin(x)           # float32[]
      v2 = multiply(v1, x)  # float32[]
      return v2
    """
    if not callable(f):
        remedy = ". The trace of a matrix is wg.linalg.trace" if hasattr(f, "shape") else ""
        raise ArgumentTypeError(f"trace: takes a function; got {f!r:.60}{remedy}")
    leaves, structure = tree.flatten(args)
    tensors = [_core.asarray(leaf) for leaf in leaves]

    def call(placeholders: list[Tensor]) -> Any:
        return f(*tree.unflatten(structure, placeholders))

    _, core = _core._trace(call, tensors, tree.leaves)
    name = getattr(f, "__name__", type(f).__name__).strip("<>")
    return Program(core, name, _names_of(f, args))


cover_constructors([Program])
