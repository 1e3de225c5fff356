"""What a call does to Python beside computing, under wg.compile: attributes that modules bind anew
are carried over, and numbers that change warn."""

import random
import re
import threading
import warnings

import numpy as np
import pytest
import wengert as wg
from wengert import nn

XS = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)


def bits(tree):
    return [
        np.asarray(x.detach().numpy()).tobytes() if isinstance(x, wg.Tensor) else x
        for x in wg.tree.leaves(tree)
    ]


def state(module):
    """Every attribute but children and what is private."""
    return {
        name: bits(value)
        for name, value in vars(module).items()
        if not isinstance(value, nn.Module) and not name.startswith("_")
    }


class Mean(nn.Module):
    def __init__(self):
        self.register_buffer("mean", wg.zeros(3))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
        return x - self.mean


class Attribute(Mean):
    """Not registered, and changed twice."""

    def __init__(self):
        self.mean = wg.zeros(3)

    def forward(self, x):
        self.mean = self.mean + x.sum(axis=0)
        self.mean = self.mean * 0.5
        return x * self.mean


class Mixed(Mean):
    """Changed in place as well."""

    def forward(self, x):
        self.mean.assign(self.mean + 1.0)
        self.mean = self.mean * x.mean(axis=0)
        self.mean += 1.0
        return self.mean * 2.0


class Last(nn.Module):
    """There was none before."""

    def forward(self, x):
        self.last = x * 2.0
        return self.last + 1.0


class Lazy(nn.Module):
    def __init__(self):
        self.h = None

    def forward(self, x):
        self.h = x if self.h is None else 0.5 * self.h + x
        return self.h * 2.0


class Pair(nn.Module):
    """Tensors in containers; a result that is the old state."""

    def __init__(self):
        self.state = wg.zeros(3), [wg.ones(3), None]
        self.kept = {"k": wg.zeros(3)}

    def forward(self, x):
        h, (c, _) = self.state
        self.state = h * 0.5 + x.mean(axis=0), [c + h, None]
        self.kept = {"k": self.kept["k"] + 1.0}
        return h, c * 2.0


class Previous(nn.Module):
    def __init__(self):
        self.mean, self.before = wg.zeros(3), wg.ones(3)

    def forward(self, x):
        self.before = self.mean
        self.mean = 0.9 * self.mean + x.mean(axis=0)
        return self.mean - self.before


class Crossed(nn.Module):
    def __init__(self):
        self.a, self.b = wg.zeros(3), wg.ones(3)

    def forward(self, x):
        self.a, self.b = self.b + x.mean(axis=0), self.a * 2.0
        return self.a + x


class Swapped(Crossed):
    def forward(self, x):
        self.a, self.b = self.b, self.a
        return self.a + x


class Growing(nn.Module):
    def __init__(self):
        self.rows = wg.zeros((0, 3))

    def forward(self, x):
        self.rows = wg.concat([self.rows, x])
        return self.rows.sum(axis=0)


class Widening(nn.Module):
    """Another dtype than before, once."""

    def __init__(self):
        self.sum = wg.zeros(3, dtype="int64")

    def forward(self, x):
        self.sum = self.sum + x.sum(axis=0)
        return self.sum * 1.0


class Reset(nn.Module):
    """The state starts as a tensor that is an attribute itself."""

    def __init__(self):
        self.start = wg.ones(3)
        self.h = self.start
        self.part = wg.ones((2, 3))
        self.row = self.part[0]

    def forward(self, x):
        self.h = 0.5 * self.h + x.mean(axis=0) + self.start
        self.row = self.row + self.part[1]
        return self.h + self.start, self.part * 1.0


class Inside(nn.Module):
    """The new value was made and changed in place within."""

    def __init__(self):
        self.h = wg.zeros(3)

    def forward(self, x):
        h = wg.zeros(3)
        h.assign(self.h + x.mean(axis=0))
        self.h = h
        return h * 1.0


class First(nn.Module):
    """A flag and a branch on it."""

    def __init__(self):
        self.ready, self.mode = False, "cold"
        self.mean = wg.zeros(3)

    def forward(self, x):
        if self.ready:
            self.mean.assign(0.9 * self.mean + 0.1 * x.mean(axis=0))
        else:
            self.mean.assign(x.mean(axis=0))
        self.ready, self.mode = True, "warm"
        return self.mean * 1.0


class Deleting(nn.Module):
    def __init__(self):
        self.shift = wg.ones(3)

    def forward(self, x):
        if hasattr(self, "shift"):
            x = x + self.shift
            del self.shift
        return x * 2.0


