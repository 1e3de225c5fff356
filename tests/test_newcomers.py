"""Calls that people used to PyTorch, JAX or NumPy try first: each says what happened, and what to
do."""

import inspect
import pickle
import re
import warnings

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim, other_names

X = wg.ones((3, 4))


def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


CALLS = {
    # arguments by other names
    "concat dim": (lambda: wg.concat([X, X], dim=1), r"concat: .* takes \*arrays, axis$"),
    "softmax axis": (lambda: nn.softmax(X, axis=0), "softmax: has no .*; it takes input, dim, dty"),
    "zeros grad": (lambda: wg.zeros(3, requires_grad=True), r"call \.requires_grad_\(\) on the re"),
    "tensor device": (lambda: wg.tensor([1.0], device="cpu"), "tensor: .*'device'; .*leave it out"),
    "tensor nothing": (lambda: wg.tensor(), "tensor: .*missing; it takes data, dtype, requires_g"),
    "ones sizes": (lambda: wg.ones(2, 3), "ones: takes 1 positional .*; it takes shape, dtype"),
    "draw shape": (lambda: wg.random.default_rng(0).random(shape=3), "it takes size, dtype"),
    "Linear device": (lambda: nn.Linear(3, 2, device="cpu"), "Linear: has no argument 'device'"),
    "LSTM device": (lambda: nn.LSTM(3, 2, device="cpu"), "LSTM: .*'device'; everything is on th"),
    "GRU": (lambda: nn.GRU(3), "GRU: missing 1 required .*'hidden_size'; it takes input_size, hid"),
    "loss average": (lambda: nn.MSELoss(size_average=True), "MSELoss: .*; use reduction; it tak"),
    "Embedding": (lambda: nn.Embedding(3, 4, sparse=True), "Embedding: has no argument 'sparse'"),
    "Linear dtype": (lambda: nn.Linear(3, dtype="half"), "dtype: 'half' is not supported; use"),
    "Linear int": (lambda: nn.Linear(3, 2, dtype="int64"), "floating-point.*int64"),
    "Adam fused": (lambda: optim.Adam([X], fused=True), "Adam: has no argument 'fused'; a step is"),
    "Adam beta1": (lambda: optim.Adam([X], beta1=0.9), "Adam: has no .*; it takes params, lr, bet"),
    "Adam none": (lambda: optim.Adam(), "Adam: missing 1 required positional argument: 'params'"),
    # optimisers
    "model": (lambda: optim.SGD(model()), r"model\.parameters\(\); got a Sequential"),
    "layer": (lambda: optim.SGD(nn.Linear(2, 2)), r"model\.parameters\(\); got a Linear"),
    "state": (lambda: optim.SGD(model().state_dict()), r"model\.parameters\(\); got a dict"),
    "rate first": (lambda: optim.SGD(0.1, model().parameters()), "iterable.*; got a float"),
    "models": (lambda: optim.SGD([model()]), r"got a Sequential\. Use model\.parameters\(\)"),
    # models
    "call": (
        lambda: wg.functional_call(model(), list(model().parameters()), X),
        r"takes a dict of names to tensors, such as .*; got a list",
    ),
    "number": (
        lambda: setattr(nn.Linear(2, 2), "weight", 3),
        "'weight' is a Parameter and the new value a int; set its values with .assign",
    ),
    "list": (lambda: nn.Sequential([nn.ReLU()]), r"got a list\. .*Sequential\(\*modules\)"),
    "class": (lambda: nn.Sequential(nn.ReLU), r"got the class ReLU\. Make one: ReLU\(\.\.\.\)"),
    "function": (lambda: nn.Sequential(nn.relu), "got a function. Wrap functions in a Module"),
    # targets
    "float classes": (
        lambda: nn.cross_entropy(X, wg.tensor([0.0, 1.0, 2.0])),
        r"^cross_entropy: class indices must be integers; got float32\. .*astype\(wg\.int64\)",
    ),
    "weighted": (
        lambda: nn.cross_entropy(X, wg.tensor([True, False, True]), wg.ones(4)),
        r"^cross_entropy: class indices must be integers; got bool\.",
    ),
    "nll": (lambda: nn.nll_loss(X, wg.ones(3)), r"^nll_loss: class indices .*; got float32\. Conv"),
    "one-hot": (
        lambda: nn.cross_entropy(X, nn.one_hot(wg.tensor([0, 1, 2]), 4)),
        r"^cross_entropy: class probabilities must be floats; got int64\. .*astype",
    ),
    "swapped": (lambda: nn.cross_entropy(wg.tensor([0, 1, 2]), X), "The input comes first, then"),
    "embedding": (
        lambda: nn.Embedding(3, 4)(wg.tensor([0.0, 1.0])),
        r"^embedding: indices must be integers; got float32\. .*; weight is \(3, 4\)",
    ),
    "embedding row": (
        lambda: nn.Embedding(3, 4)(wg.tensor([5])),
        r"^embedding: index 5 is out of range .*; weight is \(3, 4\)",
    ),
    "weights": (
        lambda: nn.cross_entropy(X, wg.tensor([0, 1, 2]), wg.ones(3)),
        r"^cross_entropy: 'weight' must be \(4,\), one number a class; got \(3,\)",
    ),
    "soft weights": (
        lambda: nn.cross_entropy(X, X, wg.ones(3)),
        r"^cross_entropy: 'weight' must be \(4,\), one number a class; got \(3,\)",
    ),
    "nll weights": (
        lambda: nn.nll_loss(X, wg.tensor([0, 1, 2]), "mean"),
        r"^nll_loss: 'weight': cannot make a tensor of a str; got 'mean'",
    ),
    # the function that was called is named, not the operations that it is made of
    "mse none": (lambda: nn.mse_loss(X, None), "^mse_loss: takes tensors, .*; got None"),
    "mse shapes": (lambda: nn.mse_loss(X, [1, 2]), r"^mse_loss: shapes .*\(3, 4\) and \(2,\)"),
    "reduction": (lambda: nn.mse_loss(X, X, reduction="avg"), "^mse_loss: reduction must be"),
    "integers": (lambda: wg.random.default_rng(0).integers(0), "^integers: low"),
    "logits": (
        lambda: nn.cross_entropy(X, wg.tensor([0, 1])),
        r"^cross_entropy: needs logits \(N, C\) and targets \(N,\); got \(3, 4\) and \(2,\)$",
    ),
    "logits none": (lambda: nn.cross_entropy(None, [0]), "^cross_entropy: cannot make a tensor of"),
    "clip": (lambda: nn.hardtanh(None), "^hardtanh: takes tensors"),
    "one_hot": (lambda: nn.one_hot(None), "^one_hot: 'tensor': cannot make a tensor of a NoneType"),
    "gumbel": (lambda: nn.gumbel_softmax(wg.tensor(1.0)), "^gumbel_softmax: axis -1 is out of"),
    "clip norm": (lambda: optim.clip_grad_norm(None, 1.0), "^clip_grad_norm: takes an iterable"),
    "group": (
        lambda: optim.Adam([X]).param_groups[0].__setitem__("learning_rate", 1.0),
        "^param_groups: there is no option 'learning_rate'; use lr$",
    ),
    "group typo": (
        lambda: optim.Adam([X]).param_groups[0].update(weight_decy=0.1),
        "^param_groups: there is no option 'weight_decy'; use weight_decay$",
    ),
    "one parameter": (lambda: optim.SGD(X), "^SGD: takes an iterable"),
    "warmup": (lambda: optim.warmup(3, None), "^warmup: 'after' takes a number; got None"),
    # recording
    "integer leaf": (
        lambda: wg.tensor([1, 2], requires_grad=True),
        r"got int64\. Write 1\.0 for 1, or give dtype=wg\.float32",
    ),
    "integer parameter": (lambda: nn.Parameter([1, 2]), r"Write 1\.0 for 1, or .*astype"),
    "no history": (lambda: X.sum().backward(), r"requires_grad=True\), and compute outside wg\.no"),
    "requires": (
        lambda: wg.ones(2).requires_grad_("yes"),
        "^requires_grad_: 'requires_grad' takes a bool; got 'y",
    ),
    "mode": (
        lambda: wg.debug_nans(True),
        r"debug_nans: .*got True\. Use: with wg\.debug_nans",
    ),
    # what is no module or no tensor
    "no modules": (lambda: nn.ModuleList(3), "^ModuleList: takes modules in a list; got a int"),
    "one module": (lambda: nn.ModuleList(nn.ReLU()), "^ModuleList: .*in a list; got a ReLU"),
    "call nothing": (
        lambda: wg.functional_call(None, {}, X),
        "^functional_call: takes modules; got",
    ),
    "child by name": (lambda: model()["0"], "^Sequential: 'index' takes an int; got '0'"),
    "whole module": (lambda: model().astype("int64"), "^astype: parameters are floats; got int64"),
    "LSTM input": (lambda: nn.LSTM(4, 3)(None), "^LSTM: 'input': cannot make a tensor of a NoneT"),
    "LSTM start": (lambda: nn.LSTM(4, 3)(X, "a"), "^LSTM: 'hx': cannot make a tensor of a str"),
    "batch norm": (lambda: nn.BatchNorm1d(4)(None), "^BatchNorm1d: 'input': cannot make a tensor"),
    "attention": (
        lambda: nn.MultiHeadAttention(4, 2)(X, X, X, attn_mask="a"),
        "^MultiHeadAttention: 'attn_mask': cannot make a tensor of a str",
    ),
    "layer norm": (lambda: nn.LayerNorm(4)(None), "^layer_norm: 'input': cannot make a tensor"),
    "dropout": (lambda: nn.Dropout()("a"), "^dropout: 'input': cannot make a tensor of a str"),
    "flatten": (lambda: nn.Flatten()(None), "^Flatten: 'input': cannot make a tensor of a NoneT"),
    "parts": (lambda: wg.array_split(X, 10**9), "^array_split: 1000000000 parts of 3 elements are"),
    "more parts": (
        lambda: wg.array_split(X, 10**30),
        "^array_split: 'indices_or_sections' is below",
    ),
    # making tensors
    "range": (lambda: wg.tensor(range(3)), r"got range\(0, 3\)\. Make a list of it first"),
    "stacked": (lambda: wg.stack(X for _ in range(2)), "got <generator .*Put them in a list"),
    "two": (lambda: wg.max(X, X), "^max: 'axis' takes an int or a sequence of ints; got tensor"),
    "gpu": (lambda: X.to("cuda:0"), "^to: everything is on the CPU; got 'cuda:0'. Leave it out"),
    "shuffle": (lambda: wg.random.default_rng(0).shuffle([1, 2]), "got a list. .* use permutation"),
    # changes in place
    "init": (
        lambda: nn.init.zeros_(wg.ones(2).requires_grad_() * 2),
        r"^zeros_: only leaves .* by 'multiply'\. Give the parameter itself, .*x\.detach\(\)",
    ),
    "shuffle result": (
        lambda: wg.random.default_rng(0).shuffle(wg.ones(2).requires_grad_() * 2),
        r"^shuffle: only leaves .* by 'multiply'\. For a shuffled copy use permutation",
    ),
    "result": (
        lambda: optim.SGD([wg.ones(2).requires_grad_() * 2]),
        r"^SGD: parameters are leaves; .*: x\.detach\(\)\.requires_grad_\(\)",
    ),
    "flag of a result": (
        lambda: (wg.ones(2).requires_grad_() * 2).requires_grad_(False),
        "^requires_grad_: can be set on leaves only",
    ),
    # transforms
    "parameters": (
        lambda: wg.grad(lambda p: 1.0)(model().parameters()),
        "got <generator .*Give a dict or a list",
    ),
    "pair": (lambda: wg.grad(lambda x: (x, x))(1.0), "f returned 2 values. With has_aux=True"),
    "nothing": (lambda: wg.grad(lambda x: None)(1.0), "f returned no number. Return the value"),
    "value and pair": (
        lambda: wg.value_and_grad(lambda x: (x, x))(1.0),
        "^value_and_grad: .*f returned 2 values",
    ),
    "no function": (lambda: wg.value_and_grad(None), "^value_and_grad: takes a function; got None"),
    "Hessian": (lambda: wg.hessian(lambda x: x * x)(X), r"^hessian: .*output has shape \(3, 4\)"),
    "hvp": (lambda: wg.hvp(lambda x: x * x, (X,), (X,)), r"^hvp: .*the output has shape \(3, 4\)"),
    "vmap number": (lambda: wg.vmap(lambda x: x)(1.0), r"shape \(\); .* give None"),
    "vmap sizes": (
        lambda: wg.vmap(lambda x, y: x + y)(wg.ones(3), wg.ones(4)),
        r"got \[3, 4\]\. .* give None in in_axes",
    ),
    "vmap axes": (
        lambda: wg.vmap(lambda x, y: x + y, in_axes=(0,))(X, X),
        "got 1 axes for 2 values; give one each, or a single int",
    ),
    "ragged": (
        lambda: wg.tensor([[1.0, 2.0], [3.0]]),
        "nested sequences must hold numbers, as",
    ),
    "int": (lambda: wg.grad(lambda x: x * x)(3), r"grad: .*; got int64\. Write 3\.0, or leave it"),
    "matrix": (lambda: wg.trace(X), r"(?s)trace: takes a function; got .* is wg\.linalg\.trace$"),
    "huge": (
        lambda: wg.tensor([1.0, 10**30]),
        r"integers among them that int64 .*floats for larger",
    ),
    "texts": (
        lambda: wg.tensor([1, "a"]),
        r"^tensor: a sequence holds real numbers; got text in \[1, 'a'\]",
    ),
    "complex": (lambda: wg.tensor([1j, 2.0]), r"got complex ones in \[1j, 2\.0\]\. Keep real and"),
    "int in a tree": (
        lambda: wg.grad(lambda p: p["a"] * p["n"])({"a": 1.0, "n": 3}),
        r"grad: argument 0\['n'\] must .* int64\. Write 3\.0, or leave .* as another argument$",
    ),
    "nothing in it": (lambda: wg.asarray([1, None]), r"^asarray: a sequence holds .* \[1, None\]"),
    # compiled functions
    "while": (
        lambda: wg.compile(lambda x: [x := x + 1 for _ in iter(lambda: bool(x > 3), True)])(0.0),
        r"bool: .*wg\.where, wg\.cond or wg\.while_loop",
    ),
    "logging": (
        lambda: wg.compile(lambda x: (x.sum().item(), x)[1])(X),
        "item: .*return it and read it outside",
    ),
    "in place": (
        lambda: wg.compile(lambda x: x.__setitem__(0, 1.0))(X),
        "index assignment: a traced value does not change in place, at .*make a new one",
    ),
    "static by name": (
        lambda: wg.compile(lambda x, mode: x, static_argnums=1)(X, mode="a"),
        r"got 'a'\. Pass it by position, as an argument of its own, and name that position in",
    ),
    "static list": (
        lambda: wg.compile(lambda x, n: x, static_argnums=1)(X, [1]),
        r"must be hashable, such as .*; got \[1\] at position 1",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    call, says = CALLS[name]
    with pytest.raises(wg.Error, match=says):
        call()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.HuberLoss(delta=0), "HuberLoss: 'delta' must be positive; got 0"),
        (lambda: nn.SmoothL1Loss(beta=-1), "SmoothL1Loss: 'beta' must not be negative; got -1"),
        (
            lambda: nn.MSELoss(reduction="batchmean"),
            "MSELoss: 'reduction' must be 'mean', 'sum' or",
        ),
        (lambda: nn.KLDivLoss(reduction="avg"), "KLDivLoss: .* 'none' or 'batchmean'; got 'avg'"),
        (lambda: nn.KLDivLoss(log_target=np.ones(2)), "KLDivLoss: 'log_target' takes True or"),
        (
            lambda: nn.kl_div(X, X, log_target=np.ones(2)),
            "kl_div: 'log_target' takes True or False; got array",
        ),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2),
            "CrossEntropyLoss: 'label_smoothing' must be between 0 and 1; got 2",
        ),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=wg.ones(2)),
            r"CrossEntropyLoss: 'label_smoothing' takes one number; got shape \(2,\)",
        ),
        (
            lambda: nn.CrossEntropyLoss(2.0),
            r"CrossEntropyLoss: 'weight' must be \(C,\), .*got \(\)",
        ),
        (lambda: nn.CrossEntropyLoss("a"), "CrossEntropyLoss: 'weight': cannot make a tensor of a"),
        (lambda: nn.NLLLoss(X), r"NLLLoss: 'weight' must be \(C,\), .*; got \(3, 4\)"),
        (lambda: nn.NLLLoss(ignore_index=0.5), "NLLLoss: 'ignore_index' takes an int; got 0.5"),
        (lambda: nn.LeakyReLU(None), "LeakyReLU: 'negative_slope' takes a number; got None"),
        (lambda: nn.ELU("a"), "ELU: 'alpha' takes a number; got 'a'"),
        (lambda: nn.Softplus(beta=[1]), r"Softplus: 'beta' takes a number; got \[1\]"),
        (lambda: nn.Softplus(1, 1j), "Softplus: 'threshold' takes a number; got 1j"),
        (lambda: nn.Softmax(0.5), "Softmax: 'dim' takes an int; got 0.5"),
        (lambda: nn.LogSoftmax((0, 1)), r"LogSoftmax: 'dim' takes an int; got \(0, 1\)"),
        (lambda: nn.LayerNorm(()), "LayerNorm: 'normalized_shape' needs at least 1 axis"),
        (lambda: nn.Dropout(0.5, generator=1), "Dropout: 'generator' takes a generator, .*; got 1"),
        (lambda: nn.Flatten(2, 1), "Flatten: 'start_dim' lies behind 'end_dim'; got 2 and 1"),
        (lambda: optim.SGD([X], dampening=[0.1]), r"SGD: 'dampening' takes a number; got \(0.1,\)"),
        (lambda: optim.linear(wg.ones(2), 0.1, 3), r"linear: 'start' takes one number; got shape"),
    ],
)
def test_what_a_call_would_refuse_is_refused_before(make, says):
    with pytest.raises(wg.Error, match="^" + says):
        make()


