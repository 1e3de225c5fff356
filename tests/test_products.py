"""Products big enough for panels, and small ones of whole vectors: sizes around both, every layout,
infinities."""

import itertools

import numpy as np
import pytest
import wengert as wg

# More than 2**20 multiply-adds each, and fewer.
PANELS = [(64, 130, 300), (129, 33, 513), (200, 512, 256), (70, 47, 1000), (530, 100, 261)]
SMALL = [(4, 16, 1), (8, 32, 5), (12, 48, 31), (20, 16, 200), (64, 64, 64), (6, 16, 9), (8, 24, 9)]


def layouts(x):
    yield x
    yield np.asfortranarray(x)
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[1::2, ::3] = x
    yield wide[1::2, ::3]
    yield x[::-1, ::-1].copy()[::-1, ::-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), PANELS + SMALL)
def test_every_layout(m, n, k, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    bias = rng.normal(size=n)
    bound = 4 * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b) + 1)
    pairs = itertools.product(layouts(a.astype(dtype)), layouts(b.astype(dtype)))
    for left, right in pairs:
        plain = left.astype("float64") @ right.astype("float64")
        y = wg.matmul(wg.asarray(left), wg.asarray(right)).numpy()
        assert (np.abs(y - plain) <= bound).all()
        y = wg.nn.linear(wg.asarray(left), wg.asarray(right).mT, wg.tensor(bias.astype(dtype)))
        assert (np.abs(y.numpy() - plain - bias.astype(dtype)) <= 2 * bound).all()


def test_what_is_not_finite_stays_in_its_row_and_column():
    a, b = np.ones((70, 300), np.float32), np.ones((300, 130), np.float32)
    a[3, 5], b[7, 11] = np.inf, np.nan
    y = (wg.tensor(a) @ wg.tensor(b)).numpy()
    finite = np.isfinite(y)
    assert not finite[3].any() and not finite[:, 11].any()
    assert np.isinf(np.delete(y[3], 11)).all() and np.isnan(y[:, 11]).all()
    rest = np.delete(np.delete(y, 3, 0), 11, 1)
    assert (rest == 300).all()
