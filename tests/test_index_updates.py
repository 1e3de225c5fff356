"""x.at[key].set and .add, and index assignment in compiled functions: values against NumPy,
derivatives, keys that are only known when the call runs, and memory that is changed in place."""

import numpy as np
import pytest
import wengert as wg

X = np.arange(4 * 5 * 3, dtype=np.float64).reshape(4, 5, 3) / 7 - 3
KEYS = {
    "number": 0,
    "last": -1,
    "range": slice(1, 3),
    "column": (slice(None), 2),
    "steps": (..., slice(None, None, -2)),
    "element": (0, 1, 2),
    "all": ...,
    "none": slice(0, 0),
    "new axis": (..., None, 1),
    "rows": np.array([1, 3, 1]),
    "rows and range": (np.array([1, -1]), slice(1, 4)),
    "middle": (slice(None), np.array([0, 1, 0])),
    "apart": (np.array([0, 1, 0]), slice(None), np.array([2, 2, 2])),
    "number and rows": (0, slice(None), np.array([1, 2])),
    "range and grid": (slice(1, 3), np.array([[0], [4]]), np.array([2, 1])),
    "mask": np.array([True, False, True, False]),
    "whole mask": X > 0,
    "no index": np.zeros(0, np.int64),
}
CALLS = [pytest.param(key, id=name) for name, key in KEYS.items()]


def values(key, scale=1.0):
    shape = X[key].shape
    return np.asarray(scale * np.sin(np.arange(np.prod(shape, dtype=int)).reshape(shape) + 1.0))


def changed(key, v, adds=False):
    out = X.copy()
    if adds:
        np.add.at(out, key, v)
    else:
        out[key] = v
    return out


@pytest.mark.parametrize("key", CALLS)
def test_set_and_add_are_numpys(key):
    x, v = wg.tensor(X), values(key)
    assert np.array_equal(x.at[key].set(v), changed(key, v))
    assert np.array_equal(x.at[key].set(2), changed(key, 2))
    assert np.allclose(x.at[key].add(v), changed(key, v, adds=True), rtol=1e-15)
    assert np.array_equal(x, X)


@pytest.mark.parametrize("key", CALLS)
@pytest.mark.parametrize("name", ["set", "add"])
def test_derivatives_of_both(key, name):
    def f(x, v):
        return wg.sin(getattr(x.at[key], name)(v * v))

    v = np.asarray(values(key) + 2.0)
    wg.check_grads(f, (wg.tensor(X), wg.tensor(v)), order=2)
    taken = wg.grad(lambda v: (getattr(wg.tensor(np.ones(X.shape)).at[key], name)(v) * X).sum())(
        wg.tensor(v)
    )
    eager = wg.vjp(f, wg.tensor(X), wg.tensor(v))[1](wg.tensor(X))
    again = wg.compile(lambda x, v, g: wg.vjp(f, x, v)[1](g), exact=True)(X, v, X)
    assert all(np.array_equal(a, b) for a, b in zip(eager, again, strict=True))
    # What another value took the place of has no part in the result.
    numbers = np.full(X.shape, -1)
    numbers[key] = np.arange(v.size).reshape(v.shape)
    if name == "set":
        assert np.array_equal(
            taken.numpy() != 0, np.isin(np.arange(v.size), numbers).reshape(v.shape) & (X[key] != 0)
        )
    else:
        assert np.array_equal(taken, X[key])


@pytest.mark.parametrize("key", CALLS)
def test_compiled_assignment_is_the_eager_one(key):
    eager, compiled = wg.tensor(X), wg.tensor(X)

    def step(x, v):
        x[key] = v * 2
        x[key] = x[key] + v
        return x.sum()

    played = wg.compile(lambda v: step(compiled, v), exact=True)
    for scale in (1.0, -0.5, 3.0):
        v = wg.tensor(values(key, scale))
        assert float(step(eager, v)) == float(played(v))
        assert np.array_equal(eager, compiled)


INDICES = [(1, 3), (0, 0), (-1, 2), (3, -4)]
OPEN_KEYS = {
    "row": lambda i, j: i,
    "two rows": lambda i, j: wg.stack([i, j]),
    "element": lambda i, j: (i, j, 1),
    "column": lambda i, j: (slice(None), j),
    "apart": lambda i, j: (i, slice(None), wg.stack([j, j]) % 3),
    "beside a number": lambda i, j: (0, j),
    "within a range": lambda i, j: (slice(1, None), i % 3),
}


