"""Operations of one's own under every transform, however their rules are written."""

import gc
import threading
import weakref

import numpy as np
import pytest
import wengert as wg


def slopes(m, x, beta, out):
    gate = 1 / (1 + m.exp(-beta * x))
    return gate + beta * out * (1 - gate), x * out * (1 - gate)


def define(forward, vjp=None, jvp=None):
    """x * sigmoid(beta * x) for any x and a number beta; rules computed by a module, or none."""

    @wg.primitive
    def swish(x, beta):
        return x / (1 + forward.exp(-beta * x))

    if vjp:

        @swish.def_vjp
        def _(ct, out, x, beta):
            by_x, by_beta = slopes(vjp, x, beta, out)
            return ct * by_x, vjp.sum(ct * by_beta)

    if jvp:

        @swish.def_jvp
        def _(tangents, out, x, beta):
            pairs = zip(tangents, slopes(jvp, x, beta, out), strict=True)
            terms = [t * slope for t, slope in pairs if t is not None]
            return sum(terms[1:], terms[0])

    return swish


def composed(x, beta):
    return x / (1 + wg.exp(-beta * x))


RNG = np.random.default_rng(0)
X, T, W = RNG.normal(size=(3, 4))
B = np.float64(0.7)
XS, TS, BS = np.stack([X, T, W]), np.stack([W, X, T]), np.array([0.7, -0.4, 1.1])


def loss(f):
    return lambda x, beta: (W * f(x, beta) ** 2).sum()


def total(f, in_axes):
    return lambda x, beta: (wg.vmap(f, in_axes=in_axes)(x, beta) ** 2).sum()


def grads(f):
    return wg.grad(f, (0, 1))


def by_backward(f):
    x, beta = wg.tensor(X, requires_grad=True), wg.tensor(B, requires_grad=True)
    loss(f)(x, beta).backward()
    return x.grad, beta.grad


def by_create_graph(f):
    x, beta = wg.tensor(X, requires_grad=True), wg.tensor(B, requires_grad=True)
    loss(f)(x, beta).backward(create_graph=True)
    first, x.grad = x.grad, None
    beta.grad = None
    (first**2).sum().backward()
    result = x.grad, beta.grad
    x.grad = beta.grad = None
    return result


