"""What is computed in the registers that hold a product: sums with others, slopes, column sums.

On machines without AVX-512 the rewrites do not apply, and the same programs run unfused.
"""

import numpy as np
import pytest
import wengert as wg
from comparisons import same_but_for_nan
from machine import instruction_sets
from wengert import nn
from wengert._core import ops

fuses = pytest.mark.skipif("avx512" not in instruction_sets(), reason="needs AVX-512")
RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return wg.tensor(RNG.standard_normal(shape).astype(dtype))


def names(compiled, *args):
    """Which operations a replay runs."""
    return {unit.label for unit in compiled.profile(*args).units}


SHAPES = [(128, 96, 128), (520, 300, 96), (1030, 520, 256)]  # rows, terms, columns


@fuses
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_layer_adds_what_it_was_made_of_to_the_bit(shape, dtype, exact, threads):
    wg.set_num_threads(threads)
    m, k, n = shape
    x, w, y, b = (normal(*s, dtype=dtype) for s in ((m, k), (n, k), (m, n), (n,)))

    def with_bias(x, w, y, b):
        return nn.functional.linear(x, w, b) + y

    def without(x, w, y, b):
        return y + nn.functional.linear(x, w)

    for f in (with_bias, without):
        step = wg.compile(f, exact=exact)
        for _ in range(2):
            same_but_for_nan(step(x, w, y, b), f(x, w, y, b))
        assert "linear_add" in names(step, x, w, y, b)


def sliced(x, w, y):
    return nn.functional.linear(x, w) + y[::2]


def turned(x, w, y):
    return nn.functional.linear(x, w) + y.T


def read_twice(x, w, y):
    z = nn.functional.linear(x, w)
    return z + y, z


def broadcast(x, w, y):
    return nn.functional.linear(x, w) + y[0]


def to_itself(x, w, y):
    z = nn.functional.linear(x, w)
    return z + z


@pytest.mark.parametrize("f", [sliced, turned, read_twice, broadcast, to_itself])
def test_what_is_no_such_sum_stays_what_it_is(f):
    rows = 256 if f is sliced else 128
    x, w, y = normal(128, 64), normal(128, 64), normal(rows, 128)
    step = wg.compile(f)
    for _ in range(2):
        same_but_for_nan(step(x, w, y), f(x, w, y))
    assert "linear_add" not in names(step, x, w, y)


def mlp(x, w1, b1, w2):
    return wg.sum(wg.square(nn.functional.linear(nn.gelu(nn.functional.linear(x, w1, b1)), w2)))


@fuses
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(256, 128, 128, 128), (700, 96, 192, 320)], ids=str)
def test_cotangents_take_slopes_and_biases_on_their_way(threads, shape):
    wg.set_num_threads(threads)
    m, k, n, o = shape
    args = normal(m, k), normal(n, k), normal(n), normal(o, n)
    f = wg.grad(mlp, argnums=(0, 1, 2, 3))
    step = wg.compile(f)
    expected = wg.grad(mlp, argnums=(0, 1, 2, 3))(*(x.astype("float64") for x in args))
    for _ in range(2):
        for found, exact in zip(step(*args), expected, strict=True):
            size = float(wg.max(wg.abs(exact)))
            np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=0, atol=2e-6 * size)
    assert "slope_product" in names(step, *args)
    exact = wg.compile(f, exact=True)
    for _ in range(2):
        same_but_for_nan(exact(*args), f(*args))
    assert "slope_product" not in names(exact, *args)


@fuses
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(512, 128, 128), (2100, 96, 320), (4096, 64, 512)], ids=str)
def test_the_bits_do_not_depend_on_threads(dtype, shape):
    m, k, n = shape
    args = [normal(*s, dtype=dtype) for s in ((m, k), (k, n), (m, n))]
    results = []
    for threads in (1, 2):
        wg.set_num_threads(threads)
        results.append(ops.slope_product(*args))
    same_but_for_nan(*results)


