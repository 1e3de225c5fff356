"""Programs of single numbers, which replay as operations on vectors: to the bit as eager ones."""

import numpy as np
import wengert as wg
from hypothesis import given, settings
from hypothesis import strategies as st

UNARY = [wg.sin, wg.tanh, wg.exp, wg.square, wg.nn.relu, wg.negative, lambda x: x * 0.5, abs]
BINARY = [
    wg.add, wg.multiply, wg.subtract, wg.maximum, lambda x, y: wg.where(x > y, x, 0.25 * y),
    lambda x, y: x / (1.0 + y * y),
]  # fmt: skip


def bits(found, expected):
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert x.numpy().tobytes() == y.numpy().tobytes()


def put_together(f, *args):
    lines = (x for x in f.explain(*args).splitlines() if "on single numbers" in x)
    return int(next(lines, "0").split()[-1])


@st.composite
def programs(draw):
    """Layers of steps on single numbers: (operation, places of its operands), with sharing across
    layers and a few values that every step of a layer reads."""
    layers, count = [], 6
    for _ in range(draw(st.integers(3, 6))):
        kinds = draw(st.lists(st.sampled_from(UNARY + BINARY), min_size=1, max_size=3))
        stride, start = draw(st.integers(0, 3)), draw(st.integers(0, count - 1))
        layer = []
        for i in range(draw(st.integers(30, 60))):
            f = kinds[i % len(kinds)]
            near = (start + stride * i) % count
            far = draw(st.integers(0, count - 1)) if i % 7 == 0 else (start + i) % count
            layer.append((f, (near,) if f in UNARY else (near, far)))
        layers.append(layer)
        count += len(layer)
    return layers


def run(program, xs):
    values = list(xs)
    for layer in program:
        made = [f(*[values[p] for p in places]) for f, places in layer]
        values += [wg.tanh(x) for x in made]
    return values


@settings(max_examples=25, deadline=None, derandomize=True)
@given(programs(), st.integers(0, 1000), st.sampled_from(["float64", "float32"]))
def test_random_programs(program, seed, dtype):
    xs = [wg.tensor(x, dtype=dtype) for x in np.random.default_rng(seed).normal(size=6)]

    def some(*xs):
        return run(program, xs)[::7]

    def loss(*xs):
        return sum(run(program, xs)[6:], start=wg.tensor(0.0, dtype=dtype))

    compiled = wg.compile(some)
    both = wg.value_and_grad(loss, argnums=tuple(range(6)))
    gradients = wg.compile(both, exact=True)
    for _ in range(2):
        bits(compiled(*xs), some(*xs))
        bits(gradients(*xs), both(*xs))


def test_a_network_of_single_numbers():
    """Its nodes become a few vector operations, and ten steps leave what eager ones do."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(8, 6))
    data = rng.normal(size=(10, 6)).tolist()

    def train(how):
        weights = [
            [wg.tensor(w, dtype="float64", requires_grad=True) for w in row] for row in first
        ]
        flat = [w for row in weights for w in row]
        optimizer = wg.optim.SGD(flat, lr=0.01, momentum=0.9)

        def step():
            loss = 0.0
            for x in data:
                for row in weights:
                    total = row[0] * x[0]
                    for w, v in zip(row[1:], x[1:], strict=True):
                        total = total + w * v
                    loss = loss + wg.nn.relu(total) * total
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        step = how(step)
        losses = [step() for _ in range(10)]
        return step, losses, flat

    step, losses, weights = train(lambda f: wg.compile(f, exact=True))
    _, expected, others = train(lambda f: f)
    bits(losses, expected)
    bits([w.detach() for w in weights], [w.detach() for w in others])
    nodes = step.program().nodes
    assert sum(node.name in ("multiply", "add") for node in nodes) < 150
    assert put_together(step) > 500


def test_few_numbers_stay_as_they_are():
    f = wg.compile(lambda *xs: [wg.sin(x) + 1.0 for x in xs])
    xs = [wg.tensor(float(i)) for i in range(20)]
    bits(f(*xs), [wg.sin(x) + 1.0 for x in xs])
    assert put_together(f, *xs) == 0


def test_the_order_of_python_calls_is_kept():
    seen = []

    @wg.primitive
    def noted(x):
        seen.append(float(x))
        return x * 2.0

    def f(*xs):
        return [wg.sin(noted(wg.cos(x)) if i % 2 else noted(x)) for i, x in enumerate(xs)]

    xs = [wg.tensor(0.1 * i) for i in range(300)]
    compiled = wg.compile(f)
    compiled(*xs)
    seen.clear()
    bits(compiled(*xs), f(*xs))
    np.testing.assert_array_equal(seen[:300], seen[300:])
