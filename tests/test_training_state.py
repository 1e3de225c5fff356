"""Training that is compiled, saved or taken up again: a hundred steps leave the bits of a hundred
eager ones in everything that a step changes."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

STEPS = 100

TRAINED = {
    "SGD": (optim.SGD, {"lr": 0.05}),
    "SGD with momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.1}),
    "Nesterov": (
        optim.SGD,
        {
            "lr": optim.linear(0.1, 0.01, 70),
            "momentum": 0.8,
            "nesterov": True,
            "weight_decay": 0.01,
        },
    ),
    "Adam": (optim.Adam, {"lr": optim.cosine(0.05, 80)}),
    "Adam with amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    "AdamW": (optim.AdamW, {"lr": optim.warmup(10, 0.02), "weight_decay": 0.1}),
    "RMSProp": (optim.RMSProp, {"lr": 0.01}),
    "RMSProp with momentum": (
        optim.RMSProp,
        {"lr": optim.warmup(5, optim.cosine(0.02, 60)), "momentum": 0.9, "centered": True},
    ),
}


def bits(tree):
    return [np.asarray(x.detach().numpy()).tobytes() for x in wg.tree.leaves(tree)]


class Training:
    """A network with every kind of state: parameters, running statistics, dropout's generator, the
    optimiser's moments, its counts and its schedule. ``seed`` sets what it starts from."""

    def __init__(self, name, seed=0, dtype=wg.float32):
        rng = np.random.default_rng(seed)
        self.random = wg.random.default_rng(seed)
        self.model = nn.Sequential(
            nn.Linear(6, 12, bias=False, dtype=dtype),
            nn.BatchNorm1d(12, dtype=dtype),
            nn.GELU(),
            nn.Dropout(0.3, generator=self.random),
            nn.Linear(12, 12, dtype=dtype),
            nn.LayerNorm(12, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.1, generator=self.random),
            nn.Linear(12, 4, dtype=dtype),
        )
        with wg.no_grad():
            for p in self.model.parameters():
                p.assign(wg.asarray(0.3 * rng.normal(size=p.shape), dtype=dtype))
        kind, options = TRAINED[name]
        weights = [p for p in self.model.parameters() if p.ndim == 2]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": weights}, {"params": others, "lr": 0.003}]
        self.optimizer = kind(groups, **options)

    def step(self, x, labels):
        loss = nn.cross_entropy(self.model(x), labels)
        loss.backward()
        norm = optim.clip_grad_norm(self.model.parameters(), 0.7)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
        }

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"])

    def bits(self):
        optimizer = self.optimizer.state_dict()
        changed = [[g["counts"], g["state"]] for g in optimizer["groups"]]
        held = [p.grad for p in self.model.parameters()]
        return (bits(self.model.state_dict()), bits(changed), bits(self.random.state),
                self.optimizer.steps, held)  # fmt: skip


def batches(dtype=np.float32):
    rng = np.random.default_rng(3)
    return rng.normal(size=(STEPS, 8, 6)).astype(dtype), rng.integers(0, 4, size=(STEPS, 8))


def losses(results):
    return [(float(loss), float(norm)) for loss, norm in results]


def taken(step, xs, labels):
    return losses(step(wg.tensor(x), wg.tensor(own)) for x, own in zip(xs, labels))


def taken_in_one_call(step, xs, labels):
    return losses(zip(*(rows.tolist() for rows in step.run(xs, labels))))


@pytest.fixture(scope="module")
def eager():
    """The losses, the norms and the state after a hundred eager steps, by optimiser and dtype."""
    found = {}

    def after(name, dtype=np.float32):
        if (name, dtype) not in found:
            training = Training(name, dtype=np.dtype(dtype).name)
            found[name, dtype] = taken(training.step, *batches(dtype)), training.bits()
        return found[name, dtype]

    return after


