"""What compiled calls set up for the next, and what they put into their arguments."""

import warnings

import numpy as np
import pytest
import wengert as wg
from wengert import nn


@pytest.mark.parametrize("value", [3.0, "done", True, (3.0,), np.float32(3.0), np.full(2, 3.0)])
@pytest.mark.parametrize("there", [True, False], ids=["None", "absent"])
def test_what_the_first_call_sets_up_is_there_for_the_next(value, there):
    class Scaled(nn.Module):
        def __init__(self):
            if there:
                self.scale = None

        def forward(self, x):
            if getattr(self, "scale", None) is None:
                self.scale = value
                return x
            return x * 3

    for call in (lambda f, x: f(x), lambda f, x: f.run(x, steps=1)[0]):
        model = Scaled()
        f = wg.compile(lambda x, model=model: model(x))
        assert [call(f, wg.ones(2)).tolist() for _ in range(4)] == [[1.0, 1.0]] + 3 * [[3.0, 3.0]]
        assert f.cache_info().misses == 2
    model = Scaled()
    rows = wg.compile(lambda x: model(x)).run(wg.ones(1), steps=3)
    assert rows.tolist() == [[1.0], [3.0], [3.0]]


def test_values_put_into_containers_that_are_arguments_are_named():
    def step(state, x, *, log):
        state["h"] = wg.tanh(state["h"] + x)
        log.append(state["h"].sum())
        return state["h"]

    state, log = {"h": wg.zeros(2)}, [wg.ones(())]
    with pytest.warns(UserWarning, match=r"new values at argument 0\['h'\], log\[1\]: within"):
        wg.compile(step)(state, wg.ones(2), log=log)
    assert state["h"].tolist() == [0.0, 0.0] and len(log) == 1

    def take_out(state, x):
        state.pop("unused")
        state["a"], state["b"] = state["b"], state["a"]
        return state["a"] + x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = {"a": wg.zeros(()), "b": wg.ones(()), "unused": wg.ones(())}
        assert wg.compile(take_out)(given, wg.ones(())).item() == 2.0
