"""Python numbers that a dtype does not hold raise wherever they would become ones of it, as in
NumPy; none wraps around."""

import re

import numpy as np
import pytest
import wengert as wg

U = wg.tensor([1, 2], dtype=wg.uint8)
I32 = wg.tensor([1, 2], dtype=wg.int32)
I64 = wg.tensor([2, 3])

REFUSED = {
    "number": lambda: wg.tensor(300, dtype=wg.uint8),
    "negative": lambda: wg.tensor(-1, dtype=wg.uint8),
    "wide": lambda: wg.tensor(2**40, dtype=wg.int32),
    "list": lambda: wg.tensor([1, 300], dtype=wg.uint8),
    "nested": lambda: wg.asarray([[1, 2], [3, -(2**31) - 1]], dtype=wg.int32),
    "float": lambda: wg.tensor(300.5, dtype=wg.uint8),
    "floats": lambda: wg.tensor([1.0, 2.0**31], dtype=wg.int32),
    "beyond int64": lambda: wg.tensor(2.0**63, dtype=wg.int64),
    "nan": lambda: wg.tensor([np.nan], dtype=wg.int64),
    "beside tensors": lambda: wg.tensor([U, [300, 1]]),
    "into a dtype": lambda: wg.tensor([U[0], 300], dtype=wg.uint8),
    "asarray": lambda: wg.asarray(300, dtype=wg.uint8),
    "full": lambda: wg.full((2,), 300, dtype=wg.uint8),
    "full float": lambda: wg.full((2,), -1.0, dtype=wg.uint8),
    "NumPy": lambda: wg.tensor(np.int64(300), dtype=wg.uint8),
    "full NumPy": lambda: wg.full((2,), np.int64(300), dtype=wg.uint8),
    "full_like": lambda: wg.full_like(U, 300),
    "arange": lambda: wg.arange(300, dtype=wg.uint8),
    "arange down": lambda: wg.arange(3, -3, -1, dtype=wg.uint8),
    "linspace": lambda: wg.linspace(0, 300, 3, dtype=wg.uint8),
    "pad": lambda: wg.pad(U, 1, constant_values=300),
    "item": lambda: U.__setitem__(0, 300),
    "items": lambda: U.__setitem__(slice(None), [300, 1]),
    "assign": lambda: U.assign(300),
    "assign list": lambda: U.assign([300, 1]),
    "add": lambda: U + 300,
    "subtract": lambda: 2**31 - I32,
    "compare": lambda: U < -1,
    "clip": lambda: wg.clip(U, 0, 300),
    "method": lambda: U.clip(-1, 10),
    "where": lambda: wg.where(U > 1, U, 300),
    "compiled": lambda: wg.compile(lambda x: x + 300)(U),
    "compiled argument": lambda: wg.compile(lambda x, n: x + n)(U, 300),
    "compiled state": lambda: wg.compile(lambda n: U.assign(n))(300),
    "compiled item": lambda: wg.compile(lambda n: U.__setitem__(0, n))(300),
    "mapped": lambda: wg.vmap(lambda x: x + 300)(U),
    "pad float": lambda: wg.pad(U, 1, constant_values=300.5),
    "loop": lambda: wg.scan(lambda c, x: (x, c), 300, U),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_do_not_fit(name):
    with pytest.raises(
        wg.DTypeError, match=r"^\w[\w ]*: the Python .* does not fit u?int\d+ \("
    ) as e:
        REFUSED[name]()
    assert "the Python integer 300" in str(e.value) or name not in ("add", "full", "clip")
    assert U.tolist() == [1, 2]


def _written(places, value):
    x = wg.zeros(2, dtype=wg.uint8)
    x[places] = value
    return x


COMPILED = {
    "add": lambda n: U + n,
    "multiply": lambda n: n * U,
    "power": lambda n: U**n,
    "less": lambda n: wg.less(U, n),
    "clip": lambda n: wg.clip(U, 0, n),
    "where": lambda n: wg.where(U > 1, U, n),
    "stack": lambda n: wg.stack([U[0], n]),
    "asarray": lambda n: wg.asarray(n, dtype=wg.uint8),
    "tensor": lambda n: wg.tensor(n, dtype=wg.uint8),
    "full": lambda n: wg.full((2,), n, dtype=wg.uint8),
    "full_like": lambda n: wg.full_like(U, n),
    "pad": lambda n: wg.pad(U, 1, constant_values=n),
    "linspace": lambda n: wg.linspace(0, n, 4, dtype=wg.uint8),
    "tensor of a list": lambda n: wg.tensor([n, 1], dtype=wg.uint8),
    "tensor beside tensors": lambda n: wg.tensor([U[0], n]),
    "index assignment": lambda n: _written(0, n),
    "index assignment of a list": lambda n: _written(slice(None), [n, 1]),
    "assign": lambda n: U.assign(n),
    "scan": lambda n: wg.scan(lambda c, x: (x, c), n, U)[1],
}


@pytest.mark.parametrize("name", COMPILED)
def test_number_arguments_that_do_not_fit(name):
    f = COMPILED[name]
    g = wg.compile(f)
    try:
        for n in (3, 90):
            found, expected = g(n), f(n)
            if expected is not None:
                assert found.dtype == expected.dtype and found.tolist() == expected.tolist()
    finally:
        U.assign([1, 2])
    for n in (300, 256, 2**40, -1):
        errors = []
        for call in (f, g):
            with pytest.raises((wg.DTypeError, wg.ArgumentError)) as error:
                call(n)
            errors.append(re.sub(r"float \d\S*", "float", str(error.value)))
        assert errors[0] == errors[1]
        assert errors[1].startswith(f"{name.split(' of ')[0].split(' beside ')[0]}: ")
    assert g.cache_info().size == 1 and U.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["asarray", "tensor", "full", "full_like", "pad", "linspace"])
