"""Rows of matrix products and of fused layers."""

import numpy as np

from .row import NUMBERS, any_real, index, laid_out, real, row

MATMUL = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((2, 1, 2, 3), (4, 3, 2)),
    ((4, 2, 3), (3,)),
    ((3,), (4, 3, 2)),
    ((2, 0), (0, 3)),
    ((0, 3), (3, 2)),
    ((0, 2, 3), (3, 2)),
]


def linear(x, weight, *bias):
    return x @ weight.T + (bias[0] if bias else 0)


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis, keepdims=True)


def softmax_grad(g, y, axis=-1):
    return y * (g - np.sum(g * y, axis, keepdims=True))


def log_softmax(x, axis=-1):
    return x - np.log(np.sum(np.exp(x), axis, keepdims=True))


def log_softmax_grad(g, y, axis=-1):
    return g - np.exp(y) * np.sum(g, axis, keepdims=True)


def target_weights(x, target, smoothing):
    classes = x.shape[1]
    hot = (target[:, None] == np.arange(classes)).astype(x.dtype)
    return hot * (1 - smoothing) + smoothing / classes


def cross_entropy(x, target, label_smoothing=0.0, ignore_index=-100):
    loss = -np.sum(target_weights(x, target, label_smoothing) * log_softmax(x), 1)
    return np.where(target == ignore_index, 0, loss)


def cross_entropy_grad(g, x, target, label_smoothing=0.0, ignore_index=-100):
    d = (softmax(x) - target_weights(x, target, label_smoothing)) * g[:, None]
    return np.where((target == ignore_index)[:, None], 0, d)


def last_axes(normalized_ndim):
    return tuple(range(-normalized_ndim, 0))


def standardised(x, axes, eps, centred):
    x = x - np.mean(x, axes, keepdims=True) if centred else x
    return x / np.sqrt(np.mean(x * x, axes, keepdims=True) + eps)


def layer_norm(x, *affine, normalized_ndim=1, eps=1e-5):
    y = standardised(x, last_axes(normalized_ndim), eps, True)
    y = y * affine[0] if affine else y
    return y + affine[1] if len(affine) > 1 else y


def rms_norm(x, *weight, normalized_ndim=1, eps=1e-5):
    y = standardised(x, last_axes(normalized_ndim), eps, False)
    return y * weight[0] if weight else y


def norm_grad(g, x, *weight, normalized_ndim=1, eps=1e-5, centred=True):
    axes = last_axes(normalized_ndim)
    g = g * weight[0] if weight else g
    xhat = standardised(x, axes, eps, centred)
    d = x - np.mean(x, axes, keepdims=True) if centred else x
    scale = 1 / np.sqrt(np.mean(d * d, axes, keepdims=True) + eps)
    g_mean = np.mean(g, axes, keepdims=True) if centred else 0
    return scale * (g - g_mean - xhat * np.mean(g * xhat, axes, keepdims=True))


def norm_weight_grad(g, x, normalized_ndim=1, eps=1e-5, centred=True):
    axes = last_axes(normalized_ndim)
    return np.sum(g * standardised(x, axes, eps, centred), tuple(range(x.ndim - normalized_ndim)))


def norm_grads(g, x, weight, normalized_ndim=1, eps=1e-5, centred=True, bias=True):
    how = {"normalized_ndim": normalized_ndim, "eps": eps, "centred": centred}
    sums = np.sum(g, tuple(range(x.ndim - normalized_ndim)))
    found = norm_grad(g, x, weight, **how), norm_weight_grad(g, x, **how)
    return laid_out(*found, *[sums] * bias)


def norm_grads_add(g, x, weight, more, normalized_ndim=1, **how):
    grads = norm_grads(g, x, weight, normalized_ndim, **how)
    grads[: x.size] += np.ravel(more)
    return grads


def slope_product(x1, x2, slope):
    y = x1 @ x2 * slope
    return laid_out(y, np.sum(y, tuple(range(y.ndim - 1))))


