"""wg.compile(..., memory_budget=wg.TwoLevel(...)) beside disks of all sizes."""

import random
from itertools import pairwise

import numpy as np
import pytest
import wengert as wg
from test_memory_budget import held_by, least_and_most, random_calls, recorded, replay_of, same_bits
from test_memory_disk import USUAL, on_disk, two_level
from wengert import compiler


def uneven_chain():
    """A gradient whose values take very unequal bytes, and its arguments."""
    draw = np.random.default_rng(0)
    widths = [8, 40, 12, 30, 8, 64, 5, 20, 48, 9, 33, 17, 50, 6]

    def loss(x, weights):
        for w in weights:
            x = wg.tanh(x @ w)
        return (x * x).sum()

    weights = [wg.tensor(draw.standard_normal(pair) * 0.3) for pair in pairwise(widths)]
    return wg.grad(loss, argnums=1), wg.tensor(draw.standard_normal((32, 8))), weights


@pytest.mark.parametrize("seed", [None, 3, 9, 11])
def test_more_disk_never_needs_more_memory(seed, monkeypatch):
    """Over sizes of the disk from nothing to more than all values: the least budget falls or stays,
    it is met with the values that fit, and what is below it fails and says so."""
    monkeypatch.setattr(compiler, "_moving", lambda directory, most: USUAL)
    draw = random.Random(seed)
    calls = [uneven_chain()] if seed is None else random_calls(draw, seed, 4)
    falls = 0
    for f, x, weights in calls:
        alone, most = least_and_most(f, x, weights)
        replay = replay_of(recorded(wg.compile(f), x, weights))
        sizes = [most * k // 32 for k in range(34)] + [-1]
        leasts = [replay.curve(1e10, 1e10, ("", size, *USUAL))[-1][0] for size in sizes]
        assert leasts == sorted(leasts, reverse=True) and leasts[0] == alone
        steps = [i for i in range(1, len(sizes)) if leasts[i] < leasts[i - 1]]
        falls += len(steps)
        expected = wg.compile(f)(x, weights) if steps else None
        for i in steps:
            size = None if sizes[i] < 0 else f"{sizes[i]}B"
            compiled = wg.compile(f, memory_budget=two_level(leasts[i], disk=size))
            found, held = held_by(compiled, x, weights)
            assert held <= leasts[i]
            assert 0 < sum(value.bytes for value in on_disk(compiled)) <= sizes[i] % 2**63
            same_bits(found, expected)
            below = wg.compile(f, memory_budget=two_level(leasts[i] - 1, disk=size))
            with pytest.raises(wg.ArgumentError, match=rf"needs {leasts[i]} bytes at least"):
                below(x, weights)
    assert falls > 0
