"""Derivatives of what has none: straight-through functions, relaxed and reparameterised samples."""

import numpy as np
import pytest
import wengert as wg

N = 200_000


def rng(seed=0):
    return wg.random.default_rng(seed)


def f64(x):
    return wg.tensor(x, dtype=wg.float64)


step = wg.straight_through(lambda x: x > 0, wg.sigmoid)
rounded = wg.straight_through(wg.round, lambda x: x)
POINTS = f64([-1.3, -0.2, 0.4, 2.6])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slope(x):
    return sigmoid(x) * (1 - sigmoid(x))


def curvature(x):
    return slope(x) * (1 - 2 * sigmoid(x))


def test_value_of_one_and_derivatives_of_the_other_in_every_mode():
    x = POINTS.numpy()
    y, pull = wg.vjp(step, POINTS)
    assert y.dtype == wg.float64
    np.testing.assert_array_equal(y.numpy(), x > 0)
    np.testing.assert_allclose(pull(wg.full_like(y, 2.0))[0].numpy(), 2 * slope(x), rtol=1e-14)
    y, tangent = wg.jvp(step, (POINTS,), (wg.ones_like(POINTS),))
    np.testing.assert_array_equal(y.numpy(), x > 0)
    np.testing.assert_allclose(tangent.numpy(), slope(x), rtol=1e-14)
    np.testing.assert_array_equal(wg.vmap(step)(POINTS).numpy(), x > 0)
    np.testing.assert_allclose(wg.vmap(wg.grad(step))(POINTS).numpy(), slope(x), rtol=1e-14)
    hessian = wg.hessian(lambda x: step(x).sum())(POINTS).numpy()
    np.testing.assert_allclose(hessian, np.diag(curvature(x)), rtol=1e-13, atol=1e-16)
    leaf = f64(x).requires_grad_()
    step(leaf).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), slope(x), rtol=1e-14)


def test_value_is_kept_to_the_bit():
    """Also where value + (carrier - carrier) would round, or be NaN."""
    x = np.array([1e-30, -0.0, 3.7, -2.5, np.inf, -np.inf, np.nan], np.float32)
    for carrier in (lambda x: x * 1e30, lambda x: x * 0 + np.inf, lambda x: x * 0 + np.nan):
        y = wg.straight_through(lambda x: x, carrier)(wg.tensor(x))
        np.testing.assert_array_equal(y.numpy().view(np.int32)[:-1], x.view(np.int32)[:-1])
        assert np.isnan(y.numpy()[-1])


def test_chain_rule_goes_through():
    gradient = wg.grad(lambda x: (rounded(x) ** 2).sum())(POINTS)
    np.testing.assert_array_equal(gradient.numpy(), 2 * np.round(POINTS.numpy()))


