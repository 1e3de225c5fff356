"""Attributes of modules that bodies of loops and branches, or what vmap maps, bind anew: refused
where that would happen once for many steps or for none; all else goes on."""

import re

import numpy as np
import pytest
import wengert as wg
from wengert import nn


class Counter(nn.Module):
    count, mode = 0, "sum"

    def __init__(self):
        self.mean, self.pair, self.spare = wg.zeros(()), (wg.zeros(2), 1), None


def scanned(body):
    return lambda x: wg.scan(lambda c, r: (body(c + r), None), wg.zeros(()), x)[0]


def looped(body):
    return lambda x: wg.while_loop(lambda s: s < 3.0, lambda s: body(s + 1.0), x[0])


def kept(body):
    keep = wg.Binomial(slots=2)
    return lambda x: wg.while_loop(
        lambda s: s < 3.0, lambda s: body(s + 1.0), x[0], checkpoint=keep
    )


def questioned(body):
    return lambda x: wg.while_loop(lambda s: body(s) < 3.0, lambda s: s + 1.0, x[0])


def chosen(body):
    return lambda x: wg.cond(x[0] > 0.0, body, lambda x: -x, x[0])


def not_chosen(body):
    return lambda x: wg.cond(x[0] < 0.0, lambda x: -x, body, x[0])


def within_vmap(body):
    return wg.vmap(chosen(body))


def in_vmap(body):
    return wg.vmap(lambda r: wg.scan(lambda c, _: (body(c), None), r, length=2)[0])


def direct(f):
    return f


LOOPS = {
    "scan": (direct, scanned),
    "compiled scan": (wg.compile, scanned),
    "gradient of a scan": (lambda f: wg.grad(lambda x: f(x).sum()), scanned),
    "scan under vmap": (direct, in_vmap),
    "compiled while_loop": (wg.compile, looped),
    "while_loop with a checkpoint": (direct, kept),
    "test of a compiled while_loop": (wg.compile, questioned),
    "compiled cond": (wg.compile, chosen),
    "branch not taken": (wg.compile, not_chosen),
    "cond under vmap": (direct, lambda body: lambda x: within_vmap(body)(x[:, None])),
}
X = wg.tensor([-1.0, 2.0, 0.5])

CHANGES = {
    "count": lambda m, x: setattr(m, "count", m.count + 1),
    "mean": lambda m, x: setattr(m, "mean", 0.9 * m.mean + 0.1 * x),
    "pair": lambda m, x: setattr(m, "pair", (m.pair[0] + 1.0, 1)),
    "mode": lambda m, x: setattr(m, "mode", "last"),
    "training": lambda m, x: m.eval(),
    "spare": lambda m, x: setattr(m, "spare", x * 2.0),
    "other": lambda m, x: setattr(m, "other", [x]),
}


def attributes(module):
    return {"count": module.count, "mode": module.mode, "training": True, **vars(module)}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("loop", LOOPS)
def test_bodies_bind_no_attribute_anew(loop, change):
    module = Counter()
    before = attributes(module)

    def body(x):
        CHANGES[change](module, x)
        return x

    how, put = LOOPS[loop]
    f = how(put(body))
    message = (
        rf"binds Counter.{change} anew, at (.*test_bodies|.*module).py:\d+. It is recorded once"
    )
    for _ in range(2):
        with pytest.raises(wg.TraceError, match=message):
            f(X)
        assert attributes(module) == before


@pytest.mark.parametrize("how", [direct, wg.compile])
def test_vmap_leaves_no_traced_value_behind(how):
    module = Counter()

    def f(row):
        module.mean = row * 2.0
        return module.mean

    with pytest.raises(
        wg.TraceError, match=r"vmap: the function binds Counter.mean, at .*return it"
    ):
        how(wg.vmap(f))(X)
    assert module.mean.tolist() == 0.0

    def once(row):
        module.count, module.mean = 5, module.mean + 1.0
        return row * module.mean

    assert how(wg.vmap(once))(X).tolist() == X.tolist()
    assert (module.count, module.mean.tolist()) == (5, 1.0)


def test_python_loops_and_branches_bind_as_ever():
    module = Counter()

    def body(x):
        module.count, module.mean = module.count + 1, module.mean + x
        return x

    looped(body)(X)  # from -1 to 3
    assert (module.count, module.mean.item()) == (4, 6.0)
    chosen(body)(X)
    assert module.count == 4
    chosen(body)(-X)
    assert module.count == 5


class Lazy(nn.Module):
    """Makes its parts at the first call."""

    layer = weight = None

    def forward(self, x):
        if self.layer is None:
            self.layer, self.weight = nn.Tanh(), nn.Parameter([2.0], False)
            self.shift = wg.ones(1)
            self.options = {"factor": 3.0}
        return (self.layer(x[None]) * self.weight + self.shift)[0] * self.options["factor"]


class Local(nn.Module):
    """Holds what is traced, and lives within the body."""

    def __init__(self, x):
        self.scale = x
        self.scale = self.scale * 2.0

    def forward(self, x):
        return self.scale * x


def in_between(x):
    counter = Counter.shared
    counter.eval()
    counter.count, counter.spare = counter.count + 1, x * 2.0
    y = counter.spare * counter.count
    counter.count, counter.spare = 0, None
    counter.train()
    return y


def read_again(x):
    counter = Counter.shared
    counter.mean, counter.mode = counter.mean, str(counter.mode)
    return x * 2.0


@pytest.mark.parametrize("loop", LOOPS)
def test_what_lasts_for_one_step_and_what_is_made_at_the_first(loop):
    how, put = LOOPS[loop]
    Counter.shared = Counter()
    before = attributes(Counter.shared)
    for body, same in [
        (Lazy(), None),
        (nn.Sequential(nn.Tanh(), Lazy()), None),
        (lambda x: Local(x)(x), lambda x: 2.0 * x * x),
        (in_between, lambda x: x * 2.0),
        (read_again, lambda x: x * 2.0),
    ]:
        found = how(put(body))(X)
        assert all(np.isfinite(found.detach().numpy().ravel()))
        expected = how(put(same or body))(X)
        np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-6)
    assert attributes(Counter.shared) == before
    del Counter.shared


def test_modules_in_the_state_are_bound_anew():
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()

    def halve(model, _):
        model.weight = model.weight * 0.5
        return model, model.weight.sum()

    for f in (direct, wg.compile):
        last, all_of_them = f(lambda m: wg.scan(halve, m, length=3))(model)
        np.testing.assert_allclose(last.weight.item(), start / 8, rtol=1e-6)
        assert all_of_them.shape == (3,)
    assert model.weight.item() == start


def test_copies_from_outside_are_no_state():
    def loss(model, x):
        def body(c, r):
            model.count = model.count + 1
            return c + r * model.factor.sum(), None

        return wg.scan(body, 0.0, x)[0]

    model = Counter()
    model.factor = nn.Parameter([1.0])
    with pytest.raises(wg.TraceError, match=r"binds Counter\.count anew"):
        wg.grad(loss)(model, X)


def test_an_error_in_a_body_ends_it():
    module = Counter()

    def body(x):
        raise KeyError(x)

    with pytest.raises(KeyError):
        scanned(body)(X)
    module.count = 3
    assert scanned(lambda x: x * module.count)(X).shape == ()
    module.count = module.count + 1
    message = re.escape("carry the value in the state of the loop, or return it")
    with pytest.raises(wg.TraceError, match=message):
        scanned(lambda x: setattr(module, "count", 9) or x)(X)
    assert module.count == 4
