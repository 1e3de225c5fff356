"""LSTM and GRU against their formulas in NumPy, and what compiled programs make of them."""

import numpy as np
import pytest
import wengert as wg

RNG = np.random.default_rng(0)
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm_step(states, gates_x, gates_h):
    _, c = states
    i, f, g, o = np.split(gates_x + gates_h, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(states, gates_x, gates_h):
    (r, z, n), (rh, zh, nh) = (np.split(part, 3, axis=-1) for part in (gates_x, gates_h))
    n = np.tanh(n + sigmoid(r + rh) * nh)
    return ((1.0 - sigmoid(z + zh)) * n + sigmoid(z + zh) * states[0],)


STEP = {"LSTM": (lstm_step, 2), "GRU": (gru_step, 1)}


def reference(kind, state, x, starts, layers, ways):
    """Outputs (steps, batch, ways * hidden) and last states, by layer and direction."""
    step, count = STEP[kind]
    ends = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            name = f"l{layer}{'_reverse' if way else ''}"
            w, u = state[f"weight_ih_{name}"], state[f"weight_hh_{name}"]
            b, b2 = state.get(f"bias_ih_{name}", 0.0), state.get(f"bias_hh_{name}", 0.0)
            states = tuple(s[len(ends)] for s in starts)
            rows = []
            for row in x[::-1] if way else x:
                states = step(states, row @ w.T + b, states[0] @ u.T + b2)
                rows.append(states[0])
            ends.append(states)
            outputs.append(np.stack(rows[::-1] if way else rows))
        x = np.concatenate(outputs, axis=-1)
    return x, [np.stack([end[k] for end in ends]) for k in range(count)]


def states_of(end):
    return list(end) if isinstance(end, tuple) else [end]


@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2}, {"bias": False}, {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
])  # fmt: skip
@pytest.mark.parametrize("kind", STEP)
@pytest.mark.parametrize("started", [False, True])
def test_values(kind, options, started):
    layer = getattr(wg.nn, kind)(INPUTS, HIDDEN, dtype="float64", **options)
    state = {name: p.numpy() for name, p in layer.state_dict().items()}
    layers, ways = options.get("num_layers", 1), 1 + options.get("bidirectional", False)
    shape = layers * ways, BATCH, HIDDEN
    starts = [RNG.normal(size=shape) * started for _ in range(STEP[kind][1])]
    x = RNG.normal(size=(STEPS, BATCH, INPUTS))
    want, ends = reference(kind, state, x, starts, layers, ways)
    first = options.get("batch_first", False)
    start = (tuple(starts) if kind == "LSTM" else starts[0]) if started else None
    output, end = layer(x.swapaxes(0, 1) if first else x, start)
    np.testing.assert_allclose(
        output.numpy(), want.swapaxes(0, 1) if first else want, rtol=1e-12, atol=1e-14
    )
    for found, expected in zip(states_of(end), ends, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", STEP)
def test_names_shapes_and_one_sequence(kind):
    gates = {"LSTM": 4, "GRU": 3}[kind]
    layer = getattr(wg.nn, kind)(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    shapes = {name: p.shape for name, p in layer.state_dict().items()}
    assert list(shapes)[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert shapes["weight_ih_l1_reverse"] == (gates * HIDDEN, 2 * HIDDEN)
    assert shapes["weight_hh_l1"] == (gates * HIDDEN, HIDDEN)
    assert max(float(abs(p).max()) for p in layer.parameters()) <= HIDDEN**-0.5
    x = RNG.normal(size=(STEPS, INPUTS)).astype("float32")
    output, end = layer(x)
    batch, batch_end = layer(x[:, None])
    np.testing.assert_allclose(output.numpy(), batch.numpy()[:, 0], rtol=1e-6)
    for one, many in zip(states_of(end), states_of(batch_end), strict=True):
        np.testing.assert_allclose(one.numpy(), many.numpy()[:, 0], rtol=1e-6)


def test_dropout_is_between_layers_and_in_training_only():
    layer = wg.nn.LSTM(INPUTS, HIDDEN, num_layers=2, dropout=0.5)
    x = RNG.normal(size=(STEPS, BATCH, INPUTS)).astype("float32")
    a, b = layer(x)[0].numpy(), layer(x)[0].numpy()
    assert np.abs(a - b).max() > 0
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    single = wg.nn.LSTM(INPUTS, HIDDEN, dropout=0.5)
    np.testing.assert_array_equal(single(x)[0].numpy(), single(x)[0].numpy())


@pytest.mark.parametrize("kind", STEP)
def test_bad_input(kind):
    make = getattr(wg.nn, kind)
    layer = make(INPUTS, HIDDEN)
    for x in (np.ones(INPUTS), np.ones((2, 3, INPUTS + 1)), np.ones((1, 2, 3, INPUTS))):
        with pytest.raises(wg.ShapeError, match="input needs shape"):
            layer(x)
    with pytest.raises(wg.ShapeError, match="start needs"):
        layer(np.ones((2, 3, INPUTS)), np.ones((1, 2, HIDDEN)))
    for bad in ({"dropout": 1.5}, {"num_layers": -1}, {"dropout": "x"}):
        with pytest.raises(wg.Error):
            make(INPUTS, HIDDEN, **bad)


def gradients(layer, loss):
    loss.backward()
    found = [p.grad.numpy() for p in layer.parameters()]
    for p in layer.parameters():
        p.grad = None
    return found


@pytest.mark.parametrize("kind", STEP)
def test_derivatives(kind):
    layer = getattr(wg.nn, kind)(2, 3, num_layers=2, bidirectional=True, dtype="float64")
    x = RNG.normal(size=(4, 2, 2))
    params = dict(layer.named_parameters())

    def loss(params, x):
        return (wg.functional_call(layer, params, x)[0] ** 2).sum()

    wg.check_grads(loss, (params, wg.tensor(x)), order=1)
    wg.check_grads(lambda x: loss(params, x), (wg.tensor(x),), order=2)


@pytest.mark.parametrize("kind", STEP)
def test_compiled_gradients(kind):
    """Weight gradients are one product behind the loop, unless bits are to stay."""
    layer = getattr(wg.nn, kind)(INPUTS, HIDDEN, dtype="float64")
    x = wg.tensor(RNG.normal(size=(STEPS, BATCH, INPUTS)))
    params = list(layer.parameters())

    def step(x):
        (layer(x)[0] ** 2).sum().backward()
        found = [p.grad for p in params]
        for p in params:
            p.grad = None
        return found

    expected = step(x)
    fast, exact = wg.compile(step), wg.compile(step, exact=True)
    for found, same, want in zip(fast(x), exact(x), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), want.numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(same.numpy(), want.numpy())
    assert "scans whose sums of products are one product: 1\n" in fast.explain(x)
    assert "scans whose sums" not in exact.explain(x)
    products = [n.name for n in fast.program(x).nodes].count("chain_matmul")
    assert products == 1 + [n.name for n in exact.program(x).nodes].count("chain_matmul")


def test_a_scan_without_steps_has_zero_gradients():
    w = wg.tensor(RNG.normal(size=(3, 3)))

    def loss(w, xs):
        h, _ = wg.scan(
            lambda h, x: (wg.tanh(h @ w.T + x), h), wg.zeros((2, 3), dtype="float64"), xs
        )
        return (h * h).sum()

    for steps in (0, 1, 4):
        xs = wg.tensor(RNG.normal(size=(steps, 2, 3)))
        found = wg.compile(wg.grad(loss, (0, 1)))(w, xs)
        for x, y in zip(found, wg.grad(loss, (0, 1))(w, xs), strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("layer", [wg.nn.LSTM, wg.nn.GRU])
def test_dtypes_that_differ_meet_in_the_wider_one(layer):
    wide = layer(3, 4, dtype="float64")
    x = wg.ones((5, 2, 3))
    y, end = wide(input=x)
    assert {z.dtype for z in wg.tree.leaves((y, end))} == {wg.float64}
    narrow = layer(3, 4)
    start = wg.tree.map(lambda z: z.astype("float64"), end)
    y, end = narrow(x, start)
    assert {z.dtype for z in wg.tree.leaves((y, end))} == {wg.float64}
    with pytest.raises(wg.ArgumentTypeError, match="'dropout' takes a number"):
        layer(3, 4, dropout=True)
    assert layer(np.int64(3), np.int32(4), np.int8(1)).hidden_size == 4
