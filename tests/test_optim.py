"""Optimisers against their formulas in NumPy over several steps."""

import math

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

SHAPES = [(3, 4), (5,), ()]


def start(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def gradients(step, dtype=np.float64):
    rng = np.random.default_rng(100 + step)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def sgd(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    params, buffers = start(), [None] * len(SHAPES)
    for step in range(5):
        rate = lr(step) if callable(lr) else lr
        for i, g in enumerate(gradients(step)):
            d = (-g if maximize else g) + weight_decay * params[i]
            if momentum:
                buffers[i] = d if step == 0 else momentum * buffers[i] + (1 - dampening) * d
                d = d + momentum * buffers[i] if nesterov else buffers[i]
            params[i] = params[i] - rate * d
    return params


def adam(
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    maximize=False,
    decoupled=False,
):
    params = start()
    m, v, largest = ([np.zeros_like(p) for p in params] for _ in range(3))
    for step in range(5):
        rate = lr(step) if callable(lr) else lr
        for i, g in enumerate(gradients(step)):
            g = -g if maximize else g
            if decoupled:
                params[i] = params[i] * (1 - rate * weight_decay)
            else:
                g = g + weight_decay * params[i]
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            largest[i] = np.maximum(largest[i], v[i])
            second = (largest[i] if amsgrad else v[i]) / (1 - betas[1] ** (step + 1))
            first = m[i] / (1 - betas[0] ** (step + 1))
            params[i] = params[i] - rate * first / (np.sqrt(second) + eps)
    return params


def adamw(weight_decay=1e-2, **options):
    return adam(weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False,
            maximize=False):  # fmt: skip
    params = start()
    square, mean, buffer = ([np.zeros_like(p) for p in params] for _ in range(3))
    for step in range(5):
        rate = lr(step) if callable(lr) else lr
        for i, g in enumerate(gradients(step)):
            g = (-g if maximize else g) + weight_decay * params[i]
            square[i] = alpha * square[i] + (1 - alpha) * g * g
            mean[i] = alpha * mean[i] + (1 - alpha) * g
            root = np.sqrt(square[i] - (mean[i] ** 2 if centered else 0)) + eps
            buffer[i] = momentum * buffer[i] + g / root
            params[i] = params[i] - rate * buffer[i]
    return params


OPTIONS = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.2}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2, "nesterov": True}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    (optim.SGD, sgd, {"lr": optim.cosine(0.1, 4)}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.9)}),
    (optim.Adam, adam, {"lr": 0.1, "eps": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.2}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.5), "amsgrad": True}),
    (optim.Adam, adam, {"lr": 0.1, "maximize": True}),
    (optim.Adam, adam, {"lr": optim.linear(0.1, 0.0, 5)}),
    (optim.AdamW, adamw, {"lr": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.5}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.5, "amsgrad": True, "maximize": True}),
    (optim.RMSProp, rmsprop, {}),
    (optim.RMSProp, rmsprop, {"momentum": 0.9, "weight_decay": 0.2, "maximize": True}),
    (optim.RMSProp, rmsprop, {"lr": 0.1, "alpha": 0.5, "eps": 0.1, "centered": True}),
    (optim.RMSProp, rmsprop, {"alpha": 0.5, "eps": 0.1, "centered": True, "momentum": 0.5}),
]


def parameters(dtype=np.float64):
    return [nn.Parameter(value) for value in start(dtype)]


def run(optimizer, params, steps, dtype=np.float64):
    for step in steps:
        for p, g in zip(params, gradients(step, dtype)):
            p.grad = wg.tensor(g)
        optimizer.step()


@pytest.mark.parametrize(("kind", "reference", "options"), OPTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_five_steps(kind, reference, options, dtype):
    params = parameters(dtype)
    run(kind(params, **options), params, range(5), dtype)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for p, expected in zip(params, reference(**options)):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.detach().numpy(), expected, tolerance, tolerance)


