"""The plain-Python reference: its three modes agree, and it keeps the chapter's conventions."""

from __future__ import annotations

import doctest
import math
import sys
from itertools import pairwise
from random import Random

import pytest

from benchmarks.reference import forward, mlp, numerical, primitives, reverse, scalar
from benchmarks.reference.primitives import (
    Linear,
    SoftmaxCrossEntropy,
    add,
    input_jacobian,
    multiply,
    relu,
    scale,
    sigmoid,
    tanh,
    total,
    weight_jacobian,
)
from benchmarks.reference.scalar import Network, Scalar, Trace


def normal(random: Random, size: int) -> list[float]:
    return [random.gauss(0.0, 1.0) for _ in range(size)]


def close(values, rel=1e-12, abs=1e-12):
    return pytest.approx(values, rel=rel, abs=abs)


def assert_gradients_close(actual, expected, **tolerances):
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a == close(e, **tolerances)


def random_program(seed: int):
    """An acyclic program on rows of 3: shared weights, fan-out and gates, drawn at random."""
    random = Random(seed)
    rows, size, shared = 2, 3, 3
    linear = Linear(size, size)
    x = normal(random, rows * size)
    weights = [normal(random, 12) for _ in range(shared)] + [normal(random, rows * size)]
    kinds = ["linear", "activation", "add", "multiply"]
    steps = kinds + [random.choice(kinds) for _ in range(6)]
    random.shuffle(steps)
    choices = [(kind, random.random(), random.random(), random.random()) for kind in steps]
    labels = [random.randrange(size) for _ in range(rows)]

    def program(apply, x, *w):
        # The weight of both first layers is one and the same, and h[0] has several uses.
        h = [apply(linear, x, w[0])]
        h.append(apply(linear, apply(tanh, h[0]), w[0]))
        for kind, a, b, c in choices:
            left, right = h[int(a * len(h))], h[int(b * len(h))]
            if kind == "linear":
                h.append(apply(linear, left, w[int(c * shared)]))
            elif kind == "activation":
                h.append(apply([relu, sigmoid, tanh][int(c * 3)], left))
            else:
                # A gate's other input may be a branch or a weight.
                f = add if kind == "add" else multiply
                h.append(apply(tanh, apply(f, left, w[shared] if c < 0.3 else right)))
        joined = apply(add, apply(linear, h[-1], w[1]), h[0])
        losses = apply(SoftmaxCrossEntropy(labels, size), joined)
        return apply(total, apply(scale(0.5), losses))

    return program, x, weights


