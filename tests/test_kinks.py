"""The table of subgradients, cell by cell: the derivative where mathematics leaves a choice.

One rule: the least-norm subgradient, shared evenly between arguments that tie; a Python number is a
constant; what a derivative does not depend on contributes exactly 0, also against inf and NaN.
"""

import numpy as np
import pytest
import wengert as wg
import wengert.nn.functional as F

inf, nan = np.inf, np.nan
ops = wg._core.ops


def relu2(s):
    return wg.relu(-s) + s


def relu3(s):
    return (wg.relu(s) + relu2(s)) / 2


def weighted_sort(x):
    return ops.sort(x) * np.array([1.0, 2.0, 3.0])


GATES = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}

# (expression, function, point, derivative in each argument)
CELLS = [
    # kinks of one argument
    ("abs(x) at 0", wg.abs, [0], [0]),
    ("abs(x) at -0.0", wg.abs, [-0.0], [0]),
    ("relu(x) at 0", wg.relu, [0], [0]),
    ("maximum(x, 0) at 0", lambda x: wg.maximum(x, 0), [0], [0]),
    ("maximum(x, 0.0) at 0", lambda x: wg.maximum(x, 0.0), [0], [0]),
    ("maximum(0, x) at 0", lambda x: wg.maximum(0, x), [0], [0]),
    ("minimum(x, 0) at 0", lambda x: wg.minimum(x, 0), [0], [0]),
    ("ReLU2(s) = relu(-s) + s at 0", relu2, [0], [1]),
    ("ReLU3 = (relu + ReLU2) / 2 at 0", relu3, [0], [0.5]),
    ("hinge maximum(1 - x, 0) at 1", lambda x: wg.maximum(1 - x, 0), [1], [0]),
    ("leaky_relu(x, 0.1) at 0", lambda x: wg.leaky_relu(x, 0.1), [0], [0.1]),
    ("elu(x, 2) at 0", lambda x: wg.elu(x, 2.0), [0], [2]),
    ("relu6(x) at 0", F.relu6, [0], [0]),
    ("relu6(x) at 6", F.relu6, [6], [0]),
    ("hardtanh(x) at -1", F.hardtanh, [-1], [0]),
    ("hardtanh(x) at 1", F.hardtanh, [1], [0]),
    ("l1_loss(x, 0) at 0", lambda x: F.l1_loss(x, wg.zeros_like(x)), [0], [0]),
    ("clip(x, -1, 1) at -1", lambda x: wg.clip(x, -1, 1), [-1], [0]),
    ("clip(x, -1, 1) at 1", lambda x: wg.clip(x, -1, 1), [1], [0]),
    ("clip(x, -1, 1) at 0", lambda x: wg.clip(x, -1, 1), [0], [1]),
    ("clip(x, 0) at 0", lambda x: wg.clip(x, 0), [0], [0]),
    ("clip(x, low, high) at x = low", ops.clip, [1, 1, 2], [0, 0, 0]),
    ("clip(x, low, high) below low", ops.clip, [0, 1, 2], [0, 1, 0]),
    # ties
    ("maximum(x, y) at a tie", wg.maximum, [2, 2], [0.5, 0.5]),
    ("minimum(x, y) at a tie", wg.minimum, [2, 2], [0.5, 0.5]),
    ("maximum(x, tensor 2) at 2", lambda x: wg.maximum(x, wg.tensor(2.0)), [2], [0.5]),
    ("maximum(x, x)", lambda x: wg.maximum(x, x), [2], [1]),
    ("maximum(x, y) at x = NaN", wg.maximum, [nan, 1], [0, 0]),
    ("max([1, 3, 3])", wg.max, [[1, 3, 3]], [[0, 0.5, 0.5]]),
    ("max([2, 2, 2, 2])", wg.max, [[2, 2, 2, 2]], [[0.25] * 4]),
    ("min([1, 1, 3])", wg.min, [[1, 1, 3]], [[0.5, 0.5, 0]]),
    (
        "max([[1, 1], [0, 2]], axis=1)",
        lambda x: wg.max(x, axis=1),
        [[[1, 1], [0, 2]]],
        [[[0.5, 0.5], [0, 1]]],
    ),
    ("sort([1, 1, 0]) . [1, 2, 3]", weighted_sort, [[1, 1, 0]], [[2, 3, 1]]),
    # roots
    ("sqrt(x) at 0", wg.sqrt, [0], [inf]),
    ("sqrt(x * x) at 0", lambda x: wg.sqrt(x * x), [0], [0]),
    ("sqrt(x**2) at 0", lambda x: wg.sqrt(x**2), [0], [0]),
    ("sqrt(x * x + y * y) at (0, 0)", lambda x, y: wg.sqrt(x * x + y * y), [0, 0], [0, 0]),
    ("vector_norm([0, 0])", wg.linalg.vector_norm, [[0, 0]], [[0, 0]]),
    ("vector_norm([0, 0], ord=1)", lambda x: wg.linalg.vector_norm(x, ord=1), [[0, 0]], [[0, 0]]),
    ("vector_norm([0, 0], ord=3)", lambda x: wg.linalg.vector_norm(x, ord=3), [[0, 0]], [[0, 0]]),
    (
        "vector_norm([0, 0], ord=inf)",
        lambda x: wg.linalg.vector_norm(x, ord=inf),
        [[0, 0]],
        [[0, 0]],
    ),
    ("std([2, 2, 2])", wg.std, [[2, 2, 2]], [[0, 0, 0]]),
    ("std([2, 2, 2], correction=1)", lambda x: wg.std(x, correction=1), [[2, 2, 2]], [[0, 0, 0]]),
    ("hypot(x, y) at (0, 0)", wg.hypot, [0, 0], [0, 0]),
    ("atan2(y, x) at (0, 0)", wg.atan2, [0, 0], [0, 0]),
    # powers and products
    ("x**0 at 0", lambda x: x**0, [0], [0]),
    ("x**1 at 0", lambda x: x**1, [0], [1]),
    ("x**0.5 at 0", lambda x: x**0.5, [0], [inf]),
    ("x**x at 0", lambda x: x**x, [0], [0]),
    ("x**y at (0, 0)", wg.power, [0, 0], [0, 0]),
    ("x**y at (0, 2)", wg.power, [0, 2], [0, 0]),
    ("x**y at (-2, 2)", wg.power, [-2, 2], [-4, nan]),
    ("x**2 at -2", lambda x: x**2, [-2], [-4]),
    ("prod([0, 2, 3])", wg.prod, [[0, 2, 3]], [[6, 0, 0]]),
    ("prod([0, 0, 3])", wg.prod, [[0, 0, 3]], [[0, 0, 0]]),
    ("cumulative_prod([0, 2, 3])", wg.cumulative_prod, [[0, 2, 3]], [[9, 0, 0]]),
    # exponentials of -inf
    ("logsumexp([-inf, -inf])", wg.logsumexp, [[-inf, -inf]], [[0, 0]]),
    ("logsumexp([-inf, 1])", wg.logsumexp, [[-inf, 1]], [[0, 1]]),
    ("logaddexp(-inf, -inf)", wg.logaddexp, [-inf, -inf], [0, 0]),
    ("softmax([-inf, -inf])", lambda x: wg.softmax(x)[0], [[-inf, -inf]], [[0, 0]]),
    ("log_softmax([-inf, -inf])", lambda x: wg.log_softmax(x)[0], [[-inf, -inf]], [[0, 0]]),
    # the side not taken
    ("where(x > 0, sqrt(x), 0) at -1", lambda x: wg.where(x > 0, wg.sqrt(x), 0.0), [-1], [0]),
    ("where(x > 0, sqrt(x), 0) at 0", lambda x: wg.where(x > 0, wg.sqrt(x), 0.0), [0], [0]),
    ("where(x > 0, log(x), 0) at 0", lambda x: wg.where(x > 0, wg.log(x), 0.0), [0], [0]),
    ("where(x == 0, 1, sin(x) / x) at 0", lambda x: wg.where(x == 0, 1.0, wg.sin(x) / x), [0], [0]),
    ("maximum(x, log(x)) at 0", lambda x: wg.maximum(x, wg.log(x)), [0], [1]),
    # jumps
    ("sign(x) at 0", wg.sign, [0], [0]),
    ("floor(x) at 2", wg.floor, [2], [0]),
    ("ceil(x) at 2", wg.ceil, [2], [0]),
    ("trunc(x) at 0", wg.trunc, [0], [0]),
    ("round(x) at 0.5", wg.round, [0.5], [0]),
    ("x // y at (2, 1)", wg.floor_divide, [2, 1], [0, 0]),
    ("x % y at (2, 1)", wg.remainder, [2, 1], [1, -2]),
    ("copysign(x, y) at (0, -1)", wg.copysign, [0, -1], [0, 0]),
    # ends of domains: the one-sided limit
    ("log(x) at 0", wg.log, [0], [inf]),
    ("asin(x) at 1", wg.asin, [1], [inf]),
    ("acos(x) at 1", wg.acos, [1], [-inf]),
    ("acosh(x) at 1", wg.acosh, [1], [inf]),
    # slopes far out
    *[
        (f"slope of {name} at {x}", wg.grad(f), [x], [0])
        for name, f in GATES.items()
        for x in (inf, -inf, 1e30, -1e30)
    ],
]