def test_float_arguments_that_do_not_fit(name):
    f = COMPILED[name]
    g = wg.compile(f)
    assert g(90.0).tolist() == f(90.0).tolist()
    for n in (300.5, -1.0, float("nan"), float("inf")):
        for call in (f, g):
            with pytest.raises(wg.DTypeError, match=rf"^{name}: the Python float .*fit uint8"):
                call(n)


def test_number_arguments_become_tensors_as_numbers_do():
    for f in (
        lambda n: wg.asarray(n) + U,
        lambda n: wg.tensor(n) * wg.ones(1, dtype=wg.float64),
        lambda n: wg.tensor([n, 1]),
        lambda n: wg.tensor([U[0], n]),
        lambda n: wg.zeros(2, dtype=wg.result_type(U, n)) + U,
        lambda n: wg.full((2,), n),
    ):
        for n in (3, 300.5):
            found, expected = wg.compile(f)(n), f(n)
            assert found.dtype == expected.dtype and found.tolist() == expected.tolist()
    with pytest.raises(wg.DTypeError, match="would lose digits"):
        wg.compile(lambda n: _written(slice(None), [n, 1]))(2.5)


def test_negative_number_arguments_as_exponents():
    for f in (lambda n: I64**n, lambda n: wg.power(I32, n), lambda n: (U > 1) ** n):
        g = wg.compile(f)
        assert g(3).tolist() == f(3).tolist() and g(3).dtype == f(3).dtype
        for call in (f, g):
            with pytest.raises(wg.ArgumentError, match=r"^power: .*no negative .*-2 for int"):
                call(-2)
        assert g(0).tolist() == [1, 1] and g(2.0).tolist() == f(2.0).tolist()
    square = wg.compile(lambda n: n**n)  # of numbers: an integer, whatever n is
    assert square(3).item() == 27
    with pytest.raises(wg.ArgumentError, match=r"^power: .*no negative .*-3 for int64"):
        square(-3)
    gradient = wg.grad(lambda x, n: (x**n).sum())
    assert wg.compile(gradient)(wg.tensor([2.0]), -2).tolist() == [-0.25]


def test_linspace_between_tensors_in_integers():
    ends = wg.tensor(0), wg.tensor(90)
    assert wg.linspace(*ends, 4, dtype=wg.int32).tolist() == [0, 30, 60, 90]


def test_numbers_that_fit():
    assert wg.tensor([0, 255], dtype=wg.uint8).tolist() == [0, 255]
    assert wg.tensor([-0.5, 255.9], dtype=wg.uint8).tolist() == [0, 255]  # fractions are cut off
    assert wg.tensor([-(2**31), 2**31 - 1], dtype=wg.int32).tolist() == [-(2**31), 2**31 - 1]
    assert wg.tensor(-(2.0**63), dtype=wg.int64).item() == -(2**63)
    assert wg.tensor(2**24 + 1.0, dtype=wg.int64).item() == 2**24 + 1
    assert wg.tensor([300, float("nan")], dtype=bool).tolist() == [True, True]
    assert wg.tensor([U, [300, 1]], dtype=wg.int32).tolist() == [[1, 2], [300, 1]]
    assert wg.arange(256, dtype=wg.uint8).tolist() == list(range(256))
    assert wg.arange(300, 0, dtype=wg.uint8).size == 0
    assert (U / 300).tolist() == (wg.asarray(U, dtype=wg.float32) / 300).tolist()
    assert (U * 1.5).dtype == wg.float32
    # arrays are converted as NumPy converts them
    assert wg.tensor(np.array([300]), dtype=wg.uint8).tolist() == [44]
    assert wg.tensor([300]).astype(wg.uint8).tolist() == [44]


