"""The harness checks before it times, computes what it says, and every contender is right."""

from __future__ import annotations

import json
import os
import statistics
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import wengert as wg
from wengert import byte_size

from benchmarks import __main__ as command
from benchmarks import flops, harness, report
from benchmarks.checkpointing import __main__ as checkpointing
from benchmarks.checkpointing import curves
from benchmarks.checkpointing import wengert as budgets
from benchmarks.checkpointing.settings import Setting, expected, sizes
from benchmarks.contenders import load, wengert
from benchmarks.harness import Case, Effort, Problem, Row, Wrong
from benchmarks.problems import all_problems, rosenbrock
from benchmarks.problems.first_call import FirstCall

QUICK = Effort(rounds=1, seconds=0.0)
OURS_AND_CONTROLS = [
    *("wengert", "wengert_compiled", "wengert_run"),
    *("floor", "reference", "numpy_manual"),
]


def contender(name, value, calls=None, **case):
    def run():
        if calls is not None:
            calls.append(name)
        return value() if callable(value) else value

    return SimpleNamespace(
        name=name, version=lambda: "1", kind=lambda _: Case(run, lambda v: [v], **case)
    )


def problem(expected=2.0, **options):
    return Problem("family/one", "kind", None, lambda: [expected], 1e-3, **options)


def test_wrong_contender_is_not_timed():
    calls = []
    rows = harness.run_problem(
        problem(), [contender("right", 2.0), contender("wrong", 2.01, calls)], QUICK
    )
    assert [row.wrong is None for row in rows] == [True, False]
    assert "differs by 0.005" in rows[1].wrong
    assert calls == ["wrong"] and rows[1].samples == [] and "wrong" not in rows[0].ratios
    assert "WRONG" in report.lines_of(rows)[-1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "not finite"),
        ([2.0, 2.0], "shape"),
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero"),
    ],
)
def test_other_ways_to_be_wrong(value, message):
    (row,) = harness.run_problem(problem(), [contender("wrong", value)], QUICK)
    assert message in row.wrong


def test_a_missing_result_is_wrong():
    with pytest.raises(Wrong, match="1 results, not 2"):
        harness.check(Case(lambda: 1.0, lambda v: [v]), [1.0, 1.0], 1e-3, 1)


def test_checked_runs_are_counted():
    state = []
    case = Case(lambda: state.append(1), lambda _: [float(len(state))])
    harness.check(case, [3.0], 0.0, 3)


def test_a_contender_without_the_kind_takes_no_part():
    none = SimpleNamespace(name="none", kind=lambda _: None)
    rows = harness.run_problem(problem(), [SimpleNamespace(name="other"), none], QUICK)
    assert rows == []


def test_rounds_are_interleaved_and_ratios_are_per_round():
    order = []
    figures = {"a": iter([1.0, 2.0, 30.0]), "b": iter([2.0, 2.0, 10.0])}

    def fake(name):
        def sample():
            order.append(name)
            return next(figures[name])

        return contender(name, 2.0, sample=sample)

    a, b = harness.run_problem(problem(rounds=3), [fake("a"), fake("b")], Effort())
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert a.median == 2.0 and a.quartiles == (1.5, 16.0)
    assert a.ratios == {"b": statistics.median([0.5, 1.0, 3.0])}
    assert b.ratios == {"a": statistics.median([2.0, 1.0, 1 / 3])}


def test_time_is_per_operation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += 3.0
        return 2.0

    (row,) = harness.run_problem(
        problem(operations=6), [contender("a", run)], Effort(rounds=2, seconds=10.0)
    )
    assert row.samples == [0.5, 0.5]


