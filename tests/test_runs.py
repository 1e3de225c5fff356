"""`run` on steps that leave gradients behind: zero_grad, backward, step is the usual order."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

INPUTS = np.random.default_rng(0).normal(size=(6, 8, 3))


def zero_first(optimizer, loss):
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def zero_in_place(optimizer, loss):
    optimizer.zero_grad(set_to_none=False)
    loss().backward()
    optimizer.step()


def accumulate(optimizer, loss):
    loss().backward()
    optimizer.step()


def clip_and_keep(optimizer, loss):
    loss().backward()
    wg.optim.clip_grad_norm(optimizer.param_groups[0]["params"], 0.5)
    optimizer.step()


@pytest.mark.parametrize("order", [zero_first, zero_in_place, accumulate, clip_and_keep])
@pytest.mark.parametrize("stacked", [True, False])
def test_a_run_is_as_many_calls(order, stacked):
    def trained(many):
        wg.random.seed(3)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).astype(wg.float64)
        optimizer = wg.optim.Adam(model.parameters(), lr=0.05)

        @wg.compile
        def step(x):
            order(optimizer, lambda: (model(x) ** 2).mean())
            return model[0].weight.grad.sum(), model[2].bias

        inputs = [wg.tensor(x) for x in (INPUTS if stacked else INPUTS[:1].repeat(6, 0))]
        if not many:
            results = [[r.detach().numpy().copy() for r in step(x)] for x in inputs]
        elif stacked:
            results = zip(*(r.numpy() for r in step.run(wg.tensor(INPUTS))))
        else:
            results = zip(*(r.numpy() for r in step.run(inputs[0], steps=6)))
        state = [p.numpy() for p in model.state_dict().values()]
        gradients = [p.grad.numpy() for p in model.parameters()]
        moments = [t.numpy() for s in optimizer.state_dict()["groups"] for t in s["state"]["mean"]]
        return [*(r for row in results for r in row), *state, *gradients, *moments]

    for found, expected in zip(trained(True), trained(False), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_run_does_not_change_a_gradient_that_is_held():
    w = wg.tensor([1.0, 2.0], requires_grad=True)

    @wg.compile
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    step(wg.tensor(3.0))
    held = w.grad
    step.run(wg.tensor([4.0, 5.0, 6.0]))
    assert held.tolist() == [3.0, 3.0]
    assert w.grad.tolist() == [6.0, 6.0]


def test_gradients_of_a_run_take_no_memory_for_each_step():
    w = wg.zeros(10_000).requires_grad_()

    @wg.compile
    def step():
        w.grad = None
        (w * w).sum().backward()

    step.run(steps=3)
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    step.run(steps=100)
    assert wg.memory.peak_bytes() - before < 10 * 40_000
    assert wg.memory.live_bytes() == before


def test_most_steps_of_a_run_are_one_call():
    w = wg.ones(2).requires_grad_()

    @wg.compile
    def step():
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        return loss

    step.run(steps=50)
    info = step.cache_info()
    assert info.misses == 2  # without a gradient, and with one
    assert info.hits <= 2


def test_results_of_other_trees_raise():
    w = wg.ones(()).requires_grad_()

    @wg.compile
    def step():
        had = w.grad is not None
        w.grad = None
        (w * w).backward()
        return {"a": w} if had else [w]

    with pytest.raises(wg.ArgumentError, match="steps must return like trees"):
        step.run(steps=3)


def test_a_captured_tensor_as_the_result_of_a_run():
    p = wg.nn.Parameter(wg.ones(2))
    optimizer = wg.optim.SGD([p], lr=0.25)

    @wg.compile
    def step():
        optimizer.zero_grad(set_to_none=False)  # the first call has none
        (p * p).sum().backward()
        optimizer.step()
        return p

    rows = step.run(steps=3)
    assert rows.tolist() == [[0.5, 0.5], [0.25, 0.25], [0.125, 0.125]]
    assert not rows.requires_grad
    assert step.run(steps=2).tolist() == [[0.0625, 0.0625], [0.03125, 0.03125]]


def test_a_run_says_that_nothing_follows_it():
    double = wg.compile(lambda x: 2 * x)
    x = wg.ones(3)
    for transform in (
        wg.grad(lambda x: double.run(x).sum()),
        wg.jacrev(double.run),
        lambda x: wg.jvp(double.run, (x,), (x,)),
        wg.vmap(double.run),
        wg.compile(double.run),
        wg.grad(lambda z: wg.compile(lambda x: (x * z).sum()).run(x).sum()),
        wg.grad(lambda z: (lambda w: wg.compile(lambda x: x * w).run(x).sum())(2 * z)),
    ):
        with pytest.raises(wg.TraceError, match=r"call the function instead|add to that history"):
            transform(x)
    # What it does not depend on is another matter.
    assert wg.grad(lambda z: (z * double.run(x)).sum())(x).tolist() == [2.0] * 3


@pytest.mark.parametrize("budget", [None, 2000, wg.TwoLevel(memory="2kB", disk="1MB")])
def test_a_run_within_a_budget_is_one_call_too(budget):
    found = []
    for many in (True, False):
        wg.random.seed(3)
        model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
        optimizer = wg.optim.Adam(model.parameters(), lr=0.05)

        def step(x, model=model, optimizer=optimizer):
            zero_first(optimizer, lambda: (model(x) ** 2).mean())
            return model[0].bias.sum()

        step = wg.compile(step, memory_budget=budget)
        inputs = wg.tensor(INPUTS.astype(np.float32))
        results = step.run(inputs) if many else wg.stack([step(x) for x in inputs])
        gradients = [p.grad for p in model.parameters()]
        found.append([results.detach(), *model.state_dict().values(), *gradients])
        info = step.cache_info()
        assert many == (info.hits + info.misses < len(INPUTS))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
