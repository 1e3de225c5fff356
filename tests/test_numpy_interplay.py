"""NumPy's and SciPy's functions on tensors, and sequences that hold tensors."""

import warnings

import numpy as np
import pytest
import wengert as wg

A = np.array([0.5, 1.0, 2.0])

CONTEXTS = {
    "leaf": lambda use: use(wg.tensor(A, requires_grad=True)),
    "recorded": lambda use: use(wg.tensor(A, requires_grad=True) * 2),
    "tangent": lambda use: wg.jvp(use, (wg.tensor(A),), (wg.tensor(A),)),
    "gradient": lambda use: wg.grad(use)(wg.tensor(A)),
    "batched": lambda use: wg.vmap(use)(wg.tensor([A, A])),
    "traced": lambda use: wg.trace(use, wg.tensor(A)),
    "compiled": lambda use: wg.compile(use)(wg.tensor(A)),
}


def test_ufuncs_of_constants_give_arrays():
    x = wg.tensor(A)
    for made, expected in (
        (np.sqrt(x), np.sqrt(A)),
        (np.isfinite(x), [True, True, True]),
        (np.negative(x), -A),
        (np.add.reduce(x), 3.5),
        (np.maximum.accumulate(x), A),
        (np.multiply.outer(x, x), np.outer(A, A)),
        (np.sqrt(x, where=x > 0.75, out=np.zeros(3)), [0.0, 1.0, np.sqrt(2)]),
    ):
        assert not isinstance(made, wg.Tensor)
        np.testing.assert_array_equal(made, expected)
    assert isinstance(np.sqrt(wg.tensor(2.0)), np.float32)
    with wg.no_grad():
        np.testing.assert_array_equal(np.exp(x.copy().requires_grad_()), np.exp(A))


@pytest.mark.parametrize("context", CONTEXTS)
def test_ufuncs_refuse_what_is_differentiated_or_traced(context):
    for ufunc, name in ((np.sin, "wg.sin"), (np.arctan2, "wg.arctan2"), (np.absolute, "wg.abs")):
        inputs = 2 if ufunc.nin == 2 else 1
        with pytest.raises(wg.Error, match=f"np.{ufunc.__name__}: .*{name}"):
            CONTEXTS[context](lambda x, f=ufunc, n=inputs: f(*[x] * n))
    with pytest.raises(wg.Error, match=r"np.add.outer: .*wg.primitive"):
        CONTEXTS[context](lambda x: np.add.outer(x, x))
    with pytest.raises(wg.Error, match=r"np.add.reduce: .*wg.sum"):
        CONTEXTS[context](lambda x: x.__array_ufunc__(np.add, "reduce", x))
    with pytest.raises(wg.Error, match=r"np.spacing: .*(wg.primitive|detach)"):
        CONTEXTS[context](lambda x: np.spacing(x))


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "@": lambda a, b: a @ b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
    ">=": lambda a, b: a >= b,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_an_array_on_the_left_give_tensors(name):
    operator = OPERATORS[name]
    other = A + 0.25
    for left in (A, np.float64(0.75), np.array(1.5)):
        if name == "@" and np.ndim(left) == 0:
            continue
        made = operator(left, wg.tensor(other))
        assert isinstance(made, wg.Tensor)
        np.testing.assert_allclose(made.numpy(), operator(left, other), rtol=1e-12)
    assert isinstance(operator(A, wg.tensor(other, requires_grad=True)), wg.Tensor)


def test_operators_with_an_array_on_the_left_are_differentiated():
    x = wg.tensor(A)
    assert wg.grad(lambda x: (A * x + np.float64(2.0) * x).sum())(x).tolist() == list(A + 2)
    assert wg.jvp(lambda x: A @ x, (x,), (x,))[1].item() == A @ A
    assert wg.vmap(lambda x: A * x)(wg.tensor([A])).tolist() == [list(A * A)]
    ints = np.array([6, 5]), wg.tensor([3, 1])
    assert [(f(*ints)).tolist() for f in (np.bitwise_and, np.left_shift)] == [[2, 1], [48, 10]]


