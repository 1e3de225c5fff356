"""Attributes that a compiled call binds anew, seen by those who look at them between calls."""

import functools
import threading
import time
import warnings

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


def failed(change):
    """What a call raises that ends with ``change``."""

    def f(x):
        change(x)
        float(x.sum())

    with pytest.raises(wg.TraceError) as raised:
        wg.compile(f)(wg.ones((2, 2)))
    return str(raised.value)


def test_a_refused_conversion_leaves_the_module_usable():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].register_buffer("steps", wg.zeros(2, dtype="int64"))
    before, x = dict(vars(module[0])), wg.ones((2, 2))
    expected = module(x).tolist()
    with pytest.raises(wg.TraceError, match=r"binds Linear\.(weight|bias) to a new leaf"):
        wg.compile(lambda x: module.astype("float64")(x.astype("float64")))(x)
    assert "a traced value has no number" in failed(lambda x: module.astype("float64"))
    assert vars(module[0]).keys() == before.keys()
    assert all(vars(module[0])[name] is value for name, value in before.items())
    assert module(x).tolist() == expected


def test_a_failed_call_leaves_containers_and_buffers_as_they_were():
    module = nn.Sequential(nn.ReLU())
    first = module[0]

    def change(x):
        module.append(nn.Tanh())
        module[0] = nn.Tanh()
        module.register_buffer("q", x * 2.0, persistent=False)

    failed(change)
    assert list(module) == [first] and not hasattr(module, "q")
    assert module.state_dict() == {} and list(module.buffers()) == []
    module.register_buffer("q", wg.ones(2))
    assert list(module.state_dict()) == ["q"]


def test_calls_that_change_containers():
    """Every call does it, as eager ones do."""
    modules, eager = [nn.Sequential(nn.Linear(2, 2, bias=False)) for _ in range(2)]
    ends = [nn.Linear(2, 2, bias=False) for _ in range(2)]
    eager.load_state_dict(modules.state_dict())

    def stepped(module):
        def f(x):
            module.append(nn.ReLU())
            module[0] = ends[len(module) % 2]
            return module(x)

        return f

    f, x = wg.compile(stepped(modules)), wg.tensor([[1.0, -1.0]])
    weights = [end.weight.tolist() for end in ends]
    for _ in range(4):
        np.testing.assert_allclose(f(x).detach(), stepped(eager)(x).detach(), rtol=1e-6)
        assert [type(m) for m in modules] == [type(m) for m in eager]
        assert modules[0] is eager[0]
    assert [end.weight.tolist() for end in ends] == weights


class Listed(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Linear(2, 2), nn.ReLU()

    def forward(self, x):
        self.layers = [self.a, self.b]
        return self.layers[1](self.layers[0](x))


def test_modules_that_a_call_lists():
    module = Listed()
    f, x = wg.compile(module), wg.ones((2, 2))
    found = [f(x) for _ in range(6)]
    assert f.cache_info().misses == 2
    for y in found:
        np.testing.assert_allclose(y.detach(), module(x).detach(), rtol=1e-6)


class Noting(nn.Module):
    def __init__(self):
        self.scale, self.calls, self.rows, self.note = nn.Parameter([2.0]), 0, 0, None

    def forward(self, x):
        self.calls, self.rows, self.note = self.calls + 1, x.shape[0], [x.shape]
        return x * self.scale


def test_attributes_that_a_call_sets_in_its_arguments():
    """Arguments are copies, as in transforms."""
    module = nn.Sequential(Noting())
    f = wg.compile(lambda module, x: module(x))
    with pytest.warns(UserWarning, match=r"sets Noting.(\w+), Noting.(\w+), Noting.(\w+) of a mod"):
        f(module, wg.ones(3))
    for _ in range(2):
        assert f(module, wg.ones(3)).tolist() == [2.0] * 3
    assert f.cache_info().misses == 1
    assert (module[0].calls, module[0].rows, module[0].note) == (0, 0, None)


def test_attributes_that_a_call_sets_in_what_it_returns():
    f = wg.compile(lambda module, x: (module(x), module)[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = f(Noting(), wg.ones(3))
    assert (found.calls, found.rows, found.note) == (1, 3, [(3,)])


class Doubled(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter([2.0])

    @functools.cached_property
    def twice(self):
        return self.scale * 2.0

    def forward(self, x):
        return x * self.twice


def test_cached_properties():
    module, x = Doubled(), wg.ones(1)
    f = wg.compile(module)
    for _ in range(2):
        with pytest.raises(wg.TraceError, match=r"binds Doubled\.twice to .* write self\.twice = "):
            f(x)
    assert "a traced value has no number" in failed(lambda x: module(x[0]))
    assert "twice" not in vars(module) and module(x).item() == 4.0
    del module.twice
    with wg.no_grad():
        assert [f(x).item() for _ in range(3)] == [4.0] * 3
        assert f.cache_info().hits == 1 and module.twice.item() == 4.0
