"""Ctrl-C ends what runs in C++ for long, and leaves what was before usable."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import wengert as wg

ENDLESS = 1 << 40


@contextmanager
def interrupted_soon() -> Iterator[None]:
    """The signal of a timer, which like Ctrl-C needs no Python thread to come, interrupts."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def long_scan(x: wg.Tensor) -> wg.Tensor:
    return wg.scan(lambda c, _: (wg.sin(c), None), x, None, length=ENDLESS)[0]


def nested_scan(x: wg.Tensor) -> wg.Tensor:
    def outer(c: wg.Tensor, _: None) -> tuple[wg.Tensor, None]:
        return long_scan(c), None

    return wg.scan(outer, x, None, length=3)[0]


def endless_loop(x: wg.Tensor) -> wg.Tensor:
    return wg.while_loop(lambda c: (c > -2).all(), wg.sin, x)


def checkpointed_scan(x: wg.Tensor) -> wg.Tensor:
    """Its reverse sweep is over soon, its forward one is not."""
    step = lambda c, _: (wg.sin(c), None)  # noqa: E731
    return wg.scan(step, x, None, length=ENDLESS, checkpoint=wg.Binomial(slots=4))[0].sum()


def batched_scan(x: wg.Tensor) -> wg.Tensor:
    return wg.vmap(long_scan)(x)


CALLS: dict[str, Callable[[wg.Tensor], object]] = {
    "scan": long_scan,
    "scan in a scan": nested_scan,
    "scan under vmap": batched_scan,
    "while_loop": endless_loop,
    "gradient of a checkpointed scan": wg.grad(checkpointed_scan),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", CALLS)
def test_a_long_loop_can_be_interrupted(name: str, compiled: bool) -> None:
    """What it made is gone, and the next call is right."""
    f = wg.compile(CALLS[name]) if compiled else CALLS[name]
    x = wg.tensor([0.5, 1.0])
    with interrupted_soon():
        f(x)
    y, _ = wg.scan(lambda c, _: (wg.sin(c), c), x, None, length=2)
    np.testing.assert_allclose(y, np.sin(np.sin([0.5, 1.0])), rtol=1e-6)


def test_run_ends_after_a_whole_step() -> None:
    a, b = wg.tensor(0), wg.tensor(0)

    @wg.compile
    def step() -> None:
        a.assign(a + 1)
        b.assign(b + 1)

    step()
    with interrupted_soon():
        step.run(steps=ENDLESS)
    count = a.item()
    assert count == b.item() > 1
    step()
    assert a.item() == b.item() == count + 1
