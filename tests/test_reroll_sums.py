"""Programs of single numbers whose sums are added up as reductions and products of matrices."""

from itertools import pairwise

import numpy as np
import pytest
import wengert as wg
from hypothesis import given, settings
from hypothesis import strategies as st

ROUNDING = {"float64": 1e-11, "float32": 2e-4}


def numbers(values, dtype="float64", requires_grad=False):
    return [wg.tensor(float(v), dtype=dtype, requires_grad=requires_grad) for v in values]


def flat(tree):
    return np.array([x.item() for x in wg.tree.leaves(tree)])


def close(found, expected, dtype="float64"):
    found, expected = flat(found), flat(expected)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=ROUNDING[dtype])


def units(f, *args):
    line = next(x for x in f.explain(*args).splitlines() if x.startswith("grouped"))
    return int(line.split()[1])


def layers(sizes, parameters, x, activation):
    start = 0
    for last, (size, count) in enumerate(pairwise(sizes), 2):
        bias = start + size * count
        sums = []
        for j in range(count):
            total = parameters[bias + j]
            for w, s in zip(parameters[start + j * size : start + (j + 1) * size], x, strict=True):
                total = total + w * s
            sums.append(total)
        start = bias + count
        x = sums if last == len(sizes) else [activation(s) for s in sums]
    return x


def network_step(how, sizes, rows, dtype, activation, optimizer):
    rng = np.random.default_rng(0)
    count = sum((a + 1) * b for a, b in pairwise(sizes))
    parameters = numbers(rng.normal(size=count) * 0.4, dtype, requires_grad=True)
    optimizer = optimizer(parameters)
    xs, ys = rng.normal(size=(rows, sizes[0])).tolist(), rng.normal(size=(rows, sizes[-1])).tolist()

    def step():
        loss = 0.0
        for x, y in zip(xs, ys, strict=True):
            for output, target in zip(layers(sizes, parameters, x, activation), y, strict=True):
                error = output - target
                loss = loss + error * error
        loss = loss / rows
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return how(step), parameters


OPTIMIZERS = {
    "sgd": lambda p: wg.optim.SGD(p, lr=0.05),
    "momentum": lambda p: wg.optim.SGD(p, lr=0.02, momentum=0.9),
    "adam": lambda p: wg.optim.Adam(p, lr=0.01),
}


@pytest.mark.parametrize(
    ("sizes", "rows", "dtype", "activation", "optimizer"),
    [
        ((2, 16, 16, 1), 8, "float64", wg.nn.relu, "sgd"),
        ((3, 5, 7, 2), 5, "float32", wg.tanh, "momentum"),
        # Sums of weights' and states' gradients have as many terms:
        ((4, 8, 8, 3), 8, "float64", wg.sin, "adam"),
        ((1, 40, 1), 1, "float64", wg.tanh, "adam"),
        ((6, 9, 9, 9, 2), 3, "float64", wg.nn.sigmoid, "sgd"),
    ],
)
def test_networks(sizes, rows, dtype, activation, optimizer):
    step, found = network_step(wg.compile, sizes, rows, dtype, activation, OPTIMIZERS[optimizer])
    eager, expected = network_step(
        lambda f: f, sizes, rows, dtype, activation, OPTIMIZERS[optimizer]
    )
    losses = [step() for _ in range(8)]
    close(losses, [eager() for _ in range(8)], dtype)
    close(found, expected, dtype)
    assert units(step) < 40
    assert rows == 1 or "matmul" in {node.name for node in step.program().nodes}


def test_polynomial_fit():
    rng = np.random.default_rng(1)
    xs = rng.uniform(-1, 1, size=40).tolist()
    ys = np.sin(3 * np.array(xs)).tolist()

    def loss(*coefficients):
        total = 0.0
        for x, y in zip(xs, ys, strict=True):
            value, power = coefficients[0], 1.0
            for c in coefficients[1:]:
                power = power * x
                value = value + c * power
            total = total + (value - y) ** 2
        return total / len(xs)

    both = wg.value_and_grad(loss, argnums=tuple(range(6)))
    compiled = wg.compile(both)
    for k in range(3):
        c = numbers(rng.normal(size=6) + k)
        close(compiled(*c), both(*c))
    assert units(compiled, *c) < 25


