"""Detected patterns against the nonzeros of dense Jacobians: of single operations, where they must
be found exactly, and of random compositions, where none may be left out."""

import numpy as np
import pytest
import wengert as wg
from op_table import ROWS
from test_sparsity import dense, energy, residuals, tridiagonal
from wengert import sparsity


def detected(f, *args):
    return dense(sparsity.detect(f)(*args))


def test_untraceable_functions_are_told_to_give_a_pattern():
    def branches(x):
        return x * 2 if float(x[0]) > 0 else x

    for call in (wg.jacobian(branches, sparsity="detect"), sparsity.detect(branches)):
        with pytest.raises(wg.TraceError, match="Give the pattern instead: sparsity="):
            call(np.ones(2))
    with pytest.raises(wg.TraceError, match=r"^hessian: .*Give the pattern instead"):
        wg.hessian(lambda x: branches(x).sum(), sparsity="detect")(np.ones(2))


@pytest.mark.parametrize("n", [3, 12, 10_000])
def test_chains_written_in_slices(n):
    x = np.linspace(0.1, 1, n)
    found = sparsity.detect(residuals)(x)
    assert (found.dtype, found.nnz) == (bool, 3 * n - 2)
    assert (found != tridiagonal(n).astype(bool)).nnz == 0
    found = wg.hessian(energy, sparsity="detect")(x)
    assert found.nnz == 3 * n - 2
    np.testing.assert_allclose(
        found @ x, wg.hvp(energy, (wg.asarray(x),), (wg.asarray(x),)).numpy(), rtol=1e-9
    )


def test_linear_parts_have_an_empty_hessian():
    weights = wg.asarray(np.arange(1.0, 7.0).reshape(2, 3))
    for f in (
        lambda x: (weights @ x).sum(),
        lambda x: (wg.relu(weights @ x) * 2 - wg.abs(x).sum()).sum(),
        lambda x: wg.maximum(x, 0.5).sum() + wg.clip(x, -1.0, 1.0).max(),
        lambda x: wg.where(x > 0, x, 2 * x).sum() + (x * wg.floor(x)).sum(),
        lambda x: wg.asarray(3.0) + 0 * x[0],
    ):
        found = wg.hessian(f, sparsity="detect")(np.array([0.3, -0.2, 0.9]))
        assert (found.shape, found.nnz) == ((3, 3), 0)
    one = wg.hessian(lambda x: x.sum() + x[1] ** 2, sparsity="detect")(np.ones(3))
    np.testing.assert_array_equal(dense(one), np.diag([0.0, 2.0, 0.0]))


def test_what_has_no_derivative_contributes_nothing():
    x = np.array([0.3, -0.2, 0.9])
    for f in (
        lambda x: wg.stop_gradient(x).sum(),
        lambda x: wg.floor(x) + wg.sign(x),
        lambda x: (x > 0).astype("float64"),
        lambda x: x.astype("int64").astype("float64"),
        lambda x: wg.argsort(x).astype("float64"),
        lambda x: wg.ones(4),
    ):
        assert not detected(f, x).any()
    halves = detected(lambda x: wg.where(x[1:] > 0, x[:2], 0.0), x)
    np.testing.assert_array_equal(halves, [[True, False, False], [False, True, False]])