def test_arrays_take_constants_in_place_and_refuse_the_rest():
    changed = A.copy()
    changed += wg.tensor(A)
    assert type(changed) is np.ndarray
    np.testing.assert_array_equal(changed, 2 * A)
    with pytest.raises(wg.Error, match=r"np\.add"):
        changed += wg.tensor(A, requires_grad=True)
    np.testing.assert_array_equal(changed, 2 * A)
    x = wg.tensor(A)
    with pytest.raises(wg.Error, match="assign"):
        np.add(A, A, out=x)
    with pytest.raises(wg.Error, match="assign"):
        np.add.at(x, [0], 1.0)


REDUCTIONS = ("sum", "mean", "std", "var", "prod", "max", "min", "any", "all", "argmax", "argmin")


@pytest.mark.parametrize("name", REDUCTIONS)
def test_numpy_reductions_call_the_methods(name):
    rows = np.array([[0.5, 3.0], [2.0, 0.25]])
    f = getattr(np, name)
    for options in ({}, {"axis": 1}):
        made = f(wg.tensor(rows), **options)
        assert isinstance(made, wg.Tensor)
        np.testing.assert_allclose(made.numpy(), f(rows, **options))
    if not name.startswith("arg"):
        with pytest.raises(wg.Error, match="'out' can only be None"):
            f(wg.tensor(rows), out=np.zeros(()))


def test_numpy_reductions_are_differentiated():
    assert wg.grad(lambda x: np.mean(x * x))(wg.tensor(A)).tolist() == pytest.approx(2 * A / 3)
    assert wg.grad(lambda x: np.cumsum(np.clip(x, 0.75, 1.5)).sum())(wg.tensor(A)).tolist() == [
        0,
        2,
        0,
    ]
    x = wg.tensor(A)
    assert np.var(x, ddof=1).item() == pytest.approx(np.var(A, ddof=1))
    with pytest.raises(wg.Error, match="dtype"):
        np.mean(x, dtype=np.float32)


def test_scipy_solves_with_functions_of_tensors():
    optimize = pytest.importorskip("scipy.optimize")

    def f(x):
        return (wg.asarray(x) - 1.25) ** 2 - 1.0

    assert optimize.brentq(f, 1.0, 3.0) == pytest.approx(2.25)
    assert optimize.minimize_scalar(f).x == pytest.approx(1.25)
    total = lambda x: (wg.asarray(x) ** 3).sum()  # noqa: E731
    assert optimize.check_grad(total, wg.grad(total), A) < 1e-5
    both = wg.value_and_grad(lambda x: ((x - A) ** 2).sum())
    found = optimize.minimize(both, np.zeros(3), jac=True)
    np.testing.assert_allclose(found.x, A, atol=1e-6)


def rotation(t):
    return wg.asarray([[wg.cos(t), -wg.sin(t)], [wg.sin(t), wg.cos(t)]])


