"""Random programs over the whole table, compiled: values, gradients and changed tensors equal those
of the eager program to the bit."""

import numpy as np
import wengert as wg
from hypothesis import given, settings
from hypothesis import strategies as st
from op_rows.row import any_real
from op_table import ROWS
from test_compile_ops import same
from test_memory_budget import replay_of

OPS = wg._core.ops
CASES = [(row, case) for row in ROWS.values() for case in row.cases]

UNARY = [
    *(wg.sin, wg.tanh, wg.exp, wg.square, wg.abs, wg.negative, wg.sign, wg.floor),
    *(wg.nn.relu, wg.nn.sigmoid, wg.nn.gelu),
    lambda x: x * 0.5 + 1.0,
    lambda x: wg.where(x > 0, x, 0.25 * x),
    lambda x: x.mean() * wg.ones_like(x),
    lambda x: wg.maximum(x, 0.0),
    lambda x: x.astype("float32"),
    lambda x: x.astype("float64"),
    lambda x: wg.stop_gradient(x) * x,
]
BINARY = [
    *(wg.add, wg.multiply, wg.subtract, wg.maximum, wg.minimum, wg.atan2),
    lambda x, y: x / (1.0 + y * y),
    lambda x, y: wg.where(x > y, x, y),
    lambda x, y: x + y.sum(),
    lambda x, y: x * y - x,
]
OF_AXIS = [
    lambda x, a: wg.sum(x, axis=a, keepdims=True) + wg.zeros_like(x),
    lambda x, a: wg.max(x, axis=a, keepdims=True) * x,
    lambda x, a: wg.sum(x, axis=a),
    lambda x, a: wg.mean(x, axis=a),
    lambda x, a: wg.var(x, axis=a),
    lambda x, a: wg.logsumexp(x, axis=a),
    lambda x, a: wg.cumulative_sum(x, axis=a),
    lambda x, a: wg.nn.softmax(x, dim=a),
    lambda x, a: wg.flip(x, axis=a),
    lambda x, a: wg.concat([x, 0.5 * x], axis=a),
]
VIEWS = [
    lambda x: wg.reshape(x, (-1,)),
    lambda x: wg.reshape(x.mT, (-1,)) if x.ndim > 1 else x,
    lambda x: x.mT if x.ndim > 1 else x,
    lambda x: wg.permute_dims(x, tuple(range(x.ndim))[::-1]),
    lambda x: wg.broadcast_to(x, (2, *x.shape)) if x.ndim < 3 else x[0],
    lambda x: x[None] if x.ndim < 3 else x[0],
    lambda x: x[..., ::-1] if x.ndim else x,
    lambda x: x[..., :1] if x.ndim else x,
    lambda x: x[1:] if x.ndim and x.shape[0] > 1 else x,
]