FIRST = {
    "value": lambda f: f(X, B),
    "grad": lambda f: grads(loss(f))(X, B),
    "grad x": lambda f: wg.grad(loss(f))(X, B),
    "vjp": lambda f: wg.vjp(f, X, B)[1](W),
    "jvp": lambda f: wg.jvp(f, (X, B), (W, 0.3)),
    "jvp x": lambda f: wg.jvp(lambda x: f(x, B), (X,), (W,)),
    "jvp beta": lambda f: wg.jvp(lambda beta: f(X, beta), (B,), (0.3,)),
    "backward": by_backward,
    "jacrev": lambda f: wg.jacrev(f, (0, 1))(X, B),
    "jacfwd": lambda f: wg.jacfwd(f, (0, 1))(X, B),
    "vmap x": lambda f: wg.vmap(f, in_axes=(0, None))(XS, B),
    "vmap beta": lambda f: wg.vmap(f, in_axes=(None, 0))(X, BS),
    "vmap both": lambda f: wg.vmap(f, in_axes=(1, 0))(XS.T, BS),
    "vmap vmap": lambda f: wg.vmap(wg.vmap(f, in_axes=(0, None)), in_axes=(None, 0))(XS, BS),
    "vmap grad x": lambda f: wg.vmap(grads(loss(f)), in_axes=(0, None))(XS, B),
    "vmap grad beta": lambda f: wg.vmap(grads(loss(f)), in_axes=(None, 0))(X, BS),
    "vmap grad": lambda f: wg.vmap(grads(loss(f)))(XS, BS),
    "vmap jvp": lambda f: wg.vmap(lambda x, t: wg.jvp(f, (x, B), (t, 0.1))[1])(XS, TS),
    "grad vmap x": lambda f: grads(total(f, (0, None)))(XS, B),
    "grad vmap beta": lambda f: grads(total(f, (None, 0)))(X, BS),
    "grad vmap vmap": lambda f: grads(total(wg.vmap(f, in_axes=(0, None)), (None, 0)))(XS, BS),
    "jvp vmap": lambda f: wg.jvp(wg.vmap(f, in_axes=(0, None)), (XS, B), (TS, 0.4)),
    "jacrev vmap": lambda f: wg.jacrev(wg.vmap(f), (0, 1))(XS, BS),
    "jacfwd vmap": lambda f: wg.jacfwd(wg.vmap(f), (0, 1))(XS, BS),
    # Second derivatives by the cotangent alone, in which every rule is linear.
    "grad of vjp": lambda f: wg.grad(lambda c: (wg.vjp(f, X, B)[1](c)[0] ** 2).sum())(W),
    "jvp of vjp": lambda f: wg.jvp(lambda c: wg.vjp(f, X, B)[1](c)[0], (W,), (T,))[1],
}
SECOND = {
    "hessian": lambda f: wg.hessian(loss(f), (0, 1))(X, B),
    "jacrev grad": lambda f: wg.jacrev(grads(loss(f)), (0, 1))(X, B),
    "jacfwd jacfwd": lambda f: wg.jacfwd(wg.jacfwd(f, (0, 1)), (0, 1))(X, B),
    "jacrev jacfwd": lambda f: wg.jacrev(wg.jacfwd(f, (0, 1)), (0, 1))(X, B),
    "hvp": lambda f: wg.hvp(loss(f), (X, B), (W, 0.2)),
    "grad grad": lambda f: grads(lambda x, beta: wg.grad(loss(f), 1)(x, beta) ** 2)(X, B),
    "create graph": by_create_graph,
    "vmap hessian": lambda f: wg.vmap(wg.hessian(loss(f), (0, 1)), in_axes=(0, None))(XS, B),
    "hessian vmap": lambda f: wg.hessian(total(f, (0, None)), (0, 1))(XS, B),
    "third": lambda f: wg.grad(wg.grad(wg.grad(lambda beta: loss(f)(X, beta))))(B),
}
RULES = {
    "vjp": (wg, None),
    "jvp": (None, wg),
    "both": (wg, wg),
    "NumPy vjp": (np, None),
    "NumPy jvp": (None, np),
    "NumPy both": (np, np),
}


def assert_like(found, expected):
    pairs = zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True)
    for a, b in pairs:
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("forward", [np, wg], ids=["NumPy", "wengert"])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("transform", FIRST)
def test_first_derivatives(transform, rules, forward):
    run = FIRST[transform]
    assert_like(run(define(forward, *RULES[rules])), run(composed))


@pytest.mark.parametrize("forward", [np, wg], ids=["NumPy", "wengert"])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("transform", SECOND)
def test_second_derivatives(transform, rules, forward):
    run, f = SECOND[transform], define(forward, *RULES[rules])
    if "NumPy" not in rules:
        assert_like(run(f), run(composed))
        return
    with pytest.raises(wg.GraphError, match=r"^swish: the V?JV?P rule of 'swish' is written in Nu"):
        run(f)
    assert_like(FIRST["vmap grad"](f), FIRST["vmap grad"](composed))


def test_no_rule():
    f = define(np)
    np.testing.assert_allclose(f(X, B), composed(X, B))
    for run in (FIRST["grad"], FIRST["jvp"], FIRST["vmap grad"]):
        with pytest.raises(wg.GraphError, match=r"^swish: .*no rule.*@swish\.def_vjp or @swish\."):
            run(f)


def test_the_rules_are_what_counts():
    """Not the derivative of the forward function, also under vmap."""

    @wg.primitive
    def reverse(x):
        return 1 * x

    @reverse.def_vjp
    def _(ct, out, x):
        return (-ct,)

    assert wg.grad(reverse)(1.0).item() == -1.0
    assert wg.jvp(reverse, (1.0,), (1.0,))[1].item() == -1.0
    assert wg.vmap(wg.grad(reverse))(wg.ones(2)).tolist() == [-1.0, -1.0]
    assert wg.grad(lambda x: wg.vmap(reverse)(x).sum())(wg.ones(2)).tolist() == [-1.0, -1.0]

    @reverse.def_vjp
    def _(ct, out, x):
        return (None,)

    assert wg.grad(reverse)(1.0).item() == 0.0


