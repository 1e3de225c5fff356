"""Threads of the pool and of Python: whatever runs beside what, results are the same bits."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import wengert as wg
from test_ops import Function, differentiable, directions, gives_float, large_rows

THREADS = (1, 2, 3, 8)


def bits(results):
    return [np.asarray(x.numpy()).tobytes() for x in wg.tree.leaves(results)]


def with_threads(count, f, *args):
    wg.set_num_threads(count)
    return bits(f(*args))


@pytest.mark.parametrize("row", large_rows())
def test_compiled_rows_have_the_same_bits(row):
    f = Function(row, row.large, row.dtypes[0])

    def both(vs, *xs):
        if not vs:
            return f(*xs)
        y, pull = wg.vjp(f, *xs)
        return y, pull(vs[0])

    wanted = differentiable(row) and gives_float(row.large)
    vs = directions([f(*f.primals)], 2)[:1] if wanted else []
    compiled = wg.compile(both)
    seen = [with_threads(count, compiled, vs, *f.primals) for count in THREADS]
    assert all(other == seen[0] for other in seen)


def model_step():
    """A training step with every kind of unit: groups, products, reductions, gathers, an update."""
    wg.random.seed(0)
    model = wg.nn.Sequential(
        wg.nn.Linear(300, 300), wg.nn.GELU(), wg.nn.LayerNorm(300), wg.nn.Linear(300, 50)
    )
    table = wg.tensor(np.random.default_rng(0).normal(size=(500, 300)).astype(np.float32))
    optimizer = wg.optim.Adam(model.parameters(), lr=1e-3)

    def step(words, labels):
        x = table[words]
        h = model(x)
        loss = wg.nn.cross_entropy(h, labels) + 1e-3 * (wg.nn.softmax(h, dim=0) * h.mean()).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, model


def draws(steps):
    rng = np.random.default_rng(1)
    return [
        (wg.tensor(rng.integers(0, 500, 400)), wg.tensor(rng.integers(0, 50, 400)))
        for _ in range(steps)
    ]


@pytest.mark.parametrize("how", ["called", "run"])
def test_training_has_the_same_bits(how):
    seen = []
    for count in THREADS:
        wg.set_num_threads(count)
        step, model = model_step()
        compiled = wg.compile(step)
        if how == "called":
            losses = [compiled(*batch) for batch in draws(4)]
        else:
            losses = compiled.run(*[wg.stack(column) for column in zip(*draws(4))])
        seen.append(bits([losses, list(model.parameters())]))
    assert all(other == seen[0] for other in seen)


def test_independent_products_have_the_same_bits():
    rng = np.random.default_rng(0)
    x, *ws = (wg.tensor(rng.normal(size=(192, 192))) for _ in range(5))

    def branches(x):
        parts = [wg.tanh(x @ w) @ w.T for w in ws]
        return sum((p * p).sum() for p in parts)

    compiled = wg.compile(wg.value_and_grad(branches))
    expected = with_threads(1, wg.value_and_grad(branches), x)
    for count in THREADS:
        assert with_threads(count, compiled, x) == expected


@pytest.mark.parametrize("rows, terms, columns", [(512, 844, 48), (520, 512, 49), (1100, 700, 300)])
def test_products_across_rows_have_the_same_bits(rows, terms, columns):
    """The factor read across its rows fits the second-level cache in tiles, but not as a whole."""
    rng = np.random.default_rng(0)
    a, b = (wg.tensor(rng.normal(size=(terms, n)).astype("f")) for n in (rows, columns))
    expected = with_threads(1, lambda: a.T @ b)
    for count in THREADS:
        assert with_threads(count, lambda: a.T @ b) == expected


@pytest.mark.parametrize(
    "rows, inputs, outputs", [(128, 512, 256), (96, 700, 250), (64, 2048, 130)]
)
def test_layers_cut_by_columns_have_the_same_bits(rows, inputs, outputs):
    rng = np.random.default_rng(0)
    shapes = (rows, inputs), (outputs, inputs), (outputs,)
    x, w, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    args = wg.tensor(x), wg.tensor(w), wg.tensor(b)
    expected = with_threads(1, wg.nn.linear, *args)
    for count in THREADS:
        assert with_threads(count, wg.nn.linear, *args) == expected
    exact = x.astype(np.float64) @ w.T + b
    np.testing.assert_allclose(wg.nn.linear(*args).numpy(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_products_of_one_matrix_run_side_by_side(value):
    rng = np.random.default_rng(0)
    g, x, h = rng.normal(size=(1600, 256)), rng.normal(size=(1600, 64)), rng.normal(size=(1600, 64))
    g[3, 5], x[7, 2], h[:, 4] = value, value, 0.0
    args = [wg.tensor(t.astype(np.float32)) for t in (g, x, h)]

    def adjoints(g, x, h):
        product = wg._core.ops.chain_matmul
        return product(g.T, x), product(g.T, h), product(g.T, x + h)

    compiled = wg.compile(adjoints, exact=True)
    assert "chain_matmul | chain_matmul" in compiled.explain(*args)
    expected = with_threads(1, adjoints, *args)
    for count in THREADS:
        assert with_threads(count, compiled, *args) == expected
    together(*[lambda: [compiled(*args) for _ in range(5)]] * 3)
    assert with_threads(2, compiled, *args) == expected


def test_products_that_wait_for_each_other_do_not():
    a, b = (wg.tensor(np.random.default_rng(i).normal(size=(280, 280))) for i in range(2))

    def f(a, b):
        return a @ (a @ b)

    compiled = wg.compile(f, exact=True)
    assert "|" not in compiled.explain(a, b)
    assert with_threads(2, compiled, a, b) == with_threads(1, f, a, b)


def together(*jobs):
    """Runs the jobs at once, each in a thread of its own; raises what one of them raised."""
    errors = []

    def guarded(job):
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_call_compiled_functions_beside_eager_work():
    rng = np.random.default_rng(0)
    w = wg.tensor(rng.normal(size=(200, 200)) * 0.05)
    xs = [wg.tensor(rng.normal(size=(200, 200))) for _ in range(3)]

    def f(x):
        def cell(carry, row):
            carry = wg.tanh(carry @ w + row)
            return carry, carry.sum()

        last, sums = wg.scan(cell, wg.zeros((200,), dtype=wg.float64), x)
        return (wg.sin(x @ w) * x).sum() + (last * last).sum() + sums.mean()

    both = wg.value_and_grad(f)
    compiled = wg.compile(both)
    expected = [bits(both(x)) for x in xs]
    count = iter(range(10**9))

    def call(i):
        for _ in range(6):
            assert bits(compiled(xs[i])) == expected[i]

    def eager():
        for _ in range(6):
            assert bits(both(xs[0])) == expected[0]

    def change():
        for _ in range(40):
            wg.set_num_threads(1 + next(count) % 4)
            assert wg.memory.peak_bytes() >= wg.memory.live_bytes() > 0
            threading.Event().wait(0.002)

    together(*[lambda i=i: call(i) for i in range(3)], eager, change)


def test_threads_run_many_steps_each_on_its_own_state():
    wg.set_num_threads(2)
    rng = np.random.default_rng(0)
    batches = wg.tensor(rng.normal(size=(20, 300, 120)))

    def trainer(scale):
        w = wg.tensor(np.full((120, 120), scale))

        def step(x):
            g = wg.grad(lambda w: (wg.tanh(x @ w) ** 2).mean())(w)
            w.assign(w - 0.1 * g)
            return w.sum()

        return wg.compile(step)

    expected = [bits(trainer(scale).run(batches)) for scale in (0.1, 0.2, 0.3)]
    found = [None] * 3

    def work(i, scale):
        found[i] = bits(trainer(scale).run(batches))

    together(*[lambda i=i, s=s: work(i, s) for i, s in enumerate((0.1, 0.2, 0.3))])
    assert found == expected


def test_threads_pull_back_through_one_recording():
    """The reverse sweep of a recorded call runs Python code, in which threads take turns."""

    @wg.primitive
    def triple(x):
        return 3.0 * np.asarray(x)

    @triple.def_vjp
    def _(g, y, x):
        threading.Event().wait(0.001)
        return (3.0 * np.asarray(g),)

    compiled = wg.compile(lambda x: (triple(wg.sin(x)) * x).sum())
    xs = [np.full(100, float(i)) for i in range(4)]

    def work(i):
        for _ in range(5):
            x = wg.tensor(xs[i], requires_grad=True)
            compiled(x).backward()
            np.testing.assert_allclose(x.grad.numpy(), 3 * (np.sin(xs[i]) + xs[i] * np.cos(xs[i])))

    work(0)
    together(*[lambda i=i: work(i) for i in range(4)])


FORKS = """
    import os, signal, threading
    import numpy as np
    import wengert as wg

    wg.set_num_threads(2)
    x = wg.tensor(np.random.default_rng(0).normal(size=(300, 300)))
    f = lambda x: wg.value_and_grad(lambda x: (wg.tanh(x @ x) * wg.exp(-x * x)).sum())(x)[1]
    compiled = wg.compile(f)
    expected = compiled(x).numpy().tobytes()
    done = threading.Event()

    def busy():
        while not done.is_set():
            compiled(x), f(x)

    others = [threading.Thread(target=busy) for _ in range(2)]
    for thread in others:
        thread.start()
    codes = []
    for attempt in range(10):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that hangs ends with a signal
            fine = compiled(x).numpy().tobytes() == f(x).numpy().tobytes() == expected
            wg.set_num_threads(3)
            fine = fine and compiled(x).numpy().tobytes() == expected
            os._exit(0 if fine else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    for thread in others:
        thread.join()
    assert codes == [0] * 10, codes
    assert compiled(x).numpy().tobytes() == expected
"""


FORKS_WHILE_RECORDING = """
    import os, threading
    import wengert as wg
    from wengert.side_effects import _turn

    begun, done = threading.Event(), threading.Event()

    def slow(x):
        begun.set()
        done.wait()
        return x * 2.0

    thread = threading.Thread(target=lambda: wg.compile(slow)(1.0))
    thread.start()
    begun.wait()
    taken = not _turn.acquire(blocking=False)
    child = os.fork()
    if child == 0:
        from wengert.side_effects import Watched, _turn
        fine = taken and _turn.acquire(blocking=False)
        os._exit(0 if fine and "__getattribute__" not in vars(Watched) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    thread.join()
    assert code == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("script", [FORKS, FORKS_WHILE_RECORDING], ids=["busy", "recording"])
def test_a_forked_child_computes(script):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    subprocess.run(command, check=True, timeout=600)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1 << 18, 300_001])
def test_a_group_beyond_the_caches(n, threads):
    """Its blocks are asked for ahead, the last one of each task and odd ones too."""
    x, y = np.linspace(-3, 3, n), np.linspace(0, 1, n, dtype=np.float32)

    def f(x, y):
        z = wg.tanh(x * y) + x
        return z * z, z > 0.5, wg.sin(y)

    args = wg.tensor(x), wg.tensor(y)
    assert with_threads(threads, wg.compile(f), *args) == bits(f(*args))


