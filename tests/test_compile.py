"""wg.compile as a user meets it: trees in and out, what makes a new recording, what is refused, how
it composes."""

import collections
import dataclasses
import functools
import gc

import numpy as np
import pytest
import wengert as wg
from wengert import nn

Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Box:
    inner: object
    scale: object


def numbers(*values):
    return wg.tensor(list(values), dtype=wg.float64)


TREES = {
    "tensor": lambda x: x,
    "list": lambda x: [x, x + 1],
    "tuple": lambda x: (x, (x + 1,), ()),
    "dict": lambda x: {"b": x, "a": x + 1, 3: []},
    "namedtuple": lambda x: Pair(x, x + 1),
    "dataclass": lambda x: Box([x], x + 1),
    "none": lambda x: (None, x, None),
    "ordered": lambda x: collections.OrderedDict(z=x, a=x + 1),
    "deep": lambda x: functools.reduce(lambda inner, _: [inner], range(50), x),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_go_in_and_come_out(name):
    make = TREES[name]
    compiled = wg.compile(lambda tree: wg.tree.map(lambda x: 2 * x, tree))
    for i in range(3):
        tree = make(numbers(i, 1.0))
        found = compiled(tree)
        expected = wg.tree.map(lambda x: 2 * x, tree)
        assert wg.tree.flatten(found)[1] == wg.tree.flatten(expected)[1]
        for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected)):
            assert x.tolist() == y.tolist()
    assert compiled.cache_info() == (2, 1, 1)


def test_dicts_are_told_apart_by_their_keys():
    compiled = wg.compile(lambda d: {"z": d["a"] - 2 * d["b"], "c": d["a"]})
    a, b = wg.tensor(1.0), wg.tensor(10.0)
    for d in [{"b": b, "a": a}, {"a": a, "b": b}] * 3:
        found = compiled(d)
        assert list(found) == ["z", "c"] and found["z"].item() == -19 and found["c"].item() == 1
    for _ in range(2):
        assert wg.compile(lambda *, x, y: x - 2 * y)(y=b, x=a).item() == -19


def test_modules_arrays_and_numbers():
    compiled = wg.compile(lambda model, x, n, *, b: model(x) * n + b)
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    x = np.ones((4, 3), np.float32)
    with wg.no_grad():
        for m in (model, other, model):
            found = compiled(m, x, 2, b=0.5)
            np.testing.assert_array_equal(found.numpy(), (m(x) * 2 + 0.5).numpy())
    assert compiled.cache_info() == (2, 1, 1)
    with pytest.raises(wg.ArgumentTypeError, match=r"'mean'.*static_argnums"):
        compiled(model, x, "mean", b=0.0)
    with pytest.raises(wg.ArgumentTypeError, match=r"must return tensors.*got 'text'"):
        wg.compile(lambda x: {"x": x, "name": "text"})(x)


def test_results_are_tensors_of_their_own():
    outside = numbers(5.0, 6.0)
    compiled = wg.compile(lambda x: (x, x, outside, outside[1:], x[::-1], 3.0, np.ones(2)))
    x = numbers(1.0, 2.0)
    for _ in range(3):
        results = compiled(x)
        assert [r.tolist() for r in results] == [
            [1.0, 2.0], [1.0, 2.0], [5.0, 6.0], [6.0], [2.0, 1.0], 3.0, [1.0, 1.0],
        ]  # fmt: skip
        assert all(isinstance(r, wg.Tensor) for r in results)
        for r in results:
            r.assign(0.0)
        assert x.tolist() == [1.0, 2.0] and outside.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3)])
def test_shapes_of_every_kind(shape):
    data = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    f = lambda x: (wg.tanh(x) * 2 + 1, x.sum(), x.T, wg.concat([x.reshape(-1), x.reshape(-1)]))  # noqa: E731
    compiled = wg.compile(f)
    for _ in range(2):
        for x, y in zip(compiled(data), f(wg.asarray(data))):
            assert x.shape == y.shape and x.tolist() == y.tolist()


def test_strides_of_every_kind():
    base = np.arange(24.0).reshape(4, 6)
    compiled = wg.compile(lambda x: x * 2 + x[0, 0])
    views = [
        base[::2, ::3],
        base[::-2, ::-3],
        base.T[::3, ::2].T,
        np.broadcast_to(base[0, :2], (2, 2)),
    ]
    for view in views:
        for x in (view, wg.asarray(view)):
            np.testing.assert_array_equal(compiled(x).numpy(), view * 2 + view[0, 0])
    assert compiled.cache_info() == (7, 1, 1)