def test_its_face():
    def swish(x, beta=1.0):
        """Soft."""
        return x * beta

    f = wg.primitive(swish)
    rule = f.def_vjp(lambda ct, out, x, beta: (ct * beta, ct * x))
    assert (f.__name__, f.__doc__, repr(f)) == ("swish", "Soft.", "<primitive swish>")
    assert f.f is swish and f.vjp_rule is rule and f.jvp_rule is None
    y = f(wg.tensor(2.0, requires_grad=True), beta=3.0)
    assert y.grad_fn.name == "swish" and len(y.grad_fn.next_functions) == 2
    assert y.item() == 6.0 and f(2.0).item() == 2.0


def polar(m):
    """Radius, angle and a count, which is no float, of a point; and how many parts it has."""

    @wg.primitive
    def polar(x, y):
        return m.sqrt(x * x + y * y), m.arctan2(y, x) if m is np else m.atan2(y, x), np.int64(2)

    @polar.def_vjp
    def _(ct, out, x, y):
        r = out[0]
        return ct[0] * x / r - ct[1] * y / r**2, ct[0] * y / r + ct[1] * x / r**2

    return polar


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
def test_several_outputs(m):
    f = polar(m)

    def same(x, y):
        return wg.sqrt(x * x + y * y), wg.atan2(y, x)

    def floats(x, y):
        radius, angle, count = f(x, y)
        assert count.dtype == wg.int64
        return radius, angle

    both = (0, 1)
    for run in (
        lambda f: f(X, T),
        lambda f: wg.vmap(grads(lambda *at: f(*at)[0]))(X, T),
        lambda f: wg.vmap(grads(lambda *at: f(*at)[1]))(X, T),
        lambda f: wg.jvp(f, (X, T), (W, X)),
        lambda f: wg.jacrev(f, both)(X, T),
        lambda f: wg.jacfwd(f, both)(X, T),
        lambda f: wg.vmap(f, in_axes=(0, None))(X, B),
        lambda f: wg.hessian(lambda *at: f(*at)[1] * f(*at)[0], both)(B, 2 * B),
        lambda f: wg.jvp(wg.vmap(f), (X, T), (W, X)),
    ):
        assert_like(run(floats), run(same))


def test_a_first_output_that_is_no_float_hides_no_tangent():
    @wg.primitive
    def rounded(x):
        return np.round(x).astype(np.int64), 2 * x

    @rounded.def_jvp
    def _(tangents, out, x):
        return None, 2 * tangents[0]

    assert wg.jvp(lambda x: rounded(x)[1], (1.5,), (1.0,))[1].item() == 2.0
    assert wg.grad(lambda x: rounded(x)[1])(1.5).item() == 2.0
    assert wg.vmap(wg.grad(lambda x: rounded(x)[1]))(X).tolist() == [2.0] * 4


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
def test_integer_arguments_and_options(m):
    calls = []

    @wg.primitive
    def pick(x, indices, *, scale=2.0, label="none"):
        return scale * m.take(x, indices, axis=0)

    @pick.def_vjp
    def _(ct, out, x, indices, *, scale, label):
        calls.append((scale, label))
        onehot = m.asarray(m.expand_dims(indices, -1) == m.arange(x.shape[0]), dtype=x.dtype)
        return scale * ct @ onehot, None

    indices = np.array([2, 0, 2])
    assert wg.grad(lambda x: pick(x, indices).sum())(X).tolist() == [2.0, 0.0, 4.0, 0.0]
    grad = wg.grad(lambda x: pick(x, indices, scale=3.0, label="a").sum())
    assert grad(X).tolist() == [3.0, 0.0, 6.0, 0.0]
    assert set(calls) == {(2.0, "none"), (3.0, "a")}
    rows = wg.vmap(wg.grad(lambda x, i: pick(x, i).sum()))(XS, np.array([[0, 0], [1, 3], [2, 2]]))
    assert rows.tolist() == [[4, 0, 0, 0], [0, 2, 0, 2], [0, 0, 4, 0]]
    _, tangent = wg.jvp(lambda x: pick(x, indices), (X,), (W,))
    np.testing.assert_allclose(tangent, 2 * W[indices])


