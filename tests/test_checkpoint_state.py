"""wg.checkpoint and state: what f reads and changes, draws, watches; and whole steps around it."""

import numpy as np
import pytest
import wengert as wg
from test_checkpoint import RNG, W, X, close, peak_of, same
from wengert import nn


def model(block):
    class Model(nn.Module):
        def __init__(self):
            rng = wg.random.default_rng(1)
            self.first = nn.Linear(6, 6)
            self.block = nn.Sequential(
                nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5, generator=rng)
            )
            self.last = nn.Linear(6, 2)
            self.rng = rng
            self.calls = []

        def _block(self, h):
            self.calls.append(h.shape)
            return self.block(self.block(h))

        def forward(self, x):
            return self.last(block(self._block)(self.first(x)))

    wg.random.seed(0)
    return Model()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("policy", [None, wg.policies.save_matmuls])
def test_training_is_the_same_to_the_bit(compiled, policy):
    """Dropout, batch statistics and the generator's state included."""
    results = []
    for block in (lambda f: f, lambda f: wg.checkpoint(f, policy=policy)):
        net = model(block)
        optimizer = wg.optim.Adam(net.parameters(), lr=1e-2)

        def step(x, net=net, optimizer=optimizer):
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        step = wg.compile(step) if compiled else step
        losses = [step(wg.asarray(RNG_X[i])) for i in range(4)]
        results.append((losses, net.state_dict(), net.rng.get_state()))
        assert len(net.calls) == (1 if compiled else 4)
    assert results[0][1]["block.1.num_batches_tracked"].item() == 8
    same(*results)


RNG_X = np.random.default_rng(3).normal(size=(4, 5, 6)).astype("float32")


def test_modules_are_functions():
    layer = nn.Linear(4, 4)
    x = wg.tensor(X.astype("float32"), requires_grad=True)
    wg.checkpoint(layer)(x).sum().backward()
    found = [layer.weight.grad, layer.bias.grad, x.grad]
    layer.weight.grad = layer.bias.grad = x.grad = None
    layer(x).sum().backward()
    same(found, [layer.weight.grad, layer.bias.grad, x.grad])


def test_lazy_parameters_are_made_within():
    layer = nn.Linear(4)
    x = wg.tensor(X.astype("float32"), requires_grad=True)
    wg.checkpoint(lambda x: wg.tanh(layer(x)))(x).sum().backward()
    found = layer.weight.grad
    layer.weight.grad = None
    wg.tanh(layer(x)).sum().backward()
    same(found, layer.weight.grad)


def test_draws_are_those_of_the_first_time():
    rng = wg.random.default_rng(5)
    start = rng.get_state()
    x = wg.tensor(np.ones(100, np.float32), requires_grad=True)

    def f(x):
        return wg.exp(x * rng.normal(size=100)) * rng.random(100)

    wg.checkpoint(f)(x).sum().backward()
    found, end = x.grad, rng.get_state()
    rng.set_state(start)
    x.grad = None
    f(x).sum().backward()
    same((found, end), (x.grad, rng.get_state()))


def test_what_changes_within_was_read_as_it_was():
    state = wg.tensor([1.0, 2.0])
    x = wg.tensor([3.0, 5.0], requires_grad=True)

    @wg.checkpoint
    def f(x):
        view = state[1:]
        y = wg.exp(x * state) * view
        state.assign(state * 10.0)
        z = y * state
        state[0] = 7.0
        return z * state

    expected = wg.tensor([3.0, 5.0], requires_grad=True)
    z = wg.exp(expected * wg.tensor([1.0, 2.0])) * 2.0
    (z * wg.tensor([10.0, 20.0]) * wg.tensor([7.0, 20.0])).sum().backward()
    f(x).sum().backward()
    same(x.grad, expected.grad)
    assert state.tolist() == [7.0, 20.0]


