"""wg.checkpoint: the same numbers to the bit, computed again and not kept; counted and weighed."""

import gc

import numpy as np
import pytest
import wengert as wg

RNG = np.random.default_rng(0)
W, V, X = RNG.normal(size=(4, 4)), RNG.normal(size=(4, 4)), RNG.normal(size=(3, 4))


def same(found, expected):
    """Equal to the bit."""
    found, expected = wg.tree.leaves(found), wg.tree.leaves(expected)
    for x, y in zip(found, expected, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.numpy().tobytes() == y.numpy().tobytes()


def close(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-12, atol=1e-12)


def counted():
    """tanh as a primitive, and the list of its evaluations."""
    calls = []

    @wg.primitive
    def tanh(x):
        calls.append(1)
        return np.tanh(x)

    @tanh.def_vjp
    def _(ct, out, x):
        return (ct * (1 - out**2),)

    return tanh, calls


def deep(x, w, v):
    h = wg.tanh(x @ w)
    h = h + wg.sin(h @ v) * wg.sigmoid(h)
    return wg.exp(-h * h) @ w


def loss_of(f):
    return lambda *args: (f(*args) ** 2).sum()


# What is computed again.


def test_each_operation_runs_once_more():
    tanh, calls = counted()
    x = wg.tensor(X, requires_grad=True)
    y = wg.checkpoint(lambda x: tanh(tanh(tanh(x) * 2.0)))(x)
    assert len(calls) == 3
    y.sum().backward()
    assert len(calls) == 6


def test_what_no_adjoint_reads_is_not_computed_again():
    tanh, calls = counted()
    x = wg.tensor(X, requires_grad=True)
    # A sum reads nothing, so what leads to its second argument alone is not needed.
    wg.checkpoint(lambda x: x * 2.0 + tanh(wg.stop_gradient(x)))(x).sum().backward()
    assert len(calls) == 1
    # The value of the primitive is the factor of the other argument.
    wg.checkpoint(lambda x: x * tanh(wg.stop_gradient(x)))(x).sum().backward()
    assert len(calls) == 3


def test_without_a_gradient_nothing_is_computed_again():
    tanh, calls = counted()
    f = wg.checkpoint(lambda x: tanh(x))
    with wg.no_grad():
        f(X)
    assert not f(wg.tensor(X)).requires_grad
    assert len(calls) == 2


def test_every_sweep_computes_again():
    tanh, calls = counted()
    x = wg.tensor(X, requires_grad=True)
    y = wg.checkpoint(lambda x: tanh(x).sum())(x)
    y.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    y.backward()
    assert len(calls) == 3
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)
    with pytest.raises(wg.GraphError, match=r"checkpoint: the values saved .* freed"):
        y.backward()


def test_nested_blocks_count_as_often_as_they_are_deep():
    tanh, calls = counted()
    inner = wg.checkpoint(lambda x: tanh(x) * 2.0)
    outer = wg.checkpoint(lambda x: inner(inner(x)))
    x = wg.tensor(X, requires_grad=True)
    y = outer(x)
    assert len(calls) == 2
    y.sum().backward()
    # The outer block gives the second inner one its input (1); each inner one its sweep (2).
    assert len(calls) == 5
    expected = wg.tensor(X, requires_grad=True)
    (tanh(tanh(expected) * 2.0) * 2.0).sum().backward()
    same(x.grad, expected.grad)


def test_the_figure_of_the_chapter():
    from wengert.examples.checkpointing import run

    forward, backward, gradient = run(4, (1, 2, 4))
    assert forward == [1, 2, 3, 4, 3] and len(forward) / 4 == 1.25
    assert backward == [4, 3, 2, 1]
    same(gradient, run(4, (1, 2, 3, 4))[2])
    assert run(4, ())[0] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert run(4, (1, 2, 3, 4))[0] == [1, 2, 3, 4]


# What is kept.