def test_constructors_take_what_calls_take():
    slope = nn.Parameter([0.1] * 4)
    nn.LeakyReLU(slope)(-X).sum().backward()
    assert slope.grad.tolist() == [-3.0] * 4
    assert nn.HuberLoss(delta=wg.tensor(2))(X, X).item() == 0.0
    assert nn.KLDivLoss(reduction="batchmean")(X, X).shape == ()
    assert nn.Flatten(1, -2)(wg.ones((2, 3, 4))).shape == (2, 3, 4)
    with pytest.raises(wg.ShapeError, match=r"^mse_loss: shapes \(3, 4\) and \(2,\)"):
        nn.MSELoss()(X, [1, 2])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: optim.SGD(p, momentum=wg.tensor(0.9)), "momentum"),
        (lambda p: optim.SGD(p, weight_decay=wg.tensor(0.9)), "weight_decay"),
        (lambda p: optim.Adam(p, betas=(wg.tensor(0.9), 0.99)), "betas"),
        (lambda p: optim.RMSProp(p, centered=wg.tensor(True)), "centered"),
    ],
)
def test_options_that_a_compiled_step_cannot_take(make, name):
    p = wg.tensor([1.0], requires_grad=True)
    optimizer = make([p])

    def step():
        (p * p).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    says = f"'{name}' takes a Python number, and only 'lr' may be a tensor.*param_groups"
    with pytest.raises(wg.TraceError, match=says):
        wg.compile(step)()
    assert p.tolist() == [1.0] and optimizer.steps == 0
    step()  # not compiled it may be a tensor
    assert p.tolist() != [1.0]


