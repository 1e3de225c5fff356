"""The Tensor object: methods, conversions, printing, copies, NumPy on both sides, weak scalars."""

import copy
import operator
import pickle

import numpy as np
import pytest
import wengert as wg

A = np.array([[1.5, -2.0, 3.0], [0.25, 5.0, -6.0]])


def same(actual, expected, dtype=None):
    assert isinstance(actual, wg.Tensor)
    assert actual.shape == np.shape(expected)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6)
    if dtype is not None:
        assert actual.dtype == dtype


METHODS = [
    (lambda x: x.T, lambda a: a.T),
    (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    (lambda x: x.reshape(3, 2), lambda a: a.reshape(3, 2)),
    (lambda x: x.reshape((3, 2)), lambda a: a.reshape(3, 2)),
    (lambda x: x.reshape(-1), lambda a: a.reshape(-1)),
    (lambda x: x.reshape([6]), lambda a: a.reshape(-1)),
    (lambda x: x.view(-1, 1), lambda a: a.reshape(-1, 1)),
    (lambda x: x.flatten(), lambda a: a.reshape(-1)),
    (lambda x: x.ravel(), lambda a: a.reshape(-1)),
    (lambda x: x[None].flatten(1), lambda a: a.reshape(1, -1)),
    (lambda x: x[None].flatten(0, 1), lambda a: a),
    (lambda x: x.permute(1, 0), lambda a: a.T),
    (lambda x: x.permute((1, 0)), lambda a: a.T),
    (lambda x: x.transpose(), lambda a: a.T),
    (lambda x: x.transpose(1, 0), lambda a: a.T),
    (lambda x: x.swapaxes(0, 1), lambda a: a.T),
    (lambda x: x[None].squeeze(), lambda a: a),
    (lambda x: x[None].squeeze(0), lambda a: a),
    (lambda x: x.unsqueeze(0), lambda a: a[None]),
    (lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    (lambda x: x.expand(4, -1, 3), lambda a: np.broadcast_to(a, (4, 2, 3))),
    (lambda x: x.sum(), lambda a: a.sum()),
    (lambda x: x.sum(0), lambda a: a.sum(0)),
    (lambda x: x.sum(axis=(0, 1), keepdims=True), lambda a: a.sum((0, 1), keepdims=True)),
    (lambda x: x.mean(-1), lambda a: a.mean(-1)),
    (lambda x: x.var(0), lambda a: a.var(0)),
    (lambda x: x.std(correction=1), lambda a: a.std(ddof=1)),
    (lambda x: x.prod(1), lambda a: a.prod(1)),
    (lambda x: x.max(), lambda a: a.max()),
    (lambda x: x.min(axis=0, keepdims=True), lambda a: a.min(0, keepdims=True)),
    (lambda x: x.argmax(1), lambda a: a.argmax(1)),
    (lambda x: x.argmin(), lambda a: a.argmin()),
    (lambda x: x.cumsum(1), lambda a: a.cumsum(1)),
    (lambda x: x.cumsum(), lambda a: a.cumsum()),
    (lambda x: x.cumprod(0), lambda a: a.cumprod(0)),
    (lambda x: x.all(), lambda a: a.all()),
    (lambda x: x.any(0), lambda a: a.any(0)),
    (lambda x: x.exp(), np.exp),
    (lambda x: x.abs().log(), lambda a: np.log(np.abs(a))),
    (lambda x: x.abs().sqrt(), lambda a: np.sqrt(np.abs(a))),
    (lambda x: x.tanh(), np.tanh),
    (lambda x: x.sigmoid(), lambda a: 1 / (1 + np.exp(-a))),
    (lambda x: x.relu(), lambda a: np.maximum(a, 0)),
    (lambda x: x.clip(0, 2), lambda a: a.clip(0, 2)),
    (lambda x: x.clip(min=0), lambda a: a.clip(0)),
    (lambda x: x.clamp(max=1), lambda a: a.clip(max=1)),
    (lambda x: x.pow(2), np.square),
    (lambda x: x.matmul(x.T), lambda a: a @ a.T),
    (lambda x: x.dot(x.T), lambda a: a @ a.T),
    (lambda x: x.diagonal(), np.diagonal),
    (lambda x: x.trace(), np.trace),
    (lambda x: x.masked_fill(x < 0, 9), lambda a: np.where(a < 0, 9, a)),
    (lambda x: x.repeat(2, 1), lambda a: a.repeat(2, 1)),
    (lambda x: x.softmax(-1), lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True)),
    (lambda x: x.copy(), lambda a: a),
    (lambda x: x.clone(), lambda a: a),
    (lambda x: x.detach(), lambda a: a),
    (lambda x: round(x), np.round),
    (lambda x: round(x, 1), lambda a: np.round(a, 1)),
    (lambda x: abs(x), np.abs),
    (lambda x: -x, lambda a: -a),
    (lambda x: +x, lambda a: a),
]


@pytest.mark.parametrize(("method", "numpy"), METHODS)
def test_methods(method, numpy):
    same(method(wg.tensor(A)), numpy(A))


def test_conversions_of_dtype():
    x = wg.tensor(A)
    for made, dtype in [
        (x.float(), wg.float32),
        (x.double(), wg.float64),
        (x.int(), wg.int32),
        (x.long(), wg.int64),
        (x.bool(), wg.bool),
        (x.to(wg.float32), wg.float32),
        (x.to("int64"), wg.int64),
        (x.astype(np.uint8), wg.uint8),
        (x.astype(float), wg.float32),
    ]:
        assert made.dtype == dtype
    assert np.shares_memory(x.double().numpy(), x.numpy())
    assert not np.shares_memory(x.astype(wg.float64).numpy(), x.numpy())
    assert x.to("cpu") is x
    assert x.device == "cpu"
    with pytest.raises(wg.DTypeError, match="complex"):
        x.astype(complex)


def test_python_numbers():
    assert float(wg.tensor(2.5)) == 2.5
    assert int(wg.tensor([7])) == 7
    assert bool(wg.tensor(0.0)) is False
    assert [10, 20, 30][wg.tensor(1)] == 20
    assert f"{wg.tensor(3.14159):.2f}" == "3.14"
    assert f"{wg.tensor([1, 2])}" == "tensor([1, 2])"
    assert wg.tensor([[1, 2]]).tolist() == [[1, 2]]
    assert wg.tensor(1.5).tolist() == 1.5
    with pytest.raises(ValueError, match=r"ambiguous.*any"):
        bool(wg.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"one element; got shape \(2,\)"):
        float(wg.tensor([1, 2]))
    with pytest.raises(TypeError, match="only a 0-d integer tensor"):
        [1, 2][wg.tensor(1.0)]


REPRS = [
    (lambda: wg.tensor([1.0, 2.0]), "tensor([1., 2.])"),
    (lambda: wg.tensor([1.0, 2.0], requires_grad=True), "tensor([1., 2.], requires_grad=True)"),
    (lambda: wg.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<multiply>)"),
    (lambda: wg.tensor([1, 2]), "tensor([1, 2])"),
    (lambda: wg.tensor([True]), "tensor([ True])"),
    (lambda: wg.tensor(2.5), "tensor(2.5)"),
    (lambda: wg.tensor([0.1], dtype=wg.float64), "tensor([0.1], dtype=float64)"),
    (lambda: wg.tensor([1], dtype=wg.int32), "tensor([1], dtype=int32)"),
    (lambda: wg.tensor([1], dtype=wg.uint8), "tensor([1], dtype=uint8)"),
    (lambda: wg.zeros((2, 2)), "tensor([[0., 0.],\n        [0., 0.]])"),
    (lambda: wg.zeros((0, 3)), "tensor([], shape=(0, 3), dtype=float32)"),
]


@pytest.mark.parametrize(("make", "text"), REPRS, ids=[text for _, text in REPRS])
def test_repr(make, text):
    assert repr(make()) == text
    assert str(make()) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(wg.zeros((1000, 1000)))) < 1000


