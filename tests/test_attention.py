"""Attention: by tiles against the formula, what it keeps, what a mask hides, and the layer."""

import numpy as np
import pytest
import wengert as wg
from wengert import nn

attention = nn.scaled_dot_product_attention


def real(*shape, seed=0, dtype="float64"):
    return wg.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype))


def composed(q, k, v, is_causal=False, scale=None):
    """The same through a mask, which makes the matrix of weights."""
    mask = np.tri(q.shape[-2], k.shape[-2], dtype=bool) | (not is_causal)
    return attention(q, k, v, wg.tensor(mask), scale=scale)


def gradients(f, *args):
    y, pull = wg.vjp(f, *args)
    return [y, *pull(real(*y.shape, seed=9, dtype=str(y.dtype)))]


def close(found, expected, tolerance=1e-12):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), tolerance, tolerance)


LENGTHS = [(1, 1), (63, 64), (64, 64), (65, 130), (130, 65), (200, 7), (2, 129)]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize(("inner", "width"), [(5, 3), (16, 32), (24, 1)])
def test_tiles_join(queries, keys, inner, width, is_causal):
    q, k, v = real(2, queries, inner), real(2, keys, inner), real(2, keys, width)
    found = gradients(lambda *x: attention(*x, is_causal=is_causal), q, k, v)
    expected = gradients(lambda *x: composed(*x, is_causal=is_causal), q, k, v)
    close(found, expected)


