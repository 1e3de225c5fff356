"""What transforms refuse, and that the engine works afterwards: modes, sweeps and traces end."""

import functools
import threading

import numpy as np
import pytest
import wengert as wg


def ddx(g):
    return lambda x: wg.jvp(g, (x,), (1.0,))[1]


IN_PLACE = {
    "element": lambda y, x: y.__setitem__(0, 5.0),
    "element of a constant": lambda y, x: wg.zeros(3).__setitem__(0, x[1]),
    "assign": lambda y, x: y.assign(3 * x),
    "assign to a constant": lambda y, x: wg.zeros(3).assign(x),
    "element of the argument": lambda y, x: x.__setitem__(0, 7.0),
}


@pytest.mark.parametrize("change", IN_PLACE.values(), ids=IN_PLACE)
def test_changes_in_place_that_would_lose_a_derivative_raise(change):
    def g(x):
        y = x * 1.0
        change(y, x)
        return wg.sum(y * y)

    x = wg.tensor([1.0, 2.0, 3.0])
    for transform in (wg.grad, wg.jacfwd, wg.jacrev, wg.hessian):
        with pytest.raises(wg.GraphError):
            transform(g)(x)
    with pytest.raises(wg.GraphError, match="tangent"):
        wg.jvp(g, (x,), (x,))
    with pytest.raises(wg.TraceError):
        wg.vmap(g)(wg.ones((2, 3)))
    assert x.tolist() == [1.0, 2.0, 3.0]
    usable()


class Box:
    pass


def own_variable(x):
    y = x * 1.0
    y += x * x
    y *= 2.0
    return wg.sum(y)


def accumulator(x):
    total = wg.zeros_like(x)
    for i in range(3):
        total += x**i
    total /= 2.0
    return (total * x).sum()


def in_containers(x):
    box, held, free = Box(), {"a": wg.zeros_like(x)}, wg.ones((), dtype=x.dtype)
    box.sum = wg.zeros_like(x)

    def inner():
        nonlocal free
        free -= x[0] * x[1]

    for _ in range(2):
        box.sum += x * x
        held["a"] += wg.sin(x)
        inner()
    return (box.sum * held["a"]).sum() * free


def saved_for_the_sweep(x):
    y = wg.exp(x)
    z = y * y
    y += 1.0
    rows = wg.tanh(wg.stack([x, z]))[0].reshape(1, 3)
    rows *= y
    return rows.sum() + z.sum()


def broadcast(x):
    y = wg.broadcast_to(x, (2, 3))
    z = y
    y += 1.0
    return (y * z).sum()


@pytest.mark.parametrize(
    "f", [own_variable, accumulator, in_containers, saved_for_the_sweep, broadcast]
)
def test_augmented_assignment_to_a_lone_variable_has_derivatives(f):
    x = wg.tensor([0.5, 1.0, 1.5])
    value = f(x).item()
    derivative = wg.grad(f)(x)
    with wg.no_grad():
        assert f(x).item() == value
    assert wg.value_and_grad(f)(x)[0].item() == value
    assert wg.jvp(f, (x,), (x,))[0].item() == value
    np.testing.assert_allclose(wg.jacfwd(f)(x).numpy(), derivative.numpy(), rtol=1e-5)
    np.testing.assert_allclose(wg.vmap(f)(wg.stack([x, x]))[1].numpy(), value, rtol=1e-6)
    batched = wg.vmap(wg.grad(f))(wg.stack([x, x]))[1]
    np.testing.assert_allclose(batched.numpy(), derivative.numpy(), rtol=1e-5)
    np.testing.assert_allclose(wg.compile(f)(x).numpy(), value, rtol=1e-6)
    assert wg.trace(f, x).nodes
    wg.check_grads(f, (x,))
    assert x.tolist() == [0.5, 1.0, 1.5]