def blocks(f, n):
    def chain(x):
        for _ in range(n):
            x = f(x)
        return x

    return chain


def peak_of(f):
    gc.collect()
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    f()
    gc.collect()
    assert wg.memory.live_bytes() == before
    return wg.memory.peak_bytes() - before


def test_bytes_between_the_sweeps_are_those_of_the_inputs():
    x = wg.tensor(np.ones(1000), requires_grad=True)
    before = wg.memory.live_bytes()
    y = wg.checkpoint(blocks(lambda h: wg.tanh(h) * 2.0, 10))(x)
    numbers = 10 * 8  # each 2.0
    assert wg.memory.live_bytes() - before == 8000 + numbers  # y
    z = blocks(wg.checkpoint(lambda h: wg.tanh(h) * 2.0), 10)(x)
    assert wg.memory.live_bytes() - before == 2 * (8000 + numbers) + 9 * 8000
    del y, z
    assert wg.memory.live_bytes() == before


def test_an_input_that_no_adjoint_reads_is_let_go():
    x = wg.tensor(np.ones(1000), requires_grad=True)
    h = x * 2.0
    before = wg.memory.live_bytes()
    y = wg.checkpoint(lambda h: h + x)(h)
    del h
    assert wg.memory.live_bytes() == before
    y.sum().backward()


def test_the_peak_falls():
    def step(f):
        def go():
            x = wg.tensor(np.ones(1 << 14), requires_grad=True)
            blocks(f, 16)(x).sum().backward()

        return go

    def block(h):
        for _ in range(8):
            h = wg.tanh(h) + 0.1
        return h

    size = 8 << 14
    plain, checkpointed = peak_of(step(block)), peak_of(step(wg.checkpoint(block)))
    assert plain > 16 * 8 * size
    assert checkpointed < (16 + 8 + 8) * size


def test_intermediate_values_end_as_the_function_goes_on():
    x = wg.tensor(np.ones(1 << 14), requires_grad=True)
    f = wg.checkpoint(blocks(lambda h: wg.tanh(h) + 0.1, 50))
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    y = f(x)
    assert wg.memory.peak_bytes() - before <= 4 * (8 << 14)
    del y


# The same gradients.