@pytest.mark.parametrize("name", TRAINED)
def test_training_changes_all_of_its_state(name, eager):
    start, (found, end) = Training(name), eager(name)
    assert len(set(found)) == STEPS and np.all(np.isfinite(found))
    assert max(norm for _, norm in found) > 0.7 > min(norm for _, norm in found)
    for before, after in zip(start.bits()[0], end[0], strict=True):
        assert before != after
    assert end[3] == STEPS and end[4] == [None] * len(end[4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TRAINED)
def test_compiled_steps_are_eager_steps(name, dtype, eager):
    training = Training(name, dtype=np.dtype(dtype).name)
    step = wg.compile(training.step)
    assert (taken(step, *batches(dtype)), training.bits()) == eager(name, dtype)
    # The first call makes the optimiser's state, which the second finds.
    assert step.cache_info().misses <= 2


@pytest.mark.parametrize("name", TRAINED)
def test_each_parameter_updated_as_soon_as_its_gradient_is_there(name, eager, monkeypatch):
    monkeypatch.setattr(optim.optimizer, "_UPDATE_BYTES", 1)
    training = Training(name)
    step = wg.compile(training.step)
    assert (taken(step, *batches()), training.bits()) == eager(name)


@pytest.mark.parametrize("name", TRAINED)
def test_steps_in_one_call_are_eager_steps(name, eager):
    training = Training(name)
    step = wg.compile(training.step)
    xs, labels = batches()
    parts = [slice(0, 1), slice(1, 64), slice(64, STEPS)]
    found = [loss for part in parts for loss in taken_in_one_call(step, xs[part], labels[part])]
    assert (found, training.bits()) == eager(name)


@pytest.mark.parametrize("first", ["eager", "compiled"])
@pytest.mark.parametrize("second", ["eager", "compiled", "one call"])
@pytest.mark.parametrize("name", TRAINED)
def test_saved_and_taken_up_by_others(name, first, second, eager, tmp_path):
    """Nothing but the file goes from the first half to the second."""
    xs, labels = batches()
    half = STEPS // 2
    training = Training(name)
    step = wg.compile(training.step) if first == "compiled" else training.step
    found = taken(step, xs[:half], labels[:half])
    wg.save(tmp_path / "state", training.state())
    other = Training(name, seed=1)
    step = other.step if second == "eager" else wg.compile(other.step)
    if second == "compiled":  # a step recorded before the state is loaded goes on from it
        taken(step, xs[:3], labels[:3])
    other.load(wg.load(tmp_path / "state"))
    go_on = taken_in_one_call if second == "one call" else taken
    found += go_on(step, xs[half:], labels[half:])
    assert (found, other.bits()) == eager(name)


def test_evaluation_in_the_middle(eager):
    """Between compiled steps the same model is used in eval mode, compiled and eager."""
    training = Training("Adam")
    step, evaluate = wg.compile(training.step), wg.compile(lambda x: training.model(x))
    found = []
    for x, labels in zip(*batches()):
        found += taken(step, [x], [labels])
        before = training.bits()
        training.model.eval()
        with wg.no_grad():
            shown = evaluate(wg.tensor(x)), training.model(wg.tensor(x))
        assert bits(shown[0]) == bits(shown[1])
        training.model.train()
        assert training.bits() == before
    assert (found, training.bits()) == eager("Adam")
    assert step.cache_info().misses <= 2 and evaluate.cache_info().misses == 1


def test_eager_and_compiled_steps_in_turns(eager):
    training = Training("RMSProp with momentum")
    step = wg.compile(training.step)
    found = []
    for i, (x, labels) in enumerate(zip(*batches())):
        found += taken(step if i % 3 else training.step, [x], [labels])
    assert (found, training.bits()) == eager("RMSProp with momentum")


def test_a_pure_step(tmp_path):
    """State that goes in and comes out, and through a file in the middle."""
    rng = np.random.default_rng(5)
    first = {"w": wg.tensor(rng.normal(size=(6, 4))), "b": wg.tensor(rng.normal(size=4))}

    def loss_of(p, x, labels):
        return nn.cross_entropy(x @ p["w"] + p["b"], labels)

    def step(state, x, labels):
        loss, gradients = wg.value_and_grad(loss_of)(state["p"], x, labels)
        momenta = {name: 0.9 * m + gradients[name] for name, m in state["m"].items()}
        moved = {name: p - 0.1 * momenta[name] for name, p in state["p"].items()}
        return {"p": moved, "m": momenta, "steps": state["steps"] + 1}, loss

    found = []
    for call, stops in ((step, False), (wg.compile(step), False), (wg.compile(step), True)):
        zeros = wg.tree.map(wg.zeros_like, first)
        state, trail = {"p": first, "m": zeros, "steps": wg.tensor(0)}, []
        for i, (x, labels) in enumerate(zip(*batches(np.float64))):
            if stops and i == STEPS // 2:
                wg.save(tmp_path / "state", state)
                state = wg.load(tmp_path / "state")
            state, loss = call(state, wg.tensor(x), wg.tensor(labels))
            trail.append(loss.item())
        found.append((trail, bits(state)))
    assert found[0] == found[1] == found[2]
    assert state["steps"].item() == STEPS and len(set(trail)) == STEPS


def test_gradients_end_with_their_updates():
    """Of a deep network no more than two gradients are alive at once, whatever its depth."""
    n, depth = 128, 12
    rng = np.random.default_rng(0)
    first = [0.1 * rng.normal(size=(n, n)) for _ in range(depth)]
    x = wg.tensor(rng.normal(size=(1, n)))

    def training(kind):
        ws = [nn.Parameter(w) for w in first]
        optimizer = kind(ws)

        def step(x):
            for w in ws:
                x = wg.tanh(x @ w)
            loss = (x * x).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return ws, step

    for kind in (optim.SGD, optim.Adam):
        (eager_ws, eager_step), (ws, step) = training(kind), training(kind)
        compiled = wg.compile(step)
        eager_step(x), compiled(x)
        before = wg.memory.live_bytes()
        another = wg.compile(step)
        assert another(x).item() == eager_step(x).item()
        assert wg.memory.live_bytes() - before <= 2 * n * n * 8 + (depth + 8) * n * 8
        assert bits(ws) == bits(eager_ws)
        assert f" steps moved, to save memory: {depth}\n" in compiled.explain(x)
