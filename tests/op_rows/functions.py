"""Rows of elementary functions and activations."""

import math

import numpy as np

from .row import FLOATS, any_real, away_from, nonzero, real, row, whole

INT_PROMOTED = (*FLOATS, "int32")
inside = real(-0.9, 0.9)
positive = real(0.3, 3)
fraction = real(0.05, 0.95)
off_zero = away_from([0], -3, 3)
COEFFICIENT = np.sqrt(2 / np.pi)
erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def normal_cdf(x):
    return erfc(-x / np.sqrt(2)) / 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def share(a, b):
    return sigmoid(a - b)


def gelu(x):
    return x * normal_cdf(x)


def gelu_slope(x):
    return normal_cdf(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(COEFFICIENT * (x + 0.044715 * x**3)))


def gelu_tanh_slope(x):
    t = np.tanh(COEFFICIENT * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * COEFFICIENT * (1 + 3 * 0.044715 * x * x)


def silu_slope(x):
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


elementary = [
    row("exp", [any_real], np.exp, dtypes=INT_PROMOTED),
    row("expm1", [any_real], np.expm1, dtypes=INT_PROMOTED),
    row("log", [positive], np.log, dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("log1p", [real(-0.9, 3)], np.log1p, dtypes=INT_PROMOTED, ints=[whole(0, 9)]),
    row("log2", [positive], np.log2, dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("log10", [positive], np.log10, dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("logaddexp", [any_real, any_real], np.logaddexp, dtypes=INT_PROMOTED),
    row("logaddexp_share", [any_real, any_real], share),
    row("exp_difference", [any_real, any_real], lambda a, b: np.exp(a - b)),
    row("erf", [any_real], erf, dtypes=INT_PROMOTED),
    row("erfc", [any_real], erfc, dtypes=INT_PROMOTED),
    row("sin", [any_real], np.sin, dtypes=INT_PROMOTED),
    row("cos", [any_real], np.cos, dtypes=INT_PROMOTED),
    row("tan", [real(-1.2, 1.2)], np.tan, dtypes=INT_PROMOTED),
    row("asin", [inside], np.arcsin, dtypes=INT_PROMOTED),
    row("acos", [inside], np.arccos, dtypes=INT_PROMOTED),
    row("atan", [any_real], np.arctan, dtypes=INT_PROMOTED),
    row("atan2", [nonzero, nonzero], np.arctan2, dtypes=INT_PROMOTED),
    row("hypot", [nonzero, nonzero], np.hypot, dtypes=INT_PROMOTED),
    row("sinh", [any_real], np.sinh, dtypes=INT_PROMOTED),
    row("cosh", [any_real], np.cosh, dtypes=INT_PROMOTED),
    row("tanh", [any_real], np.tanh, dtypes=INT_PROMOTED),
    row("tanh_grad", [any_real, inside], lambda g, y: g * (1 - y * y)),
    row("asinh", [any_real], np.arcsinh, dtypes=INT_PROMOTED),
    row("acosh", [real(1.1, 4)], np.arccosh, dtypes=INT_PROMOTED, ints=[whole(1, 9)]),
    row("atanh", [inside], np.arctanh, dtypes=INT_PROMOTED),
]

activations = [
    row("relu", [off_zero], lambda x: np.maximum(x, 0), dtypes=(*FLOATS, "int32", "uint8")),
    row("relu_grad", [any_real, off_zero], lambda g, y: np.where(y > 0, g, 0)),
    row("leaky_relu", [off_zero, any_real], lambda x, a: np.where(x > 0, x, a * x)),
    row("elu", [off_zero, any_real], lambda x, a: np.where(x > 0, x, a * np.expm1(x))),
    row("sigmoid", [any_real], sigmoid, dtypes=INT_PROMOTED),
    row("sigmoid_grad", [any_real, fraction], lambda g, y: g * y * (1 - y)),
    row("softplus", [any_real], lambda x: np.logaddexp(x, 0), dtypes=INT_PROMOTED),
    row("log_sigmoid", [any_real], lambda x: -np.logaddexp(-x, 0), dtypes=INT_PROMOTED),
    row("silu", [any_real], lambda x: x * sigmoid(x), dtypes=INT_PROMOTED),
    row("silu_grad", [any_real, any_real], lambda g, x: g * silu_slope(x)),
    row("gelu", [any_real], gelu, dtypes=INT_PROMOTED, tolerance=32),
    row("gelu_grad", [any_real, any_real], lambda g, x: g * gelu_slope(x), tolerance=64),
    row("gelu_tanh", [any_real], gelu_tanh, dtypes=INT_PROMOTED, tolerance=64),
    row("gelu_tanh_grad", [any_real, any_real], lambda g, x: g * gelu_tanh_slope(x), tolerance=64),
]

ROWS = elementary + activations
