"""What `wg.compile(exact=True)` gives is what the function itself gives, to the bit."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

SEEDS = range(12)


def bits(values):
    return [x.numpy().tobytes() for x in wg.tree.leaves(values)]


def same_bits(f, make):
    compiled = wg.compile(f, exact=True)
    for seed in SEEDS:
        args = make(np.random.default_rng(seed))
        assert bits(compiled(*args)) == bits(f(*args))


def normal(rng, *shape):
    return wg.tensor(rng.normal(size=shape).astype(np.float32))


def labelled(ignored):
    def make(rng):
        target = rng.integers(0, 7, 37)
        target[: ignored * 5] = -100
        return normal(rng, 37, 7), wg.tensor(target)

    return make


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(ignored, reduction, smoothing):
    def loss(x, target):
        return nn.cross_entropy(x, target, reduction=reduction, label_smoothing=smoothing).sum()

    same_bits(wg.value_and_grad(loss), labelled(ignored))


def test_a_mean_over_no_targets_is_nan_compiled_too():
    x, target = wg.zeros((3, 2)), wg.full(3, -100)
    for call in (nn.cross_entropy, wg.compile(nn.cross_entropy)):
        assert np.isnan(call(x, target).item())


def chosen(rng):
    return wg.tensor(bool(rng.integers(2))), normal(rng, 17), normal(rng, 17)


def of_two(p, w, x):
    y = wg.cond(p, lambda x: x * w + wg.sin(w) * x, lambda x: x * w * w, x)
    return (y * w * x).sum() + (wg.cos(w) * x).sum()


def closed_over_and_given(p, w, x):
    y = wg.cond(p, lambda x, v: x * w + wg.sin(w) * v, lambda x, v: x * v, x, w)
    return (y * w * x).sum()


def given_twice(p, w, x):
    y = wg.cond(p, lambda a, b: a * b + wg.sin(a) * wg.cos(b), lambda a, b: a * b, x, x)
    return (y * x * w).sum()


def made_before(p, w, x):
    v = w * 2
    y = wg.cond(p, lambda x: x * v + wg.sin(v) * v, lambda x: x * v, x)
    return (y * v * x).sum()


def within_another(p, w, x):
    def inner(x):
        return wg.cond(x[0] > 0, lambda x: x * w + wg.sin(w) * x, lambda x: x, x) * w + w * x

    return (wg.cond(p, inner, lambda x: x * w, x) * w * x).sum()


def not_read_by_one(p, w, x):
    y = wg.cond(p, lambda: wg.sin(w) + w * x, lambda: x * x)
    return (y * w).sum() + (w * w * x).sum()


BRANCHES = [
    of_two,
    closed_over_and_given,
    given_twice,
    made_before,
    within_another,
    not_read_by_one,
]


@pytest.mark.parametrize("f", BRANCHES)
def test_cotangents_add_up_in_a_branch_as_outside(f):
    same_bits(wg.value_and_grad(f, (1, 2)), chosen)


@pytest.mark.parametrize("f", BRANCHES)
def test_derivatives_of_branches_in_forward_mode(f):
    same_bits(lambda p, w, x: wg.jvp(lambda w, x: f(p, w, x), (w, x), (x, w)), chosen)


@pytest.mark.parametrize("f", BRANCHES)
def test_second_derivatives_of_branches(f):
    def slope(p, w, x):
        found = wg.grad(f, (1, 2))(p, w, x)
        return (found[0] * x).sum() + (found[1] * w).sum()

    for seed in SEEDS:
        args = chosen(np.random.default_rng(seed))
        expected = wg.grad(slope, (1, 2))(*args)
        for x, y in zip(wg.compile(wg.grad(slope, (1, 2)))(*args), expected):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-4, atol=1e-5)


def dot(w, x):
    total = w[0] * x[0]
    for i in range(1, 100):
        total = total + w[i] * x[i]
    return total


def doubles(rng):
    p = wg.tensor(bool(rng.integers(2)))
    return p, *(wg.tensor(rng.normal(size=100)) for _ in range(2))


def branch(p, w, x):
    return wg.cond(p, lambda x: dot(w, x), lambda x: dot(w, x) * 2, x)


def loop(p, w, x):
    def step(state):
        x, i = state
        return x * 0.5 + dot(w, x), i + 1

    return wg.while_loop(lambda state: state[1] < 3, step, (x, 0))[0].sum()


@pytest.mark.parametrize("f", [branch, loop])
def test_long_sums_in_bodies(f):
    same_bits(f, doubles)
    same_bits(lambda p, w, x: wg.jvp(lambda w, x: f(p, w, x), (w, x), (x, w)), doubles)


def test_bodies_keep_the_sign_of_zeros():
    zero = wg.tensor([-0.0])

    def chosen(x):
        return wg.cond(x[0] < 1, lambda x: x + 0.0, lambda x: x, x)

    def looped(x):
        return wg.while_loop(lambda s: s[1] < 1, lambda s: (s[0] + 0.0, s[1] + 1), (x, 0))[0]

    for f in (chosen, looped):
        assert bits(wg.compile(f, exact=True)(zero)) == bits(f(zero)) == bits(wg.tensor([0.0]))


RATES = {
    "==": lambda t: 0.1 * (t == 2) + 0.01,
    "< and >=": lambda t: 0.1 * (t < 2) + 0.3 * (t >= 2),
    "&": lambda t: 0.1 * ((t > 0) & (t < 3)) + 0.03,
    "| and ^": lambda t: 0.1 * ((t > 2) | (t < 1)) + 0.3 * ((t > 0) ^ (t < 3)),
    "~": lambda t: ~(t < 2) * -0.1,  # of Python's numbers: ~True is -2
    "sum": lambda t: 0.1 * ((t > 1) + (t > 2)),
    "difference": lambda t: 0.1 * (1 - (t > 1)),
    "divisor": lambda t: 0.1 / (1 + (t > 1)),
    "power": lambda t: 0.1 ** (1 + (t >= 2)) / 3,
    "exponent": lambda t: 0.3 ** (t != 3),
    "equal truths": lambda t: 0.1 * ((t > 1) == (t > 2)) + 0.01,
    "the step itself": lambda t: t,
    "an integer": lambda t: 2 * t + 1,
}


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize("name", RATES)
def test_schedules_that_compare_or_count(name, dtype):
    found = []
    for compiled in (False, True):
        w = wg.tensor(np.random.default_rng(0).normal(size=5), dtype=dtype, requires_grad=True)
        optimizer = optim.SGD([w], lr=RATES[name])

        def step(x, w=w, optimizer=optimizer):
            (w * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            return w

        call = wg.compile(step, exact=True) if compiled else step
        found.append([bits([call(wg.arange(5, dtype=dtype) / 3)]) for _ in range(5)])
    assert found[0] == found[1]
