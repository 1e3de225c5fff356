"""Long tapes: no transform recurses over one, forward mode alone keeps none, and all is freed."""

import numpy as np
import pytest
import wengert as wg

LENGTH = 100_000
X = np.float64(0.7)
PAIR = np.array([0.7, 0.8])


def chain(x):
    """Slope 2."""
    for _ in range(LENGTH // 2):
        x = x * 2.0
        x = x * 0.5
    return x * 2.0


def nested(x):
    """Every step uses the one before twice: a tree of it would have 2**50000 leaves. Slope 2."""
    for _ in range(LENGTH // 2):
        x = (x + x) * 0.5
    return x * 2.0


def squares(x):
    """A product in the middle, so that second derivatives pass the whole tape: 4 x**2."""
    half = x
    for _ in range(LENGTH // 4):
        half = half * 2.0
        half = half * 0.5
    out = half * half
    for _ in range(LENGTH // 4):
        out = out * 2.0
        out = out * 0.5
    return out * 4.0


def forward(f):
    return lambda x: wg.jvp(f, (x,), (wg.ones_like(wg.asarray(x)),))[1]


FIRST = {
    "grad": lambda f: wg.grad(f)(X),
    "vjp": lambda f: wg.vjp(f, X)[1](1.0)[0],
    "jvp": lambda f: forward(f)(X),
    "vmap of grad": lambda f: wg.vmap(wg.grad(f))(PAIR)[0],
    "vmap of jvp": lambda f: wg.vmap(forward(f))(PAIR)[0],
    "grad of vmap": lambda f: wg.grad(lambda x: wg.vmap(f)(x).sum())(PAIR)[0],
    "jvp of vmap": lambda f: forward(wg.vmap(f))(PAIR)[0],
    "jacrev": lambda f: wg.jacrev(f)(PAIR)[0, 0],
    "jacfwd": lambda f: wg.jacfwd(f)(PAIR)[0, 0],
}


@pytest.mark.parametrize(
    "f, transform",
    [*((nested, t) for t in FIRST), *((chain, t) for t in ("grad", "vjp", "jvp", "vmap of grad"))],
)
def test_first_derivatives(f, transform):
    assert FIRST[transform](f).item() == pytest.approx(2.0)


SECOND = {
    "grad of grad": lambda f: wg.grad(wg.grad(f))(X),
    "jvp of grad": lambda f: forward(wg.grad(f))(X),
    "grad of jvp": lambda f: wg.grad(forward(f))(X),
    "jvp of jvp": lambda f: forward(forward(f))(X),
    "hvp": lambda f: wg.hvp(f, (X,), (np.float64(1.0),)),
    "hessian": lambda f: wg.hessian(lambda x: f(x).sum())(PAIR)[0, 0],
}


@pytest.mark.parametrize("transform", SECOND)
def test_second_derivatives(transform):
    assert SECOND[transform](squares).item() == pytest.approx(8.0)


@pytest.mark.parametrize("f", [chain, nested])
def test_vmap_and_backward(f):
    np.testing.assert_allclose(wg.vmap(f)(PAIR).numpy(), 2 * PAIR)
    x = wg.tensor(0.7, requires_grad=True)
    f(x).backward()
    assert x.grad.item() == pytest.approx(2.0)


def test_a_tape_that_is_never_swept_is_freed():
    y = nested(wg.tensor(0.7, requires_grad=True))
    held = wg.memory.live_objects()
    del y
    assert wg.memory.live_objects() < held - LENGTH


@pytest.mark.parametrize("outer", [wg.grad, forward])
@pytest.mark.parametrize("inner", [wg.grad, forward])
def test_many_small_derivatives_in_a_long_one(inner, outer):
    def f(x):
        for _ in range(2000):
            x = x * 0.5 + inner(lambda y: 0.25 * y * y)(x)
        return x * x

    assert outer(f)(X).item() == pytest.approx(1.4)
    assert wg.grad(outer(f))(X).item() == pytest.approx(2.0)


def sines(length):
    def f(x):
        for _ in range(length):
            x = wg.sin(x)
        return x

    return f


def peak(call):
    """The most bytes a call holds at once beyond those before it."""
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    call()
    return wg.memory.peak_bytes() - before


def test_forward_mode_keeps_no_list_and_reverse_mode_does():
    x, v = wg.ones(10_000), wg.ones(10_000)
    nbytes = x.size * 4

    def push(length):
        return peak(lambda: wg.jvp(sines(length), (x,), (v,)))

    primal = peak(lambda: sines(10_000)(x))
    assert primal <= 2 * nbytes + 1024
    assert push(10_000) <= 3 * primal
    assert push(10_000) == push(100)

    def pull(length):
        return peak(lambda: wg.grad(lambda x: sines(length)(x).sum())(x))

    assert pull(200) - pull(100) >= 100 * nbytes


def test_forward_over_forward_keeps_no_list_either():
    x = wg.ones(1000)

    def twice(length):
        return peak(lambda: forward(forward(sines(length)))(x))

    assert twice(1000) == twice(50)


def test_maps_keep_no_list_either_and_forward_jacobians_only_the_slopes():
    x = wg.ones((8, 100))
    for run in (
        lambda length: peak(lambda: wg.vmap(sines(length))(x)),
        lambda length: peak(lambda: wg.vmap(forward(sines(length)))(x)),
        lambda length: peak(lambda: forward(wg.vmap(sines(length)))(x)),
    ):
        assert run(500) == run(50)

    def whole(length):
        return peak(lambda: wg.jacfwd(sines(length))(x[0]))

    assert whole(500) - whole(50) == 450 * 100 * 4  # one a step, not one a step and a column


def test_a_jacobian_by_weights_is_one_forward_pass():
    calls = []
    x = np.random.normal(size=(7, 3))
    w = {"weight": np.random.normal(size=(4, 3)), "bias": np.random.normal(size=4)}

    def f(w, x):
        calls.append(1)
        return wg.tanh(x @ w["weight"].T + w["bias"])

    columns = wg.jacfwd(f)(w, x)
    assert len(calls) == 1
    rows = wg.jacrev(f)(w, x)
    assert len(calls) == 2
    assert columns["weight"].shape == (7, 4, 4, 3) and columns["bias"].shape == (7, 4, 4)
    for name in w:
        np.testing.assert_allclose(columns[name].numpy(), rows[name].numpy(), atol=1e-14)
    slope = 1 - np.tanh(x @ w["weight"].T + w["bias"]) ** 2
    expected = np.einsum("bi,io,bj->bioj", slope, np.eye(4), x)
    np.testing.assert_allclose(columns["weight"].numpy(), expected, atol=1e-14)
