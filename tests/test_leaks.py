"""Traced values that outlive the recording of a call are refused, and their holders named."""

import gc

import numpy as np
import pytest
import wengert as wg

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
best = None
HISTORY = []
NOTES: list = []


class Holder:
    seen = None


def leaking(how):
    class Model(wg.nn.Module):
        def forward(self, x):
            self.notes["seen"] = x * 2.0
            return x

    history, cache, holder, last = [], {}, Holder(), None
    module = Model()
    module.notes = cache

    def step(x, notes=NOTES):
        nonlocal last
        global best
        y = x * 2.0
        if how == "list":
            history.append(y)
        elif how == "dict":
            cache["y"] = y
        elif how == "object":
            holder.best = y
        elif how == "cell":
            last = y
        elif how == "global":
            best = y
        elif how == "global list":
            HISTORY.append(y)
        elif how == "function":
            history.append(lambda: y + last)
        elif how == "default":
            notes.append(y)
        elif how == "class":
            Holder.seen = y
        elif how == "nested":
            cache["all"] = [1, (y,)]
        elif how == "argument":
            history.append(x)
        elif how == "changed":
            inside = wg.zeros(3)
            inside.assign(y.mean(axis=0))
            history.append(inside)
        elif how == "vmap":
            wg.vmap(lambda row: history.append(row * 3.0) or row)(x)
        elif how == "module":
            module(x)
        elif how == "exception":
            try:
                raise KeyError("mine")
            except KeyError as error:
                history.append(error)
        elif how == "scan":
            wg.scan(lambda c, row: (history.append(row) or c, row), wg.zeros(()), x)
        return y + 1.0

    return step, (history, cache, holder)


HOLDERS = {
    "list": r"'multiply' at .*test_leaks.py:\d+, held by 'history\[0\]'",
    "dict": r"held by 'cache\['y'\]'",
    "object": r"held by 'holder.best'",
    "cell": r"held by 'last'",
    "global": r"held by 'best'",
    "global list": r"held by 'HISTORY\[0\]'",
    "function": r"held by the variable 'y' of a function",
    "default": r"held by 'notes\[0\]'",
    "class": r"held by 'Holder.seen'",
    "nested": r"held by 'cache\['all'\]\[1\]\[0\]'",
    "argument": r"a value, held by 'history\[0\]'",
    "changed": r"held by 'history\[0\]'",
    "vmap": r"held by 'history\[[0-9]\]'",
    "module": r"held by 'cache\['seen'\]'",
    "exception": r"'multiply' at .*, held by the frame of 'step' in an exception",
    "scan": r"held by 'history\[[0-9]\]'",
}


@pytest.mark.parametrize("how", HOLDERS)
def test_traced_values_that_stay_behind_are_refused(how):
    global best
    step, held = leaking(how)
    compiled = wg.compile(step)
    x = wg.tensor(X)
    for _ in range(2):
        with pytest.raises(wg.TraceError, match=HOLDERS[how]) as found:
            compiled(x)
        assert "compile: step keeps traced values" in str(found.value)
        assert "Return them from step" in str(found.value)
        held[0].clear()
        HISTORY.clear()
        NOTES.clear()
    assert compiled.cache_info() == (0, 0, 0)
    for value in (best, held[1].get("y"), getattr(held[2], "best", None)):
        if value is not None:
            with pytest.raises(wg.TraceError):
                value + 1.0
    best = Holder.seen = None


def test_garbage_is_no_leak():
    @wg.compile
    def f(x):
        y = x * 2.0
        ring = [y]
        ring.append(ring)
        try:
            raise ValueError(y)
        except ValueError as error:
            caught = error
            caught.ring = caught
        return y + 1.0

    gc.disable()
    try:
        assert f(1.0).item() == 3.0
    finally:
        gc.enable()


class Key:
    def __repr__(self):
        raise RuntimeError("no words")


class Odd:
    @property
    def __dict__(self):
        return 5


class Broken:
    @property
    def __dict__(self):
        raise RuntimeError("no attributes")


class Proxy:
    """Says of everything that it has it."""

    def __call__(self, x):
        HISTORY.append(x * 2.0)
        return x

    def __getattr__(self, name):
        if name in ("__name__", "__qualname__", "__module__", "__doc__", "__wrapped__"):
            raise AttributeError(name)
        if name == "func":
            raise RuntimeError("not this one")
        return self


@pytest.mark.parametrize(
    "keep, place",
    [
        (lambda x, kept: kept.update({Key(): x * 2.0}), r"kept\[a Key\]"),
        (lambda x, kept: kept.update({10**5000: x * 2.0}), r"kept\[an int\]"),
        (lambda x, kept: kept.update({"odd": Odd(), "y": x * 2.0}), r"kept\['y'\]"),
        (lambda x, kept: kept.update({"odd": Broken(), "y": x * 2.0}), r"kept\['y'\]"),
    ],
    ids=["a key without words", "a long key", "odd attributes", "broken attributes"],
)
def test_objects_that_raise_where_they_are_looked_at(keep, place):
    kept = {}

    def f(x):
        keep(x, kept)
        return x

    with pytest.raises(wg.TraceError, match=rf"'multiply' at .*, held by '{place}'\. Return them"):
        wg.compile(f)(wg.tensor(X))


def test_a_function_that_raises_where_it_is_looked_at():
    with pytest.raises(wg.TraceError, match=r"'multiply' at .*, held by an object without a name"):
        wg.compile(Proxy())(wg.tensor(X))
    HISTORY.clear()


def test_a_function_that_wraps_itself():
    def f(x):
        HISTORY.append(x * 2.0)
        return x

    f.__wrapped__ = f
    with pytest.raises(wg.TraceError, match=r"held by 'HISTORY\[0\]'"):
        wg.compile(f)(wg.tensor(X))
    HISTORY.clear()


def test_an_exception_that_is_kept_is_named_by_the_frames_of_the_user():
    kept = []

    def f(x):
        try:
            float(x.sum())
        except wg.TraceError as error:
            kept.append(error)
        return x

    with pytest.raises(wg.TraceError, match="a value, held by the frame of 'f' in an exception"):
        wg.compile(f)(wg.tensor(X))
