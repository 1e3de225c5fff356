"""gradient_flow against gradients computed by hand, and the model as it was."""

import sys

import numpy as np
import pytest
import wengert as wg
from wengert import nn


def data(width, n=6):
    rng = wg.random.default_rng(1)
    return rng.normal(size=(n, width)), rng.normal(size=(n, 1))


def stack(activation, depth, width=8, scale=1.0):
    wg.random.seed(0)
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 1))
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.normal_(p, 0.0, scale / np.sqrt(width))
    return model


def test_norms_are_those_of_the_gradients():
    model, (x, y) = stack(nn.Tanh, 2), data(8)
    flow = nn.gradient_flow(model, nn.mse_loss, (x, y))
    outputs = []
    h = x
    for layer in model:
        h = layer(h)
        h.retain_grad()
        outputs.append(h)
    loss = nn.mse_loss(h, y)
    loss.backward()
    assert [layer.name for layer in flow.layers] == ["0", "1", "2", "3", "4"]
    assert [layer.kind for layer in flow.layers] == ["Linear", "Tanh"] * 2 + ["Linear"]
    assert flow.loss == pytest.approx(loss.item())
    for layer, output, module in zip(flow.layers, outputs, model, strict=True):
        assert layer.shape == output.shape
        assert layer.adjoint == pytest.approx(np.linalg.norm(output.grad.numpy()), rel=1e-5)
        norms = {
            name: np.linalg.norm(p.grad.numpy())
            for name, p in module.named_parameters(recurse=False)
        }
        assert layer.parameters == pytest.approx(norms, rel=1e-5)
        if norms:
            assert layer.gradient == pytest.approx(np.hypot(*norms.values()), rel=1e-5)
        else:
            assert layer.gradient is None
    for i in (1, 3):
        slopes = 1 - outputs[i].detach().numpy() ** 2
        assert flow.layers[i].slope == pytest.approx(np.linalg.norm(slopes), rel=1e-5)
        assert flow.layers[i].mean_slope == pytest.approx(slopes.mean(), rel=1e-5)
    for what in ("slope", "mean_slope"):
        missing = [getattr(layer, what) is None for layer in flow.layers]
        assert missing == [True, False, True, False, True]


def test_slopes_of_activations_only():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    class Mix(nn.Module):
        def forward(self, x):
            return x - x.mean(axis=-1, keepdims=True)

    others = [
        nn.Linear(8, 8),
        nn.LayerNorm(8),
        nn.Softmax(-1),
        Mix(),
        nn.Identity(),
        nn.Dropout(0.5),
    ]
    model = nn.Sequential(*others, nn.ReLU(), Square(), nn.Flatten(), nn.Linear(8, 1))
    flow = nn.gradient_flow(model, nn.mse_loss, data(8))
    slopes = {layer.kind: layer.mean_slope for layer in flow.layers}
    assert len(flow.layers) == len(model)
    assert {kind for kind, slope in slopes.items() if slope is not None} >= {"ReLU", "Square"}
    assert {kind for kind, slope in slopes.items() if slope is not None} <= {
        "ReLU",
        "Square",
        "Flatten",
    }
    assert 0.0 < slopes["ReLU"] < 1.0


def test_vanishing_exploding_and_steady():
    batch = data(8)
    flow = nn.gradient_flow(stack(nn.Sigmoid, 10), nn.mse_loss, batch)
    assert flow.verdict == "vanishing" and flow.ratio < 1e-3
    assert flow.layers[0].label == "vanishing" and flow.layers[-1].label == ""
    slopes = [layer.mean_slope for layer in flow.layers if layer.mean_slope is not None]
    assert len(slopes) == 10 and max(slopes) <= 0.25
    flow = nn.gradient_flow(stack(nn.Identity, 10, scale=4.0), nn.mse_loss, batch)
    assert flow.verdict == "exploding" and flow.ratio > 1e3
    flow = nn.gradient_flow(stack(nn.ReLU, 3, scale=1.4), nn.mse_loss, batch)
    assert flow.verdict == "steady"


def test_zero_and_not_finite_gradients():
    x, y = data(8)
    model = stack(nn.Tanh, 1)
    flow = nn.gradient_flow(model, lambda out, y: (wg.stop_gradient(out) * y).sum(), (x, y))
    assert [layer.label for layer in flow.layers] == ["zero"] * 3 and np.isnan(flow.ratio)
    flow = nn.gradient_flow(model, lambda out, y: (out * float("nan")).sum(), (x, y))
    assert flow.layers[-1].label == "not finite"


def test_the_table():
    flow = nn.gradient_flow(stack(nn.Sigmoid, 6), nn.mse_loss, data(8))
    lines = str(flow).splitlines()
    assert repr(flow) == str(flow)
    names = "layer output |dL/dy| |dL/dw| |phi'| mean |phi'|"
    assert lines[0].split() == names.split()
    assert len(lines) == len(flow.layers) + 2
    assert lines[1].startswith("0 Linear") and lines[1].endswith("vanishing")
    assert f"{flow.layers[1].slope:.2e}  " in lines[2]
    assert f"{flow.layers[1].mean_slope:.3f}" in lines[2]
    assert f"{flow.ratio:.2e}, vanishing" in lines[-1]


