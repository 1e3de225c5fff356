"""What a compiled function shows of itself."""

import numpy as np
import pytest
import wengert as wg


def model_step():
    rng = np.random.default_rng(0)
    w = wg.tensor(rng.normal(size=(8, 4)), requires_grad=True)
    optimizer = wg.optim.SGD([w], lr=0.1, momentum=0.9)

    @wg.compile
    def step(x):
        loss = (wg.nn.relu(x @ w) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return w, step, rng.normal(size=(5, 8))


def test_explain_lists_passes_and_units():
    _, step, x = model_step()
    text = step.explain(x)
    assert text.splitlines()[0] == "compiled step"
    for word in ("recorded", "simplified", "grouped", "arena", "matmul", "sgd_update"):
        assert word in text


def test_simplification_counts():
    f = wg.compile(lambda x: (wg.sin(x) * wg.sin(x), wg.exp(x))[0])
    text = f.explain(wg.ones(4))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[3:5] == ["repeated nodes gone: 1", "unread nodes gone: 1"]
    assert lines[5].startswith("grouped")
    assert [node.name for node in f.program(wg.ones(4)).nodes] == ["sin", "multiply"]


def test_passes_that_changed_nothing_are_not_listed():
    lines = wg.compile(lambda x: wg.sin(x)).explain(wg.ones(4)).splitlines()
    assert [line.split()[0] for line in lines[:4]] == [
        "compiled",
        "recorded",
        "simplified",
        "grouped",
    ]


def test_elementwise_steps_are_one_unit():
    units = wg.compile(lambda x: wg.tanh(x * 2.0 + 1.0).sum()).profile(wg.ones(100)).units
    assert [unit.label for unit in units] == ["multiply add tanh sum"]
    assert units[0].flops == 400 and units[0].bytes == 400 + 3 * 4


def test_profile_changes_nothing(tmp_path):
    w, step, x = model_step()
    step(x)
    before = w.numpy().copy()
    profile = step.profile(x, repeats=3)
    np.testing.assert_array_equal(w.numpy(), before)
    assert profile.seconds > 0 and "sgd_update" in str(profile)
    assert all(unit.seconds >= 0 for unit in profile.units)
    assert profile.roofline(profile.units[0]) > 0
    profile.plot(str(tmp_path / "profile.png"))
    assert (tmp_path / "profile.png").stat().st_size > 1000


@pytest.mark.parametrize("repeats", [0, -1, 2.5, True, "3"])
def test_wrong_repeats(repeats):
    _, step, x = model_step()
    with pytest.raises((wg.ArgumentError, wg.ArgumentTypeError), match="repeats"):
        step.profile(x, repeats=repeats)