def test_unrolled_integrator():
    """Springs between neighbours, by the classical method of order four."""
    count, h = 9, 0.05

    def field(state):
        x, v = state[:count], state[count:]
        right = [b - a for a, b in pairwise(x)]
        force = [right[0], *[b - a for a, b in pairwise(right)], -right[-1]]
        return [*v, *[f - 0.1 * s * wg.sin(s) for f, s in zip(force, x, strict=True)]]

    def axpy(a, x, y):
        return [p * a + q for p, q in zip(x, y, strict=True)]

    def energy(*state):
        state = list(state)
        for _ in range(6):
            k1 = field(state)
            k2 = field(axpy(h / 2, k1, state))
            k3 = field(axpy(h / 2, k2, state))
            k4 = field(axpy(h, k3, state))
            sums = [a + 2.0 * b + 2.0 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
            state = axpy(h / 6, sums, state)
        return sum([s * s for s in state[1:]], start=state[0] * state[0])

    both = wg.value_and_grad(energy, argnums=tuple(range(2 * count)))
    compiled = wg.compile(both)
    state = numbers(np.random.default_rng(2).normal(size=2 * count))
    close(compiled(*state), both(*state))
    assert units(compiled, *state) < len(compiled.program(*state).nodes)


@st.composite
def tables(draw):
    """Layers of sums of products; which numbers each reads steps evenly along two axes and along
    the terms, with a few exceptions or none; some are subtracted."""
    layers = []
    count = 12
    for _ in range(draw(st.integers(1, 3))):
        rows, columns = draw(st.integers(2, 6)), draw(st.integers(2, 6))
        terms = draw(st.integers(2, 10))
        factors = draw(st.sampled_from([1, 2]))
        steps = [[draw(st.integers(-3, 3)) for _ in range(3)] for _ in range(factors)]
        start = [draw(st.integers(0, count - 1)) for _ in range(factors)]
        odd = draw(st.sampled_from([0, 0, 7]))
        layer = []
        for i in range(rows):
            for j in range(columns):
                places = [
                    [
                        (s + a * i + b * j + c * k) % count
                        for s, (a, b, c) in zip(start, steps, strict=True)
                    ]
                    for k in range(terms)
                ]
                if odd and (i * columns + j) % odd == odd - 1:
                    places[-1][0] = (places[-1][0] * 5 + 1) % count
                layer.append(places)
        bias, every = draw(st.booleans()), draw(st.sampled_from([1, 2, 3, 99]))
        layers.append((layer, bias, every, draw(st.sampled_from([wg.tanh, wg.sin, wg.nn.relu]))))
        count += rows * columns
    return layers


def carry_out(program, values, repeats):
    values = list(values)
    for layer, bias, every, activation in program:
        sums = []
        for n, terms in enumerate(layer):
            total = values[n % 12] if bias else None
            for k, places in enumerate(terms):
                factors = [values[p] for p in places]
                term = factors[0] * 0.5 if len(places) == 1 else factors[0] * factors[1]
                if total is None:
                    total = term
                    continue
                total = total + term if (k + 1) % every else total - term
            sums.append(total)
        for _ in range(repeats):
            sums = [activation(s) for s in sums]
        values += sums
    return values


@settings(max_examples=30, deadline=None, derandomize=True)
@given(tables(), st.integers(0, 100), st.sampled_from(["float64", "float32"]))
def test_random_sums(program, seed, dtype):
    xs = numbers(np.random.default_rng(seed).normal(size=12), dtype)
    repeats = 1 + 300 // sum(len(layer) for layer, *_ in program)  # so many are looked at

    def loss(*xs):
        values = carry_out(program, xs, repeats)
        return sum([v * (i % 3 - 1.0) for i, v in enumerate(values[13:])], start=values[12])

    both = wg.value_and_grad(loss, argnums=tuple(range(12)))
    expected = both(*xs)
    compiled = wg.compile(both)
    close(compiled(*xs), expected, dtype)
    close(compiled(*xs[::-1]), both(*xs[::-1]), dtype)
    exact = wg.compile(both, exact=True)
    np.testing.assert_array_equal(flat(exact(*xs)), flat(expected))


def test_slopes_of_what_is_not_selected():
    """An infinite weight behind a ReLU that is off contributes nothing, as in eager sweeps."""
    count = 16
    rng = np.random.default_rng(3)
    values = rng.normal(size=(count, count))

    def gradients(how, *, big):
        weights = numbers(values.ravel())
        weights[5].assign(big)

        def loss(*x):
            h = list(x)
            for sign in (-1.0, 1.0):
                sums = [
                    sum(
                        [weights[j * count + k] * h[k] for k in range(1, count)],
                        start=weights[j * count] * h[0],
                    )
                    for j in range(count)
                ]
                h = [wg.nn.relu(s * sign) for s in sums]
            return sum(h[1:], start=h[0])

        x = numbers(np.abs(values[0]) * np.where(np.arange(count) == 5, 0.0, 1.0))
        return how(wg.grad(loss, argnums=tuple(range(count))))(*x)

    for big in (1e300, float("inf")):
        found, expected = (
            flat(gradients(wg.compile, big=big)),
            flat(gradients(lambda f: f, big=big)),
        )
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-9, atol=1e-12)