@pytest.mark.parametrize(("kind", "reference", "options"), OPTIONS)
def test_state_dict_resumes(kind, reference, options, tmp_path):
    params = parameters()
    optimizer = kind(params, **options)
    run(optimizer, params, range(2))
    wg.save(tmp_path / "state", optimizer.state_dict())
    twins = [nn.Parameter(p.detach().numpy()) for p in params]
    fresh = {key: value for key, value in options.items() if callable(value) or key == "nesterov"}
    if "nesterov" in fresh:
        fresh["momentum"] = 0.1
    twin = kind(twins, **fresh)
    twin.load_state_dict(wg.load(tmp_path / "state"))
    run(twin, twins, range(2, 5))
    for p, expected in zip(twins, reference(**options)):
        np.testing.assert_allclose(p.detach().numpy(), expected, 1e-12, 1e-12)


def test_loading_takes_copies():
    params = parameters()
    a = optim.Adam(params, lr=0.1)
    run(a, params, range(2))
    state = a.state_dict()
    b = optim.Adam(parameters(), lr=0.1)
    b.load_state_dict(state)
    before = state["groups"][0]["state"]["mean"][0].tolist()
    run(b, b.param_groups[0]["params"], range(2, 4))
    assert state["groups"][0]["state"]["mean"][0].tolist() == before
    assert state["groups"][0]["counts"].tolist() == [2, 2, 2]


def test_parameters_without_a_gradient_stay_and_are_not_counted():
    params = parameters()
    optimizer = optim.Adam(params, lr=0.1)
    params[0].grad = wg.tensor(gradients(0)[0])
    optimizer.step()
    np.testing.assert_array_equal(params[1].detach().numpy(), start()[1])
    optimizer.zero_grad()
    assert params[0].grad is None
    params[1].grad = wg.tensor(np.full(5, 3.0))
    optimizer.step()
    # A first step of Adam is lr times the sign of the gradient.
    np.testing.assert_allclose(params[1].detach().numpy(), start()[1] - 0.1, 1e-7)
    assert optimizer.state_dict()["groups"][0]["counts"].tolist() == [1, 1, 0]
    assert optimizer.steps == 2


def test_groups_have_options_of_their_own():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.25)
    for p in (a, b):
        p.grad = wg.tensor([1.0])
    optimizer.step()
    assert (a.item(), b.item()) == (0.75, 0.5)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert (a.item(), b.item()) == (0.75, 0.0)
    late = nn.Parameter([1.0])
    optimizer.add_param_group({"params": [late]})
    late.grad = wg.tensor([1.0])
    optimizer.step()
    assert late.item() == 0.75


def test_gradients_and_parameters_of_any_strides():
    base = wg.tensor(np.arange(6.0).reshape(2, 3))
    p = nn.Parameter(base.T)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(p.detach().numpy(), np.arange(6.0).reshape(2, 3).T - 1)
    np.testing.assert_array_equal(base.numpy(), np.arange(6.0).reshape(2, 3) - 1)


def test_a_step_is_seen_by_a_pending_sweep():
    p = nn.Parameter([2.0])
    loss = (p * p).sum()
    p.grad = wg.tensor([1.0])
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(wg.GraphError):
        loss.backward()


def test_empty_and_large_parameters():
    empty, large = nn.Parameter(np.zeros((0, 3))), nn.Parameter(np.ones(100_003))
    optimizer = optim.AdamW([empty, large], lr=0.5, weight_decay=0.0)
    empty.grad, large.grad = wg.tensor(np.zeros((0, 3))), wg.tensor(np.full(100_003, 2.0))
    optimizer.step()
    np.testing.assert_allclose(large.detach().numpy(), np.full(100_003, 0.5), 1e-7)


def test_training_reaches_the_least_squares_solution():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = x @ np.array([1.0, -2.0, 3.0]) + 0.5
    wg.random.seed(0)
    model = nn.Linear(3, 1, dtype="float64")
    optimizer = optim.Adam(model.parameters(), lr=optim.cosine(0.3, 400))
    for _ in range(400):
        optimizer.zero_grad()
        nn.mse_loss(model(wg.tensor(x)), wg.tensor(y[:, None])).backward()
        optimizer.step()
    np.testing.assert_allclose(model.weight.detach().numpy(), [[1.0, -2.0, 3.0]], 1e-4)
    np.testing.assert_allclose(model.bias.detach().numpy(), [0.5], 1e-4)


