"""debug_nans blames the operation that makes the first infinity or NaN, and nothing else."""

import inspect
import threading

import numpy as np
import pytest
import wengert as wg

INF, NAN = float("inf"), float("nan")


def line():
    return inspect.currentframe().f_back.f_lineno


def blamed(call, *parts):
    """The message of the error that `call` raises under debug_nans."""
    with pytest.raises(wg.NumericError) as failure, wg.debug_nans():
        call()
    text = str(failure.value)
    for part in parts:
        assert part in text, text
    return text


def test_the_error_is_of_both_families():
    assert issubclass(wg.NumericError, wg.Error)
    assert issubclass(wg.NumericError, FloatingPointError)
    assert issubclass(wg.NumericError, ArithmeticError)


def test_forward_operation_is_named_with_place_and_line():
    x = wg.tensor([[1.0, 2.0], [0.0, -1.0]])
    with pytest.raises(wg.NumericError) as failure, wg.debug_nans():
        here = line() + 1
        wg.log(x)
    text = str(failure.value)
    assert text.startswith("log: ")
    assert (
        f"gave -inf at index (1, 0) of its output float32 (2, 2) (there: 0), at {__file__}:{here}"
        in text
    )
    assert not wg.isfinite(wg.log(x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 7, 1023, 1024, 1025, 5000, 40_000])
def test_every_place_is_seen(n, dtype):
    for place in {0, n // 2, n - 1}:
        values = np.ones(n, dtype=dtype)
        values[place] = 0.0
        x = wg.asarray(values)
        blamed(lambda: 1.0 / x, f"gave inf at index ({place},)")
        blamed(lambda: x - x / x, "divide: must", f"nan at index ({place},)")


@pytest.mark.parametrize("value", [1e-45, 3.4e38, -3.4e38, -0.0, 0.0, 1.17e-38])
def test_extreme_finite_numbers_pass(value):
    x = wg.asarray(np.full(3000, value, dtype=np.float32))
    with wg.debug_nans():
        assert (-x).shape == (3000,)
        assert wg.maximum(x, -x).shape == (3000,)


def test_two_dimensional_results_and_casts():
    a = wg.asarray(np.full((3, 3), 1e300))
    blamed(lambda: a @ a, "matmul: ", "index (0, 0)")
    blamed(lambda: a.astype("float32"), "inf at index (0, 0) of its output float32 (3, 3)")
    blamed(lambda: wg.sum(a * 1e8), "sum: ")


def test_values_that_were_there_are_not_blamed():
    x = wg.tensor([1.0, NAN, INF])
    with wg.debug_nans():
        y = wg.exp(x * 2.0) + 1.0
        masked = wg.where(wg.asarray([True, False, True]), wg.ones(3), -INF)
        full = wg.full((2, 2), -INF)
        weights = wg.softmax(masked)
        scores = wg.matmul(wg.full((2, 2), INF), wg.zeros((2, 2)))
    assert np.isnan(y.numpy()[1]) and masked.numpy()[1] == -INF == full.numpy()[0, 0]
    assert weights.numpy()[1] == 0.0 and np.isnan(scores.numpy()).all()


def test_elementwise_operations_are_judged_place_by_place():
    x = wg.tensor([-INF, 1.0, 0.0])
    blamed(lambda: 1.0 / x, "divide: ", "index (2,)", "(there: 1, 0)")
    masked = wg.where(wg.asarray([True, False, True]), 1.0, -INF)
    blamed(lambda: masked / wg.tensor([1.0, 1.0, 0.0]), "divide: ", "index (2,)", "(there: 1, 0)")
    columns = wg.broadcast_to(wg.tensor([[1.0], [0.0]]), (2, 3))
    blamed(lambda: wg.log(columns), "index (1, 0)")
    rows = wg.tensor([[1.0, 2.0, INF], [0.0, 1.0, 2.0]]).T
    blamed(lambda: wg.log(rows), "index (0, 1)")


def test_integers_and_empty_arrays_are_skipped():
    with wg.debug_nans():
        assert wg.tensor([1, 2]).sum().item() == 3
        assert wg.exp(wg.zeros((0, 3))).shape == (0, 3)
        assert (wg.tensor([1.0, INF]) > 0.0).all()


def test_views_are_not_blamed():
    x = wg.tensor([[1.0, INF], [2.0, NAN]])
    with wg.debug_nans():
        assert x.T[1].reshape(2, 1)[::-1].shape == (2, 1)


def test_backward_names_the_forward_operation_and_its_line():
    x = wg.tensor([4.0, 0.0], requires_grad=True)
    with pytest.raises(wg.NumericError) as failure, wg.debug_nans():
        here = line() + 1
        y = wg.sqrt(x)
        loss = y.sum()
        there = line() + 1
        loss.backward()
    text = str(failure.value)
    assert "gave inf at index (1,)" in text and f"at {__file__}:{there}" in text
    assert f"the backward pass of sqrt, recorded at {__file__}:{here}, was running" in text
    assert x.grad is None
    y = wg.sqrt(x).sum()
    y.backward()
    assert x.grad.tolist() == [0.25, INF]


def test_transforms():
    f = lambda x: wg.sqrt(x).sum()  # noqa: E731
    x = wg.tensor([4.0, 0.0])
    blamed(lambda: wg.grad(f)(x), "the backward pass of sqrt")
    blamed(lambda: wg.jvp(f, (x,), (wg.ones(2),)), "gave inf")
    blamed(lambda: wg.vmap(wg.log)(x), "log: ")
    cube = lambda x: (x**1.5).sum()  # noqa: E731
    with wg.debug_nans():
        assert wg.grad(cube)(x).tolist() == [3.0, 0.0]
    blamed(lambda: wg.grad(lambda x: wg.grad(cube)(x).sum())(x), "gave inf", "the backward pass of")


def test_primitives():
    @wg.primitive
    def logarithm(x):
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(x)).T

    @logarithm.def_vjp
    def _(ct, out, x):
        return (ct.T / x,)

    x = wg.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 2.0]], requires_grad=True)
    blamed(lambda: logarithm(x), "logarithm: ", "gave -inf at index (1, 1) of its output")
    y = logarithm(x)
    blamed(lambda: y.backward(wg.ones((3, 2))), "divide: ", "gave inf at index (1, 1)")