SEQUENCES = {
    "nested": lambda x: rotation(x[0])[1] @ [x[1], x[2]],
    "tensor": lambda x: (wg.tensor([x[0], x[1] * 2, 3.0]) ** 2).sum(),
    "function": lambda x: wg.sum([x[0], x[1] * x[2]]),
    "operand": lambda x: (x[:2] * [x[0], x[1]]).sum() + (x[:2] * (x[2], 5)).sum(),
    "reflected": lambda x: ([x[0], x[2]] * x[1:]).sum(),
    "rows": lambda x: (wg.asarray([x, x * x, A]) ** 2).sum() + wg.sum([x, [1.0, x[0], 2]]),
    "where": lambda x: wg.where(wg.tensor([True, False]), [x[0], x[1]], [1.0, x[2]]).sum(),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_tensors_in_sequences_keep_their_derivatives(name):
    f, x = SEQUENCES[name], wg.tensor(A)
    wg.check_grads(f, (x,), order=2)
    value = f(x).item()
    assert wg.value_and_grad(f)(x)[0].item() == value
    assert wg.jvp(f, (x,), (x,))[0].item() == value
    assert wg.vmap(f)(wg.stack([x, x]))[1].item() == pytest.approx(value)
    assert wg.trace(f, x).types
    assert wg.compile(f)(x).item() == pytest.approx(value)


def test_dtypes_and_shapes_of_sequences_with_tensors():
    f32, f64, i = wg.tensor(1.0), wg.tensor(2.0, dtype=wg.float64), wg.tensor(3)
    for items, dtype in (
        ([f32, 1.5], "float32"),
        ([f64, 1.5], "float64"),
        ([f32, f64], "float64"),
        ([i, 2], "int64"),
        ([i, 0.5], "float32"),
        ([i, f32], "float32"),
        ([i > 2, 2], "int64"),
        ([f32, np.array(1.0)], "float64"),
        ([[f32, 1], (2.0, f32)], "float32"),
    ):
        made = wg.asarray(items)
        assert made.dtype == dtype
        assert made.shape == ((2, 2) if isinstance(items[0], list) else (2,))
    assert wg.asarray([i, 2.75], dtype=wg.int32).tolist() == [3, 2]
    assert wg.asarray([f64, 0.1])[1].item() == 0.1
    assert wg.tensor([f32, 2.0]).tolist() == [1.0, 2.0]
    for ragged in ([wg.ones(2), 1.0], [[f32], [f32, f32]], [wg.ones(2), wg.ones(3)]):
        with pytest.raises(wg.ShapeError, match="same shape"):
            wg.asarray(ragged)
    with pytest.raises(wg.Error, match="copy=False"):
        wg.asarray([f32], copy=False)
    endless = [f32]
    endless.insert(0, endless)
    with pytest.raises(wg.Error):
        wg.asarray(endless)
    endless.clear()


def test_a_sequence_made_a_leaf_starts_a_history():
    x = wg.tensor(A, requires_grad=True)
    leaf = wg.tensor([x[0], x[1]], requires_grad=True)
    assert leaf.is_leaf
    leaf.sum().backward()
    assert leaf.grad.tolist() == [1.0, 1.0] and x.grad is None
    assert not wg.tensor(x.detach()).requires_grad


@pytest.mark.parametrize(
    "f",
    [
        lambda y: np.where(y > 1, y, 0),
        lambda y: np.linalg.norm(y),
        lambda y: wg.asarray(np.stack([y, y])),
        lambda y: np.concatenate([y, y]),
    ],
)
def test_numpy_functions_lose_no_derivative_silently(f):
    x = wg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(wg.Error, match="derivative would be lost"):
        wg.grad(lambda y: (wg.sum(y) * wg.asarray(f(y))).sum())(x)
    with pytest.raises(wg.Error, match="np\\."):
        wg.jvp(f, (x,), (x,))
    f(x)


def test_numpy_comparisons_of_recorded_tensors():
    w = wg.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2.0
    assert np.allclose(y, [2.0, 4.0]) and np.array_equal(w, [1.0, 2.0])
    assert np.shape(y) == (2,) and np.argmax(y) == 1
    np.testing.assert_allclose(y, [2.0, 4.0])
    np.testing.assert_array_equal(w, [1.0, 2.0])


LEAVES_TENSORS = {
    "np.asarray": np.asarray,
    "np.array": lambda x: np.array([x, x]).sum(),
    "numpy": lambda x: x.numpy(),
}
FOLLOWING = {
    "grad": wg.grad,
    "value_and_grad": wg.value_and_grad,
    "vjp": lambda f: lambda x: wg.vjp(f, x)[1](1.0),
    "jvp": lambda f: lambda x: wg.jvp(f, (x,), (1.0,)),
    "jacfwd": wg.jacfwd,
    "hessian": wg.hessian,
}


@pytest.mark.parametrize("take", LEAVES_TENSORS.values(), ids=LEAVES_TENSORS)
@pytest.mark.parametrize("transform", FOLLOWING.values(), ids=FOLLOWING)
def test_arrays_taken_within_a_transform_warn(take, transform):
    with pytest.warns(UserWarning, match="no derivative.*constant to the transform") as caught:
        transform(lambda x: x * wg.tensor(take(x)))(wg.tensor(2.0))
    assert {warning.filename for warning in caught} == {__file__}


def test_numbers_that_are_meant_to_be_constant_do_not_warn():
    def f(x):
        if float(x) > 1.0 and int(x) == 2:
            x = x * x.item() + x.detach().numpy() + float(x.detach()) + len(str(x))
        with wg.no_grad():
            assert float(x) == np.asarray(x)
        return x

    for transform in FOLLOWING.values():
        transform(f)(wg.tensor(2.0))
    with pytest.raises(ZeroDivisionError):
        wg.grad(lambda x: 1 // 0)(wg.tensor(2.0))
    w = wg.tensor(2.0, requires_grad=True)
    loss = w * 3.0
    assert np.asarray(loss) == loss.numpy() == 6.0  # a log of a training loop
    loss.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert wg.grad(lambda x: x * x.numpy())(wg.tensor(3.0)).item() == 3.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda x: np.where(x > 0, x, 0),
            r"^np\.where: .*lost\. Use wg\.where, or detach the tens",
        ),
        (lambda x: np.dot(x, x), r"^np\.dot: .*Use wg\.dot, or"),
        (lambda x: np.concatenate([x, x]), r"^np\.concatenate: .*Use wg\.concatenate, or"),
        (lambda x: np.vstack([x, x]), r"^np\.vstack: .*Use wg\.vstack, or"),
        (lambda x: np.zeros_like(x), r"^np\.zeros_like: .*Use wg\.zeros_like, or"),
        (lambda x: np.linalg.norm(x), r"^np\.linalg\.norm: .*Use wg\.linalg\.norm, or"),
        (lambda x: np.trace(wg.diag(x)), r"^np\.trace: .*Use wg\.linalg\.trace, or"),
        (lambda x: np.median(x), r"^np\.median: .*Use wg\.sort, of which the middle, or"),
        (
            lambda x: np.linalg.inv(wg.diag(x)),
            r"Use wg\.primitive around numpy\.linalg\.inv: there",
        ),
        (
            lambda x: np.corrcoef(x),
            r"^np\.corrcoef: .*Use wg\.primitive around it, which gives it a",
        ),
        (lambda x: np.sin(x), r"^np\.sin: .*Instead, use wg\.sin, or detach"),
    ],
)
def test_what_to_use_instead_of_a_function_of_numpy(call, says):
    with pytest.raises(wg.ArgumentTypeError, match=says):
        call(wg.nn.Parameter([1.0, 2.0]))
    assert call(wg.tensor([1.0, 2.0])) is not None  # constant, it has numbers