def fitted(x, shape, start=0):
    """The elements of x, as many as the shape takes, from anywhere: mostly views of x."""
    size = int(np.prod(shape))
    if x.shape == shape:
        return x
    if x.size == 0:
        return wg.zeros(shape, dtype=x.dtype)
    if x.size == 1:
        return wg.broadcast_to(wg.reshape(x, ()), shape)
    flat = wg.reshape(x, (-1,))
    if x.size < size:
        flat = wg.concat([flat] * (size // x.size + 1))
    start = start % (flat.size - size + 1)
    return wg.reshape(flat[start : start + size], shape)


class Program:
    """`count` steps drawn by the seed, over a growing list of values of any shape and float dtype;
    each reads earlier values. Some change `state` in place."""

    def __init__(self, count, seed):
        self.rng = np.random.default_rng(seed)
        self.steps = [self.draw() for _ in range(count)]
        self.shown = [int(i) for i in self.rng.integers(0, 10**6, self.rng.integers(1, 4))]

    def draw(self):
        kind = self.rng.choice(
            ["unary", "binary", "axis", "view", "matmul", "row", "augmented", "assign"],
            p=[0.14, 0.14, 0.14, 0.14, 0.06, 0.28, 0.06, 0.04],
        )
        which, *places = (int(n) for n in self.rng.integers(0, 10**6, 8))
        if kind != "row":
            return kind, which, places, None
        row, case = CASES[which % len(CASES)]
        dtype = row.dtypes[places[-1] % len(row.dtypes)]
        dtype = "float64" if places[-2] % 2 and "float64" in row.dtypes else dtype
        arrays = row.arrays(case, dtype, salt=places[-1] % 3)
        return kind, (row, case, [wg.tensor(a) for a in arrays]), places, dtype

    def __call__(self, values, state):
        values = list(values)
        for i, (kind, what, places, dtype) in enumerate(self.steps):
            x, y = (self.earlier(values, p) for p in places[:2])
            if kind == "unary":
                made = [UNARY[what % len(UNARY)](x)]
            elif kind == "binary":
                made = [BINARY[what % len(BINARY)](x, fitted(y, x.shape, places[2]))]
            elif kind == "axis":
                f = OF_AXIS[what % len(OF_AXIS)]
                made = [f(x, places[2] % x.ndim) if x.size and x.ndim else -x]
            elif kind == "view":
                made = [VIEWS[what % len(VIEWS)](x) if x.size else -x]
            elif kind == "matmul":
                made = [fitted(x, (3, 4), places[2]) @ fitted(y, (4, 5)[: 1 + what % 2], places[3])]
            elif kind == "augmented":
                z = x + 0.5
                z += fitted(y, x.shape, places[2])
                z *= 0.25
                made = [z]
            elif kind == "assign":
                drawn = wg.stop_gradient(wg.tanh(fitted(x, state.shape, places[2])))
                if what % 2:
                    state += drawn
                else:
                    state.assign(0.5 * state + drawn)
                made = [fitted(y, state.shape) + state]
            else:
                made = self.row(values, *what, places, dtype)
            # Large numbers become infinite, and infinities hide mistakes.
            made = [wg.tanh(z) if i % 3 == 2 else z for z in made if z.size <= 200]
            values += made
        return [values[-1]] + [values[p % len(values)] for p in self.shown]

    def earlier(self, values, place):
        """Any value, or one of the last four."""
        return values[place % len(values) if place % 2 else -1 - place % min(len(values), 8) // 2]

    def row(self, values, row, case, constants, places, dtype):
        """A row of the table, near arguments of its domain that depend on earlier values."""
        args = []
        for constant, domain, place in zip(constants, row.domains(case, dtype), places):
            if domain.kind == "f" and dtype.startswith("float"):
                x = fitted(self.earlier(values, place), constant.shape, place)
                x = wg.tanh(x).astype(dtype)
                constant = x if domain is any_real else constant + 0.01 * x
            args.append(constant)
        made = wg.tree.leaves(getattr(OPS, row.name)(*args, **case.attrs))
        return [z if z.dtype in (wg.float32, wg.float64) else z.astype("float32") for z in made]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.integers(5, 60), st.integers(0, 10**6))
def test_random_programs(count, seed):
    program = Program(count, seed)
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(size=shape) for shape in ((4, 4), (3, 5), ())]
    args = [wg.tensor(x) for x in drawn[:2]] + [wg.tensor(drawn[2].astype(np.float32))]
    start = rng.normal(size=(2, 3))
    state, other = wg.tensor(start), wg.tensor(start)

    def value(*args, state):
        shown = program(args, state)
        return sum((wg.tanh(z).sum() for z in shown), start=wg.tensor(0.0)), shown

    both = wg.value_and_grad(value, argnums=(0, 1, 2), has_aux=True)
    compiled = wg.compile(lambda *args: both(*args, state=state), exact=True)
    for _ in range(2):
        same(compiled(*args), both(*args, state=other))
        same(state, other)
    replay = replay_of(compiled)
    most = -(-1.1 * replay.live_bytes // 8) * 8  # begun words
    assert replay.live_bytes <= replay.arena_bytes <= most