def test_counts_of_updates_apart():
    """Parameters that have been updated more often than others, and one that is a vector."""

    def train(how):
        rng = np.random.default_rng(4)
        parameters = numbers(rng.normal(size=40), requires_grad=True)
        vector = wg.tensor(rng.normal(size=3), requires_grad=True)
        optimizer = wg.optim.Adam([*parameters, vector], lr=0.01)
        for p in parameters[10:17]:
            (p * p).backward()
        optimizer.step()  # those without a gradient are left out
        optimizer.zero_grad()

        def step():
            total = (vector * vector).sum()
            for _ in range(10):
                total = total + sum(
                    [wg.sin(p) * q for p, q in pairwise(parameters)], start=parameters[0]
                )
            total.backward()
            optimizer.step()
            optimizer.zero_grad()
            return total

        step = how(step)
        losses = [step() for _ in range(5)]
        return losses, parameters, vector

    losses, found, vector = train(wg.compile)
    expected_losses, expected, expected_vector = train(lambda f: f)
    close([losses, found], [expected_losses, expected])
    np.testing.assert_allclose(vector.numpy(), expected_vector.numpy(), rtol=1e-12)


def test_captured_numbers_are_read_afresh():
    weights = numbers(range(20))
    state = numbers([0.0] * 20)

    @wg.compile
    def step(x):
        sums = [sum([w * x for w in weights[1:]], start=s) for s in state]
        for _ in range(15):
            sums = [wg.tanh(s * 0.1) for s in sums]
        for s, new in zip(state, sums, strict=True):
            s.assign(new + s)
        return sums[3]

    def expected(x, weights, state):
        sums = sum(weights[1:]) * x + state
        for _ in range(15):
            sums = np.tanh(sums * 0.1)
        return sums[3], sums + state

    values, held = np.arange(20.0), np.zeros(20)
    for i in range(4):
        result, held = expected(0.5 + i, values, held)
        np.testing.assert_allclose(step(0.5 + i).item(), result, rtol=1e-12)
        np.testing.assert_allclose(flat(state), held, rtol=1e-12)
        values[i + 3] = -i
        weights[i + 3].assign(-float(i))
        held[i] = 1.0
        state[i].assign(1.0)
    assert step.cache_info().misses == 1


def test_gradients_left_between_calls_are_seen():
    weights = numbers(range(1, 21), requires_grad=True)

    @wg.compile
    def step():
        total = 0.0
        for _ in range(15):
            total = total + sum([wg.sin(w) * w for w in weights[1:]], start=weights[0])
        total.backward()
        return total

    def gradient():
        x = np.arange(1.0, 21.0)
        out = 15 * (np.cos(x) * x + np.sin(x))
        out[0] = 15.0
        return out

    for calls in (1, 2, 3):  # what is there when the call begins is added to
        step()
        np.testing.assert_allclose([w.grad.item() for w in weights], calls * gradient(), rtol=1e-11)
    for w in weights:
        w.grad = None
    step()
    np.testing.assert_allclose([w.grad.item() for w in weights], gradient(), rtol=1e-11)


def test_many_steps_in_one_call():
    """Numbers among the rows of the arguments: tables of addresses follow them."""
    state = numbers(np.linspace(-1, 1, 20))

    def step(x, y):
        sums = [sum([s * x for s in state[1:]], start=y * t) for t in state]
        for _ in range(15):
            sums = [wg.tanh(s * 0.3) for s in sums]
        for s, new in zip(state, sums, strict=True):
            s.assign(0.5 * s + new)
        return sum(sums[1:], start=sums[0])

    rng = np.random.default_rng(5)
    xs, ys = rng.normal(size=7), rng.normal(size=7)
    compiled = wg.compile(step)
    found = compiled.run(wg.tensor(xs), wg.tensor(ys))
    after = flat(state)
    for s, value in zip(state, np.linspace(-1, 1, 20), strict=True):
        s.assign(value)
    expected = [step(wg.tensor(x), wg.tensor(y)).item() for x, y in zip(xs, ys, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)
    np.testing.assert_allclose(after, flat(state), rtol=1e-11)
