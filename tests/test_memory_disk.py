"""wg.compile(..., memory_budget=wg.TwoLevel(...)): values that wait on disk. Same bits within every
budget, and every fault of the disk an error that leaves all tensors as they were."""

import gc
import os
import pickle
import random
import shutil
import threading
from functools import partial

import numpy as np
import pytest
import wengert as wg
from test_loop_disk import cut_short, flip_bits, open_files
from test_loop_disk import run_alone as loop_disk_alone
from test_memory_budget import (
    STEPS,
    arguments,
    chain_loss,
    held_by,
    least_and_most,
    nbytes,
    random_calls,
    recorded,
    replay_of,
    replays_of,
    same_bits,
    taken_by,
    training,
)
from wengert import _core, compiler
from wengert.explain import Schedule

FREE, USUAL, DEAR = (0.0, 0.0, 0.0), (3e-5, 1e-9, 5e-10), (10.0, 1.0, 1.0)


@pytest.fixture
def disk(monkeypatch):
    """Sets what moves are said to take: latency, and seconds a byte written and read."""

    def set_speed(speed):
        monkeypatch.setattr(compiler, "_moving", lambda directory, most: speed)

    set_speed(USUAL)
    return set_speed


def bounds(f, *args, disk=("", -1, *USUAL)):
    """Least and most bytes, where values may go to disk."""
    curve = replay_of(recorded(wg.compile(f), *args)).curve(1e10, 1e10, disk)
    return curve[-1][0], curve[0][0]


def two_level(size, **options):
    return wg.TwoLevel(memory=f"{size}B", **options)


def schedule_of(compiled):
    return Schedule(*replay_of(compiled).schedule)


def on_disk(compiled):
    return [value for value in schedule_of(compiled).values if value.on_disk]


@pytest.mark.parametrize("speed", [FREE, USUAL, DEAR])
@pytest.mark.parametrize("seed", range(8))
def test_random_programs_keep_to_every_budget(seed, speed, disk):
    disk(speed)
    draw = random.Random(seed)
    for f, x, weights in random_calls(draw, seed, 4):
        plain = wg.compile(f)
        expected = plain(x, weights)
        work_space = taken_by(plain, x, weights)
        least, most = bounds(f, x, weights, disk=("", -1, *speed))
        assert least <= least_and_most(f, x, weights)[0]
        for budget in {least, draw.randint(least, most), draw.randint(least, most)}:
            compiled = wg.compile(f, memory_budget=two_level(budget))
            found, held = held_by(compiled, x, weights)
            assert held <= budget
            for _ in range(2):
                same_bits(found, expected)
                found = compiled(x, weights)
            assert taken_by(compiled, x, weights) <= work_space
        with pytest.raises(wg.ArgumentError, match=rf"needs {least} bytes at least"):
            wg.compile(f, memory_budget=two_level(least - 1))(x, weights)


def test_budgets_that_only_a_disk_can_keep(disk):
    """A loop is never carried out again: what it stacks waits on disk or stays."""

    def loss(x, w):
        total = 0.0
        for _ in range(6):
            x, xs = wg.scan(lambda c, _: (wg.tanh(c @ w), c * 2.0), x, None, length=8)
            total = total + (xs * xs).sum()
        return total

    f = wg.grad(loss, argnums=(0, 1))
    args = arguments()
    expected = wg.compile(f, exact=True)(*args)
    least, _ = bounds(f, *args)
    compiled = wg.compile(f, memory_budget=two_level(least))
    found, held = held_by(compiled, *args)
    assert held <= least
    same_bits(found, expected)
    assert any("scan" in value.name for value in on_disk(compiled))
    with pytest.raises(wg.ArgumentError, match=r"needs \d+ bytes at least") as error:
        wg.compile(f, memory_budget=least)(*args)
    assert least < 0.6 * int(str(error.value).split("needs ")[1].split(" ")[0])


