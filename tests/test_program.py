"""What a program shows: text, Graphviz's language, SymPy expressions."""

import re
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
import wengert as wg
from op_rows.row import Case
from op_table import ROWS
from wengert import symbolic
from wengert.examples.symbolic import chapter

OPS = wg._core.ops
X, A, B = sp.symbols("x a b")


def many(x, y):
    """Two outputs, a constant array, attributes, an argument that is an output."""
    z = wg.matmul(x, wg.full((3, 2), 0.5)) + y
    return wg.sum(z, axis=0, keepdims=True), x


def traced():
    return wg.trace(many, wg.ones((4, 3)), wg.ones(2))


def test_one_line_a_node():
    program = traced()
    first, *lines, last = str(program).splitlines()
    assert first == "many(x: float32[4, 3], y: float32[2]):"
    calls = [line for line in lines if "= constant" not in line]
    assert len(calls) == len(program) == len(program.nodes)
    for line, node in zip(calls, program.nodes, strict=True):
        assert re.match(rf"  v\d+ = {node.name}\(.*\) +# {node.dtype}\[", line)
    assert "axis=" in calls[-1] and "keepdims=True" in calls[-1]
    assert re.fullmatch(r"  return v\d+, x", last)


def test_nodes_tell_where_they_were_written():
    lines = {node.source for node in traced().nodes}
    assert all(re.fullmatch(r"(.*/)?test_program\.py:\d+", line) for line in lines)


# Graphviz's grammar, as far as it is used: statements that end in a semicolon, quoted strings.
QUOTED = r'"(?:[^"\\\n]|\\.)*"'
ATTRIBUTES = rf"\[(?:\w+=(?:{QUOTED}|\w+)(?:, )?)+\]"
NODE = re.compile(rf"  (\w+) ({ATTRIBUTES});")
EDGE = re.compile(rf"  (\w+) -> (\w+)( {ATTRIBUTES})?;")
SETTING = re.compile(r"  \w+=\w+;")


def parse(text):
    """The attributes of every node by its identifier, and the edges."""
    first, *lines, last = text.splitlines()
    assert re.fullmatch(rf"digraph {QUOTED} {{", first) and last == "}"
    nodes, edges = {}, []
    for line in lines:
        if edge := EDGE.fullmatch(line):
            edges.append(edge.group(1, 2))
            continue
        if SETTING.fullmatch(line):
            continue
        name, attributes = NODE.fullmatch(line).groups()
        found = dict(re.findall(rf"(\w+)=({QUOTED}|\w+)", attributes))
        if name != "node":
            assert name not in nodes
            nodes[name] = {key: value.strip('"') for key, value in found.items()}
    assert {end for edge in edges for end in edge} <= set(nodes)
    return nodes, edges


def test_dot_draws_every_value_once():
    program = traced()
    nodes, edges = parse(program.to_dot())
    labels = {name: node["label"] for name, node in nodes.items()}
    assert labels["in0"] == r"x\nfloat32 (4, 3)"
    assert labels["in1"] == r"y\nfloat32 (2,)"
    assert labels["out0"] == r"output 0\nfloat32 (1, 2)"
    for i, node in enumerate(program.nodes):
        assert labels[f"op{i}"].startswith(rf"{node.name}\n")
        assert labels[f"op{i}"].endswith(rf"\n{node.dtype} {node.shape}")
        assert [a for a, b in edges if b == f"op{i}"] == [
            home(program, value) for value in node.inputs
        ]
        assert nodes[f"op{i}"]["tooltip"] == node.source
    kinds = ({n["shape"] for name, n in nodes.items() if name.startswith(p)} for p in ("in", "con"))
    assert list(kinds) == [{"ellipse"}, {"note"}]
    assert nodes["out0"]["peripheries"] == "2"
    assert [edge for edge in edges if edge[1].startswith("out")] == [
        (f"op{len(program) - 1}", "out0"),
        ("in0", "out1"),
    ]


def home(program, value):
    places = {v: f"in{i}" for i, v in enumerate(program.inputs)}
    places |= {v: f"const{i}" for i, v in enumerate(program.constants)}
    places |= {v: f"op{i}" for i, node in enumerate(program.nodes) for v in node.outputs}
    return places[value]