@pytest.mark.parametrize("seed", range(20))
def test_three_modes_agree_on_random_programs(seed):
    program, x, weights = random_program(seed)
    y, by_reverse = reverse.gradients(program, x, weights)
    y_forward, by_forward = forward.gradients(program, x, weights)
    y_numerical, by_differences = numerical.gradients(program, x, weights)
    assert y == y_forward == y_numerical
    assert any(g != 0.0 for g in by_reverse[0])
    assert_gradients_close(by_forward, by_reverse)
    assert_gradients_close(by_differences, by_reverse, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_directional_derivative_is_gradient_times_direction(seed):
    program, x, weights = random_program(seed)
    directions = [normal(Random(seed + 100), len(w)) for w in weights]
    y, slope = forward.jvp(program, x, weights, directions)
    expected, gradients = reverse.gradients(program, x, weights)
    assert y == [expected]
    dots = (primitives.dot(g, u) for g, u in zip(gradients, directions, strict=True))
    assert slope == close([sum(dots)])


def test_weight_sharing_adds_over_uses():
    def program(apply, x, w):
        return apply(total, apply(multiply, apply(multiply, x, w), w))

    for mode in (forward, reverse):
        assert mode.gradients(program, [3.0], [[5.0]]) == (75.0, [[30.0]])


def test_a_variable_with_itself_counts_twice():
    def program(apply, x, w):
        return apply(total, apply(multiply, w, w))

    for mode in (forward, reverse):
        assert mode.gradients(program, [], [[3.0, -2.0]]) == (13.0, [[6.0, -4.0]])


def test_unused_weights_have_zero_gradients():
    def program(apply, x, used, unused):
        return apply(total, apply(add, x, used))

    for mode in (forward, reverse, numerical):
        y, (used, unused) = mode.gradients(program, [1.0], [[2.0], [3.0, 4.0]])
        assert (y, unused) == (3.0, [0.0, 0.0])
        assert used == close([1.0], rel=1e-9)


def test_reverse_mode_asks_no_vjp_where_nothing_is_active():
    class Opaque(primitives.Primitive):
        def value(self, x, w=()):
            return list(x)

    def program(apply, x, w):
        return apply(total, apply(multiply, apply(Opaque(), x), w))

    assert reverse.gradients(program, [2.0], [[3.0]]) == (6.0, [[2.0]])


def test_sweep_returns_the_adjoints_of_active_leaves_only():
    trace = reverse.WengertList()
    x = trace.leaf([2.0, 3.0], active=False)
    w, later = trace.leaf([5.0, 7.0]), trace.leaf([1.0, 1.0])
    h = trace.apply(multiply, x, w)
    trace.apply(add, h, later)
    assert [node.f for node in trace.nodes] == [None, None, None, multiply, add]
    assert trace.sweep(h, [1.0, 10.0]) == {w: [2.0, 30.0]}


@pytest.mark.parametrize("mode", [forward, reverse])
def test_gradients_need_a_scalar_output(mode):
    with pytest.raises(ValueError, match="scalar; got 2 entries"):
        mode.gradients(lambda apply, x, w: apply(add, x, w), [1.0, 2.0], [[1.0, 2.0]])


PRIMITIVES = {
    "linear": (Linear(3, 2), 6, 8),
    "relu": (relu, 4, 0),
    "sigmoid": (sigmoid, 4, 0),
    "tanh": (tanh, 4, 0),
    "scale": (scale(-2.5), 4, 0),
    "add": (add, 3, 3),
    "multiply": (multiply, 3, 3),
    "cross_entropy": (SoftmaxCrossEntropy([2, 0], classes=3), 6, 0),
    "sum": (total, 5, 0),
}


@pytest.fixture(params=PRIMITIVES.values(), ids=PRIMITIVES.keys())
def primitive(request):
    f, inputs, weights = request.param
    random = Random(7)
    return f, normal(random, inputs), normal(random, weights)


def test_jvp_and_vjp_are_transposes(primitive):
    f, x, w = primitive
    random = Random(8)
    v, u, t = (normal(random, len(a)) for a in (f.value(x, w), x, w))
    dot = primitives.dot
    assert dot(v, f.input_jvp(u, x, w)) == close(dot(f.input_vjp(v, x, w), u))
    assert dot(v, f.weight_jvp(t, x, w)) == close(dot(f.weight_vjp(v, x, w), t))


def test_jacobians_rebuilt_from_vjps_match_differences(primitive):
    f, x, w = primitive
    h = 1e-6

    def columns(run, at):
        for j in range(len(at)):
            up = run([s + h * (i == j) for i, s in enumerate(at)])
            down = run([s - h * (i == j) for i, s in enumerate(at)])
            yield [(a - b) / (2 * h) for a, b in zip(up, down, strict=True)]

    for jacobian, run, at in (
        (input_jacobian(f, x, w), lambda s: f.value(s, w), x),
        (weight_jacobian(f, x, w), lambda s: f.value(x, s), w),
    ):
        assert len(jacobian) == len(f.value(x, w))
        assert all(len(row) == len(at) for row in jacobian)
        for j, column in enumerate(columns(run, at)):
            assert [row[j] for row in jacobian] == close(column, rel=1e-7, abs=1e-8)


def test_explicit_jacobians():
    # Two rows through W = [[1, 2], [3, 4]]: block diagonal in x; xᵀ beside each row's 1 in w.
    x, w = [5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 0.5, -0.5]
    assert input_jacobian(Linear(2, 2), x, w) == [
        [1.0, 2.0, 0.0, 0.0],
        [3.0, 4.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 2.0],
        [0.0, 0.0, 3.0, 4.0],
    ]
    assert weight_jacobian(Linear(2, 2), x, w) == [
        [5.0, 6.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 5.0, 6.0, 0.0, 1.0],
        [7.0, 8.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 7.0, 8.0, 0.0, 1.0],
    ]
    assert input_jacobian(relu, [-1.0, 2.0]) == [[0.0, 0.0], [0.0, 1.0]]
    s = sigmoid.value([0.3, -1.2])
    assert input_jacobian(sigmoid, [0.3, -1.2]) == [[s[0] * (1 - s[0]), 0], [0, s[1] * (1 - s[1])]]
    assert input_jacobian(total, [1.0, 2.0, 3.0]) == [[1.0, 1.0, 1.0]]
    third = 1.0 / 3.0
    (row,) = input_jacobian(SoftmaxCrossEntropy([1], classes=3), [4.0, 4.0, 4.0])
    assert row == close([third, third - 1.0, third])


def test_relu_at_zero_has_derivative_zero():
    assert relu.value([0.0, -0.0]) == [0.0, 0.0]
    assert relu.input_vjp([1.0, 1.0], [0.0, -0.0]) == [0.0, 0.0]
    x = Scalar(0.0)
    x.relu().backward()
    assert x.grad == 0.0


def test_equal_functions_with_unequal_subgradients_at_zero():
    def relu2(s):
        return (-s).relu() + s

    def relu3(s):
        return (s.relu() + relu2(s)) * 0.5

    for f, expected in ((relu2, 1.0), (relu3, 0.5)):
        for point, slope in ((0.0, expected), (2.0, 1.0), (-2.0, 0.0)):
            s = Scalar(point)
            y = f(s)
            y.backward()
            assert (y.data, s.grad) == (max(point, 0.0), slope)


def test_large_arguments_do_not_overflow():
    assert sigmoid.value([-1000.0, 1000.0]) == [0.0, 1.0]
    assert SoftmaxCrossEntropy([0], classes=2).value([-1000.0, 1000.0]) == [2000.0]
    gradient = SoftmaxCrossEntropy([0], classes=2).input_vjp([1.0], [-1000.0, 1000.0])
    assert gradient == [-1.0, 1.0]


def test_nan_passes_through_activations():
    for f in (relu, sigmoid, tanh):
        assert math.isnan(f.value([math.nan])[0])
        assert math.isnan(f.input_vjp([math.nan], [1.0])[0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Linear(0, 2), "sizes must be positive; got 0 and 2"),
        (lambda: Linear(3, 2).value([1.0] * 4, [0.0] * 8), "rows of 3; got 4 entries"),
        (lambda: Linear(3, 2).value([1.0] * 3, [0.0] * 6), r"6 \+ 2 entries; got 6"),
        (lambda: add.value([1.0], [1.0, 2.0]), "equal lengths; got 1 and 2"),
        (lambda: multiply.value([1.0], []), "equal lengths; got 1 and 0"),
        (lambda: SoftmaxCrossEntropy([3], classes=3), r"0 \.\. 2; got \[3\]"),
        (lambda: SoftmaxCrossEntropy([-1], classes=3), r"0 \.\. 2; got \[-1\]"),
        (lambda: SoftmaxCrossEntropy([1], 3).value([0.0] * 6), "1 rows of 3 logits; got 6"),
        (lambda: Scalar(1.0) + Scalar(2.0), "one trace"),
        (lambda: mlp.MLP((3,)), r"input and an output size are needed; got \(3,\)"),
        (lambda: Network([]), r"input and an output size are needed; got \[\]"),
        (lambda: mlp.MLP((1, 1)).step([], []), "must not be empty"),
        (lambda: mlp.MLP((2, 1)).set_parameters([([[1.0], [2.0]], [0.0])]), r"got \(2, 1\)"),
        (lambda: mlp.MLP((2, 1)).set_parameters([([[1.0, 2.0]], [])]), r"2 \+ 1 entries; got 2"),
        (lambda: mlp.MLP((2, 1)).set_parameters([]), "got 0 for 1 layers"),
    ],
)
def test_errors_state_the_law_and_the_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


