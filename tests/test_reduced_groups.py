"""Reductions that run with the elementwise group whose result they read: the bits of the single
operations, and no memory for what nobody else reads."""

import itertools

import numpy as np
import pytest
import wengert as wg
from comparisons import same_but_for_nan
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compile_memory import taken
from test_memory_budget import replay_of

REDUCTIONS = (wg.sum, wg.mean, wg.prod, wg.max, wg.min)
RNG = np.random.default_rng(0)
# Of one run, of several, of parts that threads share; rows and columns, short, long and wide.
SHAPES = [
    *((5,), (16,), (2047,), (2049,), (40_000,), (70_001,)),
    *(
        (100, 10),
        (32, 10),
        (300, 7),
        (3000, 7),
        (33, 16),
        (70, 100),
        (1000, 100),
        (600, 512),
        (20, 600),
    ),
    *((7, 3000), (3, 2048), (2, 40_000), (3, 4, 5), (64, 5, 30), (4, 900, 64), (2, 4000, 3)),
]


def some(*shape, dtype="float32"):
    return wg.tensor(RNG.normal(size=shape).astype(dtype))


def subsets(ndim):
    return [list(c) for r in range(1, ndim + 1) for c in itertools.combinations(range(ndim), r)]


def labels(f, *args):
    return [unit.label for unit in f.profile(*args, repeats=1).units]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reduced_groups_to_the_bit(shape, dtype, threads):
    wg.set_num_threads(threads)
    a, b = some(*shape, dtype=dtype), some(*shape, dtype=dtype)
    for reduction, axis in itertools.product(REDUCTIONS, subsets(len(shape))):

        def alone(a, b, reduction=reduction, axis=axis):
            return reduction(a * b + wg.sin(a), axis=axis)

        def beside(a, b, reduction=reduction, axis=axis):
            y = wg.tanh(a * b) - a
            return (
                reduction(y, axis=axis),
                y,
                wg.sum(y, axis=axis, keepdims=True) * wg.cos(a),
                wg.sin(a),
            )

        for f in (alone, beside):
            same_but_for_nan(wg.compile(f, exact=True)(a, b), f(a, b))


@pytest.mark.parametrize("shape", [(900,), (70, 30), (3000, 7), (5, 2500)])
def test_every_instruction_set(shape, isa):
    a = some(*shape)
    for reduction, axis in itertools.product(REDUCTIONS, subsets(len(shape))):
        f = lambda a, r=reduction, axis=axis: r(a * a - 0.3 * a, axis=axis)  # noqa: E731
        same_but_for_nan(wg.compile(f, exact=True)(a), f(a))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        *(((1000,), None), ((200_000,), None), ((100, 10), 1), ((100, 10), 0), ((30, 5000), 1)),
        *(((5000, 64), 0), ((32, 64), 0), ((3000, 7), 0), ((2, 3000, 64), 1), ((20, 7, 9), (1, 2))),
    ],
)
def test_is_one_unit_without_memory(shape, axis):
    f = wg.compile(lambda a, b: wg.sum(wg.square(a - b), axis=axis))
    args = some(*shape), some(*shape)
    assert labels(f, *args) == ["subtract square sum"]
    f(*args)
    assert replay_of(f).arena_bytes == 0
    assert f.profile(*args, repeats=1).units[0].bytes == 2 * args[0].size * 4 + f(*args).size * 4


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((300, 600), 0),
        ((300, 128), 0),
        ((4, 500, 64), (0, 2)),
        ((0, 3), 0),
        ((3, 0), 0),
        ((3, 1), 1),
    ],
)
def test_others_run_by_themselves(shape, axis):
    """Wide columns, too little for two threads, several ways at once, nothing to add."""
    f = wg.compile(lambda a: wg.sum(wg.sin(a), axis=axis), exact=True)
    x = some(*shape)
    same_but_for_nan(f(x), wg.sum(wg.sin(x), axis=axis))
    assert labels(f, x) == ["sin", "sum"]


def test_other_dtypes_and_folds():
    x = some(500)
    for f in (
        lambda x: wg.sum(x > 0.5),
        lambda x: wg.sum((x * 3).astype("int64")),
        lambda x: wg.sum((x > 0).astype("float64")),
        lambda x: wg.logsumexp(x * 2),
        lambda x: wg.linalg.vector_norm(x * 2 - x),
        lambda x: (wg.argmax(x * x), wg.any(x * 2 > 1), wg.var(x * x)),
        lambda x: wg.sum(wg.sum(wg.reshape(x * 2, (50, 10)), axis=1) * 3),
        lambda x: wg.sum((x * 2)[::2]) + wg.sum((x * 2)[:250]),
        lambda x: wg.sum(wg.reshape(x * 2, (50, 10)).mT, axis=0),
        lambda x: wg.sum(x.mean() * 2 - x.sum()) + wg.sum(wg.sin(x[0])),
    ):
        same_but_for_nan(wg.compile(f, exact=True)(x), f(x))