def test_repr_of_a_traced_tensor():
    seen = []
    wg.vmap(lambda x: seen.append(repr(x)) or x)(wg.zeros((4, 2, 3)))
    assert seen == ["tensor(float32 (2, 3), traced)"]


def test_numpy_shares_memory_both_ways():
    a = np.zeros(3)
    x = wg.asarray(a)
    a[0] = 1.0
    assert x.tolist() == [1.0, 0.0, 0.0]
    x[1] = 2.0
    assert a.tolist() == [1.0, 2.0, 0.0]
    x.numpy()[2] = 3.0
    assert a.tolist() == [1.0, 2.0, 3.0]
    b = wg.tensor(a)
    b[0] = 9.0
    assert a[0] == 1.0


def test_numpy_functions_take_tensors():
    x = wg.tensor(A)
    assert np.asarray(x).dtype == np.float64
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert np.array(x, dtype=np.float32).dtype == np.float32
    assert not np.shares_memory(np.array(x), x.numpy())
    np.testing.assert_allclose(np.linalg.norm(x), np.linalg.norm(A))
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(x, dtype=np.float32, copy=False)
    leaf = wg.tensor(A, requires_grad=True)
    assert not np.asarray(leaf).flags.writeable


def test_arrays_beside_tensors():
    x = wg.tensor(A, requires_grad=True)
    for out, expected in [
        (A * x, A * A),
        (x * A, A * A),
        (A - x, 0 * A),
        (A @ x.T, A @ A.T),
        (np.float64(2) * x, 2 * A),
        (np.float32(2) / x, 2 / A),
        (x < A, A > A),
        (np.ones(3, np.int64) + x, 1 + A),
    ]:
        same(out, expected)
    (A * x).sum().backward()
    same(x.grad, A)
    # A NumPy function would lose the history, and says so.
    with pytest.raises(TypeError, match=r"np\.exp: .*derivative.*wg\.exp"):
        np.exp(x)


