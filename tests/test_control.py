"""Loops whose bodies are recorded once: values and derivatives of every mode equal those of the
Python loop."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

RNG = np.random.default_rng(0)
W, U = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=(2, 3))
H0, XS = RNG.normal(size=3), RNG.normal(size=(7, 2))
ARGS = (W, U, H0, XS)
EVERY = (0, 1, 2, 3)


def close(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10, atol=1e-12)


def rnn(w, u, h, xs):
    def cell(h, x):
        h = wg.tanh(h @ w + x @ u)
        return h, (h**2).sum()

    return wg.scan(cell, h, xs)


def python_rnn(w, u, h, xs):
    h, ys = wg.asarray(h), []
    for t in range(len(xs)):
        h = wg.tanh(h @ w + xs[t] @ u)
        ys.append((h**2).sum())
    return h, wg.stack(ys)


def loss_of(f):
    def loss(*args):
        h, y = f(*args)
        return (h * wg.arange(3.0)).sum() + (y * y).sum()

    return loss


def directional(f, v):
    def slope(*args):
        grads = wg.grad(f, EVERY)(*args)
        return sum((x * y).sum() for x, y in zip(grads, v))

    return slope


TRANSFORMS = {
    "value": lambda f: f,
    "grad": lambda f: wg.grad(loss_of(f), EVERY),
    "jvp": lambda f: lambda *args: wg.jvp(f, args, args),
    "linearize": lambda f: lambda *args: wg.linearize(f, *args)[1](*args),
    "hvp": lambda f: lambda *args: wg.hvp(loss_of(f), args, args),
    "reverse over reverse": lambda f: wg.grad(directional(loss_of(f), ARGS), EVERY),
    "jacrev": lambda f: wg.jacrev(loss_of(f), 3),
    "jacfwd": lambda f: wg.jacfwd(loss_of(f), 3),
    "hessian": lambda f: wg.hessian(loss_of(f), 2),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_scan_is_the_loop(name):
    transform = TRANSFORMS[name]
    expected = transform(python_rnn)(*ARGS)
    close(transform(rnn)(*ARGS), expected)
    compiled = wg.compile(transform(rnn))
    for _ in range(2):
        close(compiled(*ARGS), expected)


@pytest.mark.parametrize(
    "axes", [(None, None, 0, 0), (0, None, None, None), (0, 0, 0, 0), (None, None, None, 0)]
)
@pytest.mark.parametrize("name", ["value", "grad", "jvp"])
def test_vmap_of_scan(name, axes):
    args = [np.stack([x, 0.5 * x, x + 0.1]) if axis == 0 else x for x, axis in zip(ARGS, axes)]
    f, expected = TRANSFORMS[name](rnn), TRANSFORMS[name](python_rnn)
    close(wg.vmap(f, in_axes=axes)(*args), wg.vmap(expected, in_axes=axes)(*args))


def test_backward_through_captured_leaves():
    w = wg.tensor(W, requires_grad=True)
    _, hs = wg.scan(lambda h, x: (wg.tanh(h @ w + x @ U), h), H0, XS)
    hs.sum().backward()
    found, w.grad = w.grad, None
    h, total = wg.asarray(H0), wg.asarray(np.float64(0.0))
    for x in XS:
        total = total + h.sum()
        h = wg.tanh(h @ w + x @ U)
    total.backward()
    close(found, w.grad)


def test_trees_integers_and_no_rows():
    def step(state, x):
        return {"n": state["n"] + 1, "p": state["p"] * x}, (state["n"], None)

    last, (ns, nothing) = wg.scan(step, {"n": 0, "p": 1.0}, wg.asarray([2.0, 3.0]))
    assert (last["n"].item(), last["p"].item(), ns.tolist(), nothing) == (2, 6.0, [0, 1], None)
    doubled, _ = wg.scan(lambda c, _: (2 * c, None), wg.tensor(1.0), None, length=10)
    assert doubled.item() == 1024.0
    same, none = wg.scan(lambda c, x: (c + x, c), wg.tensor(1.0), wg.zeros((0,)))
    assert same.item() == 1.0 and none.shape == (0,)


def test_bytes_go_back():
    xs = wg.ones((50, 2), dtype="float64")
    wg.grad(loss_of(rnn), EVERY)(W, U, H0, xs)
    before = wg.memory.live_bytes()
    for _ in range(3):
        wg.grad(loss_of(rnn), EVERY)(W, U, H0, xs)
    assert wg.memory.live_bytes() == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wg.scan(lambda c, x: (c, x), 0.0, None), wg.ArgumentError, "needs xs or a length"),
        (lambda: wg.scan(lambda c, x: c, 0.0, wg.ones(3)), wg.ArgumentTypeError, "must return"),
        (lambda: wg.scan(lambda c, x: (c[None], x), 0.0, wg.ones(3)), wg.ShapeError, r"\(1,\)"),
        (lambda: wg.scan(lambda c, x: (c > 0, x), 0.0, wg.ones(3)), wg.DTypeError, "bool"),
        (lambda: wg.scan(lambda c, x: ((c, c), x), 0.0, wg.ones(3)), wg.ArgumentError, "structure"),
        (
            lambda: wg.scan(lambda c, x: (c, x), 0.0, (wg.ones(3), wg.ones(4))),
            wg.ShapeError,
            r"\(3,\), \(4,\)",
        ),
        (lambda: wg.scan(lambda c, x: (c, x), 0.0, wg.ones(3), 4), wg.ArgumentError, "length 4"),
        (
            lambda: wg.scan(lambda c, x: (c if c > 0 else x, x), 0.0, wg.ones(3)),
            wg.TraceError,
            "bool",
        ),
    ],
)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_python_numbers_in_the_start_take_the_dtype_of_the_body():
    last, _ = wg.scan(lambda c, v: (c + v, None), 0.0, np.arange(3.0))
    assert last.dtype == wg.float64 and last.item() == 3.0
    three = wg.asarray(np.float64(3.0))

    def power():
        return wg.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * three), (0, 1.0))

    for f in (power, wg.compile(power)):
        n, x = f()
        assert (n.item(), x.item()) == (3, 27.0)


def assign_in_body(state):
    def body(c, x):
        state.assign(state + 1.0)
        return c + x, None

    return wg.scan(body, 0.0, wg.ones(3))


def draw_in_body(rng):
    return wg.scan(lambda c, x: (c + rng.normal(), None), 0.0, wg.ones(3))


def assign_in_branch(state):
    def change(x):
        state.assign(state + 1.0)
        return x

    return wg.compile(lambda p, x: wg.cond(p, change, lambda x: x * 2.0, x))(True, 1.0)


@pytest.mark.parametrize(
    ("call", "state"),
    [
        (assign_in_body, wg.zeros(())),
        (draw_in_body, wg.random.default_rng(0)),
        (assign_in_branch, wg.zeros(())),
    ],
)
def test_bodies_change_nothing_in_place(call, state):
    with pytest.raises(wg.TraceError, match="recorded once"):
        call(state)
    if isinstance(state, wg.Tensor):
        assert state.item() == 0.0


ROWS = wg.tensor([1.0, 2.0, 3.0])
NOT_TAKEN = {
    "quotient": lambda n: wg.cond(n != 0, lambda: 10 // n, lambda: n),
    "rest in a product": lambda n: wg.cond(n != 0, lambda: ROWS * (10 % n), lambda: ROWS),
    "branch in a branch": lambda n: wg.cond(
        n != 0, lambda: wg.cond(n > 1, lambda: 10 // n, lambda: 5 // n), lambda: n
    ),
    "loop in a branch": lambda n: wg.cond(
        n != 0, lambda: wg.scan(lambda c, _: (c + 10 // n, None), 0, None, 3)[0], lambda: n
    ),
    "endless loop": lambda n: wg.cond(
        n != 0, lambda: wg.while_loop(lambda c: c < 10, lambda c: c + n, 0), lambda: n
    ),
    "branch in a loop": lambda n: wg.scan(
        lambda c, _: (c + wg.cond(n != 0, lambda: 10 // n, lambda: 0), None), 0, None, 3
    )[0],
    "row": lambda n: wg.cond(n != 0, lambda: ROWS[wg.asarray(3 // n - 1)], lambda: ROWS[0]),
    "class": lambda n: wg.cond(
        n != 0,
        lambda: nn.cross_entropy(ROWS.reshape(1, 3), wg.asarray(3 // n - 1).reshape(1)),
        lambda: wg.tensor(0.0),
    ),
    "under vmap": lambda n: wg.vmap(lambda x: wg.cond(n != 0, lambda: x * (10 // n), lambda: x))(
        ROWS
    ),
    "under grad": lambda n: wg.grad(
        lambda x: wg.cond(n != 0, lambda: x * x * (10 // n), lambda: x)
    )(3.0),
}


@pytest.mark.parametrize("f", NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_what_is_not_taken_is_not_carried_out(f):
    """Though it reads values from around the branch alone."""
    compiled = wg.compile(f)
    for n in (1, 3, 0, 2):
        assert wg.asarray(compiled(n)).tolist() == wg.asarray(f(n)).tolist()
    assert compiled.cache_info().misses == 1


def test_python_is_not_called_in_a_branch_that_is_not_taken():
    calls = []

    @wg.primitive
    def noted(x):
        calls.append(1)
        return x

    @wg.compile
    def f(x):
        return wg.cond(x.sum() > 0.0, lambda: noted(x), lambda: -x)

    assert f(wg.tensor([1.0])).tolist() == [1.0]
    calls.clear()
    assert f(wg.tensor([-1.0])).tolist() == [1.0] and not calls
    assert f(wg.tensor([2.0])).tolist() == [2.0] and len(calls) == 1


def test_a_loop_of_no_steps_carries_nothing_out():
    f = wg.compile(lambda n: wg.scan(lambda c, _: (c + 10 // n, None), 0, None, 0)[0])
    assert f(2).item() == 0 and f(0).item() == 0


@pytest.mark.parametrize("other", [wg.tensor(3, dtype="uint8"), wg.tensor([1.5], dtype="float64")])
@pytest.mark.parametrize(
    "f",
    [
        lambda n, other: wg.cond(n > 2, lambda: n, lambda: 2) * other,
        lambda n, other: wg.cond(n > 2, lambda a: a * other, lambda a: 2 * a * other, 1.1),
        lambda n, other: wg.cond(n > 2, lambda: (0.1, True), lambda: (0.2, False))[0] + other,
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_numbers_of_branches_have_one_dtype_in_and_outside_of_traces(f, other, n):
    eager, compiled = f(n, other), wg.compile(f)(n, other)
    assert eager.dtype == compiled.dtype
    np.testing.assert_array_equal(eager.numpy(), compiled.numpy())


def test_outside_of_traces_a_branch_gets_modules_themselves():
    model = nn.Linear(2, 2)
    for others in ((), (1.5,)):
        given = wg.cond(
            True, lambda m, *x: wg.asarray(m is model), lambda m, *x: m.bias, model, *others
        )
        assert given.item()
