"""What nodes keep for the reverse sweep: no more than their rows say they read, to the byte; and in
compiled programs results take over the memory of operands that end."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

N = 64
MATRIX = (N, N)
X, MASK, ROW, NUMBER = 4 * N * N, N * N, 4 * N, 4

# The function, the shapes of its arguments, and the bytes that outlive arguments and results.
KEPT = {
    # Nothing: the derivative is known beforehand.
    "negative": (lambda x: -x, [MATRIX], 0),
    "add": (lambda x, y: x + y, [MATRIX, MATRIX], 0),
    "subtract": (lambda x, y: x - y, [MATRIX, MATRIX], 0),
    "floor": (wg.floor, [MATRIX], 0),
    "sum": (lambda x: x.sum(axis=0), [MATRIX], 0),
    "mean": (lambda x: x.mean(), [MATRIX], 0),
    "cumulative_sum": (lambda x: wg.cumulative_sum(x, axis=1), [MATRIX], 0),
    "reshape": (lambda x: x.reshape(-1), [MATRIX], 0),
    "transpose": (lambda x: x.T, [MATRIX], 0),
    "slice": (lambda x: x[3:9, ::2], [MATRIX], 0),
    "broadcast_to": (lambda x: wg.broadcast_to(x, (3, *MATRIX)), [MATRIX], 0),
    "pad": (lambda x: wg.pad(x, 2), [MATRIX], 0),
    "concat": (lambda x, y: wg.concat([x, y]), [MATRIX, MATRIX], 0),
    "astype": (lambda x: x.astype(wg.float64), [MATRIX], 0),
    # A number.
    "times a number": (lambda x: x * 3.0, [MATRIX], NUMBER),
    "over a number": (lambda x: x / 3.0, [MATRIX], NUMBER),
    # A mask, or where things went.
    "where": (lambda x, y: wg.where(x.detach() > 0.5, x, y), [MATRIX, MATRIX], MASK),
    "dropout": (lambda x: nn.dropout(x, 0.5, True), [MATRIX], MASK + NUMBER),
    "embedding": (lambda w: nn.embedding(wg.arange(N) % 5, w), [(5, N)], 8 * N),
    # The result.
    "relu": (nn.relu, [MATRIX], X),
    "exp": (wg.exp, [MATRIX], X),
    "sqrt": (wg.sqrt, [MATRIX], X),
    "tanh": (wg.tanh, [MATRIX], X),
    "sigmoid": (wg.sigmoid, [MATRIX], X),
    "softmax": (lambda x: nn.softmax(x, -1), [MATRIX], X),
    "log_softmax": (lambda x: nn.log_softmax(x, -1), [MATRIX], X),
    # The argument.
    "log": (wg.log, [MATRIX], X),
    "sin": (wg.sin, [MATRIX], X),
    "abs": (wg.abs, [MATRIX], X),
    "square": (wg.square, [MATRIX], X),
    "gelu": (nn.gelu, [MATRIX], X),
    "silu": (nn.silu, [MATRIX], X),
    "softplus": (nn.softplus, [MATRIX], X),
    "variance": (lambda x: wg.var(x, axis=0), [MATRIX], X),
    "rms_norm": (lambda x: nn.rms_norm(x, (N,)), [MATRIX], X),
    "layer_norm": (lambda x: nn.layer_norm(x, (N,)), [MATRIX], X),
    # Both, or what the other derivative reads.
    "multiply": (lambda x, y: x * y, [MATRIX, MATRIX], 2 * X),
    "divide": (lambda x, y: x / y, [MATRIX, MATRIX], 2 * X),
    "maximum": (wg.maximum, [MATRIX, MATRIX], 2 * X),
    "max": (lambda x: x.max(axis=0), [MATRIX], X + ROW),
    "logsumexp": (lambda x: wg.logsumexp(x, axis=0), [MATRIX], X + ROW),
    "matmul": (lambda x, y: x @ y, [MATRIX, MATRIX], 2 * X),
    "linear": (nn.linear, [MATRIX, (32, N), (32,)], X + X // 2),
    "cross_entropy": (lambda x: nn.cross_entropy(x, wg.arange(N)), [MATRIX], X + 8 * N),
    "mse_loss": (nn.mse_loss, [MATRIX, MATRIX], X),
}


def leaves(shapes, tracked=None):
    rng = np.random.default_rng(0)
    drawn = [rng.uniform(0.2, 0.8, size=shape).astype(np.float32) for shape in shapes]
    which = [True] * len(shapes) if tracked is None else tracked
    return [wg.tensor(x, requires_grad=own) for x, own in zip(drawn, which)]


def kept(f, own):
    """The bytes alive for the sweep back from f's result to its arguments, and the sweep's root."""
    before = wg.memory.live_bytes()
    arguments = [-x for x in own]  # nothing else holds them
    end = f(*arguments).sum()
    del arguments
    return wg.memory.live_bytes() - before - end.size * end.dtype.itemsize, end


@pytest.mark.parametrize("name", KEPT)
def test_kept_bytes(name):
    f, shapes, expected = KEPT[name]
    wg.random.seed(0)
    if name == "log" or name == "sqrt":
        inner, f = f, lambda x: inner(-x)
    own = leaves(shapes)
    found, end = kept(f, own)
    assert found == expected
    alive = wg.memory.live_bytes()
    end.backward()
    held = sum(4 * x.size for x in own)
    assert wg.memory.live_bytes() == alive - found + held, "the sweep lets go of what it has read"


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x, y: x * y, X),
        (lambda x, y: x / y, X),
        (lambda x, y: x @ y, X),
        (lambda x, y: x + y, 0),
        (lambda x, y: wg.where(y > 0.5, x, y), MASK),
    ],
)
def test_only_what_tracked_arguments_need(f, expected):
    x, y = leaves([MATRIX, MATRIX], [True, False])
    found, _ = kept(f, [x, y])
    assert found == expected
    assert kept(f, [y, y])[0] == 0


def test_a_value_that_several_nodes_keep_is_there_once():
    (x,) = leaves([MATRIX])
    assert kept(lambda x: wg.sin(x) + wg.log(-x) * wg.exp(x), [x])[0] == 4 * X
    assert kept(lambda x: nn.relu(nn.relu(x)), [x])[0] == 2 * X
    assert kept(lambda x: nn.relu(x) @ nn.relu(x).T, [x])[0] == 2 * X


def held(f, *args):
    """The bytes that a compiled function holds between its calls: its arena."""
    before = wg.memory.live_bytes()
    compiled = wg.compile(f)
    first, second = compiled(*args).tolist(), compiled(*args).tolist()
    assert first == second == f(*args).tolist()
    return wg.memory.live_bytes() - before


@pytest.mark.parametrize("act", [nn.relu, wg.tanh, wg.exp, wg.sin, lambda x: -x, wg.square])
def test_an_activation_overwrites_an_argument_that_ends(act):
    (a,) = leaves([MATRIX], [False])
    assert held(lambda a: act(a @ a) @ a, a) == X
    # What is read later stays.
    assert held(lambda a: (lambda h: (act(h) @ a) @ h)(a @ a), a) == 3 * X


def test_relu_and_its_derivative_in_a_compiled_step():
    """Of a layer x -> relu(x w) the product is overwritten by the result, and that by the cotangent
    of the product."""
    x, w = leaves([(256, N), MATRIX], [False, True])
    layer = 4 * 256 * N

    def step(x):
        y = nn.relu(x @ w)
        y.backward(y.detach())
        gradient = w.grad
        w.grad = None
        return gradient

    assert held(step, x) == layer


@pytest.mark.parametrize(("act", "layers", "more"), [(nn.relu, 2, X), (nn.gelu, 3, 4)])
def test_what_two_layers_hold(act, layers, more):
    """The first result, which the gradient of v reads, and its cotangent; where the derivative
    reads the argument, also the product, but then the gradient of v can wait until those ended."""
    x, w, v = leaves([(256, N), MATRIX, MATRIX], [False, True, True])

    def step(x):
        y = act(x @ w) @ v
        y.backward(y.detach())
        gradients = wg.concat([w.grad, v.grad])
        w.grad = v.grad = None
        return gradients

    # Besides, the second result, and maybe the gradient of v or the 1 that a slope multiplies.
    assert held(step, x) == (layers + 1) * 4 * 256 * N + more


def test_a_chain_of_layers_holds_one_result_a_layer():
    depth = 5
    ws = leaves([MATRIX] * depth)
    x = leaves([(256, N)], [False])[0]
    layer = 4 * 256 * N

    def loss(x):
        for w in ws:
            x = nn.relu(x @ w)
        return x.sum()

    before = wg.memory.live_bytes()
    end = loss(x)
    assert wg.memory.live_bytes() - before == depth * layer + 4
    del end

    def step(x):
        value = loss(x)
        value.backward()
        square = sum((w.grad * w.grad).sum() for w in ws)
        for w in ws:
            w.grad = None
        return square

    # Besides, two cotangents, the gradients, and numbers in slots of 64 bytes.
    found = held(step, x)
    assert (depth + 1) * layer <= found <= (depth + 2) * layer + depth * X + 1024


def test_the_bias_of_a_norm_keeps_nothing():
    x, w, b = leaves([MATRIX, (N,), (N,)], [False, False, True])
    y = nn.layer_norm(x, (N,), w, b)
    x.assign(x * 2.0)
    y.sum().backward()
    assert b.grad.tolist() == [N] * N
