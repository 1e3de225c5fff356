"""What lets a training step be compiled: updates as operations, schedules of tensors, groups that
say what changes. Compiled steps have the bits of eager ones."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import wengert as wg
from test_optim import OPTIONS, gradients, parameters, run
from wengert import nn, optim

ROW_OPTIONS = [(kind, options) for kind, _, options in OPTIONS if "lr" in options]


def bits(tensors):
    return [np.asarray(t.detach().numpy()).tobytes() for t in tensors]


@pytest.mark.parametrize(("kind", "options"), ROW_OPTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_have_the_bits_of_eager_steps(kind, options, dtype):
    params = parameters(dtype)
    optimizer = kind(params, **options)
    run(optimizer, params, range(2), dtype)
    grads = [wg.tensor(g) for g in gradients(2, dtype)]
    row, attributes, names = optimizer._row(optimizer.param_groups[0])
    states = [optimizer.param_groups[0].state(name) for name in names]
    group = [[p.detach(), g, *own] for p, g, *own in zip(params, grads, *states)]
    lr = options["lr"](2) if callable(options["lr"]) else options["lr"]
    rate, counts = wg.tensor(lr, dtype=wg.float64), optimizer.param_groups[0].counts
    plain = [x for tensors in group for x in tensors]
    which = range(len(params))
    made = row(rate, counts, *plain, which=which, states=len(names), **attributes)
    back = [x.numpy()[..., ::-1].copy()[..., ::-1] if x.ndim else x.numpy() for x in plain]
    again = row(rate, counts, *back, which=which, states=len(names), **attributes)
    before = bits(plain)
    run(optimizer, params, [2], dtype)
    targets = [counts] + [x for p, _, *own in group for x in (p, *own)]
    assert bits(made) == bits(again) == bits(targets)
    assert bits(plain) != before


@pytest.mark.parametrize(("kind", "options"), [(kind, options) for kind, _, options in OPTIONS])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compiled_steps_have_the_bits_of_eager_ones(kind, options, dtype):
    """The values of a compiled step take over the memory of those that they replace."""
    found = []
    for compiled in (False, True):
        params = parameters(dtype)
        idle = nn.Parameter(np.ones(3, dtype))
        optimizer = kind([{"params": [idle, *params]}], **options)

        def step(*grads, params=params, optimizer=optimizer):
            for p, g in zip(params, grads):
                p.grad = g
            norm = optim.clip_grad_norm(params, 1.5)
            optimizer.step()
            return norm

        call = wg.compile(step) if compiled else step
        norms = [float(call(*map(wg.tensor, gradients(i, dtype)))) for i in range(7)]
        states = [x for own in optimizer.param_groups[0].states.values() for x in own]
        found.append(
            (
                norms,
                bits([*params, *states]),
                bits([optimizer.param_groups[0].counts]),
                optimizer.steps,
            )
        )
        assert idle.tolist() == [1.0] * 3
        if compiled:
            assert call.cache_info().hits > 0
    assert found[0] == found[1]
    assert found[0][3] == 7 and optimizer.param_groups[0].counts.tolist() == [0, 7, 7, 7]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n", [5, 50_000])
def test_a_gradient_in_the_memory_of_another_parameter(compiled, n):
    first, second = nn.Parameter(np.full(n, 2.0)), nn.Parameter(np.ones(n))
    optimizer = optim.SGD([first, second], lr=0.5)

    def step():
        first.grad, second.grad = first.detach(), first.detach()
        optimizer.step()

    (wg.compile(step) if compiled else step)()
    assert set(first.tolist()) == {1.0} and set(second.tolist()) == {0.0}


SCHEDULES = {
    "constant": optim.constant(0.1),
    "linear": optim.linear(0.1, 0.013, 7),
    "cosine": optim.cosine(0.1, 9, end=0.007),
    "warmup": optim.warmup(3, optim.cosine(0.3, 6)),
    "warmup to a number": optim.warmup(7, 0.3),
    "warmup of warmup": optim.warmup(2, optim.warmup(3, optim.linear(0.3, 0.1, 3))),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_on_tensors_have_the_bits_of_those_on_ints(name):
    schedule = SCHEDULES[name]
    compiled = wg.compile(lambda step: wg.asarray(schedule(step), dtype=wg.float64))
    for step in range(14):
        rate = schedule(step)
        assert isinstance(rate, float)
        on_tensor = schedule(wg.tensor(step))
        if isinstance(on_tensor, wg.Tensor):
            assert (on_tensor.dtype, on_tensor.shape) == (wg.float64, ())
        assert float(on_tensor) == rate
        assert compiled(wg.tensor(step)).item() == rate


def test_a_rate_set_in_a_group_reaches_a_compiled_step():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.5)
    group = optimizer.param_groups[0]

    @wg.compile
    def step():
        p.grad = wg.ones(1)
        optimizer.step()

    step()
    epoch = wg._core._options_epoch()
    group["lr"] = 0.25
    step()
    group.update(lr=0.125)
    group |= {"lr": 0.0625}
    step()
    assert p.tolist() == [0.1875]
    assert wg._core._options_epoch() == epoch
    group["maximize"] = True
    assert wg._core._options_epoch() != epoch
    step()
    assert p.tolist() == [0.25]
    group["lr"] = lambda steps: wg.where(steps > 4, 1.0, 0.5)
    step()
    step()
    assert p.tolist() == [1.75]
    group["lr"] = wg.tensor(2.0)
    step()
    group["lr"].assign(4.0)
    step()
    assert p.tolist() == [7.75] and optimizer.steps == 8


READS = {
    "item": lambda group: group["lr"],
    "get": lambda group: group.get("lr"),
    "setdefault": lambda group: group.setdefault("lr", 7.0),
    "items": lambda group: next(value for key, value in group.items() if key == "lr"),
    "values": lambda group: list(group.values())[1],
    "dict": lambda group: dict(group)["lr"],
    "unpacked": lambda group: {**group}["lr"],
    "keywords": lambda group: (lambda lr, **others: lr)(**group),
    "copy": lambda group: group.copy()["lr"],
    "union": lambda group: (group | {})["lr"],
    "reflected union": lambda group: ({} | group)["lr"],
    "equality": lambda group: 0.5 if group == {**group, "lr": 0.5} else 0.25,
}


@pytest.mark.parametrize("name", READS)
def test_a_rate_that_a_compiled_function_reads(name):
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    group = optimizer.param_groups[0]
    f = wg.compile(lambda x: x * READS[name](optimizer.param_groups[0]))
    for lr in (0.5, 0.25, 0.5, 0.25):
        group["lr"] = lr
        assert f(wg.ones(1)).item() == lr
    assert f.cache_info().misses == 2


def test_a_rate_in_an_update_by_hand():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.5)

    @wg.compile
    @wg.no_grad()
    def step():
        for group in optimizer.param_groups:
            for q in group["params"]:
                q.assign(q - group["lr"])
        optimizer.zero_grad()

    for lr in (0.5, 0.25, 0.25, 0.5):
        optimizer.param_groups[0].update(lr=lr)
        step()
    assert p.tolist() == [-0.5] and step.cache_info().misses == 2


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSProp])
def test_a_step_is_not_recorded_anew_for_another_rate(kind):
    p = nn.Parameter([1.0])
    optimizer = kind([p], lr=0.5)

    @wg.compile
    def step():
        optimizer.zero_grad()
        (p * p).sum().backward()
        for group in optimizer.param_groups:
            optim.clip_grad_norm(group["params"], 10.0)
        optimizer.step()

    step()
    optimizer.param_groups[0]["lr"] = 0.25  # before the state is there
    step()
    misses = step.cache_info().misses
    for lr in (0.125, 0.25, 0.5):
        optimizer.param_groups[0]["lr"] = lr
        step()
    assert step.cache_info().misses == misses


def test_a_rate_that_a_compiled_function_sets():
    p = nn.Parameter([0.0])
    optimizer = optim.SGD([p], lr=1.0)

    @functools.partial(wg.compile, static_argnums=0)
    def step(halves):
        p.grad = wg.ones(1)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] / 2 if halves else 1.0
        optimizer.step()

    for halves, expected in ((True, -0.5), (True, -0.75), (False, -1.75), (False, -2.75)):
        step(halves)
        assert p.tolist() == [expected]
    optimizer.param_groups[0]["lr"] = 4.0
    step(False)
    assert p.tolist() == [-3.75] and optimizer.param_groups[0]["lr"] == 1.0


def test_groups_say_what_changes():
    group = optim.SGD([nn.Parameter([1.0])], lr=0.5).param_groups[0]
    assert group.rate.item() == 0.5 and group.rate.dtype == wg.float64

    def changes(act):
        before = wg._core._options_epoch()
        act()
        return wg._core._options_epoch() != before

    assert changes(lambda: group.setdefault("note", 1))
    assert not changes(lambda: group.setdefault("note", 2))
    assert changes(lambda: group.pop("note"))
    assert changes(lambda: group.update(momentum=0.5, nesterov=True))
    assert changes(lambda: group.__setitem__("lr", -1.0))
    assert changes(lambda: group.__setitem__("lr", 0.25))
    assert not changes(lambda: group.__setitem__("lr", 1))
    assert group.rate.item() == 1.0
    assert changes(lambda: group.__delitem__("dampening"))
    assert changes(group.popitem)


def test_a_group_without_an_option_fails():
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    del optimizer.param_groups[0]["momentum"]
    with pytest.raises(wg.ArgumentError, match="lacks momentum"):
        optimizer.step()
    with pytest.raises(wg.ArgumentError, match=r"'alpha' must be between 0 and 1; got 1\.5"):
        optim.RMSProp([nn.Parameter([1.0])], alpha=1.5)


def test_steps_are_counted_in_a_tensor():
    params = parameters()
    optimizer = optim.Adam(params, lr=optim.linear(0.1, 0.0, 10))
    run(optimizer, params, range(3))
    assert type(optimizer.steps) is int and optimizer.steps == 3
    assert type(optimizer.state_dict()["steps"]) is int
    optimizer.steps = 10
    before = bits(params)
    run(optimizer, params, [3])
    assert bits(params) == before
    assert optimizer.steps == 11


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_alone(copied):
    params = parameters()
    optimizer = optim.Adam(params, lr=0.1)
    run(optimizer, params, range(2))
    twin = copied(optimizer)
    twin.param_groups[0]["lr"] = 0.5
    assert (optimizer.param_groups[0].rate.item(), twin.param_groups[0].rate.item()) == (0.1, 0.5)
    run(twin, twin.param_groups[0]["params"], [2])
    assert (optimizer.steps, twin.steps) == (2, 3)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("grad", "max_norm", "norm", "clipped"),
    [
        ([3.0, 4.0], math.inf, 5.0, [3.0, 4.0]),
        ([math.inf, 1.0], 1.0, math.inf, [math.nan, 0.0]),
        ([math.inf, 1.0], math.inf, math.inf, [math.nan, math.nan]),
        ([math.nan, 1.0], 1.0, math.nan, [math.nan, math.nan]),
        ([3.0, 4.0], 0.0, 5.0, [0.0, 0.0]),
    ],
)
def test_clipping_at_the_ends(compiled, grad, max_norm, norm, clipped):
    """The results of torch.nn.utils.clip_grad_norm_."""
    p, without = nn.Parameter(np.zeros(2)), nn.Parameter([1.0])

    def clip(g):
        p.grad = g
        return optim.clip_grad_norm([p, without], max_norm)

    found = (wg.compile(clip) if compiled else clip)(wg.tensor(grad, dtype=wg.float64))
    np.testing.assert_array_equal(float(found), norm)
    np.testing.assert_array_equal(p.grad.numpy(), clipped)
    assert without.grad is None


def test_clipping_nothing_when_compiled():
    p = nn.Parameter([1.0])
    assert wg.compile(lambda: optim.clip_grad_norm([p], 1.0))().item() == 0.0


def test_an_optimiser_of_the_users_own():
    class Sign(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def _update(self, group, lr):
            with wg.no_grad():
                for p in group["params"]:
                    p -= lr * wg.sign(p.grad)

    for compiled in (False, True):
        p = nn.Parameter([1.0, -1.0])
        optimizer = Sign([p], 0.25)

        def step(p=p, optimizer=optimizer):
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()

        call = wg.compile(step) if compiled else step
        for _ in range(3):
            call()
        assert p.tolist() == [0.25, -0.25] and optimizer.steps == 3


@pytest.mark.parametrize("compiled", [False, True])
def test_a_gradient_that_shares_foreign_memory_with_another_parameter(compiled):
    data = np.full(40_000, 2.0)
    first, second = nn.Parameter(wg.asarray(data)), nn.Parameter(np.ones(40_000))
    shared = wg.asarray(data)
    optimizer = optim.SGD([first, second], lr=0.5)

    def step():
        first.grad, second.grad = wg.ones_like(first), shared
        optimizer.step()

    (wg.compile(step) if compiled else step)()
    assert set(data.tolist()) == {1.5} and set(second.tolist()) == {0.0}


def test_loading_equal_options_records_nothing_anew():
    model = nn.Linear(2, 1)
    optimizer = wg.optim.AdamW(model.parameters(), lr=0.1)

    @wg.compile
    def step(x):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(wg.ones((1, 2)))
    for _ in range(4):
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.param_groups[0]["weight_decay"] = optimizer.param_groups[0]["weight_decay"]
        step(wg.ones((1, 2)))
    assert step.cache_info().misses == 1
    optimizer.param_groups[0]["weight_decay"] = 0.5
    step(wg.ones((1, 2)))
    assert step.cache_info().misses == 2


def by_cases(step):
    return 0.1 if step < 3 else 0.01


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rate", [None, "fast", -0.1, float("nan"), (1.0, 2.0), 1j])
def test_a_schedule_that_gives_no_rate_is_named(rate, compiled):
    def schedule(step):
        return rate

    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=schedule)

    def step():
        (p * p).sum().backward()
        optimizer.step()

    with pytest.raises(wg.Error, match=r"^SGD: 'lr' .* from the schedule .*schedule$"):
        (wg.compile(step) if compiled else step)()
    assert p.tolist() == [1.0] and optimizer.steps == 0


def test_a_schedule_that_asks_for_the_number_of_a_traced_step_is_named():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=by_cases)

    @wg.compile
    def step():
        (p * p).sum().backward()
        optimizer.step()

    with pytest.raises(wg.TraceError, match=r"^SGD: 'lr': the schedule by_cases .* wg\.where"):
        step()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: wg.optim.Adam([p], lr=0.1, amsgrad=True),
        lambda p: wg.optim.SGD([p], lr=0.1, momentum=0.9),
        lambda p: wg.optim.RMSProp([p], lr=0.1, centered=True, momentum=0.5),
    ],
)
def test_a_state_from_before_the_first_step_begins_anew(make):
    found = []
    for compiled in (lambda f: f, wg.compile):
        p = wg.tensor([1.0, 2.0], requires_grad=True)
        optimizer = make(p)
        initial = copy.deepcopy(optimizer.state_dict())

        @compiled
        def step(p=p, optimizer=optimizer):
            (p**3).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        for _ in range(2):
            with wg.no_grad():
                p.assign([1.0, 2.0])
            optimizer.load_state_dict(initial)
            for _ in range(3):
                step()
            found.append((p.tolist(), wg.tree.map(np.asarray, optimizer.state_dict())))
    for values, state in found[1:]:
        assert values == found[0][0]
        for a, b in zip(wg.tree.leaves(state), wg.tree.leaves(found[0][1]), strict=True):
            np.testing.assert_array_equal(a, b)