ALONG = [
    (((3, 4),), {}),
    (((3, 4),), {"axis": 0}),
    (((2, 3, 2),), {"axis": 1}),
    (((4,),), {}),
    (((2, 0),), {}),
    (((0, 3),), {}),
]
PAIRS = [((s, s), attrs) for (s,), attrs in ALONG]
LAYERS = [
    ((2, 3), (4, 3)),
    ((2, 3), (4, 3), (4,)),
    ((3,), (4, 3), (4,)),
    ((2, 5, 3), (4, 3), (4,)),
    ((0, 3), (2, 3), (2,)),
    ((2, 0), (3, 0), (3,)),
]
TARGETS = [
    (((5, 3), (5,)), {}),
    (((4, 3), (4,)), {"label_smoothing": 0.2}),
    (((6, 3), (6,)), {"ignore_index": 1, "label_smoothing": 0.1}),
    (((0, 3), (0,)), {}),
]
TWO = {"normalized_ndim": 2, "eps": 1e-3}
positive = real(0.1, 1)
log_probability = real(-3, -0.1)
WIDE = ((90, 1100),)

ROWS = [
    row("chain_matmul", [any_real, any_real], np.matmul, shapes=MATMUL, tolerance=32),
    row(
        "matmul",
        [any_real, any_real],
        np.matmul,
        shapes=MATMUL,
        dtypes=NUMBERS,
        tolerance=32,
        large=(((200, 180), (180, 190)), {}),
        errors=[
            (((2, 3), (4, 5)), {}, r"inner dimensions.*3.*4"),
            (((2, 3), (4, 3)), {}, r"mT"),
            (((), (3,)), {}, "at least 1 axis"),
            (((2, 3, 4), (3, 4, 5)), {}, r"batch axes.*2.*3"),
        ],
    ),
    row(
        "linear",
        [any_real],
        linear,
        tolerance=32,
        shapes=LAYERS,
        large=(((200, 180), (190, 180), (190,)), {}),
        errors=[
            (((2, 3), (3, 4)), {}, r"inner dimensions.*weight\.T"),
            (((2, 3), (4, 3), (3,)), {}, "bias"),
        ],
    ),
    row(
        "linear_relu",
        [any_real],
        lambda *ins: np.maximum(linear(*ins), 0),
        tolerance=32,
        shapes=LAYERS,
        large=(((200, 180), (190, 180), (190,)), {}),
    ),
    row(
        "linear_add",
        [any_real],
        lambda x, weight, y, *bias: linear(x, weight, *bias) + y,
        tolerance=32,
        shapes=[
            ((2, 3), (4, 3), (2, 4)),
            ((2, 5, 3), (4, 3), (2, 5, 4), (4,)),
            ((3,), (4, 3), (4,), (4,)),
            ((0, 3), (2, 3), (0, 2), (2,)),
            ((2, 0), (3, 0), (2, 3)),
        ],
        large=(((200, 180), (192, 180), (200, 192), (192,)), {}),
        errors=[(((2, 3), (4, 3), (4,)), {}, r"y needs shape \(2, 4\); got \(4,\)")],
    ),
    row(
        "slope_product",
        [any_real],
        slope_product,
        dtypes=("float64",),
        tolerance=64,
        shapes=[
            ((2, 3), (3, 4), (2, 4)),
            ((2, 5, 3), (3, 4), (2, 5, 4)),
            ((0, 3), (3, 2), (0, 2)),
            ((2, 0), (0, 3), (2, 3)),
            ((2, 3), (3, 0), (2, 0)),
        ],
        large=(((200, 180), (180, 192), (200, 192)), {}),
        errors=[(((2, 3), (3, 4), (4,)), {}, r"slope needs shape \(2, 4\); got \(4,\)")],
    ),
    row("softmax", [any_real], softmax, cases=ALONG, large=(WIDE, {})),
    row("softmax_grad", [any_real, positive], softmax_grad, cases=PAIRS, large=(WIDE * 2, {})),
    row("log_softmax", [any_real], log_softmax, cases=ALONG, large=(WIDE, {})),
    row(
        "log_softmax_grad",
        [any_real, log_probability],
        log_softmax_grad,
        cases=PAIRS,
        large=(WIDE * 2, {}),
    ),
    row(
        "cross_entropy_logits",
        [any_real, index(0, 3)],
        cross_entropy,
        cases=TARGETS,
        large=(((9000, 7), (9000,)), {}),
        errors=[
            (((3, 2), (4,)), {}, r"\(3, 2\) and \(4,\)"),
            (((90, 1), (90,)), {}, r"^cross_entropy: target\[0\] = \d.* below 1"),
        ],
    ),
    row(
        "cross_entropy_grad",
        [any_real, any_real, index(0, 3)],
        cross_entropy_grad,
        cases=[((s[1], *s), attrs) for s, attrs in TARGETS],
        large=(((9000,), (9000, 7), (9000,)), {}),
    ),
    row(
        "layer_norm",
        [any_real],
        layer_norm,
        tolerance=64,
        cases=[
            (((3, 4),), {}),
            (((3, 4), (4,)), {}),
            (((2, 3, 4), (4,), (4,)), {}),
            (((2, 3, 4), (3, 4), (3, 4)), TWO),
            (((0, 4), (4,), (4,)), {}),
        ],
        large=(((90, 1100), (1100,), (1100,)), {}),
        errors=[(((3, 4), (3,)), {}, r"\(4,\).*\(3,\)|\(3,\).*\(4,\)")],
    ),
    row(
        "rms_norm",
        [any_real],
        rms_norm,
        tolerance=64,
        cases=[
            (((3, 4),), {}),
            (((2, 3, 4), (4,)), {}),
            (((2, 3, 4), (3, 4)), TWO),
            (((0, 4), (4,)), {}),
        ],
        large=(((90, 1100), (1100,)), {}),
    ),
    row(
        "norm_grad",
        [any_real],
        norm_grad,
        tolerance=256,
        cases=[
            (((3, 4),) * 2, {}),
            (((3, 4), (3, 4), (4,)), {"centred": False}),
            (((2, 3, 4), (2, 3, 4), (3, 4)), TWO),
            (((0, 4), (0, 4), (4,)), {}),
        ],
        large=(((90, 1100), (90, 1100), (1100,)), {}),
    ),
    row(
        "norm_weight_grad",
        [any_real, any_real],
        norm_weight_grad,
        tolerance=256,
        cases=[
            (((3, 4),) * 2, {}),
            (((3, 4),) * 2, {"centred": False}),
            (((2, 3, 4),) * 2, TWO),
            (((0, 4),) * 2, {}),
        ],
        large=(((90, 1100), (90, 1100)), {}),
    ),
    row(
        "norm_grads",
        [any_real, any_real, any_real],
        norm_grads,
        dtypes=("float64",),
        tolerance=256,
        cases=[
            (((3, 4), (3, 4), (4,)), {}),
            (((3, 4), (3, 4), (4,)), {"centred": False, "bias": False}),
            (((2, 3, 4), (2, 3, 4), (3, 4)), TWO),
            (((0, 4), (0, 4), (4,)), {}),
        ],
        large=(((90, 1100), (90, 1100), (1100,)), {}),
    ),
    row(
        "norm_grads_add",
        [any_real, any_real, any_real, any_real],
        norm_grads_add,
        dtypes=("float64",),
        tolerance=256,
        cases=[
            (((3, 4), (3, 4), (4,), (3, 4)), {}),
            (((3, 4), (3, 4), (4,), (3, 4)), {"centred": False, "bias": False}),
            (((2, 3, 4), (2, 3, 4), (3, 4), (2, 3, 4)), TWO),
            (((0, 4), (0, 4), (4,), (0, 4)), {}),
        ],
        large=(((90, 1100), (90, 1100), (1100,), (90, 1100)), {}),
        errors=[(((3, 4), (3, 4), (4,), (4,)), {}, r"more needs shape \(3, 4\); got \(4,\)")],
    ),
]
