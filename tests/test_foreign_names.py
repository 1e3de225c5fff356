"""Names of PyTorch, JAX and NumPy that ours lack, and calls that mean something else there."""

import pickle
import re
import warnings

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim, other_arguments, other_names

X = wg.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("from wengert import jit", "cannot import name 'jit' from 'wengert'; use wg.compile"),
        ("from wengert import grad, nothing", "cannot import name 'nothing' from 'wengert'"),
        ("from wengert.nn import Dense", "name 'Dense' from 'wengert.nn'; use wg.nn.Linear"),
        ("from wengert.optim import adamw", "from 'wengert.optim'; use wg.optim.AdamW"),
        ("from wengert.random import manual_seed", "from 'wengert.random'; use wg.random.seed"),
        ("from wengert.linalg import inv", "use wg.primitive around numpy.linalg.inv: there are"),
        ("from wengert.nn.functional import swish", "'wengert.nn.functional'; use wg.nn.silu"),
    ],
)
def test_imports_of_others(line, says):
    with pytest.raises(ImportError) as caught:
        exec(line)
    assert isinstance(caught.value, wg.Error) and not isinstance(caught.value, AttributeError)
    assert says in str(caught.value)


def test_modules_import_as_before():
    exec("from wengert import nn, sparsity, examples, check_grads, functional_call")
    assert not hasattr(wg, "jit") and getattr(nn, "Dense", 3) == 3
    with pytest.raises(ModuleNotFoundError):
        exec("import wengert.lax")


def test_slips_of_the_pen():
    for module, name, meant in [
        (wg, "concta", "concat"),
        (nn, "Lineer", "Linear"),
        (wg.linalg, "vector_nrom", "vector_norm"),
        (wg.random, "defaultrng", "default_rng"),
    ]:
        with pytest.raises(wg.MissingNameError, match=f"'{name}'; did you mean '{meant}'\\?$"):
            getattr(module, name)
    with pytest.raises(ImportError, match=r"'valu_and_grad' .*; did you mean 'value_and_grad'\?"):
        exec("from wengert import valu_and_grad")


def test_wrapped_functions_are_found_by_name():
    for f in (wg.compile, wg.grad, wg.scan, wg.functional_call, wg.primitive, wg.check_grads):
        assert pickle.loads(pickle.dumps(f)) is f


@pytest.mark.parametrize("table", [other_arguments._ARGUMENTS, other_arguments._CALLS])
def test_remedies_name_what_exists(table):
    for remedy in filter(lambda text: isinstance(text, str), table.values()):
        for found in re.findall(r"wg(?:\.\w+)+", remedy):
            eval(found, {"wg": wg})


def test_every_place_has_a_table():
    assert {"wengert", "wengert.nn", "wengert.optim", "wengert.Tensor"} < set(other_names._NAMES)
    for place in ("MaxPool2d", "clip_grad_norm", "ReLU6", "TransformerEncoderLayer"):
        with pytest.raises(wg.MissingNameError, match="; use "):
            getattr(nn, place)
    for name in ("remat", "autocast", "multinomial", "bernoulli", "unique", "defvjp", "pmap"):
        with pytest.raises(wg.MissingNameError, match="; use "):
            getattr(wg, name)
    for name in ("stride", "scatter_add", "unique", "index_add_", "byte"):
        with pytest.raises(wg.MissingNameError, match="; use "):
            getattr(X, name)
    with pytest.raises(wg.MissingNameError, match="as lr, such as lambda step"):
        optim.StepLR  # noqa: B018


