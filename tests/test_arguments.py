"""Arguments that are numbers and flags: what is out of bounds is refused by name before anything is
computed or made."""

import math

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

X = wg.ones((2, 3))
Q = wg.ones((2, 4, 3))
RNG = wg.random.default_rng(0)
NAN = math.nan


def adam(**options):
    return optim.Adam([wg.ones(2)], **options)


def sgd(**options):
    return optim.SGD([wg.ones(2)], momentum=options.pop("momentum", 0.5), **options)


def rmsprop(**options):
    return optim.RMSProp([wg.ones(2)], **options)


NOT_NEGATIVE = {
    "layer_norm: 'eps'": lambda v: nn.layer_norm(X, 3, eps=v),
    "rms_norm: 'eps'": lambda v: nn.rms_norm(X, 3, eps=v),
    "batch_norm: 'eps'": lambda v: nn.batch_norm(X, None, None, training=True, eps=v),
    "LayerNorm: 'eps'": lambda v: nn.LayerNorm(3, eps=v),
    "RMSNorm: 'eps'": lambda v: nn.RMSNorm(3, eps=v),
    "BatchNorm1d: 'eps'": lambda v: nn.BatchNorm1d(3, eps=v),
    "normalize: 'eps'": lambda v: nn.normalize(X, eps=v),
    "SGD: 'lr'": lambda v: sgd(lr=v),
    "SGD: 'momentum'": lambda v: sgd(momentum=v),
    "SGD: 'weight_decay'": lambda v: sgd(weight_decay=v),
    "Adam: 'eps'": lambda v: adam(eps=v),
    "RMSProp: 'weight_decay'": lambda v: rmsprop(weight_decay=v),
    "clip_grad_norm: 'max_norm'": lambda v: optim.clip_grad_norm([wg.ones(2)], v),
    "normal: 'scale'": lambda v: RNG.normal(0.0, v),
    "smooth_l1_loss: 'beta'": lambda v: nn.smooth_l1_loss(X, X, beta=v),
    "huber_loss: 'delta'": lambda v: nn.huber_loss(X, X, delta=v),
    "cosine: 'lr'": lambda v: optim.cosine(v, 3),
    "linear: 'end'": lambda v: optim.linear(1.0, v, 3),
    "constant: 'lr'": lambda v: optim.constant(v),
}
PROBABILITIES = {
    "dropout: 'p'": lambda v: nn.dropout(X, v),
    "Dropout: 'p'": lambda v: nn.Dropout(v),
    "MultiHeadAttention: 'dropout'": lambda v: nn.MultiHeadAttention(4, 2, v),
    "LSTM: 'dropout'": lambda v: nn.LSTM(3, 4, dropout=v),
    "scaled_dot_product_attention: 'dropout_p'": lambda v: nn.scaled_dot_product_attention(
        Q, Q, Q, dropout_p=v
    ),
    "cross_entropy: 'label_smoothing'": lambda v: nn.cross_entropy(
        X, wg.tensor([0, 1]), label_smoothing=v
    ),
    "bernoulli: 'p'": lambda v: RNG.bernoulli(v),
    "batch_norm: 'momentum'": lambda v: nn.batch_norm(
        X, wg.zeros(3), wg.ones(3), training=True, momentum=v
    ),
    "BatchNorm2d: 'momentum'": lambda v: nn.BatchNorm2d(3, momentum=v),
    "RMSProp: 'alpha'": lambda v: rmsprop(alpha=v),
}
FINITE = {
    "SGD: 'dampening'": lambda v: sgd(dampening=v),
    "scaled_dot_product_attention: 'scale'": lambda v: nn.scaled_dot_product_attention(
        Q, Q, Q, scale=v
    ),
}
FLAGS = {
    "Linear: 'bias'": lambda v: nn.Linear(3, 2, v),
    "LayerNorm: 'elementwise_affine'": lambda v: nn.LayerNorm(3, 1e-5, v),
    "LayerNorm: 'bias'": lambda v: nn.LayerNorm(3, bias=v),
    "RMSNorm: 'elementwise_affine'": lambda v: nn.RMSNorm(3, None, v),
    "BatchNorm1d: 'affine'": lambda v: nn.BatchNorm1d(3, affine=v),
    "BatchNorm1d: 'track_running_stats'": lambda v: nn.BatchNorm1d(3, track_running_stats=v),
    "LSTM: 'bias'": lambda v: nn.LSTM(3, 4, bias=v),
    "GRU: 'bidirectional'": lambda v: nn.GRU(3, 4, bidirectional=v),
    "MultiHeadAttention: 'bias'": lambda v: nn.MultiHeadAttention(4, 2, bias=v),
    "MultiHeadAttention: 'batch_first'": lambda v: nn.MultiHeadAttention(4, 2, batch_first=v),
    "dropout: 'training'": lambda v: nn.dropout(X, 0.5, v),
    "batch_norm: 'training'": lambda v: nn.batch_norm(X, None, None, training=v),
    "scaled_dot_product_attention: 'is_causal'": lambda v: nn.scaled_dot_product_attention(
        Q, Q, Q, is_causal=v
    ),
    "scaled_dot_product_attention: 'enable_gqa'": lambda v: nn.scaled_dot_product_attention(
        Q, Q, Q, enable_gqa=v
    ),
    "SGD: 'nesterov'": lambda v: sgd(nesterov=v),
    "Adam: 'amsgrad'": lambda v: adam(amsgrad=v),
    "Adam: 'maximize'": lambda v: adam(maximize=v),
    "RMSProp: 'centered'": lambda v: rmsprop(centered=v),
    "train: 'mode'": lambda v: nn.Linear(3, 2).train(v),
}