def test_lists_are_inputs_too():
    rows = [[1.0, 3.0], [2.0, 6.0]]
    x = wg.tensor(rows)
    for f in (nn.LayerNorm(2), nn.RMSNorm(2), nn.Dropout().eval(), nn.Flatten(), nn.BatchNorm1d(2)):
        assert f(rows).tolist() == f(x).tolist()
    assert [p.tolist() for p in wg.array_split(rows, np.int64(2))] == [[rows[0]], [rows[1]]]


def test_a_generator_gives_its_parameters_once():
    parameters = model().parameters()
    list(parameters)
    with pytest.raises(wg.ArgumentError, match=r"got no parameters; a generator, such as model"):
        optim.SGD(parameters)
    assert len(optim.SGD(model().parameters()).param_groups[0]["params"]) == 4


def test_constructors_keep_their_signatures():
    assert list(inspect.signature(nn.Linear).parameters) == [
        "in_features",
        "out_features",
        "bias",
        "dtype",
    ]

    class Mine(nn.Linear):
        def __init__(self, size):
            super().__init__(size, size, shape=3)

    with pytest.raises(wg.ArgumentTypeError, match="Mine: has no argument 'shape'; it takes in_fe"):
        Mine(3)
    assert repr(pickle.loads(pickle.dumps(model()))) == repr(model())


