"""What compiled calls leave behind: assigned tensors, gradients in leaves, random state,
statistics, optimisers; and many steps in one call."""

import _thread
import signal
import threading

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim


def numbers(*values):
    return wg.tensor(list(values), dtype=wg.float64)


def bits(tree):
    return [np.asarray(x.detach().numpy()).tobytes() for x in wg.tree.leaves(tree)]


def both(make, calls):
    """The results of ``make() -> (function, what to look at)``, eager and compiled."""
    found = []
    for compiled in (False, True):
        f, look = make()
        call = wg.compile(f) if compiled else f
        results = []
        for args in calls:
            out = call(*args)
            results.append((bits(out) if out is not None else None, look()))
        found.append(results)
    assert found[0] == found[1]
    return found[1]


def test_captured_tensors_are_read_afresh():
    w = nn.Parameter([1.0, 2.0])
    compiled = wg.compile(lambda x: w * x)
    x = wg.tensor(3.0)
    with wg.no_grad():
        assert compiled(x).tolist() == [3.0, 6.0]
        w.assign([5.0, 6.0])
        assert compiled(x).tolist() == [15.0, 18.0]
        w += 1
        w[0] = 0.0
        assert compiled(x).tolist() == [0.0, 21.0]
    assert compiled.cache_info() == (2, 1, 1)


def test_modules_are_read_afresh():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    compiled = wg.compile(lambda x: model(x))
    x = wg.ones((1, 2))
    with wg.no_grad():
        compiled(x)
        model.load_state_dict(other.state_dict())
        assert bits(compiled(x)) == bits(other(x))
        model.weight = nn.Parameter(np.ones((1, 2), np.float32))
        assert bits(compiled(x)) == bits(model(x))
        del model.bias
        model.bias = None
        assert compiled(x).item() == 2


def test_toggles_of_requires_grad():
    w = wg.tensor([2.0], requires_grad=True)
    compiled = wg.compile(lambda x: (w * x).sum())
    x = wg.tensor([3.0])
    assert compiled(x).requires_grad
    w.requires_grad_(False)
    assert not compiled(x).requires_grad
    w.requires_grad_(True)
    compiled(x).backward()
    assert w.grad.tolist() == [3.0]


def test_changed_tensors():
    def make():
        a, b, c = numbers(1.0, 2.0), numbers(3.0, 4.0), numbers(5.0, 6.0)[::-1]

        def f(x):
            old = a + 0
            a.assign(b)
            b.assign(old)
            c.assign(c * x + a)
            a.assign(a + x)
            new = wg.zeros(2, dtype=wg.float64)
            new.assign(b + x)
            return a, new, c, b

        return f, lambda: bits([a, b, c])

    both(make, [(numbers(0.5, 0.25),)] * 4)


def test_augmented_operators():
    def make():
        a, n = numbers(1.0, 2.0), wg.tensor(0)

        def f(x):
            nonlocal a, n
            a += x
            a *= 2
            a -= 1.0
            a /= 4
            n += 1
            y = x * 2
            y += 1
            return y

        return f, lambda: bits([a, n])

    both(make, [(numbers(0.5, 0.25),)] * 3)


