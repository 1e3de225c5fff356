"""check_grads finds planted faults, names them, and raises no false alarm on rows of the table."""

import re

import numpy as np
import pytest
import wengert as wg
from op_table import ROWS

OPS, TABLE = wg._core.ops, wg._core.op_table
constant = wg.stop_gradient


def rng():
    return np.random.default_rng(0)


def row_function(name):
    """A row's op at its first case that has float numbers to vary, and these."""
    row = ROWS[name]
    for case in row.cases:
        arrays = row.arrays(case, "float64", 0)
        places = [i for i, x in enumerate(arrays) if np.dtype(x.dtype).kind == "f"]
        if case.attrs.get("dtype", "float64") != "float64" or not sum(
            arrays[i].size for i in places
        ):
            continue

        def f(*floats):
            values = list(arrays)
            for i, x in zip(places, floats, strict=True):
                values[i] = x
            return getattr(OPS, name)(*values, **case.attrs)

        return f, tuple(wg.tensor(arrays[i]) for i in places)
    return None


def floats(values):
    return [y for y in wg.tree.leaves(values) if y.dtype.kind == "f"]


ROWS_TO_CHECK = sorted(
    name for name in ROWS if name in TABLE and TABLE[name]["differentiable"] and row_function(name)
)


@pytest.mark.parametrize("name", ROWS_TO_CHECK)
def test_no_false_alarm(name):
    f, args = row_function(name)
    wg.check_grads(f, args)
    wg.check_grads(lambda *xs: [1e6 * y for y in floats(f(*xs))] + floats(f(*xs)), args)


@pytest.mark.parametrize("name", ROWS_TO_CHECK)
def test_a_lost_derivative_is_found(name):
    f, args = row_function(name)
    jacobians = wg.jacfwd(lambda *xs: floats(f(*xs))[0], tuple(range(len(args))))(*args)
    sizes = [np.abs(j.numpy()).reshape(-1, x.size).max(axis=0, initial=0.0)
             for j, x in zip(jacobians, args, strict=True)]  # fmt: skip
    which = int(np.argmax([s.max(initial=0.0) for s in sizes]))
    place = int(np.argmax(sizes[which]))
    if sizes[which][place] < 1e-6:
        wg.check_grads(f, args, order=2)
        return
    mask = np.zeros(args[which].size)
    mask[place] = 1.0
    mask = wg.asarray(mask.reshape(args[which].shape))

    def lost(*xs):
        values = list(xs)
        x = values[which]
        values[which] = x * (1.0 - mask) + constant(x) * mask
        return f(*values)

    index = tuple(map(int, np.unravel_index(place, args[which].shape)))
    for mode in ("fwd", "rev"):
        with pytest.raises(AssertionError) as failure:
            wg.check_grads(lost, args, modes=(mode,))
        assert f"argument {which}, entry {index}" in str(failure.value)


def test_message_names_everything():
    def f(x, params):
        return {"y": constant(params["w"][0]) * x + params["w"][0]}

    args = (wg.ones((2, 3)), {"w": [wg.tensor(3.0)]})
    with pytest.raises(AssertionError) as failure:
        wg.check_grads(f, args, modes=["rev"])
    text = str(failure.value)
    assert text.startswith(
        "check_grads: reverse mode, order 1: argument 1 'params'['w'][0], entry (); "
        "of output, entry (0, 0): the derivative is 1, by differences 2; they differ by 1, "
    )
    assert not isinstance(failure.value, wg.Error)


