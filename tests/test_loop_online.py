"""Reverse mode through loops whose number of steps nobody knows beforehand: the bits of the Python
loop, and as many evaluations as stated."""

from math import comb

import numpy as np
import pytest
import wengert as wg
from wengert import _core

X0 = np.linspace(0.2, 1.0, 5)
W = np.linspace(0.9, 1.1, 5)


def same(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def loss(checkpoint, most):
    """A state of several tensors, one of them integer, and a captured tensor."""

    def f(x, w):
        def body(state):
            n, (y, total) = state
            y = wg.sin(y * w) * 1.2
            return n + 1, (y, total + y.sum())

        n, (y, total) = wg.while_loop(
            lambda state: (state[0] < most) & (state[1][1] < 1e3),
            body,
            (0, (x, np.float64(0.0))),
            checkpoint=checkpoint,
        )
        return (y * y).sum() + total * 0.1

    return f


@pytest.mark.parametrize("slots", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 17, 60])
def test_same_bits_as_the_python_loop(most, slots):
    both = lambda checkpoint: wg.value_and_grad(loss(checkpoint, most), (0, 1))  # noqa: E731
    expected = both(None)(X0, W)
    keep = wg.Binomial(slots)
    same(both(keep)(X0, W), expected)
    compiled = wg.compile(both(keep))
    for _ in range(3):
        same(compiled(X0, W), expected)


def test_the_number_of_steps_may_change_from_call_to_call():
    def f(x, limit):
        return wg.while_loop(
            lambda y: y.sum() < limit, lambda y: y * 1.1 + 0.01, x, checkpoint=wg.Binomial(3)
        ).sum()

    compiled = wg.compile(wg.grad(f))
    for limit in (0.0, 5.0, 500.0, 50.0):
        steps = 0
        y = X0
        while y.sum() < limit:
            y, steps = y * 1.1 + 0.01, steps + 1
        found = compiled(X0, np.float64(limit))
        np.testing.assert_allclose(found.numpy(), np.full(5, 1.1**steps), rtol=1e-12)


TRANSFORMS = {
    "jvp": lambda f: lambda *args: wg.jvp(f, args, args),
    "hvp": lambda f: lambda *args: wg.hvp(f, args, args),
    "reverse over reverse": lambda f: wg.grad(lambda *args: wg.grad(f)(*args).sum(), (0, 1)),
    "hessian": lambda f: wg.hessian(f),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    transform = TRANSFORMS[name]
    expected = transform(loss(None, 12))(X0, W)
    found = transform(loss(wg.Binomial(3), 12))(X0, W)
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-12)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_examples_stop_each_in_its_own_time(axes):
    def f(x, w):
        return wg.while_loop(
            lambda y: y.sum() < 30.0, lambda y: y * 1.2 + w * 0.1, x, checkpoint=wg.Binomial(2)
        ).sum()

    g = wg.grad(f, (0, 1))
    scale = np.array([0.5, 1.0, 4.0, 60.0])[:, None]
    args = [x * scale if axis == 0 else x for x, axis in zip((X0, W), axes)]
    rows = [g(*(x[i] if axis == 0 else x for x, axis in zip(args, axes))) for i in range(4)]
    for mapped in (wg.vmap(g, in_axes=axes), wg.compile(wg.vmap(g, in_axes=axes))):
        for k, found in enumerate(mapped(*args)):
            expected = np.stack([row[k].numpy() for row in rows])
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    total = lambda *a: wg.vmap(f, in_axes=axes)(*a).sum()  # noqa: E731
    for k, found in enumerate(wg.grad(total, (0, 1))(*args)):
        expected = np.stack([row[k].numpy() for row in rows])
        expected = expected if axes[k] == 0 else expected.sum(0)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def evaluations(length, slots):
    """Of each step by the published algorithm: states that arrive in turn have levels; one may go
    once a later one has a higher level; where none may, the last is replaced, a level higher."""
    stored, counts = [], [1] * length
    for step in range(1, length if slots else 1):
        if len(stored) < slots:
            stored.append((step, 0))
            continue
        free = [
            i
            for i, (_, level) in enumerate(stored)
            if any(later > level for _, later in stored[i + 1 :])
        ]
        if free:
            del stored[free[-1]]
            stored.append((step, 0))
        else:
            stored[-1] = (step, stored[-1][1] + 1)
    steps, end = [step for step, _ in stored], length
    while end:
        if steps and steps[-1] >= end:
            steps.pop()
            continue
        at = steps[-1] if steps else 0
        while at < end - 1:
            to = at + _core._next_stored(end - at, slots - len(steps) + 1)
            for i in range(at, to):
                counts[i] += 1
            at = to
            if at < end - 1 and len(steps) < slots:
                steps.append(at)
        counts[at] += 1
        end = at
    return counts


