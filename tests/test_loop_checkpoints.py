"""Loops that store some states and run the steps between them again: as few steps as can be, and
the bits of the loop that keeps everything."""

from functools import cache
from math import comb

import checkpoint_schedules as published
import numpy as np
import pytest
import wengert as wg
from wengert import _core

RNG = np.random.default_rng(0)
W, U = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=(2, 3))
H0, XS = RNG.normal(size=3), RNG.normal(size=(11, 2))
ARGS = (W, U, H0, XS)
EVERY = (0, 1, 2, 3)
X0 = np.linspace(0.1, 1.0, 3)


def same(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def optimum(length, slots):
    """Griewank and Walther: r l - C(c + r, r - 1) + l, with c states, the initial one included."""
    c, r = slots + 1, 0
    while comb(c + r, c) < length:
        r += 1
    return r * length - (comb(c + r, r - 1) if r else 0) + length


@cache
def by_recurrence(length, c):
    if length < 2:
        return 0
    if c == 1:
        return length * (length - 1) // 2
    return min(j + by_recurrence(length - j, c - 1) + by_recurrence(j, c) for j in range(1, length))


class Counted:
    """A step that counts its evaluations in Python."""

    def __init__(self):
        self.count = 0

        @wg.primitive
        def step(x):
            self.count += 1
            return np.sin(x) * 1.01

        @step.def_vjp
        def _(ct, out, x):
            return (ct * np.cos(x) * 1.01,)

        self.step = step

    def gradient(self, length, checkpoint):
        """Of a loop, compiled, so that a second call makes the loop's own evaluations only."""

        def loss(x):
            last, ys = wg.scan(
                lambda c, _: (self.step(c), c.sum()), x, None, length, checkpoint=checkpoint
            )
            return last.sum() + (ys * ys).sum()

        compiled = wg.compile(wg.grad(loss))
        compiled(X0)
        self.count = 0
        return compiled(X0), self.count


def test_the_closed_form_is_the_recurrence():
    for c in range(1, 8):
        for length in range(1, 80):
            assert _core._least_advances(length, c) == by_recurrence(length, c)


@pytest.mark.parametrize("c", [1, 2, 3, 9, 21, 1000])
@pytest.mark.parametrize("length", [2, 3, 10, 11, 500, 10_000, 1_000_000])
def test_splits_are_optimal(length, c):
    j = _core._next_stored(length, c)
    assert 1 <= j < length
    rest = _core._least_advances(length - j, c - 1) if c > 1 else 0
    assert _core._least_advances(length, c) == j + rest + _core._least_advances(j, c)


def test_long_chains_do_not_overflow():
    assert _core._least_advances(10**12, 10**6) == 3 * 10**12 - comb(10**6 + 3, 2)
    assert wg.Binomial(slots=10**12).evaluations(10**12) == 2 * 10**12 - 1
    with pytest.raises(wg.ArgumentError, match="with 0 slots"):
        wg.Binomial(slots=0).evaluations(4 * 10**9 + 1)


@pytest.mark.parametrize("slots", range(9))
def test_evaluations_stated(slots):
    for length in range(1, 61):
        assert wg.Binomial(slots).evaluations(length) == optimum(length, slots)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("length", [2, 3, 7, 20, 60])
def test_evaluations_are_those_of_published_schedules(slots, length):
    """Their snapshots include the initial state; each step is run once more with its reverse."""
    for schedule in (
        published.Revolve(length, slots + 1),
        published.MultistageCheckpointSchedule(length, slots + 1, 0),
    ):
        advanced = 0
        for action in schedule:
            if isinstance(action, published.Forward):
                advanced += action.n1 - action.n0
            if isinstance(action, published.EndReverse):
                break
        assert wg.Binomial(slots).evaluations(length) == advanced


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9, 10, 11, 29, 60])
def test_evaluations_counted(length):
    counted = Counted()
    expected, _ = counted.gradient(length, None)
    for slots in range(9):
        found, count = counted.gradient(length, wg.Binomial(slots))
        same(found, expected)
        assert count == optimum(length, slots)


