"""Transforms of transforms: they agree with each other, with closed forms and with differences."""

from itertools import product

import numpy as np
import pytest
import wengert as wg

ORDERS = 5
POINTS = np.array([-1.3, -0.2, 0.4, 1.1])


def forward(f):
    return lambda x: wg.jvp(f, (x,), (wg.ones_like(x),))[1]


def by_vjp(f):
    return lambda x: wg.vjp(f, x)[1](1.0)[0]


def by_vmap(f):
    """f by way of a batch of two equal arguments."""
    return lambda x: wg.vmap(f)(wg.stack([x, x]))[1]


def tanh_derivative(x, order):
    t = np.polynomial.Polynomial([0.0, 1.0])
    p = t
    for _ in range(order):
        p = p.deriv() * (1 - t * t)
    return p(np.tanh(x))


def rational_derivative(x, order):
    """Of 1 / (1 + x**2), the imaginary part of 1 / (x - i)."""
    factorial = np.prod(np.arange(1, order + 1))
    return ((-1.0) ** order * factorial / (x - 1j) ** (order + 1)).imag


CLOSED_FORMS = {
    "exp": (wg.exp, lambda x, n: np.exp(x)),
    "sin": (wg.sin, lambda x, n: np.sin(x + n * np.pi / 2)),
    "tanh": (wg.tanh, tanh_derivative),
    "rational": (lambda x: 1 / (1 + x**2), rational_derivative),
}
MODES = {"r": wg.grad, "f": forward, "v": by_vjp, "m": by_vmap}


def compose(word, f):
    for letter in reversed(word):
        f = MODES[letter](f)
    return f