def test_worst_entry_of_several_wrong_ones():
    weights = wg.asarray(np.array([[1.0, 1.0, 1.0], [1.0, 9.0, 1.0]]))
    with pytest.raises(AssertionError, match=r"argument 0 'x', entry \(1, 1\)"):
        wg.check_grads(lambda x: constant(x) * x * weights, wg.ones((2, 3)))


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_one_wrong_entry_of_ten_thousand(mode):
    mask = np.zeros((20, 500))
    mask[7, 123] = 1.0

    def f(x):
        return wg.sin(x) + wg.asarray(mask) * (constant(x) * x)

    args = (rng().normal(size=mask.shape),)
    with pytest.raises(AssertionError, match=r"entry \(7, 123\); of output, entry \(7, 123\)"):
        wg.check_grads(f, args, modes=(mode,))
    with pytest.raises(AssertionError, match=r"entry \(7, 123\); of output, entry \(7,\)"):
        wg.check_grads(lambda x: f(x).sum(axis=1), args, modes=(mode,))
    wg.check_grads(lambda x: wg.sin(x).sum(axis=1), args, modes=(mode,))


def second_order_fault(x):
    return 2.0 * x * constant(x) - constant(x * x)  # the value and slope of x**2, no curvature


def test_fault_of_second_order_only():
    wg.check_grads(second_order_fault, 3.0)
    found = r"mode, order 2: argument 0 'x', entry \(\)"
    for modes in (("fwd",), ("rev",), ("fwd", "rev")):
        with pytest.raises(AssertionError, match=found) as failure:
            wg.check_grads(second_order_fault, 3.0, order=2, modes=modes)
        assert "mode over " in str(failure.value)


def test_third_order():
    def cube(x):
        c, d = constant(x), x - constant(x)
        return c**3 + 3 * c**2 * d + 3 * c * d**2

    wg.check_grads(lambda x: wg.sin(x) * x**2, rng().normal(size=3), order=3)
    wg.check_grads(cube, 2.0, order=2)
    with pytest.raises(AssertionError, match=r"order 3: .*the derivative is 0, by differences"):
        wg.check_grads(cube, 2.0, order=3, modes=("rev",))


def disagreeing(by):
    """A function whose reverse mode alone is wrong, by a factor."""

    @wg.primitive
    def f(x):
        return wg.sin(x)

    @f.def_vjp
    def _(ct, out, x):
        return (ct * wg.cos(x) * by,)

    @f.def_jvp
    def _(tangents, out, x):
        return tangents[0] * wg.cos(x)

    return f


def test_custom_rules():
    x = wg.tensor(rng().normal(size=(2, 2)))
    wg.check_grads(disagreeing(1.0), (x,), order=2)
    wg.check_grads(disagreeing(1.5), (x,), modes=("fwd",))
    with pytest.raises(AssertionError, match="reverse mode, order 1: argument 0 'x'"):
        wg.check_grads(disagreeing(1.5), (x,))


def test_modes_are_compared_with_each_other_more_strictly():
    f = disagreeing(1.0 + 1e-6)
    for mode in ("fwd", "rev"):
        wg.check_grads(f, 0.5, modes=(mode,))
    with pytest.raises(AssertionError, match=r"modes fwd and rev, order 1: .*<v, J u> is .*<J'v"):
        wg.check_grads(f, 0.5)


