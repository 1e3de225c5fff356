"""What recordings read of modules, in whatever way, and then changes is noticed."""

import copy
import pickle

import numpy as np
import pytest
import wengert as wg
from wengert import nn

X = wg.tensor([-1.0, 2.0])


class Scale(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter([1.0, 1.0])
        self.factor = None

    def forward(self, x):
        factor = self.factor
        return x * self.weight * (factor[0] if isinstance(factor, list) else factor)


@pytest.mark.parametrize(
    "make",
    [lambda i: wg.tensor([float(i), 1.0]), lambda i: [float(i)], float, lambda i: np.float32(i)],
)
@pytest.mark.parametrize("deletes", [False, True])
def test_attributes_of_a_module_that_is_an_argument(make, deletes):
    """Objects that take the place of others may get their addresses."""
    module, f = Scale(), wg.compile(lambda module, x: module(x))
    with pytest.warns(UserWarning, match="recorded"):
        for i in range(1, 40):
            if deletes:
                del module.factor
            module.factor = make(i)
            assert f(module, X).tolist() == module(X).tolist()
    assert f.cache_info().size < 40  # those of the past are forgotten


def tied(*places):
    """A module whose children a, b, c are these of two."""
    module, layers = nn.Sequential(), [nn.Linear(2, 2), nn.Linear(2, 2)]
    for name, place in zip("abc", places):
        module.add_module(name, layers[place])
    return module


@pytest.mark.parametrize(
    "modules",
    [
        (nn.Sequential(nn.Identity(), nn.ReLU()), nn.Sequential(nn.Identity(), nn.Tanh())),
        (tied(0, 1, 0), tied(0, 1, 1)),
    ],
    ids=["types of children", "children with two names"],
)
def test_modules_of_one_structure_that_compute_differently(modules):
    f = wg.compile(lambda module, x: module(x))
    for module in (*modules, *modules):
        np.testing.assert_allclose(f(module, X), module(X).detach(), rtol=1e-6)
    assert f.cache_info().misses == 2


def test_a_child_of_an_argument_is_replaced():
    module, f = nn.Sequential(nn.Identity(), nn.ReLU()), wg.compile(lambda module, x: module(x))
    f(module, X)
    module[1] = nn.Tanh()
    assert f(module, X).tolist() == module(X).tolist()


def test_attributes_of_a_module_that_is_a_result():
    module = Scale()
    f = wg.compile(lambda x: (module, x * 2.0))
    for factor in (2.0, 5.0, "a"):
        module.factor = factor
        found, _ = f(X)
        assert found.factor == factor and type(found) is Scale
    assert f.cache_info().misses == 3


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "state": lambda module: with_state(module.__getstate__()),
    "reduction": lambda module: with_state(module.__reduce_ex__(4)[2]),
    "old reduction": lambda module: with_state(module.__reduce_ex__(2)[2]),
}


class Bare(nn.Module):
    """(A call cannot copy tensors so.)"""

    factor = 1.0

    def forward(self, x):
        return x * self.factor


def with_state(state):
    module = object.__new__(Bare)
    vars(module).update(state)
    return module


@pytest.mark.parametrize("taken", COPIES)
def test_copies_that_a_call_makes(taken):
    module, take = Bare(), COPIES[taken]
    f = wg.compile(lambda x: take(module)(x))
    for module.factor in (2.0, 5.0):
        assert f(X).tolist() == module(X).tolist()
    module.other = 1.0
    f(X)
    assert f.cache_info().misses == 3


@pytest.mark.parametrize("as_argument", [False, True])
@pytest.mark.parametrize("wrap", [int, lambda k: (k, 1.0)])
def test_integers_too_long_to_be_written(as_argument, wrap):
    class Rest(nn.Module):
        def forward(self, x):
            k = self.k if type(self.k) is int else self.k[0]
            return x * float(k % 7)

    module = Rest()
    f = wg.compile(lambda module, x: module(x)) if as_argument else wg.compile(module)
    for k in (10**5000, 10**5001, 3, 10**5000):
        module.k = wrap(k)
        assert f(*[module] * as_argument, X).tolist() == module(X).tolist()
    assert as_argument or f.cache_info().misses == 3


def test_long_integers_that_a_call_changes():
    class Grows(nn.Module):
        k = 10**5000

        def forward(self, x):
            self.k = self.k * 10
            return x

    with pytest.warns(UserWarning, match=r"Grows.k from an int of 16610 bits to an int of 16613"):
        wg.compile(Grows())(X)


