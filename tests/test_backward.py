"""The object style: leaves, accumulation, grad_fn, hooks, freed graphs, in-place changes, size."""

import gc
import inspect
import threading

import numpy as np
import pytest
import wengert as wg


def leaf(values):
    return wg.tensor(values, requires_grad=True)


def test_gradients_accumulate_over_backward_calls():
    w = leaf([1.0, 2.0])
    for _ in range(3):
        (w * w).sum().backward()
    assert w.grad.tolist() == [6.0, 12.0]
    w.grad = None
    assert w.grad is None


def test_only_leaves_that_require_it_get_a_gradient():
    w, x = leaf([1.0, 2.0]), wg.tensor([3.0, 4.0])
    h = w * x
    h.sum().backward()
    with pytest.warns(UserWarning, match="only leaves keep their gradient.*retain_grad") as caught:
        assert h.grad is None
    assert caught[0].filename == __file__
    assert x.grad is None and w.detach().grad is None
    assert w.grad.tolist() == [3.0, 4.0]
    kept = w * x
    kept.retain_grad()
    assert kept.grad is None  # no warning: a backward pass leaves it there
    assert w.is_leaf and x.is_leaf and not h.is_leaf


def test_grad_fn_walks_the_graph():
    w, x = leaf([1.0]), wg.tensor([2.0])
    y = (w * x).sum()
    assert w.grad_fn is None and x.grad_fn is None
    node = y.grad_fn
    assert node.name == "sum"
    (product, index) = node.next_functions[0]
    assert product.name == "multiply" and index == 0
    assert [None if n is None else n.name for n, _ in product.next_functions] == [
        "AccumulateGrad",
        None,
    ]


def test_fan_out_and_weight_sharing_add_up():
    w = leaf([2.0])
    h = w * w + w * 3.0
    (h * h).backward()
    assert w.grad.tolist() == [2 * (4 + 6) * (2 * 2 + 3)]


def test_retain_grad_and_hooks():
    w = leaf([1.0, 2.0])
    h = w * 2.0
    h.retain_grad()
    seen = []
    handle = h.register_hook(lambda g: seen.append(g.tolist()))
    replaced = w.register_hook(lambda g: g * 10.0)
    (h * h).sum().backward(retain_graph=True)
    assert h.grad.tolist() == [4.0, 8.0] and seen == [[4.0, 8.0]]
    assert w.grad.tolist() == [80.0, 160.0]
    handle.remove()
    replaced.remove()
    w.grad = None
    (h * h).sum().backward()
    assert len(seen) == 1 and w.grad.tolist() == [8.0, 16.0]


def test_backward_takes_a_cotangent():
    w = leaf([1.0, 2.0])
    (w * w).backward(wg.tensor([1.0, 10.0]))
    assert w.grad.tolist() == [2.0, 40.0]


def test_create_graph_gives_second_derivatives():
    w = leaf([2.0, 3.0])
    (w**3).sum().backward(create_graph=True)
    first = w.grad
    w.grad = None
    first.sum().backward()
    assert w.grad.tolist() == [12.0, 18.0]


def test_no_grad_and_detach_cut_the_graph():
    w = leaf([2.0])
    with wg.no_grad():
        assert not (w * w).requires_grad
        with wg.enable_grad():
            assert (w * w).requires_grad
    assert wg.is_grad_enabled()
    (w.detach() * w).backward()
    assert w.grad.tolist() == [2.0]

    @wg.no_grad()
    def evaluate():
        return w * w

    assert not evaluate().requires_grad


def test_freed_graph_names_the_operation_and_its_line():
    w = leaf([1.0, 2.0])
    line = inspect.currentframe().f_lineno + 1
    y = wg.exp(w)
    z = y.sum()
    z.backward()
    with pytest.raises(wg.GraphError, match=r"retain_graph=True"):
        z.backward()
    with pytest.raises(wg.GraphError, match=rf"exp: .*test_backward\.py:{line}\b"):
        y.backward(wg.ones(2))


def test_in_place_change_of_a_needed_value_names_both_lines():
    x = wg.tensor([1.0, 2.0])
    w = leaf([3.0, 4.0])
    made = inspect.currentframe().f_lineno + 1
    y = w * x
    x.assign([5.0, 6.0])
    changed = made + 1
    with pytest.raises(
        wg.GraphError,
        match=rf"multiply: .*test_backward\.py:{made}\b.*test_backward\.py:{changed}\b",
    ):
        y.sum().backward()


def test_in_place_change_of_an_unneeded_value_is_fine():
    x, w = wg.tensor([1.0, 2.0]), leaf([3.0, 4.0])
    y = w + x
    x.assign([5.0, 6.0])
    y.sum().backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_change_through_a_view_is_seen():
    x, w = wg.tensor([[1.0, 2.0]]), leaf([3.0, 4.0])
    y = (w * x[0]).sum()
    with wg.no_grad():
        x[0, 1] = 7.0
    with pytest.raises(wg.GraphError, match="changed in place"):
        y.backward()


