"""States of loops under a budget and on disk: the published optima, the bits of the loop that keeps
everything, and every fault of the disk as an error that leaves all as it was."""

import gc
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import wengert as wg
from checkpoint_schedules.hrevolve_sequences.disk_revolve import get_opt_inf_table
from checkpoint_schedules.hrevolve_sequences.hrevolve import get_hopt_table
from wengert import _core, byte_size

from benchmarks import long_loops

X0 = np.linspace(0.1, 1.0, 1000)


def step(c, _):
    return wg.sin(c) * 1.01 + c.mean(), (c[:2] * c[:2]).sum()


def gradient(length, checkpoint, body=step):
    def loss(x):
        last, ys = wg.scan(body, x, None, length, checkpoint=checkpoint)
        return (last * last).sum() + (0.0 if ys is None else ys.sum())

    return wg.value_and_grad(loss)


def same(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


COSTS = [(0.5, 0.5), (2.0, 1.0), (5.0, 7.0)]


@pytest.mark.parametrize(("write", "read"), COSTS)
@pytest.mark.parametrize("disk", [1, 2, 5])
@pytest.mark.parametrize("memory", [1, 2, 4])
def test_costs_are_those_of_hrevolve(memory, disk, write, read):
    """Where the first state is on disk: they count it among those, and one step less."""
    longest = 40
    stored, _ = get_hopt_table(longest, (memory, disk + 1), (0.0, write), (0.0, read), 0.0, 1.0)
    for length in range(2, longest + 1):
        found = _core._two_level_cost(length, memory, disk, write, read, True)
        assert found == pytest.approx(stored[1][length - 1][disk + 1])


@pytest.mark.parametrize(("write", "read"), COSTS)
@pytest.mark.parametrize("memory", [1, 3])
def test_costs_are_those_of_disk_revolve(memory, write, read):
    longest = 80
    published = get_opt_inf_table(longest, memory, 1.0, 0.0, read, write, False)
    for length in range(3, longest + 1):
        found = _core._two_level_cost(length, memory, -1, write, read, True) + write
        in_memory = _core._least_advances(length, memory)
        assert min(found, in_memory) == pytest.approx(published[length - 1])


def test_the_initial_state_is_at_hand():
    """What a schedule of ours costs is at most that of one that must store the first state."""
    for memory in (0, 1, 3):
        for disk in (0, 1, 4, -1):
            ours = _core._two_level_cost(50, memory, disk, 2.0, 1.0, False)
            assert ours <= _core._least_advances(50, memory + 1)
            assert ours <= _core._two_level_cost(50, memory, disk, 2.0, 1.0, True)
    assert _core._two_level_cost(50, 3, 0, 2.0, 1.0, False) == _core._least_advances(50, 4)


def test_long_chains_go_to_disk_at_equal_distances():
    exact = _core._two_level_cost(28_000, 3, -1, 20.0, 10.0, False)
    longer = _core._two_level_cost(280_000, 3, -1, 20.0, 10.0, False)
    assert 9.9 * exact < longer < 10.1 * exact
    few = _core._two_level_cost(100_000, 10, 100, 20.0, 10.0, False)
    assert few < _core._least_advances(100_000, 11)


@pytest.mark.parametrize("disk", [0, 1, 3, None, "40KB"])
@pytest.mark.parametrize("memory", [0, 1, 4])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 60])
def test_same_bits(length, memory, disk):
    expected = gradient(length, None)(X0)
    for costs in ((0.1, 0.1), (3.0, 2.0), (None, None)):
        keep = wg.TwoLevel(memory, disk, write_cost=costs[0], read_cost=costs[1])
        same(gradient(length, keep)(X0), expected)
    compiled = wg.compile(gradient(length, keep))
    for _ in range(3):
        same(compiled(X0), expected)
    pair = np.stack([X0, X0 + 0.1])
    mapped = wg.vmap(gradient(length, None))(pair)
    same(wg.vmap(gradient(length, keep))(pair), mapped)


def settled_writes():
    """The bytes written so far, when none are written any more: the last ones end behind a call."""
    seen, now = None, _core._spill_times()[2]
    while now != seen:
        time.sleep(0.3)
        seen, now = now, _core._spill_times()[2]
    return now