def test_values_made_within_change_in_place():
    @wg.checkpoint
    def f(x):
        mask = wg.zeros_like(x.detach())
        ones = mask + 1.0
        view = ones[1:]
        y = x * ones * 3.0
        ones[1] = 5.0
        h = wg.tanh(y)
        h += 1.0
        return wg.exp(h * ones)[1:] * view

    def plain(x):
        h = wg.tanh(x * wg.ones(3, dtype="float64") * 3.0) + 1.0
        return wg.exp(h * wg.asarray([1.0, 5.0, 1.0]))[1:] * wg.asarray([5.0, 1.0])

    x = np.array([0.1, 0.2, 0.3])
    same(wg.grad(lambda x: f(x).sum())(x), wg.grad(lambda x: plain(x).sum())(x))


def test_a_change_after_the_call_names_both_lines():
    w = wg.tensor(W)
    x = wg.tensor(X, requires_grad=True)
    y = wg.checkpoint(lambda x: wg.tanh(x @ w))(x)
    w.assign(2 * W)
    with pytest.raises(wg.GraphError, match=r"checkpoint: .*_state.py:\d+.*_state.py:\d+"):
        y.sum().backward()
    b = wg.tensor(X[0])
    y = wg.checkpoint(lambda x: x + b)(x)
    b.assign(2 * X[0])  # whose value no adjoint reads
    y.sum().backward()


def test_no_grad_within_holds_in_the_sweep():
    def f(x):
        with wg.no_grad():
            scale = wg.exp(x)
        return wg.sin(x) * scale

    expected = wg.grad(lambda x: f(x).sum())(X)
    for wrap in (wg.checkpoint, lambda f: wg.checkpoint(wg.checkpoint(f))):
        same(wg.grad(lambda x: wrap(f)(x).sum())(X), expected)
        close(wg.compile(wg.grad(lambda x: wrap(f)(x).sum()))(X), expected)
        close(wg.vmap(wg.grad(lambda x: wrap(f)(x).sum()))(X), expected)

    def scanned(x):
        return wg.scan(lambda c, row: (c + wg.checkpoint(f)(row), None), x[0] * 0.0, x)[0].sum()

    close(wg.grad(scanned)(X), expected)


def test_hooks_on_arguments_and_results():
    x = wg.tensor(X, requires_grad=True)
    h = x * 2.0
    h.register_hook(lambda g: g * 10.0)

    kept = []

    @wg.checkpoint
    def f(h):
        y = wg.sin(h)
        y.register_hook(lambda g: g * 3.0)
        z = y * 5.0
        z.register_hook(lambda g: g * 7.0)
        z.retain_grad()
        kept.append(z)
        return z, y

    z, y = f(h)
    y.register_hook(lambda g: g * 2.0)
    (kept.pop() * 0.0 + z + y).sum().backward()
    # 2 by y's own hook outside, 35 by z; both pass y's hook within and h's.
    slope = (2.0 + 35.0) * 3.0 * 10.0 * 2.0
    np.testing.assert_allclose(x.grad.numpy(), slope * np.cos(2 * X), rtol=1e-12)


def test_hooks_on_what_is_made_within():
    kept = []

    @wg.checkpoint
    def f(x):
        h = wg.sin(x)
        h.register_hook(lambda g: g * 3.0)
        h.retain_grad()
        kept.append(h)
        return wg.exp(h)

    x = wg.tensor(X, requires_grad=True)
    f(x).sum().backward()
    h = kept.pop()
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.exp(np.sin(X)) * np.cos(X), rtol=1e-12)
    np.testing.assert_allclose(h.grad.numpy(), 3 * np.exp(np.sin(X)), rtol=1e-12)


# Loops, branches, and whole steps.