@pytest.mark.parametrize("is_causal", [False, True])
def test_single_precision_from_strides(is_causal):
    """Heads as views of one projection, as a transformer has them."""
    projected = real(2, 100, 3 * 48, dtype="float32")

    def by_head(f):
        def call(x):
            parts = (x[..., i * 48 : (i + 1) * 48] for i in range(3))
            y = f(*(p.reshape((2, 100, 3, 16)).swapaxes(1, 2) for p in parts), is_causal=is_causal)
            return y.swapaxes(1, 2).reshape((2, 100, 48))

        return call

    close(gradients(by_head(attention), projected), gradients(by_head(composed), projected), 2e-5)
    f = by_head(attention)
    eager, compiled = gradients(f, projected), wg.compile(lambda x: gradients(f, x))(projected)
    for a, b in zip(eager, compiled, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_matrix_of_weights_is_kept(is_causal):
    length, width = 1024, 8
    q, k, v = (real(length, width, seed=i, dtype="float32").requires_grad_() for i in range(3))
    matrix, rows = 4 * length * length, 4 * length * width
    before = wg.memory.live_bytes()
    wg.memory.reset_peak()
    y = attention(q, k, v, is_causal=is_causal)
    assert wg.memory.live_bytes() - before == rows + 4 * length
    assert wg.memory.peak_bytes() - before == rows + 4 * length
    y.sum().backward()
    assert wg.memory.peak_bytes() - before < 8 * rows < matrix / 8

    def step():
        loss = attention(q, k, v, is_causal=is_causal).sum()
        loss.backward()
        return loss

    assert wg.compile(step).program().bytes_peak < 12 * rows < matrix / 8


def test_what_is_hidden_does_not_enter():
    q, k, v = real(80, 4), real(80, 4, seed=1).numpy().copy(), real(80, 4, seed=2).numpy().copy()
    clean = attention(q, wg.tensor(k), wg.tensor(v), is_causal=True).numpy()
    for bad in (np.nan, np.inf, -np.inf):
        k[70], v[70] = bad, bad
        args = q, wg.tensor(k), wg.tensor(v)
        y, pull = wg.vjp(lambda *x: attention(*x, is_causal=True), *args)
        np.testing.assert_allclose(y.numpy()[:70], clean[:70], 1e-12, 1e-12)
        assert not np.isfinite(y.numpy()[70:]).any()
        asked = np.zeros((80, 4))
        asked[:70] = 1.0
        dq, dk, dv = (g.numpy() for g in pull(wg.tensor(asked)))
        assert np.isfinite(dq).all() and np.isfinite(dk).all() and np.isfinite(dv).all()
        assert not dq[70:].any() and not dk[70:].any() and not dv[70:].any()
        assert dq[1:70].all() and dk[:70].all() and dv[:70].all()


def test_gradients_of_hidden_keys_are_zero():
    q, k, v = real(3, 5), real(9, 5), real(9, 5)
    _, dk, dv = gradients(lambda q, k, v: attention(q, k, v, is_causal=True), q, k, v)[1:]
    assert not dk.numpy()[3:].any() and not dv.numpy()[3:].any()
    assert dk.numpy()[:3].all() and dv.numpy()[:3].all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_queries_without_mass(dtype):
    """No keys, scores of -inf, or a mask that allows nothing: 0, with gradient 0."""
    q, k, v = wg.ones((3, 2), dtype=dtype), wg.ones((4, 2), dtype=dtype), real(4, 2, dtype=dtype)
    none = wg.zeros((0, 2), dtype=dtype)
    for args in [(q, none, none), (q, k * -wg.inf, v)]:
        found = gradients(attention, *args)
        assert all(not x.numpy().any() for x in found)
    found = gradients(lambda *x: attention(*x, attn_mask=wg.zeros((3, 4), dtype="bool")), q, k, v)
    assert all(not x.numpy().any() for x in found)


def test_large_scores_do_not_overflow():
    q, k, v = real(70, 4) * 1e4, real(90, 4), real(90, 4)
    found = gradients(attention, q, k, v)
    assert all(np.isfinite(x.numpy()).all() for x in found)
    close(found, gradients(composed, q, k, v), 1e-9)


@pytest.mark.parametrize("how", ["causal", "mask", "bias", "none"])
def test_groups_of_heads(how):
    q, k, v = real(2, 6, 5, 4), real(2, 3, 7, 4), real(2, 3, 7, 2)
    mask = np.random.default_rng(0).random((6, 5, 7)) < 0.7
    options = {
        "causal": {"is_causal": True},
        "mask": {"attn_mask": wg.tensor(mask)},
        "bias": {"attn_mask": real(2, 1, 5, 7)},
        "none": {},
    }[how]

    def repeated(q, k, v):
        return attention(q, wg.repeat(k, 2, axis=1), wg.repeat(v, 2, axis=1), **options)

    found = gradients(lambda *x: attention(*x, enable_gqa=True, **options), q, k, v)
    close(found, gradients(repeated, q, k, v))
    assert found[0].shape == (2, 6, 5, 2)


def test_second_order_and_vmap():
    q, k, v = real(3, 4, 2), real(3, 5, 2), real(3, 5, 3)

    def loss(f):
        return lambda q, k, v: (f(q, k, v, is_causal=True) ** 3).sum()

    args = q[0], k[0], v[0]
    for argnums in range(3):
        found = wg.hessian(loss(attention), argnums=argnums)(*args)
        close([found], [wg.hessian(loss(composed), argnums=argnums)(*args)], 1e-10)
    found = wg.vmap(wg.grad(loss(attention), argnums=(0, 1, 2)), in_axes=(0, None, 0))(q, k[0], v)
    for i in range(3):
        one = wg.grad(loss(attention), argnums=(0, 1, 2))(q[i], k[0], v[i])
        close([g[i] for g in found], one)


def test_dropout_draws():
    wg.random.seed(0)
    q, k, v = wg.zeros((50, 2)), wg.zeros((40, 2)), wg.ones((40, 1))
    y = attention(q, k, v, dropout_p=0.5).numpy()
    assert np.std(y) > 0.05 and abs(np.mean(y) - 1) < 0.1
    with pytest.raises(wg.ArgumentError, match="between 0 and 1; got 2"):
        attention(q, k, v, dropout_p=2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda q, k, v: attention(q[0], k, v), wg.ShapeError, r"\(\.\.\., L, E\).*\(4,\)"),
        (
            lambda q, k, v: attention(q, k[:, 1:], v),
            wg.ShapeError,
            r"S, E\).*4\) and \(5, 3\)",
        ),
        (lambda q, k, v: attention(q, k[1:], v), wg.ShapeError, r"S, D\).*\(4, 4\) and \(5, 2\)"),
        (lambda q, k, v: attention(q, k, v, enable_gqa=True), wg.ShapeError, "Hq, L, E"),
        (lambda q, k, v: attention(q, k, v, scale="a"), wg.Error, "scaled_dot_product_attention"),
        (
            lambda q, k, v: attention(
                wg.zeros((5, 3, 4)), wg.zeros((2, 5, 4)), wg.zeros((2, 5, 2)), enable_gqa=True
            ),
            wg.ShapeError,
            "multiple of the 2 heads of key.*got 5",
        ),
        (lambda q, k, v: nn.MultiHeadAttention(8, 3), wg.ArgumentError, "multiple.*8 and 3"),
        (lambda q, k, v: nn.MultiHeadAttention(8, 0), wg.ArgumentError, "num_heads.*got 0"),
        (lambda q, k, v: nn.MultiHeadAttention(0, 1), wg.ArgumentError, "embed_dim.*got 0"),
        (lambda q, k, v: nn.MultiHeadAttention(8, 2, "a"), wg.ArgumentTypeError, "dropout.*'a'"),
        (lambda q, k, v: attention(q, k, v, is_causal="no"), wg.ArgumentTypeError, "is_causal"),
        (
            lambda q, k, v: nn.MultiHeadAttention(4, 2)(q, k, k, need_weights="yes"),
            wg.ArgumentTypeError,
            "need_weights",
        ),
        (
            lambda q, k, v: attention(q[:1], k, v, wg.zeros((3, 5))),
            wg.ShapeError,
            r"broadcast to \(\.\.\., 1, 5\); got \(3, 5\)",
        ),
        (lambda q, k, v: nn.MultiHeadAttention(8, 2, 1.5), wg.ArgumentError, "dropout.*1.5"),
        (lambda q, k, v: nn.MultiHeadAttention(4, 2)(q, k, v), wg.ShapeError, r"\(4, 4, 4\); got"),
        (lambda q, k, v: nn.MultiHeadAttention(4, 2)(q[0], k, k), wg.ShapeError, "2 axes"),
        (
            lambda q, k, v: nn.MultiHeadAttention(4, 2)(q, k, k, wg.zeros(4, dtype="bool")),
            wg.ShapeError,
            r"key_padding_mask must be \(5,\); got \(4,\)",
        ),
        (
            lambda q, k, v: nn.MultiHeadAttention(4, 2)(q, k, k, attn_mask=wg.zeros((5, 3))),
            wg.ShapeError,
            r"attn_mask must be \(3, 5\) or \(2, 3, 5\); got \(5, 3\)",
        ),
    ],
)
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call(wg.zeros((3, 4)), wg.zeros((5, 4)), wg.zeros((5, 2)))


