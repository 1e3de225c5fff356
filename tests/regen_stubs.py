"""Writes the stubs of the C++ core into python/wengert/_core/, read off the op table, the bound
functions and the methods that tensor_methods.py adds:

    python tests/regen_stubs.py

test_stubs.py fails where the files are not what this makes.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wengert as wg
from wengert import _core

FOLDER = Path(__file__).parent.parent / "python" / "wengert" / "_core"
NOTE = '"""{} Made by tests/regen_stubs.py."""'
KINDS = {
    "bool": "bool",
    "int": "SupportsIndex",
    "float": "float",
    "ints": "SupportsIndex | Sequence[SupportsIndex]",
    "dtype": "DTypeLike",
    "str": "str",
}

# Bound functions take any object and say themselves what fits: here is what does.
PUBLIC = {
    "asarray": "(obj: ArrayLike, *, dtype: DTypeLike = None, copy: bool | None = None, "
    "device: str | None = None) -> Tensor",
    "config": "() -> dict[str, Any]",
    "set_num_threads": "(n: SupportsIndex) -> None",
    "tensor": "(data: ArrayLike, *, dtype: DTypeLike = None, requires_grad: bool = False)"
    " -> Tensor",
}

PROPERTIES = {
    "shape": "tuple[int, ...]",
    "ndim": "int",
    "size": "int",
    "dtype": "np.dtype[Any]",
    "requires_grad": "bool",
    "is_leaf": "bool",
    "_is_abstract": "bool",
    "grad": "Tensor | None",
    "grad_fn": "Node | None",
    "T": "Tensor",
    "mT": "Tensor",
    "device": "str",
    "at": "At",
}
SETTABLE = {"requires_grad", "grad"}

# Operators and conversions: what Python's protocols make of the slots.
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()  # noqa: SIM905
ONE_WAY = "iadd isub imul itruediv lt le gt ge".split()  # noqa: SIM905
UNARY = "neg pos abs invert".split()  # noqa: SIM905
SPECIAL = """
def __new__(cls, data: ArrayLike, dtype: DTypeLike = None, requires_grad: bool = False) -> Self: ...
def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
def __hash__(self) -> int: ...
def __bool__(self) -> bool: ...
def __float__(self) -> float: ...
def __int__(self) -> int: ...
def __index__(self) -> int: ...
def __len__(self) -> int: ...
def __divmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]: ...
def __rdivmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]: ...
def __getitem__(self, key: Any) -> Tensor: ...
def __setitem__(self, key: Any, value: ArrayLike) -> None: ...
def item(self) -> Any: ...
def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray: ...
def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any: ...
""".strip().splitlines()


def parameters(row: dict[str, Any]) -> list[str]:
    """Of a row, as Python writes them."""
    out = []
    for name in row["inputs"]:
        alone = len(row["inputs"]) == 1 and name.startswith("*")
        out.append(f"{name}: {'ArrayLike | Sequence[ArrayLike]' if alone else 'ArrayLike'}")
    for name, kind, fallback in row["params"]:
        annotation = KINDS[kind]
        if fallback is None:
            out.append(f"{name}: {annotation}")
            continue
        if fallback == "None":
            annotation = annotation if kind == "dtype" else f"{annotation} | None"
        elif kind == "dtype":
            fallback = "..."
        out.append(f"{name}: {annotation} = {fallback}")
    return out


def first_sentence(doc: str) -> str:
    return re.split(r"(?<=[.;])\s", doc.strip().replace("\n", " "), maxsplit=1)[0].rstrip(";")


def definition(name: str, params: list[str], result: str, doc: str = "", indent: str = "") -> str:
    """A function of a stub, in the formatter's layout."""
    tail = "" if doc else " ..."
    line = f"{indent}def {name}({', '.join(params)}) -> {result}:{tail}"
    if len(line) > 100:
        inner = ", ".join(params)
        line = f"{indent}def {name}(\n{indent}    {inner}\n{indent}) -> {result}:{tail}"
        if len(indent) + 4 + len(inner) > 100:
            inner = "".join(f"{indent}    {p},\n" for p in params)
            line = f"{indent}def {name}(\n{inner}{indent}) -> {result}:{tail}"
    if doc:
        quoted = textwrap.fill(f'"""{doc}"""', 96 - len(indent)).replace("\\", "\\\\")
        line += "\n" + textwrap.indent(quoted, indent + "    ")
    return line


def ops_stub() -> str:
    parts = [
        NOTE.format("Every operation of the table."),
        "from collections.abc import Sequence\nfrom typing import SupportsIndex\n\n"
        "from . import ArrayLike, DTypeLike, Tensor",
    ]
    rows = [
        definition(name, parameters(row), "Tensor", first_sentence(row["doc"]))
        for name, row in _core.op_table.items()
    ]
    return "\n\n".join([*parts, "\n".join(rows)]) + "\n"


def bound(name: str) -> str:
    """A function that pybind11 bound: its docstring starts with its signature."""
    signature = PUBLIC.get(name)
    if signature is None:
        text = getattr(_core, name).__doc__.splitlines()[0].removeprefix(name)
        text = text.replace("wengert.", "").replace("collections.abc.", "")
        text = text.replace("typing.SupportsFloat | typing.SupportsIndex", "float")
        text = text.replace("typing.SupportsInt | typing.SupportsIndex", "SupportsIndex")
        text = re.sub(r"\bCallable\b", "Callable[..., Any]", text.replace("typing.", ""))
        text = re.sub(r"\b(list|dict)\b(?!\[)", r"\1", text).replace(
            "-> tuple", "-> tuple[Any, ...]"
        )
        text = re.sub(r"\bobject\b", "Any", text)
        text = re.sub(r"-> dict\b", "-> dict[str, Any]", text)
        text = re.sub(r": list\b", ": list[Any]", text)
        signature = text.replace("'", '"')
    found = re.fullmatch(r"\((.*)\) -> (.*)", signature)
    assert found, signature
    params = [p for p in re.split(r", (?![^\[]*\])", found[1]) if p]
    return definition(name, params, found[2])