REFUSED = {
    "transpose": (
        lambda: X.transpose(1, 2),
        r"as NumPy; got \(1, 2\)\. .* use x\.swapaxes\(1, 2\)",
    ),
    "function": (lambda: wg.transpose(X, 1, 2), r"use wg\.swapaxes\(x, axis1, axis2\); it takes x"),
    "layer": (
        lambda: nn.Linear(4, 3)(wg.ones((2, 3))),
        r"Give x \(\.\.\., 4\), or weight\.T for a",
    ),
    "other size": (
        lambda: nn.Linear(4, 3)(wg.ones((2, 5))),
        r"needs 5 == 4\. Give x \(\.\.\., 4\)$",
    ),
    "stack": (
        lambda: wg.stack(X),
        r"stack: .*got one tensor\. Give stack\(\[x\]\) for one, or lis",
    ),
    "concat": (lambda: wg.concat(np.ones(3)), r"concat: .*got one tensor\. Give concat\(\[x\]\)"),
    "data": (
        lambda: setattr(nn.Parameter([1.0]), "data", X),
        r"^'Parameter' object has no attribute 'data'; use .*x\.assign\(value\) inside wg\.no_grad",
    ),
    "loss": (
        lambda: wg.grad(X.sum(), [X]),
        r"got tensor\(24\.\)\. Of a recorded tensor use its bac",
    ),
    "tree": (lambda: wg.stop_gradient({"a": X}), r"(?s)got .*\. For trees use wg\.tree\.map$"),
    "flax": (
        lambda: nn.Linear(4, 3).apply({}, X),
        r"apply: .*use wg\.functional_call\(module, param",
    ),
    "gpu": (lambda: X.to(dtype=wg.float64, device="cuda"), "to: everything is on the CPU; got 'cu"),
    "device": (lambda: X.to(device=3), "to: the only device is 'cpu'; got 3"),
    "dtype": (lambda: X.to(dtype="half"), "to: dtype: 'half' is not supported; use one of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, says = REFUSED[name]
    with pytest.raises(wg.Error, match=says):
        call()


def test_calls_that_work_as_there():
    assert X.transpose(0, 2, 1).shape == X.transpose((0, 2, 1)).shape == (2, 4, 3)
    assert wg.stack([X]).shape == (1, 2, 3, 4) and wg.concat([X]).shape == X.shape
    assert X.cpu() is X and X.to("cpu") is X and X.to(device="cpu") is X and X.to() is X
    wide = X.to("cpu", wg.float64)
    assert wide.dtype == X.to(dtype=wg.float64).dtype == X.to(wide).dtype == wg.float64
    assert X.to(wg.float32, copy=True) is not X
    assert nn.Parameter([1.0]).detach().cpu().numpy().tolist() == [1.0]


def test_rules_and_names_of_a_primitive():
    twice = wg.primitive(lambda x: 2 * x)
    twice.def_vjp(lambda ct, out, x: 2 * ct)
    y = twice(nn.Parameter([1.0]))
    assert repr(y) == "tensor([2.], grad_fn=<lambda>)"
    with pytest.raises(wg.ArgumentTypeError, match=r"got a Tensor\. Write return \(ct,\)$"):
        y.sum().backward()


def test_hidden_modules_warn():
    def made(**attributes):
        module = nn.Module()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for name, value in attributes.items():
                setattr(module, name, value)
        return [(warning.filename, str(warning.message)) for warning in caught]

    layer, p = nn.Linear(2, 2), nn.Parameter([1.0])
    for hidden, says in [
        ([layer], "'x' is a list of modules, in which .* Use nn.ModuleList or nn.Sequential"),
        ((layer, layer), "'x' is a tuple of modules"),
        ({"a": layer}, "'x' is a dict of modules"),
        ([p], "'x' is a list of parameters, .* Use an attribute for each"),
    ]:
        ((place, message),) = made(x=hidden)
        assert place == __file__ and re.search(says, message)
    assert made(x=[1, 2], y={"a": X}, z=nn.ModuleList([layer])) == []
    assert made(x=layer, p=p, y=[layer, p], _z=[nn.Linear(2, 2)]) == []  # found elsewhere


def test_where_numpy_and_pytorch_differ():
    """The README's list."""
    x = wg.arange(24.0).reshape(2, 3, 4)
    array = x.numpy()
    assert x.size == 24 and len(wg.split(x, 2)) == 2
    assert wg.arange(2).repeat(2).tolist() == [0, 0, 1, 1]
    assert wg.tile(wg.arange(2), 2).tolist() == [0, 1, 0, 1]
    assert x.T.shape == (4, 3, 2) and x.swapaxes(1, 2).shape == (2, 4, 3)
    assert x.var().item() == array.var() and x.var(correction=1).item() == array.var(ddof=1)
    assert x.max(0).shape == x.min(0).shape == (3, 4) and wg.sort(x).shape == x.shape
    assert x.dot(wg.ones((4, 2))).shape == (2, 3, 2)
    assert wg.cumsum(x).shape == x.repeat(1).shape == (24,)
    assert not nn.Parameter([1.0]).numpy().flags.writeable
