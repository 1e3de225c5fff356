"""Gradients through long loops in little memory: `python -m benchmarks.long_loops`.

An integrator over 1,000,000 steps (state: 1,000 float64) under 64 MB; a state of 1 MB over 2,000
steps, where everything fits, against keeping everything; and over 20,000 steps under 64 MB and a
file. Peaks are the allocator's. `--scale 0.01` does a hundredth of the steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import wengert as wg
from wengert import _core

BUDGET = "64MB"
LIMIT = 64_000_000


class Run(NamedTuple):
    seconds: float
    peak: int
    """Bytes of arrays above those that were there."""
    gradient: Any
    worked: float
    """Seconds that the helper thread read, wrote and checked."""
    waited: float
    """Seconds that the computation waited for it."""
    written: int
    read: int


def gradient(size: int, steps: int, checkpoint: Any) -> Run:
    """Of the end of Euler's method for x' = cos x, by its start."""
    start = wg.asarray(np.linspace(0.1, 1.0, size))

    def end(x: Any) -> Any:
        last, _ = wg.scan(
            lambda x, _: (x + 1e-4 * wg.cos(x), None), x, None, steps, checkpoint=checkpoint
        )
        return last.sum()

    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    disk = _core._spill_times()
    began = time.perf_counter()
    found = wg.grad(end)(start)
    seconds = time.perf_counter() - began
    worked, waited, written, read = (b - a for a, b in zip(disk, _core._spill_times()))
    peak = wg.memory.peak_bytes() - before
    return Run(seconds, peak, found.numpy(), worked, waited, int(written), int(read))


def show(name: str, run: Run) -> None:
    print(f"{name:46} {run.seconds:8.2f} s, peak {run.peak / 1e6:8.1f} MB")
    if run.written:
        print(
            f"{'':46} {run.written / 1e6:.0f} MB written and {run.read / 1e6:.0f} MB read in "
            f"{run.worked:.2f} s of the helper thread, of which {run.waited:.2f} s were waited for"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser("python -m benchmarks.long_loops", description=__doc__)
    p.add_argument("--scale", type=float, default=1.0, help="of the numbers of steps")
    p.add_argument("--rounds", type=int, default=3, help="of the comparison")
    options = p.parse_args(arguments)

    def steps(full: int) -> int:
        return max(3, round(full * options.scale))

    within = True
    long = steps(1_000_000)
    run = gradient(1_000, long, wg.Budget(BUDGET))
    show(f"{long} steps of 8 kB, Budget('{BUDGET}')", run)
    within &= run.peak <= LIMIT

    some, ratios = steps(2_000), []
    for _ in range(options.rounds):
        whole = gradient(125_000, some, None)
        kept = gradient(125_000, some, wg.TwoLevel(BUDGET))
        ratios.append(kept.seconds / whole.seconds)
        within &= bool((whole.gradient == kept.gradient).all()) and kept.peak <= LIMIT
    show(f"{some} steps of 1 MB, everything kept", whole)
    show(f"{some} steps of 1 MB, TwoLevel('{BUDGET}')", kept)
    print(f"{'':46} {statistics.median(ratios):.2f} of the time of keeping everything")

    many = steps(20_000)
    run = gradient(125_000, many, wg.TwoLevel(BUDGET))
    show(f"{many} steps of 1 MB, TwoLevel('{BUDGET}')", run)
    within &= run.peak <= LIMIT
    print("peaks and bits are right" if within else "WRONG: a peak or a bit")
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
