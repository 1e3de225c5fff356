"""Products, softmax, losses and optimisers take numbers below the smallest normal one for 0.

A net that has converged has such gradients, and processors take a hundred cycles for each.
"""

import platform

import numpy as np
import pytest
import wengert as wg
from wengert import nn

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors take them as they are"
)
TINY = np.finfo(np.float32).tiny


def flushed(x):
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, 0, x)


def with_denormals(rng, *shape, dtype=np.float32):
    x = rng.standard_normal(shape).astype(dtype)
    return np.where(rng.random(shape) < 0.5, x, x * np.finfo(dtype).tiny / 8).astype(dtype)


def still_kept():
    """Whether this thread's own arithmetic has denormals."""
    return bool(np.float32(TINY) * np.float32(0.5) > 0)


SHAPES = [
    ((8, 16), (16, 32)),  # without packing
    ((1, 40), (40, 300)),  # a vector and a matrix
    ((128, 64), (64, 256)),  # panels
    ((1100, 300), (300, 520)),  # parts for threads
    ((6, 5, 7), (6, 7, 3)),  # item by item
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [False, True])
def test_products_take_denormal_factors_for_zero(shapes, dtype, compiled):
    rng = np.random.default_rng(0)
    a, b = (with_denormals(rng, *shape, dtype=dtype) for shape in shapes)
    big = dtype(1e30 if dtype is np.float32 else 1e300)  # would make them large
    product = wg.compile(wg.matmul) if compiled else wg.matmul
    for _ in range(3):
        got = product(a, b * big).numpy()
        want = flushed(a) @ (b * big)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * float(np.abs(want).max()))
        only = product(np.full_like(a, np.finfo(dtype).tiny / 2), b * big)
        assert not only.numpy().any()
    assert still_kept()


@pytest.mark.parametrize("shapes", SHAPES[:3], ids=str)
def test_products_make_zeros_of_results_below_normal_numbers(shapes):
    a, b = np.full(shapes[0], 1e-20, np.float32), np.full(shapes[1], 1e-19, np.float32)
    assert (flushed(a[0] * b[0, 0]) == 0).all()
    a /= a.shape[-1]
    assert not wg.matmul(a, b).numpy().any()
    assert still_kept()


def test_linear_layers_attention_and_their_gradients_are_products_too():
    rng = np.random.default_rng(1)
    tiny = np.full((8, 16), TINY / 2, np.float32)
    w = (rng.standard_normal((32, 16)) * 1e30).astype(np.float32)
    assert not nn.functional.linear(wg.tensor(tiny), wg.tensor(w)).numpy().any()
    _, pull = wg.vjp(lambda x: nn.functional.linear(x, wg.tensor(w)), wg.tensor(tiny))
    assert not pull(wg.tensor(np.full((8, 32), TINY / 2, np.float32)))[0].numpy().any()
    q, k, v = (rng.standard_normal((2, 4, 16, 8)).astype(np.float32) for _ in range(3))
    v[:] = TINY / 2
    out = nn.functional.scaled_dot_product_attention(*map(wg.tensor, (q, k, v)))
    assert not out.numpy().any()
    assert still_kept()


@pytest.mark.parametrize("classes", [10, 200])
def test_losses_and_softmax_have_none(classes):
    """The share of a class a hundred behind is no normal number, nor is its gradient."""
    logits = np.zeros((5, classes), np.float32)
    logits[:, 0] = 100
    logits[:, 1] = 14  # a share of 4.5e-38, and of the mean's gradient a fiftieth of that
    target = np.zeros(5, np.int64)
    assert not nn.functional.softmax(wg.tensor(logits), dim=1).numpy()[:, 2:].any()
    step = wg.value_and_grad(lambda x: nn.functional.cross_entropy(x, wg.tensor(target)) * 0.1)
    for f in (step, wg.compile(step)):
        slope = f(wg.tensor(logits))[1].numpy()
        assert not slope[:, 2:].any()
        assert np.array_equal(slope, flushed(slope))
    assert still_kept()


def test_what_fails_leaves_the_thread_as_it_was():
    logits, target = np.zeros((5, 3), np.float32), np.array([0, 1, 2, 3, 0])
    with pytest.raises(IndexError):
        nn.functional.cross_entropy(wg.tensor(logits), wg.tensor(target))
    with pytest.raises(wg.ShapeError):
        wg.matmul(logits, logits)
    assert still_kept()


def test_threads_of_the_pool_flush_as_the_caller_does():
    rng = np.random.default_rng(2)
    a = np.full((1100, 300), TINY / 2, np.float32)
    b = (rng.standard_normal((300, 520)) * 1e30).astype(np.float32)
    before = wg.get_num_threads()
    try:
        for threads in (1, 2):
            wg.set_num_threads(threads)
            assert not wg.matmul(a, b).numpy().any()
            exps = wg.exp(wg.tensor(np.full(1 << 18, -100, np.float32))).numpy()
            assert (exps > 0).all()  # functions of single elements keep them, in every thread
    finally:
        wg.set_num_threads(before)