def test_f_may_compute_with_numpy_and_gets_constants():
    seen = []

    def f(x, scale):
        seen.append((x.requires_grad, scale))
        return np.floor(np.asarray(x)) * scale

    quantised = wg.straight_through(f, lambda x, scale: x * scale)
    x = f64([0.5, 1.7]).requires_grad_()
    y = quantised(x, scale=2)
    assert seen == [(False, 2)]
    assert y.tolist() == [0.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    _, tangent = wg.jvp(quantised, (f64([0.5]), 3.0), (f64([1.0]), 0.0))
    assert tangent.tolist() == [3.0]
    with pytest.raises(wg.TraceError):
        wg.vmap(quantised, in_axes=(0, None))(f64([0.5]), 1)


def test_derivatives_of_f_are_never_taken():
    w = f64(3.0).requires_grad_()
    y = wg.straight_through(lambda x: x * w, lambda x: x)(f64(2.0).requires_grad_())
    y.backward()
    assert y.item() == 6.0
    assert w.grad is None


def test_trees_of_arguments_and_results():
    def f(p, x):
        return {"a": wg.sign(p["w"] * x), "b": [x > 1]}

    def surrogate(p, x):
        return {"a": wg.tanh(p["w"] * x), "b": [2 * x]}

    both = wg.straight_through(f, surrogate)
    p, x = {"w": f64(0.5)}, f64(2.0)
    out, pull = wg.vjp(both, p, x)
    assert (out["a"].item(), out["b"][0].item()) == (1.0, 1.0)
    dp, dx = pull({"a": f64(1.0), "b": [f64(1.0)]})
    bend = 1 - np.tanh(1.0) ** 2
    assert dp["w"].item() == pytest.approx(2 * bend)
    assert dx.item() == pytest.approx(0.5 * bend + 2)


def test_wrong_functions():
    x = wg.ones(3)
    with pytest.raises(wg.ShapeError, match=r"straight_through: .*same shape; got \(\) and \(3,\)"):
        wg.straight_through(wg.sum, wg.exp)(x)
    with pytest.raises(wg.ArgumentError, match="trees of one structure"):
        wg.straight_through(lambda x: (x, x), wg.exp)(x)
    with pytest.raises(wg.DTypeError, match="must return floats; got bool"):
        wg.straight_through(wg.exp, lambda x: x > 0)(x)
    with pytest.raises(wg.ArgumentTypeError, match="takes two functions; got 3"):
        wg.straight_through(wg.exp, 3)


SOFTMAX_CASES = [((5,), -1), ((2, 5), 1), ((5, 3), 0), ((2, 5, 3), -2)]


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize(("shape", "dim"), SOFTMAX_CASES)
def test_gumbel_softmax_is_softmax_of_perturbed_logits(shape, dim, dtype):
    logits = rng(1).normal(size=shape, dtype=dtype)
    soft = wg.nn.gumbel_softmax(logits, tau=0.7, dim=dim, generator=rng(2))
    noisy = logits.numpy() + rng(2).gumbel(size=shape, dtype=dtype).numpy()
    powers = np.exp(noisy.astype(np.float64) / 0.7)
    expected = powers / powers.sum(dim, keepdims=True)
    assert soft.dtype == dtype
    np.testing.assert_allclose(soft.numpy(), expected, rtol=2e-5 if dtype == "float32" else 1e-13)
    hard = wg.nn.gumbel_softmax(logits, 0.7, True, dim=dim, generator=rng(2)).numpy()
    np.testing.assert_array_equal(hard, expected == expected.max(dim, keepdims=True))


def test_hard_samples_have_the_gradient_of_soft_ones():
    weights = f64([1.0, -2.0, 0.5])

    def loss(logits, tau, hard):
        y = wg.nn.gumbel_softmax(logits, tau, hard, generator=rng(4))
        return (y * weights).sum()

    logits, tau = f64([0.3, -0.1, 0.4]), f64(0.8)
    soft = wg.grad(lambda *a: loss(*a, False), argnums=(0, 1))(logits, tau)
    hard = wg.grad(lambda *a: loss(*a, True), argnums=(0, 1))(logits, tau)
    p = wg.nn.gumbel_softmax(logits, tau, generator=rng(4)).numpy()
    w = weights.numpy()
    np.testing.assert_allclose(soft[0].numpy(), p * (w - p @ w) / 0.8, rtol=1e-13)
    for a, b in zip(soft, hard, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14)


def test_hard_samples_have_the_probabilities_of_the_logits():
    p = np.array([0.1, 0.2, 0.7])
    logits = wg.broadcast_to(wg.tensor(np.log(p)), (N, 3))
    share = wg.nn.gumbel_softmax(logits, hard=True, generator=rng(3)).numpy().mean(0)
    assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / N))


def test_gumbel_softmax_draws_from_the_default_generator():
    wg.random.seed(6)
    first = wg.nn.gumbel_softmax(wg.zeros(4)).tolist()
    assert first != wg.nn.gumbel_softmax(wg.zeros(4)).tolist()
    wg.random.seed(6)
    assert first == wg.nn.gumbel_softmax(wg.zeros(4), 1, False, 1e-10, 0).tolist()


def test_gumbel_softmax_refuses():
    with pytest.raises(wg.ArgumentError, match="gumbel_softmax: tau must be positive; got 0"):
        wg.nn.gumbel_softmax(wg.zeros(4), tau=0)
    with pytest.raises(wg.DTypeError, match="logits must be floats; got int64"):
        wg.nn.gumbel_softmax(wg.arange(4))
    with pytest.raises(wg.Error, match="out of range"):
        wg.nn.gumbel_softmax(wg.zeros(4), dim=1)


# Draw, parameters, the sample's derivative in each, mean and standard deviation.
LOC_SCALE = (lambda y, a, b: 1.0, lambda y, a, b: (y - a) / b)
SAMPLERS = {
    "normal": ((1.5, 0.7), LOC_SCALE, 1.5, 0.7),
    "laplace": ((-1.0, 0.5), LOC_SCALE, -1.0, 0.5 * 2**0.5),
    "logistic": ((2.0, 0.6), LOC_SCALE, 2.0, 0.6 * np.pi / 3**0.5),
    "gumbel": ((1.0, 2.0), LOC_SCALE, 1 + 2 * np.euler_gamma, 2 * np.pi / 6**0.5),
    "exponential": ((1.7,), (lambda y, a: y / a,), 1.7, 1.7),
    "uniform": (
        (-1.0, 3.0),
        (lambda y, a, b: (b - y) / (b - a), lambda y, a, b: (y - a) / (b - a)),
        1.0,
        4 / 12**0.5,
    ),
    "lognormal": (
        (0.3, 0.4),
        (lambda y, a, b: y, lambda y, a, b: y * (np.log(y) - a) / b),
        np.exp(0.38),
        np.exp(0.38) * np.sqrt(np.exp(0.16) - 1),
    ),
}


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize("name", SAMPLERS)
def test_moments_of_samples(name, dtype):
    parameters, _, mean, std = SAMPLERS[name]
    sample = getattr(rng(5), name)(*parameters, N, dtype=dtype)
    assert sample.dtype == dtype
    a = sample.numpy().astype(np.float64)
    assert np.isfinite(a).all()
    assert abs(a.mean() - mean) < 5 * std / np.sqrt(N)
    assert abs(a.std() - std) < 7.5 * std / np.sqrt(N)


