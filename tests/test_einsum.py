"""einsum, tensordot and the other products against NumPy, values and gradients."""

import numpy as np
import pytest
import wengert as wg

CASES = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,kj->ik", (2, 3), (4, 3)),
    ("ji,jk->ki", (3, 2), (3, 4)),
    ("i,i->", (4,), (4,)),
    ("i,i", (4,), (4,)),
    ("i,j->ij", (2,), (3,)),
    ("i,j->ji", (2,), (3,)),
    ("i,i->i", (4,), (4,)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,ji->ij", (2, 3), (3, 2)),
    ("ij,i->ij", (2, 3), (2,)),
    ("ij->ji", (2, 3)),
    ("ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ijk->ki", (2, 3, 4)),
    ("ii->", (3, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iii->i", (3, 3, 3)),
    ("iij->ji", (3, 3, 2)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("iij,jkk->ik", (3, 3, 2), (2, 4, 4)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("bij,bkj->bki", (5, 2, 3), (5, 4, 3)),
    ("ibj,kbj->bik", (2, 5, 3), (4, 5, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("bhqk,bkhd->bqhd", (2, 3, 4, 6), (2, 6, 3, 5)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    ("...ij,...jk->...ik", (2, 1, 2, 3), (7, 3, 4)),
    ("...ij,jk", (5, 2, 3), (3, 4)),
    ("i...->...", (2, 3, 4)),
    ("i...,i...->...", (2, 3), (2, 3)),
    ("...,...->...", (2, 3), ()),
    ("...i->i...", (2, 3, 4)),
    ("ij...->ji...", (2, 3, 4)),
    ("ijk,jl->lik", (2, 3, 4), (3, 5)),
    ("ijk,kji->", (2, 3, 4), (4, 3, 2)),
    ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 5)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 5), (5, 2)),
    ("a,ab,b->", (2,), (2, 3), (3,)),
    ("ab,ac,ad->bcd", (5, 2), (5, 3), (5, 4)),
    ("ai,bi,ci->abc", (2, 6), (3, 6), (4, 6)),
    ("i,j,k->kji", (2,), (3,), (4,)),
    ("ij,jk,ki->", (2, 3), (3, 4), (4, 2)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("zA,AB->Bz", (2, 3), (3, 4)),
    (",->", (), ()),
    (",i->i", (), (3,)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 0), (0, 4)),
    ("ij,ij->j", (1, 3), (2, 3)),
    ("ij,jk->i", (2, 3), (3, 4)),
]


def draw(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("subscripts", "shapes"), [(c[0], c[1:]) for c in CASES], ids=lambda v: str(v)
)
def test_einsum(subscripts, shapes):
    arrays = draw(shapes)
    expected = np.einsum(subscripts, *arrays)
    leaves = [wg.tensor(a, requires_grad=True) for a in arrays]
    actual = wg.einsum(subscripts, *leaves)
    assert actual.shape == expected.shape
    assert actual.dtype == wg.float64
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)

    # <w, d/dt einsum(x + t u)> by central differences: exact for polynomials of degree 2.
    w = draw([expected.shape], 1)[0]
    actual.backward(wg.tensor(w))
    for k, u in enumerate(draw(shapes, 2)):

        def along(t, k=k, u=u):
            moved = [a + t * u if i == k else a for i, a in enumerate(arrays)]
            return np.sum(w * np.einsum(subscripts, *moved))

        slope = (along(1.0) - along(-1.0)) / 2
        np.testing.assert_allclose(np.sum(leaves[k].grad.numpy() * u), slope, atol=1e-10)


def test_interleaved_form():
    a, b = draw([(2, 3), (3, 4)])
    np.testing.assert_allclose(wg.einsum(a, [0, 1], b, [1, 2], [0, 2]).numpy(), a @ b)
    np.testing.assert_allclose(wg.einsum(a, [0, 1], b, [1, 2]).numpy(), a @ b)
    np.testing.assert_allclose(wg.einsum(a, [..., 1], b, [1, 2], [..., 2]).numpy(), a @ b)


def test_one_matmul_a_pair():
    a, b = (wg.tensor(x, requires_grad=True) for x in draw([(2, 4, 3, 5), (2, 6, 3, 5)]))
    names = []
    node = wg.einsum("bqhd,bkhd->bhqk", a, b).grad_fn
    stack = [node]
    while stack:
        node = stack.pop()
        if node is not None:
            names.append(node.name)
            stack.extend(n for n, _ in node.next_functions)
    assert names.count("matmul") == 1
    assert "sum" not in names and "multiply" not in names


def test_many_operands_take_the_cheap_way():
    # (a b) c would make a 1000 x 1000 matrix: 8 MB.
    a, b, c = wg.ones((1000, 2)), wg.ones((2, 1000)), wg.ones((1000, 1))
    wg.memory.reset_peak()
    before = wg.memory.live_bytes()
    out = wg.einsum("ij,jk,kl->il", a, b, c)
    assert out.shape == (1000, 1)
    assert wg.memory.peak_bytes() - before < 100_000


def test_dtypes():
    a = wg.arange(6).reshape(2, 3)
    assert wg.einsum("ij->i", a).dtype == wg.int64
    assert wg.einsum("ij->i", a.astype(wg.int32)).dtype == wg.int32
    assert wg.einsum("ij,j", a, wg.ones(3)).dtype == wg.float32
    assert wg.einsum("ij,j", a, [1, 0, 1]).tolist() == [2, 8]


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (("ij,jk", (2, 3), (4, 5)), ValueError, "label 'j' has sizes 3 and 4"),
        (("ij,jk", (2, 3)), ValueError, "2 operands; got 1"),
        (("ijk", (2, 3)), ValueError, r"names 3 axes; got shape \(2, 3\)"),
        (("i", (2, 3)), ValueError, r"names 1 axes; got shape \(2, 3\)"),
        (("ij->ik", (2, 3)), ValueError, "output label 'k' is in no operand"),
        (("ij->ii", (2, 3)), ValueError, "output label 'i' is there twice"),
        (("i$", (2, 3)), ValueError, "letters"),
        (("...i->i", (2, 3)), ValueError, "add '...'"),
        (("ii", (2, 3)), ValueError, "sizes 2 and 3"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_errors(args, kind, message):
    with pytest.raises(kind, match=message) as caught:
        wg.einsum(args[0], *(wg.ones(shape) for shape in args[1:]))
    assert isinstance(caught.value, wg.Error)


TENSORDOT = [
    ((2, 3), (3, 4), 1),
    ((2, 3, 4), (3, 4, 5), 2),
    ((2, 3), (4, 5), 0),
    ((2, 3, 4), (4, 3, 2), ([0, 2], [2, 0])),
    ((2, 3, 4), (4, 3, 2), ([2], [0])),
    ((2, 3, 4), (5, 3), (1, 1)),
    ((2, 3, 4), (5, 3), (-2, -1)),
    ((2, 3), (2, 3), ([0, 1], [0, 1])),
    ((3,), (3,), 1),
    ((0, 3), (3, 2), 1),
]


@pytest.mark.parametrize(("sa", "sb", "axes"), TENSORDOT, ids=str)
def test_tensordot(sa, sb, axes):
    a, b = draw([sa, sb])
    expected = np.tensordot(a, b, axes)
    x, y = wg.tensor(a, requires_grad=True), wg.tensor(b, requires_grad=True)
    out = wg.tensordot(x, y, axes=axes)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)
    w, u = draw([expected.shape, sb], 3)
    out.backward(wg.tensor(w))
    np.testing.assert_allclose(
        np.sum(y.grad.numpy() * u), np.sum(w * np.tensordot(a, u, axes)), atol=1e-10
    )


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (2, r"same sizes.*\(2, 3\)"),
        (3, "cannot be contracted"),
        (([0], [0, 1]), "same sizes"),
        (([5], [0]), "axis 5 is out of range"),
        (([0, 0], [1, 1]), "distinct"),
        ((1, 2, 3), "two sequences"),
    ],
)
def test_tensordot_errors(axes, message):
    with pytest.raises(wg.Error, match=message):
        wg.tensordot(wg.ones((2, 3)), wg.ones((4, 2)), axes=axes)


SHAPE_PAIRS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((2, 3), (4, 3)),
    ((), (3,)),
    ((2, 3), ()),
    ((5, 2, 3), (3,)),
]