def test_many_inputs():
    compiled = wg.compile(lambda *xs: sum(x * float(i) for i, x in enumerate(xs)))
    xs = [wg.tensor(float(i)) for i in range(300)]
    for _ in range(2):
        assert compiled(*xs).item() == sum(i * i for i in range(300))


def test_every_set_of_types_has_a_recording():
    compiled = wg.compile(lambda x: x + x)
    for data in (
        np.ones(3),
        np.ones(3, np.float32),
        np.ones((3, 1)),
        np.ones(3, int),
        [np.ones(3)],
    ):
        for _ in range(2):
            if isinstance(data, list):
                continue
            found = compiled(data)
            assert found.dtype == data.dtype and found.shape == data.shape
    assert compiled.cache_info() == (4, 4, 4)
    with wg.no_grad():
        compiled(np.ones(3))
    assert compiled.cache_info() == (4, 5, 5)


def test_static_arguments():
    calls = []

    @wg.compile(static_argnums=(1, -1))
    def f(x, kind, y, power):
        calls.append((kind, power))
        return x**power if kind == "power" else y

    x, y = numbers(2.0), numbers(7.0)
    for _ in range(2):
        assert f(x, "power", y, 3).item() == 8
        assert f(x, "power", y, 2).item() == 4
        assert f(x, "other", y, 2).item() == 7
    assert calls == [("power", 3), ("power", 2), ("other", 2)]
    assert f.cache_info() == (3, 3, 3)
    with pytest.raises(wg.ArgumentTypeError, match=r"hashable, .*; got \[1\] at position 1"):
        f(x, [1], y, 2)
    with pytest.raises(wg.ArgumentTypeError, match="takes an int"):
        wg.compile(lambda x: x, static_argnums="x")
    for n in (3, -2):
        with pytest.raises(
            wg.ArgumentError, match=f"static_argnums has {n}, .* takes 1 by position"
        ):
            wg.compile(lambda x: x, static_argnums=n)
    assert wg.compile(lambda *xs: xs[0] * xs[3], static_argnums=3)(wg.ones(1), 0, 0, 2).item() == 2


@pytest.mark.parametrize(
    "values", [(2, 2.0, True), (0.0, -0.0), ((1, 2), (1, 2.0)), (1, np.float64(1.0))]
)
def test_static_arguments_that_are_equal_but_not_alike(values):
    compiled = wg.compile(lambda x, n: x * wg.asarray(n).sum(), static_argnums=1)
    x = wg.tensor([3])
    for _ in range(2):
        for value in values:
            expected = x * wg.asarray(value).sum()
            found = compiled(x, value)
            assert found.dtype == expected.dtype and str(found.numpy()) == str(expected.numpy())


def test_equal_static_arguments_made_anew_fill_no_memory():
    compiled = wg.compile(lambda x, key: x * key[1], static_argnums=1)
    for _ in range(300):
        assert compiled(numbers(1.0), ("".join(["k", "ey"]), 2)).item() == 2
    assert compiled.cache_info() == (299, 1, 1)
    pairs = [x for x in gc.get_objects() if type(x) is tuple and len(x) == 2]
    assert sum(type(x[0]) is str and x[0] == "key" for x in pairs) < 100


def test_growth_is_told():
    compiled = wg.compile(lambda x, table: x.sum() + table["b"].sum())
    table = {"a": wg.ones(3), "b": wg.ones(2)}
    with pytest.warns(
        UserWarning, match=r"recorded 8 times; what changes: shape or dtype of x\. Each "
    ):
        for n in range(8):
            compiled(wg.ones(n), table)
    with pytest.warns(UserWarning, match=r"shape or dtype of table\['b'\]"):
        for n in range(8):
            compiled(wg.ones(1), {**table, "b": wg.ones(n + 5)})
    by_number = wg.compile(lambda x, n: x * n, static_argnums=1)
    with pytest.warns(UserWarning, match=r"what changes: static arguments\. .*cache_clear"):
        for n in range(8):
            by_number(wg.ones(1), n)


ASKING = {
    "bool": lambda x: x if x > 0 else -x,
    "item": lambda x: x * float(x),
    "item int": lambda x: wg.ones(int(x)),
    "numpy": lambda x: wg.asarray(np.sin(x.numpy())),
}