@pytest.mark.parametrize("key", OPEN_KEYS.values(), ids=OPEN_KEYS.keys())
@pytest.mark.parametrize("name", ["set", "add"])
def test_indices_known_only_when_it_runs(key, name):
    def f(x, v, i, j):
        return getattr(x.at[key(i, j)], name)(v * v)

    played = wg.compile(f)
    sloped = wg.compile(wg.grad(lambda *args: wg.sin(f(*args)).sum(), (0, 1)))
    x, v = wg.tensor(X), wg.tensor(0.5, dtype="float64")
    for i, j in INDICES:
        places = (wg.tensor(i), wg.tensor(j))
        own = key(*places)
        own = own if isinstance(own, tuple) else (own,)
        own = tuple(np.asarray(k) if isinstance(k, wg.Tensor) else k for k in own)
        assert np.allclose(played(x, v, *places), changed(own, 0.25, name == "add"), rtol=1e-15)
        for got, want in zip(
            sloped(x, v, *places),
            wg.grad(lambda *args: wg.sin(f(*args)).sum(), (0, 1))(x, v, *places),
            strict=True,
        ):
            assert np.allclose(got, want, rtol=1e-13)


def test_vmap_and_jvp_are_loops_of_single_updates():
    def f(x, v, i):
        return x.at[i].set(v).at[i, 1].add(2 * v[0])

    xs, vs, at = wg.tensor(np.stack([X, X + 1])), wg.tensor(np.ones((2, 5, 3))), wg.tensor([3, 1])
    for axes in [
        (0, 0, 0),
        (None, 0, 0),
        (0, None, 0),
        (0, 0, None),
        (None, None, 0),
        (None, 0, None),
    ]:
        args = [a if axis == 0 else a[0] for a, axis in zip((xs, vs, at), axes, strict=True)]
        rows = [
            f(*[a[r] if axis == 0 else a for a, axis in zip(args, axes, strict=True)])
            for r in range(2)
        ]
        assert np.array_equal(wg.vmap(f, in_axes=axes)(*args), wg.stack(rows))
    x, v = xs[0], vs[0]
    out, tangent = wg.jvp(lambda x, v: f(x, v, 2), (x, v), (v + x, 3 * v))
    assert np.array_equal(out, f(x, v, 2)) and np.array_equal(tangent, f(v + x, 3 * v, 2))
    assert np.array_equal(wg.jvp(lambda v: f(x, v, 2), (v,), (3 * v,))[1], f(0 * x, 3 * v, 2))


def test_masks_take_one_value_for_all():
    mask = X[..., 0] > -1
    played = wg.compile(lambda x, m, v: (x.at[m].set(v), x.at[m].add(v)))
    for v in (2.5, np.array([1.0, 2.0, 3.0])):
        v = np.asarray(v)
        for got, adds in zip(played(X, mask, v), (False, True), strict=True):
            assert np.array_equal(got, changed(mask, v, adds))
    state = wg.tensor(X)

    @wg.compile
    def clear(m):
        state[m] = 0

    clear(mask), clear(X < -2)
    assert np.array_equal(state, np.where(mask[..., None] | (X < -2), 0, X))
    with pytest.raises(wg.TraceError, match="how many elements a traced mask selects"):
        played(X, mask, np.ones((int(mask.sum()), 3)))
    with pytest.raises(wg.Error, match="mask must have the sizes"):
        played(X, np.ones(3, bool), 1.0)


N = 1 << 16
RING = {
    "row": lambda ring, i, v: ring.__setitem__(i, v),
    "two": lambda ring, i, v: (ring.__setitem__(i, v), ring.__setitem__(i - 1, 2 * v)),
    "range": lambda ring, i, v: ring.__setitem__(slice(3, 5), v),
    "read behind": lambda ring, i, v: (ring.__setitem__(i, v), ring[wg.stack([i, i - 1])].sum()),
    "read before": lambda ring, i, v: (ring[i].sum(), ring.__setitem__(i, v)),
    "read elsewhere": lambda ring, i, v: (ring.__setitem__(i, v), ring[(5 * i) % N].sum()),
    "part of a row": lambda ring, i, v: (
        ring.__setitem__((i, slice(0, 2)), v[:2]),
        ring.__setitem__((i - 1, 3), v[3]),
    ),
    "of some rows": lambda ring, i, v: ring.__setitem__((slice(1, 99, 2), i % 4), v[0]),
    "function": lambda ring, i, v: ring.assign(ring.at[i].add(v).at[i + 1].set(v)),
}