def refused(says, call, value, kind=wg.ArgumentError):
    with pytest.raises(kind) as caught:
        call(value)
    assert str(caught.value).startswith(says), caught.value
    assert repr(value)[:40] in str(caught.value) or str(value)[:40] in str(caught.value)


@pytest.mark.parametrize("says", NOT_NEGATIVE)
def test_numbers_that_may_not_be_negative(says):
    call = NOT_NEGATIVE[says]
    for value in (-1.0, -1, NAN, -math.inf, np.float32(-1.0)):
        refused(says, call, value)
    for value in ("a", None, True, 1j):
        if value is None and says.lower().replace("_", "") == "rmsnorm: 'eps'":
            continue
        refused(says, call, value, (wg.ArgumentTypeError, wg.DTypeError))
    for value in (0.5, 1, np.float32(0.5), np.int64(1)):
        call(value)


@pytest.mark.parametrize("says", PROBABILITIES)
def test_probabilities(says):
    call = PROBABILITIES[says]
    for value in (-0.1, 1.5, 2, NAN, math.inf, np.float64(1.5)):
        refused(says, call, value)
    for value in ("a", None, True):
        if not (says.startswith("BatchNorm2d") and value is None):
            refused(says, call, value, wg.ArgumentTypeError)
    for value in (0.0, 0.5, 1, np.float32(0.25)):
        call(value)


@pytest.mark.parametrize("says", FINITE)
def test_finite_numbers(says):
    call = FINITE[says]
    for value in (NAN, math.inf, 10**400):
        with pytest.raises(wg.ArgumentError) as caught:
            call(value)
        assert str(caught.value).startswith(says), caught.value
    refused(says, call, "a", wg.ArgumentTypeError)
    call(-0.5)


@pytest.mark.parametrize("says", FLAGS)
def test_flags(says):
    call = FLAGS[says]
    for value in (2, 1, 0, 1.0, "yes", NAN):
        refused(says, call, value, wg.ArgumentTypeError)
    if not says.startswith("batch_norm"):  # which needs statistics or training
        call(False)
    call(np.True_)


