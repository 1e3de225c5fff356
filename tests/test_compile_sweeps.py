"""Backward passes within compiled calls and of what they return, where state changes meanwhile."""

import contextlib
import copy
import gc
import weakref

import numpy as np
import pytest
import wengert as wg
from wengert import nn


@pytest.mark.parametrize("argument", ["model", "tensor"])
def test_backward_that_reaches_an_argument_is_served_eagerly(argument):
    def trained(how):
        model = nn.Linear(2, 1, bias=False)
        nn.init.ones_(model.weight)
        optimizer = wg.optim.SGD(model.parameters(), lr=0.1)

        def step(model, x):
            loss = (model(x) if argument == "model" else nn.functional.linear(x, model[0])).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        step = how(step)
        given = model if argument == "model" else [model.weight]
        losses = [step(given, wg.ones((1, 2))).item() for _ in range(3)]
        return losses, model.weight.tolist(), optimizer.state_dict()["groups"][0]["counts"].tolist()

    expected = trained(lambda f: f)
    with pytest.warns(UserWarning, match="reaches an argument that requires a gradient"):
        assert trained(wg.compile) == expected
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="Let <lambda> read"):
        wg.compile(lambda x: (x * x).sum().backward())(x)
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("layer", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(3)])
def test_a_loss_that_changes_state_is_called_again_before_it_is_swept(layer):
    def gradients(how):
        wg.random.seed(0)
        model = nn.Sequential(nn.Linear(3, 3), layer())
        x = wg.arange(12.0).reshape(4, 3) / 10
        loss = how(lambda x: (model(x) ** 2).sum())
        first = loss(x)
        (first + loss(x * 2.0)).backward()
        of_x, again = wg.grad(loss)(x), wg.value_and_grad(loss)(x)[0]
        return [p.grad for p in model.parameters()] + [of_x, again] + list(model.buffers())

    for found, expected in zip(gradients(wg.compile), gradients(lambda f: f), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_second_derivatives_of_a_compiled_loss_that_changes_state_raise():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    loss = wg.compile(lambda x: (model(x) ** 2).sum())
    x = wg.ones((4, 3))
    gradient = wg.grad(loss)(x)
    with pytest.raises(wg.GraphError, match="compile the derivative instead"):
        gradient.sum().backward()
    with pytest.raises(wg.GraphError, match="compile the derivative instead"):
        wg.grad(lambda x: wg.grad(loss)(x).sum())(x)


def with_batch_norm():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh())
    return model, lambda x: model(x)


def with_dropout():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    return model, lambda x: wg.tanh(model(x))


def with_a_counter():
    calls = wg.zeros(())

    def f(x):
        calls.assign(calls + 1.0)
        return wg.cond(calls > 0, lambda x: x * wg.sin(x), lambda x: x, x) * calls

    return None, f


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("make", [with_batch_norm, with_dropout, with_a_counter])
def test_mapped_pulls_of_a_call_that_changes_state(make, frozen):
    def jacobians(how):
        wg.random.seed(0)
        model, f = make()
        if model and frozen:
            model.requires_grad_(False)
        f = how(f)
        x = wg.arange(15.0).reshape(5, 3) / 10
        out, pull = wg.vjp(f, x)
        seeds = wg.stack([wg.ones(out.shape), wg.arange(float(out.size)).reshape(out.shape)])
        pulled = wg.vmap(pull)(seeds)
        pushed = wg.jvp(pull, (seeds[0],), (seeds[1],))
        return [wg.jacrev(f)(x), wg.jacobian(f)(x), *pulled, *pushed, out]

    found, expected = jacobians(wg.compile), jacobians(lambda f: f)
    for x, y in zip(wg.tree.leaves(found), wg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-4, atol=1e-5)


def test_second_derivatives_by_mapped_pulls_of_a_call_that_changes_state_raise():
    model, f = with_batch_norm()
    call = wg.compile(f)
    jacobian = wg.jacrev(call)(wg.ones((4, 3)))
    with pytest.raises(wg.GraphError, match="compile the derivative instead"):
        jacobian.sum().backward()
    with pytest.raises(wg.GraphError, match="compile the derivative instead"):
        wg.jacrev(wg.jacrev(call))(wg.ones((4, 3)))


def test_values_of_transforms_within_a_call_have_no_history():
    w = nn.Parameter([2.0])

    @wg.compile
    def loss(x):
        value, _ = wg.value_and_grad(lambda u: wg.sin(u).sum())(x)
        assert not value.requires_grad
        total = value + (w * x).sum()
        total.backward()
        return total

    assert loss(wg.tensor([0.5])).item() == pytest.approx(np.sin(0.5) + 1.0)
    assert w.grad.tolist() == [0.5]