SCALAR_FUNCTIONS = {
    "add": lambda a, b: a + b + 2.0 + (3.0 + a),
    "sub": lambda a, b: (a - b) * (2.0 - a) * (b - 3.0),
    "mul": lambda a, b: a * b * 3.0 * (2 * a),
    "div": lambda a, b: a / b + 2.0 / a + b / 4,
    "pow": lambda a, b: a**3 + b**-1.5 + a**0,
    "neg": lambda a, b: -a * -b,
    "exp_log": lambda a, b: (a.exp() + b.log()).log(),
    "activations": lambda a, b: (a * b).tanh() + (a - b).sigmoid() + (b - a).relu() * a,
}


@pytest.mark.parametrize("f", SCALAR_FUNCTIONS.values(), ids=SCALAR_FUNCTIONS.keys())
def test_scalar_operators_match_differences(f):
    trace, point, h = Trace(), (0.7, 1.9), 1e-6
    a, b = (Scalar(s, trace) for s in point)

    def value(p, q):
        trace = Trace()
        return f(Scalar(p, trace), Scalar(q, trace)).data

    f(a, b).backward()
    p, q = point
    assert a.grad == close((value(p + h, q) - value(p - h, q)) / (2 * h), rel=1e-7, abs=1e-8)
    assert b.grad == close((value(p, q + h) - value(p, q - h)) / (2 * h), rel=1e-7, abs=1e-8)