# The class, and how often it is recorded in six calls.
CARRIED = [
    (Mean, 1), (Attribute, 1), (Mixed, 1), (Last, 2), (Lazy, 2), (Pair, 1), (Previous, 1),
    (Crossed, 1), (Swapped, 6), (Growing, 6), (Widening, 2), (Reset, 2), (Inside, 1), (First, 2),
    (Deleting, 2),
]  # fmt: skip


@pytest.mark.parametrize("how", ["called", "run", "step"])
@pytest.mark.parametrize(("kind", "misses"), CARRIED, ids=lambda x: getattr(x, "__name__", None))
def test_attributes_are_as_eager_calls_leave_them(kind, misses, how):
    eager, module = kind(), kind()
    expected = [(bits(eager(wg.tensor(x))), state(eager)) for x in XS]

    def f(x):
        return module(x)

    compiled = wg.compile(module if how == "called" else f, exact=True)
    if how == "run":
        found = compiled.run(wg.tensor(XS[:2]))
        rows = [bits(wg.tree.map(lambda x, i=i: x[i], found)) for i in range(2)]
        assert rows == [results for results, _ in expected[:2]]
        assert state(module) == expected[1][1]
    for i in range(2 if how == "run" else 0, 6):
        assert (bits(compiled(wg.tensor(XS[i]))), state(module)) == expected[i]
    assert compiled.cache_info().misses == misses


STATEMENTS = [
    "self.{p} = self.{q} * 0.5 + x",
    "self.{p} = self.{q}",
    "self.{p}, self.{q} = self.{q}, self.{p}",
    "self.{p} = self.{q} = x * 3.0 + self.{r}",
    "self.{p}.assign(self.{q} * 0.25 + 1.0)",
    "self.{p} += x",
    "self.{p} = (self.{q} * 1.0)[::-1]",
    "self.pair = self.{p}, self.{q} * 2.0",
    "self.{p}, self.{q} = self.pair",
    "self.late = self.{p} * 1.0 if self.late is None else self.late + x",
    "self.new = y * 1.0",
]
STARTS = [
    (lambda: wg.zeros(3), lambda a: wg.ones(3), lambda a: wg.full(3, 2.0)),
    (lambda: wg.zeros(3), lambda a: a, lambda a: wg.full(3, 2.0)),
    (lambda: wg.arange(3, dtype="float32"), lambda a: a[::-1], lambda a: a),
]


@pytest.mark.parametrize("seed", range(20))
def test_random_statements(seed):
    """Whatever names, views and changes in place there are: equal, or an error where values change
    in place that were made within."""
    rng = random.Random(seed)
    compared = 0
    for _ in range(20):
        body = ["y = x * 1.0"]
        for _ in range(rng.randint(1, 5)):
            p, q, r = rng.choices("abc", k=3)
            body += [rng.choice(STATEMENTS).format(p=p, q=q, r=r), f"y = y * 0.5 + self.{r}"]
        body += [f"return y, {rng.choice(['self.a', 'self.b * 1.0', 'self.pair[0]'])}"]
        scope = {}
        exec("def forward(self, x):\n    " + "\n    ".join(body), scope)
        kind = type("Random", (nn.Module,), scope)
        first, second, third = rng.choice(STARTS)
        observed = rng.random() < 0.3
        found = []
        for compiled in (False, True):
            module = kind()
            module.a = first()
            module.b, module.c = second(module.a), third(module.a)
            module.pair, module.late = (wg.zeros(3), wg.ones(3)), None
            call = wg.compile(module, exact=True) if compiled else module
            steps = []
            try:
                for i in range(5):
                    other = module.a if observed and i < 2 else None
                    steps.append((bits(call(wg.full(3, i + 1.0))), state(module)))
                    del other
            except (wg.TraceError, wg.GraphError) as error:
                assert re.search("in.place|shares its memory", str(error))
                steps = None
            found.append(steps)
        if found[1] is not None:
            assert found[0] == found[1], body
            compared += 1
    assert compared > 10