KEYS = {
    "row": 1, "slice": slice(0, 2), "steps": (slice(None), slice(None, None, -2)), "all": ...,
    "one": (0, -1), "list": [2, 0], "twice": [1, 1, 0], "both": ([0, 2], [1, 3]),
    "apart": ([0, 2], slice(1, 3), None), "mask": np.eye(3, 4) > 0, "none": slice(3, 3),
    "new": (None, 2), "true": True, "rows": np.array([True, False, True]),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_index_assignment(name):
    key = KEYS[name]
    shape = np.zeros((3, 4))[key].shape
    value = wg.tensor(np.random.default_rng(0).normal(size=shape))

    def make():
        t = wg.tensor(np.arange(12.0).reshape(3, 4))

        def f(v, s):
            t[key] = v
            t[key] = t[key] * 2 + s
            inside = wg.zeros((3, 4), dtype=wg.float64)
            inside[key] = v
            whole = wg.zeros((3, 4))
            whole[key] = 3.0
            return inside, whole

        return f, lambda: bits(t)

    both(make, [(value, wg.tensor(i)) for i in range(3)])


def test_index_assignment_that_cannot_be_recorded():
    t = wg.zeros((3, 2))

    def put(i, v):
        t[i] = v

    with pytest.raises(wg.ShapeError, match="index assignment"):
        wg.compile(lambda v: put(0, v))(wg.ones(3))
    with pytest.raises(wg.TraceError, match="traced value"):
        wg.compile(lambda x: x.assign(x + 1))(wg.ones(3))
    assert t.tolist() == [[0.0, 0.0]] * 3


def test_views_of_what_changes():
    base = numbers(1.0, 2.0, 3.0, 4.0)
    part = base[1:3]

    @wg.compile
    def read_before(x):
        y = part * 10
        base.assign(base + x)
        return y

    assert read_before(numbers(1.0)).tolist() == [20.0, 30.0]
    assert read_before(numbers(1.0)).tolist() == [30.0, 40.0] and part.tolist() == [4.0, 5.0]
    assert read_before.run(numbers([1.0], [1.0])).tolist() == [[40.0, 50.0], [50.0, 60.0]]

    @wg.compile
    def read_after(x):
        base.assign(base + x)
        return part * 10

    with pytest.raises(wg.TraceError, match="shares its memory"):
        read_after(numbers(1.0))

    @wg.compile
    def hold(x):
        view = base[0]
        base.assign(base + x)
        return view * 1

    with pytest.raises(wg.TraceError, match="holds a view"):
        hold(numbers(1.0))
    assert base.tolist() == [5.0, 6.0, 7.0, 8.0]
    data = np.ones(2)
    one, two = wg.asarray(data), wg.asarray(data)

    @wg.compile
    def foreign():
        two.assign(one * 2)
        return one * 1

    with pytest.raises(wg.TraceError, match="shares its memory"):
        foreign()


def test_gradients_are_left_in_leaves():
    def make():
        w, v = numbers(1.0, 2.0).requires_grad_(), numbers(3.0).requires_grad_()

        def f(x):
            loss = (w * x).sum()
            loss.backward()
            return loss.detach()

        return f, lambda: (bits([w.grad]), v.grad)

    both(make, [(numbers(float(i), 1.0),) for i in range(4)])


@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_clearing_gradients(when):
    def make():
        w = numbers(1.0, 2.0).requires_grad_()

        def f(x):
            if when == "before":
                w.grad = None
            loss = (w * w * x).sum()
            loss.backward()
            with wg.no_grad():
                w.assign(w - 0.1 * w.grad)
            if when == "after":
                w.grad = None
            return loss

        return f, lambda: (bits([w]), None if w.grad is None else bits([w.grad]))

    results = both(make, [(numbers(float(i), 1.0),) for i in range(5)])
    assert (results[-1][1][1] is None) == (when == "after")


def test_recordings_follow_which_gradients_are_there():
    w = numbers(1.0).requires_grad_()
    compiled = wg.compile(lambda x: (w * x).sum().backward())
    compiled(numbers(2.0))
    compiled(numbers(2.0))
    compiled(numbers(2.0))
    assert w.grad.tolist() == [6.0] and compiled.cache_info() == (1, 2, 2)
    w.grad = None
    compiled(numbers(5.0))
    assert w.grad.tolist() == [5.0] and compiled.cache_info() == (2, 2, 2)
    w.grad = numbers(100.0)
    compiled(numbers(1.0))
    assert w.grad.tolist() == [101.0]
    held = w.grad
    compiled(numbers(1.0))
    assert w.grad.tolist() == [102.0]
    assert held.tolist() in ([101.0], [102.0])


def test_hooks_and_retained_gradients():
    def make():
        w = numbers(1.0, 2.0).requires_grad_()
        hook = w.register_hook(lambda g: g * 10)

        def f(x):
            y = w * x
            y.retain_grad()
            (y * y).sum().backward()
            return y.grad

        return f, lambda: (bits([w.grad]), hook is None)

    both(make, [(numbers(float(i), 1.0),) for i in range(3)])


@pytest.mark.parametrize("fresh", [False, True])
def test_leaves_made_inside(fresh):
    @wg.compile
    def f(x):
        y = numbers(2.0).requires_grad_() if fresh else (x * 1).detach().requires_grad_()
        (y * y * x).sum().backward()
        return y.grad, y * 1

    for value in (3.0, 4.0):
        grad, y = f(numbers(value))
        assert y.tolist() == [2.0 if fresh else value]
        assert grad.tolist() == [2 * y.item() * value]
    assert f.cache_info() == (1, 1, 1)
    with pytest.raises(wg.TraceError, match=r"requires_grad_: .*argument"):
        wg.compile(lambda x: x.requires_grad_())(numbers(1.0))


def test_losses_have_no_stale_history():
    w = numbers(2.0).requires_grad_()

    @wg.compile
    def step(x):
        loss = (w * x).sum()
        loss.backward()
        return loss

    for _ in range(3):
        with pytest.raises(wg.GraphError):
            step(numbers(3.0)).backward()
    assert w.grad.tolist() == [9.0]


def test_random_draws_follow_the_generator():
    def make():
        rng = wg.random.default_rng(7)

        def f(x):
            return rng.normal(size=3) * x, rng.integers(0, 10, size=4), rng.uniform(size=())

        return f, lambda: bits(rng.normal(size=2))

    assert len({result[0][0] for result in both(make, [(wg.tensor(1.0),)] * 4)}) == 4


def test_dropout_and_running_statistics():
    def make():
        wg.random.seed(5)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        model.load_state_dict(
            {k: wg.full(v.shape, 0.25, dtype=v.dtype) for k, v in model.state_dict().items()}
        )

        def f(x):
            with wg.no_grad():
                return model(x)

        return f, lambda: bits(model.state_dict())

    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    both(make, [(wg.tensor(x * i),) for i in range(4)])


def network(kind, **options):
    rng = wg.random.default_rng(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    with wg.no_grad():
        for p in model.parameters():
            p.assign(rng.normal(size=p.shape, dtype=wg.float32) * 0.3)
    optimizer = kind(model.parameters(), **options)
    noise = wg.random.default_rng(2)

    def step(x, y):
        optimizer.zero_grad()
        kept = noise.uniform(size=x.shape) < 0.8
        loss = ((model(x * kept) - y) ** 2).mean()
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return model, optimizer, step


def batches(n):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5, 3)).astype(np.float32), rng.normal(size=(n, 5, 2)).astype(
        np.float32
    )


