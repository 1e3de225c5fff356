"""The contenders, one file each; what is not installed is left out."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

NAMES = (
    *("wengert", "wengert_compiled", "wengert_run", "floor", "reference", "numpy_manual"),
    *("torch", "torch_compile", "jax", "jax_scan"),
)
SLOW_TO_START = {"torch_compile"}  # left out unless named


def load(names: Sequence[str] | None = None) -> list[Any]:
    """The modules of the contenders that are installed; says in a line which are not."""
    unknown = set(names or ()) - set(NAMES)
    if unknown:
        raise SystemExit(f"no contender {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    found = []
    for name in names or [name for name in NAMES if name not in SLOW_TO_START]:
        try:
            found.append(importlib.import_module(f".{name}", __name__))
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found