@pytest.mark.parametrize("change", RING.values(), ids=RING.keys())
def test_a_state_is_changed_in_place(change):
    """No copy of it: not in the memory of a call, nor in the bytes that it moves."""
    ring, eager, at, k = wg.zeros((N, 4)), wg.zeros((N, 4)), wg.tensor(5), 5
    address = ring.numpy().ctypes.data

    @wg.compile
    def step(v):
        found = change(ring, at, v)
        at.assign((at + 7) % N)
        return (
            wg.stack([y for y in found if isinstance(y, wg.Tensor)])
            if isinstance(found, tuple) and any(isinstance(y, wg.Tensor) for y in found)
            else v
        )

    for v in range(4):
        row = wg.full((4,), v + 1.0)
        step(row)
        change(eager, k, row)
        k = (k + 7) % N
    whole = ring.size * 4
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    step(row)
    step.run(row, steps=3)
    assert wg.memory.peak_bytes() - before < whole / 8
    for _ in range(4):
        change(eager, k, row)
        k = (k + 7) % N
    assert np.array_equal(ring, eager) and ring.numpy().ctypes.data == address


def test_loops_change_what_they_carry_in_place():
    c, xs = wg.zeros((N, 4)), wg.arange(100)

    def body(c, x):
        c = c.at[x].set(x + 1).at[x + 1].add(1)
        return c, c[x].sum()

    want = np.zeros((N, 4), np.float32)
    sums = []
    for x in range(100):
        want[x], want[x + 1] = x + 1, want[x + 1] + 1
        sums.append(want[x].sum())
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    out, found = wg.scan(body, c, xs)
    assert wg.memory.peak_bytes() - before < 2 * c.size * 4
    assert np.array_equal(out, want) and np.array_equal(found, sums) and not c.numpy().any()
    start = wg.tensor(0)
    _, again = wg.compile(
        lambda c: wg.while_loop(
            lambda s: s[0] < 100, lambda s: (s[0] + 1, body(s[1], s[0])[0]), (start, c)
        )
    )(c)
    assert np.array_equal(again, want)

    def loss(v):
        return (wg.scan(lambda c, x: (c.at[x].set(v * x), None), wg.zeros(9), xs[:7])[0] ** 2).sum()

    v = wg.tensor(2.0)
    assert (
        float(wg.grad(loss)(v))
        == float(wg.compile(wg.grad(loss))(v))
        == 2 * 2 * sum(x * x for x in range(7))
    )


@pytest.mark.parametrize("reads", [False, True])
def test_an_index_out_of_range_changes_nothing(reads):
    ring, other, count = wg.zeros((6, 2)), wg.ones(6), wg.tensor(0)

    @wg.compile
    def step(i, j, v):
        count.assign(count + 1)
        ring[i] = v
        other[i] = 2 * v[0]
        return ring[j].sum() if reads else v.sum()

    step(wg.tensor(1), wg.tensor(1), wg.ones(2))
    before = [x.numpy().copy() for x in (ring, other, count)]
    with pytest.raises(wg.Error, match="index 6 is out of range for axis 0 with size 6") as first:
        step(wg.tensor(6), wg.tensor(0), wg.ones(2))
    assert isinstance(first.value, IndexError)
    if reads:
        with pytest.raises(
            wg.Error, match="gather: index -7 is out of range for axis 0 with size 6"
        ):
            step(wg.tensor(0), wg.tensor(-7), wg.ones(2))
        with pytest.raises(wg.Error, match="index 9 is out of range"):
            step.run(wg.tensor([2, 3]), wg.tensor([0, 9]), wg.ones((2, 2)))
        assert float(count) == 2 and np.array_equal(ring[2], [1, 1])
        return
    for x, y in zip((ring, other, count), before, strict=True):
        assert np.array_equal(x, y)


def test_what_else_sees_the_old_value_keeps_it():
    state = wg.zeros(4)

    @wg.compile
    def step(i, v):
        before = state * 1
        part = state[1:3] + 0
        state[i] = v
        return before, part, state + 0

    step(1, 5.0)
    before, part, after = step(wg.tensor(2), wg.tensor(7.0))
    assert before.tolist() == [0, 5, 0, 0] and part.tolist() == [5, 0]
    assert after.tolist() == [0, 5, 7, 0] == state.tolist()
    x = wg.zeros(3)
    donated = wg.compile(lambda x, i: (x.at[i].set(1), x))
    changed_x, same = donated(x, wg.tensor(1))
    assert changed_x.tolist() == [0, 1, 0] and same.tolist() == x.tolist() == [0, 0, 0]