KINDS = [
    (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    (optim.Adam, {"lr": optim.cosine(0.05, 80)}),
    (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_hundred_steps_saved_and_resumed(kind, options, tmp_path):
    xs, ys = batches(100)
    found = []
    for compiled in (False, True):
        model, optimizer, step = network(kind, **options)
        call = wg.compile(step) if compiled else step
        losses = [bits(call(wg.tensor(x), wg.tensor(y))) for x, y in zip(xs[:50], ys[:50])]
        wg.save(
            tmp_path / "state", {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        )
        for x, y in zip(xs[:3], ys[:3]):
            call(wg.tensor(x), wg.tensor(y))
        state = wg.load(tmp_path / "state")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses += [bits(call(wg.tensor(x), wg.tensor(y))) for x, y in zip(xs[50:], ys[50:])]
        found.append(
            (
                losses,
                bits(model.state_dict()),
                optimizer.steps,
                bits([p.grad for p in model.parameters()]),
            )
        )
        if compiled:
            assert call.cache_info().hits >= 99
    assert found[0] == found[1]


@pytest.mark.parametrize("clears", [False, True])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_many_steps_in_one_call(kind, options, clears):
    xs, ys = batches(30)
    found = []
    for compiled in (False, True):
        model, optimizer, step = network(kind, **options)

        def act(x, y, step=step, optimizer=optimizer):
            loss = step(x, y)
            if clears:
                optimizer.zero_grad()
            return {"loss": loss, "x": x}

        if compiled:
            call = wg.compile(act)
            parts = [call.run(xs[:7], ys[:7]), call.run(wg.tensor(xs[7:]), wg.tensor(ys[7:]))]
            losses = [loss for part in parts for loss in part["loss"].tolist()]
            assert parts[1]["x"].tolist() == xs[7:].tolist()
        else:
            losses = [float(act(wg.tensor(x), wg.tensor(y))["loss"]) for x, y in zip(xs, ys)]
        grads = [p.grad is None or p.grad.tolist() for p in model.parameters()]
        found.append((losses, bits(model.state_dict()), optimizer.steps, grads))
    assert found[0] == found[1]


def test_run():
    total = numbers(0.0)

    @wg.compile
    def add(x, *, scale=1.0):
        total.assign(total + x * scale)
        return {"total": total, "x": [x, None]}

    found = add.run(numbers([1.0], [2.0], [3.0]), scale=np.full(3, 2.0))
    assert found["total"].tolist() == [[2.0], [6.0], [12.0]] and total.tolist() == [12.0]
    assert found["x"][0].tolist() == [[1.0], [2.0], [3.0]] and found["x"][1] is None
    assert add.run(numbers(1.0), steps=4)["total"].tolist() == [[13.0], [14.0], [15.0], [16.0]]
    backwards = wg.asarray(np.arange(3.0)[::-1].reshape(3, 1))
    assert add.run(backwards)["total"].tolist() == [[18.0], [19.0], [19.0]]
    with pytest.raises(wg.ShapeError, match="same number of rows"):
        add.run(numbers([1.0], [2.0]), scale=np.ones(3))
    with pytest.raises(wg.ShapeError, match="same number of rows"):
        add.run(wg.tensor(1.0))
    for steps in (0, -1):
        with pytest.raises(wg.ArgumentError, match="'steps' is at least 1"):
            add.run(numbers(1.0), steps=steps)
    with pytest.raises(wg.ArgumentTypeError, match="'steps' takes an int"):
        add.run(numbers(1.0), steps=2.0)
    with pytest.raises(wg.ArgumentError, match="at least one step"):
        add.run(wg.zeros((0, 1), dtype=wg.float64))
    assert total.tolist() == [19.0]
    with pytest.raises(wg.TraceError, match="run: cannot be recorded"):
        wg.compile(lambda x: add.run(x))(numbers([1.0]))


def test_run_on_memory_that_it_changes():
    state = numbers(1.0, 2.0)
    step = wg.compile(lambda x: state.assign(state + x))
    step.run(state, steps=3)
    assert state.tolist() == [8.0, 16.0]


def test_gradients_left_between_the_steps_of_a_run():
    w = numbers(1.0).requires_grad_()

    @wg.compile
    def step(x):
        (w * x).sum().backward()
        return w.grad

    assert step.run(numbers([1.0], [2.0], [3.0])).tolist() == [[1.0], [3.0], [6.0]]
    assert w.grad.tolist() == [6.0]


def test_an_error_in_the_middle_of_a_run():
    count = wg.tensor(0)

    @wg.compile
    def step(i):
        count.assign(count + 1)
        return wg.take(wg.arange(3), i, axis=0)

    with pytest.raises(wg.BoundsError):
        step.run(np.array([2, 1, 9, 0]))
    assert count.item() in (2, 3)
    assert step(np.array(1)).item() == 1


def test_a_failed_replay_is_seen_by_pending_sweeps():
    w, x = numbers(2.0), numbers(3.0).requires_grad_()

    @wg.compile
    def step(i):
        w.assign(w + 1)
        return wg.take(w, i, axis=0)

    step(np.array(0))
    y = (x * w).sum()
    with pytest.raises(wg.BoundsError):
        step(np.array(5))
    with pytest.raises(wg.GraphError, match="in place"):
        y.backward()


def test_run_can_be_interrupted():
    count = wg.tensor(0)

    @wg.compile
    def step():
        count.assign(count + 1)

    step()
    # A job in the background inherits that this signal is ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.05, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        step.run(steps=10**12)
    timer.join()
    signal.signal(signal.SIGINT, handler)
    before = count.item()
    assert before > 1
    step()
    assert count.item() == before + 1


def test_a_run_keeps_nothing_for_reverse_sweeps():
    w = wg.tensor(np.ones((50, 50)), requires_grad=True)
    compiled = wg.compile(lambda x: wg.tanh(x @ w).sum())
    x = wg.tensor(np.ones((50, 50)))
    compiled.run(x, steps=2)
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    assert compiled.run(x, steps=200).tolist() == [compiled(x).item()] * 200
    assert wg.memory.peak_bytes() - before < 10 * 50 * 50 * 8
    compiled(x).backward()
    assert w.grad.shape == (50, 50)


def test_programs_of_many_steps():
    def f(x):
        for _ in range(1000):
            x = wg.tanh(x @ x * 0.1) + x[::-1]
        return x

    compiled = wg.compile(f)
    x = wg.tensor(np.random.default_rng(0).normal(size=(3, 3)) * 0.1)
    for _ in range(2):
        assert bits(compiled(x)) == bits(f(x))
    assert len(compiled.program(x).nodes) > 3000


def test_read_only_memory_cannot_be_changed():
    data = np.ones(2)
    data.flags.writeable = False
    t = wg.asarray(data)
    with pytest.raises(wg.ArgumentError, match="read-only"):
        wg.compile(lambda: t.assign(t + 1))()


def test_results_beside_a_swept_graph_have_no_history():
    """What a call returns of a graph whose middle it has swept; eager calls return it just so."""
    x = wg.tensor(np.linspace(-1, 1, 12).reshape(4, 3))
    start = np.linspace(0.1, 0.6, 6).reshape(3, 2)

    def training(wrap):
        w = wg.tensor(start, requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)

        def step(x):
            h = wg.tanh(x @ w)
            loss = (h * h).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss, wg.exp(h), h[::2]

        return wrap(step)

    compiled, eager = training(wg.compile), training(lambda f: f)
    for _ in range(3):
        found = compiled(x)
        for a, b in zip(found, eager(x), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(wg.GraphError):
        found[1].sum().backward()

    def loss(x):
        h = wg.tanh(x)
        k = h * 2.0 + wg.sin(h)
        return (k * k).sum(), (h * 3.0, h[::2], wg.exp(h))

    f = wg.grad(loss, has_aux=True)
    for a, b in zip(wg.tree.leaves(wg.compile(f)(x)), wg.tree.leaves(f(x)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-15)