@pytest.mark.parametrize(("length", "slots"), [(1000, 9), (10_000, 20)])
def test_long_loops_counted(length, slots):
    counted = Counted()
    expected, _ = counted.gradient(length, None)
    found, count = counted.gradient(length, wg.Binomial(slots))
    same(found, expected)
    assert count == optimum(length, slots)


def rnn(checkpoint):
    def call(w, u, h, xs):
        def cell(h, x):
            h = wg.tanh(h @ w + x @ u)
            return h, (h**2).sum()

        return wg.scan(cell, h, xs, checkpoint=checkpoint)

    return call


def loss_of(f):
    def loss(*args):
        h, y = f(*args)
        return (h * wg.arange(3.0)).sum() + (y * y).sum()

    return loss


def slope_of(f):
    def slope(*args):
        return sum((x * y).sum() for x, y in zip(wg.grad(f, EVERY)(*args), ARGS))

    return slope


TRANSFORMS = {
    "value": lambda f: f,
    "grad": lambda f: wg.grad(loss_of(f), EVERY),
    "some": lambda f: wg.grad(loss_of(f), (0, 3)),
    "jvp": lambda f: lambda *args: wg.jvp(f, args, args),
    "linearize": lambda f: lambda *args: wg.linearize(f, *args)[1](*args),
    "hvp": lambda f: lambda *args: wg.hvp(loss_of(f), args, args),
    "reverse over reverse": lambda f: wg.grad(slope_of(loss_of(f)), EVERY),
    "jacrev": lambda f: wg.jacrev(lambda *args: f(*args)[1], EVERY),
    "jacfwd": lambda f: wg.jacfwd(loss_of(f), 3),
    "hessian": lambda f: wg.hessian(loss_of(f), 2),
}
SLOTS = [0, 1, 3, 20]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("slots", SLOTS)
def test_every_transform_gives_the_same_bits(name, slots):
    expected = TRANSFORMS[name](rnn(None))(*ARGS)
    f = TRANSFORMS[name](rnn(wg.Binomial(slots)))
    same(f(*ARGS), expected)
    compiled = wg.compile(f)
    for _ in range(3):
        same(compiled(*ARGS), expected)


@pytest.mark.parametrize("axes", [(None, None, 0, 0), (0, None, None, None), (0, 0, 0, 0)])
@pytest.mark.parametrize("name", ["value", "grad", "jvp"])
def test_vmap(name, axes):
    args = [np.stack([x, 0.5 * x, x + 0.1]) if axis == 0 else x for x, axis in zip(ARGS, axes)]
    expected = wg.vmap(TRANSFORMS[name](rnn(None)), in_axes=axes)(*args)
    f = wg.vmap(TRANSFORMS[name](rnn(wg.Binomial(2))), in_axes=axes)
    same(f(*args), expected)
    compiled = wg.compile(f)
    for _ in range(2):
        same(compiled(*args), expected)


@pytest.mark.parametrize("slots", [0, 2])
def test_gradients_of_mapped_gradients(slots):
    """Inputs that are not mapped get the sum over the mapped axes."""

    def mapped(checkpoint, f):
        def call(w, u, h, xs):
            inner = wg.vmap(lambda h: f(loss_of(rnn(checkpoint)))(w, u, h, xs))
            hs = wg.stack([h, 0.3 * h])
            pair = wg.vmap(
                lambda w: wg.vmap(lambda h: f(loss_of(rnn(checkpoint)))(w, u, h, xs))(hs)
            )(wg.stack([w, w + 0.1, w]))
            return inner(hs).sum() + (pair * pair).sum()

        return call

    for f in (lambda loss: loss, slope_of):
        expected = wg.grad(mapped(None, f), EVERY)(*ARGS)
        found = wg.grad(mapped(wg.Binomial(slots), f), EVERY)(*ARGS)
        for x, y in zip(found, expected):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-11)


