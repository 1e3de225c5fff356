"""x[key] against NumPy: values, gradients, shared memory, assignment, errors."""

import numpy as np
import pytest
import wengert as wg

X = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5) / 7 - 3
MASK3 = X > 0
MASK2 = np.arange(12).reshape(3, 4) % 3 == 0
MASK1 = np.array([True, False, True])

VIEWS = [
    0,
    -1,
    np.int64(2),
    slice(None),
    slice(1, 3),
    slice(None, None, -1),
    slice(10, None),
    slice(-100, 2),
    slice(2, 0, -1),
    slice(None, None, 7),
    slice(np.int64(1), None),
    Ellipsis,
    None,
    (),
    (0, 1),
    (0, 1, 2),
    (-1, -2, -3),
    (slice(None), 2),
    (slice(None), slice(1, None, 2), slice(None, None, -2)),
    (..., 0),
    (0, ...),
    (0, ..., 1),
    (..., None),
    (None, ..., None),
    (None, 1, None, slice(0, 2)),
    (slice(None), None, 1),
    (1, slice(3, 1, -1), ..., None, slice(None, None, 3)),
    (slice(0, 0),),
    (slice(0, 0), 1, slice(None, None, -1)),
    (slice(None), slice(None), slice(None), ...),
]

ARRAYS = [
    [0, 2],
    [-1, 0, 0],
    [],
    [[0, 1], [2, 0]],
    np.array([1, 2], dtype=np.int32),
    np.array([1, 2], dtype=np.uint8),
    np.array(1),
    range(2),
    (np.array([0, 1]), np.array([3, 2])),
    ([0, 1], [3, 2]),
    ((0, 1), (3, 2)),
    ([[0], [2]], [0, 3]),
    ([0, 1], slice(None), [1, 2]),
    (slice(None), [0, 1, 3]),
    (slice(None), [0, 1, 3], slice(None, None, 2)),
    (slice(None), [0, 1], [2, 3]),
    (slice(None), [[0], [1]], [2, 3, 4]),
    (0, [1, 2]),
    (0, slice(None), [1, 2]),
    ([1, 2], 0),
    ([1, 2], slice(None), 0),
    (slice(None), 0, [1, 2]),
    (slice(1, 3), [1, 0], 2),
    (0, [1, 2], [3, 4]),
    ([1, 2], 0, [3, 4]),
    (..., [1, 2]),
    ([1, 2], ...),
    (0, ..., [1, 2]),
    ([0, 1], ..., [1, 2]),
    (0, [0, 1], ..., [1, 2]),
    ([0, 1], [0, 1], ..., [1, 2]),
    (None, [0, 1]),
    ([0, 1], None),
    ([0, 1], None, [1, 2]),
    ([0, 1], None, slice(None), [1, 2]),
    (None, [0, 1], None, [1, 2], None),
    (slice(None, None, -1), [0, 1]),
    (slice(2, None), [3, 3, 3], [0, 0, 0]),
    (np.array(1), [0, 1]),
    ([0], [1], [2]),
    MASK1,
    MASK2,
    MASK3,
    MASK1.tolist(),
    np.zeros(3, bool),
    np.zeros((3, 4, 5), bool),
    (MASK1, 0),
    (MASK1, slice(None), 0),
    (MASK1, [1, 2]),
    (MASK1, slice(None), [1, 2]),
    (slice(None), np.array([True, False, False, True])),
    (0, np.ones((4, 5), bool)),
    (slice(None), MASK3[0]),
    (MASK2, 0),
    (MASK2, None),
    (..., np.array([True, False, True, False, False])),
    True,
    False,
    np.bool_(True),
    (True, [0, 1]),
    (0, True),
    (slice(None), True),
    (None, False, 1),
]

READS = VIEWS + ARRAYS


def name(key):
    return " ".join(repr(key).split())[:60]


def same(actual, expected):
    actual = actual.numpy()
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("key", READS, ids=name)
def test_values(key):
    same(wg.tensor(X)[key], X[key])


@pytest.mark.parametrize("key", READS, ids=name)
def test_values_of_a_strided_tensor(key):
    big = np.arange(6 * 5 * 8, dtype=np.float64).reshape(5, 8, 6)
    strided = big.transpose(2, 1, 0)[::-2, 1:5]
    same(wg.asarray(big).permute(2, 1, 0)[::-2, 1:5][key], strided[key])


@pytest.mark.parametrize("key", READS, ids=name)
def test_gradients(key):
    x = wg.tensor(X, requires_grad=True)
    y = x[key]
    weights = np.cos(np.arange(y.size, dtype=np.float64)).reshape(y.shape)
    (y * weights).sum().backward()
    expected = np.zeros_like(X)
    np.add.at(expected, key, weights)
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("key", VIEWS, ids=name)
def test_basic_indices_share_memory(key):
    x = wg.tensor(X)
    y = x[key]
    assert isinstance(y, wg.Tensor)
    assert y.size == 0 or np.shares_memory(y.numpy(), x.numpy())


