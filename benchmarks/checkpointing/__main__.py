"""`python -m benchmarks.checkpointing`: the training step of a transformer of 48 layers in a half,
a third and a quarter of its memory, under this engine's budget and by what the others offer: time
against peak bytes, as a table and a plot."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..settings import limit_threads

NAMES = ("wengert", "torch", "jax")
OURS = ("memory_budget", "wg.checkpoint")
"""The curves that are this engine's."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m benchmarks.checkpointing", description=__doc__)
    p.add_argument("--contenders", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    p.add_argument("--filter", metavar="REGEX", default="", help="settings whose name has a match")
    p.add_argument("--threads", type=int, default=1, help="threads of every contender (default 1)")
    p.add_argument("--rounds", type=int, default=5, help="samples of each (default 5)")
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves there")
    p.add_argument("--quick", action="store_true", help="a small network")
    return p


def load(names: Iterable[str]) -> list[Any]:
    found = []
    for name in names:
        if name not in NAMES:
            raise SystemExit(f"no contender {name}; there are {', '.join(NAMES)}")
        try:
            found.append(importlib.import_module(f".{name}", __package__))
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    limit_threads(options.threads)

    from . import curves
    from .settings import expected, sizes

    inputs = sizes(options.quick)
    points = []
    want = expected(inputs)
    for contender in load(options.contenders.split(",")):
        contender.set_threads(options.threads)
        print(f"{contender.name} {contender.version()}", file=sys.stderr)
        for setting in contender.settings(inputs, options.quick):
            if not re.search(options.filter, setting.name):
                continue
            points.append(curves.checked(setting, want))
            print(curves.line_of_check(points[-1]), file=sys.stderr, flush=True)
    gc.collect()
    curves.measure(points, options.rounds)
    heading = f"{inputs.layers} layers of {inputs.width}, {inputs.batch} x {inputs.length} tokens"
    print("\n".join(curves.table(points, heading, OURS)))
    if options.plot:
        curves.plot(points, heading, options.plot)
        print(f"drawn in {options.plot}")
    return 1 if any(point.wrong for point in points) else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # As in benchmarks/__main__.py.
    os._exit(code)
