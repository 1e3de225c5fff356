"""A compiled function equals the eager one: every row of the table, its VJP and its JVP, to
the bit."""

import numpy as np
import pytest
import wengert as wg
from test_ops import Function, directions, first_dtype_cases, smooth_cases

OPS = wg._core.ops


def same(found, expected):
    found, expected = wg.tree.leaves(found), wg.tree.leaves(expected)
    assert len(found) == len(expected)
    for x, y in zip(found, expected):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize(("row", "case", "dtype"), first_dtype_cases())
def test_every_row(row, case, dtype):
    args = [wg.tensor(x) for x in row.arrays(case, dtype)]
    op = getattr(OPS, row.name)
    compiled = wg.compile(lambda *xs: op(*xs, **case.attrs))
    expected = op(*args, **case.attrs)
    for _ in range(2):
        same(compiled(*args), expected)
    others = [wg.tensor(x) for x in row.arrays(case, dtype, salt=1)]
    same(compiled(*others), op(*others, **case.attrs))
    assert compiled.cache_info() == (2, 1, 1)


@pytest.mark.parametrize(("row", "case"), smooth_cases())
def test_derivatives_of_every_row(row, case):
    f = Function(row, case)
    xs = f.primals
    us = directions(xs, 1)
    (v,) = directions([f(*xs)], 2)

    def pull(v, *xs):
        return wg.vjp(f, *xs)[1](v)

    def push(us, *xs):
        return wg.jvp(f, xs, us)

    def push_the_pull(v, us, *xs):
        return wg.jvp(lambda *xs: pull(v, *xs), xs, us)

    same(wg.compile(pull)(v, *xs), pull(v, *xs))
    same(wg.compile(push)(tuple(us), *xs), push(tuple(us), *xs))
    same(wg.compile(push_the_pull)(v, tuple(us), *xs), push_the_pull(v, tuple(us), *xs))


def sine_and_cosine(x):
    return wg.sin(x) * wg.cos(x)


def cosine_first(x):
    return wg.cos(x) - wg.sin(x)


def sine_shown(x):
    return wg.sin(x), wg.cos(x) + 1.0


def cosine_shown(x):
    return wg.sin(x) * 2.0, wg.cos(x)


def both_shown(x):
    return wg.sin(x), wg.cos(x)


def of_what_stays(x):
    y = 2.0 * x
    return wg.cos(y) + wg.sin(y) * wg.sin(x) * wg.cos(x)


def of_one_number(x):
    first = wg.broadcast_to(x[:1], x.shape)
    return wg.sin(first) * wg.cos(first) + x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "f",
    [
        sine_and_cosine,
        cosine_first,
        sine_shown,
        cosine_shown,
        both_shown,
        of_what_stays,
        of_one_number,
    ],
    ids=lambda f: f.__name__,
)
def test_sine_and_cosine_at_once(f, dtype, isa):
    """One pass makes both where both are wanted: the bits are those of each alone."""
    rng = np.random.default_rng(0)
    for size in (1, 15, 16, 31, 33, 1000, 5000):
        x = rng.normal(size=size) * 10.0 ** rng.integers(-8, 9, size)
        x[: size // 5] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e7], size // 5)
        x = wg.tensor(x.astype(dtype))
        found, expected = (wg.tree.leaves(g(x)) for g in (wg.compile(f), f))
        same(found, expected)
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(np.signbit(a.numpy()), np.signbit(b.numpy()))