@pytest.mark.parametrize("key", ARRAYS, ids=name)
def test_index_arrays_copy(key):
    x = wg.tensor(X)
    # A 0-d integer array counts as an int, and gives a view here.
    if isinstance(key, np.ndarray) and key.ndim == 0:
        return
    assert not np.shares_memory(x[key].numpy(), x.numpy())


@pytest.mark.parametrize("key", READS, ids=name)
def test_assignment_of_a_number(key):
    x, expected = wg.tensor(X), X.copy()
    x[key] = 2
    expected[key] = 2
    same(x, expected)


@pytest.mark.parametrize("key", READS, ids=name)
def test_assignment_of_an_array(key):
    x, expected = wg.tensor(X), X.copy()
    value = np.sin(np.arange(X[key].size, dtype=np.float64)).reshape(X[key].shape)
    x[key] = value
    expected[key] = value
    same(x, expected)


@pytest.mark.parametrize("key", [k for k in READS if X[k].ndim > 1], ids=name)
def test_assignment_broadcasts(key):
    x, expected = wg.tensor(X), X.copy()
    value = np.ones((1, 1, 1, 1, 1, 1, X[key].shape[-1]))
    x[key] = value
    expected[key] = value
    same(x, expected)


def test_tensors_as_indices():
    x = wg.tensor(X)
    i, j = wg.tensor([0, 2]), wg.tensor([[1], [3]], dtype=wg.int32)
    same(x[i], X[[0, 2]])
    same(x[i, j], X[np.array([0, 2]), np.array([[1], [3]])])
    same(x[wg.tensor(1)], X[1])
    same(x[wg.tensor(1) :], X[1:])
    same(x[x > 0], X[X > 0])
    same(x[:, wg.tensor([True, False, True, False])], X[:, [0, 2]])
    same(x[wg.tensor([[True]])[0, 0]], X[None])


@pytest.mark.parametrize("dtype", [wg.bool, wg.uint8, wg.int32, wg.int64, wg.float32])
def test_dtypes(dtype):
    a = (X > 0).astype(dtype) if dtype == wg.bool else np.abs(X * 7).astype(dtype)
    x = wg.tensor(a)
    for key in (1, slice(None, None, 2), [2, 0], MASK2):
        same(x[key], a[key])
        assert x[key].dtype == dtype
    x[0], a[0] = 1, 1
    x[[1]], a[[1]] = 0, 0
    same(x, a)


def test_a_slice_of_itself_can_be_assigned():
    a = np.arange(10.0)
    x = wg.tensor(a)
    x[1:] = x[:-1]
    same(x, np.array([0, *range(9)], dtype=float))
    x = wg.tensor(a)
    x[wg.arange(9, -1, -1)] = x
    same(x, a[::-1])
    i = wg.tensor([2, 0, 1])
    i[i] = i
    same(i, np.array([0, 1, 2]))


def test_the_last_of_equal_indices_wins():
    x = wg.zeros(3)
    x[[0, 0, 0]] = wg.tensor([1.0, 2.0, 3.0])
    same(x, np.array([3, 0, 0], dtype=np.float32))


def test_augmented_assignment_to_an_item():
    x = wg.zeros((2, 2))
    x[0] += 1
    x[:, 1] *= 5
    same(x, np.array([[1, 5], [0, 0]], dtype=np.float32))


def test_views_see_changes_and_pending_sweeps_notice():
    x = wg.zeros(4)
    view = x[1:3]
    x[2] = 5.0
    assert view.tolist() == [0.0, 5.0]
    view[0] = 7.0
    assert x.tolist() == [0.0, 7.0, 5.0, 0.0]

    w = wg.ones(4, dtype=wg.float32).requires_grad_()
    y = (w * x).sum()
    x[0] = 1.0
    with pytest.raises(wg.GraphError, match=r"changed in place.*test_indexing\.py"):
        y.backward()


def test_assignment_respects_the_graph():
    leaf = wg.zeros(3).requires_grad_()
    with pytest.raises(wg.GraphError, match="no_grad"):
        leaf[0] = 1.0
    with wg.no_grad():
        leaf[0] = 1.0
    assert leaf.tolist() == [1.0, 0.0, 0.0]
    assert leaf.is_leaf and leaf.requires_grad
    with pytest.raises(wg.GraphError, match=r"only leaves.*'multiply'.*x.at"):
        (leaf * 2)[0] = 1.0
    with pytest.raises(wg.GraphError, match="history"):
        wg.zeros(3)[0] = leaf.sum()


def test_second_derivative_through_an_index():
    x = wg.tensor([1.0, 2.0, 3.0], dtype=wg.float64, requires_grad=True)
    y = (x[[0, 0, 2]] ** 3).sum() + (x[::-2] ** 3).sum()
    y.backward(create_graph=True)
    g, x.grad = x.grad, None
    g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.array([1, 2, 3]) * np.array([3, 0, 2]))


