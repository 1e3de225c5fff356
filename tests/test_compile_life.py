"""What compiled functions keep alive, and how they live: threads, methods, copies, modes."""

import copy
import functools
import gc
import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest
import wengert as wg
from wengert import nn
from wengert.side_effects import Watched


def test_threads_share_a_compiled_function():
    w = wg.tensor(np.full((200, 200), 0.01))
    compiled = wg.compile(lambda x: wg.tanh(x @ w) @ w + x)
    xs = [wg.tensor(np.full((200, 200), float(i))) for i in range(4)]
    expected = [(wg.tanh(x @ w) @ w + x).tolist() for x in xs]
    wrong = []

    def work(i):
        for _ in range(10):
            if compiled(xs[i]).tolist() != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and compiled.cache_info().hits + compiled.cache_info().misses == 40


def test_a_compiled_function_calls_itself():
    @wg.compile(static_argnums=1)
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    assert power(wg.tensor(2.0), 5).item() == 32 and power(wg.tensor(3.0), 5).item() == 243
    assert power.cache_info() == (1, 1, 1)


class Trainer:
    def __init__(self, w):
        self.w = wg.tensor(w)

    @wg.compile
    def step(self, x, k=1.0):
        """Adds x."""
        self.w.assign(self.w + k * x)
        return self.w

    @wg.compile(static_argnums=1)
    def power(self, n, x):
        return x**n


@wg.compile
def at_the_top(x):
    return x + 1


def test_methods():
    one, two = Trainer(1.0), Trainer(10.0)
    for _ in range(2):
        one.step(wg.tensor(1.0)), two.step(wg.tensor(1.0), k=2.0)
    assert (one.w.item(), two.w.item()) == (3.0, 14.0)
    assert one.step.cache_info() == (1, 1, 1) and one.step.__self__ is one
    assert one.step.run(wg.tensor([1.0, 2.0])).tolist() == [4.0, 6.0]
    assert one.power(3, wg.tensor(2.0)).item() == 8 and two.power(2, wg.tensor(2.0)).item() == 4
    ends = weakref.ref(one)
    del one
    gc.collect()
    assert ends() is None and len(Trainer.step._bound) == 1
    assert (
        Trainer.step.__name__ == two.step.__name__ == "step" and Trainer.step.__doc__ == "Adds x."
    )
    assert copy.copy(two.step).__self__ is two and copy.deepcopy(two.step).__self__ is not two
    assert copy.deepcopy(two).step(wg.tensor(1.0)).item() == 15.0 and two.w.item() == 14.0


def test_metadata_copies_and_pickles():
    assert at_the_top.__name__ == "at_the_top" and at_the_top.__wrapped__(1) == 2
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top is copy.deepcopy(at_the_top)
    local = wg.compile(lambda x, n: x * n, static_argnums=1)
    local(wg.tensor(1.0), 2)
    twin = copy.deepcopy(local)
    assert twin.cache_info() == (0, 0, 0) and twin(wg.tensor(2.0), 3).item() == 6
    again = pickle.loads(pickle.dumps(wg.compile(np.multiply)))
    assert again(wg.tensor(2.0), 3.0).item() == 6
    assert wg.compile(functools.partial(lambda a, b: a * b, 2.0))(wg.tensor(2.0)).item() == 4
    model = nn.Linear(2, 2)
    assert wg.compile(model)(wg.ones((1, 2))).requires_grad
    with pytest.raises(wg.ArgumentTypeError, match="takes a function"):
        wg.compile(3)


def test_a_replay_takes_no_memory_but_its_results():
    compiled = wg.compile(lambda x: wg.tanh(x @ x) + x.T @ (x * 2))
    x = wg.ones((64, 64))
    held = compiled(x)
    compiled(x)
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    y = compiled(x)
    assert wg.memory.live_bytes() - before == wg.memory.peak_bytes() - before == x.size * 4
    del y, held
    assert wg.memory.live_bytes() == before - x.size * 4


def test_recordings_end_with_their_function():
    before = wg.memory.live_bytes()

    class Owner:
        pass

    owner = Owner()
    owner.state = wg.zeros(1000)

    def f(x, key, owner=owner):
        owner.state.assign(owner.state + x)
        return {"a": owner.state}

    owner.step = wg.compile(f, static_argnums=1)
    for _ in range(3):
        owner.step(wg.ones(1000), owner)
    ends = weakref.ref(owner)
    del owner, f
    gc.collect()
    assert ends() is None and wg.memory.live_bytes() == before


def test_modes_and_attributes_of_modules():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    compiled = wg.compile(lambda x: model(x))
    x = wg.ones((40, 2))
    with wg.no_grad():
        for _ in range(3):
            model.train()
            random = compiled(x)
            model.eval()
            np.testing.assert_array_equal(compiled(x).numpy(), model(x).numpy())
            assert (random == 0).any()
        assert compiled.cache_info() == (4, 2, 2)
        layer = nn.Linear(2, 2)
        setattr(model, "0", layer) if "0" in model.__dict__ else model.add_module("0", layer)
        np.testing.assert_array_equal(compiled(x).numpy(), model(x).numpy())