def test_gradients_through_compiled_gradients():
    expected = wg.grad(slope_of(loss_of(rnn(None))), EVERY)(*ARGS)
    for f in (rnn(None), rnn(wg.Binomial(2))):
        same(wg.grad(wg.compile(slope_of(loss_of(f))), EVERY)(*ARGS), expected)


@pytest.mark.parametrize("inner", [None, wg.Binomial(1)])
@pytest.mark.parametrize("outer", [None, wg.Binomial(2)])
def test_nested_loops(inner, outer):
    def loss(inner, outer):
        def call(w, x):
            def row(c, t):
                c, y = wg.scan(
                    lambda c, s: (wg.sin(c @ w + s * t), c), c, wg.arange(5.0), checkpoint=inner
                )
                return c * 0.9, y.sum()

            c, ys = wg.scan(row, x, np.linspace(0.0, 1.0, 7), checkpoint=outer)
            return (c * c).sum() + (ys * ys).sum()

        return wg.grad(call, (0, 1))

    expected = loss(None, None)(W, H0)
    same(loss(inner, outer)(W, H0), expected)
    compiled = wg.compile(loss(inner, outer))
    for _ in range(2):
        same(compiled(W, H0), expected)
    vectors = np.stack([H0, H0 + 0.1])
    expected = wg.vmap(loss(None, None), in_axes=(None, 0))(W, vectors)
    same(wg.vmap(loss(inner, outer), in_axes=(None, 0))(W, vectors), expected)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8])
def test_mixed_carries_and_lengths(length):
    def loss(checkpoint):
        def call(a, b):
            def step(state, _):
                n, p, (q, r) = state["n"], state["p"], state["qr"]
                turned = q + (n * p.sum()).astype("float32")
                state = {"n": n + 1, "p": p * wg.cos(q).sum(), "qr": (turned, ~r)}
                return state, (n, q, None)

            start = {"n": 0, "p": a, "qr": (b.astype("float32"), wg.ones(2, dtype=bool))}
            last, (ns, qs, _) = wg.scan(step, start, None, length, checkpoint=checkpoint)
            ends = last["p"].sum() + last["qr"][0].sum() + last["n"]
            return ends + (ns[:, None, None] * qs).sum()

        return wg.value_and_grad(call, (0, 1))

    expected = loss(None)(X0, wg.ones((2, 2), dtype="float64"))
    for slots in (0, 1, 5):
        same(loss(wg.Binomial(slots))(X0, wg.ones((2, 2), dtype="float64")), expected)


def test_captured_leaves_views_and_unread_outputs():
    w = wg.tensor(W, requires_grad=True)

    def run(checkpoint, read_ys):
        xs = wg.asarray(np.asfortranarray(XS))
        h, hs = wg.scan(
            lambda h, x: (wg.tanh(h @ w.T + x[::-1] @ U), h), H0, xs, checkpoint=checkpoint
        )
        w.grad = None
        (h.sum() + (hs.mT[1].sum() if read_ys else 0.0)).backward()
        return w.grad

    for read_ys in (True, False):
        same(run(wg.Binomial(2), read_ys), run(None, read_ys))


def test_a_second_sweep_runs_the_steps_again():
    counted = Counted()
    x = wg.tensor(X0, requires_grad=True)
    y = wg.scan(lambda c, _: (counted.step(c), None), x, None, 20, checkpoint=wg.Binomial(3))[0]
    y = y.sum()
    counts = []
    for keep in (True, True, False):
        counted.count, x.grad = 0, None
        y.backward(retain_graph=keep)
        counts.append(counted.count)
        if keep:
            first = x.grad
        same(x.grad, first)
    stated = wg.Binomial(3).evaluations(20)
    assert counts == [stated - 20, stated - 20 + counts[1] - counts[0], counts[1]]
    assert counts[1] == 19 + _core._least_advances(19, 4)
    with pytest.raises(wg.GraphError):
        y.backward()