def test_errors_say_what_does_not_fit():
    x = wg.zeros((3, 2))
    with pytest.raises(wg.ShapeError, match=r"shapes \(3,\) and \(2,\) do not broadcast"):
        x.at[0].set(wg.ones(3))
    with pytest.raises(wg.DTypeError, match="would lose digits"):
        wg.arange(3).at[0].set(wg.tensor(0.5))
    with pytest.raises(wg.Error, match="300"):
        wg.tensor([1], dtype="uint8").at[0].set(300)
    with pytest.raises(wg.Error, match="out of range"):
        x.at[3].add(1)
    with pytest.raises(wg.DTypeError, match="bool"):
        wg.tensor([True]).at[wg.tensor([0])].add(True)
    with pytest.raises(wg.GraphError, match=r"x.at\[key\].set"):
        wg.grad(lambda v: wg.zeros(3).__setitem__(0, v))(1.0)
    with pytest.raises(wg.TraceError, match=r"c.at\[i\].set"):
        wg.scan(lambda c, v: (c.__setitem__(0, v), v), wg.zeros(2), wg.ones(2))


def test_a_failed_update_of_another_tensor_changes_nothing():
    a, b = wg.tensor(np.arange(6.0)), wg.tensor(np.zeros(6))
    x, table = wg.zeros(6), wg.tensor([1, 2, 99])

    @wg.compile
    def from_another(i, v):
        b.assign(a.at[i].set(v))

    @wg.compile
    def through_a_table(i, j, v):
        x[i] = v
        x[table[j]] = v

    from_another(wg.tensor(1), wg.tensor(7.0))
    through_a_table(wg.tensor(0), wg.tensor(0), wg.tensor(1.0))
    a.assign(a * 2)
    before = [t.numpy().copy() for t in (a, b, x)]
    with pytest.raises(wg.Error, match="index 9 is out of range"):
        from_another(wg.tensor(9), wg.tensor(7.0))
    with pytest.raises(wg.Error, match="index 99 is out of range"):
        through_a_table(wg.tensor(3), wg.tensor(2), wg.tensor(7.0))
    for t, was in zip((a, b, x), before, strict=True):
        assert np.array_equal(t, was)


def test_long_computations_of_indices_are_recorded():
    x = wg.zeros(1000)

    @wg.compile
    def step(i, v):
        x.assign(x * 0.5 + v)
        j = i
        for _ in range(3000):
            j = abs(j - 1)
        return x[j % 1000]

    assert float(step(wg.tensor(1), wg.tensor(2.0))) == 2.0
    assert float(step(wg.tensor(1), wg.tensor(2.0))) == 3.0


def test_what_an_index_tensor_reads_is_a_copy():
    """Compiled, the index is known only when it runs: a view is none then."""
    for compiled in (lambda f: f, wg.compile):
        x = wg.tensor(np.arange(6.0))

        @compiled
        def swap(i, v, x=x):
            old = x[i]
            x[i] = v
            return old

        assert float(swap(wg.tensor(2), wg.tensor(9.0))) == 2.0
        assert float(swap(wg.tensor(2), wg.tensor(7.0))) == 9.0
    column = wg.compile(lambda j: y[::-1, j].sum(), exact=True)
    y = wg.tensor(np.random.default_rng(0).normal(size=(200, 100)))
    for j in range(20):
        assert float(column(wg.tensor(j))) == float(y[::-1, wg.tensor(j)].sum())
    part = y[3]  # a Python number: a view, as NumPy's
    y[3] = 1.0
    assert bool((part == 1.0).all())


def shift(x, v):
    x[1:] = x[:-1]
    x[0] = x[1]
    x[:] = x[::-1]
    x[2] = v
    x[1:3] += v
    x[0] *= 2
    x[...] -= 1
    x[:, 1] **= 2


def test_parts_are_written_from_each_other():
    eager, state = wg.tensor(X[:, :, 0]), wg.tensor(X[:, :, 0])
    played = wg.compile(lambda v: shift(state, v), exact=True)
    for scale in (1.0, -2.0, 0.5):
        v = wg.tensor(scale * np.arange(5.0))
        shift(eager, v)
        played(v)
        assert np.array_equal(eager, state)

    @wg.compile
    def held(v):
        part = state[1:]
        state[:-1] = part
        return part

    with pytest.raises(wg.TraceError, match="still holds a view"):
        held(wg.tensor(1.0))
