"""Two elementwise operations in one tile: the bits of two tiles, whatever else the group does."""

import itertools

import numpy as np
import pytest
import wengert as wg
from comparisons import same_but_for_nan

OPS = wg._core.ops
ROWS = ("add", "subtract", "multiply", "chain_multiply")
RNG = np.random.default_rng(0)
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-40, 3e38]


def operands(dtype, n=1037):
    out = []
    for i in range(3):
        x = RNG.normal(size=n)
        x[: 8**3] = list(itertools.chain(*itertools.product(SPECIAL, repeat=3)))[i::3]
        out.append(wg.tensor(x.astype(dtype)))
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("second", ROWS)
@pytest.mark.parametrize("first", ROWS)
def test_every_pair_to_the_bit(first, second, dtype, isa):
    f, g = getattr(OPS, first), getattr(OPS, second)
    a, b, c = operands(dtype)
    scalar = wg.tensor(1.7, dtype=dtype)
    for args in ((a, b, c), (scalar, b, c), (a, scalar, c), (a, b, scalar), (a[3], b, c)):
        for body in (lambda a, b, c: g(f(a, b), c), lambda a, b, c: g(c, f(a, b))):
            same_but_for_nan(wg.compile(body, exact=True)(*args), body(*args))


CHAINS = {
    "longer": lambda a, b, c: (a * b + c) * a - b * (c - a) * b,
    "read twice": lambda a, b, c: (d := a * b) + d - c,
    "read by two": lambda a, b, c: ((d := a * b) + c, d - c),
    "shown": lambda a, b, c: ((d := a * b), d + c),
    "both sides": lambda a, b, c: (a * b) - (b * c),
    "of one": lambda a, b, c: a * a + a,
    "with a twin": lambda a, b, c: (wg.sin(d := a * b) + c, wg.cos(d) * c),
    "of others": lambda a, b, c: wg.exp(-a * a) * b + wg.tanh(c) * (a > b),
    "a broadcast": lambda a, b, c: a * b[:1] + c[0],
    "strided": lambda a, b, c: a[::-1] * b - c[::-1],
}


@pytest.mark.parametrize("n", [1, 600, 70_000])
@pytest.mark.parametrize("name", CHAINS)
def test_groups_of_pairs_to_the_bit(name, n):
    args = [wg.tensor(RNG.normal(size=n)) for _ in range(3)]
    same_but_for_nan(wg.compile(CHAINS[name], exact=True)(*args), CHAINS[name](*args))


def test_what_is_overwritten_is_read_before():
    """The first of two reads an array that a member between them writes in place."""
    x = RNG.normal(size=5000)
    state, eager = wg.tensor(x), wg.tensor(x)

    def step(state, b, c):
        product = state * b
        state.assign(state + c)
        return product - c

    compiled = wg.compile(lambda b, c: step(state, b, c), exact=True)
    b, c = wg.tensor(RNG.normal(size=5000)), wg.tensor(RNG.normal(size=5000))
    for _ in range(3):
        same_but_for_nan((compiled(b, c), state), (step(eager, b, c), eager))


def test_integers_wrap():
    a, b = np.array([2**31 - 1, 5], np.int32), np.array([2, -3], np.int32)
    f = wg.compile(lambda a, b: a * b + a)
    same_but_for_nan(f(a, b), wg.tensor(a * b + a))