def test_an_exception_in_a_step_leaves_the_graph_usable():
    fail = [False]

    @wg.primitive
    def step(x):
        if fail[0]:
            raise ValueError("no")
        return np.sin(x)

    @step.def_vjp
    def _(ct, out, x):
        return (ct * np.cos(x),)

    x = wg.tensor(X0, requires_grad=True)
    y = wg.scan(lambda c, _: (step(c), None), x, None, 20, checkpoint=wg.Binomial(3))[0].sum()
    fail[0] = True
    with pytest.raises(ValueError, match="no"):
        y.backward(retain_graph=True)
    fail[0] = False
    y.backward()
    z = wg.tensor(X0, requires_grad=True)
    wg.scan(lambda c, _: (step(c), None), z, None, 20)[0].sum().backward()
    same(x.grad, z.grad)


def test_replays_allocate_nothing_and_bytes_go_back():
    step = wg.compile(wg.grad(loss_of(rnn(wg.Binomial(3))), EVERY))
    args = [wg.asarray(x) for x in ARGS]
    results = [step(*args) for _ in range(2)]
    before = wg.memory.live_bytes()
    results = step(*args)
    wg.memory.reset_peak()
    held = sum(x.size * x.dtype.itemsize for x in results)
    results = step(*args)
    assert wg.memory.peak_bytes() - before <= held
    eager = wg.grad(loss_of(rnn(wg.Binomial(3))), EVERY)
    eager(*args)
    before = wg.memory.live_bytes()
    for _ in range(3):
        eager(*args)
    assert wg.memory.live_bytes() == before


def test_memory_follows_the_slots():
    def peak(checkpoint):
        f = wg.grad(
            lambda x: wg.scan(lambda c, _: (wg.sin(c), None), x, None, 400, checkpoint=checkpoint)[
                0
            ].sum()
        )
        x = np.ones(1000)
        wg.memory.reset_peak()
        before = wg.memory.live_bytes()
        f(x)
        return wg.memory.peak_bytes() - before

    state = 8000
    few, more, all_of_them = peak(wg.Binomial(2)), peak(wg.Binomial(12)), peak(None)
    assert 10 * state <= more - few <= 10 * state + 2048
    assert few < 20 * state < 400 * state < all_of_them


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wg.Binomial(-1), wg.ArgumentError, "must not be negative; got -1"),
        (lambda: wg.Binomial(2.0), wg.ArgumentTypeError, "takes an int; got 2.0"),
        (lambda: wg.Binomial(True), wg.ArgumentTypeError, "takes an int; got True"),
        (lambda: wg.Binomial(2**60), wg.ArgumentError, "is below"),
        (lambda: wg.Binomial(1).evaluations(-1), wg.ArgumentError, "not be negative"),
        (
            lambda: wg.scan(lambda c, x: (c, x), 0.0, wg.ones(3), checkpoint=3),
            wg.ArgumentTypeError,
            "wg.Binomial",
        ),
    ],
)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_nothing_to_carry():
    _, ys = wg.scan(lambda c, _: (c, 1.0), (), None, 3, checkpoint=wg.Binomial(1))
    assert ys.tolist() == [1.0, 1.0, 1.0]


def test_numpy_integers_are_integers():
    def slope(keep):
        def end(x):
            return wg.scan(lambda c, _: (wg.sin(c), None), x, None, 9, checkpoint=keep)[0]

        return wg.grad(end)(1.0)

    assert wg.Binomial(np.int64(2)) == wg.Binomial(2)
    assert slope(wg.Budget(np.int64(10**6))) == slope(wg.Binomial(np.int32(3)))
    with pytest.raises(wg.ArgumentTypeError, match=r"wg.Binomial, wg.Budget or wg.TwoLevel"):
        slope(wg.loop_checkpoints.Checkpoint())
