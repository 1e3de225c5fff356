"""Sparse Jacobians and Hessians against dense ones, and colourings against their definition."""

import itertools
import sys

import numpy as np
import pytest
import wengert as wg
from wengert import colouring, sparsity

sp = pytest.importorskip("scipy.sparse")


def tridiagonal(n):
    return sp.csr_array(sp.diags([np.ones(max(n - abs(k), 0)) for k in (-1, 0, 1)], [-1, 0, 1]))


def arrow(n):
    dense = np.eye(n, dtype=bool)
    dense[0] = dense[:, 0] = True
    return dense


def residuals(x):
    """A chain in slices: output i reads x[i - 1], x[i] and x[i + 1]."""
    inner = wg.sin(x[:-2]) * x[1:-1] - x[2:] ** 2
    return wg.concat([x[:1] * x[1:2], inner, x[-1:] - x[-2:-1] ** 3])


def energy(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def on_pattern(places, weights):
    """A function whose Jacobian is not 0 exactly at the places (row, column)."""
    row, column = places
    weights = wg.asarray(weights)

    def f(x):
        terms = wg.sin(wg.take(x.reshape(-1), wg.asarray(column), axis=0)) * weights
        index = wg.asarray(row)
        return wg._core.ops.scatter_add(terms, index, shape=(f.rows,), axes=(0,))

    return f


def random_pattern(rng, rows, columns, density):
    return rng.random((rows, columns)) < density


def dense(matrix):
    return matrix.toarray()


def directions(monkeypatch):
    """The numbers of directions of the sweeps from now on."""
    seen = []
    vmap = sparsity.vmap

    def counting(f):
        def call(block):
            seen.append(block.shape[0])
            return vmap(f)(block)

        return call

    monkeypatch.setattr(sparsity, "vmap", counting)
    return seen


# Known patterns.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("size", [(30, 20), (20, 30), (1, 9), (9, 1)])
def test_jacobian_of_random_patterns(size, density, dtype):
    rng = np.random.default_rng(int(100 * density) + size[0])
    pattern = random_pattern(rng, *size, density)
    f = on_pattern(pattern.nonzero(), rng.uniform(1, 2, pattern.sum()).astype(dtype))
    f.rows = size[0]
    x = rng.uniform(-1, 1, size[1]).astype(dtype)
    found = wg.jacobian(f, sparsity=pattern)(x)
    assert isinstance(found, sp.csr_array)
    assert found.dtype == dtype
    assert found.nnz == pattern.sum()
    np.testing.assert_array_equal(dense(found != 0), pattern)
    np.testing.assert_array_equal(dense(found), wg.jacobian(f)(x).numpy())
    np.testing.assert_array_equal(dense(wg.jacobian(f, sparsity="detect")(x)), dense(found))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_hessian_of_random_patterns(density, dtype):
    rng = np.random.default_rng(int(100 * density))
    n = 25
    row, column = random_pattern(rng, n, n, density).nonzero()
    weights = wg.asarray(rng.uniform(1, 2, row.size).astype(dtype))

    def f(x):
        return (wg.sin(x[row] * x[column]) * weights).sum()

    x = rng.uniform(-1, 1, n).astype(dtype)
    expected = wg.hessian(f)(x).numpy()
    pattern = np.zeros((n, n), bool)
    for i, j in ((row, column), (column, row), (row, row), (column, column)):
        pattern[i, j] = True
    for given in (pattern, sp.coo_array(pattern), np.tril(pattern)):
        found = wg.hessian(f, sparsity=given)(x)
        kept = np.asarray(given.todense() if sp.issparse(given) else given)
        assert found.dtype == dtype
        assert found.nnz == kept.sum()
        np.testing.assert_allclose(dense(found), expected * kept, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        dense(sparsity.detect(wg.grad(f))(x)), pattern, "the gradient's own dependence"
    )


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_every_form_of_pattern(form):
    x = np.linspace(0.1, 1, 8)
    expected = wg.jacobian(residuals)(x).numpy()
    for given in (
        tridiagonal(8).asformat(form),
        sp.csr_matrix(tridiagonal(8)).asformat(form),
        dense(tridiagonal(8)) != 0,
        wg.asarray(dense(tridiagonal(8)) != 0),
        np.asfortranarray(dense(tridiagonal(8)) != 0),
    ):
        np.testing.assert_array_equal(dense(wg.jacobian(residuals, sparsity=given)(x)), expected)


def test_stored_zeros_and_repeats_are_places():
    given = sp.coo_array((np.zeros(4), ([0, 1, 1, 2], [0, 1, 1, 2])), shape=(3, 3))
    found = wg.jacobian(lambda x: x**2, sparsity=given)(np.arange(3.0))
    assert found.nnz == 3
    np.testing.assert_array_equal(dense(found), np.diag([0.0, 2.0, 4.0]))


def test_pattern_and_result_are_independent():
    given = tridiagonal(5)
    jacobian = wg.jacobian(residuals, sparsity=given)
    found = jacobian(np.ones(5))
    expected = dense(found)
    found.indices[:] = 0
    given.indices[:] = 0
    np.testing.assert_array_equal(dense(jacobian(np.ones(5))), expected)


def test_shaped_arguments_and_outputs():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 4))

    def f(scale, x):
        return (x[:, 1:] * x[:, :-1] * scale).T

    expected = wg.jacobian(f, argnums=1)(2.0, x).numpy().reshape(9, 12)
    for given in (expected != 0, "detect"):
        found = wg.jacobian(f, argnums=1, sparsity=given)(2.0, x)
        assert found.shape == (9, 12)
        np.testing.assert_array_equal(dense(found), expected)

    def g(x, power):
        return (x[1:] * x[:-1] ** power).sum()

    expected = wg.hessian(g)(x, power=2).numpy().reshape(12, 12)
    for given in (expected != 0, "detect"):
        found = wg.hessian(g, sparsity=given)(x, power=2)
        np.testing.assert_allclose(dense(found), expected, rtol=1e-14)
    number = wg.hessian(lambda x: x**3, sparsity=np.ones((1, 1), bool))(2.0)
    np.testing.assert_array_equal(dense(number), [[12.0]])


