"""What PyTorch, JAX and NumPy call by another name, for the errors of names that are not here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from ._core import Error

_DRAW = "wg.random.default_rng(seed)"
_CPU = "it as it is: everything is on the CPU"
_FLOATS = "wg.float32 or wg.float64"
_CONVOLUTION = "wg.primitive to make one: there are no convolutions and no pooling"
_MODULES = "dict(module.named_modules())[name]"
_WRAPPED = "a subclass whose forward calls super().forward"
# Of these what is a method elsewhere is a function here.
_FUNCTIONS = """
    acos acosh allclose amax amin argsort asin asinh atan atan2 atanh broadcast_to conj copysign
    cosh deg2rad diag diff erf erfc flip hypot imag inner isclose isfinite isinf isnan kron log10
    log2 logaddexp logical_and logical_not logical_or logical_xor maximum minimum moveaxis
    nan_to_num outer ptp rad2deg real remainder roll searchsorted signbit sinh sort tile trunc vdot
    where
""".split()  # noqa: SIM905
_DECOMPOSITIONS = """
    cholesky det eig eigh eigvalsh inv lstsq pinv qr slogdet solve svd
""".split()  # noqa: SIM905
_NAMES: dict[str, dict[str, str]] = {
    "wengert": {
        "Generator": "wg.random.default_rng",
        "array": "wg.tensor (copies) or wg.asarray (shares)",
        "as_tensor": "wg.asarray",
        "ascontiguousarray": "wg.asarray: every operation takes any strides",
        "autograd": "wg.grad or tensor.backward()",
        "bfloat16": _FLOATS,
        "block_until_ready": "the result: it is there when its call returns",
        "bmm": "wg.matmul",
        "cat": "wg.concat",
        "chunk": "wg.split or wg.array_split",
        "clamp": "wg.clip",
        "cuda": _CPU,
        "custom_jvp": "wg.primitive and its def_jvp",
        "custom_vjp": "wg.primitive and its def_vjp",
        "device": _CPU,
        "device_get": _CPU,
        "device_put": _CPU,
        "div": "wg.divide",
        "double": "wg.float64",
        "eq": "wg.equal",
        "flatten": "x.flatten()",
        "float": _FLOATS,
        "float16": _FLOATS,
        "fori_loop": "wg.scan(f, init, None, length=n)",
        "from_numpy": "wg.asarray",
        "func": "wg itself: wg.grad, wg.vmap, ...",
        "functional": "wg.nn.functional, or wg itself: wg.grad, wg.vmap, ...",
        "gather": "wg.take_along_axis",
        "gt": "wg.greater",
        "half": _FLOATS,
        "index_select": "wg.take",
        "inference_mode": "wg.no_grad",
        "int": "wg.int32 or wg.int64",
        "is_tensor": "isinstance(x, wg.Tensor)",
        "jit": "wg.compile",
        "lax": "wg.scan, wg.cond or wg.while_loop",
        "long": "wg.int64",
        "lt": "wg.less",
        "manual_seed": "wg.random.seed",
        "mm": "wg.matmul",
        "movedim": "wg.moveaxis",
        "mul": "wg.multiply",
        "ndarray": "wg.Tensor",
        "neg": "wg.negative",
        "norm": "wg.linalg.vector_norm or wg.linalg.matrix_norm",
        "numel": "x.size",
        "numpy": "wg itself: wg.sum, wg.exp, ...",
        "permute": "wg.permute_dims",
        "pmap": "wg.vmap",
        "rand": f"{_DRAW}.random(size)",
        "randint": f"{_DRAW}.integers(low, high, size)",
        "randn": f"{_DRAW}.normal(size=...)",
        "repeat_interleave": "wg.repeat",
        "set_default_dtype": "dtype=wg.float64 where tensors and layers are made",
        "set_grad_enabled": "wg.no_grad or wg.enable_grad",
        "sub": "wg.subtract",
        "t": "wg.matrix_transpose or x.T",
        "topk": "wg.argsort, of which the last k",
        "tree_map": "wg.tree.map",
        "tree_util": "wg.tree",
        "unbind": "wg.unstack",
        "unsqueeze": "wg.expand_dims",
    },
    "wengert.linalg": {
        name: f"wg.primitive around numpy.linalg.{name}: there are no decompositions"
        for name in _DECOMPOSITIONS
    },
    "wengert.nn": {
        "BatchNorm": "wg.nn.BatchNorm1d or wg.nn.BatchNorm2d",
        "Conv1d": _CONVOLUTION,
        "Conv2d": _CONVOLUTION,
        "Conv3d": _CONVOLUTION,
        "Dense": "wg.nn.Linear",
        "GRUCell": "wg.nn.GRU, or wg.scan over a cell of your own",
        "LSTMCell": "wg.nn.LSTM, or wg.scan over a cell of your own",
        "ModuleDict": "wg.nn.ModuleList, or attributes of a wg.nn.Module",
        "MultiheadAttention": "wg.nn.MultiHeadAttention",
        "PReLU": "wg.nn.LeakyReLU(wg.nn.Parameter([0.25]))",
        "ParameterList": "attributes of a wg.nn.Module",
        "RNN": "wg.nn.LSTM or wg.nn.GRU, or wg.scan over a cell of your own",
        "utils": "wg.optim.clip_grad_norm",
    },
    "wengert.nn.functional": {
        "avg_pool2d": _CONVOLUTION,
        "conv1d": _CONVOLUTION,
        "conv2d": _CONVOLUTION,
        "max_pool2d": _CONVOLUTION,
        "multi_head_attention_forward": "wg.nn.MultiHeadAttention",
        "pad": "wg.pad",
    },
    "wengert.optim": {
        "LBFGS": "scipy.optimize.minimize with wg.ravel and wg.value_and_grad",
        "RMSprop": "wg.optim.RMSProp",
        "adam": "wg.optim.Adam",
        "clip_grad_norm_": "wg.optim.clip_grad_norm",
        "lr_scheduler": "a schedule as lr: wg.optim.cosine, wg.optim.linear or wg.optim.warmup",
        "sgd": "wg.optim.SGD",
    },
    "wengert.random": {
        "PRNGKey": _DRAW,
        "key": _DRAW,
        "manual_seed": "wg.random.seed",
        "normal": f"{_DRAW}.normal",
        "rand": f"{_DRAW}.random(size)",
        "randint": f"{_DRAW}.integers(low, high, size)",
        "randn": f"{_DRAW}.normal(size=...)",
        "split": f"{_DRAW}.spawn(n)",
        "uniform": f"{_DRAW}.uniform",
    },
    "wengert.Tensor": {
        **{name: f"wg.{name}(x, ...)" for name in _FUNCTIONS},
        "absolute": "abs(x)",
        "add": "x + y",
        "add_": "x += y, for a leaf inside wg.no_grad()",
        "addmm": "x + a @ b",
        "at": "wg.where(mask, value, x), or x[i] = value on a tensor that is not recorded",
        "bfloat16": "x.astype(wg.float32)",
        "block_until_ready": "the result: it is there when its call returns",
        "bmm": "x @ y",
        "chunk": "x.split(sections, axis)",
        "clamp_": "x.assign(wg.clip(x, min, max))",
        "clamp_max": "wg.minimum(x, max)",
        "clamp_min": "wg.maximum(x, min)",
        "conjugate": "wg.conj(x)",
        "contiguous": "it as it is: every operation takes any strides",
        "copy_": "x.assign(value)",
        "cpu": _CPU,
        "cross": "wg.linalg.cross(x, y)",
        "cuda": _CPU,
        "data": "x.detach() to read, x.assign(value) inside wg.no_grad() to write",
        "detach_": "x.detach()",
        "device_buffer": _CPU,
        "devices": _CPU,
        "dim": "x.ndim",
        "div": "x / y",
        "div_": "x /= y, for a leaf inside wg.no_grad()",
        "divide": "x / y",
        "element_size": "x.dtype.itemsize",
        "eq": "x == y",
        "equal": "wg.array_equal(x, y), or x == y for each element",
        "expand_as": "x.expand(y.shape)",
        "fill": "x.assign(value)",
        "fill_": "x.assign(value)",
        "flat": "x.ravel()",
        "floor_divide": "x // y",
        "gather": "wg.take_along_axis(x, index, axis)",
        "ge": "x >= y",
        "get_device": _CPU,
        "gt": "x > y",
        "half": "x.astype(wg.float32)",
        "index_select": "wg.take(x, index, axis=axis)",
        "is_contiguous": "it as it is: every operation takes any strides",
        "is_cuda": _CPU,
        "is_floating_point": "x.dtype.kind == 'f'",
        "itemsize": "x.dtype.itemsize",
        "le": "x <= y",
        "lt": "x < y",
        "masked_fill_": "x.assign(x.masked_fill(mask, value))",
        "masked_select": "x[mask]",
        "matrix_power": "wg.linalg.matrix_power(x, n)",
        "mm": "x @ y",
        "movedim": "wg.moveaxis(x, source, destination)",
        "mul": "x * y",
        "mul_": "x *= y, for a leaf inside wg.no_grad()",
        "multiply": "x * y",
        "mv": "x @ y",
        "narrow": "a slice, such as x[:, start:stop]",
        "nbytes": "x.size * x.dtype.itemsize",
        "ne": "x != y",
        "neg": "-x",
        "negative": "-x",
        "new_full": "wg.full(shape, value, dtype=x.dtype)",
        "new_ones": "wg.ones(shape, dtype=x.dtype)",
        "new_tensor": "wg.tensor(data, dtype=x.dtype)",
        "new_zeros": "wg.zeros(shape, dtype=x.dtype)",
        "norm": "wg.linalg.vector_norm(x)",
        "normal_": "wg.nn.init.normal_(x)",
        "not_equal": "x != y",
        "numel": "x.size",
        "pin_memory": _CPU,
        "repeat_interleave": "x.repeat(repeats, axis)",
        "reshape_as": "x.reshape(y.shape)",
        "resize": "x.reshape(shape)",
        "select": "an index, such as x[:, i]",
        "share_memory_": "nothing: threads share every tensor",
        "sharding": _CPU,
        "sub": "x - y",
        "sub_": "x -= y, for a leaf inside wg.no_grad()",
        "subtract": "x - y",
        "swapdims": "x.swapaxes(axis1, axis2)",
        "t": "x.T",
        "take_along_dim": "wg.take_along_axis(x, index, axis)",
        "to_device": _CPU,
        "tobytes": "x.numpy().tobytes()",
        "topk": "wg.argsort(x), of which the last k",
        "true_divide": "x / y",
        "type": "x.astype(dtype), or x.dtype",
        "type_as": "x.astype(y.dtype)",
        "unbind": "list(x), or wg.unstack(x, axis=axis)",
        "uniform_": "wg.nn.init.uniform_(x, low, high)",
        "view_as": "x.reshape(y.shape)",
        "zero_": "x.assign(0)",
    },
    "wengert.nn.Module": {
        "bfloat16": "module.astype(wg.float32)",
        "compile": "wg.compile, best around a whole training step",
        "cpu": _CPU,
        "cuda": _CPU,
        "double": "module.astype(wg.float64)",
        "float": "module.astype(wg.float32)",
        "get_parameter": "dict(module.named_parameters())[name]",
        "get_submodule": _MODULES,
        "half": "module.astype(wg.float32)",
        "init": "nothing: a layer draws its parameters when it is made",
        "register_forward_hook": _WRAPPED,
        "register_forward_pre_hook": _WRAPPED,
        "register_full_backward_hook": "tensor.register_hook on what forward returns",
        "register_module": "module.add_module",
        "share_memory": "nothing: threads share every tensor",
        "to": "module.astype(dtype), or nothing for a device: everything is on the CPU",
        "type": "module.astype(dtype)",
    },
}


_ONE_CALL = "a step is one call for all parameters anyway: leave it out"
_NO_COMPILER = "there is no compiler to tune: leave it out"
_ON_CPU = "everything is on the CPU: leave it out"
# What arguments of other libraries are called here; where there is none, what to do.
_ARGUMENTS: dict[str, tuple[str, ...] | str] = {
    "argnum": ("argnums",),
    "axes": ("axis", "dim"),
    "axis": ("dim", "axes"),
    "backend": _NO_COMPILER,
    "beta1": ("betas",),
    "beta2": ("betas",),
    "decay": ("weight_decay",),
    "descending": "give -x, or turn the result by wg.flip",
    "device": _ON_CPU,
    "dim": ("axis", "axes"),
    "dims": ("axis", "axes"),
    "donate_argnums": "what a call changes it changes in place: leave it out",
    "dynamic": "each new shape is recorded once: leave it out",
    "end": ("stop",),
    "epsilon": ("eps",),
    "foreach": _ONE_CALL,
    "fullgraph": "a function is always recorded whole: leave it out",
    "fused": _ONE_CALL,
    "in_dims": ("in_axes",),
    "inplace": "the result is a new tensor: leave it out",
    "keepdim": ("keepdims",),
    "layout": "every tensor is dense: leave it out",
    "learning_rate": ("lr",),
    "memory_format": "every operation takes any strides: leave it out",
    "mode": _NO_COMPILER,
    "non_blocking": _ON_CPU,
    "norm_type": "the norm is Euclidean: leave it out",
    "ord": ("p",),
    "out_dims": ("out_axes",),
    "p": ("ord",),
    "pin_memory": _ON_CPU,
    "reduce": ("reduction",),
    "requires_grad": "call .requires_grad_() on the result",
    "reverse": "give wg.flip(xs), and flip the results",
    "shape": ("size",),
    "size": ("shape",),
    "size_average": ("reduction",),
    "static_argnames": ("static_argnums",),
    "steps": ("num",),
    "step_size": ("lr",),
    "unbiased": "use correction: 1 for unbiased=True, 0 (the default) for unbiased=False",
    "unroll": "a body is recorded once and replayed in C++: leave it out",
    "use_reentrant": "nothing is run again but what an adjoint needs: leave it out",
    "wd": ("weight_decay",),
}
# Calls that another library takes with more, or fewer, arguments.
_CALLS: dict[str, str] = {
    "repeat": "to repeat the whole use wg.tile(x, sizes)",
    "where": "for the places use wg.nonzero(condition)",
    **dict.fromkeys(("empty", "ones", "zeros"), "sizes are one argument: write {name}({args})"),
}


def argument_remedy(name: str, known: Iterable[str]) -> str:
    """What to do about an argument that a function lacks, which knows others; may be empty."""
    remedy = _ARGUMENTS.get(name, ())
    if isinstance(remedy, str):
        return remedy
    return next((f"use {ours}" for ours in remedy if ours in known), "")


def call_remedy(name: str, args: Any) -> str:
    """What to do about a call with more or fewer arguments than a function takes; may be empty."""
    return _CALLS.get(name, "").format(name=name, args=args)


class MissingNameError(Error, AttributeError):
    """A name of PyTorch, JAX or NumPy, or of none, that is not here."""


MissingNameError.__module__ = "wengert"


def missing(names: str, name: str, owner: str | None = None) -> NoReturn:
    """Raises for a name that a module, or an object of the class ``owner``, lacks, with the name
    that does the same, if there is one."""
    remedy = _NAMES[names].get(name)
    text = f"'{owner}' object" if owner else f"module '{names}'"
    text += f" has no attribute '{name}'"
    raise MissingNameError(text + (f"; use {remedy}" if remedy else ""))


class _Missing:
    """Stands in a class for a name that it lacks. (A ``__getattr__`` would slow every lookup.)"""

    def __init__(self, names: str, name: str) -> None:
        self._names, self._name = names, name

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        missing(self._names, self._name, owner.__name__)

    def __repr__(self) -> str:
        return f"<missing; use {_NAMES[self._names][self._name]}>"


def cover(cls: type, names: str) -> None:
    """Lets a name that the instances of a class lack raise with the name that does the same."""
    known = _NAMES[names]
    for name in known:
        setattr(cls, name, _Missing(names, name))

    def present(self: Any) -> list[str]:
        return [name for name in object.__dir__(self) if name not in known or hasattr(self, name)]

    present.__name__, present.__qualname__ = "__dir__", f"{cls.__name__}.__dir__"
    cls.__dir__ = present  # type: ignore[assignment]