def test_dear_values_go_to_disk_and_cheap_ones_are_made_again(disk):
    w = wg.ones((1024, 1024), dtype=wg.float32) / 1024

    def products(x):
        for _ in range(8):
            x = wg.tanh(x @ w)
        return x.sum()

    def shifts(x):
        for i in range(12):
            x = wg.sin(x[::-1] + i)
        return x.sum()

    few, many = wg.ones((48, 1024)), wg.ones(300_000)
    slow = (1e-4, 1e-7, 1e-7)
    for f, x, dear, speed in ((products, few, True, USUAL), (shifts, many, False, slow)):
        disk(speed)
        f = wg.grad(f)
        least, most = least_and_most(f, x)
        budget = (2 * least + most) // 3
        compiled = wg.compile(f, memory_budget=two_level(budget))
        same_bits(compiled(x), wg.compile(f)(x))
        again = [value for value in schedule_of(compiled).values if value.times]
        assert bool(on_disk(compiled)) == dear
        assert any(value.name == "sin" for value in again) != dear
        if dear:
            plain = wg.compile(f, memory_budget=budget)
            plain(x)
            assert schedule_of(compiled).seconds < 0.5 * schedule_of(plain).seconds


def test_moves_run_beside_the_steps(disk):
    """Where there is room to wait in, hardly anything waits by prediction."""
    w = wg.ones((1024, 1024), dtype=wg.float32) / 1024

    def loss(x):
        for _ in range(10):
            x = wg.tanh(x @ w)
        return x.sum()

    f, x = wg.grad(loss), wg.ones((48, 1024))
    least, most = bounds(f, x)
    compiled = wg.compile(f, memory_budget=two_level((least + most) // 2))
    before = _core._spill_times()
    compiled(x)
    written, read = (b - a for a, b in zip(before[2:], _core._spill_times()[2:]))
    moved = sum(value.bytes for value in on_disk(compiled))
    assert moved > 0 and written == read == moved
    found = schedule_of(compiled)
    assert found.seconds < 0.3 * found.moving


def test_a_limit_for_the_disk(disk, tmp_path):
    disk(FREE)
    f = wg.grad(chain_loss, argnums=1)
    args = arguments()
    expected = wg.compile(f)(*args)
    most = least_and_most(f, *args)[1]
    sizes = []
    for limit in (0, 2100, 5000, None):
        size = None if limit is None else f"{limit}B"
        least = bounds(f, *args, disk=("", -1 if limit is None else limit, *FREE))[0]
        budget = two_level((least + most) // 2, disk=size, directory=tmp_path)
        compiled = wg.compile(f, memory_budget=budget)
        same_bits(compiled(*args), expected)
        (file,) = open_files(tmp_path) or [None]
        length = 0 if file is None else os.fstat(file).st_size
        assert length == sum(value.bytes for value in on_disk(compiled))
        assert limit is None or length <= limit
        sizes.append(least)
        del compiled
        gc.collect()
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]
    assert sizes[0] == least_and_most(f, *args)[0]


def test_planning_looks_at_each_step_a_bounded_number_of_times(disk):
    def deep(x, w, n):
        for _ in range(n):
            x = wg.tanh(x @ w) + wg.sin(x) * x
        return x.sum()

    x, w = arguments(4, 4)
    for n in (150, 600):
        f = wg.grad(lambda x, w: deep(x, w, n), argnums=1)
        least, most = least_and_most(f, x, w)
        compiled = wg.compile(f, memory_budget=two_level((least + most) // 2))
        nodes = len(compiled.program(x, w))
        plans, looked = replay_of(compiled).schedule[6:8]
        assert plans <= 200 and looked / nodes < 20_000


def test_explain_and_the_curve_show_it(disk, tmp_path):
    disk(FREE)
    f = wg.grad(chain_loss, argnums=1)
    args = arguments()
    least, most = bounds(f, *args, disk=("", -1, *FREE))
    text = wg.compile(f, memory_budget=two_level(least)).explain(*args)
    (line,) = [line for line in text.splitlines() if line.startswith("on disk")]
    assert "values" in line and "ms to write and read" in line
    assert "spill" in text and "end_fetch" in text
    assert "fetch(" in str(wg.compile(f, memory_budget=two_level(least)).program(*args))
    compiled = wg.compile(f, memory_budget=two_level(most, directory=tmp_path))
    curve = wg.memory_curve(compiled, *args, points=5)
    assert curve.least.peak_bytes == least and curve.most.peak_bytes == most
    assert any("disk" in point.way for point in curve.points)
    assert "on disk" not in wg.compile(f, memory_budget=wg.Budget(most)).explain(*args)


def test_gradients_asked_for_later_second_derivatives_and_nested_calls(disk):
    disk(FREE)
    x = arguments()[0]
    w = wg.tensor(arguments()[1].numpy(), requires_grad=True)
    wg.compile(chain_loss)(x, w).backward()
    expected, w.grad = w.grad, None
    least = bounds(chain_loss, x, w)[0]
    compiled = wg.compile(chain_loss, memory_budget=two_level(least))
    for _ in range(2):
        w.grad = None
        compiled(x, w).backward()
        same_bits(w.grad, expected)
    f = wg.grad(lambda x, w: (wg.grad(chain_loss)(x, w) ** 2).sum(), argnums=(0, 1))
    args = arguments()
    expected = wg.compile(f)(*args)
    least = bounds(f, *args)[0]
    inner = wg.compile(f, memory_budget=two_level(least))
    same_bits(inner(*args), expected)
    outer = wg.compile(lambda x, w: inner(x, w), memory_budget=two_level(least))
    found, held = held_by(outer, *args)
    assert held <= least and on_disk(outer)
    same_bits(found, expected)


def test_threads_that_call_at_once(disk, tmp_path):
    disk(FREE)
    f = wg.grad(chain_loss, argnums=(0, 1))
    args = arguments(64, 48)
    compiled = wg.compile(f, memory_budget=two_level(bounds(f, *args)[0], directory=tmp_path))
    pairs = [(args[0] * (i + 1.0), args[1] * 0.1) for i in range(3)]
    expected = [wg.compile(f)(*pair) for pair in pairs]
    compiled(*args)
    assert on_disk(compiled)
    wrong = []

    def call(i):
        for _ in range(30):
            try:
                same_bits(compiled(*pairs[i]), expected[i])
            except Exception as error:  # shown below
                wrong.append(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 1 <= len(open_files(tmp_path)) <= 3


@pytest.mark.parametrize("name", STEPS)
def test_training_steps(name, disk):
    disk(FREE)
    step, args, state = training(*STEPS[name])
    expected = [wg.compile(step)(*args) for _ in range(2)]
    step, args, state = training(*STEPS[name])
    plain = wg.compile(step)
    expected = [plain(*args) for _ in range(2)], plain.run(*args, steps=3), state()
    step, args, _ = training(*STEPS[name])
    least, most = bounds(step, *args)
    wg.compile(step)(*args)
    later = bounds(step, *args)
    step, args, state = training(*STEPS[name])
    budget = max(least, later[0], (least + most) // 3)
    compiled = wg.compile(step, memory_budget=two_level(budget))
    losses = [compiled(*args) for _ in range(2)]
    same_bits((losses, compiled.run(*args, steps=3), state()), expected)
    assert all(replay.arena_bytes <= budget for replay in replays_of(compiled))


def harmed_training(folder, harm, at, again=6):
    """A step over a model whose forward pass does harm when ``at`` says so."""

    @wg.primitive
    def touch(x):
        return np.asarray(x)

    @touch.def_vjp
    def _(ct, out, x):
        if at[0]:
            at[0] = False
            harm(folder)
        return (np.asarray(ct),)

    draw = np.random.default_rng(0)
    weights = [
        wg.tensor(draw.standard_normal((40, 40)) * 0.2, requires_grad=True) for _ in range(again)
    ]
    optimizer = wg.optim.Adam(weights, lr=1e-2)
    x = wg.tensor(draw.standard_normal((2000, 40)))

    def step(x):
        h = x
        for w in weights:
            h = wg.tanh(h @ w)
        loss = (touch(h) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def state():
        return [wg.tensor(w.detach()) for w in weights]

    return step, x, state


@pytest.mark.parametrize(
    ("harm", "words"),
    [(flip_bits, "other bits than were written"), (cut_short, "cut short|other bits")],
)
def test_values_that_change_on_disk_leave_all_as_it_was(harm, words, disk, tmp_path):
    step, x, state = harmed_training(tmp_path, None, [False])
    plain = wg.compile(step)
    expected = [plain(x) for _ in range(5)], state()
    at = [False]
    step, x, state = harmed_training(tmp_path, harm, at)
    disk(FREE)
    losses = [wg.compile(step)(x)]  # makes the optimiser's state
    least, most = bounds(step, x, disk=("", -1, *FREE))
    budget = two_level((3 * least + most) // 4, directory=tmp_path)
    compiled = wg.compile(step, memory_budget=budget)
    losses += [compiled(x), compiled(x)]
    for _ in range(2):
        before = state()
        at[0] = True
        with pytest.raises(wg.FileError, match=words):
            compiled(x)
        same_bits(state(), before)
        assert os.listdir(tmp_path) == []
    losses += [compiled(x), compiled(x)]
    same_bits((losses, state()), expected)
    before = state()
    at[0] = True
    with pytest.raises(wg.FileError, match=words):
        compiled.run(x, steps=3)  # in its first step
    same_bits(state(), before)


def test_a_directory_that_goes_or_was_never_there(disk, tmp_path):
    f = wg.grad(chain_loss)
    args = arguments()
    least = bounds(f, *args)[0]
    folder = tmp_path / "folder"
    folder.mkdir()
    compiled = wg.compile(f, memory_budget=two_level(least, directory=folder))
    expected = compiled(*args)
    shutil.rmtree(folder)
    same_bits(compiled(*args), expected)  # the open file is enough
    fresh = wg.compile(f, memory_budget=two_level(least, directory=folder))
    for _ in range(2):
        with pytest.raises(wg.FileError, match=r"No such file.*wg.TwoLevel\(directory"):
            fresh(*args)
    folder.mkdir()
    same_bits(fresh(*args), expected)


def test_the_speed_of_a_directory_is_measured(tmp_path):
    f, args = wg.grad(chain_loss), arguments()
    compiled = wg.compile(f, memory_budget=two_level(10_000_000, directory=tmp_path))
    compiled(*args)
    latency, write, read = compiler._moving(str(tmp_path), -1)
    assert 0 < latency < 1 and 0 < write < 1e-6 and 0 < read < 1e-6
    assert open_files(tmp_path) == {} and os.listdir(tmp_path) == []
    missing = wg.TwoLevel("1MB", directory=tmp_path / "missing")
    with pytest.raises(wg.FileError, match="No such file"):
        wg.compile(f, memory_budget=missing)(*args)


PROGRAM = """
import os, resource, signal, sys
import numpy as np
import wengert as wg
from wengert import compiler
compiler._moving = lambda directory, most: (0.0, 0.0, 0.0)
folder = sys.argv[1]
w = wg.tensor(np.eye(40), requires_grad=True)
optimizer = wg.optim.SGD([w], lr=0.01)
@wg.primitive
def touch(x):
    return np.asarray(x)
@touch.def_vjp
def _(ct, out, x):
    if harm:
        harm()
    return (np.asarray(ct),)
harm = None
def step(x):
    for _ in range(12):
        x = wg.tanh(x @ w)
    loss = (touch(x) ** 2).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss
x = wg.ones((64, 40), dtype=wg.float64)
curve = wg.memory_curve(wg.compile(step, memory_budget=wg.TwoLevel("1MB", directory=folder)), x)
least = f"{curve.least.peak_bytes}B"
compiled = wg.compile(step, memory_budget=wg.TwoLevel(least, directory=folder))
before = w.numpy().copy()
"""


run_alone = partial(loop_disk_alone, program=PROGRAM)


@pytest.mark.parametrize("limit", [1 << 22, 100_000, 20_000])
def test_the_speed_is_measured_within_a_limit_on_the_size_of_files(tmp_path, limit):
    """Below 8 MiB with less, down to what two moves can be told apart by."""
    done = loop_disk_alone(
        f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        latency, write, read = compiler._moving(sys.argv[1], -1)
        assert latency > 0 and write >= 0 and read >= 0
        f = wg.grad(lambda w: wg.tanh(wg.tanh(w @ w) @ w).sum())
        w = wg.ones((40, 40)) * 0.01
        compiled = wg.compile(f, memory_budget=wg.TwoLevel("64MB", directory=sys.argv[1]))
        assert wg.allclose(compiled(w), f(w))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {limit}))
        compiler._moving.cache_clear()
        try:
            compiler._moving(sys.argv[1], -1)
        except wg.FileError as error:
            print(error)
        """,
        tmp_path,
        "import resource, sys\nimport wengert as wg\nfrom wengert import compiler\n",
    )
    assert done.returncode == 0, done.stderr
    assert "File too large; free some space" in done.stdout


def test_a_full_disk(tmp_path):
    """A limit on the size of files stands for it: writes come back short, then fail."""
    done = run_alone(
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_500, resource.RLIM_INFINITY))
        for _ in range(2):
            try:
                compiled(x)
            except wg.FileError as error:
                assert isinstance(error, OSError), error
                print(error)
            assert w.grad is None and (w.numpy() == before).all()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        compiled(x)
        assert (w.numpy() != before).any()
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot write a state") == 2 and "free some space" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_closed_directory(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    done = run_alone(
        """
        os.chmod(folder, 0o500)
        if os.geteuid() == 0:
            os.chmod(os.path.dirname(folder), 0o755)
            os.seteuid(65534)
        try:
            compiled(x)
        except wg.FileError as error:
            print(error)
        assert (w.numpy() == before).all()
        """,
        closed,
    )
    assert done.returncode == 0, done.stderr
    assert "Permission denied" in done.stdout
    assert os.listdir(closed) == []


def test_a_killed_process_and_a_forked_one(tmp_path):
    done = run_alone(
        """
        compiled(x)
        child = os.fork()
        loss = float(compiled(x))
        if child == 0:  # which has no thread of its parent's
            print(loss, flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(loss, flush=True)
        harm = lambda: os.kill(os.getpid(), signal.SIGKILL)
        compiled(x)
        """,
        tmp_path,
    )
    assert done.returncode == -9, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("budget", "error", "words"),
    [
        (wg.TwoLevel(4), wg.ArgumentTypeError, "TwoLevel.memory' takes bytes as a string"),
        (wg.TwoLevel("1MB", 3), wg.ArgumentTypeError, "TwoLevel.disk' takes bytes as a string"),
        (wg.TwoLevel("1MB", write_cost=1), wg.ArgumentTypeError, "'TwoLevel.write_cost' is"),
        (wg.TwoLevel("1MB", read_cost=1), wg.ArgumentTypeError, "'TwoLevel.read_cost' is"),
        (wg.Binomial(3), wg.ArgumentTypeError, "takes bytes, Budget or TwoLevel"),
    ],
)
def test_wrong_calls(budget, error, words):
    with pytest.raises(error, match=words):
        wg.compile(chain_loss, memory_budget=budget)


class Model:
    @wg.compile(memory_budget=wg.TwoLevel("60KB"))
    def gradient(self, x, w):
        return wg.grad(chain_loss)(x, w)


@wg.compile(memory_budget=wg.TwoLevel("60KB"))
def gradient(x, w):
    return wg.grad(chain_loss)(x, w)


@pytest.mark.keeps_tensors
def test_methods_pickles_and_sizes_of_budgets(disk):
    args = arguments()
    expected = wg.compile(wg.grad(chain_loss))(*args)
    same_bits(Model().gradient(*args), expected)
    same_bits(pickle.loads(pickle.dumps(gradient))(*args), expected)
    wrapped = wg.compile(gradient.__wrapped__, memory_budget=wg.Budget("60KB"))
    same_bits(wrapped(*args), expected)
    assert nbytes(expected) and schedule_of(wrapped).after <= 60_000
