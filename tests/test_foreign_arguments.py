"""Arguments of PyTorch's, JAX's and NumPy's functions that ours lack, and those that ours take."""

import copy

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

X = wg.ones((2, 3))
W = nn.Parameter([1.0, 2.0])


def f(x):
    return x * x


REFUSED = {
    "compile mode": (lambda: wg.compile(f, mode="max"), "compile: .*'mode'; there is no compiler"),
    "compile graph": (lambda: wg.compile(f, fullgraph=True), "recorded whole: leave it out"),
    "compile dynamic": (lambda: wg.compile(f, dynamic=True), "each new shape is recorded once"),
    "compile backend": (lambda: wg.compile(f, backend="x"), "no compiler to tune: leave it out"),
    "compile static": (
        lambda: wg.compile(f, static_argnames="x"),
        "use static_argnums; it takes f",
    ),
    "compile options": (lambda: wg.compile(dynamic=True), "each new shape is recorded once: leave"),
    "vmap in": (lambda: wg.vmap(f, in_dims=0), "vmap: has no argument 'in_dims'; use in_axes; it"),
    "vmap out": (lambda: wg.vmap(f, out_dims=0), "use out_axes; it takes f, in_axes, out_axes"),
    "grad": (lambda: wg.grad(f, argnum=1), "grad: has no argument 'argnum'; use argnums; it takes"),
    "grad nothing": (lambda: wg.grad(), "grad: missing 1 required positional argument: 'f'; it"),
    "hessian": (
        lambda: wg.hessian(f, strict=True),
        "hessian: has no argument 'strict'; it takes f",
    ),
    "jvp": (lambda: wg.jvp(f, (X,)), "jvp: missing 1 .*'tangents'; it takes f, primals, tangents"),
    "scan reverse": (lambda: wg.scan(f, 0.0, X, reverse=True), r"'reverse'; give wg\.flip\(xs\)"),
    "scan unroll": (lambda: wg.scan(f, 0.0, X, unroll=2), "recorded once and replayed in C..: lea"),
    "checkpoint": (lambda: wg.checkpoint(f, use_reentrant=False), "checkpoint: .*: leave it out"),
    "primitive": (lambda: wg.primitive(f, name="f"), "primitive: has no argument 'name'; it takes"),
    "while_loop": (
        lambda: wg.while_loop(f),
        "while_loop: missing 2 .*it takes cond_fn, body_fn, in",
    ),
    "functional_call": (
        lambda: wg.functional_call(nn.ReLU()),
        "functional_call: missing 1 .*'params",
    ),
    "check_grads": (lambda: wg.check_grads(f, (X,), eps=1.0), "check_grads: has no argument 'eps'"),
    "clip norm": (lambda: optim.clip_grad_norm([W], 1.0, norm_type=2), "the norm is Euclidean: le"),
    "cosine": (
        lambda: optim.cosine(lr=0.1),
        "cosine: missing 1 .*'steps'; it takes lr, steps, end",
    ),
    "sum dim": (
        lambda: X.sum(dim=1),
        "^sum: has no argument 'dim'; use axis; it takes x, axis, dty",
    ),
    "sum keepdim": (lambda: X.sum(axis=1, keepdim=True), "'keepdim'; use keepdims; it takes x, ax"),
    "sum True": (
        lambda: X.sum(1, True),
        "^sum: 'dtype' takes a dtype; got True. Write keepdims=True$",
    ),
    "stack": (
        lambda: wg.stack([X, X], dim=1),
        r"^stack: .*'dim'; use axis; it takes \*arrays, axis",
    ),
    "split": (
        lambda: X.split(1, dim=1),
        "split: has no argument 'dim'; use axis; it takes indices_",
    ),
    "flip": (
        lambda: wg.flip(X, dims=0),
        "flip: has no argument 'dims'; use axis; it takes x, axis",
    ),
    "permute": (lambda: wg.permute_dims(X, dims=(1, 0)), "use axes; it takes x, axes"),
    "softmax": (lambda: nn.softmax(X, axis=1), "softmax: .*'axis'; use dim; it takes input, dim"),
    "std": (lambda: wg.std(X, unbiased=False), "use correction: 1 for unbiased=True, 0"),
    "norm": (lambda: wg.linalg.vector_norm(X, p=1), "use ord; it takes x, axis, keepdims, ord"),
    "where": (
        lambda: wg.where(X > 0),
        r"^where: .*'x1' is missing; .* use wg\.nonzero\(condition\)",
    ),
    "zeros": (lambda: wg.zeros(3, 4), r"zeros: .* one argument: write zeros\(\(3, 4\)\); it takes"),
    "zeros type": (
        lambda: wg.zeros(3, float),
        "zeros: .*given; name the others: dtype=...; it takes",
    ),
    "tensor": (
        lambda: wg.tensor([1.0], wg.float64),
        "tensor: .*; name the others: dtype=...; it tak",
    ),
    "tensordot": (
        lambda: wg.tensordot(X, X, 2),
        "tensordot: .* name the others: axes=...; it takes",
    ),
    "reshape": (
        lambda: wg.reshape(X, 3, 2),
        r"reshape: .*the sizes are one argument, such as \(2, -1",
    ),
    "clip": (
        lambda: wg.clip(X, a_min=0),
        "clip: has no argument 'a_min'; use min; it takes x, min",
    ),
    "round": (lambda: wg.round(X, 2), r"use Python's round\(x, digits\); it takes x$"),
    "zeros dtype": (
        lambda: wg.full(3, 4, wg.int64),
        "full: takes 2 .*; it takes shape, fill_v",
    ),
    "zeros size": (
        lambda: wg.zeros(size=3),
        "zeros: has no argument 'size'; use shape; it takes sh",
    ),
    "normal": (lambda: wg.random.default_rng(0).normal(shape=3), "'shape'; use size; it takes loc"),
    "arange": (
        lambda: wg.arange(0, end=3),
        "arange: has no argument 'end'; use stop; it takes sta",
    ),
    "linspace": (lambda: wg.linspace(0, 1, steps=3), "'steps'; use num; it takes start, stop, num"),
    "repeat": (
        lambda: X.repeat(2, 1, 1),
        r"repeat: .*; to repeat the whole use wg\.tile\(x, s",
    ),
    "Adam": (
        lambda: optim.Adam([W], learning_rate=0.1),
        "Adam: .*'learning_rate'; use lr; it take",
    ),
    "step": (lambda: optim.SGD([W]).step([W]), "SGD: step takes a function that computes the loss"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, says = REFUSED[name]
    with pytest.raises(wg.ArgumentTypeError, match=says) as caught:
        call()
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: wg.grad(f)(1.0),
        lambda f: wg.vjp(f, 1.0),
        lambda f: wg.compile(f)(1.0),
        lambda f: wg.scan(f, 0.0, X),
        lambda f: wg.cond(True, f, f, 1.0),
        lambda f: wg.functional_call(
            type("M", (nn.Module,), {"forward": lambda _, x: f(x)})(), {}, X
        ),
    ],
)
def test_what_functions_of_the_user_raise_stays_theirs(call):
    def two(x, y, z):
        return x

    def own(*args):
        raise TypeError("own() takes 1 positional argument")

    for function, says in [(two, "missing"), (own, r"^own\(\) takes 1 positional argument$")]:
        with pytest.raises(TypeError, match=says) as caught:
            call(function)
        assert type(caught.value) is TypeError