def test_tolerances():
    f = disagreeing(1.001)
    with pytest.raises(AssertionError, match=r"tolerance 8\.\d+e-06"):
        wg.check_grads(f, 0.5, modes=("rev",))
    wg.check_grads(f, 0.5, modes=("rev",), rtol=1e-2)
    wg.check_grads(f, 0.5, modes=("rev",), atol=1e-2)
    with pytest.raises(AssertionError):
        wg.check_grads(f, 0.5, modes=("rev",), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scales(scale):
    def f(x):
        return scale * wg.sum(wg.exp(x / scale) + x * x)

    wg.check_grads(f, rng().normal(size=5) * scale, order=2)
    wg.check_grads(lambda x: wg.log(x), np.abs(rng().normal(size=5) * scale) + 0.1 * scale)
    with pytest.raises(AssertionError):
        wg.check_grads(lambda x: f(x) + f(constant(x)), rng().normal(size=5) * scale)


def scaling(factors, by, way):
    """x * factors, with a rule that is wrong by other factors."""
    f, wrong = wg.primitive(lambda x: x * factors), factors * by
    if way == "vjp":
        f.def_vjp(lambda ct, out, x: (ct * wrong,))
    else:
        f.def_jvp(lambda tangents, out, x: tangents[0] * wrong)
    return f


@pytest.mark.parametrize("way", ["vjp", "jvp"])
@pytest.mark.parametrize(("size", "wrong"), [(1e6, 1.05), (1e8, 2.0), (1e6, 1.0001)])
def test_small_derivatives_beside_large_ones(size, wrong, way):
    factors, by = np.array([size, 1.0, 1.0]), np.array([1.0, wrong, 1.0])
    x = (np.array([1.0, 1.0, 0.5]),)
    wg.check_grads(scaling(factors, np.ones(3), way), x, order=2)
    with pytest.raises(AssertionError, match=r"entry \(1,\); of output, entry \(1,\)"):
        wg.check_grads(scaling(factors, by, way), x)


@pytest.mark.parametrize("n", [2, 300])
def test_small_arguments_and_outputs_beside_large_ones(n):
    w, b = np.ones(n), np.float64(1.0)
    wg.check_grads(lambda w, b: (1e7 * w).sum() + b, (w, b), order=2)
    wg.check_grads(lambda w: (1e8 * w, wg.sin(w)), (w,), order=2)
    with pytest.raises(AssertionError, match=r"argument 1 'b', entry \(\); of output"):
        wg.check_grads(lambda w, b: (1e7 * w).sum() + constant(b), (w, b))
    with pytest.raises(AssertionError, match=r"of output 1, entry"):
        wg.check_grads(lambda w: (1e8 * w, constant(w)), (w,))


def test_kinks_elsewhere_do_no_harm_and_at_the_point_are_named():
    near = np.array([1.0, 1e-6, -1e-5, -2.0])
    wg.check_grads(wg.relu, near, order=2)
    wg.check_grads(lambda x: wg.max(wg.abs(x)), near)
    with pytest.raises(AssertionError, match=r"entry \(2,\).*the derivative is 0, by differences"):
        wg.check_grads(wg.relu, np.array([1.0, -2.0, 0.0]))
    with pytest.raises(AssertionError, match="do not settle"):
        wg.check_grads(wg.floor, 1.0)


def test_not_finite_derivatives():
    def f(x):
        return x + wg.where(x > 0.0, 0.0, 1.0) * constant(x) * (x - x)

    @wg.primitive
    def broken(x):
        return x * x

    @broken.def_vjp
    def _(ct, out, x):
        return (ct * x * float("nan"),)

    wg.check_grads(f, wg.tensor([1.0, 2.0]))
    with pytest.raises(
        AssertionError, match=r"the derivative is nan, by differences 4.*not finite"
    ):
        wg.check_grads(broken, 2.0, modes=("rev",))
    with pytest.raises(AssertionError, match="not finite beside the argument"):
        wg.check_grads(wg.sqrt, 0.0)


def test_infinite_outputs_that_do_not_change_are_fine():
    keep = wg.asarray([True, False, True])
    wg.check_grads(lambda x: wg.where(keep, x, -float("inf")), wg.ones(3))
    wg.check_grads(lambda x: wg.softmax(wg.where(keep, x, -float("inf"))), wg.ones(3), order=2)


def test_trees_integers_and_modules():
    model = wg.nn.Sequential(wg.nn.Linear(3, 4), wg.nn.Tanh(), wg.nn.Linear(4, 2))
    x, labels = wg.tensor(rng().normal(size=(5, 3))), wg.arange(5) % 2

    def loss(model, batch, flag, power):
        return {"loss": wg.nn.cross_entropy(model(batch[0]), batch[1]) ** power, "labels": batch[1]}

    wg.check_grads(loss, (model, (x, labels), True, 2), order=2)
    assert model[0].weight.dtype == wg.float32

    def wrong(model, batch):
        return loss(model, batch, True, 1)["loss"] + constant(model[2].bias).sum()

    with pytest.raises(AssertionError, match=r"argument 0 'model'\.2\.bias, entry \([01],\)"):
        wg.check_grads(wrong, (model, (x, labels)))


def test_a_single_argument_and_empty_ones():
    wg.check_grads(lambda x: x["a"] ** 2, {"a": 3.0})
    wg.check_grads(lambda x, y: (x.sum() + y, x), (wg.zeros((0, 3)), 2.0))
    wg.check_grads(lambda x: x * 2, wg.zeros((0,)))


def test_float32_inside():
    x = rng().normal(size=(4, 3))

    def narrow(x):
        return (wg.sin(x.astype("float32")) * x.astype("float32")).sum()

    def only(x):
        if x.dtype != wg.float32:
            raise wg.DTypeError("only: takes float32")
        return wg.exp(x) * x

    wg.check_grads(narrow, x)
    wg.check_grads(only, x.astype(np.float32), order=2)
    with pytest.raises(AssertionError):
        wg.check_grads(lambda x: narrow(x) * narrow(constant(x)), x)
    with pytest.raises(AssertionError):
        wg.check_grads(lambda x: only(x) * constant(x), x.astype(np.float32))


def test_random_functions():
    state = wg.random.default_generator().get_state().tolist()
    wg.check_grads(lambda x: wg.nn.dropout(x, 0.5), wg.ones(8), order=2)
    assert wg.random.default_generator().get_state().tolist() == state
    own = wg.random.default_rng(0)
    with pytest.raises(wg.ArgumentError, match="the same values for the same arguments"):
        wg.check_grads(lambda x: x * own.normal(size=(8,)), wg.ones(8))


def test_errors_of_f_are_its_own():
    def f(x):
        raise KeyError("mine")

    for x in (1.0, wg.ones(3), np.ones(3)):
        with pytest.raises(KeyError, match="mine"):
            wg.check_grads(f, x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: wg.check_grads(3, 1.0), wg.ArgumentTypeError, "takes a function; got 3"),
        (lambda: wg.check_grads(wg.sin, 1.0, order=0), wg.ArgumentError, "order.*got 0"),
        (lambda: wg.check_grads(wg.sin, 1.0, order=1.5), wg.ArgumentTypeError, "order.*got 1.5"),
        (lambda: wg.check_grads(wg.sin, 1.0, modes="fwd"), wg.ArgumentError, "modes.*'fwd'"),
        (lambda: wg.check_grads(wg.sin, 1.0, modes=()), wg.ArgumentError, "modes"),
        (lambda: wg.check_grads(wg.sin, 1.0, modes=("up",)), wg.ArgumentError, "modes.*'up'"),
        (lambda: wg.check_grads(wg.sin, 1.0, modes=([],)), wg.ArgumentError, "modes"),
        (lambda: wg.check_grads(wg.sin, 1.0, rtol=-1), wg.ArgumentError, "rtol.*-1"),
        (lambda: wg.check_grads(wg.sin, 1.0, atol="x"), wg.ArgumentTypeError, "atol.*'x'"),
        (lambda: wg.check_grads(wg.sin, 1), wg.ArgumentError, "no floating-point number to vary"),
        (lambda: wg.check_grads(wg.sin, ()), wg.ArgumentError, "no floating-point number to vary"),
        (lambda: wg.check_grads(wg.sin, "x"), wg.ArgumentTypeError, "got 'x'"),
        (lambda: wg.check_grads(wg.sin, float("nan")), wg.ArgumentError, "finite.*'x'"),
        (lambda: wg.check_grads(lambda x: 3, 1.0), wg.ArgumentError, "returns no floating"),
        (lambda: wg.check_grads(lambda x: "y", 1.0), wg.ArgumentTypeError, "got 'y'"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message) as failure:
        call()
    assert re.match("check_grads: ", str(failure.value))
