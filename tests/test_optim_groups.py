"""Which parameters an optimiser has, and which counts and states go with them: changed between
steps, eagerly and in compiled ones."""

import copy
import gc

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

RULES = {
    "momentum": lambda groups: optim.SGD(groups, lr=0.25, momentum=0.5),
    "adam": lambda groups: optim.Adam(groups, lr=0.25, amsgrad=True),
    "rmsprop": lambda groups: optim.RMSProp(groups, lr=0.25, momentum=0.5),
}


def training(name, changes, compiled):
    """Values of three parameters after steps with other gradients each, of which the second comes
    after `changes`."""
    params = [nn.Parameter([float(i + 1), 2.0]) for i in range(3)]
    optimizer = RULES[name]([{"params": params[:1]}, {"params": params[1:]}])

    def step(x):
        loss = sum(((i + 1) * x * p * p).sum() for i, p in enumerate(params))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step = wg.compile(step) if compiled else step
    for t in range(4):
        if t == 1:
            changes(optimizer, params)
        step(wg.tensor([1.0, t + 1.0]))
    return [p.tolist() for p in params], optimizer


def nothing(optimizer, params):
    pass


def turned(optimizer, params):
    optimizer.param_groups.reverse()


def replaced(optimizer, params):
    optimizer.param_groups[1] = dict(optimizer.param_groups[1], maximize=False)


def moved(optimizer, params):
    first, second = optimizer.param_groups
    first["params"].append(second["params"].pop(0))


def joined(optimizer, params):
    optimizer.param_groups = [dict(optimizer.param_groups[0], params=params)]


def put_back(optimizer, params):
    optimizer.param_groups.insert(0, optimizer.param_groups.pop())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("changes", [turned, replaced, moved, joined, put_back])
def test_states_follow_their_parameters(changes, name, compiled):
    found, optimizer = training(name, changes, compiled)
    expected, _ = training(name, nothing, False)
    np.testing.assert_array_equal(found, expected)
    counts = [n for group in optimizer.state_dict()["groups"] for n in group["counts"].tolist()]
    assert counts == [4, 4, 4]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_a_group_taken_out_leaves_the_others_what_is_theirs(name, compiled):
    found, _ = training(name, lambda optimizer, params: optimizer.param_groups.pop(0), compiled)
    expected, _ = training(name, nothing, False)
    assert found[1:] == expected[1:] and found[0] != expected[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_new_parameter_begins(compiled):
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25, momentum=0.5)

    def step():
        (p * 2.0 + q * 2.0).sum().backward()
        optimizer.step()
        p.grad = q.grad = None

    step = wg.compile(step) if compiled else step
    step()
    assert (p.tolist(), q.tolist()) == ([0.5], [1.0])
    optimizer.param_groups[0]["params"][0] = q
    step()
    assert (p.tolist(), q.tolist()) == ([0.5], [0.5])
    optimizer.param_groups[0]["params"] = [p, q]
    step()  # the momentum of both is 2
    assert (p.tolist(), q.tolist()) == ([-0.25], [-0.25])
    optimizer.param_groups.clear()
    step()
    assert (p.tolist(), q.tolist()) == ([-0.25], [-0.25])
    optimizer.add_param_group({"params": [q]})
    step()  # 3.5
    assert (p.tolist(), q.tolist()) == ([-0.25], [-1.125])


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_no_parameter_is_refused(compiled):
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25)
    step = wg.compile(optimizer.step) if compiled else optimizer.step
    p.grad = wg.tensor([1.0])
    group = optimizer.param_groups[0]
    with pytest.raises(wg.Error, match="iterable of tensors"):
        group["params"] = 3
    with pytest.raises(wg.Error, match="leaves"):
        group["params"] = [p * 2.0]
    assert group["params"] == [p]
    for change in (
        lambda: optimizer.param_groups.append({"lr": 1.0}),
        lambda: setattr(optimizer, "param_groups", [p]),
    ):
        with pytest.raises(wg.Error, match="a dict with 'params'"):
            change()
    assert optimizer.param_groups == [group]
    for change in (lambda: group.pop("params"), group.clear, lambda: group.__delitem__("params")):
        with pytest.raises(wg.Error, match="keeps its 'params'"):
            change()
    optimizer.param_groups[0] = {"params": [p]}
    with pytest.raises(wg.Error, match="a group lacks lr, momentum"):
        step()
    assert repr(optimizer).startswith("SGD(")
    optimizer.param_groups[0] = group
    group["params"].append(p)
    with pytest.raises(wg.Error, match="more than once"):
        step()
    with pytest.raises(wg.Error, match="got a str"):
        group["params"][1] = "w"
    assert group["params"] == [p, p]
    assert p.tolist() == [1.0] and optimizer.steps == 0
    del group["params"][1]
    step()
    assert p.tolist() == [0.75] and optimizer.steps == 1