def test_numbers_keep_the_digits_of_the_dtype_they_become():
    assert wg.full((), 0.1, dtype=wg.float64).item() == 0.1
    assert wg.full((), 2**24 + 1.0, dtype=wg.int64).item() == 2**24 + 1
    assert wg.tensor([wg.tensor(1.0), 0.1], dtype=wg.float64)[1].item() == 0.1
    assert (wg.ones(1, dtype=wg.float64) * 10**30).item() == 1e30
    assert (10**30 * wg.ones(1)).dtype == wg.float32
    with pytest.raises(wg.DTypeError, match="does not fit a float; got a int"):
        wg.ones(1) * 10**5000
    with pytest.raises(wg.DTypeError, match="does not fit int64"):
        I64 * 10**30


NEGATIVE = {
    "operator": lambda x: x**-1,
    "method": lambda x: x.pow(-2),
    "function": lambda x: wg.power(x, -1),
    "NumPy": lambda x: np.power(x, -1),
    "compiled": lambda x: wg.compile(lambda y: y**-1)(x),
    "mapped": lambda x: wg.vmap(lambda y: y**-1)(x),
    "numbers": lambda x: wg.power(2, -1) * x,
}


@pytest.mark.parametrize("x", [U, I32, I64], ids=["uint8", "int32", "int64"])
@pytest.mark.parametrize("name", NEGATIVE)
def test_negative_powers_of_integers(name, x):
    with pytest.raises(wg.ArgumentError, match=r"^pow.*no negative .*-\d for u?int.*x\.astype\(wg"):
        NEGATIVE[name](x)


def test_powers_that_are_defined():
    assert (I64**0).tolist() == [1, 1] and (I64**3).tolist() == [8, 27]
    assert (I64**-1.0).tolist() == (1 / I64).tolist()
    assert (wg.tensor([2.0, 4.0]) ** -1).tolist() == [0.5, 0.25]
    # one element of a tensor may be negative: 1 / x**n towards 0, as PyTorch has it
    assert (wg.tensor([1, -1, 2, 0, 3]) ** wg.tensor([-2, -3, -1, -1, 2])).tolist() == [
        1,
        -1,
        0,
        0,
        9,
    ]
    # numbers that a compiled function is given follow Python
    assert wg.compile(lambda n: n**-1)(2).item() == 0.5
    assert wg.compile(lambda n: (2 * n) ** 2)(2).item() == 16


ARITHMETIC = {
    "add": lambda n, m: n + m,
    "subtract": lambda n, m: n - m,
    "multiply": lambda n, m: n * m,
    "floor_divide": lambda n, m: n // m,
    "remainder": lambda n, m: n % m,
    "power": lambda n, m: n**m,
    "bitwise_left_shift": lambda n, m: n << m,
    "bitwise_right_shift": lambda n, m: n >> m,
    "bitwise_and": lambda n, m: n & m,
    "negative": lambda n, m: -n,
    "abs": lambda n, m: abs(n),
    "square": lambda n, m: n**2,
}
ENDS = [0, 1, -1, 2, -2, 3, -7, 62, 63, 64, 3037000499, 3037000500, 2**62, -(2**62)]
ENDS += [2**63 - 1, -(2**63)]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_of_integer_arguments(name):
    f = ARITHMETIC[name]
    g = wg.compile(f)
    for n in ENDS:
        for m in ENDS if name not in ("power", "bitwise_left_shift") else ENDS[:10]:
            try:
                expected = f(n, m)
            except (ArithmeticError, ValueError):
                expected = None
            if type(expected) is int and -(2**63) <= expected < 2**63:
                found = g(n, m)
                assert found.dtype == wg.int64 and found.item() == expected
            else:
                with pytest.raises((wg.DTypeError, wg.ArgumentError), match=rf"^{name}: .*integer"):
                    g(n, m)
    assert g.cache_info().misses == 1


