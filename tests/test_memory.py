"""Memory for array data: blocks of all sizes are apart, aligned, and go back to the system."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import wengert as wg
from machine import tells_memory


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
"""

# Some of all that was made stays: what was between goes back.
THINNED = """
xs = [wg.ones(size) for size in (3_000, 20_000, 300_000) for _ in range(100)]
assert resident() > start + 120
kept = xs[::70]
del xs
wg.memory.release_cache()
assert all(float(x.min()) == float(x.max()) == 1 for x in kept)
assert resident() < start + 12, (start, resident())
del kept
wg.memory.release_cache()
assert resident() < start + 8, (start, resident())
"""

# Many sizes one after the other, of each of which little stays.
CHANGING = """
kept = []
for kilobytes in (16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256):
    xs = [wg.ones(kilobytes * 256) for _ in range(65_536 // kilobytes)]
    kept += xs[:: 16_384 // kilobytes]
    del xs
live, cached = wg.memory.live_bytes() / 2**20, 64
assert live < 16
assert resident() < start + cached + 2 * live + 40, (start, resident())
wg.memory.release_cache()
assert resident() < start + 2 * live + 8, (start, resident())
"""


@pytest.mark.skipif(not tells_memory(), reason="reads /proc; sanitizers keep memory")
@pytest.mark.parametrize("story", [THINNED, CHANGING], ids=["thinned", "changing"])
def test_cached_memory_goes_back_to_the_system(story: str) -> None:
    subprocess.run([sys.executable, "-c", RESIDENT + story], check=True)


LIMITED = """
import resource
import wengert as wg

wg.ones(20_000).sum()
with open("/proc/self/statm") as numbers:
    used = int(numbers.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (30 << 20),) * 2)
xs = []
try:
    while True:
        xs.append(wg.ones(5_000))
except wg.OutOfMemory as error:
    assert "refused" in str(error), error
assert len(xs) > 500, len(xs)
del xs
assert float(wg.ones(5_000).sum()) == 5_000
"""


@pytest.mark.skipif(not tells_memory(), reason="limits the address space")
def test_blocks_where_no_region_is_to_be_had() -> None:
    """Memory too short for a region serves blocks; what it refuses raises and changes nothing."""
    subprocess.run([sys.executable, "-c", LIMITED], check=True)