def qualified(annotation: str) -> str:
    """Tensor has methods called bool, int and float: inside it the types need their module."""
    return re.sub(r"(?<![\w.])(bool|int|float)\b", r"builtins.\1", annotation)


def methods() -> Iterator[str]:
    indent = "    "
    for name, annotation in PROPERTIES.items():
        yield f"{indent}@property\n{definition(name, ['self'], qualified(annotation), '', indent)}"
        if name in SETTABLE:
            params = ["self", f"value: {qualified(annotation)}"]
            yield f"{indent}@{name}.setter\n{definition(name, params, 'None', '', indent)}"
    yield "\n".join(indent + qualified(line) for line in SPECIAL)
    names = [f"__{way}{name}__" for name in BINARY for way in ("", "r")]
    names += [f"__{name}__" for name in ONE_WAY]
    yield "\n".join(
        definition(name, ["self", "other: ArrayLike"], "Tensor", "", indent) for name in names
    )
    yield "\n".join(definition(f"__{name}__", ["self"], "Tensor", "", indent) for name in UNARY)
    for name, member in sorted(vars(wg.Tensor).items()):
        if type(member).__name__ == "Operation":
            row = _core.op_table[member.__name__]
            yield definition(
                name,
                ["self", *map(qualified, parameters(row)[1:])],
                "Tensor",
                first_sentence(row["doc"]),
                indent,
            )
        elif inspect.isfunction(member):
            signature = inspect.signature(member)
            params = []
            kinds = [p.kind for p in signature.parameters.values()]
            for p in signature.parameters.values():
                if p.name == "self" or (p.name == "x" and not params):
                    params.append("self")
                    continue
                if p.kind is p.KEYWORD_ONLY and p.VAR_POSITIONAL not in kinds and "*" not in params:
                    params.append("*")
                prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
                default = "" if p.default is p.empty else f" = {p.default!r}"
                params.append(f"{prefix}{p.name}: {qualified(p.annotation)}{default}")
            doc = first_sentence(inspect.getdoc(member) or "") if name[0] != "_" else ""
            yield definition(name, params, qualified(signature.return_annotation), doc, indent)


def core_stub() -> str:
    parts = [
        NOTE.format("The C++ core of wengert."),
        "import builtins\nfrom collections.abc import Callable, Iterator, Sequence\n"
        "from typing import Any, Protocol, SupportsIndex, TypeAlias\n\n"
        "import numpy as np\nfrom typing_extensions import Self\n\n"
        "from ..indexing import At\nfrom ..tensor_methods import Hook\n"
        "from . import memory as memory\nfrom . import ops as ops",
        "__version__: str\nop_table: dict[str, dict[str, Any]]",
        "class _SupportsArray(Protocol):\n    def __array__(self) -> np.ndarray: ...",
        "ArrayLike: TypeAlias = (\n"
        "    Tensor | _SupportsArray | np.generic | float | list[Any] | tuple[Any, ...]\n)",
        "DTypeLike: TypeAlias = np.dtype[Any] | type[Any] | str | None",
    ]
    errors = [_core.Error, *sorted(_core.Error.__subclasses__(), key=lambda c: c.__name__)]
    for error in errors:
        if error.__module__ == "wengert" and hasattr(_core, error.__name__):
            bases = ", ".join(base.__name__ for base in error.__bases__)
            parts.append(f'class {error.__name__}({bases}):\n    """{error.__doc__}"""')
    parts.append(
        'class Node:\n    """An operation that was recorded: what made a tensor."""\n\n'
        "    @property\n    def name(self) -> str: ...\n"
        "    @property\n    def next_functions(self) -> tuple[tuple[Node | None, int], ...]: ...\n"
        "    @property\n    def source(self) -> str: ..."
    )
    parts.append(
        'class _FastCall:\n    """Calls of a recorded function that need no Python."""\n\n'
        "    _hits: int\n    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...\n"
        "    def __call__(self, *args: Any, **kwargs: Any) -> Any: ..."
    )
    parts.append('class Tensor:\n    """The array type."""\n\n' + "\n".join(methods()))
    names = [n for n in sorted(vars(_core)) if inspect.isbuiltin(getattr(_core, n))]
    parts.append("\n".join(bound(name) for name in names))
    return "\n\n".join(parts) + "\n"


def memory_stub() -> str:
    result = {"reset_peak": "None", "release_cache": "None"}
    parts = [NOTE.format("Exact counts of the bytes that arrays hold.")]
    for name, member in sorted(vars(_core.memory).items()):
        if inspect.isbuiltin(inspect.unwrap(member)):
            doc = member.__doc__.splitlines()[-1]
            parts.append(definition(name, [], result.get(name, "int"), doc))
    return "\n\n".join(parts) + "\n"


def stubs() -> dict[str, str]:
    """What the files must hold."""
    return {"__init__.pyi": core_stub(), "memory.pyi": memory_stub(), "ops.pyi": ops_stub()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in stubs().items():
        (FOLDER / file).write_text(text)
