"""wg.compile(..., memory_budget=...): never over the budget by the allocator's count, same bits.

What a replay holds is measured as the live bytes that a first call leaves behind, with its results
and the recording's constants taken off; what a later call takes, as the peak above what was live
before it, with its results taken off. That is the work space of some kernels, as without a budget.
"""

import random

import numpy as np
import pytest
import wengert as wg
from wengert import nn


def replays_of(compiled):
    return [replay for entries in compiled._recordings.values() for replay, *_ in entries]


def replay_of(compiled):
    (replay,) = replays_of(compiled)
    return replay


def nbytes(tree):
    return sum(x.size * x.numpy().itemsize for x in wg.tree.leaves(tree))


def held_by(compiled, *args):
    """(results of the first call, bytes it left behind besides results and constants)."""
    before = wg.memory.live_bytes()
    results = compiled(*args)
    constants = replay_of(compiled).recorded.constants.values()
    return results, wg.memory.live_bytes() - before - nbytes(results) - nbytes(list(constants))


def taken_by(compiled, *args):
    """Bytes that a call needs at its peak besides its results, and what is live before it."""
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    results = compiled(*args)
    return wg.memory.peak_bytes() - before - nbytes(results)


def least_and_most(f, *args):
    curve = replay_of(recorded(wg.compile(f), *args)).curve(1e10, 1e10)
    return curve[-1][0], curve[0][0]


def recorded(compiled, *args):
    compiled.program(*args)
    return compiled


