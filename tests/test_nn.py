"""Modules: names, state, sharing, copies, laziness, initial values."""

import copy
import math
import pickle

import numpy as np
import pytest
import wengert as wg
from wengert import nn

RNG = np.random.default_rng(0)


def real(*shape, dtype=np.float64):
    return RNG.normal(size=shape).astype(dtype)


class Block(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter([1.0, 2.0])
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
        self.register_buffer("offset", wg.tensor([0.5, 0.5]))
        self.register_buffer("scratch", wg.tensor([9.0]), persistent=False)
        self.note = "plain"

    def forward(self, x):
        return self.inner(x * self.scale) + self.offset


def test_names_and_order():
    block = Block()
    assert [n for n, _ in block.named_parameters()] == [
        "scale",
        "inner.0.weight",
        "inner.0.bias",
        "inner.2.weight",
        "inner.2.bias",
    ]
    assert list(block.state_dict()) == ["scale", "offset"] + [
        f"inner.{i}.{n}" for i in (0, 2) for n in ("weight", "bias")
    ]
    assert [n for n, _ in block.named_buffers()] == ["offset", "scratch"]
    assert [n for n, _ in block.named_modules()] == ["", "inner", "inner.0", "inner.1", "inner.2"]
    assert [type(m).__name__ for m in block.children()] == ["Sequential"]


def test_parameter_is_a_leaf_that_wants_a_gradient():
    p = nn.Parameter(np.ones((2, 3)))
    assert isinstance(p, wg.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert p.dtype == np.float64
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    (p * 2.0).sum().backward()
    np.testing.assert_array_equal(p.grad.numpy(), np.full((2, 3), 2.0))


def test_parameter_copies_arrays_and_shares_tensors():
    values = np.zeros(3)
    p = nn.Parameter(values)
    values[0] = 5.0
    assert p.tolist() == [0.0, 0.0, 0.0]
    shared = wg.tensor([1.0, 2.0])
    q = nn.Parameter(shared)
    with wg.no_grad():
        q.assign([3.0, 4.0])
    assert shared.tolist() == [3.0, 4.0]


def test_shared_parameter_appears_once_and_collects_both_gradients():
    class Tied(nn.Module):
        def __init__(self):
            self.a = nn.Linear(3, 3, bias=False)
            self.b = nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = Tied()
    assert [n for n, _ in model.named_parameters()] == ["a.weight"]
    assert list(model.state_dict()) == ["a.weight", "b.weight"]
    x = wg.tensor(real(4, 3, dtype=np.float32))
    model(x).sum().backward()
    w, xs = model.a.weight.detach().numpy(), x.numpy()
    ones = np.ones((4, 3), np.float32)
    expected = ones.T @ (xs @ w.T) + (ones @ w).T @ xs
    np.testing.assert_allclose(model.a.weight.grad.numpy(), expected, 1e-5, 1e-5)
    copied = copy.deepcopy(model)
    assert copied.a.weight is copied.b.weight
    assert copied.a.weight is not model.a.weight


def test_shared_module_appears_once():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_state_dict_round_trip():
    a, b = Block(), Block()
    assert b.load_state_dict(a.state_dict()) == ([], [])
    x = wg.tensor(real(5, 2, dtype=np.float32))
    np.testing.assert_array_equal(a(x).detach().numpy(), b(x).detach().numpy())
    with wg.no_grad():
        b.scale.assign([7.0, 7.0])
    assert a.scale.tolist() == [1.0, 2.0]


def test_state_dict_shares_memory():
    layer = nn.Linear(2, 1)
    state = layer.state_dict()
    with wg.no_grad():
        layer.bias.assign([4.0])
    assert state["bias"].tolist() == [4.0]
    assert not state["bias"].requires_grad


def test_load_state_dict_names_what_is_wrong_and_changes_nothing():
    model = Block()
    before = {k: v.tolist() for k, v in model.state_dict().items()}
    state = {k: v.numpy() + 1 for k, v in model.state_dict().items()}
    bad = {**state, "extra": np.ones(1)}
    del bad["inner.2.bias"]
    bad["scale"] = np.ones(5)
    with pytest.raises(wg.ArgumentError) as error:
        model.load_state_dict(bad)
    for part in (
        r"missing keys: inner.2.bias",
        "unexpected keys: extra",
        "(2,)",
        "(5,)",
        "'scale'",
    ):
        assert part in str(error.value)
    with pytest.raises(wg.ShapeError, match=r"'scale' is \(2,\) here and \(5,\)"):
        model.load_state_dict({**state, "scale": np.ones(5)})
    assert {k: v.tolist() for k, v in model.state_dict().items()} == before
    bad["scale"] = state["scale"]
    found = model.load_state_dict(bad, strict=False)
    assert found.missing_keys == ["inner.2.bias"]
    assert found.unexpected_keys == ["extra"]
    assert model.offset.tolist() == [1.5, 1.5]
    with pytest.raises(wg.ArgumentTypeError, match="takes a dict"):
        model.load_state_dict([1])


def test_lazy_linear():
    model = nn.Sequential(nn.Linear(4), nn.ReLU(), nn.Linear(2))
    with pytest.raises(wg.ArgumentError, match=r"Linear\(4\) at '0'.*call the model once"):
        list(model.parameters())
    with pytest.raises(wg.ArgumentError, match="not known yet"):
        model.state_dict()
    assert "in_features=None, out_features=4" in repr(model)
    assert model(wg.zeros((5, 3))).shape == (5, 2)
    assert [p.shape for p in model.parameters()] == [(4, 3), (4,), (2, 4), (2,)]
    other = nn.Sequential(nn.Linear(4), nn.ReLU(), nn.Linear(2))
    other.load_state_dict(model.state_dict())
    assert other[0].in_features == 3
    np.testing.assert_array_equal(
        other[2].weight.detach().numpy(), model[2].weight.detach().numpy()
    )
    with pytest.raises(wg.ShapeError, match="linear"):
        model(wg.zeros((5, 7)))
    assert [n for n, _ in nn.Sequential(nn.Linear(3, 4, bias=False)).named_parameters()] == [
        "0.weight"
    ]


def test_linear_starts_uniform_in_its_bound_and_by_the_seed():
    wg.random.seed(3)
    first = nn.Linear(100, 200)
    wg.random.seed(3)
    second = nn.Linear(100, 200)
    assert first.weight.tolist() == second.weight.tolist()
    for p in first.parameters():
        values = p.detach().numpy()
        assert values.dtype == np.float32
        assert np.abs(values).max() <= 0.1
        assert np.abs(values).max() > 0.09
        assert abs(values.mean()) < 0.1 / math.sqrt(3 * values.size) * 5
    assert nn.Linear(4, 4).weight.tolist() != nn.Linear(4, 4).weight.tolist()


@pytest.mark.parametrize(
    ("name", "args", "std"),
    [
        ("xavier_uniform_", (2.0,), 2.0 * math.sqrt(2.0 / 300)),
        ("xavier_normal_", (), math.sqrt(2.0 / 300)),
        ("kaiming_uniform_", (), math.sqrt(2.0 / 100)),
        ("kaiming_normal_", (0.0, "fan_out", "relu"), math.sqrt(2.0 / 200)),
        ("normal_", (0.0, 3.0), 3.0),
        ("uniform_", (-1.0, 1.0), 1.0 / math.sqrt(3.0)),
    ],
)
def test_init_spreads(name, args, std):
    wg.random.seed(0)
    p = nn.Parameter(np.zeros((200, 100)))
    assert getattr(nn.init, name)(p, *args) is p
    values = p.detach().numpy()
    assert abs(values.std() / std - 1) < 0.03
    assert abs(values.mean()) < std / 20
    assert p.requires_grad


def test_init_constants():
    p = nn.Parameter(np.full((2, 3), 7.0))
    assert nn.init.ones_(p).tolist() == np.ones((2, 3)).tolist()
    assert nn.init.zeros_(p).tolist() == np.zeros((2, 3)).tolist()
    assert nn.init.constant_(p, 2.5).tolist() == np.full((2, 3), 2.5).tolist()
    assert nn.init.eye_(p).tolist() == np.eye(2, 3).tolist()
    with pytest.raises(wg.ShapeError, match=r"\(3,\)"):
        nn.init.xavier_normal_(nn.Parameter(np.zeros(3)))
    with pytest.raises(wg.ArgumentError, match="'cubic'"):
        nn.init.calculate_gain("cubic")


def test_repr_is_a_tree():
    assert repr(Block()) == (
        "Block(\n"
        "  (inner): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): Tanh()\n"
        "    (2): Linear(in_features=3, out_features=2, bias=True)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Parameter([1.0])).startswith("Parameter containing:\n")


def test_train_and_eval_reach_every_module():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    x = wg.tensor(np.ones(1000))
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model(x).tolist() == x.tolist()
    model.train()
    assert model(x).tolist() != x.tolist()


def test_containers():
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    model = nn.Sequential(a, b, c)
    assert len(model) == 3
    assert list(model) == [a, b, c]
    assert model[0] is a
    assert model[-1] is c
    assert isinstance(model[:2], nn.Sequential)
    assert list(model[1:]) == [b, c]
    with pytest.raises(wg.BoundsError, match="index 3 is out of range for 3"):
        model[3]
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    assert len(model.append(nn.ReLU())) == 4
    named = nn.Sequential({"first": a, "last": c})
    assert named.first is a
    assert next(iter(named.state_dict())) == "first.weight"
    with pytest.raises(AttributeError, match="nothing"):
        _ = named.nothing
    with pytest.raises(wg.ArgumentTypeError, match="function"):
        nn.Sequential(a, lambda x: x)
    layers = nn.ModuleList([a])
    layers.extend([c])
    assert list(layers) == [a, c]
    assert [n for n, _ in layers.named_parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_parameter_is_not_replaced_by_a_plain_tensor():
    layer = nn.Linear(2, 1)
    with pytest.raises(wg.ArgumentTypeError, match="'weight' is a Parameter"):
        layer.weight = layer.weight * 2.0
    layer.weight = nn.Parameter([[1.0, 1.0]])
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    assert layer(wg.tensor([1.0, 2.0])).tolist() == [3.0]


def test_a_call_is_forward_of_the_class():
    class Base(nn.Module):
        def forward(self, x):
            return x + 1.0

    class Derived(Base):
        def forward(self, x):
            return super().forward(x) * 2.0

    class Doubling:
        def forward(self, x):
            return x * 2.0

    class Mixed(Doubling, nn.Module):
        pass

    class Called(nn.Module):
        def __call__(self, x):
            return -self.forward(x)

        def forward(self, x):
            return x

    class Below(Called):
        def forward(self, x):
            return x * 3.0

    x = wg.tensor(1.0)
    assert Base()(x).item() == 2.0
    assert Derived()(x).item() == 4.0
    assert Mixed()(x).item() == 2.0
    assert Below()(x).item() == -3.0
    with pytest.raises(wg.ArgumentTypeError, match="define forward"):
        nn.Module()(x)
    with pytest.raises(wg.ArgumentTypeError, match="belongs to the class"):
        Base().forward = lambda x: x


def test_apply_zero_grad_requires_grad_astype():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    seen = []
    model.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "Sequential"]
    model(wg.ones((3, 2))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    model.requires_grad_(False)
    assert not model(wg.ones((3, 2))).requires_grad
    model.requires_grad_().astype(wg.float64)
    assert {p.dtype.name for p in model.parameters()} == {"float64"}
    assert all(p.requires_grad and isinstance(p, nn.Parameter) for p in model.parameters())


def test_copies():
    model = Block().eval()
    x = wg.tensor(real(2, 2, dtype=np.float32))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(2, 2))))):
        assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in twin.parameters())
    twin = copy.deepcopy(model)
    with wg.no_grad():
        twin.scale.assign([0.0, 0.0])
    assert model.scale.tolist() == [1.0, 2.0]
    assert not twin.training
    assert twin(x).shape == (2, 2)


