"""Functions, losses and the layers made of them against their formulas in NumPy."""

import math

import numpy as np
import pytest
import wengert as wg
from wengert import nn

RNG = np.random.default_rng(0)


def real(*shape, dtype=np.float64):
    return RNG.normal(size=shape).astype(dtype)


def np_log_softmax(x, axis=-1):
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(np.asarray(found.numpy()), expected, tolerance, tolerance)


UNARY = [
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("relu6", {}, lambda x: np.clip(3 * x, 0, 6)),
    ("hardtanh", {"min_val": -0.5}, lambda x: np.clip(x, -0.5, 1)),
    ("leaky_relu", {}, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("leaky_relu", {"negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("elu", {"alpha": 0.7}, lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    (
        "selu",
        {},
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    ("silu", {}, lambda x: x / (1 + np.exp(-x))),
    ("mish", {}, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ("sigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
    ("logsigmoid", {}, lambda x: -np.log1p(np.exp(-x))),
    ("tanh", {}, np.tanh),
    ("softplus", {}, lambda x: np.log1p(np.exp(x))),
    (
        "softplus",
        {"beta": 2.0, "threshold": 1.0},
        lambda x: np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2),
    ),
    ("gelu", {}, lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
    (
        "gelu",
        {"approximate": "tanh"},
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    ("softmax", {"dim": 0}, lambda x: np.exp(np_log_softmax(x, 0))),
    ("softmin", {"dim": -1}, lambda x: np.exp(np_log_softmax(-x, -1))),
    ("log_softmax", {"dim": -1}, lambda x: np_log_softmax(x, -1)),
    ("normalize", {}, lambda x: x / np.sqrt((x * x).sum(1, keepdims=True))),
    ("normalize", {"p": 1, "dim": 0}, lambda x: x / np.abs(x).sum(0, keepdims=True)),
    ("normalize", {"p": 3.0}, lambda x: x / (np.abs(x) ** 3).sum(1, keepdims=True) ** (1 / 3)),
    ("normalize", {"p": math.inf}, lambda x: x / np.abs(x).max(1, keepdims=True)),
]


@pytest.mark.parametrize(("name", "kwargs", "expected"), UNARY)
def test_functions(name, kwargs, expected):
    x = real(4, 3)
    if name == "relu6":
        close(getattr(nn, name)(wg.tensor(3 * x), **kwargs), expected(x))
    else:
        close(getattr(nn, name)(wg.tensor(x), **kwargs), expected(x))


@pytest.mark.parametrize(
    ("layer", "name", "kwargs"),
    [
        (nn.ReLU(inplace=True), "relu", {}),
        (nn.LeakyReLU(0.2), "leaky_relu", {"negative_slope": 0.2}),
        (nn.ELU(0.5), "elu", {"alpha": 0.5}),
        (nn.GELU("tanh"), "gelu", {"approximate": "tanh"}),
        (nn.GELU(), "gelu", {}),
        (nn.SiLU(), "silu", {}),
        (nn.Tanh(), "tanh", {}),
        (nn.Sigmoid(), "sigmoid", {}),
        (nn.Softplus(2.0), "softplus", {"beta": 2.0}),
        (nn.Softmax(0), "softmax", {"dim": 0}),
        (nn.LogSoftmax(1), "log_softmax", {"dim": 1}),
        (nn.Identity(1, a=2), None, {}),
    ],
)
def test_activation_layers_are_their_functions(layer, name, kwargs):
    x = wg.tensor(real(3, 3))
    expected = getattr(nn.functional, name)(x, **kwargs) if name else x
    np.testing.assert_array_equal(layer(x).numpy(), expected.numpy())


def test_softmax_without_axis_warns():
    x = real(2, 3)
    with pytest.warns(UserWarning, match="choose the axis"):
        close(nn.softmax(wg.tensor(x)), np.exp(np_log_softmax(x, 1)))
    with pytest.warns(UserWarning, match="choose the axis"):
        close(nn.log_softmax(wg.tensor(x[0])), np_log_softmax(x[0], 0))


def test_normalize_at_zero():
    x = wg.tensor(np.zeros((1, 3)), requires_grad=True)
    y = nn.normalize(x)
    assert y.tolist() == [[0.0, 0.0, 0.0]]
    y.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_norms():
    x, w, b = real(2, 3, 4), real(3, 4), real(3, 4)
    centred = x - x.mean((1, 2), keepdims=True)
    xhat = centred / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    tx, tw, tb = wg.tensor(x), wg.tensor(w), wg.tensor(b)
    close(nn.layer_norm(tx, (3, 4)), xhat, 1e-10)
    close(nn.layer_norm(tx, (3, 4), tw), xhat * w, 1e-10)
    close(nn.layer_norm(tx, (3, 4), tw, tb), xhat * w + b, 1e-10)
    close(nn.layer_norm(tx, (3, 4), bias=tb), xhat + b, 1e-10)
    rms = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3)
    close(nn.rms_norm(tx, (4,), eps=1e-3), rms, 1e-10)
    close(nn.rms_norm(tx, [4], tw[0], 1e-3), rms * w[0], 1e-10)
    close(nn.rms_norm(tx, 4), x / np.sqrt((x * x).mean(-1, keepdims=True) + 2.0**-52), 1e-10)
    with pytest.raises(wg.ShapeError, match=r"\(2, 3, 4\).*\(3,\)"):
        nn.layer_norm(tx, 3)
    layer = nn.LayerNorm((3, 4)).astype(wg.float64)
    close(layer(tx).detach(), xhat, 1e-10)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(4, elementwise_affine=False).state_dict()) == []
    assert list(nn.RMSNorm(4).state_dict()) == ["weight"]


def test_dropout():
    x = wg.tensor(np.ones(100_000), requires_grad=True)
    wg.random.seed(1)
    y = nn.dropout(x, 0.25)
    values = y.detach().numpy()
    np.testing.assert_allclose(np.unique(values), [0.0, 4.0 / 3.0])
    assert abs((values == 0).mean() - 0.25) < 0.01
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    wg.random.seed(1)
    np.testing.assert_array_equal(nn.dropout(x, 0.25).detach().numpy(), values)
    layers = [nn.Dropout(0.25, generator=wg.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*(layer(x).detach().numpy() for layer in layers))
    assert nn.dropout(x, 0.5, training=False) is x
    assert nn.dropout(x, 0.0) is x
    assert not nn.dropout(wg.tensor([np.nan, 1.0]), 1.0).numpy().any()
    for p in (-0.1, 1.5, math.nan):
        with pytest.raises(wg.ArgumentError, match="between 0 and 1"):
            nn.dropout(x, p)


def test_embedding():
    layer = nn.Embedding(4, 2, padding_idx=-1)
    assert layer.weight.tolist()[3] == [0.0, 0.0]
    indices = wg.tensor([[0, 3], [0, 1]])
    y = layer(indices)
    np.testing.assert_array_equal(
        y.detach().numpy(), layer.weight.detach().numpy()[indices.numpy()]
    )
    y.sum().backward()
    assert layer.weight.grad.tolist() == [[2.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(wg.BoundsError):
        layer(wg.tensor([4]))
    with pytest.raises(wg.DTypeError):
        layer(wg.tensor([1.0]))
    with pytest.raises(wg.ArgumentError, match="4 rows"):
        nn.Embedding(4, 2, padding_idx=4)


def test_one_hot():
    y = nn.one_hot(wg.tensor([[0, 2]]))
    assert y.dtype == np.int64
    assert y.tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert nn.one_hot(wg.tensor([1]), 4).tolist() == [[0, 1, 0, 0]]
    with pytest.raises(wg.Error):
        nn.one_hot(wg.tensor([4]), 4)
    with pytest.raises(wg.DTypeError, match="float32"):
        nn.one_hot(wg.tensor([1.0]))


def test_attention():
    q, k, v = real(2, 3, 4), real(2, 5, 4), real(2, 5, 6)
    tensors = [wg.tensor(x) for x in (q, k, v)]
    scores = q @ k.transpose(0, 2, 1) / 2.0

    def attend(scores):
        return np.exp(np_log_softmax(scores)) @ v

    attention = nn.scaled_dot_product_attention
    close(attention(*tensors), attend(scores))
    mask = RNG.random((3, 5)) < 0.5
    mask[:, 0] = True
    close(attention(*tensors, attn_mask=wg.tensor(mask)), attend(np.where(mask, scores, -np.inf)))
    bias = real(3, 5)
    close(attention(*tensors, wg.tensor(bias)), attend(scores + bias))
    causal = np.tril(np.ones((3, 5), bool))
    close(attention(*tensors, is_causal=True), attend(np.where(causal, scores, -np.inf)))
    close(attention(*tensors, scale=0.1), attend(scores * 0.2))
    with pytest.raises(wg.ArgumentError, match="not both"):
        attention(*tensors, attn_mask=wg.tensor(mask), is_causal=True)


def test_flatten():
    x = wg.zeros((2, 3, 4))
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0)(x).shape == (24,)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
    assert nn.Flatten()(wg.zeros((0, 3, 4))).shape == (0, 12)
    with pytest.raises(wg.ShapeError, match=r"\(2, 3, 4\)"):
        nn.Flatten(-1, 1)(x)


def reference_cross_entropy(x, t, weight, ignore, reduction, smoothing):
    """One example and position at a time."""
    classes = x.shape[1] if x.ndim > 1 else x.shape[0]
    rows = np.moveaxis(x, 1, -1).reshape(-1, classes) if x.ndim > 1 else x[None]
    w = np.ones(classes) if weight is None else weight
    losses, mass = [], 0.0
    for row, c in zip(rows, t.reshape(-1)):
        if c == ignore:
            losses.append(0.0)
            continue
        logs = np_log_softmax(row)
        loss = -(1 - smoothing) * w[c] * logs[c] - smoothing / classes * (w * logs).sum()
        losses.append(loss)
        mass += w[c]
    losses = np.array(losses)
    if reduction == "none":
        return losses.reshape(t.shape)
    return losses.sum() / (mass if reduction == "mean" else 1.0)


@pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 4, 2), (2, 4, 2, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_indices(shape, weighted, reduction, smoothing):
    x = real(*shape)
    t = RNG.integers(0, 4, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if t.size > 2:
        t.reshape(-1)[1] = 7
    weight = np.array([0.5, 1.0, 2.0, 3.0]) if weighted else None
    kwargs = {"ignore_index": 7, "reduction": reduction, "label_smoothing": smoothing}
    expected = reference_cross_entropy(x, t, weight, 7, reduction, smoothing)
    tx = wg.tensor(x, requires_grad=True)
    tw = None if weight is None else wg.tensor(weight)
    found = nn.cross_entropy(tx, wg.tensor(t), tw, **kwargs)
    close(found.detach(), expected)
    assert found.shape == np.shape(expected)
    found.sum().backward()
    for index in [(0,) * x.ndim, tuple(n - 1 for n in shape)]:
        up, down = x.copy(), x.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        step = [
            np.sum(reference_cross_entropy(z, t, weight, 7, reduction, smoothing))
            for z in (up, down)
        ]
        assert abs(tx.grad.numpy()[index] - (step[0] - step[1]) / 2e-6) < 1e-7
    if smoothing == 0.0:
        logs = wg.log_softmax(wg.tensor(x), axis=0 if len(shape) == 1 else 1)
        close(nn.nll_loss(logs, wg.tensor(t), tw, ignore_index=7, reduction=reduction), expected)


def test_cross_entropy_ignores_what_is_marked():
    x = wg.tensor(real(3, 4), requires_grad=True)
    loss = nn.cross_entropy(x, wg.tensor([-100, 1, -100]))
    close(loss.detach(), -np_log_softmax(x.detach().numpy())[1, 1])
    loss.backward()
    grad = x.grad.numpy()
    assert not grad[[0, 2]].any()
    assert grad[1].all()
    assert math.isnan(nn.cross_entropy(x, wg.tensor([-100] * 3)).item())
    assert nn.cross_entropy(x, wg.tensor([-100] * 3), reduction="sum").item() == 0.0


@pytest.mark.parametrize("shape", [(5, 4), (4,), (3, 4, 2)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities(shape, weighted, smoothing):
    axis = 1 if len(shape) > 1 else 0
    x, raw = real(*shape), RNG.random(shape)
    p = raw / raw.sum(axis, keepdims=True)
    weight = np.array([0.5, 1.0, 2.0, 3.0])
    w = (weight if weighted else np.ones(4)).reshape((4, 1) if len(shape) == 3 else (4,))
    smooth = p * (1 - smoothing) + smoothing / 4
    losses = -(smooth * w * np_log_softmax(x, axis)).sum(axis)
    for reduction, expected in [("none", losses), ("sum", losses.sum()), ("mean", losses.mean())]:
        found = nn.cross_entropy(
            wg.tensor(x),
            wg.tensor(p),
            wg.tensor(weight) if weighted else None,
            reduction=reduction,
            label_smoothing=smoothing,
        )
        close(found, expected)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda x, t: nn.cross_entropy(x, t[:2]),
            wg.ShapeError,
            r"\(3, 4\).*\(3,\).*\(2,\)|\(2,\)",
        ),
        (lambda x, t: nn.cross_entropy(x, x[:2]), wg.ShapeError, r"\(3, 4\).*\(2, 4\)"),
        (lambda x, t: nn.cross_entropy(x, t, reduction="avg"), wg.ArgumentError, "'avg'"),
        (lambda x, t: nn.cross_entropy(x, t, label_smoothing=2.0), wg.ArgumentError, "2.0"),
        (lambda x, t: nn.cross_entropy(x, t + 9), wg.BoundsError, "9|10|11|12"),
        (lambda x, t: nn.mse_loss(x, x, reduction="avg"), wg.ArgumentError, "'avg'"),
        (lambda x, t: nn.huber_loss(x, x, delta=0.0), wg.ArgumentError, "0.0"),
        (lambda x, t: nn.smooth_l1_loss(x, x, beta=-1.0), wg.ArgumentError, "-1.0"),
        (lambda x, t: nn.binary_cross_entropy(x * 0.0 + 2.0, x), wg.ArgumentError, "2.0"),
        (lambda x, t: nn.binary_cross_entropy(x, x[:2]), wg.ShapeError, r"\(2, 4\)"),
        (
            lambda x, t: nn.binary_cross_entropy_with_logits(x, x[0]),
            wg.ShapeError,
            r"\(3, 4\) and \(4,\)",
        ),
        (lambda x, t: nn.gelu(x, approximate="cubic"), wg.ArgumentError, "'cubic'"),
        (lambda x, t: nn.MSELoss(reduction="avg"), wg.ArgumentError, "'avg'"),
        (lambda x, t: nn.Linear(-1), wg.ArgumentError, "-1"),
        (lambda x, t: nn.Linear(2.5, 3), wg.ArgumentTypeError, "2.5"),
        (lambda x, t: nn.Dropout(1.5), wg.ArgumentError, "1.5"),
        (lambda x, t: nn.linear(x, x[:, :2]), wg.ShapeError, r"\(3, 4\)"),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call(wg.tensor(real(3, 4)), wg.tensor([0, 1, 2]))


def xlogy(p):
    return np.where(p == 0, 0.0, p * np.log(np.where(p == 0, 1.0, p)))


X, T, W = real(3, 4), real(3, 4), np.abs(real(3, 4))
P, Q = RNG.random((3, 4)), RNG.random((3, 4))
Q[0] = [0.0, 1.0, 0.0, 1.0]
D = np.abs(X - T)
POINTWISE = [
    ("mse_loss", (X, T), {}, (X - T) ** 2),
    ("l1_loss", (X, T), {}, D),
    ("smooth_l1_loss", (X, T), {}, np.where(D < 1, D**2 / 2, D - 0.5)),
    ("smooth_l1_loss", (X, T), {"beta": 0.4}, np.where(D < 0.4, D**2 / 0.8, D - 0.2)),
    ("smooth_l1_loss", (X, T), {"beta": 0.0}, D),
    ("huber_loss", (X, T), {"delta": 0.4}, np.where(D <= 0.4, D**2 / 2, 0.4 * (D - 0.2))),
    ("binary_cross_entropy", (P, Q), {}, -(Q * np.log(P) + (1 - Q) * np.log1p(-P))),
    ("binary_cross_entropy", (P, Q, W), {}, -W * (Q * np.log(P) + (1 - Q) * np.log1p(-P))),
    ("binary_cross_entropy_with_logits", (X, Q), {}, np.log1p(np.exp(X)) - X * Q),
    (
        "binary_cross_entropy_with_logits",
        (X, Q),
        {"pos_weight": W[0]},
        W[0] * Q * np.log1p(np.exp(-X)) + (1 - Q) * np.log1p(np.exp(X)),
    ),
    ("kl_div", (X, Q), {}, xlogy(Q) - Q * X),
    ("kl_div", (X, np.log(P)), {"log_target": True}, P * (np.log(P) - X)),
]


@pytest.mark.parametrize(("name", "args", "kwargs", "losses"), POINTWISE)
def test_pointwise_losses(name, args, kwargs, losses):
    args = [wg.tensor(a) for a in args]
    kwargs = {k: wg.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    function = getattr(nn, name)
    close(function(*args, **kwargs), losses.mean())
    close(function(*args, reduction="sum", **kwargs), losses.sum())
    close(function(*args, reduction="none", **kwargs), losses)
    module = {
        "mse_loss": nn.MSELoss,
        "l1_loss": nn.L1Loss,
        "smooth_l1_loss": nn.SmoothL1Loss,
        "huber_loss": nn.HuberLoss,
        "binary_cross_entropy": nn.BCELoss,
        "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
        "kl_div": nn.KLDivLoss,
    }[name]
    if len(args) == 3:
        kwargs["weight"] = args[2]
    close(module(reduction="sum", **kwargs)(*args[:2]), losses.sum())


def test_weighted_mean_is_over_the_weights():
    x, t, w = wg.tensor(X), wg.tensor(T), wg.tensor(W)
    close(nn.mse_loss(x, t, weight=w), (W * (X - T) ** 2).sum() / W.sum())
    close(nn.l1_loss(x, t, weight=w), (W * D).sum() / W.sum())
    huber = np.where(D <= 1, D**2 / 2, D - 0.5)
    close(nn.huber_loss(x, t, weight=w), (W * huber).mean())
    close(nn.mse_loss(x, t, weight=w, reduction="none"), W * (X - T) ** 2)


def test_losses_at_the_ends():
    logits = wg.tensor([-200.0, 200.0], requires_grad=True)
    close(
        nn.binary_cross_entropy_with_logits(
            logits, wg.tensor([0.0, 1.0]), reduction="none"
        ).detach(),
        [0.0, 0.0],
    )
    wrong = nn.binary_cross_entropy_with_logits(logits, wg.tensor([1.0, 0.0]), reduction="none")
    close(wrong.detach(), [200.0, 200.0])
    wrong.sum().backward()
    assert logits.grad.tolist() == [-1.0, 1.0]
    close(nn.binary_cross_entropy(wg.tensor([0.0, 1.0]), wg.tensor([0.0, 1.0])), 0.0)
    close(nn.binary_cross_entropy(wg.tensor([0.0, 1.0]), wg.tensor([1.0, 0.0])), 100.0)
    x, t = wg.tensor(X), wg.tensor(Q)
    close(nn.kl_div(x, t, reduction="batchmean"), (xlogy(Q) - Q * X).sum() / 3)


def test_shapes_that_broadcast_in_a_loss_warn():
    with pytest.warns(UserWarning, match=r"\(3, 4\).*\(4,\)"):
        close(nn.mse_loss(wg.tensor(X), wg.tensor(T[0])), ((X - T[0]) ** 2).mean())


def test_loss_modules_with_classes():
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    t = np.array([0, 3, 1])
    loss = nn.CrossEntropyLoss(wg.tensor(weight), label_smoothing=0.1)
    close(
        loss(wg.tensor(X), wg.tensor(t)), reference_cross_entropy(X, t, weight, -100, "mean", 0.1)
    )
    assert list(loss.state_dict()) == ["weight"]
    logs = np_log_softmax(X)
    close(nn.NLLLoss()(wg.tensor(logs), wg.tensor(t)), -logs[range(3), t].mean())


Y, V = RNG.normal(size=(2, 3)), np.array([-0.7, 0.3, 1.9])
LOGITS, CLASSES = Y + 0.1, np.array([0, 2])
PARAMETERS = [
    ("softplus", 1.0, lambda s: nn.softplus(V, s)),
    ("softplus", 0.5, lambda s: nn.softplus(V, s)),
    ("hardtanh", 1.0, lambda s: nn.hardtanh(V, -s, s)),
    ("elu", 1.0, lambda s: nn.elu(V, s)),
    ("leaky_relu", 0.01, lambda s: nn.leaky_relu(V, s)),
    ("normalize", 1.0, lambda s: nn.normalize(Y, s)),
    ("normalize", 2.0, lambda s: nn.normalize(Y, s)),
    ("normalize", 3.0, lambda s: nn.normalize(Y, s)),
    ("smooth_l1_loss", 1.0, lambda s: nn.smooth_l1_loss(V, 1.5 * V, beta=s)),
    ("huber_loss", 1.0, lambda s: nn.huber_loss(V, 3.0 * V, delta=s)),
    ("dropout", 0.3, lambda s: nn.dropout(V, s, generator=wg.random.default_rng(0))),
    ("soft cross_entropy", 0.1, lambda s: nn.cross_entropy(LOGITS, abs(Y), label_smoothing=s)),
    (
        "cross_entropy",
        0.1,
        lambda s: nn.cross_entropy(LOGITS, CLASSES, weight=wg.asarray(V), label_smoothing=s),
    ),
    ("batch_norm", 0.1, lambda s: nn.batch_norm(Y, None, None, training=True, eps=s)),
]


@pytest.mark.parametrize(("name", "at", "f"), PARAMETERS)
def test_parameters_may_be_tensors(name, at, f):
    s = wg.asarray(np.float64(at))
    np.testing.assert_allclose(f(s).numpy(), f(at).numpy(), rtol=1e-12)
    wg.check_grads(f, (s,))
    assert np.abs(wg.jacfwd(f)(s).numpy()).max() > 0.0


def test_shortcuts_of_numbers_keep_derivatives_of_tensors():
    """At the value of a parameter where numbers take a shorter way."""
    smoothing = np.float64(0.0)
    for f in (
        lambda s: nn.cross_entropy(LOGITS, abs(Y), label_smoothing=s),
        lambda s: nn.cross_entropy(LOGITS, CLASSES, weight=wg.asarray(V), label_smoothing=s),
    ):
        slope = (f(1e-3).item() - f(0.0).item()) / 1e-3
        assert wg.grad(f)(smoothing).item() == pytest.approx(slope, rel=1e-6)
    f = lambda s: nn.smooth_l1_loss(V, 1.5 * V, beta=s)  # noqa: E731
    assert wg.grad(f)(smoothing).item() == pytest.approx(-0.5)
    f = lambda s: nn.dropout(V, s, generator=wg.random.default_rng(0)).sum()  # noqa: E731
    assert wg.grad(f)(smoothing).item() == pytest.approx(V.sum())


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda s: nn.layer_norm(Y, (3,), eps=s), "layer_norm: 'eps'"),
        (lambda s: nn.rms_norm(Y, (3,), eps=s), "rms_norm: 'eps'"),
        (lambda s: wg.var(Y, correction=s), "var: 'correction'"),
        (lambda s: wg.std(Y, correction=s), "std: 'correction'"),
        (lambda s: nn.cross_entropy(LOGITS, CLASSES, label_smoothing=s), "'label_smoothing'"),
    ],
)
def test_numbers_lose_no_derivative(f, says):
    s = wg.tensor(0.1, requires_grad=True)
    for run in (
        lambda: wg.grad(lambda s: f(s).sum())(0.1),
        lambda: wg.jvp(f, (0.1,), (1.0,)),
        lambda: f(s),
    ):
        with pytest.raises(wg.GraphError, match=says + " takes a number, .* being differentiated"):
            run()
    with wg.no_grad():
        expected = f(s)
    assert wg.array_equal(f(s.detach()), expected)
