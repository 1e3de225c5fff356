"""Wrong rules and arguments of primitives: what is said, and that nothing else is hurt."""

import numpy as np
import pytest
import wengert as wg

RNG = np.random.default_rng(0)
X, B = RNG.normal(size=4), np.float64(0.7)


def weighted(f):
    return lambda x, beta: (f(x, beta) ** 2).sum()


TRANSFORMS = {
    "grad": lambda f: wg.grad(weighted(f), (0, 1))(X, B),
    "vmap grad": lambda f: wg.vmap(wg.grad(weighted(f)), in_axes=(None, 0))(
        X, np.array([B, 2 * B])
    ),
    "jacrev": lambda f: wg.jacrev(f, (0, 1))(X, B),
    "jacrev grad": lambda f: wg.jacrev(wg.grad(weighted(f)), 1)(X, B),
    "hessian": lambda f: wg.hessian(weighted(f), (0, 1))(X, B),
}


def bad(vjp=None, jvp=None):
    @wg.primitive
    def swish(x, beta):
        return x / (1 + np.exp(-beta * x))

    if vjp:
        swish.def_vjp(vjp)
    if jvp:
        swish.def_jvp(jvp)
    return swish


def tangent_of(rule):
    return lambda: wg.jvp(bad(jvp=rule), (X, B), (X, B))


def gradient_of(rule):
    return lambda: TRANSFORMS["grad"](bad(vjp=rule))


def returning(value):
    return lambda: wg.primitive(lambda x: value)(1.0)


