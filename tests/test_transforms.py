"""Function transforms and their compositions."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Scaled:
    x: object
    scale: object = field(init=False, default=3.0)


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 2.0, "b": [3.0, (4.0, None)]},
        Pair(2.0, {"c": 3.0}),
        Point(2.0, [3.0]),
        (2.0, [], {}),
        Scaled(2.0),
        OrderedDict(b=2.0, a=3.0),
        defaultdict(float, a=2.0),
    ],
    ids=str,
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


def test_dicts_may_list_their_keys_in_another_order():
    def f(p):
        return {"y": p["a"] ** 2, "z": p["a"] * p["b"]}

    p, v = {"a": 2.0, "b": 3.0}, {"b": 1.0, "a": 0.0}
    _, tangent = wg.jvp(f, (p,), (v,))
    assert (tangent["y"].item(), tangent["z"].item()) == (0.0, 2.0)
    (g,) = wg.vjp(f, p)[1]({"z": 1.0, "y": 0.0})
    assert list(g) == ["a", "b"] and (g["a"].item(), g["b"].item()) == (3.0, 2.0)
    assert wg.tree.map(lambda a, b: a - b, p, v) == {"a": 2.0, "b": 2.0}


def network():
    return wg.nn.Sequential(wg.nn.Linear(3, 2), wg.nn.Tanh(), wg.nn.Linear(2, 1))


def close(a, b, rtol=1e-5):
    np.testing.assert_allclose(wg.asarray(a).detach().numpy(), b, rtol=rtol, atol=1e-6)


def test_every_transform_takes_modules():
    model, x = network(), wg.asarray(np.random.normal(size=(4, 3)).astype("f"))
    names = dict(model.named_parameters())

    def loss(m):
        return wg.sum(m(x) ** 2)

    gradient = wg.grad(loss)(model)
    value, pull = wg.vjp(loss, model)
    _, slope = wg.jvp(loss, (model,), (gradient,))
    jacobians = wg.jacrev(lambda m: m(x))(model), wg.jacfwd(lambda m: m(x))(model)
    product = wg.hvp(loss, (model,), (gradient,))

    def squares(m):
        return sum(wg.sum(g * g) for g in wg.grad(loss)(m).parameters())

    twice = wg.grad(squares)(model)
    assert all(isinstance(m, wg.nn.Sequential) for m in (gradient, *jacobians, product, twice))
    close(slope, sum(float(wg.sum(g * g)) for g in gradient.parameters()))
    for name, parameter in names.items():
        g = dict(gradient.named_parameters())[name].detach().numpy()
        close(dict(pull(1.0)[0].named_parameters())[name], g)
        rows, columns = (dict(j.named_parameters())[name].detach().numpy() for j in jacobians)
        assert rows.shape == (4, 1, *parameter.shape)
        close(columns, rows)
        close(np.tensordot(2 * model(x).detach().numpy(), rows, axes=2), g)
        hg = dict(product.named_parameters())[name].detach().numpy()
        close(dict(twice.named_parameters())[name], 2 * hg)
        assert parameter.grad is None
    each = wg.vmap(wg.grad(lambda m, row: wg.sum(m(row) ** 2)), in_axes=(None, 0))(model, x)
    for g, whole in zip(each.parameters(), gradient.parameters(), strict=True):
        close(wg.sum(g, axis=0), whole.detach().numpy())
    ensemble = wg.tree.map(lambda p: wg.stack([p, 2 * p]), model)
    outputs = wg.vmap(lambda m: m(x))(ensemble)
    close(outputs[0], model(x).detach().numpy())
    close(outputs[1], wg.tree.map(lambda p: 2 * p, model)(x).detach().numpy())


def test_functional_call_in_every_transform():
    model, x = network(), wg.asarray(np.random.normal(size=(4, 3)).astype("f"))
    params = {k: v.detach() for k, v in model.named_parameters()}

    def call(p, x):
        return wg.functional_call(model, p, x)

    def loss(p):
        return wg.sum(call(p, x) ** 2)

    expected = dict(wg.grad(lambda m: wg.sum(m(x) ** 2))(model).named_parameters())
    gradient = wg.grad(loss)(params)
    _, slope = wg.jvp(loss, (params,), (gradient,))
    rows, columns = wg.jacrev(call)(params, x), wg.jacfwd(call)(params, x)
    hessian, product = wg.hessian(loss)(params), wg.hvp(loss, (params,), (gradient,))
    close(slope, sum(float(wg.sum(g * g)) for g in gradient.values()))
    close(wg.vmap(call, in_axes=(None, 0))(params, x), model(x).detach().numpy())
    for k, g in gradient.items():
        close(g, expected[k].detach().numpy())
        close(wg.vjp(loss, params)[1](1.0)[0][k], g.numpy())
        close(rows[k], columns[k].numpy())
        total = sum(
            np.tensordot(hessian[k][j].numpy(), gradient[j].numpy(), axes=gradient[j].ndim)
            for j in gradient
        )
        close(product[k], total, rtol=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_argnums_of_jacobians_and_hessians():
    def g(a, b, c, *, k):
        return k * wg.stack([a * b * c, a + b * b])

    for jacobian in (wg.jacrev, wg.jacfwd, wg.jacobian):
        dc, da = jacobian(g, argnums=(-1, 0))(2.0, 3.0, 4.0, k=10.0)
        assert dc.tolist() == [60.0, 0.0] and da.tolist() == [120.0, 10.0]
    (aa, ab), (ba, bb) = wg.hessian(lambda a, b: a * b * b, argnums=(0, 1))(2.0, 3.0)
    assert [x.item() for x in (aa, ab, ba, bb)] == [0.0, 6.0, 6.0, 4.0]


def test_has_aux_everywhere():
    def g(x):
        return (x * x, {"seen": x, "word": "w", "none": None})

    out, pull, aux = wg.vjp(g, 3.0, has_aux=True)
    assert out.item() == 9.0 and pull(1.0)[0].item() == 6.0 and aux["seen"].item() == 3.0
    out, tangent, aux = wg.jvp(g, (3.0,), (1.0,), has_aux=True)
    assert out.item() == 9.0 and tangent.item() == 6.0 and aux["word"] == "w"
    assert not aux["seen"].requires_grad
    for x in (lambda x: x, lambda x: wg.stack([x, x]), lambda x: [x, x]):
        for transform in (wg.grad, lambda f, has_aux: lambda x: wg.vjp(f, x, has_aux=has_aux)):
            with pytest.raises(wg.ArgumentTypeError, match="must return"):
                transform(x, has_aux=True)(1.0)
        with pytest.raises(wg.ArgumentTypeError, match="must return"):
            wg.jvp(x, (1.0,), (1.0,), has_aux=True)


def test_vmap_axes_of_trees():
    pair, point = Pair(wg.ones(3), wg.tensor(2.0)), Point(wg.ones(3), wg.tensor(2.0))
    assert wg.vmap(lambda p: p.a * p.b, in_axes=(Pair(0, None),))(pair).tolist() == [2.0] * 3
    assert wg.vmap(lambda p: p.x * p.y, in_axes=(Point(0, None),))(point).tolist() == [2.0] * 3
    swapped = wg.vmap(lambda d: d["a"] * d["b"], in_axes=({"b": None, "a": 0},))
    assert swapped({"a": wg.ones(3), "b": 2.0}).tolist() == [2.0] * 3
    out = wg.vmap(lambda x: Pair(x, 5.0), out_axes=Pair(0, None))(wg.ones(3))
    assert out.a.shape == (3,) and out.b.item() == 5.0
    named = wg.vmap(lambda x, how: wg.exp(x) if how == "exp" else x, in_axes=(0, None))
    assert named(wg.zeros(2), "exp").tolist() == [1.0, 1.0]


@pytest.mark.filterwarnings("ignore:tensor. the new tensor is a constant")
def test_detached_values_in_every_transform():
    for cut in (wg.stop_gradient, lambda x: x.detach(), wg.tensor):

        def g(x, cut=cut):
            return cut(x) * x

        for transform in (wg.grad, ddx, by_vjp):
            assert transform(g)(X).item() == X
            assert wg.vmap(transform(g))(wg.full((2,), 3.0)).tolist() == [3.0, 3.0]
        assert wg.vmap(g)(wg.full((2,), 3.0)).tolist() == [9.0, 9.0]


def test_gradients_that_backward_leaves_carry_tangents():
    leaf = wg.tensor(2.0, requires_grad=True)

    def g(x):
        leaf.grad = None
        (leaf * x * x).backward()
        (leaf * x).backward()
        return leaf.grad * 1.0

    assert ddx(g)(3.0).item() == 7.0
    assert leaf.grad.item() == 12.0
    leaf.grad = None


@pytest.mark.parametrize("make", [wg.jacrev, wg.jacfwd, wg.jacobian])
def test_jacobians_have_the_wider_dtype(make):
    narrow, wide = np.ones(3, np.float32), np.ones(3)
    for f in (lambda x: 2 * x, lambda x: x.sum(), lambda x: wg.concat([x, x])):
        assert make(f)(narrow).dtype == np.float32
        assert make(lambda x, f=f: f(x.astype("float64")))(narrow).dtype == np.float64
        assert make(lambda x, f=f: f(x.astype("float32")))(wide).dtype == np.float64
    tree = make(lambda p: [p["a"].astype("float64"), p["a"] * 2])({"a": narrow})
    assert [leaf["a"].dtype for leaf in tree] == [np.float64, np.float32]
    second = wg.hessian(lambda x: (x.astype("float64") ** 2).sum())(narrow)
    assert second.dtype == np.float32  # as the gradient has the argument's
    np.testing.assert_array_equal(second, 2 * np.eye(3))


@pytest.mark.parametrize("make", [wg.jacrev, wg.jacfwd, wg.jacobian])
def test_jacobians_of_nothing(make):
    assert make(lambda x: ())(np.ones(3)) == ()
    assert make(lambda x: {"y": []})(np.ones(3)) == {"y": []}
    assert make(lambda p: [wg.ones(2), wg.ones(())])({}) == [{}, {}]
    assert make(lambda p: ())({}) == ()
    assert wg.hessian(lambda p: wg.ones(()))({}) == {}


def test_messages_of_functions_without_numbers():
    with pytest.raises(wg.DTypeError, match=r"^ravel: leaves must be floating .*; got int64\."):
        wg.ravel(3)
    with pytest.raises(wg.ShapeError, match=r"^grad: .* one number; f returned no number\. "):
        wg.grad(lambda x: ())(1.0)


def test_numbers_that_are_not_mapped_are_weakly_typed_as_elsewhere():
    for dtype in ("uint8", "int32", "int64", "float32", "float64"):
        x = np.arange(3).astype(dtype)
        for number in (2, 2.5, True):
            want = wg.asarray(x[0]) * number
            got = wg.vmap(lambda a, b: a * b, in_axes=(0, None))(x, number)
            assert got.dtype == want.dtype, (dtype, number)