def test_threads_that_record_at_once():
    """Nobody sees the traced values that attributes hold while another thread records."""

    class Both(wg.nn.Module):
        def __init__(self):
            self.mean = wg.zeros(3)

        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
            for _ in range(20):
                x = wg.tanh(x)
            self.last = x * 2.0
            return x + self.mean

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    failed = []

    def call(compiled):
        try:
            for _ in range(3):
                compiled(wg.ones((4, 3)))
        except Exception as error:
            failed.append(error)

    try:
        for _ in range(10):
            module = Both()
            compiled = wg.compile(module)
            threads = [threading.Thread(target=call, args=(compiled,)) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failed
            assert np.isfinite(module.mean.numpy()).all()
            assert np.isfinite(module.last.numpy()).all()
    finally:
        sys.setswitchinterval(interval)


def test_a_call_may_wait_for_a_thread_that_records(monkeypatch):
    monkeypatch.setattr(wg.side_effects, "_PATIENCE", 0.1)
    found = []

    @wg.compile
    def outer(x):
        inner = wg.compile(lambda y: y * 2.0)
        thread = threading.Thread(target=lambda: found.append(inner(3.0).item()))
        thread.start()
        thread.join()
        return x + found[0]

    assert outer(1.0).item() == 7.0 and found == [6.0]


def counted(flags, length, w=1.0, checkpoint=None):
    """w times how many steps of a loop find their flag down."""

    def step(carry, _):
        total, place = carry
        return (total + w * wg.where(flags[place], 0.0, 1.0), 1 - place), None

    start = (wg.tensor(0.0), wg.tensor(0))
    return wg.scan(step, start, None, length=length, checkpoint=checkpoint)[0][0]


def counted_while(flags, length):
    def going(n):
        return (n < length) & ~flags[n % 2]

    return wg.while_loop(going, lambda n: n + 1, wg.tensor(0))


def swept(checkpoint):
    """Of a gradient, the sweep alone: the flags are down while the loop runs forward."""

    def begin(flags, length):
        pull = wg.vjp(lambda w: counted(flags, length, w, checkpoint), wg.tensor(1.0))[1]
        return lambda: pull(wg.tensor(1.0))[0]

    return begin


def called(f):
    return lambda flags, length: lambda: f(flags, length)


def called_compiled(f):
    def begin(flags, length):
        compiled = wg.compile(f, static_argnums=1)
        compiled(~flags, length)
        return lambda: compiled(flags, length)

    return begin


LOOPS = {
    "scan": called(counted),
    "compiled scan": called_compiled(counted),
    "compiled while_loop": called_compiled(counted_while),
    "checkpointed scan": called(lambda f, n: counted(f, n, checkpoint=wg.Binomial(slots=20))),
    "sweep": swept(wg.Binomial(slots=20)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_other_threads_go_on_during_a_loop(name):
    """Another thread raises flags, in memory that the loop reads: it could not if the loop held
    Python's lock to its end."""
    length = 400_000 if name == "sweep" else 2_000_000  # a second or so
    memory = np.zeros(2, bool)
    loop = LOOPS[name](wg.asarray(memory), length)

    def raise_flags():
        memory[...] = True

    timer = threading.Timer(0.01, raise_flags)
    timer.start()
    steps = loop().item()
    timer.join()
    assert 0 < steps < length


@pytest.mark.parametrize("runs", [False, True])
def test_long_calls_take_turns_at_what_they_change(runs):
    """Those that let other threads run meanwhile, and short ones beside them."""
    count, ring = wg.tensor(0), wg.zeros((4096, 8))
    w = wg.zeros((256, 64))

    @wg.compile
    def long(v):
        count.assign(count + 1)
        total = (ring * 2 + v).cumsum(0).sum()
        count.assign(count + total.astype("int64") * 0)  # of what was read before
        ring.assign(ring + 1)
        w.assign(w + 1)
        return total

    @wg.compile
    def short(v):
        count.assign(count + v)

    long(wg.ones(8)), short(1)
    times = 40

    def work():
        for _ in range(times):
            if runs:
                long.run(wg.ones(8), steps=3)
            else:
                for _ in range(3):
                    long(wg.ones(8))
            short(1)

    together(*[work] * 3)
    assert int(count) == 2 + 3 * times * 4
    assert bool((ring == 1 + 3 * times * 3).all()) and bool((w == ring[:256, :1]).all())


def test_gradients_of_long_calls_in_threads_add_up():
    w = wg.zeros(1 << 16).requires_grad_()

    @wg.compile
    def leave(v):
        (w * v).sum().backward()

    leave(1.0)
    together(*[lambda: [leave(1.0) for _ in range(50)]] * 3)
    assert bool((w.grad == 151.0).all())