def test_zero_grad_takes_set_to_none():
    layer = nn.Linear(3, 2)
    optimizer = optim.SGD(layer.parameters())
    for owner in (layer, optimizer):
        layer(X).sum().backward()
        layer.bias.grad = None
        owner.zero_grad(set_to_none=False)
        assert layer.bias.grad is None and layer.weight.grad.tolist() == [[0.0] * 3] * 2
        owner.zero_grad(set_to_none=True)
        assert layer.weight.grad is None

    @wg.compile
    def step():
        layer(X).sum().backward()
        optimizer.zero_grad(set_to_none=False)

    step()
    assert layer.weight.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("wrap", [lambda f: f, wg.compile], ids=["eager", "compiled"])
def test_step_takes_a_closure(wrap):
    losses = {}
    for way in ("before", "closure"):
        p = nn.Parameter([1.0, 2.0])
        optimizer = optim.SGD([p], lr=0.1)

        def loss_of(p=p, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            return loss

        def closure(optimizer=optimizer, loss_of=loss_of):
            return optimizer.step(loss_of)

        def before(optimizer=optimizer, loss_of=loss_of):
            loss = loss_of()
            assert optimizer.step() is None
            return loss

        step = wrap(closure if way == "closure" else before)
        losses[way] = [step().item() for _ in range(3)] + p.tolist()
    assert losses["closure"] == losses["before"]
    with wg.no_grad():
        assert optimizer.step(loss_of).item() < losses["closure"][0]  # records all the same


def test_a_loop_without_rows():
    state, ys = wg.scan(lambda c, x: (c + 1, c), 0.0, length=3)
    assert (state.item(), ys.tolist()) == (3.0, [0.0, 1.0, 2.0])
    with pytest.raises(wg.ArgumentError, match="needs xs or a length"):
        wg.scan(lambda c, x: (c, c), 0.0)


def test_what_numpy_passes_on_is_taken():
    assert np.sum(X, axis=1).tolist() == [3.0, 3.0]
    assert np.std(X, ddof=1).item() == 0.0


CALLABLE = {
    "wengert": [name for name in dir(wg) if name[0] != "_" and name not in ("Tensor", "Error")],
    "wengert.nn": [name for name in nn.__all__ if name not in ("Identity", "Module")],
    "wengert.nn.init": [name for name in dir(nn.init) if name[-1] == "_" and name[0] != "_"],
    "wengert.optim": optim.__all__,
    "wengert.random": wg.random.__all__,
    "wengert.linalg": wg.linalg.__all__,
    "wengert.memory": [name for name in dir(wg.memory) if name[0] != "_"],
    "wengert.policies": [name for name in wg.policies.__all__ if name != "Operation"],
    "wengert.tree": ["leaves", "map", "paths", "register"],
}


@pytest.mark.parametrize("place", CALLABLE)
def test_calls_that_do_not_fit_raise_errors_of_this_package(place):
    """Identity takes anything; Module itself has no constructor, so that users need not call it."""
    home, called = eval(place, {"wengert": wg}), 0
    for name in CALLABLE[place]:
        f = getattr(home, name)
        exception = isinstance(f, type) and issubclass(f, BaseException)
        if not callable(f) or exception or not getattr(f, "__module__", "wengert"):
            continue
        with pytest.raises(wg.ArgumentTypeError) as caught:
            f(no_such_argument=1)
        assert isinstance(caught.value, TypeError)
        called += 1
    assert called >= min(4, len(CALLABLE[place]))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: wg.Binomial(), "^Binomial: missing 1 .*'slots'; it takes slots"),
        (lambda: wg.tree.map(), "^map: missing 2 required .*'f' and 'tree'; it takes f, tree"),
        (lambda: wg.tree.map(3, X), "^map: takes a function; got 3"),
        (lambda: nn.gradient_flow(nn.ReLU()), "^gradient_flow: missing 2 .*'loss_fn' and 'batch'"),
        (lambda: nn.Parameter(), "^Parameter: missing 1 .*'data'; it takes data, requires_grad"),
        (lambda: nn.ModuleList(nn.ReLU(), nn.ReLU()), r"^ModuleList: takes from 1 to 2 .*ReLU\(\)"),
        (lambda: nn.Sequential(a=nn.ReLU()), "^Sequential: has no argument 'a'; it takes modules"),
        (lambda: nn.Tanh(3), "^Tanh: takes 1 positional argument but 2"),
        (lambda: wg.no_grad(f, f), "^no_grad: takes from 1 to 2 positional arguments but 3"),
        (lambda: wg.Tensor(), "^Tensor: .*missing .*'data'.*; it takes data, dtype, requires_grad"),
        (lambda: wg.Tensor([1.0], device="cpu"), "^Tensor: 'device' is an invalid keyword arg"),
        (lambda: wg.memory.live_bytes(3), "^live_bytes: .*; it takes no arguments; got"),
    ],
)
def test_constructors_and_functions_refuse(call, says):
    with pytest.raises(wg.ArgumentTypeError, match=says):
        call()