def test_parameters_moved_behind_a_step_of_the_same_call():
    params = [nn.Parameter([1.0]), nn.Parameter([1.0])]
    optimizer = optim.SGD([{"params": [p]} for p in params], lr=0.25, momentum=0.5)

    @wg.compile
    def twice():
        for p in params:
            p.grad = wg.ones(1)
        optimizer.step()
        first, second = optimizer.param_groups
        first["params"].append(second["params"].pop())
        optimizer.step()

    with pytest.raises(wg.TraceError, match="between its calls"):
        twice()


def trained(optimizer, params, times):
    for _ in range(times):
        for p in params:
            p.grad = wg.ones_like(p)
        optimizer.step()


def test_a_group_that_comes_back_goes_on_from_where_its_parameters_are():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer, plain = optim.Adam([p], lr=0.1), optim.Adam([q], lr=0.1)
    group = optimizer.param_groups[0]
    trained(optimizer, [p], 3)
    optimizer.param_groups[0] = dict(group, lr=0.01)
    trained(optimizer, [p], 3)
    optimizer.param_groups[0] = group
    trained(optimizer, [p], 1)
    for lr, times in ((0.1, 3), (0.01, 3), (0.1, 1)):
        plain.param_groups[0]["lr"] = lr
        trained(plain, [q], times)
    assert p.tolist() == q.tolist() and group.counts.tolist() == [7]


def test_a_parameter_taken_out_and_added_again_goes_on():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([p, q], lr=0.25, momentum=0.5)
    trained(optimizer, [p, q], 2)
    optimizer.param_groups[0]["params"].pop()
    trained(optimizer, [p], 1)
    optimizer.param_groups[0]["params"].reverse()
    optimizer.add_param_group({"params": [q]})
    trained(optimizer, [p, q], 1)
    assert [group.counts.tolist() for group in optimizer.param_groups] == [[4], [3]]
    assert q.tolist() == [1.0 - 0.25 * (1.0 + 1.5 + 1.75)]


def test_a_copy_of_a_group_has_its_own_rate():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25)
    step = wg.compile(optimizer.step)
    other = copy.copy(optimizer.param_groups[0])
    other["params"], other["lr"] = [q], 0.5
    optimizer.param_groups.append(other)
    p.grad = q.grad = wg.ones(1)
    step()
    assert (p.tolist(), q.tolist()) == ([0.75], [0.5])


def test_a_group_twice_is_refused():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.25)
    trained(optimizer, [p], 1)
    optimizer.param_groups.append(optimizer.param_groups[0])
    with pytest.raises(wg.Error, match="more than once"):
        trained(optimizer, [p], 1)
    with pytest.raises(wg.Error, match="takes a list of dicts"):
        optimizer.param_groups = None


def test_a_list_of_parameters_stays_the_group_s():
    p, q, r = (nn.Parameter([1.0]) for _ in range(3))
    optimizer = optim.SGD([p], lr=0.25)
    params = optimizer.param_groups[0]["params"]
    for new in (q, ("r", r)):
        params.append(new)
        trained(optimizer, [p, q, r], 1)
    assert [x.item() for x in (p, q, r)] == [0.5, 0.5, 0.75]


def test_what_is_gone_is_not_kept():
    p = nn.Parameter(np.zeros(10))
    optimizer = optim.Adam([p], lr=0.25)

    def with_another():
        optimizer.add_param_group({"params": [nn.Parameter(np.zeros(1000))]})
        trained(optimizer, optimizer.param_groups[1]["params"], 1)
        optimizer.param_groups.pop()
        trained(optimizer, [p], 1)
        gc.collect()
        return wg.memory.live_bytes()

    assert with_another() == with_another()


def test_states_of_the_users_own_follow_too():
    class Slow(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.25})

        def _update(self, group, lr):
            with wg.no_grad():
                for p, seen in zip(group["params"], group.state("seen")):
                    seen += p.grad
                    p -= lr * seen

    p, q = nn.Parameter([0.0]), nn.Parameter([0.0])
    optimizer = Slow([p, q])
    trained(optimizer, [p, q], 2)
    optimizer.param_groups[0]["params"].reverse()
    trained(optimizer, [p, q], 1)
    assert p.item() == q.item() == -0.25 * (1 + 2 + 3)


@pytest.mark.parametrize("changes", [replaced, moved, turned])
def test_a_change_records_once(changes):
    params = [nn.Parameter([1.0, 2.0]) for _ in range(3)]
    optimizer = RULES["adam"]([{"params": params[:1]}, {"params": params[1:]}])
    step = wg.compile(optimizer.step)
    for p in params:
        p.grad = wg.ones(2)
    step()
    changes(optimizer, params)
    for _ in range(3):
        step()
    assert step.cache_info().misses == 2