def test_in_the_bodies_of_loops_and_branches():
    def cell(f):
        def loss(w, xs):
            def body(h, x):
                h = f(lambda h, x: wg.tanh(h @ w + x))(h, x)
                h = wg.cond(h.sum() > 0, f(lambda h: wg.sin(h)), lambda h: h * 2.0, h)
                return h, h.sum()

            h, ys = wg.scan(body, xs[0], xs)
            return (h**2).sum() + ys.sum()

        return loss

    for transform in (
        lambda f: wg.grad(f, (0, 1)),
        lambda f: lambda *a: wg.hvp(f, a, a),
        lambda f: lambda *a: wg.jvp(f, a, a),
        lambda f: wg.grad(lambda *a: (wg.grad(f)(*a) ** 2).sum(), (0, 1)),
    ):
        expected = transform(cell(lambda f: f))(W, X)
        close(transform(cell(wg.checkpoint))(W, X), expected)
        close(wg.compile(transform(cell(wg.checkpoint)))(W, X), expected)
        close(transform(wg.checkpoint(cell(wg.checkpoint)))(W, X), expected)


def test_in_a_while_loop():
    f = wg.checkpoint(lambda x: x * 2.0 + 1.0)
    run = wg.compile(lambda x: wg.while_loop(lambda x: x < 100.0, f, x))
    assert run(3.0).item() == 127.0
    close(
        wg.compile(
            lambda x: wg.jvp(lambda x: wg.while_loop(lambda x: x < 100.0, f, x), (x,), (1.0,))
        )(3.0),
        (wg.tensor(127.0), wg.tensor(32.0)),
    )


def test_a_scan_keeps_the_carry_alone():
    def loss(f):
        def body(h, x):
            return f(lambda h: wg.tanh(wg.sin(wg.tanh(wg.sin(h)))))(h) + x, None

        return lambda h, xs: wg.scan(body, h, xs)[0].sum()

    h, xs = np.ones(1000), wg.zeros((50, 1000), dtype="float64")
    peaks = [peak_of(lambda f=f: wg.grad(loss(f))(h, xs)) for f in (lambda f: f, wg.checkpoint)]
    assert peaks[0] - peaks[1] > 90 * 8000


def tower(f, n=16, width=64, batch=512):
    ws = [wg.tensor(RNG.normal(size=(width, width)) / 8, requires_grad=True) for _ in range(n)]

    def loss(x):
        for w in ws:
            x = f(lambda x, w: x + wg.tanh(wg.tanh(x @ w) * wg.sigmoid(x)))(x, w)
        return (x**2).sum()

    def step(x):
        y = loss(x)
        y.backward()
        return y, [w.grad for w in ws]

    return step, wg.asarray(RNG.normal(size=(batch, width)))


def test_a_compiled_step_needs_less_memory():
    state = RNG.bit_generator.state
    peaks, arenas, results = [], [], []
    for f in (lambda f: f, wg.checkpoint):
        RNG.bit_generator.state = state
        step, x = tower(f)
        fast = wg.compile(step)
        results.append(fast(x))
        peaks.append(fast.program(x).bytes_peak)
        replay, *_ = fast._find(*fast._leaves((x,), {}))
        arenas.append(replay.arena_bytes)
        same(step(x)[0], results[-1][0])
    same(*results)
    activation = 512 * 64 * 8
    assert arenas[0] > 16 * 3 * activation
    assert arenas[1] < (16 + 10) * activation
    assert peaks[0] - peaks[1] > 16 * 2 * activation


def test_a_compiled_loss_under_backward():
    w = wg.tensor(W, requires_grad=True)
    f = wg.compile(lambda x: (wg.checkpoint(lambda x: wg.tanh(x @ w) @ w)(x) ** 2).sum())
    for _ in range(2):
        w.grad = None
        f(X).backward()
    found, w.grad = w.grad, None
    ((wg.tanh(X @ w) @ w) ** 2).sum().backward()
    close(found, w.grad)


def test_a_compiled_function_within():
    g = wg.compile(lambda x: wg.tanh(x) * 2.0)
    x = wg.tensor(X, requires_grad=True)
    g(X)
    wg.checkpoint(lambda x: g(g(x)))(x).sum().backward()
    close(x.grad, wg.grad(lambda x: (wg.tanh(wg.tanh(x) * 2.0) * 2.0).sum())(X))
