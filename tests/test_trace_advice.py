"""Numbers that Python asks of traced values: each error says what takes its place."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import wengert as wg
from wengert import nn, optim

X = wg.ones((3, 4))
BODY = "wg.minimum for max and min$"  # and nothing of wg.compile, which is not there


def scheduled(rate):
    parameter = nn.Parameter([1.0])
    optimizer = optim.SGD([parameter], lr=rate)
    parameter.grad = wg.ones(1)
    wg.compile(optimizer.step)()


ADVICE = {
    "math": (
        lambda: wg.compile(lambda x: math.cos(x))(1.0),
        r"item: .*wg\.cos\(x\) for math\.cos\(x\).* static_argnums of wg\.compile$",
    ),
    "range": (
        lambda: wg.compile(lambda n: [*range(n)])(3),
        r"item: .*wg\.scan for range.* static_argnums of wg\.compile$",
    ),
    "branch": (
        lambda: wg.compile(lambda t: 1 if t < 100 else t)(1.0),
        r"bool: .*choose with wg\.where, wg\.cond or wg\.while_loop",
    ),
    "static argument by name": (
        lambda: wg.compile(lambda x, n: [x for _ in range(n)], static_argnums=1)(1.0, n=3),
        r"item: .*given by position: static_argnums of wg\.compile$",
    ),
    "index": (
        lambda: wg.vmap(lambda i: wg.zeros((3, 2)).__setitem__(i, 1.0))(wg.arange(3)),
        r"index assignment: the index is a traced value, at .*x = x\.at\[key\]\.set\(value\)$",
    ),
    "max": (
        lambda: wg.compile(lambda t: max(t, 0.1))(1.0),
        r"bool: .*wg\.maximum and wg\.minimum for max and min\. .* static_argnums of wg\.compile$",
    ),
    "schedule": (
        lambda: scheduled(lambda step: 0.1 * math.cos(step)),
        r"item: a traced value has no number yet, .*wg\.cos\(x\) for math\.cos\(x\), wg\.where",
    ),
    "branch of a schedule": (
        lambda: scheduled(lambda step: 0.1 if step < 100 else 0.01),
        r"bool: .*choose with wg\.where",
    ),
    "vmap": (lambda: wg.vmap(lambda x: x if x > 0 else -x)(X[0]), BODY),
    "number in vmap": (lambda: wg.vmap(lambda x: math.sin(x))(X[0]), "item: .*read it outside$"),
    "outside in vmap": (
        lambda: wg.vmap(wg.zeros(4).assign)(X),
        r"assign: a tensor from outside cannot hold a traced value, at .*; return the value, or .*",
    ),
    "scan": (lambda: wg.scan(lambda c, x: (c if c > 0 else x, None), 0.0, X[:, 0]), BODY),
    "trace": (lambda: wg.trace(lambda x: x if x > 0 else -x, 1.0), BODY),
    "sparsity": (
        lambda: wg.jacobian(lambda x: x if x.sum() > 0 else -x, sparsity="detect")(X[0]),
        r"wg\.minimum for max and min\)\. Give the pattern instead",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice(name):
    call, says = ADVICE[name]
    with pytest.raises(wg.TraceError, match=says):
        call()


def test_advice_works():
    compiled = wg.compile(lambda t: wg.where(t < 100, wg.maximum(wg.cos(t), 0.1), 0.0))
    assert compiled(1.0).item() == pytest.approx(math.cos(1.0))
    assert compiled(3.0).item() == pytest.approx(0.1) and compiled(200.0).item() == 0.0
    count = wg.compile(lambda n: [*range(n)], static_argnums=0)
    assert count(3) == [0, 1, 2]
    scheduled(lambda step: wg.where(step < 100, 0.1, 0.01) * wg.cos(step))


def test_lists_are_filled_by_calls_that_are_not_compiled():
    kept = []

    def step(x):
        kept.append(x * 2)
        return x

    says = r"held by 'kept\[0\]'\. Return them from step, collect them in calls that are not comp"
    with pytest.raises(wg.TraceError, match=says):
        wg.compile(step)(X)
    kept.clear()
    step(X)
    assert len(kept) == 1 and kept[0].sum().item() == 24.0


def test_what_python_drew_or_held_stays_and_draws_of_wengert_do_not():
    """As the README says."""
    for draw in (random.random, np.random.default_rng(0).random):
        drawn = wg.compile(lambda x, draw=draw: x * draw())
        assert drawn(1.0).item() == drawn(1.0).item()
    generator = wg.random.default_rng(0)
    drawn = wg.compile(lambda x: x * generator.random())
    assert drawn(1.0).item() != drawn(1.0).item()
    given = wg.compile(lambda x, number: x * number)
    assert given(2.0, 0.5).item() == 1.0 and given(2.0, 0.25).item() == 0.5
    held = SimpleNamespace(scale=2.0)
    scaled = wg.compile(lambda x: x * held.scale)
    assert scaled(1.0).item() == 2.0
    held.scale = 3.0
    assert scaled(1.0).item() == 2.0


F = lambda x: (x * x).sum()  # noqa: E731
MISPLACED = {
    "grad": (
        lambda: wg.grad(F, X),
        r"(?s)grad: 'argnums' takes ints; .*what grad returns: grad\(f\)\(x\)$",
    ),
    "grads": (lambda: wg.grad(F, [X, X]), r"Call what grad returns: grad\(f\)\(x\)$"),
    "tree": (
        lambda: wg.value_and_grad(F, {"w": X}),
        r"(?s)'argnums' takes ints; got \{.*value_and_grad\(f",
    ),
    "jacobian": (
        lambda: wg.jacobian(F, X),
        r"(?s)jacobian: 'argnums' .* returns: jacobian\(f\)\(x\)$",
    ),
    "jacrev": (
        lambda: wg.jacrev(F, np.ones(3)),
        r"jacrev: 'argnums' .* returns: jacrev\(f\)\(x\)$",
    ),
    "jacfwd": (lambda: wg.jacfwd(F, 2.0), r"jacfwd: 'argnums' .*; got 2\.0\. Call what jacfwd ret"),
    "hessian": (lambda: wg.hessian(F, X), r"(?s)hessian: 'argnums' .* returns: hessian\(f\)\(x\)$"),
    "sparse": (lambda: wg.hessian(F, X, sparsity="detect"), r"returns: hessian\(f\)\(x\)$"),
    "name": (lambda: wg.grad(F, "x"), r"grad: 'argnums' takes ints; got 'x'$"),
    "none": (lambda: wg.grad(F, None), r"grad: 'argnums' takes ints; got None$"),
    "function": (lambda: wg.jacobian(X), r"(?s)jacobian: takes a function; got"),
    "vmap": (lambda: wg.vmap(F, X), r"(?s)vmap: axes must be ints, .* returns: vmap\(f\)\(x\)$"),
    "axis": (
        lambda: wg.vmap(F, "0"),
        "vmap: axes must be ints, None or a tree of them; got '0'$",
    ),
    "by name": (
        lambda: wg.grad(F)(x=X),
        r"0 arguments by position \(those by name are constants\)$",
    ),
    "jvp": (lambda: wg.jvp(F, X, X), r"(?s)jvp: 'primals' takes a tuple .*, such as \(x,\); got"),
    "hvp": (lambda: wg.hvp(F, X, X), r"(?s)hvp: 'primals' takes a tuple .*, such as \(x,\); got"),
    "scan": (
        lambda: wg.scan(lambda c, x: c + x, 0.0, X[0]),
        r"\(carry, y\), y None where there is",
    ),
    "math": (
        lambda: math.exp(X),
        r"got shape \(3, 4\)\. .*tolist\(\), or wg\.exp\(x\) for math\.exp",
    ),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_misplaced_arguments_are_refused_at_once(name):
    call, says = MISPLACED[name]
    with pytest.raises(wg.Error, match=says):
        call()


def test_axes_of_vmap_are_as_before():
    add = lambda a, b: a["x"] + b  # noqa: E731
    trees = {"x": wg.ones((2, 3))}, wg.ones(3)
    assert wg.vmap(add, in_axes=({"x": 0}, None))(*trees).shape == (2, 3)
    assert wg.vmap(add, in_axes=[{"x": 1}, 0])(*trees).shape == (3, 2)
    assert wg.vmap(lambda x: x, in_axes=-1)(X).shape == (4, 3)