@pytest.mark.parametrize("way", ["vjp", "jvp"])
def test_rules_of_primitives_in_numpy(way):
    @wg.primitive
    def double(x):
        return np.asarray(x) * 2

    def rule(given, out, x):
        with np.errstate(all="ignore"):
            if way == "vjp":
                return (np.asarray(given) / np.zeros(3, np.float32),)
            return np.asarray(given[0]) / np.zeros(3, np.float32)

    getattr(double, f"def_{way}")(rule)
    x = wg.tensor([1.0, 2.0, 3.0])
    y = double(wg.tensor([1.0, 2.0, 3.0], requires_grad=True)).sum()
    name = f"double_{way}: " if way == "vjp" else "double_"
    for run in (y.backward, lambda: wg.grad(lambda x: double(x).sum())(x),
                lambda: wg.vmap(wg.grad(lambda x: double(x).sum()))(wg.ones((2, 3)))):  # fmt: skip
        blamed(run, name)
    blamed(lambda: wg.jvp(double, (x,), (x,)), "double_jvp: ")
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(wg.grad(lambda x: double(x).sum())(x).numpy()).any()


def test_nan_has_no_sign():
    text = blamed(lambda: wg.sqrt(wg.tensor([-1.0])), "gave nan at index (0,)")
    assert "-nan" not in text


def test_sums_of_gradients_are_seen():
    big = wg.tensor(3e38)
    x = wg.tensor(1.0, requires_grad=True)

    def twice():
        (x * 1.0 * big).backward()
        (x * 1.0 * big).backward()

    blamed(twice, "add: ", "gave inf")
    x = wg.tensor(1.0, requires_grad=True)
    y = x * 1.0
    loss = (y * big - 1e38) * 0.5 + (y * big - 1e38) * 0.5
    (loss * 1.0).backward()
    assert np.isfinite(x.grad.numpy())
    z = wg.tensor(1.0, requires_grad=True)
    w = z * 1.0
    blamed(lambda: wg.concat([(w * big).reshape(1), (w * big).reshape(1)]).max(axis=0).backward()
           or wg.stack([w * big, w * big]).backward(wg.ones(2)), "add: ", "gave inf")  # fmt: skip


def test_modes_nest_and_end_with_exceptions():
    zero = wg.tensor(0.0)

    def on():
        try:
            wg.log(zero)
        except wg.NumericError:
            return True
        return False

    assert not on()
    with wg.debug_nans():
        with wg.debug_nans():
            assert on()
        assert on()
        with pytest.raises(KeyError), wg.debug_nans():
            raise KeyError
        assert on()
    assert not on()
    with pytest.raises(KeyError), wg.debug_nans():
        raise KeyError
    assert not on()


def test_as_a_decorator():
    @wg.debug_nans()
    def f(x):
        """A logarithm."""
        return wg.log(x)

    assert (f.__name__, f.__doc__) == ("f", "A logarithm.")
    assert f(wg.tensor(1.0)).item() == 0.0
    with pytest.raises(wg.NumericError):
        f(wg.tensor(0.0))
    assert wg.log(wg.tensor(0.0)).item() == -INF
    with pytest.raises(wg.ArgumentTypeError, match="cannot decorate the generator"):

        @wg.debug_nans()
        def g():
            yield 1


def test_threads_are_apart():
    entered, done = threading.Event(), threading.Event()
    results = {}

    def other():
        with wg.debug_nans():
            entered.set()
            done.wait(30)
            try:
                wg.log(wg.zeros(40_000))
            except wg.NumericError as error:
                results["other"] = str(error)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(30)
    results["here"] = wg.log(wg.zeros(40_000)).numpy()[0]
    with wg.debug_nans():
        pass
    done.set()
    thread.join()
    assert results["here"] == -INF
    assert results["other"].startswith("log: ")


def test_results_are_the_same():
    rng = wg.random.default_rng(0)
    model = wg.nn.Sequential(wg.nn.Linear(8, 16), wg.nn.ReLU(), wg.nn.Linear(16, 3))
    x, y = rng.normal(size=(4, 8)), wg.arange(4) % 3
    gradients = []
    for watched in (False, True):
        model.zero_grad()
        loss = lambda: wg.nn.cross_entropy(model(x), y).backward()  # noqa: E731
        wg.debug_nans()(loss)() if watched else loss()
        gradients.append([p.grad.tolist() for p in model.parameters()])
    assert gradients[0] == gradients[1]
