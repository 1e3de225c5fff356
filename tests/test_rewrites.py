"""Rewrites of recorded programs: what they find, and that they keep results, to the bit under
``exact``."""

import numpy as np
import pytest
import wengert as wg

OPS = wg._core.ops
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 50))


def names(f, *args):
    return [node.name for node in f.program(*args).nodes]


def bits(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert x.numpy().tobytes() == y.numpy().tobytes()


def same(f, *args):
    """A compiled f equals f within rounding, and to the bit under ``exact``."""
    expected = f(*args)
    for x, y in zip(wg.tree.leaves(wg.compile(f)(*args)), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-12, atol=1e-14)
    bits(wg.compile(f, exact=True)(*args), expected)


NEUTRAL = {
    "x + 0": lambda x: x + 0.0,
    "0 + x": lambda x: 0.0 + x,
    "x - 0": lambda x: x - 0.0,
    "x * 1": lambda x: x * 1.0,
    "1 * x": lambda x: 1.0 * x,
    "x * ones": lambda x: x * wg.ones((60, 50), dtype="float64"),
    "x / 1": lambda x: x / 1.0,
    "chain with 1": lambda x: OPS.chain_multiply(x, wg.ones((60, 50), dtype="float64")),
    "identity @ x": lambda x: OPS.chain_matmul(wg.eye(60, dtype="float64"), x),
    "x @ identity": lambda x: OPS.chain_matmul(x, wg.eye(50, dtype="float64")),
}
LOOSE = {"x + 0", "0 + x", "chain with 1", "identity @ x", "x @ identity"}


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_operands(name):
    def f(x):
        return NEUTRAL[name](wg.sin(x)) * 2.0

    x = X.copy()
    x[0, :3] = -0.0, 0.0, np.pi
    same(f, x)
    assert names(wg.compile(f), x) == ["sin", "multiply"]
    exact = names(wg.compile(f, exact=True), x)
    assert (exact == ["sin", "multiply"]) == (name not in LOOSE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_identity_absorbs_what_is_not_finite(value):
    x = X.copy()
    x[3, 4] = value
    same(lambda x: OPS.chain_matmul(wg.eye(60, dtype="float64"), x) * 2.0, x)
    same(lambda x: wg.matmul(wg.eye(60, dtype="float64"), x) * 2.0, x)


def test_the_sign_of_zero():
    x = wg.tensor([-0.0, 1.0])
    assert np.signbit(wg.compile(lambda x: x - 0.0)(x).numpy()).tolist() == [True, False]
    assert np.signbit(wg.compile(lambda x: x - -0.0)(x).numpy()).tolist() == [False, False]
    exact = wg.compile(lambda x: x + 0.0, exact=True)
    assert np.signbit(exact(x).numpy()).tolist() == [False, False]


def test_constants_that_can_change_are_read_afresh():
    held = np.ones((60, 50))
    f = wg.compile(lambda x: x * wg.asarray(held))
    f(X)
    held[:] = 3.0
    np.testing.assert_array_equal(f(X).numpy(), 3.0 * X)

    kept = []

    @wg.compile
    def g(x):
        kept.append(wg.ones((60, 50), dtype="float64"))
        return x * kept[0]

    g(X)
    kept[0].assign(wg.full((60, 50), 2.0, dtype="float64"))
    np.testing.assert_array_equal(g(X).numpy(), 2.0 * X)


def test_what_leads_back():
    def f(x):
        return wg.sin(wg.negative(-x)) + wg.cos(x.T.T) + wg.permute_dims(x, (1, 0)).mT

    same(f, X)
    assert sorted(names(wg.compile(f), X)) == ["add", "add", "cos", "sin"]
    assert names(wg.compile(lambda x: -(wg.negative(-x))), X) == ["negative"]


def test_broadcasts_pass_elementwise_steps():
    def f(x, w, b):
        return x * wg.exp(wg.broadcast_to(w, x.shape) * wg.broadcast_to(b, x.shape) + 1.0)

    args = X, RNG.normal(size=50), RNG.normal(size=50)
    bits(wg.compile(f)(*args), f(*args))
    bits(
        wg.compile(wg.grad(lambda *a: f(*a).sum(), (0, 1, 2)), exact=True)(*args),
        wg.grad(lambda *a: f(*a).sum(), (0, 1, 2))(*args),
    )
    shapes = {n.name: n.shape for n in wg.compile(f).program(*args).nodes}
    assert shapes["exp"] == (1, 50)


def test_a_result_is_not_left_broadcast():
    f = wg.compile(lambda w: wg.exp(wg.broadcast_to(w, (60, 50))))
    w = RNG.normal(size=50)
    assert [n.shape for n in f.program(w).nodes if n.name == "exp"] == [(60, 50)]
    bits(f(w), wg.exp(wg.broadcast_to(wg.asarray(w), (60, 50))))


@pytest.mark.parametrize(
    "name", ["sigmoid_grad", "silu_grad", "gelu_grad", "gelu_tanh_grad", "power_grad"]
)
def test_slopes_are_computed_once(name):
    op = getattr(OPS, name)
    more = (3.0,) if name == "power_grad" else ()
    y = RNG.normal(size=50)
    y[:6] = 0.0, -0.0, np.nan, np.inf, -np.inf, 1.0
    g = X.copy()
    g[0], g[1], g[2, :6] = 0.0, -0.0, np.inf

    def f(g, y):
        return op(g, wg.broadcast_to(y, g.shape), *more)

    bits(wg.compile(f)(g, y), f(wg.asarray(g), wg.asarray(y)))
    assert "chain_multiply" in names(wg.compile(f), g, y)


def test_transposes_pass_elementwise_steps():
    def f(a, s):
        return wg.matmul(a.T * wg.exp(s), a)

    args = X, RNG.normal(size=60)
    same(f, *args)
    nodes = wg.compile(f).program(*args).nodes
    assert [n.shape for n in nodes if n.name == "multiply"] == [(60, 50)]
    exact = wg.compile(f, exact=True).program(*args).nodes
    assert [n.shape for n in exact if n.name == "multiply"] == [(50, 60)]


def test_products_are_made_as_they_are_wanted():
    """A transpose behind a product goes to its operands, where it is free."""
    a, b = wg.tensor(X), wg.tensor(RNG.normal(size=(50, 70)))

    def f(a, b):
        return wg.matmul(a, b).T

    same(f, a, b)
    assert [n.shape for n in wg.compile(f).program(a, b).nodes if n.name == "matmul"] == [(70, 60)]
    exact = wg.compile(f, exact=True).program(a, b).nodes
    assert [n.shape for n in exact if n.name == "matmul"] == [(60, 70)]


KEPT_PRODUCTS = {
    "read as it is too": lambda a, b: (wg.matmul(a, b), wg.matmul(a, b).T),
    "shown transposed twice": lambda a, b: (wg.matmul(a, b).T, wg.matmul(a, b).T * 2),
    "read by a product": lambda a, b: wg.matmul(wg.matmul(a, b).T, a),
    "of stacks": lambda a, b: wg.matmul(a[None], b[None]).swapaxes(1, 2),
    "of a vector": lambda a, b: wg.matmul(a[0], b).T,
}


@pytest.mark.parametrize("name", KEPT_PRODUCTS)
def test_products_that_others_want_stay(name):
    same(KEPT_PRODUCTS[name], wg.tensor(X), wg.tensor(RNG.normal(size=(50, 70))))


def test_turned_products_of_the_chain_rule_absorb_zeros():
    a, b = X.copy(), RNG.normal(size=(50, 70))
    a[3, 4], b[4], b[7, 7], a[:, 7] = np.inf, 0, np.nan, 0
    f = lambda a, b: OPS.chain_matmul(a, b).T  # noqa: E731
    same(f, wg.tensor(a), wg.tensor(b))
    assert np.isfinite(wg.compile(f)(wg.tensor(a), wg.tensor(b)).numpy()).all()


def test_a_transposed_weight_needs_no_more_memory_than_linear():
    """h @ w.T and nn.linear(h, w) leave a budget the same room."""
    weights = [wg.tensor(RNG.normal(size=(20, 20))) for _ in range(12)]
    x = wg.tensor(RNG.normal(size=(40, 20)))

    def least(layer):
        def loss(weights):
            h = x
            for w in weights:
                h = wg.tanh(layer(h, w))
            return (h * h).sum()

        with pytest.raises(wg.ArgumentError) as error:
            wg.compile(wg.grad(loss), memory_budget=1)(weights)
        return int(str(error.value).split(" bytes at least")[0].split()[-1])

    assert least(lambda h, w: h @ w.T) == least(wg.nn.linear)


def test_the_hessian_of_a_regression_needs_one_large_product():
    a, w = wg.tensor(RNG.normal(size=(80, 50))), wg.tensor(RNG.normal(size=50))
    f = wg.hessian(lambda w: wg.softplus(a @ w).sum() + (w**4).sum())
    same(f, w)
    assert names(wg.compile(f), w).count("chain_matmul") == 1


def test_exact_is_shown_and_checked():
    f = wg.compile(lambda x: x + 0.0, exact=True)
    assert f.explain(X).splitlines()[0].endswith(", exact")
    assert "exact" not in wg.compile(lambda x: x + 0.0).explain(X).splitlines()[0]
    with pytest.raises(wg.ArgumentTypeError, match="exact"):
        wg.compile(lambda x: x, exact=1)

    class Model:
        @wg.compile(exact=True)
        def __call__(self, x):
            return x + 0.0

    assert not np.signbit(Model()(wg.tensor([-0.0])).item())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_slices_of_one_array_add_up_without_zeros(n):
    def loss(x):
        y = x * 2.0
        return sum((wg.sin(y[i :: n + i, 10 * i : 10 * i + 20]) ** 2).sum() for i in range(n))

    f = wg.grad(loss)
    same(f, X)
    found = names(wg.compile(f), X)
    assert (found.count("unslice"), found.count("unslice_add")) == (1, n - 1)
    exact = names(wg.compile(f, exact=True), X)
    assert (exact.count("unslice"), exact.count("unslice_add")) == (n, 0)


def test_slices_at_one_place_are_added_up_before_they_are_placed():
    def loss(x):
        y = x * 2.0
        return (wg.sin(y[1:]) + y[:-1] * y[1:]).sum() + (wg.cos(y[1:]) * wg.exp(y[:-1])).sum()

    f = wg.grad(loss)
    same(f, X)
    found = names(wg.compile(f), X)
    assert (found.count("unslice"), found.count("unslice_add")) == (1, 1)
    assert "slices at one place added up first: 3" in wg.compile(f).explain(X)
    assert names(wg.compile(f, exact=True), X).count("unslice") == 5


def test_slices_at_one_place_that_are_read_before_stay_apart():
    def f(x):
        box = OPS.unslice(wg.sin(x), shape=(71, 50), starts=(1, 0))
        more = OPS.unslice_add(box, wg.cos(x), starts=(1, 0))
        return more, OPS.unslice_add(more, wg.exp(x), starts=(1, 0)), box

    same(f, X)
    found = names(wg.compile(f), X)
    assert (found.count("unslice"), found.count("unslice_add")) == (1, 2)


def test_a_slice_that_others_read_keeps_its_zeros():
    def f(x):
        box = OPS.unslice(wg.sin(x), shape=(70, 50), starts=(5, 0))
        return box + wg.cos(box), box + 1.0

    same(f, X)
    assert names(wg.compile(f), X).count("unslice") == 1


SIGNS = {
    "a + -b": (lambda a, b, c: a + -b, ["subtract"]),
    "-a + b": (lambda a, b, c: -a + b, ["subtract"]),
    "a - -b": (lambda a, b, c: a - -b, ["add"]),
    "-a - b": (lambda a, b, c: -a - b, ["negative", "subtract"]),
    "-a + -b": (lambda a, b, c: -a + -b, ["negative", "subtract"]),
    "a + -b c": (lambda a, b, c: a + -b * c, ["multiply", "subtract"]),
    "a - b / -c": (lambda a, b, c: a - b / -c, ["divide", "add"]),
    "-b -c": (lambda a, b, c: -b * -c, ["multiply"]),
    "-b / -c + a": (lambda a, b, c: -b / -c + a, ["divide", "add"]),
    "-b c alone": (lambda a, b, c: -b * c, ["negative", "multiply"]),
    "-b c shown": (lambda a, b, c: (a + (d := -b * c), d), ["negative", "multiply", "add"]),
    "-b c twice": (lambda a, b, c: (d := -b * c) + d, ["negative", "multiply", "add"]),
    "-b c from a": (lambda a, b, c: -b * c - a, ["negative", "multiply", "subtract"]),
    "a twice": (lambda a, b, c: (a + -b, -b * 2.0 + c), ["subtract", "multiply", "subtract"]),
    "of one": (lambda a, b, c: (a + c * -b) + c * b, ["multiply", "subtract", "add"]),
    "chained": (
        lambda a, b, c: a - OPS.chain_multiply(-b, c) - OPS.chain_divide(b, -c),
        ["chain_multiply", "add", "chain_divide", "add"],
    ),
    "broadcast": (lambda a, b, c: a + -b[0], ["negative", "add"]),
}


@pytest.mark.parametrize("name", SIGNS)
def test_sums_take_up_signs(name):
    f, expected = SIGNS[name]
    a, b, c = X, np.cos(X), np.where(X > 0, X, 0.5)
    b[0, :4], c[0, :4] = (0.0, -0.0, 1e300, 2.0), (1.0, -1.0, 3.0, -0.5)
    a, b, c = wg.tensor(a), wg.tensor(b), wg.tensor(c)
    same(f, a, b, c)
    found = [
        n for n in names(wg.compile(f), a, b, c) if n not in ("slice", "reshape", "broadcast_to")
    ]
    assert sorted(found) == sorted(expected)


def test_signs_of_integers():
    f = wg.compile(lambda a, b: (a + -b, a - -b, a + -b * a))
    a, b = np.arange(5, dtype=np.int32), np.array([3, 0, -7, 2**31 - 1, -(2**31)], np.int32)
    for x, y in zip(f(a, b), (a - b, a + b, a - b * a), strict=True):
        assert x.dtype == wg.int32 and x.tolist() == y.tolist()


JOINS = {
    "halves": (((0, 25), (25, 25)), 1),
    "out of order": (((20, 30), (5, 15), (0, 5)), 1),
    "rows": (((0, 10), (10, 50)), 0),
    "nothing in one": (((0, 25), (25, 0), (25, 25)), 1),
}
GAPS = {
    "a gap": ((0, 20), (25, 25)),
    "an overlap": ((0, 30), (20, 30)),
    "a rest": ((0, 20), (20, 20)),
}


@pytest.mark.parametrize("name", JOINS)
def test_slices_that_fill_an_array_are_put_side_by_side(name):
    parts, axis = JOINS[name]

    def loss(x):
        y = x * 2.0
        cut = [y[s : s + n] if axis == 0 else y[:, s : s + n] for s, n in parts]
        return sum((wg.sin(part) ** (i + 1)).sum() for i, part in enumerate(cut))

    f = wg.grad(loss)
    same(f, X)
    found = names(wg.compile(f), X)
    assert "concat" in found and not {"unslice", "unslice_add"} & set(found)
    assert "concat" not in names(wg.compile(f, exact=True), X)


@pytest.mark.parametrize("name", GAPS)
def test_other_slices_are_added(name):
    f = wg.grad(lambda x: sum(wg.sin(2.0 * x[:, s : s + n]).sum() for s, n in GAPS[name]))
    same(f, X)
    assert "concat" not in names(wg.compile(f), X)
    steps = wg.grad(lambda x: wg.sin(x[:, ::2]).sum() + wg.cos(x[:, 1::2]).sum())
    same(steps, X)
    assert "concat" not in names(wg.compile(steps), X)
