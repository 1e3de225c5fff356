"""Every test starts from the same random state and leaves no tensor behind."""

import gc
import random
from collections.abc import Iterator

import numpy as np
import pytest
import wengert as wg
from machine import instruction_sets


def pytest_collection_finish(session: pytest.Session) -> None:
    """What exists by now stays: collecting garbage after a test looks at that test's only."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[passed] = report.passed
    return report


passed = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = wg.get_num_threads()
    yield
    wg.set_num_threads(threads)


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Once with the kernels of each instruction set that this machine has."""
    best = wg.config()["isa"]
    wg._core._set_isa(request.param)
    yield request.param
    wg._core._set_isa(best)


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Live bytes and objects return to where they were, unless marked keeps_tensors."""
    before = alive()
    yield
    if request.node.get_closest_marker("keeps_tensors") or not request.node.stash.get(
        passed, False
    ):
        return
    after = alive()
    if after != before:
        gc.collect()
        after = alive()
    kept = [
        f"{now - then} {what}"
        for what, then, now in zip(COUNTS, before, after, strict=True)
        if now > then
    ]
    assert not kept, f"the test leaves {' and '.join(kept)} alive"


COUNTS = ("bytes", "objects")


def alive() -> tuple[int, int]:
    return wg.memory.live_bytes(), wg.memory.live_objects()
