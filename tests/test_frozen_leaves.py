"""Leaves that are frozen and thawed between calls of compiled functions, and within them."""

import threading

import pytest
import wengert as wg
from wengert import nn


def thaw(leaf, on):
    leaf.requires_grad = on


def test_gradients_reach_leaves_that_were_frozen_between_calls():
    layer = nn.Linear(2, 1)
    optimizer = wg.optim.SGD(layer.parameters(), lr=0.1)
    backward = wg.compile(lambda x: layer(x).sum().backward())
    x = wg.ones((1, 2))
    for _ in range(5):
        before = layer.weight.tolist()
        backward(x)
        optimizer.step()
        optimizer.zero_grad()
        assert layer.weight.tolist() != before
        layer.requires_grad_(False)
        layer(x)
        layer.requires_grad_(True)
    assert backward.cache_info().misses == 1


def test_a_step_reads_the_gradient_of_now():
    p = nn.Parameter([0.0])
    optimizer = wg.optim.SGD([p], lr=1.0)
    step = wg.compile(lambda: optimizer.step())
    (p * 1).sum().backward()
    step()
    step()
    assert p.item() == -2.0
    thaw(p, False)
    assert p.grad is None
    step()
    thaw(p, True)
    assert p.grad is None
    step()
    assert p.item() == -2.0
    (p * 100).sum().backward()
    step()
    assert p.item() == -102.0


def test_a_graph_from_before_still_leads_to_the_leaf():
    p = nn.Parameter([1.0])
    loss = (p * 3.0).sum()
    thaw(p, False)
    thaw(p, True)
    (p * 2.0).sum().backward()
    loss.backward()
    assert p.grad.tolist() == [5.0]