OBJECTS = {
    "wengert.indexing.Place": lambda: X.at[0],
    "wengert.Tensor": lambda: X,
    "wengert.optim.Optimizer": lambda: optim.Optimizer([X], {"lr": 0.1}),
    "wengert.compiler.Compiled": lambda: wg.compile(lambda x: x),
    "wengert.random.Generator": lambda: wg.random.default_rng(0),
    "wengert.primitives.Primitive": lambda: wg.primitive(lambda x: x),
}


@pytest.mark.parametrize("place", other_names._NAMES)
def test_names_of_others(place):
    """Names that do not exist raise with those that do the same, which exist."""
    home, owner = eval(place, {"wengert": wg}), f"module '{place}'"
    if isinstance(home, type):
        owner, home = f"'{home.__name__}' object", OBJECTS.get(place, home)()
    for name, remedy in other_names._NAMES[place].items():
        assert not hasattr(home, name) and name not in dir(home)
        with pytest.raises(wg.Error) as caught:
            getattr(home, name)
        assert isinstance(caught.value, AttributeError)
        assert str(caught.value) == f"{owner} has no attribute '{name}'; use {remedy}"
        for found in re.findall(r"(?:wg|\bx|\bmodule)(?:\.\w+)+", remedy):
            eval(found, {"wg": wg, "x": X, "module": nn.Module()})
    with pytest.raises(AttributeError, match=r"^[^;]* has no attribute 'nothing'$"):
        home.nothing  # noqa: B018


