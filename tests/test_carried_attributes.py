"""Attributes that a compiled call binds anew, seen by those who look at them between calls."""

import threading
import time

import numpy as np
import pytest
import wengert as wg
from wengert import nn


class Running(nn.Module):
    def __init__(self):
        self.h = wg.zeros(())

    def forward(self, x):
        self.h = self.h + x.sum()
        return self.h * 1.0


@pytest.mark.parametrize("take", [lambda h: h, lambda h: h[None], lambda h: np.asarray(h)])
def test_what_was_taken_between_calls_keeps_its_value(take):
    module = Running()
    f, x = wg.compile(module), wg.tensor([1.0, 2.0])
    f(x), f(x)
    taken = [take(module.h)]
    f(x)
    taken.append(take(module.h))
    f(x)
    assert [np.asarray(h).item() for h in taken] == [6.0, 9.0]
    assert module.h.item() == 12.0
    del taken
    f(x)
    hits = f.cache_info().hits
    f(x)
    assert f.cache_info().hits == hits + 1  # nobody else holds it again


class Slow(Running):
    """Lets others look at what its attribute holds while it is recorded with more than one row."""

    def __init__(self):
        super().__init__()
        self.begun = threading.Event()

    def forward(self, x):
        self.h = self.h + x.sum()
        if len(x) > 1:
            self.begun.set()
            time.sleep(0.1)
        return self.h * 1.0


def test_a_replay_waits_while_another_thread_records():
    """The attribute that it changes in place holds a traced value then."""
    module = Slow()
    f = wg.compile(module)
    f(wg.ones(1)), f(wg.ones(1))
    other = threading.Thread(target=f, args=(wg.ones(3),))
    other.start()
    module.begun.wait()
    f(wg.ones(1))
    other.join()
    assert module.h.item() == 6.0


class Saved(nn.Module):
    """Keeps what its forward made until the loss is taken."""

    def __init__(self):
        self.linear = nn.Linear(2, 1)
        self.rewards, self.named = [], {}

    def forward(self, x):
        out = self.linear(x)
        self.rewards.append(out.sum())
        self.named["out"] = out
        return out


def test_containers_that_are_filled_and_emptied():
    module = Saved()

    @wg.compile
    def episode(x):
        for _ in range(3):
            module(x)
        loss = sum(module.rewards) + module.named["out"].sum()
        module.rewards, module.named = [], {}
        return loss

    x = wg.ones((4, 2))
    for _ in range(3):
        assert episode(x).item() == pytest.approx(4 * module.linear(x).sum().item())
        module.rewards, module.named = [], {}
    assert episode.cache_info().misses == 1