def test_cleared_recordings_give_their_memory_back():
    class Scale(nn.Module):
        factor = 2

        @wg.compile
        def __call__(self, x: wg.Tensor) -> wg.Tensor:
            return (wg.sin(x) @ x).sum() * self.factor

    scale, x = Scale(), wg.ones((64, 64))
    compiled = wg.compile(lambda x: (wg.sin(x) @ x).sum())
    before = wg.memory.live_bytes()
    for f in (compiled, scale.__call__):
        expected = [f(x).item() for _ in range(3)]
        assert wg.memory.live_bytes() > before and f.cache_info() == (2, 1, 1)
        f.cache_clear()
        assert wg.memory.live_bytes() == before and f.cache_info() == (0, 0, 0)
        assert [f(x).item() for _ in range(3)] == expected and f.cache_info() == (2, 1, 1)
        f.cache_clear()
    scale.__call__(x)
    Scale.__dict__["__call__"].cache_clear()  # of all objects
    assert scale.__call__.cache_info() == (0, 0, 0) and wg.memory.live_bytes() == before


def test_recordings_of_past_options_are_forgotten():
    model = nn.Module()
    compiled = wg.compile(lambda x: x * model.k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(100):
            model.k = i
            assert compiled(wg.tensor(1.0)).item() == i
    assert compiled.cache_info().size < 20


class Meter(nn.Module):
    def forward(self, x):
        self.last, self.count = x * 2.0, getattr(self, "count", 0) + 1
        return self.last


def bystanders(model, meter):
    """What goes on beside a compiled step of the model, and is none of its business."""
    other = nn.Linear(2, 2)
    return {
        "a meter": lambda: meter(wg.ones(2)),
        "an attribute that is not read": lambda: setattr(model, "note", object()),
        "another model's flags": lambda: other.requires_grad_(not other.weight.requires_grad),
        "another model's dtype": lambda: other.astype("float64"),
        "a new leaf": lambda: wg.ones(2).requires_grad_(True),
        "a new model": lambda: nn.Sequential(nn.Linear(2, 2)).append(nn.ReLU()),
        "a new optimiser": lambda: wg.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9),
        "a copy": lambda: copy.deepcopy(model),
        "flags there and back": lambda: model.requires_grad_(False).requires_grad_(True),
        "modes there and back": lambda: model.eval().train(),
    }


@pytest.mark.parametrize("name", bystanders(nn.Sequential(), Meter()))
def test_what_no_recording_depends_on_changes_freely(name):
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    act, optimizer = bystanders(model, Meter())[name], wg.optim.SGD(model.parameters(), lr=0.1)

    @wg.compile
    def step(x):
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in range(4):
        step(wg.ones((4, 2)))
        act()
    assert step.cache_info().misses == 1