def test_clip_grad_norm():
    params = parameters()
    grads = gradients(0)
    for p, g in zip(params, grads):
        p.grad = wg.tensor(g)
    norm = math.sqrt(sum((g * g).sum() for g in grads))
    assert optim.clip_grad_norm(iter(params), 2 * norm) == pytest.approx(norm)
    np.testing.assert_array_equal(params[0].grad.numpy(), grads[0])
    assert optim.clip_grad_norm(params, 0.5) == pytest.approx(norm)
    for p, g in zip(params, grads):
        np.testing.assert_allclose(p.grad.numpy(), g * (0.5 / (norm + 1e-6)), 1e-12)
    for p in params:
        p.grad = None
    assert optim.clip_grad_norm(params, 1.0) == 0.0
    with pytest.raises(wg.ArgumentError, match="-1"):
        optim.clip_grad_norm(params, -1.0)


def test_clipping_scales_shared_gradients_once():
    a, b = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(2))
    cotangent = wg.tensor(np.array([3.0, 4.0]))
    (a + b).backward(cotangent)
    norm = optim.clip_grad_norm([a, b], 1.0)
    assert norm == pytest.approx(math.sqrt(50.0))
    for p in (a, b):
        np.testing.assert_allclose(p.grad.numpy(), np.array([3.0, 4.0]) / norm, 1e-6)
    assert cotangent.tolist() == [3.0, 4.0]
    c = nn.Parameter(np.zeros(4))
    c.sum().backward()
    optim.clip_grad_norm(c, 1.0)
    np.testing.assert_allclose(c.grad.numpy(), np.full(4, 0.5), 1e-6)


def test_schedules():
    assert [optim.constant(0.5)(s) for s in (0, 9)] == [0.5, 0.5]
    assert [optim.linear(1.0, 0.0, 2)(s) for s in range(4)] == [1.0, 0.5, 0.0, 0.0]
    cosine = optim.cosine(2.0, 4, end=1.0)
    expected = [1.0 + (1.0 + math.cos(math.pi * s / 4)) / 2 for s in range(5)]
    np.testing.assert_allclose([cosine(s) for s in range(5)], expected)
    assert cosine(9) == 1.0
    warm = optim.warmup(2, optim.linear(1.0, 0.0, 2))
    assert [warm(s) for s in range(6)] == [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert optim.warmup(2, 0.5)(7) == 0.5
    for make in (lambda: optim.linear(1.0, 0.0, 0), lambda: optim.cosine(1.0, -1)):
        with pytest.raises(wg.ArgumentError, match="'steps' is at least 1"):
            make()


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda p: optim.SGD([], lr=0.1), wg.ArgumentError, "no parameters"),
        (lambda p: optim.SGD(p, lr=0.1), wg.ArgumentTypeError, r"Use \[tensor\]"),
        (
            lambda p: optim.SGD(nn.Linear(2, 1), lr=0.1),
            wg.ArgumentTypeError,
            r"model.parameters\(\)",
        ),
        (lambda p: optim.SGD([1.0], lr=0.1), wg.ArgumentTypeError, "float"),
        (lambda p: optim.SGD([p, p], lr=0.1), wg.ArgumentError, "more than once"),
        (lambda p: optim.SGD([p * 2.0], lr=0.1), wg.GraphError, "leaves"),
        (lambda p: optim.SGD([wg.tensor([1])], lr=0.1), wg.ArgumentTypeError, "int64"),
        (lambda p: optim.SGD([p], lr=-0.1), wg.ArgumentError, "-0.1"),
        (lambda p: optim.SGD([p], lr=math.nan), wg.ArgumentError, "nan"),
        (lambda p: optim.SGD([p], momentum=-1.0), wg.ArgumentError, "momentum.*-1.0"),
        (lambda p: optim.SGD([p], nesterov=True), wg.ArgumentError, "nesterov needs momentum"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), wg.ArgumentError, r"\(0.9, 1.0\)"),
        (lambda p: optim.Adam([p], eps=-1.0), wg.ArgumentError, "eps.*-1.0"),
        (
            lambda p: optim.Adam([{"params": [p], "rate": 1}]),
            wg.ArgumentError,
            "unknown options rate",
        ),
        (lambda p: optim.Adam([{"lr": 1}]), wg.ArgumentTypeError, "'params'"),
        (lambda p: optim.Adam([p]).load_state_dict({"a": 1}), wg.ArgumentError, "state_dict gave"),
        (
            lambda p: optim.Adam([p]).load_state_dict(optim.Adam(parameters()).state_dict()),
            wg.ArgumentError,
            r"groups of \[3\].*groups of \[1\]",
        ),
        (
            lambda p: optim.Adam(nn.Linear(2).parameters()),
            wg.ArgumentError,
            "input size is not known",
        ),
    ],
)
def test_wrong_calls(make, kind, message):
    with pytest.raises(kind, match=message):
        make(nn.Parameter([1.0]))


