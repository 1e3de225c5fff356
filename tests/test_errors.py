"""Wrong calls: each raises the documented error with the values in its message, changes nothing,
and leaves nothing behind. Random ones too, in a process of their own."""

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wengert as wg

HERE = Path(__file__)


def things() -> SimpleNamespace:
    """What the calls below are made on."""
    leaf = wg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    return SimpleNamespace(
        x=wg.tensor([1.0, 2.0, 3.0]),
        m=wg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        i=wg.tensor([0, 1, 2]),
        b=wg.tensor([True, False, True]),
        s=wg.tensor(2.5),
        empty=wg.zeros((0, 3)),
        wide=wg.broadcast_to(wg.tensor([1.0]), (4,)),
        leaf=leaf,
        model=wg.nn.Linear(3, 2),
    )


def twice(t: Any) -> None:
    y = (t.leaf * t.leaf).sum()
    y.backward()
    t.leaf.grad = None
    y.backward()


def changed(t: Any) -> None:
    w = wg.tensor([1.0, 2.0, 3.0])
    y = (t.leaf * w).sum()
    w.assign(0.0)
    y.backward()


def hooked(result: Any) -> Callable[[Any], None]:
    def call(t: Any) -> None:
        y = t.leaf * 2
        y.register_hook(lambda g: result)
        y.sum().backward()

    return call


def item(key: Any, value: Any = 0.0) -> Callable[[Any], None]:
    def call(t: Any) -> None:
        t.m[key] = value

    return call


def generator() -> Any:
    return wg.random.default_rng(0)


SHAPE, DTYPE, GRAPH, TRACE = wg.ShapeError, wg.DTypeError, wg.GraphError, wg.TraceError
VALUE, TYPE, BOUNDS, MEMORY = wg.ArgumentError, wg.ArgumentTypeError, wg.BoundsError, wg.OutOfMemory
BUILTIN = {
    SHAPE: ValueError,
    DTYPE: TypeError,
    GRAPH: RuntimeError,
    TRACE: TypeError,
    VALUE: ValueError,
    TYPE: TypeError,
    BOUNDS: IndexError,
    MEMORY: MemoryError,
}