@pytest.mark.parametrize("name", SAMPLERS)
def test_pathwise_gradients_are_the_closed_form(name):
    values, slopes, _, _ = SAMPLERS[name]
    leaves = [f64(np.full(50, v)).requires_grad_() for v in values]
    y = getattr(rng(7), name)(*leaves)
    assert y.dtype == wg.float64
    y.sum().backward()
    for leaf, derivative in zip(leaves, slopes, strict=True):
        expected = derivative(y.detach().numpy(), *values)
        np.testing.assert_allclose(leaf.grad.numpy(), np.broadcast_to(expected, 50), rtol=1e-9)
    total = wg.grad(lambda v: getattr(rng(7), name)(v, *values[1:], size=50).sum())(f64(values[0]))
    np.testing.assert_allclose(total.item(), leaves[0].grad.sum().item(), rtol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_agree_with_the_distribution_function(name):
    """Quantiles of the sample against those of NumPy's own."""
    parameters = SAMPLERS[name][0]
    ours = np.sort(getattr(rng(8), name)(*parameters, N, dtype=wg.float64).numpy())
    theirs = np.sort(getattr(np.random.default_rng(8), name)(*parameters, N))
    # Kolmogorov and Smirnov's distance of two samples, at a probability of some 1e-8.
    rank = np.searchsorted(theirs, ours, side="right") / N
    assert np.max(np.abs(rank - np.arange(1, N + 1) / N)) < 3.1 * np.sqrt(2 / N)


def test_ends_of_the_uniform_draw_stay_finite(monkeypatch):
    """0, which a draw gives once in 2**24, has an infinite quantile."""
    for dtype in (wg.float32, wg.float64):
        top = 1 - np.finfo(np.dtype(str(dtype))).eps / 2
        ends = wg.tensor([0.0, 0.5, top], dtype=dtype)
        monkeypatch.setattr(wg.random.Generator, "random", lambda self, size, dtype: ends)
        for name in ("laplace", "logistic"):
            low, middle, high = getattr(rng(), name)(size=3, dtype=dtype).tolist()
            assert -40 < low < -15 and middle == 0 and 15 < high < 40
        assert np.isfinite(rng().exponential(size=3, dtype=dtype).numpy()).all()
        assert np.isfinite(rng().gumbel(size=3, dtype=dtype).numpy()).all()


@pytest.mark.parametrize("name", ["laplace", "logistic", "lognormal"])
def test_parameters_broadcast_and_are_checked(name):
    draw = getattr(rng(), name)
    assert draw().shape == ()
    assert draw(wg.zeros(3), wg.ones((2, 1))).shape == (2, 3)
    assert draw(np.zeros(3)).dtype == wg.float64
    with pytest.raises(wg.ArgumentError, match=f"{name}: '(scale|sigma)' must not be negative"):
        draw(0.0, -1.0)
    with pytest.raises(wg.ShapeError, match=r"\(3,\).*size 4"):
        draw(wg.zeros(3), size=4)


def test_a_draw_under_vmap_is_shared_and_one_from_outside_is_not():
    g = rng(9)
    shared = wg.vmap(lambda x: x + g.normal(size=2))(wg.zeros((5, 1)))
    assert shared.shape == (5, 2)
    assert len(np.unique(shared.numpy(), axis=0)) == 1
    assert g.state.tolist() == [9, 2]
    own = wg.vmap(lambda x, noise: x + noise)(wg.zeros((5, 1)), g.normal(size=(5, 2)))
    assert len(np.unique(own.numpy(), axis=0)) == 5


def test_per_example_parameters_under_vmap_keep_their_gradients():
    scales = f64([0.5, 1.0, 2.0])
    z = rng(10).standard_normal(dtype=wg.float64).item()
    gradient = wg.vmap(wg.grad(lambda s: rng(10).normal(0.0, s)))(scales)
    np.testing.assert_allclose(gradient.numpy(), np.full(3, z), rtol=1e-14)


def test_expected_value_is_learnt_through_samples():
    """The pathwise estimate of d/dm E[(m + s z)**2] = 2 m, and of d/ds = 2 s."""
    gradient = wg.grad(lambda m, s: (rng(11).normal(m, s, N) ** 2).mean(), argnums=(0, 1))
    dm, ds = gradient(f64(1.5), f64(0.5))
    assert dm.item() == pytest.approx(3.0, abs=5 * 2 * 0.5 / np.sqrt(N))
    assert ds.item() == pytest.approx(1.0, abs=5 * 4 / np.sqrt(N))