def same(a, b, rtol=1e-11, atol=1e-12):
    np.testing.assert_allclose(wg.asarray(a).detach().numpy(), b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("word", ["rrrrr", "fffff", "vvvvv", "rfrfr", "frfrf", "ffrrv", "rvfff"])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_five_orders_are_exact(name, word):
    f, derivative = CLOSED_FORMS[name]
    for order in range(1, ORDERS + 1):
        nth = compose(word[:order], f)
        expected = derivative(POINTS, order)
        for x, value in zip(POINTS, expected, strict=True):
            same(nth(wg.asarray(x)), value)
        same(wg.vmap(nth)(POINTS), expected)


@pytest.mark.parametrize("word", ["mrmfmr", "rmmf", "fmrmf", "mmfr", "vmvm"])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_vmap_between_the_orders(name, word):
    f, derivative = CLOSED_FORMS[name]
    order = len(word.replace("m", ""))
    for x in POINTS:
        same(compose(word, f)(wg.asarray(x)), derivative(x, order))


# Every way to a derivative: an array function becomes one whose output has the input's axes behind.


def by_rows(f):
    def jacobian(x):
        y, pull = wg.vjp(f, x)
        rows = [pull(e.reshape(y.shape))[0] for e in wg.eye(y.size, dtype=y.dtype)]
        return wg.stack(rows).reshape(*y.shape, *x.shape)

    return jacobian


def by_columns(f):
    def jacobian(x):
        basis = wg.eye(x.size, dtype=x.dtype)
        columns = [wg.jvp(f, (x,), (e.reshape(x.shape),))[1] for e in basis]
        out = wg.stack(columns, axis=-1)
        return out.reshape(*out.shape[:-1], *x.shape)

    return jacobian


def by_linearize(f):
    def jacobian(x):
        _, push = wg.linearize(f, x)
        basis = wg.eye(x.size, dtype=x.dtype)
        out = wg.stack([push(e.reshape(x.shape)) for e in basis], axis=-1)
        return out.reshape(*out.shape[:-1], *x.shape)

    return jacobian


def by_mapped_rows(f):
    def jacobian(x):
        y, pull = wg.vjp(f, x)
        basis = wg.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
        return wg.vmap(lambda g: pull(g)[0])(basis).reshape(*y.shape, *x.shape)

    return jacobian


def by_mapped_columns(f):
    def jacobian(x):
        basis = wg.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
        out = wg.vmap(lambda e: wg.jvp(f, (x,), (e,))[1], out_axes=-1)(basis)
        return out.reshape(*out.shape[:-1], *x.shape)

    return jacobian


DERIVATIVES = {
    "jacrev": wg.jacrev,
    "jacfwd": wg.jacfwd,
    "jacobian": wg.jacobian,
    "vjp": by_rows,
    "jvp": by_columns,
    "linearize": by_linearize,
    "vmap-vjp": by_mapped_rows,
    "vmap-jvp": by_mapped_columns,
}

M = np.array([[0.7, -0.3], [0.2, 0.9]])
V3, V4 = np.array([0.3, -0.8, 1.2]), np.array([0.5, -1.1, 0.9, 1.6])


def kinks(x):
    return wg.where(x > 0, x * x, wg.sin(x)) + wg.max(x) * wg.maximum(x, -(x**3)) + wg.abs(x)


def shared_weights(w):
    h = wg.asarray(np.array([0.4, -0.6]))
    for _ in range(3):
        h = wg.tanh(w @ h)
    return h


def mapped_inside(x):
    """A closure over x in a mapped function, whose unmapped part depends on x as well."""
    return wg.vmap(lambda a: wg.sin(x[0]) * a * x[1] + wg.exp(a * x[2]))(x)


FUNCTIONS = {
    "elementwise": (lambda x: wg.exp(x) * wg.sin(x) / (2 + x**2), V3),
    "reductions": (lambda x: wg.sum(x**3) * wg.mean(x) + wg.logsumexp(x) * wg.prod(x), V3),
    "softmax": (lambda x: wg.nn.softmax(2.0 * x, dim=0), V3),
    "indexing": (lambda x: x[::-1] * x[wg.asarray([0, 2, 2])] + x[1] ** 2, V3),
    "kinks": (kinks, V4),
    "matmul": (lambda x: x @ x.T @ x, M),
    "norms": (lambda x: wg.linalg.norm(x, axis=0) * wg.var(x, axis=1) + wg.linalg.trace(x @ x), M),
    "shared weights": (shared_weights, M),
    "einsum": (lambda x: wg.einsum("ij,jk,ki->i", x, x, x), M),
    "mapped inside": (mapped_inside, V3),
    "cumulative": (lambda x: wg.cumulative_prod(x) + wg.cumulative_sum(x * x), V3),
}


def difference(f, x, h=1e-5):
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        step = step.reshape(x.shape)
        up, down = (wg.asarray(f(wg.asarray(x + s))).numpy() for s in (step, -step))
        columns.append((up - down) / (2 * h))
    out = np.stack(columns, axis=-1)
    return out.reshape(*out.shape[:-1], *x.shape)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_differences(name):
    f, x = FUNCTIONS[name]
    for order in (f, wg.jacrev(f), wg.jacrev(wg.jacrev(f))):
        same(wg.jacfwd(order)(x), difference(order, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("a, b", list(product(DERIVATIVES, repeat=2)))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_pair_agrees(name, a, b):
    f, x = FUNCTIONS[name]
    x = wg.asarray(x)
    same(DERIVATIVES[a](f)(x), wg.jacrev(f)(x).numpy())
    pair = DERIVATIVES[a](DERIVATIVES[b](f))
    same(pair(x), wg.jacrev(wg.jacrev(f))(x).numpy())


TRIPLES = list(product(("jacrev", "jacfwd", "vjp", "vmap-jvp"), repeat=3))


@pytest.mark.parametrize("a, b, c", TRIPLES)
@pytest.mark.parametrize("name", ["softmax", "shared weights", "mapped inside"])
def test_every_triple_agrees(name, a, b, c):
    f, x = FUNCTIONS[name]
    x = wg.asarray(x)
    third = DERIVATIVES[a](DERIVATIVES[b](DERIVATIVES[c](f)))
    same(third(x), wg.jacrev(wg.jacrev(wg.jacrev(f)))(x).numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("b", DERIVATIVES)
@pytest.mark.parametrize("a", DERIVATIVES)
@pytest.mark.parametrize("name", ["indexing", "kinks", "matmul", "mapped inside"])
def test_vmap_of_every_pair_is_a_loop(name, a, b):
    f, x = FUNCTIONS[name]
    pair = DERIVATIVES[a](DERIVATIVES[b](f))
    xs = np.stack([x, x + 0.05, x - 0.03])
    loop = np.stack([pair(wg.asarray(x)).numpy() for x in xs])
    same(wg.vmap(pair)(xs), loop)
    same(wg.vmap(wg.vmap(pair))(np.stack([xs, xs])), np.stack([loop, loop]))
    same(wg.vmap(pair, in_axes=-1, out_axes=-1)(np.moveaxis(xs, 0, -1)), np.moveaxis(loop, 0, -1))


@pytest.mark.parametrize("a", DERIVATIVES)
@pytest.mark.parametrize("name", ["elementwise", "softmax", "shared weights", "mapped inside"])
def test_derivatives_of_vmap_are_block_diagonal(name, a):
    f, x = FUNCTIONS[name]
    xs = wg.asarray(np.stack([x, x + 0.05]))
    blocks = wg.vmap(wg.jacrev(f))(xs).numpy()
    whole = DERIVATIVES[a](wg.vmap(f))(xs).numpy()
    middle = whole.ndim - x.ndim - 1  # the axis of the second batch
    for i, j in product(range(2), repeat=2):
        part = np.take(whole[i], j, axis=middle - 1)
        np.testing.assert_allclose(part, blocks[i] if i == j else 0 * blocks[i], atol=1e-12)


SCALARS = {
    "cubic": (lambda x: wg.sum(x**3) + x[0] * x[1] * x[2], V3),
    "logsumexp": (lambda x: wg.logsumexp(x * x), V3),
    "network": (lambda w: wg.sum(shared_weights(w) ** 2), M),
    "kinks": (lambda x: wg.sum(kinks(x)), V4),
}


@pytest.mark.parametrize("name", SCALARS)
def test_hessians_and_their_products(name):
    f, x = SCALARS[name]
    u, v = np.cos(np.arange(x.size)).reshape(x.shape), np.sin(np.arange(x.size)).reshape(x.shape)
    h = wg.jacrev(wg.grad(f))(x).numpy()
    axes = x.ndim
    hv = np.tensordot(h, v, axes=axes)
    for twice in (wg.hessian(f), wg.jacfwd(wg.grad(f)), wg.jacrev(wg.jacfwd(f)), wg.hessian(f, 0)):
        same(twice(x), h)
    same(wg.hvp(f, (x,), (v,)), hv)
    same(wg.jvp(wg.grad(f), (x,), (v,))[1], hv)
    same(wg.vjp(wg.grad(f), x)[1](v)[0], hv)
    same(wg.grad(lambda x: wg.sum(wg.grad(f)(x) * v))(x), hv)
    same(wg.grad(lambda x: wg.jvp(f, (x,), (v,))[1])(x), hv)
    same(wg.vmap(lambda v: wg.hvp(f, (x,), (v,)))(np.stack([u, v]))[1], hv)
    third = np.tensordot(wg.jacrev(wg.hessian(f))(x).numpy(), v, axes=axes)
    same(wg.jvp(wg.hessian(f), (x,), (v,))[1], third)
    same(wg.hessian(lambda x: wg.jvp(f, (x,), (v,))[1])(x), third)
    same(wg.grad(lambda x: wg.sum(wg.hvp(f, (x,), (v,)) * u))(x), np.tensordot(third, u, axes=axes))
    same(wg.jacfwd(lambda x: wg.hvp(f, (x,), (v,)))(x), third)
    same(wg.vmap(wg.hessian(f))(x[None])[0], h)
    same(wg.linearize(wg.grad(f), x)[1](v), hv)

    # Of a VJP as a function of its cotangent, which is linear.
    def pull(v):
        return wg.vjp(wg.grad(f), x)[1](v)[0]

    same(wg.jacrev(pull)(v), h)
    same(wg.jvp(pull, (u,), (v,))[1], hv)
    same(wg.grad(lambda u: wg.sum(pull(u) * v))(u), hv)


def test_value_and_grad_composes():
    both = wg.value_and_grad(lambda x: wg.sum(wg.sin(x) * x))
    value, gradient = wg.vmap(both)(np.stack([V3, 2 * V3]))
    same(value[1], np.sum(np.sin(2 * V3) * 2 * V3))
    same(gradient[0], np.cos(V3) * V3 + np.sin(V3))
    (value, gradient), (dvalue, dgradient) = wg.jvp(both, (V3,), (V3,))
    same(dvalue, np.sum(gradient.numpy() * V3))
    same(dgradient, (2 * np.cos(V3) - V3 * np.sin(V3)) * V3)


# Perturbation confusion.

EACH_WAY = {
    "grad": wg.grad,
    "jvp": forward,
    "vjp": by_vjp,
    "jacrev": wg.jacrev,
    "jacfwd": wg.jacfwd,
}
WAYS = pytest.mark.parametrize("outer, inner", list(product(EACH_WAY, repeat=2)))
X = wg.asarray(np.float64(1.7))


@WAYS
def test_inner_derivatives_keep_the_outer_variable_constant(outer, inner):
    D, d = EACH_WAY[outer], EACH_WAY[inner]
    one = wg.asarray(np.float64(1.0))
    same(D(lambda x: x * d(lambda y: x + y)(one))(X), 1.0)
    same(D(lambda x: x * d(lambda y: x * y)(one))(X), 2 * 1.7)
    same(D(lambda x: d(lambda y: x * y**2)(x))(X), 4 * 1.7)  # y is set to x afterwards
    same(D(lambda x: x * d(lambda y: wg.sin(x))(one))(X), 0.0)
    same(D(lambda x: d(lambda y: d(lambda z: x * y * z**2)(y))(x))(X), 8 * 1.7)


@WAYS
def test_derivatives_of_closures_in_vmap(outer, inner):
    D, d = EACH_WAY[outer], EACH_WAY[inner]
    a = np.array([0.5, 1.5, 2.5])
    total = D(lambda x: wg.sum(wg.vmap(lambda a: x * d(lambda y: a * x * y)(a))(a)))
    same(total(X), 2 * 1.7 * a.sum())
    hidden = D(lambda x: wg.sum(wg.vmap(lambda a: a * d(lambda y: wg.sin(x) * y)(x))(a)))
    same(hidden(X), np.cos(1.7) * a.sum())
    # The inner derivative is by the mapped variable, the outer by what both close over.
    mixed = D(lambda x: wg.sum(wg.vmap(d(lambda y: wg.exp(x * y)))(a)))
    same(mixed(X), np.sum((1 + 1.7 * a) * np.exp(1.7 * a)))


@pytest.mark.parametrize("way", EACH_WAY)
def test_a_derivative_taken_by_a_higher_order_function_of_a_closure(way):
    # s(x) f y = f(x + y); its derivative in x at 0 maps f to f', so twice of exp at 1 is e. With
    # one perturbation for both it is 0 (Manzyuk, Pearlmutter, Radul, Rush and Siskind).
    zero = wg.asarray(np.float64(0.0))

    def hat(f):
        return lambda y: EACH_WAY[way](lambda x: f(x + y))(zero)

    same(hat(hat(wg.exp))(wg.asarray(np.float64(1.0))), np.e)
    same(hat(hat(hat(wg.sin)))(X), -np.cos(1.7))


def test_a_closure_that_outlives_its_derivative_is_a_constant():
    escaped = []

    def scale(x):
        return (x * 1.0, escaped.append(lambda y: x * y))

    wg.jvp(lambda x: scale(x)[0], (X,), (X,))
    wg.grad(lambda x: scale(x)[0])(X)
    wg.vjp(lambda x: scale(x)[0], X)
    for way, times in product(EACH_WAY.values(), escaped):
        same(way(times)(wg.asarray(np.float64(2.0))), 1.7)
    _, _, times = wg.jvp(lambda x: (x, lambda y: x * y), (X,), (X,), has_aux=True)
    same(forward(times)(X), 1.7)
    with pytest.raises(wg.ArgumentTypeError, match="leaves must be tensors"):
        wg.jvp(lambda x: lambda y: x * y, (X,), (X,))


@pytest.mark.parametrize("a, b, c", list(product(("grad", "jvp", "vjp"), repeat=3)))
def test_three_levels_each_closing_over_the_others(a, b, c):
    A, B, C = EACH_WAY[a], EACH_WAY[b], EACH_WAY[c]

    def outer(x):
        def middle(y):
            return y * C(lambda z: x * y**2 * z**3 + x * z)(x * y)

        return x * B(middle)(x)

    # C: 3 x y**2 (x y)**2 + x = 3 x**3 y**4 + x; B of y times it: 15 x**3 y**4 + x at y = x
    same(A(outer)(X), 15 * 8 * 1.7**7 + 2 * 1.7)


def test_a_mapped_closure_in_every_order_of_two_maps_and_two_derivatives():
    a, b = np.array([0.3, 0.8]), np.array([1.1, 0.6, 0.2])

    def f(w, a, b):
        return wg.sin(w * a) * wg.exp(b * w) + wg.sin(w) * wg.cos(a)

    def table(w):
        return wg.vmap(lambda a: wg.vmap(lambda b: f(w, a, b))(b))(a)

    d2 = wg.grad(wg.grad(f))
    expected = np.array([[d2(X, wg.asarray(i), wg.asarray(j)).item() for j in b] for i in a])
    for outer, inner in product((wg.jacrev, wg.jacfwd, forward), (wg.jacrev, wg.jacfwd)):
        same(outer(inner(table))(X), expected)
    same(wg.vmap(lambda a: wg.vmap(lambda b: d2(X, a, b))(b))(a), expected)

    def inside(w):
        return wg.vmap(lambda a: forward(lambda w: wg.vmap(lambda b: f(w, a, b))(b))(w))(a)

    same(wg.jacfwd(inside)(X), expected)


def cubed(w):
    return (w**3).sum()


def of_tangents():
    """Functions of p that depend on it through tangents of a sweep or a mapping alone."""
    w = wg.tensor([0.5, -1.0, 2.0], dtype=wg.float64)

    def pushed(f):
        return lambda p: wg.jvp(f, (w,), (p * p,))[1]

    def unrolled(p):
        for _ in range(3):
            p = p + 0.1 * wg.hvp(cubed, (w,), (p,))
        return p

    return {
        "hvp": lambda p: wg.hvp(cubed, (w,), (p * p,)),
        "gradient": pushed(wg.grad(cubed)),
        "jacobian": pushed(wg.jacrev(wg.sin)),
        "mapped": pushed(wg.vmap(lambda z: wg.sin(z) * z)),
        "pull": pushed(lambda x: wg.vjp(wg.sin, x)[1](w)[0]),
        "twice": pushed(lambda x: wg.jvp(wg.grad(cubed), (x,), (x * w,))[1]),
        "around": pushed(lambda x: wg.jvp(lambda y: wg.grad(cubed)(y) * x, (w,), (x,))[1]),
        "branch": pushed(lambda x: wg.cond(x[0] > 0, wg.grad(cubed), wg.sin, x)),
        "loop": pushed(lambda x: wg.scan(lambda c, _: (wg.grad(cubed)(c), None), x, None, 2)[0]),
        "recomputed": pushed(wg.checkpoint(wg.grad(cubed))),
        "compiled": pushed(wg.compile(wg.grad(cubed))),
        "unrolled": unrolled,
    }


@pytest.mark.parametrize("name", of_tangents())
def test_a_reverse_sweep_follows_tangents_of_what_nothing_else_follows(name):
    f = of_tangents()[name]
    p, g = (wg.tensor(x, dtype=wg.float64) for x in ([1.0, 0.3, -0.7], [2.0, 1.0, -1.0]))
    step = 1e-6
    shape = f(p).shape
    rows = [(f(p + step * e) - f(p - step * e)) / (2 * step) for e in wg.eye(3, dtype=wg.float64)]
    want = wg.stack(rows)  # one row an element of p

    def value(p):
        y = f(p)
        return (y * g if y.shape == g.shape else y * g[:, None] if y.ndim == 2 else y).sum()

    expected = [
        float((r * g if shape == g.shape else r * g[:, None] if len(shape) == 2 else r).sum())
        for r in want
    ]
    leaf = p.copy().requires_grad_()
    value(leaf).backward()
    for found in (wg.grad(value)(p), wg.compile(wg.grad(value))(p), leaf.grad):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        wg.jacrev(f)(p), np.moveaxis(np.asarray(want), 0, -1), rtol=1e-6, atol=1e-6
    )
    assert not f(p).requires_grad
    with wg.no_grad():
        assert not f(leaf).requires_grad


def test_no_history_is_left_where_nothing_asks_for_one():
    v, state = wg.ones(3), wg.zeros(3)
    once = wg.scan(lambda s, _: (s + wg.grad(lambda u: (u * s).sum())(v), None), v, None, 2)[0]
    assert not once.requires_grad and once.tolist() == [4.0] * 3

    def newton():
        state.assign(
            wg.while_loop(
                lambda s: s[1] < 2,
                lambda s: (s[0] + wg.hvp(cubed, (v,), (s[0],)), s[1] + 1),
                (v, wg.asarray(0)),
            )[0]
        )

    def branch():
        state.assign(wg.cond(state.sum() < 1e9, lambda q: wg.hvp(cubed, (v,), (q,)), abs, state))

    for f, want in ((newton, 49.0), (branch, 6 * 49.0)):
        f()
        assert state.tolist() == [want] * 3
        wg.compile(f)()
    assert state.tolist() == [36 * 49.0] * 3


def test_forward_mode_leaves_no_history_of_sweeps_within_bodies():
    v = wg.ones(3)

    def f(a):
        x = a * v
        return wg.scan(
            lambda c, _: (c + wg.grad(lambda u: (u * u * c).sum())(x), None), v, None, length=2
        )[0].sum()

    a = wg.tensor(2.0)
    y, dy = wg.jvp(f, (a,), (wg.tensor(1.0),))
    assert (float(y), float(dy)) == (75.0, 60.0)  # 3 (1 + 2 a)^2
    assert not y.requires_grad and not dy.requires_grad
    assert not wg.jacfwd(f)(a).requires_grad
    assert float(wg.grad(lambda a: wg.jvp(f, (a,), (a,))[1])(2.0)) == 60.0 + 2 * 24.0