def test_divmod():
    x = wg.tensor(A)
    for made, expected in (
        (divmod(x, 0.25), divmod(A, 0.25)),
        (divmod(7, x), divmod(7, A)),
        (divmod(A, x + 1), divmod(A, A + 1)),
    ):
        assert type(made) is tuple
        same(made[0], expected[0])
        same(made[1], expected[1])
    assert wg.grad(lambda x: divmod(x, 2.0)[1])(3.0).item() == 1.0
    with pytest.raises(wg.Error, match="str"):
        divmod(x, "2")


def test_dlpack_round_trip():
    x = wg.tensor(A)
    assert x.__dlpack_device__() == (1, 0)
    y = np.from_dlpack(x)
    assert np.shares_memory(y, x.numpy())
    same(wg.from_dlpack(x), A)
    z = wg.from_dlpack(A)
    assert np.shares_memory(z.numpy(), A)
    np.testing.assert_array_equal(np.from_dlpack(wg.tensor(A, requires_grad=True)), A)


def test_array_namespace():
    x = wg.tensor(A)
    xp = x.__array_namespace__(api_version="2024.12")
    assert xp is wg
    with pytest.raises(ValueError, match="1999"):
        x.__array_namespace__(api_version="1999.12")


WEAK = [
    (lambda: wg.ones(2) * 2.0, wg.float32),
    (lambda: wg.ones(2) * 2, wg.float32),
    (lambda: wg.ones(2, dtype=wg.float64) * 2.0, wg.float64),
    (lambda: wg.arange(2) * 2.5, wg.float32),
    (lambda: wg.arange(2) * 2, wg.int64),
    (lambda: wg.arange(2, dtype=wg.int32) * 2, wg.int32),
    (lambda: wg.arange(2, dtype=wg.uint8) + 1, wg.uint8),
    (lambda: 1 / wg.arange(1, 3), wg.float32),
    (lambda: wg.ones(2) * np.ones(2), wg.float64),
    (lambda: wg.ones(2) * np.float32(3), wg.float32),
    (lambda: wg.arange(2) * wg.ones(2), wg.float32),
    (lambda: wg.arange(2, dtype=wg.int32) * wg.arange(2), wg.int64),
    (lambda: True * wg.arange(2), wg.int64),
    (lambda: wg.tensor([True, False]) * 2, wg.int64),
    (lambda: wg.tensor([True, False]) * 2.0, wg.float32),
    (lambda: wg.tensor(2.0) * 3.0, wg.float32),
    (lambda: wg.tensor([1.0, 2.0]), wg.float32),
    (lambda: wg.tensor(np.array([1.0, 2.0])), wg.float64),
    (lambda: wg.tensor([1, 2]), wg.int64),
    (lambda: wg.tensor(True), wg.bool),
]


