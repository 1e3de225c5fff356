"""Every law on every row of the test table.

A derivative is certified by three identities: the tangent J u is a central difference, the
cotangent J'v satisfies <v, J u> = <J'v, u>, and both hold again for the derivatives' derivatives.
"""

import itertools

import numpy as np
import pytest
import wengert as wg
from machine import instruction_sets
from op_rows.row import Case, Row
from op_table import ROWS

OPS = wg._core.ops
TABLE = wg._core.op_table
DTYPES = {
    name: getattr(wg, name) for name in ("float32", "float64", "int32", "int64", "uint8", "bool")
}


def is_float(x):
    return np.dtype(x.dtype).kind == "f"


def differentiable(row: Row) -> bool:
    return TABLE[row.name]["differentiable"]


def smooth_cases() -> list:
    return [
        pytest.param(row, case, id=f"{row.name}-{case}")
        for row in ROWS.values()
        if differentiable(row)
        for case in row.cases
        if gives_float(case)
    ]


def gives_float(case: Case) -> bool:
    return case.attrs.get("dtype", "float64") == "float64"


def all_cases(dtypes=None) -> list:
    return [
        pytest.param(row, case, dtype, id=f"{row.name}-{case}-{dtype}")
        for row in ROWS.values()
        for case in row.cases
        for dtype in row.dtypes
        if dtypes is None or dtype in dtypes
    ]


def first_dtype_cases() -> list:
    return [
        pytest.param(row, case, best_dtype(row), id=f"{row.name}-{case}")
        for row in ROWS.values()
        for case in row.cases
    ]


def best_dtype(row: Row) -> str:
    return "float64" if "float64" in row.dtypes else row.dtypes[0]


class Function:
    """A row's op at a case, as a function of its float arguments alone."""

    def __init__(self, row: Row, case: Case, dtype: str = "float64", salt: int = 0) -> None:
        self.op, self.attrs = getattr(OPS, row.name), case.attrs
        self.arrays = row.arrays(case, dtype, salt)
        self.places = [i for i, x in enumerate(self.arrays) if is_float(x)]
        self.args = [wg.tensor(x) for x in self.arrays]

    @property
    def primals(self) -> list:
        return [self.args[i] for i in self.places]

    def __call__(self, *floats):
        args = list(self.args)
        for i, x in zip(self.places, floats, strict=True):
            args[i] = x
        return laid_out(self.op(*args, **self.attrs))

    def directions(self, seed: int) -> tuple:
        return tuple(directions(self.primals, seed))


def directions(like, seed: int) -> list:
    rng = np.random.default_rng(seed)
    return [wg.tensor(rng.uniform(-1, 1, x.shape).astype(x.numpy().dtype)) for x in like]


def call(row: Row, arrays, attrs):
    return laid_out(getattr(OPS, row.name)(*[wg.asarray(x) for x in arrays], **attrs))


def laid_out(y):
    """Several results as one vector."""
    if not isinstance(y, tuple):
        return y
    return wg.concat([wg.reshape(wg.astype(part, wg.float64), (-1,)) for part in y])


