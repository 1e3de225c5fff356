"""Modules that change at random between the calls of a compiled function, which closes over them,
gets them as arguments, copies or returns them."""

import copy
import enum
import random

import numpy as np
import pytest
import wengert as wg
from wengert import nn

KINDS = (nn.ReLU, nn.Tanh, nn.Identity)
X = wg.tensor([-0.7, 0.9])


class Block(nn.Module):
    """Computes with attributes of every kind, or with plain ones and children only."""

    def __init__(self, rng):
        self.factor, self.options, self.act = 2.0, (1.0,), rng.choice(KINDS)()
        self.weight, self.shift = nn.Parameter([rng.random(), 1.0]), 0.5
        if rng.random() < 0.5:
            del self.shift
            self.register_buffer("shift", wg.tensor([rng.random(), 0.0]))
            self.options = [rng.random()]

    @property
    def gain(self):
        return vars(self).get("_gain", 1.0)

    @gain.setter
    def gain(self, value):
        self._gain = value

    def forward(self, x):
        factor = self.factor[0] if isinstance(self.factor, tuple) else self.factor
        y = self.act(x * self.weight * factor + self.shift) * self.options[0] * self.gain
        for buffer in self.buffers(recurse=False):
            y = y + buffer.sum()
        y = y if getattr(self, "extra", None) is None else y * self.extra
        return y + 1.0 if self.training else y


def shared(rng, layers, block):
    other = copy.copy(layers)
    other[0] = nn.Tanh()
    other.append(nn.Tanh())


CHANGES = [
    lambda rng, _, block: setattr(
        block, "factor", rng.choice([1.0, -1.0, -2.0, 1, (1.0,), (3.0,)])
    ),
    lambda rng, _, block: setattr(block, "options", [rng.random()]),
    lambda rng, _, block: setattr(block, "shift", wg.tensor([rng.random(), 1.0])),
    lambda rng, _, block: setattr(block, "act", rng.choice(KINDS)()),
    lambda rng, _, block: setattr(block, "gain", rng.choice([1.0, 2.0])),
    lambda rng, _, block: setattr(block, "extra", rng.choice([None, 2.0, wg.tensor(3.0)])),
    lambda rng, _, block: setattr(block, "weight", nn.Parameter([rng.random(), 2.0])),
    lambda rng, _, block: delattr(block, "extra") if "extra" in vars(block) else None,
    lambda rng, _, block: block.register_buffer(
        f"b{rng.randrange(3)}", wg.tensor([rng.random()]), persistent=rng.random() < 0.5
    ),
    lambda rng, _, block: [b.assign(rng.random()) for b in block.buffers()],
    lambda rng, _, block: block.train(rng.random() < 0.5),
    lambda rng, _, block: block.weight.requires_grad_(rng.random() < 0.5),
    lambda rng, _, block: block.astype(rng.choice(["float32", "float64"])),
    lambda rng, layers, _: layers.append(Block(rng)) if len(layers) < 4 else None,
    lambda rng, layers, _: layers.__setitem__(
        rng.randrange(len(layers)), rng.choice([Block(rng), nn.Tanh(), nn.Sequential(Block(rng))])
    ),
    lambda rng, layers, _: layers.__setitem__(0, layers[-1]),
    lambda rng, layers, _: layers.train(rng.random() < 0.5),
    shared,
]


def change(module, rng):
    layers = rng.choice([m for m in module.modules() if isinstance(m, nn.Sequential)])
    blocks = [m for m in module.modules() if isinstance(m, Block)] or [Block(rng)]
    rng.choice(CHANGES)(rng, layers, rng.choice(blocks))


def total(module, x):
    return sum([b.sum() for b in module.buffers()], x)


def closing(module, _):
    return wg.compile(lambda x: module(x)), module


def copying(module, _):
    return wg.compile(lambda x: copy.copy(module)(x)), module


def counting(module, _):
    return wg.compile(lambda x: total(module, x)), lambda x: total(module, x)


def taking(module, _):
    f = wg.compile(lambda module, x: module(x))
    return lambda x: f(module, x), module


def taking_two(module, other):
    f = wg.compile(lambda module, x: module(x))
    return lambda x: f(module, x) + f(other, x), lambda x: module(x) + other(x)


def returning(module, _):
    f = wg.compile(lambda x: (module, x))
    return lambda x: f(x)[0](x), module


@pytest.mark.filterwarnings("ignore:compile")
@pytest.mark.parametrize("how", [closing, copying, counting, taking, taking_two, returning])
@pytest.mark.parametrize("seed", range(6))
def test_changes_between_calls(how, seed):
    rng = random.Random(seed)
    module = nn.Sequential(Block(rng), nn.Sequential(Block(rng), nn.ReLU()))
    other = copy.deepcopy(module)
    f, eager = how(module, other)
    for _ in range(25):
        change(rng.choice([module, module, other]), rng)
        found, expected = f(X), eager(X)
        assert found.dtype == expected.dtype and found.requires_grad == expected.requires_grad
        np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-5, atol=1e-6)


class Mode(enum.Enum):
    ONE = 1
    TWO = 2


FIXED = {
    "enum": Mode,
    "number of NumPy": np.int64,
    "complex": complex,
    "bytes": lambda n: bytes([n]),
    "range": range,
    "slice": slice,
    "frozenset": lambda n: frozenset([n]),
    "dtype": lambda n: (wg.float32, wg.float64)[n - 1],
    "class": lambda n: (nn.ReLU, nn.Tanh)[n - 1],
}
CHANGEABLE = {
    "list": lambda n: [n],
    "dict": lambda n: {"n": n},
    "set": lambda n: {n},
    "array": np.zeros,
    "tuple of a list": lambda n: (n, [n]),
}


@pytest.mark.parametrize("name", [*FIXED, *CHANGEABLE])
def test_what_a_call_sets_is_set_by_replays_or_recorded(name):
    make = (FIXED | CHANGEABLE)[name]

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = None

        def forward(self, x):
            self.last = make(x.shape[0])
            return x * 2.0

    module = Noting()
    compiled = wg.compile(module)
    for n in (1, 2, 1, 2, 2):
        compiled(wg.ones(n))
        assert repr(module.last) == repr(make(n))
    assert compiled.cache_info().misses == (2 if name in FIXED else 5)