def test_names_of_others_are_free_for_subclasses():
    class Mine(nn.Module):
        def __init__(self):
            self.type = "mine"

        def half(self):
            return self.type

    assert Mine().half() == "mine" and {"half", "type"} < set(dir(Mine()))
    assert nn.Sequential({"half": nn.ReLU()}).half(X) is not None
    with pytest.raises(
        wg.MissingNameError, match=r"^'Sequential' object .*'cuda'; use it as it is: "
    ):
        model().cuda()
    with pytest.raises(wg.MissingNameError, match=r"^'Parameter' object .*'numel'; use x\.size$"):
        nn.Parameter([1.0]).numel()


def lines_of_warnings(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [(warning.filename, str(warning.message)) for warning in caught]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.mse_loss(wg.ones((3, 1)), wg.ones(3)), "they broadcast"),
        (lambda: nn.MSELoss()(wg.ones((3, 1)), wg.ones(3)), "they broadcast"),
        (lambda: nn.softmax(wg.ones(3)), "choose the axis"),
        (lambda: nn.Sequential(nn.Softmax())(wg.ones(3)), "choose the axis"),
        (lambda: wg.grad(lambda x: np.sum(x.detach().numpy()))(np.ones(3)), "returned a float64"),
        (lambda: wg.value_and_grad(lambda x: x.item() ** 2)(2.0), "returned a float, not a tensor"),
        (
            lambda: wg.grad(lambda x: (x > 0).sum())(X),
            "returned a tensor of int64, which changes in",
        ),
        (lambda: wg.value_and_grad(lambda x: wg.argmax(x))(X), "the gradient is 0. Return floats"),
        (lambda: wg.grad(lambda x: wg.tensor(x).sum())(X), "constant: no derivative leads to"),
        (
            lambda: wg.tensor(nn.Parameter([1.0])),
            "Use x.copy() to keep the derivative, or wg.tensor(",
        ),
        (lambda: wg.tensor(nn.Parameter([1.0]) * 2, requires_grad=True), "no derivative leads to"),
        (lambda: wg.jvp(lambda x: wg.tensor(x), (X,), (X,)), "no derivative leads to the one it"),
        (lambda: wg.compile(wg.grad(lambda x: wg.tensor(x).sum()))(X), "no derivative leads to"),
    ],
)
def test_warnings_are_at_the_line_of_the_user(call, says):
    ((place, message),) = lines_of_warnings(call)
    assert place == __file__ and says in message


