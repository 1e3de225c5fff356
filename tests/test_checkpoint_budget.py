"""wg.checkpoint inside a compiled function with a memory_budget: blocks are computed again as it
says, what else does not fit as the budget says, to the same bits."""

import numpy as np
import pytest
import wengert as wg
from test_memory_budget import (
    held_by,
    least_and_most,
    recorded,
    replay_of,
    same_bits,
    taken_by,
    training,
)
from test_memory_disk import bounds, two_level
from wengert import compiler, nn
from wengert.explain import Schedule


def block(x, w):
    return wg.tanh(wg.sin(x @ w) * 1.5) @ w.T


def loss(wrap):
    def call(x, ws):
        for i, w in enumerate(ws):
            x = wrap(block)(x, w) if i % 2 else block(x, w) + x
        return (x * x).sum()

    return call


WRAPS = {
    "plain": wg.checkpoint,
    "policy": lambda f: wg.checkpoint(f, policy=wg.policies.save_matmuls),
    "nested": lambda f: wg.checkpoint(lambda x, w: wg.checkpoint(f)(wg.sin(x), w)),
}
FUNCTIONS = {
    "gradient": lambda f: wg.value_and_grad(f, argnums=(0, 1)),
    "second order": lambda f: wg.grad(lambda x, ws: (wg.grad(f)(x, ws) ** 2).sum(), argnums=(0, 1)),
    "forward over reverse": lambda f: (
        lambda x, ws: wg.jvp(lambda x: wg.grad(f)(x, ws), (x,), (wg.cos(x),))
    ),
}


def arguments():
    draw = np.random.default_rng(0)
    x = wg.tensor(draw.standard_normal((24, 10)))
    return x, [wg.tensor(draw.standard_normal((10, 10)) / 3) for _ in range(6)]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_gradients_and_peaks(name, wrap, monkeypatch):
    monkeypatch.setattr(compiler, "_moving", lambda directory, most: (0.0, 0.0, 0.0))
    f, args = FUNCTIONS[name](loss(WRAPS[wrap])), arguments()
    eager = f(*args)
    plain = wg.compile(f)
    expected = plain(*args)
    for x, y in zip(wg.tree.leaves(eager), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-9, atol=1e-12)
    work_space = taken_by(plain, *args)
    least, most = least_and_most(f, *args)
    assert least < most
    lowest = bounds(f, *args, disk=("", -1, 0.0, 0.0, 0.0))[0]
    assert lowest <= least
    budgets = [least, (least + most) // 2, most, two_level(lowest), two_level((lowest + most) // 2)]
    for budget in budgets:
        compiled = wg.compile(f, memory_budget=budget)
        found, held = held_by(compiled, *args)
        assert held <= compiler._bytes(budget)
        same_bits(found, expected)
        same_bits(compiled(*args), expected)
        assert taken_by(compiled, *args) <= work_space


def test_what_is_wrapped_needs_no_budget():
    """It is computed again for less memory than the call that keeps all; a budget adds to that."""
    args = arguments()
    kept, wrapped = (
        least_and_most(wg.grad(loss(wrap)), *args) for wrap in (lambda f: f, wg.checkpoint)
    )
    assert wrapped[1] < kept[1]
    compiled = wg.compile(wg.grad(loss(wg.checkpoint)), memory_budget=wrapped[0])
    text = compiled.explain(*args)
    found = Schedule(*replay_of(compiled).schedule)
    assert found.before == wrapped[1] and found.after == wrapped[0]
    (again,) = [line for line in text.splitlines() if line.startswith("again")]
    assert int(again.split()[1]) == sum(value.times > 0 for value in found.values) > 0
    assert "test_checkpoint_budget.py:" in text
    steps = recorded(wg.compile(wg.grad(loss(wg.checkpoint))), *args).program(*args)
    plain = recorded(wg.compile(wg.grad(loss(lambda f: f))), *args).program(*args)
    assert steps.flops > plain.flops


class Wrapped(nn.Module):
    """A block with noise and running statistics, of which a reverse sweep sees the same again."""

    def __init__(self, width):
        self.linear, self.norm = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x):
        return wg.checkpoint(lambda x: self.dropout(nn.relu(self.norm(self.linear(x)))))(x)


def test_training_steps_with_noise_and_statistics():
    setting = (Wrapped, wg.optim.Adam, (16, 12))
    step, args, state = training(*setting)
    compiled = wg.compile(step)
    expected = [compiled(*args) for _ in range(4)], state()
    step, args, _ = training(*setting)
    first = least_and_most(step, *args)
    wg.compile(step)(*args)
    least, most = map(max, first, least_and_most(step, *args))
    for budget in (least, (least + most) // 2):
        step, args, state = training(*setting)
        compiled = wg.compile(step, memory_budget=budget)
        same_bits(([compiled(*args) for _ in range(4)], state()), expected)


def test_gradients_asked_for_later():
    x, ws = arguments()
    ws = [wg.tensor(w.numpy(), requires_grad=True) for w in ws]
    f = loss(wg.checkpoint)
    wg.compile(f)(x, ws).backward()
    expected = [w.grad for w in ws]
    least, _ = least_and_most(f, x, ws)
    for w in ws:
        w.grad = None
    wg.compile(f, memory_budget=least)(x, ws).backward()
    same_bits([w.grad for w in ws], expected)