@pytest.mark.parametrize("name", ASKING)
def test_numbers_of_traced_values_are_refused(name):
    compiled = wg.compile(ASKING[name])
    line = ASKING[name].__code__.co_firstlineno
    where = f"{name.split()[0]}: .*test_compile.py:{line}; .*wengert operations"
    if name != "numpy":
        where = f"{name.split()[0]}: .*test_compile.py:{line}; .*wg.where, wg.cond.*static_argnums"
    for _ in range(2):
        with pytest.raises(wg.TraceError, match=where):
            compiled(wg.tensor(1.0))
    assert compiled.cache_info().size == 0
    outside = wg.tensor(1.0)
    asking = {**ASKING, "bool": lambda x: x if x else -x}[name]
    line = asking.__code__.co_firstlineno
    with pytest.raises(wg.TraceError, match=f"test_compile.py:{line}.*outside.*wg.where, wg.cond"):
        wg.compile(lambda: asking(outside))()


def test_an_index_from_outside_is_read_afresh():
    row, x = wg.tensor(1), numbers(1.0, 2.0, 3.0)
    compiled = wg.compile(lambda: x[row] * 1)
    assert compiled().item() == 2
    row.assign(2)
    assert compiled().item() == 3
    mask = wg.tensor([True, False, True])
    with pytest.raises(wg.TraceError, match=r"index by a mask: .*outside"):
        wg.compile(lambda: x[mask])()


def test_leaked_values_cannot_be_used():
    kept = []

    @wg.compile
    def f(x):
        kept.append(x * 2)
        return x

    with pytest.raises(wg.TraceError, match="keeps traced values"):
        f(numbers(1.0))
    for use in (lambda v: v + 1, lambda v: f(v), float, lambda v: v.numpy(), lambda v: v.sum()):
        with pytest.raises(wg.TraceError):
            use(kept[0])
    assert "traced" in repr(kept[0])
    g = wg.compile(lambda x: x + kept[0])
    with pytest.raises(wg.TraceError, match="ended; return it"):
        g(numbers(1.0))
    state = numbers(0.0)
    with pytest.raises(wg.TraceError):
        state.assign(kept[0])


def test_an_exception_while_recording_changes_nothing():
    state, p = numbers(1.0), nn.Parameter([2.0])
    rng, twin = wg.random.default_rng(3), wg.random.default_rng(3)
    fails = [True]

    @wg.compile
    def f(x):
        state.assign(state + x)
        noise = rng.normal(size=2)
        (p * x).sum().backward()
        if fails[0]:
            raise KeyError("mine")
        return noise

    with pytest.raises(KeyError, match="mine"):
        f(wg.tensor([3.0]))
    assert state.tolist() == [1.0] and p.grad is None
    assert (state + 1).tolist() == [2.0] and wg.is_grad_enabled()
    fails[0] = False
    assert f(wg.tensor([3.0])).tolist() == twin.normal(size=2).tolist()
    assert state.tolist() == [4.0] and p.grad.tolist() == [3.0]


def test_what_python_counts_is_counted_once():
    count = [0]

    @wg.compile
    def f(x):
        count[0] += 1
        return x + count[0]

    assert [f(wg.tensor(0.0)).item() for _ in range(3)] == [1.0, 1.0, 1.0] and count == [1]


def test_a_loss_from_a_compiled_function_is_differentiated_outside():
    w = wg.tensor([1.0, -2.0], requires_grad=True)
    compiled = wg.compile(lambda x: ((w * x) ** 3).sum())
    x = wg.tensor([2.0, 1.0], requires_grad=True)
    for _ in range(3):
        w.grad = x.grad = None
        loss = compiled(x)
        (2 * loss).backward()
        found = w.grad.tolist(), x.grad.tolist()
        w.grad = x.grad = None
        (2 * ((w * x) ** 3).sum()).backward()
        assert found == (w.grad.tolist(), x.grad.tolist())
    with pytest.raises(wg.GraphError):
        loss.backward()
    x.grad = None
    loss = compiled(x)
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)
    loss = compiled(x)
    with wg.no_grad():
        w += 1
    with pytest.raises(wg.GraphError, match="in place"):
        loss.backward()
    assert compiled(x.detach()).requires_grad


def test_pieces_of_a_result_are_differentiated():
    compiled = wg.compile(lambda x, y: (x * y, wg.argmax(x), x + 0 * y, wg.stop_gradient(x)))
    x, y = wg.tensor([1.0, 5.0], requires_grad=True), wg.tensor([3.0, 4.0])
    product, place, same, cut = compiled(x, y)
    assert place.item() == 1 and not place.requires_grad and not cut.requires_grad
    product.sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]
    product, _, same, _ = compiled(x, y)
    (same * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 6.0]
    assert compiled(x.detach(), y)[0].requires_grad is False