@pytest.mark.parametrize(("sa", "sb"), SHAPE_PAIRS, ids=str)
def test_inner_outer_kron(sa, sb):
    a, b = draw([sa, sb])
    np.testing.assert_allclose(wg.inner(a, b).numpy(), np.inner(a, b), atol=1e-12)
    np.testing.assert_allclose(wg.outer(a, b).numpy(), np.outer(a, b))
    np.testing.assert_allclose(wg.kron(a, b).numpy(), np.kron(a, b))


@pytest.mark.parametrize(
    ("sa", "sb"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((2, 5, 3), (4, 3, 6)),
        ((3,), (4, 3, 6)),
        ((), (2,)),
    ],
    ids=str,
)
def test_dot(sa, sb):
    a, b = draw([sa, sb])
    np.testing.assert_allclose(wg.dot(a, b).numpy(), np.dot(a, b), atol=1e-12)


@pytest.mark.parametrize(
    ("sa", "sb", "axis"),
    [
        ((3,), (3,), -1),
        ((2, 3), (3,), -1),
        ((2, 3), (2, 3), -1),
        ((5, 1, 3), (4, 3), -1),
        ((3, 2), (3, 2), -2),
    ],
    ids=str,
)
def test_vecdot(sa, sb, axis):
    a, b = draw([sa, sb])
    np.testing.assert_allclose(
        wg.vecdot(a, b, axis=axis).numpy(), np.vecdot(a, b, axis=axis), atol=1e-12
    )
    with pytest.raises(wg.ShapeError, match="vecdot"):
        wg.vecdot(a, np.ones(7), axis=-1)