@pytest.mark.parametrize("bad", [1.5, -0.5, NAN])
def test_a_tensor_of_probabilities_is_looked_at_where_it_has_numbers(bad):
    p = wg.tensor([0.5, bad, 0.5])
    for call in (
        lambda p: nn.dropout(X, p),
        lambda p: RNG.bernoulli(p),
        lambda p: wg.grad(lambda p: nn.dropout(X, p).sum())(p),
        lambda p: wg.checkpoint(lambda p: nn.dropout(X, p).sum())(p),
    ):
        with pytest.raises(wg.ArgumentError, match="'p' must be between 0 and 1; got tensor"):
            call(p)
    for call in (lambda p: nn.dropout(X, p), lambda p: RNG.bernoulli(p, (2, 3))):
        assert wg.compile(call)(p).shape == (2, 3)
        assert wg.compile(lambda x: call(p) * x)(X).shape == (2, 3)
    assert wg.vmap(lambda p: nn.dropout(X, p))(p).shape == (3, 2, 3)
    with pytest.raises(wg.ArgumentError, match=r"bernoulli: 'p' must be between 0 and 1"):
        RNG.bernoulli([0.5, bad])


def test_hyperparameters_of_numpy_become_plain():
    optimizer = optim.Adam(
        [wg.tensor([1.0], requires_grad=True)],
        lr=np.float32(0.5),
        betas=[np.float32(0.5), 0.75],
        eps=np.float64(0.0),
        amsgrad=np.True_,
    )
    (group,) = optimizer.param_groups
    assert [type(group[name]) for name in ("lr", "eps", "amsgrad")] == [float, float, bool]
    assert group["betas"] == (0.5, 0.75) and type(group["betas"][0]) is float
    (p,) = group["params"]
    (p * p).sum().backward()
    wg.compile(optimizer.step)()
    assert p.item() == pytest.approx(0.5)


@pytest.mark.parametrize("betas", [0.9, None, "ab", (0.9,), (0.9, 1.0), (0.9, "a"), (NAN, 0.9)])
def test_betas(betas):
    with pytest.raises(wg.Error, match="Adam: 'betas' "):
        adam(betas=betas)


@pytest.mark.parametrize("rate", [NAN, math.inf, -1.0, True, "a"])
def test_a_rate_set_later_is_checked_by_the_next_step(rate):
    p = wg.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = wg.tensor([1.0])
    optimizer.step()
    optimizer.param_groups[0]["lr"] = rate
    with pytest.raises(wg.Error, match="SGD: 'lr'"):
        optimizer.step()
    assert p.tolist() == pytest.approx([0.9])


def attend(**changed):
    arguments = {"query": Q, "key": Q, "value": Q, **changed}
    return nn.scaled_dot_product_attention(**arguments)


@pytest.mark.parametrize(
    ("changed", "kind", "says"),
    [
        ({"query": "a"}, wg.ArgumentTypeError, "'query'"),
        ({"key": None}, wg.ArgumentTypeError, "'key'"),
        ({"value": object()}, wg.ArgumentTypeError, "'value'"),
        ({"attn_mask": "a"}, wg.ArgumentTypeError, "'attn_mask'"),
        ({"query": Q[0, 0]}, wg.ShapeError, r"'query' must be \(\.\.\., L, E\); got \(3,\)"),
        ({"value": X[0]}, wg.ShapeError, r"'value' must be \(\.\.\., S, D\); got \(3,\)"),
        ({"query": Q > 0}, wg.DTypeError, "'query' must hold numbers; got bool"),
        ({"key": wg.ones((2, 4, 5))}, wg.ShapeError, r"'query'.*'key'.*last axis.*\(2, 4, 5\)"),
        ({"value": wg.ones((2, 5, 3))}, wg.ShapeError, r"'key'.*'value'.*same S.*\(2, 5, 3\)"),
        ({"key": wg.ones((3, 4, 3))}, wg.ShapeError, r"leading axes of 'query'.*\(3, 4, 3\)"),
        ({"attn_mask": wg.ones((4, 5))}, wg.ShapeError, r"'attn_mask' must.*4, 4\); got \(4, 5\)"),
        ({"attn_mask": wg.ones((3, 4, 4))}, wg.ShapeError, r"axes of 'attn_mask'.*\(3, 4, 4\)"),
        ({"attn_mask": wg.tensor([1, 2, 3, 4])}, wg.DTypeError, "'attn_mask' is bool or float"),
        ({"scale": wg.ones(2)}, wg.ShapeError, r"'scale' takes one number, .*\(2,\)"),
        ({"is_causal": True, "attn_mask": wg.ones(4)}, wg.ArgumentError, "'attn_mask' or 'is_c"),
    ],
)
def test_attention_names_the_argument(changed, kind, says):
    with pytest.raises(kind, match="^scaled_dot_product_attention: .*" + says):
        attend(**changed)


