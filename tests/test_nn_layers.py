"""Layers with state of their own that a call changes or draws from, eager and compiled."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

SHAPES = {"BatchNorm1d": [(5, 3), (4, 3, 6)], "BatchNorm2d": [(4, 3, 5, 2)]}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


def draws(shape, dtype=np.float64, n=4):
    rng = np.random.default_rng(0)
    return [(1 + 2 * rng.normal(size=shape)).astype(dtype) for _ in range(n)]


def along(x, ndim):
    return np.reshape(x, (1, -1, *(1,) * (ndim - 2)))


def normalised(x, mean, var, eps):
    return (x - along(mean, x.ndim)) / np.sqrt(along(var, x.ndim) + eps)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(name, shape, momentum, affine):
    layer = getattr(nn, name)(3, 1e-3, momentum, affine, dtype="float64")
    weight, bias = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, -0.5])
    if affine:
        layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    mean, var = np.zeros(3), np.ones(3)
    axes = (0, *range(2, len(shape)))

    def affinely(y):
        return y * along(weight, y.ndim) + along(bias, y.ndim) if affine else y

    for i, x in enumerate(draws(shape)):
        share = 1 / (i + 1) if momentum is None else momentum
        expected = affinely(normalised(x, x.mean(axes), x.var(axes), 1e-3))
        np.testing.assert_allclose(layer(wg.tensor(x)).detach().numpy(), expected, 1e-12, 1e-12)
        mean = (1 - share) * mean + share * x.mean(axes)
        var = (1 - share) * var + share * x.var(axes, ddof=1)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, 1e-13)
        np.testing.assert_allclose(layer.running_var.numpy(), var, 1e-13)
        assert layer.num_batches_tracked.item() == i + 1
    layer.eval()
    expected = affinely(normalised(x, mean, var, 1e-3))
    np.testing.assert_allclose(layer(wg.tensor(x)).detach().numpy(), expected, 1e-12, 1e-12)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, 1e-13)
    names = ["running_mean", "running_var", "num_batches_tracked"]
    assert list(layer.state_dict()) == ["weight", "bias"][: 2 * affine] + names
    layer.reset_parameters()
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_var.tolist() == [1.0] * 3
    assert layer.num_batches_tracked.item() == 0
    assert not affine or (layer.weight.tolist(), layer.bias.tolist()) == ([1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_batch_norm(training):
    x, w, b = (wg.tensor(v) for v in (draws((4, 3, 2))[0], np.arange(1.0, 4), np.ones(3)))
    stats = wg.zeros(3, dtype="float64"), wg.ones(3, dtype="float64")

    def f(x, w, b):
        return nn.batch_norm(x, *stats, w, b, training, 0.0)

    wg.check_grads(f, (x, w, b), modes=("rev",))


def test_batch_norm_without_statistics_of_its_own():
    layer = nn.BatchNorm1d(3, track_running_stats=False).eval()
    (x,) = draws((50, 3), np.float32, 1)
    y = layer(wg.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y, normalised(x, x.mean(0), x.var(0), 1e-5), 1e-4, 1e-5)
    assert list(layer.state_dict()) == ["weight", "bias"]
    layer.reset_running_stats()
    assert repr(layer).startswith("BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True")


def test_statistics_keep_their_dtype():
    layer = nn.BatchNorm1d(2)
    y = layer(wg.tensor(draws((4, 2))[0]))
    assert (y.dtype, layer.running_mean.dtype) == (wg.float64, wg.float32)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.BatchNorm1d(3)(wg.zeros((2, 4))), wg.ShapeError, r"C = 3; got \(2, 4\)"),
        (lambda: nn.BatchNorm1d(3)(wg.zeros(3)), wg.ShapeError, r"\(N, C\).*got \(3,\)"),
        (lambda: nn.BatchNorm2d(3)(wg.zeros((2, 3, 4))), wg.ShapeError, r"\(N, C, H, W\)"),
        (lambda: nn.BatchNorm1d(3)(wg.zeros((1, 3))), wg.ArgumentError, "more than 1 value"),
        (lambda: nn.LayerNorm((3, -1)), wg.ArgumentError, "normalized_shape.*-1"),
        (lambda: nn.Linear(3, 4)(None), wg.ArgumentTypeError, "takes tensors.*got None"),
        (lambda: nn.LSTM(3, 4, batch_first="x"), wg.ArgumentTypeError, "batch_first.*'x'"),
        (lambda: wg.compile(wg.sin, exact=2), wg.ArgumentTypeError, "exact.*got 2"),
        (lambda: nn.BatchNorm1d(-3), wg.ArgumentError, "num_features.*-3"),
        (lambda: nn.BatchNorm1d("a"), wg.ArgumentTypeError, "'num_features' takes an int"),
        (lambda: nn.batch_norm(wg.zeros(3), None, None), wg.ShapeError, r"\(N, C, ...\)"),
        (lambda: nn.batch_norm(wg.zeros((2, 3)), None, None), wg.ArgumentError, "unless training"),
        (
            lambda: nn.batch_norm(wg.zeros((2, 3)), None, wg.ones(2), training=True),
            wg.ShapeError,
            r"running_var must be \(3,\).*got \(2,\)",
        ),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


class Attention(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(7, 4, padding_idx=0)
        self.norm = nn.BatchNorm1d(4, momentum=None)
        self.dropout = nn.Dropout(0.25)
        self.out = nn.Linear(4, 2)

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = self.norm(wg.moveaxis(x, 2, 1))
        x = self.dropout(wg.moveaxis(x, 1, 2))
        x = nn.scaled_dot_product_attention(x, x, x, dropout_p=0.1, is_causal=True)
        return self.out(x)


def test_compiled_training_draws_and_follows_as_eager_does():
    """Random state, running statistics, modes and attributes: bit for bit those of eager steps."""
    found = []
    for compiled in (False, True):
        wg.random.seed(3)
        model = Attention()
        optimizer = wg.optim.RMSProp(model.parameters(), lr=wg.optim.cosine(0.01, 6), momentum=0.5)

        def step(tokens, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = wg.mean(model(tokens) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        call = wg.compile(step) if compiled else step
        rng = np.random.default_rng(0)
        losses = []
        for i in range(8):
            if i == 4:
                model.eval()
            if i == 5:
                model.train()
                model.dropout.p = 0.5
            losses.append(call(wg.tensor(rng.integers(0, 7, (3, 5)))).item())
        state = {name: x.numpy().tobytes() for name, x in model.state_dict().items()}
        found.append((losses, state, wg.random.default_generator().get_state().tolist()))
    assert found[0] == found[1]
    assert len(set(losses)) == 8


def test_modules_say_what_changes():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))

    def changes(act):
        before = wg._core._options_epoch()
        act()
        return wg._core._options_epoch() != before

    assert not changes(model.eval)  # nobody has recorded it
    model.train()
    compiled = wg.compile(model)
    compiled(wg.zeros((1, 2)))
    assert not changes(model.train)
    assert changes(model.eval)
    assert not changes(model.eval)
    assert changes(lambda: setattr(model[1], "p", 0.25))
    assert not changes(lambda: setattr(model[1], "p", 1 / 4))
    assert changes(lambda: setattr(model[1], "p", 0))
    assert not changes(lambda: setattr(model[1], "note", None))  # which is not read
    assert not changes(lambda: delattr(model[1], "note"))
    assert changes(lambda: setattr(model[0], "bias", None))
    assert changes(lambda: model.append(nn.ReLU()))
    assert not changes(lambda: model.register_buffer("mask", wg.zeros(2)))
    assert changes(lambda: model.requires_grad_(False))
    assert changes(lambda: model.astype("float64"))
    assert not changes(lambda: model(wg.zeros((1, 2), dtype="float64")))


def test_a_lazy_layer_is_called_before_it_is_compiled():
    layer = nn.Linear(3)
    with pytest.raises(wg.ArgumentError, match="call the model once before"):
        wg.compile(layer)(wg.zeros((2, 4)))
    layer(wg.zeros((2, 4)))
    assert wg.compile(layer)(wg.zeros((2, 4))).shape == (2, 3)