FUNCTIONS = {
    "value": lambda f: f,
    "grad": lambda f: wg.grad(loss_of(f), (0, 1, 2)),
    "vjp": lambda f: lambda *a: wg.vjp(f, *a)[1](wg.ones((3, 4), dtype="float64")),
    "jvp": lambda f: lambda *a: wg.jvp(f, a, a),
    "linearize": lambda f: lambda *a: wg.linearize(f, *a)[1](*a),
    "jacrev": lambda f: wg.jacrev(f, 1),
    "jacfwd": lambda f: wg.jacfwd(f, 1),
    "hvp": lambda f: lambda *a: wg.hvp(loss_of(f), a, a),
    "hessian": lambda f: wg.hessian(loss_of(f), 1),
    "reverse over reverse": lambda f: wg.grad(
        lambda *a: sum((g * g).sum() for g in wg.grad(loss_of(f), (0, 1, 2))(*a)), (0, 1, 2)
    ),
    "reverse over forward": lambda f: wg.grad(
        lambda *a: (wg.jvp(f, a, (X, W, V))[1] ** 2).sum(), (0, 1, 2)
    ),
    "forward over reverse": lambda f: (
        lambda *a: wg.jvp(lambda *b: wg.grad(loss_of(f), (0, 1))(*b), a, (X, W, V))
    ),
    "third order": lambda f: wg.grad(
        lambda x: wg.grad(lambda x: wg.grad(loss_of(f))(x, W, V).sum())(x).sum()
    ),
    "forward twice": lambda f: (
        lambda *a: wg.jvp(lambda *b: wg.jvp(f, b, (X, W, V))[1], a, (2 * X, W, V))
    ),
    "vmap": lambda f: lambda x, w, v: wg.vmap(f, (0, None, None))(wg.stack([x, 2 * x]), w, v),
    "vmap of grad": lambda f: (
        lambda x, w, v: wg.vmap(wg.grad(loss_of(f), (0, 1)), (None, 0, None))(
            x, wg.stack([w, 2 * w]), v
        )
    ),
    "grad of vmap": lambda f: wg.grad(
        lambda x, w, v: (wg.vmap(f, (None, 0, None))(x, wg.stack([w, 2 * w]), v) ** 2).sum(),
        (0, 1, 2),
    ),
}
FIRST_ORDER = ("value", "grad", "vjp", "jvp", "linearize", "jacrev", "jacfwd", "vmap")
WRAPPED = {
    "plain": wg.checkpoint,
    "matmuls": lambda f: wg.checkpoint(f, policy=wg.policies.save_matmuls),
    "everything": lambda f: wg.checkpoint(f, policy=wg.policies.save_everything),
    "nested": lambda f: wg.checkpoint(
        lambda *a: wg.tree.map(lambda y: y * 1.0, wg.checkpoint(f)(*a))
    ),
}
ARGS = tuple(wg.asarray(a) for a in (X, W, V))


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_transform(name, wrapped):
    transform = FUNCTIONS[name]
    args = ARGS[:1] if name == "third order" else ARGS
    expected = transform(deep)(*args)
    found = transform(WRAPPED[wrapped](deep))(*args)
    (same if wrapped == "plain" and name in FIRST_ORDER else close)(found, expected)
    compiled = wg.compile(transform(WRAPPED[wrapped](deep)))
    for _ in range(2):
        close(compiled(*args), expected)


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("name", ["grad", "vjp", "hvp", "reverse over reverse"])
def test_around_transforms(name, wrapped):
    """The checkpoint outside, the transform within, and a sweep around both."""
    inner = FUNCTIONS[name](deep)

    def total(f):
        return lambda *a: sum((g * g).sum() for g in wg.tree.leaves(f(*a)))

    expected = wg.grad(total(inner), (0, 1, 2))(*ARGS)
    close(wg.grad(total(WRAPPED[wrapped](inner)), (0, 1, 2))(*ARGS), expected)
    close(wg.compile(wg.grad(total(WRAPPED[wrapped](inner)), (0, 1, 2)))(*ARGS), expected)


def test_inner_transforms_of_what_nobody_differentiates():
    y = wg.checkpoint(lambda x: wg.grad(lambda z: (z**3).sum())(x))(wg.asarray(X))
    assert not y.requires_grad
    same(y, wg.grad(lambda z: (z**3).sum())(X))


def test_trees_keywords_and_results_that_are_no_tensors():
    @wg.checkpoint
    def f(tree, *, scale):
        """The docstring."""
        a, b = tree["a"], tree["b"]
        return {"y": (a * b * scale, a), "name": "f", "n": 3, "none": None}

    assert f.__doc__ == "The docstring." and f.__name__ == "f"
    a, b = wg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0], np.float32)
    out = f({"a": a, "b": b}, scale=2.0)
    assert (out["name"], out["n"], out["none"]) == ("f", 3, None)
    assert out["y"][1] is a
    (out["y"][0].sum() + out["y"][1].sum()).backward()
    assert a.grad.tolist() == [7.0, 9.0]


def test_results_without_a_gradient_stay_without():
    x = wg.tensor(X, requires_grad=True)
    a, b, c = wg.checkpoint(lambda x: (wg.tanh(x), wg.tanh(x).detach(), x > 0))(x)
    assert (a.requires_grad, b.requires_grad, c.requires_grad) == (True, False, False)
    assert b.grad_fn is None and a.grad_fn.name == "checkpoint"


def test_python_sees_numbers():
    seen = []

    @wg.checkpoint
    def f(x):
        h = wg.tanh(x)
        assert h.requires_grad
        seen.append(float(h.sum()))
        return h * 2.0 if h.sum() > 0 else h * 3.0

    for sign in (1.0, -1.0):
        x = wg.tensor(sign, requires_grad=True)
        f(x).backward()
        assert x.grad.item() == pytest.approx((2 if sign > 0 else 3) / np.cosh(1) ** 2)
    assert len(seen) == 2


