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
    for i, k in enumerate((10**5000, 10**5001, 3, 10**5000)):
        module.k = wrap(k)
        assert f(*[module] * as_argument, X).tolist() == module(X).tolist()
        assert f.cache_info().misses == (
            i + 1 if as_argument and wrap is not int else min(i + 1, 3)
        )


def test_long_integers_that_a_call_changes():
    class Grows(nn.Module):
        k = 10**5000

        def forward(self, x):
            self.k = self.k * 10
            return x

    with pytest.warns(UserWarning, match=r"Grows.k from an int of 16610 bits to an int of 16613"):
        wg.compile(Grows())(X)