def test_functional_call():
    model = nn.Sequential(nn.Linear(2, 1))
    params = {"0.weight": wg.tensor([[1.0, 2.0]]), "0.bias": wg.tensor([0.5])}
    before = model[0].weight
    assert wg.functional_call(model, params, wg.tensor([1.0, 1.0])).tolist() == [3.5]
    assert model[0].weight is before
    with pytest.raises(wg.ArgumentError, match=r"no parameter or buffer '0.gain'; it has 0.weight"):
        wg.functional_call(model, {"0.gain": params["0.bias"]}, wg.tensor([1.0, 1.0]))
    with pytest.raises(wg.ShapeError):
        wg.functional_call(model, params, wg.tensor([1.0, 1.0, 1.0]))
    assert model[0].weight is before
    block = Block()
    found = wg.functional_call(block, {"offset": wg.tensor([1.5, 1.5])}, wg.ones((1, 2)))
    np.testing.assert_allclose(
        found.detach().numpy(), block(wg.ones((1, 2))).detach().numpy() + 1.0, 1e-6
    )


def test_functional_call_replaces_shared_parameters_everywhere():
    layer = nn.Linear(1, 1, bias=False)
    model = nn.Sequential(layer, layer)
    weight = wg.tensor([[3.0]])
    for name in ("0.weight", "1.weight"):
        assert wg.functional_call(model, {name: weight}, wg.tensor([1.0])).tolist() == [9.0]