def test_dot_quotes_what_names_hold():
    program = wg.trace(lambda p: p['a"\\'] * p["b\n"], {'a"\\': 1.0, "b\n": 2.0})
    nodes, _ = parse(program.to_dot())
    assert '\\"' in nodes["in0"]["label"]


def test_dot_of_no_operation():
    nodes, edges = parse(wg.trace(lambda x: x, 1.0).to_dot())
    assert list(nodes) == ["in0", "out0"]
    assert edges == [("in0", "out0")]


def test_the_chapters_function():
    assert wg.trace(chapter, 1.0, 2.0, 3.0).to_sympy() == A * sp.sin(X) + B * X * sp.sin(X)
    gradient = wg.trace(wg.grad(chapter, argnums=(0, 1, 2)), 1.0, 2.0, 3.0).to_sympy()
    expected = A * sp.cos(X) + B * X * sp.cos(X) + B * sp.sin(X), sp.sin(X), X * sp.sin(X)
    assert [sp.expand(g) for g in gradient] == list(expected)


def test_several_outputs_and_names_of_leaves():
    program = wg.trace(lambda p, y: (p["w"] * y, y), {"w": 1.0}, 2.0)
    w, y = sp.Symbol("p['w']"), sp.Symbol("y")
    assert program.to_sympy() == (w * y, y)


def test_assumptions_are_those_of_the_symbols():
    x = sp.Symbol("x", real=True)
    assert wg.trace(lambda x: wg.sqrt(x * x), 1.0).to_sympy(real=True) == sp.Abs(x)
    assert wg.trace(wg.abs, 1.0).to_sympy(real=True).func == sp.Abs


NUMBERS = {
    3.0: sp.Integer(3),
    -0.5: sp.Rational(-1, 2),
    0.1: sp.Rational(1, 10),
    1 / 3: sp.Rational(1, 3),
    0.001: sp.Rational(1, 1000),
    2.5e30: sp.Float("2.5e30"),
    1e-9: sp.Float("1e-9"),
    float("inf"): sp.oo,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", NUMBERS)
def test_simple_numbers_are_exact(value, dtype):
    x, expected = symbolic.number(sp, dtype(value)), NUMBERS[value]
    assert type(x) is type(expected)
    assert x == expected or abs(x - expected) <= np.finfo(dtype).eps * expected


def test_other_numbers_are_kept():
    assert float(symbolic.number(sp, np.float64(np.pi))) == np.pi
    assert np.float32(float(symbolic.number(sp, np.float32(np.pi)))) == np.float32(np.pi)
    assert symbolic.number(sp, np.float64("nan")) is sp.nan
    assert symbolic.number(sp, np.int64(-7)) == -7
    assert wg.trace(lambda x: x**2 / 4 + 0.75, 1.0).to_sympy() == X**2 / 4 + sp.Rational(3, 4)


STEPS = {"floor", "ceil", "trunc", "round", "remainder", "floor_divide"}
FORMULAS = sorted({*symbolic._formulas(sp).table, "where", "alias", "copy", "stop_gradient"})
SCALAR = [name for name in FORMULAS if not name.startswith("bitwise")]
TRIALS = 3


def scalar_arguments(name, salt):
    row = ROWS[name]
    arrays = row.arrays(Case(((),) * len(row.args), {}), "float64", salt)
    return [wg.tensor(x) for x in arrays]


def program_and_symbols(name, args):
    program = wg.trace(lambda *x: getattr(OPS, name)(*x), *args)
    symbols = [sp.Symbol(f"x[{i}]") for i in range(len(args))]
    return program.to_sympy(), symbols


def at(expression, symbols, args):
    """The value as a float (of a truth value: 0 or 1)."""
    values = [sp.Float(a.item(), 30) if a.dtype != wg.bool else bool(a) for a in args]
    found = sp.sympify(expression).subs(dict(zip(symbols, values, strict=True)))
    return float(bool(found)) if found in (sp.true, sp.false) else float(found.evalf(20))


@pytest.mark.parametrize("name", SCALAR)
def test_expression_has_the_value_of_the_operation(name):
    for salt in range(TRIALS):
        args = scalar_arguments(name, salt)
        expression, symbols = program_and_symbols(name, args)
        wanted = float(ROWS[name].numpy(*[a.numpy() for a in args]))
        assert at(expression, symbols, args) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in SCALAR if name not in STEPS])
