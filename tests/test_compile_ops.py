"""A compiled function equals the eager one: every row of the table, its VJP and its JVP, and random
programs over many of them, to the bit."""

import numpy as np
import pytest
import wengert as wg
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import instruction_sets
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


@pytest.fixture(params=instruction_sets())
def isa(request):
    best = wg.config()["isa"]
    wg._core._set_isa(request.param)
    yield
    wg._core._set_isa(best)


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


UNARY = [
    wg.sin, wg.tanh, wg.exp, wg.square, wg.abs, wg.nn.relu, wg.nn.sigmoid, wg.negative,
    lambda x: wg.sum(x, axis=0, keepdims=True) + wg.zeros_like(x),
    lambda x: wg.max(x, axis=-1, keepdims=True) * x,
    lambda x: wg.cumulative_sum(x, axis=0),
    lambda x: x.T.T,
    lambda x: wg.flip(x, axis=0),
    lambda x: wg.reshape(wg.reshape(x, (-1,)), (4, 4)),
    lambda x: wg.reshape(x.T, (2, 8)).reshape(4, 4),
    lambda x: wg.concat([x[2:], x[:2]], axis=0),
    lambda x: wg.broadcast_to(x[1], (4, 4)),
    lambda x: x[:, ::-1],
    lambda x: wg.nn.softmax(x, dim=-1),
    lambda x: x * 0.5 + 1.0,
    lambda x: wg.where(x > 0, x, 0.25 * x),
    lambda x: x.mean() * wg.ones((4, 4), dtype=wg.float64),
]  # fmt: skip
BINARY = [
    wg.add, wg.multiply, wg.subtract, wg.maximum, wg.matmul, lambda x, y: x / (1.0 + y * y),
    lambda x, y: wg.where(x > y, x, y), lambda x, y: x + y[0], lambda x, y: x * y[:, :1],
]  # fmt: skip


@st.composite
def programs(draw):
    """Steps over a growing list of 4 x 4 values: (operation, places of its operands)."""
    steps, count = [], 2
    for _ in range(draw(st.integers(3, 40))):
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(UNARY)), (draw(st.integers(0, count - 1)),)))
        else:
            places = (draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1)))
            steps.append((draw(st.sampled_from(BINARY)), places))
        count += 1
    outputs = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    return steps, outputs


def run(program, x, y, state=None):
    steps, outputs = program
    values = [x, y]
    for i, (f, places) in enumerate(steps):
        z = f(*[values[p] for p in places])
        values.append(wg.tanh(z) if i % 3 == 2 else z)  # keeps numbers small
        if state is not None and i % 5 == 4:
            state.assign(wg.stop_gradient(0.5 * state + values[-1]))
            values[-1] = values[-1] + state
    return [values[p] for p in outputs]


@settings(max_examples=250, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 1000))
def test_random_programs(program, seed):
    rng = np.random.default_rng(seed)
    x, y = (wg.tensor(rng.normal(size=(4, 4))) for _ in range(2))

    def loss(x, y):
        return sum((wg.tanh(z).sum() for z in run(program, x, y)), start=wg.tensor(0.0))

    same(wg.compile(lambda x, y: run(program, x, y))(x, y), run(program, x, y))
    both = wg.value_and_grad(loss, argnums=(0, 1))
    compiled = wg.compile(both)
    for _ in range(2):
        same(compiled(x, y), both(x, y))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 1000))
def test_random_programs_that_change_state(program, seed):
    rng = np.random.default_rng(seed)
    x, y, start = (rng.normal(size=(4, 4)) for _ in range(3))
    state, other = wg.tensor(start), wg.tensor(start)
    compiled = wg.compile(lambda x, y: run(program, x, y, state))
    for _ in range(3):
        expected = run(program, wg.asarray(x), wg.asarray(y), other)
        same(compiled(wg.asarray(x), wg.asarray(y)), expected)
        same(state, other)