@pytest.mark.parametrize(("memory", "disk"), [(1, None), (2, 3), (0, 2), (4, None)])
def test_evaluations_are_those_of_the_plan(memory, disk):
    count = 0

    @wg.primitive
    def counted(x):
        nonlocal count
        count += 1
        return np.sin(x)

    @counted.def_vjp
    def _(ct, out, x):
        return (ct * np.cos(x),)

    def run(write, read):
        nonlocal count
        keep = wg.TwoLevel(memory, disk, write_cost=write, read_cost=read)
        f = wg.compile(gradient(70, keep, lambda c, _: (counted(c), None)))
        f(X0)
        before, count = settled_writes(), 0
        f(X0)
        written = (settled_writes() - before) / X0.nbytes
        limit = -1 if disk is None else disk
        return count - 70, written, _core._two_level_cost(70, memory, limit, write, read, False)

    advanced, written, planned = run(0.0, 0.0)
    assert advanced == planned and written > 0
    advanced, written, planned = run(2.0, 0.0)
    assert advanced + 2.0 * written == planned
    advanced, written, planned = run(2.0, 1.0)
    assert planned - 70 <= advanced + 2.0 * written <= planned


def test_a_second_sweep_and_a_state_of_several_tensors():
    def body(c, _):
        a, (n, b) = c
        return (wg.cos(a) * b.sum(), (n + 1, b * 0.9 + n)), None

    def run(keep):
        a = wg.tensor(np.linspace(0, 1, 7), requires_grad=True)
        b = wg.tensor(np.ones((2, 3), dtype="float32"), requires_grad=True)
        last, _ = wg.scan(body, (a, (0, b)), None, 30, checkpoint=keep)
        y = last[0].sum() + last[1][1].sum()
        y.backward(retain_graph=True)
        first = (a.grad, b.grad)
        a.grad = b.grad = None
        y.backward()
        same((a.grad, b.grad), first)
        return first

    same(run(wg.TwoLevel(1, write_cost=1, read_cost=1)), run(None))


