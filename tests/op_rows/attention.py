"""Rows of attention."""

import numpy as np

from .row import laid_out, real, row


def scores_of(q, k, scale, is_causal):
    s = scale * q @ np.swapaxes(k, -1, -2)
    return np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf) if is_causal else s


def by_head(*arrays):
    return [np.swapaxes(x, -3, -2) for x in arrays]


def attention(q, k, v, scale=1.0, is_causal=False):
    q, k, v = by_head(q, k, v)
    s = scores_of(q, k, scale, is_causal)
    lse = np.log(np.sum(np.exp(s), -1, keepdims=True))
    y = np.exp(s - lse) @ v
    lse = np.broadcast_to(lse[..., 0], y.shape[:-1])
    return laid_out(*by_head(y), lse)


def attention_grad(g, q, k, v, out, lse, *g_lse, scale=1.0, is_causal=False):
    g, q, k, v, out = by_head(g, q, k, v, out)
    w = np.exp(scores_of(q, k, scale, is_causal) - lse[..., None])
    drop = np.sum(g * out, -1) - (g_lse[0] if g_lse else 0.0)
    d = w * (g @ np.swapaxes(v, -1, -2) - drop[..., None]) * scale
    dk, dv = np.swapaxes(d, -1, -2) @ q, np.swapaxes(w, -1, -2) @ g
    return laid_out(*by_head(d @ k, dk, dv))


CAUSAL = {"is_causal": True, "scale": 0.5}
small = real(-1, 1)
# Queries, keys and values.
CASES = [
    (((3, 2, 2), (4, 2, 2), (4, 2, 3)), {"scale": 0.7}),
    (((3, 1, 2), (3, 1, 2), (3, 1, 2)), CAUSAL),
    (((2, 3, 1, 1), (2, 2, 1, 1), (2, 2, 1, 2)), CAUSAL),
    (((2, 1, 4), (3, 1, 4), (3, 1, 1)), CAUSAL),
    (((0, 1, 2), (3, 1, 2), (3, 1, 2)), {}),
    (((2, 1, 0), (3, 1, 0), (3, 1, 2)), {}),
    (((2, 0, 2), (3, 0, 2), (3, 0, 1)), CAUSAL),
]
LARGE = ((2, 150, 3, 40), (2, 130, 3, 40), (2, 130, 3, 24))


def with_gradients(shapes, last):
    q, k, v = shapes
    out, lse = (*q[:-1], v[-1]), (*q[:-3], q[-2], q[-3])
    return (out, q, k, v, out, lse, *[lse] * last)


ROWS = [
    row(
        "attention",
        [small],
        attention,
        dtypes=("float64",),
        cases=[*CASES, (((2, 3, 1, 2), (2, 3, 2), (2, 1, 1)), CAUSAL)],
        large=(LARGE, CAUSAL),
        tolerance=64,
        errors=[
            (((3, 2), (3, 1, 2), (3, 1, 2)), {}, r"at least 3 axes; got \(3, 2\)"),
            (((3, 1, 2), (3, 1, 4), (3, 1, 2)), {}, r"agree in E; got.*1, 2\) and \(3, 1, 4\)"),
            (((3, 1, 2), (4, 1, 2), (3, 1, 2)), {}, r"agree in S; got.*4, 1, 2\) and \(3, 1, 2\)"),
            (((3, 2, 2), (3, 3, 2), (3, 1, 2)), {}, r"\(2,\) and \(3,\)"),
        ],
    ),
    row(
        "attention_grad",
        [small] * 5 + [real(0.5, 1.5), small],
        attention_grad,
        dtypes=("float64",),
        cases=[(with_gradients(shapes, i % 2), attrs) for i, (shapes, attrs) in enumerate(CASES)],
        large=(with_gradients(LARGE, 1), CAUSAL),
        tolerance=64,
        errors=[
            (with_gradients(CASES[0][0], 2), {}, "at most 7 tensors; got 8"),
            ((*[(3, 1, 2)] * 4, (3, 1, 1), (1, 3)), {}, r"shape \(3, 1, 2\).*\(3, 1, 1\)"),
            (((2, 3, 1, 2), *[(3, 1, 2)] * 4, (1, 3)), {}, "the same leading ones"),
        ],
    ),
]