def test_two_models_that_freeze_each_other():
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)

    def trained(model):
        optimizer = wg.optim.SGD(model.parameters(), lr=0.1)

        @wg.compile
        def step(x):
            second(first(x)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    steps = {trained(first): second, trained(second): first}
    for _ in range(4):
        for step, frozen in steps.items():
            frozen.requires_grad_(False)
            step(wg.ones((4, 2)))
            assert frozen.weight.grad is None
            frozen.requires_grad_(True)
    assert [step.cache_info().misses for step in steps] == [1, 1]


def test_no_set_of_flags_cancels():
    """What flags of several leaves do to the state that recordings are known by is independent."""
    leaves = [wg.ones(2).requires_grad_(True) for _ in range(200)]
    wg.compile(lambda x: sum((p * x).sum() for p in leaves))(wg.ones(2))
    state, changes = wg._core._options_epoch, []
    for p in leaves:
        before = state()
        p.requires_grad_(False)
        changes.append(before ^ state())
        p.requires_grad_(True)
        assert state() == before
    pairs = [a ^ b for i, a in enumerate(changes) for b in changes[:i]]
    assert len({*changes, *pairs, 0}) == len(changes) + len(pairs) + 1


def test_an_optimiser_that_gets_another_group_is_recorded_anew():
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    optimizer = wg.optim.SGD(first.parameters(), lr=0.1)

    @wg.compile
    def step(x):
        second(first(x)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        second.zero_grad()

    step(wg.ones((4, 2)))
    before = second.weight.tolist()
    step(wg.ones((4, 2)))
    assert second.weight.tolist() == before
    optimizer.add_param_group({"params": second.parameters()})
    step(wg.ones((4, 2)))
    assert second.weight.tolist() != before


CONSTANTS = {
    "-1 and -2": (-1.0, 1.0, -2.0),
    "signs of zero": (0.0, 1.0, -0.0),
    "huge": (1, 2, 2**61),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_of_one_hash_are_told_apart(name):
    class Scale(nn.Module):
        def forward(self, x):
            return wg.copysign(x + abs(self.factor), self.factor)

    module = Scale()
    f = wg.compile(module)
    for module.factor in CONSTANTS[name]:
        assert f(wg.tensor(2.0)).item() == module(wg.tensor(2.0)).item()


class Guarded(nn.Module):
    def __getattribute__(self, name):
        return super().__getattribute__(name)


class Own(nn.Module):
    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


READERS = {
    "in a call": lambda module: module,
    "by a function": lambda module: lambda x: x * module.factor,
    "by name": lambda module: lambda x: x * getattr(module, "factor", 1.0),
    "whether it is there": lambda module: lambda x: x * (3.0 if hasattr(module, "factor") else 1.0),
    "among all": lambda module: lambda x: x * vars(module).get("factor", 1.0),
    "in a loop": lambda module: (
        lambda x: wg.scan(lambda c, _: (c * module.factor, None), x, None, length=1)[0]
    ),
    "under grad": lambda module: wg.grad(lambda x: (x * module.factor).sum()),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("base", [nn.Module, Guarded, Own])
def test_whatever_reads_an_attribute_sees_it_change(reader, base):
    class Scale(base):
        factor = 1.0

        def forward(self, x):
            return x * self.factor

    module = Scale()
    f = READERS[reader](module)
    step, x = wg.compile(f), wg.tensor([1.0, 2.0])
    for change in (
        lambda: None,
        lambda: setattr(module, "factor", 3.0),
        lambda: delattr(module, "factor"),
    ):
        change()
        assert step(x).tolist() == f(x).tolist()
    assert "__getattribute__" not in vars(Watched)


def test_a_failed_recording_notes_no_more_reads():
    with pytest.raises(ZeroDivisionError):
        wg.compile(lambda x: 1 / 0)(wg.ones(2))
    assert "__getattribute__" not in vars(Watched)


def test_calls_that_a_sweep_may_follow_need_no_python():
    """A compiled loss that reads parameters, under backward() and under no_grad."""
    p = nn.Parameter([1.0, 2.0])
    loss = wg.compile(lambda x, scale=2.0: {"loss": (p * x).sum() ** 2 * scale})
    for i in range(4):
        p.grad = None
        loss(wg.ones(2) * i)["loss"].backward()
        assert p.grad.tolist() == [12.0 * i * i] * 2
    assert loss._hits == 3 and loss.cache_info() == (3, 1, 1)
    first = wg.grad(lambda x: loss(x)["loss"])
    assert wg.grad(lambda x: first(x).sum())(wg.ones(2)).tolist() == [12.0, 24.0]
    y = loss(wg.ones(2))["loss"]
    (g,) = wg.vjp(lambda v: v * y, wg.ones(()))[1](1.0)
    p.grad = None
    y.backward(create_graph=True)
    p.grad.sum().backward()
    assert g.item() == 18.0 and p.grad.tolist() == [12.0 + 8.0] * 2
    with wg.no_grad():
        assert not loss(wg.ones(2))["loss"].requires_grad
    p.requires_grad = False
    assert not loss(wg.ones(2))["loss"].requires_grad


def test_a_second_derivative_of_a_call_that_would_be_another_by_now():
    class Scaled(nn.Module):
        def __init__(self):
            self.w, self.k = nn.Parameter([1.0]), 2.0

        def forward(self, x):
            return (self.w * x * x).sum() * self.k

    module, x = Scaled(), wg.tensor([3.0], requires_grad=True)
    compiled = wg.compile(module)
    compiled(x).backward(create_graph=True)
    assert x.grad.item() == 12.0
    x.grad = None
    y, again = compiled(x), compiled(x)
    module.k = 5.0
    with pytest.raises(wg.GraphError, match="changed since the call"):
        y.backward(create_graph=True)
    again.backward()
    assert x.grad.item() == 12.0


@pytest.mark.parametrize("kind", ["method", "attribute"])
def test_a_swept_loss_keeps_nobody_alive(kind):
    """A loss that its owner holds is a cycle, of which the collector does not see the node."""

    class Trainer:
        def __init__(self):
            self.model = nn.Linear(6, 300)
            self.model(wg.ones((1, 6)))
            self.call = wg.compile(self.loss if kind == "method" else lambda x: self.loss(x))

        def loss(self, x):
            return (self.model(x) ** 2).sum()

        def fit(self):
            self.last = self.call(wg.ones((100, 6)))
            self.last.backward()

    def one():
        trainer = Trainer()
        trainer.fit()
        with pytest.raises(wg.GraphError, match="freed by an earlier one"):
            trainer.last.backward()
        return weakref.ref(trainer.model)

    before = wg.memory.live_bytes()
    models = [one() for _ in range(3)]
    gc.collect()
    assert [model() for model in models] == [None] * 3
    assert wg.memory.live_bytes() == before