READERS = {
    "step": lambda a, b, optimizer: optimizer.step(),
    "clip": lambda a, b, optimizer: wg.optim.clip_grad_norm([a, b], 1.0),
    "grad": lambda a, b, optimizer: wg.zeros(()) if b.grad is None else b.grad.sum(),
    "zero_grad": lambda a, b, optimizer: optimizer.zero_grad(),
    "requires_grad": lambda a, b, optimizer: wg.full((), float(b.requires_grad)),
    "grad_fn": lambda a, b, optimizer: wg.full((), float((b * 2.0).grad_fn is not None)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_recordings_made_while_a_leaf_was_frozen(read):
    """A gradient that was missing may be there when the flag is set."""
    found = []
    for wrap in (lambda f: f, wg.compile):
        a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
        thaw(b, False)
        optimizer = wg.optim.SGD([a, b], lr=0.5)
        call = wrap(lambda a=a, b=b, optimizer=optimizer: read(a, b, optimizer))
        rows = []
        for on in (False, True, True, False, True, False):
            thaw(b, on)
            (a * 3 + b * 4).sum().backward()
            result = call()
            grads = [None if p.grad is None else p.grad.tolist() for p in (a, b)]
            number = None if result is None else float(result)
            rows.append((number, grads, a.item(), b.item()))
        found.append(rows)
    assert found[0] == found[1]


def test_a_step_that_freezes_and_thaws():
    """Two players in one compiled step."""
    found = []
    x = wg.ones((3, 2))
    for wrap in (lambda f: f, wg.compile):
        wg.random.seed(0)
        maker, judge = nn.Linear(2, 2), nn.Linear(2, 1)
        first = wg.optim.SGD(maker.parameters(), lr=0.1)
        second = wg.optim.SGD(judge.parameters(), lr=0.1)

        def step(x, maker=maker, judge=judge, first=first, second=second):
            judge.requires_grad_(False)
            judge(maker(x)).sum().backward()
            first.step()
            judge.requires_grad_(True)
            maker.requires_grad_(False)
            loss = wg.square(judge(maker(x))).sum()
            loss.backward()
            second.step()
            maker.requires_grad_(True)
            first.zero_grad()
            second.zero_grad()
            return loss

        call = wrap(step)
        losses = [call(x).item() for _ in range(5)]
        found.append([*losses, maker.weight.numpy(), judge.weight.numpy()])
    for eager, compiled in zip(*found):
        assert eager == pytest.approx(compiled, rel=1e-5)


def test_hooks_that_come_and_go():
    p = nn.Parameter([1.0])
    backward = wg.compile(lambda x: (p * x).sum().backward())

    def gradient():
        p.grad = None
        backward(2.0)
        return p.grad.item()

    assert gradient() == 2.0
    handle = p.register_hook(lambda g: g * 10)
    assert gradient() == gradient() == 20.0
    handle.remove()
    handle.remove()
    assert gradient() == gradient() == 2.0
    assert backward.cache_info().misses == 2


def test_a_step_that_ends_frozen():
    found = []
    for wrap in (lambda f: f, wg.compile):
        p = nn.Parameter([1.0])

        def step(x, p=p):
            y = (p * x).sum()
            was = p.requires_grad
            p.requires_grad_(False)
            return y * 2.0 if was else y * 3.0

        call = wrap(step)
        found.append([call(wg.ones(1)).item() for _ in range(4)])
        assert not p.requires_grad
    assert found[0] == found[1] == [2.0, 3.0, 3.0, 3.0]


def waiting(thaws, change):
    """What f gives after another thread made the change while f was recorded on this one."""
    begun, changed = threading.Event(), threading.Event()

    def pause():
        begun.set()
        assert changed.wait(60)

    def other():
        assert begun.wait(60)
        change()
        changed.set()

    thread = threading.Thread(target=other)
    thread.start()
    thaws(pause)
    thread.join()


def test_another_thread_changes_what_was_read():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale, self.pause = 2.0, lambda: None

        def forward(self, x):
            y = x * self.scale
            self.pause()
            return y

    module, p = Scaled(), nn.Parameter([1.0])
    compiled = wg.compile(lambda x: module(x) + wg.full((), float(p.requires_grad)))

    def record(pause):
        object.__setattr__(module, "pause", pause)
        assert compiled(1.0).item() in (3.0, 4.0)
        object.__setattr__(module, "pause", lambda: None)

    waiting(record, lambda: setattr(module, "scale", 3.0))
    assert compiled(1.0).item() == compiled(1.0).item() == 4.0
    module.scale = 2.0

    def record_flag(pause):
        flagged = wg.compile(lambda x: (x * float(p.requires_grad), pause())[0])
        assert flagged(1.0).item() == 1.0
        begun.append(flagged)

    begun = []
    waiting(record_flag, lambda: setattr(p, "requires_grad", False))
    assert begun[0].cache_info().size == 0


def test_threads_that_record_for_long_take_turns(monkeypatch):
    """Recordings of one state wait for each other for as long as they go on."""

    class Adding(nn.Module):
        def __init__(self):
            self.total = wg.zeros(())

        def forward(self, x):
            for _ in range(6):
                x = x + 0.0
                threading.Event().wait(0.08)
            self.total = self.total + x.sum()
            return self.total

    monkeypatch.setattr(wg.side_effects, "_PATIENCE", 0.2)
    module, errors = Adding(), []

    def work(size):
        try:
            wg.compile(lambda x: module(x))(wg.ones(size))
        except wg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and module.total.item() == 3.0


@pytest.mark.parametrize("fails", [False, True])
def test_two_steps_that_freeze_each_other(fails):
    """Each is recorded once and leaves the flags as an eager call does, also one that fails."""
    found = []
    x = wg.ones((3, 2))
    for wrap in (lambda f: f, lambda f: wg.compile(f, static_argnums=1)):
        wg.random.seed(0)
        layers = nn.Linear(2, 2), nn.Linear(2, 1)
        optimizers = [wg.optim.SGD(layer.parameters(), lr=0.01) for layer in layers]

        def step(x, own, failing, layers=layers, optimizers=optimizers):
            for i, layer in enumerate(layers):
                layer.requires_grad_(i == own)
            loss = wg.square(layers[1](layers[0](x)) - own).sum()
            if failing:
                raise ValueError
            loss.backward()
            optimizers[own].step()
            optimizers[own].zero_grad()
            return loss

        steps = [wrap(lambda x, failing, i=i: step(x, i, failing)) for i in (0, 1)]
        rows = []
        for _ in range(6):
            for call in steps:
                flags = [layer.weight.requires_grad for layer in layers]
                if fails:
                    with pytest.raises(ValueError):
                        call(x, True)
                    if found:  # compiled
                        assert flags == [layer.weight.requires_grad for layer in layers]
                rows.append(call(x, False).item())
                rows += [layer.weight.requires_grad for layer in layers]
        found.append([*rows, *(layer.weight.numpy() for layer in layers)])
    for eager, compiled in zip(*found):
        assert eager == pytest.approx(compiled, rel=1e-5)
    assert sum(call.cache_info().misses for call in steps) - 12 * fails <= 3


def thawed_again(p, q, x):
    p.requires_grad_(False)
    y = (p * x).sum()
    p.requires_grad_(True)
    return (p * x).sum() + y


def thawed(p, q, x):
    p.requires_grad_(True)
    return (p * x * q).sum()


def frozen_at_the_end(p, q, x):
    y = (p * x * q).sum()
    p.requires_grad_(False)
    return y


def turned(p, q, x):
    was = p.requires_grad
    p.requires_grad_(not was)
    return (x * 2.0 if was else x * 3.0).sum()


def set_to_what_it_is(p, q, x):
    p.requires_grad_(True)
    q.requires_grad_(False)
    return x.sum()


@pytest.mark.parametrize(
    "f",
    [thawed_again, thawed, frozen_at_the_end, turned, set_to_what_it_is],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("start", [None, False, True])
@pytest.mark.parametrize("how", ["call", "run"])
def test_flags_within_a_call(f, start, how):
    """Histories that are swept outside, flags and attributes are as eager calls leave them."""
    found = []
    for wrap in (lambda f: f, wg.compile):
        p, q, note = nn.Parameter([2.0]), nn.Parameter([3.0]), nn.Identity()
        rows = []

        def step(x, p=p, q=q, note=note):
            note.calls = getattr(note, "calls", 0.0)
            y = f(p, q, x)
            note.rows = x.shape[0]
            return y

        call = wrap(step)
        for i in range(5):
            if start is not None:
                thaw(p, start)
            p.grad = q.grad = None
            x = wg.ones(2) * (i + 1.0)
            if how == "run" and wrap is wg.compile:
                y = call.run(x, steps=2)[1]
            else:
                y = [call(x) for _ in range(1 + (how == "run"))][-1]
                rows.append(y.requires_grad) if how == "call" else None
            if y.requires_grad and how == "call":
                y.backward()
            rows += [p.requires_grad, q.requires_grad, note.rows, y.item()]
            rows += [None if leaf.grad is None else leaf.grad.tolist() for leaf in (p, q)]
        found.append(rows)
    assert found[0] == found[1]


def test_hooks_of_other_leaves_record_nothing():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    first, second = (wg.compile(lambda x, leaf=leaf: (leaf * x).sum()) for leaf in (p, q))
    for _ in range(5):
        handle = p.register_hook(lambda g: g * 2)
        first(wg.ones(1)).backward()
        handle.remove()
        second(wg.ones(1)).backward()
    assert p.grad.item() == 10.0 and second.cache_info().misses == 1