def test_leaves_change_in_place_outside_recording_only():
    w = leaf([1.0])
    with pytest.raises(wg.GraphError, match="no_grad"):
        w.assign([2.0])
    with wg.no_grad():
        w.assign([2.0])
        w += 1.0
    assert w.tolist() == [3.0] and w.requires_grad and w.is_leaf


def test_chapter_relus():
    def relu2(s):
        return wg.nn.relu(-s) + s

    def relu3(s):
        return 0.5 * (wg.nn.relu(s) + relu2(s))

    for f, slope in [(wg.nn.relu, 0.0), (relu2, 1.0), (relu3, 0.5)]:
        s = leaf(0.0)
        f(s).backward()
        assert s.grad.item() == slope


def test_unused_leaves_have_no_gradient_and_cost_nothing():
    a, b = leaf([1.0]), leaf([2.0])
    _ = b * 3.0
    (a * 2.0).backward()
    assert b.grad is None


@pytest.mark.parametrize("length", [1_000_000])
def test_a_million_node_chain(length):
    gc.collect()
    bytes_before, objects_before = wg.memory.live_bytes(), wg.memory.live_objects()
    w = leaf(1.0)
    y = w
    for _ in range(length):
        y = y + 1.0
    y.backward()
    assert w.grad.item() == 1.0 and y.item() == length + 1
    del y, w
    gc.collect()
    assert wg.memory.live_bytes() == bytes_before
    assert wg.memory.live_objects() == objects_before


def test_a_million_node_chain_is_freed_unswept():
    objects = wg.memory.live_objects()
    w = leaf(1.0)
    y = w
    for _ in range(1_000_000):
        y = -y
    del y, w
    assert wg.memory.live_objects() == objects


def test_a_hundred_thousand_uses_of_one_tensor():
    objects, live = wg.memory.live_objects(), wg.memory.live_bytes()
    w = leaf([1.0, 2.0])
    total = wg.tensor([0.0, 0.0])
    for _ in range(100_000):
        total = total + w
    total.sum().backward()
    assert w.grad.tolist() == [100_000.0, 100_000.0]
    del total, w
    assert wg.memory.live_objects() == objects and wg.memory.live_bytes() == live


def test_memory_of_a_chain_is_what_its_rules_save():
    """add saves nothing, exp its output: the bytes that are live say so exactly."""
    w = leaf(np.zeros(1000, np.float32))
    start = wg.memory.live_bytes()
    y = w + 1.0
    for _ in range(9):
        y = y + 1.0
    assert wg.memory.live_bytes() - start <= 4000 + 10 * 4  # the last sum, ten constants at most
    z = y
    for _ in range(10):
        z = wg.exp(z * 0.0)
    assert wg.memory.live_bytes() - start >= 10 * 4000


def test_threads_record_independently():
    results, errors = {}, []

    def work(k):
        try:
            w = wg.tensor(np.full(50_000, float(k)), requires_grad=True)
            for _ in range(20):
                w.grad = None
                (wg.sin(w) * w).sum().backward()
            results[k] = w.grad.numpy()[0]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    for k in range(4):
        assert results[k] == pytest.approx(np.cos(k) * k + np.sin(k))


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 400)).astype(np.float32)
    w0 = rng.normal(size=(200, 400)).astype(np.float32)
    seen = set()
    before = wg.get_num_threads()
    try:
        for n in (1, 2, 3, 8):
            wg.set_num_threads(n)
            w = leaf(w0)
            h = wg.tanh(wg.asarray(x) @ w.T)
            loss = wg.nn.cross_entropy(h, wg.arange(300) % 200) + h.mean() + wg.exp(h).sum()
            loss.backward()
            seen.add((loss.numpy().tobytes(), w.grad.numpy().tobytes()))
    finally:
        wg.set_num_threads(before)
    assert len(seen) == 1


def test_grad_identity_and_sharing():
    w = leaf([1.0])
    (w * 2.0).backward()
    assert w.grad is w.grad
    g = w.grad
    (w * 2.0).backward()
    assert g.tolist() == [4.0]  # accumulated in place, as in PyTorch


def test_leaves_under_one_cotangent_accumulate_apart():
    a, b = leaf([0.0]), leaf([0.0])
    for _ in range(3):
        wg.exp(a + b).sum().backward()
    assert a.grad.tolist() == [3.0] and b.grad.tolist() == [3.0]