def heads_by_hand(layer, q, k, v, hidden):
    """One head at a time, for (L, E) arrays; `hidden` (heads, L, S) is True where not allowed."""
    state = {name: p.numpy() for name, p in layer.state_dict().items()}
    if layer.in_proj_weight is not None:
        wq, wk, wv = np.split(state["in_proj_weight"], 3)
    else:
        wq, wk, wv = (state[f"{name}_proj_weight"] for name in "qkv")
    bq, bk, bv = np.split(state.get("in_proj_bias", np.zeros(3 * len(wq))), 3)
    q, k, v = q @ wq.T + bq, k @ wk.T + bk, v @ wv.T + bv
    size = layer.embed_dim // layer.num_heads
    outs, weights = [], []
    for head in range(layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        s = q[:, part] @ k[:, part].T / np.sqrt(size)
        s = np.exp(np.where(hidden[head], -np.inf, s))
        weights.append(s / s.sum(-1, keepdims=True))
        outs.append(weights[-1] @ v[:, part])
    y = np.concatenate(outs, -1) @ state["out_proj.weight"].T + state.get("out_proj.bias", 0)
    return y, np.stack(weights)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 3, "vdim": 5}])
def test_multi_head_attention(batch_first, bias, sizes):
    layer = nn.MultiHeadAttention(
        8, 2, bias=bias, batch_first=batch_first, dtype="float64", **sizes
    )
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"] if sizes else ["in_proj_weight"]
    biases = ["in_proj_bias"] * bias, ["out_proj.bias"] * bias
    assert list(layer.state_dict()) == [*names, *biases[0], "out_proj.weight", *biases[1]]
    if bias:
        with wg.no_grad():
            layer.in_proj_bias.assign(real(24))
            layer.out_proj.bias.assign(real(8))
    q, k, v = (real(3, n, size).numpy() for n, size in [(4, 8), (6, layer.kdim), (6, layer.vdim)])
    padding = np.zeros((3, 6), bool)
    padding[0, 4:] = True
    mask = np.random.default_rng(0).random((6, 4, 6)) < 0.3
    mask[..., 0] = False

    def call(q, k, v, **options):
        args = [wg.tensor(x if batch_first else x.swapaxes(0, 1)) for x in (q, k, v)]
        y, weights = layer(*args, **options)
        return y.detach().numpy() if batch_first else y.detach().numpy().swapaxes(0, 1), weights

    causal = ~np.tri(4, 6, dtype=bool)
    cases = [
        ({}, np.zeros((3, 2, 4, 6), bool)),
        ({"is_causal": True}, np.broadcast_to(causal, (3, 2, 4, 6))),
        ({"key_padding_mask": padding}, np.broadcast_to(padding[:, None, None], (3, 2, 4, 6))),
        (
            {"attn_mask": mask, "key_padding_mask": padding},
            mask.reshape((3, 2, 4, 6)) | padding[:, None, None],
        ),
        ({"attn_mask": np.where(mask[0], -np.inf, 0.0)}, np.broadcast_to(mask[0], (3, 2, 4, 6))),
    ]
    for options, hidden in cases:
        ys, ws = zip(*(heads_by_hand(layer, *at) for at in zip(q, k, v, hidden, strict=True)))
        y, weights = call(q, k, v, **options)
        np.testing.assert_allclose(y, np.stack(ys), 1e-12, 1e-12)
        np.testing.assert_allclose(weights.detach().numpy(), np.mean(ws, 1), 1e-12, 1e-12)
        _, weights = call(q, k, v, average_attn_weights=False, **options)
        np.testing.assert_allclose(weights.detach().numpy(), np.stack(ws), 1e-12, 1e-12)
        y, weights = call(q, k, v, need_weights=False, **options)
        assert weights is None
        np.testing.assert_allclose(y, np.stack(ys), 1e-12, 1e-12)
    y, _ = layer(*map(wg.tensor, (q[1], k[1], v[1])))
    expected, _ = heads_by_hand(layer, q[1], k[1], v[1], cases[0][1][1])
    np.testing.assert_allclose(y.detach().numpy(), expected, 1e-12, 1e-12)