def test_steps_of_a_run_that_return_other_trees_raise():
    w = nn.Parameter([1.0])

    @wg.compile
    def step(x):
        w.requires_grad_(not w.requires_grad)
        return {"a": x, "z": x + 2.0} if w.requires_grad else {"a": x, "b": x + 1.0, "z": x + 2.0}

    with pytest.raises(wg.ArgumentError, match="run: steps must return like trees; got"):
        step.run(wg.tensor([0.0]), steps=3)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda t: 0.1 / (1.0 + 0.3 * t),
        lambda t: 0.1 * 0.9**t,
        lambda t: wg.where(t < 2, 0.1, 0.05 / (t + 1)),
        lambda t: 0.1 + wg.cos(t * 0.1) * 0.01,
        wg.optim.cosine(0.1, 5),
    ],
)
def test_schedules_have_pythons_digits_in_compiled_steps(schedule):
    """Not those of float32. (A power may differ in the last bit: of Python's and ours.)"""

    def trained(how):
        w = nn.Parameter(np.array([1.0, 2.0, 3.0]))
        optimizer = wg.optim.SGD([w], lr=schedule)

        def step(x):
            (w * w * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step = how(step)
        for _ in range(5):
            step(wg.tensor(np.array([1.0, 0.3, 0.7])))
        return w.tolist()

    eager = trained(lambda f: f)
    np.testing.assert_allclose(trained(wg.compile(exact=True)), eager, rtol=1e-13)


def test_two_backward_passes_to_an_argument():
    def accumulated(how):
        x = wg.tensor([1.0, 2.0], requires_grad=True)

        def step(x):
            for factor in (2.0, 3.0):
                (x * x * factor).sum().backward()

        how(step)(x)
        return x.grad.tolist()

    with pytest.warns(UserWarning, match="reaches an argument"):
        assert accumulated(wg.compile) == accumulated(lambda f: f) == [10.0, 20.0]


@pytest.mark.parametrize("how", [lambda f: f, wg.compile])
def test_parameters_that_the_swept_result_does_not_read_get_no_gradient(how):
    a, b = (nn.Parameter(wg.ones(3)) for _ in range(2))
    optimizer = wg.optim.AdamW([a, b], lr=0.1, weight_decay=0.5)
    losses = how(lambda x: ((a * x).sum(), (b * a * x).sum()))
    x = wg.tensor([1.0, 2.0, 3.0])
    losses(x)[0].backward()
    assert a.grad.tolist() == [1.0, 2.0, 3.0]
    assert b.grad is None
    optimizer.step()
    assert b.tolist() == [1.0, 1.0, 1.0]  # zeros would have let its weight decay
    assert a.tolist() != [1.0, 1.0, 1.0]
    optimizer.zero_grad()
    losses(x)[1].backward()
    assert a.grad is not None
    assert b.grad is not None


@pytest.mark.parametrize("how", [lambda f: f, wg.compile])
def test_gradients_that_the_call_enables_for_itself(how):
    w = wg.tensor([2.0, 3.0]).requires_grad_()

    def losses(x):
        with wg.enable_grad():
            first = (w * x).sum()
        return first, (w * x).sum()

    losses = how(losses)
    for _ in range(3):
        with wg.no_grad():
            first, second = losses(wg.ones(2))
        assert first.requires_grad and not second.requires_grad
        first.backward()
    assert w.grad.tolist() == [3.0, 3.0]
    assert all(y.requires_grad for y in losses(wg.ones(2)))


class Owner(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(wg.tensor([1.0, 2.0, 3.0]))
        self.b = nn.Parameter(wg.zeros(3))

    @wg.compile
    def forward(self, x):
        return (wg.sin(self.w * x) + self.b * x).sum()


def test_a_history_keeps_the_owner_of_the_method_it_may_call_again():
    model, x = Owner(), wg.ones(3).requires_grad_()
    for _ in range(3):
        other = copy.deepcopy(model).requires_grad_(False)
        alive = weakref.ref(other)
        loss = other(x)
        del other
        loss.backward(create_graph=True)
        np.testing.assert_allclose(x.grad, np.cos([1, 2, 3]) * [1, 2, 3], rtol=1e-6)
        x.grad = None
        del loss
        gc.collect()
        assert alive() is None
        slope = wg.grad(lambda b: wg.functional_call(model, {"b": b}, x))(wg.zeros(3))
        assert slope.tolist() == [1.0] * 3


def test_a_function_that_closes_over_what_is_differentiated_runs_itself():
    model, x = Owner(), wg.tensor([0.5, 1.0, -1.0])

    def hyper(z):
        w = z * 2.0
        return wg.compile(lambda x: wg.sin(w * x).sum())(x)

    want = 2 * x.numpy() * np.cos(2 * x.numpy())
    np.testing.assert_allclose(wg.grad(hyper)(wg.ones(3)), want, rtol=1e-6)
    np.testing.assert_allclose(wg.jacrev(hyper)(wg.ones(3)), want, rtol=1e-6)
    found = wg.grad(lambda m: m(x))(model)
    np.testing.assert_allclose(found.w, x * np.cos(model.w.detach() * x), rtol=1e-6)
    w = wg.ones(3).requires_grad_() * 2  # where nothing says what to differentiate by
    with pytest.raises(wg.TraceError, match="cannot add to that history"):
        wg.compile(lambda x: (w * x).sum())(x)


def test_a_sweep_through_a_gradient_that_has_ended_is_compiled(recwarn):
    start, rate = wg.ones(3), wg.tensor(0.1, requires_grad=True)

    def outer():
        moved = start - wg.grad(lambda p: (p**3).sum() * rate)(start)
        loss = (moved**2).sum()
        loss.backward()
        return loss

    outer()
    want, rate.grad = float(rate.grad), None
    played = wg.compile(outer)
    for count in (1, 2, 3):
        played()
        np.testing.assert_allclose(float(rate.grad), count * want, rtol=1e-6)
    assert played.cache_info().hits == 1 and not recwarn.list


def test_what_a_transform_has_differentiated_by_is_not_read_again():
    held = [None]

    @wg.compile
    def inner(y):
        return (y * held[0]).sum()

    def f(w):
        held[0] = w
        return inner(wg.ones(3))

    for value in (2.0, 3.0, 4.0):
        found, slope = wg.value_and_grad(f)(value)
        assert float(found) == 3 * value and float(slope) == 3.0


def test_an_error_that_was_caught_makes_no_other_call_eager():
    w = wg.ones(3).requires_grad_() * 2

    def branches(x):
        with contextlib.suppress(wg.TraceError):
            x * w
        return x if x.sum() > 0 else -x

    with pytest.raises(wg.TraceError, match="traced value has no number"):
        wg.grad(lambda x: wg.compile(branches)(wg.ones(3)).sum() * x)(1.0)