def close(actual, expected, dtype="float64", units=64.0, scale=0.0, what=""):
    """Within ``units`` epsilons of the dtype, relative to the largest value or the scale."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what} {actual.shape} {expected.shape}"
    epsilon = units * np.finfo(dtype).eps if np.dtype(dtype).kind == "f" else 0
    size = max(float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0)), scale)
    np.testing.assert_allclose(actual, expected, rtol=epsilon, atol=epsilon * size, err_msg=what)


def dot(xs, ys) -> float:
    return sum(
        float(np.sum(x.numpy().astype(float) * y.numpy().astype(float)))
        for x, y in zip(xs, ys, strict=True)
    )


def size_of_dot(xs, ys) -> float:
    return sum(
        float(np.sum(np.abs(x.numpy().astype(float) * y.numpy())))
        for x, y in zip(xs, ys, strict=True)
    )


def shifted(xs, us, h):
    return [wg.tensor(np.asarray(x.numpy() + h * u.numpy())) for x, u in zip(xs, us, strict=True)]


def assert_central_difference(f, xs, us, tangent, what) -> None:
    h = 1e-5
    ahead, behind = f(*shifted(xs, us, h)).numpy(), f(*shifted(xs, us, -h)).numpy()
    slope = (ahead - behind) / (2 * h)
    size = np.max(np.abs(slope), initial=0) + np.max(np.abs(ahead), initial=0) + 1
    np.testing.assert_allclose(tangent.numpy(), slope, rtol=1e-6, atol=2e-8 * size, err_msg=what)


def assert_transposed(f, xs, us, seed, units=512.0, dtype="float64") -> None:
    y, ju = wg.jvp(f, tuple(xs), tuple(us))
    y2, pull = wg.vjp(f, *xs)
    assert np.array_equal(y.numpy(), y2.numpy())
    (v,) = directions([y], seed)
    jtv = pull(v)
    # Sums that cancel leave errors in proportion to what went in.
    size = size_of_dot([v], [ju]) + size_of_dot(jtv, us) + np.sqrt(v.size)
    gap = abs(dot([v], [ju]) - dot(jtv, us))
    assert gap <= units * np.finfo(dtype).eps * size, f"<v, J u> - <J'v, u> = {gap}, size {size}"


def expected_dtype(result, arrays, attrs):
    """NumPy's result dtype, but integers promote to float32 and counts are int64."""
    if "dtype" in attrs:
        return np.dtype(attrs["dtype"])
    kind = result.dtype.kind
    if kind == "f":
        floats = [x.dtype for x in arrays if x.dtype.kind == "f"]
        return np.result_type(*floats) if floats else np.dtype("float32")
    return np.dtype("int64") if result.dtype == np.uint64 else result.dtype


@pytest.mark.parametrize("row, case, dtype", all_cases())
def test_value_is_numpys(row, case, dtype):
    arrays = row.arrays(case, dtype)
    y = call(row, arrays, case.attrs)
    with np.errstate(all="ignore"):
        plain = np.asarray(row.numpy(*arrays, **case.attrs))
        wanted = expected_dtype(plain, arrays, case.attrs)
        if wanted.kind == "f":
            wide = [x.astype(np.float64) if x.dtype.kind in "fiu" and d.kind == "f" else x
                    for x, d in zip(arrays, row.domains(case, dtype), strict=True)]  # fmt: skip
            plain = np.asarray(row.numpy(*wide, **case.attrs))
    assert np.dtype(str(y.dtype)) == wanted
    if wanted.kind == "f":
        close(y.numpy(), plain, str(wanted), row.tolerance)
    else:
        np.testing.assert_array_equal(y.numpy(), plain)


@pytest.mark.parametrize("row, case", smooth_cases())
def test_jvp_is_central_difference(row, case):
    f = Function(row, case)
    us = f.directions(1)
    _, tangent = wg.jvp(f, tuple(f.primals), us)
    assert_central_difference(f, f.primals, us, tangent, "J u")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row, case", smooth_cases())