@fuses
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_product_keeps_denormals(dtype):
    """Neither a small summand nor a small slope is taken for 0, as the product's factors are."""
    tiny, big = np.finfo(dtype).tiny, dtype(1e15)
    x, w = wg.zeros((256, 128), dtype=wg.tensor(big).dtype), normal(128, 128, dtype=dtype)
    y = wg.tensor(np.full((256, 128), tiny / 8, dtype))
    b = wg.tensor(np.full(128, 1.5 * tiny, dtype))

    def residual(x, w, y):
        return nn.functional.linear(x, w) + y, nn.functional.linear(x, w, b) - tiny

    step = wg.compile(residual, exact=True)
    for _ in range(2):
        same_but_for_nan(step(x, w, y), residual(x, w, y))
    assert (step(x, w, y)[0].numpy() > 0).all()

    def slopes(h):
        return wg.sum(nn.functional.linear(h * y, w * big) * big)

    f = wg.grad(slopes)
    step = wg.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(step(x).numpy(), f(x).numpy(), rtol=1e-5)
    assert step(x).numpy().all() and "slope_product" in names(step, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", ["x1", "x2", "slope", "all"])
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_nothing_is_asked_behind_a_zero(dtype, where, odd):
    """A factor of 0 absorbs what is not finite, in the product and behind it."""
    x1, x2, slope = (RNG.standard_normal(s).astype(dtype) for s in ((96, 64), (64, 128), (96, 128)))
    x1[5] = 0
    x2[:, 7] = 0
    slope[9] = 0
    if where in ("x1", "all"):
        x1[9, 3] = x1[20, 4] = odd
    if where in ("x2", "all"):
        x2[3, 11] = odd
    if where in ("slope", "all"):
        slope[5, 2] = slope[3, 7] = slope[50, 60] = odd
    product, total = ops.slope_product(x1, x2, slope)
    expected = ops.chain_multiply(ops.chain_matmul(x1, x2), slope)
    same_but_for_nan(product, expected)
    same_but_for_nan(wg.isfinite(total), wg.isfinite(wg.sum(expected, axis=0)))
    assert not product.numpy()[9].any() and not product.numpy()[:, 7].any()


@fuses
def test_sums_of_columns_are_those_of_doubles():
    rows = 40_000
    x1 = np.full((rows, 64), 0.1, np.float32)
    x2, slope = np.eye(64, 96, dtype=np.float32), np.ones((rows, 96), np.float32)
    _, total = ops.slope_product(x1, x2, slope)
    exact = rows * float(np.float32(0.1))
    np.testing.assert_allclose(total.numpy()[:64], exact, rtol=1e-7)
    assert not total.numpy()[64:].any()


@fuses
def test_sums_beyond_all_numbers_leave_the_product_as_it_is():
    x1, x2 = np.full((128, 64), 2e37, np.float32), np.eye(64, 96, dtype=np.float32)
    product, total = ops.slope_product(x1, x2, np.ones((128, 96), np.float32))
    assert np.isinf(total.numpy()[:64]).all() and not total.numpy()[64:].any()
    np.testing.assert_array_equal(product.numpy()[:, :64], x1)


@pytest.mark.parametrize("layer", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("exact", [False, True])
def test_a_norm_beside_a_residual_path(layer, exact):
    norm, before = layer(48), nn.Linear(32, 48)
    with wg.no_grad():
        norm.weight.assign(normal(48))
    x = normal(96, 32)

    def loss(params, x):
        y = wg.functional_call(before, params[0], x)
        return wg.sum(wg.sin(y + wg.functional_call(norm, params[1], y)))

    f = wg.grad(loss)
    params = dict(before.named_parameters()), dict(norm.named_parameters())
    step = wg.compile(f, exact=exact)
    for _ in range(2):
        same_but_for_nan(step(params, x), f(params, x))
    assert "norm_grads_add" in names(step, params, x)


def test_a_replay_of_them_takes_no_memory():
    args = normal(256, 128), normal(128, 128), normal(128), normal(128, 128)
    step = wg.compile(wg.grad(mlp, argnums=(1, 2, 3)))
    kept = [step(*args) for _ in range(3)][-1]
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    step(*args)
    results = sum(x.size * 4 for x in kept)
    assert wg.memory.peak_bytes() - before <= results + 4096