def test_argument_and_output_within_a_tree():
    def f(p):
        return {"y": p["x"] ** 2}

    found = wg.jacobian(f, sparsity=np.eye(2, dtype=bool))({"x": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(dense(found), np.diag([2.0, 4.0]))
    found = wg.jacobian(f, sparsity="detect")({"x": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(dense(found), np.diag([2.0, 4.0]))


def test_dtype_is_the_outputs():
    narrow = np.ones(3, np.float32)
    for given in (np.eye(3, dtype=bool), np.ones((3, 3), bool), "detect"):
        found = wg.jacobian(lambda x: x.astype("float64") * 2, sparsity=given)(narrow)
        assert found.dtype == np.float64

    def rows(x):
        return (x.astype("float64") * 2).sum(keepdims=True)

    assert wg.jacobian(rows, sparsity=np.ones((1, 3), bool))(narrow).dtype == np.float64
    empty = wg.jacobian(lambda x: wg.zeros(2), sparsity=np.zeros((2, 3), bool))(np.ones(3))
    assert (empty.shape, empty.nnz, empty.dtype) == ((2, 3), 0, np.float32)


@pytest.mark.parametrize("given", [np.zeros((0, 0), bool), "detect"])
def test_nothing_in_nothing_out(given):
    assert wg.jacobian(lambda x: x * 2, sparsity=given)(np.zeros(0)).shape == (0, 0)
    assert wg.hessian(lambda x: (x**2).sum(), sparsity=given)(np.zeros((2, 0))).shape == (0, 0)


def test_tracked_arguments_and_no_history():
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    w = wg.tensor([3.0, 4.0], requires_grad=True)
    for given in (np.eye(2, dtype=bool), "detect"):
        jacobian = wg.jacobian(lambda x: x * x * w, sparsity=given)
        hessian = wg.hessian(lambda x: (x**3 * w).sum(), sparsity=given)
        with wg.no_grad():
            np.testing.assert_array_equal(dense(jacobian(x)), np.diag([6.0, 16.0]))
            np.testing.assert_array_equal(dense(hessian(x)), np.diag([18.0, 48.0]))
        for call in (jacobian, hessian):
            with pytest.raises(wg.GraphError, match="is a constant; here it depends on a tensor"):
                call(x.detach())
        linear = wg.jacobian(lambda x: 2 * x, sparsity=given)
        np.testing.assert_array_equal(dense(linear(x)), np.diag([2.0, 2.0]))
    assert x.grad is None
    assert w.grad is None


@pytest.mark.parametrize("given", [np.eye(2, dtype=bool), "detect"])
def test_no_derivative_is_lost(given):
    """A sparse result is a constant: transforms around it that want its derivative are refused."""
    x = np.array([1.0, 2.0])

    def scaled(s):
        return s * wg.jacobian(lambda z: z * s, sparsity=given)(x).sum()

    def at(x):
        return wg.jacobian(lambda z: z**2, sparsity=given)(x).sum() * x.sum()

    def shifted(s):
        return s * wg.jacobian(lambda z: z * 3.0 + s, sparsity=given)(x).sum()

    for f, point in ((scaled, 3.0), (at, x)):
        for run in (lambda: wg.grad(f)(point), lambda: wg.jvp(f, (point,), (point,))):
            with pytest.raises(wg.GraphError, match=r"^jacobian: with 'sparsity', .*no_grad"):
                run()
    assert wg.grad(shifted)(3.0).item() == 6.0


def test_branches_on_values_with_a_given_pattern():
    def f(x):
        return x * 2 if float(x[0]) > 0 else x * 3

    jacobian = wg.jacobian(f, sparsity=np.eye(2, dtype=bool))
    np.testing.assert_array_equal(dense(jacobian(np.array([1.0, 1.0]))), np.eye(2) * 2)
    np.testing.assert_array_equal(dense(jacobian(np.array([-1.0, 1.0]))), np.eye(2) * 3)


# Colours and sweeps.


def block_diagonal(blocks, size):
    return np.kron(np.eye(blocks), np.ones((size, size))) != 0


def columns_are_apart(pattern, colours):
    return all((pattern[:, colours == c].sum(1) <= 1).all() for c in range(int(colours.max()) + 1))


def is_star_colouring(pattern, colours):
    n = len(pattern)
    near = [[j for j in range(n) if pattern[i, j] and i != j] for i in range(n)]
    for b, c in itertools.product(range(n), repeat=2):
        if c in near[b]:
            if colours[b] == colours[c]:
                return False
            for a, d in itertools.product(near[b], near[c]):
                path = {a, b, c, d}
                if len(path) == 4 and len({colours[i] for i in path}) < 3:
                    return False
    return True


@pytest.mark.parametrize("density", [0.02, 0.08, 0.2, 0.5])
def test_colourings_hold(density):
    rng = np.random.default_rng(int(100 * density))
    for n in (2, 7, 18, 18, 18):
        pattern = random_pattern(rng, n, n + 3, density)
        colours = colouring.colour_columns(sp.csr_array(pattern))
        assert colours.shape == (n + 3,)
        assert columns_are_apart(pattern, colours)
        pattern = pattern[:, :n] | pattern[:, :n].T | np.diag(rng.random(n) < 0.5)
        colours = colouring.colour_symmetric(sp.csr_array(pattern))
        assert is_star_colouring(pattern, colours)


@pytest.mark.parametrize(
    ("pattern", "jacobian", "hessian"),
    [
        (dense(tridiagonal(50)) != 0, 3, 3),
        (dense(tridiagonal(2)) != 0, 2, 2),
        (np.eye(9, dtype=bool), 1, 1),
        (arrow(20), 20, 2),
        (arrow(20)[::-1, ::-1], 20, 2),
        (block_diagonal(6, 4), 4, 4),
        (np.ones((5, 5), bool), 5, 5),
        (np.zeros((5, 5), bool), 1, 1),
    ],
    ids=["tridiagonal", "2x2", "diagonal", "arrow", "arrow up", "blocks", "full", "empty"],
)
def test_numbers_of_colours(pattern, jacobian, hessian):
    entries = sp.csr_array(pattern)
    assert colouring.plan_jacobian(entries).directions == jacobian
    assert colouring.plan_hessian(entries).directions == hessian


def test_rows_where_they_need_fewer_directions():
    wide = np.zeros((6, 12), bool)
    wide[0] = True
    wide[np.arange(6), np.arange(6)] = True
    by_rows = colouring.plan_jacobian(sp.csr_array(wide))
    assert (by_rows.by_rows, by_rows.directions) == (True, 2)
    by_columns = colouring.plan_jacobian(sp.csr_array(wide.T))
    assert (by_columns.by_rows, by_columns.directions) == (False, 2)


def test_a_long_chain_takes_three_colours():
    pattern = tridiagonal(100_000)
    assert colouring.plan_jacobian(pattern).directions == 3
    assert colouring.plan_hessian(pattern).directions == 3


def test_one_batched_sweep_of_as_many_directions(monkeypatch):
    seen = directions(monkeypatch)
    x = np.linspace(0, 1, 40)
    wg.jacobian(residuals, sparsity=tridiagonal(40))(x)
    wg.hessian(energy, sparsity=tridiagonal(40))(x)
    wg.jacobian(residuals, sparsity="detect")(x)
    wg.hessian(energy, sparsity="detect")(x)
    wg.hessian(lambda x: (x[0] * x).sum(), sparsity=arrow(40))(x)
    wg.jacobian(lambda x: x.sum(keepdims=True), sparsity=np.ones((1, 40), bool))(x)
    wg.jacobian(lambda x: wg.zeros(3), sparsity=np.zeros((3, 40), bool))(x)
    assert seen == [3, 3, 3, 3, 2, 1]


def test_large_problems_sweep_in_parts(monkeypatch):
    monkeypatch.setattr(sparsity, "NUMBERS_A_SWEEP", 25)
    seen = directions(monkeypatch)
    x = np.linspace(0.1, 1, 10)

    def f(x):
        return wg.sin(x) * x.sum()

    found = wg.jacobian(f, sparsity=np.ones((10, 10), bool))(x)
    assert seen == [2] * 5
    np.testing.assert_array_equal(dense(found), wg.jacobian(f)(x).numpy())

    def g(x):
        return wg.sin(x).sum() * x[:3]

    found = wg.jacobian(g, sparsity=np.ones((3, 10), bool))(x)
    assert seen == [2] * 5 + [2, 1]
    np.testing.assert_allclose(dense(found), wg.jacobian(g)(x).numpy(), rtol=1e-14)
    pattern = arrow(10)

    def h(x):
        return (x[0] * x**2).sum()

    monkeypatch.setattr(sparsity, "NUMBERS_A_SWEEP", 1)
    found = wg.hessian(h, sparsity=pattern)(x)
    np.testing.assert_allclose(dense(found), wg.hessian(h)(x).numpy(), rtol=1e-14)


# The check of given patterns.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_missing_nonzeros_are_noticed(dtype):
    x = np.linspace(0.1, 1, 12, dtype=dtype)
    full = dense(tridiagonal(12)) != 0
    for i, j in zip(*full.nonzero()):
        lacking = full.copy()
        lacking[i, j] = False
        if wg.jacobian(residuals)(x).numpy()[i, j] == 0:
            continue
        with pytest.raises(wg.ArgumentError, match=rf"^jacobian: .*row {i}:.*detect"):
            wg.jacobian(residuals, sparsity=lacking)(x)
    with pytest.raises(wg.ArgumentError, match=r"^hessian: 'sparsity' must hold every nonzero"):
        wg.hessian(energy, sparsity=np.eye(12, dtype=bool))(x)
    with pytest.raises(wg.Error, match="12 of 12 rows"):
        wg.jacobian(lambda x: x * 2, sparsity=np.zeros((12, 12), bool))(x)


def test_infinite_and_nan_values_are_not_compared():
    x = np.array([0.0, 1.0, np.nan, np.inf])

    def f(x):
        return wg.sqrt(x) + wg.log(x)

    found = wg.jacobian(f, sparsity=np.eye(4, dtype=bool))(x)
    np.testing.assert_array_equal(found.diagonal(), [np.inf, 1.5, np.nan, 0.0])

    def huge(x):
        return x * 3e38

    found = wg.jacobian(huge, sparsity=np.eye(4, dtype=bool))(np.ones(4, np.float32))
    np.testing.assert_array_equal(found.diagonal(), np.full(4, np.float32(3e38)))


def test_products_that_overflow_are_not_compared():
    both = np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32)
    found = wg.jacobian(lambda x: wg.asarray(both) @ x, sparsity=both != 0)(np.ones(2, np.float32))
    np.testing.assert_array_equal(dense(found), both)


def test_rows_of_rounding_alone_are_not_missing():
    def f(x):
        return wg.concat([x, x / 3 * 3 - x, x / 7 * 7 - x])

    x = np.linspace(0.1, 1, 50)
    assert (wg.jvp(f, (x,), (x,))[1].numpy()[50:] != 0).any()
    found = wg.jacobian(f, sparsity=np.eye(150, 50, dtype=bool))(x)
    assert found.nnz == 50


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_is_not_taken_for_a_missing_entry(dtype):
    rng = np.random.default_rng(1)
    mix = wg.asarray(rng.normal(size=(60, 60)).astype(dtype))
    back = wg.asarray(np.linalg.inv(mix.numpy().astype("float64")).astype(dtype))

    def cancels(x):
        return back @ (mix @ x) * 1.0  # the identity, but for rounding

    x = rng.normal(size=60).astype(dtype)
    found = wg.jacobian(cancels, sparsity=np.ones((60, 60), bool))(x)
    np.testing.assert_allclose(dense(found), np.eye(60), atol=1e-3)
    scales = wg.asarray(10.0 ** rng.uniform(-12, 12, 60).astype(dtype))
    wg.jacobian(lambda x: residuals(x * scales) / scales, sparsity=tridiagonal(60))(x)


# Errors.


def test_wrong_shapes_name_both():
    x = np.ones(4)
    with pytest.raises(wg.ShapeError, match=r"^jacobian: .*\(3, 4\); got \(4, 3\)"):
        wg.jacobian(lambda x: x[1:], sparsity=np.ones((4, 3), bool))(x)
    with pytest.raises(wg.ShapeError, match=r"^jacobian: .*\(3, 4\); got \(5, 4\)"):
        wg.jacobian(lambda x: x[1:], sparsity=sp.csr_array((5, 4)))(x)
    with pytest.raises(wg.ShapeError, match=r"^hessian: .*\(4, 4\); got \(1, 4\)"):
        wg.hessian(lambda x: x.sum(), sparsity=np.ones((1, 4), bool))(x)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("find", wg.ArgumentTypeError, "'detect'; got 'find'"),
        (3, wg.ArgumentTypeError, "got 3"),
        (True, wg.ArgumentTypeError, "got True"),
        ([[True]], wg.ArgumentTypeError, r"got \[\[True\]\]"),
        (np.ones((2, 2)), wg.DTypeError, "array of float64.*!= 0"),
        (np.array([[None]]), wg.DTypeError, "array of object"),
        (wg.ones, wg.ArgumentTypeError, "got <function"),
        (np.ones(4, bool), wg.ShapeError, r"got shape \(4,\)"),
        (np.ones((1, 2, 2), bool), wg.ShapeError, r"got shape \(1, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("name", ["jacobian", "hessian"])
def test_wrong_patterns(name, given, error, message):
    with pytest.raises(error, match=f"^{name}: 'sparsity' takes.*{message}"):
        getattr(wg, name)(lambda x: x, sparsity=given)


def test_malformed_sparse_arrays():
    broken = tridiagonal(4)
    broken.indices[0] = 77
    with pytest.raises(wg.ArgumentError, match="malformed"):
        wg.jacobian(residuals, sparsity=broken)


@pytest.mark.parametrize("given", [np.eye(2, dtype=bool), "detect"])
def test_wrong_functions_and_arguments(given):
    x = np.ones(2)
    with pytest.raises(wg.ArgumentTypeError, match="argnums is one int"):
        wg.jacobian(lambda x: x, argnums=(0,), sparsity=given)(x)
    with pytest.raises(wg.ArgumentError, match="argnums 1"):
        wg.jacobian(lambda x: x, argnums=1, sparsity=given)(x)
    with pytest.raises(wg.ArgumentError, match="argument must be one array; got 2"):
        wg.jacobian(lambda x: x[0], sparsity=given)((x, x))
    with pytest.raises(wg.ArgumentError, match="output must be one array; got 2"):
        wg.jacobian(lambda x: (x, x), sparsity=given)(x)
    with pytest.raises(wg.DTypeError, match="floating point"):
        wg.jacobian(lambda x: x, sparsity=given)(np.ones(2, int))
    with pytest.raises(wg.DTypeError, match=r"output.*floating point; got bool"):
        wg.jacobian(lambda x: x > 0, sparsity=given)(x)
    with pytest.raises(wg.ShapeError, match="return one number"):
        wg.hessian(lambda x: x, sparsity=given)(x)


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(wg.Error, match="pip install scipy"):
        wg.jacobian(lambda x: x, sparsity=np.eye(2, dtype=bool))
    with pytest.raises(wg.Error, match="pip install scipy"):
        wg.hessian(lambda x: x.sum(), sparsity="detect")(np.ones(2))