def test_a_second_derivative_through_a_compiled_function():
    f = lambda x: (wg.sin(x) * x).sum()  # noqa: E731
    compiled = wg.compile(f)
    x = numbers(0.3, 0.7).requires_grad_()
    loss = compiled(x)
    loss.backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), wg.hvp(f, (x.detach(),), (wg.ones_like(x),)).numpy())


F = lambda x: (wg.tanh(x) * x.sum()).sum()  # noqa: E731
TRANSFORMS = {
    "grad": wg.grad,
    "value_and_grad": wg.value_and_grad,
    "hessian": wg.hessian,
    "jacrev": lambda f: wg.jacrev(lambda x: wg.sin(x) * f(x)),
    "jacfwd": lambda f: wg.jacfwd(lambda x: wg.sin(x) * f(x)),
    "jacobian": lambda f: wg.jacobian(lambda x: wg.sin(x) * f(x)),
    "jvp": lambda f: lambda x: wg.jvp(f, (x,), (wg.ones_like(x),)),
    "vjp": lambda f: lambda x: wg.vjp(f, x)[1](wg.ones((), dtype=wg.float64)),
    "hvp": lambda f: lambda x: wg.hvp(f, (x,), (x,)),
    "vmap": lambda f: lambda x: wg.vmap(lambda s: f(s * x))(x),
    "grad of grad": lambda f: wg.grad(lambda x: wg.grad(f)(x).sum()),
    "grad of vmap": lambda f: wg.grad(lambda x: wg.vmap(lambda s: f(s * x))(x).sum()),
    "vmap of grad": lambda f: lambda x: wg.vmap(lambda s: wg.grad(f)(s * x))(x),
    "compile": wg.compile,
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_compositions(name):
    transform = TRANSFORMS[name]
    x = numbers(0.3, -0.8, 1.1)
    inside = wg.compile(F)
    inside(x), inside(x)
    candidates = [wg.compile(transform(F)), transform(inside), wg.compile(transform(inside))]
    expected = wg.tree.leaves(transform(F)(x))
    for f in candidates:
        for _ in range(2):
            found = wg.tree.leaves(f(x))
            assert len(found) == len(expected)
            for a, b in zip(found, expected):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-13, atol=1e-15)


def test_transforms_over_what_a_compiled_function_closes_over():
    y = wg.tensor(2.0)

    def scaled(x):
        return wg.compile(lambda y: y * x * x)(y)

    assert wg.vmap(scaled)(wg.tensor([1.0, 2.0])).tolist() == [2.0, 8.0]
    assert wg.jvp(scaled, (wg.tensor(3.0),), (wg.tensor(1.0),))[1].item() == 12
    assert wg.grad(scaled)(wg.tensor(3.0)).item() == 12
    assert wg.hessian(scaled)(wg.tensor(3.0)).item() == 4


def test_inside_a_trace():
    compiled = wg.compile(lambda x: wg.sin(x) + 1)
    compiled(wg.tensor(1.0))
    names = [node.name for node in wg.trace(lambda x: compiled(x) * 2, wg.tensor(1.0)).nodes]
    assert names == ["sin", "add", "multiply"]


def test_primitives_inside():
    kept = []

    @wg.primitive
    def doubled(x):
        if not getattr(x, "_is_abstract", False):
            kept.append(x)
        return np.asarray(x) * 2 if isinstance(x, np.ndarray) else x * 2

    @doubled.def_vjp
    def _(ct, out, x):
        return (ct * 2,)

    compiled = wg.compile(lambda x: doubled(x + 1) + 1)
    with wg.no_grad():
        for i in range(4):
            assert set(compiled(np.full(500, float(i))).tolist()) == {2.0 * i + 3}
    del compiled
    assert [float(x[0].item()) for x in kept] == [1.0, 2.0, 3.0, 4.0]
    grad = wg.compile(wg.grad(lambda x: doubled(x * x).sum()))
    for _ in range(2):
        assert grad(numbers(3.0)).tolist() == [12.0]


def test_debug_nans_names_the_line():
    compiled = wg.compile(lambda x: wg.log(x) * 2)
    assert compiled(wg.tensor(0.0)).item() == -np.inf
    with wg.debug_nans(), pytest.raises(wg.NumericError, match="log"):
        compiled(wg.tensor(0.0))
    with wg.debug_nans(), pytest.raises(wg.NumericError, match="log"):
        compiled.run(wg.tensor([1.0, 0.0]))