def test_nothing_is_to_be_detached_in_a_trace():
    for f, name in ((lambda x: np.where(x > 0, x, 0), "where"), (np.sin, "sin")):
        with pytest.raises(wg.TraceError, match=rf"a traced value has none\. .*se wg\.{name}$"):
            wg.compile(f)(wg.tensor([1.0, 2.0]))


def test_the_array_protocol():
    x = wg.tensor(A)
    assert np.shares_memory(x.__array__(), x.numpy())
    assert x.__array__("float32").dtype == np.float32
    assert not np.shares_memory(x.__array__(copy=True), x.numpy())
    assert np.shares_memory(x.__array__(None, False), x.numpy())
    with pytest.raises(wg.ArgumentError, match="needs a copy"):
        x.__array__(dtype=np.float32, copy=False)
    assert not np.shares_memory(x.__array__(copy="yes"), x.numpy())
    for call in (
        lambda: x.__array__(None, None, 1),
        lambda: x.__array__(like=A),
        lambda: x.__array__(None, dtype=float),
    ):
        with pytest.raises(wg.ArgumentTypeError, match="takes dtype and copy"):
            call()
    assert x.__array_function__(np.mean, (wg.Tensor,), [x], {}) == A.mean()
    for rest in ((), ((wg.Tensor,), (x,), None), ((wg.Tensor,), (x,), [])):
        with pytest.raises(wg.ArgumentTypeError, match="takes a function, types, args"):
            x.__array_function__(np.mean, *rest)
    with pytest.raises(TypeError, match="not iterable"):
        x.__array_function__(np.mean, (wg.Tensor,), 3, {})


@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray, np.recarray, np.ndarray])
def test_subclasses_of_arrays_are_arrays(kind):
    given = A[None].view(kind)
    x = wg.asarray(given)
    np.testing.assert_array_equal(x.numpy(), A[None])
    assert np.shares_memory(x.numpy(), A)
    assert wg.compile(lambda y: y * 2)(given).shape == (1, 3)


def test_errors_within_a_function_of_numpy_end_what_it_asks_for():
    with pytest.raises(wg.ArgumentTypeError, match=r"^np\.linalg\.norm: "):
        np.linalg.norm(wg.nn.Parameter(A))
    assert np.asarray(wg.nn.Parameter(A)).tolist() == A.tolist()  # by no function: for its numbers
