"""What PyTorch and JAX call by another name, for the errors of names that are not here."""

from __future__ import annotations

from typing import NoReturn

_DRAW = "wg.random.default_rng(seed)"
_CPU = "nothing: everything is on the CPU"
_NAMES = {
    "wengert": {
        "autograd": "wg.grad or tensor.backward()",
        "array": "wg.tensor (copies) or wg.asarray (shares)",
        "as_tensor": "wg.asarray",
        "bfloat16": "wg.float32 or wg.float64",
        "bmm": "wg.matmul",
        "cat": "wg.concat",
        "cuda": _CPU,
        "device": _CPU,
        "device_put": _CPU,
        "double": "wg.float64",
        "float": "wg.float32 or wg.float64",
        "float16": "wg.float32 or wg.float64",
        "fori_loop": "wg.scan(f, init, None, length=n)",
        "from_numpy": "wg.asarray",
        "half": "wg.float32 or wg.float64",
        "inference_mode": "wg.no_grad",
        "int": "wg.int32 or wg.int64",
        "jit": "wg.compile",
        "lax": "wg.scan, wg.cond or wg.while_loop",
        "long": "wg.int64",
        "manual_seed": "wg.random.seed",
        "mm": "wg.matmul",
        "numpy": "wg itself: wg.sum, wg.exp, ...",
        "permute": "wg.permute_dims",
        "rand": f"{_DRAW}.random(size)",
        "randint": f"{_DRAW}.integers(low, high, size)",
        "randn": f"{_DRAW}.normal(size=...)",
        "tree_map": "wg.tree.map",
        "tree_util": "wg.tree",
        "unsqueeze": "wg.expand_dims",
    },
    "wengert.nn": {
        "BatchNorm": "wg.nn.BatchNorm1d or wg.nn.BatchNorm2d",
        "Dense": "wg.nn.Linear",
        "MultiheadAttention": "wg.nn.MultiHeadAttention",
        "utils": "wg.optim.clip_grad_norm",
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
}


def missing(module: str, name: str) -> NoReturn:
    """Raises for a name that a module lacks, with the name that does the same, if there is one."""
    remedy = _NAMES[module].get(name)
    text = f"module '{module}' has no attribute '{name}'"
    raise AttributeError(text + (f"; use {remedy}" if remedy else ""))
