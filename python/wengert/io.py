"""Trees of tensors in safetensors files, written so that a reader sees the old file or the new one,
whole. The structure is JSON in the file's metadata; files by others load as a flat dict."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

import numpy as np

from . import _core
from ._core import ArgumentError, ArgumentTypeError, DTypeError, FileError, Tensor
from .checked import cover

_METADATA_KEY = "wengert"
# Dtypes of other writers, and the wengert dtype that holds all their values.
_WIDENED = {
    "float16": "float32",
    "int8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
}
_READ = {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "F16", "F32", "F64"}


def _at(where: str) -> str:
    return f" at {where!r}" if where else ""


def _describe(tree: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The structure of a tree as JSON; its arrays are collected under dotted names."""
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return {"value": tree}
    where = ".".join(path)
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str):
                raise ArgumentTypeError(
                    f"save: keys of dicts must be strings; got {key!r}{_at(where)}"
                )
        return {"dict": {key: _describe(x, (*path, key), arrays) for key, x in tree.items()}}
    if type(tree) in (list, tuple):
        items = [_describe(x, (*path, str(i)), arrays) for i, x in enumerate(tree)]
        return {type(tree).__name__: items}
    if isinstance(tree, Tensor):
        kind, array = "tensor", _core._numpy(tree)
    elif isinstance(tree, (np.ndarray, np.generic)):
        kind, array = "array" if isinstance(tree, np.ndarray) else "scalar", np.asarray(tree)
    else:
        remedy = "Save its state_dict()" if hasattr(tree, "state_dict") else ""
        if not remedy and isinstance(tree, tuple):
            remedy = "Save tuple(...) or a dict of it"
        raise ArgumentTypeError(
            f"save: takes dicts, lists and tuples of tensors, arrays, numbers, strings and None; "
            f"got a value of type {type(tree).__name__}{_at(where)}" + (remedy and f". {remedy}")
        )
    if array.dtype.kind not in "biuf" or array.dtype.name == "float128":
        raise DTypeError(
            f"save: arrays are of bools, integers or floats (float16, 32 or 64); got "
            f"{array.dtype}{_at(where)}. Convert it first, with astype"
        )
    name = where or "value"
    while name in arrays or name == "__metadata__":  # "a.b" beside {"a": {"b": ...}}
        name += "'"
    arrays[name] = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    if array.ndim == 0:
        arrays[name] = arrays[name].reshape(())
    return {kind: name}


def _rebuild(node: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    ((kind, content),) = node.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {key: _rebuild(child, arrays) for key, child in content.items()}
    if kind == "list":
        return [_rebuild(child, arrays) for child in content]
    if kind == "tuple":
        return tuple(_rebuild(child, arrays) for child in content)
    if kind == "tensor":
        return _core.tensor(arrays[content])
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    raise ValueError(f"unknown kind {kind!r}")


def _flush_folder(folder: str) -> None:
    """Makes a rename last; folders cannot be opened everywhere."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Writes ``tree`` to the file ``path``, for ``wg.load``: the state of a model or optimiser, or
    any dicts (with strings as keys), lists and tuples of tensors, NumPy arrays, numbers, strings
    and None.

    It is a safetensors file: other programs read the tensors by their keys, joined with ".". The
    file is replaced when the new one is complete, and stays as it is if anything fails, even if the
    process is killed. Raises ``wg.FileError`` where it cannot be written (the folder must exist),
    ``wg.ArgumentTypeError`` where the tree holds something else and ``wg.DTypeError`` for dtypes
    that safetensors files do not have.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "training.safetensors")
    >>> model = wg.nn.Linear(2, 3)
    >>> optimizer = wg.optim.Adam(model.parameters())
    >>> state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    >>> wg.save(path, state)
    >>> found = wg.load(path)
    >>> missing, unexpected = model.load_state_dict(found["model"])
    >>> optimizer.load_state_dict(found["optimizer"])
    >>> found["epoch"]
    3
    """
    from safetensors.numpy import save as serialise

    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(
            f"save: the path, a str or PathLike, comes first, then the tree; got a "
            f"{type(path).__name__} first"
        )
    arrays: dict[str, np.ndarray] = {}
    try:
        structure = _describe(tree, (), arrays)
    except RecursionError:
        raise ArgumentError("save: the tree holds itself, or is nested too deep") from None
    if "\0" in os.fsdecode(path):
        raise ArgumentError(f"save: a path has no null characters; got {path!r}")
    if not os.path.basename(os.fsdecode(path)):
        raise FileError(f"save: cannot write '{os.fspath(path)}': it names no file in a folder")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.exists(target) and not os.path.isfile(target):
        kind = "a folder; name a file in it" if os.path.isdir(target) else "no regular file"
        raise FileError(f"save: cannot write '{os.fspath(path)}': it is {kind}")
    if not os.path.isdir(folder):
        raise FileError(
            f"save: cannot write '{os.fspath(path)}': there is no folder '{folder}'; make it first"
        )
    temporary = None
    try:
        data = serialise(arrays, {_METADATA_KEY: json.dumps(structure)})
        descriptor, temporary = tempfile.mkstemp(".partial", os.path.basename(target), folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_of(target))
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"save: cannot write '{os.fspath(path)}': {reason}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    _flush_folder(folder)


def _mode_of(path: str) -> int:
    """The permissions of the file that is replaced, or those of a new one."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what ``wg.save`` wrote: the same tree, with new tensors. A safetensors file by another
    program gives a dict of tensors by their names (float16 becomes float32; small integers int32).

    Raises ``wg.FileError`` where the file is missing, cut short or of another kind, and
    ``wg.DTypeError`` for dtypes that no tensor has, such as bfloat16.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "values.safetensors")
    >>> wg.save(path, [wg.tensor([1.0, 2.0]), ("note", 3)])
    >>> wg.load(path)
    [tensor([1., 2.]), ('note', 3)]
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, (str, os.PathLike)) or isinstance(name := os.fspath(path), bytes):
        raise ArgumentTypeError(f"load: takes a path, a str or PathLike; got {path!r:.60}")
    if os.path.isdir(name):
        raise FileError(f"load: '{name}' is a folder; name the file in it")
    if not os.path.exists(name):
        here = "" if os.path.isabs(name) else ", seen from the current folder"
        raise FileError(f"load: there is no file {name!r}{here}")
    arrays = {}
    try:
        with safe_open(name, "numpy") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _READ:
                    raise DTypeError(
                        f"load: {key!r} in '{name}' has dtype {dtype}, which no tensor has; "
                        "convert it with the program that wrote it"
                    )
                arrays[key] = file.get_tensor(key)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(
            f"load: '{name}' is not a whole safetensors file, as wg.save writes them: {error}"
        ) from error
    if _METADATA_KEY not in metadata:
        return {key: _tensor(array) for key, array in arrays.items()}
    try:
        return _rebuild(json.loads(metadata[_METADATA_KEY]), arrays)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise FileError(
            f"load: '{name}' says wrongly how its tensors belong together: {error!r}"
        ) from error


def _tensor(array: np.ndarray) -> Tensor:
    kind = array.dtype.name
    return _core.tensor(array.astype(_WIDENED.get(kind, kind), copy=False))


cover(globals(), ["save", "load"])
