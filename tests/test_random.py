"""Generators: distributions, reproducibility, independence of draws, gradients, errors."""

import copy
import pickle

import numpy as np
import pytest
import wengert as wg

N = 200_000


def rng(seed=0):
    return wg.random.default_rng(seed)


def close_to(sample, mean, std, sigmas=5):
    """Mean and standard deviation within 5 standard errors (kurtosis below that of 9)."""
    a = sample.numpy().astype(np.float64)
    assert abs(a.mean() - mean) < sigmas * std / np.sqrt(a.size)
    assert abs(a.std() - std) < sigmas * 1.5 * std / np.sqrt(a.size)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
def test_moments(dtype):
    close_to(rng().random(N, dtype=dtype), 0.5, 12**-0.5)
    close_to(rng().uniform(-2, 4, N, dtype=dtype), 1, 6 * 12**-0.5)
    close_to(rng().standard_normal(N, dtype=dtype), 0, 1)
    close_to(rng().normal(3, 2, N, dtype=dtype), 3, 2)
    close_to(rng().exponential(2, N, dtype=dtype), 2, 2)
    close_to(rng().gumbel(1, 2, N, dtype=dtype), 1 + 2 * np.euler_gamma, 2 * np.pi / 6**0.5)
    assert rng().random(4, dtype=dtype).dtype == dtype


def test_ranges():
    u = rng().random(N).numpy()
    assert u.min() >= 0 and u.max() < 1
    assert np.isfinite(rng().gumbel(size=N).numpy()).all()
    k = rng().integers(-3, 4, N).numpy()
    assert set(np.unique(k)) == set(range(-3, 4))
    assert set(np.unique(rng().integers(3, size=N, endpoint=True).numpy())) == {0, 1, 2, 3}
    counts = np.bincount(rng().integers(10, size=N).numpy())
    assert np.all(np.abs(counts - N / 10) < 5 * np.sqrt(N / 10))
    assert rng().integers(0, 256, N, dtype=wg.uint8).numpy().max() == 255


def test_bernoulli():
    hit = rng().bernoulli(0.3, N)
    assert hit.dtype == wg.bool
    close_to(hit, 0.3, (0.3 * 0.7) ** 0.5)
    p = wg.tensor([0.0, 1.0])
    drawn = rng().bernoulli(p, (1000, 2)).numpy()
    assert not drawn[:, 0].any() and drawn[:, 1].all()
    assert rng().bernoulli(p).shape == (2,)
    assert rng().bernoulli(0.5, 3, dtype=wg.float32).dtype == wg.float32


def test_shapes_and_dtypes():
    assert rng().random().shape == ()
    assert rng().normal(size=(2, 3)).shape == (2, 3)
    assert rng().random(0).shape == (0,)
    assert rng().normal(wg.zeros(3), wg.ones((2, 1))).shape == (2, 3)
    assert rng().normal(np.zeros(3)).dtype == wg.float64
    assert rng().normal(wg.zeros(3), size=(4, 3)).shape == (4, 3)
    assert rng().integers(5).shape == ()
    assert rng().integers(5, dtype=wg.int32).dtype == wg.int32


DRAWS = [
    lambda g: g.random((50, 7)),
    lambda g: g.normal(1, 2, 301),
    lambda g: g.integers(100, size=99),
    lambda g: g.permutation(64),
    lambda g: g.bernoulli(0.5, 77),
    lambda g: g.choice(50, 20, replace=False),
    lambda g: g.exponential(size=31),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_same_seed_same_numbers(draw):
    a, b = rng(5), rng(5)
    for _ in range(3):
        assert draw(a).tolist() == draw(b).tolist()
    assert draw(rng(5)).tolist() != draw(rng(6)).tolist()
    one = draw(a).tolist()
    assert one != draw(a).tolist()


def test_any_number_of_threads():
    before = wg.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            wg.set_num_threads(threads)
            g = rng(1)
            found.append(
                [
                    g.normal(size=300_001).numpy(),
                    g.random(300_001).numpy(),
                    g.permutation(100_001).numpy(),
                ]
            )
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        wg.set_num_threads(before)


def test_consecutive_draws_do_not_overlap():
    g = rng(3)
    parts = [g.random(1 + k, dtype=wg.float64).numpy() for k in range(60)]
    parts += [g.integers(0, 2**62, 100).numpy() / 2**62 for _ in range(10)]
    everything = np.concatenate(parts)
    assert np.unique(everything).size == everything.size
    # Nor are neighbouring draws correlated.
    a, b = rng(3), rng(4)
    first, second, other = (
        a.normal(size=N).numpy(),
        a.normal(size=N).numpy(),
        b.normal(size=N).numpy(),
    )
    for x, y in [(first, second), (first, other), (first[1:], first[:-1])]:
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(N)


def test_permutation_and_shuffle():
    order = rng().permutation(1000)
    assert order.dtype == wg.int64
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    x = wg.arange(12).reshape(4, 3)
    rows = rng().permutation(x)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, x.tolist()))
    columns = rng(1).permutation(x, axis=1)
    assert sorted(map(tuple, columns.mT.tolist())) == sorted(map(tuple, x.mT.tolist()))
    rng().shuffle(x)
    assert x.tolist() == rows.tolist()
    # Every place is equally likely for every element.
    g = rng(9)
    table = np.zeros((4, 4))
    for _ in range(4000):
        table[np.arange(4), g.permutation(4).numpy()] += 1
    assert np.all(np.abs(table - 1000) < 5 * np.sqrt(1000 * 3 / 4))


