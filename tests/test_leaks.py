"""Traced values that outlive the recording of a call are refused, and their holders named."""

import gc

import numpy as np
import pytest
import wengert as wg

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
best = None
HISTORY = []


class Holder:
    pass


def leaking(how):
    class Model(wg.nn.Module):
        def forward(self, x):
            self.notes["seen"] = x * 2.0
            return x

    history, cache, holder, last = [], {}, Holder(), None
    module = Model()
    module.notes = cache

    def step(x):
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
    assert compiled.cache_info() == (0, 0, 0)
    for value in (best, held[1].get("y"), getattr(held[2], "best", None)):
        if value is not None:
            with pytest.raises(wg.TraceError):
                value + 1.0
    best = None


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