def test_run_on_the_rows_of_one_batch_warns_once():
    rate = wg.compile(lambda x, y: (x * 2.0).sum() + y.sum())
    rate(X, wg.ones(3))
    rate.run(X, wg.ones(3), steps=2)
    ((place, message),) = lines_of_warnings(lambda: rate.run(X, wg.ones(3)))
    assert place == __file__
    assert "3 steps takes one row of every argument, such as (4,) of (3, 4)" in message
    assert "run(..., steps=n)" in message
    assert lines_of_warnings(lambda: rate.run(X, wg.ones(3))) == []
    batches = wg.ones((2, 3, 4)), wg.ones((2, 3))
    assert lines_of_warnings(lambda: rate.run(*batches)) == []
    with pytest.raises(wg.ShapeError, match=r"steps=n\)\. Batches lie along .*: \(steps, batch, "):
        rate.run(X, wg.ones(4))


def test_no_warning_where_a_tensor_is_returned():
    for f in (lambda x: x * 2, lambda x: wg.tensor(3.0), lambda x: {"loss": x * x}):
        assert lines_of_warnings(lambda: wg.grad(f)(2.0)) == []
    assert lines_of_warnings(lambda: wg.grad(lambda x: (x, "aux"), has_aux=True)(2.0)) == []


def test_no_warning_where_no_derivative_is_lost():
    p = nn.Parameter([1.0, 2.0])
    for call in (
        lambda: wg.tensor(p.detach()),
        lambda: wg.tensor(p, requires_grad=True),
        lambda: wg.tensor([p, p]),
        lambda: wg.no_grad(wg.tensor)(p),
        lambda: wg.compile(lambda x: wg.tensor(x) * 2)(X),
    ):
        assert lines_of_warnings(call) == []