def test_choice():
    g = rng()
    assert set(g.choice(5, 1000).tolist()) == set(range(5))
    assert sorted(g.choice(5, 5, replace=False).tolist()) == list(range(5))
    x = wg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert g.choice(x, (3, 4)).shape == (3, 4, 2)
    assert g.choice(x, axis=1).shape == (2,)
    p = np.array([0.1, 0.0, 0.6, 0.3])
    counts = np.bincount(g.choice(4, N, p=p).numpy(), minlength=4)
    assert counts[1] == 0
    assert np.all(np.abs(counts - N * p) <= 5 * np.sqrt(N * p))
    for _ in range(50):
        assert sorted(g.choice(4, 3, replace=False, p=p).tolist()) == [0, 2, 3]
    first = np.bincount(
        [g.choice(4, 2, replace=False, p=p).tolist()[0] for _ in range(2000)], minlength=4
    )
    assert np.all(np.abs(first - 2000 * p) <= 5 * np.sqrt(2000 * p))


def test_reparameterised_draws_have_gradients():
    loc = wg.zeros(3, dtype=wg.float64).requires_grad_()
    scale = wg.ones(3, dtype=wg.float64).requires_grad_()
    y = rng(2).normal(loc, scale)
    y.sum().backward()
    np.testing.assert_array_equal(loc.grad.numpy(), np.ones(3))
    np.testing.assert_array_equal(scale.grad.numpy(), y.detach().numpy())
    low, high = wg.tensor(1.0, requires_grad=True), wg.tensor(3.0, requires_grad=True)
    y = rng(2).uniform(low, high, 5)
    u = rng(2).random(5)
    y.sum().backward()
    np.testing.assert_allclose(high.grad.item(), u.sum().item(), rtol=1e-6)
    np.testing.assert_allclose(low.grad.item(), (1 - u).sum().item(), rtol=1e-6)


def test_state():
    g = rng(11)
    g.random(5)
    state = g.get_state()
    assert state.dtype == wg.int64 and state.tolist() == [11, 5]
    expected = g.normal(size=10).tolist()
    for again in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        again.set_state(state)
        assert again.normal(size=10).tolist() == expected
        assert again.state.tolist() == g.state.tolist()
    again = rng(0)
    again.state = state
    assert again.normal(size=10).tolist() == expected
    own = g.state
    g.random(3)
    assert g.state is own, "the state advances in place, so that a compiled step can carry it"


def test_spawn():
    parent, again = rng(1), rng(1)
    children = parent.spawn(3)
    draws = [child.random(100, dtype=wg.float64).numpy() for child in [parent, *children]]
    assert np.unique(np.concatenate(draws)).size == 400
    for child, other in zip(children, again.spawn(3), strict=True):
        assert child.state.tolist() == [other.state.tolist()[0], 100]