cells = pytest.mark.parametrize(
    "f, point, expected", [pytest.param(*c[1:], id=c[0]) for c in CELLS]
)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def tensors(point, dtype):
    return [wg.tensor(np.array(x, dtype)) for x in point]


def check(found, expected):
    for g, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(g, np.array(wanted, g.dtype))


@dtypes
@cells
def test_reverse(f, point, expected, dtype):
    y, pull = wg.vjp(f, *tensors(point, dtype))
    check([g.numpy() for g in pull(wg.ones_like(y))], expected)


@dtypes
@cells
def test_forward(f, point, expected, dtype):
    xs = tensors(point, dtype)
    for i, x in enumerate(xs):
        found = np.zeros(x.shape, dtype)
        for place in np.ndindex(x.shape):
            us = [np.zeros(z.shape, dtype) for z in xs]
            us[i][place] = 1
            _, tangent = wg.jvp(f, xs, us)
            found[place] = tangent.numpy().sum()
        check([found], [expected[i]])


@cells
def test_backward(f, point, expected):
    xs = [x.requires_grad_() for x in tensors(point, "float64")]
    f(*xs).sum().backward()
    check([x.grad.numpy() for x in xs], expected)


@cells
def test_batched(f, point, expected):
    def gradients(*xs):
        return wg.grad(lambda *at: f(*at).sum(), argnums=tuple(range(len(xs))))(*xs)

    twice = [wg.stack([x, x]) for x in tensors(point, "float64")]
    for k in range(2):
        check([g.numpy()[k] for g in wg.vmap(gradients)(*twice)], expected)