def open_files(folder):
    """Open files of states that lie in the folder, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(f"{folder}/wengert-"):
            found[int(name)] = target
    return found


def test_files_have_no_name_and_are_closed(tmp_path):
    keep = wg.TwoLevel(1, directory=tmp_path, write_cost=1, read_cost=1)
    x = wg.tensor(X0, requires_grad=True)
    y = wg.scan(step, x, None, 40, checkpoint=keep)[0].sum()
    (target,) = open_files(tmp_path).values()
    assert target.endswith("(deleted)")
    assert os.listdir(tmp_path) == []
    y.backward()
    del y
    gc.collect()
    assert open_files(tmp_path) == {}


def threads():
    return len(os.listdir("/proc/self/task"))


def test_few_files_and_threads_are_kept(tmp_path):
    """Of a compiled loop whose sweeps come at once, late or never, its records lying anywhere."""
    keep = wg.TwoLevel(1, directory=tmp_path, write_cost=1, read_cost=1)
    f = wg.compile(lambda x: wg.scan(step, x, None, 40, checkpoint=keep)[0].sum())
    x = wg.tensor(X0, requires_grad=True)
    f(x).backward()
    expected, before = x.grad, threads()
    assert len(open_files(tmp_path)) == 1
    elsewhere = []
    for _ in range(30):
        x.grad = None
        y = f(x)
        elsewhere.append(wg.zeros(y.size))
        y.backward()
        same(x.grad, expected)
        assert len(open_files(tmp_path)) == 1 and threads() <= before
    waiting = [f(x) for _ in range(30)]
    assert len(open_files(tmp_path)) <= 8 and threads() <= before + 7
    for y in waiting:  # the first ones begin from the initial state
        x.grad = None
        y.backward()
        same(x.grad, expected)
    assert len(open_files(tmp_path)) <= 2 and threads() <= before + 1
    for _ in range(30):
        f(x)
    assert len(open_files(tmp_path)) <= 8
    del f, y, waiting
    gc.collect()
    assert open_files(tmp_path) == {} and threads() < before


def faulty(harm, at):
    """A body that does harm once, in its ``at``-th evaluation."""
    calls = [0]

    @wg.primitive
    def f(x):
        calls[0] += 1
        if calls[0] == at[0]:
            harm()
        return np.sin(x)

    @f.def_vjp
    def _(ct, out, x):
        return (ct * np.cos(x),)

    return calls, lambda c, _: (f(c), None)


def flip_bits(folder):
    (file,) = open_files(folder)
    for place in range(0, os.fstat(file).st_size, 8000):
        byte = os.pread(file, 1, place + 5)
        os.pwrite(file, bytes([byte[0] ^ 1]), place + 5)


def cut_short(folder):
    (file,) = open_files(folder)
    os.ftruncate(file, 0)


@pytest.mark.parametrize(
    ("harm", "words"),
    [(flip_bits, "other bits than were written"), (cut_short, "cut short|other bits")],
)
def test_states_that_change_on_disk_are_noticed(harm, words, tmp_path):
    at = [-1]
    calls, body = faulty(lambda: harm(tmp_path), at)
    keep = wg.TwoLevel(1, directory=tmp_path, write_cost=1, read_cost=1)
    x = wg.tensor(X0, requires_grad=True)
    y = wg.scan(body, x, None, 60, checkpoint=keep)[0].sum()
    at[0] = calls[0] + 3
    before = x.numpy().copy()
    with pytest.raises(wg.FileError, match=words):
        y.backward(retain_graph=True)
    assert x.grad is None and (x.numpy() == before).all()
    assert os.listdir(tmp_path) == []
    y.backward()  # begins from the initial state
    z = wg.tensor(X0, requires_grad=True)
    wg.scan(body, z, None, 60)[0].sum().backward()
    same(x.grad, z.grad)


def test_a_compiled_loop_recovers_from_a_fault(tmp_path):
    at = [-1]
    calls, body = faulty(lambda: cut_short(tmp_path), at)
    keep = wg.TwoLevel(1, directory=tmp_path, write_cost=1, read_cost=1)
    f = wg.compile(gradient(60, keep, body))
    expected = f(X0)
    at[0] = calls[0] + 62
    with pytest.raises(wg.FileError):
        f(X0)
    for _ in range(2):
        same(f(X0), expected)


@pytest.mark.parametrize("outer", [None, wg.Binomial(2), wg.TwoLevel(1, write_cost=1, read_cost=1)])
def test_nested_loops(outer):
    def loss(outer, inner):
        def row(c, t):
            c, y = wg.scan(lambda c, _: (wg.sin(c * t), c[0]), c, None, 12, checkpoint=inner)
            return c * 0.9 + t, y.sum()

        def call(x):
            c, ys = wg.scan(row, x, np.linspace(0.5, 1.5, 9), checkpoint=outer)
            return (c * c).sum() + ys.sum()

        return wg.grad(call)

    inner = wg.TwoLevel(1, write_cost=0.1, read_cost=0.1)
    expected = loss(None, None)(X0)
    same(loss(outer, inner)(X0), expected)
    compiled = wg.compile(loss(outer, inner))
    for _ in range(3):
        same(compiled(X0), expected)


def test_mapped_loops_keep_their_files():
    """Their gradients evaluate as many steps as those of one example."""
    keep = wg.TwoLevel(1, write_cost=0, read_cost=0)
    plain = wg.vmap(wg.grad(lambda x: wg.scan(step, x, None, 60)[0].sum()))(np.stack([X0, X0]))
    before = _core._spill_times()
    f = wg.vmap(wg.grad(lambda x: wg.scan(step, x, None, 60, checkpoint=keep)[0].sum()))
    same(f(np.stack([X0, X0])), plain)
    written, read = (b - a for a, b in zip(before[2:], _core._spill_times()[2:]))
    assert written > 20 * X0.nbytes and read > 0.5 * written


PROGRAM = """
import os, resource, signal, sys
import numpy as np
import wengert as wg
from benchmarks import long_loops
x = wg.tensor(np.ones(1000), requires_grad=True)
def run(directory):
    keep = wg.TwoLevel(1, directory=directory, write_cost=1, read_cost=1)
    y = wg.scan(lambda c, _: (wg.sin(c), None), x, None, 60, checkpoint=keep)[0].sum()
    y.backward()