def test_an_argument_in_memory_that_the_call_changes():
    for share in (
        lambda x: x,
        lambda x: x[:],
        lambda x: x.numpy(),
        lambda x: wg.asarray(x.numpy()),
    ):
        found = []
        for compiled in (False, True):
            state = numbers(1.0, 2.0)

            def f(x, state=state):
                state.assign(state + x)
                state.assign(state + x)
                return x * 1

            call = wg.compile(f) if compiled else f
            call(numbers(0.5, 0.5))
            argument = share(state)
            result = call(argument if compiled else wg.asarray(argument))
            found.append((result.tolist(), state.tolist()))
            del argument
        assert found[0] == found[1]


@pytest.mark.parametrize("number", [0.1, 3, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_python_numbers_take_the_dtype_of_what_they_meet(dtype, number):
    """As in eager calls: to the bit, and with their own recording beside that of tensors."""
    x = wg.tensor(np.array([1, 2, 3]), dtype=dtype)

    def f(x, s):
        return x * s, wg.where(x > 1, x, s), wg.stack([x + s, s - x]), wg.maximum(x, s), s / 3

    compiled = wg.compile(f)
    for _ in range(2):
        for found, expected in zip(compiled(x, number), f(x, number), strict=True):
            expected = wg.asarray(expected)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
    compiled(x, wg.asarray(number))
    assert compiled.cache_info().misses == (1 if number is True else 2)


@pytest.mark.parametrize(("dtype", "number"), [("uint8", 256), ("uint8", -1), ("int32", 2**31)])
def test_integers_that_do_not_fit_are_refused_at_every_call(dtype, number):
    add = wg.compile(lambda x, n: x + n)
    x = wg.ones(3, dtype=dtype)
    assert add(x, 3).tolist() == [4, 4, 4]
    for f in (add, lambda x, n: x + n):
        with pytest.raises(wg.DTypeError, match=f"{number} does not fit {dtype}"):
            f(x, number)
    assert add(x, 4).tolist() == [5, 5, 5]


def test_a_python_number_alone_is_float32():
    f = wg.compile(lambda s: (s, wg.sin(s), wg.reshape(s, (1,)), wg.ones(2) @ wg.stack([s, s])))
    assert all(y.dtype == wg.float32 for y in f(0.1))
    assert f(2)[0].dtype == wg.int64


def test_a_python_number_is_a_constant_at_a_tie():
    grad = wg.grad(lambda x, s: wg.maximum(x, s).sum())
    assert wg.compile(grad)(wg.zeros(2), 0.0).tolist() == grad(wg.zeros(2), 0.0).tolist() == [0, 0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, i, j: x * (i / j),
        lambda x, i, j: x * (1 - 0.9**i),
        lambda x, i, j: x * (-j + abs(i)),
        lambda x, i, j: x * i**2 + x * (i * j - j),
        lambda x, i, j: x * (i // j) + x * (i % j),
    ],
)
@pytest.mark.parametrize("numbers", [(1, 3), (0.1, 0.3), (7, 2.5), (np.float64(0.1), 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arithmetic_of_numbers_keeps_their_digits(f, numbers, dtype):
    x = wg.tensor([1.0, 3.0], dtype=dtype)
    found, expected = wg.compile(f, exact=True)(x, *numbers), f(x, *numbers)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_number_that_is_changed_is_another_number():
    def f(x, n):
        n += 1
        n *= 2
        return x * n

    x = wg.tensor([0.1], dtype="float64")
    assert wg.compile(f)(x, 0.1).item() == f(x, 0.1).item()


class _Endless(nn.Module):
    @wg.compile
    def forward(self, x):
        return self(x) + 1


def test_a_function_that_calls_itself():
    power = wg.compile(lambda x, n: x if n == 0 else x * power(x, n - 1), static_argnums=1)
    assert power(wg.tensor(2.0), 3).item() == 16.0
    endless = wg.compile(lambda x: endless(x) + 1)
    here = wg.compile(lambda x: there(x))
    there = wg.compile(lambda x: here(x))
    for f in (endless, here, there, _Endless()):
        with pytest.raises(wg.TraceError, match=r"^compile: .* calls itself without end while it"):
            f(wg.ones(1))

    def deeper(x):
        return deeper(x)

    with pytest.raises(RecursionError):  # which is Python's to say
        wg.compile(deeper)(wg.ones(1))
    assert wg.compile(lambda x: x + 1)(wg.ones(1)).item() == 2.0