def test_state_is_saved_and_resumed(tmp_path):
    class Detached(Mean):
        def forward(self, x):
            self.mean = (0.9 * self.mean + 0.1 * x.mean(axis=0)).detach()
            return x - self.mean

    def train(wrap, resume):
        wg.random.seed(0)
        model = nn.Sequential(nn.Linear(3, 3), Detached(), nn.Linear(3, 1))
        optimizer = wg.optim.SGD(model.parameters(), lr=0.1)

        @wrap
        def step(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        losses = [bits(step(wg.tensor(x))) for x in XS[:3]]
        if resume:
            wg.save(tmp_path / "state", model.state_dict())
            step(wg.tensor(XS[5]))
            model.load_state_dict(wg.load(tmp_path / "state"))
        losses += [bits(step(wg.tensor(x))) for x in XS[3:]]
        return losses, bits(model.state_dict())

    eager = train(lambda f: f, False)
    assert train(wg.compile, False) == eager
    assert train(wg.compile, True) == eager


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: lambda x: wg.grad(lambda x: f(x).sum())(x),
        lambda f: lambda x: wg.jvp(f, (x,), (x,)),
        lambda f: lambda x: wg.vjp(f, x)[0],
        lambda f: wg.compile(f),
        lambda f: lambda x: wg.vmap(lambda r: r * 2.0)(f(x)),
    ],
    ids=["grad", "jvp", "vjp", "compile", "vmap"],
)
def test_transforms_within_the_call(wrap):
    class Detached(Mean):
        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(axis=0)
            return (x - self.mean) ** 2

    eager, module = Detached(), Detached()
    expected = [(bits(wrap(eager.forward)(wg.tensor(x))), state(eager)) for x in XS]
    compiled = wg.compile(wrap(module.forward), exact=True)
    assert [(bits(compiled(wg.tensor(x))), state(module)) for x in XS] == expected


def test_other_names_of_the_old_tensor_keep_its_value():
    module = Mean()
    compiled = wg.compile(module)
    before, view = module.mean, module.mean[:2]
    compiled(wg.tensor(XS[0]))
    assert before.tolist() == [0.0] * 3 and view.tolist() == [0.0] * 2
    assert any(module.mean.tolist())
    del before, view
    compiled(wg.tensor(XS[1]))
    compiled(wg.tensor(XS[2]))
    assert compiled.cache_info() == (1, 2, 1)
    eager = Mean()
    for x in XS[:3]:
        eager(wg.tensor(x))
    np.testing.assert_allclose(module.mean.numpy(), eager.mean.numpy(), rtol=1e-6)


def test_looking_at_a_recording_changes_nothing():
    for kind in (Mean, Last, Lazy):
        module = kind()
        before = state(module)
        compiled = wg.compile(module)
        x = wg.tensor(XS[0])
        compiled.explain(x)
        compiled.profile(x, repeats=1)
        assert len(compiled.program(x).nodes) > 0 and state(module) == before


def test_an_exception_puts_attributes_back():
    module = Mean()
    module.steps = 0

    def fail(x):
        module(x)
        module.extra = x * 2.0
        module.steps += 1
        raise KeyError("mine")

    mean = module.mean
    with pytest.raises(KeyError, match="mine"):
        wg.compile(fail)(wg.tensor(XS[0]))
    assert module.mean is mean and mean.tolist() == [0.0] * 3
    assert not hasattr(module, "extra") and module.steps == 0
    module.load_state_dict({"mean": np.ones(3, np.float32)})


def test_attributes_that_cannot_be_carried_over():
    class Model(nn.Module):
        def __init__(self):
            self.w = nn.Parameter([1.0, 2.0, 3.0])
            self.mean = wg.zeros(3)

        def forward(self, x):
            return x * self.w

    model = Model()
    x = wg.tensor(XS[0])

    def history(x):
        model.mean = (model.w * x).mean(axis=0)

    def parameter(x):
        model.w = nn.Parameter(model.w.detach() * 2.0)

    def body(x):
        def f(r):
            model.mean = r * 2.0
            return r

        return wg.vmap(f)(x)

    def checkpointed(x):
        def f(x):
            model.mean = x.mean(axis=0)
            return x * 1.0

        return wg.checkpoint(f)(x)

    def copy(model, x):
        model.mean = model.mean + x.mean(axis=0)
        return x

    for f, args, message in [
        (history, (x,), r"history binds Model.mean to .*'mean' at .*test_side_effects.py:\d+, whose"
         r" derivative the attribute would lose; write self.mean = value.detach\(\), or return"),
        (parameter, (x,), r"Model.w to a new leaf .*write self.w.assign\(...\) in wg.no_grad"),
        (body, (x,), r"vmap: .*binds Model.mean, at .*:\d+, to a traced value, .*; return it"),
        (checkpointed, (x,), r"Model.mean to .*traced within .*checkpoint.* return the value .*"
         r"in checkpoint, write self.mean.assign"),
        (copy, (model, x), r"Model.mean to .*copy of the module.* self.mean.assign\(...\)"),
    ]:  # fmt: skip
        mean, w = model.mean, model.w
        for _ in range(2):
            with pytest.raises(wg.TraceError, match=message):
                wg.compile(f)(*args)
        assert model.mean is mean and model.w is w
        assert model.mean.tolist() == [0.0] * 3 and model.w.tolist() == [1.0, 2.0, 3.0]