def test_shapes_that_do_not_broadcast_raise_without_a_warning():
    def refused():
        for loss in (nn.mse_loss, nn.l1_loss, nn.huber_loss):
            with pytest.raises(wg.ShapeError, match=r"shapes \(3, 4\) and \(2,\) do not broadcast"):
                loss(X, wg.ones(2))

    assert lines_of_warnings(refused) == []


def test_arguments_of_functional_call_in_a_tuple():
    """PyTorch takes the arguments in a tuple."""

    class Both(nn.Module):
        def forward(self, x, y):
            return x + 2 * y

    class Pair(nn.Module):
        def forward(self, pair):
            return pair[0] + 2 * pair[1]

    layer = nn.Linear(4, 3)
    params = dict(layer.named_parameters())
    expected = layer(X)
    assert expected.shape == (3, 3)
    for args in [(X,), ((X,),)]:
        assert wg.array_equal(wg.functional_call(layer, params, *args), expected)
    for args in [(X, X), ((X, X),)]:
        assert wg.functional_call(Both(), {}, *args).shape == (3, 4)
    assert wg.functional_call(Pair(), {}, (X, X)).shape == (3, 4)


def test_modes_decorate_without_parentheses():
    @wg.no_grad
    def f(x):
        return x * x

    w = wg.tensor(2.0, requires_grad=True)
    assert not f(w).requires_grad and wg.is_grad_enabled()
    assert f.__name__ == "f"
    with wg.no_grad():
        assert wg.enable_grad(lambda: w * w)().requires_grad