def test_covered_classes_are_as_before():
    assert wg.Binomial(3) == wg.Binomial(slots=3) and hash(wg.Binomial(3)) == hash(wg.Binomial(3))
    assert type(nn.Parameter([1.0])) is nn.Parameter and nn.Parameter(X).shape == (2, 3)
    assert copy.deepcopy(nn.Parameter([1.0])).tolist() == [1.0]
    assert wg.no_grad(f)(2.0) == 4.0 and isinstance(wg.no_grad(), wg.no_grad)
    with pytest.raises(KeyError, match="mine"):
        nn.ModuleList(item for item in [{}["mine"]])
    with pytest.raises(TypeError, match=r"^own$") as caught:
        wg.tree.map(raising, X)
    assert type(caught.value) is TypeError


def raising(x):
    raise TypeError("own")


IMAGE = wg.ones((3, 3))
RENAMED = [
    (wg.triu, (IMAGE,), "diagonal", "k", 1),
    (wg.diag, (IMAGE,), "diagonal", "k", 1),
    (wg.diagonal, (IMAGE,), "k", "offset", 1),
    (wg.sum, (), "input", "x", IMAGE),
    (wg.sum, (), "a", "x", IMAGE),
    (wg.matmul, (IMAGE,), "other", "x2", IMAGE),
    (wg.sort, (IMAGE,), "kind", "stable", True),
    (wg.clip, (IMAGE,), "lo", "min", 0.0),
    (wg.clip, (IMAGE,), "hi", "max", 1.0),
    (wg.pad, (IMAGE, 1), "value", "constant_values", 2.0),
    (wg.full, ((2,),), "value", "fill_value", 2.0),
    (wg.reshape, (IMAGE,), "newshape", "shape", (9,)),
    (wg.array_split, (IMAGE,), "chunks", "indices_or_sections", 2),
    (nn.Linear, (3,), "features", "out_features", 2),
    (nn.Linear, (3, 2), "use_bias", "bias", False),
    (nn.mse_loss, (IMAGE,), "y_true", "target", IMAGE),
    (nn.mse_loss, (), "predictions", "input", None),
    (nn.cross_entropy, (IMAGE,), "labels", "target", [0, 1, 2]),
    (optim.Adam, ([W],), "b1", "betas", (0.9, 0.999)),
    (optim.Adam, ([W],), "l2", "weight_decay", 0.1),
    (optim.Adam, ([W],), "decay", "weight_decay", 0.1),
    (optim.RMSProp, ([W],), "decay", "alpha", 0.9),
    (optim.RMSProp, ([W],), "rho", "alpha", 0.9),
    (optim.cosine, (0.1,), "T_max", "steps", 100),
    (optim.cosine, (0.1, 100), "eta_min", "end", 0.01),
    (optim.linear, (0.1, 0.0), "transition_steps", "steps", 100),
    (optim.constant, (), "value", "lr", 0.1),
    (wg.random.default_rng(0).normal, (), "mean", "loc", 1.0),
    (wg.random.default_rng(0).normal, (), "std", "scale", 1.0),
    (wg.random.default_rng(0).uniform, (), "maxval", "high", 2.0),
]


