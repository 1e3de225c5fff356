"""Symbolic against automatic differentiation: SymPy's derivative equals ours, and grows faster.

python -m wengert.examples.symbolic --help
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import wengert as wg

from .options import picture_path, positive


def chapter(x: Any, a: Any, b: Any) -> Any:
    return a * wg.sin(x) + b * x * wg.sin(x)


def product(n: int) -> Callable[[Any], Any]:
    """sin(x) sin(x + 1) ... sin(x + n - 1)."""

    def f(x: Any) -> Any:
        y = wg.sin(x)
        for k in range(1, n):
            y = y * wg.sin(x + k)
        return y

    return f


def composition(n: int) -> Callable[[Any], Any]:
    """The logistic map y -> 4 y (1 - y), n times."""

    def f(x: Any) -> Any:
        for _ in range(n):
            x = 4 * x * (1 - x)
        return x

    return f


class Counts(NamedTuple):
    n: int
    value_nodes: int
    gradient_nodes: int
    gradient_flops: int
    symbolic: int
    shared: int


def compare(f: Callable[..., Any], *points: float) -> float:
    """The largest relative difference of SymPy's derivative and ours in the first argument, after
    checking that they are the same expression; ``points`` are where f is traced."""
    import sympy as sp

    program = wg.trace(f, *points)
    symbols = [sp.Symbol(name) for name in program.input_names]
    theirs = sp.diff(program.to_sympy(), symbols[0])
    ours = wg.trace(wg.grad(f), *points).to_sympy()
    assert sp.simplify(theirs - ours) == 0
    print(f"f                  {program.to_sympy()}")
    print(f"SymPy's derivative {theirs}")
    print(f"ours, from a trace {ours}")
    evaluate = sp.lambdify(symbols, theirs, "numpy")
    rng = np.random.default_rng(0)
    gaps = []
    for at in rng.uniform(-2, 2, (20, len(points))):
        expected = evaluate(*at)
        gaps.append(abs(wg.grad(f)(*at).item() - expected) / abs(expected))
    return max(gaps)


def count(f: Callable[[Any], Any], n: int) -> Counts:
    import sympy as sp

    value, gradient = wg.trace(f, 0.5), wg.trace(wg.grad(f), 0.5)
    derivative = sp.diff(value.to_sympy(), sp.Symbol("x"))
    replaced, rest = sp.cse(derivative)
    shared = sum(sp.count_ops(part) for _, part in replaced) + sp.count_ops(rest)
    symbolic = sp.count_ops(derivative)
    return Counts(n, len(value), len(gradient), gradient.flops, int(symbolic), int(shared))


def table(rows: Sequence[Counts]) -> str:
    head = ("n", "f's nodes", "gradient's nodes", "its flops", "SymPy's operations", "with cse")
    return "\n".join("  ".join(f"{x:>{len(h)}}" for h, x in zip(head, r)) for r in (head, *rows))


def draw(path: Path, panels: dict[str, list[Counts]]) -> None:
    from matplotlib.figure import Figure

    blue, red, orange = "#2563a8", "#c8322b", "#d98a1f"
    figure = Figure(figsize=(9.5, 4), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        n = [r.n for r in rows]
        axes.plot(n, [r.symbolic for r in rows], ".-", color=red, label="SymPy's derivative")
        axes.plot(n, [r.shared for r in rows], ".-", color=orange, label="the same, after cse")
        axes.plot(n, [r.gradient_flops for r in rows], ".-", color=blue, label="our gradient trace")
        axes.set(title=title, xlabel="n", ylabel="operations", yscale="log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wengert.examples.symbolic",
        description="Compare SymPy's derivatives with those of evaluation traces.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--factors", type=positive, default=20, help="of the longest product")
    parser.add_argument("--depth", type=positive, default=8, help="of the deepest composition")
    parser.add_argument(
        "--out",
        type=picture_path,
        default="symbolic.png",
        help="picture to write: .png, .pdf, .svg",
    )
    args = parser.parse_args(argv)
    if missing := [name for name in ("sympy", "matplotlib") if not find_spec(name)]:
        sys.exit(f"symbolic: {', '.join(missing)} not found; run: pip install 'wengert[examples]'")

    gap = compare(chapter, 0.5, 1.0, 1.0)
    print(f"they agree         as expressions, and in numbers to {gap:.1e}")
    print(f"\nthe trace that ours was read off:\n{wg.trace(wg.grad(chapter), 0.5, 1.0, 1.0)}")
    panels = {}
    for title, make, longest in (
        ("product of sin(x + k), k = 0 ... n - 1", product, args.factors),
        ("4 y (1 - y) applied n times", composition, args.depth),
    ):
        panels[title] = [count(make(n), n) for n in range(1, longest + 1)]
        print(f"\n{title}\n{table(panels[title])}")
    draw(args.out, panels)
    print(f"\npicture: {args.out.resolve()}")


if __name__ == "__main__":
    main()