ERRORS = {
    "shape": (
        gradient_of(lambda ct, out, x, beta: (ct, wg.sum(ct, keepdims=True))),
        wg.ShapeError,
        r"^swish: the VJP rule gives a cotangent of shape \(1,\) for 'beta', which has shape \(\)$",
    ),
    "broadcast": (
        gradient_of(lambda ct, out, x, beta: (1.0, None)),
        wg.ShapeError,
        r"^swish: .*shape \(\) for 'x', which has shape \(4,\)$",
    ),
    "dtype": (
        gradient_of(lambda ct, out, x, beta: (np.ones(4, np.int64), None)),
        wg.DTypeError,
        r"^swish: .*cotangent of dtype int64 for 'x', which has dtype float64; .*astype$",
    ),
    "count": (
        gradient_of(lambda ct, out, x, beta: (ct,)),
        wg.ArgumentError,
        r"^swish: the VJP rule .* one .* an .*, None where .*; got 1 for 2 \('x', 'beta'\)$",
    ),
    "no tuple": (
        gradient_of(lambda ct, out, x, beta: ct),
        wg.ArgumentTypeError,
        r"^swish: the VJP rule must return a tuple with one .*; got a Tensor\. Write return",
    ),
    "text": (
        gradient_of(lambda ct, out, x, beta: (ct, "b")),
        wg.ArgumentTypeError,
        r"^swish: .*'b'$",
    ),
    "tangent shape": (
        tangent_of(lambda tangents, out, x, beta: tangents[1]),
        wg.ShapeError,
        r"^swish: the JVP rule gives a tangent of shape \(\) for the output, .* \(4,\)$",
    ),
    "tangent tuple": (
        tangent_of(lambda tangents, out, x, beta: (tangents[0], tangents[1])),
        wg.ArgumentTypeError,
        r"^swish: must return a tensor, an array .*; got \(",
    ),
    "not a function": (lambda: wg.primitive(3), wg.ArgumentTypeError, "^primitive: .*got 3$"),
    "no rule": (lambda: bad().def_vjp(3), wg.ArgumentTypeError, r"^swish.def_vjp: .*got 3$"),
    "no jvp rule": (lambda: bad().def_jvp(None), wg.ArgumentTypeError, r"^swish.def_jvp: .*None$"),
    "missing": (lambda: bad()(X), wg.ArgumentTypeError, r"^swish: missing .*'beta'$"),
    "too many": (lambda: bad()(X, B, B), wg.ArgumentTypeError, r"^swish: too many positional"),
    "unknown": (lambda: bad()(X, B, c=1), wg.ArgumentTypeError, r"^swish: .*'c'$"),
    "no arguments": (lambda: wg.primitive(lambda: 1)(), wg.ArgumentTypeError, r"at least one"),
    "argument": (lambda: bad()(X, "b"), wg.ArgumentTypeError, r"^swish: 'beta' takes .*'b'.*keyw"),
    "list": (lambda: bad()([X], B), wg.ArgumentTypeError, r"^swish: 'x' takes a tensor"),
    "option": (
        lambda: wg.primitive(lambda x, *, n: x)(X, n=[1]),
        wg.ArgumentTypeError,
        r"^<lambda>: the option 'n' takes a plain value that can be hashed; got \[1\]",
    ),
    "tensor option": (
        lambda: wg.primitive(lambda x, *, n: x)(X, n=wg.ones(1)),
        wg.ArgumentTypeError,
        r"option 'n' .*positional",
    ),
    "result": (returning("a"), wg.ArgumentTypeError, r"must return a tensor.*; got 'a'$"),
    "list result": (returning([1.0]), wg.ArgumentTypeError, r"must return a tensor.*; got \[1.0\]"),
    "no result": (returning(()), wg.ArgumentError, r"at least one array; got \(\)$"),
    "complex result": (returning(np.ones(1, complex)), wg.DTypeError, r"complex"),
    "closure": (
        lambda: wg.vmap(lambda x: wg.primitive(lambda y: x * y)(B))(X),
        wg.TraceError,
        r"closes over a traced value; pass it as an argument",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, pattern = ERRORS[name]
    with pytest.raises(kind, match=pattern):
        call()
    assert wg.is_grad_enabled()


def test_cotangents_of_integers_are_refused():
    @wg.primitive
    def scaled(x, n):
        return x * n

    scaled.def_vjp(lambda ct, out, x, n: (ct * n, ct * x))
    with pytest.raises(wg.DTypeError, match=r"for 'n', which has dtype int64; .*give None$"):
        wg.grad(scaled)(1.0, np.int64(3))


class Mine(Exception):
    pass


def test_errors_of_rules_are_theirs_and_leave_no_trace():
    def fail(*args):
        raise Mine("as it is")

    def composed(x, beta):
        return x / (1 + wg.exp(-beta * x))

    before = [np.asarray(h) for h in wg.tree.leaves(TRANSFORMS["hessian"](composed))]
    f = bad(fail, fail)
    for run in TRANSFORMS.values():
        with pytest.raises(Mine, match=r"^as it is$"):
            run(f)
    with pytest.raises(Mine):
        wg.jvp(f, (X, B), (X, B))
    with pytest.raises(Mine):
        wg.primitive(fail)(1.0)
    x = wg.tensor(X, requires_grad=True)
    y = f(x, B).sum()
    with pytest.raises(Mine):
        y.backward(retain_graph=True)
    assert wg.is_grad_enabled() and x.grad is None
    f.def_vjp(lambda ct, out, x, beta: (ct, None))
    y.backward()
    assert x.grad.tolist() == [1.0] * 4
    after = wg.tree.leaves(TRANSFORMS["hessian"](composed))
    assert all(np.array_equal(h, old) for h, old in zip(after, before, strict=True))


def test_type_errors_of_functions_are_theirs():
    @wg.primitive
    def wrong(x):
        return x + None

    with pytest.raises(TypeError, match="combine a tensor with a NoneType"):
        wrong(1.0)

    @wg.primitive
    def deeper(x):
        raise KeyError(np.exp(x).item())

    with pytest.raises(KeyError, match="1"):
        deeper(0.0)


def test_functions_cannot_change_their_arguments():
    with pytest.raises(ValueError, match="read-only"):
        wg.primitive(lambda x: np.positive(x, out=x))(wg.ones(3))


def scaled(w, m, in_rule):
    """2 * x or w * x, whose rule multiplies by w; w is no argument."""
    f = wg.primitive(lambda x: m.asarray(x) * (2.0 if in_rule else w))
    f.def_vjp(lambda ct, out, x: (m.asarray(ct) * w,))
    return f


def of_values(m):
    return lambda w: scaled(w, m, False)(X).sum()


def of_gradients(m):
    return lambda w: wg.grad(lambda x: scaled(w, m, True)(x).sum())(X).sum()


def of_tangents(m):
    return lambda w: wg.jvp(scaled(w, m, True), (X,), (X,))[1].sum()


def of_mapped(m):
    return lambda w: wg.vmap(scaled(w, m, False))(X).sum()


@pytest.mark.parametrize("m", [np, wg], ids=["NumPy", "wengert"])
@pytest.mark.parametrize("made", [of_values, of_gradients, of_tangents, of_mapped])
def test_closures_hide_no_derivative(made, m):
    f = made(m)
    w = wg.tensor(B, requires_grad=True)
    says = r"^<lambda>: the (function|VJP rule) closes over a tensor that is being differentiated; "
    for run in (
        lambda: wg.grad(f)(B),
        lambda: wg.jvp(f, (B,), (B,)),
        lambda: wg.vmap(wg.grad(f))(X),
        lambda: f(w),
    ):
        with pytest.raises(wg.Error, match=says + "pass it as an argument|closes over a traced"):
            run()
    with wg.no_grad():
        same = f(w).item()
    assert f(wg.tensor(B)).item() == f(w.detach()).item() == same


def test_a_backward_pass_may_use_closures():
    """Nothing is lost: it is not recorded, or it is and the rule runs recorded."""
    w = wg.tensor(B, requires_grad=True)
    x = wg.tensor(X, requires_grad=True)
    f = scaled(w, wg, True)
    f(x).sum().backward()
    assert x.grad.tolist() == [B] * 4
    x.grad = None
    f(x).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()
    assert w.grad.item() == 4.0


def in_scan(f):
    return lambda x: wg.scan(lambda c, _: (c + wg.sum(f(c)[0]), None), x, None, length=2)[0]


@pytest.mark.parametrize("where", [wg.compile, in_scan])
def test_results_of_other_types_than_recorded(where):
    """Their types are learnt from made-up arguments."""

    @wg.primitive
    def positive(x):
        return x[np.asarray(x) > 0]

    @wg.primitive
    def one_or_two(x):
        x = np.asarray(x)
        return (x, x) if x.sum() > 2.5 else (x,)

    @wg.primitive
    def narrow(x):
        x = np.asarray(x)
        return x.astype(np.float32 if x.sum() > 2.5 else np.float64)

    x = wg.tensor([0.5, -2.0], dtype=wg.float64)
    with pytest.raises(wg.ShapeError, match=r"positive: gave float64 \(1,\), but float64 \(2,\)"):
        where(positive)(x)
    with pytest.raises(wg.ShapeError, match="one_or_two: gave 2 results, but 1"):
        where(one_or_two)(x + 3.0)
    with pytest.raises(wg.DTypeError, match=r"narrow: gave float32 \(2,\), but float64"):
        where(narrow)(x + 3.0)


def test_matrices_that_are_made_up_are_regular():
    """As of a primitive around numpy.linalg.inv."""

    @wg.primitive
    def inverse(a):
        return np.linalg.inv(a)

    @inverse.def_vjp
    def _(ct, y, a):
        return (-(y.mT @ ct @ y.mT),)

    a = wg.tensor([[2.0, 1.0], [0.0, 3.0]], dtype=wg.float64)
    expected = np.linalg.inv(a.numpy())
    np.testing.assert_allclose(wg.compile(inverse)(a), expected)
    np.testing.assert_allclose(wg.vmap(inverse)(wg.stack([a, a]))[1], expected)
    slope = wg.grad(lambda a: inverse(a).sum())
    np.testing.assert_allclose(wg.compile(slope)(a), slope(a))

    @wg.primitive
    def picky(x):
        if x[0] < 5:
            raise ValueError("too small")
        return x

    with pytest.raises(wg.ArgumentError, match=r"picky: fails for made-up.*ValueError: too small"):
        wg.compile(picky)(wg.tensor([7.0]))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1.0, 1.0], [3.0, 4.0]], "got 1 for one example, and 2 for another"),
        ([[3.0, 4.0], [5.0, 6.0]], "got 2 where it was traced, and 1 where it is mapped"),
    ],
)
def test_mapped_it_gives_as_many_results_as_traced(rows, says):
    @wg.primitive
    def split(x):
        return (np.sin(x), np.cos(x)) if x[0] < 2 else (np.sin(x),)

    with pytest.raises(wg.ArgumentError, match=f"split: must always give as many results; {says}"):
        wg.vmap(lambda x: split(x)[-1])(wg.tensor(rows))
