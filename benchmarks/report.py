"""Rows as a table, as JSON, and against an earlier run's JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .harness import Row

OURS = {"wengert": "eager", "wengert_compiled": "compiled", "wengert_run": "run"}
"""Heads of the columns of ratios: ours over theirs."""


def figure(value: float, unit: str) -> str:
    """Three digits with a unit that keeps them short: 1.23 us, 45.6 ms, 2.10 x."""
    if unit != "s":
        return f"{value:.3g} {unit}"
    for scale, name in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        if value < 999.5 * scale:
            return f"{value / scale:.3g} {name}"
    return f"{value:.3g} s"


def bytes_figure(value: int | None) -> str:
    """Three digits with a unit that keeps them short: 1 kB is 1000 B, as in the package."""
    if value is None:
        return ""
    for scale, name in ((1, "B"), (1e3, "kB"), (1e6, "MB")):
        if value < 999.5 * scale:
            return f"{value / scale:.3g} {name}"
    return f"{value / 1e9:.3g} GB"


def lines_of(rows: Sequence[Row]) -> list[str]:
    """The lines of one problem's table."""
    lines = [rows[0].problem] if rows else []
    ours = {row.contender: row.ratios for row in rows if row.wrong is None}
    for row in rows:
        if row.wrong is not None:
            lines.append(f"  {row.contender:<16} WRONG: {row.wrong}")
            continue
        first, third = row.quartiles
        spread = f"[{figure(first, row.unit)} .. {figure(third, row.unit)}]"
        line = f"  {row.contender:<16} {figure(row.median, row.unit):>10}  {spread:<26}"
        for name in OURS:
            quotient = ours.get(name, {}).get(row.contender)
            line += f" {'' if quotient is None else f'{quotient:.3g}':>11}"
        lines.append(f"{line} {bytes_figure(row.peak_bytes):>9}".rstrip())
    return lines


HEADS = " ".join(f"{f'{head}/it':>11}" for head in OURS.values())
HEADER = f"  {'':<16} {'median':>10}  {'[quartiles]':<26} {HEADS} {'peak':>9}"


def as_dict(row: Row) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "problem": row.problem,
        "contender": row.contender,
        "unit": row.unit,
        "wrong": row.wrong,
    }
    if row.wrong is None:
        first, third = row.quartiles
        entry.update(
            median=row.median,
            quartiles=[first, third],
            samples=row.samples,
            ratios=row.ratios,
            peak_bytes=row.peak_bytes,
        )
    return entry


def machine(threads: int, contenders: Sequence[Any]) -> dict[str, Any]:
    """What a reader of the figures needs to know of where they come from."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "python": sys.version.split()[0],
        "threads": threads,
        "contenders": {contender.name: contender.version() for contender in contenders},
    }


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write(path: Path, rows: Sequence[Row], machine_: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine_, "rows": [as_dict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=1) + "\n")


def changes(rows: Sequence[Row], base: Mapping[str, Any]) -> list[str]:
    """A line for each row that an earlier report has too; "=" marks those whose quartiles overlap.

    Time differs with what else the machine does: the ratios to the others are beside it.
    """
    before = {(row["problem"], row["contender"]): row for row in base["rows"]}
    lines = []
    for row in rows:
        old = before.get((row.problem, row.contender))
        label = f"{row.problem:<34} {row.contender:<16}"
        if row.wrong is not None:
            lines.append(f"{label} WRONG now")
        elif old is None:
            lines.append(f"{label} new")
        elif old["wrong"] is not None:
            lines.append(f"{label} was WRONG")
        else:
            low, high = old["quartiles"]
            first, third = row.quartiles
            mark = "=" if first <= high and low <= third else " "
            line = (
                f"{label} {figure(old['median'], row.unit):>10} -> "
                f"{figure(row.median, row.unit):<10} {mark} x{row.median / old['median']:.2f}"
            )
            if row.contender in OURS:
                line += "".join(
                    f"  /{name} {old['ratios'][name]:.3g} -> {now:.3g}"
                    for name, now in row.ratios.items()
                    if name in old["ratios"]
                )
            lines.append(line)
    return lines