def test_expression_has_the_derivative_of_the_operation(name):
    row = wg._core.op_table[name]
    if not row["differentiable"]:
        return
    for salt in range(TRIALS):
        args = scalar_arguments(name, salt)
        expression, symbols = program_and_symbols(name, args)
        for i, a in enumerate(args):
            if a.dtype == wg.bool:
                continue
            ours = wg.grad(lambda *x: getattr(OPS, name)(*x), argnums=i)(*args).item()
            theirs = at(sp.diff(expression, symbols[i]), symbols, args)
            assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in FORMULAS if name.startswith("bitwise")])
def test_bits_of_truth_values(name):
    count = len(ROWS[name].args)
    args = [wg.tensor(True), wg.tensor(False)][:count]
    expression, symbols = program_and_symbols(name, args)
    assert at(expression, symbols, args) == float(getattr(OPS, name)(*args).item())


def test_lambdified_composition():
    def f(x, y):
        inside = (x > 0) & (y < 1)
        z = wg.where(inside, wg.exp(-x) * y, wg.maximum(x, y) ** 2)
        return (z + wg.clip(y, -1.0, 1.0) / 3).astype(wg.float32).sum()

    program = wg.trace(f, np.float64(1.0), np.float64(1.0))
    numeric = sp.lambdify(sp.symbols("x y"), program.to_sympy(), "numpy")
    for x, y in np.random.default_rng(0).uniform(-2, 2, (20, 2)):
        assert float(numeric(x, y)) == pytest.approx(f(wg.tensor(x), wg.tensor(y)).item(), rel=1e-6)


def test_kinks_have_our_derivatives():
    for f in (wg.abs, wg.relu, lambda x: wg.maximum(x, 0), lambda x: wg.minimum(0, x)):
        expression = wg.trace(f, 1.0).to_sympy()
        assert sp.diff(expression, sp.Symbol("x")).subs("x", 0) == 0


def test_conversions():
    whole = wg.trace(lambda x: x.astype(wg.int64).astype(wg.float64), 1.5).to_sympy()
    assert (whole.subs(X, -1.5), whole.subs(X, 1.5)) == (-1, 1)
    truth = wg.trace(lambda x: (x > 1).astype(wg.float32) * 2, 1.0).to_sympy()
    assert (truth.subs(X, 2), truth.subs(X, 0)) == (2, 0)
    assert wg.trace(lambda x: wg.logical_not(x), 1.0).to_sympy() == sp.Eq(X, 0)
    both = wg.trace(lambda x: wg.where(x > 1, x > 2, x < 0) == (x < 5), 1.0).to_sympy()
    assert [both.subs(X, at) for at in (3, 1.5, 0.5, -1, 6)] == [
        sp.true, sp.false, sp.false, sp.true, sp.false
    ]  # fmt: skip


def test_other_shapes_are_refused_with_their_line():
    with pytest.raises(wg.ShapeError, match=r"to_sympy: .*the argument x of shape \(4, 3\)"):
        traced().to_sympy()
    with pytest.raises(
        wg.ShapeError, match=r"got broadcast_to at .*test_program\.py:\d+ with shape \(2,\)"
    ):
        wg.trace(lambda x: wg.broadcast_to(x, (2,)).sum(), 1.0).to_sympy()


def test_operations_without_a_formula_are_refused_with_their_line():
    program = wg.trace(lambda x: wg.bitwise_left_shift(x, 2), 1)
    with pytest.raises(wg.ArgumentError, match=r"bitwise_left_shift at .*test_program\.py:\d+ has"):
        program.to_sympy()


def test_what_no_output_needs_does_not_matter():
    def f(x):
        wg.broadcast_to(x, (2,))
        return x * 2

    assert wg.trace(f, 1.0).to_sympy() == 2 * X


def test_wrong_assumptions_are_refused():
    with pytest.raises(wg.Error, match="to_sympy: "):
        wg.trace(wg.sin, 1.0).to_sympy(real=True, imaginary=True)


def test_missing_sympy_is_named(monkeypatch):
    program = wg.trace(wg.sin, 1.0)
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(wg.Error, match="pip install sympy") as caught:
        program.to_sympy()
    assert isinstance(caught.value, ImportError)


def test_sympy_is_loaded_only_when_asked_for():
    code = "import sys, wengert as wg; wg.trace(wg.sin, 1.0); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