def test_a_refused_call_leaves_modules_as_they_were():
    class Late(nn.Module):
        head = rng = None

        def forward(self, x):
            if self.head is None:
                self.head = nn.Linear(3, 3)
            return self.head(x)

    class Drawing(Late):
        def forward(self, x):
            if self.rng is None:
                self.rng = wg.random.default_rng(0)
            return x * self.rng.normal(size=3)

    class Endless(Mean):
        def forward(self, x):
            super().forward(x)
            ring = []
            ring.append(ring)
            return ring

    x = wg.tensor(XS[0])
    for kind, error, message in [
        (Late, wg.TraceError, r"Late binds Linear.(weight|bias) to a new leaf .*before the call"),
        (Drawing, wg.TraceError, "a value, held by .*, a Generator"),
        (Endless, wg.ArgumentError, "nested too deeply"),
    ]:
        module = kind()
        before = dict(vars(module))
        for _ in range(2):
            with pytest.raises(error, match=message):
                wg.compile(module)(x)
            assert all(vars(module)[name] is value for name, value in before.items())
            assert vars(module).get("head") is None and vars(module).get("rng") is None


def test_numbers_that_change_warn_and_are_left_alone():
    class Counting(nn.Module):
        def __init__(self):
            self.steps, self.rate, self.training_steps = 0, 0.5, 7

        def forward(self, x):
            self.steps += 1
            self.rate *= 0.5
            return x * self.steps

    module = Counting()
    compiled = wg.compile(module)
    with pytest.warns(UserWarning) as found:
        assert compiled(2.0).item() == 2.0
    (warning,) = found
    assert warning.filename == __file__
    for part in ("Counting.steps from 0 to 1", "Counting.rate from 0.5 to 0.25", "replays leave"):
        assert part in str(warning.message)
    assert compiled(3.0).item() == 3.0 and (module.steps, module.rate) == (1, 0.25)
    assert compiled.cache_info() == (1, 1, 1)
    module.steps = 4  # a change outside is recorded anew
    with pytest.warns(UserWarning, match="from 4 to 5"):
        assert compiled(3.0).item() == 15.0


def test_what_settles_does_not_warn():
    class Settling(nn.Module):
        def __init__(self):
            self.scale = self.size = self.helper = None
            self.notes = {}

        def forward(self, x):
            if self.scale is None:
                self.scale, self.size = nn.Parameter(np.ones(3, np.float32)), x.shape[-1]
                self.helper = str.upper
            self.notes["shape"] = x.shape
            return x * self.scale * self.size

    model = nn.Sequential(Settling(), nn.Dropout(0.5))

    @wg.compile
    def f(x):
        model.train()
        model.eval()
        return model(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in XS[:3]:
            np.testing.assert_allclose(f(x).numpy(), x * 3)
    assert f.cache_info().hits >= 1 and not model.training


def test_a_mode_that_the_call_leaves_behind():
    model = nn.Sequential(nn.Dropout(0.5))
    x = np.ones(100, np.float32)

    @wg.compile
    def f(x):
        y = model(x)
        model.eval()
        return y

    assert 0.0 in f(x).tolist()
    assert f(x).tolist() == f(x).tolist() == [1.0] * 100
    assert f.cache_info() == (1, 2, 1)


def test_changes_of_every_call_are_named_when_recordings_grow():
    compiled = wg.compile(Swapped())
    for _ in range(7):
        compiled(wg.tensor(XS[0]))
    with pytest.warns(UserWarning, match=r"recorded 8 times.*Swapped\.[ab], which the call itself"):
        compiled(wg.tensor(XS[0]))


def test_another_thread_may_change_modules_meanwhile():
    module, other = Mean(), Mean()
    compiled = wg.compile(module)

    def change():
        other.note = wg.ones(2) * 2.0
        other.steps = 1

    def f(x):
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        return compiled(x)

    wg.compile(f)(wg.tensor(XS[0]))
    assert other.note.tolist() == [2.0, 2.0] and other.steps == 1


def test_steps_of_several_shapes_share_the_state():
    module, eager = Mean(), Mean()
    rows = [x[: 2 + i % 2] for i, x in enumerate(XS)]
    expected = [bits(eager(wg.tensor(x))) for x in rows]
    compiled = wg.compile(module, exact=True)
    assert [bits(compiled(wg.tensor(x))) for x in rows] == expected
    assert bits(module.mean) == bits(eager.mean)
    assert compiled.cache_info() == (4, 2, 2)
