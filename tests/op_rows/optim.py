"""Rows that train: updates of optimisers and the norm of gradients. What an update returns is laid
out as one vector, float64."""

import numpy as np

from .row import Domain, any_real, real, row

rate = Domain(lambda rng, shape: rng.uniform(0.01, 0.2, shape))
counts = Domain(lambda rng, shape: rng.integers(0, 5, shape), "i")
square = real(0.1, 3)


def laid_out(counts, which, updated):
    after = counts.copy()
    after[list(which)] += 1
    return np.concatenate([np.ravel(x).astype(np.float64) for x in (after, *updated)])


def sgd(lr, counts, *tensors, which, states=0, momentum=0.0, dampening=0.0, weight_decay=0.0,
        nesterov=False, maximize=False):  # fmt: skip
    updated = []
    for k, place in enumerate(which):
        p, g, *buffer = tensors[k * (2 + states) : (k + 1) * (2 + states)]
        d = (-g if maximize else g) + weight_decay * p
        if states:
            first = counts[place] == 0
            b = d if first else momentum * buffer[0] + (1 - dampening) * d
            d = d + momentum * b if nesterov else b
            buffer = [b]
        updated += [p - lr * d, *buffer]
    return laid_out(counts, which, updated)


def adam(lr, counts, *tensors, which, states=2, beta1=0.9, beta2=0.999, eps=1e-8,
         weight_decay=0.0, decoupled=False, maximize=False):  # fmt: skip
    updated = []
    for k, place in enumerate(which):
        p, g, m, v, *largest = tensors[k * (2 + states) : (k + 1) * (2 + states)]
        t = counts[place] + 1
        g = -g if maximize else g
        p, g = (p * (1 - lr * weight_decay), g) if decoupled else (p, g + weight_decay * p)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        largest = [np.maximum(v, x) for x in largest]
        root = np.sqrt((largest[0] if largest else v) / (1 - beta2**t))
        updated += [p - lr * m / (1 - beta1**t) / (root + eps), m, v, *largest]
    return laid_out(counts, which, updated)


def rmsprop(lr, counts, *tensors, which, states=1, alpha=0.99, eps=1e-8, weight_decay=0.0,
            momentum=0.0, centered=False, maximize=False):  # fmt: skip
    updated = []
    for k in range(len(which)):
        p, g, s, *rest = tensors[k * (2 + states) : (k + 1) * (2 + states)]
        g = (-g if maximize else g) + weight_decay * p
        s = alpha * s + (1 - alpha) * g * g
        mean = [alpha * rest.pop(0) + (1 - alpha) * g] if centered else []
        step = g / (np.sqrt(s - (mean[0] ** 2 if centered else 0)) + eps)
        buffer = [momentum * rest.pop(0) + step] if momentum else []
        updated += [p - lr * (buffer[0] if momentum else step), s, *mean, *buffer]
    return laid_out(counts, which, updated)


one = {"which": (0,)}
MOMENTUM = {**one, "states": 1, "momentum": 0.9}
BIG = (200, 200)

ROWS = [
    row(
        "sgd_update",
        [rate, counts, any_real],
        sgd,
        dtypes=("float64",),
        cases=[
            (((), (1,), (2, 3), (2, 3)), {**one, "weight_decay": 0.2, "maximize": True}),
            (((), (1,), (3,), (3,), (3,)), {**MOMENTUM, "dampening": 0.3}),
            (((), (1,), (), (), ()), {**MOMENTUM, "nesterov": True}),
            (((), (3,), (2,), (2,), (0, 2), (0, 2)), {"which": (2, 0)}),
        ],
        large=(((), (1,), BIG, BIG, BIG), MOMENTUM),
        errors=[
            (((), (1,), (2,), (2,), (2,)), one, "take 4 tensors.*got 5"),
            (((), (1,), (2,), (3,)), one, r"gradient of parameter 0.*\(2,\); got float64 \(3,\)"),
            (((1,), (1,), (2,), (2,)), one, r"lr must be float64 \(\)"),
            (((), (1, 1), (2,), (2,)), one, r"counts must be int64 \(n,\)"),
            (((), (1,), (2,), (2,)), {"which": (1,)}, "places in counts.*got 1"),
            (((), (2,), *[(2,)] * 4), {"which": (1, 1)}, "distinct places; got 1 twice"),
            (((), (1,), (2,), (2,)), {**one, "states": 2}, "states must be from 0 to 1; got 2"),
            (((), (1,), (2,), (2,)), {**one, "momentum": 0.9}, "momentum needs states=1"),
        ],
    ),
    row(
        "adam_update",
        [rate, counts, any_real, any_real, any_real, square],
        adam,
        dtypes=("float64",),
        cases=[
            (((), (1,), *[(3,)] * 4), {**one, "weight_decay": 0.2, "maximize": True}),
            (((), (1,), *[()] * 4), {**one, "weight_decay": 0.2, "decoupled": True}),
            (((), (1,), *[(0, 2)] * 5), {**one, "states": 3}),
            (((), (1,), *[()] * 5), {**one, "states": 3, "beta1": 0.5, "beta2": 0.7}),
        ],
        large=(((), (1,), BIG, BIG, BIG, BIG), one),
        errors=[
            (((), (1,), *[(2,)] * 3), one, "take 6 tensors.*got 5"),
            (((), (1,), (2,), (2,), (3,), (2,)), one, "the state of parameter 0 must be like it"),
        ],
        tolerance=64,
    ),
    row(
        "rmsprop_update",
        [rate, counts, any_real, any_real, real(9, 12), any_real, any_real],
        rmsprop,
        dtypes=("float64",),
        cases=[
            (((), (1,), *[(3,)] * 3), {**one, "weight_decay": 0.2, "maximize": True}),
            (((), (1,), *[(2,)] * 4), {**one, "states": 2, "centered": True}),
            (((), (1,), *[()] * 4), {**one, "states": 2, "momentum": 0.9, "alpha": 0.5}),
            (((), (1,), *[()] * 5), {**one, "states": 3, "momentum": 0.9, "centered": True}),
        ],
        large=(((), (1,), BIG, BIG, BIG), one),
        errors=[
            (
                ((), (1,), *[(2,)] * 3),
                {**one, "momentum": 0.9},
                "states=2 .*momentum=0.9; got states=1",
            ),
        ],
        tolerance=64,
    ),
    row(
        "global_norm",
        [any_real],
        lambda *xs: np.sqrt(sum(np.sum(x.astype(np.float64) ** 2) for x in xs)),
        dtypes=("float64",),
        shapes=[((3, 4),), ((), (2, 0), (5,)), ((), ())],
        large=((BIG, (3,)), {}),
    ),
]
