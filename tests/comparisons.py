"""Comparisons that several tests share."""

import numpy as np
import wengert as wg


def same_but_for_nan(found, expected):
    """To the bit, but for which NaN a NaN is."""
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        x, y = x.numpy(), y.numpy()
        assert x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True)
        assert np.array_equal(np.signbit(x) & (x == x), np.signbit(y) & (y == y))