def test_integer_arguments_beyond_int64():
    f = wg.compile(lambda x, n: x + n)
    for _ in range(2):
        assert f(wg.ones(1), 2).item() == 3.0
        assert f(wg.ones(1), 2**200).item() == float("inf")
        assert f(wg.ones(1, dtype=wg.float64), -(2**200)).item() == -(2.0**200)
        assert f(wg.ones(1), -(2**63)).item() == -(2.0**63)
        for n in (2**63, -(2**63) - 1):
            with pytest.raises(
                wg.DTypeError, match=r"^tensor: the Python integer does not fit int64"
            ):
                f(I64, n)
    assert f.cache_info().misses == 1
    with pytest.raises(
        wg.DTypeError, match=r"^compile: .* integers that int64 holds; got an int of"
    ):
        f.run(wg.ones(1), 10**5000, steps=2)
    assert wg.compile(lambda n: wg.asarray(2**70 * n, dtype=wg.float64))(0.5).item() == 2.0**69
    assert wg.compile(f.__wrapped__, static_argnums=1)(wg.ones(1), 2**200).item() == float("inf")


NUMBERED = {
    "cond of a number": lambda n, x: wg.cond(n > 0, lambda c: c * 2, lambda c: -c, n),
    "cond that reads a number": lambda n, x: wg.cond(n > 0, lambda: n * 2, lambda: -n) * x,
    "cond of number and constant": lambda n, x: wg.cond(x > 0, lambda: n * 1.0, lambda: 0.5),
    "cond of number and tensor": lambda n, x: wg.cond(x > 0, lambda c: c * n, lambda c: c - n, x),
    "cond of sums": lambda n, x: wg.cond(n > 0, lambda: n + x, lambda: x),
    "scan from a number": lambda n, x: wg.scan(lambda c, _: (c * 0.5 + x, c), n, None, 3),
    "scan that reads a number": lambda n, x: wg.scan(lambda c, _: (c * n, n), x, None, 3),
    "scan of numbers": lambda n, x: wg.scan(lambda c, _: (c * 0.5, c * n), n, None, 3),
    "scan that keeps": lambda n, x: wg.scan(
        lambda c, _: (c * n + x, None), n, None, 9, checkpoint=wg.Binomial(slots=2)
    )[0],
    "sum": lambda n, x: (wg.sum(n) + x, wg.sum(n * 2.0), wg.prod(n), wg.mean(n)),
    "while from a number": lambda n, x: wg.while_loop(lambda c: c < 100.0, lambda c: c * 3.0, n),
    "while that reads": lambda n, x: wg.while_loop(lambda c: c < 50 * n, lambda c: c * 3.0, x),
}


@pytest.mark.parametrize("number", [1.5, np.float32(1.5), 2])
@pytest.mark.parametrize("f", NUMBERED.values(), ids=NUMBERED)
def test_numbers_that_are_arguments(f, number):
    """In loops and branches of a compiled function they are what they are in eager ones."""
    x = wg.tensor(1.0)
    compiled = wg.compile(f)
    for n in (number, number * 2, number):
        expected, found = wg.tree.leaves(f(n, x)), wg.tree.leaves(compiled(n, x))
        expected = [wg.asarray(y) for y in expected]
        assert [y.dtype for y in found] == [y.dtype for y in expected]
        for y, z in zip(found, expected):
            np.testing.assert_allclose(y, z, rtol=1e-6)
    if "while_loop" not in f.__code__.co_names:
        slopes = [
            wg.grad(lambda x, g=g: wg.asarray(wg.tree.leaves(g(1.5, x))[0]) + 0.0 * x)(x)
            for g in (f, compiled)
        ]
        assert slopes[1].item() == pytest.approx(slopes[0].item())


DIFFERENTIATED = {
    "grad": lambda n, x: wg.grad(lambda t: (t * x * t).sum())(n),
    "jvp": lambda n, x: wg.jvp(lambda t: t * t, (n,), (1.0,)),
    "jvp of a product": lambda n, x: wg.jvp(lambda t: t * x * t, (n,), (n,)),
    "linearize": lambda n, x: wg.linearize(lambda t: t * x * t, n)[1](n),
    "vjp": lambda n, x: wg.vjp(lambda t: t * t, n)[1](1.0),
    "hessian": lambda n, x: wg.hessian(lambda t: (t * x * t * t).sum())(n),
    "jacfwd": lambda n, x: wg.jacfwd(lambda t: t * t)(n),
    "jacrev": lambda n, x: wg.jacrev(lambda t: t * x * t)(n),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_derivatives_by_numbers_that_are_arguments(name, dtype):
    f, x = DIFFERENTIATED[name], wg.tensor([1.5, 2.0], dtype=dtype)
    compiled = wg.compile(f)
    for n in (2.7, -0.3):
        found, expected = wg.tree.leaves(compiled(n, x)), wg.tree.leaves(f(n, x))
        assert [(y.dtype, y.tolist()) for y in found] == [(y.dtype, y.tolist()) for y in expected]