def test_one_rule_may_be_written_both_ways():
    @wg.primitive
    def cube(x, *, m):
        return x**3

    @cube.def_vjp
    def _(ct, out, x, *, m):
        return (3 * ct * m.square(x),)

    def second(m, x):
        return wg.grad(lambda x: wg.grad(lambda x: cube(x, m=m).sum())(x).sum())(x)

    assert second(wg, 2.0).item() == 12.0
    with pytest.raises(wg.GraphError, match="written in NumPy"):
        second(np, 2.0)


def test_numbers_read_out_of_tensors_hide_no_derivative():
    @wg.primitive
    def scaled(x, beta):
        return x * float(beta)

    @scaled.def_vjp
    def _(ct, out, x, beta):
        return ct * beta.item(), wg.sum(ct * wg.asarray(x.numpy()))

    def first(x, beta):
        return wg.grad(lambda x: scaled(x, beta).sum())(x).sum()

    assert first(X, B).item() == pytest.approx(4 * B)
    for outer in (wg.grad(first, 1), lambda x, b: wg.jvp(lambda b: first(x, b), (b,), (b,))):
        with pytest.raises(wg.GraphError, match="reads numbers out of its tensors"):
            outer(X, B)


def test_any_number_of_arguments():
    @wg.primitive
    def product(first, *others):
        return np.prod([first, *others], axis=0)

    @product.def_vjp
    def _(ct, out, *args):
        return tuple(ct * out / x for x in args)

    assert [g.item() for g in wg.grad(product, (0, 1, 2))(2.0, 3.0, 4.0)] == [12.0, 8.0, 6.0]
    product.def_vjp(lambda ct, out, *args: (ct, ct, ct[None]))
    with pytest.raises(wg.ShapeError, match=r"'others\[1\]', which has shape \(\)"):
        wg.grad(product)(2.0, 3.0, 4.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rules", RULES)
def test_dtypes(dtype, rules):
    f = define(np, *RULES[rules])
    x = X.astype(dtype)
    assert f(x, 0.5).dtype == dtype
    gradient = wg.grad(lambda x, beta: f(x, beta).sum(), (0, 1))(x, wg.asarray(0.5, dtype=dtype))
    assert [g.dtype for g in gradient] == [dtype, dtype]
    assert wg.jvp(f, (x, dtype(0.5)), (x, dtype(1)))[1].dtype == dtype
    assert wg.vmap(f, in_axes=(0, None))(XS.astype(dtype), 0.5).dtype == dtype
    assert wg.compile(f)(x, 0.5).dtype == dtype


def test_numbers():
    @wg.primitive
    def norm(x):
        return float(np.linalg.norm(x))

    @norm.def_vjp
    def _(ct, out, x):
        return (ct * x / out,)

    assert norm(np.array([3.0, 4.0])).dtype == np.float64
    assert norm(np.array([3.0, 4.0], np.float32)).dtype == np.float32
    np.testing.assert_allclose(wg.vmap(norm)(XS), np.linalg.norm(XS, axis=1))
    np.testing.assert_allclose(wg.vmap(wg.grad(norm))(XS), XS / wg.vmap(norm)(XS).reshape(3, 1))


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
def test_no_examples(m):
    f = define(m, wg)
    assert wg.vmap(f, in_axes=(0, None))(np.zeros((0, 4)), B).shape == (0, 4)
    gradient = wg.grad(lambda beta: wg.vmap(f, in_axes=(0, None))(np.zeros((0, 4)), beta).sum())
    assert gradient(B).item() == 0.0
    assert wg.grad(lambda x: f(x, B).sum())(np.zeros((0, 4))).shape == (0, 4)


def test_rules_may_call_primitives_and_differentiate():
    outer, inner = define(wg), define(np, wg)

    @outer.def_vjp
    def _(ct, out, x, beta):
        return wg.vjp(inner, x, beta)[1](ct)

    for run in (FIRST["grad"], FIRST["vmap grad"], SECOND["hessian"], SECOND["create graph"]):
        assert_like(run(outer), run(composed))


def test_backward_within_a_rule():
    @wg.primitive
    def square(x):
        return x * x

    @square.def_vjp
    def _(ct, out, x):
        leaf = wg.tensor(x.numpy(), requires_grad=True)
        with wg.enable_grad():
            (leaf * leaf).sum().backward()
        return (ct.numpy() * leaf.grad.numpy(),)

    np.testing.assert_allclose(wg.grad(lambda x: square(x).sum())(X), 2 * X)
    np.testing.assert_allclose(wg.vmap(wg.grad(lambda x: square(x).sum()))(XS), 2 * XS)
    with pytest.raises(wg.GraphError, match="written in NumPy"):
        wg.hessian(lambda x: square(x).sum())(X)


def test_values_that_rules_need_are_watched():
    f = define(np, np)
    w = wg.asarray(B).copy()
    y = f(wg.tensor(X, requires_grad=True), w).sum()
    w.assign(1.0)
    with pytest.raises(wg.GraphError, match=r"^swish: .*changed in place"):
        y.backward()


def test_other_threads_may_hold_the_interpreter():
    f, x = define(np, wg), np.ones(1 << 16)
    busy = threading.Event()

    def spin():
        while not busy.is_set():
            wg.exp(x)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        for _ in range(20):
            value = wg.grad(lambda x: f(x, 1.0).sum())(x)
    finally:
        busy.set()
        thread.join()
    np.testing.assert_allclose(value, wg.grad(lambda x: composed(x, 1.0).sum())(x))


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
def test_nothing_leaks(m):
    def once():
        f = define(m, m)
        for run in (FIRST["grad"], FIRST["jvp"], FIRST["vmap grad"], FIRST["jacfwd vmap"]):
            run(f)
        kept = wg.tensor(X, requires_grad=True)
        y = f(kept, B)
        assert y.grad_fn.name == "swish"
        return weakref.ref(f), weakref.ref(f.f), weakref.ref(f.vjp_rule)

    once()
    gc.collect()
    before = wg.memory.live_bytes(), wg.memory.live_objects()
    references = [reference for _ in range(20) for reference in once()]
    gc.collect()
    assert [r() for r in references] == [None] * 60
    assert (wg.memory.live_bytes(), wg.memory.live_objects()) == before


def test_a_program_keeps_its_primitive():
    program = wg.trace(lambda x: grads(loss(define(np, np)))(x, B), X)
    gc.collect()
    assert {"swish", "swish_vjp"} <= {node.name for node in program.nodes}
    assert "swish" in str(program) and program.bytes_peak > 0


def test_a_graph_keeps_its_primitive():
    f = define(wg, wg)
    reference = weakref.ref(f)
    x = wg.tensor(X, requires_grad=True)
    y = f(x, B).sum()
    del f
    gc.collect()
    y.backward()
    assert x.grad is not None and reference() is not None
    del y
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
def test_tangents_of_constants_are_zeros(m):
    given = []

    @wg.primitive
    def product(x, y, n):
        return m.multiply(x, y) * n

    @product.def_jvp
    def _(tangents, out, x, y, n):
        given.append([None if t is None else t.shape for t in tangents])
        return (tangents[0] * y + x * tangents[1]) * n

    n = np.int64(2)
    for run in (
        lambda: wg.jvp(lambda x: product(x, B, n), (X,), (W,))[1] - 2 * B * W,
        lambda: wg.jvp(lambda y: product(X, y, n), (B,), (B,))[1] - 2 * B * X,
        lambda: wg.grad(lambda x: product(x, B, n).sum())(X) - 2 * B,
        lambda: wg.vmap(wg.grad(lambda x: product(x, B, n).sum()))(XS) - 2 * B,
    ):
        assert np.abs(run().numpy()).max() < 1e-12
    assert given[0] == [(4,), (), None]