def test_the_argument_itself_and_constants():
    np.testing.assert_array_equal(detected(lambda x: x, np.ones(3)), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(detected(lambda x: x.T, np.ones((2, 2))), np.eye(4)[[0, 2, 1, 3]])
    only = detected(lambda x, y: x * y.sum(), np.ones(2), np.ones(5))
    np.testing.assert_array_equal(only, np.eye(2, dtype=bool))


@pytest.mark.parametrize("name", ["exp", "floor", "sum", "twice"])
def test_primitives_are_taken_as_full_whatever_their_name(name):
    def double(x):
        return x + x[::-1]

    double.__name__ = name
    double = wg.primitive(double)
    double.def_vjp(lambda ct, out, x: (ct + ct[::-1],))
    assert detected(lambda x: double(x[1:]) * 2, np.ones(3)).tolist() == [[False, True, True]] * 2
    found = wg.jacobian(double, sparsity="detect")(np.ones(2))
    np.testing.assert_array_equal(dense(found), np.ones((2, 2)))


def test_a_hessian_found_larger_on_one_side_is_mirrored():
    once = wg.primitive(lambda z: z * 1.0)
    once.def_vjp(lambda ct, out, z: (ct * 1.0,))

    def f(x):
        return once(x[:2])[0] * x[2]

    x = np.array([1.0, 2.0, 3.0])
    once_only = detected(wg.grad(f), x)
    assert (once_only != once_only.T).any()
    found = wg.hessian(f, sparsity="detect")(x)
    assert found.nnz == (once_only | once_only.T).sum()
    np.testing.assert_array_equal(dense(found), wg.hessian(f)(x).numpy())


@pytest.mark.parametrize(
    "f", [lambda x: x / x.sum(), lambda x: wg.sort(x), lambda x: wg.take(x, wg.argsort(x), axis=0)]
)
def test_too_large_a_pattern_is_refused(f):
    with pytest.raises(wg.OutOfMemory, match=r"^jacobian: .*10000000000 entries.*wg\.jvp"):
        wg.jacobian(f, sparsity="detect")(np.ones(100_000))


def test_a_pattern_that_was_detected_serves_other_points():
    pattern = sparsity.detect(residuals)(np.zeros(30))
    jacobian = wg.jacobian(residuals, sparsity=pattern)
    for x in np.random.default_rng(2).normal(size=(3, 30)):
        np.testing.assert_array_equal(dense(jacobian(x)), wg.jacobian(residuals)(x).numpy())


index = wg.asarray(np.array([3, 0, 3]))
grid = wg.asarray(np.array([[1, 0, 1, 2], [0, 0, 2, 1], [2, 2, 2, 0]]))
SQUARE = np.random.default_rng(5).normal(size=(4, 4))
square = wg.asarray(SQUARE)
batch = wg.asarray(np.stack([SQUARE] * 3))
column = wg.asarray(SQUARE[0])
flat4 = wg.asarray(SQUARE[:, 0])


# Maps of a (3, 4) array to some array, each with the pattern detection must find exactly: that of
# the dense Jacobian at a random point.
EXACT = {
    "elementwise": lambda x: wg.exp(x) * wg.tanh(x) / (x**2 + 1),
    "broadcast": lambda x: x * x[:1] + x[:, 2:3] - column,
    "transpose": lambda x: x.T,
    "reshape": lambda x: x.reshape(2, 6),
    "flip": lambda x: wg.flip(x, axis=1),
    "roll": lambda x: wg.roll(x, 2),
    "repeat": lambda x: wg.repeat(x, 2, axis=0),
    "tile": lambda x: wg.tile(x, (2, 2)),
    "concat": lambda x: wg.concat([x, wg.ones((1, 4), dtype="float64"), x[:1] ** 2]),
    "stack": lambda x: wg.stack([x[0], x[2] * 2, column]),
    "pad": lambda x: wg.pad(x, (1, 2), constant_values=3.0),
    "diagonal": lambda x: wg._core.ops.diagonal(x, offset=1),
    "tril": lambda x: wg.tril(x),
    "strides": lambda x: x[::-2, ::2],
    "take": lambda x: wg.take(x, index, axis=1),
    "gather": lambda x: x[wg.asarray(np.array([0, 2])), wg.asarray(np.array([1, 1]))],
    "along": lambda x: wg.take_along_axis(x, grid, axis=0),
    "scatter": lambda x: wg._core.ops.scatter_add(x, index, shape=(5, 4), axes=(0,)),
    "scatter along": lambda x: wg._core.ops.scatter_add_along_axis(x, grid, size=4, axis=0),
    "expand": lambda x: wg.expand_dims(x, axis=1) + wg.squeeze(x[:1]),
    "sum": lambda x: x.sum(axis=0),
    "all sums": lambda x: x.sum(axis=1, keepdims=True) * x.mean(axis=0),
    "prod": lambda x: x.prod(axis=(1,)),
    "variance": lambda x: wg.var(x, axis=1),
    "norm": lambda x: wg.linalg.vector_norm(x, axis=0),
    "logsumexp": lambda x: wg.logsumexp(x, axis=1),
    "softmax": lambda x: wg.nn.functional.softmax(x, dim=0),
    "matmul": lambda x: x @ square,
    "matmul left": lambda x: batch[0][:, :3] @ x,
    "matmul both": lambda x: x @ x.T,
    "matmul batch": lambda x: batch @ x[:, :, None],
    "vector left": lambda x: flat4 @ x.T,
    "vector right": lambda x: x @ flat4,
    "vectors": lambda x: x[0] @ x[1],
    "vector of x": lambda x: x[0] @ square,
    "matrix of x": lambda x: square @ x[0],
    "batch of vectors": lambda x: batch @ x[0],
    "linear": lambda x: wg.nn.functional.linear(x, square, column),
    "linear of weights": lambda x: wg.nn.functional.linear(square, x, x[:, 0]),
    "layer norm": lambda x: wg.nn.functional.layer_norm(x, (4,)),
    "layer norm weights": lambda x: wg.nn.functional.layer_norm(square, (4,), x[0], x[1]),
    "cross entropy": lambda x: wg.nn.functional.cross_entropy(x, index[:3], reduction="none"),
    "astype": lambda x: x.astype("float32").astype("float64"),
    "copy": lambda x: wg._core.ops.copy(x),
    "assigned": lambda x: wg.concat([x[:2].reshape(-1), x[2] * x[0, 0]]),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_patterns(name):
    f = EXACT[name]
    x = np.random.default_rng(7).uniform(0.5, 1.5, (3, 4))
    expected = wg.jacobian(f)(x).numpy()
    expected = expected.reshape(-1, 12)
    np.testing.assert_array_equal(detected(f, x), expected != 0)
    found = wg.jacobian(f, sparsity="detect")(x)
    np.testing.assert_allclose(dense(found), expected, rtol=1e-12, atol=1e-14)


# Maps of a (3, 4) array to one like it, whose pattern may be found larger than it is.
STEPS = [
    lambda x: wg.sin(x),
    lambda x: x * x[:, ::-1],
    lambda x: wg.roll(x, 1, axis=1) * x,
    lambda x: x - x.mean(axis=0),
    lambda x: wg.cumulative_sum(x, axis=1),
    lambda x: wg._core.ops.cumulative_prod(x, axis=0),
    lambda x: wg.sort(x, axis=1),
    lambda x: wg.where(x > 0.5, x, wg.flip(x, axis=0)),
    lambda x: wg.maximum(x, x[1:2]),
    lambda x: wg.take_along_axis(x, wg.argsort(x, axis=0), axis=0),
    lambda x: wg.take(x, wg.argmax(x, axis=1), axis=1)[:, :1] * x,
    lambda x: x / wg.max(x),
    lambda x: wg.nn.functional.log_softmax(x, dim=1),
    lambda x: wg.nn.functional.rms_norm(x, (4,), x[0]),
    lambda x: x @ square,
    lambda x: (x.T @ x[:, :3]).T,
    lambda x: wg.concat([x[1:], x[:1] ** 2]),
    lambda x: wg.tril(x) + wg.floor(x),
    lambda x: wg._core.ops.linear_recurrence(x, wg.cos(x), axis=1),
    lambda x: x * wg.stop_gradient(x),
    lambda x: wg.clip(x, 0.2, 0.9) * 3,
    lambda x: wg.pad(x[1:, 1:], ((1, 0), (0, 1))) + 0.25,
    lambda x: wg.vmap(lambda row: row * row.sum())(x),
    lambda x: wg.grad(lambda z: (z**3 * z[0]).sum())(x),
]


@pytest.mark.parametrize("seed", range(60))
def test_detected_patterns_hold_the_true_one(seed):
    rng = np.random.default_rng(seed)
    steps = [STEPS[i] for i in rng.integers(0, len(STEPS), rng.integers(1, 4))]

    def f(x):
        for step in steps:
            x = step(x)
        return x[:, : 1 + seed % 4]

    x = rng.uniform(0.1, 1.1, (3, 4))
    true = wg.jacobian(f)(x).numpy().reshape(-1, 12) != 0
    pattern = detected(f, x)
    assert not (true & ~pattern).any()

    def g(x):
        return (f(x) * wg.asarray(rng_weights)).sum()

    rng_weights = rng.normal(size=(3, 1 + seed % 4))
    true = wg.hessian(g)(x).numpy().reshape(12, 12)
    found = dense(wg.hessian(g, sparsity="detect")(x))
    np.testing.assert_allclose(found, true, rtol=1e-6, atol=1e-8 * np.abs(true).max(initial=1))


def test_every_row_of_the_table_is_known_or_taken_as_full():
    """For each differentiable row, on its own cases: no nonzero lies outside the pattern."""
    tried = set()
    for row in ROWS.values():
        if not wg._core.op_table[row.name]["differentiable"]:
            continue
        for case in row.cases:
            arrays = row.arrays(case, "float64")
            for i, x in enumerate(arrays):
                op = getattr(wg._core.ops, row.name)

                def f(x):
                    found = op(*arrays[:i], x, *arrays[i + 1 :], **case.attrs)
                    return found[0] if isinstance(found, tuple) else found

                if x.dtype.kind != "f" or f(wg.asarray(x)).dtype.kind != "f":
                    continue
                pattern = detected(f, x)
                true = wg.jacrev(f)(x).numpy().reshape(pattern.shape)
                assert not ((true != 0) & ~pattern).any(), (row.name, str(case), i)
                tried.add(row.name)
    assert len(tried) > 100
