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


def test_augmented_assignment_makes_a_new_value_under_a_transform():
    def g(x):
        y = x * 1.0
        y += x * x
        y *= 2.0
        return wg.sum(y)

    def of_argument(x):
        x *= 3.0
        return wg.sum(x * x)

    x = wg.tensor([1.0, 2.0, 3.0])
    expected = [6.0, 10.0, 14.0]
    assert wg.grad(g)(x).tolist() == wg.jacfwd(g)(x).tolist() == expected
    assert wg.jvp(g, (x,), (wg.ones(3),))[1].item() == sum(expected)
    assert wg.vmap(wg.grad(g))(wg.stack([x, x]))[1].tolist() == expected
    assert wg.jvp(of_argument, (x,), (wg.ones(3),))[1].item() == 108.0
    assert x.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(wg.GraphError, match="no_grad"):
        wg.grad(of_argument)(x)


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