def test_vjp_is_transpose_of_jvp(row, case, dtype):
    f = Function(row, case, dtype)
    assert_transposed(f, f.primals, f.directions(1), 2, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row, case", smooth_cases())
def test_derivatives_have_the_dtype_and_shape_of_primals(row, case, dtype):
    f = Function(row, case, dtype)
    y, pull = wg.vjp(f, *f.primals)
    _, tangent = wg.jvp(f, tuple(f.primals), f.directions(1))
    assert (tangent.dtype, tangent.shape) == (y.dtype, y.shape)
    for g, x in zip(pull(wg.ones_like(y)), f.primals, strict=True):
        assert (g.dtype, g.shape) == (x.dtype, x.shape)


def gradient_function(f):
    """(xs, v) -> J(xs)'v, flattened into one vector."""

    def flat(*xs_and_v):
        *xs, v = xs_and_v
        _, pull = wg.vjp(f, *xs)
        return wg.concat([wg.reshape(g, (-1,)) for g in pull(v)])

    return flat


@pytest.mark.parametrize("row, case", smooth_cases())
def test_second_order(row, case):
    f = Function(row, case)
    xs, us, ws = f.primals, f.directions(1), f.directions(2)
    v, dv = directions([f(*xs)] * 2, 3)
    gradient = gradient_function(f)
    _, forward_over_reverse = wg.jvp(gradient, (*xs, v), (*us, dv))
    assert_central_difference(gradient, [*xs, v], [*us, dv], forward_over_reverse, "D(J'v)")
    assert_transposed(gradient, [*xs, v], [*us, dv], 4)

    def tangent(*at):
        return wg.jvp(f, at, us)[1]

    _, pull = wg.vjp(tangent, *xs)
    reverse_over_forward = np.concatenate([g.numpy().ravel() for g in pull(v)])
    zero_v = wg.zeros_like(v)
    _, in_x = wg.jvp(gradient, (*xs, v), (*us, zero_v))
    close(reverse_over_forward, in_x.numpy(), units=4096, scale=1, what="D <v, J u>")
    _, forward_over_forward = wg.jvp(tangent, tuple(xs), ws)
    pairs = dot([v], [forward_over_forward]), dot([wg.tensor(reverse_over_forward)], [wg.concat([
        wg.reshape(w, (-1,)) for w in ws])])  # fmt: skip
    assert abs(pairs[0] - pairs[1]) <= 1e-11 * (abs(pairs[0]) + xs[0].size + v.size)


def subsets(n: int):
    for size in range(1, n):
        yield from itertools.combinations(range(n), size)


@pytest.mark.parametrize(
    "row, case", [p for p in smooth_cases() if len(p.values[1].shapes) > 1]
)  # fmt: skip
def test_any_subset_of_inputs(row, case):
    f = Function(row, case)
    xs, us = f.primals, f.directions(1)
    y, pull = wg.vjp(f, *xs)
    (v,) = directions([y], 2)
    full = pull(v)
    for chosen in subsets(len(xs)):

        def of_chosen(*some, chosen=chosen):
            merged = list(xs)
            for i, x in zip(chosen, some, strict=True):
                merged[i] = x
            return f(*merged)

        some = [xs[i] for i in chosen]
        _, pull_some = wg.vjp(of_chosen, *some)
        for i, g in zip(chosen, pull_some(v), strict=True):
            close(g.numpy(), full[i].numpy(), what=f"cotangent of argument {i} of {chosen}")
        zeros = [u if i in chosen else wg.zeros_like(u) for i, u in enumerate(us)]
        _, tangent = wg.jvp(f, tuple(xs), tuple(zeros))
        _, tangent_some = wg.jvp(of_chosen, tuple(some), tuple(us[i] for i in chosen))
        close(tangent_some.numpy(), tangent.numpy(), scale=1, what=f"tangent in {chosen}")


@pytest.mark.parametrize(
    "row, case, dtype", [p for p in first_dtype_cases() if not differentiable(p.values[0])]
)
def test_no_derivative(row, case, dtype):
    """Rows without derivatives return constants."""
    f = Function(row, case, dtype)
    for x in f.primals:
        x.requires_grad_()
    y = f(*f.primals)
    assert not y.requires_grad
    if f.primals and is_float(y):
        _, tangent = wg.jvp(f, tuple(f.primals), f.directions(1))
        assert not tangent.numpy().any()


SIZE = 3


def mapped(row: Row, case: Case, dtype: str, axes) -> tuple[list, list]:
    """Arguments with SIZE independent draws along the axes (None: one draw), and the draws."""
    draws = [row.arrays(case, dtype, salt) for salt in range(SIZE)]
    args = [draws[0][i] if axis is None else np.stack([d[i] for d in draws], axis)
            for i, axis in enumerate(axes)]  # fmt: skip
    rows = [
        [draws[0 if axis is None else k][i] for i, axis in enumerate(axes)] for k in range(SIZE)
    ]
    return args, rows


def axis_choices(case: Case):
    per_input = [(None, 0) if shape == () else (None, 0, len(shape)) for shape in case.shapes]
    for axes in itertools.product(*per_input):
        if any(axis is not None for axis in axes):
            yield axes


@pytest.mark.parametrize("row, case, dtype", first_dtype_cases())
def test_vmap_is_a_loop(row, case, dtype):
    op = getattr(OPS, row.name)
    for axes in axis_choices(case):
        args, rows = mapped(row, case, dtype, axes)
        batched = wg.vmap(lambda *x: laid_out(op(*x, **case.attrs)), in_axes=axes)(
            *map(wg.tensor, args)
        )
        loop = np.stack([call(row, one, case.attrs).numpy() for one in rows])
        assert batched.numpy().dtype == loop.dtype
        close(batched.numpy(), loop, loop.dtype, units=256, what=f"in_axes={axes}")


@pytest.mark.parametrize("row, case", smooth_cases())
def test_vmap_of_derivatives(row, case):
    """The rules themselves map: per-example cotangents and tangents are those of a loop."""
    axes = (0,) * len(case.shapes)
    args, rows = mapped(row, case, "float64", axes)
    fs = [Function(row, case, "float64", salt) for salt in range(SIZE)]
    places = fs[0].places
    us = [f.directions(k) for k, f in enumerate(fs)]
    vs = directions([f(*f.primals) for f in fs], 5)

    def both(v, u, *xs):
        def f(*floats):
            full = list(xs)
            for i, x in zip(places, floats, strict=True):
                full[i] = x
            return laid_out(fs[0].op(*full, **case.attrs))

        floats = [xs[i] for i in places]
        y, pull = wg.vjp(f, *floats)
        return y, wg.jvp(f, tuple(floats), tuple(u))[1], list(pull(v))

    def stack(xs):
        return wg.tensor(np.stack([x.numpy() for x in xs]))

    y, tangent, cotangents = wg.vmap(both)(
        stack(vs), [stack(u) for u in zip(*us, strict=True)], *map(wg.tensor, args)
    )
    for k in range(SIZE):
        one_y, one_tangent, one_cotangents = both(vs[k], us[k], *map(wg.tensor, rows[k]))
        close(y.numpy()[k], one_y.numpy(), units=256)
        close(tangent.numpy()[k], one_tangent.numpy(), units=1024, scale=1, what="tangent")
        for i, (g, one) in enumerate(zip(cotangents, one_cotangents, strict=True)):
            close(g.numpy()[k], one.numpy(), units=1024, scale=1, what=f"cotangent {i}")


def layouts(x: np.ndarray):
    """The same values at other strides: transposed, backwards, in steps of 2."""
    yield "transposed", np.array(x.T, order="C").T
    back = (slice(None, None, -1),) * x.ndim
    yield "negative strides", np.array(x[back], order="C")[back] if x.ndim else x
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    steps = (slice(1, None, 2),) * x.ndim
    wide[steps] = x
    yield "steps of 2", wide[steps] if x.ndim else wide


def assert_same_in_layout(row, case, dtype, plain, strided, what):
    exact = TABLE[row.name]["family"] == "elementwise"
    a, b = call(row, plain, case.attrs), call(row, strided, case.attrs)
    assert a.dtype == b.dtype
    if exact:
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=what)
    else:
        close(b.numpy(), a.numpy(), a.numpy().dtype, units=256, what=what)