@pytest.mark.parametrize("kind", [nn.Sequential, lambda *modules: nn.ModuleList(modules)])
def test_a_container_and_its_copy(kind):
    """A copy has layers of its own, as that of a list has."""
    first = kind(nn.Identity(), nn.ReLU())
    second = copy.copy(first)

    def run(modules, x):
        for module in modules:
            x = module(x)
        return x

    f = wg.compile(lambda x: (run(first, x), run(second, x)))
    for change in (
        lambda: None,
        lambda: second.__setitem__(1, nn.Tanh()),
        lambda: first.append(nn.Sigmoid()),
        lambda: second.extend([nn.ReLU(), nn.Tanh()]),
    ):
        change()
        f(X)
        for found, modules in zip(f(X), (first, second)):
            np.testing.assert_allclose(found, run(modules, X), rtol=1e-6)
    assert [len(first), len(second)] == [3, 4]


def test_buffers_that_are_registered_later():
    module = nn.Linear(2, 2)
    module.known = wg.ones(3)
    f = wg.compile(lambda x: sum([b.sum() for b in module.buffers(recurse=False)], x.sum()))
    assert f(X).item() == 1.0
    module.register_buffer("first", wg.ones(4))
    assert f(X).item() == 5.0
    module.register_buffer("known", module.known)
    assert f(X).item() == 8.0
    g = wg.compile(lambda x: sum([b.sum() for b in dict(module._state()).values()], x.sum()))
    before = g(X).item()
    module.register_buffer("known", module.known, persistent=False)
    assert g(X).item() == pytest.approx(before - 3.0)


class Slotted(nn.Module):
    __slots__ = ("factor", "total")

    def __init__(self):
        self.factor, self.total = 2.0, wg.zeros(())

    def forward(self, x):
        self.total = self.total + x.sum()
        return x * self.factor + self.total


def test_attributes_in_slots():
    module, eager = Slotted(), Slotted()
    f = wg.compile(module)
    for factor in (2.0, 2.0, 5.0, 5.0):
        module.factor = eager.factor = factor
        assert f(X).tolist() == eager(X).tolist()
        assert module.total.item() == eager.total.item()
    assert f.cache_info() == (2, 2, 2)
    del module.factor
    with pytest.raises(AttributeError):
        f(X)
    assert module.total.item() == eager.total.item()


class Step(wg.optim.SGD):
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                with wg.no_grad():
                    p.assign(p - 1.0)


def test_groups_that_are_added_later():
    a, b = nn.Parameter([0.0]), nn.Parameter([0.0])
    own = Step([a], lr=0.1)
    step = wg.compile(lambda: own.step())
    step(), step()
    own.add_param_group({"params": [b]})
    step()
    assert [a.item(), b.item()] == [-3.0, -1.0]

    optimizer = wg.optim.SGD([a], lr=0.1)

    @wg.compile
    def gradients():
        optimizer.zero_grad()
        ((a * 2.0).sum() + (b * 3.0).sum()).backward()

    for _ in range(2):
        gradients()
    optimizer.add_param_group({"params": [b]})
    for _ in range(2):
        gradients()
        assert b.grad.item() == 3.0


LISTS = {
    "pop": lambda optimizer: optimizer.param_groups.pop(),
    "del": lambda optimizer: optimizer.param_groups.__delitem__(1),
    "slice": lambda optimizer: optimizer.param_groups.__setitem__(slice(1, None), []),
    "another list": lambda optimizer: setattr(
        optimizer, "param_groups", optimizer.param_groups[:1]
    ),
}


@pytest.mark.parametrize("change", LISTS)
@pytest.mark.parametrize("copies", [False, True])
def test_groups_that_are_taken_away(change, copies):
    a, b = nn.Parameter([0.0]), nn.Parameter([0.0])
    optimizer = wg.optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.5)
    if copies:
        optimizer = copy.deepcopy(optimizer)
        a, b = (group["params"][0] for group in optimizer.param_groups)

    @wg.compile
    def step():
        (a + b).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(), step()
    LISTS[change](optimizer)
    b.grad = None
    step(), step()
    assert [a.item(), b.item()] == [-2.0, -1.0]


def test_another_optimiser_of_several_groups():
    a, b = nn.Parameter([0.0]), nn.Parameter([0.0])
    optimizer = wg.optim.SGD([a], lr=0.1)
    step = wg.compile(lambda: optimizer.step())
    for _ in range(3):
        step()
        wg.optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.1)
    assert step.cache_info().misses == 1