class Nested(nn.Module):
    def __init__(self):
        self.shared = nn.Linear(8, 8)
        self.scale = nn.Parameter([2.0])
        self.head = nn.ModuleList([nn.Linear(8, 1)])
        self.dropout = nn.Dropout(0.5, generator=wg.random.default_rng(3))
        self.seen = wg.zeros(())
        self.register_buffer("count", wg.tensor(0.0))

    def forward(self, x):
        self.count.assign(self.count + 1.0)
        self.last = x
        x = wg.tanh(self.shared(x))
        x = self.shared(self.dropout(x)) * self.scale
        return self.head[0].forward(x)


def test_nested_shared_and_stateful_models():
    model, (x, y) = Nested(), data(8)
    for p in model.parameters():
        p.grad = wg.ones_like(p)
    calls = []
    handle = model.shared.weight.register_hook(calls.append)
    model.dropout.training = False
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    generator = model.dropout.generator.get_state().tolist()
    default = wg.random.default_generator().get_state().tolist()
    fields = dict(vars(model))
    flow = nn.gradient_flow(model, nn.mse_loss, (x, y))
    names = [layer.name for layer in flow.layers]
    assert names == ["shared", "dropout", "shared", "head.0", ""]
    assert flow.layers[0].parameters == flow.layers[2].parameters
    assert set(flow.layers[-1].parameters) == {"scale"}
    assert vars(model) == fields and type(model.shared) is nn.Linear
    assert all(
        np.array_equal(value.numpy(), before[name]) for name, value in model.state_dict().items()
    )
    assert all((p.grad.numpy() == 1.0).all() for p in model.parameters())
    assert model.dropout.generator.get_state().tolist() == generator
    assert wg.random.default_generator().get_state().tolist() == default
    assert (calls, model.dropout.training, model.training) == ([], False, True)
    handle.remove()


def test_random_layers_and_foreign_leaves_stay():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    extra = wg.tensor(2.0, requires_grad=True)
    state = wg.random.default_generator().get_state().tolist()
    flow = nn.gradient_flow(model, lambda out, y: nn.mse_loss(out * extra, y), data(8))
    assert flow.layers[0].adjoint > 0.0 and extra.grad is None
    assert wg.random.default_generator().get_state().tolist() == state
    with wg.no_grad():
        assert nn.gradient_flow(model, nn.mse_loss, data(8)).layers[0].adjoint > 0.0


class Largest(nn.Module):
    def forward(self, x):
        return x.argmax(axis=-1)


def test_plot(tmp_path):
    flow = nn.gradient_flow(stack(nn.Sigmoid, 4), nn.mse_loss, data(8))
    path = tmp_path / "flow.png"
    figure = flow.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    axes = figure.axes[0]
    adjoints = axes.lines[0].get_ydata()
    assert adjoints.tolist() == [layer.adjoint for layer in flow.layers]
    assert axes.get_yscale() == "log"
    slopes = [layer.slope for layer in flow.layers if layer.slope]
    assert list(axes.lines[2].get_ydata()) == slopes
    assert flow.plot(axes=axes) is figure
    with pytest.raises(wg.ArgumentError, match="plot: cannot save"):
        flow.plot(tmp_path / "no" / "flow.png")
    with pytest.raises(wg.ArgumentError, match="plot: cannot save"):
        flow.plot(tmp_path / "flow.nothing")


def test_plot_without_matplotlib(monkeypatch):
    flow = nn.gradient_flow(stack(nn.Sigmoid, 1), nn.mse_loss, data(8))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(wg.Error, match="plot: needs matplotlib; run: pip install matplotlib"):
        flow.plot()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, nn.mse_loss, (1, 2)), wg.ArgumentTypeError, "takes a Module; got a int"),
        ((nn.ReLU(), 3, (1, 2)), wg.ArgumentTypeError, "loss_fn must be callable; got 3"),
        ((nn.ReLU(), nn.mse_loss, 3), wg.ArgumentTypeError, "pair .* got 3"),
        ((nn.ReLU(), nn.mse_loss, (1, 2, 3)), wg.ArgumentTypeError, "pair"),
        ((nn.ReLU(), lambda out, y: out, (wg.ones(3), 0)), wg.ShapeError, r"got \(3,\)"),
        (
            (nn.ReLU(), lambda model, batch: model(batch), (wg.ones(3), 0)),
            wg.ArgumentTypeError,
            r"called as loss_fn\(model\(x\), y\), .* not callable",
        ),
        ((nn.ReLU(), lambda out: out, (wg.ones(3), 0)), wg.ArgumentTypeError, "takes 1 positional"),
        ((nn.ReLU(), lambda out, y: 3.0, (wg.ones(3), 0)), wg.ShapeError, "got a float"),
        ((nn.Linear(3), nn.mse_loss, data(8)), wg.ArgumentError, "size is not known yet"),
        ((Largest(), lambda out, y: wg.ones(()), data(8)), wg.ArgumentError, "no layer"),
        ((nn.Identity(), nn.mse_loss, ("x", 0)), wg.ArgumentTypeError, "x"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.gradient_flow(*arguments)