@pytest.mark.parametrize("row, case, dtype", first_dtype_cases())
def test_strides_do_not_matter(row, case, dtype):
    arrays = row.arrays(case, dtype)
    for i, x in enumerate(arrays):
        if x.ndim == 0:
            continue
        for what, strided in layouts(x):
            changed = [strided if j == i else y for j, y in enumerate(arrays)]
            assert wg.asarray(strided).numpy().strides == strided.strides
            assert_same_in_layout(row, case, dtype, arrays, changed, f"{what}, argument {i}")
        if x.size:
            stretched = np.broadcast_to(x[:1], x.shape)
            changed = [stretched if j == i else y for j, y in enumerate(arrays)]
            plain = [np.array(y) for y in changed]
            assert_same_in_layout(row, case, dtype, plain, changed, f"stride 0, argument {i}")


@pytest.mark.parametrize("row, case", smooth_cases())
def test_strides_do_not_matter_to_derivatives(row, case):
    f = Function(row, case)
    y, pull = wg.vjp(f, *f.primals)
    (v,) = directions([y], 2)
    plain = pull(v)
    variants = zip(*[list(layouts(x.numpy())) for x in (*f.primals, v)], strict=True)
    for strided in variants:
        *xs, v_strided = [wg.asarray(x) for _, x in strided]
        for i, (g, one) in enumerate(zip(wg.vjp(f, *xs)[1](v_strided), plain, strict=True)):
            close(
                g.numpy(), one.numpy(), units=1024, scale=1, what=f"{strided[0][0]}, cotangent {i}"
            )