def test_state_is_put_back_outside_of_the_time(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def spend(seconds, name):
        now[0] += seconds
        calls.append(name)

    case = Case(lambda: spend(1.0, "run"), list, restart=lambda: spend(50.0, "restart"), steps=200)
    assert harness.elapsed(case, 5) == 5.0
    assert calls == ["restart", "run", "run"] * 2 + ["restart", "run"]


def test_many_steps_a_call_are_checked_with_few_and_timed_by_step():
    taken = []
    case = harness.in_one_call(taken.append, lambda _: [float(sum(taken))], lambda: None)
    one = SimpleNamespace(name="one", version=lambda: "1", kind=lambda _: case)
    (row,) = harness.run_problem(problem(3.0, checked_runs=3), [one], Effort(1, 0.0))
    assert row.wrong is None
    assert taken == [3, *[harness.STEPS] * 3]  # checked, counted, warmed up, timed


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.5e-7, "s", "350 ns"),
        (9.999e-7, "s", "1 us"),
        (0.01234, "s", "12.3 ms"),
        (2.0, "s", "2 s"),
        (2.5, "x", "2.5 x"),
    ],
)
def test_figures(value, unit, text):
    assert report.figure(value, unit) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (999, "999 B"), (7578, "7.58 kB"), (999_600, "1 MB"), (2_400_000_000, "2.4 GB")],
)
def test_figures_of_bytes_have_the_unit_of_the_package(size, text):
    assert report.bytes_figure(size) == text
    if size:
        assert byte_size.parse("here", text) == pytest.approx(size, rel=5e-3)


def rows_of(samples, torch=(4.0, 4.0)):
    ours = Row("p", "wengert", "s", samples=samples)
    ours.ratios = {"torch": harness.ratio(samples, torch)}
    return [ours, Row("p", "torch", "s", samples=list(torch)), Row("p", "bad", "s", wrong="no")]


def test_compare(tmp_path):
    path = tmp_path / "deeper" / "base.json"
    report.write(path, rows_of([1.0, 1.0]), {"threads": 1})
    base = json.loads(path.read_text())
    assert base["machine"] == {"threads": 1} and base["rows"][0]["samples"] == [1.0, 1.0]
    slower, same, bad, new = report.changes(
        [*rows_of([2.0, 2.0]), Row("new", "torch", "s", samples=[1.0])], base
    )
    assert "1 s -> 2 s" in slower and "x2.00" in slower and "/torch 0.25 -> 0.5" in slower
    assert " = x1.00" in same and " = " not in slower
    assert "WRONG now" in bad and new.endswith("new")


@pytest.fixture
def command_line(monkeypatch):
    """Runs the command on the given fake contenders, without binding this process."""

    def run(*arguments, contenders):
        monkeypatch.setattr(command, "limit_threads", lambda threads: [0])
        monkeypatch.setattr("benchmarks.contenders.load", lambda names: contenders)
        monkeypatch.setattr("benchmarks.problems.all_problems", lambda quick, cpus: [problem()])
        for one in contenders:
            one.set_threads = lambda threads: None
        return command.main(["--quick", *arguments])

    return run


def test_command_line(command_line, tmp_path, capsys):
    right, wrong = contender("right", 2.0), contender("wrong", 3.0)
    path = str(tmp_path / "base.json")
    assert command_line("--json", path, contenders=[right]) == 0
    assert command_line("--compare", path, contenders=[right, wrong]) == 1
    printed = capsys.readouterr().out
    assert "WRONG: result 0 differs by 0.5" in printed and f"changes since {path}" in printed
    assert command_line("--list", contenders=[]) == 0
    assert capsys.readouterr().out == "family/one\n"
    assert command_line("--filter", "nothing", contenders=[]) == 2


def test_absent_contenders_are_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.contenders.NAMES", ("reference", "absent"))
    assert [one.name for one in load()] == ["reference"]
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit, match="no contender nobody"):
        load(["nobody"])


def test_without_scipy(monkeypatch, capsys):
    monkeypatch.setattr(rosenbrock, "find_spec", lambda name: None)
    assert rosenbrock.problems(True) == []
    assert "needs SciPy" in capsys.readouterr().err


CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