folder = sys.argv[1]
"""


def run_alone(text, folder, program=PROGRAM):
    """The program and then the text, in a process of their own."""
    return subprocess.run(
        [sys.executable, "-c", program + textwrap.dedent(text), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_full_disk(tmp_path):
    """A limit on the size of files stands for it: writes come back short, then fail."""
    done = run_alone(
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_500, 20_500))
        before = x.numpy().copy()
        try:
            run(folder)
        except wg.FileError as error:
            assert isinstance(error, OSError), error
            print(error)
        assert x.grad is None and (x.numpy() == before).all()
        resource.setrlimit
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot write a state" in done.stdout and "free some space" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_gone_or_closed(tmp_path):
    with pytest.raises(wg.FileError, match=r"nowhere: No such file.*wg.TwoLevel\(directory"):
        gradient(60, wg.TwoLevel(1, directory=tmp_path / "nowhere", write_cost=1, read_cost=1))(X0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    done = run_alone(
        """
        if os.geteuid() == 0:
            os.chmod(os.path.dirname(folder), 0o755)
            os.seteuid(65534)
        try:
            run(folder)
        except wg.FileError as error:
            print(error)
        """,
        closed,
    )
    assert done.returncode == 0, done.stderr
    assert "Permission denied" in done.stdout
    assert os.listdir(closed) == []


def test_a_killed_process_leaves_nothing(tmp_path):
    done = run_alone(
        """
        @wg.primitive
        def f(x):
            if ready:
                os.kill(os.getpid(), signal.SIGKILL)
            return np.sin(x)
        @f.def_vjp
        def _(ct, out, x):
            return (ct * np.cos(x),)
        ready = False
        keep = wg.TwoLevel(1, directory=folder, write_cost=1, read_cost=1)
        y = wg.scan(lambda c, _: (f(c), None), x, None, 60, checkpoint=keep)[0].sum()
        ready = True
        y.backward()
        """,
        tmp_path,
    )
    assert done.returncode == -9
    assert os.listdir(tmp_path) == []


def peak_of(f, *args):
    f(*args)
    gc.collect()
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    result = f(*args)
    return wg.memory.peak_bytes() - before, result


@pytest.mark.parametrize("kind", [wg.Budget, wg.TwoLevel])
@pytest.mark.parametrize("budget", [60_000, "200KB", "1MB", "100MB"])
def test_budgets_hold(kind, budget):
    if kind is wg.TwoLevel:
        budget = "140KB" if budget == 60_000 else budget
    x = wg.asarray(X0)
    w = wg.asarray(np.linspace(0.5, 1.5, 1000))
    xs = wg.asarray(np.linspace(0.0, 1.0, 300))

    def loss(checkpoint):
        def f(x, w, xs):
            last, ys = wg.scan(
                lambda c, t: (wg.sin(c * w + t), c[0] * t), x, xs, checkpoint=checkpoint
            )
            return (last * last).sum() + (ys * ys).sum()

        return wg.grad(f, (0, 1, 2))

    size = kind(budget)
    try:
        found = loss(size)(x, w, xs)
    except wg.ArgumentError as error:
        least = int(str(error).split("at least ")[1].split(" ")[0])
        size = kind(f"{least}B")
        budget = least
    limit = byte_size.parse("test", budget)
    same_bits = loss(None)(x, w, xs)
    for f in (loss(size), wg.compile(loss(size))):
        peak, found = peak_of(f, x, w, xs)
        assert peak <= limit
        same(found, same_bits)


def test_budgets_use_what_they_get():
    f = gradient(1000, wg.Budget("1MB"), lambda c, _: (wg.sin(c), None))
    peak, _ = peak_of(f, wg.asarray(X0))
    assert 0.85e6 < peak <= 1e6


@pytest.mark.parametrize("kind", [wg.Budget, wg.TwoLevel])
def test_the_least_budget_is_stated_and_is_enough(kind):
    f = lambda budget: gradient(300, kind(budget))(X0)  # noqa: E731
    with pytest.raises(wg.ArgumentError, match=r"takes at least \d+ bytes") as error:
        f("1KB")
    least = int(str(error.value).split("at least ")[1].split(" ")[0])
    with pytest.raises(wg.ArgumentError):
        f(f"{least - 1}B")
    same(f(f"{least}B"), gradient(300, None)(X0))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wg.Budget(None), wg.ArgumentTypeError, "Budget: takes bytes"),
        (lambda: wg.Budget("much"), wg.ArgumentError, "Budget: takes a size"),
        (lambda: wg.TwoLevel(-1), wg.ArgumentError, "not be negative"),
        (lambda: wg.TwoLevel(1, directory="a\0b"), wg.ArgumentError, "null character"),
        (lambda: wg.TwoLevel(1.5), wg.ArgumentTypeError, "'memory' takes an int"),
        (lambda: wg.TwoLevel("x"), wg.ArgumentError, "TwoLevel: takes a size"),
        (lambda: wg.TwoLevel(1, 2.5), wg.ArgumentTypeError, "'disk' takes an int"),
        (lambda: wg.TwoLevel(1, directory=3), wg.ArgumentTypeError, "takes a path"),
        (lambda: wg.TwoLevel(1, write_cost=-1), wg.ArgumentError, "0 or more steps"),
        (lambda: wg.TwoLevel(1, read_cost=float("nan")), wg.ArgumentError, "0 or more steps"),
        (lambda: wg.TwoLevel(1, read_cost="1"), wg.ArgumentTypeError, "takes a number"),
    ],
)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_long_loops_of_the_benchmarks_in_small(capsys):
    assert long_loops.main(["--scale", "0.004", "--rounds", "1"]) == 0
    assert "peaks and bits are right" in capsys.readouterr().out