def test_special_values():
    for special in ([np.nan], [np.inf, -np.inf], [-0.0] * 3000, [3e38, 3e38], [1e-45] * 40):
        for n in (3, 40, 3000, 70_000):
            x = np.full(n, -0.0, np.float32)
            x[n // 2 : n // 2 + len(special)] = special[: n - n // 2]
            x = wg.tensor(x)
            for reduction in REDUCTIONS:
                f = lambda x, r=reduction: (r(x * 1.5 + x), r(wg.negative(x) - x))  # noqa: E731
                same_but_for_nan(wg.compile(f, exact=True)(x), f(x))


@pytest.mark.parametrize("n", [400, 50_000])
def test_many_reductions_of_one_group(n):
    def f(a):
        y = a * 2 + 1
        return [wg.sum(y * (i + 0.5)) for i in range(20)], wg.max(y), wg.sum(y, axis=0)

    a = some(n)
    same_but_for_nan(wg.compile(f, exact=True)(a), f(a))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_result_does_not_overwrite_what_its_group_reads(threads):
    """A changed state that elements read far from where the reduction writes it."""
    wg.set_num_threads(threads)
    for make, axis in ((lambda s, x: s[::-1][:, None] * x, 1), (lambda s, x: s * x.mT, 0)):
        x, expected = some(300, 400, dtype="float64") * 0.05, some(300, dtype="float64")
        state = wg.asarray(expected.numpy().copy())

        def update(x, make=make, axis=axis, state=state):
            state.assign(wg.sum(make(state, x), axis=axis))

        step = wg.compile(lambda x, update=update: update(x))
        for _ in range(3):
            expected = wg.sum(make(expected, x), axis=axis)
            step(x)
            same_but_for_nan(state, expected)


def test_in_a_loop():
    def f(w, xs):
        def body(w, x):
            y = wg.tanh(w * x) - x
            return w - 0.1 * wg.sum(y * x, axis=0), wg.mean(wg.square(y))

        return wg.scan(body, w, xs)

    w, xs = some(32, dtype="float64"), some(9, 50, 32, dtype="float64")
    same_but_for_nan(wg.compile(f, exact=True)(w, xs), f(w, xs))
    loss = lambda w, xs: (out := f(w, xs))[0].sum() + out[1].sum()  # noqa: E731
    same_but_for_nan(wg.compile(wg.grad(loss), exact=True)(w, xs), wg.grad(loss)(w, xs))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_replay_takes_no_memory_but_its_results(threads):
    wg.set_num_threads(threads)
    x = some(400, 512)
    f = wg.compile(lambda x: (wg.sum(x * x), wg.sum(wg.sin(x), axis=0), wg.max(x * 2 + 1, axis=1)))
    f(x)
    most, results = taken(lambda: f(x))
    assert most == results


def test_a_loss_and_its_gradient_take_less():
    """Neither the squares nor the residuals reach memory: the gradient is of the same group."""
    n = 1 << 16
    a, x, b = some(n), some(n), some(n)
    f = wg.compile(wg.value_and_grad(lambda a: wg.mean(wg.square(a * x + b))))
    f(a)
    assert replay_of(f).arena_bytes < 4 * n
    assert wg.grad(lambda a: wg.mean(wg.square(a * x + b)))(a).tolist() == f(a)[1].tolist()


ELEMENTWISE = [
    *(wg.sin, wg.cos, wg.square, wg.negative, wg.abs, lambda x: x * 0.5 + 1.0, wg.nn.relu),
    lambda x: x * wg.sum(x),
    lambda x: x - wg.mean(x, axis=-1, keepdims=True) if x.ndim else x,
    lambda x: x + wg.max(x, axis=0) if x.ndim else x,
    lambda x: wg.reshape(x.mT, x.shape) if x.ndim > 1 else x,
    lambda x: x.astype("float64"),
]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_random_programs_that_end_in_reductions(data):
    shape = data.draw(
        st.lists(st.sampled_from([0, 1, 2, 3, 8, 17, 64, 300]), max_size=3).filter(
            lambda s: np.prod(s) < 2e5
        )
    )
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    wg.set_num_threads(data.draw(st.integers(1, 3)))
    args = [wg.tensor(np.random.default_rng(k).normal(size=shape).astype(dtype)) for k in range(2)]
    lines = data.draw(
        st.lists(
            st.tuples(st.sampled_from(ELEMENTWISE), st.integers(0, 99), st.integers(0, 99)),
            min_size=1,
            max_size=12,
        )
    )
    ends = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(REDUCTIONS),
                st.integers(0, 99),
                st.sets(st.integers(0, 2)),
                st.booleans(),
            ),
            min_size=1,
            max_size=6,
        )
    )
    shows = data.draw(st.booleans())

    def f(*args):
        values = list(args)
        for function, i, j in lines:
            if 0 not in shape:
                values.append(function(values[i % len(values)]) * 0.5 + values[j % len(values)])
            else:
                values.append(values[i % len(values)] * values[j % len(values)])
        out = values[-1:] if shows else []
        for reduction, i, axes, keepdims in ends:
            x = values[-1 - i % len(values)]
            axes = sorted(axis for axis in axes if axis < x.ndim)
            if 0 in shape and reduction in (wg.max, wg.min):
                reduction = wg.sum
            out.append(reduction(x, axis=axes, keepdims=keepdims))
        return out

    same_but_for_nan(wg.compile(f, exact=True)(*args), f(*args))