@pytest.mark.parametrize("rate", ["a", float("nan"), -0.5])
def test_what_a_schedule_returns_is_checked(rate):
    p = wg.tensor([1.0], requires_grad=True)
    p.grad = wg.tensor([1.0])
    optimizer = optim.SGD([p], lr=lambda step: rate)
    with pytest.raises(wg.Error, match="SGD: 'lr' "):
        optimizer.step()
    assert p.tolist() == [1.0] and optimizer.steps == 0


def test_objects_that_cannot_be_read_say_why_in_one_line():
    class Locked:
        def __array__(self, *args, **kwargs):
            raise ValueError("locked")

    with pytest.raises(wg.ArgumentError) as caught:
        wg.tensor(Locked())
    assert str(caught.value) == "tensor: cannot read a Locked as an array: locked"


class Overridden(nn.LayerNorm):
    def __init__(self, error):
        self.__dict__["error"] = error
        super().__init__(3)

    def reset_parameters(self):
        raise self.error


def broken_parameters(error):
    yield wg.ones(3)
    if type(error) is IndexError:
        np.broadcast_shapes(3, error)  # raises a TypeError within NumPy
    raise error


@pytest.mark.parametrize("kind", [KeyError, IndexError, TypeError, wg.ShapeError])
def test_what_the_users_functions_raise_stays_theirs(kind):
    with pytest.raises(kind) as caught:
        Overridden(kind("mine"))
    assert type(caught.value) is kind and caught.value.args == ("mine",)
    with pytest.raises(Exception) as caught:
        optim.SGD(broken_parameters(kind("mine")))
    assert type(caught.value) is (TypeError if kind is IndexError else kind)
    with pytest.raises(wg.ArgumentTypeError, match=r"^LayerNorm: "):
        nn.LayerNorm(None)


def test_explain_counts_one_and_many():
    one = wg.compile(lambda x: wg.sin(x)).explain(X)
    assert " 1 node " in one and " 1 unit " in one
    many = wg.compile(lambda x: (wg.sin(x) @ wg.ones((4, 2))) @ wg.ones((2, 3))).explain(X)
    assert re.search(r"recorded +[2-9] nodes ", many) and re.search(r"grouped +[2-9] units ", many)
    head = [line[: line.index("flop")] for line in (*one.splitlines(), *many.splitlines())[1:3]]
    assert len({len(line) for line in head}) == 1