@pytest.mark.parametrize(("f", "args", "theirs", "ours", "value"), RENAMED)
def test_renamed_arguments(f, args, theirs, ours, value):
    """The error names the argument that does it."""
    with pytest.raises(wg.ArgumentTypeError, match=f"has no argument '{theirs}'; use {ours}; it t"):
        f(*args, **{theirs: value})
    if value is not None:
        f(*args, **{ours: value})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: wg.load("x", map_location="cpu"),
            "load: .*everything is on the CPU: leave it out",
        ),
        (lambda: wg.load("x", weights_only=True), "load: .*nothing to run: leave it out"),
        (lambda: wg.transpose(X, dim0=0, dim1=1), r"use wg\.swapaxes\(x, axis1, axis2\)"),
        (lambda: wg.sum(X, where=X > 0), r"choose before by wg\.where\(mask, x, 0\)"),
        (lambda: wg.reshape(X, (3, 2), order="F"), "row by row: transpose before, or leave it out"),
        (lambda: wg.vmap(f, axis_name="b"), "sums over the axis come after vmap: leave it out"),
        (lambda: wg.grad(f, holomorphic=True), "there are no complex numbers: leave it out"),
        (lambda: wg.checkpoint(f, preserve_rng_state=True), "runs once, and draws once: leave it"),
        (
            lambda: optim.clip_grad_norm([W], clip_value=1.0),
            r"write p\.grad = p\.grad\.clip\(-c, c\)",
        ),
        (lambda: W.numpy(force=True), r"write x\.detach\(\)\.numpy\(\)"),
    ],
)
def test_arguments_without_a_name_here(call, says):
    with pytest.raises(wg.ArgumentTypeError, match=says):
        call()


def test_groups_hold_notes_of_the_user():
    group = optim.Adam([W]).param_groups[0]
    for note in ("key", "order", "mean", "options", "layer"):
        group[note] = 1
    with pytest.raises(wg.ArgumentError, match=r"no option 'b1'; use betas$"):
        group["b1"] = 0.9
