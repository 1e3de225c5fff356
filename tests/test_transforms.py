"""Function transforms and their compositions."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import wengert as wg


def f(x):
    return wg.sin(x) * x + wg.exp(-x)


def df(x):
    return np.cos(x) * x + np.sin(x) - np.exp(-x)


def d2f(x):
    return -np.sin(x) * x + 2 * np.cos(x) + np.exp(-x)


def d3f(x):
    return -np.cos(x) * x - 3 * np.sin(x) - np.exp(-x)


X = np.float64(0.7)


def test_grad_and_higher_orders():
    g = wg.grad(f)
    assert g(X).item() == pytest.approx(df(X), rel=1e-14)
    assert wg.grad(g)(X).item() == pytest.approx(d2f(X), rel=1e-14)
    assert wg.grad(wg.grad(g))(X).item() == pytest.approx(d3f(X), rel=1e-13)


def ddx(g):
    return lambda x: wg.jvp(g, (x,), (1.0,))[1]


def by_vjp(g):
    return lambda x: wg.vjp(g, x)[1](1.0)[0]


def by_vmap(g):
    return lambda x: wg.vmap(g)(wg.expand_dims(wg.asarray(x), 0))[0]


@pytest.mark.parametrize("a", [wg.grad, ddx, by_vjp])
@pytest.mark.parametrize("b", [wg.grad, ddx, by_vjp])
def test_every_pair_of_modes_gives_the_second_derivative(a, b):
    assert a(b(f))(X).item() == pytest.approx(d2f(X), rel=1e-13)
    assert by_vmap(a(b(f)))(X).item() == pytest.approx(d2f(X), rel=1e-13)
    assert a(by_vmap(b(f)))(X).item() == pytest.approx(d2f(X), rel=1e-13)


@pytest.mark.parametrize("a", [wg.grad, ddx, by_vjp])
@pytest.mark.parametrize("b", [wg.grad, ddx])
@pytest.mark.parametrize("c", [wg.grad, ddx])
def test_triples_of_modes_give_the_third_derivative(a, b, c):
    assert a(b(c(f)))(X).item() == pytest.approx(d3f(X), rel=1e-12)


def test_no_perturbation_confusion():
    # d/dx x * d/dy (x + y) is 1, and d/dx x * d/dy (x * y) is 2 x; confusing the two
    # perturbations gives 2 and 3 x.
    for outer in (wg.grad, ddx):
        for inner in (wg.grad, ddx):
            assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(X).item() == 1.0
            slope = outer(lambda x: x * inner(lambda y: x * y)(1.0))(X).item()
            assert slope == pytest.approx(2 * X)


def test_derivative_taking_functions_returned_from_derivatives():
    # f x = g where g y = x * y: the derivative of f at 3 applied to g' must not see f's tangent.
    def make(x):
        return lambda g, y: g(x + y)

    assert ddx(lambda x: make(x)(wg.sin, 2.0))(X).item() == pytest.approx(np.cos(X + 2))
    assert ddx(lambda x: make(x)(ddx(wg.sin), 2.0))(X).item() == pytest.approx(-np.sin(X + 2))


def test_closures_over_tracked_tensors_connect():
    p = wg.tensor(3.0, dtype=wg.float64, requires_grad=True)
    penalty = wg.grad(lambda x: p * x**3)(X) ** 2
    penalty.backward()
    assert p.grad.item() == pytest.approx(2 * (3 * 3.0 * X**2) * 3 * X**2)


def test_results_keep_no_history_without_an_outer_transform():
    value, gradient = wg.value_and_grad(f)(X)
    assert not value.requires_grad and not gradient.requires_grad


Pair = namedtuple("Pair", "a b")


@dataclass
class Point:
    x: object
    y: object


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 2.0, "b": [3.0, (4.0, None)]},
        Pair(2.0, {"c": 3.0}),
        Point(2.0, [3.0]),
        (2.0, [], {}),
    ],
    ids=["dict", "namedtuple", "dataclass", "empty parts"],
)
def test_trees_come_back_in_their_own_structure(tree):
    gradient = wg.grad(lambda t: sum(x * x for x in wg.tree.leaves(t)))(tree)
    assert type(gradient) is type(tree)
    values, structure = wg.tree.flatten(tree)
    grads, same = wg.tree.flatten(gradient)
    assert same == structure
    assert [g.item() for g in grads] == [2 * v for v in values]


def test_modules_are_arguments():
    model = wg.nn.Sequential(wg.nn.Linear(3, 2), wg.nn.Tanh(), wg.nn.Linear(2, 1))
    x = wg.ones((4, 3))
    gradient = wg.grad(lambda m: m(x).sum())(model)
    model(x).sum().backward()
    assert isinstance(gradient, wg.nn.Sequential)
    for g, p in zip(gradient.parameters(), model.parameters(), strict=True):
        np.testing.assert_array_equal(g.detach().numpy(), p.grad.numpy())


def test_argnums_aux_and_keywords():
    def g(a, b, *, scale):
        return scale * a * b, "aux"

    gradient, aux = wg.grad(g, argnums=(0, 1), has_aux=True)(2.0, 5.0, scale=3.0)
    assert [x.item() for x in gradient] == [15.0, 6.0] and aux == "aux"
    (value, aux), gradient = wg.value_and_grad(g, argnums=-1, has_aux=True)(2.0, 5.0, scale=3.0)
    assert value.item() == 30.0 and aux == "aux" and gradient.item() == 6.0


def test_python_control_flow_on_values():
    def g(x):
        return x * x if float(x) > 0 else -x

    assert wg.grad(g)(3.0).item() == 6.0
    assert wg.grad(g)(-3.0).item() == -1.0
    assert wg.jvp(g, (3.0,), (1.0,))[1].item() == 6.0
    with pytest.raises(wg.TraceError):
        wg.vmap(g)(wg.ones(3))


def test_vjp_reuses_its_graph_and_jvp_matches_it():
    def g(x, y):
        return {"sum": (x * y).sum(), "outer": wg.exp(x)}

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    out, pull = wg.vjp(g, x, y)
    for k in (1.0, 2.0):
        gx, gy = pull({"sum": k, "outer": wg.zeros(2, dtype=wg.float64)})
        assert gx.tolist() == [3 * k, 4 * k] and gy.tolist() == [k, 2 * k]
    _, tangent = wg.jvp(g, (x, y), (np.ones(2), np.zeros(2)))
    assert tangent["sum"].item() == 7.0


def test_forward_mode_keeps_no_list():
    x = np.ones(10_000)

    def chain(x):
        for _ in range(200):
            x = wg.sin(x)
        return x

    chain(wg.asarray(x))
    wg.memory.reset_peak()
    base = wg.memory.live_bytes()
    chain(wg.asarray(x))
    primal = wg.memory.peak_bytes() - base
    wg.memory.reset_peak()
    base = wg.memory.live_bytes()
    wg.jvp(chain, (x,), (np.ones_like(x),))
    assert wg.memory.peak_bytes() - base <= 6 * primal


def test_vmap_axes():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    out = wg.vmap(lambda u, v: wg.tensordot(u, v, axes=0), in_axes=(1, 0), out_axes=2)(a, b)
    np.testing.assert_allclose(out.numpy(), np.einsum("ik,kj->ijk", a, b))
    per_example = wg.vmap(wg.grad(lambda w, x: ((w * x) ** 2).sum()), in_axes=(None, 0))(a[0], b.T)
    np.testing.assert_allclose(per_example.numpy(), 2 * a[0] * b.T**2)


def test_nothing_leaks():
    import gc

    def everything(x):
        wg.grad(wg.grad(f))(x)
        ddx(wg.grad(ddx(f)))(x)
        wg.grad(ddx(wg.grad(f)))(x)
        wg.vmap(wg.grad(f))(wg.ones(3))

    everything(X)
    gc.collect()
    before = wg.memory.live_bytes(), wg.memory.live_objects()
    for _ in range(5):
        everything(X)
    assert (wg.memory.live_bytes(), wg.memory.live_objects()) == before


def test_vmap_of_many_inputs_at_once():
    x = np.arange(12.0).reshape(3, 4)
    out = wg.vmap(lambda row: wg.concat([row] * 70))(x)
    np.testing.assert_array_equal(out.numpy(), np.tile(x, 70))


def test_vjps_nest_within_their_own_sweep():
    _, pull = wg.vjp(wg.sin, X)

    def g(x):
        y = wg.sin(x) * 1.0
        if y.requires_grad:
            y.register_hook(lambda g: g * pull(1.0)[0].item())
        return y

    assert wg.grad(g)(X).item() == pytest.approx(np.cos(X) ** 2)
