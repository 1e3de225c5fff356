"""`python -m benchmarks`: problems x contenders, checked, timed in turns, printed and compared."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from .settings import limit_threads


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    p.add_argument("--filter", metavar="REGEX", default="", help="problems whose name has a match")
    p.add_argument("--contenders", metavar="A,B", help="only these, e.g. wengert,torch")
    p.add_argument("--threads", type=int, default=1, help="threads of every contender (default 1)")
    p.add_argument("--rounds", type=int, default=99, help="at most so many rounds a problem")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    p.add_argument("--compare", type=Path, metavar="FILE", help="print changes since that --json")
    p.add_argument("--list", action="store_true", help="name the problems and do nothing")
    p.add_argument("--quick", action="store_true", help="check all, on small sizes; time little")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.threads < 1:
        parser().error(f"--threads must be at least 1; got {options.threads}")
    base = json.loads(options.compare.read_text()) if options.compare else None
    # Before NumPy and the contenders load: most read their number of threads only then.
    cpus = limit_threads(options.threads)

    from . import report
    from .contenders import load
    from .harness import Effort, run_problem
    from .problems import all_problems

    problems = [p for p in all_problems(options.quick, cpus) if re.search(options.filter, p.name)]
    if options.list:
        print("\n".join(problem.name for problem in problems))
        return 0
    if not problems:
        print(f"no problem matches {options.filter!r}; --list names them", file=sys.stderr)
        return 2
    contenders = load(options.contenders.split(",") if options.contenders else None)
    for contender in contenders:
        contender.set_threads(options.threads)
    seconds = 0.001 if options.quick else Effort.seconds
    pause = 0.25 if options.threads > 1 and not options.quick else 0.0
    seconds = 2.5 * seconds if pause else seconds
    effort = Effort(min(options.rounds, 2) if options.quick else options.rounds, seconds, pause)

    machine = report.machine(options.threads, contenders)
    versions = ", ".join(f"{name} {version}" for name, version in machine["contenders"].items())
    print(f"{machine['processor']}, {options.threads} thread(s); {versions}\n{report.HEADER}")
    rows = []
    for problem in problems:
        found = run_problem(problem, contenders, effort)
        print("\n".join(report.lines_of(found)), flush=True)
        rows += found
    if options.json:
        report.write(options.json, rows, machine)
        print(f"written to {options.json}")
    if base is not None:
        print("\n".join(["", f"changes since {options.compare}", *report.changes(rows, base)]))
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Without the interpreter's end: libraries of the contenders are known to crash there.
    os._exit(code)
