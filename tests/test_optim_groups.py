"""Which parameters an optimiser has, and which counts and states go with them: changed between
steps, eagerly and in compiled ones."""

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
    step()  # the momentum of p was given up with it; that of q is 2
    assert (p.tolist(), q.tolist()) == ([0.0], [-0.25])


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
    group["params"].append(p)
    with pytest.raises(wg.Error, match="more than once"):
        step()
    group["params"][1] = "w"
    with pytest.raises(wg.Error, match="got a str"):
        step()
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