@pytest.mark.parametrize(("make", "dtype"), WEAK)
def test_promotion(make, dtype):
    assert make().dtype == dtype


def test_pickle_and_copies():
    for x in (
        wg.tensor(A),
        wg.tensor(A, requires_grad=True),
        wg.arange(3),
        wg.tensor(1.5),
        wg.tensor(A).T,
    ):
        for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
            same(y, x.numpy(), x.dtype)
            assert y.requires_grad == x.requires_grad and y.is_leaf
            assert not np.shares_memory(y.numpy(), x.numpy())
        assert np.shares_memory(copy.copy(x).numpy(), x.numpy())
    leaf = wg.tensor(A, requires_grad=True)
    (leaf * 2).sum().backward()
    twin = copy.deepcopy(leaf)
    same(twin.grad, leaf.grad.numpy())
    assert not np.shares_memory(twin.grad.numpy(), leaf.grad.numpy())
    pair = copy.deepcopy([leaf, leaf])
    assert pair[0] is pair[1]
    pickle.loads(pickle.dumps(wg.tensor(A))).assign(0.0)
    with pytest.raises(wg.GraphError, match=r"deepcopy.*'multiply'.*detach"):
        copy.deepcopy(leaf * 2)


def test_copy_passes_gradients_and_detach_does_not():
    x = wg.tensor(A, requires_grad=True)
    y = x.copy()
    assert not np.shares_memory(y.numpy(), x.numpy())
    (y * 3).sum().backward()
    same(x.grad, np.full((2, 3), 3.0))
    d = x.detach()
    assert not d.requires_grad and d.is_leaf and np.shares_memory(d.numpy(), x.numpy())