def test_augmented_assignment_keeps_dtype_and_shape():
    def wider(x):
        total = wg.zeros(3)
        total += x / 3.0
        assert total.dtype == wg.float32
        return total.astype(wg.float64).sum()

    def too_large(x):
        total = x.sum()
        total += x
        return total.sum()

    def rounded(x):
        total = wg.zeros(3, dtype=wg.int64)
        total += x
        return total.sum()

    x = wg.tensor([0.5, 1.0, 1.5], dtype=wg.float64)
    assert wg.value_and_grad(wider)(x)[0].item() == wider(x).item() == wg.jvp(wider, (x,), (x,))[0]
    for f, error in ((too_large, wg.ShapeError), (rounded, wg.DTypeError)):
        for call in (f, wg.grad(f), wg.jacfwd(f), lambda x, f=f: wg.trace(f, x)):
            with pytest.raises(error):
                call(x)


def other_name(x):
    y = x * 2.0
    z = y
    z += 10.0
    return (y * y).sum()


def view(x):
    y = x * 2.0
    v = y[0:2]
    v += 10.0
    return (y * y).sum()


def base(x):
    y = x * 2.0
    v = y.reshape(3, 1)
    y += 10.0
    return (v * y).sum()


def rows_of_a_constant(x):
    m = wg.zeros((2, 3))
    for i in range(2):
        r = m[i]
        r += x * (i + 1)
    return (m * m).sum()


def of_a_caller(x):
    def add_to(total, v):
        total += v

    total = wg.zeros(3)
    add_to(total, x * x)
    return total.sum()


def in_a_list(x):
    parts = [x * 1.0, x * 2.0]
    for part in parts:
        part *= x
    return (parts[0] + parts[1]).sum()


def of_numpy(x):
    a = np.zeros(3, np.float32)
    y = wg.asarray(a)
    y += x
    return (x * a).sum()


def of_the_argument(x):
    x *= 3.0
    return wg.sum(x * x)


@pytest.mark.parametrize(
    "f",
    [other_name, view, base, rows_of_a_constant, of_a_caller, in_a_list, of_numpy, of_the_argument],
)
def test_augmented_assignment_that_others_would_see_raises(f):
    given = [1.0, 2.0, 3.0]
    x, rows = wg.tensor(given), wg.tensor([given, given])
    assert f(wg.tensor(given)).item() > 0
    for transformed in (wg.grad(f), wg.jacfwd(f), wg.hessian(f), lambda x: wg.jvp(f, (x,), (x,))):
        with pytest.raises(wg.GraphError, match=r"in-place update: .*(x = x \+ y|no_grad)"):
            transformed(x)
    with pytest.raises(wg.GraphError, match="in-place update"):
        wg.trace(f, x)
    for transformed in (wg.vmap(f), wg.vmap(wg.grad(f))):
        with pytest.raises(wg.GraphError, match="in-place update"):
            transformed(rows)
    try:
        assert wg.compile(f)(x).item() == f(wg.tensor(given)).item()
    except (wg.GraphError, wg.TraceError) as error:
        assert f is not of_a_caller, error
    assert x.tolist() == given
    usable()


def test_a_compiled_function_refuses_changes_of_parts():
    state = wg.zeros(3)

    def element(x):
        state[:1].assign(x)

    def row(x):
        m = wg.zeros((2, 3))
        m[0] += x

    def other(x):
        m = wg.zeros((2, 3))
        r = m[0]
        r.assign(x)

    for f in (element, row, other):
        f(wg.tensor(1.0))
        with pytest.raises(wg.Error, match=r"compile|in.place"):
            wg.compile(f)(wg.tensor(2.0))
    assert state.tolist() == [1.0, 0.0, 0.0]


