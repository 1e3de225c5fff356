"""Memory for array data: blocks of all sizes are apart, aligned, and go back to the system."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import wengert as wg


@pytest.mark.parametrize("seed", range(4))
def test_blocks_are_apart(seed: int) -> None:
    """Arrays that come and go, with cached memory given back in between, keep their numbers."""
    choose = random.Random(seed)
    kept: dict[int, tuple[wg.Tensor, int]] = {}
    before = wg.memory.live_bytes()
    for number in range(600):
        size = int(2 ** choose.uniform(0, 20))
        x = wg.full((size,), number, dtype=wg.int32)
        assert np.asarray(x).ctypes.data % 64 == 0
        kept[number] = x, size
        while sum(size for _, size in kept.values()) > 1 << 22 or choose.random() < 0.4:
            del kept[choose.choice(list(kept))]
            if not kept:
                break
        if choose.random() < 0.05:
            wg.memory.release_cache()
        if choose.random() < 0.1:
            for other, (y, length) in kept.items():
                assert y.shape == (length,)
                assert (np.asarray(y) == other).all()
    del x, y
    kept.clear()
    assert wg.memory.live_bytes() == before


RESIDENT = """
import sys
import wengert as wg

def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

wg.ones(20_000).sum()
start = resident()
xs = [wg.ones(size) for size in (3_000, 20_000, 300_000) for _ in range(100)]
assert resident() > start + 120
kept = xs[::70]
del xs
wg.memory.release_cache()
assert all(float(x.min()) == float(x.max()) == 1 for x in kept)
del kept
wg.memory.release_cache()
assert resident() < start + 8, (start, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_cached_memory_goes_back_to_the_system() -> None:
    subprocess.run([sys.executable, "-c", RESIDENT], check=True)