def test_scalar_gradients_accumulate_in_leaves():
    x = Scalar(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 12.0


def test_scalar_fan_out_visits_each_node_once():
    # 2^60 paths lead from y to x.
    x = Scalar(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_scalar_chain_sweeps_without_recursion():
    x = Scalar(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    limit = sys.getrecursionlimit()
    assert limit < 100_000
    y.backward()
    assert (y.data, x.grad) == (100_001.0, 1.0)
    assert len(y.trace.inputs) == 100_001


def test_scalar_zeroth_power_is_constant_at_zero():
    x = Scalar(0.0)
    y = x**0 + x**1 + x**2
    y.backward()
    assert (y.data, x.grad) == (1.0, 1.0)


def test_scalar_pow_takes_numbers_only():
    x = Scalar(2.0)
    with pytest.raises(TypeError):
        x**x


def test_network_of_scalars_is_the_vector_program():
    sizes, xs, ys = (2, 5, 3), [[0.3, -0.8], [1.1, 0.4]], [[1.0, 0.0, -1.0], [0.5, 0.2, 0.1]]
    network = Network(sizes, seed=3)
    weights, start = [], 0
    for inputs, outputs in pairwise(sizes):
        end = start + (inputs + 1) * outputs
        weights.append([p.data for p in network.parameters[start:end]])
        start = end
    targets = [-t for row in ys for t in row]

    def program(apply, x, w1, w2, t):
        h = apply(relu, apply(Linear(2, 5), x, w1))
        error = apply(add, apply(Linear(5, 3), h, w2), t)
        return apply(scale(1.0 / 6.0), apply(total, apply(multiply, error, error)))

    loss = network.loss(xs, ys)
    loss.backward()
    x = [s for row in xs for s in row]
    y, (g1, g2, _) = reverse.gradients(program, x, [*weights, targets])
    assert loss.data == close(y)
    assert [p.grad for p in network.parameters] == close(g1 + g2)


def test_network_training_lowers_the_loss():
    network = Network((2, 8, 1), seed=0)
    xs, ys = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]
    losses, lengths = [], set()
    for _ in range(200):
        loss = network.loss(xs, ys)
        loss.backward()
        network.step(lr=0.2)
        losses.append(loss.data)
        lengths.add(len(loss.trace.inputs))
    assert losses[-1] < 0.1 * losses[0]
    assert len(lengths) == 1  # each step has a trace of its own


def batch(seed: int, rows: int, size: int, classes: int):
    random = Random(seed)
    return [normal(random, size) for _ in range(rows)], [i % classes for i in range(rows)]


def test_mlp_gradients_match_differences():
    model = mlp.MLP((4, 6, 5, 3), seed=2)
    x_rows, labels = batch(5, rows=4, size=4, classes=3)
    loss, layers = model.gradients(x_rows, labels)
    x = [s for row in x_rows for s in row]
    expected, gradients = numerical.gradients(model.program(labels), x, model.weights)
    assert loss == expected
    flat = [[s for row in rows for s in row] + bias for rows, bias in layers]
    assert_gradients_close(flat, gradients, rel=1e-6, abs=1e-8)
    assert all(any(g != 0.0 for g in vector) for vector in flat)


def test_mlp_loss_is_the_mean_cross_entropy():
    model = mlp.MLP((1, 2))
    model.set_parameters([([[1.0], [-1.0]], [0.0, 0.5])])
    loss, [(weights, bias)] = model.gradients([[2.0], [0.0]], [0, 1])
    # Logits (2, -1.5) and (0, 0.5).
    p, q = math.exp(-1.5) / (math.exp(2.0) + math.exp(-1.5)), 1.0 / (1.0 + math.exp(0.5))
    assert loss == close((-math.log(1.0 - p) - math.log(1.0 - q)) / 2)
    assert bias == close([(q - p) / 2, (p - q) / 2])
    assert weights[0] + weights[1] == close([-p, p])


@pytest.mark.parametrize("optimizer", [mlp.SGD(0.5), mlp.Adam(0.02)], ids=["sgd", "adam"])
def test_mlp_training_lowers_the_loss(optimizer):
    model = mlp.MLP((4, 8, 3), seed=0, optimizer=optimizer)
    x_rows, labels = batch(1, rows=9, size=4, classes=3)
    losses = [model.step(x_rows, labels) for _ in range(100)]
    assert losses[-1] < 0.2 * losses[0]


def test_adam_by_hand():
    adam = mlp.Adam(lr=0.1, betas=(0.5, 0.75), eps=0.0)
    # The first step is lr times the sign of g, whatever its size.
    weights = adam.update([[1.0, 1.0]], [[4.0, -1e-3]])
    assert weights[0] == close([0.9, 1.1])
    # m = (0.5·2 + 0.5·0) / 0.75 = 4/3 and v = (0.75·4 + 0) / (7/16) = 48/7.
    weights = adam.update(weights, [[0.0, 0.0]])
    assert weights[0][0] == close(0.9 - 0.1 * (4.0 / 3.0) / math.sqrt(48.0 / 7.0))


def test_mlp_parameters_round_trip():
    model = mlp.MLP((3, 4, 2), seed=1)
    parameters = model.get_parameters()
    assert [(len(w), len(w[0]), len(b)) for w, b in parameters] == [(4, 3, 4), (2, 4, 2)]
    other = mlp.MLP((3, 4, 2), seed=9)
    assert other.get_parameters() != parameters
    other.set_parameters(parameters)
    assert other.get_parameters() == parameters
    x_rows, labels = batch(3, rows=2, size=3, classes=2)
    assert other.gradients(x_rows, labels) == model.gradients(x_rows, labels)
    # What was given out or taken in is a copy.
    parameters[0][0][0][0] += 1.0
    assert other.get_parameters() != parameters


@pytest.mark.parametrize("module", [primitives, forward, reverse, numerical, scalar, mlp])
def test_examples_in_docstrings(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