def test_seeds():
    assert rng(2**70).random().item() == rng(2**70).random().item()
    assert rng([1, 2]).random().item() == rng((1, 2)).random().item()
    assert rng([1, 2]).random().item() != rng([2, 1]).random().item()
    assert wg.random.default_rng().random().item() != wg.random.default_rng().random().item()
    g = rng()
    assert wg.random.default_rng(g) is g
    default = wg.random.default_generator()
    wg.random.seed(3)
    first = default.random(4).tolist()
    wg.random.seed(3)
    assert wg.random.default_generator().random(4).tolist() == first == rng(3).random(4).tolist()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda g: g.normal(0, -1), ValueError, "normal: 'scale' must not be negative; got -1"),
        (lambda g: g.integers(5, 5), ValueError, "low must be below high; got low=5, high=5"),
        (
            lambda g: g.integers(0, 300, dtype=wg.uint8),
            ValueError,
            r"\[0, 300\) does not fit uint8",
        ),
        (lambda g: g.integers(0, 3, dtype=wg.float32), TypeError, "float32"),
        (lambda g: g.random(3, dtype=wg.int64), TypeError, "int64"),
        (lambda g: g.normal(size=3, dtype=wg.int32), TypeError, "int32"),
        (lambda g: g.random((2, -1)), ValueError, "negative"),
        (lambda g: g.random(10**15), MemoryError, "bytes|elements"),
        (lambda g: g.normal(wg.zeros(3), size=4), ValueError, r"\(3,\).*size 4"),
        (lambda g: g.bernoulli(1.5), ValueError, "must be between 0 and 1; got 1.5"),
        (lambda g: g.choice(3, 4, replace=False), ValueError, "4 of 3"),
        (lambda g: g.choice(3, p=[0.5, 0.5]), ValueError, "3 probabilities"),
        (lambda g: g.choice(2, p=[0.5, 0.6]), ValueError, "sum to 1"),
        (lambda g: g.choice(0, 1), ValueError, "something to choose from"),
        (lambda g: g.permutation(wg.zeros(3), axis=1), ValueError, "axis 1"),
        (lambda g: g.set_state([1, 2, 3]), ValueError, r"int64 \(2,\)"),
    ],
)
def test_errors(call, kind, message):
    g = rng()
    with pytest.raises(kind, match=message) as caught:
        call(g)
    assert isinstance(caught.value, wg.Error)
    assert g.state.tolist() == [0, 0]


DRAWS = {
    "random": lambda rng: rng.random((2, 3)),
    "normal": lambda rng: rng.normal(1.0, wg.tensor([1.0, 2.0])),
    "gumbel": lambda rng: rng.gumbel(size=4),
    "integers": lambda rng: rng.integers(-3, 9, 5),
    "bernoulli": lambda rng: rng.bernoulli(0.3, 20),
    "permutation": lambda rng: rng.permutation(7),
    "choice": lambda rng: rng.choice(5, (2, 3)),
    "choice without replacement": lambda rng: rng.choice(6, 3, replace=False),
    "weighted choice": lambda rng: rng.choice(3, (3, 4), p=[0.2, 0.5, 0.3]),
    "weighted, without replacement": lambda rng: rng.choice(4, 2, False, [0.1, 0.2, 0.7, 0.0]),
}


@pytest.mark.parametrize("name", DRAWS)
def test_compiled_draws_are_those_of_eager_ones(name):
    eager, compiled = (wg.random.default_rng(5) for _ in range(2))
    draw = wg.compile(lambda: DRAWS[name](compiled))
    found = [(DRAWS[name](eager).numpy(), draw().numpy()) for _ in range(4)]
    for a, b in found:
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    assert compiled.get_state().tolist() == eager.get_state().tolist()
    assert len({a.tobytes() for a, _ in found}) > 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, x: g.normal(x, x, 3),
        lambda g, x: g.uniform(-x, x, 3),
        lambda g, x: g.exponential(x, 3),
        lambda g, x: g.gumbel(x, x, 3),
        lambda g, x: g.laplace(x, x, 3),
        lambda g, x: g.logistic(x, x, 3),
        lambda g, x: g.lognormal(-x, x, 3),
    ],
)
def test_an_int_beyond_int64_is_meant_as_a_float(draw):
    drawn, same = draw(rng(3), 10**30), draw(rng(3), 1e30)
    assert drawn.tolist() == same.tolist() and drawn.dtype == "float32"
    assert draw(rng(3), 2).tolist() == draw(rng(3), 2.0).tolist()
    for seed in range(2):
        state = rng(seed)
        with pytest.raises(wg.ArgumentError):
            draw(state, 10**400)
        assert state.get_state().tolist() == rng(seed).get_state().tolist()


def test_a_compiled_call_makes_no_generator_of_its_own_entropy():
    with pytest.raises(wg.TraceError, match="make it outside"):
        wg.compile(lambda x: x + wg.random.default_rng().random())(1.0)
    rng = wg.random.default_rng()
    draw = wg.compile(lambda: wg.random.default_rng(rng).random())
    assert len({float(draw()) for _ in range(5)}) == 5
