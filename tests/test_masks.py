"""A branch that is not selected never contributes: cotangents and tangents of 0 absorb the infinite
and NaN slopes behind them, in both modes, at second order and under vmap."""

import numpy as np
import pytest
import wengert as wg

W = np.array([[0.5, -1.0, 2.0], [1.5, 0.0, 0.3], [-0.7, 0.2, 1.1], [0.4, 0.9, -0.6]])
BAD = [np.nan, np.inf, -np.inf, 0.0, -1.0]
GOOD = np.array([[0.3, 1.2, 0.8, 2.0], [1.1, 0.4, 0.9, 0.6]])

# Functions of the rows of x (n, 4), each computed from its own row alone.
ROWWISE = {
    "sqrt": wg.sqrt,
    "log": wg.log,
    "reciprocal": lambda x: 1.0 / x,
    "power": lambda x: x**-1.5,
    "tanh of log": lambda x: wg.tanh(wg.log(x)),
    "sigmoid of sqrt": lambda x: wg.nn.sigmoid(wg.sqrt(x)),
    "gelu": lambda x: wg.nn.gelu(wg.log(x)),
    "silu": lambda x: wg.nn.silu(wg.sqrt(x)),
    "acos": lambda x: wg.acos(x / 3.0),
    "matmul": lambda x: wg.sqrt(x) @ W,
    "matmul on the right": lambda x: (W.T @ wg.log(x).mT).mT,
    "batched matmul": lambda x: (wg.log(x)[:, None, :] @ W)[:, 0],
    "matmul with a vector": lambda x: wg.log(x) @ W[:, 0],
    "einsum": lambda x: wg.einsum("ni,ij->nj", wg.sqrt(x), W),
    "linear": lambda x: wg.nn.linear(wg.sqrt(x), wg.asarray(W.T.copy())),
    "softmax": lambda x: wg.nn.softmax(wg.log(x), dim=-1),
    "log_softmax": lambda x: wg.nn.log_softmax(wg.log(x), dim=-1),
    "cross_entropy": lambda x: wg.nn.cross_entropy(
        wg.log(x), wg.zeros(x.shape[0], dtype="int64"), reduction="none"
    ),
    "layer_norm": lambda x: wg.nn.layer_norm(wg.sqrt(x), (4,)),
    "rms_norm": lambda x: wg.nn.rms_norm(wg.sqrt(x), (4,)),
    "sum": lambda x: wg.sum(wg.log(x), axis=1),
    "mean": lambda x: wg.mean(wg.sqrt(x), axis=1),
    "prod": lambda x: wg.prod(wg.sqrt(x), axis=1),
    "var": lambda x: wg.var(wg.log(x), axis=1),
    "std": lambda x: wg.std(wg.log(x), axis=1),
    "norm": lambda x: wg.linalg.vector_norm(wg.sqrt(x), axis=1),
    "logsumexp": lambda x: wg.logsumexp(1.0 / x, axis=1),
    "cumulative_prod": lambda x: wg.cumulative_prod(wg.sqrt(x), axis=1),
    "cumulative_sum": lambda x: wg.cumulative_sum(wg.log(x), axis=1),
    "max": lambda x: wg.max(wg.log(x), axis=1),
}


def selected(f, good):
    """The sum of squares of f over the rows that `good` selects, of where() over all of them."""

    def loss(x):
        y = f(x)
        keep = good if y.ndim == 1 else good[:, None]
        return (wg.where(keep, y, 0.0) ** 2).sum()

    return loss


def cases(bad):
    x = np.vstack([GOOD[:1], np.full((1, 4), bad), GOOD[1:]])
    return x, np.array([True, False, True])


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ROWWISE)
def test_rows_not_selected_contribute_nothing(name, bad):
    f = ROWWISE[name]
    x, good = cases(bad)
    loss, plain = selected(f, wg.asarray(good)), selected(f, wg.asarray([True, True]))
    v = np.linspace(-1.0, 1.0, x.size).reshape(x.shape)

    expected = np.zeros_like(x)
    expected[good] = wg.grad(plain)(GOOD).numpy()
    np.testing.assert_allclose(wg.grad(loss)(x).numpy(), expected, rtol=1e-12, atol=1e-13)

    tangent = wg.jvp(loss, (x,), (v,))[1].item()
    np.testing.assert_allclose(tangent, (expected * v).sum(), rtol=1e-10, atol=1e-13)

    second = np.zeros_like(x)
    second[good] = wg.hvp(plain, (GOOD,), (v[good],)).numpy()
    np.testing.assert_allclose(wg.hvp(loss, (x,), (v,)).numpy(), second, rtol=1e-9, atol=1e-12)

    def directional(x):
        return (wg.grad(loss)(x) * v).sum()

    reverse_twice = wg.grad(directional)(x).numpy()
    np.testing.assert_allclose(reverse_twice, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ROWWISE)