def test_iteration_length_membership():
    x = wg.tensor(X)
    assert len(x) == 3
    for row, expected in zip(x, X, strict=True):
        same(row, expected)
    a, b, c = wg.tensor([1.0, 2.0, 3.0])
    assert (float(a), float(b), float(c)) == (1.0, 2.0, 3.0)
    assert 2 in wg.arange(3)
    assert 3 not in wg.arange(3)
    with pytest.raises(TypeError, match="0-d"):
        iter(wg.tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        len(wg.tensor(1.0))


def test_traced_indices_and_arrays():
    x, i = wg.tensor(X), wg.tensor([2, 0, -1])
    same(wg.vmap(lambda row, k: row[k])(x, i), X[np.arange(3), [2, 0, -1]])
    same(wg.vmap(lambda k: x[k, ..., 1])(i), X[[2, 0, -1], :, 1])
    same(wg.vmap(lambda row: row[1:, None, ::2])(x), X[:, 1:, None, ::2])
    same(wg.vmap(lambda row: row[[0, 1], [2, 3]])(x), X[:, [0, 1], [2, 3]])
    same(wg.vmap(lambda row: row[MASK2[0]])(x), X[:, MASK2[0]])
    with pytest.raises(wg.TraceError, match=r"wg\.where"):
        wg.vmap(lambda row: row[row > 0])(x)
    with pytest.raises(wg.TraceError):
        wg.vmap(lambda k: x[k:])(i)
    with pytest.raises(wg.TraceError):
        wg.vmap(lambda row: row.__setitem__(0, 1.0))(x)


ERRORS = [
    (3, IndexError, r"index 3 is out of range for axis 0 with size 3"),
    (-4, IndexError, r"index -4 is out of range for axis 0 with size 3"),
    ((0, 4), IndexError, r"index 4 is out of range for axis 1 with size 4"),
    ((0, 0, 0, 0), IndexError, r"too many indices: 4 for 3 dimensions, shape \(3, 4, 5\)"),
    ((..., ...), IndexError, r"only one `\.\.\.`"),
    (10**30, IndexError, "out of range"),
    (slice(None, None, 0), ValueError, "step of a slice must not be 0"),
    (slice(0.5, None), TypeError, r"got slice\(0\.5"),
    (1.0, TypeError, "got 1.0"),
    ("a", TypeError, "got 'a'"),
    ({"a": 1}, TypeError, "got {'a': 1}"),
    ([0.5], TypeError, r"must be integers or bool; got float32 \(1,\)"),
    ([0, 3], IndexError, r"index 3 is out of range for axis 0 with size 3"),
    ((slice(None), [-5]), IndexError, r"index -5 is out of range for axis 1 with size 4"),
    (([0, 1], [0, 1, 2]), ValueError, r"\(2,\) and \(3,\) do not broadcast"),
    (np.ones(4, bool), IndexError, r"a mask must have the sizes.*\(4,\).*\(3, 4, 5\)"),
    (np.ones((3, 4, 5, 1), bool), IndexError, "too many indices"),
]


@pytest.mark.parametrize(("key", "kind", "message"), ERRORS, ids=lambda v: repr(v)[:30])
def test_errors(key, kind, message):
    x = wg.tensor(X)
    with pytest.raises(kind, match=message) as caught:
        x[key]
    assert isinstance(caught.value, wg.Error)
    with pytest.raises(kind) as caught:
        x[key] = 0.0
    assert isinstance(caught.value, wg.Error)
    same(x, X)


def test_assignment_errors():
    x = wg.zeros((2, 3))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        x[0] = wg.zeros(4)
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        x[[0, 1]] = wg.zeros((2, 2))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) does not fit"):
        x[0] = wg.zeros((2, 3))
    with pytest.raises(TypeError, match="float32 into int64"):
        wg.arange(3)[0] = 1.5
    with pytest.raises(TypeError, match="deleted"):
        del x[0]
    with pytest.raises(ValueError, match="broadcast view"):
        wg.broadcast_to(wg.zeros(1), (3,))[0] = 1.0
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        wg.asarray(frozen)[0] = 1.0


def test_empty_and_0d():
    e = wg.zeros((0, 3))
    assert e[:, 1].shape == (0,)
    assert e[[]].shape == (0, 3)
    assert e[wg.zeros(0, dtype=wg.bool)].shape == (0, 3)
    with pytest.raises(IndexError, match="index 0 is out of range for axis 0 with size 0"):
        e[0]
    s = wg.tensor(5.0)
    assert s[()].item() == 5.0
    assert s[...].shape == ()
    assert s[None].shape == (1,)
    assert s[True].shape == (1,)
    s[()] = 6.0
    assert s.item() == 6.0
