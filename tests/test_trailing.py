"""Functions that a product computes with it, in one pass and to the bit."""

import numpy as np
import pytest
import wengert as wg
from comparisons import same_but_for_nan
from wengert.nn.functional import linear, relu

RNG = np.random.default_rng(0)


def drawn(*shape, dtype="float32"):
    return wg.tensor(RNG.normal(size=shape).astype(dtype))


def computed_together(step, *args):
    """How many functions are."""
    found = [x for x in step.explain(*args).splitlines() if "functions of products" in x]
    return int(found[0].rsplit(" ", 1)[1]) if found else 0


# Without packing, by panels of one depth and of two with a narrow last one, by BLAS; rows in parts,
# and columns in parts of which the last is for BLAS.
SIZES = [(8, 32, 32), (96, 128, 64), (70, 300, 101), (7, 5, 3), (1, 9, 40), (600, 256, 128)]
SIZES += [(128, 600, 916), (260, 700, 200)]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "terms", "cols"), SIZES)
def test_relu_of_a_layer_to_the_bit(rows, terms, cols, dtype, has_bias, exact, isa):
    x, w = drawn(rows, terms, dtype=dtype), drawn(cols, terms, dtype=dtype)
    bias = [drawn(cols, dtype=dtype)] if has_bias else []

    def loss(w, *bias):
        y = relu(linear(x, w, *bias))
        return (y * y).sum(), y

    f = wg.value_and_grad(loss, argnums=tuple(range(1 + has_bias)), has_aux=True)
    step = wg.compile(f, exact=exact)
    same_but_for_nan(step(w, *bias), f(w, *bias))
    assert computed_together(step, w, *bias) == 1
    assert not any(unit.label == "relu" for unit in step.profile(w, *bias).units)


@pytest.mark.parametrize("size", [16, 64, 130])
def test_what_is_not_finite_comes_out_as_of_relu(size, isa):
    x, w = RNG.normal(size=(size, size)), RNG.normal(size=(size, size))
    x[0, 0], x[3, 5], x[9, 2], w[4, 5], w[7, 1] = np.nan, np.inf, -np.inf, 0.0, np.inf
    x, w, bias = wg.tensor(x), wg.tensor(w), wg.tensor(np.where(np.arange(size) % 3, -0.0, np.nan))
    for b in ([], [bias]):
        f = wg.compile(lambda x, w, *b: relu(linear(x, w, *b)))
        same_but_for_nan(f(x, w, *b), relu(linear(x, w, *b)))
        assert computed_together(f, x, w, *b) == 1


def test_negative_zeros_become_zeros():
    f = wg.compile(lambda x, w: relu(linear(x, w)))
    for n in (8, 16, 64):
        y = f(wg.tensor(np.full((n, n), -0.0, "f")), wg.ones((n, n)))
        assert not np.signbit(y.numpy()).any()


@pytest.mark.parametrize("shape", [(4,), (0, 4), (3, 2, 4), (5, 0)])
def test_every_shape_of_x(shape):
    x, w, bias = drawn(*shape), drawn(6, shape[-1]), drawn(6)
    f = wg.compile(lambda x, w, b: relu(linear(x, w, b)))
    same_but_for_nan(f(x, w, bias), relu(linear(x, w, bias)))
    assert computed_together(f, x, w, bias) == 1


def test_a_result_that_others_read_is_kept():
    x, w = drawn(8, 4), drawn(6, 4)

    def twice(x, w):
        z = linear(x, w)
        return relu(z) + z

    def shown(x, w):
        z = linear(x, w)
        return relu(z), z

    def in_parts(x, w):
        z = linear(x, w)
        return relu(z), z[0]

    for f in (twice, shown, in_parts):
        step = wg.compile(f)
        same_but_for_nan(step(x, w), f(x, w))
        assert computed_together(step, x, w) == 0


def test_layers_of_a_loop():
    x, w = drawn(16, 16), drawn(5, 16, 16)

    def loss(w):
        last, _ = wg.scan(lambda h, wi: (relu(linear(h, wi)) + 1.0, None), x, w)
        return last.sum()

    f = wg.value_and_grad(loss)
    same_but_for_nan(wg.compile(f)(w), f(w))