CALLS: dict[str, tuple[Callable[[Any], Any], type, str]] = {
    # shapes
    "add": (lambda t: t.x + wg.ones(4), SHAPE, r"add: shapes \(3,\) and \(4,\) do not broadcast"),
    "where": (lambda t: wg.where(t.b, t.x, wg.ones(2)), SHAPE, r"where: .*\(3,\).*\(2,\)"),
    "matmul inner": (lambda t: t.m @ t.m, SHAPE, r"matmul: .*\(2, 3\).*\(2, 3\)"),
    "matmul scalar": (lambda t: t.m @ t.s, SHAPE, r"matmul: .*\(\)"),
    "matmul batch": (
        lambda t: wg.matmul(wg.ones((2, 3, 4)), wg.ones((3, 4, 5))),
        SHAPE,
        r"matmul: .*\(2, 3, 4\).*\(3, 4, 5\)|matmul: .*\(2,\).*\(3,\)",
    ),
    "dot": (lambda t: wg.dot(t.x, wg.ones(2)), SHAPE, r"\(3,\).*\(2,\)"),
    "vecdot": (lambda t: wg.vecdot(t.x, wg.ones(2)), SHAPE, r"vecdot: axis -1 has sizes 3 and 2"),
    "tensordot": (lambda t: wg.tensordot(t.m, t.m, axes=1), SHAPE, r"tensordot: .*3.*2"),
    "tensordot axes": (lambda t: wg.tensordot(t.m, t.m, axes=5), SHAPE, r"tensordot: .*5"),
    "reshape": (lambda t: t.m.reshape(4), SHAPE, r"reshape: .*\(2, 3\).*\(4,\)"),
    "reshape two": (lambda t: t.m.reshape(-1, -1), SHAPE, r"reshape: .*\(-1, -1\)"),
    "reshape minus": (lambda t: t.m.reshape(-2, 3), SHAPE, r"reshape: .*\(-2, 3\)"),
    "reshape huge": (lambda t: t.m.reshape(2**62, 4), MEMORY, r"reshape: .*4611686018427387904"),
    "concat": (lambda t: wg.concat([t.m, wg.ones((2, 4))]), SHAPE, r"concat: .*\(2, 3\).*\(2, 4\)"),
    "concat none": (lambda t: wg.concat([]), TYPE, r"concat: needs at least one"),
    "stack": (lambda t: wg.stack([t.x, t.m]), SHAPE, r"stack: .*\(3,\).*\(2, 3\)"),
    "split": (lambda t: wg.split(t.x, 2), SHAPE, r"split: .*3.*2"),
    "broadcast_to": (lambda t: wg.broadcast_to(t.x, (2, 4)), SHAPE, r"\(3,\).*\(2, 4\)"),
    "expand": (lambda t: t.m.expand(3), SHAPE, r"expand: \(3,\) has fewer axes than \(2, 3\)"),
    "squeeze": (lambda t: wg.squeeze(t.m, axis=0), SHAPE, r"squeeze: .*2"),
    "transpose": (lambda t: wg.matrix_transpose(t.x), SHAPE, r"matrix_transpose: .*\(3,\)"),
    "linear": (lambda t: t.model(wg.ones((1, 4))), SHAPE, r"linear: .*\(1, 4\).*\(2, 3\)"),
    "layer_norm": (
        lambda t: wg.nn.functional.layer_norm(t.x, (4,)),
        SHAPE,
        r"layer_norm: .*4.*3|layer_norm: .*3.*4",
    ),
    "masked": (lambda t: t.m[t.b], BOUNDS, r"index: a mask .*\(3,\)"),
    "assign": (lambda t: t.x.assign([1.0, 2.0]), SHAPE, r"assign: .*\(2,\)|assign: .*\(3,\)"),
    "set row": (item(0, [1.0, 2.0]), SHAPE, r"index assignment: .*\(2,\).*\(3,\)"),
    "l1_loss": (
        lambda t: wg.nn.functional.l1_loss(t.x, t.i, reduction="all"),
        VALUE,
        r"reduction must be .* got 'all'",
    ),
    "diag": (lambda t: wg.diag(wg.ones((1, 1, 1))), SHAPE, r"diag: .*\(1, 1, 1\)"),
    "cross": (lambda t: wg.linalg.cross(t.m, wg.ones(2)), SHAPE, r"cross: .*\(2, 3\).*\(2,\)"),
    "matrix_power": (lambda t: wg.linalg.matrix_power(t.m, 2), SHAPE, r"\(2, 3\)"),
    "item": (lambda t: t.x.item(), SHAPE, r"item: needs .* one element; got shape \(3,\)"),
    "float": (lambda t: float(t.x), SHAPE, r"one element; got shape \(3,\)"),
    "bool": (lambda t: bool(t.x), VALUE, r"bool: the truth of a tensor with 3 elements"),
    "len": (lambda t: len(t.s), TYPE, r"len: a 0-d tensor"),
    "iter": (lambda t: list(t.s), TYPE, r"iter: a 0-d tensor"),
    "index": (lambda t: [1, 2][t.s], TYPE, r"index: .*float32 \(\)"),
    # axes
    "sum axis": (lambda t: wg.sum(t.m, axis=2), SHAPE, r"sum: axis 2 is out of range for 2"),
    "sum twice": (lambda t: wg.sum(t.m, axis=(0, -2)), SHAPE, r"sum: axes must be distinct; got"),
    "sum nan": (lambda t: wg.sum(t.m, axis=float("nan")), TYPE, r"sum: 'axis' takes .*; got nan"),
    "sum text": (lambda t: wg.sum(t.m, axis="rows"), TYPE, r"sum: 'axis' takes .*; got 'rows'"),
    "softmax none": (lambda t: wg.softmax(t.x, axis=()), TYPE, r"softmax: 'axis' takes .*got \(\)"),
    "softmax two": (lambda t: wg.softmax(t.x, axis=[0, 1]), TYPE, r"softmax: .*got \[0, 1\]"),
    "softmax big": (lambda t: wg.softmax(t.x, axis=2**64), VALUE, r"18446744073709551616"),
    "keepdims": (lambda t: wg.sum(t.x, keepdims="no"), TYPE, r"sum: 'keepdims' takes a bool.*'no'"),
    "permute": (lambda t: wg.permute_dims(t.m, (0, 0)), SHAPE, r"permute_dims: .*\(0, 0\)"),
    "permute few": (lambda t: wg.permute_dims(t.m, (0,)), SHAPE, r"permute_dims: .*\(0,\)"),
    "expand_dims": (lambda t: wg.expand_dims(t.x, axis=5), SHAPE, r"expand_dims: .*5"),
    "flip": (lambda t: wg.flip(t.x, axis=3), SHAPE, r"flip: axis 3"),
    "cumulative_sum": (lambda t: wg.cumulative_sum(t.x, axis=1), SHAPE, r"cumulative_sum: axis 1"),
    "take": (lambda t: wg.take(t.m, t.i, axis=4), SHAPE, r"take: axis 4"),
    "flatten": (lambda t: t.m.flatten(3), SHAPE, r"flatten: axis 3 .*\(2, 3\)"),
    "swapaxes": (lambda t: t.m.swapaxes(0, 9), SHAPE, r"axis 9"),
    # indices
    "index out": (
        lambda t: t.x[3],
        BOUNDS,
        r"index: index 3 is out of range for axis 0 with size 3",
    ),
    "index many": (lambda t: t.x[0, 0], BOUNDS, r"index: too many indices: 2 for 1"),
    "index dots": (lambda t: t.x[..., ...], BOUNDS, r"index: only one `...` .*got 2"),
    "index float": (lambda t: t.x[1.5], TYPE, r"index: takes ints.*got 1.5"),
    "index text": (lambda t: t.x["a"], TYPE, r"index: takes ints.*got 'a'"),
    "index floats": (lambda t: t.x[t.x], DTYPE, r"index: .*float32 \(3,\)"),
    "index huge": (lambda t: t.x[2**70], BOUNDS, r"index: 1180591620717411303424"),
    "slice step": (lambda t: t.x[::0], VALUE, r"index: the step of a slice .*0"),
    "index array": (lambda t: t.x[[0, 7]], BOUNDS, r"7.*3"),
    "take out": (lambda t: wg.take(t.x, [5], axis=0), BOUNDS, r"take: .*5.*3"),
    "along out": (lambda t: wg.take_along_axis(t.x, wg.tensor([9]), 0), BOUNDS, r"9.*3"),
    "delete": (lambda t: t.x.__delitem__(0), TYPE, r"index: elements .* deleted"),
    "set out": (item((5, 0)), BOUNDS, r"index 5 is out of range for axis 0 with size 2"),
    "classes": (
        lambda t: wg.nn.functional.cross_entropy(t.m, wg.tensor([0, 3])),
        BOUNDS,
        r"cross_entropy.*3",
    ),
    "one_hot": (lambda t: wg.one_hot(t.i, 2), BOUNDS, r"one_hot: .*2"),
    "embedding": (
        lambda t: wg.nn.functional.embedding(wg.tensor([7]), t.m),
        BOUNDS,
        r"7.*2",
    ),
    # dtypes and Python types
    "complex": (lambda t: wg.tensor(np.ones(2, complex)), DTYPE, r"'complex128' is not supported"),
    "half": (lambda t: wg.asarray(np.ones(2, np.float16)), DTYPE, r"'float16' is not supported"),
    "strings": (lambda t: wg.tensor(["a"]), DTYPE, r"real numbers; got text in \['a'\]"),
    "objects": (lambda t: wg.tensor([None]), DTYPE, r"sequence holds numbers, .*\[None\]"),
    "ragged": (lambda t: wg.tensor([[1.0], [2.0, 3.0]]), VALUE, r"tensor: .*inhomogeneous"),
    "tensor None": (lambda t: wg.tensor(None), TYPE, r"tensor: cannot make .* NoneType"),
    "tensor text": (lambda t: wg.tensor("one"), TYPE, r"tensor: .*str; got 'one'"),
    "big int": (lambda t: wg.tensor(2**64), DTYPE, r"tensor: .*18446744073709551616"),
    "dtype name": (lambda t: wg.zeros(2, dtype="int8"), DTYPE, r"dtype: 'int8' is not supported"),
    "dtype junk": (lambda t: wg.zeros(2, dtype="junk"), DTYPE, r"dtype: .*'junk'"),
    "astype": (lambda t: t.x.astype("complex64"), DTYPE, r"'complex64' is not supported"),
    "add None": (lambda t: t.x + None, TYPE, r"add: cannot combine a tensor with a NoneType"),
    "add text": (lambda t: "a" + t.x, TYPE, r"add: cannot combine a str with a tensor"),
    "exp text": (lambda t: wg.exp("two"), TYPE, r"exp: takes tensors.*got 'two'"),
    "exp nothing": (lambda t: wg.exp(), TYPE, r"exp: the argument 'x' is missing"),
    "exp two": (lambda t: wg.exp(t.x, t.x), TYPE, r"exp: takes at most 1 arguments; got 2"),
    "unknown": (lambda t: wg.sum(t.x, rows=1), TYPE, r"sum: has no argument 'rows'"),
    "given twice": (
        lambda t: wg.sum(t.x, 0, axis=0),
        TYPE,
        r"sum: the argument 'axis' is given tw",
    ),
    "bitwise": (lambda t: wg.bitwise_and(t.x, 1), DTYPE, r"bitwise_and: .*float32"),
    "negative bool": (lambda t: -t.b, DTYPE, r"negative: .*bool"),
    "int requires": (lambda t: wg.tensor([1], requires_grad=True), DTYPE, r"tensor: .*got int64"),
    "int requires later": (lambda t: t.i.requires_grad_(), DTYPE, r"^requires_grad_: .*int64"),
    "assign floats": (lambda t: t.i.assign(t.x), DTYPE, r"assign: float32 into int64"),
    "requires text": (
        lambda t: wg.tensor(1.0, requires_grad="yes"),
        TYPE,
        r"takes a bool; got 'yes'",
    ),
    "grad int": (lambda t: wg.grad(lambda a: a.sum())(t.i), DTYPE, r"grad: argument 0 .*int64"),
    "grad text": (lambda t: wg.grad(lambda a: a)("a"), TYPE, r"grad: leaves .*'a'"),
    "asarray copy": (lambda t: wg.asarray([1.0], copy=False), VALUE, r"asarray: .*copy=False"),
    "device": (lambda t: wg.zeros(2, device="gpu"), VALUE, r"the only device is 'cpu'; got 'gpu'"),
    # sizes and ranges
    "negative size": (lambda t: wg.zeros((2, -1)), SHAPE, r"zeros: .*\(2, -1\)"),
    "float size": (lambda t: wg.zeros((2.0,)), TYPE, r"zeros: 'shape' takes .*\(2.0,\)"),
    "absurd": (lambda t: wg.ones((2**40, 2**40)), MEMORY, r"ones: .*1099511627776"),
    "memory": (
        lambda t: wg.zeros(2**50),
        MEMORY,
        r"^zeros: 4503599627370\d+ bytes asked for; the machine has \d+",
    ),
    "beyond": (lambda t: wg.zeros(2**80), MEMORY, r"zeros: shape .* is beyond any memory"),
    "many axes": (lambda t: wg.zeros((1,) * 99), SHAPE, r"zeros: at most .* axes .* got 99"),
    "arange step": (lambda t: wg.arange(0, 3, 0), VALUE, r"arange: 'step' must not be 0"),
    "arange text": (lambda t: wg.arange("a"), TYPE, r"arange: 'stop' takes a number; got 'a'"),
    "arange nan": (lambda t: wg.arange(float("nan")), VALUE, r"arange: .*nan"),
    "arange long": (lambda t: wg.arange(2**62), MEMORY, r"arange: 4611686018427387904"),
    "linspace": (lambda t: wg.linspace(0, 1, -1), SHAPE, r"linspace: 'num' .* got -1"),
    "linspace num": (lambda t: wg.linspace(0, 1, 2.5), TYPE, r"linspace: 'num' takes .* 2.5"),
    "eye": (lambda t: wg.eye(-1), SHAPE, r"eye: sizes must not be negative; got \(-1, -1\)"),
    "eye text": (lambda t: wg.eye("3"), TYPE, r"eye: 'n_rows' takes an int; got '3'"),
    "repeat": (lambda t: wg.repeat(t.x, -1), SHAPE, r"repeat: .*-1"),
    "tile": (lambda t: wg.tile(t.x, (-2,)), SHAPE, r"tile: .*-2"),
    "pad": (lambda t: wg.pad(t.x, -1), SHAPE, r"pad: .*-1"),
    "max empty": (lambda t: wg.max(t.empty), SHAPE, r"max: .*\(0, 3\)"),
    "argmin empty": (lambda t: wg.argmin(t.empty, axis=0), SHAPE, r"argmin: .*\(0, 3\)"),
    "threads 0": (lambda t: wg.set_num_threads(0), VALUE, r"set_num_threads: .* got 0"),
    "threads text": (lambda t: wg.set_num_threads("2"), TYPE, r"set_num_threads: 'n' .* got '2'"),
    "meshgrid": (lambda t: wg.meshgrid(t.x, indexing="ab"), VALUE, r"meshgrid: .*'ab'"),
    # random
    "integers": (lambda t: generator().integers(5, 2), VALUE, r"integers: .*5.*2|integers: .*2.*5"),
    "normal": (lambda t: generator().normal(0, -1.0), VALUE, r"normal: 'scale' .* got -1.0"),
    "bernoulli": (lambda t: generator().bernoulli(1.5), VALUE, r"bernoulli: 'p' .* got 1.5"),
    "choice": (lambda t: generator().choice(0), VALUE, r"choice: .*got 0 items"),
    "choice more": (
        lambda t: generator().choice(3, 5, replace=False),
        VALUE,
        r"choice: 5 of 3 cannot",
    ),
    "random size": (lambda t: generator().random(-3), SHAPE, r"-3"),
    "random dtype": (lambda t: generator().random(3, dtype=wg.int32), DTYPE, r"int32"),
    # einsum
    "einsum text": (lambda t: wg.einsum("ij,jk", t.m), VALUE, r"einsum: .*'ij,jk'|einsum: .*2.*1"),
    "einsum sizes": (lambda t: wg.einsum("ij,jk->ik", t.m, t.m), SHAPE, r"einsum: .*'?j'?.*3.*2"),
    "einsum axes": (lambda t: wg.einsum("ijk->i", t.m), SHAPE, r"einsum: .*ijk"),
    "einsum output": (lambda t: wg.einsum("ij->z", t.m), VALUE, r"einsum: .*z"),
    "einsum sign": (lambda t: wg.einsum("i!->i", t.x), VALUE, r"einsum: .*!"),
    # graphs
    "backward many": (lambda t: (t.leaf * 2).backward(), SHAPE, r"backward: .*got shape \(3,\)"),
    "backward none": (lambda t: t.s.backward(), GRAPH, r"backward: .*requires_grad=True"),
    "backward like": (
        lambda t: (t.leaf * 2).backward(wg.ones(2)),
        SHAPE,
        r"backward: .*float32 \(3,\); got float32 \(2,\)",
    ),
    "backward flag": (
        lambda t: t.leaf.sum().backward(retain_graph="yes"),
        TYPE,
        r"backward: 'retain_graph' takes a bool; got 'yes'",
    ),
    "backward text": (lambda t: t.leaf.sum().backward("one"), TYPE, r"tensor: .*'one'"),
    "hook text": (hooked("junk"), TYPE, r"hook: must return a tensor or None; got 'junk'"),
    "hook shape": (hooked(np.float32(1)), TYPE, r"hook: must return a tensor"),
    "hook none": (lambda t: t.leaf.register_hook(3), TYPE, r"register_hook: .*got 3"),
    "hook plain": (lambda t: t.x.register_hook(print), GRAPH, r"register_hook: .*gradient"),
    "retain": (lambda t: t.x.retain_grad(), GRAPH, r"retain_grad: .*gradient"),
    "leaf in place": (lambda t: t.leaf.assign(0.0), GRAPH, r"assign: a leaf .*wg.no_grad"),
    "broadcast in place": (lambda t: t.wide.assign(2.0), VALUE, r"assign: .*broadcast view"),
    "grad like": (
        lambda t: setattr(t.leaf, "grad", wg.ones(2)),
        SHAPE,
        r"grad: .*float32 \(3,\); got float32 \(2,\)",
    ),
    "set grad text": (lambda t: setattr(t.leaf, "grad", "a"), TYPE, r"grad: .*str"),
    "requires result": (
        lambda t: (t.leaf * 2).requires_grad_(False),
        GRAPH,
        r"^requires_grad_: .*'multiply'",
    ),
    "numpy traced": (lambda t: wg.vmap(lambda a: a.numpy())(t.x), TRACE, r"numpy: a traced value"),
    "float traced": (lambda t: wg.vmap(lambda a: float(a))(t.x), TRACE, r"item: a traced value"),
    "if traced": (lambda t: wg.vmap(lambda a: a if a else a)(t.x), TRACE, r"bool: a traced value"),
    # transforms
    "grad output": (lambda t: wg.grad(lambda a: a)(t.x), SHAPE, r"grad: .*\(3,\)"),
    "grad argnums": (lambda t: wg.grad(wg.sum, argnums=2)(t.x), VALUE, r"argnums 2 .* 1 arg"),
    "grad aux": (lambda t: wg.grad(wg.sum, has_aux=True)(t.x), TYPE, r"has_aux=True"),
    "vjp like": (lambda t: wg.vjp(wg.exp, t.x)[1](wg.ones(2)), SHAPE, r"\(3,\); got \(2,\)"),
    "vjp tree": (lambda t: wg.vjp(wg.exp, t.x)[1]([t.x, t.x]), VALUE, r"vjp: the cotangent"),
    "jvp tree": (lambda t: wg.jvp(wg.exp, (t.x,), ([t.x],)), VALUE, r"jvp: tangents must be like"),
    "jvp number": (lambda t: wg.jvp(wg.add, (t.x, t.x), (t.x,)), VALUE, r"jvp: 2 primals but 1"),
    "jvp shape": (lambda t: wg.jvp(wg.exp, (t.x,), (wg.ones(2),)), SHAPE, r"\(3,\); got \(2,\)"),
    "jvp plain": (lambda t: wg.jvp(wg.exp, 3, 4), TYPE, r"jvp: 'primals' takes .*; got 3"),
    "vmap axis": (lambda t: wg.vmap(wg.exp, in_axes=3)(t.x), SHAPE, r"vmap: in_axes 3 .*\(3,\)"),
    "vmap sizes": (lambda t: wg.vmap(wg.add)(t.x, wg.ones(2)), SHAPE, r"vmap: .*\[2, 3\]"),
    "vmap none": (lambda t: wg.vmap(wg.exp, in_axes=None)(t.x), VALUE, r"vmap: at least one"),
    "vmap out": (lambda t: wg.vmap(wg.exp, out_axes=4)(t.x), SHAPE, r"vmap: out_axes 4 .*\(3,\)"),
    "vmap text": (lambda t: wg.vmap(wg.exp, in_axes="a")(t.x), TYPE, r"vmap: axes must .*'a'"),
    # models and optimisers
    "state missing": (lambda t: t.model.load_state_dict({}), VALUE, r"load_state_dict: .*weight"),
    "state shape": (
        lambda t: t.model.load_state_dict({"weight": wg.ones((1, 3)), "bias": wg.ones(2)}),
        SHAPE,
        r"load_state_dict: .*weight.*\(2, 3\).*|load_state_dict: .*weight.*\(1, 3\)",
    ),
    "state type": (lambda t: t.model.load_state_dict([1]), TYPE, r"load_state_dict: .*list"),
    "state text": (
        lambda t: t.model.load_state_dict({"weight": "a", "bias": wg.ones(2)}),
        wg.Error,
        r"load_state_dict.*weight|'a'",
    ),
    "SGD lr": (lambda t: wg.optim.SGD([t.leaf], lr=-1.0), VALUE, r"SGD: 'lr' .* got -1.0"),
    "SGD momentum": (
        lambda t: wg.optim.SGD([t.leaf], lr=0.1, momentum=-2.0),
        VALUE,
        r"SGD: 'momentum' .* got -2.0",
    ),
    "Adam betas": (
        lambda t: wg.optim.Adam([t.leaf], betas=(1.5, 0.9)),
        VALUE,
        r"Adam: .*1.5",
    ),
    "SGD empty": (lambda t: wg.optim.SGD([], lr=0.1), VALUE, r"SGD: got no parameters"),
    "SGD tensor": (lambda t: wg.optim.SGD(t.leaf, lr=0.1), TYPE, r"^SGD: .*one tensor"),
    "SGD ints": (lambda t: wg.optim.SGD([t.i], lr=0.1), TYPE, r"^SGD: .*int64"),
    "SGD result": (lambda t: wg.optim.SGD([t.leaf * 2], lr=0.1), GRAPH, r"^SGD: .*leaves"),
    "SGD twice": (lambda t: wg.optim.SGD([t.leaf, t.leaf], lr=0.1), VALUE, r"more than once"),
    # files
    "load none": (lambda t: wg.load("/nowhere/x"), wg.FileError, r"no file '/nowhere/x'"),
    "load folder": (lambda t: wg.load("/"), wg.FileError, r"'/' is a folder"),
    "load bad": (lambda t: wg.load(__file__), wg.FileError, r"test_errors.py' is not a whole"),
    "load type": (lambda t: wg.load(3), TYPE, r"load: takes a path, .*; got 3"),
    "save folder": (lambda t: wg.save("/nowhere/x", t.x), wg.FileError, r"cannot write '/nowhere"),
    "save type": (lambda t: wg.save("/nowhere/x", object()), TYPE, r"save: .*of type object"),
    "save key": (lambda t: wg.save("/nowhere/x", {1: t.x}), TYPE, r"save: keys .* got 1"),
}


