"""wengert: reverse-mode automatic differentiation on the CPU, with a C++ core."""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

import numpy as _numpy  # (loads its own BLAS before the setting below)

# Our copy of OpenBLAS starts no threads of its own: the engine has its pool.
_before = _os.environ.get("OPENBLAS_NUM_THREADS")
_os.environ["OPENBLAS_NUM_THREADS"] = "1"
from . import _core  # noqa: E402

if _before is None:
    del _os.environ["OPENBLAS_NUM_THREADS"]
else:
    _os.environ["OPENBLAS_NUM_THREADS"] = _before
from ._core import (  # noqa: E402
    ArgumentError,
    ArgumentTypeError,
    BoundsError,
    DTypeError,
    Error,
    FileError,
    GraphError,
    NumericError,
    OutOfMemory,
    ShapeError,
    Tensor,
    TraceError,
    __version__,
    asarray,
    config,
    get_num_threads,
    is_grad_enabled,
    memory,
    set_num_threads,
    tensor,
)

_core._set_package_folder(_os.path.dirname(_os.path.abspath(__file__)) + _os.sep)

from . import checked as _checked  # noqa: E402
from . import functions as _functions  # noqa: E402
from . import linalg, policies, random, tree  # noqa: E402
from . import other_names as _other_names  # noqa: E402
from . import tensor_methods as _tensor_methods  # noqa: E402  (adds the methods of Tensor)
from .compiler import compile  # noqa: E402
from .control import cond, scan, while_loop  # noqa: E402
from .creation import *  # noqa: E402, F403
from .functions import *  # noqa: E402, F403
from .grad_mode import debug_nans, enable_grad, no_grad  # noqa: E402
from .jacobians import hessian, hvp, jacfwd, jacobian, jacrev, ravel  # noqa: E402
from .loop_checkpoints import Binomial, Budget, TwoLevel  # noqa: E402
from .other_names import MissingNameError  # noqa: E402
from .program import Program, trace  # noqa: E402
from .recomputation import checkpoint, checkpoint_name  # noqa: E402
from .transforms import grad, jvp, linearize, value_and_grad, vjp, vmap  # noqa: E402

_checked.cover(globals(), _functions.__all__)
_checked.cover(vars(memory), [name for name in dir(memory) if name[0] != "_"])
_checked.cover(globals(), ["config", "get_num_threads", "is_grad_enabled", "set_num_threads"])

if _TYPE_CHECKING:
    from . import nn, optim, sparsity
    from .check import check_grads
    from .io import load, save
    from .memory_trade import memory_curve
    from .nn import functional_call
    from .primitives import primitive
    from .relaxation import straight_through

# Loaded at first use, so that importing the package stays cheap.
_lazy = {
    "check_grads": "check",
    "examples": None,
    "functional_call": "nn",
    "load": "io",
    "memory_curve": "memory_trade",
    "nn": None,
    "optim": None,
    "primitive": "primitives",
    "save": "io",
    "sparsity": None,
    "straight_through": "relaxation",
}


def __getattr__(name: str) -> _Any:
    if name not in _lazy:
        _other_names.missing("wengert", name)
    home = _lazy[name]
    module = _importlib.import_module(f".{home or name}", __name__)
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_lazy})