def test_views_and_index_arrays():
    def f(x):
        top, rest = x[0], x[1:].T
        picked = rest[wg.asarray([0, 2, 2])]
        return (wg.tanh(top) @ rest, picked.reshape(-1) ** 2)

    def total(f):
        return lambda x: sum(y.sum() for y in f(x))

    same(wg.grad(total(wg.checkpoint(f)))(X), wg.grad(total(f))(X))


# Policies.


def test_policies_keep_what_they_say():
    def count(policy):
        tanh, calls = counted()

        def f(x):
            h = wg.checkpoint_name(tanh(x), "first")
            return wg.checkpoint_name(tanh(h * 2.0), "second") * h

        x = wg.tensor(X, requires_grad=True)
        wg.checkpoint(f, policy=policy)(x).sum().backward()
        expected = wg.tensor(X, requires_grad=True)
        f(expected).sum().backward()
        same(x.grad, expected.grad)
        return len(calls) - 4

    p = wg.policies
    assert count(p.save_nothing) == 2
    assert count(p.save_everything) == 0
    assert count(p.save_names("first")) == 1
    assert count(p.save_names("second", "first")) == 0
    assert count(p.save_any_of(p.save_matmuls, p.save_names("second"))) == 1
    assert count(lambda op: op.name == "tanh") == 0
    assert count(lambda op: op.shape == (3, 4) and op.dtype == "float64") == 0
    assert count(lambda op: op.flops > 10**6) == 2


def test_saved_matrix_products_are_not_computed_again():
    asked = []

    def policy(op):
        asked.append(op)
        return wg.policies.save_matmuls(op)

    f = wg.checkpoint(lambda x, w: wg.tanh(wg.tanh(x @ w) @ w), policy=policy)
    x, w = wg.tensor(np.ones((100, 4))), wg.tensor(W, requires_grad=True)
    before = wg.memory.live_bytes()
    y = f(x, w)
    assert wg.memory.live_bytes() - before == 3 * 100 * 4 * 8
    products = [op for op in asked if op.name == "matmul"]
    assert [op.flops for op in products] == [2 * 100 * 4 * 4] * 2
    assert products[0].attributes == {} and products[0].checkpoint_name is None
    del y


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wg.checkpoint(3), wg.ArgumentTypeError, "checkpoint: takes a function; got 3"),
        (lambda: wg.checkpoint(wg.sin, policy=3), wg.ArgumentTypeError, "'policy'.*got 3"),
        (
            lambda: wg.checkpoint(wg.sin, policy=lambda op: 1)(wg.tensor(1.0, requires_grad=True)),
            wg.ArgumentTypeError,
            r"policy's answer.*True or False; got 1",
        ),
        (lambda: wg.policies.save_names(3), wg.ArgumentTypeError, "got 3"),
        (lambda: wg.policies.save_names(), wg.ArgumentError, "at least one"),
        (lambda: wg.policies.save_any_of(1), wg.ArgumentTypeError, "got 1"),
        (lambda: wg.checkpoint_name(1.0, 2), wg.ArgumentTypeError, "'name' takes a str; got 2"),
    ],
)
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_values_that_leave_by_another_way():
    leaked = []

    @wg.checkpoint
    def f(x):
        leaked.append(wg.tanh(x))
        return leaked[-1] * 2.0

    x = wg.tensor(X, requires_grad=True)
    y = f(x)
    assert leaked[0].sum().item() == pytest.approx(np.tanh(X).sum())
    with pytest.raises(wg.GraphError, match=r"tanh: was recorded at .*test_checkpoint.* return"):
        leaked[0].sum().backward()
    y.sum().backward()
    leaked.clear()


