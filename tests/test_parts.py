"""Results that are made side by side where a concatenation would have copied them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import wengert as wg

F = wg.nn.functional


def by_head(x: wg.Tensor, heads: int) -> wg.Tensor:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-3, -2)


def attended(q: wg.Tensor, k: wg.Tensor, v: wg.Tensor) -> wg.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attend(packed: wg.Tensor, heads: int) -> wg.Tensor:
    *lead, width = packed.shape
    y = attended(*(by_head(x, heads) for x in wg.split(packed, 3, axis=-1)))
    return y.swapaxes(-3, -2).reshape(*lead, width // 3)


def check(f: Callable, *args: wg.Tensor, concats: int) -> None:
    """A compiled f gives what f gives, again and again, and copies `concats` times."""
    compiled = wg.compile(f)
    wanted = [np.asarray(x) for x in wg.tree.leaves(f(*args))]
    for _ in range(2):
        for got, want in zip(wg.tree.leaves(compiled(*args)), wanted, strict=True):
            np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6, atol=1e-6)
    labels = [unit.label for unit in compiled.profile(*args, repeats=1).units]
    assert sum("concat" in label for label in labels) == concats, labels


def pulled(packed: wg.Tensor, g: wg.Tensor, heads: int) -> wg.Tensor:
    return wg.vjp(lambda x: attend(x, heads), packed)[1](g)[0]


def inputs(*shape: int, dtype: wg.dtype = wg.float32) -> tuple[wg.Tensor, wg.Tensor]:
    rng = np.random.default_rng(0)
    packed = rng.standard_normal(shape)
    g = rng.standard_normal((*shape[:-1], shape[-1] // 3))
    return wg.tensor(packed, dtype=dtype), wg.tensor(g, dtype=dtype)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize("shape", [(2, 64, 96), (2, 70, 60), (1, 130, 48), (3, 1, 24)])
def test_cotangents_of_a_packed_array(shape: tuple[int, ...], dtype: wg.dtype) -> None:
    packed, g = inputs(*shape, dtype=dtype)
    check(lambda x, y: pulled(x, y, 2), packed, g, concats=0)
    check(lambda x, y: pulled(x, y, 2) * 2, packed, g, concats=0)
    check(lambda x, y: wg.sin(pulled(x, y, 2)).sum(axis=0), packed, g, concats=0)


def test_in_a_loop() -> None:
    packed, g = inputs(2, 8, 24)

    def looped(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.scan(lambda c, _: (c - 0.1 * pulled(c, y, 2), c.sum()), x, None, length=3)

    check(looped, packed, g, concats=0)


def three(packed: wg.Tensor, g: wg.Tensor) -> list[wg.Tensor]:
    qkv = (by_head(x, 2) for x in wg.split(packed, 3, axis=-1))
    return [x.swapaxes(-3, -2) for x in wg.vjp(attended, *qkv)[1](by_head(g, 2))]


def test_parts_on_other_axes_and_what_stays_a_copy() -> None:
    packed, g = inputs(2, 8, 24)
    for axis in range(4):
        check(lambda x, y, a=axis: wg.concat(three(x, y), axis=a), packed, g, concats=0)
    check(lambda x, y: wg.concat(three(x, y)[::-1], axis=2), packed, g, concats=0)

    def shown(x: wg.Tensor, y: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        parts = three(x, y)
        return wg.concat(parts, axis=2), parts[1]

    def twice(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        dq, dk, _ = three(x, y)
        return wg.concat([dq, dk, dq], axis=2)

    def of_two(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.concat(three(x, y)[:2] + three(x + 1, y)[2:], axis=2)

    def with_another(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.concat([*three(x, y), x.reshape(2, 8, 2, 12)], axis=3)

    def turned(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.concat([part.swapaxes(1, 2) for part in three(x, y)], axis=2)

    def changed(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.concat([part * 2 for part in three(x, y)], axis=2)

    for f in (shown, twice, of_two, with_another, turned, changed):
        check(f, packed, g, concats=1)


def test_not_finite_values_lie_in_their_places() -> None:
    packed, g = inputs(2, 70, 24)
    values = np.array(packed)
    values[0, 3, 20] = np.inf
    values[1, 5, 2] = np.nan
    wanted = pulled(wg.tensor(values), g, 2)
    got = wg.compile(lambda x, y: pulled(x, y, 2))(wg.tensor(values), g)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


def test_a_part_of_no_size() -> None:
    packed, g = inputs(2, 0, 24)
    check(lambda x, y: pulled(x, y, 2), packed, g, concats=1)


@pytest.mark.parametrize("order", [p for n in (2, 3) for p in itertools.permutations(range(3), n)])
def test_some_of_the_parts_and_other_work(order: tuple[int, ...]) -> None:
    """What is made between the parts and their reader does not lie in their memory."""
    packed, g = inputs(2, 8, 24)

    def f(x: wg.Tensor, y: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        parts = three(x, y)
        joined = wg.concat([parts[i] for i in order], axis=-1)
        other = wg.sin(x) @ wg.cos(x).mT
        return wg.sin(other @ other).sum() + other, wg.exp(joined) @ joined.mT

    check(f, packed, g, concats=0)


def test_parts_whose_numbers_lie_apart_are_copied() -> None:
    packed, g = inputs(2, 8, 24)

    def f(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        return wg.concat([wg.expand_dims(part, -1) for part in three(x, y)], axis=-1)

    check(f, packed, g, concats=1)


def test_a_step_on_packed_keys_and_values() -> None:
    rng = np.random.default_rng(1)
    x, y = (wg.tensor(rng.standard_normal((2, 9, 8))) for _ in range(2))
    weights = [wg.tensor(rng.standard_normal((8, n)) / 3) for n in (8, 16, 8, 16)]

    def loss(weights: list[wg.Tensor], x: wg.Tensor) -> wg.Tensor:
        for query, packed in (weights[:2], weights[2:]):
            q, k, v = x @ query, *wg.split(x @ packed, 2, axis=-1)
            q, k, v = (by_head(z, 2) for z in (q, k, v))
            x = x + F.scaled_dot_product_attention(q, k, v).swapaxes(1, 2).reshape(2, 9, 8)
        return ((x - y) ** 2).mean()

    def step(weights: list[wg.Tensor], x: wg.Tensor) -> list[wg.Tensor]:
        slopes = wg.grad(loss)(weights, x)
        return [w - 0.1 * s for w, s in zip(weights, slopes, strict=True)]

    check(step, weights, x, concats=0)
