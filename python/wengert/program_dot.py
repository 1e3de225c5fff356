"""Programs as pictures: the text that Graphviz draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .program import Program

_INPUT = 'shape=ellipse, style=filled, fillcolor="#dbe9f6"'
_CONSTANT = 'shape=note, style=filled, fillcolor="#eeeeee"'
_OUTPUT = 'shape=box, peripheries=2, style=filled, fillcolor="#dff0d8"'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _typed(text: str, dtype: Any, shape: tuple[int, ...]) -> str:
    return _quoted(f"{text}\n{dtype} {shape}")


def _attributes(attributes: dict[str, Any]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return text if len(text) <= 40 else text[:37] + "..."


def _lines(program: Program) -> Iterator[str]:
    names = program.value_names()
    home: dict[int, str] = {}  # of a value: the drawn node that it comes from
    yield f"digraph {_quoted(program.name)} {{"
    yield "  ordering=in;"
    yield '  node [shape=box, fontname="monospace"];'
    needed = {value for node in program.nodes for value in node.inputs} | set(program.outputs)
    for kind, style, listed in (
        ("in", _INPUT, program.inputs),
        ("const", _CONSTANT, program.constants),
    ):
        for i, value in enumerate(listed):
            if value in needed or kind == "in":
                home[value] = f"{kind}{i}"
                label = _typed(names[value], *program.types[value])
                yield f"  {home[value]} [label={label}, {style}];"
    several = {value for node in program.nodes if len(node.outputs) > 1 for value in node.outputs}
    for i, node in enumerate(program.nodes):
        title = f"{node.name}\n{_attributes(node.attributes)}".rstrip()
        label, tip = _typed(title, node.dtype, node.shape), _quoted(node.source)
        yield f"  op{i} [label={label}, tooltip={tip}];"
        yield from (_edge(home[value], f"op{i}", names, value, several) for value in node.inputs)
        home.update((value, f"op{i}") for value in node.outputs)
    for i, value in enumerate(program.outputs):
        text = "output" if len(program.outputs) == 1 else f"output {i}"
        yield f"  out{i} [label={_typed(text, *program.types[value])}, {_OUTPUT}];"
        yield _edge(home[value], f"out{i}", names, value, several)
    yield "}"


def _edge(start: str, end: str, names: dict[int, str], value: int, several: set[int]) -> str:
    label = f" [label={_quoted(names[value])}]" if value in several else ""
    return f"  {start} -> {end}{label};"


def to_dot(program: Program) -> str:
    """See ``Program.to_dot``."""
    return "\n".join(_lines(program)) + "\n"
