"""`python -m benchmarks.neighbour NAME CPUS SECONDS`: prints a contender's time of a training step
alone, and with a busy process on the same processors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from .harness import Case, elapsed


def time_of_step(case: Case, seconds: float) -> float:
    """The mean over as many steps as `seconds` hold: the mean counts the rare long ones."""
    runs, spent = 0, 0.0
    while spent < seconds:
        spent += elapsed(case, 10)
        runs += 10
    return spent / (runs * case.steps)


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
    time_of_step(case, span / 2)
    alone = time_of_step(case, span)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(min(span, 0.2))
        beside = time_of_step(case, 2 * span)
    finally:
        busy.kill()
        busy.wait()
    print(json.dumps({"alone": alone, "beside": beside, "slowdown": beside / alone}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
