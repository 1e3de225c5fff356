"""Rows of arithmetic, comparisons and bits."""

import numpy as np

from .row import (
    EVERYTHING,
    FLOATS,
    INTEGERS,
    NUMBERS,
    any_real,
    away_from,
    between_integers,
    distinct,
    nonzero,
    real,
    row,
    truth,
    whole,
)

BROADCAST = [(((2, 3), (2, 4)), {}, r"broadcast.*\(2, 3\).*\(2, 4\)|\(2, 3\) and \(2, 4\)")]
positive = real(0.3, 3)
INT_PROMOTED = (*FLOATS, "int32")
shifts = [whole(-9, 10), whole(0, 6)]


def power_grad(g, a, b):
    return np.where(b == 0, 0, g * b * a ** (b - 1.0))


def right_shift(a, b):
    return np.right_shift(a, b)


arithmetic = [
    row("add", [any_real, any_real], np.add, dtypes=NUMBERS, errors=BROADCAST),
    row("subtract", [any_real, any_real], np.subtract, dtypes=NUMBERS, errors=BROADCAST),
    row("multiply", [any_real, any_real], np.multiply, dtypes=NUMBERS, errors=BROADCAST),
    row(
        "divide",
        [any_real, nonzero],
        np.divide,
        dtypes=INT_PROMOTED,
        ints=[whole(-9, 9), whole(1, 5)],
    ),
    row("divide_or_zero", [any_real, nonzero], np.divide),
    row("chain_multiply", [any_real, any_real], np.multiply),
    row("chain_divide", [any_real, nonzero], np.divide),
    row(
        "floor_divide",
        [between_integers, away_from([0], 1, 1.02)],
        np.floor_divide,
        dtypes=NUMBERS,
        ints=[whole(-9, 10), whole(-3, 4)],
    ),
    row(
        "remainder",
        [between_integers, away_from([0], 1, 1.02)],
        np.remainder,
        dtypes=NUMBERS,
        ints=[whole(-9, 10), whole(-3, 4)],
        tolerance=64,
    ),
    row("negative", [any_real], np.negative, dtypes=NUMBERS),
    row("reciprocal", [nonzero], lambda x: 1 / x, dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("square", [any_real], np.square, dtypes=NUMBERS),
    row("power", [positive, any_real], np.power, dtypes=NUMBERS, ints=[whole(-4, 5), whole(0, 6)]),
    row("power_grad", [any_real, positive, any_real], power_grad),
    row("base_log", [positive, any_real], lambda a, b: np.log(a) + 0 * b),
    row("sqrt", [positive], np.sqrt, dtypes=INT_PROMOTED, ints=[whole(0, 9)]),
    row("rsqrt", [positive], lambda x: 1 / np.sqrt(x), dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("abs", [nonzero], np.abs, dtypes=NUMBERS),
    row("sign", [nonzero], np.sign, dtypes=NUMBERS, ints=[whole(-2, 3)]),
    row("copysign", [nonzero, nonzero], np.copysign, dtypes=INT_PROMOTED),
    row("floor", [between_integers], np.floor, dtypes=NUMBERS),
    row("ceil", [between_integers], np.ceil, dtypes=NUMBERS),
    row("trunc", [away_from([0], -0.9, 0.9)], np.trunc, dtypes=NUMBERS),
    row("round", [between_integers], np.round, dtypes=NUMBERS),
]

selection = [
    row("maximum", [distinct(), distinct(0.1)], np.maximum, dtypes=EVERYTHING, errors=BROADCAST),
    row("minimum", [distinct(), distinct(0.1)], np.minimum, dtypes=EVERYTHING),
    row("where", [truth, any_real, any_real], np.where, dtypes=EVERYTHING),
    row(
        "clip",
        [distinct(), real(-0.55, -0.45), real(0.45, 0.55)],
        np.clip,
        dtypes=NUMBERS,
        ints=[whole(-9, 9), whole(-3, 0), whole(0, 4)],
    ),
    row(
        "keep_greater", [any_real, distinct(), distinct(0.1)], lambda g, a, b: np.where(a > b, g, 0)
    ),
    row(
        "share_greater",
        [any_real, distinct(), distinct(0.1)],
        lambda g, a, b: g * ((a > b) + 0.5 * (a == b)),
    ),
]

few = whole(-1, 2)  # equal values, zeros and both signs are frequent
comparison = [
    row("equal", [few, few], np.equal, dtypes=EVERYTHING),
    row("not_equal", [few, few], np.not_equal, dtypes=EVERYTHING),
    row("less", [few, few], np.less, dtypes=EVERYTHING),
    row("less_equal", [few, few], np.less_equal, dtypes=EVERYTHING),
    row("greater", [few, few], np.greater, dtypes=EVERYTHING),
    row("greater_equal", [few, few], np.greater_equal, dtypes=EVERYTHING),
    row("logical_and", [few, few], np.logical_and, dtypes=EVERYTHING),
    row("logical_or", [few, few], np.logical_or, dtypes=EVERYTHING),
    row("logical_xor", [few, few], np.logical_xor, dtypes=EVERYTHING),
    row("logical_not", [few], np.logical_not, dtypes=EVERYTHING),
    row("isnan", [few], np.isnan, dtypes=EVERYTHING),
    row("isinf", [few], np.isinf, dtypes=EVERYTHING),
    row("isfinite", [few], np.isfinite, dtypes=EVERYTHING),
    row("signbit", [few], lambda x: np.signbit(x.astype(np.float64)), dtypes=NUMBERS),
    row("bitwise_and", [whole(-9, 10)] * 2, np.bitwise_and, dtypes=INTEGERS),
    row("bitwise_or", [whole(-9, 10)] * 2, np.bitwise_or, dtypes=INTEGERS),
    row("bitwise_xor", [whole(-9, 10)] * 2, np.bitwise_xor, dtypes=INTEGERS),
    row("bitwise_invert", [whole(-9, 10)], np.invert, dtypes=INTEGERS),
    row("bitwise_left_shift", shifts, np.left_shift, dtypes=INTEGERS[:3]),
    row("bitwise_right_shift", shifts, np.right_shift, dtypes=INTEGERS[:3]),
    row(
        "of_integers",
        [whole(-5, 6), whole(1, 9)],
        lambda x1, x2, name: x1 * x1 if name == "square" else getattr(np, name)(x1, x2),
        shapes=[((), ()), ((3, 4), (3, 4)), ((0,), (0,))],
        attrs=[{"name": name} for name in ("add", "subtract", "power", "square", "remainder")],
        dtypes=["int64"],
        errors=[
            (((2,), (3,)), {"name": "add"}, "of one shape"),
            (((2,), (2,)), {"name": "sin"}, "not one of its operations"),
        ],
    ),
]

ROWS = arithmetic + selection + comparison