def test_loading_state_of_other_shapes():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0, 2.0])
    a, b = optim.Adam([p], lr=0.1), optim.Adam([q], lr=0.2)
    p.grad = wg.tensor([1.0])
    a.step()
    with pytest.raises(wg.ShapeError, match=r"'mean' has shapes \[\(1,\)\].*\[\(2,\)\]"):
        b.load_state_dict(a.state_dict())
    assert b.param_groups[0]["lr"] == 0.2
    assert b.steps == 0


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"betas": (0.9, 2.0)}, {"eps": "small"}])
def test_loading_what_is_out_of_range_changes_nothing(options):
    p = nn.Parameter([1.0])
    a, b = optim.Adam([p], lr=0.1), optim.Adam([p], lr=0.2)
    p.grad = wg.tensor([1.0])
    a.step()
    state = a.state_dict()
    with pytest.raises(wg.Error):
        b.load_state_dict(state | {"steps": -1})
    state["groups"][0]["options"] |= options
    with pytest.raises(wg.Error):
        b.load_state_dict(state)
    assert b.param_groups[0]["lr"] == 0.2
    assert b.steps == 0
    assert b.state_dict()["groups"][0]["counts"].tolist() == [0]


def test_repr():
    text = repr(optim.SGD([nn.Parameter([1.0])], lr=0.5))
    assert text.startswith("SGD(\n  group 0: 1 parameters, lr=0.5, momentum=0.0")


def test_a_bad_option_is_found_before_any_group_changes():
    a, b = (wg.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = wg.optim.SGD([{"params": [a]}, {"params": [b]}], lr=0.1)
    (a + b).sum().backward()
    optimizer.param_groups[1]["lr"] = "bad"
    with pytest.raises(wg.ArgumentTypeError, match="'lr' takes a number; got 'bad'"):
        optimizer.step()
    assert a.tolist() == [1.0] and optimizer.steps == 0
    with pytest.raises(wg.ArgumentTypeError, match="'lr' takes a number"):
        wg.optim.SGD([a], lr="a")


def test_a_group_may_be_replaced_by_a_plain_dict():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=0.1)
    optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.5}
    p.grad = wg.tensor([1.0])
    optimizer.step()
    assert p.tolist() == [0.5]
    optimizer.param_groups[0]["lr"] = -1
    with pytest.raises(wg.ArgumentError, match="-1"):
        optimizer.step()


def test_an_option_is_set_where_it_has_an_effect():
    optimizer = optim.Adam([nn.Parameter([1.0])], lr=0.1)
    with pytest.raises(wg.ArgumentError, match=r"^Adam: 'lr' is an .*param_groups\[0\]\['lr'\]$"):
        optimizer.lr = 0.5
    assert not hasattr(optimizer, "lr") and optimizer.param_groups[0]["lr"] == 0.1
    optimizer.note = "anything else"