def same_bits(a, b):
    for x, y in zip(wg.tree.leaves(a), wg.tree.leaves(b), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        assert x.numpy().tobytes() == y.numpy().tobytes()


def random_function(draw, weights):
    """A random net of the weights and x, and its gradients in all of them."""
    depth = draw.randint(3, 25)
    plan = [
        (draw.choice("smatgnjv"), draw.randrange(100), draw.randrange(100)) for _ in range(depth)
    ]

    def net(x, ws):
        values = [x]
        for kind, i, j in plan:
            a = values[-1] if i % 3 else values[i % len(values)]
            b = values[j % len(values)]
            if kind == "s":
                a = wg.sin(a) * b
            elif kind == "m":
                a = a @ ws[j % len(ws)]
            elif kind == "a":
                a = a + 0.5 * b
            elif kind == "t":
                a = wg.tanh(a)
            elif kind == "g":
                a = nn.gelu(a)
            elif kind == "n":
                a = a / (1.0 + (a * a).mean(axis=-1, keepdims=True))
            elif kind == "j":
                a = wg.concat([a[:, 1:], b[:, :1]], axis=1)
            else:
                a = wg.maximum(a[::-1], b).T.reshape(a.shape)
            values.append(a)
        return (values[-1] * values[len(values) // 2]).sum()

    return wg.value_and_grad(net, argnums=(0, 1))


def random_calls(draw, seed, count):
    """Functions and arguments; the caller draws from ``draw`` in between."""
    numbers = np.random.default_rng(seed)
    for _ in range(count):
        n = draw.choice([2, 5, 16])
        x = wg.tensor(numbers.standard_normal((draw.choice([3, 8, 20]), n)))
        weights = [
            wg.tensor(numbers.standard_normal((n, n)) / n) for _ in range(draw.randint(1, 4))
        ]
        f = random_function(draw, weights)
        yield f, x, weights


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_keep_to_every_budget(seed):
    draw = random.Random(seed)
    for f, x, weights in random_calls(draw, seed, 10):
        plain = wg.compile(f)
        expected = plain(x, weights)
        work_space = taken_by(plain, x, weights)
        least, most = least_and_most(f, x, weights)
        for budget in {least, most, draw.randint(least, most), draw.randint(least, most)}:
            compiled = wg.compile(f, memory_budget=budget)
            found, held = held_by(compiled, x, weights)
            assert held <= budget
            same_bits(found, expected)
            assert taken_by(compiled, x, weights) <= work_space
        if least:  # a single group may take nothing
            with pytest.raises(wg.ArgumentError, match=rf"needs {least} bytes at least"):
                wg.compile(f, memory_budget=least - 1)(x, weights)


class Net(nn.Module):
    def __init__(self, layer, count, width):
        self.layers = nn.ModuleList(layer(width) for _ in range(count))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Block(nn.Module):
    """Pre-norm attention with two heads, and a feed-forward part."""

    def __init__(self, width):
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, length, width = x.shape
        h = self.inner(self.norm(x)).reshape(n, length, 3, 2, width // 2)
        q, k, v = (h[:, :, i].swapaxes(1, 2) for i in range(3))
        h = nn.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.outer(h.swapaxes(1, 2).reshape(x.shape))
        return x + self.down(nn.gelu(self.up(self.norm2(x))))


class Dense(nn.Module):
    def __init__(self, width):
        self.linear, self.dropout = nn.Linear(width, width), nn.Dropout(0.3)

    def forward(self, x):
        return self.dropout(wg.tanh(self.linear(x)))


class Normalised(nn.Module):
    def __init__(self, width):
        self.linear, self.norm = nn.Linear(width, width), nn.BatchNorm1d(width)

    def forward(self, x):
        return nn.relu(self.norm(self.linear(x)))


def training(layer, optimizer, shape, layers=6):
    """A step over a fresh model, and what shows all its state."""
    wg.random.seed(0)
    model = Net(layer, layers, shape[-1])
    x = wg.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    y = wg.zeros((*shape[:-1], 3))
    model(x)
    rule = optimizer(model.parameters(), lr=1e-2)

    def step(x, y):
        loss = nn.mse_loss(model(x), y)
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss

    return step, (x, y), lambda: [wg.tensor(v.detach()) for v in model.state_dict().values()]


STEPS = {
    "dense": (Dense, wg.optim.Adam, (16, 12)),
    "momentum": (Dense, lambda p, lr: wg.optim.SGD(p, lr=lr, momentum=0.9), (16, 12)),
    "transformer": (Block, wg.optim.AdamW, (2, 8, 16)),
    "normalised": (Normalised, wg.optim.RMSProp, (16, 12)),
}


def bounds_of(name):
    """Of the first step, which makes the optimiser's state, and of a later one."""
    step, args, _ = training(*STEPS[name])
    first = least_and_most(step, *args)
    step, args, _ = training(*STEPS[name])
    wg.compile(step)(*args)
    return tuple(map(max, first, least_and_most(step, *args)))


@pytest.mark.parametrize("name", STEPS)
def test_training_steps(name):
    step, args, state = training(*STEPS[name])
    compiled = wg.compile(step)
    expected = [compiled(*args) for _ in range(4)], state()
    work_space = taken_by(compiled, *args)
    least, most = bounds_of(name)
    assert least < most
    for budget in (least, (least + most) // 2, most):
        step, args, state = training(*STEPS[name])
        compiled = wg.compile(step, memory_budget=budget)
        losses = [compiled(*args) for _ in range(4)]
        same_bits((losses, state()), expected)
        assert all(replay.arena_bytes <= budget for replay in replays_of(compiled))
        assert taken_by(compiled, *args) <= work_space


def test_many_steps_in_one_call():
    step, args, state = training(*STEPS["dense"])
    expected = wg.compile(step).run(*args, steps=5), state()
    least, _ = bounds_of("dense")
    step, args, state = training(*STEPS["dense"])
    compiled = wg.compile(step, memory_budget=least)
    same_bits((compiled.run(*args, steps=5), state()), expected)
    assert all(replay.arena_bytes <= least for replay in replays_of(compiled))


def chain_loss(x, w):
    for _ in range(12):
        x = wg.tanh(x @ w)
    return (x * x).sum()


def arguments(rows=16, width=8):
    draw = np.random.default_rng(0)
    return wg.tensor(draw.standard_normal((rows, width))), wg.tensor(
        draw.standard_normal((width, width))
    )


def test_scan_cond_and_primitives_are_carried_out_once():
    calls = []

    @wg.primitive
    def doubled(x):
        calls.append(1)
        return 2 * np.asarray(x)

    @doubled.def_vjp
    def _(ct, out, x):
        return (2 * ct,)

    def loss(x, w):
        x = wg.scan(lambda c, _: (wg.tanh(c @ w), c.sum()), x, None, length=5)[0]
        x = chain_loss(x, w) * x
        x = wg.cond(x.sum() > 0, lambda x: wg.sin(x), lambda x: wg.cos(x), x)
        return chain_loss(doubled(x), w)

    f = wg.grad(loss, argnums=(0, 1))
    args = arguments()
    expected = wg.compile(f, exact=True)(*args)
    least, most = least_and_most(f, *args)
    assert least < most
    for budget in (least, (least + most) // 2):
        compiled = wg.compile(f, memory_budget=budget)
        same_bits(compiled(*args), expected)
        calls.clear()
        same_bits(compiled(*args), expected)
        assert len(calls) == 1


def test_an_input_that_is_changed_is_read_again_in_time():
    def make():
        w = wg.tensor(arguments()[1].numpy())

        def change(g):
            w.assign(w - 0.1 * g)
            return (w * w).sum()

        def step(x):
            g = wg.grad(chain_loss, argnums=1)(x, w)
            return change(g), wg.grad(chain_loss)(x, w)

        return step, w

    x = arguments()[0]
    step, w = make()
    compiled = wg.compile(step)
    expected = [compiled(x) for _ in range(3)], wg.tensor(w)
    least, most = least_and_most(make()[0], x)
    for budget in (least, (least + most) // 2):
        step, w = make()
        compiled = wg.compile(step, memory_budget=budget)
        same_bits(([compiled(x) for _ in range(3)], w), expected)


def test_gradients_left_behind_and_asked_for_later():
    args = arguments()

    x, w = args[0], wg.tensor(args[1].numpy(), requires_grad=True)

    def left(x):
        loss = chain_loss(x, w)
        loss.backward()
        return loss

    wg.compile(left)(x)
    expected = w.grad
    f = wg.compile(chain_loss)
    w.grad = None
    f(x, w).backward()
    same_bits(w.grad, expected)
    least, most = least_and_most(wg.grad(chain_loss, argnums=1), *args)
    for budget in (least, most):
        w.grad = None
        compiled = wg.compile(left, memory_budget=budget)
        for _ in range(2):
            w.grad = None
            compiled(x)
            same_bits(w.grad, expected)
    # The reverse sweep of a result is a program of its own under the same budget.
    least, most = least_and_most(chain_loss, x, w)
    for budget in (least, most):
        w.grad = None
        compiled = wg.compile(chain_loss, memory_budget=budget)
        compiled(x, w).backward()
        same_bits(w.grad, expected)
    with pytest.raises(wg.ArgumentError, match=rf"needs {least} bytes at least"):
        wg.compile(chain_loss, memory_budget=least - 1)(x, w)


def test_second_derivatives_and_several_outputs():
    f = wg.grad(lambda x, w: (wg.grad(chain_loss)(x, w) ** 2).sum(), argnums=(0, 1))
    g = lambda x, w: (f(x, w), chain_loss(x, w), x @ w, w.T)  # noqa: E731
    args = arguments()
    expected = wg.compile(g)(*args)
    least, most = least_and_most(g, *args)
    assert least < most
    for part in (0, 0.3, 0.6, 1):
        budget = least + int(part * (most - least))
        found, held = held_by(wg.compile(g, memory_budget=budget), *args)
        assert held <= budget
        same_bits(found, expected)


def test_copies_of_inputs_are_counted():
    x, w = arguments()
    f = wg.grad(chain_loss, argnums=(0, 1))
    least, most = least_and_most(f, x, w)
    turned = wg.tensor(x.numpy().T.copy()).T
    with pytest.raises(wg.ArgumentError, match=rf"needs {least + nbytes(x)} bytes at least"):
        wg.compile(f, memory_budget=least)(turned, w)
    found, held = held_by(wg.compile(f, memory_budget=least + nbytes(x)), turned, w)
    assert held <= least + nbytes(x)
    same_bits(found, wg.compile(f)(x, w))


def test_a_budget_too_small_changes_nothing():
    step, args, state = training(*STEPS["dense"])
    before = state()
    least, _ = least_and_most(step, *args)
    compiled = wg.compile(step, memory_budget=least - 1)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"memory_budget of {least - 1} bytes.*{least} bytes"):
            compiled(*args)
    assert compiled.cache_info() == (0, 0, 0)
    same_bits(state(), before)


@pytest.mark.parametrize(
    ("budget", "error", "text"),
    [
        (-1, wg.ArgumentError, "memory_budget"),
        ("lots", wg.ArgumentError, "64MB"),
        (1.5, wg.ArgumentTypeError, "64MB"),
        (True, wg.ArgumentTypeError, "memory_budget"),
    ],
)
def test_budgets_that_are_none(budget, error, text):
    with pytest.raises(error, match=text):
        wg.compile(chain_loss, memory_budget=budget)


def test_budgets_in_words_static_arguments_and_methods():
    x, w = arguments()
    f = wg.grad(lambda x, w, n: sum(chain_loss(x, w) for _ in range(n)), argnums=1)
    least, _ = least_and_most(lambda x, w: f(x, w, 2), x, w)
    compiled = wg.compile(static_argnums=2, memory_budget=f"{least}B")(f)
    for n in (1, 2, 1, 2):
        same_bits(compiled(x, w, n), f(x, w, n))
    assert compiled.cache_info() == (2, 2, 2)

    class Model:
        @wg.compile(memory_budget=least)
        def gradient(self, x, w):
            return f(x, w, 2)

    model = Model()
    same_bits(model.gradient(x, w), f(x, w, 2))
    with pytest.raises(wg.ArgumentError, match="too small"):
        model.gradient(wg.concat([x, x]), w)


def test_explain_shows_the_schedule():
    x, w = arguments()
    f = wg.grad(chain_loss, argnums=1)
    least, most = least_and_most(f, x, w)
    assert "budget" not in wg.compile(f).explain(x, w)
    text = wg.compile(f, memory_budget=least).explain(x, w)
    assert f"{most / 1e3:.3g} kB before, {least / 1e3:.3g} kB after" in text
    (stored,) = [line for line in text.splitlines() if line.startswith("stored")]
    (again,) = [line for line in text.splitlines() if line.startswith("again")]
    assert "values" in stored and "flop" in again and "ms predicted" in again
    assert "tanh float64[16, 8]" in text and "test_memory_budget.py:" in text
    lines = wg.compile(f, memory_budget=most).explain(x, w).splitlines()
    (again,) = [line for line in lines if line.startswith("again")]
    assert again.split()[1] == "0"


def test_planning_looks_at_each_step_a_bounded_number_of_times():
    def deep(x, w, n):
        for _ in range(n):
            x = wg.tanh(x @ w) + wg.sin(x) * x
        return x.sum()

    x, w = arguments(4, 4)
    for n in (150, 600):
        f = wg.grad(lambda x, w: deep(x, w, n), argnums=1)
        least, most = least_and_most(f, x, w)
        compiled = wg.compile(f, memory_budget=(least + most) // 2)
        nodes = len(compiled.program(x, w))
        plans, looked = replay_of(compiled).schedule[6:8]
        assert plans <= 160 and looked / nodes < 20_000
    assert nodes > 5000


def test_the_curve_as_data(tmp_path):
    x, w = arguments()
    f = wg.grad(chain_loss, argnums=1)
    least, most = least_and_most(f, x, w)
    curve = wg.memory_curve(f, x, w, points=4)
    assert 2 <= len(curve.points) <= 4
    assert curve.least.peak_bytes == least and curve.most.peak_bytes == most
    for smaller, larger in zip(curve.points, curve.points[1:]):
        assert smaller.peak_bytes < larger.peak_bytes
        assert smaller.measured_seconds > 0
    assert curve.least.predicted_seconds > curve.most.predicted_seconds
    assert len(str(curve).splitlines()) == 1 + len(curve.points)
    curve.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    with pytest.raises(wg.ArgumentError, match="'points' is at least 2"):
        wg.memory_curve(f, x, w, points=1)
    for points in (True, 2.0):
        with pytest.raises(wg.ArgumentTypeError, match="'points' takes an int"):
            wg.memory_curve(f, x, w, points=points)
    with pytest.raises(wg.ArgumentTypeError, match="function"):
        wg.memory_curve(3, x)


def test_the_curve_of_a_training_step_changes_nothing():
    step, args, state = training(*STEPS["dense"])
    before = state()
    curve = wg.memory_curve(wg.compile(step), *args, points=3)
    assert curve.least.peak_bytes < curve.most.peak_bytes
    same_bits(state(), before)


def looped_loss(x, w):
    """A loop whose gradient of w sums products over the steps: stacked where memory is free."""
    return chain_loss(wg.scan(lambda c, _: (wg.tanh(c @ w), None), x, None, length=200)[0], w)


@pytest.mark.parametrize("later", [False, True])
def test_the_curve_of_loops_ends_where_budgets_do(later):
    x, w = arguments()
    f = looped_loss if later else wg.grad(looped_loss, argnums=1)
    if later:
        w = wg.tensor(w.numpy(), requires_grad=True)
    else:
        assert replay_of(recorded(wg.compile(f), x, w)).rewritten[-2] > 0  # it is stacked
    least, most = least_and_most(f, x, w)
    curve = wg.memory_curve(f, x, w, points=3)
    assert (curve.least.peak_bytes, curve.most.peak_bytes) == (least, most)
    for budget in (least, most):
        wg.compile(f, memory_budget=budget)(x, w)
    with pytest.raises(wg.ArgumentError, match=rf"needs {least} bytes at least"):
        wg.compile(f, memory_budget=least - 1)(x, w)


def test_empty_and_tiny_programs():
    for f in (lambda x: x, lambda x: x + 1.0, lambda x: (x * x).sum()):
        for x in (wg.zeros((0, 3)), wg.zeros(()), wg.ones(3)):
            _, most = least_and_most(f, x)
            same_bits(wg.compile(f, memory_budget=most)(x), f(x))


def test_measuring_the_machine_leaves_the_peak_as_it_was():
    from wengert import explain

    wg.memory.reset_peak()
    before = wg.memory.peak_bytes()
    explain.ceilings()
    assert wg.memory.peak_bytes() == before
