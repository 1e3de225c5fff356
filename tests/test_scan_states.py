"""States that loops and compiled steps hand on from step to step: shown before or after a step,
swapped, shared, unchanged. To the bit what the Python loop gives."""

import numpy as np
import pytest
import wengert as wg

RNG = np.random.default_rng(0)
A0, B0, XS = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(6, 3, 4))


def renewed(a, b, x):
    return wg.tanh(a * b + x), wg.sin(a) - x


CELLS = {
    "after": lambda a, b, x: (*(new := renewed(a, b, x)), new),
    "before": lambda a, b, x: (*renewed(a, b, x), (a, b)),
    "both": lambda a, b, x: (*(new := renewed(a, b, x)), (*new, a, b)),
    "twice": lambda a, b, x: (*(new := renewed(a, b, x)), (new[0], new[0], a, a)),
    "crossed": lambda a, b, x: (*(new := renewed(a, b, x)), (new[0], b)),
    "swapped": lambda a, b, x: (b, wg.cos(a) + x, (a, b)),
    "exchanged": lambda a, b, x: (b, a, (a + x, b)),
    "kept": lambda a, b, x: (a, a * b + x, (a, b)),
    "shared, after": lambda a, b, x: (c := a * b + x, c, c),
    "shared, before": lambda a, b, x: (c := a * b + x, c, (a, b)),
    "shared, one before": lambda a, b, x: (c := a * b + x, c, b),
    "shared, one before, one after": lambda a, b, x: (c := a * b + x, c, (c, a)),
    "turned": lambda a, b, x: (*(new := renewed(a, b, x)), (new[0].T, a.T, a[1:], new[1][:, ::2])),
    "of a view": lambda a, b, x: ((a + x).reshape(4, 3).T, b * a, (a, (a + x).reshape(12))),
    "none": lambda a, b, x: (*renewed(a, b, x), x),
}


def looped(cell, a, b, xs):
    ys = []
    for x in xs:
        a, b, y = cell(a, b, x)
        ys.append(wg.tree.leaves(y))
    return a, b, [wg.stack(list(column)) for column in zip(*ys, strict=True)]


def scanned(cell, a, b, xs):
    def body(carry, x):
        a, b, y = cell(*carry, x)
        return (a, b), tuple(wg.tree.leaves(y))

    (a, b), ys = wg.scan(body, (a, b), xs)
    return a, b, list(ys)


def same(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        assert x.shape == y.shape and x.numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("name", CELLS)
def test_the_loop_to_the_bit(name, length):
    cell = CELLS[name]
    a, b, xs = (wg.tensor(x) for x in (A0, B0, XS[:length]))
    expected = looped(cell, a, b, xs)
    f = wg.compile(lambda *args: scanned(cell, *args), exact=True)
    for _ in range(2):
        same(scanned(cell, a, b, xs), expected)
        same(f(a, b, xs), expected)
    same(f(wg.tensor(A0.T.copy()).T, wg.tensor(B0.T.copy()).T, xs), expected)
    same((a, b), (wg.tensor(A0), wg.tensor(B0)))


@pytest.mark.parametrize("name", CELLS)
def test_no_step_leaves_the_start(name):
    a, b, ys = scanned(CELLS[name], A0, B0, XS[:0])
    same((a, b), (wg.tensor(A0), wg.tensor(B0)))
    assert all(len(y) == 0 for y in ys)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_the_loop(name):
    def loss(run):
        def of(a, b, xs):
            a, b, ys = run(CELLS[name], a, b, xs)
            return (a * a).sum() + wg.sin(b).sum() + sum(wg.cos(y).sum() for y in ys)

        return wg.grad(of, (0, 1, 2))

    args = [wg.tensor(x) for x in (A0, B0, XS)]
    expected = loss(looped)(*args)
    for f in (loss(scanned), wg.compile(loss(scanned))):
        for x, y in zip(f(*args), expected, strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_steps_with_state(name):
    """A compiled step that renews two tensors and returns them, called and run many at a time."""
    a, b = wg.tensor(A0), wg.tensor(B0)

    def step(x):
        new_a, new_b, y = CELLS[name](a * 1.0, b * 1.0, x)
        a.assign(new_a)
        b.assign(new_b)
        return tuple(wg.tree.leaves(y))

    expected = looped(CELLS[name], wg.tensor(A0), wg.tensor(B0), wg.tensor(XS))
    compiled = wg.compile(step)
    for called in (1, 3, 6):
        a.assign(A0), b.assign(B0)
        rows = [compiled(wg.tensor(x)) for x in XS[:called]]
        ys = [wg.stack(list(column)) for column in zip(*rows, strict=True)]
        if called < len(XS):
            more = compiled.run(wg.tensor(XS[called:]))
            ys = [wg.concat([y, rest]) for y, rest in zip(ys, more, strict=True)]
        same((a, b, ys), expected)


def test_a_weight_is_not_kept_for_each_step():
    w = wg.tensor(RNG.normal(size=(64, 64)), requires_grad=True)

    def cell(h, x):
        h = wg.tanh(wg.nn.linear(h, w) + x)
        return h, h

    def loss(xs):
        return wg.scan(cell, wg.zeros((2, 64), dtype="float64"), xs)[1].sum()

    program = wg.compile(wg.value_and_grad(loss)).program(wg.zeros((50, 2, 64), dtype="float64"))
    assert max(np.prod(shape) for _, shape in program.types) < 50 * 64 * 64
    before = wg.memory.live_bytes()
    kept = loss(wg.zeros((50, 2, 64), dtype="float64"))
    assert wg.memory.live_bytes() - before < 5 * 50 * 2 * 64 * 8
    kept.backward()
