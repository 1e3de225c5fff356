"""Array functions: the standard's names and signatures, compositions and creation against NumPy."""

import inspect
import math

import numpy as np
import pytest
import wengert as wg

A = np.array([[1.5, -2.0, 3.0], [0.25, 5.0, -6.0]])
K = np.array([[3, -1, 4], [1, 5, -9]])

STANDARD = """
    abs acos acosh add all any arange argmax argmin asarray asin asinh astype atan atan2 atanh
    bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    bool broadcast_arrays broadcast_to can_cast ceil clip concat conj copysign cos cosh
    count_nonzero cumulative_prod cumulative_sum diff divide e empty empty_like equal exp
    expand_dims expm1 eye finfo flip float32 float64 floor floor_divide from_dlpack full
    full_like greater greater_equal hypot iinfo imag inf int32 int64 isdtype isfinite isinf
    isnan less less_equal linalg linspace log log10 log1p log2 logaddexp logical_and
    logical_not logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min
    minimum moveaxis multiply nan negative newaxis nonzero not_equal ones ones_like
    permute_dims pi positive pow prod real reciprocal remainder repeat reshape result_type
    roll round searchsorted sign signbit sin sinh sqrt square squeeze stack std subtract sum
    take take_along_axis tan tanh tensordot tile tril triu trunc uint8 unstack var vecdot
    where zeros zeros_like
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", STANDARD)
def test_the_standard_names_are_there(name):
    assert hasattr(wg, name)


def test_exports_exist_once_and_are_documented():
    from wengert import functions

    assert len(set(functions.__all__)) == len(functions.__all__)
    for name in functions.__all__:
        value = getattr(functions, name)
        if callable(value) and not isinstance(value, type):
            assert value.__doc__ and len(value.__doc__) > 20, name


SIGNATURES = {
    "arange": ["start", "stop", "step", "dtype", "device"],
    "asarray": ["obj", "dtype", "device", "copy"],
    "astype": ["x", "dtype", "copy", "device"],
    "broadcast_to": ["x", "shape"],
    "clip": ["x", "min", "max"],
    "concat": ["arrays", "axis"],
    "cumulative_sum": ["x", "axis", "dtype", "include_initial"],
    "diff": ["x", "axis", "n", "prepend", "append"],
    "expand_dims": ["x", "axis"],
    "eye": ["n_rows", "n_cols", "k", "dtype", "device"],
    "flip": ["x", "axis"],
    "full": ["shape", "fill_value", "dtype", "device"],
    "linspace": ["start", "stop", "num", "dtype", "device", "endpoint"],
    "matmul": ["x1", "x2"],
    "mean": ["x", "axis", "keepdims"],
    "moveaxis": ["x", "source", "destination"],
    "permute_dims": ["x", "axes"],
    "prod": ["x", "axis", "dtype", "keepdims"],
    "repeat": ["x", "repeats", "axis"],
    "reshape": ["x", "shape", "copy"],
    "roll": ["x", "shift", "axis"],
    "squeeze": ["x", "axis"],
    "stack": ["arrays", "axis"],
    "std": ["x", "axis", "correction", "keepdims"],
    "sum": ["x", "axis", "dtype", "keepdims"],
    "take": ["x", "indices", "axis"],
    "tensordot": ["x1", "x2", "axes"],
    "tile": ["x", "repetitions"],
    "tril": ["x", "k"],
    "vecdot": ["x1", "x2", "axis"],
    "where": ["condition", "x1", "x2"],
    "zeros": ["shape", "dtype", "device"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    function = getattr(wg, name)
    try:
        found = list(inspect.signature(function).parameters)
    except ValueError:
        head = function.__doc__.split("\n")[0]
        found = [
            part.split("=")[0].split(":")[0].strip("* ")
            for part in head[head.index("(") + 1 :].split(",")
        ]
        found = [part.rstrip(")").strip() for part in found if part]
    assert set(SIGNATURES[name]) <= set(found)


def same(actual, expected, rtol=1e-12):
    if isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            same(a, b, rtol)
        return
    assert isinstance(actual, wg.Tensor)
    assert actual.shape == np.shape(expected)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=rtol, atol=1e-15)


COMPOSITIONS = [
    (
        lambda: wg.moveaxis(np.ones((2, 3, 4)), [0, 1], [-1, 0]),
        lambda: np.moveaxis(np.ones((2, 3, 4)), [0, 1], [-1, 0]),
    ),
    (lambda: wg.moveaxis(A, 0, 1), lambda: A.T),
    (lambda: wg.swapaxes(A, 0, -1), lambda: A.T),
    (lambda: wg.transpose(A), lambda: A.T),
    (lambda: wg.unstack(A, axis=1), lambda: list(A.T)),
    (lambda: wg.split(A, 3, axis=1), lambda: np.split(A, 3, axis=1)),
    (lambda: wg.split(A, [1, 2], axis=1), lambda: np.split(A, [1, 2], axis=1)),
    (lambda: wg.array_split(np.arange(10.0), 4), lambda: np.array_split(np.arange(10.0), 4)),
    (lambda: wg.array_split(np.arange(2.0), 4), lambda: np.array_split(np.arange(2.0), 4)),
    (lambda: wg.broadcast_arrays(A, A[0]), lambda: list(np.broadcast_arrays(A, A[0]))),
    (lambda: wg.meshgrid(A[0], A[1]), lambda: np.meshgrid(A[0], A[1])),
    (
        lambda: wg.meshgrid(A[0], A[1], A[0, :2], indexing="ij"),
        lambda: np.meshgrid(A[0], A[1], A[0, :2], indexing="ij"),
    ),
    (lambda: wg.meshgrid(A[0], A[1], A[0, :2]), lambda: np.meshgrid(A[0], A[1], A[0, :2])),
    (lambda: wg.atleast_1d(3.0), lambda: np.array([3.0])),
    (lambda: wg.atleast_2d(A[0]), lambda: A[:1]),
    (lambda: wg.atleast_3d(A[0]), lambda: np.atleast_3d(A[0])),
    (lambda: wg.atleast_3d(A), lambda: np.atleast_3d(A)),
    (lambda: wg.atleast_3d(2.0), lambda: np.atleast_3d(2.0)),
    (lambda: wg.hstack([A, A]), lambda: np.hstack([A, A])),
    (lambda: wg.hstack([A[0], A[1]]), lambda: np.hstack([A[0], A[1]])),
    (lambda: wg.vstack([A, A[0]]), lambda: np.vstack([A, A[0]])),
    (lambda: wg.concat([A, A], axis=1), lambda: np.concatenate([A, A], axis=1)),
    (lambda: wg.stack([A, A], axis=-1), lambda: np.stack([A, A], axis=-1)),
    (lambda: wg.pad(A, 1), lambda: np.pad(A, 1)),
    (lambda: wg.pad(A, (1, 2), constant_values=7), lambda: np.pad(A, (1, 2), constant_values=7)),
    (lambda: wg.pad(A, ((1, 0), (2, 3))), lambda: np.pad(A, ((1, 0), (2, 3)))),
    *[
        (lambda m=m: wg.pad(A, ((1, 0), (2, 3)), m), lambda m=m: np.pad(A, ((1, 0), (2, 3)), m))
        for m in ("edge", "reflect", "symmetric", "wrap")
    ],
    (lambda: wg.diagonal(A, 1), lambda: np.diagonal(A, 1)),
    (
        lambda: wg.diagonal(np.ones((2, 3, 4)), -1, 2, 0),
        lambda: np.diagonal(np.ones((2, 3, 4)), -1, 2, 0),
    ),
    (lambda: wg.asarray(A).trace(1), lambda: np.trace(A, 1)),
    (lambda: wg.clip(A, -1, 2), lambda: np.clip(A, -1, 2)),
    (lambda: wg.clip(A, max=2), lambda: np.clip(A, None, 2)),
    (lambda: wg.clip(A, min=A[0]), lambda: np.clip(A, A[0], None)),
    (lambda: wg.clip(K, min=2), lambda: np.clip(K, 2, None)),
    (lambda: wg.clip(K.astype(np.uint8), max=4), lambda: np.clip(K.astype(np.uint8), None, 4)),
    (lambda: wg.cumulative_sum(A, axis=1), lambda: np.cumsum(A, 1)),
    (
        lambda: wg.cumulative_sum(A, axis=0, include_initial=True),
        lambda: np.vstack([[0, 0, 0], np.cumsum(A, 0)]),
    ),
    (lambda: wg.cumulative_sum(A[0]), lambda: np.cumsum(A[0])),
    (
        lambda: wg.cumulative_prod(A, axis=-1, include_initial=True),
        lambda: np.hstack([[[1], [1]], np.cumprod(A, 1)]),
    ),
    (lambda: wg.cumsum(A), lambda: np.cumsum(A)),
    (lambda: wg.cumprod(A, 0), lambda: np.cumprod(A, 0)),
    (lambda: wg.diff(A), lambda: np.diff(A)),
    (lambda: wg.diff(A, axis=0), lambda: np.diff(A, axis=0)),
    (lambda: wg.diff(A, n=2, prepend=A, append=A), lambda: np.diff(A, n=2, prepend=A, append=A)),
    (lambda: wg.diff(A > 0), lambda: np.diff(A > 0)),
    (lambda: wg.average(A, weights=A**2), lambda: np.average(A, weights=A**2)),
    (lambda: wg.average(A, 1, weights=A[1] ** 2), lambda: np.average(A, 1, weights=A[1] ** 2)),
    (lambda: wg.average(A, 0), lambda: A.mean(0)),
    (lambda: wg.ptp(A, 0), lambda: np.ptp(A, 0)),
    (lambda: wg.nonzero(A > 0), lambda: list(np.nonzero(A > 0))),
    (lambda: wg.tril_indices(3, -1, 4), lambda: list(np.tril_indices(3, -1, 4))),
    (lambda: wg.triu_indices(3), lambda: list(np.triu_indices(3))),
    (
        lambda: wg.isclose([1.0, math.inf, math.nan], [1.0 + 1e-7, math.inf, math.nan]),
        lambda: np.array([1, 1, 0]),
    ),
    (lambda: wg.isclose([math.nan], [math.nan], equal_nan=True), lambda: np.array([1])),
    (lambda: wg.isclose([1.0, -math.inf], [math.inf, math.inf]), lambda: np.array([0, 0])),
    (
        lambda: wg.nan_to_num(np.array([np.nan, np.inf, -np.inf, 2])),
        lambda: np.nan_to_num(np.array([np.nan, np.inf, -np.inf, 2])),
    ),
    (
        lambda: wg.nan_to_num(np.array([np.inf, -np.inf]), posinf=1, neginf=2),
        lambda: np.array([1.0, 2.0]),
    ),
    (lambda: wg.deg2rad(A), lambda: np.deg2rad(A)),
    (lambda: wg.rad2deg(A), lambda: np.rad2deg(A)),
    (lambda: wg.diag(A[0]), lambda: np.diag(A[0])),
    (lambda: wg.diag(A[0], -2), lambda: np.diag(A[0], -2)),
    (lambda: wg.diag(A[0], 1), lambda: np.diag(A[0], 1)),
    (lambda: wg.diag(A, 1), lambda: np.diag(A, 1)),
    (lambda: wg.reshape(A, (3, -1)), lambda: A.reshape(3, -1)),
    (lambda: wg.astype(A, wg.int64), lambda: A.astype(np.int64)),
    (lambda: wg.where(A > 0, A, 0), lambda: np.where(A > 0, A, 0)),
    (lambda: wg.std(A, axis=0, correction=1), lambda: np.std(A, 0, ddof=1)),
    (lambda: wg.count_nonzero(K > 0, axis=1), lambda: np.count_nonzero(K > 0, axis=1)),
    (lambda: wg.logsumexp(A, 1), lambda: np.log(np.exp(A).sum(1))),
    (lambda: wg.linalg.vector_norm(A, axis=1), lambda: np.linalg.norm(A, axis=1)),
    *[
        (
            lambda o=o: wg.linalg.vector_norm(A, axis=1, ord=o),
            lambda o=o: np.linalg.norm(A, axis=1, ord=o),
        )
        for o in (0, 1, 2, 3, 2.5, -1, math.inf, -math.inf)
    ],
    (lambda: wg.linalg.vector_norm(A), lambda: np.linalg.norm(A)),
    *[
        (lambda o=o: wg.linalg.matrix_norm(A, ord=o), lambda o=o: np.linalg.norm(A, ord=o))
        for o in ("fro", 1, -1, math.inf, -math.inf)
    ],
    (
        lambda: wg.linalg.matrix_norm(A, ord=1, keepdims=True),
        lambda: np.linalg.norm(A, ord=1, keepdims=True),
    ),
    (lambda: wg.linalg.norm(A), lambda: np.linalg.norm(A)),
    (lambda: wg.linalg.norm(A, axis=0), lambda: np.linalg.norm(A, axis=0)),
    (lambda: wg.linalg.norm(A[None], 1, (2, 0)), lambda: np.linalg.norm(A[None], 1, (2, 0))),
    (
        lambda: wg.linalg.norm(A[None], 1, (2, 0), True),
        lambda: np.linalg.norm(A[None], 1, (2, 0), True),
    ),
    (lambda: wg.linalg.outer(A[0], A[1]), lambda: np.outer(A[0], A[1])),
    (lambda: wg.linalg.trace(A[:, :2]), lambda: np.trace(A[:, :2])),
    (lambda: wg.linalg.cross(A, A[::-1]), lambda: np.cross(A, A[::-1])),
    (lambda: wg.linalg.matrix_power(A[:, :2], 5), lambda: np.linalg.matrix_power(A[:, :2], 5)),
    (lambda: wg.linalg.matrix_power(A[:, :2], 0), lambda: np.eye(2)),
]


@pytest.mark.parametrize(("ours", "theirs"), COMPOSITIONS, ids=str)
def test_compositions(ours, theirs):
    expected = theirs()
    same(ours(), list(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 100):
        a = np.sort(rng.integers(0, 20, n).astype(float))
        v = rng.integers(-1, 22, (5, 6)).astype(float)
        same(wg.searchsorted(a, v, side=side), np.searchsorted(a, v, side=side))
    order = np.array([2, 0, 1])
    unsorted = np.array([2.0, 3.0, 1.0])
    same(
        wg.searchsorted(unsorted, [2.5], sorter=order),
        np.searchsorted(unsorted, [2.5], sorter=order),
    )


CREATION = [
    (lambda: wg.zeros(3), np.zeros(3, np.float32)),
    (lambda: wg.zeros((2, 0)), np.zeros((2, 0), np.float32)),
    (lambda: wg.zeros(()), np.zeros((), np.float32)),
    (lambda: wg.ones([2, 2], dtype=wg.int32), np.ones((2, 2), np.int32)),
    (lambda: wg.ones(2, dtype=wg.bool), np.ones(2, bool)),
    (lambda: wg.full(2, 7), np.full(2, 7)),
    (lambda: wg.full(2, 2**62 + 1), np.full(2, 2**62 + 1)),
    (lambda: wg.full(2, True), np.full(2, True)),
    (lambda: wg.full((2,), 1.5), np.full(2, 1.5, np.float32)),
    (lambda: wg.full((2, 3), A[0]), np.full((2, 3), A[0])),
    (lambda: wg.full(2, math.nan, dtype=wg.float64), np.full(2, np.nan)),
    (lambda: wg.zeros_like(K), np.zeros_like(K)),
    (lambda: wg.ones_like(wg.tensor(A)), np.ones_like(A)),
    (lambda: wg.full_like(A, 3), np.full_like(A, 3)),
    (lambda: wg.full_like(A, 3, dtype=wg.int32), np.full_like(A, 3, dtype=np.int32)),
    (lambda: wg.arange(5), np.arange(5)),
    (lambda: wg.arange(2, 9, 3), np.arange(2, 9, 3)),
    (lambda: wg.arange(9, 2, -3), np.arange(9, 2, -3)),
    (lambda: wg.arange(9, 2), np.arange(9, 2)),
    (lambda: wg.arange(-(2**63), 2**63 - 1, 2**62), np.arange(-(2**63), 2**63 - 1, 2**62)),
    (lambda: wg.arange(3.0), np.arange(3.0, dtype=np.float32)),
    (lambda: wg.arange(0, 1, 0.1, dtype=wg.float64), np.arange(0, 1, 0.1)),
    (lambda: wg.arange(5, dtype=wg.float64), np.arange(5.0)),
    (lambda: wg.linspace(0, 1, 7, dtype=wg.float64), np.linspace(0, 1, 7)),
    (
        lambda: wg.linspace(2, -1, 4, dtype=wg.float64, endpoint=False),
        np.linspace(2, -1, 4, endpoint=False),
    ),
    (lambda: wg.linspace(3, 4, 1), np.array([3], np.float32)),
    (lambda: wg.linspace(3, 4, 0), np.array([], np.float32)),
    (lambda: wg.logspace(0, 3, 4, dtype=wg.float64), np.logspace(0, 3, 4)),
    (lambda: wg.eye(3), np.eye(3, dtype=np.float32)),
    (lambda: wg.eye(3, 5, k=2, dtype=wg.int64), np.eye(3, 5, k=2, dtype=np.int64)),
    (lambda: wg.eye(4, 2, k=-1), np.eye(4, 2, k=-1, dtype=np.float32)),
    (lambda: wg.eye(2, k=10**18), np.eye(2, k=10, dtype=np.float32)),
    (lambda: wg.eye(2, k=-(10**18)), np.eye(2, k=-10, dtype=np.float32)),
    (lambda: wg.eye(0), np.eye(0, dtype=np.float32)),
    (lambda: wg.identity(2), np.identity(2, np.float32)),
    (lambda: wg.tri(3, 4, 1), np.tri(3, 4, 1, np.float32)),
    (lambda: wg.tril(A, -1), np.tril(A, -1)),
    (lambda: wg.triu(A), np.triu(A)),
]


@pytest.mark.parametrize(("make", "expected"), CREATION, ids=str)
def test_creation(make, expected):
    made = make()
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    np.testing.assert_array_equal(made.numpy(), expected)
    # New memory, all of it: writable in place.
    made.assign(made)


def test_empty():
    assert wg.empty((2, 3)).shape == (2, 3)
    assert wg.empty((2, 3)).dtype == wg.float32
    assert wg.empty_like(K).dtype == wg.int64
    assert wg.empty_like(K, dtype=wg.bool).shape == K.shape


def test_gradients_through_creation():
    value = wg.tensor(2.0, requires_grad=True)
    wg.full((3, 2), value).sum().backward()
    assert value.grad.item() == 6
    low, high = wg.tensor(0.0, requires_grad=True), wg.tensor(1.0, requires_grad=True)
    grid = wg.linspace(low, high, 5)
    grid.sum().backward()
    assert (low.grad.item(), high.grad.item()) == (2.5, 2.5)
    v = wg.tensor([1.0, 2.0], requires_grad=True)
    (wg.diag(v, 1) * 3).sum().backward()
    assert v.grad.tolist() == [3, 3]


def test_dtypes():
    assert wg.result_type(wg.int32, wg.int64) == wg.int64
    assert wg.result_type(wg.int64, wg.float32) == wg.float32
    assert wg.result_type(wg.ones(1), 2.5, wg.float64) == wg.float64
    assert wg.result_type(wg.arange(2), 2.5) == wg.float32
    assert wg.result_type(wg.uint8, 3) == wg.uint8
    assert wg.result_type(wg.bool, 3) == wg.int64
    assert wg.result_type(wg.bool, True) == wg.bool
    assert wg.promote_types("int32", "float64") == wg.float64
    assert wg.can_cast(wg.int32, wg.float32)
    assert not wg.can_cast(wg.float64, wg.float32)
    assert wg.can_cast(wg.arange(2), wg.int64)
    assert wg.finfo(wg.float64).bits == 64
    assert wg.finfo(wg.ones(1)).eps == np.finfo(np.float32).eps
    assert wg.iinfo(wg.uint8).max == 255
    assert wg.isdtype(wg.float32, "real floating") and not wg.isdtype(wg.bool, "numeric")
    assert wg.isdtype(wg.int32, ("bool", "integral")) and wg.isdtype(wg.int32, wg.int32)


def test_numbers_keep_their_digits_beside_float64():
    x = np.array([1.0])
    assert wg.multiply(x, 0.1).item() == 0.1
    assert wg.multiply(0.1, wg.tensor(x)).item() == 0.1
    assert wg.where(wg.tensor([True]), 0.1, wg.tensor(x)).item() == 0.1
    assert wg.clip(wg.tensor(x), 0.0, 0.1).item() == 0.1


def test_closeness_and_equality():
    assert wg.allclose(A, A + 1e-12)
    assert not wg.allclose(A, A + 1e-3)
    assert wg.array_equal(A, A)
    assert not wg.array_equal(A, A[0])
    assert not wg.array_equal(A, A + 1)


def test_views_share_memory():
    x = wg.tensor(A)
    parts = [
        wg.moveaxis(x, 0, 1),
        wg.swapaxes(x, 0, 1),
        *wg.unstack(x),
        *wg.split(x, 3, 1),
        wg.diagonal(x),
    ]
    parts += [
        wg.atleast_3d(x),
        *wg.broadcast_arrays(x, A[0])[:1],
        wg.linalg.diagonal(x),
        wg.reshape(x, -1),
    ]
    for part in parts:
        assert np.shares_memory(part.numpy(), x.numpy())
    assert not np.shares_memory(wg.reshape(x, (3, 2), copy=True).numpy(), x.numpy())


ERRORS = [
    (lambda: wg.zeros(-1), ValueError, r"zeros: sizes must not be negative; got \(-1,\)"),
    (lambda: wg.zeros((2, 3.5)), TypeError, r"zeros: 'shape' takes an int.*got \(2, 3.5\)"),
    (lambda: wg.zeros("ab"), TypeError, "zeros: 'shape' takes an int"),
    (lambda: wg.zeros(10**14), MemoryError, "bytes asked for"),
    (lambda: wg.empty((10**10, 10**10)), MemoryError, r"too many elements"),
    (lambda: wg.ones(10**30), MemoryError, "beyond any memory"),
    (lambda: wg.ones((1,) * 40), ValueError, "at most 32 axes"),
    (lambda: wg.zeros(2, dtype="complex64"), TypeError, "complex64"),
    (lambda: wg.zeros(2, device="cuda"), ValueError, "only device is 'cpu'; got 'cuda'"),
    (lambda: wg.asarray(A, device="cuda"), ValueError, "only device is 'cpu'; got 'cuda'"),
    (lambda: wg.full(2, "a"), TypeError, "'a'"),
    (lambda: wg.full(2, [1.0, 2.0, 3.0]), ValueError, "one number"),
    (lambda: wg.arange(0, 5, 0), ValueError, "'step' must not be 0"),
    (lambda: wg.arange(0, 1e300, 1e-300), MemoryError, "too many"),
    (lambda: wg.arange(0, math.nan), ValueError, "no length"),
    (lambda: wg.arange("a"), TypeError, "'stop' takes a number; got 'a'"),
    (lambda: wg.arange(10**15), MemoryError, "bytes|elements"),
    (lambda: wg.linspace(0, 1, -1), ValueError, "must not be negative; got -1"),
    (lambda: wg.eye(-1), ValueError, "negative"),
    (lambda: wg.eye(10**9), MemoryError, "bytes"),
    (lambda: wg.diag(np.ones((1, 1, 1))), ValueError, r"shape \(1, 1, 1\)"),
    (lambda: wg.meshgrid(A), ValueError, r"1-d arrays; got shape \(2, 3\)"),
    (lambda: wg.meshgrid(A[0], indexing="x"), ValueError, "'xy' or 'ij'; got 'x'"),
    (lambda: wg.moveaxis(A, 2, 0), ValueError, "axis 2 is out of range for 2 dimensions"),
    (lambda: wg.moveaxis(A, (0, 0), (0, 1)), ValueError, "distinct"),
    (lambda: wg.moveaxis(A, (0, 1), 0), ValueError, "as many sources"),
    (lambda: wg.swapaxes(A, 0, 5), ValueError, "axis 5"),
    (lambda: wg.split(A, 2, axis=1), ValueError, "3 elements do not divide into 2"),
    (lambda: wg.array_split(A, 0), ValueError, "is at least 1; got 0"),
    (lambda: wg.unstack(A, axis=2), ValueError, "axis 2"),
    (lambda: wg.broadcast_arrays(A, np.ones(4)), ValueError, r"\(2, 3\), \(4,\) do not broadcast"),
    (lambda: wg.pad(A, -1), ValueError, "non-negative"),
    (lambda: wg.pad(A, (1, 2, 3)), ValueError, r"one an axis of \(2, 3\)"),
    (lambda: wg.pad(A, 1, "mirror"), ValueError, "got 'mirror'"),
    (lambda: wg.pad(np.ones((0, 2)), 1, "edge"), IndexError, "needs elements along axis 0"),
    (lambda: wg.cumulative_sum(A), ValueError, r"'axis' is needed.*\(2, 3\)"),
    (lambda: wg.diff(A, n=-1), ValueError, "got -1"),
    (lambda: wg.diff(1.0), ValueError, "at least 1 dimension"),
    (lambda: wg.average(A, weights=A[0]), ValueError, r"got \(3,\)"),
    (lambda: wg.nonzero(wg.tensor(1.0)), ValueError, r"at least 1 dimension; got \(\)"),
    (lambda: wg.searchsorted(A, 1.0), ValueError, r"1 dimension; got \(2, 3\)"),
    (lambda: wg.searchsorted(A[0], 1.0, side="up"), ValueError, "got 'up'"),
    (lambda: wg.finfo(wg.int32), TypeError, "int32. Use iinfo"),
    (lambda: wg.iinfo(wg.float32), TypeError, "float32. Use finfo"),
    (lambda: wg.isdtype(wg.float32, "float"), ValueError, "unknown kind 'float'"),
    (lambda: wg.result_type(), ValueError, "at least one"),
    (lambda: wg.result_type("float16"), TypeError, "'float16' is not supported"),
    (lambda: wg.positive(wg.tensor(True)), TypeError, "got bool"),
    (lambda: wg.from_dlpack([1]), ValueError, "got a list"),
    (lambda: wg.linalg.outer(A, A[0]), ValueError, r"\(2, 3\) and \(3,\)"),
    (lambda: wg.linalg.cross(A[:, :2], A), ValueError, r"size 3 in both; got \(2, 2\)"),
    (lambda: wg.linalg.matrix_power(A, 2), ValueError, r"square matrices; got \(2, 3\)"),
    (lambda: wg.linalg.matrix_power(A[:, :2], -1), ValueError, "got -1"),
    (lambda: wg.linalg.matrix_norm(A[0]), ValueError, r"got \(3,\)"),
    (lambda: wg.linalg.matrix_norm(A, ord=3), ValueError, "got 3"),
    (lambda: wg.linalg.vector_norm(A, ord="x"), ValueError, "got 'x'"),
    (lambda: wg.linalg.norm(np.ones((2, 2, 2)), 1), ValueError, "one axis or two"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=lambda v: str(v)[:40])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, wg.Error)


@pytest.mark.parametrize("x", [[1.0, 2.0], [[1, 2], [3, 4]]])
def test_pad_with_a_tensor(x):
    x = np.array(x)
    for value in (2.5, -1):
        found = wg.pad(x, (1, 2), constant_values=wg.tensor(value))
        assert found.dtype == x.dtype
        assert found.tolist() == np.pad(x, (1, 2), constant_values=value).tolist()
    if x.dtype == np.float64:
        wg.check_grads(lambda x, s: wg.pad(x, (1, 2), constant_values=s), (x, np.float64(3.0)))
    with pytest.raises(wg.ShapeError, match=r"pad: 'constant_values' is one number; got .*\(1,\)"):
        wg.pad(x, 1, constant_values=wg.ones(1))


def test_logspace_with_a_base_that_varies():
    wg.check_grads(lambda b: wg.logspace(0, 2, 3, base=b, dtype=b.dtype), np.float64(10.0))
    assert wg.logspace(0, 2, 3, base=wg.tensor(10.0)).tolist() == [1.0, 10.0, 100.0]


def test_an_int_beyond_int64_is_a_float_where_one_is_meant():
    large = 10**30
    assert wg.full(2, large, dtype=wg.float32).tolist() == wg.full(2, 1e30).tolist()
    assert wg.full_like(wg.ones(2), large).tolist() == wg.full(2, 1e30).tolist()
    assert wg.nan_to_num(wg.tensor([np.nan]), nan=large).tolist() == wg.full(1, 1e30).tolist()
    assert wg.isclose(wg.ones(1), wg.zeros(1), atol=large).all()
    with pytest.raises(wg.DTypeError, match="does not fit int64"):
        wg.full(2, large)
    with pytest.raises(wg.DTypeError, match=r"^full: the Python integer does not fit a float"):
        wg.full(2, 10**400, dtype=wg.float64)
