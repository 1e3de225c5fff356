"""Loops and branches within each other: reverse mode of every order equals forward mode, whatever
each of them reads, compiled, checkpointed and mapped."""

import itertools

import numpy as np
import pytest
import wengert as wg

XS = wg.tensor([0.3, -0.5, 0.2], dtype="float64")
W, B = wg.tensor(0.7, dtype="float64"), wg.tensor([0.4, -0.3], dtype="float64")


def scanned(body, state, x, keep=None):
    """Rows that depend on what is around, and a stacked output."""

    def step(c, row):
        return body(c, row), c * row

    last, ys = wg.scan(step, state, XS * x, checkpoint=keep)
    return last + 0.1 * ys.sum()


def repeated(body, state, x):
    def step(s):
        i, c = s
        return i + 1, body(c, x * i)

    keep = wg.Binomial(slots=2)
    return wg.while_loop(lambda s: s[0] < 3, step, (wg.asarray(0), state), checkpoint=keep)[1]


def chosen(body, state, x):
    """One branch goes on, the other reads something else."""
    return wg.cond(x * wg.tanh(state) < 0.05, lambda: body(state, x), lambda: state * B[1] + x)


KINDS = {
    "scan": scanned,
    "checkpointed scan": lambda body, c, x: scanned(body, c, x, wg.Binomial(slots=2)),
    "while": repeated,
    "cond": chosen,
}
READS = {
    "all": lambda w, b: lambda c, x: wg.sin(c * w + x * b[0]),
    "the state in one place": lambda w, b: (
        lambda c, x: wg.cond(x > 0, lambda: wg.tanh(c * 2.0), lambda: b[0] * 3.0 + w * w)
    ),
    "one of two from around": lambda w, b: (
        lambda c, x: wg.cond(w > 0.1, lambda u, v: w * 1.1, lambda u, v: b[0] * 0.7, b[1], c)
    ),
    "no state": lambda w, b: lambda c, x: wg.sin(w * x) * b[1],
}
NESTED = list(itertools.product(KINDS, KINDS, READS))


def function(outer, inner, reads):
    def f(w, b):
        innermost = READS[reads](w, b)
        body = lambda c, x: KINDS[inner](innermost, c, x)  # noqa: E731
        return KINDS[outer](body, wg.asarray(0.2, dtype="float64") * b[1], w * 0.5)

    return f


def flat(values):
    return np.concatenate([np.ravel(x) for x in wg.tree.leaves(values)])


def by_forward_mode(f):
    basis = [(wg.ones(()), wg.zeros(2)), *((wg.zeros(()), e) for e in wg.eye(2))]
    return np.array([flat(wg.jvp(f, (W, B), e)[1]) for e in basis])


