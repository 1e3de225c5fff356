"""Rows of random draws, against Philox 4x32-10 in NumPy."""

import numpy as np

from .row import Domain, row

GROUP = 64  # blocks of four words whose words lie together


def words(key, counter, groups):
    """The words (groups, 4, 64) of blocks counter, counter + 1, ..."""
    c = np.zeros((4, groups * GROUP), np.uint64)
    blocks = np.uint64(counter) + np.arange(groups * GROUP, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c[0], c[1] = blocks & low, blocks >> np.uint64(32)
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        high_p, high_q = p >> np.uint64(32), q >> np.uint64(32)
        k = [np.uint64(k) for k in keys]
        c = np.stack([high_q ^ c[1] ^ k[0], q & low, high_p ^ c[3] ^ k[1], p & low])
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c.reshape(4, groups, GROUP).swapaxes(0, 1)


def bits53(a, b):
    return (a >> np.uint64(5)).astype(np.float64) * 2.0**26 + (b >> np.uint64(6)).astype(np.float64)


def uniform(w, dtype):
    if dtype == "float32":
        return (w >> np.uint64(8)) * 2.0**-24
    return np.stack([bits53(w[:, 0], w[:, 1]), bits53(w[:, 2], w[:, 3])], 1) * 2.0**-53


def normal(w, dtype):
    if dtype == "float32":
        u = (w[:, ::2] + 0.5 + 0.5) * 2.0**-32
        v = (w[:, 1::2] >> np.uint64(8)) * 2.0**-24
    else:
        u = (bits53(w[:, 0], w[:, 1]) + 1)[:, None] * 2.0**-53
        v = bits53(w[:, 2], w[:, 3])[:, None] * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2)


def bits64(w):
    return (w[:, 1::2] << np.uint64(32) | w[:, ::2]).ravel().tolist()


def draws(one):
    """The draw of each state (key, counter), with states in leading axes."""

    def reference(state, **attrs):
        made = [one(int(key), int(counter), **attrs) for key, counter in state.reshape(-1, 2)]
        return np.reshape(made, (*state.shape[:-1], *made[0].shape))

    return reference


def floats(maker):
    def one(key, counter, shape, dtype="float32"):
        n = int(np.prod(shape))
        groups = -(-n // (256 if dtype == "float32" else 128))
        return maker(words(key, counter, groups), dtype).ravel()[:n].reshape(shape).astype(dtype)

    return one


def integers(key, counter, shape, low, high, dtype="int64"):
    n = int(np.prod(shape))
    bits = bits64(words(key, counter, -(-n // 128)))[:n]
    return np.array([low + (b * (high - low) >> 64) for b in bits], dtype).reshape(shape)


def permutation(key, counter, n):
    out = np.arange(n)
    for i, b in enumerate(bits64(words(key, counter, -(-n // 128)))[:n]):
        j = b * (i + 1) >> 64
        out[i], out[j] = out[j], out[i]
    return out


state = Domain(lambda rng, shape: rng.integers(0, 2**60, shape), "i")
SHAPES = [{"shape": (3, 5)}, {"shape": (300,), "dtype": "float64"}, {"shape": ()}, {"shape": (0,)}]
RANGE = {"low": -5, "high": 9}
WRONG_STATE = [(((3,),), {"shape": (2,)}, r"shape \(2,\).*\(3,\)")]
LARGE = {"shape": (100_000,)}
one_state = [((2,),)]

ROWS = [
    row(
        "random_uniform",
        [state],
        draws(floats(uniform)),
        dtypes=("float32",),
        shapes=one_state,
        attrs=SHAPES,
        large=(((2,),), LARGE),
        errors=WRONG_STATE,
    ),
    row(
        "random_normal",
        [state],
        draws(floats(normal)),
        dtypes=("float32",),
        shapes=one_state,
        attrs=SHAPES,
        large=(((2,),), LARGE),
        errors=WRONG_STATE,
        tolerance=64,
    ),
    row(
        "random_integers",
        [state],
        draws(integers),
        dtypes=("float32",),
        shapes=[((2,),), ((3, 2),)],
        attrs=[
            {"shape": (3, 5), **RANGE},
            {"shape": (200,), "low": 0, "high": 256, "dtype": "uint8"},
        ],
        large=(((2,),), {**LARGE, **RANGE}),
        errors=[(((2,),), {"shape": (3,), "low": 3, "high": 3}, "low=3, high=3")],
    ),
    row(
        "random_permutation",
        [state],
        draws(permutation),
        dtypes=("float32",),
        shapes=one_state,
        attrs=[{"n": 7}, {"n": 200}, {"n": 1}, {"n": 0}],
        large=(((2,),), {"n": 100_000}),
    ),
]