def contents(t: Any) -> dict[str, Any]:
    tensors = {k: v for k, v in vars(t).items() if isinstance(v, wg.Tensor)}
    tensors |= dict(t.model.named_parameters())
    return {
        k: (v.detach().numpy().tobytes(), v.shape, v.dtype, v.requires_grad, v.grad is None)
        for k, v in tensors.items()
    }


def test_the_table_is_long_enough() -> None:
    assert len(CALLS) >= 100


@pytest.mark.parametrize("name", CALLS)
def test_wrong_call(name: str) -> None:
    call, kind, pattern = CALLS[name]
    t = things()
    before, threads = contents(t), wg.get_num_threads()
    gc.collect()
    alive = wg.memory.live_bytes(), wg.memory.live_objects()
    with pytest.raises(kind, match=pattern) as caught:
        call(t)
    assert isinstance(caught.value, wg.Error)
    assert isinstance(caught.value, BUILTIN.get(kind, Exception))
    del caught
    gc.collect()
    assert (wg.memory.live_bytes(), wg.memory.live_objects()) == alive
    assert contents(t) == before and wg.get_num_threads() == threads
    assert wg.is_grad_enabled()


@pytest.mark.parametrize(
    ("call", "operation", "recorded", "afterwards"),
    [
        (twice, "sum", "y = (t.leaf * t.leaf)", "y.backward()"),
        (changed, "multiply", "y = (t.leaf * w)", "w.assign"),
    ],
)
def test_graph_errors_name_the_operation_and_both_lines(
    call: Callable, operation: str, recorded: str, afterwards: str
) -> None:
    """Where the operation was recorded; where it was freed, or its value changed."""
    lines = HERE.read_text().splitlines()
    start = call.__code__.co_firstlineno
    places = []
    for beginning in (recorded, afterwards):
        body = range(start, start + 6)
        line = next(n for n in body if lines[n - 1].strip().startswith(beginning))
        places.append(f"{HERE}:{line}")
    with pytest.raises(wg.GraphError) as caught:
        call(things())
    message = str(caught.value)
    assert message.startswith(f"{operation}: ")
    assert f"recorded at {places[0]}," in message
    assert f"at {places[1]}." in message


@pytest.mark.parametrize("seed", range(3))
def test_random_calls(seed: int, tmp_path: Path) -> None:
    """Some thousand random wrong calls with bounded memory: only errors of the package come
    out, the process does not die and does not hang."""
    log = tmp_path / "call"
    done = subprocess.run(
        [sys.executable, str(HERE.with_name("fuzz_calls.py")), str(seed), "4000", str(log)],
        capture_output=True,
        text=True,
    )
    last = log.read_text(errors="replace").strip() if log.exists() else "no call"
    assert done.returncode == 0, f"{last}\n{done.stderr}"
    assert not done.stdout, done.stdout