def test_self_attention_trains_compiled():
    found = []
    for compiled in (False, True):
        wg.random.seed(0)
        layer = nn.MultiHeadAttention(8, 2, dropout=0.1, batch_first=True)
        optimizer = wg.optim.SGD(layer.parameters(), lr=0.1)

        def step(x, layer=layer, optimizer=optimizer):
            y, _ = layer(x, x, x, is_causal=True, need_weights=False)
            loss = (y**2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        call = wg.compile(step) if compiled else step
        losses = [call(real(2, 5, 8, seed=i, dtype="float32")).item() for i in range(3)]
        layer.eval()
        losses.append(call(real(2, 5, 8, dtype="float32")).item())
        found.append((losses, [p.numpy().tobytes() for p in layer.state_dict().values()]))
    assert found[0] == found[1]
    assert "8, 2, dropout=0.1, bias=True, batch_first=True" in repr(layer)


def test_masks_are_bool_or_float():
    x, mask = wg.ones((2, 4)), np.ones((2, 2), np.int64)
    with pytest.raises(wg.DTypeError, match="bool or float"):
        wg.nn.scaled_dot_product_attention(x, x, x, mask)
    with pytest.raises(wg.DTypeError, match="bool or float"):
        wg.nn.MultiHeadAttention(4, 2)(x, x, x, attn_mask=mask)


def test_no_keys_give_zeros_whatever_came_before():
    def weigh(keys):
        q, k, v = (wg.full((1, 1, n, 8), -1.0) for n in (70, keys, keys))
        return wg.nn.scaled_dot_product_attention(q, k, v).numpy()

    assert (weigh(70) == -1).all()
    empty = weigh(0)
    assert (empty == 0).all() and not np.signbit(empty).any()


def test_one_key_has_no_slope():
    q, k, v = (
        real(5, 64, dtype="float32"),
        real(1, 64, seed=1, dtype="float32"),
        real(1, 64, seed=2, dtype="float32"),
    )
    dq, dk, dv = wg.grad(lambda *args: (attention(*args) ** 2).sum(), argnums=(0, 1, 2))(
        q * 30.0, k, v
    )
    assert not dq.any() and not dk.any() and dv.any()