def test_rules_cannot_change_what_they_are_given():
    changes = {
        "augmented": lambda t: t.__imul__(2.0),
        "assign": lambda t: t.assign(0.0),
        "element": lambda t: t.__setitem__(0, 5.0),
        "a view": lambda t: t.reshape(-1).assign(0.0),
        "numpy": lambda t: t.numpy().__setitem__(0, 5.0),
        "ufunc": lambda t: np.multiply(t.numpy(), 2.0, out=t.numpy()),
    }
    for change in changes.values():
        forward = wg.primitive(lambda x, change=change: (change(x), x * 2.0)[1])
        backward = wg.primitive(lambda x: x * 2.0)
        backward.def_vjp(lambda ct, out, x, change=change: (change(ct), (ct * 2.0,))[1])
        saved = wg.primitive(lambda x: x * 2.0)
        saved.def_vjp(lambda ct, out, x, change=change: (change(x), (ct * 2.0,))[1])
        x, ct = wg.tensor([1.0, 2.0, 3.0]), wg.ones(3)
        with pytest.raises((wg.Error, ValueError)):
            forward(x)
        for p in (backward, saved):
            with pytest.raises((wg.Error, ValueError)):
                wg.vjp(lambda x, y, p=p: p(x) + y, x, x)[1](ct)
        assert x.tolist() == [1.0, 2.0, 3.0] and ct.tolist() == [1.0, 1.0, 1.0]
        x.assign(x * 1.0)


def test_a_primitive_that_returns_its_argument_returns_a_copy():
    same = wg.primitive(lambda x: x)
    twice = wg.primitive(lambda x: (x * 2.0,) * 2)
    x = wg.ones(3)
    y = same(x)
    y += 1.0
    a, b = twice(x)
    a += 1.0
    assert x.tolist() == [1.0] * 3 and y.tolist() == b.tolist() == [2.0] * 3


def test_derivatives_share_no_memory():
    a, ct = wg.tensor([1.0, 2.0, 3.0]), wg.ones(3)

    def plus(x, y):
        return x + y

    results = {
        "vjp": lambda: wg.vjp(plus, a, a)[1](ct),
        "identity": lambda: wg.vjp(lambda x: x, a)[1](ct),
        "view": lambda: wg.vjp(lambda x: x.reshape(3, 1)[::-1], a)[1](ct.reshape(3, 1)),
        "grad": lambda: wg.grad(lambda x, y: plus(x, y) @ ct, argnums=(0, 1))(a, a),
        "jvp": lambda: wg.jvp(lambda x: (x, x.T), (a,), (ct,))[1],
        "linearize": lambda: wg.linearize(lambda x: (x, x), a)[1](ct),
        "jacrev": lambda: wg.jacrev(plus, argnums=(0, 1))(a, a),
        "jacrev of two": lambda: wg.jacrev(lambda x: (x, x))(a),
        "jacfwd": lambda: wg.jacfwd(plus, argnums=(0, 1))(a, a),
        "jacfwd of two": lambda: wg.jacfwd(lambda x: (x, x))(a),
        "hvp": lambda: (wg.hvp(lambda x: (x * x).sum() / 2, (a,), (ct,)),),
    }
    for name, derive in results.items():
        found = list(derive())
        kept = [x.tolist() for x in found[1:]]
        found[0].assign(7.0)
        assert [x.tolist() for x in found[1:]] == kept, name
        assert a.tolist() == [1.0, 2.0, 3.0] and ct.tolist() == [1.0] * 3, name


def usable():
    """The engine works, and no mode or sweep is left from what failed."""
    assert wg.is_grad_enabled()
    assert wg.grad(wg.grad(lambda x: x**3))(2.0).item() == 12.0
    assert wg.jvp(lambda x: x * x, (3.0,), (1.0,))[1].item() == 6.0
    assert wg.vmap(wg.grad(lambda x: x * x))(wg.ones(2)).tolist() == [2.0, 2.0]
    assert not (wg.ones(2) * 2).requires_grad


class Stop(Exception):
    pass


def stop(x):
    y = wg.exp(x * x)
    with wg.no_grad():
        wg.sin(y)
        raise Stop