def test_assign():
    x = wg.zeros((2, 3))
    assert x.assign(A) is x
    same(x, A, wg.float32)
    x.assign(1)
    same(x, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        x.assign(wg.zeros(4))
    leaf = wg.zeros(3).requires_grad_()
    with pytest.raises(wg.GraphError, match="no_grad"):
        leaf.assign(1.0)
    with wg.no_grad():
        leaf.assign(1.0)
        leaf += 1
    assert leaf.requires_grad and leaf.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(wg.GraphError, match="history"):
        wg.zeros(3).assign(leaf * 2)


def test_gradient_attributes():
    x = wg.tensor([1.0, 2.0])
    assert x.requires_grad_() is x and x.requires_grad
    y = x * 2
    y.retain_grad()
    seen = []
    handle = x.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward()
    assert seen == [[2.0, 2.0]]
    assert y.grad.tolist() == [1.0, 1.0]
    handle.remove()
    handle.remove()
    (x * 1).sum().backward()
    assert len(seen) == 1
    assert x.grad.tolist() == [3.0, 3.0]
    with pytest.raises(wg.DTypeError, match="int64"):
        wg.arange(3).requires_grad_()


def test_gradients_of_two_leaves_do_not_share_memory():
    a, b = wg.zeros(3).requires_grad_(), wg.zeros(3).requires_grad_()
    (a + b).sum().backward()
    a.grad *= 0.5
    a.grad[0] = 7.0
    assert b.grad.tolist() == [1.0, 1.0, 1.0]
    assert a.grad.tolist() == [7.0, 0.5, 0.5]


def test_class_documentation():
    assert "gradients accumulate" in wg.Tensor.__doc__
    assert wg.Tensor.__module__ == "wengert"


def test_odd_arrays_and_types_are_refused_not_fatal():
    for odd in (np.empty(3, "V0"), np.zeros(3, dtype=[]), np.zeros(2, "S0")):
        with pytest.raises(wg.DTypeError, match="not supported"):
            wg.asarray(odd)
    with pytest.raises(TypeError):
        type(wg.exp)()
    node = (wg.tensor(1.0, requires_grad=True) * 2.0).grad_fn
    with pytest.raises((wg.Error, TypeError)):
        type(node).__new__(type(node))


def test_operations_copy_and_pickle_by_name():
    import copy
    import pickle

    assert pickle.loads(pickle.dumps(wg.exp)) is wg.exp
    assert copy.deepcopy({"act": wg.tanh})["act"] is wg.tanh


def test_no_grad_refuses_generators():
    with pytest.raises(wg.ArgumentTypeError, match="generator"):

        @wg.no_grad()
        def rows(x):
            yield x


def test_exit_while_a_thread_computes(tmp_path):
    import subprocess
    import sys

    program = (
        "import threading, time, wengert as wg\n"
        "x = wg.ones((700, 700))\n"
        "def work():\n"
        "    while True: x @ x\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiled", [False, True])
def test_a_callback_of_a_weak_reference_meets_no_ending_object(compiled):
    import weakref

    p = wg.tensor([1.0], requires_grad=True)
    run = wg.compile(lambda f: f(), static_argnums=0) if compiled else lambda f: f()
    run(lambda: (p * p).sum().backward())
    kept = []
    shown = p.grad
    reference = weakref.ref(shown, lambda _: kept.extend([p.grad, p.grad]))
    del shown
    others = [wg.tensor([float(i)]) for i in range(5)]
    assert reference() is None
    assert kept[0] is kept[1] is p.grad and all(kept[0] is not x for x in others)
    assert kept[0].tolist() == [2.0]
    del kept[:], reference
    made = [wg.tensor([float(i)]) for i in range(5)]
    assert len({id(x) for x in made}) == 5 and p.grad.tolist() == [2.0]


def test_augmented_operators_change_the_tensor_itself():
    def each(x, other, names):
        for name in names:
            a, b = np.array(x), wg.tensor(np.array(x))
            view = b[1:]
            same, want = getattr(operator, name)(b, other), getattr(operator, name)(a, other)
            assert same is b and np.array_equal(b, want) and np.array_equal(view, want[1:]), name

    each([7.0, -8.0, 9.5], 2.0, ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"])
    each(
        [7, -8, 9],
        2,
        [
            "iadd",
            "isub",
            "imul",
            "ifloordiv",
            "imod",
            "ipow",
            "iand",
            "ior",
            "ixor",
            "ilshift",
            "irshift",
        ],
    )
    each([True, False, True], np.array([True, True, False]), ["iand", "ior", "ixor"])
    leaf = wg.tensor([2.0, 3.0], requires_grad=True)
    with wg.no_grad():
        same = leaf
        same **= 2
    assert same is leaf and leaf.tolist() == [4.0, 9.0] and leaf.requires_grad
    with pytest.raises(wg.GraphError, match=r"inside wg\.no_grad"):
        leaf **= 2
    with pytest.raises(wg.DTypeError, match="would lose digits"):
        operator.ipow(wg.tensor([4]), 0.5)
    state = wg.tensor(3)
    wg.compile(lambda: operator.ipow(state, 2))()
    assert int(state) == 9


def test_numpys_doubles_in_lists_stay_doubles():
    class Own(float):
        pass

    exact = 16777217.0  # no float32
    for data, dtype in (
        ([np.array([exact])], wg.float64),
        ([[np.ones(2)], (np.ones(2),)], wg.float64),
        ([np.float64(exact), 2], wg.float64),
        ([np.float32(1), np.float32(2)], wg.float32),
        ([exact, 2], wg.float32),
        ([Own(2.0)], wg.float32),
        ([np.int32(1)], wg.int32),
    ):
        x = wg.tensor(data)
        assert x.dtype == dtype and np.array_equal(x, np.asarray(data, dtype)), data
    assert wg.tensor([np.ones(2)], dtype="float32").dtype == wg.float32
