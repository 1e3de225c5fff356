"""Derivatives made with their functions: the bits of two tiles, in the memory of one argument."""

import numpy as np
import pytest
import wengert as wg
from comparisons import same_but_for_nan

RNG = np.random.default_rng(0)
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 20.0, -20.0, -5.5, 1e30, -1e30]
FUNCTIONS = {
    "gelu": wg.nn.functional.gelu,
    "gelu_tanh": lambda x: wg.nn.functional.gelu(x, approximate="tanh"),
    "silu": wg.nn.functional.silu,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 31, 4099])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_slope_to_the_bit(name, n, dtype, isa):
    f = FUNCTIONS[name]
    a, b, c = (RNG.normal(size=n) * 3 for _ in range(3))
    a[: len(SPECIAL)] = SPECIAL[:n]
    b[: len(SPECIAL)] = 1.0
    c[::7] = 0.0
    a, b, c = (wg.tensor(x.astype(dtype)) for x in (a, b, c))
    step = wg.compile(wg.value_and_grad(lambda a: (f(a * b) * c).sum()))
    same_but_for_nan(step(a), wg.value_and_grad(lambda a: (f(a * b) * c).sum())(a))
    assert "derivatives made with the function: 1\n" in step.explain(a)
    assert any(f"{name} {name}_grad" in unit.label for unit in step.profile(a).units)


def deep(f):
    """The value and gradient of two layers, which needs the values of f and its slopes."""
    return wg.value_and_grad(lambda w, x, v: (f(f(x @ w) @ w) @ v).sum())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_slope_takes_the_memory_of_its_argument(name):
    x, w, v = (wg.tensor(RNG.normal(size=(64, 64)).astype("f")) for _ in range(3))
    step = wg.compile(deep(FUNCTIONS[name]))
    same_but_for_nan(step(w, x, v), deep(FUNCTIONS[name])(w, x, v))
    assert "derivatives made with the function: 2\n" in step.explain(w, x, v)
    values_alone = wg.compile(deep(wg.tanh))  # the last of them is not read by the reverse sweep
    assert alive(step, w, x, v) <= 1.001 * (alive(values_alone, w, x, v) + 64 * 64 * 4)


def alive(step, *args):
    """Bytes, of the line "... arena for ... alive at most"."""
    amount, unit = step.explain(*args).split(" alive at most")[0].rsplit(" for ", 1)[1].split()
    return float(amount) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


def test_half_of_a_product_is_kept_with_the_other():
    """Of SwiGLU the reverse sweep reads both halves: a slope would come on top of them."""
    x, w = (wg.tensor(RNG.normal(size=s).astype("f")) for s in ((64, 32), (32, 64)))

    def loss(w):
        h = x @ w
        return (wg.nn.functional.silu(h[:, :32]) * h[:, 32:]).sum()

    step = wg.compile(wg.grad(loss))
    same_but_for_nan(step(w), wg.grad(loss)(w))
    assert "made with the function" not in step.explain(w)


def test_views_on_the_way_do_not_matter():
    x, w = (wg.tensor(RNG.normal(size=(8, 8)).astype("f")) for _ in range(2))

    def loss(w):
        return (wg.nn.functional.silu((x @ w).reshape(4, 16)) ** 2).sum()

    step = wg.compile(wg.grad(loss))
    same_but_for_nan(step(w), wg.grad(loss)(w))
    assert "derivatives made with the function: 1\n" in step.explain(w)


ELSEWHERE = {
    "returned": lambda f, a, b: lambda h: (f(h).sum(), h),
    "read again": lambda f, a, b: lambda h: ((f(h) * h).sum(), None),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_argument_that_others_read_is_kept(name):
    a, b = (wg.tensor(RNG.normal(size=50)) for _ in range(2))
    loss = ELSEWHERE[name](wg.nn.functional.silu, a, b)
    step = wg.compile(wg.value_and_grad(lambda a: loss(a * b), has_aux=True))
    same_but_for_nan(step(a), wg.value_and_grad(lambda a: loss(a * b), has_aux=True)(a))
    assert "made with the function" not in step.explain(a)


def test_an_argument_from_outside_is_kept():
    a = wg.tensor(RNG.normal(size=50))
    step = wg.compile(wg.value_and_grad(lambda a: wg.nn.functional.silu(a).sum()))
    same_but_for_nan(step(a), wg.value_and_grad(lambda a: wg.nn.functional.silu(a).sum())(a))
    assert "made with the function" not in step.explain(a)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_sine_and_cosine_over_their_argument(n, dtype):
    """Both are read by products, so that both are written, one of them where the argument was."""
    x, w = (wg.tensor((RNG.normal(size=(n, n)) * 1e3).astype(dtype)) for _ in range(2))

    def f(x, w):
        h = x @ w  # some of them beyond what the tiles reduce at once
        return wg.sin(h) @ w + wg.cos(h) @ x

    same_but_for_nan(wg.compile(f, exact=True)(x * 1e5, w), f(x * 1e5, w))


def test_slopes_under_every_transform():
    f = FUNCTIONS["gelu"]
    x, w = (wg.tensor(RNG.normal(size=(6, 6))) for _ in range(2))

    def loss(w):
        return (f(x @ w) ** 2).sum()

    for g in (wg.grad(loss), wg.hessian(loss), lambda w: wg.vmap(wg.grad(loss))(wg.stack([w, -w]))):
        np.testing.assert_allclose(wg.compile(g)(w).numpy(), g(w).numpy(), rtol=1e-11, atol=1e-12)
