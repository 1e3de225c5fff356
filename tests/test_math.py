"""Accuracy of the elementary functions, in units in the last place, over all floats.

Single precision is checked against NumPy in double, double precision against mpmath; half of the
arguments are random bit patterns (NaN, infinities and denormals among them), half fill the range in
which the function varies. The bounds are those that cpp/kernels/math.h states.
"""

import functools
import math
import zlib

import mpmath
import numpy as np
import pytest
import wengert as wg

OPS = wg._core.ops
POINTS = {"float32": 200_000, "float64": 3_000}
BITS = {"float32": np.uint32, "float64": np.uint64}
erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def mp_softplus(x):
    return max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x)))


def sigmoid(x):
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))


def mp_sigmoid(x):
    return (mpmath.exp(x) if x < 0 else 1) / (1 + mpmath.exp(-abs(x)))


def mp_erfc(x):
    return mpmath.erfc(x) if abs(x) < 40 else mpmath.mpf(0 if x > 0 else 2)


def spread(*ranges):
    """Uniform in each interval; in (low, high, "log") uniform in the exponent, both signs."""

    def draw(rng, n):
        parts = []
        for low, high, *kind in ranges:
            u = rng.uniform(low, high, n // len(ranges))
            parts.append(10.0**u * rng.choice([-1, 1], u.size) if kind else u)
        return np.concatenate(parts)

    return draw


# name: bound for float32, for float64, NumPy in double, mpmath, where it varies
UNARY = {
    "exp": (1, 1, np.exp, mpmath.exp, spread((-750, 710), (-105, 90), (-2, 2))),
    "expm1": (1.5, 1.5, np.expm1, mpmath.expm1, spread((-40, 90), (-1, 1), (-9, 0, "log"))),
    "log": (1, 1, np.log, mpmath.log, spread((0, 3), (0.9, 1.1), (-300, 300, "log"))),
    "log1p": (1.6, 1.6, np.log1p, mpmath.log1p, spread((-1, 3), (-9, 0, "log"))),
    "log2": (1, 1, np.log2, lambda x: mpmath.log(x, 2), spread((0, 3), (0.9, 1.1))),
    "log10": (1, 1, np.log10, mpmath.log10, spread((0, 3), (0.9, 1.1))),
    "erf": (1.6, 1.6, erf, mpmath.erf, spread((-6, 6), (-1, 1), (-9, 0, "log"))),
    "erfc": (6, 6, erfc, mp_erfc, spread((-6, 28), (-1, 1), (0, 10))),
    "sin": (1.6, 1.6, np.sin, mpmath.sin, spread((-7, 7), (-1e5, 1e5), (0, 30, "log"))),
    "cos": (1.6, 1.6, np.cos, mpmath.cos, spread((-7, 7), (-1e5, 1e5), (0, 30, "log"))),
    "tan": (3, 3, np.tan, mpmath.tan, spread((-7, 7), (-1e5, 1e5), (0, 30, "log"))),
    "asin": (2.5, 2.5, np.arcsin, mpmath.asin, spread((-1, 1), (0.99, 1), (-9, 0, "log"))),
    "acos": (1.5, 1.5, np.arccos, mpmath.acos, spread((-1, 1), (0.99, 1), (-9, 0, "log"))),
    "atan": (2, 2, np.arctan, mpmath.atan, spread((-9, 9), (-9, 9, "log"))),
    "sinh": (2.5, 2.5, np.sinh, mpmath.sinh, spread((-711, 711), (-90, 90), (-1, 1))),
    "cosh": (1.5, 1.5, np.cosh, mpmath.cosh, spread((-711, 711), (-90, 90), (-1, 1))),
    "tanh": (3, 3, np.tanh, mpmath.tanh, spread((-20, 20), (-1, 1), (-9, 0, "log"))),
    "asinh": (3, 3, np.arcsinh, mpmath.asinh, spread((-9, 9), (-9, 9, "log"))),
    "acosh": (4, 4, np.arccosh, mpmath.acosh, spread((1, 9), (1, 1.01))),
    "atanh": (3, 3, np.arctanh, mpmath.atanh, spread((-1, 1), (-9, 0, "log"))),
    "sigmoid": (3, 3, sigmoid, mp_sigmoid, spread((-740, 40), (-100, 20), (-1, 1))),
    "softplus": (2, 2, softplus, mp_softplus, spread((-740, 40), (-100, 20), (-1, 1))),
    "sqrt": (0.5, 0.5, np.sqrt, mpmath.sqrt, spread((0, 4))),
    "rsqrt": (1.5, 1.5, lambda x: 1 / np.sqrt(x), lambda x: 1 / mpmath.sqrt(x), spread((0, 4))),
}
BINARY = {
    "power": (
        0.6,
        1.5,
        np.power,
        mpmath.power,
        (spread((0, 4), (0.9, 1.1), (-5, 5, "log")), spread((-40, 40), (-700, 700), (-9, 9))),
    ),
    "atan2": (2, 2, np.arctan2, mpmath.atan2, (spread((-3, 3)), spread((-3, 3)))),
    "hypot": (2, 2, np.hypot, mpmath.hypot, (spread((-3, 3)), spread((-3, 3)))),
}
FUNCTIONS = {**UNARY, **BINARY}


def arguments(name: str, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(f"{name} {dtype}".encode()))
    n = POINTS[dtype]
    where = FUNCTIONS[name][4]
    out = []
    for draw in where if name in BINARY else (where,):
        bits = rng.integers(0, 2 ** (32 if dtype == "float32" else 64), n // 2, dtype=np.uint64)
        with np.errstate(over="ignore"):
            out.append(
                np.concatenate(
                    [bits.astype(BITS[dtype]).view(dtype), draw(rng, n // 2).astype(dtype)]
                )
            )
    return out


def exactly(value) -> tuple[float, float]:
    """An mpmath number as a double, and what is left in units of the double's last place."""
    if isinstance(value, mpmath.mpc) or mpmath.isnan(value):
        return math.nan, 0.0
    if abs(value) >= mpmath.mpf(2) ** 1024 - mpmath.mpf(2) ** 970:
        return math.copysign(math.inf, value), 0.0
    high = float(value)
    return high, float((value - high) / float(np.spacing(abs(high))))


@functools.cache
def reference(name: str, dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Arguments, the function's values as doubles, and what the doubles leave out."""
    _, _, double, precise, _ = FUNCTIONS[name]
    xs = arguments(name, dtype)
    with np.errstate(all="ignore"):
        wide = [x.astype(np.float64) for x in xs]  # signalling NaN warns
        high = double(*wide)
    low = np.zeros_like(high)
    if dtype == "float64":
        with mpmath.workprec(160):
            # Beyond the floats NumPy's answers are exact: NaN, infinities, zero.
            for i in np.flatnonzero(np.isfinite(high) & np.all(np.isfinite(wide), axis=0)):
                high[i], low[i] = exactly(precise(*[mpmath.mpf(float(x[i])) for x in xs]))
    return xs, high, low


def ulps(y: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """|y - exact| in units in the last place of y's dtype; the exact value is high and, for
    doubles, low units more. NaN agrees with NaN."""
    dtype = y.dtype.type
    top = float(np.finfo(dtype).max)
    with np.errstate(all="ignore"):
        nearest = high.astype(dtype).astype(np.float64)
        unit = np.spacing(np.minimum(np.abs(high), top).astype(dtype)).astype(np.float64)
        wide = y.astype(np.float64)
        # Overflow one unit early or late counts as one unit.
        finite = np.where(np.isinf(wide), np.copysign(top, wide), wide)
        bounded = np.where(np.isinf(high), np.copysign(top, high), high)
        error = np.abs((finite - bounded) / unit - low)
        error += np.isinf(wide) != np.isinf(nearest)
    same = (wide == nearest) & np.isinf(nearest) | np.isnan(wide) & np.isnan(high)
    return np.where(same, 0, np.where(np.isnan(error), np.inf, error))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_bound(name, dtype, isa):
    bound = FUNCTIONS[name][dtype == "float64"]
    xs, high, low = reference(name, dtype)
    y = getattr(OPS, name)(*map(wg.asarray, xs)).numpy()
    assert y.dtype == dtype
    error = ulps(y, high, low)
    worst = int(np.argmax(error))
    # The reference of singles is a double, rounded too.
    assert error[worst] <= bound + 1e-6, (
        f"{error[worst]:.3f} ulp at {[x[worst] for x in xs]}: {y[worst]}, exact {high[worst]}"
    )


SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0]


def specials(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    extremes = [info.smallest_subnormal, -info.smallest_subnormal, info.tiny, info.max, info.min]
    return np.array([*SPECIAL, *extremes], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_numpys(name, dtype, isa):
    """NaN, infinities, signed zeros, the ends of the range."""
    _, _, double, _, _ = FUNCTIONS[name]
    x = specials(dtype)
    xs = [a.ravel() for a in np.meshgrid(x, x)] if name in BINARY else [x]
    with np.errstate(all="ignore"):
        expected = double(*[a.astype(np.float64) for a in xs]).astype(dtype)
    y = getattr(OPS, name)(*map(wg.asarray, xs)).numpy()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(dtype).eps)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(y)[known], np.signbit(expected)[known])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "expm1", "log1p"]
)
def test_denormals_pass(name, dtype, isa):
    """f(x) = x where x is tiny: denormals are neither flushed on the way in nor on the way out."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.concatenate(
        [tiny * np.arange(1, 40).astype(dtype), np.array([np.finfo(dtype).tiny / 3], dtype)]
    )
    np.testing.assert_array_equal(getattr(OPS, name)(wg.asarray(x)).numpy(), x)
    np.testing.assert_array_equal(getattr(OPS, name)(wg.asarray(-x)).numpy(), -x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_may_be_denormal(dtype, isa):
    x = np.linspace(*((-103.5, -87.5) if dtype == "float32" else (-744.5, -708.5)), 200).astype(
        dtype
    )
    for name in ("exp", "sigmoid", "softplus"):
        y = getattr(OPS, name)(wg.asarray(x)).numpy()
        assert (y > 0).all() and (y < np.finfo(dtype).tiny).any()
        np.testing.assert_allclose(
            y, np.exp(x.astype(np.float64)), rtol=1e-5, atol=2 * np.finfo(dtype).smallest_subnormal
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logaddexp(dtype, isa):
    """Accurate beside its larger argument; beside its value it cannot be, where the two cancel."""
    a, b = np.random.default_rng(0).uniform(-30, 30, (2, 20_000)).astype(dtype)
    y, exact = (
        OPS.logaddexp(wg.asarray(a), wg.asarray(b)).numpy(),
        np.logaddexp(a, b, dtype="float64"),
    )
    assert np.all(np.abs(y - exact) <= 3 * np.spacing(np.maximum(np.maximum(abs(a), abs(b)), 1)))
    ends = np.array([-np.inf, np.inf, np.nan, 0, 1e30], dtype)
    a, b = np.meshgrid(ends, ends)
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(a, b)
    np.testing.assert_array_equal(OPS.logaddexp(wg.tensor(a), wg.tensor(b)).numpy(), expected)


@pytest.mark.parametrize("name, base", [("log2", 2), ("log10", 10)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_of_powers_are_whole(name, base, dtype, isa):
    top = {"float32": {2: 127, 10: 10}, "float64": {2: 1023, 10: 22}}[dtype][base]
    n = np.arange(-top if base == 2 else 0, top + 1)
    x = np.array([float(base) ** int(k) for k in n], dtype)
    np.testing.assert_array_equal(getattr(OPS, name)(wg.asarray(x)).numpy(), n.astype(dtype))
