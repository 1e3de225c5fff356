"""What the errors of names of PyTorch, JAX and NumPy say to use: it runs, and does the same."""

import ast
import functools

import numpy
import pytest
import wengert as wg
from wengert import nn, optim, other_layers, other_names

# What PyTorch's functions give for the values below.
FORMULAS = {
    "celu": [-1.1046, -0.23028, 0.5, 3.5],
    "gaussian_nll_loss": [3.14204],
    "glu": [-1.24492, -0.24267],
    "hardshrink": [-2.0, 0.0, 0.5, 3.5],
    "hardsigmoid": [0.16667, 0.45833, 0.58333, 1.0],
    "hardswish": [-0.33333, -0.11458, 0.29167, 3.5],
    "hinge_embedding_loss": [-0.0625],
    "margin_ranking_loss": [1.625],
    "pairwise_distance": [5.48293],
    "poisson_nll_loss": [5.48208],
    "prelu": [-0.5, -0.0625, 0.5, 3.5],
    "soft_margin_loss": [1.67667],
    "softshrink": [-1.7, -0.0, 0.2, 3.2],
    "softsign": [-0.66667, -0.2, 0.33333, 0.77778],
    "tanhshrink": [-1.03597, -0.00508, 0.03788, 2.50182],
    "threshold": [7.0, 7.0, 0.5, 3.5],
    "triplet_margin_loss": [3.27162],
}


@pytest.mark.parametrize("name", other_layers._FORMULAS)
def test_formulas(name):
    x, y = wg.tensor([[-2.0, -0.25, 0.5, 3.5]]), wg.tensor([[1.0, -1.0, 1.0, -1.0]])
    v = wg.tensor([[0.5, 1.0, 2.0, 4.0]])
    known = {"wg": wg, "x": x, "y": y, "x1": x, "x2": v, "margin": 1.0, "alpha": 1.5, "lambd": 0.3}
    known |= {"threshold": 0.3, "value": 7.0, "weight": 0.25, "var": v, "a": x, "p": y, "n": v}
    known |= {"distance": lambda a, b: wg.linalg.vector_norm(a - b, axis=-1)}
    if name == "poisson_nll_loss":
        known["y"] = v
    if name == "glu":
        known["a"], known["b"] = wg.split(x, 2, axis=-1)
    formula = other_layers._FORMULAS[name].partition(", where")[0]
    found = wg.asarray(eval(formula, known)).ravel().tolist()
    assert found == pytest.approx(FORMULAS[name], abs=1e-5)


def values(dtype):
    x, model = wg.asarray([[0, 1], [1, 0]], dtype=dtype), nn.Linear(2, 2)
    return {
        **{"wg": wg, "numpy": numpy, "functools": functools, "f": wg.sum},
        **dict.fromkeys(["x", "y", "a", "b", "c", "values", "data"], x),
        **{"n": 2, "axis": 0, "axis1": 0, "axis2": 1, "source": 0, "destination": 1, "sections": 2},
        **{"min": 0.0, "max": 1.0, "margin": 1.0, "value": 1.0, "weight": 0.5, "repeats": 2},
        **{"i": 0, "start": 0, "stop": 1, "low": 0, "high": 2, "seed": 0, "bins": 3, "shape": (4,)},
        **{
            "sizes": (4,),
            "size": (2, 2),
            "p": 0.5,
            "dtype": wg.float64,
            "mask": x > 0,
            "arrays": [x, x],
        },
        **{"index": wg.tensor([[0, 1], [1, 0]]), "tree": {"a": x}, "leaves": [x], "reps": 2},
        **{"structure": wg.tree.flatten({"a": x})[1], "loss": nn.Parameter([1.0]).sum()},
        **{"state": wg.random.default_generator().get_state(), "module": model, "replace": True},
        **{"optimizer": optim.SGD(model.parameters()), "max_norm": 1.0, "name": ""},
    }


