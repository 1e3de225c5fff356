"""A compiled call that raises changes nothing; a run that does has made the steps before."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

armed = {"forward": False, "backward": False}


def fails(where):
    if armed[where]:
        raise FloatingPointError(where)


@wg.primitive
def guarded(x):
    fails("forward")
    return np.tanh(x)


@wg.primitive
def passed_back(g):
    fails("backward")
    return g


@guarded.def_vjp
def _(g, y, x):
    return (passed_back(g * (1 - y * y)),)


@pytest.fixture(autouse=True)
def disarmed():
    yield
    armed.update(forward=False, backward=False)


def snapshot(model, optimizer, *more):
    state = wg.tree.leaves([model.state_dict(), optimizer.state_dict(), *more])
    return [np.array(x) for x in state] + [optimizer.steps]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("exact", [False, True])
def test_a_primitive_that_fails(where, exact):
    wg.random.seed(0)
    model = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 40), nn.Linear(40, 2)])
    optimizer = wg.optim.Adam(model.parameters(), lr=0.1)
    calls = wg.zeros(())

    @wg.compile(exact=exact)
    def step(x):
        calls.assign(calls + 1)
        y = model[2](model[1](guarded(model[0](x))))
        (y * y).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return model[2].bias

    x = wg.ones((5, 3))
    for _ in range(2):
        step(x)
    before = snapshot(model, optimizer, calls)
    armed[where] = True
    with pytest.raises(FloatingPointError):
        step(x)
    with pytest.raises(FloatingPointError):
        step.run(x, steps=3)
    assert_same(snapshot(model, optimizer, calls), before)
    armed[where] = False
    step(x)
    assert float(calls) == 3


def test_an_index_out_of_range_before_the_update():
    names = wg.tensor([10.0, 20.0, 30.0])
    model = nn.Linear(3, 3)
    optimizer = wg.optim.SGD(model.parameters(), lr=0.1)

    @wg.compile
    def step(x, y, i):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        picked = names[i]
        optimizer.step()
        optimizer.zero_grad()
        return loss, picked

    x, y = wg.ones((4, 3)), wg.tensor([0, 1, 2, 0])
    step(x, y, wg.tensor(0))
    before = snapshot(model, optimizer)
    with pytest.raises(IndexError):
        step(x, y, wg.tensor(7))
    with pytest.raises(IndexError, match="target"):
        step(x, wg.tensor([0, 1, 5, 0]), wg.tensor(0))
    assert_same(snapshot(model, optimizer), before)


def test_a_loop_of_the_reverse_sweep_that_fails():
    wg.random.seed(0)
    model = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 8)])
    optimizer = wg.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    @wg.compile
    def step(x):
        h, _ = wg.scan(lambda h, _: (guarded(h * 1.01), None), model[0](x), None, length=5)
        loss = (model[1](h) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x = wg.ones((2, 6))
    for _ in range(2):
        step(x)
    before = snapshot(model, optimizer)
    armed["backward"] = True
    with pytest.raises(FloatingPointError):
        step(x)
    assert_same(snapshot(model, optimizer), before)


def test_a_run_that_fails_keeps_all_of_the_steps_before():
    def trained(rows):
        wg.random.seed(0)
        table, model = wg.ones((5, 3)), nn.Linear(3, 1)
        optimizer = wg.optim.SGD(model.parameters(), lr=0.1)
        total, turned = wg.zeros(()), wg.zeros((3, 2)).T

        @wg.compile
        def step(i):
            loss = (model(table[i]) ** 2).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total.assign(total + 1)
            turned.assign(turned + table[i][:2])
            return loss, model.weight, total

        step(wg.tensor([0, 0]))
        if 9 in rows:
            with pytest.raises(IndexError):
                step.run(wg.tensor([[i, i] for i in rows]))
        else:
            step.run(wg.tensor([[i, i] for i in rows]))
        return snapshot(model, optimizer, total, turned)

    assert_same(trained([0, 1, 2, 9]), trained([0, 1, 2]))
    assert_same(trained([1, 9, 2, 3]), trained([1]))


def test_updates_wait_for_what_may_fail_and_no_longer():
    """Parameters are written where they are: no copies for the usual order of a step."""
    model = nn.Sequential(nn.Embedding(7, 100), nn.Linear(100, 7))
    optimizer = wg.optim.SGD(model.parameters(), lr=0.1)

    @wg.compile
    def step(x, y):
        nn.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    x = wg.tensor([0, 1, 2, 3])
    step(x, x)
    before = wg.memory.live_bytes()
    held = wg.compile(step.__wrapped__)
    held(x, x)
    parameters = sum(4 * p.size for p in model.parameters())
    assert wg.memory.live_bytes() - before < 1.9 * parameters  # gradients, and what is on the way


@pytest.mark.parametrize("fails", [False, True])
def test_only_what_can_fail_keeps_updates_waiting(fails):
    """A branch that cannot raise leaves them where they are written: no room for their copies."""
    state, table = wg.zeros(10_000), wg.ones(7)

    @wg.compile
    def step(i):
        state.assign(state + 1)
        return wg.cond(i > 3, lambda: table[i] if fails else wg.sin(table[0]), lambda: table[1])

    step(wg.tensor(1))
    before = wg.memory.live_bytes()
    again = wg.compile(step.__wrapped__)
    again(wg.tensor(1))
    assert (wg.memory.live_bytes() - before >= 40_000) is fails
    if fails:
        with pytest.raises(IndexError):
            again(wg.tensor(9))
    assert state[0].item() == 2


def test_batches_that_batch_norm_refuses_do_not_count():
    layer = nn.BatchNorm1d(2)
    with pytest.raises(wg.ArgumentError):
        layer(wg.ones((1, 2)))
    with pytest.raises(wg.TraceError, match="running statistics"):
        wg.vmap(layer)(wg.ones((3, 4, 2)))
    assert layer.num_batches_tracked.item() == 0
    layer(wg.ones((4, 2)))
    assert layer.num_batches_tracked.item() == 1