def test_accumulation_never_changes_what_others_hold():
    a, b, g = leaf([1.0, 2.0]), leaf([1.0, 2.0]), wg.tensor([1.0, 1.0])
    kept = []
    a.register_hook(kept.append)
    (a + b).backward(g)
    h = b + 0.0
    h.retain_grad()
    wg.exp(h * 0.0).sum().backward()
    b.grad = None
    (a + b).backward(g)
    (a * 5.0 + b).sum().backward()
    assert g.tolist() == [1.0, 1.0] and [k.tolist() for k in kept] == [[1, 1], [1, 1], [5, 5]]
    assert h.grad.tolist() == [0.0, 0.0] and b.grad.tolist() == [2.0, 2.0]
    v = leaf([0.0, 0.0])
    v.grad = b.grad
    (b * 1.0).sum().backward()
    assert b.grad.tolist() == [3.0, 3.0] and v.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.assign(g * 10.0),
        lambda g: g.__imul__(10.0),
        lambda g: g.__setitem__(0, 10.0),
        lambda g: g.numpy().__imul__(10.0),
        lambda g: g.reshape(-1).assign(0.0),
    ],
)
def test_a_hook_cannot_change_its_gradient_in_place(change):
    x, z, ct = leaf([1.0, 1.0]), leaf([1.0, 1.0]), wg.ones(2)
    for target in (lambda y: y, lambda y: x):
        y = x * 1.0
        hook = target(y).register_hook(lambda g: (change(g), None)[1])
        with pytest.raises((wg.GraphError, ValueError)):
            (y + z * 1.0).backward(ct)
        hook.remove()
        assert ct.tolist() == [1.0, 1.0]
    x.grad = z.grad = None
    y = x * 1.0
    y.register_hook(lambda g: g * 10.0)
    (y + z * 1.0).backward(ct)
    assert x.grad.tolist() == [10.0, 10.0] and z.grad.tolist() == ct.tolist() == [1.0, 1.0]
    ct.assign(2.0)
    assert z.grad.tolist() == [1.0, 1.0]


def test_a_gradient_of_another_dtype_is_a_dtype_error():
    x = leaf([1.0, 2.0])
    with pytest.raises(wg.DTypeError, match=r"backward: .*float32.*float64"):
        (x * 2.0).backward(np.ones(2))
    with pytest.raises(wg.DTypeError, match=r"grad: .*float32.*int64"):
        x.grad = wg.tensor([1, 2])
    y = x * 2.0
    y.register_hook(lambda g: g.astype(wg.float64))
    with pytest.raises(wg.DTypeError, match="hook"):
        y.sum().backward()
    for wrong in (lambda: (x * 2.0).backward(np.ones(3)), lambda: setattr(x, "grad", wg.ones(3))):
        with pytest.raises(wg.ShapeError):
            wrong()


def test_a_hook_may_sweep_the_same_graph():
    x = leaf(0.7)
    h = wg.sin(x)
    y = h * h
    inner = []

    def again(g):
        if not inner:
            inner.append(None)
            x.grad = None
            y.backward(retain_graph=True)
            inner[0] = x.grad.item()

    hook = h.register_hook(again)
    y.backward(retain_graph=True)
    hook.remove()  # it holds the graph it is part of
    slope = 2 * np.sin(np.float32(0.7)) * np.cos(np.float32(0.7))
    assert inner[0] == pytest.approx(slope, rel=1e-6)
    assert x.grad.item() == pytest.approx(2 * slope, rel=1e-6)


def test_threads_may_share_leaves_and_vjps():
    x = np.linspace(0.0, 1.0, 60_000)
    shared = leaf(x)
    _, pull = wg.vjp(lambda v: wg.sin(v) * v, x)
    expected = pull(np.ones_like(x))[0].numpy().copy()
    wrong = []

    def work():
        for _ in range(10):
            (wg.sin(shared) * 2.0).sum().backward()
            if not np.array_equal(pull(np.ones_like(x))[0].numpy(), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    np.testing.assert_allclose(shared.grad.numpy(), 80 * np.cos(x), rtol=1e-12)


def test_copies_that_share_memory_share_the_version():
    import copy

    for share in (
        copy.copy,
        lambda t: wg.asarray(t.numpy()),
        lambda t: wg.asarray(t.numpy()[::-1]),
    ):
        x, w = wg.tensor([1.0, 2.0]), leaf([3.0, 4.0])
        y = (x * w).sum()
        share(x).assign(wg.tensor([5.0, 5.0]))
        assert x.tolist() == [5.0, 5.0]
        with pytest.raises(wg.GraphError, match="changed in place"):
            y.backward()


def test_traced_gradients_do_not_reach_leaves_outside():
    w = leaf([1.0, 2.0])
    w.grad = wg.ones(2)

    def f(a):
        (w * a).sum().backward()
        return a

    with pytest.raises(wg.TraceError, match=r"wg\.grad"):
        wg.vmap(f)(wg.ones((3, 2)))
    assert w.grad.tolist() == [1.0, 1.0]
    (w * 2.0).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


def test_a_nan_that_was_taken_shows():
    x = leaf([float("nan"), 0.0])
    (wg.relu(x) * 0.0 + wg.sin(x) * float("nan")).sum().backward()
    assert np.isnan(x.grad.numpy()).all()