def test_modules_are_trees():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    x = wg.tensor(real(4, 2, dtype=np.float32))

    def loss(m, x):
        penalty = sum((p * p).sum() for p in m.parameters())
        return (m(x) ** 2).mean() + penalty

    grads = wg.grad(loss)(model, x)
    assert isinstance(grads, nn.Sequential)
    loss(model, x).backward()
    for (name, g), p in zip(grads.named_parameters(), model.parameters()):
        np.testing.assert_allclose(g.numpy(), p.grad.numpy(), 1e-6, 1e-6, err_msg=name)
    moved = wg.tree.map(lambda p, g: p.detach() - 0.1 * g, model, grads)
    expected = model[2].bias.detach().numpy() - 0.1 * model[2].bias.grad.numpy()
    np.testing.assert_allclose(moved[2].bias.numpy(), expected, 1e-6)
    assert isinstance(model[2].bias, nn.Parameter)


def test_compiled_functions_of_modules():
    """Modules that differ beside their parameters have recordings of their own; copies with other
    parameters share one."""

    class Scaled(nn.Module):
        def __init__(self, k):
            self.weight = nn.Parameter([1.0, 2.0])
            self.k = k
            self.register_buffer("shift", wg.full(2, float(k)))

        def forward(self, x):
            return self.weight * x * self.k + self.shift

    x = wg.ones(2)
    compiled = wg.compile(lambda model, x: model(x))
    models = [nn.Sequential(Scaled(k), nn.Tanh()) for k in (1, 2)]
    for _ in range(2):
        for model in models:
            np.testing.assert_allclose(compiled(model, x).numpy(), model(x).numpy(), rtol=1e-6)
    assert compiled.cache_info().misses == 2
    models[1][0].shift.assign([5.0, 6.0])
    np.testing.assert_allclose(compiled(models[1], x).numpy(), models[1](x).numpy(), rtol=1e-6)

    @wg.compile
    def step(model, x):
        grads = wg.grad(lambda model: (model(x) ** 2).sum())(model)
        return wg.tree.map(lambda p, g: p - 0.1 * g, model, grads)

    first = model = nn.Sequential(Scaled(3), nn.Tanh())
    for _ in range(4):
        model = step(model, x)
    assert step.cache_info() == (3, 1, 1)
    eager = first
    for _ in range(4):
        eager = step.__wrapped__(eager, x)
    np.testing.assert_allclose(model[0].weight.numpy(), eager[0].weight.numpy(), rtol=1e-5)
    mixed = wg.tree.map(lambda a, b: 0.5 * (a + b), models[0], models[1])
    assert mixed[0].k == 1 and mixed[0].weight.tolist() == [1.0, 2.0]
