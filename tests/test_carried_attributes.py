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


class Shaped(nn.Module):
    """Numbers, names and shapes that each call sets."""

    def __init__(self):
        self.kind = None

    def forward(self, x):
        self.rows, self.shape, self.kind = x.shape[0], x.shape, "wide" if x.shape[0] > 2 else "tall"
        self.last = -1 if self.rows == 2 else -2
        return x.sum() * self.rows + len(self.shape) + self.last


def attributes(module):
    return {k: v for k, v in vars(module).items() if not k.startswith("_")}


@pytest.mark.parametrize("how", ["called", "run"])
def test_replays_set_what_the_call_sets(how):
    module, eager = Shaped(), Shaped()
    compiled = wg.compile(module)
    for i in range(12):
        x = wg.ones((2 + i % 3, 2)) * float(i)
        if how == "run":
            (y,) = compiled.run(x[None])
        else:
            y = compiled(x)
        if i % 4 == 3:
            module.rows, module.shape, module.kind = 17, (), "other"  # before a replay
            compiled(x)
        assert y.item() == eager(x).item() and attributes(module) == attributes(eager)
    assert compiled.cache_info().misses == 3


def test_what_a_call_sets_is_not_what_it_read():
    class Reading(nn.Module):
        def __init__(self):
            self.rows = 1

        def forward(self, x):
            y = x.sum() * self.rows
            self.rows = x.shape[0]
            return y

    module = Reading()
    compiled = wg.compile(module)
    with pytest.warns(UserWarning, match="Reading.rows from 1 to 3"):
        assert compiled(wg.ones(3)).item() == 3.0
    assert compiled(wg.ones(3)).item() == 3.0  # as the warning says
    module.rows = 5
    with pytest.warns(UserWarning, match="Reading.rows from 5 to 3"):
        assert compiled(wg.ones(3)).item() == 15.0


def test_others_see_what_a_replay_sets():
    module = Shaped()
    setting, reading = wg.compile(lambda x: module(x)), wg.compile(lambda x: x * module.rows)
    for rows in (2, 3, 2, 3, 2, 3):
        setting(wg.ones((rows, 2)))
        assert reading(1.0).item() == rows
    assert reading.cache_info().misses == 2
    with pytest.raises(wg.ShapeError):
        wg.compile(lambda x: module(x) + wg.ones(4))(wg.ones((5, 2)) @ wg.ones((3, 2)))
    assert module.rows == 3
    del module.rows
    setting(wg.ones((3, 2)))
    assert module.rows == 3