def large_rows() -> list:
    return [pytest.param(row, id=name) for name, row in ROWS.items() if row.large]


def value_and_cotangents(row: Row, case: Case, dtype: str) -> list:
    f = Function(row, case, dtype)
    if not differentiable(row) or not gives_float(case):
        return [f(*f.primals).numpy()]
    y, pull = wg.vjp(f, *f.primals)
    return [y.numpy(), *[g.numpy() for g in pull(directions([y], 2)[0])]]


@pytest.mark.parametrize("row", large_rows())
def test_same_bits_for_any_number_of_threads(row):
    dtype = row.dtypes[0]
    assert max(int(np.prod(shape)) for shape in row.large.shapes) > 2**15 or "random" in row.name
    wg.set_num_threads(1)
    alone = value_and_cotangents(row, row.large, dtype)
    wg.set_num_threads(2)
    for a, b in zip(alone, value_and_cotangents(row, row.large, dtype), strict=True):
        assert a.tobytes() == b.tobytes()


SETS = instruction_sets()


@pytest.mark.skipif(len(SETS) < 2, reason="this machine has one instruction set only")
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_instruction_sets_agree(row):
    best = wg.config()["isa"]
    try:
        for case, dtype in itertools.product([row.cases[0], row.large or row.cases[0]], FLOAT_PAIR):
            if dtype not in row.dtypes:
                continue
            found = []
            for name in SETS:
                wg._core._set_isa(name)
                found.append(value_and_cotangents(row, case, dtype))
            for other in found[1:]:
                for a, b in zip(found[0], other, strict=True):
                    close(b, a, a.dtype, units=4096, scale=1)
    finally:
        wg._core._set_isa(best)


FLOAT_PAIR = ("float32", "float64")


@pytest.mark.parametrize("row, case", smooth_cases())
def test_backward_is_vjp(row, case):
    f = Function(row, case)
    y, pull = wg.vjp(f, *f.primals)
    (v,) = directions([y], 2)
    expected = pull(v)
    for x in f.primals:
        x.requires_grad_()
    f(*f.primals).backward(v)
    for x, g in zip(f.primals, expected, strict=True):
        assert np.array_equal(x.grad.numpy() if x.grad is not None else 0 * g.numpy(), g.numpy())


ERRORS = [
    pytest.param(row, shapes, attrs, message, id=f"{name}-{shapes}-{attrs}")
    for name, row in ROWS.items()
    for shapes, attrs, message in row.errors
]


@pytest.mark.parametrize("row, shapes, attrs, message", ERRORS)
def test_errors_name_the_law_and_the_values(row, shapes, attrs, message):
    arrays = row.arrays(Case(shapes, attrs), best_dtype(row))
    whole = message if message.startswith("^") else f"^{row.name}: .*({message})"
    with pytest.raises(wg.Error, match=whole):
        call(row, arrays, attrs)