def repetition(length, states):
    r = 0
    while comb(states + r, states) < length:
        r += 1
    return r


@pytest.mark.parametrize("slots", range(9))
def test_the_stated_bounds(slots):
    for length in range(1, 120):
        counts = evaluations(length, slots)
        assert max(counts) <= repetition(length, slots + 1) + 2
        assert sum(counts) <= wg.Binomial(slots).evaluations(length) + length


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 31, 60])
def test_evaluations_counted(length, slots):
    count = 0

    @wg.primitive
    def step(x):
        nonlocal count
        count += 1
        return np.sin(x)

    @step.def_vjp
    def _(ct, out, x):
        return (ct * np.cos(x),)

    def f(x):
        _, y = wg.while_loop(
            lambda s: s[0] < length, lambda s: (s[0] + 1, step(s[1])), (0, x),
            checkpoint=wg.Binomial(slots),
        )  # fmt: skip
        return y.sum()

    g = wg.compile(wg.grad(f))
    g(X0)
    count = 0
    g(X0)
    assert count == sum(evaluations(length, slots))


def test_memory_is_bounded_and_replays_allocate_nothing():
    def peak(most):
        def f(x):
            keep = wg.Binomial(10)
            return wg.while_loop(
                lambda s: s[0] < most, lambda s: (s[0] + 1, wg.sin(s[1])), (0, x), checkpoint=keep
            )[1].sum()

        g = wg.compile(wg.grad(f))
        x = wg.ones(1000, dtype="float64")
        results = [g(x) for _ in range(2)]
        before = wg.memory.live_bytes()
        wg.memory.reset_peak()
        results = g(x)
        assert results.shape == (1000,)
        return wg.memory.peak_bytes() - before, wg.memory.live_bytes()

    (rise, _), (again, _) = peak(50), peak(5000)
    assert rise == again <= 8000

    def held(most):
        x = wg.tensor(np.ones(1000), requires_grad=True)
        before = wg.memory.live_bytes()
        y = wg.while_loop(
            lambda s: s[0] < most, lambda s: (s[0] + 1, wg.sin(s[1])), (0, x),
            checkpoint=wg.Budget("200KB"),
        )[1].sum()  # fmt: skip
        wg.memory.reset_peak()
        y.backward()
        return wg.memory.peak_bytes() - before

    assert held(5000) == held(50) <= 200_000


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: wg.while_loop(lambda y: y < 1, lambda y: y, 0.0, checkpoint=wg.TwoLevel(1)),
            wg.ArgumentTypeError,
            "wg.Binomial or wg.Budget",
        ),
        (
            lambda: wg.while_loop(lambda y: y < 1, lambda y: y, 0.0, checkpoint=1),
            wg.ArgumentTypeError,
            "takes a schedule",
        ),
        (
            lambda: wg.grad(loss(wg.Budget("1B"), 3))(X0, W),
            wg.ArgumentError,
            "while_loop: .* at least",
        ),
        (
            lambda: wg.compile(wg.hessian(loss(wg.Binomial(1), 3)))(X0, W),
            wg.GraphError,
            "not known when a gradient is recorded",
        ),
    ],
)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("keep", [wg.Budget("10GB"), wg.Binomial(10**9)])
def test_slots_take_memory_when_they_are_used(keep):
    x = wg.asarray(np.linspace(0.1, 1.0, 100))

    def f(x, limit):
        return wg.while_loop(
            lambda s: s[0] < limit, lambda s: (s[0] + 1, wg.sin(s[1])), (0, x), checkpoint=keep
        )[1].sum()

    g = wg.grad(f)
    for call in (g, wg.compile(g)):
        call(x, 3)
        for steps in (5, 1000):
            before = wg.memory.live_bytes()
            wg.memory.reset_peak()
            found = call(x, steps)
            peak = wg.memory.peak_bytes() - before
            assert peak < 2.2 * steps * 800 + 20_000
            expected = x
            slope = np.ones(100)
            for _ in range(steps):
                slope, expected = slope * np.cos(expected.numpy()), wg.sin(expected)
            np.testing.assert_allclose(found.numpy(), slope, rtol=1e-9)
            del found, expected
