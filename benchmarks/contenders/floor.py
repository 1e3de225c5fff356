"""The training step of a perceptron by hand in C++, on the OpenBLAS that ships with this engine:
the floor under what can be compiled. Built when a problem first asks for it; many steps a call."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import wengert as wg

from ..harness import STEPS, Case, Values, Wrong, in_one_call
from ..problems.mlp import LEARNING_RATE, MLP
from ..problems.scalar import LEARNING_RATE as SCALAR_RATE
from ..problems.scalar import ScalarNetwork

name = "floor"

COMPILER = shutil.which(os.environ.get("CXX", "c++")) or ""
if not COMPILER:
    raise ImportError("needs a C++ compiler")

OPTIONS = ("-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
SOURCE = Path(__file__).parent.parent / "floor/step.cpp"
threads_ = 1


def version() -> str:
    return f"by {Path(COMPILER).name} on {wg.config()['blas'].split(' DYNAMIC')[0]}"


def set_threads(threads: int) -> None:
    global threads_
    threads_ = threads


@cache
def built() -> ctypes.CDLL:
    """The library, compiled; the file is gone once it is loaded."""
    package = Path(wg.__file__).parent
    blas = next(package.glob("libwengert_blas*"), None)
    if blas is None:
        raise Wrong(f"no OpenBLAS in {package}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "floor.so")
        files = [str(SOURCE), str(blas), "-o", str(path)]
        command = [COMPILER, *OPTIONS, "-shared", "-fPIC", *files]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Wrong(f"{SOURCE.name} does not compile: {done.stderr.strip()[:300]}")
        library = ctypes.CDLL(str(path))
    library.make.restype, library.take.restype = ctypes.c_void_p, ctypes.c_float
    return library


def pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def case_of(
    inputs: Any,
    labels: np.ndarray | None,
    y: np.ndarray | None,
    rate: float,
    steps: int = STEPS,
) -> Case:
    library, x = built(), inputs.x  # which `inputs` keeps, as the labels
    first = np.concatenate([p.ravel() for p in inputs.parameters])
    flat, sizes = first.copy(), np.array(inputs.sizes, np.int32)
    pointers = (pointer(a) for a in (x, labels, y, flat))
    network = ctypes.c_void_p(
        library.make(
            *(len(sizes), pointer(sizes), len(x), *pointers, ctypes.c_float(rate), threads_)
        )
    )

    def take(steps: int) -> float:
        return library.take(network, steps)

    def read(loss: float) -> Values:
        parts = np.split(flat, np.cumsum([p.size for p in inputs.parameters])[:-1])
        shapes = (p.shape for p in inputs.parameters)
        return inputs.results(loss, [p.reshape(s) for p, s in zip(parts, shapes, strict=True)])

    def restart() -> None:
        flat[:] = first
        library.restart(network)

    weakref.finalize(take, library.release, network)
    return in_one_call(take, read, restart, steps)


def mlp_step(inputs: MLP) -> Case:
    steps = STEPS if inputs.is_quick else 1
    return case_of(inputs, inputs.labels, None, LEARNING_RATE, steps)


def sgd_step(inputs: ScalarNetwork) -> Case | None:
    return case_of(inputs, None, inputs.y, SCALAR_RATE) if inputs.dtype == "float32" else None