@pytest.mark.parametrize("quick", all_problems(True, CPUS), ids=lambda p: p.name)
def test_every_contender_is_right(quick):
    rows = harness.run_problem(quick, load(OURS_AND_CONTROLS), QUICK)
    assert {row.contender: row.wrong for row in rows} == {row.contender: None for row in rows}
    first = "wengert_compiled" if isinstance(quick, FirstCall) else "wengert"
    assert rows[0].contender == first and rows[0].median > 0.0


def test_peak_of_a_compiled_step_counts_its_arena():
    x = wg.tensor(np.ones((64, 64)))
    case = wengert.compiled(lambda a: wg.sin((a @ a) @ a), [x], list)
    # Two products in the arena, one result outside of it.
    assert case.peak_bytes(case.run) == 3 * x.size * 8
    assert wengert.peak_bytes(lambda: (x @ x) @ x) == 2 * x.size * 8


def point(curve, peak, seconds, budget=None, wrong=None):
    case = Case(lambda: None, list, restart=lambda: None)
    return curves.Point(Setting(curve, str(peak), case, budget), wrong, peak, [seconds])


def test_the_best_other_at_no_more_bytes():
    ours = point("ours", 90, 2.0, budget=100)
    fast, small, low, bad = (
        point("theirs", 101, 1.0),
        point("theirs", 100, 4.0),
        point("theirs", 50, 5.0),
        point("theirs", 60, 0.0, wrong="no"),
    )
    points = [ours, point("ours too", 80, 0.5), fast, small, low, bad]
    assert curves.best_peer(ours, points, ["ours", "ours too"]) is small
    assert curves.best_peer(point("ours", 40, 1.0), points, ["ours", "ours too"]) is None
    lines = "\n".join(curves.table(points, "heading", ["ours", "ours too"]))
    assert "ours: 90: 0.5 of the time of the best other" in lines
    assert "theirs: 60" in lines and "WRONG: no" in lines


def test_steps_within_budgets():
    inputs = sizes(True)
    want = expected(inputs)
    points = [curves.checked(setting, want) for setting in budgets.settings(inputs, True)]
    assert [p.wrong for p in points] == [None] * len(points)
    peaks = {p.setting.name: p.peak for p in points}
    for p in points:
        if p.setting.budget is not None:
            assert p.peak <= p.setting.budget < peaks["memory_budget: none"]
    assert peaks["wg.checkpoint: every layer"] < peaks["memory_budget: none"]
    wrong = curves.checked(points[0].setting, [want[0] + 1.0, want[1]])
    assert "result 0 differs" in wrong.wrong


def test_curves(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(checkpointing, "limit_threads", lambda threads: [0])
    monkeypatch.setattr(budgets, "set_threads", lambda threads: None)
    picture = tmp_path / "curves.png"
    options = ["--quick", "--contenders", "wengert", "--rounds", "1", "--plot", str(picture)]
    assert checkpointing.main(options) == 0
    assert "memory_budget: 25%: no other takes as little" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_who_takes_part_in_a_step():
    step = next(p for p in all_problems(True, CPUS) if p.kind == "mlp_step")
    cases = {one.name: step.prepare(one) for one in load(OURS_AND_CONTROLS)}
    assert list(cases) == OURS_AND_CONTROLS and None not in cases.values()
    assert {name for name, case in cases.items() if case.steps > 1} == {"wengert_run", "floor"}


def test_without_a_compiler(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delitem(sys.modules, "benchmarks.contenders.floor", raising=False)
    assert load(["floor"]) == []
    assert capsys.readouterr().err == "floor is left out: needs a C++ compiler\n"


@pytest.mark.parametrize("name", flops.programs())
def test_a_gradient_is_cheap(name):
    count = flops.count(name)
    assert count.value >= count.numbers > 0
    assert count.value < count.both <= flops.BOUND * count.value


def test_table_of_flops(capsys):
    flops.main()
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(flops.programs()) >= 10
    # 99 terms of seven operations each, and their sum.
    assert rows[-1].split()[:3] == ["rosenbrock", "100", str(99 * 8)]
