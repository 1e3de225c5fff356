"""What the machine that runs the tests can do."""

import sys
from pathlib import Path

import wengert as wg


def instruction_sets() -> list[str]:
    """The instruction sets whose kernels run here, the widest last."""
    best, out = wg.config()["isa"], []
    for name in ("x86-64", "avx2", "avx512"):
        try:
            wg._core._set_isa(name)
        except wg.Error:
            continue
        out.append(name)
    wg._core._set_isa(best)
    return out or [best]


def tells_memory() -> bool:
    """Whether the process's memory is the program's: Linux tells, and no sanitizer keeps some."""
    maps = Path("/proc/self/maps")
    return sys.platform.startswith("linux") and not any(
        name in maps.read_text() for name in ("libasan", "libtsan")
    )