@pytest.mark.parametrize("around", [wg.compile, wg.vmap])
def test_values_that_leave_a_traced_call_by_another_way(around):
    leaked = []

    def f(x):
        leaked.append(wg.tanh(x))
        return leaked[-1] * 2.0

    with pytest.raises(wg.TraceError, match=r"'tanh', at .*test_checkpoint.* return it"):
        around(lambda x: wg.checkpoint(f)(x) + leaked[-1])(X)
    leaked.clear()
    with pytest.raises(wg.GraphError, match=r"under wg.checkpoint"):
        pulled = wg.checkpoint(lambda x: wg.vjp(wg.sin, x)[1])
        around(lambda x: pulled(x)(wg.ones_like(x)))(X)


def test_backward_within_is_refused_where_it_needs_what_is_not_kept():
    x = wg.tensor(X, requires_grad=True)
    with pytest.raises(wg.GraphError, match=r"inside a function under wg.checkpoint"):
        wg.checkpoint(lambda x: wg.tanh(x).sum().backward())(x)
    # Of a leaf made within it passes.
    inner = []

    @wg.checkpoint
    def f(x):
        z = wg.tensor([1.0, 2.0], requires_grad=True)
        (z**3).sum().backward()
        inner.append(z.grad.tolist())
        return x * z.grad.sum()

    f(x).sum().backward()
    assert inner == [[3.0, 12.0]]
    assert x.grad.tolist() == np.full((3, 4), 15.0).tolist()


def test_an_error_within_leaves_everything_usable():
    @wg.checkpoint
    def f(x):
        wg.tanh(x)
        raise KeyError("mine")

    x = wg.tensor(X, requires_grad=True)
    with pytest.raises(KeyError, match="mine"):
        f(x)
    y = wg.tanh(x)
    y.sum().backward()
    assert y.grad_fn.name == "tanh"


def test_a_long_chain_does_not_recurse():
    x = wg.tensor(0.5, requires_grad=True)
    blocks(wg.checkpoint(lambda h: wg.sin(h) + 0.1), 1000)(x).backward()
    expected = wg.tensor(0.5, requires_grad=True)
    blocks(lambda h: wg.sin(h) + 0.1, 1000)(expected).backward()
    same(x.grad, expected.grad)

    def nest(depth):
        f = wg.sin
        for _ in range(depth):
            f = wg.checkpoint(f)
        return f

    same(wg.grad(nest(20))(0.5), wg.grad(wg.sin)(0.5))


def test_the_printed_program_shows_the_body():
    program = wg.trace(lambda x: wg.checkpoint(lambda h: wg.sin(h) * 2.0)(x) + 1.0, 2.0)
    text = str(program)
    assert [node.name for node in program.nodes] == ["checkpoint", "add"]
    assert "    body(x0: float32[]):" in text and "sin(x0)" in text
    assert [node.name for node in program.opened().nodes] == ["sin", "multiply", "add"]
    assert program.flops == program.opened().flops
    assert str(program.to_sympy()) == "2*sin(x) + 1"


@pytest.mark.parametrize(
    "transform", [wg.grad, wg.jacrev, lambda f: lambda x: wg.vjp(f, x)[1](wg.tensor(1.0))]
)
def test_a_value_that_escapes_is_refused_by_transforms(transform):
    kept = []

    def f(x):
        kept.append(wg.sin(x))
        return 2 * kept[-1]

    with pytest.raises(wg.GraphError, match="return its result from the function"):
        transform(lambda x: (wg.checkpoint(f)(x) * kept.pop()).sum())(wg.tensor([1.0]))


def test_an_inner_gradient_reads_values_of_the_outer_function():
    def f(y):
        z = wg.sin(y)
        return wg.grad(lambda w: (w * z).sum())(y).sum()

    assert (
        wg.grad(wg.checkpoint(f))(wg.tensor([1.0])).tolist()
        == wg.grad(f)(wg.tensor([1.0])).tolist()
    )