OF_OTHER_SHAPES = [
    "bilinear",
    "cross",
    "dsplit",
    "embedding_bag",
    "is_nonzero",
    "multinomial",
    "squeeze_",
]


def works(code, known):
    try:
        eval(code, known)
    except wg.Error:
        return False
    return True


def test_remedies_run():
    """All that are expressions of the values above, on floats or on integers."""
    state, run = wg.random.default_generator().get_state(), 0
    for place in ("wengert", "wengert.Tensor", "wengert.nn.functional", "wengert.optim.Optimizer"):
        for name, remedy in other_names._NAMES[place].items():
            try:
                parsed = ast.parse(remedy.partition(", a view")[0], mode="eval")
            except SyntaxError:
                continue
            known = values("float32"), values("int64")
            names = {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)}
            if "..." in remedy or not names <= {*known[0], "list", "len", "abs", "bool"}:
                continue
            if name in OF_OTHER_SHAPES:
                continue
            code = compile(parsed, name, "eval")
            assert works(code, known[0]) or works(code, known[1]), (place, name, remedy)
            run += 1
    wg.random.default_generator().set_state(state)
    assert run > 250


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("wg.Linear", "module 'wengert' has no attribute 'Linear'; use wg.nn.Linear"),
        ("wg.Adam", "; use wg.optim.Adam"),
        ("wg.vector_norm", "; use wg.linalg.vector_norm"),
        ("wg.default_rng", "; use wg.random.default_rng"),
        ("wg.nn.vmap", "module 'wengert.nn' has no attribute 'vmap'; use wg.vmap"),
        ("wg.nn.functional.exp", "; use wg.exp"),
        ("wg.optim.mse_loss", "; use wg.nn.mse_loss"),
        ("wg.nn.check_grads", "; use wg.check_grads"),
        ("wg.exp_", "; did you mean 'exp'?"),
    ],
)
def test_names_that_are_elsewhere(line, says):
    with pytest.raises(wg.MissingNameError) as caught:
        eval(line, {"wg": wg})
    assert str(caught.value).endswith(says)


def test_imports_of_names_that_are_elsewhere():
    with pytest.raises(ImportError, match=r"^cannot import name 'Linear' .*; use wg\.nn\.Linear$"):
        exec("from wengert import Linear")


def test_changes_in_place():
    x = wg.tensor([1.0, 4.0])
    with pytest.raises(wg.MissingNameError, match=r"use wg\.sqrt\(x\), or x\.assign\(wg\.sqrt\(x"):
        x.sqrt_()
    x.assign(wg.sqrt(x))
    assert x.tolist() == [1.0, 2.0]
    p = nn.Parameter([1.0, 4.0])
    with wg.no_grad():
        p.assign(wg.sqrt(p))
    assert p.tolist() == [1.0, 2.0] and p.requires_grad


def test_settings_of_optimisers_are_found():
    optimizer = optim.Adam([nn.Parameter([1.0])])
    assert optimizer.param_groups[0]["lr"] == 1e-3 and "defaults" not in dir(optimizer)
    optimizer.param_groups[0]["lr"] = 0.5
    assert optimizer.param_groups[0]["lr"] == 0.5 and not hasattr(optimizer, "state")


def test_a_compiled_model_leaves_its_parameters_to_the_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    compiled, x = wg.compile(model), wg.ones((3, 2))
    for name in ("parameters", "state_dict", "train", "eval"):
        says = rf"'Compiled' object has no .*'{name}'; use model\.{name} of the model, and compile"
        with pytest.raises(wg.MissingNameError, match=says):
            getattr(compiled, name)
    with pytest.raises(wg.ArgumentTypeError, match=r"^SGD: .*got a Compiled"):
        optim.SGD(compiled)
    model.eval()  # which the compiled function follows
    expected = model(x)
    assert wg.allclose(compiled(x), expected)
    with wg.no_grad():
        model[0].weight.assign(0)
    assert compiled(x).tolist() == [model[0].bias.tolist()] * 3
