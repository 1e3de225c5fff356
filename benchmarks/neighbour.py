"""`python -m benchmarks.neighbour NAME CPUS SECONDS`: prints a contender's time of a training step
alone, and with a busy process on the same processors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def time_of_step(step: Callable[[], Any], seconds: float) -> float:
    """The mean over as many steps as `seconds` hold: the mean counts the rare long ones."""
    steps, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or steps == 0:
        step()
        steps += 1
    return spent / steps


def main(name: str, cpus: str, seconds: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    from .contenders import load
    from .problems import mlp

    (contender,) = load([name])
    problem = mlp.problem(*mlp.SIZES[1])
    case = problem.prepare(contender)
    assert case is not None
    span = float(seconds)
    time_of_step(case.run, span / 2)
    alone = time_of_step(case.run, span)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(min(span, 0.2))
        beside = time_of_step(case.run, 2 * span)
    finally:
        busy.kill()
        busy.wait()
    print(json.dumps({"alone": alone, "beside": beside, "slowdown": beside / alone}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
