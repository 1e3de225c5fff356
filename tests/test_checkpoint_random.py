"""Random programs with random parts under wg.checkpoint, nested, with random policies: gradients
equal those without to the bit, state and generator are left the same, in every mode."""

import random

import numpy as np
import pytest
import wengert as wg

X = np.random.default_rng(0).normal(size=(3, 3))
W = np.random.default_rng(1).normal(size=(3, 3)) * 0.5
POLICIES = (
    None,
    wg.policies.save_matmuls,
    wg.policies.save_everything,
    lambda op: len(op.name) % 2 == 0,
)


class World:
    def __init__(self):
        self.rng = wg.random.default_rng(7)
        self.state = wg.tensor(np.full((3, 3), 0.7))

    def draw(self, a, b):
        return a * self.rng.random(size=a.shape, dtype="float64") + b

    def change(self, a, b):
        y = a * (self.state + 0.0)
        self.state.assign(self.state * 0.9 + wg.stop_gradient(wg.tanh(b)) * 0.1)
        return y + b * (self.state + 0.0)


def within_no_grad(a, b):
    with wg.no_grad():
        c = wg.sin(b)
    return a * c


PLAIN = (
    lambda a, b: wg.tanh(a) + b,
    lambda a, b: a * b * 0.5,
    lambda a, b: (a @ b) * 0.3,
    lambda a, b: a.sum(axis=0, keepdims=True) + b,
    lambda a, b: a[0] * b,
    lambda a, b: wg.concat([a[1:], b[:1]]),
    lambda a, b: a.T * 1.1,
    lambda a, b: wg.exp(-a * a) * b,
    lambda a, b: wg.where(a > b, a, wg.sin(b)),
    lambda a, b: a * wg.sin(b).detach(),
    lambda a, b: wg.grad(lambda z: (wg.tanh(z * b) * a).sum())(a),
    lambda a, b: wg.nn.softmax(a, -1) * b,
    lambda a, b: wg.max(a, axis=1, keepdims=True) * b,
    within_no_grad,
)


def program(rnd, world, checkpointed, depth=0):
    """A function of (x, w); the same for the same state of ``rnd``, whatever is checkpointed."""
    steps = []
    for _ in range(rnd.randint(2, 8)):
        kind = rnd.randrange(len(PLAIN) + 4)
        if kind >= len(PLAIN) + 2 and depth < 2:
            step = program(rnd, world, checkpointed, depth + 1)
        else:
            step = (*PLAIN, world.draw, world.change, *PLAIN[:2])[kind]
        steps.append((step, rnd.randrange(99), rnd.randrange(99)))

    def f(x, w):
        values = [x, w]
        for step, i, j in steps:
            values.append(step(values[i % len(values)], values[j % len(values)]))
        return values[-1] + values[-2] * 0.5

    policy = rnd.choice(POLICIES)
    return wg.checkpoint(f, policy=policy) if checkpointed else f


def eager(f):
    x, w = wg.tensor(X, requires_grad=True), wg.tensor(W, requires_grad=True)
    y = (f(x, w) ** 2).sum() + (x * w).sum()
    y.backward()
    return [y.detach(), x.grad, w.grad]


def compiled(f):
    return wg.compile(lambda x, w: wg.value_and_grad(loss(f), (0, 1))(x, w))(X, W)


def second(f):
    return wg.grad(lambda x: (wg.grad(loss(f), 1)(x, wg.asarray(W)) ** 2).sum())(X)


def forward_over_reverse(f):
    return wg.jvp(lambda x: wg.grad(loss(f))(x, wg.asarray(W)), (X,), (W,))


def loss(f):
    return lambda x, w: (f(x, w) ** 2).sum() + (x * w).sum()


@pytest.mark.parametrize("mode", [eager, compiled, second, forward_over_reverse])
@pytest.mark.parametrize("seed", range(25))
def test_random_programs(seed, mode):
    results = []
    for checkpointed in (False, True):
        world = World()
        f = program(random.Random(seed), world, checkpointed)
        results.append([*wg.tree.leaves(mode(f)), world.state, world.rng.get_state()])
    for b, a in zip(*results, strict=True):
        if mode is eager:
            assert a.numpy().tobytes() == b.numpy().tobytes()
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-10)