TRANSFORMS = {
    "grad": lambda f: wg.grad(f),
    "value_and_grad": lambda f: wg.value_and_grad(f),
    "vjp": lambda f: lambda x: wg.vjp(f, x)[1](1.0),
    "jvp": lambda f: lambda x: wg.jvp(f, (x,), (x,)),
    "linearize": lambda f: lambda x: wg.linearize(f, x)[1](x),
    "vmap": lambda f: lambda x: wg.vmap(f)(wg.stack([x, x])),
    "jacrev": lambda f: wg.jacrev(f),
    "jacfwd": lambda f: wg.jacfwd(f),
    "jacobian": lambda f: wg.jacobian(f),
    "hessian": lambda f: wg.hessian(f),
    "hvp": lambda f: lambda x: wg.hvp(f, (x,), (x,)),
}


@pytest.mark.parametrize("outer", TRANSFORMS)
@pytest.mark.parametrize("inner", TRANSFORMS)
def test_exceptions_of_f_pass_and_leave_no_trace(outer, inner):
    x = wg.tensor(0.5)
    with pytest.raises(Stop):
        TRANSFORMS[outer](TRANSFORMS[inner](stop))(x)
    usable()

    def recovers(x):
        with pytest.raises(Stop):
            TRANSFORMS[inner](stop)(x)
        return x * x

    if outer in ("grad", "jacrev", "jacfwd", "jacobian"):
        assert TRANSFORMS[outer](recovers)(x).item() == 1.0
    assert ddx(recovers)(x).item() == 1.0
    usable()


def test_traced_values_have_no_numbers():
    x = wg.ones(3)
    uses = [float, int, bool, lambda v: v.item(), lambda v: v.numpy(), lambda v: v.tolist()]
    uses += [lambda v: 1 if v > 0 else 2, lambda v: [1, 2][v.astype(wg.int64)], np.asarray]
    for use in uses:
        for f in (use, lambda v, use=use: use(v * 2), lambda v, use=use: use(wg.grad(wg.sin)(v))):
            with pytest.raises(wg.TraceError):
                wg.vmap(f)(x)
    usable()


def test_traced_values_that_leak_are_refused():
    kept = []
    wg.vmap(lambda x: (kept.append(x), kept.append(x * 2))[1] or x)(wg.ones(3))
    for leaked in kept:
        assert "traced" in repr(leaked)
        for use in (
            lambda v: v * 2,
            float,
            lambda v: wg.vmap(lambda x: x * v)(wg.ones(3)),
            lambda v: wg.vmap(lambda x: v)(wg.ones(3)),
            lambda v: wg.vmap(lambda x: v + 1.0)(wg.ones(3)),
            lambda v: wg.grad(lambda x: x * v)(1.0),
            lambda v: wg.grad(lambda x: x * x)(v),
            lambda v: wg.jvp(wg.sin, (v,), (1.0,)),
            lambda v: wg.jvp(wg.sin, (1.0,), (v,)),
            lambda v: wg.vjp(wg.sin, 1.0)[1](v),
            lambda v: wg.zeros(()).assign(v),
        ):
            with pytest.raises(wg.TraceError):
                use(leaked)
    usable()
    kept.clear()


def test_backward_inside_vmap_is_refused():
    w = wg.tensor(2.0, requires_grad=True)
    with pytest.raises(wg.TraceError):
        wg.vmap(lambda x: (x * w).backward())(wg.ones(3))
    assert w.grad is None


def generator(x):
    yield x