@pytest.mark.parametrize("outer, inner, reads", NESTED)
def test_gradients_are_those_of_forward_mode(outer, inner, reads):
    f = function(outer, inner, reads)
    gradient = wg.grad(f, argnums=(0, 1))
    expected = by_forward_mode(f)[:, 0]
    np.testing.assert_allclose(flat(gradient(W, B)), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(flat(wg.compile(gradient)(W, B)), expected, rtol=1e-9, atol=1e-12)
    again = wg.grad(wg.checkpoint(f), argnums=(0, 1))(W, B)
    np.testing.assert_allclose(flat(again), expected, rtol=1e-9, atol=1e-12)
    w, b = W.copy().requires_grad_(), B.copy().requires_grad_()
    wg.compile(f)(w, b).backward()
    np.testing.assert_allclose(flat((w.grad, b.grad)), expected, rtol=1e-9, atol=1e-12)


# A while_loop that is traced has no second derivative.
@pytest.mark.parametrize("outer, inner, reads", [n for n in NESTED if n[1] != "while"])
def test_second_derivatives_are_those_of_forward_mode(outer, inner, reads):
    gradient = wg.grad(function(outer, inner, reads), argnums=(0, 1))
    expected = by_forward_mode(gradient)
    rows = [
        wg.grad(
            lambda w, b, i=i: wg.stack([gradient(w, b)[0], *gradient(w, b)[1]])[i], argnums=(0, 1)
        )
        for i in range(3)
    ]
    np.testing.assert_allclose([flat(row(W, B)) for row in rows], expected, rtol=1e-8, atol=1e-11)
    if outer != "while":
        found = [flat(wg.compile(row)(W, B)) for row in rows]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("outer, inner, reads", NESTED)
def test_mapped_gradients_are_those_of_each_example(outer, inner, reads):
    gradient = wg.grad(function(outer, inner, reads), argnums=(0, 1))
    # The first example takes another branch than others.
    ws, bs = wg.stack([-W, W, W * 1.3, -W]), wg.stack([B, B, B * 0.5, -B])
    found = wg.vmap(gradient)(ws, bs)
    for i in range(4):
        expected = flat(gradient(ws[i], bs[i]))
        np.testing.assert_allclose(
            flat((found[0][i], found[1][i])), expected, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("outer, inner, reads", NESTED)
def test_mapped_branches_around_them(outer, inner, reads):
    f = function(outer, inner, reads)
    gradient = wg.grad(lambda w, b: wg.cond(w > 0, lambda: f(w, b), lambda: w * b[0]), (0, 1))
    ws, bs = wg.stack([-W, W, W * 1.3]), wg.stack([B, B, B * 0.5])
    found = wg.vmap(gradient)(ws, bs)
    for i in range(3):
        expected = flat(gradient(ws[i], bs[i]))
        np.testing.assert_allclose(
            flat((found[0][i], found[1][i])), expected, rtol=1e-9, atol=1e-12
        )


ONE = wg.ones((), dtype="float64")


def within_a_loop(inner):
    """A checkpointed loop around one that reads no state of it, only the argument."""

    def f(v):
        keep = wg.Binomial(slots=3)
        return wg.while_loop(lambda s: s < 30, lambda s: s * inner(v), ONE, checkpoint=keep)

    return f


INNER = {
    "scan": lambda v: wg.scan(lambda c, _: (c * v.sum(), None), ONE, length=2)[0],
    "while": lambda v: wg.while_loop(lambda c: c < 5, lambda c: c * v.sum(), ONE),
    "checkpointed while": lambda v: wg.while_loop(
        lambda c: c < 5, lambda c: c * v.sum(), ONE, checkpoint=wg.Binomial(slots=2)
    ),
}


@pytest.mark.parametrize("inner", INNER)
def test_mapped_tangents_of_a_loop_that_depends_on_no_state(inner):
    f, x = within_a_loop(INNER[inner]), wg.tensor([1.5, 1.2], dtype="float64")
    total = 2.7  # f is its fourth power here
    first, second = np.full(2, 4 * total**3), np.full((2, 2), 12 * total**2)
    np.testing.assert_allclose(wg.jacfwd(f)(x), first)
    np.testing.assert_allclose(wg.jacfwd(wg.jacfwd(f))(x), second)
    np.testing.assert_allclose(wg.hessian(f)(x), second)


def test_a_hessian_through_loops_that_depend_on_each_other_names_the_remedy():
    keep = wg.Binomial(slots=2)

    def f(v):
        def step(s):
            start = ONE + s * 0.0
            return s * wg.while_loop(lambda c: c < 5, lambda c: c * v.sum(), start, checkpoint=keep)

        return wg.while_loop(lambda s: s < 30, step, ONE, checkpoint=keep)

    x = wg.tensor([1.5, 1.2], dtype="float64")
    remedy = r"while_loop: .* forward mode alone \(wg\.jacfwd\(wg\.jacfwd\(f\)\)"
    for hessian in (wg.hessian(f), wg.compile(wg.hessian(f))):
        with pytest.raises(wg.GraphError, match=remedy):
            hessian(x)
    second = np.full((2, 2), 12 * 2.7**2)
    np.testing.assert_allclose(wg.jacfwd(wg.jacfwd(f))(x), second)
    np.testing.assert_allclose(wg.compile(wg.jacfwd(wg.jacfwd(f)))(x), second)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("point", [lambda w: wg.zeros((), dtype=wg.float64), lambda w: w[0]])
def test_a_gradient_at_a_constant_within_a_branch(point, exact):
    """What the inner sweep leaves behind is no history of the branch: gradients were zeros."""

    def slope(w):
        f = lambda u: wg.cond(w[0] > 0.0, lambda: u * 0.4, lambda: u * 0.8)  # noqa: E731
        return wg.grad(f)(point(w))

    def f(w):
        chosen = wg.cond(w[1] > 0.0, lambda: slope(w) + w[0] * 0.7, lambda: slope(w) * w[1])
        return chosen + wg.scan(lambda c, x: (c * slope(w) * x, None), w[1], w)[0]

    for w in (wg.tensor(np.array([0.7, 0.4])), wg.tensor(np.array([0.7, -0.4]))):
        expected = wg.jacfwd(f)(w).numpy()
        for g in (
            wg.grad(f),
            wg.grad(wg.compile(f, exact=exact)),
            wg.compile(wg.grad(f), exact=exact),
        ):
            np.testing.assert_allclose(g(w).numpy(), expected, rtol=1e-12)
        d = wg.tensor(np.array([0.6, 0.9]))
        np.testing.assert_allclose(
            wg.jvp(f, (w,), (d,))[1].numpy(), expected @ d.numpy(), rtol=1e-12
        )


def test_tangents_of_what_a_sweep_within_a_body_has_been_through():
    keep = wg.Binomial(slots=2)

    def f(w):
        def inner(u, x):
            step = lambda s: (s[0] + 1, wg.tanh(u * 0.9))  # noqa: E731
            loop = wg.while_loop(lambda s: s[0] < 3, step, (0, w[1]), checkpoint=keep)
            return loop[1] * (w[0] * 0.6 + x * 0.4)

        body = lambda c, x: (wg.tanh(wg.grad(inner)(w[1], x)), None)  # noqa: E731
        return wg.scan(body, w[1], wg.tensor(np.array([-0.5, 0.8])))[0]

    w, d = wg.tensor(np.array([0.7, -0.4])), wg.tensor(np.array([0.6, 0.9]))
    h = 1e-6
    expected = (f(w + h * d).item() - f(w - h * d).item()) / (2 * h)
    assert wg.jvp(f, (w,), (d,))[1].item() == pytest.approx(expected, rel=1e-7)
    assert (wg.grad(f)(w) * d).sum().item() == pytest.approx(expected, rel=1e-7)