@pytest.mark.parametrize("mask", [None, wg.zeros((4, 4))])
def test_a_scale_that_is_a_tensor_gets_its_gradient(mask):
    rng = np.random.default_rng(0)
    q, k, v = (wg.tensor(rng.normal(size=(2, 4, 3))) for _ in range(3))
    f = lambda s: (nn.scaled_dot_product_attention(q, k, v, mask, scale=s) ** 2).sum()  # noqa: E731
    s = wg.tensor(0.7, dtype="float64")
    assert f(s).item() == pytest.approx(f(0.7).item())
    wg.check_grads(f, (s,), order=2)
    assert wg.compile(wg.grad(f))(s).item() == pytest.approx(wg.grad(f)(s).item())


def test_lstm_with_a_projection():
    """Against the formulas; PyTorch's names, shapes and order."""
    layer = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2, dtype="float64")
    ends = ["l0", "l0_reverse", "l1", "l1_reverse"]
    kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    state = {name: p.numpy() for name, p in layer.state_dict().items()}
    assert list(state) == [f"{kind}_{end}" for end in ends for kind in kinds]
    assert state["weight_hr_l1"].shape == (2, 5) and state["weight_hh_l1"].shape == (20, 2)
    assert state["weight_ih_l1"].shape == (20, 4)
    x = np.random.default_rng(0).normal(size=(6, 4, 3))
    sigmoid = lambda z: 1.0 / (1.0 + np.exp(-z))  # noqa: E731
    rows = x
    last = []
    for number in range(2):
        outputs = []
        for way in range(2):
            w, u, b, b2, p = (state[f"{kind}_{ends[2 * number + way]}"] for kind in kinds)
            h, c, made = np.zeros((4, 2)), np.zeros((4, 5)), []
            for row in rows[::-1] if way else rows:
                i, f, g, o = np.split(row @ w.T + b + h @ u.T + b2, 4, axis=-1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = (sigmoid(o) * np.tanh(c)) @ p.T
                made.append(h)
            last.append((h, c))
            outputs.append(np.stack(made[::-1] if way else made))
        rows = np.concatenate(outputs, axis=-1)
    y, (h, c) = layer(x)
    assert (h.shape, c.shape) == ((4, 4, 2), (4, 4, 5))
    for found, want in zip(
        (y, h, c), (rows, *(np.stack(part) for part in zip(*last))), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-12, atol=1e-14)
    again, _ = layer(x, (wg.zeros((4, 4, 2)), wg.zeros((4, 4, 5))))
    assert wg.array_equal(again, y)
    with pytest.raises(wg.ShapeError, match=r"\(4, 4, 2\), \(4, 4, 5\); got \(4, 4, 5\), \(4, 4,"):
        layer(x, (wg.zeros((4, 4, 5)), wg.zeros((4, 4, 5))))
    weight = layer.weight_hr_l0
    (y * y).sum().backward()
    assert weight.grad.shape == (2, 5) and float(wg.sum(weight.grad**2)) > 0.0


@pytest.mark.parametrize("size", [5, 6, -1, True, 1.5, "a"])
def test_wrong_projections(size):
    with pytest.raises(wg.Error, match="LSTM: 'proj_size'"):
        nn.LSTM(3, 5, proj_size=size)
    if size in (5, 6):
        with pytest.raises(wg.ArgumentError, match="GRU: 'proj_size' is for LSTM only"):
            nn.GRU(3, 5, proj_size=size)


HUGE = 10**30  # beyond int64, not beyond float64


@pytest.mark.parametrize("says", [*NOT_NEGATIVE, *FINITE])
def test_arrays_without_axes_and_large_integers_are_numbers(says):
    call = {**NOT_NEGATIVE, **FINITE}[says]
    draws = says == "normal: 'scale'"  # which takes tensors of any shape, of its own dtypes
    for value in (np.array(0.5), np.array(1), np.where(True, 0.5, 0.1)):
        call(value)
    for value in () if draws else (np.longdouble(0.5), HUGE):
        call(value)
    for value in (10**400, -(10**400), 2**1024):
        with pytest.raises(wg.ArgumentError) as caught:
            call(value)
        assert str(caught.value).startswith(says), caught.value
    for value in (np.array([0.5, 0.5]), np.array(True), np.array("a"), np.array(1j)):
        if draws and value.ndim:
            continue
        with pytest.raises(wg.Error) as caught:
            call(value)
        assert str(caught.value).startswith(says), caught.value
    for value in (np.complex128(1), np.complex64(1), wg.tensor(True)):
        with pytest.raises((wg.ArgumentTypeError, wg.DTypeError)) as caught:
            call(value)
        assert str(caught.value).startswith(says), caught.value


def short(value):
    return repr(value)[:24]


def stepped(lr, compiled=False, change=None):
    """Where a step from 0 against the gradient -1 leads."""
    p = wg.tensor([0.0], dtype="float64", requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5 if change else lr)

    def step():
        p.grad = wg.tensor([-1.0], dtype="float64")
        optimizer.step()

    step = wg.compile(step) if compiled else step
    if change:
        step()
        with wg.no_grad():
            p.assign([0.0])
        optimizer.param_groups[0]["lr"] = lr
    step()
    return p.item()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize(
    "lr",
    [
        HUGE,
        2**1023,
        2.0**1023,
        math.nextafter(math.inf, 0.0),
        np.array(0.1),
        np.float32(0.5),
        wg.tensor(0.25),
        wg.tensor([0.25]),
        wg.tensor(2),
    ],
    ids=short,
)
def test_no_rate_is_stale(lr, change, compiled):
    assert stepped(lr, compiled, change) == float(
        lr if isinstance(lr, int) else np.asarray(lr).reshape(())
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize(
    "lr",
    [
        2**1024,
        10**400,
        wg.tensor([0.1, 0.2]),
        wg.tensor([]),
        wg.tensor(True),
        np.complex64(1),
        np.array([0.1, 0.2]),
        np.array(True),
        (0.1, 0.2),
    ],
    ids=short,
)
def test_what_is_no_rate(lr, change, compiled):
    with pytest.raises(wg.Error, match=r"^SGD: 'lr' "):
        stepped(lr, compiled, change)


@pytest.mark.parametrize("compiled", [False, True])
def test_rates_of_schedules(compiled):
    for schedule, rate in [
        (optim.constant(HUGE), 1e30),
        (optim.cosine(HUGE, 3), 1e30),
        (optim.linear(HUGE, 0, 3), 1e30),
        (optim.warmup(1, HUGE), 1e30),
        (lambda s: HUGE, 1e30),
        (lambda s: np.array(0.5), 0.5),
        (lambda s: wg.where(s < 10, 0.5, 0.25), 0.5),
        (lambda s: np.float32(0.5), 0.5),
    ]:
        assert stepped(schedule, compiled) == rate
    assert stepped(lambda s: np.where(s < 10, 0.1, 0.01)) == 0.1
    for bad in (10**400, np.array([0.1, 0.2]), wg.tensor([0.1, 0.2]), wg.tensor(True), 1j, None):
        with pytest.raises(wg.Error, match=r"^SGD: 'lr' "):
            stepped(lambda s, bad=bad: bad, compiled)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_tensor_of_several_numbers_is_no_option(compiled):
    p = wg.tensor([1.0], requires_grad=True)
    optimizer = optim.Adam([p], lr=0.5)
    step = wg.compile(optimizer.step) if compiled else optimizer.step
    p.grad = wg.tensor([1.0])
    step()
    optimizer.param_groups[0]["eps"] = wg.tensor([1e-8, 1.0])
    kind = wg.TraceError if compiled else wg.ShapeError
    says = "a Python number" if compiled else r"one number; got shape \(2,\)"
    with pytest.raises(kind, match=rf"Adam: .*'eps' takes {says}"):
        step()
    assert optimizer.steps == 1
    with pytest.raises(wg.ShapeError, match=r"^RMSProp: 'alpha' takes one number"):
        rmsprop(alpha=wg.tensor([0.5, 0.5]))
    with pytest.raises(wg.ShapeError, match=r"^clip_grad_norm: 'max_norm' takes one number"):
        optim.clip_grad_norm([p], wg.tensor([0.5, 0.5]))
    for f in (nn.layer_norm, nn.rms_norm):
        with pytest.raises(wg.ShapeError, match=rf"^{f.__name__}: 'eps' takes one number"):
            f(X, 3, eps=wg.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    "betas",
    [
        [0.5, 0.75],
        np.array([0.5, 0.75]),
        np.array([0.5, 0.75], np.float32),
        wg.tensor([0.5, 0.75]),
        (np.array(0.5), np.float32(0.75)),
    ],
)
def test_betas_in_any_sequence(betas):
    w = wg.tensor([1.0, 2.0], requires_grad=True)
    later = optim.Adam([w])
    later.param_groups[0]["betas"] = betas
    by_group = optim.Adam([{"params": [w], "betas": betas}])
    for optimizer in (optim.Adam([w], betas=betas), later, by_group):
        (group,) = optimizer.param_groups
        assert group["betas"] == (0.5, 0.75)
        w.grad = wg.ones(2)
        optimizer.step()
    with pytest.raises(wg.Error, match="Adam: 'betas' "):
        adam(betas=np.array([0.5, 0.5, 0.5]))


def test_huber_loss_needs_a_positive_delta():
    for delta in (0, 0.0, np.array(0.0), wg.tensor(0.0), wg.tensor([1.0, 0.0, 1.0])):
        with pytest.raises(wg.ArgumentError, match=r"^huber_loss: 'delta' must be positive; got"):
            nn.huber_loss(X, X + 1.0, delta=delta)
    assert nn.huber_loss(X, X + 1.0, delta=wg.tensor(2.0)).item() == 0.5


@pytest.mark.parametrize("steps", [4.0, np.float64(4.0), np.array(4), 4.5, 3 * 3 / 2])
def test_schedules_of_as_many_steps_as_a_division_gives(steps):
    made = {
        "linear": (optim.linear(1.0, 0.0, steps), lambda s: max(0.0, 1.0 - s / float(steps))),
        "cosine": (
            optim.cosine(1.0, steps),
            lambda s: (1.0 + math.cos(math.pi * min(s / float(steps), 1.0))) / 2.0,
        ),
        "warmup": (
            optim.warmup(steps, optim.linear(1.0, 0.0, 4)),
            lambda s: (s + 1) / float(steps) if s < steps else 1.0 - (s - float(steps)) / 4,
        ),
    }
    for schedule, formula in made.values():
        for step in range(7):
            rate = schedule(step)
            assert rate == pytest.approx(formula(step))
            traced = wg.compile(schedule)(wg.tensor(step, dtype="int64"))
            assert traced.item() == rate and traced.dtype == "float64"


@pytest.mark.parametrize("steps", [0, 0.5, -1.0, NAN, math.inf, True, "a", None, 1j, np.array([4])])
def test_schedules_of_no_number_of_steps(steps):
    for call in (
        lambda: optim.linear(1.0, 0.0, steps),
        lambda: optim.cosine(1.0, steps),
        lambda: optim.warmup(steps, 1.0),
    ):
        with pytest.raises(wg.Error, match=r"^(linear|cosine|warmup): 'steps' ") as caught:
            call()
        if isinstance(steps, float) and not steps.is_integer():
            assert "must be finite and at least 1; got " in str(caught.value)


@pytest.mark.parametrize("kind", [wg.tensor, np.bool_, np.array])
def test_flags_without_axes(kind):
    assert nn.dropout(X, 0.5, training=kind(False)) is X
    assert 0.0 in nn.dropout(wg.ones(64), 0.5, training=kind(True)).numpy()
    stats = wg.zeros(3), wg.ones(3)
    assert nn.batch_norm(X, *stats, training=kind(True)).numpy().any() == False  # noqa: E712
    assert nn.batch_norm(X, *stats, training=kind(False)).numpy().all()
    for value in ([True], [[False]], 1, 1.0):
        if kind is not np.bool_:
            with pytest.raises(wg.ArgumentTypeError, match="'training' takes True or False"):
                nn.dropout(X, 0.5, training=kind(value))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"query": wg.ones((1, 4, 3)), "key": wg.ones((5, 4, 3)), "value": wg.ones((5, 4, 3))}
            | {"attn_mask": wg.ones((3, 4, 4))},
            r"the leading axes of 'attn_mask', 'query', 'key' and 'value' must broadcast; got "
            r"\(3, 4, 4\), \(1, 4, 3\), \(5, 4, 3\), \(5, 4, 3\)",
        ),
        (
            {"query": wg.ones((1, 4, 3)), "key": wg.ones((1, 4, 3)), "value": wg.ones((5, 4, 3))}
            | {"attn_mask": wg.ones((3, 4, 4))},
            r"the leading axes of 'attn_mask', .* \(3, 4, 4\), \(1, 4, 3\), \(1, 4, 3\), \(5, 4,",
        ),
        (
            {"query": wg.ones((2, 4, 5, 3)), "key": wg.ones((3, 2, 5, 3))}
            | {"value": wg.ones((3, 2, 5, 3)), "enable_gqa": True},
            r"the leading axes of 'query', 'key' and 'value' must broadcast; got "
            r"\(2, 4, 5, 3\), \(3, 2, 5, 3\), \(3, 2, 5, 3\)",
        ),
        (
            {"query": wg.ones((2, 4, 5, 3)), "key": wg.ones((2, 2, 5, 3))}
            | {"value": wg.ones((2, 2, 5, 3)), "attn_mask": wg.ones((2, 1, 5, 5))}
            | {"enable_gqa": True, "attn_mask": wg.ones((3, 4, 5, 5))},
            r"the leading axes of 'attn_mask', .* got \(3, 4, 5, 5\), \(2, 4, 5, 3\), \(2, 2,",
        ),
        (
            {"query": wg.ones((2, 4, 5, 3)), "key": wg.ones((2, 2, 5, 3))}
            | {"value": wg.ones((2, 2, 5, 3)), "attn_mask": wg.ones((2, 2, 5, 5))}
            | {"enable_gqa": True},
            r"'attn_mask' must have 1 or 4 heads on axis -3; got \(2, 2, 5, 5\)",
        ),
    ],
)
def test_attention_shows_the_shapes_it_was_given(changed, says):
    with pytest.raises(wg.ShapeError, match="^scaled_dot_product_attention: " + says):
        attend(**changed)


@pytest.mark.parametrize("mask", [(5, 5), (1, 5, 5), (4, 5, 5), (3, 1, 5, 5), (3, 4, 1, 5), (5,)])
def test_masks_and_heads_that_broadcast(mask):
    rng = np.random.default_rng(0)
    q, k, v, m = (
        wg.tensor(rng.normal(size=size))
        for size in ((1, 4, 5, 3), (3, 2, 5, 3), (1, 2, 5, 3), mask)
    )
    k2, v2 = (wg.repeat(x, 2, axis=1) for x in (k, v))
    found = nn.scaled_dot_product_attention(q, k, v, m, enable_gqa=True)
    want = nn.scaled_dot_product_attention(q, k2, v2, m)
    scores = q.numpy() @ np.swapaxes(k2.numpy(), -1, -2) / math.sqrt(3) + m.numpy()
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    for y in (found, want):
        np.testing.assert_allclose(y.numpy(), weights @ v2.numpy(), rtol=1e-10)