A3 = wg.arange(3)
MISUSE = [
    (wg.ShapeError, lambda: wg.grad(lambda x: x)(wg.ones(3))),
    (wg.ShapeError, lambda: wg.grad(lambda x: (x, x))(1.0)),
    (wg.ShapeError, lambda: wg.grad(lambda x: None)(1.0)),
    (wg.ShapeError, lambda: wg.hessian(lambda x: x)(wg.ones(3))),
    (wg.ShapeError, lambda: wg.vmap(lambda x, y: x * y)(wg.ones(3), wg.ones(4))),
    (wg.ShapeError, lambda: wg.vmap(lambda x: x)(1.0)),
    (wg.ShapeError, lambda: wg.vmap(lambda x: x, in_axes=1)(wg.ones(3))),
    (wg.ShapeError, lambda: wg.vmap(lambda x: x, out_axes=1)(wg.ones(3))),
    (wg.ArgumentError, lambda: wg.vmap(lambda x: x, in_axes=None)(wg.ones(3))),
    (wg.ArgumentError, lambda: wg.vmap(lambda x: x, in_axes=(0, 0))(wg.ones(3))),
    (wg.ArgumentError, lambda: wg.vmap(lambda x: x, in_axes=({},))({"a": wg.ones(3)})),
    (wg.ArgumentError, lambda: wg.vmap(lambda x: x, out_axes=None)(wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.vmap(lambda x: x, in_axes=True)(wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.vmap(lambda x: x, in_axes="0")(wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.vmap(lambda x: x)("abc")),
    (wg.ArgumentTypeError, lambda: wg.vmap(lambda x: "abc")(wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.vmap(generator)(wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.grad(generator)(1.0)),
    (wg.ArgumentTypeError, lambda: wg.jvp(generator, (1.0,), (1.0,))),
    (wg.ArgumentTypeError, lambda: wg.vjp(generator, 1.0)),
    (wg.ArgumentTypeError, lambda: wg.grad(3)),
    (wg.ArgumentTypeError, lambda: wg.vmap(3)),
    (wg.ArgumentTypeError, lambda: wg.jvp(3, (1.0,), (1.0,))),
    (wg.ArgumentTypeError, lambda: wg.vjp(3, 1.0)),
    (wg.ArgumentTypeError, lambda: wg.jacfwd(3)(1.0)),
    (wg.ArgumentTypeError, lambda: wg.jacrev(3)(1.0)),
    (wg.ArgumentError, lambda: wg.grad(lambda x: x, argnums=1)(1.0)),
    (wg.ArgumentError, lambda: wg.grad(lambda x, y: x, argnums=(0, -2))(1.0, 2.0)),
    (wg.ArgumentTypeError, lambda: wg.grad(lambda x: x, argnums="x")(1.0)),
    (wg.ArgumentTypeError, lambda: wg.grad(lambda x: x, argnums=False)(1.0)),
    (wg.ArgumentTypeError, lambda: wg.grad(lambda x: x)("abc")),
    (wg.DTypeError, lambda: wg.grad(lambda x: wg.sum(x))(A3)),
    (wg.DTypeError, lambda: wg.jvp(lambda x: x, (A3,), (A3,))),
    (wg.DTypeError, lambda: wg.vjp(lambda x: x, A3)),
    (wg.DTypeError, lambda: wg.jacfwd(lambda x: x)(A3 > 1)),
    (wg.ShapeError, lambda: wg.jvp(lambda x: x, (wg.ones(3),), (wg.ones(2),))),
    (wg.ShapeError, lambda: wg.hvp(lambda x: wg.sum(x), (wg.ones(3),), (wg.ones(2),))),
    (wg.ArgumentError, lambda: wg.jvp(lambda x: x, (wg.ones(3),), ())),
    (wg.ArgumentError, lambda: wg.jvp(lambda x: x, (1.0,), (None,))),
    (wg.ArgumentTypeError, lambda: wg.jvp(lambda x: x, wg.ones(3), wg.ones(3))),
    (wg.ArgumentTypeError, lambda: wg.jvp(lambda x: x, (1.0,), ("abc",))),
    (wg.ShapeError, lambda: wg.vjp(lambda x: x, wg.ones(3))[1](1.0)),
    (wg.ArgumentError, lambda: wg.vjp(lambda x: x, wg.ones(3))[1]((wg.ones(3),))),
    (wg.ArgumentError, lambda: wg.vjp(lambda x: [x, x], 1.0)[1]([1.0])),
]


@pytest.mark.parametrize("error, call", MISUSE)
def test_misuse_raises_and_leaves_the_engine_usable(error, call):
    with pytest.raises(error):
        call()
    usable()


def test_callables_of_every_kind():
    square = functools.partial(lambda a, x: a * x * x, 3.0)
    assert wg.grad(square)(2.0).item() == 12.0
    assert wg.grad(wg.sin)(0.0).item() == 1.0
    assert wg.jacrev(wg.nn.Linear(3, 2))(wg.ones(3)).shape == (2, 3)


def test_threads_do_not_see_each_others_sweeps():
    failures = []
    start = threading.Barrier(4)

    def work(seed):
        try:
            start.wait(30)
            for i in range(60):
                x = np.float64(0.1 * seed + 0.01 * i)
                mixed = ddx(wg.grad(lambda x: wg.sum(wg.vmap(lambda a: wg.sin(a * x))(A3 + x))))(x)
                a = np.arange(3) + x
                b = a + x
                c = 2 * np.cos(a * x) - b * b * np.sin(a * x)
                np.testing.assert_allclose(mixed.item(), c.sum(), rtol=1e-10)
                with wg.no_grad():
                    assert not (wg.asarray(x) * 2).requires_grad
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    usable()


def test_values_that_cross_threads_keep_their_derivative_or_are_refused():
    def elsewhere(x):
        out = []

        def work():
            try:
                out.append(x * x)
            except wg.Error as error:
                out.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(out[0], wg.Error):
            raise out[0]
        return out[0]

    assert wg.grad(elsewhere)(3.0).item() == 6.0
    with pytest.raises(wg.GraphError, match="thread"):
        wg.jvp(elsewhere, (3.0,), (1.0,))
    with pytest.raises(wg.TraceError):
        wg.vmap(elsewhere)(wg.ones(2))
    kept = []
    thread = threading.Thread(target=lambda: wg.jvp(lambda x: kept.append(x) or x, (2.0,), (1.0,)))
    thread.start()
    thread.join()
    assert ddx(lambda y: kept[0] * y)(3.0).item() == 2.0
    usable()


def test_trees_without_an_end_are_refused():
    endless = [1.0]
    endless.append(endless)
    deep = 1.0
    for _ in range(5000):
        deep = [deep]
    for argument in (endless, deep):
        for call in (
            lambda a=argument: wg.grad(lambda x: x[0])(a),
            lambda a=argument: wg.vjp(lambda x: x[0], a),
            lambda a=argument: wg.jvp(lambda x: x[0], (a,), (a,)),
            lambda a=argument: wg.vmap(lambda x: x[0])(a),
            lambda a=argument: wg.jvp(lambda x: a, (1.0,), (1.0,)),
        ):
            with pytest.raises(wg.ArgumentError, match="nested"):
                call()
    del endless[1]
    usable()


def test_a_tensor_updated_by_itself():
    def f(x):
        y = x * 1.0
        y *= y
        return y.sum()

    assert wg.grad(f)(wg.tensor([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert wg.compile(f)(wg.tensor([1.0, 2.0])).item() == f(wg.tensor([1.0, 2.0])).item() == 5.0


@pytest.mark.parametrize(
    "name, call",
    {
        "hessian": lambda x: wg.hessian(lambda x: x.sum())(x.astype("int64")),
        "jacobian": lambda x: wg.jacobian(lambda x: x)(x.astype("int64")),
        "jacrev": lambda x: wg.jacrev(lambda x: x)(x.astype("int64")),
        "jacfwd": lambda x: wg.jacfwd(lambda x: x)(x.astype("int64")),
        "hvp": lambda x: wg.hvp(lambda x: x.sum(), (x,), (x[0],)),
    }.items(),
)
def test_errors_name_the_function_that_was_called(name, call):
    with pytest.raises(wg.Error, match=f"^{name}: "):
        call(wg.arange(3.0))