def test_the_same_under_vmap(name):
    f = ROWWISE[name]

    def loss(x, keep):
        return (wg.where(keep, f(x[None, :]), 0.0) ** 2).sum()

    x, good = cases(np.nan)
    found = wg.vmap(wg.grad(loss))(x, good).numpy()
    assert (found[1] == 0).all()
    for i in (0, 2):
        np.testing.assert_allclose(found[i], wg.grad(loss)(x[i], True).numpy(), rtol=1e-12)


def test_what_is_taken_shows():
    taken = wg.grad(lambda x: wg.where(x < 0, wg.sqrt(x), 0.0))
    assert np.isnan(taken(np.float64(-1.0)).item())
    both = wg.grad(lambda x: (wg.sqrt(x) @ W).sum())(np.array([[1.0, -1.0, 4.0, 4.0]])).numpy()
    np.testing.assert_array_equal(np.isnan(both), [[False, True, False, False]])


def test_the_weight_of_a_masked_product_is_finite():
    x = wg.asarray(np.array([[np.inf, 1.0], [2.0, 3.0]]))
    keep = wg.asarray(np.array([[False], [True]]))
    weight = np.ones((2, 2))
    gradient = wg.grad(lambda w: wg.where(keep, x @ w, 0.0).sum())(weight)
    np.testing.assert_array_equal(gradient.numpy(), [[2.0, 2.0], [3.0, 3.0]])
    taken = wg.grad(lambda w: (x @ w).sum())(weight).numpy()
    np.testing.assert_array_equal(taken, [[np.inf, np.inf], [4.0, 4.0]])


@pytest.mark.parametrize(
    "shape",
    [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,))],
)
def test_chain_matmul_is_the_sum_of_absorbing_products(shape):
    """Against the definition, with zeros, infinities and NaNs in both operands."""
    rng = np.random.default_rng(0)
    pool = np.array([0.0, 0.0, 1.5, -2.0, 3.0, np.inf, -np.inf, np.nan])
    for odds in (0.0, 0.1, 0.5):
        a, b = (
            np.where(rng.random(s) < odds, rng.choice(pool, s), rng.normal(size=s)) for s in shape
        )
        left = a[..., None, :] if a.ndim == 1 else a
        right = b[..., None] if b.ndim == 1 else b
        with np.errstate(invalid="ignore"):
            terms = left[..., :, :, None] * right[..., None, :, :]
        absorbed = (left[..., :, :, None] == 0) | (right[..., None, :, :] == 0)
        with np.errstate(invalid="ignore"):
            expected = np.where(absorbed, 0.0, terms).sum(-2)
        if a.ndim == 1:
            expected = expected[..., 0, :]
        if b.ndim == 1:
            expected = expected[..., 0]
        found = wg._core.ops.chain_matmul(wg.asarray(a), wg.asarray(b)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_masked_infinite_row_of_a_norm_asks_for_nothing():
    """Whether the weight's cotangent is made alone or together with that of x."""
    x, w = wg.tensor([[np.inf, 1.0], [1.0, 2.0]]), wg.tensor([1.0, 2.0])
    seen = wg.tensor([[False], [True]])

    def loss(x, w):
        return wg.where(seen, wg.nn.rms_norm(x, (2,), w, eps=1e-5), 0.0).sum()

    alone = wg.grad(loss, argnums=1)(x, w)
    both = wg.grad(loss, argnums=(0, 1))(x, w)
    assert np.isfinite(alone.numpy()).all() and alone.tolist() == both[1].tolist()
    assert both[0][0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("norm", [wg.nn.layer_norm, wg.nn.rms_norm])
def test_a_masked_column_of_a_norm_asks_for_nothing(norm, bad):
    """Its weight may be whatever it is, in each transform, and in the second derivative."""
    x = wg.tensor(np.random.default_rng(0).standard_normal((3, 5)))
    good, mask = np.array([1.0, 2, 3, 4, 5]), np.array([True, True, False, True, True])
    weight = wg.tensor(np.where(mask, good, bad))

    def f(x, weight):
        return wg.where(wg.tensor(mask), norm(x, (5,), weight) ** 2, 0.0).sum()

    wanted = wg.grad(f)(x, wg.tensor(good))
    both = wg.grad(f, argnums=(0, 1))(x, weight)
    for found in (
        wg.grad(f)(x, weight),
        both[0],
        wg.compile(wg.grad(f))(x, weight),
        wg.vmap(wg.grad(f))(x[None], weight[None])[0],
        wg.vmap(wg.grad(f), in_axes=(0, None))(x[None], weight)[0],
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
    assert np.isfinite(both[1]).all() and both[1][2] == 0

    def slopes(weight):
        return wg.grad(lambda x: wg.grad(f)(x, weight)[0].sum())(x)

    np.testing.assert_allclose(slopes(weight), slopes(wg.tensor(good)), rtol=1e-10, atol=1e-13)
