"""The memory that a replay takes, over the steps of the benchmarks: none but its results'."""

import numpy as np
import pytest
import wengert as wg
from test_memory_budget import replay_of

from benchmarks.contenders import wengert
from benchmarks.harness import Case
from benchmarks.problems import all_problems

KINDS = {
    *("mlp_step", "sgd_step", "scalar_step", "transformer_step"),
    *("elementwise", "log_density", "hessian"),
}
PROBLEMS = {problem.name: problem for problem in all_problems(False, [0]) if problem.kind in KINDS}


def steps():
    return pytest.mark.parametrize("problem", [pytest.param(p, id=n) for n, p in PROBLEMS.items()])


def compiled(problem):
    """The step of a benchmark, compiled, and its arguments."""
    found = []

    def how(step, inputs, *_):
        found.append((wg.compile(step), inputs))
        return Case(lambda: None, lambda _: [])

    getattr(wengert, problem.kind)(problem.inputs, how=how)
    return found[0]


def bytes_of(results):
    return sum(x.size * x.dtype.itemsize for x in wg.tree.leaves(results))


def taken(call):
    """The bytes alive at most during a call, and those of its results."""
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    results = call()
    return wg.memory.peak_bytes() - before, bytes_of(results)


@pytest.mark.parametrize("threads", [1, 2])
@steps()
def test_a_replay_takes_no_memory_but_its_results(problem, threads):
    wg.set_num_threads(threads)
    step, inputs = compiled(problem)
    step(*inputs)
    for _ in range(2):
        most, results = taken(lambda: step(*inputs))
        assert most == results
    step.run(*inputs, steps=3)
    most, results = taken(lambda: step.run(*inputs, steps=3))
    assert most == results


@steps()
def test_the_arena_is_hardly_larger_than_what_lives_at_once(problem):
    step, inputs = compiled(problem)
    step(*inputs)
    replay = replay_of(step)
    assert replay.live_bytes <= replay.arena_bytes <= 1.1 * replay.live_bytes


def test_what_lives_at_once():
    def product(x, w):
        for _ in range(6):
            x = x @ w
        return x

    f, x, w = wg.compile(product), wg.ones((5, 7)), wg.ones((7, 7))
    f(x, w)
    assert replay_of(f).live_bytes == 2 * 5 * 7 * 4  # the last product is written to the result
    g = wg.compile(lambda x, a, b: ((x @ a).mT @ (x @ b)) @ (x @ (b + b)).mT)
    g(x, wg.ones((7, 3)), wg.ones((7, 2)))
    assert replay_of(g).live_bytes == 4 * max(5 * 3 + 5 * 2 + 3 * 2, 3 * 2 + 7 * 2 + 5 * 2)


def test_a_step_comes_earlier_where_that_saves_memory():
    def f(x, w, v):
        a, b = x @ w, x @ v
        return b @ wg.sum(a, axis=1), wg.max(b, axis=0)

    args = [wg.tensor(np.random.default_rng(0).normal(size=(32, 32))) for _ in range(3)]
    compiled = wg.compile(f)
    for found, expected in zip(compiled(*args), f(*args), strict=True):
        assert found.tolist() == expected.tolist()
    # The sum over a comes before b, which takes the place of a.
    assert replay_of(compiled).live_bytes == 8 * (32 * 32 + 32)
    assert "steps moved, to save memory: 1\n" in compiled.explain(*args)


def test_a_gradient_comes_later_where_that_saves_memory():
    (problem,) = [p for name, p in PROBLEMS.items() if name.startswith("mlp/4-32-32-2 ")]
    step, inputs = compiled(problem)
    step(*inputs)
    hidden, weights, biases = 2 * 8 * 32, 32 * 32 + 2 * 32 + 4 * 32, 2 + 32
    # The gradient of the largest weights is made last but one: of the hidden layer's values and
    # their cotangents, while other gradients wait for the update. That of the bias beside them is
    # a sum over the same cotangents, and comes when the values are gone.
    assert replay_of(step).live_bytes == 4 * (hidden + weights + biases)
    explained = step.explain(*inputs)
    assert explained.count("relu_grad sum\n") == 1 and explained.count("relu_grad\n") == 1


def test_a_reduction_stays_in_its_group_where_leaving_saves_little():
    (problem,) = [p for name, p in PROBLEMS.items() if name.startswith("mlp/64-64-64-10 ")]
    step, inputs = compiled(problem)
    step(*inputs)
    explained = step.explain(*inputs)
    assert explained.count("relu_grad sum\n") == 2 and "relu_grad\n" not in explained


PRODUCTS = {
    "plain": lambda x, w: x @ w,
    "of a transpose": lambda x, w: x @ w.T,
    "seen as a row": lambda x, w: (x @ w).reshape(-1),
    "seen transposed": lambda x, w: (x @ w).T,
    "seen in part": lambda x, w: (x @ w)[:16],
    "of a batch": lambda x, w: (x.reshape(2, 16, 32) @ w).reshape(32, 32),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_products_are_made_where_they_are_read(product):
    def f(x, *weights):
        first = x[0].sum()
        products = [product(x, w) for w in weights]
        return first + sum((p * p).sum() for p in products)

    x = wg.tensor(np.eye(32, dtype=np.float32))
    weights = [wg.tensor(np.full((32, 32), i, np.float32)) for i in range(40)]
    compiled = wg.compile(f)
    assert compiled(x, *weights).item() == f(x, *weights).item()
    bytes_each = 32 * 32 * 4
    given = (1 + len(weights)) * bytes_each
    assert compiled.program(x, *weights).bytes_peak - given < 3 * bytes_each


def test_a_count_is_kept_where_it_is():
    """A single number that a group changes is written over the old one."""
    count = wg.tensor(np.array(0, np.int64))

    @wg.compile
    def step(x):
        count.assign(count + 1)
        return x * 2.0

    step(wg.ones(()))
    assert step(wg.ones(())).item() == 2.0 and count.item() == 2
    assert replay_of(step).arena_bytes == 0
